//! Control of a running call: progress to the caller, the caller's wish to stop.

use std::ptr;

use libc::c_void;

use crate::control::{Cancel, Control, Flow, Progress, Stage};
use crate::error::Result;
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{create, release};
use crate::ffi::library::transunet_status;
use crate::ffi::record::{Record, read_or_default};

/// What the library is doing. Later versions may add stages.
pub type transunet_stage = i32;

/// Reading and checking files.
pub const TRANSUNET_STAGE_READ: transunet_stage = 1;
/// Bringing the volume into the shape that the network expects.
pub const TRANSUNET_STAGE_PREPROCESS: transunet_stage = 2;
/// Running the network.
pub const TRANSUNET_STAGE_INFER: transunet_stage = 3;
/// Training the network.
pub const TRANSUNET_STAGE_TRAIN: transunet_stage = 4;
/// Measuring the network on validation data.
pub const TRANSUNET_STAGE_VALIDATE: transunet_stage = 5;
/// Writing files.
pub const TRANSUNET_STAGE_WRITE: transunet_stage = 6;
/// Compiling a GPU's kernels for input of a new size and seeking the fastest; minutes the first time, kept on disk.
pub const TRANSUNET_STAGE_COMPILE: transunet_stage = 7;

/// Answer of a progress callback.
pub type transunet_flow = i32;

/// Go on.
pub const TRANSUNET_FLOW_CONTINUE: transunet_flow = 0;
/// Stop: the call returns TRANSUNET_STATUS_CANCELLED. Any other number than CONTINUE means the same.
pub const TRANSUNET_FLOW_CANCEL: transunet_flow = 1;

/// One progress event; valid during the callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_progress {
    /// Size that the library gave the struct: fields beyond it are not there.
    pub struct_size: usize,
    pub stage: transunet_stage,
    /// 1-based while training, else 0.
    pub epoch: u32,
    /// Units done: files, slices or steps.
    pub done: u64,
    /// Units in all; 0 = unknown.
    pub total: u64,
    /// NaN when not meaningful.
    pub loss: f64,
    /// NaN when not meaningful.
    pub dice: f64,
}

/// Receives progress on the thread of the call, never two at once. Must return: no C++ exception, no longjmp.
pub type transunet_progress_fn =
    Option<unsafe extern "C-unwind" fn(event: *const transunet_progress, user_data: *mut c_void) -> transunet_flow>;

/// How a long call reports and is stopped. Start from TRANSUNET_CONTROL_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_control {
    pub struct_size: usize,
    /// May be NULL.
    pub on_progress: transunet_progress_fn,
    /// Handed to on_progress as it is.
    pub user_data: *mut c_void,
    /// May be NULL; may be shared by several calls.
    pub cancel: *const transunet_cancel,
}

// SAFETY: repr(C), struct_size first, NULL means none.
unsafe impl Record for transunet_control {
    const NAME: &'static str = "transunet_control";
}

/// A flag that stops running calls, from any thread.
pub struct transunet_cancel(Cancel);

/// Makes a flag that is not triggered. Free it with transunet_cancel_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_cancel_create(
    out: *mut *mut transunet_cancel,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || Ok(transunet_cancel(Cancel::default())))
}

/// Stops every call that was given the flag, now or later: within one slice or batch they return
/// TRANSUNET_STATUS_CANCELLED. From any thread; never blocks. A flag stays triggered. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_cancel_trigger(cancel: *const transunet_cancel) {
    if let Some(cancel) = cancel.as_ref() {
        cancel.0.trigger();
    }
}

/// 1 once the flag was triggered, else 0. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_cancel_is_triggered(cancel: *const transunet_cancel) -> i32 {
    cancel.as_ref().map_or(0, |cancel| i32::from(cancel.0.is_triggered()))
}

/// Frees a flag, which calls that were given it no longer need once they run; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_cancel_free(cancel: *mut transunet_cancel) {
    release(cancel);
}

/// The caller's control for a call; NULL reports nothing and cannot be stopped.
pub(super) unsafe fn control_in<'a>(pointer: *const transunet_control) -> Result<Control<'a>> {
    let record = read_or_default(pointer, "control")?;
    let mut control = Control::none();
    if let Some(cancel) = record.cancel.as_ref() {
        control = control.with_cancel(&cancel.0);
    }
    if let Some(on_progress) = record.on_progress {
        control = control.on_progress(move |progress| {
            let event = event(progress);
            // SAFETY: the caller promised a callback that may be called with its user_data during this call.
            match unsafe { on_progress(ptr::from_ref(&event), record.user_data) } {
                TRANSUNET_FLOW_CONTINUE => Flow::Continue,
                _ => Flow::Cancel,
            }
        });
    }
    control.check()?;
    Ok(control)
}

fn event(progress: &Progress) -> transunet_progress {
    transunet_progress {
        struct_size: size_of::<transunet_progress>(),
        stage: match progress.stage {
            Stage::Read => TRANSUNET_STAGE_READ,
            Stage::Preprocess => TRANSUNET_STAGE_PREPROCESS,
            Stage::Compile => TRANSUNET_STAGE_COMPILE,
            Stage::Infer => TRANSUNET_STAGE_INFER,
            Stage::Train => TRANSUNET_STAGE_TRAIN,
            Stage::Validate => TRANSUNET_STAGE_VALIDATE,
            Stage::Write => TRANSUNET_STAGE_WRITE,
        },
        epoch: progress.epoch,
        done: progress.done,
        total: progress.total,
        loss: progress.loss,
        dice: progress.dice,
    }
}
