//! Shares tasks among the threads of the current pool.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::buffer::Buffer;

/// Runs `work(task)` for each of `0..count`, in no order. Each thread walks a stretch of its own from front to back, so that
/// task `n + 1` mostly follows on `n`, then helps with the others' stretches.
pub fn each(count: usize, work: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads().min(count);
    if threads <= 1 {
        (0..count).for_each(work);
        return;
    }
    let bounds = |stretch: usize| stretch * count / threads;
    let next: Vec<AtomicUsize> = (0..threads).map(|stretch| AtomicUsize::new(bounds(stretch))).collect();
    (0..threads).into_par_iter().with_max_len(1).for_each(|own| {
        for stretch in (own..threads).chain(0..own) {
            loop {
                let task = next[stretch].fetch_add(1, Ordering::Relaxed);
                if task >= bounds(stretch + 1) {
                    break;
                }
                work(task);
            }
        }
    });
}

/// Runs `work(n, chunk)` for each chunk of `len` values, the last of which may be shorter.
pub fn chunks(values: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let total = values.len();
    let shared = Shared::of(values);
    each(total.div_ceil(len), |n| {
        // SAFETY: chunks have no element in common, and each is the business of one task.
        work(n, unsafe { shared.slice(n * len, len.min(total - n * len)) });
    });
}

/// A slice that several threads write, each its own elements.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    life: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: elements are reached by the unsafe methods alone, whose callers keep threads apart.
unsafe impl Send for Shared<'_> {}
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn of(values: &'a mut [f32]) -> Self {
        Shared { start: values.as_mut_ptr(), len: values.len(), life: std::marker::PhantomData }
    }

    /// # Safety
    /// Nobody else uses these elements while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, start: usize, count: usize) -> &mut [f32] {
        assert!(start + count <= self.len);
        // SAFETY: inside, as asserted; alone, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), count) }
    }

    /// Where `count` elements from `start` on lie.
    pub fn at(&self, start: usize, count: usize) -> *mut f32 {
        assert!(start + count <= self.len);
        self.start.wrapping_add(start)
    }
}

thread_local! {
    /// Memory kept from task to task: more than one where a task waits for others and meanwhile begins another.
    static SCRATCH: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Lends `count` values, whatever is in them.
pub(super) fn with_scratch<T>(count: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut scratch = match SCRATCH.with_borrow_mut(Vec::pop) {
        Some(scratch) if scratch.len() >= count => scratch,
        _ => Buffer::any(count),
    };
    let result = work(&mut scratch[..count]);
    SCRATCH.with_borrow_mut(|free| free.push(scratch));
    result
}
