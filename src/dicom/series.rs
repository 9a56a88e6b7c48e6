//! A validated series: single-frame images ordered along their normal, on one regular grid.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use dicom::object::InMemDicomObject;

use super::choice::SeriesChoice;
use super::file::DicomFile;
use super::header::Header;
use super::scan::{SeriesSummary, scan};
use super::{order, pixels};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3};

/// One image of a series, in slice order.
#[derive(Debug, Clone)]
pub struct Instance {
    pub path: PathBuf,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    pub instance_number: Option<i32>,
    /// Image Position (Patient) exactly as the file has it, LPS mm.
    pub position: Vec3,
}

/// A regular volume of single-frame instances; slice k increases along cross(row, column).
#[derive(Debug)]
pub struct Series {
    pub study_uid: String,
    pub series_uid: String,
    /// Empty if the images name none.
    pub frame_of_reference_uid: String,
    /// "CT", "MR", "PT".
    pub modality: String,
    pub description: String,
    pub geometry: Geometry,
    /// Slice k of the grid is `instances[k]`.
    pub instances: Vec<Instance>,
    /// Data set of `instances[0]` without pixel data: source of the patient, study and equipment modules.
    pub header: InMemDicomObject,
}

impl Series {
    /// Opens the series that `choice` picks from `paths` (folders and files). Pixels are decoded later, slice by slice.
    ///
    /// A single file is a volume of one slice, even if its folder holds more of the series.
    pub fn open<P: AsRef<Path>>(paths: &[P], choice: &SeriesChoice, control: &mut Control) -> Result<Self> {
        let scan = scan(paths, control)?;
        Series::from_summary(scan.choose(choice)?)
    }

    /// Orders and checks the files of one series of a scan.
    pub fn from_summary(summary: &SeriesSummary) -> Result<Self> {
        let mut slices = summary.headers.clone();
        readable(&slices)?;
        let geometry = order::arrange(&mut slices).map_err(|error| error.at(place(summary)))?;
        let Some(first) = slices.first() else {
            return Err(Error::DicomGeometry(format!("{}: no images", place(summary))));
        };
        let first_header = data_set(first)?;
        Ok(Series {
            study_uid: first.study_uid.clone(),
            series_uid: first.series_uid.clone(),
            frame_of_reference_uid: first.frame_of_reference_uid.clone(),
            modality: first.modality.clone(),
            description: first.description.clone(),
            geometry,
            header: first_header,
            instances: slices.into_iter().map(Instance::of).collect(),
        })
    }

    /// Decodes slice `k` into `out` (`[rows, columns]`), rescaled to modality units.
    ///
    /// MONOCHROME1 is a matter of display: its values are not inverted.
    pub fn decode_slice(&self, k: usize, out: &mut [f32]) -> Result<()> {
        let instance = self
            .instances
            .get(k)
            .ok_or_else(|| Error::Argument(format!("slice {k} of a series of {} slices", self.instances.len())))?;
        pixels::decode(&instance.path, self.geometry.rows(), self.geometry.columns(), out)
    }
}

impl Instance {
    fn of(header: Header) -> Self {
        Instance {
            path: header.path,
            sop_class_uid: header.sop_class_uid,
            sop_instance_uid: header.sop_instance_uid,
            instance_number: header.instance_number,
            position: header.position.unwrap_or_default(),
        }
    }
}

fn place(summary: &SeriesSummary) -> String {
    format!("series {}", summary.series_uid)
}

/// Every file of the series must be a complete slice.
fn readable(slices: &[Header]) -> Result<()> {
    for slice in slices {
        let file = slice.path.display();
        if let Some(reason) = slice.refusal() {
            return Err(Error::DicomUnsupported(format!("{file}: {reason}")));
        }
        if let Err(reason) = &slice.format {
            return Err(Error::DicomParse(format!("{file}: {reason}")));
        }
        if slice.pixels.is_none() {
            return Err(Error::DicomParse(format!("{file}: no PixelData (7FE0,0010)")));
        }
        if let Some(reason) = &slice.implausible {
            return Err(Error::DicomParse(format!("{file}: {reason}")));
        }
        if slice.image_type.split('\\').any(|part| part.trim() == "MOSAIC") {
            log::warn!("a Siemens mosaic is read as the one flat image that it is, not as a volume");
        }
    }
    Ok(())
}

/// The data set before the pixels. The parser may panic on what the walk let pass.
pub(super) fn data_set(header: &Header) -> Result<InMemDicomObject> {
    let path = &header.path;
    let broken = |reason: &str| Error::DicomParse(format!("{}: {reason}", path.display()));
    let Some(pixels) = header.pixels else {
        return Err(broken("no PixelData (7FE0,0010)"));
    };
    let file = DicomFile::open(path)?.ok_or_else(|| broken("not a DICOM file any more"))?;
    catch_unwind(AssertUnwindSafe(|| file.into_data_set(&pixels)))
        .unwrap_or_else(|_| Err(broken("the data set is corrupt")))
}
