//! Data sets: each layout read as it is meant, each fault refused with its file, and what `transunet data check` says.

mod common;
#[path = "common/label_files.rs"]
mod label_files;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "data/prepared.rs"]
mod prepared;
#[path = "data/structure_sets.rs"]
mod structure_sets;
#[path = "common/structures.rs"]
mod structures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use label_files::{COUNT, grid, label, voxels, write, write_npz, write_on};
use phantom::Phantom;
use tempfile::TempDir;
use transunet::control::Control;
use transunet::data::{Case, DataConfig, Dataset, Kind, Listing, Split, Survey};
use transunet::device::Devices;
use transunet::dicom::{SegOptions, Series, SeriesChoice, write_seg};
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::train::config::TrainConfig;
use transunet::volume::Volume;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(TempDir::new().unwrap())
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
    }

    /// The data section of a configuration, without its folder.
    fn config(&self, yaml: &str) -> DataConfig {
        serde_yaml::from_str(&format!("folder: {}\n{yaml}", self.0.path().display())).unwrap()
    }

    fn survey(&self, yaml: &str) -> transunet::Result<Survey> {
        let listing = Listing::find(&self.config(yaml), Path::new(""))?;
        Survey::of(listing, None, |_| Ok(None), &mut Control::none())
    }

    /// The data set, whether it fits or not.
    fn open(&self, yaml: &str) -> Dataset {
        self.survey(yaml).unwrap().dataset
    }

    #[track_caller]
    fn refused(&self, yaml: &str, expected: &str) {
        let error = self.survey(yaml).and_then(|survey| survey.check()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected:?} is not in\n{error}");
    }

    fn listing(&self, yaml: &str) -> Listing {
        Listing::find(&self.config(yaml), Path::new("")).unwrap()
    }
}

fn ids(set: &Dataset) -> Vec<(&str, &str)> {
    set.cases.iter().map(|case| (case.id.as_str(), case.subject.as_str())).collect()
}

fn loaded(case: &Case) -> Vec<u8> {
    case.load().unwrap().1
}

fn names(set: &Dataset) -> Vec<(u8, &str)> {
    set.labels.iter().map(|label| (label.value, label.name.as_str())).collect()
}

fn load_error(case: &Case) -> String {
    case.load().map(|_| ()).unwrap_err().to_string()
}

#[test]
fn nnunet_folders_take_named_segments_too() {
    let set = Folder::new();
    set.text("dataset.json", r#"{"name": "Organs", "labels": {"background": 0, "liver": 1, "spleen": 2}}"#);
    write(&set.at("imagesTr/p1_a_0000.nii.gz"), voxels(&[]));
    write(&set.at("labelsTr/p1_a.nii.gz"), voxels(&[(7, 2)]));
    write(&set.at("imagesTr/p1_b_0000.nrrd"), voxels(&[]));
    // This file numbers its segments otherwise: names count.
    let segments = [label(1, "spleen"), label(4, "liver")];
    write_on(grid(), &set.at("labelsTr/p1_b.seg.nrrd"), &segments, voxels(&[(7, 1), (9, 4)]));
    let found = set.open("subject: { parts: 1 }");
    assert_eq!((found.name.as_str(), found.placed), ("Organs", true));
    assert_eq!(ids(&found), [("p1_a", "p1"), ("p1_b", "p1")]);
    assert_eq!(names(&found), [(1, "liver"), (2, "spleen")]);
    assert_eq!(loaded(&found.cases[0]), voxels(&[(7, 2)]));
    assert_eq!(loaded(&found.cases[1]), voxels(&[(7, 2), (9, 1)]));

    write(&set.at("labelsTr/p1_a.nrrd"), voxels(&[]));
    set.refused("", "p1_a.nrrd: the same name as");
    fs::remove_file(set.at("labelsTr/p1_a.nrrd")).unwrap();
    write(&set.at("imagesTr/p2_0000.nii.gz"), voxels(&[]));
    set.refused("", "p2_0000.nii.gz: no label map of its name in labelsTr");
    fs::remove_file(set.at("imagesTr/p2_0000.nii.gz")).unwrap();
    write(&set.at("imagesTr/p1_a_0001.nii.gz"), voxels(&[]));
    set.refused("", "p1_a_0001.nii.gz: a second channel of case p1_a");
    fs::remove_file(set.at("imagesTr/p1_a_0001.nii.gz")).unwrap();
    write(&set.at("labelsTr/lost.nii.gz"), voxels(&[]));
    assert!(set.listing("").apart[0].ends_with("lost.nii.gz: no image of its name in imagesTr"));
}

#[test]
fn labels_outside_of_the_data_set_name_the_file() {
    let set = Folder::new();
    set.text("dataset.json", r#"{"labels": {"background": 0, "liver": 1}}"#);
    write(&set.at("imagesTr/a.nii.gz"), voxels(&[]));
    write(&set.at("labelsTr/a.nii.gz"), voxels(&[(46, 3)]));
    write(&set.at("imagesTr/b.nrrd"), voxels(&[]));
    write_on(grid(), &set.at("labelsTr/b.seg.nrrd"), &[label(1, "kidney")], voxels(&[(0, 1)]));
    let found = set.open("");
    let error = load_error(&found.cases[0]);
    let expected = "labelsTr/a.nii.gz: voxel (1, 1, 2) has label 3, expected 0 to 1 (liver)";
    assert!(error.starts_with("case a: ") && error.ends_with(expected), "{error}");
    let error = load_error(&found.cases[1]);
    let expected = "labelsTr/b.seg.nrrd: segments \"kidney\" are not among the data set's labels (liver)";
    assert!(error.ends_with(expected), "{error}");
    let found = found.ignoring(Some(3));
    assert_eq!(loaded(&found.cases[0]), voxels(&[(46, 3)]), "a value to ignore passes");
    set.refused("labels: [{ value: 1, name: a }, { value: 2, name: a }]", "labels 1 and 2 are both \"a\"");
    set.refused("labels: [{ value: 2, name: a }]", "labels [2], expected 1 to n without gaps");
}

#[test]
fn pairs_of_nrrd_at_any_depth_share_their_names() {
    let set = Folder::new();
    let liver =
        Label { color: Some([221, 130, 101]), kind: Some(Code::new("10200004", "SCT", "Liver")), ..label(5, "liver") };
    write(&set.at("one/scan.nrrd"), voxels(&[(1, 9)]));
    write_on(grid(), &set.at("one/scan.seg.nrrd"), &[label(2, "spleen"), liver.clone()], voxels(&[(1, 2), (2, 5)]));
    write(&set.at("two/deep/scan.nii.gz"), voxels(&[]));
    write_on(
        grid(),
        &set.at("two/deep/scan.seg.nrrd"),
        &[label(2, "aorta"), label(9, "liver")],
        voxels(&[(3, 9), (4, 2)]),
    );
    write(&set.at("alone.nii"), voxels(&[]));
    let found = set.open("");
    assert_eq!(ids(&found), [("one/scan", "one/scan"), ("two/deep/scan", "two/deep/scan")]);
    assert_eq!(names(&found), [(1, "aorta"), (2, "spleen"), (3, "liver")], "by value in the files, then name");
    assert_eq!((&found.labels[2].color, &found.labels[2].kind), (&liver.color, &liver.kind));
    assert_eq!(loaded(&found.cases[0]), voxels(&[(1, 2), (2, 3)]));
    assert_eq!(loaded(&found.cases[1]), voxels(&[(3, 3), (4, 1)]));
    let listing = set.listing("");
    assert_eq!(listing.kind, Kind::Nrrd);
    assert!(listing.apart[0].ends_with("alone.nii: no alone.seg.nrrd beside it"), "{:?}", listing.apart);

    write(&set.at("one/scan.nii"), voxels(&[]));
    set.refused("", "one/scan.seg.nrrd: 2 images of its name, expected one");
    fs::remove_file(set.at("one/scan.nii")).unwrap();
    write(&set.at("plain.nrrd"), voxels(&[]));
    fs::copy(set.at("plain.nrrd"), set.at("plain.seg.nrrd")).unwrap();
    assert_eq!(set.open("").cases.len(), 3, "no names, but no labels either");
    write(&set.at("other.nrrd"), voxels(&[(0, 4)]));
    fs::rename(set.at("other.nrrd"), set.at("plain.seg.nrrd")).unwrap();
    set.refused("", "(label 4) does not: say what the labels are (data.labels)");
    fs::remove_file(set.at("plain.nrrd")).unwrap();
    set.refused("", "plain.seg.nrrd: no image beside it, expected plain.nrrd, .nhdr, .nii or .nii.gz");
}

/// A phantom series in `folder` and, with `segment`, a DICOM SEG of it at `seg`.
fn dicom(set: &Folder, folder: &str, uid: &str, seg: Option<(&str, Label, usize)>) {
    fs::create_dir_all(set.at(folder)).unwrap();
    let phantom = Phantom { series_uid: uid.into(), ..Phantom::default() };
    phantom.write(&set.at(folder));
    let Some((path, label, at)) = seg else { return };
    let choice = SeriesChoice::Uid(uid.into()).into();
    let series = Arc::new(Series::open(&[set.at(folder)], &choice, &mut Control::none()).unwrap());
    let mut voxels = vec![0; series.geometry.len()];
    voxels[at] = label.value;
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    let map = Labelmap::new(Arc::new(Volume::from_series(series)), voxels, vec![label], algorithm).unwrap();
    fs::create_dir_all(set.at(path).parent().unwrap()).unwrap();
    write_seg(&map, &set.at(path), &SegOptions::default(), &mut Control::none()).unwrap();
}

#[test]
fn dicom_series_meet_their_segmentations() {
    let set = Folder::new();
    dicom(&set, "p/ct1", "1.2.3.1", Some(("segs/a.dcm", label(1, "liver"), 139)));
    dicom(&set, "p/ct2", "1.2.3.2", Some(("segs/b.dcm", label(1, "spleen"), 0)));
    dicom(&set, "p/ct3", "1.2.3.3", None);
    let listing = set.listing("");
    assert_eq!((listing.kind, listing.faults.len()), (Kind::Dicom, 0), "{:?}", listing.faults);
    assert_eq!(
        listing.apart,
        ["series 1.2.3.3 in p/ct3 (CT, number 3, 4 images, \"phantom\"): no DICOM SEG or RTSTRUCT refers to it"]
    );
    let found = set.open("");
    assert_eq!(ids(&found), [("p/ct1", "P1"), ("p/ct2", "P1")]);
    assert_eq!(names(&found), [(1, "liver"), (2, "spleen")]);
    let (volume, labels) = found.cases[1].load().unwrap();
    assert_eq!((labels[0], labels.iter().filter(|&&x| x > 0).count()), (2, 1));
    assert_eq!(volume.series().unwrap().series_uid, "1.2.3.2");
    let mut last = vec![0; 140];
    last[139] = 1;
    assert_eq!(loaded(&found.cases[0]), last);

    fs::copy(set.at("segs/a.dcm"), set.at("segs/again.dcm")).unwrap();
    set.refused("", "2 DICOM SEG or RTSTRUCT objects refer to it, expected one");
    fs::remove_file(set.at("segs/again.dcm")).unwrap();
    fs::remove_dir_all(set.at("p/ct2")).unwrap();
    set.refused("", "segs/b.dcm: its series 1.2.3.2 is not in the folder");
    fs::remove_file(set.at("segs/b.dcm")).unwrap();
    let bytes = fs::read(set.at("p/ct3/1.dcm")).unwrap();
    fs::write(set.at("p/ct3/1.dcm"), &bytes[..400]).unwrap();
    set.refused("", "p/ct3/1.dcm: truncated");
}

#[test]
fn series_of_one_folder_are_named_by_patient_and_number() {
    let set = Folder::new();
    dicom(&set, "x", "1.2.3.1", Some(("a.dcm", label(1, "liver"), 3)));
    assert_eq!(ids(&set.open(""))[0].0, "x");
    // Both series have number 3 of patient P1 and one folder.
    for k in 0..4 {
        fs::rename(set.at(&format!("x/{k}.dcm")), set.at(&format!("x/first{k}.dcm"))).unwrap();
    }
    dicom(&set, "y", "1.2.3.2", Some(("b.dcm", label(1, "liver"), 3)));
    for k in 0..4 {
        fs::rename(set.at(&format!("y/{k}.dcm")), set.at(&format!("x/second{k}.dcm"))).unwrap();
    }
    assert_eq!(ids(&set.open("")), [("P1-3-1.2.3.1", "P1"), ("P1-3-1.2.3.2", "P1")]);
}

#[test]
fn layouts_are_found_out_or_asked_for() {
    let set = Folder::new();
    set.refused("", "nothing in it is known as training data");
    set.refused("kind: dicom", "no pairs of image and label map (kind dicom)");
    dicom(&set, "ct", "1.2.3.1", Some(("a.dcm", label(1, "liver"), 3)));
    write(&set.at("n.nrrd"), voxels(&[]));
    write_on(grid(), &set.at("n.seg.nrrd"), &[label(1, "liver")], voxels(&[]));
    set.refused("", "say which to use (data.kind: nrrd or dicom)");
    assert_eq!(set.open("kind: dicom").cases.len(), 1);
    assert_eq!(set.open("kind: nrrd").cases[0].id, "n");
    set.refused("kind: nrrd\nspacing: [1, 1, 1]", "the files of kind nrrd say their own");
    let gone = DataConfig { folder: set.at("gone"), ..DataConfig::default() };
    let error = Listing::find(&gone, Path::new("")).unwrap_err().to_string();
    assert!(error.ends_with("gone: there is no such folder"), "{error}");
}

fn check(arguments: &[&str]) -> (Output, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
    let output = command.args(["data", "check"]).args(arguments).env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn check_names_every_pair_that_does_not_fit() {
    let set = Folder::new();
    set.text("data/dataset.json", r#"{"name": "Organs", "labels": {"background": 0, "liver": 1, "spleen": 2}}"#);
    for (n, marked) in [(0, vec![(7, 2)]), (1, vec![(7, 1), (8, 1)]), (2, vec![])] {
        write(&set.at(&format!("data/imagesTr/p{n}.nii.gz")), (0..COUNT as u8).collect());
        write(&set.at(&format!("data/labelsTr/p{n}.nii.gz")), voxels(&marked));
    }
    set.text("train.yaml", "data: { folder: data }\nsplit: { file: split.json }\noutput: run\n");
    set.text("data/split.json", r#"{"train": ["p0", "p2"], "validation": ["p1"]}"#);
    let config = set.at("train.yaml").display().to_string();
    let json = set.at("facts.json").display().to_string();
    let (output, out, err) = check(&[&config, "--json", &json]);
    assert!(output.status.success(), "{err}");
    for expected in [
        "Organs: 3 cases of 3 subjects (layout nnunet)",
        "    0  (background)      3     177  98.333 %",
        "    1  liver             1       2   1.111 %",
        "    2  spleen            1       1   0.556 %",
        "slice spacing, mm        2       2        2",
        "intensity, median       30      30       30",
        "intensity, maximum      59      59       59",
        "Orientation: LPS (3 cases)",
        "Split: 2 cases to train with, 1 to validate\n  validation: p1",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in\n{out}");
    }
    let facts: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(facts["cases"][1]["voxels"], serde_json::json!({ "0": 58, "1": 2 }));
    assert_eq!(facts["labels"][1]["name"], "spleen");
    assert_eq!(facts["split"]["validation"], serde_json::json!(["p1"]));
    assert_eq!(facts["cases"][0]["intensity"], serde_json::json!([0.0, 0.0, 30.0, 59.0, 59.0]));

    // Each fault of another kind, and all of them named.
    write(&set.at("data/labelsTr/p0.nii.gz"), voxels(&[(7, 9), (8, 9)]));
    let mut moved = grid();
    moved.origin[0] = 0.5;
    write_on(moved, &set.at("data/labelsTr/p1.nii.gz"), &[label(1, "1")], voxels(&[]));
    let axes = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
    let turned = Geometry::new(grid().size, grid().spacing, [4.0, 3.0, 0.0], axes).unwrap();
    write_on(turned, &set.at("data/labelsTr/p2.nii.gz"), &[label(1, "1")], voxels(&[]));
    write(&set.at("data/imagesTr/p3.nii.gz"), voxels(&[]));
    set.text("data/labelsTr/p3.nii.gz", "not NIfTI");
    write(&set.at("data/imagesTr/p4.nii.gz"), voxels(&[]));
    write(&set.at("data/imagesTr/p5.nii.gz"), voxels(&[]));
    write(&set.at("data/labelsTr/p5.nii.gz"), voxels(&[(0, 1)]));
    let (output, out, err) = check(&[&config]);
    assert_eq!(output.status.code(), Some(3));
    assert!(err.contains("error: 5 faults found in"), "{err}");
    for expected in [
        "Organs: 1 case of 5 subjects",
        "Does not fit (5):",
        "imagesTr/p4.nii.gz: no label map of its name in labelsTr",
        "labelsTr/p0.nii.gz: 2 voxels have label 9, expected 0 to 2 (liver, spleen)",
        "labelsTr/p1.nii.gz: the label map does not lie on the image's grid",
        "farthest voxels 0.500 mm apart",
        "from (4.00, 3.00, 0.00) mm, axes RAS;",
        "labelsTr/p3.nii.gz: truncated",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in\n{out}");
    }
    let mut half = grid();
    half.size[2] = 1;
    half.origin[2] = 2.0;
    write_on(half, &set.at("data/labelsTr/p0.nii.gz"), &[label(1, "1")], vec![1; 20]);
    let (_, out, _) = check(&[&config]);
    assert!(out.contains("Label maps of a part of their image, the rest counts as background (1):"), "{out}");
    assert!(out.contains("labelsTr/p0.nii.gz: 33.3 % of"), "{out}");

    let (output, _, err) = check(&[set.at("nothing").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("nothing: cannot"), "{err}");
}

#[test]
fn a_survey_can_be_cancelled() {
    let set = Folder::new();
    prepared::slices(&set);
    let mut control = Control::none().on_progress(|progress| {
        if progress.done == 1 { transunet::control::Flow::Cancel } else { transunet::control::Flow::Continue }
    });
    let survey = Survey::of(set.listing(""), None, |_| Ok(None), &mut control);
    assert!(matches!(survey, Err(transunet::Error::Cancelled)));
}
