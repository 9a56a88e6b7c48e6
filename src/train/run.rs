//! A training run from its first step to its bundle: steps, validations, checkpoints, and what makes it stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{self, Best, Standing};
use super::config::{Length, Run};
use super::finish::finish;
use super::learner::{self, Learner, State, Step};
use super::student::NETWORK;
use super::validate::{self, Validation};
use crate::atomic_file;
use crate::control::{Control, Progress, Stage};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::loader::{Batch, Loader, PreparedCase, Sampling, Source, prepare};
use crate::model::Model;
use crate::network::initial_values;
use crate::weights::{self, Checkpoint};

/// Names in a run's folder.
const CHECKPOINT: &str = "checkpoint.safetensors";
const BEST: &str = "best.safetensors";
/// The result.
pub const MODEL: &str = "model.safetensors";
/// The settings with everything spelled out.
pub const SETTINGS: &str = "settings.yaml";
/// A file of this name in the run's folder stops it.
pub const STOP: &str = "stop";

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The bundle: the best validated weights, or the last ones where nothing was validated.
    pub bundle: PathBuf,
    pub steps: u64,
    pub total_steps: u64,
    pub best: Option<Best>,
    /// Whether someone stopped it before its end; it can be resumed.
    pub stopped: bool,
}

/// Told what happens, besides progress.
pub trait Witness {
    /// After update `number`, counted from 1.
    fn step(&mut self, number: u64, epoch: f64, step: &Step, seconds: f64) -> Result<()>;

    fn validation(&mut self, number: u64, epoch: f64, validation: &Validation, best: bool) -> Result<()>;
}

impl Witness for () {
    fn step(&mut self, _number: u64, _epoch: f64, _step: &Step, _seconds: f64) -> Result<()> {
        Ok(())
    }

    fn validation(&mut self, _number: u64, _epoch: f64, _validation: &Validation, _best: bool) -> Result<()> {
        Ok(())
    }
}

/// Trains. With `resume` it goes on from the folder's checkpoint; without, a folder that has one is refused.
pub fn run(
    run: &Run,
    device: &Device,
    resume: bool,
    witness: &mut dyn Witness,
    control: &mut Control,
) -> Result<Outcome> {
    fs::create_dir_all(&run.output).map_err(|e| Error::io(&run.output, "create", e))?;
    let at = |name: &str| run.output.join(name);
    let there = checkpoint::exists(&at(CHECKPOINT))?;
    if there && !resume {
        return Err(Error::Argument(format!(
            "{} holds a run already; resume it, or choose another folder",
            run.output.display()
        )));
    }
    let _ = fs::remove_file(at(STOP));
    let cases = Arc::new(Cases { run: Shared::new(run) });
    let sampling = Sampling { batch: run.recipe.batch, foreground: run.recipe.foreground };
    let augmentation = run.recipe.augmentation.clone();
    let loader = Loader::new(cases, &run.model, sampling, augmentation, run.recipe.seed, run.cache, control)?;
    let parts = run.recipe.accumulate as u64;
    let per_epoch = loader.batches_per_epoch() as f64 / parts as f64;
    let total = match run.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => (epochs * per_epoch).ceil().max(1.0) as u64,
    };
    let fingerprint = fingerprint(run, total)?;

    let (mut learner, mut standing) = if there {
        let (state, standing) = checkpoint::load(&at(CHECKPOINT))?;
        if standing.run != fingerprint {
            return Err(Error::Config(format!(
                "{}: the checkpoint belongs to other settings or data; resume with those, or choose another folder",
                at(CHECKPOINT).display()
            )));
        }
        (learner::resume(device, &run.model.architecture, &run.recipe, standing.step, state)?, standing)
    } else {
        let standing = Standing { step: 0, seconds: 0.0, best: None, run: fingerprint, tensors: String::new() };
        (begin(run, device)?, standing)
    };

    let settings = described(run, total)?;
    atomic_file::write(&at(SETTINGS), |out| out.write_all(settings.as_bytes()))?;
    let mut journal = Journal::open(&run.output, &run.dataset.labels, there.then_some(standing.step))?;
    let started = Instant::now();
    let before = standing.seconds;
    let mut saved = Instant::now();
    let mut progress =
        Progress { stage: Stage::Train, epoch: 1, done: standing.step, total, loss: f64::NAN, dice: f64::NAN };
    progress.dice = standing.best.map_or(f64::NAN, |best| best.dice);
    let batches = loader.batches(standing.step * parts, total * parts);
    let mut stopped = false;
    while standing.step < total {
        let number = standing.step;
        progress.epoch = (number as f64 / per_epoch) as u32 + 1;
        progress.done = number;
        if control.report(progress).is_err() || at(STOP).exists() {
            stopped = true;
            break;
        }
        let began = Instant::now();
        let batches = (0..parts).map(|_| next(&batches)).collect::<Result<Vec<Batch>>>()?;
        let step = learner.step(&batches, number, total)?;
        if !step.loss.is_finite() || !step.gradient_norm.is_finite() {
            standing.tensors.clear();
            save(&at(CHECKPOINT), learner.as_ref(), &mut standing, &mut journal)?;
            return Err(diverged(run, number, &step, &batches));
        }
        standing.step += 1;
        let epoch = standing.step as f64 / per_epoch;
        let seconds = began.elapsed().as_secs_f64();
        journal.step(standing.step, epoch, &step, seconds)?;
        witness.step(standing.step, epoch, &step, seconds)?;
        progress.loss = step.loss;
        if due(standing.step, total, run.validations) && !run.parts.validation.is_empty() {
            let found = match validate::dice(run, device, &learner.weights()?, control) {
                // Asked to stop: the validation is done again after resuming, from the step before it.
                Err(Error::Cancelled) => {
                    stopped = true;
                    break;
                }
                found => found?,
            };
            let best = standing.best.is_none_or(|best| found.mean_dice > best.dice);
            if best {
                standing.best = Some(Best { step: standing.step, dice: found.mean_dice });
                bundle(run, device, learner.weights()?)?.save(&at(BEST), run.precision)?;
            }
            progress.dice = found.mean_dice;
            journal.validation(standing.step, epoch, &found, best)?;
            witness.validation(standing.step, epoch, &found, best)?;
        }
        if saved.elapsed().as_secs_f64() > 60.0 * run.checkpoint_minutes {
            standing.seconds = before + started.elapsed().as_secs_f64();
            save(&at(CHECKPOINT), learner.as_ref(), &mut standing, &mut journal)?;
            saved = Instant::now();
        }
    }
    standing.seconds = before + started.elapsed().as_secs_f64();
    save(&at(CHECKPOINT), learner.as_ref(), &mut standing, &mut journal)?;
    if standing.best.is_none() {
        bundle(run, device, learner.weights()?)?.save(&at(BEST), run.precision)?;
    }
    // Read back, so that what is judged is what is saved.
    let model = Model::load(device, &at(BEST))?;
    // Asked to stop, people wait for it: the report of a stopped run has what is known.
    finish(
        run,
        device,
        model,
        &standing,
        journal.history(),
        !stopped,
        &mut if stopped { Control::none() } else { std::mem::take(control) },
    )?;
    Ok(Outcome { bundle: at(MODEL), steps: standing.step, total_steps: total, best: standing.best, stopped })
}

/// Whether a validation follows update `step` of `total`.
fn due(step: u64, total: u64, validations: u64) -> bool {
    let part = |step: u64| u128::from(step) * u128::from(validations) / u128::from(total);
    step == total || part(step) > part(step - 1)
}

fn next(batches: &std::sync::mpsc::Receiver<Result<Batch>>) -> Result<Batch> {
    batches.recv().map_err(|_| Error::Internal("the batches ended early".into()))?
}

fn save(path: &Path, learner: &dyn Learner, standing: &mut Standing, journal: &mut Journal) -> Result<()> {
    journal.flush()?;
    let state = learner.state()?;
    standing.tensors = checkpoint::digest(&state);
    checkpoint::save(path, &state, standing)
}

/// Everything that was decided, as YAML.
fn described(run: &Run, steps: u64) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Settings<'a> {
        steps: u64,
        recipe: &'a super::settings::Recipe,
        model: &'a crate::config::ModelConfig,
        train: Vec<&'a str>,
        validation: Vec<&'a str>,
    }
    let ids = |cases: &[usize]| cases.iter().map(|&case| run.dataset.cases[case].id.as_str()).collect();
    crate::config::to_yaml(&Settings {
        steps,
        recipe: &run.recipe,
        model: &run.model,
        train: ids(&run.parts.train),
        validation: ids(&run.parts.validation),
    })
}

/// Settings, sizes and data that the weights depend on.
fn fingerprint(run: &Run, total: u64) -> Result<String> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    let internal = |e: serde_json::Error| Error::Internal(format!("settings: {e}"));
    hash.update(serde_json::to_vec(&run.recipe).map_err(internal)?);
    hash.update(run.model.to_yaml()?);
    hash.update(total.to_le_bytes());
    for &case in run.parts.train.iter().chain(&run.parts.validation) {
        hash.update(&run.dataset.cases[case].id);
    }
    Ok(checkpoint::hex(&hash.finalize()))
}

fn begin(run: &Run, device: &Device) -> Result<Box<dyn Learner>> {
    let architecture = &run.model.architecture;
    let seed = run.recipe.seed;
    let Some(path) = &run.start else {
        return learner::begin(device, architecture, &run.recipe, |name, shape| Ok(initial_values(seed, name, shape)));
    };
    let start = Checkpoint::open(path)?;
    let fresh = weights::check_initial(&start, architecture)?;
    if !fresh.is_empty() {
        log::info!("{}: {} tensors start anew: {}", path.display(), fresh.len(), fresh.join(", "));
    }
    learner::begin(device, architecture, &run.recipe, |name, shape| match name.strip_prefix(NETWORK) {
        Some(own) if !fresh.iter().any(|fresh| fresh == own) => start.read_for(own, architecture, false),
        _ => Ok(initial_values(seed, name, shape)),
    })
}

/// The model of some weights, described.
pub(super) fn bundle(run: &Run, device: &Device, mut weights: State) -> Result<Model> {
    Model::with_values(device, run.model.clone(), |name, _| {
        weights.remove(name).ok_or_else(|| Error::Internal(format!("{name} was not learned")))
    })
}

fn diverged(run: &Run, number: u64, step: &Step, batches: &[Batch]) -> Error {
    let mut cases: Vec<&str> = batches
        .iter()
        .flat_map(|batch| &batch.slices)
        .map(|&(case, _)| run.dataset.cases[run.parts.train[case]].id.as_str())
        .collect();
    cases.sort_unstable();
    cases.dedup();
    Error::Diverged(format!(
        "step {}: loss {}, norm of the gradients {}, expected finite numbers; cases of the step: {}. The checkpoint holds \
         the state before it. A lower learning rate (now {:.3e}) or `clip: 1.0` helps most often; look also for odd \
         intensities in these cases",
        number + 1,
        step.loss,
        step.gradient_norm,
        cases.join(", "),
        step.rate
    ))
}

/// The training cases as the loader asks for them.
struct Cases {
    run: Shared,
}

/// What threads need of a run.
struct Shared {
    cases: Vec<crate::data::Case>,
    model: crate::config::ModelConfig,
    ignore: Option<u8>,
}

impl Shared {
    fn new(run: &Run) -> Self {
        let cases = run.parts.train.iter().map(|&case| run.dataset.cases[case].clone()).collect();
        Shared { cases, model: run.model.clone(), ignore: run.recipe.loss.ignore }
    }
}

impl Source for Cases {
    fn cases(&self) -> usize {
        self.run.cases.len()
    }

    fn prepare(&self, case: usize) -> Result<PreparedCase> {
        let case = &self.run.cases[case];
        let (volume, labels) = case.load()?;
        prepare(&self.run.model, &volume, labels, self.run.ignore).map_err(|e| e.at(case))
    }
}
