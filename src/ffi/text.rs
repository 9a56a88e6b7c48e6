//! Text both ways: C strings in, and texts that the library hands out.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr;

use libc::c_char;

use crate::error::{Error, Result};
use crate::ffi::guard::release;

/// A text made by one call (JSON, UTF-8), owned by the caller.
pub struct transunet_text(CString);

impl transunet_text {
    pub(super) fn json(value: &impl serde::Serialize) -> Result<Self> {
        Ok(transunet_text(json_text(value)?))
    }
}

/// The text, NUL-terminated UTF-8, borrowed from `text`. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_text_data(text: *const transunet_text) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.0.as_ptr())
}

/// Length of the text in bytes, without the terminating NUL. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_text_size(text: *const transunet_text) -> usize {
    text.as_ref().map_or(0, |text| text.0.as_bytes().len())
}

/// Frees a text; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_text_free(text: *mut transunet_text) {
    release(text);
}

/// `text` for C. A NUL inside, which C could not see past, becomes U+FFFD.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default()
}

pub(super) fn json_text(value: &impl serde::Serialize) -> Result<CString> {
    let text = serde_json::to_string(value).map_err(|e| Error::Internal(format!("JSON: {e}")))?;
    Ok(c_text(&text))
}

/// The UTF-8 text at `pointer`; `name` is the parameter in messages.
pub(super) unsafe fn text_in<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(Error::Argument(format!("{name} is NULL")));
    }
    CStr::from_ptr(pointer).to_str().map_err(|e| Error::Argument(format!("{name} is not valid UTF-8: {e}")))
}

/// Like [`text_in`], with NULL for "none".
pub(super) unsafe fn optional_text_in<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() { Ok(None) } else { text_in(pointer, name).map(Some) }
}

pub(super) unsafe fn path_in<'a>(pointer: *const c_char, name: &str) -> Result<&'a Path> {
    match text_in(pointer, name)? {
        "" => Err(Error::Argument(format!("{name} is empty"))),
        text => Ok(Path::new(text)),
    }
}
