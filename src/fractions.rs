//! How likely each voxel has each label, in 1/255, on disk rather than in memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::geometry::Geometry;

/// Made by [`FractionsWriter`]; its file has no name and goes with it. May be read by several threads.
#[derive(Debug)]
pub struct Fractions {
    /// `[label - 1, k, j, i]`.
    file: Mutex<File>,
    geometry: Geometry,
    /// Whether a voxel of the slice is more than 0: `[label - 1, k]`.
    present: Vec<bool>,
    digest: [u8; 32],
}

impl Fractions {
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether slice `k` of `label` has a voxel that is not 0.
    pub fn is_present(&self, label: u8, k: usize) -> bool {
        self.index(label, k).is_some_and(|slice| self.present[slice])
    }

    /// Fills `out`, `[rows, columns]`, with round(255 p) of `label` in slice `k`.
    pub fn read(&self, label: u8, k: usize, out: &mut [u8]) -> Result<()> {
        let slice = self.index(label, k).filter(|_| out.len() == self.geometry.slice_len());
        let slice = slice.ok_or_else(|| {
            Error::Internal(format!("probabilities: {} pixels of label {label}, slice {k}", out.len()))
        })?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start((slice * out.len()) as u64)).and_then(|_| file.read_exact(out));
        read.map_err(|source| Error::io(std::env::temp_dir(), "read a temporary file in", source))
    }

    /// SHA-256 of all values.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    fn index(&self, label: u8, k: usize) -> Option<usize> {
        let slices = self.geometry.slices();
        let slice = usize::from(label).checked_sub(1)? * slices + k;
        (k < slices && slice < self.present.len()).then_some(slice)
    }
}

/// Takes the probabilities of the labels 1, 2, ... one after the other, of each slice by slice.
#[derive(Debug)]
pub struct FractionsWriter {
    file: File,
    geometry: Geometry,
    present: Vec<bool>,
    hash: Sha256,
}

impl FractionsWriter {
    /// The file is in the system's folder for temporary files (`TMPDIR`), a byte for each voxel and label.
    pub fn create(geometry: &Geometry) -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile_in(&folder).map_err(|e| Error::io(&folder, "make a temporary file in", e))?;
        Ok(FractionsWriter { file, geometry: geometry.clone(), present: Vec::new(), hash: Sha256::new() })
    }

    /// Takes the next slices, whole ones: probabilities `[k, j, i]`, 0 to 1.
    pub fn write(&mut self, probabilities: &[f32]) -> Result<()> {
        if !probabilities.len().is_multiple_of(self.geometry.slice_len()) {
            return Err(Error::Argument(format!(
                "{} probabilities for slices of a grid of {:?}",
                probabilities.len(),
                self.geometry.size
            )));
        }
        for slice in probabilities.chunks_exact(self.geometry.slice_len()) {
            let bytes: Vec<u8> = slice.iter().map(|p| (255.0 * p).round() as u8).collect();
            self.present.push(bytes.iter().any(|&byte| byte > 0));
            self.hash.update(&bytes);
            let written = self.file.write_all(&bytes);
            written.map_err(|source| Error::io(std::env::temp_dir(), "write a temporary file in", source))?;
        }
        Ok(())
    }

    pub fn finish(self) -> Fractions {
        let FractionsWriter { file, geometry, present, hash } = self;
        Fractions { file: Mutex::new(file), geometry, present, digest: hash.finalize().into() }
    }
}
