//! The error object: a status and a message.

use std::ffi::CString;

use libc::c_char;

use crate::error::Error;
use crate::ffi::guard::release;
use crate::ffi::library::{TRANSUNET_STATUS_OK, status_of, transunet_status};
use crate::ffi::text::c_text;

/// Why a call failed.
pub struct transunet_error {
    status: transunet_status,
    message: CString,
}

impl From<Error> for transunet_error {
    fn from(error: Error) -> Self {
        transunet_error { status: status_of(&error), message: c_text(&error.to_string()) }
    }
}

/// The status that the failed call returned; TRANSUNET_STATUS_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_error_code(error: *const transunet_error) -> transunet_status {
    error.as_ref().map_or(TRANSUNET_STATUS_OK, |error| error.status)
}

/// What went wrong, where, and what was expected instead: one text for people, borrowed from `error`. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_error_message(error: *const transunet_error) -> *const c_char {
    error.as_ref().map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_error_free(error: *mut transunet_error) {
    release(error);
}
