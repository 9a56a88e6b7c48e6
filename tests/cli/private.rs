//! What the command keeps to itself: it connects to nothing, and says nothing of the patient.

use std::fs;
use std::path::Path;
use std::process::Command;

use dicom::core::VR;
use dicom::dictionary_std::tags;

use crate::verify::{edited_series, put};
use crate::{common, demo_file, err, out, transunet};

/// What names a patient, an examination or a place in the marked images.
const MARKS: [&str; 7] =
    ["Quibblefen", "QX-4711-ZZ", "19010203", "ACCQQ77", "Zyxwor Hospital", "Referquist", "tall with a scar"];

fn marked_series(folder: &str) {
    edited_series(folder, |_, image| {
        let [name, id, birth, accession, hospital, doctor, comment] = MARKS;
        put(image, tags::PATIENT_NAME, VR::PN, name);
        put(image, tags::PATIENT_ID, VR::LO, id);
        put(image, tags::PATIENT_BIRTH_DATE, VR::DA, birth);
        put(image, tags::ACCESSION_NUMBER, VR::SH, accession);
        put(image, tags::INSTITUTION_NAME, VR::LO, hospital);
        put(image, tags::REFERRING_PHYSICIAN_NAME, VR::PN, doctor);
        put(image, tags::PATIENT_COMMENTS, VR::LT, comment);
    });
}

#[track_caller]
fn says_nothing(text: &str, where_: &str) {
    for mark in MARKS {
        assert!(!text.contains(mark), "{where_} says {mark:?}:\n{text}");
    }
}

#[test]
fn messages_logs_and_reports_do_not_name_the_patient() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = demo_file("model.safetensors");
    for name in ["ct", "gap", "cut", "two", "bent"] {
        marked_series(&at(name));
    }
    fs::remove_file(at("gap/slice-016.dcm")).unwrap();
    let whole = fs::read(at("cut/slice-004.dcm")).unwrap();
    fs::write(at("cut/slice-004.dcm"), &whole[..whole.len() / 2]).unwrap();
    let mut other = dicom::object::open_file(at("two/slice-001.dcm")).unwrap();
    put(&mut other, tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4");
    put(&mut other, tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5");
    other.write_to_file(at("two/other.dcm")).unwrap();
    let mut bent = dicom::object::open_file(at("bent/slice-007.dcm")).unwrap();
    put(&mut bent, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0\\1\\0\\0\\0\\-1");
    bent.write_to_file(at("bent/slice-007.dcm")).unwrap();

    let (nrrd, report, ct) = (at("s.seg.nrrd"), at("report.json"), at("ct"));
    let run = |input: &str, more: &[&str]| {
        let segment = ["segment", input, "--model", &model, "--device", "cpu", "--verbose", "--json"];
        transunet(&[&segment[..], more].concat())
    };
    let good = run(&ct, &["--output", &nrrd, "--output", &at("s.nii"), "--report", &report]);
    assert!(good.status.success(), "{}", err(&good));
    says_nothing(&(out(&good) + &err(&good)), "segment");
    for name in [&nrrd, &at("s.nii"), &report] {
        says_nothing(&String::from_utf8_lossy(&fs::read(name).unwrap()), name);
    }
    for name in ["gap", "cut", "two", "bent"] {
        let failed = run(&at(name), &["--output", &at("x.nii")]);
        assert!(!failed.status.success(), "{name} was accepted");
        says_nothing(&(out(&failed) + &err(&failed)), name);
    }
    let tree = at("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["ct", "gap"] {
        fs::rename(at(name), format!("{tree}/{name}")).unwrap();
    }
    let batch = transunet(&["batch", &tree, &at("many"), "--model", &model, "--device", "cpu"]);
    assert!(Path::new(&at("many")).is_dir(), "{}", err(&batch));
    says_nothing(&(out(&batch) + &err(&batch)), "batch");
    for entry in walk(Path::new(&at("many"))) {
        if entry.extension().is_none_or(|ending| ending != "dcm") {
            says_nothing(&String::from_utf8_lossy(&fs::read(&entry).unwrap()), entry.to_str().unwrap());
        }
        says_nothing(entry.to_str().unwrap(), "a file's name");
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_is_connected_to() {
    let test = "nothing_is_connected_to";
    let Some(mut strace) = common::program(test, "strace") else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (model, ct) = (demo_file("model.safetensors"), demo_file("ct"));
    let calls = |strace: &mut Command, arguments: &[&str]| {
        let list = at("calls");
        let traced = strace.args(["-f", "-qq", "-e", "trace=%network", "-o", &list, env!("CARGO_BIN_EXE_transunet")]);
        common::run(traced.args(arguments));
        fs::read_to_string(&list).unwrap()
    };
    let segment = ["segment", &ct, "--model", &model, "--device", "cpu", "--output", &at("s.dcm"), "--quiet"];
    let seen = calls(&mut strace, &segment);
    assert!(!seen.contains("AF_INET") && !seen.contains("connect("), "{seen}");
    let mut strace = common::program(test, "strace").unwrap();
    let seen = calls(&mut strace, &["devices"]);
    assert!(!seen.contains("AF_INET"), "{seen}");
}
