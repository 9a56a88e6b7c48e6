//! Panics are not printed: their words go to the log, and into the error that they end in.

use std::any::Any;
use std::panic::set_hook;
use std::sync::{Mutex, PoisonError};

/// What the latest panic with a cause of its own said, and where it happened.
static LATEST: Mutex<String> = Mutex::new(String::new());

/// From now on, for the process, or for the library where it has Rust's runtime for itself.
pub fn quiet() {
    set_hook(Box::new(|panic| {
        let text = panic.to_string();
        log::debug!("{text}");
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.is_empty() || !is_unanswered(&text) {
            *latest = text;
        }
    }));
}

/// What the latest panic said, and where it happened; empty before [`quiet`].
pub fn latest() -> String {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What a caught panic said.
pub fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no message");
    let cause = latest();
    if is_unanswered(text) && !cause.is_empty() { format!("panic: {cause}") } else { format!("panic: {text}") }
}

/// Whether this is all that a caller learns of a panic on a thread of CubeCL's.
fn is_unanswered(text: &str) -> bool {
    ["RecvError", "CallError"].iter().any(|sign| text.contains(sign))
}
