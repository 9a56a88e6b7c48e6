//! `transunet batch` through the real binary: what a tree comes to, what a killed run leaves, parts, and what is refused.

#[path = "common/discs.rs"]
mod discs;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "common/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use phantom::put_text;
use place::{Place, Told, err, lines, model, phantom, untrained};
use serde_json::Value;

#[test]
fn a_tree_comes_to_results_and_reasons() {
    let place = Place::new();
    place.series("a/ct", "1.2.1", 4);
    // Two series in one folder, one of them spread over another.
    for file in
        phantom("1.2.2", 5).write_with(&place.images("a/mr"), |_, slice| put_text(slice, tags::MODALITY, VR::CS, "MR"))
    {
        let name = file.file_name().unwrap().to_str().unwrap();
        let folder = if name == "3.dcm" { place.images("a/late") } else { place.images("a/mr") };
        fs::rename(&file, folder.join(format!("second-{name}"))).unwrap();
    }
    place.series("a/mr", "1.2.3", 3);
    let gap = place.series("b/gap", "1.2.4", 6).remove(2);
    let missing = fs::read(&gap).unwrap();
    fs::remove_file(&gap).unwrap();
    let cut = place.series("b/cut", "1.2.5", 4).remove(1);
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 30]).unwrap();
    let torn = place.images("b/torn").join("7.dcm");
    fs::write(&torn, &bytes[..250]).unwrap();
    let edited = |folder: &str, uid: &str, tag, vr, value: &str| {
        phantom(uid, 2).write_with(&place.images(folder), |_, slice| put_text(slice, tag, vr, value));
    };
    edited("c/seg", "1.2.6", tags::SOP_CLASS_UID, VR::UI, uids::SEGMENTATION_STORAGE);
    edited("c/scout", "1.2.7", tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER");
    edited("c/cine", "1.2.8", tags::NUMBER_OF_FRAMES, VR::IS, "12");
    place.series("f/odd", "../../evil", 2);
    discs::write(&place.images("d").join("x.nii.gz"), discs::case(1).0);
    discs::write(&place.images("e").join("x.nii.gz"), discs::case(2).0);
    fs::write(place.images("e").join("bad.nii.gz"), "no volume").unwrap();
    fs::write(place.images("e").join("old.seg.nrrd"), "whatever").unwrap();
    fs::write(place.images("e").join("notes.txt"), "no image").unwrap();

    let options = ["--format", "dcm,nii.gz", "--picture", "--report"];
    let told = place.run("out", &options, 7);
    let manifest = place.manifest("out");
    assert_eq!(told.0, manifest.0, "the manifest holds what was told");
    for what in ["1.2.1", "1.2.2", "1.2.3", "../../evil", "d/x.nii.gz", "e/x.nii.gz"] {
        let line = manifest.about(what);
        assert_eq!(line["status"], "done", "{line}");
        let outputs = line["outputs"].as_array().unwrap();
        assert_eq!(outputs.len(), if what.ends_with(".nii.gz") { 3 } else { 4 }, "{line}");
        for output in outputs {
            assert!(place.at("out").join(output.as_str().unwrap()).metadata().unwrap().len() > 100, "{output}");
        }
        let report = place.at("out").join(line["name"].as_str().unwrap()).join("report.json");
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        for (label, volume) in report["labels"].as_array().unwrap().iter().zip(line["labels"].as_array().unwrap()) {
            assert_eq!((&label["name"], &label["volume_ml"]), (&volume["name"], &volume["volume_ml"]));
        }
        assert!(Path::new(report["outputs"][0].as_str().unwrap()).is_file(), "{report}");
        assert_eq!(
            (&line["device"], &line["versions"]["transunet"]),
            (&"cpu".into(), &env!("CARGO_PKG_VERSION").into())
        );
        assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["error"].is_null());
    }
    assert!(
        manifest.about("1.2.1")["labels"]
            .as_array()
            .unwrap()
            .iter()
            .any(|label| label["volume_ml"].as_f64() > Some(0.0))
    );
    assert_eq!(manifest.about("1.2.2")["paths"], serde_json::json!(["a/late", "a/mr"]));
    assert_eq!((&manifest.about("1.2.2")["images"], &manifest.about("1.2.2")["modality"]), (&5.into(), &"MR".into()));
    for (what, status, message) in [
        ("1.2.4", "DICOM_GEOMETRY", "missing"),
        ("1.2.5", "DICOM_PARSE", "truncated"),
        ("b/torn/7.dcm", "DICOM_PARSE", "truncated"),
        ("1.2.8", "DICOM_UNSUPPORTED", "12 frames in an image"),
        ("e/bad.nii.gz", "VOLUME_FORMAT", "bad.nii.gz"),
    ] {
        let line = manifest.about(what);
        assert_eq!((&line["status"], &line["error"]["status"]), (&"failed".into(), &status.into()), "{line}");
        assert!(line["error"]["message"].as_str().unwrap().contains(message), "{line}");
        assert!(line["outputs"].as_array().unwrap().is_empty());
    }
    for (what, reason) in [("1.2.6", "a segmentation"), ("1.2.7", "a localizer"), ("e/old.seg.nrrd", "a segmentation")]
    {
        let line = manifest.about(what);
        assert_eq!(line["status"], "skipped", "{line}");
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    }
    assert_eq!(manifest.0.len(), 14);
    let folders: BTreeSet<&str> = manifest.names("done").into_iter().collect();
    assert_eq!(folders.len(), 6, "no two results share a folder");
    let results = place.results("out");
    assert!(results.keys().all(|name| folders.contains(name.split_once('/').unwrap().0)), "{:?}", results.keys());

    // As `transunet segment` has it.
    let alone = place.at("alone.nii.gz");
    let mut segment = Command::new(env!("CARGO_BIN_EXE_transunet"));
    segment
        .arg("segment")
        .arg("--quiet")
        .arg(place.at("in/a"))
        .args(["--series", "1.2.2", "--device", "cpu", "--model"]);
    assert!(segment.arg(model()).arg("--output").arg(&alone).status().unwrap().success());
    assert!(fs::read(&alone).unwrap() == results["1.2.2/segmentation.nii.gz"]);

    // Nothing is computed again, what failed still counts; a series that has become whole is taken without being asked.
    let again = place.run("out", &options, 7);
    assert_eq!((again.names("done").len(), again.names("failed").len()), (0, 0), "{:?}", again.0);
    assert_eq!(place.manifest("out").0.len(), 14);
    assert!(place.results("out") == results);
    fs::write(&gap, &missing).unwrap();
    assert_eq!(place.run("out", &options, 7).names("done"), ["1.2.4"]);
    assert_eq!(place.manifest("out").about("1.2.4")["status"], "done");
    // So is one whose images have changed since.
    place.series("a/ct", "1.2.1", 5);
    assert_eq!(place.run("out", &options, 7).names("done"), ["1.2.1"]);
    assert_eq!(place.manifest("out").about("1.2.1")["images"], 5);
    // And one whose results have gone.
    fs::remove_dir_all(place.at("out/1.2.3")).unwrap();
    assert_eq!(place.run("out", &options, 7).names("done"), ["1.2.3"]);
    assert!(
        place.results("out")["1.2.3/segmentation.dcm"] == results["1.2.3/segmentation.dcm"],
        "the same object again"
    );
}

#[test]
fn failed_series_are_tried_again_when_asked() {
    let place = Place::with_series(2, 2);
    // What is no result is not replaced.
    fs::create_dir_all(place.at("out/1.2.2")).unwrap();
    let mine = place.at("out/1.2.2/mine.txt");
    fs::write(&mine, "mine").unwrap();
    let told = place.run("out", &[], 7);
    assert_eq!((told.names("done"), told.names("failed")), (vec!["1.2.1"], vec!["1.2.2"]));
    assert_eq!(told.about("1.2.2")["error"]["status"], "IO");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    fs::remove_file(&mine).unwrap();
    assert!(place.run("out", &[], 7).0.is_empty());
    assert_eq!(place.run("out", &["--retry"], 0).names("done"), ["1.2.2"]);
    assert_eq!(place.manifest("out").names("done"), ["1.2.1", "1.2.2"]);
    assert_eq!(place.run("out", &["--retry"], 0).0.len(), 0);
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    const SERIES: usize = 24;
    let place = Place::with_series(SERIES, 6);
    place.run("whole", &["--threads", "1"], 0);
    let (mut killed, mut done, mut state) = (0, Vec::new(), 88_172_645_463_325_252u64);
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for attempt in 1.. {
        assert!(attempt < 200, "no run came to its end");
        let told = place.at("told.jsonl");
        let file = fs::File::create(&told).unwrap();
        let mut run =
            place.command("out", &["--threads", "1", "--jobs", ["1", "3"][attempt % 2]]).stdout(file).spawn().unwrap();
        // A moment counted in results told, not in time, so that several kills fall into the work of any machine.
        let results = random(4) as usize;
        let ended = loop {
            let ended = run.try_wait().unwrap();
            if ended.is_some() || fs::read_to_string(&told).unwrap().lines().count() >= results {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        std::thread::sleep(Duration::from_millis(random(20)));
        let ended = ended.or_else(|| run.try_wait().unwrap());
        if ended.is_none() {
            run.kill().unwrap();
            run.wait().unwrap();
            killed += 1;
        }
        let text = fs::read_to_string(&told).unwrap();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        done.extend(lines(whole).iter().map(|line| line["name"].as_str().unwrap().to_owned()));
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
    }
    assert!(killed >= 3, "killed {killed} times");
    let once: BTreeSet<&String> = done.iter().collect();
    assert_eq!(once.len(), done.len(), "computed again: {done:?}");
    let names: BTreeSet<String> = place.manifest("out").names("done").into_iter().map(Into::into).collect();
    assert_eq!((names.len(), place.manifest("out").0.len()), (SERIES, SERIES));
    assert!(place.results("out") == place.results("whole"));
}

#[test]
fn half_a_line_is_no_loss_and_a_broken_one_no_secret() {
    let place = Place::with_series(2, 2);
    place.run("out", &[], 0);
    let path = place.at("out/manifest.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    fs::write(&path, format!("{first}\n{}", &second[..second.len() / 2])).unwrap();
    assert_eq!(place.run("out", &[], 0).names("done"), ["1.2.2"]);
    assert_eq!(place.manifest("out").names("done"), ["1.2.1", "1.2.2"]);
    // A whole line that only lacks its end counts.
    fs::write(&path, format!("{first}\n{}", second.trim_end())).unwrap();
    assert!(place.run("out", &[], 0).0.is_empty());
    assert_eq!(place.manifest("out").0.len(), 2);

    fs::write(&path, format!("{}\n{second}", &first[..20])).unwrap();
    let run = place.command("out", &[]).output().unwrap();
    assert_eq!(run.status.code(), Some(6), "{}", err(&run));
    assert!(err(&run).contains("line 1 is no line of a manifest"), "{}", err(&run));
}

#[test]
fn parts_share_nothing_and_together_are_the_whole() {
    let place = Place::with_series(9, 2);
    discs::write(&place.images("x").join("t1.nii.gz"), discs::case(1).0);
    fs::write(place.images("x").join("torn.dcm"), [&[0; 128][..], b"DICM\x02\x00"].concat()).unwrap();
    place.run("whole", &[], 7);
    let whole = place.manifest("whole");
    let runs: Vec<(u32, Child)> = (1..=3)
        .map(|n| {
            let part = format!("{n}/3");
            (n, place.command("out", &["--shard", &part]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        })
        .collect();
    let mut all = Vec::new();
    for (n, run) in runs {
        let status = run.wait_with_output().unwrap().status;
        let manifest = place.at(&format!("out/manifest-{n}-of-3.jsonl"));
        let part = Told(lines(&fs::read_to_string(manifest).unwrap()));
        assert_eq!(status.code(), Some(if part.names("failed").is_empty() { 0 } else { 7 }));
        assert!(part.0.len() < whole.0.len());
        all.extend(part.0);
    }
    let names = |lines: &[Value]| lines.iter().map(|line| line["name"].to_string()).collect::<BTreeSet<String>>();
    assert_eq!((all.len(), names(&all)), (whole.0.len(), names(&whole.0)), "each series once");
    assert!(place.results("out") == place.results("whole"));
    // Another division, or none, knows what was done.
    for part in ["1/2", "2/2"] {
        let run = place.command("out", &["--shard", part]).output().unwrap();
        assert!(run.stdout.is_empty() && matches!(run.status.code(), Some(0 | 7)), "{part}: {run:?}");
    }
    assert!(place.run("out", &[], 7).0.is_empty());
}

#[test]
fn several_at_once_give_the_same_bytes() {
    let place = Place::with_series(6, 3);
    for (output, options) in [("one", ["--jobs", "1", "--threads", "1"]), ("three", ["--jobs", "3", "--threads", "2"])]
    {
        let told = place.run(output, &[&options[..], &["--format", "dcm,seg.nrrd,nii.gz", "--picture"]].concat(), 0);
        assert_eq!(told.names("done").len(), 6);
    }
    let results = place.results("one");
    assert_eq!(results.len(), 24);
    assert!(results == place.results("three"));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let place = Place::with_series(3, 4);
    let told = place.run("out", &["--dry-run"], 0);
    assert_eq!(told.names("todo"), ["1.2.1", "1.2.2", "1.2.3"]);
    assert!(!place.at("out").exists());
    fs::remove_file(place.images("study-0/series-2").join("1.dcm")).unwrap();
    place.run("out", &["--series", "1.2.1"], 0);
    let before = place.results("out");
    let told = place.run("out", &["--dry-run"], 7);
    assert_eq!((told.names("done"), told.names("todo")), (vec!["1.2.1"], vec!["1.2.3"]));
    assert_eq!(told.about("1.2.2")["error"]["status"], "DICOM_GEOMETRY");
    assert!(place.results("out") == before && place.manifest("out").names("done") == ["1.2.1"]);
    // For people.
    let words = Command::new(env!("CARGO_BIN_EXE_transunet"))
        .arg("batch")
        .args([place.at("in"), place.at("out")])
        .arg("--model")
        .arg(model())
        .args(["--dry-run", "--modality", "PT"])
        .output()
        .unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("[1/3] done    1.2.1  CT \"phantom\": in an earlier run\n"), "{words}");
    assert!(words.contains("[3/3] skipped 1.2.3  CT \"phantom\": not chosen: modality \"CT\"\n"), "{words}");
}

#[test]
fn rules_choose_series() {
    let place = Place::with_series(2, 2);
    phantom("1.2.9", 2).write_with(&place.images("mr"), |_, slice| {
        put_text(slice, tags::MODALITY, VR::CS, "MR");
        put_text(slice, tags::SERIES_DESCRIPTION, VR::LO, "T1 sagittal");
    });
    discs::write(&place.images("x").join("t1.nii.gz"), discs::case(1).0);
    for (rules, chosen) in [
        (&["--modality", "mr"][..], &["1.2.9"][..]),
        (&["--modality", "MR,CT"], &["1.2.1", "1.2.2", "1.2.9"]),
        (&["--series", "description=t1"], &["1.2.9"]),
        (&["--series", "1.2.1", "--series", "modality=MR"], &["1.2.1", "1.2.9"]),
        (&["--series", "modality=MR", "--modality", "CT"], &[]),
    ] {
        let told = place.run("out", &[rules, &["--dry-run"]].concat(), 0);
        assert_eq!(told.names("todo"), chosen, "{rules:?}");
        assert_eq!(told.0.len(), 4, "the others are told too");
    }
    // A volume file has no DICOM SEG.
    let told = place.run("out", &["--format", "dcm", "--dry-run"], 0);
    assert!(told.about("x/t1.nii.gz")["reason"].as_str().unwrap().contains("DICOM SEG"));
}

#[test]
fn results_of_two_kinds_are_not_mixed() {
    let place = Place::with_series(1, 2);
    place.run("out", &[], 0);
    let other = untrained("batch-other.safetensors", 4);
    let other = other.to_str().unwrap();
    let copy = place.at("copy.safetensors");
    fs::copy(model(), &copy).unwrap();
    let refused = |input: PathBuf, output: PathBuf, model: &str, more: &[&str], code: i32, message: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.arg("batch").arg(input).arg(output).args(["--device", "cpu", "--model", model]).args(more);
        let run = command.env("NO_COLOR", "1").output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{more:?}: {}", err(&run));
        assert!(err(&run).contains(message), "{message:?} is not in {}", err(&run));
    };
    let (input, out, ours) = (place.at("in"), place.at("out"), model().to_str().unwrap());
    refused(input.clone(), out.clone(), other, &[], 6, "holds results of batch.safetensors");
    refused(input.clone(), out.clone(), ours, &["--picture"], 6, "report no, precision f32; asked for");
    refused(input.clone(), out.clone(), ours, &["--precision", "bf16", "--dry-run"], 6, "report no, precision bf16");
    refused(input.clone(), out.clone(), ours, &["--format", "nii", "--dry-run"], 6, "asked for: formats nii");
    let label_map = ["--seg-type", "labelmap", "--seg-compression", "rle"];
    refused(input.clone(), out.clone(), ours, &label_map, 6, "asked for: formats dcm for DICOM series");
    let nrrd = ["--format", "seg.nrrd", "--seg-type", "labelmap"];
    refused(input.clone(), place.at("other"), ours, &nrrd, 2, "--seg-type: no DICOM SEG is written");
    // The same model elsewhere is the same.
    refused(input.clone(), out.clone(), copy.to_str().unwrap(), &[], 0, "");
    refused(input.clone(), input.join("out"), ours, &[], 2, "one is in the other");
    refused(input.clone(), place.at(""), ours, &[], 2, "one is in the other");
    refused(place.at("no"), out.clone(), ours, &[], 3, "no: cannot open");
    refused(copy.clone(), out.clone(), ours, &[], 3, "expected a folder");
    refused(input.clone(), copy, ours, &[], 6, "cannot create");
    refused(input.clone(), out.clone(), "no.pth", &[], 4, "no.pth");
    for (option, value) in [("--shard", "4/3"), ("--jobs", "0"), ("--format", "png"), ("--series", "MR")] {
        refused(input.clone(), out.clone(), ours, &[option, value], 2, option);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_tidily_and_says_where() {
    let place = Place::with_series(1, 2);
    place.series("z", "1.2.7", 3000);
    let run = place.command("out", &["--jobs", "2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !place.at("out/.unfinished/1.2.7").exists() || !place.at("out/1.2.1").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was begun");
        std::thread::sleep(Duration::from_millis(20));
    }
    // A second run of the same would write the same files.
    let second = place.command("out", &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(6), "{}", err(&second));
    assert!(err(&second).contains("another transunet batch"), "{}", err(&second));
    // SAFETY: sends a signal to our own child.
    #[allow(unsafe_code)]
    let sent = unsafe { libc::kill(run.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(sent, 0);
    let stopping = Instant::now();
    let run = run.wait_with_output().unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(10), "took {:?} to stop", stopping.elapsed());
    assert_eq!(run.status.code(), Some(130), "{}", err(&run));
    assert!(err(&run).starts_with("error: cancelled with 1 series to do\n"), "{}", err(&run));
    let manifest = place.manifest("out");
    assert_eq!(manifest.names("done"), ["1.2.1"]);
    let stopped = manifest.about("1.2.7");
    assert_eq!((&stopped["status"], &stopped["error"]["status"]), (&"failed".into(), &"CANCELLED".into()));
    assert_eq!(stopped["error"]["ends_run"], true);
    assert!(place.results("out").keys().all(|name| name.starts_with("1.2.1/")), "something was left behind");
    // It is not counted as failed: the next run takes it up without being asked.
    assert_eq!(place.run("out", &["--dry-run"], 0).names("todo"), ["1.2.7"]);
}
