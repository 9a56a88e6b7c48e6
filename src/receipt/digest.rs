//! SHA-256 of large things on all cores: the hash of the hashes of their parts.

use std::collections::BTreeMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::volume::Volume;

/// Values of a part.
const PART: usize = 1 << 18;

pub type Sum = [u8; 32];

pub fn sha256(bytes: &[u8]) -> Sum {
    Sha256::digest(bytes).into()
}

pub fn hex(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the sums of parts.
pub fn joined(sums: impl IntoIterator<Item = Sum>) -> Sum {
    let mut hash = Sha256::new();
    sums.into_iter().for_each(|sum| hash.update(sum));
    hash.finalize().into()
}

/// Of float32 values, little-endian, in parts of [`PART`].
pub fn values(values: &[f32]) -> Sum {
    let sums: Vec<Sum> = values.par_chunks(PART).map(|part| sha256(bytemuck::cast_slice(part))).collect();
    joined(sums)
}

/// Of labels, `[k, j, i]`: of each slice of `slice_len` labels, then of those.
pub fn slices(labels: &[u8], slice_len: usize) -> String {
    let sums: Vec<Sum> = labels.par_chunks(slice_len.max(1)).map(sha256).collect();
    hex(&joined(sums))
}

/// Of the grid and the voxels of a volume that lies in memory.
pub fn volume(volume: &Volume) -> String {
    let geometry = volume.geometry();
    let mut grid: Vec<u8> = geometry.size.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
    let numbers = geometry.spacing.iter().chain(&geometry.origin).chain(geometry.direction.as_flattened());
    grid.extend(numbers.flat_map(|x| x.to_le_bytes()));
    hex(&joined([sha256(&grid), values(volume.voxels().unwrap_or_default())]))
}

/// Of a network's parameters and running statistics, whatever the order that they come in.
#[derive(Debug, Clone, Default)]
pub struct Weights(BTreeMap<String, Sum>);

impl Weights {
    /// A tensor that came before, for another device, is not hashed again.
    pub fn add(&mut self, name: &str, tensor: &[f32]) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), values(tensor));
        }
    }

    pub fn finish(&self) -> Sum {
        joined(self.0.iter().flat_map(|(name, &sum)| [sha256(name.as_bytes()), sum]))
    }
}
