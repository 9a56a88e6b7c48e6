//! Volumes and label maps in NRRD and NIfTI: equal to what nibabel, pynrrd and 3D Slicer read and write.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use transunet::formats::{OutputKind, ProbabilityWriter, read_labels, read_volume, write_labels};
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::volume::Volume;

fn run(command: &mut std::process::Command) {
    let output = command.output().expect("the peer starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

fn assert_affine(found: &Geometry, expected: &[[f64; 4]; 3], tolerance: f64, place: &str) {
    for (found, expected) in found.affine().as_flattened().iter().zip(expected.as_flattened()) {
        let allowed = tolerance * expected.abs().max(1.0);
        assert!((found - expected).abs() <= allowed, "{place}: {:?}, expected {expected:?}", found);
    }
}

#[derive(Deserialize)]
struct Expected {
    file: PathBuf,
    size: [usize; 3],
    affine: [[f64; 4]; 3],
    voxels: String,
}

#[test]
fn volumes_equal_what_other_programs_read() {
    let test = "volumes_equal_what_other_programs_read";
    let Some(mut python) = common::peers(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    python.arg(script("make_volumes.py")).arg(folder.path());
    if let Some(data) = common::data(test, "totalseg-example") {
        python.args(["ct", "ct_sm", "seg", "mr_sm", "seg_mr"].map(|name| data.join(format!("example_{name}.nii.gz"))));
    }
    if let Some(data) = common::data(test, "msd-hippocampus") {
        for name in ["001", "003", "033", "204", "300"] {
            python
                .args(["imagesTr", "labelsTr"].map(|kind| data.join(kind).join(format!("hippocampus_{name}.nii.gz"))));
        }
    }
    if let Some(data) = common::data(test, "dicom-seg-liver-ct3") {
        python.arg(data.join("liver_seg.nrrd"));
    }
    run(&mut python);

    let index = std::fs::read(folder.path().join("index.json")).unwrap();
    let index: Vec<Expected> = serde_json::from_slice(&index).unwrap();
    assert!(index.len() >= 81, "{} files", index.len());
    for expected in index {
        let place = expected.file.display().to_string();
        let volume = read_volume(&expected.file).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(volume.geometry().size, expected.size, "{place}");
        assert_affine(volume.geometry(), &expected.affine, 1e-5, &place);
        let truth = std::fs::read(folder.path().join(&expected.voxels)).unwrap();
        let found: Vec<u8> = volume.to_vec().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(found == truth, "{place}: voxels differ");
    }
}

/// A grid in a general position, left-handed when `flipped`.
fn grid(flipped: bool) -> Geometry {
    let (s, c) = (0.4f64.sin(), 0.4f64.cos());
    let (t, d) = (0.3f64.sin(), 0.3f64.cos());
    let third = [s * t, -c * t, d];
    let sign = if flipped { -1.0 } else { 1.0 };
    Geometry::new(
        [9, 7, 6],
        [0.7, 1.1, 3.0],
        [-120.5, 33.25, 900.0],
        [[c, s, 0.0], [-s * d, c * d, t], third.map(|x| x * sign)],
    )
    .unwrap()
}

fn label(value: u8, name: &str, color: [u8; 3], kind: Code) -> Label {
    Label { color: Some(color), kind: Some(kind), ..Label { name: name.into(), ..Label::numbered(value) } }
}

fn labels() -> Vec<Label> {
    let kidney = label(3, "Left kidney", [185, 102, 83], Code::new("64033007", "SCT", "Kidney"));
    let lesion = label(7, "Lésion ~ one", [200, 10, 20], Code::new("52988006", "SCT", "Lesion"));
    vec![
        label(1, "Aorta", [216, 108, 54], Code::new("15825003", "SCT", "Aorta")),
        Label { modifier: Some(Code::new("7771000", "SCT", "Left")), ..kidney },
        Label {
            category: Some(Code::new("49755003", "SCT", "Morphologically Altered Structure")),
            region: Some(Code::new("10200004", "SCT", "Liver")),
            ..lesion
        },
        label(9, "Not there", [1, 2, 3], Code::new("78961009", "SCT", "Spleen")),
    ]
}

fn labelmap(geometry: Geometry) -> Labelmap {
    let [columns, rows, slices] = geometry.size;
    let mut voxels = vec![0; geometry.len()];
    for (at, voxel) in voxels.iter_mut().enumerate() {
        let (i, j, k) = (at % columns, at / columns % rows, at / columns / rows);
        if (1..columns - 1).contains(&i) && j > 0 && k < slices - 1 {
            *voxel = [0, 1, 3, 7, 3][(i + 2 * j + 3 * k) % 5];
        }
    }
    let volume = Volume::from_memory(geometry.clone(), vec![0.0; geometry.len()], "memory").unwrap();
    let algorithm = Algorithm { name: "TransUNet test".into(), version: "1".into() };
    Labelmap::new(Arc::new(volume), voxels, labels(), algorithm).unwrap()
}

#[derive(Deserialize)]
struct ReadBack {
    size: Vec<usize>,
    affine: [[f64; 4]; 3],
    voxels: Vec<f32>,
    dtype: Option<String>,
    units: Option<String>,
    codes: Option<[i32; 2]>,
    slicer: Option<Box<ReadBack>>,
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Segment {
    id: String,
    name: String,
    color: [f64; 3],
    value: u8,
    terminology: String,
    voxels: usize,
    layers: usize,
}

fn read_back(python: &mut std::process::Command, files: &[PathBuf]) -> BTreeMap<PathBuf, ReadBack> {
    let answer = files[0].with_file_name("answer.json");
    run(python.arg(script("read_back.py")).arg(&answer).args(files));
    serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap()
}

#[test]
fn other_programs_read_our_label_maps() {
    let Some(mut python) = common::peers("other_programs_read_our_label_maps") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for flipped in [false, true] {
        let labelmap = labelmap(grid(flipped));
        for ending in ["seg.nrrd", "nrrd", "nii", "nii.gz"] {
            let path = folder.path().join(format!("{flipped}.{ending}"));
            write_labels(&labelmap, &path).unwrap();
            written.push(path);
        }
    }
    let answers = read_back(&mut python, &written);
    for (path, read) in &answers {
        let place = path.display().to_string();
        let labelmap = labelmap(grid(place.contains("true")));
        let voxels: Vec<f32> = labelmap.to_vec().unwrap().iter().map(|&v| v.into()).collect();
        for read in [Some(read), read.slicer.as_deref()].into_iter().flatten() {
            assert_eq!(read.size, labelmap.geometry().size, "{place}");
            assert!(read.voxels == voxels, "{place}: voxels differ");
            assert_affine(labelmap.geometry(), &read.affine, 1e-5, &place);
        }
        assert_eq!(read.dtype.as_deref(), Some("uint8"), "{place}");
        if place.contains(".nii") {
            assert_eq!((read.units.as_deref(), read.codes), (Some("mm"), Some([1, 1])), "{place}");
        }
        if place.ends_with(".seg.nrrd") {
            check_segments(&read.slicer.as_ref().unwrap().segments, &labelmap);
        }
    }
}

fn check_segments(segments: &[Segment], labelmap: &Labelmap) {
    let terms = [
        "SCT^123037004^Anatomical Structure~SCT^15825003^Aorta~^^~Anatomic codes - DICOM master list~^^~^^",
        "SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^",
        "SCT^49755003^Morphologically Altered Structure~SCT^52988006^Lesion~^^~Anatomic codes - DICOM master list~SCT^10200004^Liver~^^",
        "SCT^123037004^Anatomical Structure~SCT^78961009^Spleen~^^~Anatomic codes - DICOM master list~^^~^^",
    ];
    assert_eq!(segments.len(), labelmap.labels().len());
    for ((segment, label), term) in segments.iter().zip(labelmap.labels()).zip(terms) {
        let expected = Segment {
            id: format!("Segment_{}", label.value),
            name: label.name.clone(),
            color: segment.color,
            value: label.value,
            terminology: format!("Segmentation category and type - DICOM master list~{term}"),
            voxels: labelmap.to_vec().unwrap().iter().filter(|&&v| v == label.value).count(),
            layers: 1,
        };
        assert_eq!(segment, &expected);
        assert_eq!(segment.color.map(|c| (c * 255.0).round() as u8), label.rgb());
    }
}

#[test]
fn we_read_our_own_label_maps() {
    let folder = tempfile::tempdir().unwrap();
    let written = labelmap(grid(true));
    for ending in ["seg.nrrd", "nrrd", "nii", "nii.gz"] {
        let path = folder.path().join(format!("x.{ending}"));
        write_labels(&written, &path).unwrap();
        let read = read_labels(&path).unwrap();
        assert_eq!(read.voxels, written.to_vec().unwrap(), "{ending}");
        assert!(read.geometry.matches(written.geometry(), 1e-3), "{ending}");
        if ending == "seg.nrrd" {
            // A terminology entry always has a category.
            let filled = |l: &Label| Label { category: Some(l.category_code()), ..l.clone() };
            assert_eq!(read.labels, written.labels().iter().map(filled).collect::<Vec<_>>());
        } else {
            assert_eq!(read.labels, []);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{ending}: something is left over");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn probabilities_are_written_in_the_order_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let geometry = grid(false);
    let (classes, slices, voxels) = (3, geometry.slices(), geometry.len());
    let value = |n: usize| n as f32 / 7.0;
    let files = ["p.nii", "p.nii.gz"].map(|name| folder.path().join(name));
    for path in &files {
        let mut writer = ProbabilityWriter::create(path, &geometry, classes).unwrap();
        // A slice and a bit at a time.
        let values: Vec<f32> = (0..classes * voxels).map(value).collect();
        for part in values.chunks(64) {
            writer.write(part).unwrap();
        }
        assert!(writer.write(&[0.0]).is_err());
        assert!(!path.exists());
        writer.finish().unwrap();
        assert!(path.exists());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let Some(mut python) = common::peers("probabilities_are_written_in_the_order_of_the_file") else { return };
    for (path, read) in read_back(&mut python, &files) {
        assert_eq!(read.size, [9, 7, slices, classes], "{}", path.display());
        assert_eq!(read.dtype.as_deref(), Some("float32"));
        assert_affine(&geometry, &read.affine, 1e-5, "probabilities");
        let expected = (0..classes * voxels).map(value);
        assert!(read.voxels.iter().copied().eq(expected), "{}: values differ", path.display());
    }
}

#[test]
fn unfinished_probabilities_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.nii.gz");
    let mut writer = ProbabilityWriter::create(&path, &grid(false), 2).unwrap();
    writer.write(&vec![0.5; grid(false).len()]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(
        error.contains(&format!("{} of {} values were written", grid(false).len(), 2 * grid(false).len())),
        "{error}"
    );
    drop(ProbabilityWriter::create(&path, &grid(false), 2).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = ProbabilityWriter::create(&folder.path().join("p.nrrd"), &grid(false), 2).unwrap_err().to_string();
    assert!(error.contains("expected a name that ends in .nii.gz or .nii"), "{error}");
}

#[test]
fn names_choose_the_output() {
    for (name, kind) in [
        ("a/b.dcm", OutputKind::DicomSeg),
        ("b.seg.dcm", OutputKind::DicomSeg),
        ("b.seg.nrrd", OutputKind::SegNrrd),
        ("B.SEG.NRRD", OutputKind::SegNrrd),
        ("b.RTSTRUCT.dcm", OutputKind::RtStruct),
        ("b.nrrd", OutputKind::Nrrd),
        ("b.nii", OutputKind::Nifti),
        ("b.nii.gz", OutputKind::Nifti),
    ] {
        assert_eq!(OutputKind::of(Path::new(name)).unwrap(), kind, "{name}");
    }
    for name in ["b.gz", "b", "nrrd", "b.nhdr", "b.mha", ""] {
        let error = OutputKind::of(Path::new(name)).unwrap_err().to_string();
        assert!(
            error.contains(
                "expected .dcm (DICOM SEG), .rtstruct.dcm (RT Structure Set), .seg.nrrd (Slicer segmentation), .nrrd"
            ),
            "{name}: {error}"
        );
    }
    let error = write_labels(&labelmap(grid(false)), Path::new("/no/such/folder/x.nii")).unwrap_err().to_string();
    assert!(error.starts_with("/no/such/folder/x.nii: cannot create: "), "{error}");
}

#[test]
fn a_failed_write_keeps_the_earlier_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nii");
    std::fs::write(&path, "earlier").unwrap();
    let wide = Geometry::new([40_000, 1, 1], [1.0; 3], [0.0; 3], grid(false).direction).unwrap();
    let volume = Volume::from_memory(wide, vec![0.0; 40_000], "memory").unwrap();
    let algorithm = Algorithm { name: String::new(), version: String::new() };
    let labelmap = Labelmap::new(Arc::new(volume), vec![0; 40_000], vec![], algorithm).unwrap();
    let error = write_labels(&labelmap, &path).unwrap_err().to_string();
    assert_eq!(error, "NIfTI: size 40000, the format ends at 32767");
    assert_eq!(std::fs::read(&path).unwrap(), b"earlier");
}

/// Damaged copies of good files are read or refused, never a panic or memory for what is not there.
#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let map = labelmap(grid(false));
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for ending in ["seg.nrrd", "nii", "nii.gz"] {
        let path = folder.path().join(format!("good.{ending}"));
        write_labels(&map, &path).unwrap();
        let good = std::fs::read(&path).unwrap();
        let path = folder.path().join(format!("bad.{ending}"));
        let mut refused = 0;
        for _ in 0..1500 {
            let mut bytes = good.clone();
            for _ in 0..1 + random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] = random(256) as u8,
                    1 => bytes[at] ^= 1 << random(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"9-\n :"[random(5)]),
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            refused += usize::from(read_labels(&path).is_err());
        }
        assert!(refused > 300, "{ending}: {refused} of 1500 refused");
    }
}
