//! DICOM: images alone and in a series, and labels on them.

use std::path::Path;
use std::sync::Arc;

use transunet::control::Control;
use transunet::data::{ClaimRules, DataConfig, LabelSource, Resample};
use transunet::dicom::{Seg, Series, SeriesOptions, Structures, Tilt, common_grid, scan};
use transunet::volume::Volume;

use super::{Place, Target};

/// Two slices of a series that labels lie on and a third slice is put beside; made by tests/fuzzed.rs.
pub(super) const SLICES: [&[u8]; 2] =
    [include_bytes!("../../corpus/dicom/slice-0.dcm"), include_bytes!("../../corpus/dicom/slice-1.dcm")];

/// A file of its own.
pub(super) fn file() -> Target {
    let place = Place::new();
    Box::new(move |bytes| read(&place.put("x.dcm", bytes)))
}

/// The third file of a series.
pub(super) fn series() -> Target {
    let place = Place::new();
    slices(&place);
    Box::new(move |bytes| {
        place.put("x.dcm", bytes);
        read(place.path());
    })
}

/// A DICOM SEG or an RT Structure Set on a series.
pub(super) fn labels() -> Target {
    let (images, place) = (Place::new(), Place::new());
    slices(&images);
    let series = Series::open(&[images.path()], &SeriesOptions::default(), &mut Control::none());
    let image = Volume::from_series(Arc::new(series.expect("the series is good")));
    let rules = [None, Some(Resample::Nearest)]
        .map(|resample| Arc::new(ClaimRules::of(&DataConfig { resample, ..DataConfig::default() }).expect("rules")));
    Box::new(move |bytes| {
        let _ = &images; // stays while its series is in use
        let path = place.put("x.dcm", bytes);
        let seg = Seg::open(&path);
        if let Ok(seg) = &seg {
            let _ = common_grid(&[seg]);
        } else if Structures::open(&path).is_err() {
            return;
        }
        for rules in &rules {
            let (path, rules) = (path.clone(), rules.clone());
            let source = if seg.is_ok() { LabelSource::Seg(path, rules) } else { LabelSource::Structures(path, rules) };
            if let Ok((labels, _)) = source.read(&image) {
                assert_eq!(labels.voxels.len(), image.geometry().len());
            }
        }
    })
}

fn slices(place: &Place) {
    SLICES.iter().enumerate().for_each(|(k, bytes)| drop(place.put(&format!("{k}.dcm"), bytes)));
}

/// Lists what is at `path` and reads all pixels of what can be opened.
fn read(path: &Path) {
    let Ok(found) = scan(&[path], &mut Control::none()) else { return };
    let _ = found.any();
    for summary in &found.series {
        let _ = summary.volumes(Tilt::Keep);
        for tilt in [Tilt::Keep, Tilt::Resample] {
            let options = SeriesOptions { tilt, ..SeriesOptions::default() };
            let Ok(series) = Series::from_summary(summary, &options) else { continue };
            let resampled = series.resampled;
            let _ = Volume::from_series(Arc::new(series)).for_each_slice(|_, slice| {
                assert!(slice.iter().all(|voxel| voxel.is_finite()));
                Ok(())
            });
            if !resampled {
                break;
            }
        }
    }
}
