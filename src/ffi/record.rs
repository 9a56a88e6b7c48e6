//! Sized structs: `struct_size` first, grown only at the end, all zero bytes mean defaults.

use std::mem::{size_of, zeroed};
use std::ptr;

use crate::error::{Error, Result};

/// # Safety
/// `repr(C)`, the first field is `struct_size: usize`, and zero bytes are a valid value: the defaults.
pub(super) unsafe trait Record: Copy {
    const NAME: &'static str;
    /// Size in the first release; `offset_of!` the first added field once there is one. Smaller ones are refused.
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// Size that the caller's compiler gave the struct at `pointer`, checked.
unsafe fn checked_size<T: Record>(pointer: *const T, name: &str) -> Result<usize> {
    if pointer.is_null() {
        return Err(Error::Argument(format!("{name} is NULL")));
    }
    let size = pointer.cast::<usize>().read_unaligned();
    if size < T::FIRST_SIZE {
        return Err(Error::Argument(format!(
            "{name}->struct_size is {size}, expected sizeof({}) = {} (start from its INIT macro)",
            T::NAME,
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// The struct at `pointer`: what the caller knows of it, the rest as defaults.
pub(super) unsafe fn read<T: Record>(pointer: *const T, name: &str) -> Result<T> {
    let size = checked_size(pointer, name)?;
    let mut record: T = zeroed();
    ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut record).cast::<u8>(), size.min(size_of::<T>()));
    Ok(record)
}

/// Like [`read`], with NULL for the defaults.
pub(super) unsafe fn read_or_default<T: Record>(pointer: *const T, name: &str) -> Result<T> {
    if pointer.is_null() { Ok(zeroed()) } else { read(pointer, name) }
}

/// Fills the caller's struct with what `work` returns, as far as the caller knows it; zeroes it on failure.
pub(super) unsafe fn fill<T: Record>(out: *mut T, work: impl FnOnce() -> Result<T>) -> Result<()> {
    let size = checked_size(out, "out")?;
    let (header, known) = (size_of::<usize>(), size.min(size_of::<T>()));
    let body = out.cast::<u8>().add(header);
    ptr::write_bytes(body, 0, known - header);
    let record = work()?;
    ptr::copy_nonoverlapping((&raw const record).cast::<u8>().add(header), body, known - header);
    Ok(())
}
