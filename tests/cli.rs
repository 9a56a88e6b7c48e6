//! The command as a person or a script meets it: its words, its exit codes, its files.

mod common;
#[path = "cli/private.rs"]
mod private;
#[path = "cli/verify.rs"]
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

fn transunet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_transunet")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run that must succeed and say nothing on stderr; its stdout.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = transunet(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    assert_eq!(err(&output), "", "{arguments:?} must be quiet on stderr");
    out(&output)
}

/// A run that must fail with `code`, a message that contains `message`, and nothing on stdout.
#[track_caller]
fn fails(arguments: &[&str], code: i32, message: &str) {
    let output = transunet(arguments);
    let text = err(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.starts_with("error: ") && text.contains(message), "{arguments:?}: {message:?} is not in\n{text}");
    assert!(text.contains("hint: ") || text.contains("--help"), "{arguments:?}: no hint in\n{text}");
    assert_eq!(out(&output), "");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A finished demo, made once for all tests.
fn demo() -> &'static Path {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-demo");
        let _ = fs::remove_dir_all(&folder);
        let text = succeeds(&["demo", "--output", folder.to_str().unwrap()]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stdout.txt"), text).unwrap();
        folder
    })
}

fn demo_file(name: &str) -> String {
    demo().join(name).to_str().unwrap().to_owned()
}

/// A NIfTI file of zeros with `size`, 1 mm voxels.
fn nifti(path: &Path, size: [u16; 3]) {
    let mut header = vec![0u8; 352];
    header[0..4].copy_from_slice(&348i32.to_le_bytes());
    for (at, value) in [3, size[0], size[1], size[2], 1, 1, 1, 1].into_iter().enumerate() {
        header[40 + 2 * at..][..2].copy_from_slice(&value.to_le_bytes());
    }
    header[70..72].copy_from_slice(&2i16.to_le_bytes()); // uint8
    header[72..74].copy_from_slice(&8i16.to_le_bytes());
    for (at, value) in [1.0f32, 1.0, 1.0, 1.0].into_iter().enumerate() {
        header[76 + 4 * at..][..4].copy_from_slice(&value.to_le_bytes());
    }
    header[108..112].copy_from_slice(&352f32.to_le_bytes());
    header[254..256].copy_from_slice(&1i16.to_le_bytes()); // sform
    for axis in 0..3 {
        header[280 + 16 * axis + 4 * axis..][..4].copy_from_slice(&1f32.to_le_bytes());
    }
    header[344..348].copy_from_slice(b"n+1\0");
    header.resize(352 + size.iter().map(|&n| usize::from(n)).product::<usize>(), 0);
    fs::write(path, header).unwrap();
}

#[test]
fn help_teaches_by_examples() {
    let all = succeeds(&["--help"]);
    for part in ["Examples:", "transunet demo", "Exit codes:", "130  cancelled", "not for clinical use"] {
        assert!(all.contains(part), "{part:?} is not in\n{all}");
    }
    for command in ["segment", "batch", "verify", "info", "send", "devices", "demo"] {
        let help = succeeds(&[command, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("transunet {command}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
    assert!(succeeds(&["segment", "--help"]).contains("not for clinical use"));
    assert_eq!(succeeds(&["--version"]), format!("transunet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_command_lines_are_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    nifti(&folder.path().join("ct.nii"), [8, 8, 4]);
    fs::write(at("model.pth"), "no weights").unwrap();
    fs::create_dir(at("images")).unwrap();
    fs::write(at("images/readme.txt"), "no image").unwrap();
    let (ct, model, images) = (at("ct.nii"), at("model.pth"), at("images"));
    let (seg, nii, dcm) = (at("out.seg.nrrd"), at("out.nii.gz"), at("out.dcm"));
    let nowhere = at("nowhere/out.nii.gz");

    let table: &[(&[&str], i32, &str)] = &[
        (&["paint"], 2, "unrecognized subcommand"),
        (&["segment"], 2, "required arguments were not provided"),
        (&["segment", &ct, "--model", &model], 2, "--output"),
        (&["segment", &ct, "--output", &nii], 2, "--model"),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--device", "gpu"], 2, "expected auto, cpu, cuda:N"),
        (
            &["segment", &ct, "--model", &model, "--output", &nii, "--precision", "half"],
            2,
            "precision is \"half\", expected f32, bf16 or f16",
        ),
        (
            &["segment", &ct, "--model", &model, "--output", &nii, "--device", "cpu", "--precision", "bf16"],
            5,
            "does not compute in bf16, expected f32",
        ),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--batch", "0"], 2, "0 is not in 1.."),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--threads", "many"], 2, "--threads"),
        (&["segment", &ct, "--model", &model, "--output", &at("out.jpg")], 2, "expected .dcm (DICOM SEG)"),
        (&["segment", &ct, "--model", &model, "--output", &dcm], 2, "a DICOM object refers to DICOM images"),
        (
            &["segment", &images, "--model", &model, "--output", &dcm, "--seg-compression", "rle"],
            2,
            "a BINARY segmentation cannot be RLE compressed",
        ),
        (
            &["segment", &images, "--model", &model, "--output", &dcm, "--seg-type", "mask"],
            2,
            "[possible values: binary",
        ),
        (
            &["segment", &ct, "--model", &model, "--output", &nii, "--seg-compression", "deflate"],
            2,
            "--seg-compression: no DICOM SEG is written",
        ),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--output", &nii], 2, "two outputs have this name"),
        (&["segment", &ct, "--model", &model, "--output", &ct], 2, "it is also read"),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--picture", &at("p.jpg")], 2, "ends in .png"),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--report", &at("r.txt")], 2, "ends in .json"),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--probabilities", &at("p.npy")], 2, "ends in .nii.gz"),
        (&["segment", &ct, &images, "--model", &model, "--output", &nii], 2, "together with other inputs"),
        (&["segment", &ct, "--series", "2", "--model", &model, "--output", &nii], 2, "no series to choose"),
        (&["segment", &images, "--series", "CT", "--model", &model, "--output", &nii], 2, "expected a series UID"),
        (&["segment", &at("no.nii"), "--model", &model, "--output", &nii], 3, "no.nii: cannot open"),
        (&["segment", &images, "--model", &model, "--output", &seg], 4, "expected .pth, .npz or .safetensors"),
        (&["segment", &ct, "--model", &at("no.pth"), "--output", &nii], 4, "no.pth: cannot open"),
        (
            &["segment", &ct, "--model", &model, "--output", &nii, "--device", "cpu"],
            4,
            "expected .pth, .npz or .safetensors",
        ),
        (&["segment", &ct, "--model", &model, "--output", &nowhere], 6, "cannot write"),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--device", "cuda:99"], 5, "cuda:99"),
        (&["segment", &ct, "--model", &model, "--output", &nii, "--device", "cuda:0,cpu"], 2, "but cpu goes alone"),
        (&["devices", "--check", "cuda:99", "--quick"], 5, "cuda:99"),
        (&["devices", "--quick"], 2, "--check"),
        (&["info"], 2, "required arguments were not provided"),
        (&["info", &at("nothing")], 3, "cannot open"),
        (&["info", &model], 4, "expected .pth, .npz or .safetensors"),
        (&["info", &images], 3, "not a DICOM file"),
        (&["info", &at("images/readme.txt")], 3, "not a DICOM file"),
        (&["demo", "--output", &ct], 6, "cannot create"),
    ];
    for (arguments, code, message) in table {
        fails(arguments, *code, message);
    }
    for output in [seg, nii, dcm] {
        assert!(!Path::new(&output).exists(), "{output} must not be left behind");
    }
}

#[test]
fn devices_name_the_cpu() {
    assert!(succeeds(&["devices"]).contains("cpu"));
    let check = json(&succeeds(&["devices", "--check", "cpu", "--quick", "--json"]));
    assert_eq!((&check["device"]["id"], check["faults"].as_array().unwrap().len()), (&"cpu".into(), 0));
    assert!(check["passes"][0]["seconds"]["median"].as_f64().unwrap() > 0.0, "{check}");
    let list = json(&succeeds(&["devices", "--json"]));
    assert_eq!(list["devices"][0]["id"], "cpu");
    assert!(list["devices"][0]["unusable"].is_null());
}

#[test]
fn info_tells_labels_from_images() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ct.nii");
    nifti(&file, [8, 6, 4]);
    let info = json(&succeeds(&["info", file.to_str().unwrap(), "--json"]));
    assert_eq!(info["size"], serde_json::json!([8, 6, 4]));
    assert_eq!(info["labels"], serde_json::json!([]));
    let truth = json(&succeeds(&["info", &demo_file("truth.seg.nrrd"), "--json"]));
    let names: Vec<_> =
        truth["labels"].as_array().unwrap().iter().map(|label| label["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Aorta", "Left kidney", "Right kidney", "Liver", "Spleen", "Vertebral column"]);
    assert!(truth["labels"][3]["volume_ml"].as_f64().unwrap() > 700.0, "a liver: {truth}");
}

#[test]
fn info_describes_the_demo_in_words_and_json() {
    let model = succeeds(&["info", &demo_file("model.safetensors")]);
    for part in [
        "TransUNet bundle",
        "TransUNet tiny",
        "7 classes",
        "axial slices",
        "24 cases, 8 to validate",
        "Right kidney",
        "#288c28",
    ] {
        assert!(model.contains(part), "{part:?} is not in\n{model}");
    }
    let model = json(&succeeds(&["info", &demo_file("model.safetensors"), "--json"]));
    assert_eq!(model["labels"].as_array().unwrap().len(), 6);
    assert!(model["parameters"].as_u64().unwrap() > 500_000);

    let folder = succeeds(&["info", &demo_file("ct")]);
    for part in ["CT", "128 x 128 x 32", "2.8 x 2.8 x 6", "Synthetic abdomen"] {
        assert!(folder.contains(part), "{part:?} is not in\n{folder}");
    }
    let folder = json(&succeeds(&["info", &demo_file("ct"), "--json"]));
    assert_eq!(folder["series"][0]["number"], 1);
    assert!(folder["series"][0]["problem"].is_null());
}

#[test]
fn the_demo_makes_everything_and_its_model_finds_the_organs() {
    let said = fs::read_to_string(demo().join("stdout.txt")).unwrap();
    for part in ["transunet segment", "transunet evaluate", "transunet info", "Liver", "32 slices", "mean Dice 0.9"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    for file in ["model.safetensors", "segmentation.dcm", "segmentation.seg.nrrd", "segmentation.png", "truth.png"] {
        assert!(fs::metadata(demo().join(file)).unwrap().len() > 500, "{file}");
    }
    assert_eq!(fs::read_dir(demo().join("ct")).unwrap().count(), 32);
    let report = json(&fs::read_to_string(demo().join("segmentation.json")).unwrap());
    assert_eq!(report["labels"].as_array().unwrap().len(), 6);
    assert_eq!(report["transunet"], env!("CARGO_PKG_VERSION"));
    assert!(report["devices"][0]["id"].is_string() && report["seconds"]["total"].as_f64().unwrap() > 0.0);

    let scores = tempfile::tempdir().unwrap();
    let scores = scores.path().join("scores.json");
    let (found, truth) = (demo_file("segmentation.seg.nrrd"), demo_file("truth.seg.nrrd"));
    succeeds(&["evaluate", &found, &truth, "--json", scores.to_str().unwrap()]);
    let scores = json(&fs::read_to_string(&scores).unwrap());
    for label in scores["labels"].as_array().unwrap() {
        let dice = label["dice"]["mean"].as_f64().unwrap();
        assert!(dice >= 0.95, "{}: Dice {dice}", label["name"]);
    }
}

#[test]
fn the_demo_makes_patients_to_learn_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("phantoms");
    let said = succeeds(&["demo", "--patients", "2", "--output", at.to_str().unwrap()]);
    assert!(said.contains("transunet train"), "{said}");
    let checked = succeeds(&["data", "check", at.join("train.yaml").to_str().unwrap()]);
    for part in ["Vertebral column", "2 cases of 2 subjects (layout dicom)", "patient-00"] {
        assert!(checked.contains(part), "{part:?} is not in\n{checked}");
    }
}

#[test]
fn the_phantom_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("a folder");
    succeeds(&["demo", "--quiet", "--output", again.to_str().unwrap()]);
    for file in ["ct/slice-001.dcm", "ct/slice-020.dcm", "model.safetensors", "truth.seg.nrrd"] {
        assert!(fs::read(demo().join(file)).unwrap() == fs::read(again.join(file)).unwrap(), "{file} differs");
    }
}

#[test]
fn a_dicom_checker_finds_no_error_in_the_demo() {
    for file in ["ct/slice-001.dcm", "ct/slice-032.dcm", "segmentation.dcm"] {
        let Some(mut checker) = common::program("a_dicom_checker_finds_no_error_in_the_demo", "dciodvfy") else {
            return;
        };
        let output = checker.arg(demo().join(file)).output().unwrap();
        let said = format!("{}{}", out(&output), err(&output));
        let faults: Vec<_> = said.lines().filter(|line| line.starts_with("Error")).collect();
        assert!(faults.is_empty(), "{file}: {faults:?}");
    }
}

#[test]
fn segment_writes_what_is_asked_for_and_reports_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let files = [at("s.dcm"), at("s.seg.nrrd"), at("s.nii.gz"), at("p.nii.gz"), at("p.png"), at("r.json")];
    fs::write(&files[0], "an older file").unwrap();
    let text = succeeds(&[
        "segment",
        &demo_file("ct"),
        "--model",
        &demo_file("model.safetensors"),
        "--series",
        "1",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--batch",
        "4",
        "--output",
        &files[0],
        "--output",
        &files[1],
        "--output",
        &files[2],
        "--probabilities",
        &files[3],
        "--picture",
        &files[4],
        "--report",
        &files[5],
        "--json",
    ]);
    let report = json(&text);
    assert_eq!(report, json(&fs::read_to_string(&files[5]).unwrap()), "--json prints the report");
    assert_eq!((&report["devices"][0]["id"], &report["modality"]), (&"cpu".into(), &"CT".into()));
    assert_eq!(report["outputs"].as_array().unwrap().len(), 6);
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() > 300, "{file}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), files.len(), "no temporary file is left");

    let object = dicom::object::open_file(&files[0]).unwrap();
    let segments = object.element(dicom::dictionary_std::tags::SEGMENT_SEQUENCE).unwrap().items().unwrap();
    assert_eq!(segments.len(), 6);
    // Labels of two formats agree with the report.
    for file in [&files[1], &files[2]] {
        let info = json(&succeeds(&["info", file, "--json"]));
        let count = |list: &Value, value: u64| {
            let rows = list["labels"].as_array().unwrap();
            rows.iter().find(|row| row["value"] == value).map_or(0, |row| row["voxels"].as_u64().unwrap())
        };
        for value in 1..=6 {
            assert_eq!(count(&info, value), count(&report, value), "label {value} of {file}");
        }
    }
    // Probabilities on request, the same each time.
    for file in [&files[0], &files[2].replace(".nii.gz", ".dcm")] {
        succeeds(&[
            "segment",
            &demo_file("ct"),
            "--model",
            &demo_file("model.safetensors"),
            "--output",
            file,
            "--seg-type",
            "fractional",
            "--seg-compression",
            "rle",
            "--deterministic",
        ]);
    }
    let bytes = fs::read(&files[0]).unwrap();
    assert!(bytes == fs::read(files[2].replace(".nii.gz", ".dcm")).unwrap());
    assert!(bytes.windows(11).any(|word| word == b"PROBABILITY"));
    let quiet = succeeds(&[
        "segment",
        &demo_file("ct"),
        "--model",
        &demo_file("model.safetensors"),
        "--output",
        &files[1],
        "--quiet",
    ]);
    assert_eq!(quiet, "");
}

#[test]
fn info_says_what_keeps_weights_from_segmenting() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
    for (file, problem) in [("vit/model.pth", "heads not given"), ("r50/google.npz", "an encoder alone")] {
        let path = format!("{golden}{file}");
        let words = succeeds(&["info", &path]);
        assert!(words.contains("\nCannot segment: ") && words.contains(problem), "{words}");
        let info = json(&succeeds(&["info", &path, "--json"]));
        assert!(info["problem"].as_str().unwrap().contains(problem), "{info}");
        assert!(info["tensors"].as_u64().unwrap() > 80, "{info}");
    }
}

#[test]
fn several_series_are_listed_and_one_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("study")).unwrap();
    for k in 1..=4 {
        let name = format!("slice-{k:03}.dcm");
        fs::copy(demo().join("ct").join(&name), at(&format!("study/{name}"))).unwrap();
        let mut other = dicom::object::open_file(demo().join("ct").join(&name)).unwrap();
        let mut put = |tag, vr, value: &str| {
            other.put(dicom::core::DataElement::new(tag, vr, dicom::core::PrimitiveValue::from(value)));
        };
        put(dicom::dictionary_std::tags::SERIES_INSTANCE_UID, dicom::core::VR::UI, "1.2.3");
        put(dicom::dictionary_std::tags::SOP_INSTANCE_UID, dicom::core::VR::UI, &format!("1.2.3.{k}"));
        put(dicom::dictionary_std::tags::SERIES_DESCRIPTION, dicom::core::VR::LO, "Late phase");
        put(dicom::dictionary_std::tags::SERIES_NUMBER, dicom::core::VR::IS, "2");
        other.write_to_file(at(&format!("study/late-{k}.dcm"))).unwrap();
    }
    let (study, model, seg) = (at("study"), demo_file("model.safetensors"), at("s.nii.gz"));
    let base = ["segment", &study, "--model", &model, "--output", &seg];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    fails(&base, 3, "Late phase");
    fails(&with(&["--series", "3"]), 3, "no series fits number=3");
    fails(&with(&["--series", "1.2.4"]), 3, "1.2.3");
    fails(&with(&["--series", "modality=CT"]), 3, "2 series fit");
    for choice in ["2", "1.2.3", "description=late,modality=CT"] {
        let report = json(&succeeds(&with(&["--series", choice, "--json"])));
        assert!(report["source"].as_str().unwrap().contains("1.2.3"), "{choice}: {report}");
    }
    let list = json(&succeeds(&["info", &study, "--json"]));
    assert_eq!(list["series"][1]["series_uid"], "1.2.3");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_transunet"))
        .args(["segment", "--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!err(&output).contains("panicked"), "{}", err(&output));
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out_folder = folder.path().join("out");
    fs::create_dir(&out_folder).unwrap();
    let big = folder.path().join("big.nii");
    nifti(&big, [256, 256, 2000]); // minutes of work
    let mut child = Command::new(env!("CARGO_BIN_EXE_transunet"))
        .arg("segment")
        .arg(&big)
        .args(["--model", &demo_file("model.safetensors"), "--device", "cpu", "--output"])
        .arg(out_folder.join("s.nii.gz"))
        .arg("--probabilities")
        .arg(out_folder.join("p.nii.gz"))
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be cancelled");
    let start = Instant::now();
    // SAFETY: sends a signal to our own child.
    #[allow(unsafe_code)]
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(sent, 0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    assert_eq!(err(&output), "error: cancelled\n");
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?} to stop", start.elapsed());
    assert_eq!(fs::read_dir(&out_folder).unwrap().count(), 0, "something was left behind");
}
