//! A training run from its first step to its bundle: steps, validations, checkpoints, and what makes it stop.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::checkpoint::{self, Best, Standing};
use super::config::{Length, Run};
use super::finish::finish;
use super::learner::{self, Learner, State, Step};
use super::student::NETWORK;
use super::validate::{self, Validation};
use crate::atomic_file;
use crate::control::{Control, Progress, Stage};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::loader::{Batch, Loader, PreparedCase, Sampling, Source, prepare};
use crate::model::Model;
use crate::network::initial_values;
use crate::weights::{self, Checkpoint};

/// Names in a run's folder.
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";
pub(crate) const BEST: &str = "best.safetensors";
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
///
/// A stop after the first step is no failure: it leaves a checkpoint and a bundle.
pub fn run(
    run: &Run,
    devices: &Devices,
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

    let (learner, standing) = if there {
        let (state, standing) = checkpoint::load(&at(CHECKPOINT))?;
        if standing.run != fingerprint {
            return Err(Error::Config(format!(
                "{}: the checkpoint belongs to other settings or data; resume with those, or choose another folder",
                at(CHECKPOINT).display()
            )));
        }
        (learner::resume(devices, &run.model.architecture, &run.recipe, standing.step, state)?, standing)
    } else {
        (begin(run, devices)?, Standing { run: fingerprint, ..Standing::default() })
    };

    let settings = described(run, total)?;
    atomic_file::write(&at(SETTINGS), |out| out.write_all(settings.as_bytes()))?;
    let journal = Journal::open(&run.output, &run.dataset.labels, there.then_some(standing.step))?;
    let batches = loader.batches(standing.step * parts, total * parts);
    let mut course = Course {
        run,
        devices,
        learner,
        journal,
        total,
        per_epoch,
        clock: Clock::start(&standing),
        standing,
        fresh: true,
    };
    let ended = course.go(&batches, witness, control);
    // Whatever ended it, the steps made are kept; where that fails too, the first failure is the one to tell.
    let saved = course.save();
    let stopped = ended? == End::Stopped;
    saved?;
    if course.standing.step == 0 {
        return Err(Error::Cancelled);
    }
    let Course { learner, standing, journal, .. } = course;
    if standing.best.is_none() {
        bundle(run, devices, devices.watch(|| learner.weights())?)?.save(&at(BEST), run.precision)?;
    }
    drop(learner);
    // Read back, so that what is scored is what is saved.
    let model = Model::load(devices, &at(BEST))?;
    let complete = finish(run, devices, model, &standing, journal.history(), stopped, control)?;
    Ok(Outcome { bundle: at(MODEL), steps: standing.step, total_steps: total, best: standing.best, stopped: !complete })
}

/// Why the steps ended.
#[derive(Debug, PartialEq)]
enum End {
    Done,
    Stopped,
}

/// The steps of a run.
struct Course<'a> {
    run: &'a Run,
    devices: &'a Devices,
    learner: Box<dyn Learner>,
    standing: Standing,
    journal: Journal,
    /// Steps of the whole run.
    total: u64,
    /// Steps in an epoch.
    per_epoch: f64,
    clock: Clock,
    /// Whether the next step is the first of this process.
    fresh: bool,
}

/// Seconds of the run, and since its checkpoint.
struct Clock {
    began: Instant,
    before: f64,
    /// When the checkpoint was written, after which step and which validation.
    saved: (Instant, [u64; 2]),
}

impl Clock {
    fn start(standing: &Standing) -> Self {
        let now = Instant::now();
        Clock { began: now, before: standing.seconds, saved: (now, [standing.step, standing.validated]) }
    }
}

impl Course<'_> {
    /// Steps and validations up to the end, a stop or a failure.
    fn go(
        &mut self,
        batches: &Receiver<Result<Batch>>,
        witness: &mut dyn Witness,
        control: &mut Control,
    ) -> Result<End> {
        let mut progress = Progress::of(Stage::Train, 0, 0);
        progress.total = self.total;
        progress.dice = self.journal.history().validations.last().map_or(f64::NAN, |row| row.mean_dice);
        loop {
            if self.validation_due() {
                match self.validate(witness, control) {
                    Ok(dice) => progress.dice = dice,
                    // It is made again after resuming.
                    Err(Error::Cancelled) => return Ok(End::Stopped),
                    Err(error) => return Err(error),
                }
            }
            progress.epoch = (self.standing.step.min(self.total - 1) as f64 / self.per_epoch) as u32 + 1;
            progress.done = self.standing.step;
            let stop = control.report(progress).is_err() || self.run.output.join(STOP).exists();
            if self.standing.step == self.total {
                return Ok(End::Done);
            }
            if stop {
                return Ok(End::Stopped);
            }
            if self.clock.saved.0.elapsed().as_secs_f64() > 60.0 * self.run.checkpoint_minutes {
                self.save()?;
            }
            if std::mem::take(&mut self.fresh) && self.devices.are_gpus() {
                control.tell(Progress::of(Stage::Compile, 0, 0));
            }
            progress.loss = self.step(batches, witness)?;
        }
    }

    /// The next step; returns its loss.
    fn step(&mut self, batches: &Receiver<Result<Batch>>, witness: &mut dyn Witness) -> Result<f64> {
        let began = Instant::now();
        let batches = (0..self.run.recipe.accumulate).map(|_| next(batches)).collect::<Result<Vec<Batch>>>()?;
        let (number, total) = (self.standing.step, self.total);
        let step = self.devices.watch(|| self.learner.step(&batches, number, total))?;
        if step.skipped {
            log::info!("step {}: no update, for gradients left float16's range", number + 1);
        } else if !step.loss.is_finite() || !step.gradient_norm.is_finite() {
            return Err(diverged(self.run, self.standing.step, &step, &batches));
        }
        self.standing.step += 1;
        let seconds = began.elapsed().as_secs_f64();
        self.journal.step(self.standing.step, self.epoch(), &step, seconds)?;
        witness.step(self.standing.step, self.epoch(), &step, seconds)?;
        Ok(step.loss)
    }

    /// Whether the state should be validated and has not been.
    fn validation_due(&self) -> bool {
        let step = self.standing.step;
        step > self.standing.validated
            && due(step, self.total, self.run.validations)
            && !self.run.parts.validation.is_empty()
    }

    /// Validates the state, keeps it if it is the best so far, and returns its Dice.
    fn validate(&mut self, witness: &mut dyn Witness, control: &mut Control) -> Result<f64> {
        let model = bundle(self.run, self.devices, self.devices.watch(|| self.learner.weights())?)?;
        let found = validate::dice(self.run, &model, control)?;
        let step = self.standing.step;
        let best = self.standing.best.is_none_or(|best| found.mean_dice > best.dice);
        if best {
            model.save(&self.run.output.join(BEST), self.run.precision)?;
            self.standing.best = Some(Best { step, dice: found.mean_dice });
        }
        // Before the checkpoint, which takes a copy of everything.
        drop(model);
        self.standing.validated = step;
        self.journal.validation(step, self.epoch(), &found, best)?;
        if best {
            // Checkpoint and best weights belong together.
            self.save()?;
        }
        witness.validation(step, self.epoch(), &found, best)?;
        Ok(found.mean_dice)
    }

    fn epoch(&self) -> f64 {
        self.standing.step as f64 / self.per_epoch
    }

    /// Writes the checkpoint, unless it holds all this already.
    fn save(&mut self) -> Result<()> {
        self.journal.flush()?;
        let reached = [self.standing.step, self.standing.validated];
        if reached == self.clock.saved.1 {
            return Ok(());
        }
        self.standing.seconds = self.clock.before + self.clock.began.elapsed().as_secs_f64();
        let state = self.devices.watch(|| self.learner.state())?;
        self.standing.tensors = checkpoint::digest(&state);
        checkpoint::save(&self.run.output.join(CHECKPOINT), &state, &self.standing)?;
        self.clock.saved = (Instant::now(), reached);
        Ok(())
    }
}

/// Whether a validation follows update `step` of `total`.
fn due(step: u64, total: u64, validations: u64) -> bool {
    let part = |step: u64| u128::from(step) * u128::from(validations) / u128::from(total);
    step == total || part(step) > part(step - 1)
}

fn next(batches: &Receiver<Result<Batch>>) -> Result<Batch> {
    batches.recv().map_err(|_| Error::Internal("the batches ended early".into()))?
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

fn begin(run: &Run, devices: &Devices) -> Result<Box<dyn Learner>> {
    let architecture = &run.model.architecture;
    let seed = run.recipe.seed;
    let Some(path) = &run.start else {
        return learner::begin(devices, architecture, &run.recipe, |name, shape| Ok(initial_values(seed, name, shape)));
    };
    let start = Checkpoint::open(path)?;
    let fresh = weights::check_initial(&start, architecture)?;
    if !fresh.is_empty() {
        log::info!("{}: {} tensors start anew: {}", path.display(), fresh.len(), fresh.join(", "));
    }
    learner::begin(devices, architecture, &run.recipe, |name, shape| match name.strip_prefix(NETWORK) {
        Some(own) if !fresh.iter().any(|fresh| fresh == own) => start.read_for(own, architecture, false),
        _ => Ok(initial_values(seed, name, shape)),
    })
}

/// The model of some weights, described.
fn bundle(run: &Run, devices: &Devices, mut weights: State) -> Result<Model> {
    Model::with_values(devices, run.model.clone(), |name, _| {
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
