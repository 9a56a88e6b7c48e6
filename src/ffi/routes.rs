//! Where a path leads: which reader opens it and which writer writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::volume::geometry_json;
use crate::control::Control;
use crate::dicom::{self, SegOptions, Series, SeriesOptions, SeriesVolume, Tilt};
use crate::error::{Error, Result};
use crate::formats::{OutputKind, VolumeKind, read_volume, write_labels};
use crate::labelmap::Labelmap;
use crate::volume::Volume;

/// Which series is read, and how, as text; `None` as usual.
pub(super) struct Read<'a> {
    pub series: Option<&'a str>,
    pub tilt: Option<&'a str>,
}

/// Reads a volume: NRRD and NIfTI by the name, all else as DICOM (a folder or a file).
pub(super) fn open_volume(path: &Path, read: Read, control: &mut Control) -> Result<Arc<Volume>> {
    if path.is_dir() || VolumeKind::of(path).is_none() {
        return open_dicom(&[path.to_path_buf()], read, control);
    }
    if let Some(series) = read.series {
        return Err(Error::Argument(format!(
            "options->series is {series:?}, but {} is not DICOM and has no series",
            path.display()
        )));
    }
    read_volume(path).map(Arc::new)
}

/// Reads one DICOM series from files and folders.
pub(super) fn open_dicom(paths: &[PathBuf], read: Read, control: &mut Control) -> Result<Arc<Volume>> {
    let choice = read.series.unwrap_or_default().parse()?;
    let tilt = read.tilt.map_or(Ok(Tilt::default()), str::parse)?;
    let series = Series::open(paths, &SeriesOptions { choice, tilt }, control)?;
    Ok(Arc::new(Volume::from_series(Arc::new(series))))
}

/// The series in a folder or file, without their pixels.
pub(super) fn list_series(path: &Path, control: &mut Control) -> Result<Value> {
    let scan = dicom::scan(&[path], control)?;
    let series = scan.series.iter().map(|series| {
        let (volumes, refusal) = match (&series.refusal, series.volumes(Tilt::default())) {
            (Some(refusal), _) => (Vec::new(), Some(refusal.clone())),
            (None, Ok(volumes)) => (volumes.iter().map(volume_json).collect(), None),
            (None, Err(error)) => (Vec::new(), Some(error.to_string())),
        };
        json!({
            "study_uid": series.study_uid,
            "series_uid": series.series_uid,
            "modality": series.modality,
            "description": series.description,
            "number": series.number,
            "images": series.images,
            "rows": series.rows,
            "columns": series.columns,
            "body_part": series.body_part,
            "contrast": series.contrast,
            "volumes": volumes,
            "refusal": refusal,
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

fn volume_json(volume: &SeriesVolume) -> Value {
    json!({
        "rule": volume.rule,
        "description": volume.description,
        "images": volume.images,
        "geometry": volume.geometry.as_ref().ok().map(geometry_json),
        "refusal": volume.geometry.as_ref().err().map(Error::to_string),
    })
}

/// Writes a label map as what the name of `path` says.
pub(super) fn write_labelmap(labelmap: &Labelmap, path: &Path, control: &mut Control) -> Result<()> {
    match OutputKind::of(path)? {
        OutputKind::DicomSeg => dicom::write_seg(labelmap, path, &SegOptions::default(), control),
        OutputKind::RtStruct => dicom::write_structures(labelmap, path, &SegOptions::default(), control),
        _ => write_labels(labelmap, path),
    }
}
