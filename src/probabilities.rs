//! Class probabilities on their way from the network to a NIfTI file, on disk rather than in memory.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::formats::ProbabilityWriter;
use crate::geometry::Geometry;
use crate::preprocess::Preprocessor;

/// Keeps probabilities at the network's size, slice by slice, in a file without a name; only one class on the
/// volume's grid is in memory at a time.
pub struct Probabilities {
    path: PathBuf,
    writer: ProbabilityWriter,
    scratch: BufWriter<File>,
    classes: usize,
}

impl Probabilities {
    /// `path` ends in .nii or .nii.gz; it appears when [`Probabilities::finish`] succeeds.
    pub fn create(path: &Path, geometry: &Geometry, classes: usize) -> Result<Self> {
        let writer = ProbabilityWriter::create(path, geometry, classes)?;
        let folder = atomic_file::folder_of(path);
        let scratch = tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, "make a temporary file in", e))?;
        Ok(Probabilities { path: path.to_path_buf(), writer, scratch: BufWriter::new(scratch), classes })
    }

    /// Appends the next slices: `[n, classes, h, w]`.
    pub fn store(&mut self, values: &[f32]) -> Result<()> {
        self.scratch.write_all(bytemuck::cast_slice(values)).map_err(|e| Error::io(&self.path, "write", e))
    }

    /// Resizes every class to the volume's grid and writes the file.
    pub fn finish(self, preprocessor: &Preprocessor, voxels: usize, control: &mut Control) -> Result<()> {
        let failed = |e| Error::io(&self.path, "write", e);
        let mut scratch = self.scratch.into_inner().map_err(|e| failed(e.into_error()))?;
        let slice_len: usize = preprocessor.size().iter().product();
        let mut writer = self.writer;
        let mut plane = vec![0f32; slice_len];
        let mut volume = vec![0f32; voxels];
        for class in 0..self.classes {
            for k in 0..preprocessor.slices() {
                control.check()?;
                let at = (k * self.classes + class) * slice_len * size_of::<f32>();
                scratch.seek(SeekFrom::Start(at as u64)).map_err(failed)?;
                scratch.read_exact(bytemuck::cast_slice_mut(&mut plane)).map_err(failed)?;
                preprocessor.place_probabilities(k, &plane, &mut volume)?;
            }
            writer.write_class(&volume)?;
            control.report(Progress::of(Stage::Write, class + 1, self.classes))?;
        }
        writer.finish()
    }
}
