//! Servers and peers that refuse, break off, go quiet or lie; secrets, stops, and disks without room.

#[path = "pacs/bench.rs"]
mod bench;
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
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bench::{AUTHORIZATION, Bench, MULTIPART, STUDY, demo_file, model, multipart};
use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use dicom::object::open_file;
use phantom::{Phantom, SERIES_UID, put_text};

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

    // A place that wants the secret and is not shown it.
    let (strict, _) = fake::says("401 Unauthorized", "text/plain", b"");
    let place = strict.clone();
    let (leads, _) = fake::web(move |_, stream| {
        let _ = write!(stream, "HTTP/1.1 307 See there\r\nLocation: {place}/studies/1.2\r\nContent-Length: 0\r\n\r\n");
    });
    let mut command = bench.command(&["info", &format!("{leads}/studies/1.2")]);
    command.env(AUTHORIZATION, "Bearer hush-hush");
    bench.failed(command, 3, &[&format!("leads to {strict}/studies/1.2"), "use that address"]);

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
    // A peer that has no room at first, and one that never has.
    let told = bench.run(&["send", &seg, "--to", &fake::crowded(2, SEG)]);
    assert!(told.contains("stored"), "{told}");
    fails(&fake::crowded(usize::MAX, SEG), &["the association was rejected"]);
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
