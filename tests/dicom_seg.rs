//! DICOM SEG: other programs accept the file and read back the very voxels, positions and codes.

mod common;
#[path = "dicom_seg/forms.rs"]
mod forms;
#[path = "dicom_seg/references.rs"]
mod references;
#[path = "dicom_seg/sizes.rs"]
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{InMemDicomObject, OpenFileOptions, open_file};
use serde_json::json;
use transunet::Error;
use transunet::control::{Control, Flow};
use transunet::dicom::{Instance, PixelSource, SegOptions, Series, write_seg};
use transunet::geometry::{Geometry, Vec3, cross, dot, norm, sub};
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::precision::ComputePrecision;
use transunet::receipt::{self, ModelId, Receipt, Settings, Source};
use transunet::volume::Volume;

fn deterministic() -> SegOptions {
    SegOptions { deterministic: true, ..SegOptions::default() }
}

/// The single-frame images of a folder as a series, ordered along their normal.
fn series_of(folder: &Path) -> Series {
    let mut slices: Vec<(Instance, InMemDicomObject)> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let header = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(&path).ok()?.into_inner();
            let instance = Instance {
                frame: None,
                path,
                sop_class_uid: word(&header, tags::SOP_CLASS_UID),
                sop_instance_uid: word(&header, tags::SOP_INSTANCE_UID),
                instance_number: None,
                position: numbers(&header, tags::IMAGE_POSITION_PATIENT).try_into().unwrap(),
            };
            Some((instance, header))
        })
        .collect();
    let orientation = numbers(&slices[0].1, tags::IMAGE_ORIENTATION_PATIENT);
    let unit = |v: Vec3| v.map(|x| x / norm(v));
    let right: Vec3 = unit(orientation[..3].try_into().unwrap());
    let down: Vec3 = unit(orientation[3..].try_into().unwrap());
    let normal = cross(right, down);
    slices.sort_by(|a, b| dot(a.0.position, normal).total_cmp(&dot(b.0.position, normal)));
    let (instances, mut headers): (Vec<_>, Vec<_>) = slices.into_iter().unzip();
    let header = headers.swap_remove(0);
    let count = instances.len();
    let step = norm(sub(instances[count - 1].position, instances[0].position)) / (count - 1) as f64;
    let spacing = numbers(&header, tags::PIXEL_SPACING);
    let size = |tag| header.get(tag).unwrap().to_int::<usize>().unwrap();
    let geometry = Geometry::new(
        [size(tags::COLUMNS), size(tags::ROWS), count],
        [spacing[1], spacing[0], step],
        instances[0].position,
        [right, down, normal],
    );
    Series {
        study_uid: word(&header, tags::STUDY_INSTANCE_UID),
        series_uid: word(&header, tags::SERIES_INSTANCE_UID),
        frame_of_reference_uid: word(&header, tags::FRAME_OF_REFERENCE_UID),
        modality: word(&header, tags::MODALITY),
        description: String::new(),
        geometry: geometry.unwrap(),
        instances,
        resampled: false,
        aside: Vec::new(),
        pixels: PixelSource::default(),
        header,
    }
}

fn word(header: &InMemDicomObject, tag: dicom::core::Tag) -> String {
    header.get(tag).unwrap().to_str().unwrap().trim_end_matches(['\0', ' ']).to_string()
}

fn numbers(header: &InMemDicomObject, tag: dicom::core::Tag) -> Vec<f64> {
    header.get(tag).unwrap().to_multi_float64().unwrap()
}

/// 23 x 38 x `slices`, pixels not square, oblique, an odd number of pixels, a patient outside of ASCII.
fn made_series(slices: usize) -> Series {
    let (c, s) = (0.8, 0.6);
    let direction = [[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]];
    let geometry =
        Geometry::new([23, 38, slices], [0.7, 1.3, 2.0 + 1.0 / 3.0], [-11.123456789, 200.0 / 3.0, -1e-9], direction);
    let geometry = geometry.unwrap();
    let instances = (0..slices).map(|k| Instance {
        frame: None,
        path: PathBuf::from(format!("{k}.dcm")),
        sop_class_uid: uids::MR_IMAGE_STORAGE.into(),
        sop_instance_uid: format!("1.2.826.0.1.3680043.8.498.{}", 1000 + k),
        instance_number: Some(k as i32 + 1),
        position: geometry.position([0.0, 0.0, k as f64]),
    });
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let header = InMemDicomObject::from_element_iter([
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        text(tags::PATIENT_NAME, VR::PN, "Müller^Jürgen"),
        text(tags::PATIENT_ID, VR::LO, "Größe-1"),
        text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "NO"),
        text(tags::CLINICAL_TRIAL_SPONSOR_NAME, VR::LO, "Sponsor"),
        text(tags::CLINICAL_TRIAL_PROTOCOL_ID, VR::LO, "P-1"),
        text(tags::CLINICAL_TRIAL_PROTOCOL_NAME, VR::LO, ""),
        text(tags::CLINICAL_TRIAL_SITE_ID, VR::LO, ""),
        text(tags::CLINICAL_TRIAL_SITE_NAME, VR::LO, ""),
        text(tags::CLINICAL_TRIAL_SUBJECT_ID, VR::LO, "S-1"),
        text(tags::STUDY_DATE, VR::DA, "20240229"),
        text(tags::STUDY_TIME, VR::TM, "235959.5"),
        text(tags::MANUFACTURER, VR::LO, "Scanner & Söhne"),
        text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01"),
        text(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "10"),
        text(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_10918_1"),
    ]);
    Series {
        study_uid: "1.2.826.0.1.3680043.8.498.1".into(),
        series_uid: "1.2.826.0.1.3680043.8.498.2".into(),
        frame_of_reference_uid: "1.2.826.0.1.3680043.8.498.3".into(),
        modality: "MR".into(),
        description: "made".into(),
        instances: instances.collect(),
        geometry,
        resampled: false,
        aside: Vec::new(),
        pixels: PixelSource::default(),
        header,
    }
}

/// Values with gaps; 9 is never drawn by `random_voxels`.
fn labels() -> Vec<Label> {
    let code = |value: &str, meaning: &str| Some(Code::new(value, "SCT", meaning));
    vec![
        Label {
            name: "Left kidney".into(),
            color: Some([46, 138, 184]),
            kind: code("64033007", "Kidney"),
            modifier: code("7771000", "Left"),
            ..Label::numbered(3)
        },
        Label {
            name: format!("Läsion\\{}", "sehr ".repeat(20)),
            category: code("49755003", "Morphologically Altered Structure"),
            kind: code("108369006", "Neoplasm"),
            region: code("10200004", "Liver"),
            ..Label::numbered(7)
        },
        Label { name: "never found".into(), ..Label::numbered(9) },
        Label::numbered(200),
    ]
}

/// Noise of the labels 3, 7 and 200, each absent from some slices; slice 0 is empty where there are more than three.
fn random_voxels(geometry: &Geometry) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut voxels = Vec::with_capacity(geometry.len());
    for k in 0..geometry.slices() {
        for _ in 0..geometry.slice_len() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let drawn = [0, 3, 7, 200][(state >> 40) as usize % 4];
            let absent = (k == 0 && geometry.slices() > 3) || (drawn > 0 && (k + drawn as usize).is_multiple_of(4));
            voxels.push(if absent { 0 } else { drawn });
        }
    }
    voxels
}

fn labelmap_of(series: Series, voxels: Vec<u8>, labels: Vec<Label>) -> Labelmap {
    let algorithm = Algorithm { name: "TransUNet test".into(), version: "0.1.0 abcdef".into() };
    let labelmap = Labelmap::new(Arc::new(Volume::from_series(Arc::new(series))), voxels, labels, algorithm).unwrap();
    let receipt = receipt(&labelmap);
    labelmap.with_receipt(receipt)
}

/// With all that a receipt may say, and signs that the text of DICOM cannot have.
fn receipt(labelmap: &Labelmap) -> Receipt {
    Receipt {
        format: receipt::FORMAT,
        model: ModelId { name: Some("Müller".into()), sha256: "5".repeat(64) },
        code: receipt::Code { version: "0.1.0".into(), revision: Some("a".repeat(40)) },
        settings: Settings {
            device: "cuda:0,cuda:1".into(),
            hardware: Some("Card, 80 GB = large\\ (driver 1) + Card (1)".into()),
            instructions: None,
            precision: ComputePrecision::Bf16,
            batch: Some(16),
            tilt: Some("keep".into()),
        },
        source: Source::of(labelmap.source()),
        labels_sha256: labelmap.sha256().unwrap(),
    }
}

fn random_labelmap(series: Series) -> Labelmap {
    let voxels = random_voxels(&series.geometry);
    labelmap_of(series, voxels, labels())
}

/// Writes `seg.dcm` and what must be read from it: `labels.raw`, `expected.json`.
fn write_case(folder: &Path, labelmap: &Labelmap, options: &SegOptions) {
    fs::create_dir(folder).unwrap();
    write_seg(labelmap, &folder.join("seg.dcm"), options, &mut Control::none()).unwrap();
    fs::write(folder.join("labels.raw"), labelmap.to_vec().unwrap()).unwrap();
    let series = labelmap.source().series().unwrap();
    let code = |code: Code| json!([code.value, code.scheme, code.meaning]);
    let expected = json!({
        "parameters": labelmap.receipt().map(|receipt| {
            let text = receipt.to_text();
            let pairs = text.split(',').map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>()
        }),
        "type": options.encoding.to_string(),
        "compression": options.compression.to_string(),
        "size": series.geometry.size,
        "affine": series.geometry.affine(),
        "study": series.study_uid,
        "series": series.series_uid,
        "frame_of_reference": series.frame_of_reference_uid,
        "patient": series.header.get(tags::PATIENT_NAME).unwrap().to_str().unwrap(),
        "instances": series.instances.iter()
            .map(|instance| json!({ "uid": instance.sop_instance_uid, "position": instance.position }))
            .collect::<Vec<_>>(),
        "labels": labelmap.labels().iter().map(|label| json!({
            "value": label.value,
            "category": code(label.category_code()),
            "type": code(label.type_code()),
            "modifier": label.modifier.clone().map(code),
            "region": label.region.clone().map(code),
            "cielab": (label.color == Some([46, 138, 184])).then_some([35220, 28855, 24552]),
        })).collect::<Vec<_>>(),
    });
    fs::write(folder.join("expected.json"), expected.to_string()).unwrap();
}

/// Every case that the other programs are asked about.
fn cases(test: &str, root: &Path) -> Vec<PathBuf> {
    let mut labelmaps = vec![
        ("made", random_labelmap(made_series(3))),
        ("made-gaps", random_labelmap(made_series(9))),
        ("made-all-empty", labelmap_of(made_series(4), vec![0; 23 * 38 * 4], labels())),
        (
            "made-one-slice",
            labelmap_of(
                made_series(5),
                [vec![0; 23 * 38 * 2], vec![7; 23 * 38], vec![0; 23 * 38 * 2]].concat(),
                labels(),
            ),
        ),
    ];
    for (name, set) in [
        ("liver", "dicom-seg-liver-ct3/ct"),
        ("head", "dicom-ct-philips-head-5mm"),
        ("oblique", "dicom-mr-toshiba-oblique-sag30"),
        ("sagittal", "dicom-mr-sagittal-HFS"),
        ("hippocampus", "dicom-mr-study1-hippocrop/HippoCrop"),
        ("deidentified", "dicom-mr-study1-hippocrop/T1post"),
    ] {
        if let Some(folder) = common::data(test, set) {
            labelmaps.push((name, random_labelmap(series_of(&folder))));
        }
    }
    labelmaps
        .into_iter()
        .map(|(name, labelmap)| {
            let folder = root.join(name);
            write_case(&folder, &labelmap, &SegOptions::default());
            folder
        })
        .chain(forms::cases(root))
        .collect()
}

#[test]
fn validators_find_no_error() {
    let test = "validators_find_no_error";
    let root = tempfile::tempdir().unwrap();
    for folder in cases(test, root.path()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut path = folder.join("seg.dcm");
        let Some(mut dcmftest) = common::program(test, "dcmftest") else { return };
        common::run(dcmftest.arg(&path));
        // dciodvfy does not inflate.
        if name.contains("deflate") {
            let Some(mut inflate) = common::program(test, "dcmconv") else { return };
            let inflated = folder.join("inflated.dcm");
            common::run(inflate.arg("+te").args([&path, &inflated]));
            path = inflated;
        }
        // Debian's dciodvfy is older than Label Map Segmentation Storage: it is told that this is the older SOP class,
        // whose other rules hold, and complains of the very differences.
        let label_map = name.contains("labelmap");
        if label_map {
            let Some(mut modify) = common::program(test, "dcmodify") else { return };
            common::run(modify.args(["-nb", "-m", "0008,0016=1.2.840.10008.5.1.4.1.1.66.4"]).arg(&path));
        }
        let differences = ["<LABELMAP>", "<SegmentIdentificationSequence>"];
        let Some(mut dciodvfy) = common::program(test, "dciodvfy") else { return };
        let output = dciodvfy.arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let difference = |line: &&str| label_map && differences.iter().any(|known| line.contains(known));
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("Error") && !difference(line)).collect();
        assert!(errors.is_empty(), "{name}: {text}");
        assert!(text.contains("Segmentation") && (output.status.success() || label_map), "{name}: {text}");
    }
}

#[test]
fn peers_read_the_same_voxels_positions_and_codes() {
    let Some(mut python) = common::peers("peers_read_the_same_voxels_positions_and_codes") else { return };
    let root = tempfile::tempdir().unwrap();
    let cases = cases("peers_read_the_same_voxels_positions_and_codes", root.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/check_seg.py");
    let output = python.arg(script).args(cases).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

#[test]
fn deterministic_files_are_equal_and_others_are_not() {
    let root = tempfile::tempdir().unwrap();
    let bytes = |name: &str, labelmap: &Labelmap, options: &SegOptions| {
        let path = root.path().join(name);
        write_seg(labelmap, &path, options, &mut Control::none()).unwrap();
        fs::read(path).unwrap()
    };
    let uid = |name: &str| open_file(root.path().join(name)).unwrap().meta().media_storage_sop_instance_uid.clone();
    let labelmap = random_labelmap(made_series(3));
    let first = bytes("1", &labelmap, &deterministic());
    assert!(first == bytes("2", &random_labelmap(made_series(3)), &deterministic()));

    let mut voxels = labelmap.to_vec().unwrap();
    voxels[5] = if voxels[5] == 3 { 7 } else { 3 };
    bytes("3", &labelmap_of(made_series(3), voxels, labels()), &deterministic());
    bytes("4", &labelmap, &SegOptions { series_number: Some(5), ..deterministic() });
    bytes("5", &labelmap, &SegOptions::default());
    bytes("6", &labelmap, &SegOptions::default());
    let mut seen: Vec<String> = ["1", "3", "4", "5", "6"].map(uid).into();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn source_facts_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    write_seg(&random_labelmap(made_series(3)), &path, &deterministic(), &mut Control::none()).unwrap();
    let seg = open_file(&path).unwrap();
    for (tag, expected) in [
        (tags::PATIENT_NAME, "Müller^Jürgen"),
        (tags::PATIENT_ID, "Größe-1"),
        (tags::PATIENT_BIRTH_DATE, ""),
        (tags::PATIENT_IDENTITY_REMOVED, "NO"),
        (tags::CLINICAL_TRIAL_SUBJECT_ID, "S-1"),
        (tags::CLINICAL_TRIAL_SITE_ID, ""),
        (tags::STUDY_DATE, "20240229"),
        (tags::CONTENT_DATE, "20240229"),
        (tags::CONTENT_TIME, "235959"),
        (tags::SERIES_NUMBER, "1001"),
        (tags::LOSSY_IMAGE_COMPRESSION, "01"),
        (tags::CONTENT_QUALIFICATION, "RESEARCH"),
        (tags::CONTENT_DESCRIPTION, "Research use only, not for clinical use"),
    ] {
        assert_eq!(seg.get(tag).unwrap_or_else(|| panic!("{tag}")).to_str().unwrap().trim_end(), expected, "{tag}");
    }
    let scanner = &seg.get(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE).unwrap().items().unwrap()[0];
    assert_eq!(scanner.get(tags::MANUFACTURER).unwrap().to_str().unwrap().trim_end(), "Scanner & Söhne");
}

#[test]
fn a_source_without_frame_of_reference_gets_one_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let frame_of_reference = |name: &str, series_uid: &str| {
        let series = Series { frame_of_reference_uid: String::new(), series_uid: series_uid.into(), ..made_series(3) };
        let path = root.path().join(name);
        write_seg(&random_labelmap(series), &path, &SegOptions::default(), &mut Control::none()).unwrap();
        word(&open_file(&path).unwrap(), tags::FRAME_OF_REFERENCE_UID)
    };
    let first = frame_of_reference("a.dcm", "1.2.3");
    assert!(first.starts_with("2.25."), "{first}");
    assert_eq!(first, frame_of_reference("b.dcm", "1.2.3"));
    assert_ne!(first, frame_of_reference("c.dcm", "1.2.4"));
}

#[cfg(unix)]
#[test]
fn files_are_as_readable_as_other_new_files() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode();
    fs::write(root.path().join("plain"), "").unwrap();
    let path = root.path().join("seg.dcm");
    write_seg(&random_labelmap(made_series(3)), &path, &SegOptions::default(), &mut Control::none()).unwrap();
    assert_eq!(mode("seg.dcm"), mode("plain"));
}

#[test]
fn bad_input_says_what_to_do() {
    let series = || made_series(3);
    let zeros = vec![0; 23 * 38 * 3];
    let volume = Volume::from_memory(series().geometry, vec![0.0; zeros.len()], "scan.nrrd").unwrap();
    let algorithm = Algorithm { name: String::new(), version: String::new() };
    let foreign = Labelmap::new(Arc::new(volume), zeros.clone(), labels(), algorithm).unwrap();
    let with = |labels: Vec<Label>| labelmap_of(series(), zeros.clone(), labels);
    let codeless = Label { kind: Some(Code::new("", "SCT", "Liver")), ..Label::numbered(1) };
    let labelled = |label: &str| SegOptions { content_label: label.into(), ..SegOptions::default() };
    let root = tempfile::tempdir().unwrap();
    for (labelmap, options, name, expected) in [
        (
            foreign,
            deterministic(),
            "a.dcm",
            "a.dcm: a DICOM SEG refers to the DICOM images it was made from, and this label map was made from scan.nrrd; write .seg.nrrd or .nii.gz instead",
        ),
        (with(vec![]), deterministic(), "a.dcm", "the label map has no labels, a DICOM SEG needs at least one"),
        (
            with(vec![Label::numbered(0)]),
            deterministic(),
            "a.dcm",
            "label 0 (0) is the background, it cannot be a segment",
        ),
        (
            with(vec![Label::numbered(4), Label::numbered(4)]),
            deterministic(),
            "a.dcm",
            "label value 4 is listed twice (4, 4)",
        ),
        (
            with(vec![codeless]),
            deterministic(),
            "a.dcm",
            "label 1 (1), type: the code's value is empty, expected [value, scheme, meaning]",
        ),
        (
            with(labels()),
            labelled("lower case"),
            "a.dcm",
            "content label \"lower case\", expected 1 to 16 of A-Z, 0-9, space and underscore",
        ),
        (
            with(labels()),
            labelled(""),
            "a.dcm",
            "content label \"\", expected 1 to 16 of A-Z, 0-9, space and underscore",
        ),
        (with(labels()), deterministic(), "absent/a.dcm", "absent/a.dcm: cannot create: there is no folder "),
    ] {
        let error = write_seg(&labelmap, &root.path().join(name), &options, &mut Control::none()).unwrap_err();
        let text = error.to_string();
        let text = text.strip_prefix(&format!("{}/", root.path().display())).unwrap_or(&text);
        assert!(text.starts_with(expected), "{text}");
        assert!(matches!(error, Error::Argument(_) | Error::Io { .. }));
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn cancelling_leaves_what_was_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    fs::write(&path, "earlier").unwrap();
    for stop in [0, 3] {
        let mut control = Control::none()
            .on_progress(move |progress| if progress.done == stop { Flow::Cancel } else { Flow::Continue });
        let error = write_seg(&random_labelmap(made_series(3)), &path, &deterministic(), &mut control).unwrap_err();
        assert!(matches!(error, Error::Cancelled));
    }
    assert_eq!(fs::read(&path).unwrap(), b"earlier");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}
