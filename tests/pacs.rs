//! Images from a PACS and results to it: a real Orthanc, and peers of dcmtk.

#[path = "pacs/bench.rs"]
mod bench;
mod common;
#[path = "common/hosts.rs"]
mod hosts;
#[path = "pacs/orthanc.rs"]
mod orthanc;
#[path = "common/phantom.rs"]
mod phantom;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::{AUTHORIZATION, Bench, STUDY, demo_file, demo_uids, json, model};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{InMemDicomObject, open_file};
use orthanc::{BASIC, Orthanc};
use phantom::Phantom;
use serde_json::json;

#[test]
fn a_series_of_orthanc_is_segmented_as_from_a_folder() {
    let Some(orthanc) = Orthanc::start("pacs") else { return };
    let (bench, (study, series)) = (Bench::new(), demo_uids());
    orthanc.load(&hosts::demo().join("ct"));
    let by_web = format!("{}/studies/{study}/series/{series}", orthanc.web());
    let by_get = format!("{}/{study}/{series}", orthanc.dimse());
    let (model, folder) = (model(), demo_file("ct"));
    let mut first: Option<Vec<u8>> = None;
    for (n, input) in [folder.as_str(), &by_web, &by_get].into_iter().enumerate() {
        let output = bench.text(&format!("{n}.seg.nrrd"));
        bench.run(&["segment", input, "--model", &model, "--output", &output, "--device", "cpu"]);
        let bytes = fs::read(output).unwrap();
        assert!(bytes.len() > 1000);
        assert!(first.get_or_insert_with(|| bytes.clone()) == &bytes, "{input}: other labels than from the folder");
    }

    // A study has other things too; the series is found by its modality, by its UID, or by rules.
    orthanc.load(&{
        let others = bench.at("others");
        fs::create_dir(&others).unwrap();
        fs::copy(hosts::demo().join("segmentation.dcm"), others.join("0.dcm")).unwrap();
        others
    });
    let study_by_web = format!("{}/studies/{study}", orthanc.web());
    let study_by_get = format!("{}/{study}", orthanc.dimse());
    let listed = json(&bench.run(&["info", &study_by_web, "--json"]));
    assert_eq!(
        (listed["path"].as_str().unwrap(), listed["series"].as_array().unwrap().len()),
        (study_by_web.as_str(), 2)
    );
    let listed = json(&bench.run(&["info", &study_by_get, "--json"]));
    assert_eq!(listed["series"].as_array().unwrap().len(), 1, "only images come by C-GET: {listed}");
    assert_eq!(listed["series"][0]["series_uid"], series.as_str());
    let output = bench.text("again.seg.nrrd");
    for choice in [series.as_str(), "modality=CT"] {
        bench.run(&[
            "segment",
            &study_by_web,
            "--series",
            choice,
            "--model",
            &model,
            "--output",
            &output,
            "--device",
            "cpu",
        ]);
        assert_eq!(fs::read(&output).unwrap(), fs::read(bench.at("0.seg.nrrd")).unwrap());
    }

    let info = |address: &str| vec!["info".to_owned(), address.to_owned()];
    let unknown = ["1.2.3.4".to_owned(), "1.2.3.5".to_owned()];
    for address in [
        format!("{}/studies/{study}/series/{}", orthanc.web(), unknown[1]),
        format!("{}/studies/{}", orthanc.web(), unknown[0]),
        format!("{}/{study}/{}", orthanc.dimse(), unknown[1]),
        format!("{}/{}", orthanc.dimse(), unknown[0]),
    ] {
        let mut command = bench.command(&[]);
        command.args(info(&address)).env(AUTHORIZATION, BASIC);
        bench.failed(command, 3, &["127.0.0.1"]);
    }
    bench.fails(&["info", &by_web], 3, &["401", AUTHORIZATION]);
    let wrong = by_get.replace("ORTHANC", "OTHER");
    bench.fails(&["info", &wrong], 3, &["the association was rejected", "called AE title not recognized"]);
    bench.fails(&["info", &by_get, "--calling", "NOBODY"], 3, &["127.0.0.1"]);
}

#[test]
fn compressed_series_come_as_they_are_stored() {
    let Some(orthanc) = Orthanc::start("pacs_compressed") else { return };
    let bench = Bench::new();
    for (n, (program, options)) in [
        ("dcmcrle", &[][..]),
        ("dcmcjpeg", &["+e1"]),
        ("dcmcjpls", &["+el"]),
        ("dcmconv", &["+td"]),
        ("dcmconv", &["+ti"]),
    ]
    .into_iter()
    .enumerate()
    {
        let plain = Phantom { series_uid: format!("1.2.3.{n}"), ..Phantom::default() };
        let (from, to) = (bench.at(&format!("plain-{n}")), bench.at(&format!("packed-{n}")));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        for file in plain.write(&from) {
            let Some(mut command) = common::program("pacs_compressed", program) else { return };
            common::run(command.args(options).arg(&file).arg(to.join(file.file_name().unwrap())));
        }
        orthanc.load(&to);
        let segmented = |input: &str| {
            let output = bench.text("labels.nii");
            bench.run(&["segment", input, "--model", &model(), "--output", &output, "--device", "cpu"]);
            fs::read(output).unwrap()
        };
        let expected = segmented(from.to_str().unwrap());
        assert!(expected[352..].iter().any(|label| *label != expected[352]), "labels that tell nothing");
        for address in [
            format!("{}/studies/{STUDY}/series/1.2.3.{n}", orthanc.web()),
            format!("{}/{STUDY}/1.2.3.{n}", orthanc.dimse()),
        ] {
            assert!(
                segmented(&address) == expected,
                "{program} {options:?} {address}: other labels than from the folder"
            );
        }
    }
}

/// What Orthanc has of a segmentation is what was sent.
fn check_stored(orthanc: &Orthanc, ours: &Path, count: usize) {
    let instances = orthanc.instances("SEG");
    assert_eq!(instances.len(), count, "{}", orthanc.log());
    let ours = open_file(ours).unwrap();
    let text = |object: &InMemDicomObject, tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
    let uid = text(&ours, tags::SOP_INSTANCE_UID);
    let instance = instances.iter().find(|instance| {
        orthanc.json(&format!("/instances/{instance}/simplified-tags"))["SOPInstanceUID"] == uid.as_str()
    });
    let instance = instance.unwrap_or_else(|| panic!("{uid} is not in Orthanc"));
    let simple = orthanc.json(&format!("/instances/{instance}/simplified-tags"));
    let (study, series) = demo_uids();
    assert_eq!(simple["SOPClassUID"], uids::SEGMENTATION_STORAGE);
    assert_eq!(simple["StudyInstanceUID"], study.as_str());
    assert_eq!(simple["ReferencedSeriesSequence"][0]["SeriesInstanceUID"], series.as_str());
    let bytes = orthanc.bytes(&format!("/instances/{instance}/file"));
    let theirs = dicom::object::from_reader(&bytes[128..]).unwrap();
    let pixels = |object: &InMemDicomObject| object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert!(pixels(&ours).iter().any(|byte| *byte != 0));
    assert!(pixels(&ours) == pixels(&theirs), "other pixels in Orthanc");
    let elements = |object: &InMemDicomObject| object.iter().map(|element| element.header().tag).collect::<Vec<_>>();
    assert_eq!(elements(&ours), elements(&theirs));
}

#[test]
fn results_are_stored_in_orthanc() {
    let Some(orthanc) = Orthanc::start("pacs_send") else { return };
    let bench = Bench::new();
    let (model, ct) = (model(), demo_file("ct"));
    let (seg, report) = (bench.text("organs.dcm"), bench.text("report.json"));
    for (count, target) in [orthanc.web(), orthanc.dimse()].into_iter().enumerate() {
        let told = bench.run(&[
            "segment", &ct, "--model", &model, "--output", &seg, "--send", &target, "--report", &report, "--device",
            "cpu",
        ]);
        assert!(told.contains(&format!("stored {seg} at {target}")), "{told}");
        check_stored(&orthanc, Path::new(&seg), count + 1);
        let report = json(&fs::read_to_string(&report).unwrap());
        assert_eq!((&report["sent"][0]["state"], &report["sent"][0]["to"]), (&json!("stored"), &json!(target)));
        assert_eq!(
            report["sent"][0]["sop_instance_uid"],
            open_file(&seg).unwrap().meta().media_storage_sop_instance_uid()
        );
    }

    // Of two peers one fails: the other has it, and the file stays.
    let nowhere = format!("dimse://NOBODY@127.0.0.1:{}", orthanc::free_port());
    let mut command = bench.command(&["segment", &ct, "--model", &model, "--output", &seg, "--device", "cpu"]);
    command.args(["--send", &nowhere, "--send", &orthanc.web()]).env(AUTHORIZATION, BASIC);
    let again = format!("transunet send {seg} --to {nowhere}");
    bench.failed(command, 6, &["cannot connect", &again, &format!("stored {seg} at {}", orthanc.web())]);
    check_stored(&orthanc, Path::new(&seg), 3);

    // The same by hand, twice: an archive has one object of one UID.
    let sent = json(&bench.run(&["send", &seg, "--to", &orthanc.dimse(), "--to", &orthanc.web(), "--json"]));
    assert_eq!((&sent[0]["state"], &sent[1]["state"]), (&json!("stored"), &json!("stored")));
    check_stored(&orthanc, Path::new(&seg), 3);
    bench.fails(&["send", &seg, "--to", &orthanc.web()], 6, &["401", "is not stored"]);
    bench.fails(&["send", &seg, "--to", &orthanc.dimse().replace("ORTHANC", "X")], 6, &["rejected", "called AE title"]);
}

#[test]
fn a_batch_is_done_when_it_is_stored() {
    let Some(orthanc) = Orthanc::start("pacs_batch") else { return };
    let bench = Bench::new();
    let (ct, out, model) = (demo_file("ct"), bench.text("out"), model());
    let line = || {
        let text = fs::read_to_string(bench.at("out/manifest.jsonl")).unwrap();
        json(text.lines().last().unwrap())
    };
    let run = ["batch", &ct, &out, "--model", &model, "--device", "cpu"];
    let mut refused = bench.command(&run);
    refused.args(["--send", &orthanc.web()]);
    bench.failed(refused, 7, &["401"]);
    assert_eq!(line()["status"], "failed");
    let dimse = orthanc.dimse();
    bench.run(&[&run[..], &["--send", &dimse, "--retry"]].concat());
    assert_eq!((&line()["status"], &line()["sent"]), (&json!("done"), &json!([dimse])));
    let (_, series) = demo_uids();
    check_stored(&orthanc, &bench.at(&format!("out/{series}/segmentation.dcm")), 1);
    // Done before; to another peer it is not.
    assert!(bench.run(&[&run[..], &["--send", &dimse]].concat()).contains("1 in earlier runs"));
    bench.run(&[&run[..], &["--send", &dimse, "--send", &orthanc.web()]].concat());
    assert_eq!(line()["sent"], json!([dimse, orthanc.web()]));
    check_stored(&orthanc, &bench.at(&format!("out/{series}/segmentation.dcm")), 1);
}

/// Runs `command`, which says little, to its end; its peak of resident memory in bytes, as last seen, and what it said.
fn peak(mut command: Command) -> (u64, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    (peak, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn memory_does_not_grow_with_the_series() {
    let Some(orthanc) = Orthanc::start("pacs_memory") else { return };
    let bench = Bench::new();
    let images = bench.at("images");
    fs::create_dir(&images).unwrap();
    let mut peaks = Vec::new();
    let mut bytes = 0;
    for slices in [10, 300] {
        let uid = format!("1.2.3.{slices}");
        let phantom = Phantom { size: [512, 512, slices], series_uid: uid.clone(), ..Phantom::default() };
        bytes = phantom.write(&images).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        orthanc.load(&images);
        for address in
            [format!("{}/studies/{STUDY}/series/{uid}", orthanc.web()), format!("{}/{STUDY}/{uid}", orthanc.dimse())]
        {
            let start = Instant::now();
            let mut command = bench.command(&["info", &address]);
            command.env(AUTHORIZATION, BASIC);
            let (bytes, told) = peak(command);
            peaks.push(bytes);
            assert!(told.contains(&format!("512 x 512 x {slices} ")), "{told}");
            println!(
                "{slices} slices by {address}: {:.0} MB, {:.1?}",
                peaks[peaks.len() - 1] as f64 / 1e6,
                start.elapsed()
            );
            bench.nothing_is_left();
        }
    }
    let [small, large] = [&peaks[..2], &peaks[2..]];
    for (small, large) in small.iter().zip(large) {
        assert!(
            large - small.min(large) < bytes / 10,
            "{small} bytes for 10 slices, {large} for 300, which are {bytes}"
        );
    }
}

/// A program that is ended with the test.
struct Running(std::process::Child);

impl Running {
    /// Starts a server and waits until it answers to `title`.
    fn server(command: &mut Command, title: &str, port: u16) -> Self {
        let mut ended_with_us = Command::new("setpriv");
        ended_with_us.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        let running = Running(ended_with_us.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        let port = port.to_string();
        let answers = || {
            let mut echo = Command::new("echoscu");
            echo.args(["-aet", "TRANSUNET", "-aec", title, "127.0.0.1", &port]);
            echo.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        };
        while !answers() {
            assert!(start.elapsed() < Duration::from_secs(20), "{command:?} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn peers_of_dcmtk_are_understood_too() {
    let bench = Bench::new();
    let (port, database) = (orthanc::free_port(), bench.text("database"));
    fs::create_dir(&database).unwrap();
    let config = format!(
        "NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 64\n\
         HostTable BEGIN\nus = (TRANSUNET, localhost, 1)\nHostTable END\nVendorTable BEGIN\nVendorTable END\n\
         AETable BEGIN\nARCHIVE {database} RW (20, 100mb) ANY\nAETable END\n"
    );
    fs::write(bench.at("archive.cfg"), config).unwrap();
    let Some(mut archive) = common::program("pacs_dcmtk", "dcmqrscp") else { return };
    let _archive = Running::server(archive.arg("-c").arg(bench.at("archive.cfg")), "ARCHIVE", port);
    let address = format!("dimse://ARCHIVE@127.0.0.1:{port}");
    let (study, series) = demo_uids();
    let images: Vec<_> = fs::read_dir(hosts::demo().join("ct")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut send = vec!["send", "--to", &address];
    send.extend(images.iter().map(|path| path.to_str().unwrap()));
    assert_eq!(bench.run(&send).lines().count(), images.len());
    let seg = demo_file("segmentation.dcm");
    bench.run(&["send", &seg, "--to", &address]);
    let start = Instant::now();
    for place in [format!("{address}/{study}/{series}"), format!("{address}/{study}")] {
        let listed = json(&bench.run(&["info", &place, "--json"]));
        assert_eq!(listed["series"].as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(listed["series"][0]["images"], images.len(), "{listed}");
    }
    // Acknowledgements that are held back cost 40 ms for each image.
    println!("{} images from dcmqrscp, twice: {:.1?}", images.len(), start.elapsed());
    bench.fails(&["info", &format!("{address}/{study}/1.2.3")], 3, &["there are no images of series 1.2.3"]);

    // A peer that takes implicit VR alone.
    let (port, received) = (orthanc::free_port(), bench.at("received"));
    fs::create_dir(&received).unwrap();
    let Some(mut store) = common::program("pacs_dcmtk", "storescp") else { return };
    let _store = Running::server(store.args(["+xi", "-od"]).arg(&received).arg(port.to_string()), "ANY", port);
    bench.run(&["send", &seg, "--to", &format!("dimse://ANY@127.0.0.1:{port}")]);
    let file = fs::read_dir(&received).unwrap().next().unwrap().unwrap().path();
    let (ours, theirs) = (open_file(&seg).unwrap(), open_file(file).unwrap());
    assert_eq!(theirs.meta().transfer_syntax(), uids::IMPLICIT_VR_LITTLE_ENDIAN);
    let pixels = |object: &InMemDicomObject| object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert!(pixels(&ours) == pixels(&theirs));
    assert_eq!(ours.iter().count(), theirs.iter().count());
}

/// Hosts that load the library load no network code with it: sockets are the command's.
#[test]
fn the_library_opens_no_socket() {
    let imports = |file: &Path| {
        let mut nm = common::program("pacs_library", "nm")?;
        let text = hosts::said(&common::run(nm.args(["-D", "--undefined-only"]).arg(file)));
        let symbol = |line: &str| Some(line.split_whitespace().nth(1)?.split('@').next()?.to_owned());
        Some(text.lines().filter_map(symbol).collect::<Vec<_>>())
    };
    let opens = |symbol: &String| ["socket", "connect", "bind", "listen", "getaddrinfo"].contains(&symbol.as_str());
    let Some(command) = imports(Path::new(env!("CARGO_BIN_EXE_transunet"))) else { return };
    assert!(command.iter().any(opens), "the command does, or this test sees nothing");
    let library = imports(&hosts::library()).unwrap();
    assert!(library.len() > 50);
    assert!(!library.iter().any(opens), "{library:?}");
}
