//! What every call promises: a status that its page names, a message beside a failure, outputs that are cleared.

use std::ffi::{CStr, c_char};
use std::ptr::{null_mut, without_provenance_mut};

use serde_json::Value;
use transunet::ffi::*;

use super::arguments::Choices;

/// What a variable of the caller's holds before a call that must overwrite it.
const STALE: usize = 0x5555_5550;

/// Makes a call that may fail, with and without a place for the error. `documented` are the statuses of its page beside
/// INVALID_ARGUMENT.
pub fn status(
    name: &str,
    documented: &[transunet_status],
    choices: &mut Choices,
    call: impl FnOnce(*mut *mut transunet_error) -> transunet_status,
) -> transunet_status {
    let mut error = without_provenance_mut(STALE);
    let wanted = !choices.once_in(8);
    let status = call(if wanted { &raw mut error } else { null_mut() });
    let said = if wanted && !error.is_null() {
        assert_ne!(error.addr(), STALE, "{name}: {status} and *error is as before");
        // SAFETY: the call has just made it.
        unsafe {
            assert_eq!(transunet_error_code(error), status, "{name}");
            let said = text(name, transunet_error_message(error)).to_owned();
            transunet_error_free(error);
            said
        }
    } else {
        String::new()
    };
    let known = [TRANSUNET_STATUS_OK, TRANSUNET_STATUS_INVALID_ARGUMENT].contains(&status);
    assert!(known || documented.contains(&status), "{name}: status {status} is not on its page: {said}");
    if wanted {
        assert_eq!(said.is_empty(), status == TRANSUNET_STATUS_OK, "{name}: status {status} with the message {said:?}");
    }
    status
}

/// As [`status`], for a call that makes a handle.
pub fn made<T>(
    name: &str,
    documented: &[transunet_status],
    choices: &mut Choices,
    call: impl FnOnce(*mut *mut T, *mut *mut transunet_error) -> transunet_status,
) -> Option<*mut T> {
    let mut out: *mut T = without_provenance_mut(STALE);
    if choices.once_in(16) {
        let status = status(name, documented, choices, |error| call(null_mut(), error));
        assert_eq!(status, TRANSUNET_STATUS_INVALID_ARGUMENT, "{name} without out");
        return None;
    }
    let status = status(name, documented, choices, |error| call(&raw mut out, error));
    assert_ne!(out.addr(), STALE, "{name}: {status} and *out is as before");
    assert_eq!(out.is_null(), status != TRANSUNET_STATUS_OK, "{name}: {status}");
    (!out.is_null()).then_some(out)
}

/// A text that the library hands out.
pub fn text<'a>(name: &str, text: *const c_char) -> &'a str {
    assert!(!text.is_null(), "{name}: no text");
    // SAFETY: the header promises a NUL-terminated text that lives as long as its handle.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// As [`text`], for those that are JSON.
pub fn json(name: &str, json: *const c_char) -> Value {
    let json = text(name, json);
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}: {json}"))
}
