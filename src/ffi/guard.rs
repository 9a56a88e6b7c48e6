//! The one way into the library: catches panics, turns results into statuses, handles and error objects.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::error::{Error, Result};
use crate::ffi::error::{transunet_error, transunet_error_code};
use crate::ffi::library::{TRANSUNET_STATUS_OK, transunet_status};

/// Runs `work`; a panic becomes [`Error::Internal`]. `*error` gets the error object, NULL on success.
pub(super) unsafe fn guard(error: *mut *mut transunet_error, work: impl FnOnce() -> Result<()>) -> transunet_status {
    let outcome =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Error::Internal(panic_text(&*panic))));
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

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("no message"))
}
