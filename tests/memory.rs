//! What a run takes of memory: hardly more for more slices, about what was planned, and never more than there is.

#[path = "common/phantom.rs"]
mod phantom;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use phantom::Phantom;
use serde_json::Value;
use tempfile::TempDir;
use transunet::config::ModelConfig;
use transunet::control::Control;
use transunet::device::Devices;
use transunet::dicom::{Series, SeriesOptions};
use transunet::infer::plan;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::train::config::TrainConfig;
use transunet::volume::Volume;
use transunet::weights::{Checkpoint, Precision};

const SIDE: usize = 256;

fn transunet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
    command.args(arguments);
    command
}

#[track_caller]
fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

/// Peak memory of the command, from a series of so many slices to a DICOM SEG; bytes.
fn peak(slices: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (series, out) = (folder.path().join("series"), folder.path().join("out.dcm"));
    std::fs::create_dir(&series).unwrap();
    Phantom { size: [SIDE, SIDE, slices], spacing: [1.5, 1.5, 1.0], ..Phantom::default() }.write(&series);
    let mut command = transunet(&["segment", "--device", "cpu", "--threads", "2", "--json"]);
    command.arg(&series).arg("--model").arg(bundled("phantom.safetensors")).arg("--output").arg(&out);
    let report: Value = serde_json::from_slice(&done(&mut command).stdout).unwrap();
    assert_eq!(report["geometry"]["size"][2], slices);
    let found = report["labels"].as_array().unwrap().iter().filter(|label| label["voxels"].as_u64() > Some(0));
    assert!(found.count() > 1, "the network finds hardly anything, which would be too easy");
    report["peak_memory_bytes"].as_u64().unwrap()
}

#[test]
fn a_long_series_takes_little_more_than_a_short_one() {
    let (short, long) = (100, 1000);
    let peaks = [short, long].map(peak);
    let more = peaks[1].saturating_sub(peaks[0]) / (long - short) as u64;
    println!("{:.1} and {:.1} MB: {more} bytes for each slice", peaks[0] as f64 / 1e6, peaks[1] as f64 / 1e6);
    assert!(more < (SIDE * SIDE / 4) as u64, "{more} bytes for each slice of {SIDE} x {SIDE} labels");
}

/// Planned by measured peak.
struct Row {
    what: String,
    planned: u64,
    measured: u64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.planned as f64 / self.measured as f64
    }

    /// Says it, as a row of a table.
    fn told(self) -> Self {
        let Row { what, planned, measured } = &self;
        println!("| {what} | {} | {} | {:.2} |", planned >> 20, measured >> 20, self.ratio());
        self
    }
}

fn within_a_seventh(rows: &[Row]) {
    let far = rows.iter().filter(|row| !(0.87..=1.15).contains(&row.ratio())).map(|row| &*row.what);
    assert_eq!(far.collect::<Vec<_>>(), [""; 0], "planned too little or too much");
}

/// A network of `architecture` without training, whose labels are noise.
fn untrained(folder: &Path, name: &str, architecture: Architecture) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    if !path.exists() {
        let model = Model::untrained(&Devices::cpu(), ModelConfig::undescribed(architecture), 1).unwrap();
        model.save(&path, Precision::Single).unwrap();
    }
    path
}

struct Segmentation<'a> {
    model: PathBuf,
    /// Of the series.
    size: [usize; 3],
    batch: usize,
    threads: usize,
    output: &'a str,
    probabilities: bool,
}

fn segmented(folder: &Path, case: &Segmentation) -> Row {
    let Segmentation { model, size, batch, threads, output, probabilities } = case;
    let series = folder.join(format!("{size:?}"));
    if !series.exists() {
        fs::create_dir(&series).unwrap();
        Phantom { size: *size, spacing: [1.5, 1.5, 2.0], ..Phantom::default() }.write(&series);
    }
    let mut command = transunet(&["segment", "--device", "cpu", "--json", "--threads", &threads.to_string()]);
    command.args(["--batch", &batch.to_string()]);
    command.arg(&series).arg("--model").arg(model).arg("--output").arg(folder.join(output));
    if *probabilities {
        command.arg("--probabilities").arg(folder.join("p.nii"));
    }
    let report: Value = serde_json::from_slice(&done(&mut command).stdout).unwrap();
    let opened = Series::open(&[&series], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let (config, _) = Checkpoint::open(model).unwrap().describe().unwrap();
    let volume = Volume::from_series(std::sync::Arc::new(opened));
    let planned = plan::peak_bytes(&config, &volume, *batch, *probabilities, *threads).unwrap();
    let name = model.file_stem().unwrap().to_str().unwrap();
    Row {
        what: format!(
            "segment: {name}, {size:?}, batch {batch}, {threads} threads, {output}{}",
            if *probabilities { " and probabilities" } else { "" }
        ),
        planned,
        measured: report["peak_memory_bytes"].as_u64().unwrap(),
    }
    .told()
}

/// Made-up patients to learn from.
struct Patients(TempDir);

impl Patients {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        done(transunet(&["demo", "--patients", "5", "--quiet", "--output"]).arg(folder.path()));
        Patients(folder)
    }

    /// A configuration: pixels of `spacing` mm, 128 of 2.8 mm.
    fn config(&self, name: &str, spacing: f64, settings: &str) -> PathBuf {
        let path = self.0.path().join(format!("{name}.yaml"));
        let text = format!(
            "data: {{ folder: . }}\nsplit: {{ validation: 0.25 }}\noutput: run-{name}\nsteps: 2\n\
             input: {{ plane: axial, spacing: [{spacing}, {spacing}], intensity: {{ kind: window, low: -160, high: 400 }} }}\n\
             {settings}"
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn trained(&self, name: &str, spacing: f64, settings: &str) -> Row {
        let config = self.config(name, spacing, settings);
        let run = TrainConfig::read(&config).unwrap().resolve(self.0.path(), &Devices::cpu(), &mut Control::none());
        let planned = run.unwrap().planned_bytes;
        let mut command = transunet(&["train", "--device", "cpu", "--quiet"]);
        let mut child = command.arg(&config).spawn().unwrap();
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        // The high-water mark of the last moment before it ends.
        let mut measured = 0;
        while child.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let mark =
                text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
            measured = mark.map_or(measured, |kilobytes: u64| 1024 * kilobytes);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.wait().unwrap().success());
        // A large network's checkpoints would fill the disk.
        fs::remove_dir_all(self.0.path().join(format!("run-{name}"))).unwrap();
        let settings = settings.trim().replace('\n', ", ");
        Row { what: format!("train: {settings}, pixels of {spacing} mm"), planned, measured }.told()
    }
}

#[test]
fn peaks_are_about_what_was_planned() {
    let folder = tempfile::tempdir().unwrap();
    let small = untrained(folder.path(), "small-160", Architecture::small(160, 5));
    let phantom = bundled("phantom.safetensors");
    let case = |model: &PathBuf, batch, output| Segmentation {
        model: model.clone(),
        size: [160, 160, 12],
        batch,
        threads: 2,
        output,
        probabilities: batch > 1,
    };
    let cases = [case(&phantom, 1, "s.dcm"), case(&small, 1, "s.nii.gz"), case(&small, 6, "s.seg.nrrd")];
    let mut rows: Vec<Row> = cases.iter().map(|case| segmented(folder.path(), case)).collect();
    let patients = Patients::new();
    rows.push(patients.trained("a", 2.8, "preset: tiny\nbatch: 4\n"));
    rows.push(patients.trained("b", 2.8, "preset: small\nbatch: 2\noptimizer: { kind: sgd }\n"));
    within_a_seventh(&rows);
}

/// `cargo test --release --test memory -- --ignored --nocapture forty_peaks`
#[test]
#[ignore = "half an hour; docs/reliability.md has the table"]
fn forty_peaks() {
    let folder = tempfile::tempdir().unwrap();
    let untrained = |name: &str, architecture| untrained(folder.path(), name, architecture);
    let phantom = bundled("phantom.safetensors");
    let models = [
        (untrained("tiny-224", Architecture::tiny(224, 3)), 224),
        (untrained("small-160", Architecture::small(160, 5)), 160),
        (untrained("small-320", Architecture::small(320, 5)), 320),
        (untrained("base-128", Architecture::r50_vit_b16(128, 9)), 128),
        (untrained("base-224", Architecture::r50_vit_b16(224, 9)), 224),
        (untrained("base-384", Architecture::r50_vit_b16(384, 9)), 384),
        (untrained("vit-224", Architecture::vit_b16(224, 9)), 224),
    ];
    let mut rows = Vec::new();
    let mut segment = |model: &PathBuf, size, batch, threads, output, probabilities| {
        let case = Segmentation { model: model.clone(), size, batch, threads, output, probabilities };
        rows.push(segmented(folder.path(), &case));
    };
    for (batch, threads, output) in
        [(1, 1, "s.dcm"), (1, 2, "s.nii.gz"), (1, 4, "s.seg.nrrd"), (8, 2, "s.dcm"), (32, 2, "s.nii")]
    {
        segment(&phantom, [128, 128, 32], batch, threads, output, false);
    }
    segment(&phantom, [256, 256, 200], 1, 2, "s.seg.nrrd", false);
    segment(&phantom, [512, 512, 100], 4, 2, "s.dcm", true);
    for (model, side) in &models {
        segment(model, [*side, *side, 6], 1, 2, "s.dcm", false);
        segment(model, [*side, *side, 6], 6, 2, "s.nii.gz", true);
    }
    segment(&models[4].0, [512, 512, 4], 2, 4, "s.nrrd", false);
    segment(&models[1].0, [160, 160, 400], 1, 2, "s.dcm", false);
    let patients = Patients::new();
    let trainings = [
        (2.8, "preset: tiny\nbatch: 1\n"),
        (2.8, "preset: tiny\nbatch: 16\n"),
        (1.6, "preset: tiny\nbatch: 8\nloss: { deep_supervision: false }\n"),
        (2.8, "preset: small\nbatch: 1\n"),
        (2.8, "preset: small\nbatch: 8\n"),
        (2.8, "preset: small\nbatch: 4\noptimizer: { kind: sgd }\n"),
        (1.6, "preset: small\nbatch: 4\n"),
        (1.6, "preset: small\nbatch: 2\naccumulate: 2\n"),
        (2.8, "preset: base\nbatch: 1\n"),
        (2.8, "preset: base\nbatch: 8\n"),
        (2.8, "preset: base\nbatch: 1\naverage: 0.99\n"),
        (2.8, "preset: base\nbatch: 1\noptimizer: { kind: adamw }\nloss: { deep_supervision: true }\n"),
        (1.6, "preset: base\nbatch: 3\n"),
    ];
    for (n, (spacing, settings)) in trainings.into_iter().enumerate() {
        rows.push(patients.trained(&n.to_string(), spacing, settings));
    }
    within_a_seventh(&rows);
}

/// From what is hardly enough to start a process up to what is plenty: success, or an error that says what is missing.
#[test]
#[cfg(target_os = "linux")]
fn a_limit_that_is_too_small_is_an_error_and_no_abort() {
    let folder = tempfile::tempdir().unwrap();
    let series = folder.path().join("series");
    fs::create_dir(&series).unwrap();
    Phantom { size: [224, 224, 4], ..Phantom::default() }.write(&series);
    let model = untrained(folder.path(), "base-224", Architecture::r50_vit_b16(224, 9));
    let segment = |kilobytes: u64| {
        let text = format!("ulimit -v {kilobytes}; exec \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &text, "bash", env!("CARGO_BIN_EXE_transunet"), "segment"]).arg(&series);
        command.args(["--device", "cpu", "--threads", "2", "--batch", "16", "--model"]).arg(&model);
        command.arg("--output").arg(folder.path().join("s.nii.gz")).output().unwrap()
    };
    let (mut refused, mut succeeded) = (0, 0);
    for megabytes in (150..=1650).step_by(100) {
        let output = segment(megabytes << 10);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{megabytes} MiB: {} {text}", output.status);
        match output.status.code() {
            Some(0) => succeeded += 1,
            Some(1) => {
                assert!(text.contains("MiB") && !text.contains("panic"), "{megabytes} MiB: {text}");
                refused += 1;
            }
            _ => panic!("{megabytes} MiB: {} {text}", output.status),
        }
        assert_eq!(folder.path().join("s.nii.gz").exists(), succeeded > 0);
    }
    assert!(refused > 0 && succeeded > 0);

    let patients = Patients::new();
    let config = patients.config("limited", 2.8, "preset: small\nbatch: 32\n");
    for megabytes in [400, 800, 1200] {
        let text = format!("ulimit -v {}; exec \"$@\"", megabytes << 10);
        let mut command = Command::new("bash");
        command.args(["-c", &text, "bash", env!("CARGO_BIN_EXE_transunet"), "train", "--device", "cpu"]);
        let output = command.args(["--threads", "2", "--quiet"]).arg(&config).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{megabytes} MiB: {} {text}", output.status);
        assert!(text.contains("the run needs about") && text.contains("ulimit -v"), "{megabytes} MiB: {text}");
    }
}

/// A control group of this process's own, of version 1 or 2; gone with it.
#[cfg(target_os = "linux")]
struct Group {
    folder: PathBuf,
    limit: &'static str,
}

#[cfg(target_os = "linux")]
impl Group {
    fn new() -> std::io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let paths = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let memory = paths.clone().find(|(kinds, _)| kinds.split(',').any(|kind| kind == "memory"));
        let (root, path, limit) = match memory {
            Some((_, path)) => ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
            None => ("/sys/fs/cgroup", paths.clone().next().map_or("/", |(_, path)| path), "memory.max"),
        };
        let name = format!("transunet-test-{}", std::process::id());
        let group = Group { folder: Path::new(root).join(path.trim_start_matches('/')).join(name), limit };
        fs::create_dir(&group.folder)?;
        group.set(1 << 30)?;
        Ok(group)
    }

    fn set(&self, bytes: u64) -> std::io::Result<()> {
        fs::write(self.folder.join(self.limit), bytes.to_string())
    }

    /// `transunet` in this group.
    fn command(&self) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", "echo $$ >\"$0\"; exec \"$@\""]).arg(self.folder.join("cgroup.procs"));
        command.arg(env!("CARGO_BIN_EXE_transunet"));
        command
    }
}

#[cfg(target_os = "linux")]
impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The same within a real control group, whose processes are killed when they take more.
#[test]
#[cfg(target_os = "linux")]
fn a_control_group_that_is_too_small_is_an_error_and_no_kill() {
    let group = match Group::new() {
        Ok(group) => group,
        // Also in CI: a container may not make groups.
        Err(error) => {
            // Not println, which the test runner swallows when a test passes.
            let what = "a_control_group_that_is_too_small_is_an_error_and_no_kill";
            return drop(writeln!(std::io::stderr(), "SKIPPED {what}: no group can be made here: {error}"));
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let series = folder.path().join("series");
    fs::create_dir(&series).unwrap();
    Phantom { size: [224, 224, 4], ..Phantom::default() }.write(&series);
    let model = untrained(folder.path(), "base-224", Architecture::r50_vit_b16(224, 9));
    let (mut refused, mut succeeded) = (0, 0);
    for megabytes in [40, 300, 500, 520, 560, 600, 640, 800] {
        group.set(megabytes << 20).unwrap();
        let mut command = group.command();
        command.arg("segment").arg(&series);
        command.args(["--device", "cpu", "--threads", "2", "--batch", "4", "--model"]).arg(&model);
        let output = command.arg("--output").arg(folder.path().join("s.nii.gz")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{megabytes} MiB: {} {text}", output.status);
        match output.status.code() {
            Some(0) => succeeded += 1,
            Some(1) => {
                assert!(text.contains("the memory limit of the control group leaves"), "{megabytes} MiB: {text}");
                refused += 1;
            }
            _ => panic!("{megabytes} MiB: {} {text}", output.status),
        }
    }
    assert!(refused > 0 && succeeded > 0);

    let patients = Patients::new();
    let train = |output: &str, more: &str, megabytes: u64| {
        group.set(megabytes << 20).unwrap();
        let mut command = group.command();
        command.args(["train", "--device", "cpu", "--threads", "2", "--quiet"]);
        let output = command.arg(patients.config(output, 2.8, more)).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = train("limited", "preset: small\nbatch: 32\n", 400);
    assert!(code == Some(1) && text.contains("the run needs about"), "{code:?} {text}");
    let (code, text) = train("fitting", "preset: small\n", 400);
    assert!(code == Some(0), "{code:?} {text}");
}
