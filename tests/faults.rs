//! Disks that fill up, folders and files that change or vanish, processes that are killed: a complete old or new file,
//! never half of one, and an error that names it.

#![cfg(unix)]

#[path = "common/phantom.rs"]
mod phantom;
#[path = "common/place.rs"]
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phantom::Phantom;
use place::{Place, err, model};
use tempfile::TempDir;
use transunet::control::{Control, Stage};
use transunet::device::Devices;
use transunet::dicom::{SegOptions, Series, SeriesOptions, write_seg, write_structures};
use transunet::error::Error;
use transunet::formats::write_labels;
use transunet::infer::{SegmentOptions, segment};
use transunet::labelmap::Labelmap;
use transunet::model::Model;
use transunet::picture::{Style, write_contact_sheet};
use transunet::volume::Volume;
use transunet::weights::{Checkpoint, Precision};

/// Everything that `transunet segment` writes, with the option that asks for it.
const OUTPUTS: [(&str, &str); 9] = [
    ("--output", "seg.dcm"),
    ("--output", "rt.rtstruct.dcm"),
    ("--output", "s.seg.nrrd"),
    ("--output", "n.nrrd"),
    ("--output", "n.nii"),
    ("--output", "n.nii.gz"),
    ("--probabilities", "p.nii.gz"),
    ("--picture", "p.png"),
    ("--report", "r.json"),
];

const EARLIER: &[u8] = b"an earlier file";

/// A series and a folder for results, which has an earlier file of every name.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new(size: [usize; 3]) -> Self {
        let desk = Desk { folder: TempDir::new().unwrap() };
        fs::create_dir(desk.at("series")).unwrap();
        fs::create_dir(desk.at("out")).unwrap();
        fs::create_dir(desk.at("tmp")).unwrap();
        Phantom { size, ..Phantom::default() }.write(&desk.at("series"));
        desk.put_earlier();
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put_earlier(&self) {
        OUTPUTS.iter().for_each(|(_, name)| fs::write(self.at("out").join(name), EARLIER).unwrap());
    }

    fn segment(&self, out: &Path, outputs: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.arg("segment").arg(self.at("series")).arg("--model").arg(model());
        command.args(["--device", "cpu", "--threads", "2", "--quiet", "--deterministic"]);
        for (option, name) in outputs {
            command.arg(option).arg(out.join(name));
        }
        command.env("TMPDIR", self.at("tmp")).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Contents of all files in "out".
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.at("out"))
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// `output` alone, or beside the label file that every run writes.
fn asked(output: &(&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    if output.0 == "--output" { vec![*output] } else { vec![("--output", "n.nii.gz"), *output] }
}

/// Files of the child can have so many bytes and no more; the error is that of a full disk in all but its number.
fn limited(command: &mut Command, bytes: u64) -> &mut Command {
    #[allow(unsafe_code)]
    // SAFETY: both functions may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        })
    }
}

#[track_caller]
fn failed(output: &Output, code: i32, parts: &[&str]) {
    let text = err(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(parts.iter().all(|part| text.contains(part)) && !text.contains("panic"), "{parts:?}: {text}");
}

#[test]
fn a_full_disk_leaves_every_earlier_file() {
    let desk = Desk::new([64, 60, 6]);
    fs::create_dir(desk.at("whole")).unwrap();
    assert!(desk.segment(&desk.at("whole"), &OUTPUTS).status().unwrap().success());
    let whole = files(&desk.at("whole"));
    assert_eq!(whole.len(), OUTPUTS.len());
    let earlier = desk.files();
    for output in &OUTPUTS {
        let (_, name) = *output;
        // Probabilities also need a file without a name, of 4 bytes for each voxel and class.
        let size = whole[name].len() as u64;
        // Times in the report are of any length.
        let most = if name == "r.json" { size / 10 * 9 } else { size - 1 };
        for limit in [0, size / 2, most] {
            let run = limited(&mut desk.segment(&desk.at("out"), &asked(output)), limit).output().unwrap();
            let text = err(&run);
            assert_eq!(run.status.code(), Some(6), "{name} within {limit} of {size} bytes: {text}");
            assert!(text.contains("cannot ") && !text.contains("panic") && !text.contains("internal"), "{text}");
            let mut left = desk.files();
            if output.0 != "--output" && left["n.nii.gz"] != EARLIER {
                assert!(left["n.nii.gz"] == whole["n.nii.gz"], "half of n.nii.gz, {limit} bytes for {name}");
                left.insert("n.nii.gz".into(), EARLIER.into());
            }
            assert!(left == earlier, "{name}: something changed within {limit} bytes: {:?}", left.keys());
            desk.put_earlier();
        }
    }
    assert_eq!(fs::read_dir(desk.at("tmp")).unwrap().count(), 0);
}

#[test]
fn other_commands_leave_earlier_files_too() {
    let desk = Desk::new([40, 36, 4]);
    let out = desk.at("out");
    assert!(desk.segment(&out, &[("--output", "n.nii.gz")]).status().unwrap().success());
    let labels = out.join("n.nii.gz");
    let scores = [out.join("scores.json"), out.join("scores.csv")];
    scores.iter().for_each(|path| fs::write(path, EARLIER).unwrap());
    for (option, path) in [("--json", &scores[0]), ("--csv", &scores[1])] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.arg("evaluate").arg(&labels).arg(&labels).arg(option).arg(path);
        failed(&limited(&mut command, 10).output().unwrap(), 6, &["cannot write", path.to_str().unwrap()]);
        assert!(fs::read(path).unwrap() == EARLIER);
    }
    let demo = desk.at("demo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
    command.arg("demo").arg("--output").arg(&demo);
    failed(&limited(&mut command, 1000).output().unwrap(), 6, &["cannot write"]);
    let mut left = fs::read_dir(&demo).unwrap().chain(fs::read_dir(demo.join("ct")).unwrap());
    assert!(left.all(|entry| entry.unwrap().path().is_dir()), "a part of a file was left");
}

/// A series fails, the others and the manifest do not suffer; a manifest that cannot be written ends the run.
#[test]
fn a_batch_on_a_full_disk_says_so_and_goes_on_later() {
    let place = Place::with_series(2, 3);
    let whole = place.run("whole", &["--format", "nii,dcm"], 0);
    assert_eq!(whole.names("done").len(), 2);
    for limit in [0, 700, 3000] {
        let mut command = place.command("out", &["--format", "nii,dcm"]);
        let run = limited(&mut command, limit).output().unwrap();
        assert!([6, 7].contains(&run.status.code().unwrap_or(-1)), "{limit}: {:?} {}", run.status, err(&run));
        let text = format!("{}{}", err(&run), String::from_utf8_lossy(&run.stdout));
        assert!(text.contains("cannot write") && !text.contains("panic"), "{limit}: {text}");
        if place.at("out").exists() {
            assert!(place.results("out").is_empty(), "{limit}");
        }
    }
    place.run("out", &["--format", "nii,dcm", "--retry"], 0);
    assert!(place.results("out") == place.results("whole"));
}

/// A file system of 64 kB; mounting one takes root.
#[test]
#[cfg(target_os = "linux")]
fn a_small_disk_that_is_full() {
    let desk = Desk::new([64, 60, 6]);
    let disk = desk.at("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        let _ = writeln!(std::io::stderr(), "SKIPPED a_small_disk_that_is_full: nothing can be mounted here");
        return;
    }
    let unmount = Unmount(disk.clone());
    for output in &OUTPUTS {
        let (_, name) = *output;
        if name == "r.json" || name == "n.nii.gz" || name == "s.seg.nrrd" || name == "n.nrrd" {
            continue; // These fit.
        }
        fs::write(disk.join(name), EARLIER).unwrap();
        fs::write(disk.join("filler"), vec![0; 48 << 10]).unwrap();
        let run = desk.segment(&disk, &asked(output)).output().unwrap();
        failed(&run, 6, &["cannot ", "No space left on device"]);
        let left = files(&disk);
        assert!(left[name] == EARLIER, "{name} changed");
        assert!(left.keys().all(|left| [name, "filler", "n.nii.gz"].contains(&left.as_str())), "{:?}", left.keys());
        left.keys().for_each(|name| fs::remove_file(disk.join(name)).unwrap());
    }
    drop(unmount);
}

#[cfg(target_os = "linux")]
struct Unmount(PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A label map of the series, by the library.
fn segmented(desk: &Desk) -> Labelmap {
    let volume = open(&desk.at("series"));
    let model = Model::load(&Devices::cpu(), model()).unwrap();
    segment(&model, &volume, &SegmentOptions::default(), &mut Control::none()).unwrap()
}

fn open(series: &Path) -> Arc<Volume> {
    let series = Series::open(&[series], &SeriesOptions::default(), &mut Control::none()).unwrap();
    Arc::new(Volume::from_series(Arc::new(series)))
}

#[test]
fn folders_that_vanish_or_take_nothing_are_named() {
    let desk = Desk::new([40, 36, 4]);
    let labelmap = segmented(&desk);
    let out = desk.at("out");
    fs::remove_dir_all(&out).unwrap();
    let write = |name: &str| {
        let path = out.join(name);
        let (options, control) = (SegOptions::default(), &mut Control::none());
        match name {
            "seg.dcm" => write_seg(&labelmap, &path, &options, control),
            "rt.rtstruct.dcm" => write_structures(&labelmap, &path, &options, control),
            "p.png" => write_contact_sheet(&labelmap, &path, &Style::default()),
            _ => write_labels(&labelmap, &path),
        }
    };
    for (_, name) in OUTPUTS.iter().filter(|(option, _)| matches!(*option, "--output" | "--picture")) {
        let error = write(name).unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains(name), "{name}: {error}");
    }
    let model = Model::load(&Devices::cpu(), model()).unwrap();
    let error = model.save(&out.join("m.safetensors"), Precision::Single).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");

    // In the middle of a segmentation.
    fs::create_dir(&out).unwrap();
    let options = SegmentOptions { probabilities: Some(out.join("p.nii.gz")), ..SegmentOptions::default() };
    let mut control = Control::none().on_progress(|event| {
        if event.stage == Stage::Infer && event.done == 1 {
            fs::remove_dir_all(&out).unwrap();
        }
        transunet::control::Flow::Continue
    });
    let error = segment(&model, labelmap.source(), &options, &mut control).unwrap_err();
    assert!(error.to_string().contains("p.nii.gz"), "{error}");
    drop(control);

    // A folder that may not be written; root may write everywhere, so somebody else does.
    fs::create_dir(&out).unwrap();
    desk.put_earlier();
    let mut command = desk.segment(&out, &OUTPUTS);
    fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    #[allow(unsafe_code)]
    // SAFETY: asks who we are.
    let root = unsafe { libc::geteuid() } == 0;
    if root {
        for path in [desk.folder.path(), &desk.at("series")] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        command.uid(65_534).gid(65_534);
    }
    match command.output() {
        Ok(output) if output.status.code() != Some(4) => failed(&output, 6, &["cannot write", "ermission denied"]),
        other => {
            let text = "SKIPPED folders_that_take_nothing: another user cannot run the program here";
            let _ = writeln!(std::io::stderr(), "{text}: {other:?}");
        }
    }
    assert!(desk.files().values().all(|bytes| bytes == EARLIER));
}

#[test]
fn images_that_change_while_they_are_read_are_named() {
    type Fault = (&'static str, fn(&Path), &'static str);
    let faults: [Fault; 5] = [
        ("gone", |path| fs::remove_file(path).unwrap(), "cannot open"),
        ("cut", |path| cut(path, 2), "the file has"),
        ("emptied", |path| fs::write(path, "").unwrap(), "not a DICOM file any more"),
        ("text", |path| fs::write(path, "x".repeat(20_000)).unwrap(), "not a DICOM file any more"),
        ("another", |path| changed(path), "was written since"),
    ];
    let model = Model::load(&Devices::cpu(), model()).unwrap();
    for (name, fault, expected) in faults {
        let desk = Desk::new([40, 36, 6]);
        let volume = open(&desk.at("series"));
        let series = volume.series().unwrap().clone();
        let file = series.instances[4].path.clone();
        let out = desk.at("p");
        fs::create_dir(&out).unwrap();
        let options =
            SegmentOptions { batch: Some(1), probabilities: Some(out.join("p.nii.gz")), keep_probabilities: false };
        // The next batch is read ahead, the one after it is not.
        let mut control = Control::none().on_progress(|event| {
            if event.stage == Stage::Infer && event.done == 0 {
                fault(&file);
            }
            transunet::control::Flow::Continue
        });
        let error = segment(&model, &volume, &options, &mut control).unwrap_err().to_string();
        drop(control);
        assert!(error.contains(expected) && error.contains(file.to_str().unwrap()), "{name}: {error}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{name}");
        let mut slice = vec![0.0; 40 * 36];
        volume.read_slice(2, &mut slice).unwrap();
        assert!(volume.read_slice(4, &mut slice).is_err(), "{name}");
    }
}

/// Other pixels in a file of the same size.
fn changed(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().rev().take(100).for_each(|byte| *byte ^= 1);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, part: u64) {
    let length = fs::metadata(path).unwrap().len();
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / part).unwrap();
}

#[test]
fn weights_that_shrink_while_they_are_read_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::copy(model(), &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    cut(&path, 2);
    let read = |name: &String| checkpoint.read(name).map(drop);
    let error = checkpoint.tensors.keys().find_map(|name| read(name).err()).unwrap().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    let error = Model::load(&Devices::cpu(), &path).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

/// Kills `transunet segment` so many times at random moments; what it leaves is an earlier or a complete new file.
fn killed(kills: u32) {
    let desk = Desk::new([128, 120, 12]);
    fs::create_dir(desk.at("whole")).unwrap();
    let start = Instant::now();
    assert!(desk.segment(&desk.at("whole"), &OUTPUTS).status().unwrap().success());
    let (usual, whole) = (start.elapsed(), files(&desk.at("whole")));
    let mut random = u64::from(std::process::id()) | 1;
    let (mut stopped, mut half_way, mut litter) = (0, 0, 0);
    for n in 0..kills {
        desk.put_earlier();
        let mut child = desk.segment(&desk.at("out"), &OUTPUTS).spawn().unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The later half of a run is when files are written.
        let moment = 0.4 + 0.7 * (random >> 40) as f64 / (1u64 << 24) as f64;
        std::thread::sleep(Duration::from_secs_f64(usual.as_secs_f64() * moment));
        child.kill().unwrap();
        stopped += u32::from(!child.wait().unwrap().success());
        let left = desk.files();
        let mut new = 0;
        for (_, name) in OUTPUTS {
            if left[name] == EARLIER {
                continue;
            }
            new += 1;
            // Times differ, all else is a function of the input.
            let complete = match name {
                "r.json" => serde_json::from_slice::<serde_json::Value>(&left[name]).is_ok(),
                _ => left[name] == whole[name],
            };
            assert!(complete, "kill {n} of process {}: half of {name}", std::process::id());
        }
        half_way += u32::from(new > 0 && new < OUTPUTS.len());
        litter += left.len() - OUTPUTS.len();
    }
    println!("{stopped} of {kills} runs killed, {half_way} between two files, {litter} temporary files left meanwhile");
    assert!(stopped > 0);
    assert!(desk.segment(&desk.at("out"), &OUTPUTS).status().unwrap().success());
    let left = desk.files();
    assert_eq!(left.len(), OUTPUTS.len(), "the next run removes what a killed one left: {:?}", left.keys());
    assert!(left.iter().all(|(name, bytes)| name == "r.json" || *bytes == whole[name]));
    assert_eq!(fs::read_dir(desk.at("tmp")).unwrap().count(), 0);
}

#[test]
fn a_kill_leaves_complete_files_and_no_litter() {
    killed(15);
}

/// `cargo test --release --test faults -- --ignored --nocapture a_hundred_kills`
#[test]
#[ignore = "minutes; docs/reliability.md has the figures"]
fn a_hundred_kills() {
    killed(100);
}
