//! Whole training runs on a small made-up data set: what they write, how they stop, that nothing is lost.

#[path = "common/backend.rs"]
mod backend;
mod common;
#[path = "common/discs.rs"]
mod discs;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use discs::{Set, case, write};
use transunet::control::{Control, Flow, Stage};
use transunet::model::Model;
use transunet::network::initial_values;
use transunet::train::checkpoint;
use transunet::train::config::TrainConfig;
use transunet::train::learner::Step;
use transunet::train::run::{Witness, run};
use transunet::train::validate::{Validation, compared, dice};

/// What a run is called with and what it leaves.
trait Runs {
    fn train(&self, config: &Path, more: &[&str]) -> Command;

    /// Hash of everything that the next step would depend on.
    fn state(&self, output: &str) -> (u64, String);
}

impl Runs for Set {
    fn train(&self, config: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.arg("train").arg(config).args(["--device", backend::ID]).args(more);
        command
    }

    fn state(&self, output: &str) -> (u64, String) {
        let (_, standing) = checkpoint::load(&self.at(output).join("checkpoint.safetensors")).unwrap();
        (standing.step, standing.tensors)
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn refused(mut command: Command, code: i32, expected: &str) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    assert!(said(&output).contains(expected), "{:?} is not in:\n{}", expected, said(&output));
}

#[test]
fn a_run_leaves_a_model_and_its_figures() {
    let set = Set::new();
    let config = set.config("out", "accumulate: 2\nfreeze_encoder: true\ndrop_path: 0.2\n");
    let text = done(set.train(&config, &[]));
    assert!(text.contains("Done after 12 of 12 steps"), "{text}");
    let out = set.at("out");
    let names = [
        "model.safetensors",
        "model.md",
        "report.html",
        "metrics.csv",
        "validation.csv",
        "metrics.jsonl",
        "settings.yaml",
    ];
    for name in names {
        assert!(out.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    let device = backend::devices();
    let model = Model::load(&device, &out.join("model.safetensors")).unwrap();
    let card = model.config().provenance.clone().unwrap().training.unwrap();
    assert_eq!((card.training_cases, card.validation_cases, card.validation.len()), (4, 2, 2));
    let csv = std::fs::read_to_string(out.join("metrics.csv")).unwrap();
    assert_eq!(csv.lines().count(), 13, "{csv}");
    let validations = std::fs::read_to_string(out.join("validation.csv")).unwrap();
    assert_eq!(validations.lines().count(), 4, "{validations}");
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("bright") && html.contains("data:image/png;base64,") && !html.contains("http"), "report");
}

#[test]
fn a_cpu_refuses_half_precision() {
    let set = Set::new();
    let output = set.train(&set.config("half", "mixed_precision: bf16\n"), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("mixed_precision: cpu (") && said.contains("does not compute in bf16, expected f32"),
        "{said}"
    );
    assert!(!set.at("half").exists());
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_weights() {
    let set = Set::new();
    done(set.train(&set.config("whole", ""), &["--threads", "1"]));
    let whole = set.state("whole");
    assert_eq!(whole.0, 12);

    let config = set.config("killed", "");
    let seed = std::process::id();
    println!("moments from process {seed}");
    let mut kills = 0;
    for n in 0..40u32 {
        let moment = 150 + (seed.wrapping_mul(2_654_435_761).wrapping_add(n * 40_503) >> 4) % 500;
        let resume = set.at("killed/checkpoint.safetensors").exists();
        let more: &[&str] = if resume { &["--resume", "--threads", "2", "-q"] } else { &["--threads", "2", "-q"] };
        let mut child = set.train(&config, more).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment.into()));
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    if set.at("killed/checkpoint.safetensors").exists() {
        done(set.train(&config, &["--resume", "--threads", "2"]));
    } else {
        done(set.train(&config, &["--threads", "2"]));
    }
    println!("killed {kills} times");
    assert!(kills > 0);
    assert_eq!(set.state("killed"), whole, "after {kills} kills and with 2 threads instead of 1");
    let rows = |output: &str| -> Vec<String> {
        let text = std::fs::read_to_string(set.at(output).join("metrics.csv")).unwrap();
        // All but the seconds.
        text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
    };
    assert_eq!(rows("killed"), rows("whole"));
    let bundle = |output: &str| std::fs::read(set.at(output).join("best.safetensors")).unwrap();
    assert!(bundle("killed") == bundle("whole"), "the best bundles differ");
}

#[test]
fn a_stop_file_stops_it_with_a_model() {
    let set = Set::new();
    let config = set.config("out", "").to_path_buf();
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("steps: 12", "steps: 100000")
        .replace("validations: 3", "validations: 0");
    std::fs::write(&config, text).unwrap();
    let mut child = set.train(&config, &["-q"]).spawn().unwrap();
    while !set.at("out/checkpoint.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none(), "ended early");
    }
    std::fs::write(set.at("out/stop"), "").unwrap();
    assert!(child.wait().unwrap().success());
    let device = backend::devices();
    Model::load(&device, &set.at("out/model.safetensors")).unwrap();
}

/// The same run, so long that it must be stopped.
fn endless(config: &Path, from: &str) {
    let text = std::fs::read_to_string(config).unwrap().replace(from, "steps: 100000");
    std::fs::write(config, text).unwrap();
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_it_with_a_model_and_it_goes_on() {
    let set = Set::new();
    let config = set.config("out", "");
    endless(&config, "steps: 12");
    let interrupted = || -> String {
        let _ = std::fs::remove_file(set.at("out/model.safetensors"));
        let more: &[&str] = if set.at("out/checkpoint.safetensors").exists() { &["--resume"] } else { &[] };
        let child = set.train(&config, more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let before = std::fs::read_to_string(set.at("out/metrics.csv")).map_or(0, |text| text.lines().count());
        let more_rows =
            || std::fs::read_to_string(set.at("out/metrics.csv")).is_ok_and(|text| text.lines().count() > before + 3);
        for _ in 0..1500 {
            if more_rows() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output)
    };
    for _ in 0..2 {
        let text = interrupted();
        assert!(text.contains("Stopped after") && text.contains("of 100000 steps"), "{text}");
        let device = backend::devices();
        Model::load(&device, &set.at("out/model.safetensors")).unwrap();
        let report = std::fs::read_to_string(set.at("out/report.html")).unwrap();
        assert!(report.contains("stopped before its end"));
    }
    let (step, _) = set.state("out");
    let rows = std::fs::read_to_string(set.at("out/metrics.csv")).unwrap();
    assert_eq!(rows.lines().count() as u64, step + 1, "a row for each step of both parts");
}

#[test]
fn stopped_within_a_validation_it_makes_it_again() {
    let set = Set::new();
    let train = |output: &str, resume: bool, stop_at: Option<u64>| {
        let config = TrainConfig::read(&set.config(output, "")).unwrap();
        let device = backend::devices();
        let plan = config.resolve(&set.at(""), &device, &mut Control::none()).unwrap();
        let mut steps = 0;
        let mut control = Control::none().on_progress(|event| {
            match event.stage {
                Stage::Train => steps = event.done,
                // The second case of the validation after that step.
                Stage::Validate if event.done == 1 && stop_at == Some(steps + 1) => return Flow::Cancel,
                _ => {}
            }
            Flow::Continue
        });
        run(&plan, &device, resume, &mut (), &mut control).unwrap()
    };
    let whole = train("whole", false, None);
    assert!(!whole.stopped && whole.best.is_some());
    let part = train("part", false, Some(8));
    assert_eq!((part.stopped, part.steps), (true, 8));
    let rest = train("part", true, None);
    assert_eq!((rest.stopped, rest.best), (false, whole.best));
    assert_eq!(set.state("part").0, 12);
    let read = |name: &str| std::fs::read(set.at(name)).unwrap();
    assert!(read("part/validation.csv") == read("whole/validation.csv"), "the validations differ");
    assert!(read("part/best.safetensors") == read("whole/best.safetensors"), "the best bundles differ");

    // Stopped while the finished model is scored: the model is there, and says that it has no scores.
    let model = |output: &str| {
        let device = backend::devices();
        let model = Model::load(&device, &set.at(output).join("model.safetensors")).unwrap();
        model.config().provenance.clone().unwrap().training.unwrap().validation.len()
    };
    assert_eq!(model("part"), 2);
    std::fs::remove_file(set.at("part/model.safetensors")).unwrap();
    let last = train("part", true, Some(13));
    assert_eq!((last.stopped, last.steps, model("part")), (true, 12, 0));
}

/// The best validation of a run.
#[derive(Default)]
struct Seen(Option<Validation>);

impl Witness for Seen {
    fn step(&mut self, _: u64, _: f64, _: &Step, _: f64) -> transunet::Result<()> {
        Ok(())
    }

    fn validation(&mut self, _: u64, _: f64, validation: &Validation, best: bool) -> transunet::Result<()> {
        if best {
            self.0 = Some(validation.clone());
        }
        Ok(())
    }
}

#[test]
fn the_saved_model_is_the_one_that_validated_best() {
    let set = Set::new();
    for (output, more) in [("learned", "average: 0\n"), ("averaged", "average: 0.5\n")] {
        let device = backend::devices();
        let config = TrainConfig::read(&set.config(output, more)).unwrap();
        let plan = config.resolve(&set.at(""), &device, &mut Control::none()).unwrap();
        let mut seen = Seen::default();
        run(&plan, &device, false, &mut seen, &mut Control::none()).unwrap();
        let model = Model::load(&device, &set.at(output).join("best.safetensors")).unwrap();
        assert_eq!(Some(dice(&plan, &model, &mut Control::none()).unwrap()), seen.0, "{output}");
    }
}

#[test]
fn a_case_that_is_lost_on_the_way_is_named_and_nothing_else_is_lost() {
    let set = Set::new();
    let whole = set.config("whole", "cache: 0\n");
    done(set.train(&whole, &["-q"]));
    let config = set.config("out", "cache: 0\n");
    let settings = std::fs::read_to_string(set.at("whole/settings.yaml")).unwrap();
    let lost =
        (0..6).find(|n| settings.split("validation:").next().unwrap().contains(&format!("- case_{n}\n"))).unwrap();
    let [file, aside] = [format!("data/imagesTr/case_{lost}.nii.gz"), "aside".into()].map(|name| set.at(&name));
    // Taken away once all cases have been looked at and a step is made.
    let device = backend::devices();
    let plan = TrainConfig::read(&config).unwrap().resolve(&set.at(""), &device, &mut Control::none()).unwrap();
    let mut control = Control::none().on_progress(|event| {
        if event.stage == Stage::Train && event.done == 1 {
            std::fs::rename(&file, &aside).unwrap();
        }
        Flow::Continue
    });
    let error = run(&plan, &device, false, &mut (), &mut control).unwrap_err().to_string();
    drop(control);
    assert!(error.contains(&format!("case_{lost}.nii.gz")), "{error}");
    let (step, _) = set.state("out");
    assert!((1..12).contains(&step), "{step}");
    let rows = std::fs::read_to_string(set.at("out/metrics.csv")).unwrap();
    assert_eq!(rows.lines().count() as u64, step + 1, "the checkpoint has every step that was made");
    std::fs::rename(&aside, &file).unwrap();
    done(set.train(&config, &["--resume"]));
    assert_eq!(set.state("out"), set.state("whole"));
}

#[test]
fn runs_do_not_mix() {
    let set = Set::new();
    let config = set.config("out", "");
    done(set.train(&config, &["-q"]));
    refused(set.train(&config, &[]), 6, "holds a run already");
    let config = set.config("out", "seed: 5\n");
    refused(set.train(&config, &["--resume"]), 6, "belongs to other settings or data");
}

#[test]
fn faults_in_the_data_are_named() {
    let set = Set::new();
    let (_, mut truth) = case(0);
    truth[7] = 9;
    write(&set.at("data/labelsTr/case_0.nii.gz"), truth);
    let config = set.config("out", "split: { validation: 0.0 }\n");
    let text = std::fs::read_to_string(&config).unwrap().replace("split: { validation: 0.3, seed: 1 }\n", "");
    std::fs::write(&config, text).unwrap();
    refused(set.train(&config, &[]), 3, "has label 9, expected 0 to 2 (bright, grey)");

    // Also in every case that only validates, before any step.
    for n in 0..6 {
        let set = Set::new();
        let (_, mut truth) = case(n);
        truth[7] = 9;
        write(&set.at(&format!("data/labelsTr/case_{n}.nii.gz")), truth);
        refused(set.train(&set.config("out", ""), &[]), 3, &format!("case_{n}"));
        assert!(!set.at("out/metrics.csv").exists());
    }

    let set = Set::new();
    std::fs::remove_file(set.at("data/labelsTr/case_3.nii.gz")).unwrap();
    refused(set.train(&set.config("out", ""), &[]), 3, "case_3.nii.gz");
}

#[test]
fn ignored_voxels_are_not_scored() {
    let set = Set::new();
    for n in 0..6 {
        let (_, mut truth) = case(n);
        truth[..500].fill(9);
        write(&set.at(&format!("data/labelsTr/case_{n}.nii.gz")), truth);
    }
    let device = backend::devices();
    let config = TrainConfig::read(&set.config("out", "loss: { ignore: 9 }\n")).unwrap();
    let plan = config.resolve(&set.at(""), &device, &mut Control::none()).unwrap();
    // A model that finds label 1 everywhere.
    let everywhere = |name: &str, shape: &[usize]| {
        Ok(if name == "segmentation_head.0.bias" { vec![0.0, 1e3, 0.0] } else { initial_values(1, name, shape) })
    };
    let model = Model::with_values(&device, plan.model.clone(), everywhere).unwrap();
    let (found, truth) = compared(&plan, &model, &plan.dataset.cases[0]).unwrap();
    let found = found.to_vec().unwrap();
    assert!(found[..500].iter().chain(&truth[..500]).all(|&label| label == 0));
    assert!(found[500..].iter().all(|&label| label == 1) && truth[500..].contains(&1));
}

#[test]
fn a_loss_that_is_not_finite_ends_it_with_the_last_good_state() {
    let set = Set::new();
    let config =
        set.config("out", "optimizer: { kind: sgd, rate: 1.0e+30 }\nclip: 1.0e+30\nschedule: { kind: constant }\n");
    let output = set.train(&config, &[]).output().unwrap();
    let text = said(&output);
    assert!(!output.status.success() && text.contains("expected finite numbers") && text.contains("case_"), "{text}");
    let (step, _) = set.state("out");
    assert!((1..12).contains(&step), "{step}");
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_earlier_checkpoint() {
    let set = Set::new();
    let config = set.config("out", "");
    done(set.train(&config, &["-q"]));
    // The same run, longer: its checkpoint is the earlier one.
    let before = std::fs::read(set.at("out/checkpoint.safetensors")).unwrap();
    let model = std::fs::read(set.at("out/model.safetensors")).unwrap();
    let limited = format!(
        "trap '' XFSZ; ulimit -f 64; exec '{}' train '{}' --device cpu --resume",
        env!("CARGO_BIN_EXE_transunet"),
        config.display()
    );
    let output = Command::new("bash").args(["-c", &limited]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("cannot write"), "{}", said(&output));
    assert!(std::fs::read(set.at("out/checkpoint.safetensors")).unwrap() == before, "the checkpoint changed");
    assert!(std::fs::read(set.at("out/model.safetensors")).unwrap() == model, "the model changed");
}
