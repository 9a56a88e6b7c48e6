//! The `architecture` section: a preset, single sizes, or both; what it leaves out comes from the weights.

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::network::{Architecture, Stem};

/// Some of the sizes of an [`Architecture`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of sizes")]
pub struct Sizes {
    /// One of [`Architecture::PRESETS`]; gives the sizes that are not spelled out.
    pub preset: Option<String>,
    #[serde(deserialize_with = "image_size")]
    pub image_size: Option<[usize; 2]>,
    pub channels: Option<usize>,
    pub classes: Option<usize>,
    /// `Some(None)` is a network without a stem.
    #[serde(deserialize_with = "present")]
    pub stem: Option<Option<Stem>>,
    pub hidden: Option<usize>,
    pub heads: Option<usize>,
    pub layers: Option<usize>,
    pub mlp: Option<usize>,
    pub head_channels: Option<usize>,
    pub decoder_channels: Option<[usize; 4]>,
    pub skips: Option<usize>,
    pub dropout: Option<f64>,
}

/// A number for a square, or `[height, width]`.
fn image_size<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<[usize; 2]>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "image_size: expected a number or [height, width]")]
    enum Written {
        Square(usize),
        Sides([usize; 2]),
    }
    Ok(Some(match Written::deserialize(deserializer)? {
        Written::Square(side) => [side; 2],
        Written::Sides(sides) => sides,
    }))
}

/// Keeps a written `null` apart from an absent key.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<Architecture> for Sizes {
    fn from(a: Architecture) -> Self {
        Sizes {
            preset: None,
            image_size: Some(a.image_size),
            channels: Some(a.channels),
            classes: Some(a.classes),
            stem: Some(a.stem),
            hidden: Some(a.hidden),
            heads: Some(a.heads),
            layers: Some(a.layers),
            mlp: Some(a.mlp),
            head_channels: Some(a.head_channels),
            decoder_channels: Some(a.decoder_channels),
            skips: Some(a.skips),
            dropout: Some(a.dropout),
        }
    }
}

impl Sizes {
    /// These sizes, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Sizes) -> Sizes {
        Sizes {
            preset: self.preset.or(other.preset),
            image_size: self.image_size.or(other.image_size),
            channels: self.channels.or(other.channels),
            classes: self.classes.or(other.classes),
            stem: self.stem.or(other.stem),
            hidden: self.hidden.or(other.hidden),
            heads: self.heads.or(other.heads),
            layers: self.layers.or(other.layers),
            mlp: self.mlp.or(other.mlp),
            head_channels: self.head_channels.or(other.head_channels),
            decoder_channels: self.decoder_channels.or(other.decoder_channels),
            skips: self.skips.or(other.skips),
            dropout: self.dropout.or(other.dropout),
        }
    }

    /// These sizes with those of the preset, but for image size and classes, which belong to the weights.
    pub fn with_preset(self) -> Result<Sizes> {
        let Some(name) = &self.preset else { return Ok(self) };
        let Some(preset) = Architecture::preset(name, 224, 2) else {
            return Err(Error::Config(format!(
                "architecture.preset: unknown preset {name:?}, expected one of {}",
                Architecture::PRESETS.join(", ")
            )));
        };
        let mut preset = Sizes { image_size: None, classes: None, ..Sizes::from(preset) };
        // Without a stem there is nothing to hand to the decoder.
        if self.stem == Some(None) {
            preset.skips = Some(0);
        }
        Ok(self.or(preset))
    }

    /// The architecture, not yet validated, when nothing is missing. Dropout matters in training alone and defaults to the original's.
    pub fn complete(self) -> Result<Architecture> {
        let mut missing = Vec::new();
        fn take<T: Default>(missing: &mut Vec<&'static str>, name: &'static str, value: Option<T>) -> T {
            if value.is_none() {
                missing.push(name);
            }
            value.unwrap_or_default()
        }
        let m = &mut missing;
        let architecture = Architecture {
            image_size: take(m, "image_size", self.image_size),
            channels: take(m, "channels", self.channels),
            classes: take(m, "classes", self.classes),
            stem: take(m, "stem", self.stem),
            hidden: take(m, "hidden", self.hidden),
            heads: take(m, "heads", self.heads),
            layers: take(m, "layers", self.layers),
            mlp: take(m, "mlp", self.mlp),
            head_channels: take(m, "head_channels", self.head_channels),
            decoder_channels: take(m, "decoder_channels", self.decoder_channels),
            skips: take(m, "skips", self.skips),
            dropout: self.dropout.unwrap_or(0.1),
        };
        if !missing.is_empty() {
            return Err(Error::Config(format!(
                "architecture: {} not given and cannot be seen in the weights; a description (YAML) beside them must say, \
                 for example `architecture: {{ {}: ... }}`",
                missing.join(", "),
                missing[0]
            )));
        }
        Ok(architecture)
    }
}
