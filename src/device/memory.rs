//! Where a GPU's memory does not suffice: less at once, and on.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::panics;

/// Whether this is what CubeCL says where a buffer finds no room on a GPU; it has no other sign.
pub fn lacks_memory(text: &str) -> bool {
    let signs = ["allocate buffer", "BufferTooBig", "OutOfMemory", "out of memory", "out-of-memory"];
    signs.iter().any(|sign| text.contains(sign))
}

/// Slices that a device takes at once: all, until its memory did not suffice.
#[derive(Debug)]
pub struct AtOnce(AtomicUsize);

impl AtOnce {
    pub fn all() -> Self {
        Self::of(usize::MAX)
    }

    pub fn of(slices: usize) -> Self {
        AtOnce(AtomicUsize::new(slices))
    }

    /// Runs `work` on `slices` slices, as many at once as there is room for; where memory lacks, which Burn may tell by a
    /// panic, on half as many from then on, after `clear`.
    pub fn halving(
        &self,
        slices: usize,
        mut work: impl FnMut(Range<usize>) -> Result<()>,
        clear: impl Fn(),
    ) -> Result<()> {
        let mut done = 0;
        while done < slices {
            let count = self.0.load(Ordering::Relaxed).min(slices - done);
            let tried = catch_unwind(AssertUnwindSafe(|| work(done..done + count)));
            let tried = tried.unwrap_or_else(|panic| match panics::text(&*panic) {
                text if lacks_memory(&text) => Err(Error::OutOfMemory(text)),
                _ => resume_unwind(panic),
            });
            if let Err(Error::OutOfMemory(_)) = tried {
                clear();
            }
            match tried {
                Ok(()) => done += count,
                Err(Error::OutOfMemory(reason)) if count > 1 => {
                    // Calls at once share it: the least holds.
                    self.0.fetch_min(count / 2, Ordering::Relaxed);
                    log::warn!("no room for {count} slices at once, going on with {}: {reason}", count / 2);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_halves_the_pass_and_loses_nothing() {
        let at_once = AtOnce::all();
        let mut parts = Vec::new();
        let mut room_for = |most: usize, slices: usize| {
            parts.clear();
            let work = |part: Range<usize>| {
                match part.len() {
                    count if count <= most => parts.push(part),
                    // Both ways in which it is told.
                    count if count % 2 == 0 => panic!("can't allocate buffer of size: 1"),
                    _ => return Err(Error::OutOfMemory("can't allocate buffer of size: 1".into())),
                }
                Ok(())
            };
            at_once.halving(slices, work, || {}).map(|()| parts.clone())
        };
        assert_eq!(room_for(3, 11).unwrap(), [0..2, 2..4, 4..6, 6..8, 8..10, 10..11]);
        assert_eq!(room_for(9, 5).unwrap(), [0..2, 2..4, 4..5], "what did not fit is not tried again");
        assert!(matches!(room_for(0, 2), Err(Error::OutOfMemory(_))));
        let other = AtOnce::of(9).halving(4, |_| Err(Error::Cancelled), || {});
        assert!(matches!(other, Err(Error::Cancelled)));
    }
}
