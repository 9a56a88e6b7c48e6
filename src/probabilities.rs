//! Class probabilities on their way from the network to a NIfTI file or to the label map, on disk rather than in memory.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::formats::ProbabilityWriter;
use crate::fractions::{Fractions, FractionsWriter};
use crate::geometry::Geometry;
use crate::preprocess::Preprocessor;

/// Keeps probabilities at the network's size, slice by slice, in a file without a name; of those on the volume's grid only one
/// class of one [`View::block`](crate::orient::View::block) is in memory at a time.
pub struct Probabilities {
    /// The NIfTI file, or the folder of the file without a name.
    place: PathBuf,
    writer: Option<ProbabilityWriter>,
    fractions: Option<FractionsWriter>,
    scratch: BufWriter<File>,
    classes: usize,
}

impl Probabilities {
    /// For a file `path`, .nii or .nii.gz, which appears when [`Probabilities::finish`] succeeds, and to `keep`; `None` for
    /// neither.
    pub fn create(path: Option<&Path>, keep: bool, geometry: &Geometry, classes: usize) -> Result<Option<Self>> {
        if path.is_none() && !keep {
            return Ok(None);
        }
        let writer = path.map(|path| ProbabilityWriter::create(path, geometry, classes)).transpose()?;
        let fractions = keep.then(|| FractionsWriter::create(geometry)).transpose()?;
        let folder = path.map_or_else(std::env::temp_dir, |path| atomic_file::folder_of(path).to_path_buf());
        let scratch = tempfile::tempfile_in(&folder).map_err(|e| Error::io(&folder, "make a temporary file in", e))?;
        let place = path.map_or(folder, Into::into);
        Ok(Some(Probabilities { place, writer, fractions, scratch: BufWriter::new(scratch), classes }))
    }

    /// Appends the next slices: `[n, classes, h, w]`.
    pub fn store(&mut self, values: &[f32]) -> Result<()> {
        self.scratch.write_all(bytemuck::cast_slice(values)).map_err(|e| Error::io(&self.place, "write", e))
    }

    /// Resizes every class to the volume's grid, writes the file, and returns what the label map keeps.
    pub fn finish(self, preprocessor: &Preprocessor, control: &mut Control) -> Result<Option<Fractions>> {
        let failed = |e| Error::io(&self.place, "write", e);
        let mut scratch = self.scratch.into_inner().map_err(|e| failed(e.into_error()))?;
        let slice_len: usize = preprocessor.size().iter().product();
        let (mut writer, mut fractions) = (self.writer, self.fractions);
        let mut plane = vec![0f32; slice_len];
        let blocks = preprocessor.view().blocks();
        let mut voxels = vec![0f32; preprocessor.view().block_len()];
        for class in 0..self.classes {
            for block in &blocks {
                for k in block.view.clone() {
                    control.check()?;
                    let at = (k * self.classes + class) * slice_len * size_of::<f32>();
                    scratch.seek(SeekFrom::Start(at as u64)).map_err(failed)?;
                    scratch.read_exact(bytemuck::cast_slice_mut(&mut plane)).map_err(failed)?;
                    preprocessor.place_probabilities(k, &plane, &mut voxels)?;
                }
                if let Some(writer) = &mut writer {
                    writer.write(&voxels)?;
                }
                // Class 0 is the background.
                if let Some(fractions) = fractions.as_mut().filter(|_| class > 0) {
                    fractions.write(&voxels)?;
                }
            }
            control.report(Progress::of(Stage::Write, class + 1, self.classes))?;
        }
        if let Some(writer) = writer {
            writer.finish()?;
        }
        Ok(fractions.map(FractionsWriter::finish))
    }
}
