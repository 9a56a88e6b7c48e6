//! Which slices make up batch n: a shuffle of all slices for each epoch, some exchanged for slices with labels.

use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::random;

/// How slices are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Slices in a batch; the last one of an epoch may have fewer.
    pub batch: usize,
    /// Share of slices that are drawn from those that show a label, each label in turn.
    pub foreground: f64,
}

pub(super) struct Order {
    sampling: Sampling,
    seed: u64,
    /// Case and slice of every training slice.
    all: Vec<(usize, usize)>,
    /// Indices into `all` of the slices that show each foreground class that occurs.
    showing: Vec<Vec<usize>>,
    /// The latest epoch's shuffle.
    shuffled: Mutex<Option<(u64, Vec<u32>)>>,
}

impl Order {
    /// `present` has the classes on each slice of each case.
    pub fn new(present: Vec<Vec<Vec<u8>>>, classes: usize, sampling: Sampling, seed: u64) -> Result<Self> {
        let mut all = Vec::new();
        let mut showing = vec![Vec::new(); classes];
        for (case, slices) in present.iter().enumerate() {
            for (slice, labels) in slices.iter().enumerate() {
                labels.iter().for_each(|&label| showing[usize::from(label)].push(all.len()));
                all.push((case, slice));
            }
        }
        if all.is_empty() {
            return Err(Error::Argument("there are no training slices".into()));
        }
        showing.retain(|slices| !slices.is_empty());
        Ok(Order { sampling, seed, all, showing, shuffled: Mutex::default() })
    }

    pub fn slices(&self) -> usize {
        self.all.len()
    }

    pub fn batches_per_epoch(&self) -> u64 {
        self.all.len().div_ceil(self.sampling.batch) as u64
    }

    /// Cases and slices of batch `n`.
    pub fn batch(&self, n: u64) -> Vec<(usize, usize)> {
        let (epoch, within) = (n / self.batches_per_epoch(), (n % self.batches_per_epoch()) as usize);
        let first = within * self.sampling.batch;
        let last = (first + self.sampling.batch).min(self.all.len());
        let mut random = random::stream(self.seed, "sampling", &[n]);
        let mut turn = random.below(self.showing.len().max(1));
        let order = self.shuffle(epoch, first..last);
        let mut choose = |ordinary: u32| {
            if self.showing.is_empty() || !random.happens(self.sampling.foreground) {
                return self.all[ordinary as usize];
            }
            turn = (turn + 1) % self.showing.len();
            let slices = &self.showing[turn];
            self.all[slices[random.below(slices.len())]]
        };
        order.into_iter().map(&mut choose).collect()
    }

    fn shuffle(&self, epoch: u64, range: std::ops::Range<usize>) -> Vec<u32> {
        let mut held = self.shuffled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.as_ref().is_none_or(|(number, _)| *number != epoch) {
            let mut order: Vec<u32> = (0..self.all.len() as u32).collect();
            random::stream(self.seed, "epoch", &[epoch]).shuffle(&mut order);
            *held = Some((epoch, order));
        }
        held.as_ref().map(|(_, order)| order[range].to_vec()).unwrap_or_default()
    }
}
