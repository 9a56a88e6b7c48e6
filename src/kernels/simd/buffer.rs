//! Memory of maps and gradients, kept from one training step to the next: fresh pages cost as much as the work on them.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::parallel;

/// Values of a cache line, on which buffers begin.
const LINE: usize = 16;
/// Shorter buffers come from the allocator, which is quick enough with them.
const LEAST: usize = 16 << 10;
/// Values that a task sets.
const STRETCH: usize = 64 << 10;

/// What nobody uses at the moment, by the length that it has room for, with the turn in which it was given back.
#[derive(Default)]
struct Kept {
    keepers: usize,
    turn: u64,
    free: BTreeMap<usize, Vec<(u64, Vec<f32>)>>,
}

impl Kept {
    /// The shortest that has room for `len` values, but not for a quarter more.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let (&room, free) = self.free.range_mut(len..=len + len / 4).next()?;
        let (_, memory) = free.pop()?;
        if free.is_empty() {
            self.free.remove(&room);
        }
        Some(memory)
    }
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { keepers: 0, turn: 0, free: BTreeMap::new() });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While one lives, memory of buffers is kept for the next ones of about the same length.
#[derive(Debug)]
pub struct Keeper(());

impl Keeper {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        kept().keepers += 1;
        Keeper(())
    }

    /// Begins a step: what the last one had no use for goes back to the system.
    pub fn turn(&self) {
        let mut kept = kept();
        kept.turn += 1;
        let turn = kept.turn;
        kept.free.retain(|_, free| {
            free.retain(|(used, _)| used + 1 >= turn);
            !free.is_empty()
        });
    }

    /// Gives all that nobody uses back to the system.
    pub fn clear(&self) {
        let free = std::mem::take(&mut kept().free);
        drop(free);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        kept().keepers -= 1;
        if kept().keepers == 0 {
            self.clear();
        }
    }
}

/// Values that begin on a cache line.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Zeros where the memory is new, else as it was left.
    fn find(len: usize) -> (Buffer, bool) {
        #[cfg(test)]
        MADE.set(MADE.get() + len);
        let found = if len < LEAST { None } else { kept().take(len) };
        let used = found.is_some();
        let memory = found.unwrap_or_else(|| vec![0.0; len + LINE - 1]);
        // Where alignment cannot be computed, any start will do.
        let start = memory.as_ptr().align_offset(4 * LINE).min(LINE - 1);
        (Buffer { memory, start, len }, used)
    }

    /// `len` values, whatever they are.
    pub fn any(len: usize) -> Buffer {
        Self::find(len).0
    }

    pub fn zeros(len: usize) -> Buffer {
        let (mut buffer, used) = Self::find(len);
        if used {
            parallel::chunks(&mut buffer, STRETCH, |_, values| values.fill(0.0));
        }
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len < LEAST {
            return;
        }
        let mut kept = kept();
        if kept.keepers > 0 {
            let (turn, memory) = (kept.turn, std::mem::take(&mut self.memory));
            kept.free.entry(memory.len() + 1 - LINE).or_default().push((turn, memory));
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl From<&[f32]> for Buffer {
    fn from(values: &[f32]) -> Self {
        let mut buffer = Buffer::any(values.len());
        parallel::chunks(&mut buffer, STRETCH, |n, out| out.copy_from_slice(&values[n * STRETCH..][..out.len()]));
        buffer
    }
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Values of all buffers that this thread has asked for.
#[cfg(test)]
pub(crate) fn made() -> usize {
    MADE.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(len: usize) -> usize {
        kept().free.get(&len).map_or(0, Vec::len)
    }

    #[test]
    fn memory_is_kept_while_there_is_a_keeper_and_used_again() {
        // A length of its own: other tests share what is kept.
        let len = LEAST + 12_345;
        drop(Buffer::any(len));
        assert_eq!(free(len), 0);
        let keeper = Keeper::new();
        let mut buffer = Buffer::zeros(len);
        assert!(buffer.iter().all(|&x| x == 0.0) && buffer.as_ptr().cast::<u8>().align_offset(64) == 0);
        buffer.fill(1.0);
        drop(buffer);
        assert_eq!(free(len), 1);
        let again = Buffer::any(len);
        assert!(again.iter().all(|&x| x == 1.0));
        drop(again);
        assert!(Buffer::zeros(len).iter().all(|&x| x == 0.0));
        keeper.turn();
        assert_eq!(free(len), 1);
        keeper.turn();
        assert_eq!(free(len), 0);
        drop(Buffer::any(len));
        keeper.clear();
        assert_eq!(free(len), 0);
        assert_eq!(Buffer::from(&[1.0, 2.0][..])[..], [1.0, 2.0]);
    }
}
