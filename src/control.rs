//! Progress out, cancellation in: what a long call tells its caller and how the caller stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// What the library is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Read,
    Preprocess,
    /// A GPU's kernels, for input of a new size: compiled, and the fastest ones sought.
    Compile,
    Infer,
    Train,
    Validate,
    Write,
}

/// One progress event. `done` of `total` counts the units of the stage (files, slices, steps).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub stage: Stage,
    /// 1-based while training, else 0.
    pub epoch: u32,
    pub done: u64,
    /// 0 = unknown.
    pub total: u64,
    /// NaN when not meaningful.
    pub loss: f64,
    /// NaN when not meaningful.
    pub dice: f64,
}

impl Progress {
    /// An event outside training.
    pub fn of(stage: Stage, done: usize, total: usize) -> Self {
        Progress { stage, epoch: 0, done: done as u64, total: total as u64, loss: f64::NAN, dice: f64::NAN }
    }
}

/// The caller's answer to a progress event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Cancel,
}

/// A flag that stops a running call from any thread. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    /// Counts as well.
    parent: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// A flag for a part of what `parent`, if there is one, stops.
    pub fn within(parent: Option<&Cancel>) -> Self {
        Cancel { flag: Arc::default(), parent: parent.map(|parent| parent.flag.clone()) }
    }

    pub fn trigger(&self) {
        self.flag.store(true, Ordering::Release);
    }

    pub fn is_triggered(&self) -> bool {
        self.flag.load(Ordering::Acquire) || self.parent.as_ref().is_some_and(|parent| parent.load(Ordering::Acquire))
    }
}

/// Receives progress events on the thread of the call, never two at once.
type Listener<'a> = Box<dyn FnMut(&Progress) -> Flow + 'a>;

/// Handed to every long call; checked at least once per slice or batch.
#[derive(Default)]
pub struct Control<'a> {
    listener: Option<Listener<'a>>,
    cancel: Option<Cancel>,
}

impl<'a> Control<'a> {
    /// No listener, cannot be cancelled.
    pub fn none() -> Self {
        Control::default()
    }

    #[must_use]
    pub fn on_progress(mut self, listener: impl FnMut(&Progress) -> Flow + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    #[must_use]
    pub fn with_cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// The flag, to be watched within long work.
    pub fn cancel(&self) -> Option<&Cancel> {
        self.cancel.as_ref()
    }

    /// [`Error::Cancelled`] once the flag is set.
    pub fn check(&self) -> Result<()> {
        match &self.cancel {
            Some(cancel) if cancel.is_triggered() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// Tells the listener, and goes on whatever it answers and the flag says: for the tidying after a stop.
    pub fn tell(&mut self, progress: Progress) {
        if let Some(listener) = &mut self.listener {
            listener(&progress);
        }
    }

    /// Tells the listener and obeys its answer and the flag.
    pub fn report(&mut self, progress: Progress) -> Result<()> {
        self.check()?;
        if let Some(listener) = &mut self.listener
            && listener(&progress) == Flow::Cancel
        {
            return Err(Error::Cancelled);
        }
        self.check()
    }
}
