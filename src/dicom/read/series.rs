//! A validated series: its slices ordered along their normal, on one grid.

use std::path::{Path, PathBuf};

use dicom::object::InMemDicomObject;

use super::aside::Aside;
use super::choice::{SeriesChoice, described, rule_for};
use super::file::DicomFile;
use super::header::Header;
use super::scan::{SeriesSummary, scan};
use super::slice::Slice;
use super::stack::Stack;
use super::tilt::{Shear, Tilt};
use super::{order, pixels};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3};

/// What is read, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesOptions {
    pub choice: SeriesChoice,
    pub tilt: Tilt,
}

impl From<SeriesChoice> for SeriesOptions {
    fn from(choice: SeriesChoice) -> Self {
        SeriesOptions { choice, ..SeriesOptions::default() }
    }
}

/// One slice: an image, a frame of a multi-frame image, or a tile of a mosaic.
#[derive(Debug, Clone)]
pub struct Instance {
    pub path: PathBuf,
    /// Number of the frame in a multi-frame image, from 1.
    pub frame: Option<u32>,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    pub instance_number: Option<i32>,
    /// Image Position (Patient) exactly as the file has it, LPS mm.
    pub position: Vec3,
}

/// A volume of slices; slice k increases along cross(row, column).
#[derive(Debug)]
pub struct Series {
    pub study_uid: String,
    pub series_uid: String,
    /// Empty if the images name none.
    pub frame_of_reference_uid: String,
    /// "CT", "MR", "PT".
    pub modality: String,
    pub description: String,
    /// Sheared where slices are stacked askew and kept so ([`Tilt::Keep`]).
    pub geometry: Geometry,
    /// Slice k of the grid is made of `instances[k]`.
    pub instances: Vec<Instance>,
    /// Whether the grid is another than that of the source slices ([`Tilt::Resample`]).
    pub resampled: bool,
    /// Images of the series that are no part of the volume.
    pub aside: Vec<Aside>,
    /// Data set of `instances[0]` without pixel data: source of the patient, study and equipment modules.
    pub header: InMemDicomObject,
    pub pixels: PixelSource,
}

/// Where the pixels of a series are. The default has none, for a grid that is only written to.
#[derive(Debug, Default)]
pub struct PixelSource {
    slices: Vec<Slice>,
    shear: Option<Shear>,
}

/// One of the volumes that a series holds.
#[derive(Debug)]
pub struct SeriesVolume {
    /// The rule that picks it within its series, such as "time=2".
    pub rule: String,
    /// "volume 2: 10 slices of 64x64, axial (time=2)".
    pub description: String,
    pub images: usize,
    /// Its grid, or why its slices do not make one.
    pub geometry: Result<Geometry>,
}

impl Series {
    /// Opens what `options` picks from `paths` (folders and files). Pixels are decoded later, slice by slice.
    ///
    /// A single file is a volume of one slice (or of its frames), even if its folder holds more of the series.
    pub fn open<P: AsRef<Path>>(paths: &[P], options: &SeriesOptions, control: &mut Control) -> Result<Self> {
        let scan = scan(paths, control)?;
        let (summary, volume) = scan.choose(&options.choice)?;
        Series::of(summary, volume, options.tilt)
    }

    /// Opens one series of a scan, or the volume of it that `options` picks.
    pub fn from_summary(summary: &SeriesSummary, options: &SeriesOptions) -> Result<Self> {
        Series::of(summary, options.choice.pick(summary)?, options.tilt)
    }

    fn of(summary: &SeriesSummary, (stack, aside): (Stack, Vec<Aside>), tilt: Tilt) -> Result<Self> {
        let mut slices = stack.slices;
        let (geometry, shear) = order::arrange(&mut slices, tilt).map_err(|error| error.at(place(summary)))?;
        let Some(first) = slices.first() else {
            return Err(Error::DicomGeometry(format!("{}: no images", place(summary))));
        };
        for Aside { path, reason } in &aside {
            log::warn!("an image of the series is left out: {reason}");
            log::debug!("{}: {reason}", path.display());
        }
        let file = &first.file;
        Ok(Series {
            study_uid: file.study_uid.clone(),
            series_uid: file.series_uid.clone(),
            frame_of_reference_uid: file.frame_of_reference_uid.clone(),
            modality: file.modality.clone(),
            description: file.description.clone(),
            geometry,
            header: data_set(file)?,
            instances: slices.iter().map(Instance::of).collect(),
            resampled: shear.is_some(),
            aside,
            pixels: PixelSource { slices, shear },
        })
    }

    /// Decodes slice `k` into `out` (`[rows, columns]` of the grid), rescaled to modality units.
    ///
    /// MONOCHROME1 is a matter of display: its values are not inverted.
    pub fn decode_slice(&self, k: usize, out: &mut [f32]) -> Result<()> {
        let PixelSource { slices, shear } = &self.pixels;
        let slice = slices
            .get(k)
            .ok_or_else(|| Error::Argument(format!("slice {k} of a series of {} slices", slices.len())))?;
        match shear {
            None => pixels::decode(slice, out),
            Some(shear) => {
                let [columns, rows] = shear.source;
                let mut source = vec![0.0; columns * rows];
                pixels::decode(slice, &mut source)?;
                shear.shift(k, &source, out);
                Ok(())
            }
        }
    }
}

impl SeriesSummary {
    /// What there is to choose from within the series, without pixels.
    pub fn volumes(&self, tilt: Tilt) -> Result<Vec<SeriesVolume>> {
        let (stacks, _) = self.stacks()?;
        let volume = |stack: &Stack| {
            let mut slices = stack.slices.clone();
            SeriesVolume {
                rule: rule_for(stack, &stacks),
                description: described(stack),
                images: slices.len(),
                geometry: order::arrange(&mut slices, tilt).map(|(geometry, _)| geometry),
            }
        };
        Ok(stacks.iter().map(volume).collect())
    }
}

impl Instance {
    fn of(slice: &Slice) -> Self {
        let Header { path, sop_class_uid, sop_instance_uid, instance_number, .. } = &*slice.file;
        Instance {
            path: path.clone(),
            frame: slice.frame,
            sop_class_uid: sop_class_uid.clone(),
            sop_instance_uid: sop_instance_uid.clone(),
            instance_number: *instance_number,
            position: slice.position.clone().unwrap_or_default(),
        }
    }
}

fn place(summary: &SeriesSummary) -> String {
    format!("series {}", summary.series_uid)
}

/// Every slice must be complete: pixels, and where they lie.
pub(super) fn complete(slices: &[Slice]) -> Result<()> {
    let parse = |slice: &Slice, reason: &str| Err(Error::DicomParse(format!("{}: {reason}", slice.place())));
    for slice in slices {
        if let Err(reason) = &slice.format {
            return parse(slice, reason);
        }
        if slice.file.pixels.is_none() {
            return parse(slice, "no PixelData (7FE0,0010)");
        }
        if let Some(reason) = &slice.file.implausible {
            return parse(slice, reason);
        }
        let missing =
            [slice.position.as_ref().err(), slice.orientation.as_ref().err(), slice.pixel_spacing.as_ref().err()];
        if let Some(reason) = missing.into_iter().flatten().next() {
            return Err(Error::DicomGeometry(format!("{}: {reason}", slice.place())));
        }
    }
    Ok(())
}

/// The data set before the pixels.
pub(in crate::dicom) fn data_set(header: &Header) -> Result<InMemDicomObject> {
    let path = &header.path;
    let broken = |reason: &str| Error::DicomParse(format!("{}: {reason}", path.display()));
    let Some(pixels) = header.pixels else {
        return Err(broken("no PixelData (7FE0,0010)"));
    };
    let file = DicomFile::open(path)?.ok_or_else(|| broken("not a DICOM file any more"))?;
    file.parsed(pixels.element)
}
