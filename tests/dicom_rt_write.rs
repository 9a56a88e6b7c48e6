//! RT Structure Sets: other programs accept the file, and contours hold the very voxels of the label map.

mod common;
#[path = "common/phantom.rs"]
mod phantom;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use dicom::object::{InMemDicomObject, open_file};
use phantom::{Phantom, decimals, put_text};
use tempfile::TempDir;
use transunet::control::{Control, Flow};
use transunet::dicom::{Overlap, SegOptions, Series, SeriesOptions, Structures, Tilt, write_structures};
use transunet::error::Error;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::volume::Volume;

/// A series in some pose, with labels all over it.
struct Case {
    folder: TempDir,
    labelmap: Labelmap,
}

impl Case {
    /// Slices are `drift` mm down from each other.
    fn new(row: [f64; 3], column: [f64; 3], drift: f64, tilt: Tilt) -> Self {
        let folder = TempDir::new().unwrap();
        let images = folder.path().join("ct");
        fs::create_dir(&images).unwrap();
        let phantom = Phantom { size: [23, 17, 5], row, column, ..Phantom::default() };
        phantom.write_with(&images, |k, slice| {
            let position = phantom.position([0.0, k as f64 * drift / phantom.spacing[1], k as f64]);
            put_text(slice, tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&position));
        });
        let options = SeriesOptions { tilt, ..SeriesOptions::default() };
        let series = Series::open(&[&images], &options, &mut Control::none()).unwrap();
        let mut random = 5u64;
        let mut next = || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize
        };
        // Speckles: holes, islands in holes, pixels that touch at corners; blocks; an empty slice; label 9 nowhere.
        let columns = series.geometry.columns();
        let voxels = (0..series.geometry.len()).map(|at| {
            let (i, k) = (at % columns, at / series.geometry.slice_len());
            match (k, i) {
                (2, _) => 0,
                (_, 0..8) => [0, 1, 1, 4][next() % 4],
                (_, 8..14) => 4 * u8::from(at % 3 != 1),
                _ => u8::from(next() % 5 > 0),
            }
        });
        let labels = [(1, "Liver"), (4, "Left kidney"), (9, "Spleen")].map(|(value, name)| Label {
            value,
            name: name.into(),
            color: Some([200, 10 * value, 30]),
            category: None,
            kind: Some(Code::new("10200004", "SCT", "Liver")),
            modifier: (value == 4).then(|| Code::new("7771000", "SCT", "Left")),
            region: None,
        });
        let voxels: Vec<u8> = voxels.collect();
        let algorithm = Algorithm { name: "test".into(), version: "1".into() };
        let volume = Arc::new(Volume::from_series(Arc::new(series)));
        Case { labelmap: Labelmap::new(volume, voxels, labels.into(), algorithm).unwrap(), folder }
    }

    fn write(&self, name: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        let options = SegOptions { deterministic: true, ..SegOptions::default() };
        write_structures(&self.labelmap, &path, &options, &mut Control::none()).unwrap();
        path
    }
}

fn cases() -> Vec<(&'static str, Case)> {
    let (c, s) = (0.3f64.cos(), 0.3f64.sin());
    vec![
        ("axial", Case::new([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], 0.0, Tilt::Keep)),
        ("sagittal", Case::new([0.0, 1.0, 0.0], [0.0, 0.0, -1.0], 0.0, Tilt::Keep)),
        ("double oblique", Case::new([c, s, 0.0], [-s * c, c * c, s], 0.0, Tilt::Keep)),
        ("tilted", Case::new([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], 0.7, Tilt::Keep)),
        ("straightened", Case::new([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], 0.7, Tilt::Resample)),
    ]
}

#[test]
fn contours_hold_the_very_voxels() {
    for (name, case) in cases() {
        let read = Structures::open(&case.write("a.rtstruct.dcm")).unwrap();
        let map = &case.labelmap;
        assert!(read.read(map.geometry(), Overlap::Refuse).unwrap() == map.to_vec().unwrap(), "{name}");
        let series = map.source().series().unwrap();
        assert!(
            read.read_on(series, Overlap::Refuse).unwrap() == map.to_vec().unwrap(),
            "{name}: images and places agree"
        );
        assert!(read.labels.iter().map(|label| label.value).eq(map.labels().iter().map(|label| label.value)));
        let names: Vec<&str> = read.labels.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, ["Liver", "Left kidney", "Spleen"]);
        assert_eq!(read.labels[1].color, Some([200, 40, 30]));
        assert_eq!(read.labels[1].kind.as_ref().unwrap().value, "10200004");
        assert_eq!(read.series_uids, [phantom::SERIES_UID]);
    }
}

#[test]
fn another_program_fills_them_to_the_same_voxels() {
    let test = "another_program_fills_them_to_the_same_voxels";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_structures.py");
    for (name, case) in cases().into_iter().filter(|(name, _)| *name != "straightened") {
        let Some(mut python) = common::peers(test) else { return };
        let path = case.write("a.rtstruct.dcm");
        let output = common::run(python.arg(&script).arg(&path).arg(case.folder.path().join("ct")));
        let found: Vec<[f64; 4]> = serde_json::from_slice(&output.stdout).unwrap();
        let grid = case.labelmap.geometry();
        let mut voxels = vec![0; grid.len()];
        for [label, x, y, z] in found {
            let index = grid.index([x, y, z]);
            let [i, j, k] = index.map(|x| x.round() as usize);
            assert!(index.iter().zip([i, j, k]).all(|(a, b)| (a - b as f64).abs() < 1e-3), "{name}: {index:?}");
            let voxel = &mut voxels[(k * grid.rows() + j) * grid.columns() + i];
            assert_eq!(*voxel, 0, "{name}: two regions at one voxel");
            *voxel = label as u8;
        }
        assert!(voxels == case.labelmap.to_vec().unwrap(), "{name}");
    }
}

fn items(object: &InMemDicomObject, tag: dicom::core::Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

#[test]
fn the_object_says_what_it_was_made_from() {
    let (_, case) = cases().swap_remove(0);
    let (a, b) = (case.write("a.rtstruct.dcm"), case.write("b.rtstruct.dcm"));
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "a deterministic file repeats byte for byte");
    let object = open_file(&a).unwrap();
    let word = |tag| object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_string();
    assert_eq!(word(tags::SOP_CLASS_UID), uids::RT_STRUCTURE_SET_STORAGE);
    assert_eq!((word(tags::PATIENT_NAME).as_str(), word(tags::PATIENT_ID).as_str()), ("Phantom^Test", "P1"));
    assert_eq!(word(tags::STUDY_INSTANCE_UID), "1.2.826.0.1.3680043.10.1");
    let frame = &items(&object, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE)[0];
    let series = &items(&items(frame, tags::RT_REFERENCED_STUDY_SEQUENCE)[0], tags::RT_REFERENCED_SERIES_SEQUENCE)[0];
    assert_eq!(items(series, tags::CONTOUR_IMAGE_SEQUENCE).len(), 5, "every image of the series");
    let regions = items(&object, tags::ROI_CONTOUR_SEQUENCE);
    assert_eq!(regions.len(), 3);
    assert!(items(&regions[2], tags::CONTOUR_SEQUENCE).is_empty(), "a label without a voxel is described");
    for contour in regions.iter().flat_map(|region| items(region, tags::CONTOUR_SEQUENCE)) {
        let number = |tag| contour.element(tag).unwrap().to_int::<usize>().unwrap();
        let points = contour.element(tags::CONTOUR_DATA).unwrap().to_multi_str().unwrap();
        assert!(points.iter().all(|text| text.trim().len() <= 16));
        assert_eq!(points.len(), 3 * number(tags::NUMBER_OF_CONTOUR_POINTS));
        assert!(points.len() >= 9 && items(contour, tags::CONTOUR_IMAGE_SEQUENCE).len() == 1);
    }
}

#[test]
fn a_dicom_checker_finds_no_error() {
    for (name, case) in cases() {
        let Some(mut checker) = common::program(name, "dciodvfy") else { return };
        let run = checker.arg(case.write("a.rtstruct.dcm")).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("Error")).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        assert!(said.contains("RTStructureSet"), "{name}: {said}");
    }
}

#[test]
fn what_cannot_be_written_leaves_no_file() {
    let (_, case) = cases().swap_remove(0);
    let path = case.folder.path().join("stopped.rtstruct.dcm");
    let mut control = Control::none().on_progress(|_| Flow::Cancel);
    let error = write_structures(&case.labelmap, &path, &SegOptions::default(), &mut control).unwrap_err();
    assert!(matches!(error, Error::Cancelled) && !path.exists(), "{error}");
    let grid = case.labelmap.geometry().clone();
    let volume = Arc::new(Volume::from_memory(grid.clone(), vec![0.0; grid.len()], "memory").unwrap());
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    let labels = case.labelmap.labels().to_vec();
    let map = Labelmap::new(volume, vec![0; grid.len()], labels, algorithm).unwrap();
    let error = write_structures(&map, &path, &SegOptions::default(), &mut Control::none()).unwrap_err().to_string();
    assert!(error.contains("refers to the DICOM images it was made from") && error.contains("memory"), "{error}");
}
