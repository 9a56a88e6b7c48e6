//! Memory for weights and maps, in large pages where the system gives them when asked.
#![allow(unsafe_code)]

/// Bytes of a large page.
#[cfg(target_os = "linux")]
const PAGE: usize = 2 << 20;

/// `len` zeros.
///
/// In pages of 4 KiB a block of the second-level cache's size shares cache lines by chance of where its pages lie; in large
/// ones it does not.
pub fn zeros(len: usize) -> Vec<f32> {
    // Fresh memory that nobody has touched: pages come into being later.
    let values = vec![0.0f32; len];
    #[cfg(target_os = "linux")]
    {
        let start = values.as_ptr() as usize;
        let (first, last) = (start.next_multiple_of(PAGE), (start + 4 * len) / PAGE * PAGE);
        if first < last {
            // SAFETY: whole pages inside the vector; the advice changes nothing but what backs them. Refusal is no harm.
            unsafe { libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_HUGEPAGE) };
        }
    }
    values
}
