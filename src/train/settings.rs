//! How a network is trained: loss, update rule, learning rates and the rest, as people write them in YAML.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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
    /// Linear over the share `warmup` of the run, then half a cosine down to `floor` times the rate.
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
