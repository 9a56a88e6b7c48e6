//! The handles of one sequence, and the control that its calls are given.

use std::ffi::c_void;
use std::ptr::{from_mut, null_mut};

use transunet::ffi::*;

use super::arguments::{Choices, pointer};
use super::set_up::Files;

/// The handles that a sequence has made and not freed.
pub struct Session<'f> {
    pub files: &'f Files,
    pub runtimes: Vec<*mut transunet_runtime>,
    pub models: Vec<*mut transunet_model>,
    pub volumes: Vec<*mut transunet_volume>,
    pub labelmaps: Vec<*mut transunet_labelmap>,
    pub cancels: Vec<*mut transunet_cancel>,
}

/// NULL, one that stays, or one of the sequence's own.
fn any<T>(stay: &[*mut T], own: &[*mut T], choices: &mut Choices) -> *mut T {
    let byte = usize::from(choices.byte());
    let all = stay.len() + own.len();
    match byte % 16 {
        15 => null_mut(),
        _ if all == 0 => null_mut(),
        at => *stay.iter().chain(own).nth(at % all).expect("within"),
    }
}

/// What a progress callback does: nothing for some events, then it answers `answer`.
struct Watcher {
    left: u8,
    answer: transunet_flow,
    cancel: *const transunet_cancel,
}

unsafe extern "C-unwind" fn watch(event: *const transunet_progress, user_data: *mut c_void) -> transunet_flow {
    // SAFETY: the library passes on what `Session::controlled` gave it, and an event.
    let (watcher, event) = unsafe { (&mut *user_data.cast::<Watcher>(), &*event) };
    assert_eq!(event.struct_size, size_of::<transunet_progress>());
    assert!(event.total == 0 || event.done <= event.total, "{} of {}", event.done, event.total);
    assert!((TRANSUNET_STAGE_READ..=TRANSUNET_STAGE_COMPILE).contains(&event.stage));
    if watcher.left > 0 {
        watcher.left -= 1;
        return TRANSUNET_FLOW_CONTINUE;
    }
    // SAFETY: the flag stays until the call has returned.
    unsafe { transunet_cancel_trigger(watcher.cancel) };
    watcher.answer
}

impl<'f> Session<'f> {
    pub fn new(files: &'f Files) -> Self {
        Session {
            files,
            runtimes: Vec::new(),
            models: Vec::new(),
            volumes: Vec::new(),
            labelmaps: Vec::new(),
            cancels: Vec::new(),
        }
    }

    /// Frees all that is left, in either order.
    pub fn end(mut self, choices: &mut Choices) {
        while self.free_one(choices) {}
    }

    pub fn free_one(&mut self, choices: &mut Choices) -> bool {
        let kinds =
            [self.runtimes.len(), self.models.len(), self.volumes.len(), self.labelmaps.len(), self.cancels.len()];
        let first = usize::from(choices.byte());
        let Some(kind) = (0..5).map(|n| (first + n) % 5).find(|&kind| kinds[kind] > 0) else { return false };
        let at = usize::from(choices.byte()) % kinds[kind];
        // SAFETY: each was made by the library and is forgotten here.
        unsafe {
            match kind {
                0 => transunet_runtime_free(self.runtimes.swap_remove(at)),
                1 => transunet_model_free(self.models.swap_remove(at)),
                2 => transunet_volume_free(self.volumes.swap_remove(at)),
                3 => transunet_labelmap_free(self.labelmaps.swap_remove(at)),
                _ => transunet_cancel_free(self.cancels.swap_remove(at)),
            }
        }
        true
    }

    pub fn runtime(&self, choices: &mut Choices) -> *const transunet_runtime {
        any(&[self.files.runtime], &self.runtimes, choices)
    }

    pub fn model(&self, choices: &mut Choices) -> *const transunet_model {
        any(&[self.files.model], &self.models, choices)
    }

    pub fn volume(&self, choices: &mut Choices) -> *const transunet_volume {
        any(&self.files.volumes, &self.volumes, choices)
    }

    pub fn labelmap(&self, choices: &mut Choices) -> *const transunet_labelmap {
        any(&[self.files.labelmap], &self.labelmaps, choices)
    }

    pub fn cancel(&self, choices: &mut Choices) -> *const transunet_cancel {
        any(&[], &self.cancels, choices)
    }

    /// Makes a call with a control; one that stops it at the first event if it is to be `stopped`.
    pub fn controlled<R>(
        &self,
        choices: &mut Choices,
        stopped: bool,
        call: impl FnOnce(&mut Choices, *const transunet_control) -> R,
    ) -> R {
        let mut watcher = Watcher {
            left: if stopped { 0 } else { choices.byte() },
            answer: if stopped { TRANSUNET_FLOW_CANCEL } else { choices.pick(&[TRANSUNET_FLOW_CONTINUE, 1, -7]) },
            cancel: self.cancel(choices),
        };
        let watched = stopped || choices.once_in(2);
        let control = transunet_control {
            struct_size: size_of::<transunet_control>(),
            on_progress: if watched { Some(watch) } else { None },
            user_data: from_mut(&mut watcher).cast(),
            cancel: self.cancel(choices),
        };
        if stopped {
            return call(choices, &raw const control);
        }
        let control = choices.sized(control);
        call(choices, pointer(&control))
    }
}
