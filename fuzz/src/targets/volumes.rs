//! Volumes and label images in NRRD, NIfTI and HDF5 files.

use std::sync::Arc;

use transunet::data::{ImageSource, LabelSource, Stored, StoredFiles};
use transunet::formats::{read_labels, read_volume};
use transunet::volume::Volume;

use super::{Place, Target};

/// A volume on its grid, every voxel finite.
pub(super) fn check(volume: &Volume) {
    let expected = volume.geometry().len();
    let voxels = volume.voxels().expect("a volume of a file is in memory");
    assert_eq!(voxels.len(), expected);
    assert!(voxels.iter().all(|voxel| voxel.is_finite()));
}

/// A .nrrd file; where it names its data a .nhdr one, with data beside it.
pub(super) fn nrrd() -> Target {
    let place = Place::new();
    place.put("data.raw", &[7; 64]);
    Box::new(move |bytes| {
        if let Ok(volume) = read_volume(&place.put("x.nrrd", bytes)) {
            check(&volume);
        }
        let detached = bytes.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"data"));
        let name = if detached { "x.nhdr" } else { "x.seg.nrrd" };
        if let Ok(labels) = read_labels(&place.put(name, bytes)) {
            assert_eq!(labels.voxels.len(), labels.geometry.len());
        }
    })
}

/// A .nii file, or a .nii.gz one if it begins like one.
pub(super) fn nifti() -> Target {
    let place = Place::new();
    Box::new(move |bytes| {
        let name = if bytes.starts_with(&[0x1f, 0x8b]) { "x.nii.gz" } else { "x.nii" };
        let path = place.put(name, bytes);
        if let Ok(volume) = read_volume(&path) {
            check(&volume);
        }
        let _ = read_labels(&path);
    })
}

/// An .h5 file of the original's prepared data.
pub(super) fn h5() -> Target {
    let place = Place::new();
    Box::new(move |bytes| stored(StoredFiles::Volume(place.put("x.h5", bytes))))
}

/// Image and labels of prepared data.
pub(super) fn stored(files: StoredFiles) {
    let stored = Arc::new(Stored { files, spacing: [1.0; 3] });
    if let Ok(volume) = ImageSource::Stored(stored.clone()).read() {
        check(&volume);
        let _ = LabelSource::Stored(stored).read(&volume);
    }
}
