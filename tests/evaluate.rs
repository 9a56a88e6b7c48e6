//! `transunet evaluate` on labels in every form that it takes.

mod common;
#[path = "common/phantom.rs"]
mod phantom;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use phantom::Phantom;
use tempfile::TempDir;
use transunet::control::Control;
use transunet::dicom::{SegOptions, Series, SeriesOptions, write_seg, write_structures};
use transunet::formats::write_labels;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::volume::Volume;

/// Labels 2 and 7 of a phantom, the larger one in `extent` columns of two slices, in all forms.
fn write(folder: &Path, extent: usize) {
    let images = folder.join("ct");
    if !images.is_dir() {
        fs::create_dir(&images).unwrap();
        Phantom { size: [9, 8, 4], ..Phantom::default() }.write(&images);
    }
    let series = Series::open(&[images], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let mut voxels = vec![0; series.geometry.len()];
    for k in [0, 1, 2, 3] {
        voxels[k * 72 + 70] = 2;
        for j in 1..5 {
            voxels[k * 72 + j * 9..][..extent].fill(7);
        }
    }
    let labels =
        [(2, "Spleen"), (7, "Liver")].map(|(value, name)| Label { name: name.into(), ..Label::numbered(value) });
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let map = Labelmap::new(volume, voxels, labels.into(), algorithm).unwrap();
    let at = |ending: &str| folder.join(format!("{extent}{ending}"));
    write_labels(&map, &at(".seg.nrrd")).unwrap();
    write_seg(&map, &at(".dcm"), &SegOptions::default(), &mut Control::none()).unwrap();
    write_structures(&map, &at(".rtstruct.dcm"), &SegOptions::default(), &mut Control::none()).unwrap();
}

/// What it says, and what it complains of.
fn evaluate(folder: &Path, prediction: &str, truth: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
    let output = command.arg("evaluate").args([folder.join(prediction), folder.join(truth)]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn every_form_of_the_same_labels_scores_the_same() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 4);
    write(folder.path(), 2);
    for prediction in ["2.seg.nrrd", "2.dcm", "2.rtstruct.dcm"] {
        for truth in ["4.seg.nrrd", "4.dcm", "4.rtstruct.dcm"] {
            let (fine, said) = evaluate(folder.path(), prediction, truth);
            if prediction.contains("rtstruct") && truth.contains("rtstruct") {
                assert!(!fine && said.contains("RT Structure Sets have no grid, expected one of them as"), "{said}");
                continue;
            }
            assert!(fine, "{prediction}, {truth}: {said}");
            let row = |name: &str| said.lines().find(|line| line.contains(name)).unwrap_or_default();
            // Half of 64 voxels: Dice 2 * 32 / 96. A DICOM SEG has numbered them otherwise.
            assert!(row("Liver").contains("0.6667") && row("Liver").contains("32"), "{prediction}, {truth}: {said}");
            assert!(row("Spleen").contains("1.0000"), "{prediction}, {truth}: {said}");
        }
    }
}
