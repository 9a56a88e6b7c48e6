//! Where the image and the labels of a case come from, and how they are read.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::claims::ClaimRules;
use super::{grid, h5, npz};
use crate::dicom::{Seg, Series, SeriesOptions, SeriesSummary, Structures};
use crate::error::{Error, Result};
use crate::formats::{LabelImage, read_labels, read_volume, whole_labels};
use crate::geometry::{Geometry, Vec3};
use crate::volume::Volume;

/// The image of a case.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// NRRD or NIfTI.
    File(PathBuf),
    Series(Arc<SeriesSummary>),
    Stored(Arc<Stored>),
}

/// The labels of a case.
#[derive(Debug, Clone)]
pub enum LabelSource {
    /// NRRD, `.seg.nrrd` or NIfTI.
    File(PathBuf),
    /// A DICOM SEG.
    Seg(PathBuf, Arc<ClaimRules>),
    /// An RT Structure Set.
    Structures(PathBuf, Arc<ClaimRules>),
    Stored(Arc<Stored>),
}

/// Arrays `image` and `label` without a place in the patient.
#[derive(Debug)]
pub struct Stored {
    pub files: StoredFiles,
    /// Distance of columns, rows, slices, mm.
    pub spacing: Vec3,
}

#[derive(Debug)]
pub enum StoredFiles {
    /// An .h5 file of `[slices, rows, columns]`.
    Volume(PathBuf),
    /// .npz files of `[rows, columns]`, in order; never none.
    Slices(Vec<PathBuf>),
}

/// Numbers and the lengths of their axes, the slowest first.
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl ImageSource {
    pub fn read(&self) -> Result<Volume> {
        match self {
            ImageSource::File(path) => read_volume(path),
            ImageSource::Series(series) => {
                Ok(Volume::from_series(Arc::new(Series::from_summary(series, &SeriesOptions::default())?)))
            }
            ImageSource::Stored(stored) => {
                let (geometry, values) = stored.read("image")?;
                Volume::from_memory(geometry, values, stored.to_string())
            }
        }
    }
}

impl LabelSource {
    /// Labels on the grid of the image that they belong to, with the numbers of the file, and the share of the image that
    /// the file covers; the rest is background.
    pub fn read(&self, volume: &Volume) -> Result<(LabelImage, f64)> {
        let image = volume.geometry();
        let mut covered = 1.0;
        let (voxels, labels) = match self {
            LabelSource::File(path) => {
                let found = read_labels(path)?;
                let labels = found.labels.clone();
                covered = found.voxels.len() as f64 / image.len() as f64;
                (grid::placed(found, image).map_err(|e| e.at(path.display()))?, labels)
            }
            LabelSource::Seg(path, rules) => rules.segments(Seg::open(path)?, volume)?,
            LabelSource::Structures(path, rules) => rules.regions(Structures::open(path)?, volume)?,
            LabelSource::Stored(stored) => {
                let (geometry, values) = stored.read("label")?;
                if geometry.size != image.size {
                    let shape = |size: [usize; 3]| format!("{} x {} x {}", size[2], size[1], size[0]);
                    return Err(Error::VolumeFormat(format!(
                        "{stored}: label has {} values, image {}",
                        shape(geometry.size),
                        shape(image.size)
                    )));
                }
                (whole_labels(values, geometry.size).map_err(|e| e.at(stored))?, Vec::new())
            }
        };
        Ok((LabelImage { geometry: image.clone(), voxels, labels, receipt: None }, covered))
    }
}

impl Stored {
    /// The array `name`, and its grid: the patient's axes, since the files know none.
    fn read(&self, name: &str) -> Result<(Geometry, Vec<f32>)> {
        let array = match &self.files {
            StoredFiles::Volume(path) => h5::read(path, name).map_err(|e| e.at(path.display()))?,
            StoredFiles::Slices(paths) => stacked(paths, name)?,
        };
        let [slices, rows, columns] = array.shape[..] else {
            return Err(Error::VolumeFormat(format!(
                "{self}: {name} has the shape {:?}, expected slices, rows, columns",
                array.shape
            )));
        };
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let geometry = Geometry::new([columns, rows, slices], self.spacing, [0.0; 3], axes);
        let geometry = geometry.map_err(|e| Error::VolumeFormat(format!("{self}: {name}: {e}")))?;
        if let Some(at) = array.values.iter().position(|value| !value.is_finite()) {
            return Err(Error::VolumeFormat(format!("{self}: {name}: value {at} is {}", array.values[at])));
        }
        Ok((geometry, array.values))
    }
}

/// Slices of one size as a volume.
fn stacked(paths: &[PathBuf], name: &str) -> Result<Array> {
    let mut volume = Array { shape: Vec::new(), values: Vec::new() };
    for path in paths {
        let slice = npz::read(path, name).map_err(|e| e.at(path.display()))?;
        let &[rows, columns] = &slice.shape[..] else {
            return Err(Error::VolumeFormat(format!(
                "{}: {name} has the shape {:?}, expected rows, columns",
                path.display(),
                slice.shape
            )));
        };
        if volume.shape.is_empty() {
            volume.shape = vec![paths.len(), rows, columns];
        } else if volume.shape[1..] != [rows, columns] {
            return Err(Error::VolumeFormat(format!(
                "{}: {name} has the shape {:?}, the slices before it {:?}",
                path.display(),
                slice.shape,
                &volume.shape[1..]
            )));
        }
        volume.values.extend(slice.values);
    }
    Ok(volume)
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::File(path) => write!(f, "{}", path.display()),
            ImageSource::Series(series) => write!(f, "series {}", series.series_uid),
            ImageSource::Stored(stored) => stored.fmt(f),
        }
    }
}

impl fmt::Display for LabelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelSource::File(path) | LabelSource::Seg(path, _) | LabelSource::Structures(path, _) => {
                write!(f, "{}", path.display())
            }
            LabelSource::Stored(stored) => stored.fmt(f),
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            StoredFiles::Volume(path) => write!(f, "{}", path.display()),
            StoredFiles::Slices(paths) => match &paths[..] {
                [one] => write!(f, "{}", one.display()),
                [first, .., last] => {
                    let last = last.file_name().unwrap_or_default().to_string_lossy();
                    write!(f, "{} to {last}", first.display())
                }
                [] => f.write_str("no slices"),
            },
        }
    }
}
