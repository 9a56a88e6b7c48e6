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
