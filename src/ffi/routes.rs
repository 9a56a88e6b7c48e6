//! Where a path leads: which reader opens it and which writer writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::control::Control;
use crate::dicom::{self, SegOptions, Series, SeriesChoice};
use crate::error::{Error, Result};
use crate::formats::{OutputKind, VolumeKind, read_volume, write_labels};
use crate::labelmap::Labelmap;
use crate::volume::Volume;

/// Reads a volume: NRRD and NIfTI by the name, all else as DICOM (a folder or a file).
pub(super) fn open_volume(path: &Path, series: Option<&str>, control: &mut Control) -> Result<Arc<Volume>> {
    if path.is_dir() || VolumeKind::of(path).is_none() {
        return open_dicom(&[path.to_path_buf()], series, control);
    }
    if let Some(series) = series {
        return Err(Error::Argument(format!(
            "options->series is {series:?}, but {} is not DICOM and has no series",
            path.display()
        )));
    }
    read_volume(path).map(Arc::new)
}

/// Reads one DICOM series from files and folders.
pub(super) fn open_dicom(paths: &[PathBuf], series: Option<&str>, control: &mut Control) -> Result<Arc<Volume>> {
    let choice: SeriesChoice = series.unwrap_or_default().parse()?;
    let series = Series::open(paths, &choice, control)?;
    Ok(Arc::new(Volume::from_series(Arc::new(series))))
}

/// The series in a folder or file, without their pixels.
pub(super) fn list_series(path: &Path, control: &mut Control) -> Result<Value> {
    let scan = dicom::scan(&[path], control)?;
    let series = scan.series.iter().map(|series| {
        json!({
            "study_uid": series.study_uid,
            "series_uid": series.series_uid,
            "modality": series.modality,
            "description": series.description,
            "number": series.number,
            "images": series.images,
            "rows": series.rows,
            "columns": series.columns,
            "refusal": series.refusal,
        })
    });
    let unreadable =
        scan.unreadable.iter().map(|file| json!({ "path": file.path.to_string_lossy(), "reason": file.reason }));
    Ok(json!({
        "series": series.collect::<Vec<_>>(),
        "unreadable": unreadable.collect::<Vec<_>>(),
        "skipped": scan.skipped,
    }))
}

/// Writes a label map as what the name of `path` says.
pub(super) fn write_labelmap(labelmap: &Labelmap, path: &Path, control: &mut Control) -> Result<()> {
    match OutputKind::of(path)? {
        OutputKind::DicomSeg => dicom::write_seg(labelmap, path, &SegOptions::default(), control),
        _ => write_labels(labelmap, path),
    }
}
