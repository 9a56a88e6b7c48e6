//! The YAML document that describes a model: in a bundle's metadata, or beside a foreign checkpoint.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::labels::Label;
use crate::network::Architecture;

/// Number of the document's format; a reader refuses higher ones.
pub const FORMAT: u32 = 1;

/// Everything about a model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    pub format: u32,
    /// What people call the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub architecture: Architecture,
    #[serde(default)]
    pub input: Input,
    /// Foreground classes, one for each value from 1 to classes - 1.
    #[serde(default)]
    pub labels: Vec<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intended_use: Option<String>,
    /// Follow the 2021 code where it errs and the error changes numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

/// How a volume becomes input of the network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// Which planes of the volume are the network's slices.
    pub plane: Plane,
    /// Where the network's columns, rows and slices point, such as "LPS"; `None` keeps the volume's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<String>,
    /// Height and width that slices are resized to; `None` takes the architecture's image_size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    pub intensity: Intensity,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// The planes that were acquired: slice k of the volume.
    #[default]
    Acquisition,
    Axial,
    Coronal,
    Sagittal,
}

/// How modality units become network input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Intensity {
    /// Unchanged.
    #[default]
    None,
    /// Clipped to [low, high] in modality units (HU for CT), scaled to 0..1.
    Window { low: f32, high: f32 },
    /// Clipped to two percentiles (0..100) of the volume, scaled to 0..1.
    Percentile { low: f32, high: f32 },
    /// Mean of the volume subtracted, divided by its standard deviation.
    Zscore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compat {
    #[serde(rename = "transunet-2021")]
    TransUnet2021,
}

/// Where a model comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl ModelConfig {
    /// Parses and validates; `place` names the document in messages.
    pub fn from_yaml(text: &str, place: &str) -> Result<Self> {
        let config: ModelConfig = serde_yaml::from_str(text).map_err(|e| Error::Config(format!("{place}: {e}")))?;
        config.validate().map_err(|e| e.at(place))?;
        Ok(config)
    }

    pub fn to_yaml(&self) -> Result<String> {
        serde_yaml::to_string(self).map_err(|e| Error::Internal(format!("model description: {e}")))
    }

    /// A description for a checkpoint that has none: labels 1..n, intensity unchanged.
    pub fn undescribed(architecture: Architecture) -> Self {
        let labels = (1..architecture.classes.min(256)).map(|v| Label::numbered(v as u8)).collect();
        ModelConfig {
            format: FORMAT,
            name: None,
            architecture,
            input: Input::default(),
            labels,
            provenance: None,
            licence: None,
            intended_use: None,
            compat: None,
        }
    }

    pub fn validate(&self) -> Result<()> {
        self.architecture.validate()
    }

    /// Height and width of the slices that the network sees.
    pub fn input_size(&self) -> [usize; 2] {
        self.input.size.unwrap_or(self.architecture.image_size)
    }
}
