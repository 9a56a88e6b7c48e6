//! The one way into the library: catches panics, turns results into statuses, handles and error objects.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Once;

use libc::c_void;

use crate::error::{Error, Result};
use crate::ffi::error::{transunet_error, transunet_error_code};
use crate::ffi::library::{TRANSUNET_STATUS_OK, transunet_status};
use crate::panics;

/// Runs `work`; a panic becomes [`Error::Internal`]. `*error` gets the error object, NULL on success.
pub(super) unsafe fn guard(error: *mut *mut transunet_error, work: impl FnOnce() -> Result<()>) -> transunet_status {
    quiet_panics();
    let outcome =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Error::Internal(panics::text(&*panic))));
    let (status, raised) = match outcome {
        Ok(()) => (TRANSUNET_STATUS_OK, ptr::null_mut()),
        Err(failure) => {
            let raised = transunet_error::from(failure);
            (transunet_error_code(&raised), if error.is_null() { ptr::null_mut() } else { boxed(raised) })
        }
    };
    if !error.is_null() {
        error.write(raised);
    }
    status
}

/// Panics, those that become errors among them, go to the log, not to the host's stderr. A Rust program that has this code
/// in itself, not in a library of its own, shares its hook with it and keeps it.
unsafe fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut place: libc::Dl_info = std::mem::zeroed();
        let known = libc::dladdr(quiet_panics as *const c_void, &mut place) != 0 && !place.dli_fname.is_null();
        if known && is_library(&CStr::from_ptr(place.dli_fname).to_string_lossy()) {
            panics::quiet();
        }
    });
}

/// Whether the file at `path` is a library by its name.
fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.ends_with(".so") || name.contains(".so.") || name.ends_with(".dylib")
}

/// Like [`guard`] for calls that make a handle: `*out` gets what `work` returns, NULL on failure.
pub(super) unsafe fn create<T>(
    error: *mut *mut transunet_error,
    out: *mut *mut T,
    work: impl FnOnce() -> Result<T>,
) -> transunet_status {
    guard(error, || {
        if out.is_null() {
            return Err(Error::Argument("out is NULL".into()));
        }
        out.write(ptr::null_mut());
        out.write(boxed(work()?));
        Ok(())
    })
}

fn boxed<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// The handle that a caller passed as parameter `name`.
pub(super) unsafe fn borrow<'a, T>(handle: *const T, name: &str) -> Result<&'a T> {
    handle.as_ref().ok_or_else(|| Error::Argument(format!("{name} is NULL")))
}

/// Frees what [`create`] made.
pub(super) unsafe fn release<T>(handle: *mut T) {
    if !handle.is_null() {
        guard(ptr::null_mut(), || {
            drop(Box::from_raw(handle));
            Ok(())
        });
    }
}
