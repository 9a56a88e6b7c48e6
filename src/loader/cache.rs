//! Prepared cases in memory, up to a number of bytes; the one that was used longest ago goes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::PreparedCase;
use crate::error::Result;

/// Where cases come from.
pub trait Source: Send + Sync {
    fn cases(&self) -> usize;

    /// Reads and prepares a case; errors name it.
    fn prepare(&self, case: usize) -> Result<PreparedCase>;
}

pub(super) struct Cache {
    source: Arc<dyn Source>,
    memory: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    cases: BTreeMap<usize, (u64, Arc<PreparedCase>)>,
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

impl Cache {
    pub fn new(source: Arc<dyn Source>, memory: u64) -> Self {
        Cache { source, memory, held: Mutex::default() }
    }

    pub fn cases(&self) -> usize {
        self.source.cases()
    }

    /// The case, from memory or read again.
    pub fn get(&self, case: usize) -> Result<Arc<PreparedCase>> {
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.clock += 1;
            let now = held.clock;
            if let Some((used, prepared)) = held.cases.get_mut(&case) {
                *used = now;
                return Ok(prepared.clone());
            }
        }
        let prepared = Arc::new(self.source.prepare(case)?);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        while held.bytes + prepared.bytes() > self.memory {
            let Some((&oldest, _)) = held.cases.iter().min_by_key(|(_, (used, _))| *used) else { break };
            if let Some((_, gone)) = held.cases.remove(&oldest) {
                held.bytes -= gone.bytes();
            }
        }
        if held.bytes + prepared.bytes() <= self.memory
            && held.cases.insert(case, (held.clock, prepared.clone())).is_none()
        {
            held.bytes += prepared.bytes();
        }
        Ok(prepared)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::config::{Input, ModelConfig};
    use crate::geometry::Geometry;
    use crate::loader::prepare;
    use crate::network::Architecture;
    use crate::volume::Volume;

    /// Ten cases of 1 to 10 slices of 16 x 16, and the number of reads.
    struct Cases(AtomicU64);

    impl Source for Cases {
        fn cases(&self) -> usize {
            10
        }

        fn prepare(&self, case: usize) -> Result<PreparedCase> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let input = Input { size: Some([16, 16]), ..Input::default() };
            let config = ModelConfig { input, ..ModelConfig::undescribed(Architecture::tiny(16, 2)) };
            let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            let grid = Geometry::new([16, 16, case + 1], [1.0; 3], [0.0; 3], axes)?;
            let count = grid.len();
            prepare(&config, &Arc::new(Volume::from_memory(grid, vec![0.0; count], "test")?), vec![0; count], None)
        }
    }

    const SLICE: u64 = 5 * 256;

    #[test]
    fn never_holds_more_than_its_memory() {
        for slices in [0, 1, 9, 20, 54, 55] {
            let cases = Arc::new(Cases(AtomicU64::new(0)));
            let cache = Cache::new(cases.clone(), slices * SLICE);
            let order = (0..10).chain((0..10).rev()).chain([3, 3, 9, 0, 9, 5, 3]);
            for case in order {
                let prepared = cache.get(case).unwrap();
                assert_eq!(prepared.present().len(), case + 1);
                let held = cache.held.lock().unwrap();
                let bytes: u64 = held.cases.values().map(|(_, case)| case.bytes()).sum();
                assert_eq!(held.bytes, bytes);
                assert!(bytes <= slices * SLICE, "{bytes} bytes, allowed {}", slices * SLICE);
            }
            let reads = cases.0.load(Ordering::SeqCst);
            assert!(if slices == 55 { reads == 10 } else { reads > 10 }, "{reads} reads with {slices} slices");
        }
    }

    #[test]
    fn keeps_what_was_used_last() {
        let cases = Arc::new(Cases(AtomicU64::new(0)));
        let cache = Cache::new(cases.clone(), 6 * SLICE);
        let reads = |case: usize| {
            let before = cases.0.load(Ordering::SeqCst);
            cache.get(case).unwrap();
            cases.0.load(Ordering::SeqCst) - before
        };
        assert_eq!([0, 1, 2, 0].map(reads), [1, 1, 1, 0]);
        // Four slices make room by forgetting the two and the three, which were used before the one.
        assert_eq!([3, 0, 3, 1].map(reads), [1, 0, 0, 1]);
    }
}
