//! Images from a PACS and results to it: against a real Orthanc, and against peers that do wrong.

mod common;
#[path = "pacs/fake.rs"]
mod fake;
#[path = "common/hosts.rs"]
mod hosts;
#[path = "pacs/orthanc.rs"]
mod orthanc;
#[path = "common/phantom.rs"]
mod phantom;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use dicom::object::{InMemDicomObject, open_file};
use orthanc::{BASIC, Orthanc};
use phantom::{Phantom, SERIES_UID, put_text};
use serde_json::{Value, json};
use tempfile::TempDir;

const AUTHORIZATION: &str = "TRANSUNET_DICOMWEB_AUTHORIZATION";
const STUDY: &str = "1.2.826.0.1.3680043.10.1";

/// The command, with a folder for its temporary files, which must be empty afterwards.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Bench { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.args(arguments).env("NO_COLOR", "1").env("TMPDIR", self.at("tmp"));
        for variable in
            ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", AUTHORIZATION]
        {
            command.env_remove(variable);
        }
        command
    }

    fn nothing_is_left(&self) {
        let left: Vec<_> = self.at("tmp").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// A run that Orthanc lets in and that must end well; what it printed.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).env(AUTHORIZATION, BASIC).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", hosts::said(&output));
        self.nothing_is_left();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A run without a secret that must fail with `code` and say all of `parts`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, parts: &[&str]) -> String {
        self.failed(self.command(arguments), code, parts)
    }

    #[track_caller]
    fn failed(&self, mut command: Command, code: i32, parts: &[&str]) -> String {
        let output = command.output().unwrap();
        let text = hosts::said(&output);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
        for part in parts.iter().chain(&["error: ", "hint: "]) {
            assert!(text.contains(part), "{command:?}: {part:?} is not in\n{text}");
        }
        self.nothing_is_left();
        text
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Study and series UID of the demo's patient.
fn demo_uids() -> (String, String) {
    let file = fs::read_dir(hosts::demo().join("ct")).unwrap().next().unwrap().unwrap().path();
    let image = open_file(file).unwrap();
    let text = |tag| image.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
    (text(tags::STUDY_INSTANCE_UID), text(tags::SERIES_INSTANCE_UID))
}

fn demo_file(name: &str) -> String {
    hosts::demo().join(name).to_str().unwrap().to_owned()
}

fn model() -> String {
    demo_file("model.safetensors")
}

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

#[test]
fn https_is_for_servers_that_can_be_trusted() {
    let bench = Bench::new();
    let Some(mut openssl) = common::program("pacs_https", "openssl") else { return };
    let (key, certificate) = (bench.text("key.pem"), bench.text("ca.pem"));
    common::run(
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]).args([
            "-days",
            "2",
            "-subj",
            "/CN=transunet test server",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]),
    );
    let both = [fs::read(&certificate).unwrap(), fs::read(&key).unwrap()].concat();
    fs::write(bench.at("both.pem"), both).unwrap();
    let images = bench.at("images");
    fs::create_dir(&images).unwrap();
    let body = multipart(&Phantom::default().write(&images));
    let server = fake::encrypted(&fs::read(bench.at("both.pem")).unwrap(), fake::answer("200 OK", MULTIPART, &body));
    let address = format!("{server}/studies/{STUDY}/series/{SERIES_UID}");
    let listed = bench.run(&["info", &address, "--ca-file", &certificate]);
    assert!(listed.contains(SERIES_UID), "{listed}");
    bench.fails(&["info", &address], 3, &["authority that is not trusted", "--ca-file"]);
    bench.fails(&["info", &address, "--ca-file", &key], 2, &["holds no certificate"]);
    bench.fails(&["info", &address.replace("https", "http")], 3, &["127.0.0.1"]);
}

/// Bytes of `slices` images as a server sends them.
fn multipart(files: &[PathBuf]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend(b"--frontier\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend(fs::read(file).unwrap());
        body.extend(b"\r\n");
    }
    body.extend(b"--frontier--\r\n");
    body
}

const MULTIPART: &str = "multipart/related; type=\"application/dicom\"; boundary=frontier";

#[test]
fn servers_that_do_wrong() {
    let bench = Bench::new();
    let images = bench.at("images");
    fs::create_dir(&images).unwrap();
    let body = multipart(&Phantom::default().write(&images));
    let at = |server: &str| format!("{server}/studies/{STUDY}/series/{SERIES_UID}");
    let info = |server: &str, parts: &[&str]| {
        bench.fails(&["info", &at(server), "--timeout", "2"], 3, &[&[server][..], parts].concat())
    };

    let (good, _) = fake::says("200 OK", MULTIPART, &body);
    assert!(bench.run(&["info", &at(&good)]).contains("7 x 5 x 4"));

    info(&format!("http://127.0.0.1:{}", orthanc::free_port()), &["is the server running"]);
    info(
        &fake::says("404 Not Found", "application/json", br#"{"Message":"Unknown resource","x":1}"#).0,
        &["404", "Unknown resource"],
    );
    let page = b"<html><title>Oops</title><p>Disk\x1b[2J is full</html>";
    let told = info(&fake::says("500 Internal Server Error", "text/html", page).0, &["500", "Oops", "is full"]);
    assert!(!told.contains('\x1b') && !told.contains("<p>"), "{told:?}");
    info(&fake::says("206 Partial Content", MULTIPART, &body).0, &["only some of the images"]);
    info(&fake::says("200 OK", "text/html", b"<h1>Welcome</h1>").0, &["text/html", "expected multipart/related"]);
    info(&fake::says("200 OK", MULTIPART, b"--frontier--").0, &["there are no images"]);
    info(&fake::says("204 No Content", "text/plain", b"").0, &["there are no images"]);
    info(&fake::says("200 OK", MULTIPART, &body[..body.len() * 5 / 8]).0, &["broke off within image 3"]);
    info(&fake::silent(), &["--timeout"]);

    // A connection that ends before the length that was said.
    let (head, cut) = (
        format!("HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: {}\r\n\r\n", body.len()),
        body.len() - 40,
    );
    let bytes = [head.as_bytes(), &body[..cut]].concat();
    info(&fake::web(move |_, stream| drop(stream.write_all(&bytes))).0, &["broke off within image 4"]);

    // One that goes quiet half-way.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\n\r\n");
    let bytes = [head.as_bytes(), &body[..cut]].concat();
    let quiet = move |_: &str, stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(&bytes);
        std::thread::sleep(Duration::from_secs(60));
    };
    info(&fake::web(quiet).0, &["--timeout"]);

    // What is no image in the place of one.
    let (junk, _) = fake::says("200 OK", MULTIPART, b"--frontier\r\n\r\nno image\r\n--frontier--");
    bench.fails(&["info", &at(&junk)], 3, &["not a DICOM file"]);
}

#[test]
fn secrets_stay_with_their_server() {
    let bench = Bench::new();
    let (other, asked_other) = fake::says("404 Not Found", "text/plain", b"");
    let place = other.clone();
    let (server, asked) = fake::web(move |_, stream| {
        let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: {place}/studies/1.2\r\nContent-Length: 0\r\n\r\n");
    });
    let address = format!("{server}/studies/1.2");
    let mut command = bench.command(&["info", &address, "-vvvv"]);
    command.env(AUTHORIZATION, "Bearer hush-hush");
    let told = bench.failed(command, 3, &["404"]);
    assert!(asked.lock().unwrap()[0].contains("Bearer hush-hush"), "{:?}", asked.lock().unwrap());
    let other_heads = asked_other.lock().unwrap().clone();
    assert_eq!(other_heads.len(), 1);
    assert!(!other_heads[0].to_lowercase().contains("authorization"), "{other_heads:?}");
    assert!(!told.contains("hush"), "{told}");

    // Results are for the place they were sent to.
    let seg = demo_file("segmentation.dcm");
    let mut command = bench.command(&["send", &seg, "--to", &server]);
    command.env(AUTHORIZATION, "Bearer hush-hush");
    bench.failed(command, 6, &["302", &other]);
    assert_eq!(asked_other.lock().unwrap().len(), 1);

    // Two servers and one secret: whose is it?
    let mut command = bench.command(&["send", &seg, "--to", &server, "--to", &other]);
    command.env(AUTHORIZATION, "Bearer hush-hush");
    let told = bench.failed(command, 2, &["is for one server", &server, &other]);
    assert!(!told.contains("hush"), "{told}");
    let mut command = bench.command(&["send", &seg, "--to", &other]);
    command.env(AUTHORIZATION, format!("{server} Bearer hush-hush"));
    bench.failed(command, 6, &["404"]);
    assert!(!asked_other.lock().unwrap()[1].to_lowercase().contains("authorization"));
    let told = bench.fails(&["info", "https://me:hush@127.0.0.1/studies/1.2"], 2, &[AUTHORIZATION]);
    assert!(!told.contains("hush"), "{told}");
}

#[test]
fn what_peers_answer_to_results() {
    let bench = Bench::new();
    let seg = demo_file("segmentation.dcm");
    let uid = open_file(&seg).unwrap().meta().media_storage_sop_instance_uid().to_owned();
    let fails = |to: &str, parts: &[&str]| bench.fails(&["send", &seg, "--to", to, "--timeout", "2"], 6, parts);
    let failed = format!(
        r#"{{"00081198":{{"vr":"SQ","Value":[{{"00081155":{{"vr":"UI","Value":["{uid}"]}},"00081197":{{"vr":"US","Value":[290]}}}}]}}}}"#
    );
    let (conflict, asked) = fake::says("409 Conflict", "application/dicom+json", failed.as_bytes());
    fails(&conflict, &["refused: the SOP class is not supported (0122)"]);
    assert!(asked.lock().unwrap()[0].starts_with("POST /studies "), "{:?}", asked.lock().unwrap());
    fails(&fake::says("507 Insufficient Storage", "text/plain", b"no room").0, &["507", "no room"]);
    fails(&fake::silent(), &["--timeout", "is not stored"]);

    const SEG: &[&str] = &[uids::SEGMENTATION_STORAGE];
    fails(&fake::dimse(SEG, 0xA700, "quota"), &["refused: out of resources (A700): quota"]);
    fails(&fake::dimse(&[uids::VERIFICATION], 0, ""), &["does not take a segmentation (SEG)"]);
    // A web server where a DICOM peer was expected.
    fails(&fake::blunt(b"HTTP/1.1 400 Bad Request\r\n\r\n"), &["the connection failed"]);
    // A peer that knows implicit VR only, and has something to say.
    let warning = fake::dimse(SEG, 0xB007, "a bit odd");
    let told = bench.run(&["send", &seg, "--to", &warning]);
    assert!(told.contains("stored") && told.contains("B007") && told.contains("a bit odd"), "{told}");

    let get = |to: &str, parts: &[&str]| bench.fails(&["info", &format!("{to}/1.2/1.3"), "--timeout", "2"], 3, parts);
    get(&fake::dimse(&[uids::VERIFICATION], 0, ""), &["hands out nothing by C-GET"]);
    get(&fake::dimse(SEG, 0, ""), &["hands out nothing by C-GET"]);
    get(
        &fake::dimse(&[uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET, uids::CT_IMAGE_STORAGE], 0xA702, ""),
        &["will not send images over this association"],
    );
    bench.fails(
        &[
            "info",
            &format!("{}/1.2", fake::dimse(&[uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND], 0xC001, "who?")),
        ],
        3,
        &["refused", "C001", "who?"],
    );
    get(&fake::silent().replace("http://", "dimse://X@"), &["--timeout"]);
}

#[test]
fn addresses_that_are_none_are_refused_before_any_work() {
    let bench = Bench::new();
    let (ct, model, seg) = (demo_file("ct"), model(), bench.text("x.dcm"));
    let segment = |more: &[&str], parts: &[&str]| {
        bench.fails(&[&["segment", &ct, "--model", &model][..], more].concat(), 2, parts);
    };
    segment(&["--output", &seg, "--send", "pacs.example"], &["expected https://HOST/dicom-web or dimse://"]);
    segment(&["--output", &bench.text("x.nii"), "--send", "dimse://A@b"], &["--send sends DICOM files"]);
    segment(&["--output", &seg, "--send", "dimses://A@b"], &["TLS"]);
    segment(&["--output", &seg, "--send", "https://h/x", "--ca-file", "/nowhere.pem"], &["/nowhere.pem: cannot read"]);
    bench.fails(&["info", "https://h/dicom-web"], 2, &["expected https://HOST/dicom-web/studies/UID"]);
    bench.fails(&["info", "ftp://h/x"], 2, &["expected https://"]);
    bench.fails(&["send", &model, "--to", "dimse://A@b"], 3, &["not a DICOM file"]);
    assert!(!Path::new(&seg).exists());
}

/// Presses Ctrl-C, so many times, after the child has begun.
fn interrupted(mut command: Command, after: Duration, times: usize) -> (Output, Duration) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(after);
    let start = Instant::now();
    for _ in 0..times {
        // What has ended already cannot be told again.
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
    }
    let output = child.wait_with_output().unwrap();
    (output, start.elapsed())
}

#[test]
fn a_stop_takes_effect_within_a_second() {
    let bench = Bench::new();
    let images = bench.at("images");
    fs::create_dir(&images).unwrap();
    let body = multipart(&Phantom::default().write(&images));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\n\r\n");
    let bytes = [head.as_bytes(), &body[..body.len() - 30]].concat();
    let (quiet, _) = fake::web(move |_, stream| {
        let _ = stream.write_all(&bytes);
        std::thread::sleep(Duration::from_secs(60));
    });
    let (seg, silent) = (demo_file("segmentation.dcm"), fake::silent());
    let dimse = silent.replace("http://", "dimse://X@");
    let (fetch, get) = (format!("{quiet}/studies/1.2"), format!("{dimse}/1.2/1.3"));
    for (arguments, part) in [
        (&["info", &fetch][..], "cancelled"),
        (&["info", &get], "cancelled"),
        (&["send", &seg, "--to", &silent], "may have stored it all the same"),
        (&["send", &seg, "--to", &dimse], "may have stored it all the same"),
    ] {
        let (output, took) = interrupted(bench.command(arguments), Duration::from_millis(700), 1);
        let text = hosts::said(&output);
        assert_eq!(output.status.code(), Some(130), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
        assert!(took < Duration::from_secs(1), "{arguments:?}: {took:?}");
        bench.nothing_is_left();
    }
    // Out at once, and still nothing of the patient is left.
    let (output, _) = interrupted(bench.command(&["info", &fetch]), Duration::from_millis(700), 2);
    assert_eq!(output.status.code(), Some(130), "{}", hosts::said(&output));
    bench.nothing_is_left();
}

#[test]
fn a_full_disk_is_told() {
    let bench = Bench::new();
    let images = bench.at("images");
    fs::create_dir(&images).unwrap();
    let large = Phantom { size: [512, 512, 2], ..Phantom::default() };
    let (server, _) = fake::says("200 OK", MULTIPART, &multipart(&large.write(&images)));
    // A limit on the size of files stands for a disk without room.
    let mut command = Command::new("bash");
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$@\"";
    command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_transunet"), "info", &format!("{server}/studies/{STUDY}")]);
    command.env("TMPDIR", bench.at("tmp")).env("NO_COLOR", "1");
    bench.failed(command, 3, &["000001.dcm: cannot write", "TMPDIR"]);
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
    /// Starts a server and waits until it listens.
    fn server(command: &mut Command, port: u16) -> Self {
        let mut ended_with_us = Command::new("setpriv");
        ended_with_us.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        let running = Running(ended_with_us.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{command:?} does not listen");
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
        "NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\n\
         HostTable BEGIN\nus = (TRANSUNET, localhost, 1)\nHostTable END\nVendorTable BEGIN\nVendorTable END\n\
         AETable BEGIN\nARCHIVE {database} RW (20, 100mb) ANY\nAETable END\n"
    );
    fs::write(bench.at("archive.cfg"), config).unwrap();
    let Some(mut archive) = common::program("pacs_dcmtk", "dcmqrscp") else { return };
    let _archive = Running::server(archive.arg("-c").arg(bench.at("archive.cfg")), port);
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
    let _store = Running::server(store.args(["+xi", "-od"]).arg(&received).arg(port.to_string()), port);
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

#[test]
fn a_patient_name_is_sent_as_it_is() {
    // De-identified images stay so, and others too: what is sent is the file.
    let bench = Bench::new();
    let file = bench.at("0.dcm");
    let mut slice = Phantom::default().slice(0);
    put_text(&mut slice, tags::PATIENT_NAME, VR::PN, "Removed");
    phantom::write_file(slice, uids::EXPLICIT_VR_LITTLE_ENDIAN, &file);
    let received = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/x", listener.local_addr().unwrap());
    let heard = received.clone();
    std::thread::spawn(move || {
        use std::io::Read as _;
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 1 << 16];
        while !String::from_utf8_lossy(&heard.lock().unwrap()).contains("--\r\n") {
            let count = stream.read(&mut bytes).unwrap();
            heard.lock().unwrap().extend(&bytes[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    bench.run(&["send", file.to_str().unwrap(), "--to", &address]);
    let received = received.lock().unwrap();
    let whole = fs::read(&file).unwrap();
    assert!(received.windows(whole.len()).any(|window| window == whole), "the file is not in what was sent");
}
