//! The YAML document of a training run, and what it comes to with the data at hand.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::memory::{self, Data};
use super::plan;
use super::settings::{LossSettings, OptimizerSettings, Preset, Recipe, Schedule};
use crate::augment::Augmentation;
use crate::config::{self, Compat, DataFingerprint, Input, ModelConfig, Sizes};
use crate::control::Control;
use crate::data::{CaseFacts, DataConfig, Dataset, Listing, Parts, Split, Survey};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::precision::ComputePrecision;
use crate::weights::Precision;

/// A training run as people write it. Only `data` and `output` are needed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with keys such as data, output and preset")]
pub struct TrainConfig {
    /// What people will call the model.
    pub name: Option<String>,
    pub data: DataConfig,
    /// By subject; the lists that come with prepared data, or a fifth to validate, when it is left out.
    pub split: Option<Split>,
    /// Folder of everything that the run writes; relative to the configuration's own.
    pub output: PathBuf,
    #[serde(default = "small")]
    pub preset: Preset,
    /// Sizes that differ from the preset's.
    #[serde(default)]
    pub architecture: Sizes,
    /// Frame, size, spacing and intensity; planned from the data where left out.
    pub input: Option<Input>,
    /// Weights to start from: a bundle, .pth, .npz or .safetensors; heads of another class count start anew.
    pub start: Option<PathBuf>,
    pub seed: Option<u64>,
    /// Length of the run: passes over all training slices, or updates.
    pub epochs: Option<f64>,
    pub steps: Option<u64>,
    pub batch: Option<usize>,
    pub accumulate: Option<usize>,
    /// 0 clips nothing.
    pub clip: Option<f64>,
    pub dropout: Option<f64>,
    pub drop_path: Option<f64>,
    /// 0 keeps no moving average.
    pub average: Option<f64>,
    pub freeze_encoder: Option<bool>,
    pub freeze_statistics: Option<bool>,
    pub loss: Option<LossSettings>,
    pub optimizer: Option<OptimizerSettings>,
    pub schedule: Option<Schedule>,
    pub augmentation: Option<Augmentation>,
    pub mixed_precision: Option<ComputePrecision>,
    pub foreground: Option<f64>,
    /// Validations during the run, evenly spread; the last one is at its end.
    #[serde(default = "validations")]
    pub validations: u64,
    /// Minutes between checkpoints.
    #[serde(default = "checkpoint_minutes")]
    pub checkpoint_minutes: f64,
    /// Bytes for prepared cases, in MiB.
    #[serde(default = "cache")]
    pub cache: u64,
    /// Of the bundle.
    #[serde(default)]
    pub precision: Precision,
    pub licence: Option<String>,
    pub intended_use: Option<String>,
    /// Follow the 2021 code where it errs and the error changes numbers.
    pub compat: Option<Compat>,
}

fn small() -> Preset {
    Preset::Small
}
fn validations() -> u64 {
    20
}
fn checkpoint_minutes() -> f64 {
    5.0
}
fn cache() -> u64 {
    4096
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io(path, "find", e))
}

/// A run whose every size is known.
#[derive(Debug)]
pub struct Run {
    pub dataset: Dataset,
    pub fingerprint: DataFingerprint,
    pub parts: Parts,
    pub model: ModelConfig,
    pub recipe: Recipe,
    pub length: Length,
    pub start: Option<PathBuf>,
    pub output: PathBuf,
    pub validations: u64,
    pub checkpoint_minutes: f64,
    /// Bytes.
    pub cache: u64,
    /// Bytes at the peak of a process that does nothing but this run on a CPU.
    pub planned_bytes: u64,
    pub precision: Precision,
    /// What makes the run again, for its report.
    pub command: String,
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    Epochs(f64),
    Steps(u64),
}

impl TrainConfig {
    /// Reads the document at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = config::read_document(path)?;
        config::parse(&text, &path.display().to_string())
    }

    /// Takes data from and writes to other folders than the document says; these are relative to the working folder.
    pub fn redirect(&mut self, data: Option<&Path>, output: Option<&Path>) -> Result<()> {
        if let Some(data) = data {
            self.data.folder = absolute(data)?;
        }
        if let Some(output) = output {
            self.output = absolute(output)?;
        }
        Ok(())
    }

    /// The document at `path`, or an empty one, under `settings`: YAML whose keys replace the document's, and a length that
    /// replaces the other kind of length too. Then as [`TrainConfig::redirect`].
    pub fn layered(
        path: Option<&Path>,
        settings: Option<&str>,
        data: Option<&Path>,
        output: Option<&Path>,
    ) -> Result<Self> {
        // Alone the document must hold, too: its faults are named with their lines.
        let alone = path.map(TrainConfig::read).transpose()?;
        let mut config = match (alone, settings) {
            (Some(config), None) => config,
            _ => {
                let first = match path {
                    Some(path) => (config::read_document(path)?, path.display().to_string()),
                    None => {
                        // Stand-ins that are redirected below.
                        let data = data.map_or("", |_| "data: { folder: . }\n");
                        let output = output.map_or("", |_| "output: .\n");
                        (format!("{data}{output}"), "folders".into())
                    }
                };
                let layers = [first, (settings.unwrap_or_default().to_owned(), "settings".into())];
                config::layered(&layers, &[&["epochs", "steps"]])?
            }
        };
        config.redirect(data, output)?;
        Ok(config)
    }

    /// Looks at the data and at the device and decides what the document leaves open; `base` is what its relative paths
    /// are relative to.
    pub fn resolve(self, base: &Path, devices: &Devices, control: &mut Control) -> Result<Run> {
        let recipe = self.recipe();
        devices.check_precision(recipe.mixed_precision).map_err(|e| Error::Config(format!("mixed_precision: {e}")))?;
        let listing = Listing::find(&self.data, base)?;
        let survey = Survey::of(listing, recipe.loss.ignore, |_| Ok(None), control)?;
        survey.check()?;
        let fingerprint = survey.fingerprint();
        let Survey { dataset, cases, .. } = survey;
        let parts = dataset.parts(self.split.as_ref(), &base.join(&self.data.folder))?;
        let classes = dataset.labels.len() + 1;
        recipe.check(classes)?;
        if let Augmentation::LowData(strengths) = &recipe.augmentation {
            strengths.check()?;
        }
        let length = match (self.epochs, self.steps) {
            (Some(_), Some(_)) => return Err(Error::Config("epochs and steps: expected one of them".into())),
            (Some(epochs), None) if epochs > 0.0 && epochs.is_finite() => Length::Epochs(epochs),
            (Some(epochs), None) => return Err(Error::Config(format!("epochs is {epochs}, expected more than 0"))),
            (None, Some(0)) => return Err(Error::Config("steps is 0, expected at least 1".into())),
            (None, Some(steps)) => Length::Steps(steps),
            (None, None) => Length::Steps(self.preset.steps()),
        };
        let seen: Vec<&CaseFacts> = parts.train.iter().map(|&case| &cases[case]).collect();
        let (input, image_size) = plan::input(&dataset, &seen, self.input.clone(), self.preset)?;
        let preset = Sizes {
            preset: Some(self.architecture.preset.clone().unwrap_or_else(|| self.preset.architecture().into())),
            ..self.architecture.clone()
        };
        let defaults = Sizes { image_size: Some(image_size), classes: Some(classes), ..Sizes::default() };
        let context = Sizes { channels: Some(2 * input.context + 1), ..Sizes::default() };
        let preset = if input.context > 0 { preset.or(context) } else { preset };
        let mut architecture = preset.with_preset()?.or(defaults).complete()?;
        if architecture.classes != classes {
            return Err(Error::Config(format!(
                "architecture: classes is {}, but the data have {classes}, background included",
                architecture.classes
            )));
        }
        architecture.dropout = recipe.dropout;
        let cache = self.cache << 20;
        let recipe = plan::spread(recipe, devices.all().len());
        let gpu = if devices.are_gpus() { devices.memory_bytes() } else { None };
        let scored = parts.validation.iter().map(|&case| &cases[case]);
        let data = Data::new(&seen, seen.iter().copied().chain(scored), cache, !parts.validation.is_empty());
        let recipe = if self.batch.is_none() && (gpu.is_some() || !devices.are_gpus()) {
            memory::batch(recipe, &architecture, &data, gpu)?
        } else {
            recipe
        };
        let planned_bytes = memory::peak_bytes(&architecture, &recipe, &data);
        if !devices.are_gpus() {
            log::info!("memory: about {} MiB at the peak", planned_bytes >> 20);
            memory::check_room(planned_bytes)?;
        }
        let model = ModelConfig {
            name: Some(self.name.clone().unwrap_or_else(|| format!("TransUNet {}", dataset.name))),
            input,
            labels: dataset.labels.clone(),
            licence: self.licence.clone(),
            intended_use: self.intended_use.clone(),
            compat: self.compat,
            ..ModelConfig::undescribed(architecture)
        };
        model.validate()?;
        Ok(Run {
            dataset,
            fingerprint,
            parts,
            model,
            recipe,
            length,
            start: self.start.map(|path| base.join(path)),
            output: base.join(&self.output),
            validations: self.validations,
            checkpoint_minutes: self.checkpoint_minutes,
            cache,
            planned_bytes,
            precision: self.precision,
            command: String::new(),
        })
    }

    fn recipe(&self) -> Recipe {
        let own = if self.compat == Some(Compat::TransUnet2021) {
            Recipe { schedule: Schedule::Poly { power: 0.9, late: true }, ..Recipe::original() }
        } else {
            self.preset.recipe()
        };
        Recipe {
            seed: self.seed.unwrap_or(own.seed),
            loss: self.loss.clone().unwrap_or(own.loss),
            optimizer: self.optimizer.unwrap_or(own.optimizer),
            schedule: self.schedule.unwrap_or(own.schedule),
            batch: self.batch.unwrap_or(own.batch),
            accumulate: self.accumulate.unwrap_or(own.accumulate),
            clip: self.clip.or(own.clip).filter(|&clip| clip != 0.0),
            dropout: self.dropout.unwrap_or(own.dropout),
            drop_path: self.drop_path.unwrap_or(own.drop_path),
            average: self.average.or(own.average).filter(|&keep| keep != 0.0),
            freeze_encoder: self.freeze_encoder.unwrap_or(own.freeze_encoder),
            freeze_statistics: self.freeze_statistics.unwrap_or(own.freeze_statistics),
            augmentation: self.augmentation.clone().unwrap_or(own.augmentation),
            mixed_precision: self.mixed_precision.unwrap_or(own.mixed_precision),
            foreground: self.foreground.unwrap_or(own.foreground),
        }
    }
}
