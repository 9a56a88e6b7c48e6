//! The installed modules as hosts see them: their descriptions, their executables, and 3D Slicer and CTK at work with them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use transunet::labels::Label;
use transunet::weights::Checkpoint;

use crate::{Installed, MODULES, common, discs, root, run, text};

#[test]
fn executables_describe_themselves_at_once() {
    let test = "executables_describe_themselves_at_once";
    let Some(installed) = Installed::new(test) else { return };
    for module in MODULES {
        let path = installed.modules().join(module);
        let beside = fs::read(path.with_extension("xml")).unwrap();
        let mut times: Vec<f64> = (0..15)
            .map(|_| {
                let start = Instant::now();
                // As Slicer calls it: in the module's folder; weights are out of reach.
                let output = run(Command::new(&path).arg("--xml").current_dir(installed.modules()));
                assert!(output.stdout == beside && output.stderr.is_empty(), "{module} --xml");
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{module} --xml: {:.1} ms (median of {})", times[times.len() / 2], times.len());
        assert!(times[times.len() / 2] < 500.0, "{times:?} ms");
        if let Some(mut xmllint) = common::program(test, "xmllint") {
            run(xmllint
                .args(["--noout", "--relaxng"])
                .arg(root("tests/peers/cli_module.rng"))
                .arg(path.with_extension("xml")));
        }
    }
}

#[test]
fn a_signal_stops_an_executable_without_a_trace() {
    let Some(installed) = Installed::new("a_signal_stops_an_executable_without_a_trace") else { return };
    let set = discs::Set::new();
    let folder = TempDir::new().unwrap();
    let mut module = Command::new(installed.modules().join("TransUNetTraining"))
        .arg("--configuration")
        .arg(set.config("out", "cache: 1\n"))
        .arg("--output")
        .arg(folder.path().join("run"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(module.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("Opening the device") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the module ended");
    }
    unsafe { libc::kill(module.id() as i32, libc::SIGTERM) };
    let status = module.wait().unwrap();
    assert_eq!(status.code(), Some(128 + libc::SIGTERM));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn report_is_the_commands_report() {
    let Some(installed) = Installed::new("report_is_the_commands_report") else { return };
    let folder = TempDir::new().unwrap();
    let [ours, theirs] = ["ours.json", "theirs.json"].map(|name| folder.path().join(name));
    run(Command::new(installed.modules().join("TransUNet"))
        .arg("--dicom_folder")
        .arg(installed.demo("ct"))
        .args(["--model", "phantom", "--report"])
        .arg(&ours));
    run(Command::new(installed.prefix("bin/transunet"))
        .arg("segment")
        .arg(installed.demo("ct"))
        .args(["--model", "phantom", "--output"])
        .arg(folder.path().join("x.nii"))
        .arg("--report")
        .arg(&theirs));
    let [ours, theirs] =
        [ours, theirs].map(|path| serde_json::from_slice::<BTreeMap<String, Value>>(&fs::read(path).unwrap()).unwrap());
    assert!(ours.keys().eq(theirs.keys()), "{:?}, expected {:?}", ours.keys(), theirs.keys());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&ours["seconds"]), keys(&theirs["seconds"]));
    assert!(ours["seconds"]["total"].as_f64().unwrap() > 0.0);
    assert!(ours["outputs"][0].as_str().unwrap().ends_with("ours.json"));
    for (key, value) in
        ours.iter().filter(|(key, _)| !["seconds", "outputs", "peak_memory_bytes"].contains(&key.as_str()))
    {
        assert_eq!(value, &theirs[key], "{key}");
    }
}

#[test]
fn ctk_reads_and_runs_both_modules() {
    let test = "ctk_reads_and_runs_both_modules";
    let Some(installed) = Installed::new(test) else { return };
    let folder = TempDir::new().unwrap();
    let set = discs::Set::new();
    let [labels, model] = ["labels.seg.nrrd", "model.safetensors"].map(|name| folder.path().join(name));
    let (ct, work) = (installed.demo("ct"), folder.path().join("run"));
    let configuration = set.config("out", "");
    let segment: [(&str, &Path); 3] =
        [("dicom_folder", &ct), ("model", Path::new("phantom")), ("output_labels", &labels)];
    let train: [(&str, &Path); 3] = [("configuration", &configuration), ("output", &work), ("output_model", &model)];
    for (module, values, made) in [(MODULES[0], segment, &labels), (MODULES[1], train, &model)] {
        let Some(mut python) = common::peers(test) else { return };
        python.arg(root("tests/peers/ctk_modules.py")).arg(installed.modules()).arg(module);
        for (name, value) in values {
            python.arg(name).arg(value);
        }
        let said = text(&run(&mut python).stdout);
        assert!(made.is_file(), "{module}");
        assert!(said.starts_with("<filter-start>\n<filter-name>"), "{said}");
        assert!(said.contains("<filter-progress>1.000</filter-progress>"), "{said}");
        assert!(said.trim_end().ends_with("</filter-end>"), "{said}");
        assert!(said.lines().all(|line| line.starts_with('<') || line.is_empty()), "{said}");
    }
}

#[derive(Debug, Deserialize)]
struct Loaded {
    differing: usize,
    labelled: usize,
    segments: Vec<Segment>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    name: String,
    color: [f64; 3],
    value: u8,
    terminology: String,
}

#[test]
fn slicer_runs_the_modules_and_loads_what_they_make() {
    let test = "slicer_runs_the_modules_and_loads_what_they_make";
    let Some(installed) = Installed::new(test) else { return };
    let Some(mut python) = common::peers(test) else { return };
    let folder = TempDir::new().unwrap();
    let set = discs::Set::new();
    let answer = folder.path().join("answer.json");
    run(python
        .arg(root("tests/peers/slicer_modules.py"))
        .arg(installed.modules())
        .arg(installed.demo("ct"))
        .arg(set.config("out", ""))
        .arg(folder.path())
        .arg(&answer));
    let mut answer: BTreeMap<String, Value> = serde_json::from_slice(&fs::read(answer).unwrap()).unwrap();
    let dice: Vec<f64> = serde_json::from_value(answer.remove("dice").unwrap()).unwrap();
    assert!(dice.len() == 6 && dice.iter().all(|&dice| dice > 0.95), "{dice:?}");
    let (config, _) = Checkpoint::open(&installed.demo("model.safetensors")).unwrap().describe().unwrap();
    for title in ["TransUNet", "Shared TransUNet"] {
        for pose in ["plain", "oblique", "flipped", "mirrored", "sagittal"] {
            let loaded: Loaded = serde_json::from_value(answer.remove(&format!("{title} {pose}")).unwrap()).unwrap();
            println!("{title}, {pose}: {} of {} labelled voxels differ", loaded.differing, loaded.labelled);
            assert!(loaded.labelled > 40_000 && loaded.differing == 0, "{title} {pose}");
            assert_eq!(loaded.segments.len(), config.labels.len(), "{title} {pose}");
            loaded.segments.iter().zip(&config.labels).for_each(|(found, label)| check_segment(found, label));
        }
        let [status, error]: [String; 2] =
            serde_json::from_value(answer.remove(&format!("{title} error")).unwrap()).unwrap();
        assert_eq!(status, "Completed with errors", "{title}");
        assert!(error.contains("nowhere/r.json: cannot create"), "{title}: {error}");
    }
    for title in ["TransUNet Training", "Shared Training"] {
        assert!(answer.remove(title).unwrap().as_u64().unwrap() > 10_000, "{title}");
    }
    assert!(answer.is_empty(), "{answer:?}");
}

fn check_segment(found: &Segment, label: &Label) {
    assert_eq!((&found.name, found.value), (&label.name, label.value));
    for (found, expected) in found.color.iter().zip(label.color.unwrap()) {
        assert!((found - f64::from(expected) / 255.0).abs() < 1e-3, "{label:?}");
    }
    let kind = label.kind.as_ref().unwrap();
    let code = format!("~{}^{}^{}~", kind.scheme, kind.value, kind.meaning);
    assert!(found.terminology.contains(&code), "{}, expected {code}", found.terminology);
}
