//! Voxels at which two results are not the same.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::labelmap::Labelmap;

/// Collects voxels of a grid, each as often as it likes.
pub struct Marks {
    size: [usize; 3],
    /// A bit for each voxel `[k, j, i]`.
    bits: Vec<u64>,
}

/// How many voxels differ, and where: columns, rows, slices, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differences {
    pub voxels: usize,
    pub slices: usize,
    /// In the order of the voxels.
    pub first: Option<[usize; 3]>,
    /// Lowest and highest index along each axis.
    pub within: Option<[[usize; 3]; 2]>,
}

impl Marks {
    pub fn new(size: [usize; 3]) -> Result<Self> {
        let count = size.iter().product::<usize>().div_ceil(64);
        let mut bits = Vec::new();
        bits.try_reserve_exact(count).map_err(|_| Error::OutOfMemory("no memory to compare voxels".into()))?;
        bits.resize(count, 0);
        Ok(Marks { size, bits })
    }

    /// Marks the voxels of slice `k` at which `one` and `other`, `[rows, columns]`, differ.
    pub fn compare<T: PartialEq>(&mut self, k: usize, one: &[T], other: &[T]) {
        let start = k * self.size[0] * self.size[1];
        for (at, _) in one.iter().zip(other).enumerate().filter(|(_, (one, other))| one != other) {
            self.bits[(start + at) / 64] |= 1 << ((start + at) % 64);
        }
    }

    pub fn count(&self) -> Differences {
        let [columns, rows, _] = self.size;
        let mut found = Differences { voxels: 0, slices: 0, first: None, within: None };
        let mut last = None;
        for (word, &bits) in self.bits.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
                let at = 64 * word + bit;
                let voxel = [at % columns, at / columns % rows, at / columns / rows];
                found.voxels += 1;
                found.slices += usize::from(last != Some(voxel[2]));
                last = Some(voxel[2]);
                found.first.get_or_insert(voxel);
                let [low, high] = found.within.get_or_insert([voxel; 2]);
                for axis in 0..3 {
                    low[axis] = low[axis].min(voxel[axis]);
                    high[axis] = high[axis].max(voxel[axis]);
                }
            }
        }
        found
    }
}

impl Differences {
    /// Between labels `[k, j, i]` and a label map of the same grid.
    pub fn of_labels(labels: &[u8], labelmap: &Labelmap) -> Result<Self> {
        let geometry = labelmap.geometry();
        if labels.len() != geometry.len() {
            return Err(Error::Internal(format!("{} labels for a grid of {:?}", labels.len(), geometry.size)));
        }
        let mut marks = Marks::new(geometry.size)?;
        let len = geometry.slice_len();
        labelmap.for_each_slice(|k, slice| marks.compare(k, &labels[k * len..][..len], slice))?;
        Ok(marks.count())
    }
}
