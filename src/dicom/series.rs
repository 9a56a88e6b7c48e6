//! A validated series: single-frame images ordered along their normal, on one regular grid.

use std::path::PathBuf;

use dicom::object::InMemDicomObject;

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
    /// Decodes slice `k` into `out` (`[rows, columns]`), rescaled to modality units.
    pub fn decode_slice(&self, k: usize, out: &mut [f32]) -> Result<()> {
        let _ = (k, out);
        Err(Error::Internal("not built yet".into()))
    }
}
