//! How a network is trained: loss, update rule, learning rates and the rest, as people write them in YAML.

use serde::{Deserialize, Serialize};

use crate::augment::{Augmentation, LowData};
use crate::error::{Error, Result};
use crate::precision::ComputePrecision;

/// What is minimised: `cross_entropy * CE + dice * (1 - Dice)`, on the output and on the decoder's stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossSettings {
    pub cross_entropy: f64,
    pub dice: f64,
    /// Weight of each class, background first, in both parts; all 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f64>>,
    /// Label whose pixels count for nothing, such as 255 or ACDC's unlabelled 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<u8>,
    /// Heads on the decoder's stages, while training only.
    pub deep_supervision: bool,
}

impl Default for LossSettings {
    fn default() -> Self {
        LossSettings { cross_entropy: 0.5, dice: 0.5, class_weights: None, ignore: None, deep_supervision: true }
    }
}

impl LossSettings {
    /// Weight of the class `label`.
    pub fn class_weight(&self, label: u8) -> f64 {
        self.class_weights.as_ref().and_then(|weights| weights.get(usize::from(label))).copied().unwrap_or(1.0)
    }
}

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerSettings {
    /// As PyTorch's: `m = momentum m + (g + weight_decay w)`, `w -= rate m`, for all parameters.
    Sgd {
        #[serde(default = "sgd_rate")]
        rate: f64,
        #[serde(default = "momentum")]
        momentum: f64,
        #[serde(default = "sgd_decay")]
        weight_decay: f64,
    },
    /// Loshchilov and Hutter, arXiv:1711.05101; weight decay on matrices and kernels only.
    AdamW {
        #[serde(default = "adam_rate")]
        rate: f64,
        #[serde(default = "momentum")]
        beta1: f64,
        #[serde(default = "beta2")]
        beta2: f64,
        #[serde(default = "adam_decay")]
        weight_decay: f64,
    },
}

fn sgd_rate() -> f64 {
    0.01
}
fn adam_rate() -> f64 {
    1e-3
}
fn momentum() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}
fn sgd_decay() -> f64 {
    1e-4
}
fn adam_decay() -> f64 {
    0.01
}

impl OptimizerSettings {
    /// The learning rate that the schedule starts from.
    pub fn rate(self) -> f64 {
        match self {
            OptimizerSettings::Sgd { rate, .. } | OptimizerSettings::AdamW { rate, .. } => rate,
        }
    }
}

/// Learning rate over the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    Constant,
    /// `rate (1 - step / steps)^power`.
    Poly {
        #[serde(default = "power")]
        power: f64,
        /// One step late, as in the 2021 code.
        #[serde(default)]
        late: bool,
    },
    /// Linear over the share `warmup` of the run, but 60 updates or a quarter of the run at least unless it is 0; then half
    /// a cosine down to `floor` times the rate.
    Cosine {
        #[serde(default = "warmup")]
        warmup: f64,
        #[serde(default)]
        floor: f64,
    },
}

fn power() -> f64 {
    0.9
}
fn warmup() -> f64 {
    0.05
}

impl LossSettings {
    /// Refuses what no loss can be; `classes` counts the background.
    pub fn check(&self, classes: usize) -> Result<()> {
        let refuse = |text: String| Err(Error::Config(format!("loss: {text}")));
        let usable = |x: f64| x >= 0.0 && x.is_finite();
        if !usable(self.cross_entropy) || !usable(self.dice) || self.cross_entropy + self.dice == 0.0 {
            return refuse(format!(
                "cross_entropy {} and dice {}, expected two numbers from 0 that are not both 0",
                self.cross_entropy, self.dice
            ));
        }
        if let Some(weights) = &self.class_weights {
            if weights.len() != classes {
                return refuse(format!(
                    "class_weights has {} numbers, expected {classes}, background first",
                    weights.len()
                ));
            }
            if !weights.iter().all(|&w| usable(w)) || weights.iter().sum::<f64>() == 0.0 {
                return refuse(format!("class_weights {weights:?}, expected numbers from 0 that are not all 0"));
            }
        }
        match self.ignore {
            Some(label) if usize::from(label) < classes => {
                refuse(format!("ignore is {label}, which is one of the {classes} classes"))
            }
            _ => Ok(()),
        }
    }
}

/// Everything that an update depends on, besides data, weights and its number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Order of slices, augmentation, dropout, and the weights that are not loaded.
    pub seed: u64,
    pub loss: LossSettings,
    pub optimizer: OptimizerSettings,
    pub schedule: Schedule,
    /// Slices in one pass of the network.
    pub batch: usize,
    /// Passes whose gradients are averaged for one update.
    pub accumulate: usize,
    /// Gradients longer than this, all together, are shortened to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    pub dropout: f64,
    pub drop_path: f64,
    /// Share of the old in the moving average of weights that is validated and saved; `None` keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// The transformer and its stem keep their weights.
    pub freeze_encoder: bool,
    /// Batch normalisation keeps its running statistics and uses them.
    pub freeze_statistics: bool,
    pub augmentation: Augmentation,
    /// What passes compute with; weights, their gradients and updates are float32.
    pub mixed_precision: ComputePrecision,
    /// Share of slices that are drawn from those that show a label, each label in turn.
    pub foreground: f64,
}

/// Recipes and sizes that work without tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// About 0.9 M parameters: few labels, small machines.
    Tiny,
    /// About 6.4 M parameters.
    Small,
    /// The paper's R50-ViT-B_16, 105 M parameters, with its recipe; wants a GPU and pretrained weights.
    Base,
}

impl Preset {
    /// The preset's sizes, see [`crate::network::Architecture::preset`].
    pub fn architecture(self) -> &'static str {
        match self {
            Preset::Tiny => "tiny",
            Preset::Small => "small",
            Preset::Base => "r50-vit-b16",
        }
    }

    /// Updates of a run that says nothing about its length.
    pub fn steps(self) -> u64 {
        match self {
            Preset::Tiny => 4000,
            Preset::Small => 8000,
            Preset::Base => 13_950,
        }
    }

    /// The recipe, before what the configuration says.
    pub fn recipe(self) -> Recipe {
        let own = Recipe {
            seed: 1234,
            loss: LossSettings::default(),
            optimizer: OptimizerSettings::AdamW { rate: 1e-3, beta1: 0.9, beta2: 0.999, weight_decay: 0.01 },
            schedule: Schedule::Cosine { warmup: 0.05, floor: 0.01 },
            batch: 16,
            accumulate: 1,
            clip: Some(1.0),
            dropout: 0.1,
            drop_path: 0.0,
            average: Some(0.998),
            freeze_encoder: false,
            freeze_statistics: false,
            augmentation: Augmentation::LowData(LowData::default()),
            mixed_precision: ComputePrecision::F32,
            foreground: 0.33,
        };
        match self {
            Preset::Tiny => own,
            Preset::Small => Recipe { drop_path: 0.1, ..own },
            Preset::Base => Recipe { batch: 24, foreground: 0.0, average: None, ..Recipe::original() },
        }
    }
}

impl Recipe {
    /// The original's: SGD, poly schedule, its augmentation, no deep supervision.
    pub fn original() -> Self {
        Recipe {
            loss: LossSettings { deep_supervision: false, ..LossSettings::default() },
            optimizer: OptimizerSettings::Sgd { rate: 0.01, momentum: 0.9, weight_decay: 1e-4 },
            schedule: Schedule::Poly { power: 0.9, late: false },
            batch: 24,
            clip: None,
            dropout: 0.1,
            drop_path: 0.0,
            average: None,
            augmentation: Augmentation::Original,
            foreground: 0.0,
            ..Preset::Small.recipe()
        }
    }

    /// Refuses what cannot be; `classes` counts the background.
    pub fn check(&self, classes: usize) -> Result<()> {
        let mut faults = Vec::new();
        let mut need = |ok: bool, text: String| {
            if !ok {
                faults.push(text);
            }
        };
        let share = |x: f64| (0.0..1.0).contains(&x);
        need((1..=4096).contains(&self.batch), format!("batch is {}, expected 1 to 4096", self.batch));
        need((1..=4096).contains(&self.accumulate), format!("accumulate is {}, expected 1 to 4096", self.accumulate));
        need(share(self.dropout), format!("dropout is {}, expected 0 to below 1", self.dropout));
        need(share(self.drop_path), format!("drop_path is {}, expected 0 to below 1", self.drop_path));
        need(self.average.is_none_or(share), format!("average is {:?}, expected 0 to below 1", self.average));
        need((0.0..=1.0).contains(&self.foreground), format!("foreground is {}, expected 0 to 1", self.foreground));
        need(self.clip.is_none_or(|clip| clip > 0.0), format!("clip is {:?}, expected more than 0", self.clip));
        let rate = self.optimizer.rate();
        need(rate > 0.0 && rate.is_finite(), format!("rate is {rate}, expected more than 0"));
        let (kept, decay) = match self.optimizer {
            OptimizerSettings::Sgd { momentum, weight_decay, .. } => (vec![("momentum", momentum)], weight_decay),
            OptimizerSettings::AdamW { beta1, beta2, weight_decay, .. } => {
                (vec![("beta1", beta1), ("beta2", beta2)], weight_decay)
            }
        };
        for (name, value) in kept {
            need(share(value), format!("{name} is {value}, expected 0 to below 1"));
        }
        need(decay >= 0.0 && decay.is_finite(), format!("weight_decay is {decay}, expected at least 0"));
        match self.schedule {
            Schedule::Constant => {}
            Schedule::Poly { power, .. } => {
                need(power >= 0.0 && power.is_finite(), format!("power is {power}, expected at least 0"));
            }
            Schedule::Cosine { warmup, floor } => {
                need(share(warmup), format!("warmup is {warmup}, expected 0 to below 1"));
                need((0.0..=1.0).contains(&floor), format!("floor is {floor}, expected 0 to 1"));
            }
        }
        if !faults.is_empty() {
            return Err(Error::Config(faults.join("; ")));
        }
        self.loss.check(classes)
    }
}
