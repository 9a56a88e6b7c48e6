//! Class probabilities of a volume as one 4-D NIfTI, written slice by slice in any order.
//!
//! The file has class after class, a network gives all classes of one slice: slices go to their places in a temporary
//! file on disk, so the probabilities of a volume are never in memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use super::OutputKind;
use super::nifti::{self, Content, VOXEL_OFFSET};
use crate::atomic_file;
use crate::error::{Error, Result};
use crate::geometry::Geometry;

/// Writes float32 `[i, j, k, class]` to `.nii` or `.nii.gz`. Dropped before [`ProbabilityWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct ProbabilityWriter {
    path: PathBuf,
    /// The whole uncompressed file.
    scratch: NamedTempFile,
    slice_len: usize,
    classes: usize,
    written: Vec<bool>,
    /// Bytes of one slice of one class.
    row: Vec<u8>,
}

impl ProbabilityWriter {
    pub fn create(path: &Path, geometry: &Geometry, classes: usize) -> Result<Self> {
        if OutputKind::of(path).ok() != Some(OutputKind::Nifti) {
            return Err(Error::Argument(format!(
                "{}: probabilities are written as NIfTI, expected a name that ends in .nii.gz or .nii",
                path.display()
            )));
        }
        let header = nifti::header(geometry, Content::Probabilities(classes))?;
        let mut scratch = atomic_file::beside(path)?;
        scratch.write_all(&header).map_err(|e| Error::io(path, "write", e))?;
        Ok(ProbabilityWriter {
            path: path.to_path_buf(),
            scratch,
            slice_len: geometry.slice_len(),
            classes,
            written: vec![false; geometry.slices()],
            row: Vec::new(),
        })
    }

    /// Writes slice `k`: `[class, rows, columns]`.
    pub fn write_slice(&mut self, k: usize, class_major: &[f32]) -> Result<()> {
        let slices = self.written.len();
        if k >= slices || class_major.len() != self.classes * self.slice_len {
            return Err(Error::Internal(format!(
                "probabilities: slice {k} of {} numbers, expected {slices} slices of {} classes, {} pixels each",
                class_major.len(),
                self.classes,
                self.slice_len
            )));
        }
        for (class, values) in class_major.chunks_exact(self.slice_len).enumerate() {
            self.row.clear();
            self.row.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let at = VOXEL_OFFSET as u64 + (class * slices + k) as u64 * self.row.len() as u64;
            let file = self.scratch.as_file_mut();
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.write_all(&self.row))
                .map_err(|e| Error::io(&self.path, "write", e))?;
        }
        self.written[k] = true;
        Ok(())
    }

    /// Makes the file appear under its name.
    pub fn finish(mut self) -> Result<()> {
        if let Some(k) = self.written.iter().position(|written| !written) {
            return Err(Error::Internal(format!("probabilities: slice {k} was never written")));
        }
        if !nifti::is_gzip(&self.path) {
            return atomic_file::persist(self.scratch, &self.path);
        }
        let mut packed = atomic_file::beside(&self.path)?;
        pack(self.scratch.as_file_mut(), packed.as_file_mut()).map_err(|e| Error::io(&self.path, "write", e))?;
        atomic_file::persist(packed, &self.path)
    }
}

/// Probabilities hardly shrink; the fastest level takes most of what there is.
fn pack(from: &mut File, to: &mut File) -> io::Result<()> {
    from.rewind()?;
    let mut gzip = GzEncoder::new(BufWriter::with_capacity(1 << 18, to), Compression::fast());
    io::copy(&mut BufReader::with_capacity(1 << 18, from).by_ref(), &mut gzip)?;
    gzip.finish()?.flush()
}
