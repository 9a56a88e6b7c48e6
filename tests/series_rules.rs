//! The command on folders of several series, several volumes in a series, and tilted stacks.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "common/place.rs"]
mod place;

use std::path::Path;
use std::process::{Command, Output};

use dicom::core::VR;
use dicom::dictionary_std::tags;
use phantom::put_text;
use place::{Place, err};
use transunet::config::ModelConfig;
use transunet::device::Devices;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::weights::Precision;

/// A model that is for head scans with contrast.
fn model(place: &Place) -> std::path::PathBuf {
    let path = place.at("head.safetensors");
    let mut config = ModelConfig::undescribed(Architecture::tiny(64, 4));
    config.input.series = Some("body=HEAD,contrast=yes".into());
    let device = Devices::cpu();
    Model::untrained(&device, config, 3).unwrap().save(&path, Precision::Single).unwrap();
    path
}

/// Three series of one study: one of the head with contrast, one without, one of the neck.
fn study(place: &Place) {
    for (uid, body, agent) in [("1.2.1", "HEAD", ""), ("1.2.2", "HEAD", "Iomeprol"), ("1.2.3", "NECK", "Iomeprol")] {
        place::phantom(uid, 3).write_with(&place.images(uid), |_, slice| {
            put_text(slice, tags::BODY_PART_EXAMINED, VR::CS, body);
            put_text(slice, tags::CONTRAST_BOLUS_AGENT, VR::LO, agent);
        });
    }
}

fn transunet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_transunet")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

/// `segment` of the place's images; the SEG it wrote, or what it said.
fn segment(place: &Place, model: &Path, more: &[&str]) -> Result<String, String> {
    let (images, output) = (place.at("in"), place.at("out.dcm"));
    let mut arguments =
        vec!["segment", images.to_str().unwrap(), "--device", "cpu", "--model", model.to_str().unwrap()];
    arguments.extend(["--output", output.to_str().unwrap()]);
    arguments.extend(more);
    let run = transunet(&arguments);
    if !run.status.success() {
        assert!(!output.exists(), "a failed run left a file");
        return Err(err(&run));
    }
    let seg = transunet::dicom::Seg::open(&output).unwrap();
    std::fs::remove_file(&output).unwrap();
    Ok(seg.series_uids.join(" "))
}

#[test]
fn a_model_says_which_series_it_is_for() {
    let place = Place::new();
    study(&place);
    let model = model(&place);
    assert_eq!(segment(&place, &model, &[]).unwrap(), "1.2.2");
    // What is named on the command line holds instead.
    assert_eq!(segment(&place, &model, &["--series", "1.2.3"]).unwrap(), "1.2.3");
    assert_eq!(segment(&place, &model, &["--series", "body=head,contrast=no"]).unwrap(), "1.2.1");
    std::fs::remove_dir_all(place.images("1.2.2")).unwrap();
    let said = segment(&place, &model, &[]).unwrap_err();
    for part in [
        "no series fits body=HEAD,contrast=yes",
        "contrast is \"no\", expected contrast=yes",
        "body is \"NECK\", expected body=HEAD",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let images = place.at("in");
    let info = transunet(&["info", images.to_str().unwrap(), "--series", "contrast=yes,slices>=3"]);
    let text = String::from_utf8(info.stdout).unwrap();
    assert!(text.contains("fits: contrast is \"yes\"; slices is 3"), "{text}");
    assert!(text.contains("does not fit: contrast is \"no\", expected contrast=yes"), "{text}");
}

#[test]
fn a_batch_follows_the_models_rules_and_those_of_the_caller() {
    let place = Place::new();
    study(&place);
    let model = model(&place);
    let batch = |output: &str, more: &[&str]| {
        let (images, output) = (place.at("in"), place.at(output));
        let mut arguments =
            vec!["batch", images.to_str().unwrap(), output.to_str().unwrap(), "--device", "cpu", "--json"];
        arguments.extend(["--model", model.to_str().unwrap()]);
        arguments.extend(more);
        let run = transunet(&arguments);
        assert!(run.status.success(), "{}", err(&run));
        place::Told(place::lines(&String::from_utf8(run.stdout).unwrap()))
    };
    let told = batch("by the model", &[]);
    assert_eq!(told.names("done"), ["1.2.2"]);
    assert_eq!(told.about("1.2.1")["reason"], "not chosen: contrast is \"no\", expected contrast=yes");
    let told = batch("by the caller", &["--series", "contrast=no"]);
    assert_eq!(told.names("done"), ["1.2.1"]);
}

#[test]
fn one_time_point_of_a_dynamic_series_is_segmented() {
    let place = Place::new();
    for time in 1..=3 {
        let images = place.images(&format!("time {time}"));
        place::phantom("1.2.1", 3).write_with(&images, |k, slice| {
            put_text(slice, tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.1.{time}.{}", k + 1));
            put_text(slice, tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, &time.to_string());
        });
    }
    let said = segment(&place, place::model(), &[]).unwrap_err();
    assert!(said.contains("holds 3 volumes; choose one by a rule such as time=1"), "{said}");
    assert_eq!(segment(&place, place::model(), &["--series", "number=3,time=2"]).unwrap(), "1.2.1");
    let run = place.run("results", &["--series", "time=2"], 0);
    assert_eq!(run.names("done"), ["1.2.1"]);
    let run = place.run("undecided", &[], 7);
    assert!(run.about("1.2.1")["error"]["message"].as_str().unwrap().contains("holds 3 volumes"));
}

#[test]
fn a_tilted_series_is_written_where_readers_find_it() {
    let place = Place::new();
    let tilted = place::phantom("1.2.1", 4);
    tilted.write_with(&place.images("tilted"), |k, slice| {
        let [x, y, z] = tilted.position([0.0, 0.0, k as f64]);
        let position = phantom::decimals(&[x, y + k as f64, z]);
        put_text(slice, tags::IMAGE_POSITION_PATIENT, VR::DS, &position);
    });
    assert_eq!(segment(&place, place::model(), &[]).unwrap(), "1.2.1");
    let nifti = place.at("labels.nii.gz");
    let nifti = nifti.to_str().unwrap();
    let said = segment(&place, place::model(), &["--output", nifti]).unwrap_err();
    assert!(said.contains("labels.nii.gz: the slices are stacked askew (gantry tilt)"), "{said}");
    assert!(!Path::new(nifti).exists());
    let structures = place.at("labels.rtstruct.dcm");
    segment(&place, place::model(), &["--output", structures.to_str().unwrap()]).unwrap();
    assert_eq!(transunet::dicom::Structures::open(&structures).unwrap().series_uids, ["1.2.1"]);
    segment(&place, place::model(), &["--tilt", "resample", "--output", nifti]).unwrap();
    let grid = transunet::formats::read_labels(Path::new(nifti)).unwrap().geometry;
    // 3 mm of drift along the rows, 1.5 mm apart.
    assert_eq!(grid.size, [40, 36 + 2, 4]);
    let said = segment(&place, place::model(), &["--tilt", "refuse"]).unwrap_err();
    assert!(said.contains("gantry tilt: slices are stacked 21.8 degrees off their normal"), "{said}");
    let info = transunet(&["info", place.at("in").to_str().unwrap()]);
    let text = String::from_utf8(info.stdout).unwrap();
    assert!(text.contains("gantry tilt of 21.8 degrees: labels stay on the source slices"), "{text}");
}
