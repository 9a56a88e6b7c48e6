//! `transunet verify`, and what it rests on: the same input, model and device give the same bits.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::tags;
use dicom::object::DefaultDicomObject;
use serde_json::Value;
use transunet::config::Provenance;
use transunet::control::Control;
use transunet::device::Devices;
use transunet::dicom::{Series, SeriesOptions};
use transunet::engine::Engine;
use transunet::infer::{SegmentOptions, segment};
use transunet::kernels::simd::Isa;
use transunet::model::Model;
use transunet::preprocess::Preprocessor;
use transunet::volume::Volume;
use transunet::weights::{Checkpoint, Precision};

use crate::{demo, demo_file, err, fails, json, out, succeeds, transunet};

/// `transunet segment` of the demo's images, with its model.
fn segment_demo(more: &[&str]) -> Value {
    let (ct, model) = (demo_file("ct"), demo_file("model.safetensors"));
    json(&succeeds(&[&["segment", &ct, "--model", &model, "--device", "cpu", "--json"], more].concat()))
}

#[test]
fn threads_and_batches_change_no_bit_of_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut first: Option<Vec<Vec<u8>>> = None;
    for (threads, batch) in [("1", "1"), ("2", "1"), ("3", "5"), ("7", "32"), ("1", "100")] {
        let names = ["s.dcm", "s.nii", "s.seg.nrrd", "p.nii"].map(at);
        let [dcm, nii, nrrd, likely] = names.each_ref().map(String::as_str);
        let outputs = ["--output", dcm, "--output", nii, "--output", nrrd, "--probabilities", likely];
        let how = ["--deterministic", "--seg-type", "fractional", "--threads", threads, "--batch", batch];
        segment_demo(&[&outputs[..], &how].concat());
        let files: Vec<Vec<u8>> = names.iter().map(|name| fs::read(name).unwrap()).collect();
        let expected = first.get_or_insert_with(|| files.clone());
        for (n, name) in names.iter().enumerate() {
            assert!(files[n] == expected[n], "{name} with {threads} threads and batch {batch}");
        }
    }
}

/// Logits of instruction sets differ in their last bits, and labels only where two classes are as good as equal.
#[test]
fn instruction_sets_agree_on_labels_but_not_on_every_bit() {
    let path = demo().join("model.safetensors");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (config, _) = checkpoint.describe().unwrap();
    let series = Series::open(&[demo().join("ct")], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let preprocessor = Preprocessor::new(&config, &volume, &mut Control::none()).unwrap();
    let [height, width] = preprocessor.size();
    let (plane, classes) = (height * width, config.architecture.classes);
    let logits = |isa: Isa| {
        let read = |name: &str, _: &[usize]| checkpoint.read_for(name, &config.architecture, false);
        let engine = Engine::new(&config.architecture, isa, read).unwrap();
        let mut all = Vec::new();
        for k in 0..preprocessor.slices() {
            let mut pixels = vec![0.0; preprocessor.channels() * plane];
            preprocessor.slice(k, &mut pixels).unwrap();
            let show = |_: usize, map: transunet::kernels::simd::maps::Map| {
                all.extend((0..plane).flat_map(|pixel| map.values[pixel * map.pitch..][..classes].to_vec()));
            };
            engine.forward(&pixels, [1, preprocessor.channels(), height, width], None, show).unwrap();
        }
        all
    };
    let label =
        |logits: &[f32]| (1..classes).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
    let sets = Isa::available();
    let fastest = logits(sets[0]);
    assert!(logits(sets[0]) == fastest, "the same instructions give the same bits");
    for isa in &sets[1..] {
        let others = logits(*isa);
        let bits = fastest.iter().zip(&others).filter(|(a, b)| a != b).count();
        let most = fastest.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let pairs = fastest.chunks_exact(classes).zip(others.chunks_exact(classes));
        let labels = pairs.filter(|(a, b)| label(a) != label(b)).count();
        let pixels = fastest.len() / classes;
        println!(
            "{} and {}: {bits} of {} logits differ, by {most:.1e} at most; {labels} of {pixels} labels",
            sets[0].name(),
            isa.name(),
            fastest.len()
        );
        assert!(most < 1e-3 && labels * 100_000 <= pixels, "{}: {most}, {labels} of {pixels}", isa.name());
    }
}

#[test]
fn every_result_is_made_again_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ct, model) = (demo_file("ct"), demo_file("model.safetensors"));
    let forms: [&[&str]; 8] = [
        &["binary", "none"],
        &["binary", "deflate"],
        &["fractional", "none"],
        &["fractional", "rle"],
        &["fractional", "deflate"],
        &["labelmap", "none"],
        &["labelmap", "rle"],
        &["labelmap", "deflate"],
    ];
    for form in forms {
        segment_demo(&["--output", &at("s.dcm"), "--seg-type", form[0], "--seg-compression", form[1]]);
        let said = succeeds(&["verify", &at("s.dcm"), &ct, "--model", &model]);
        assert!(said.contains("the same: 524288 voxels, made again from 32 images"), "{form:?}: {said}");
    }
    let report = at("r.json");
    let outputs =
        ["--output", &at("s.nii.gz"), "--output", &at("s.seg.nrrd"), "--output", &at("s.nrrd"), "--report", &report];
    let said = segment_demo(&outputs);
    assert_eq!((&said["precision"], &said["receipt"]["settings"]["precision"]), (&"f32".into(), &"f32".into()));
    assert_eq!(said["receipt"]["source"]["instances"].as_array().unwrap().len(), 32);
    for name in ["s.nii.gz", "s.seg.nrrd", "s.nrrd", "r.json"] {
        // Other threads, and the folder of the model.
        let verdict = succeeds(&["verify", &at(name), &ct, "--model", &demo_folder(), "--threads", "1", "--json"]);
        let verdict = json(&verdict);
        assert_eq!(verdict["identical"], true, "{name}: {verdict}");
        assert_eq!(verdict["made"]["labels_sha256"], verdict["again"]["labels_sha256"]);
        assert_eq!(verdict["differences"].is_null(), name == "r.json");
    }
    // A volume file: the same voxels in another file are the same source.
    let labels = at("v.nii");
    succeeds(&["segment", &at("s.nii.gz"), "--model", &model, "--device", "cpu", "--output", &labels]);
    succeeds(&["verify", &labels, &at("s.nii.gz"), "--model", &model]);
    fails(&["verify", &labels, &at("v.nii"), "--model", &model], 3, "the result was made from");
    fails(&["verify", &labels, &ct, "--model", &model], 3, "made from a volume file");
    // The images beside the result, and an installed model.
    fs::create_dir(at("case")).unwrap();
    for entry in fs::read_dir(&ct).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), Path::new(&at("case")).join(entry.file_name())).unwrap();
    }
    fs::copy(at("s.dcm"), at("case/s.dcm")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_transunet"))
        .args(["verify", &at("case/s.dcm"), "--quiet"])
        .env("TRANSUNET_MODELS", demo())
        .output()
        .unwrap();
    assert!(output.status.success() && out(&output).is_empty(), "{}", err(&output));
}

/// Images of the demo, each changed by `edit(number, image)`.
pub fn edited_series(folder: &str, edit: impl Fn(i32, &mut DefaultDicomObject)) {
    fs::create_dir(folder).unwrap();
    for k in 1..=32 {
        let name = format!("slice-{k:03}.dcm");
        let mut image = dicom::object::open_file(demo().join("ct").join(&name)).unwrap();
        edit(k, &mut image);
        image.write_to_file(Path::new(folder).join(name)).unwrap();
    }
}

pub fn put(image: &mut DefaultDicomObject, tag: Tag, vr: VR, value: &str) {
    image.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

/// Resampled slices, and a folder to which another image of the series has come since.
#[test]
fn the_images_of_the_receipt_are_read_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = demo_file("model.safetensors");
    edited_series(&at("ct"), |k, image| {
        let place = format!("-178.5\\{}\\{}", -178.5 + 1.5 * f64::from(k), 6 * k);
        put(image, tags::IMAGE_POSITION_PATIENT, VR::DS, &place);
    });
    let how = ["--device", "cpu", "--tilt", "resample", "--json"];
    let outputs = ["--output", &at("s.dcm"), "--output", &at("s.nii.gz")];
    let ct = at("ct");
    let segment = [&["segment", &ct, "--model", &model], &outputs[..], &how].concat();
    assert_eq!(json(&succeeds(&segment))["receipt"]["settings"]["tilt"], "resample");
    let mut late = dicom::object::open_file(demo().join("ct/slice-001.dcm")).unwrap();
    put(&mut late, tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4");
    late.write_to_file(at("ct/late.dcm")).unwrap();
    for name in ["s.dcm", "s.nii.gz"] {
        assert!(succeeds(&["verify", &at(name), &at("ct"), "--model", &model]).contains("the same"), "{name}");
    }
}

fn demo_folder() -> String {
    demo().to_str().unwrap().to_owned()
}

#[test]
fn what_is_not_the_same_is_told_with_number_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ct, model) = (demo_file("ct"), demo_file("model.safetensors"));
    segment_demo(&[
        "--output",
        &at("s.dcm"),
        "--seg-type",
        "labelmap",
        "--output",
        &at("s.nii"),
        "--report",
        &at("r.json"),
    ]);
    let edit = |name: &str, from_end: usize| {
        let mut bytes = fs::read(at(name)).unwrap();
        let place = bytes.len() - from_end;
        bytes[place] = if bytes[place] == 1 { 2 } else { 1 };
        fs::write(at(name), bytes).unwrap();
    };
    // The last pixels of the last slice.
    edit("s.nii", 1);
    edit("s.nii", 130);
    let told = "2 of 524288 voxels differ, in 1 slice; the first is [126, 126, 31], all lie within [126, 126, 31] to \
                [127, 127, 31]";
    fails(&["verify", &at("s.nii"), &ct, "--model", &model], 8, told);
    edit("s.dcm", 1);
    let verify = ["verify", &at("s.dcm"), &ct, "--model", &model];
    fails(&verify, 8, "1 of 524288 voxels differ");
    fails(&verify, 8, "the file was changed after it was written");
    let verdict = json(&out(&transunet(&[&verify[..], &["--json"]].concat())));
    assert_eq!((&verdict["identical"], &verdict["differences"]["voxels"]), (&false.into(), &1.into()));
    let report = fs::read_to_string(at("r.json")).unwrap();
    let made = json(&report)["receipt"]["labels_sha256"].as_str().unwrap().to_owned();
    fs::write(at("r.json"), report.replace(&made, &made.replace(&made[..1], "_"))).unwrap();
    fails(&["verify", &at("r.json"), &ct, "--model", &model], 8, "gives other voxels");
}

#[test]
fn what_cannot_be_made_again_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ct, model) = (demo_file("ct"), demo_file("model.safetensors"));
    segment_demo(&["--output", &at("s.dcm"), "--output", &at("s.nrrd")]);
    let seg = at("s.dcm");
    // Another description is another model; the bundled weights are rounded, and rounding them again changes nothing.
    let loaded = Model::load(&Devices::cpu(), model.as_ref()).unwrap();
    loaded.save(at("half.safetensors").as_ref(), Precision::Half).unwrap();
    succeeds(&["verify", &seg, &ct, "--model", &at("half.safetensors")]);
    loaded.with_provenance(Provenance::default()).save(at("other.safetensors").as_ref(), Precision::Single).unwrap();
    fails(
        &["verify", &seg, &ct, "--model", &at("other.safetensors")],
        4,
        "the result was made by the model with SHA-256",
    );
    fs::create_dir(at("none")).unwrap();
    fails(&["verify", &seg, &ct, "--model", &at("none")], 4, "no model was found");
    // Images that are missing.
    fs::create_dir(at("some")).unwrap();
    for k in (1..=32).filter(|k| ![5, 6].contains(k)) {
        let name = format!("slice-{k:03}.dcm");
        fs::copy(demo().join("ct").join(&name), at(&format!("some/{name}"))).unwrap();
    }
    fails(
        &["verify", &seg, &at("some"), "--model", &model],
        3,
        "2 of 32 images that the result was made from are missing",
    );
    fails(&["verify", &seg, &at("none"), "--model", &model], 3, "");
    // Images that lie elsewhere now.
    edited_series(&at("moved"), |k, image| {
        let place = format!("-178.5\\-178.5\\{}", 6 * (40 - k));
        put(image, tags::IMAGE_POSITION_PATIENT, VR::DS, &place);
    });
    fails(&["verify", &seg, &at("moved"), "--model", &model], 3, "make other slices");
    // A device that is not here.
    fails(&["verify", &seg, &ct, "--model", &model, "--device", "cuda:99"], 5, "cuda:99");
    // Other programs' files, corrected ones, and none.
    let truth = demo_file("truth.seg.nrrd");
    fails(&["verify", &truth, &ct, "--model", &model], 3, "no receipt");
    let mut foreign = dicom::object::open_file(&seg).unwrap();
    put(&mut foreign, tags::MANUFACTURER, VR::LO, "Elsewhere");
    foreign.remove_element(tags::SEGMENT_SEQUENCE);
    let mut segments = dicom::object::open_file(&seg).unwrap().take_element(tags::SEGMENT_SEQUENCE).unwrap();
    for segment in segments.items_mut().unwrap() {
        segment.remove_element(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE);
    }
    foreign.put(segments);
    foreign.write_to_file(at("foreign.dcm")).unwrap();
    fails(&["verify", &at("foreign.dcm"), &ct, "--model", &model], 3, "it names Elsewhere");
    fails(&["verify", &demo_file("ct/slice-001.dcm"), &ct, "--model", &model], 3, "expected a DICOM SEG");
    fs::write(at("x.json"), "{}").unwrap();
    fails(&["verify", &at("x.json"), &ct, "--model", &model], 3, "no receipt");
    fails(&["verify", &at("nothing.dcm"), &ct], 3, "nothing.dcm");
}

#[test]
fn what_has_changed_since_is_said_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("r.json");
    let labels = folder.path().join("s.nii");
    let mut made = segment_demo(&["--output", labels.to_str().unwrap(), "--report", report.to_str().unwrap()]);
    made["receipt"]["code"]["version"] = "0.0.9".into();
    made["receipt"]["settings"]["instructions"] = "AVX-1024".into();
    fs::write(&report, made.to_string()).unwrap();
    let (ct, model) = (demo_file("ct"), demo_file("model.safetensors"));
    let output = transunet(&["verify", report.to_str().unwrap(), &ct, "--model", &model, "--json"]);
    assert!(output.status.success(), "{}", err(&output));
    let verdict = json(&out(&output));
    assert_eq!((&verdict["identical"], verdict["notes"].as_array().unwrap().len()), (&true.into(), 2), "{verdict}");
    let warned = err(&output);
    assert!(warned.contains("made with 0.0.9") && warned.contains("made with AVX-1024"), "{warned}");
    // With the instructions of the receipt, if the processor has them.
    for isa in Isa::available() {
        made["receipt"]["settings"]["instructions"] = isa.name().into();
        made["receipt"]["code"]["version"] = env!("CARGO_PKG_VERSION").into();
        fs::write(&report, made.to_string()).unwrap();
        let output = transunet(&["verify", report.to_str().unwrap(), &ct, "--model", &model, "--json"]);
        let verdict = json(&out(&output));
        assert_eq!(verdict["again"]["settings"]["instructions"], isa.name());
        assert_eq!(verdict["notes"], serde_json::json!([]), "{verdict}");
    }
}

/// The label map of the library is that of the command.
#[test]
fn the_command_and_the_library_give_the_same_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("s.nii");
    let report = segment_demo(&["--output", labels.to_str().unwrap()]);
    let series = Series::open(&[demo().join("ct")], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let model = Model::load(&Devices::cpu(), &demo().join("model.safetensors")).unwrap();
    let labelmap = segment(&model, &volume, &SegmentOptions::default(), &mut Control::none()).unwrap();
    assert_eq!(serde_json::to_value(labelmap.receipt().unwrap()).unwrap(), report["receipt"]);
}
