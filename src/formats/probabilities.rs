//! Class probabilities of a volume as one 4-D NIfTI, written in the order of the file, class after class.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use super::OutputKind;
use super::nifti::{self, Content};
use crate::atomic_file;
use crate::error::{Error, Result};
use crate::geometry::Geometry;

/// Writes float32 `[i, j, k, class]` to `.nii` or `.nii.gz`. Dropped before [`ProbabilityWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct ProbabilityWriter {
    path: PathBuf,
    sink: Sink,
    /// Values of all classes, and how many of them are written.
    expected: usize,
    written: usize,
}

#[derive(Debug)]
enum Sink {
    Plain(BufWriter<NamedTempFile>),
    Gzip(GzEncoder<BufWriter<NamedTempFile>>),
}

impl ProbabilityWriter {
    pub fn create(path: &Path, geometry: &Geometry, classes: usize) -> Result<Self> {
        super::check_grid(geometry, path)?;
        if OutputKind::of(path).ok() != Some(OutputKind::Nifti) {
            return Err(Error::Argument(format!(
                "{}: probabilities are written as NIfTI, expected a name that ends in .nii.gz or .nii",
                path.display()
            )));
        }
        let file = BufWriter::with_capacity(1 << 18, atomic_file::beside(path)?);
        // Probabilities hardly shrink; the fastest level takes most of what there is.
        let sink = if nifti::is_gzip(path) {
            Sink::Gzip(GzEncoder::new(file, Compression::fast()))
        } else {
            Sink::Plain(file)
        };
        let expected = classes * geometry.len();
        let mut writer = ProbabilityWriter { path: path.into(), sink, expected, written: 0 };
        writer.put(&nifti::header(geometry, Content::Probabilities(classes))?)?;
        Ok(writer)
    }

    /// Writes the next values: `[class, k, j, i]`, as many as the caller has at a time.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        if values.len() > self.expected - self.written {
            return Err(Error::Internal(format!(
                "probabilities: {} values after {}, expected {} in all",
                values.len(),
                self.written,
                self.expected
            )));
        }
        for part in values.chunks(1 << 16) {
            let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.put(&bytes)?;
        }
        self.written += values.len();
        Ok(())
    }

    /// Makes the file appear under its name.
    pub fn finish(self) -> Result<()> {
        if self.written != self.expected {
            return Err(Error::Internal(format!(
                "probabilities: {} of {} values were written",
                self.written, self.expected
            )));
        }
        let failed = |e| Error::io(&self.path, "write", e);
        let buffered = match self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(gzip) => gzip.finish().map_err(failed)?,
        };
        let file = buffered.into_inner().map_err(|e| failed(e.into_error()))?;
        atomic_file::persist(file, &self.path)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let done = match &mut self.sink {
            Sink::Plain(file) => file.write_all(bytes),
            Sink::Gzip(gzip) => gzip.write_all(bytes),
        };
        done.map_err(|e| Error::io(&self.path, "write", e))
    }
}
