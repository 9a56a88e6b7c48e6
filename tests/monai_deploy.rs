//! The MONAI Deploy application and its operators with the real App SDK, on a CPU.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/hosts.rs"]
mod hosts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hosts::{demo, library, root, run, said, transunet};
use tempfile::TempDir;

/// The SDK's Python with the stack that Holoscan asks for.
fn python(test: &str) -> Option<Command> {
    let python = common::peers_with(test, "monai")?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -s 32768 && exec \"$0\" \"$@\""]).arg(python.get_program());
    shell.env("TRANSUNET_LIBRARY", library()).env("TRANSUNET_MODELS", root("models"));
    Some(shell)
}

/// One run of the application, as MONAI Deploy starts it.
struct Run<'a> {
    input: &'a Path,
    model: &'a str,
    /// Lines of app.yaml below "transunet:".
    options: &'a str,
}

fn app<'a>(input: &'a Path, model: &'a str, options: &'a str) -> Run<'a> {
    Run { input, model, options }
}

impl Run<'_> {
    fn start(&self, test: &str, output: &Path) -> Option<Output> {
        let mut python = python(test)?;
        let config = TempDir::new().unwrap();
        let text = fs::read_to_string(root("hosts/monai_deploy/app.yaml")).unwrap();
        let (head, defaults) = text.split_once("transunet:\n").unwrap();
        let options = if self.options.is_empty() { defaults } else { self.options };
        let path = config.path().join("app.yaml");
        fs::write(&path, format!("{head}transunet:\n{options}\n")).unwrap();
        python
            .arg(root("hosts/monai_deploy"))
            .env("HOLOSCAN_CONFIG_PATH", path)
            .env("HOLOSCAN_INPUT_PATH", self.input)
            .env("HOLOSCAN_OUTPUT_PATH", output)
            .env("HOLOSCAN_MODEL_PATH", self.model);
        Some(python.output().unwrap())
    }

    /// Must succeed; the SEG files that it leaves.
    #[track_caller]
    fn writes(&self, test: &str, output: &Path) -> Option<Vec<PathBuf>> {
        let done = self.start(test, output)?;
        assert!(done.status.success(), "{}\n{}", done.status, said(&done));
        Some(fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path()).collect())
    }

    /// Must fail with exit code 1, say `message` and leave no file.
    #[track_caller]
    fn fails(&self, test: &str, message: &str) {
        let folder = TempDir::new().unwrap();
        let Some(done) = self.start(test, folder.path()) else { return };
        let text = said(&done);
        assert_eq!(done.status.code(), Some(1), "{text}");
        let failure = text.lines().find(|line| line.starts_with("TransUNet failed: "));
        assert!(failure.is_some_and(|line| line.contains(message)), "{message:?} is not in\n{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

fn no_errors_of_dciodvfy(test: &str, seg: &Path) {
    let Some(mut dciodvfy) = common::program(test, "dciodvfy") else { return };
    let text = said(&dciodvfy.arg(seg).output().unwrap());
    assert!(text.contains("Segmentation") && !text.contains("Error"), "{text}");
}

/// The application's file against what the command writes of the same series.
#[track_caller]
fn same_as_the_command(test: &str, ours: &Path, series: &Path, model: &Path) {
    let folder = TempDir::new().unwrap();
    let theirs = folder.path().join("theirs.dcm");
    transunet(&["segment".as_ref(), series, "--model".as_ref(), model, "--output".as_ref(), &theirs]);
    let mut python = python(test).unwrap();
    run(python.arg(root("tests/peers/monai/compare_seg.py")).arg(ours).arg(theirs));
    no_errors_of_dciodvfy(test, ours);
}

#[test]
fn a_ct_becomes_a_dicom_seg() {
    let test = "a_ct_becomes_a_dicom_seg";
    let folder = TempDir::new().unwrap();
    let ct = demo().join("ct");
    // A model laid out as in a package; a model by its id, which knows that it is for CT.
    let package = folder.path().join("models/phantom");
    fs::create_dir_all(&package).unwrap();
    let model = root("models/phantom.safetensors");
    fs::copy(&model, package.join("model.safetensors")).unwrap();
    for (n, path) in [folder.path().join("models").to_str().unwrap(), "phantom"].into_iter().enumerate() {
        let output = folder.path().join(format!("out{n}"));
        let Some(files) = app(&ct, path, "").writes(test, &output) else { return };
        assert_eq!(files.len(), 1, "{files:?}");
        same_as_the_command(test, &files[0], &ct, &model);
    }
}

#[test]
fn series_of_a_study_are_chosen() {
    let test = "series_of_a_study_are_chosen";
    let Some(study) = common::data(test, "dicom-mr-study1-hippocrop") else { return };
    let folder = TempDir::new().unwrap();
    let series = study.join("HippoCrop");
    let model = root("models/hippocampus.safetensors");
    let quick = root("models/phantom.safetensors"); // a model that says no modality
    let output = folder.path().join("both");
    let Some(both) = app(&study, quick.to_str().unwrap(), "").writes(test, &output) else { return };
    assert_eq!(both.len(), 2, "{both:?}");

    let listing = Command::new(env!("CARGO_BIN_EXE_transunet")).args(["info", "--json"]).arg(&series).output().unwrap();
    let listing: serde_json::Value = serde_json::from_slice(&listing.stdout).unwrap();
    let uid = listing["series"][0]["series_uid"].as_str().unwrap();
    let options = format!("  series: {uid}");
    let one = app(&study, "hippocampus", &options).writes(test, &folder.path().join("one")).unwrap();
    assert_eq!(one.len(), 1, "{one:?}");
    assert_eq!(one[0].file_name().unwrap().to_str().unwrap(), format!("transunet-{uid}.dcm"));
    same_as_the_command(test, &one[0], &series, &model);
}

#[test]
fn what_cannot_be_segmented_fails_the_application() {
    let test = "what_cannot_be_segmented_fails_the_application";
    let ct = demo().join("ct");
    let empty = TempDir::new().unwrap();
    app(empty.path(), "phantom", "").fails(test, "no series to segment: no DICOM images here");
    app(Path::new("/nowhere"), "phantom", "").fails(test, "/nowhere");
    app(&ct, "sphinx", "").fails(test, "sphinx");
    app(&ct, root("models").to_str().unwrap(), "").fails(test, "models");
    app(&ct, "hippocampus", "").fails(test, "not MR");
    app(&ct, "phantom", "  device: gpu").fails(test, "device: \"gpu\", expected auto");
    app(&ct, "phantom", "  speed: 3").fails(test, "unknown speed");
    app(&ct, "phantom", "  series: modality=MR").fails(test, "modality=MR");

    if let Some(dynamic) = common::data(test, "dicom-mr-fmri-timepoints") {
        app(&dynamic, "hippocampus", "").fails(test, "holds 5 volumes");
    }
    // CT and MR in one study, and a model that is no bundled one.
    let Some(mr) = common::data(test, "dicom-mr-study1-hippocrop") else { return };
    let study = TempDir::new().unwrap();
    std::os::unix::fs::symlink(mr.canonicalize().unwrap().join("HippoCrop"), study.path().join("mr")).unwrap();
    std::os::unix::fs::symlink(&ct, study.path().join("ct")).unwrap();
    let model = root("models/phantom.safetensors");
    app(study.path(), model.to_str().unwrap(), "").fails(test, "series of CT and MR");
    let output = TempDir::new().unwrap();
    let chosen = app(study.path(), model.to_str().unwrap(), "  modality: CT").writes(test, output.path());
    assert!(chosen.is_none_or(|files| files.len() == 1));
}

#[test]
fn the_operator_works_in_a_longer_chain() {
    let test = "the_operator_works_in_a_longer_chain";
    let Some(mut python) = python(test) else { return };
    let folder = TempDir::new().unwrap();
    run(python
        .arg(root("tests/peers/monai/chain.py"))
        .arg(demo().join("ct"))
        .arg(root("models/phantom.safetensors"))
        .arg(folder.path()));
    let seg = fs::read_dir(folder.path().join("seg")).unwrap().next().unwrap().unwrap();
    no_errors_of_dciodvfy(test, &seg.path());
}
