//! Volumes and label maps in NRRD and NIfTI: equal to what nibabel, pynrrd and 3D Slicer read and write.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
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
        let voxels: Vec<f32> = labelmap.voxels().iter().map(|&v| v.into()).collect();
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
            voxels: labelmap.voxels().iter().filter(|&&v| v == label.value).count(),
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
        assert_eq!(read.voxels, written.voxels(), "{ending}");
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
fn probabilities_are_written_class_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let geometry = grid(false);
    let (classes, slices, voxels) = (3, geometry.slices(), geometry.len());
    let value = |n: usize| n as f32 / 7.0;
    let files = ["p.nii", "p.nii.gz"].map(|name| folder.path().join(name));
    for path in &files {
        let mut writer = ProbabilityWriter::create(path, &geometry, classes).unwrap();
        for class in 0..classes {
            let volume: Vec<f32> = (class * voxels..(class + 1) * voxels).map(value).collect();
            assert!(writer.write_class(&volume[1..]).is_err());
            writer.write_class(&volume).unwrap();
        }
        assert!(writer.write_class(&vec![0.0; voxels]).is_err());
        assert!(!path.exists());
        writer.finish().unwrap();
        assert!(path.exists());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let Some(mut python) = common::peers("probabilities_are_written_class_by_class") else { return };
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
    writer.write_class(&vec![0.5; grid(false).len()]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("1 of 2 classes were written"), "{error}");
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
        ("b.nrrd", OutputKind::Nrrd),
        ("b.nii", OutputKind::Nifti),
        ("b.nii.gz", OutputKind::Nifti),
    ] {
        assert_eq!(OutputKind::of(Path::new(name)).unwrap(), kind, "{name}");
    }
    for name in ["b.gz", "b", "nrrd", "b.nhdr", "b.mha", ""] {
        let error = OutputKind::of(Path::new(name)).unwrap_err().to_string();
        assert!(error.contains("expected .dcm (DICOM SEG), .seg.nrrd"), "{name}: {error}");
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

/// A good NIfTI file of 2 x 2 x 2 i16 voxels, 1 mm, sform.
fn nifti() -> Vec<u8> {
    let mut bytes = vec![0; 352];
    let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    put(0, &348i32.to_le_bytes());
    for (n, dim) in [3i16, 2, 2, 2, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * n, &dim.to_le_bytes());
    }
    put(70, &4i16.to_le_bytes());
    put(72, &16i16.to_le_bytes());
    for n in 0..8 {
        put(76 + 4 * n, &1f32.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(123, &[2]);
    put(254, &1i16.to_le_bytes());
    for n in 0..3 {
        put(280 + 20 * n, &1f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    bytes.extend((0..8i16).flat_map(i16::to_le_bytes));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let error = read_volume(&path).expect_err("a bad file is refused").to_string();
    let place = format!("{}: ", path.display());
    error.strip_prefix(&place).unwrap_or_else(|| panic!("{error} does not name {place}")).to_string()
}

#[test]
fn bad_nifti_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.nii");
    std::fs::write(&good, nifti()).unwrap();
    let volume = read_volume(&good).unwrap();
    assert_eq!(volume.to_vec().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(volume.geometry().direction, [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);

    let i16s = |values: &[i16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let huge = i16s(&[3, 32767, 32767, 32767]);
    let table: &[(usize, Vec<u8>, &str)] = &[
        (0, 540i32.to_le_bytes().to_vec(), "a NIfTI-2 file, expected NIfTI-1"),
        (0, 349i32.to_le_bytes().to_vec(), "header size 349, expected 348"),
        (344, b"nope".to_vec(), "not a NIfTI-1 file: its magic code is missing"),
        (344, b"ni1\0".to_vec(), "the header of a NIfTI pair (.hdr, .img), expected a single .nii file"),
        (40, i16s(&[0]), "dimensions [0, 2, 2, 2, 1, 1, 1, 1]"),
        (40, i16s(&[8]), "dim[0], the number of dimensions, is not among 1 to 7"),
        (40, i16s(&[2]), "dimensions [2, 2, 2, 2, 1, 1, 1, 1]"),
        (42, i16s(&[0]), "dimensions [3, 0, 2, 2, 1, 1, 1, 1]"),
        (40, i16s(&[3, -2]), "dimensions [3, -2, 2, 2, 1, 1, 1, 1]"),
        (40, i16s(&[4, 2, 2, 2, 3]), "dimensions [4, 2, 2, 2, 3, 1, 1, 1]"),
        (
            40,
            huge.clone(),
            "truncated: [32767, 32767, 32767] voxels need 70362301923326 bytes, the file holds at most 16",
        ),
        (70, i16s(&[32]), "data type 32 (complex numbers), expected one integer or float per voxel"),
        (70, i16s(&[128]), "data type 128 (colours), expected one integer or float per voxel"),
        (70, i16s(&[99]), "data type 99 (unknown), expected one integer or float per voxel"),
        (108, f32s(&[0.0]), "vox_offset 0, expected a whole number from 352 on"),
        (108, f32s(&[f32::NAN]), "vox_offset NaN, expected a whole number from 352 on"),
        (108, f32s(&[4096.0]), "truncated: the file ends within its header"),
        (112, f32s(&[f32::INFINITY]), "scl_slope inf, scl_inter 0, expected finite numbers"),
        (112, f32s(&[1.0, f32::NAN]), "scl_slope 1, scl_inter NaN, expected finite numbers"),
        (
            112,
            f32s(&[f32::MAX]),
            "voxel (0, 1, 0) is inf, expected finite numbers everywhere; replace such voxels first",
        ),
        (123, vec![3], "lengths are in micrometres, expected mm"),
        (254, i16s(&[0]), "neither sform nor qform is set, so the patient's orientation is unknown"),
        (252, i16s(&[1, 0, 0, 0]), ""),
        (280, f32s(&[f32::NAN]), "sform: geometry: spacing [NaN, 1.0, 1.0] mm, expected positive finite numbers"),
        (292, f32s(&[f32::INFINITY]), "sform: geometry: origin [-inf, 0.0, 0.0], expected finite numbers"),
        (280, f32s(&[0.0]), "sform: geometry: spacing [0.0, 1.0, 1.0] mm, expected positive finite numbers"),
        (284, f32s(&[0.5]), "sform: geometry: axes 0 and 1 are not orthogonal (cosine 0.4472)"),
    ];
    for (at, new, message) in table {
        let mut bytes = nifti();
        bytes[*at..at + new.len()].copy_from_slice(new);
        if message.is_empty() {
            std::fs::write(&good, &bytes).unwrap();
            read_volume(&good).unwrap();
            continue;
        }
        let tail = " (first their number), expected one volume of three dimensions";
        let tail = if message.starts_with("dimensions") { tail } else { "" };
        assert_eq!(refusal("x.nii", &bytes), format!("{message}{tail}"));
    }

    let mut quaternion = nifti();
    quaternion[252..256].copy_from_slice(&[1, 0, 0, 0]);
    quaternion[256..260].copy_from_slice(&2f32.to_le_bytes());
    assert_eq!(refusal("x.nii", &quaternion), "qform: quaternion (2, 0, 0) is not a rotation");

    // A few hundred bytes of gzip that claim 64 TiB, cut streams, a wrong checksum.
    let mut bomb = nifti();
    bomb[40..48].copy_from_slice(&huge);
    let refused = refusal("x.nii.gz", &gzip(&bomb));
    assert!(refused.starts_with("truncated: [32767, 32767, 32767] voxels need 70362301923326 bytes"), "{refused}");
    assert_eq!(refusal("x.nii", &nifti()[..200]), "truncated: the file ends within its header");
    assert_eq!(refusal("x.nii", b""), "truncated: the file ends within its header");
    assert_eq!(
        refusal("x.nii", &nifti()[..367]),
        "truncated: [2, 2, 2] voxels need 16 bytes, the file holds at most 15"
    );
    let packed = gzip(&nifti());
    assert_eq!(refusal("x.nii.gz", &packed[..packed.len() - 12]), "truncated: the file ends within its voxels");
    let mut flipped = packed.clone();
    let crc = packed.len() - 8;
    flipped[crc] ^= 1;
    let refused = refusal("x.nii.gz", &flipped);
    assert!(refused.contains("corrupt gzip stream"), "{refused}");
}

/// A good NRRD header of 2 x 2 x 2 bytes without its last, blank line.
const NRRD: &str = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspace: left-posterior-superior\n\
                    space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n";

#[test]
fn bad_nrrd_files_are_refused() {
    let table: &[(&str, &str, &str)] = &[
        ("NRRD0004", "NRRD0009", "not a NRRD file: it does not begin with NRRD0001 to NRRD0005"),
        ("type: uint8\n", "", "the field \"type\" is missing"),
        ("uint8", "block", "type: \"block\", expected an integer or float type"),
        ("uint8", "short", "the field \"endian\" is missing"),
        ("uint8", "short\nendian: middle", "endian: \"middle\", expected little or big"),
        ("dimension: 3", "dimension: 2", "dimension: \"2\", expected a volume of 3"),
        ("sizes: 2 2 2", "sizes: 2 2", "sizes: 2 of them, dimension says 3"),
        ("sizes: 2 2 2", "sizes: 2 0 2", "sizes: \"2 0 2\", expected positive whole numbers"),
        ("sizes: 2 2 2", "sizes: 2 -2 2", "sizes: \"2 -2 2\", expected positive whole numbers"),
        (
            "sizes: 2 2 2",
            "sizes: 4294967295 4294967295 4294967295",
            "space directions: geometry: size [4294967295, 4294967295, 4294967295] is too large to address",
        ),
        (
            "sizes: 2 2 2",
            "sizes: 99999 99999 999",
            "truncated: [99999, 99999, 999] voxels need 9989800200999 bytes, the file holds at most 8",
        ),
        (
            "space: left-posterior-superior\n",
            "",
            "the field \"space\" is missing, so the patient's orientation is unknown; expected left-posterior-superior or \
             right-anterior-superior",
        ),
        (
            "space: left-posterior-superior",
            "space: scanner-xyz",
            "space: \"scanner-xyz\" does not say where the patient is, expected left-posterior-superior, \
             right-anterior-superior or left-anterior-superior",
        ),
        ("space origin: (0,0,0)\n", "", "the field \"space origin\" is missing"),
        ("space origin: (0,0,0)", "space origin: (0,0)", "space origin: \"(0,0)\", expected vectors such as (1,0,0)"),
        (
            "(1,0,0) (0,1,0)",
            "(1,0,0) none",
            "sizes: [2, 2, 2] with 2 values per voxel, expected one volume of one number per voxel",
        ),
        ("(1,0,0) (0,1,0)", "(1,0,0)", "space directions: 2 for 3 axes"),
        (
            "(1,0,0)",
            "(nan,0,0)",
            "space directions: geometry: spacing [NaN, 1.0, 1.0] mm, expected positive finite numbers",
        ),
        ("(1,0,0)", "(1,1,0)", "space directions: geometry: axes 0 and 1 are not orthogonal (cosine 0.7071)"),
        (
            "encoding: raw",
            "encoding: raw\nspace units: \"m\" \"m\" \"m\"",
            "space units: \"m\" \"m\" \"m\", expected \"mm\"",
        ),
        ("encoding: raw", "encoding: bzip2", "encoding: \"bzip2\", expected raw, gzip or ascii"),
        ("encoding: raw", "encoding: gzip", "truncated: the file ends within its voxels"),
        ("encoding: raw", "encoding: gzip\n\nno gzip at all", "cannot read the voxels: invalid gzip header"),
        ("encoding: raw", "encoding: ascii\n\n0 1 2 3 x 5 6 7", "voxel 4: \"x\" is not a number"),
        ("encoding: raw", "encoding: raw\nbyte skip: -2", "byte skip: -2, expected 0 or more, or -1 with raw voxels"),
        ("encoding: raw", "encoding: raw\nline skip: 99999999999", "truncated: the file ends within its line skip"),
        (
            "encoding: raw",
            "encoding: raw\ndata file: ../x.raw",
            "data file: \"../x.raw\" leaves the folder of the header, expected a file beside it",
        ),
        (
            "encoding: raw",
            "encoding: raw\ndata file: /etc/passwd",
            "data file: \"/etc/passwd\" leaves the folder of the header, expected a file beside it",
        ),
        (
            "encoding: raw",
            "encoding: raw\ndata file: LIST",
            "data file: \"LIST\", expected one file; several are not read",
        ),
        ("encoding: raw", "encoding: raw\nencoding: raw", "header line 9: \"encoding\" for a second time"),
        ("encoding: raw", "what", "header line 8: \"what\", expected \"field: value\" or \"key:=value\""),
    ];
    for (from, to, message) in table {
        assert!(NRRD.contains(from), "{from}");
        let bytes = format!("{}\nabcdefgh", NRRD.replacen(from, to, 1));
        assert_eq!(refusal("x.nrrd", bytes.as_bytes()), *message, "{to}");
    }
    assert_eq!(
        refusal("x.nrrd", format!("{NRRD}\nabc").as_bytes()),
        "truncated: [2, 2, 2] voxels need 8 bytes, the file holds at most 3"
    );
    let nan = format!("{}\n0 1 2 3 4 nan 6 7", NRRD.replace("raw", "ascii").replace("uint8", "float"));
    assert_eq!(
        refusal("x.nrrd", nan.as_bytes()),
        "voxel (1, 0, 1) is NaN, expected finite numbers everywhere; replace such voxels first"
    );
    let endless = [b"NRRD0004\n".as_slice(), &vec![b'x'; 17 << 20]].concat();
    assert_eq!(refusal("x.nrrd", &endless), "the header has no end within 16 MB");
    let error = read_volume(Path::new("x.mha")).unwrap_err().to_string();
    assert_eq!(error, "x.mha: not the name of a volume, expected .nrrd, .nhdr, .nii or .nii.gz");
    let error = read_volume(Path::new("/nowhere.nrrd")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere.nrrd: cannot open: "), "{error}");
}

#[test]
fn voxels_at_the_end_of_a_file_and_below_the_header() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    let path = folder.path().join("x.nrrd");
    let expected: Vec<f32> = (b'a'..=b'h').map(f32::from).collect();
    for (field, head) in [("byte skip: -1", "#!?"), ("byte skip: 3", "#!?"), ("line skip: 2", "one\ntwo\n")] {
        std::fs::write(&path, format!("{NRRD}{field}\n\n{head}abcdefgh")).unwrap();
        assert_eq!(read_volume(&path).unwrap().to_vec().unwrap(), expected, "{field}");
    }
    std::fs::write(folder.path().join("below/x.raw"), "abcdefgh").unwrap();
    let path = folder.path().join("x.nhdr");
    std::fs::write(&path, format!("{NRRD}data file: ./below/x.raw\n")).unwrap();
    assert_eq!(read_volume(&path).unwrap().to_vec().unwrap(), expected);
}

#[test]
fn label_images_must_hold_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nrrd");
    for (voxels, message) in [
        ("0 1 2 3 4 5 6 2.5", "voxel (1, 1, 1) is 2.5, expected a label from 0 to 255"),
        ("0 -1 2 3 4 5 6 7", "voxel (1, 0, 0) is -1, expected a label from 0 to 255"),
        ("0 1 256 3 4 5 6 7", "voxel (0, 1, 0) is 256, expected a label from 0 to 255"),
    ] {
        std::fs::write(&path, format!("{}\n{voxels}", NRRD.replace("raw", "ascii").replace("uint8", "float"))).unwrap();
        assert_eq!(read_labels(&path).unwrap_err().to_string(), format!("{}: {message}", path.display()));
    }
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
