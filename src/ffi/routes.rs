//! Where a path leads: which reader opens it and which writer writes it, by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;
use crate::volume::Volume;

/// Reads a volume: NRRD and NIfTI by the ending, all else as DICOM (a folder or a file).
pub(super) fn open_volume(path: &Path, series: Option<&str>, control: &mut Control) -> Result<Arc<Volume>> {
    if is_image_file(path) {
        if let Some(series) = series {
            return Err(Error::Argument(format!(
                "options->series is {series:?}, but {} is not DICOM and has no series",
                path.display()
            )));
        }
        return not_built();
    }
    open_dicom(&[path.to_path_buf()], series, control)
}

/// Reads one DICOM series from files and folders.
pub(super) fn open_dicom(paths: &[PathBuf], series: Option<&str>, control: &mut Control) -> Result<Arc<Volume>> {
    let _ = (paths, series, control);
    not_built()
}

/// The series in a folder or file, without their pixels.
pub(super) fn list_series(path: &Path, control: &mut Control) -> Result<Vec<serde_json::Value>> {
    let _ = (path, control);
    not_built()
}

/// Writes a label map as what the name of `path` says.
pub(super) fn write_labelmap(labelmap: &Labelmap, path: &Path, control: &mut Control) -> Result<()> {
    if ends_with(path, ".dcm") {
        write_seg(labelmap, path, &SegWishes::default(), control)
    } else if is_image_file(path) {
        not_built()
    } else {
        Err(Error::Argument(format!(
            "{}: unknown ending, expected .dcm (DICOM SEG), .seg.nrrd, .nrrd, .nii or .nii.gz",
            path.display()
        )))
    }
}

/// What the caller decides about a DICOM SEG; `None` leaves it to the library.
#[derive(Default)]
pub(super) struct SegWishes<'a> {
    pub series_description: Option<&'a str>,
    pub content_label: Option<&'a str>,
    pub content_description: Option<&'a str>,
    pub content_creator: Option<&'a str>,
    pub series_number: Option<i32>,
    pub deterministic: bool,
}

/// Writes a DICOM SEG, whatever the name of `path`.
pub(super) fn write_seg(labelmap: &Labelmap, path: &Path, wishes: &SegWishes, control: &mut Control) -> Result<()> {
    let _ = (path, wishes, control);
    if labelmap.source().series().is_none() {
        return Err(Error::Argument(format!(
            "a DICOM SEG refers to the images it segments, but the volume ({}) is not DICOM; write .seg.nrrd or .nii.gz",
            labelmap.source().origin()
        )));
    }
    not_built()
}

/// Volumes, extents and intensities of the labels.
pub(super) fn statistics(labelmap: &Labelmap, control: &mut Control) -> Result<serde_json::Value> {
    let _ = (labelmap, control);
    not_built()
}

/// A contact sheet of slices with their labels.
pub(super) fn write_picture(labelmap: &Labelmap, path: &Path, control: &mut Control) -> Result<()> {
    let _ = (labelmap, path, control);
    not_built()
}

fn is_image_file(path: &Path) -> bool {
    [".nrrd", ".nhdr", ".nii", ".nii.gz"].iter().any(|ending| ends_with(path, ending))
}

fn ends_with(path: &Path, ending: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().ends_with(ending))
}

fn not_built<T>() -> Result<T> {
    Err(Error::Internal("not built yet".into()))
}
