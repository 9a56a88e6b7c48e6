//! Changes to training slices that keep their labels true.

mod intensity;
mod original;
mod warp;

use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use original::augment as augment_original;
pub use original::{rotate, turn};
pub use warp::Warp;

use crate::error::{Error, Result};
use crate::placement::Placement;
use crate::random::Random;

/// What is done to a training slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Augmentation {
    None,
    /// As the original: half of the slices turned by right angles and mirrored, a quarter rotated by up to 20 degrees.
    Original,
    /// For few labels.
    LowData(LowData),
}

/// Strengths of the low-data augmentation. Distances are shares of the canvas, intensities those of input in 0..1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowData {
    /// Degrees, both ways, for three of four slices.
    pub rotation: f64,
    /// Largest factor, and its inverse, of size; each axis may differ by a third of it.
    pub scale: f64,
    /// Share of the canvas that slices are moved by.
    pub shift: f64,
    /// Largest displacement of a smooth random field, as a share of the canvas; for half of the slices.
    pub elastic: f64,
    /// Mirror across columns (left and right in axial slices) for half of the slices. Off: sides of the body differ.
    pub mirror: bool,
    /// Largest change of contrast, as a factor less 1.
    pub contrast: f64,
    /// Largest change of brightness.
    pub brightness: f64,
    /// Largest exponent, and its inverse, of a gamma curve.
    pub gamma: f64,
    /// Largest standard deviation of noise.
    pub noise: f64,
    /// Largest standard deviation of a Gaussian blur, in pixels of the canvas.
    pub blur: f64,
}

impl Default for LowData {
    fn default() -> Self {
        LowData {
            rotation: 15.0,
            scale: 1.2,
            shift: 0.06,
            elastic: 0.03,
            mirror: false,
            contrast: 0.25,
            brightness: 0.1,
            gamma: 1.4,
            noise: 0.05,
            blur: 1.0,
        }
    }
}

impl LowData {
    /// Refuses strengths that cannot be.
    pub fn check(&self) -> Result<()> {
        let ranges = [
            ("rotation", self.rotation, 0.0, 180.0),
            ("scale", self.scale, 1.0, 4.0),
            ("shift", self.shift, 0.0, 0.5),
            ("elastic", self.elastic, 0.0, 0.2),
            ("contrast", self.contrast, 0.0, 0.9),
            ("brightness", self.brightness, 0.0, 1.0),
            ("gamma", self.gamma, 1.0, 4.0),
            ("noise", self.noise, 0.0, 1.0),
            ("blur", self.blur, 0.0, 10.0),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            Some((name, value, low, high)) => {
                Err(Error::Config(format!("augmentation: {name} is {value}, expected {low} to {high}")))
            }
            None => Ok(()),
        }
    }
}

/// As written: a name, or a map with `kind` and strengths.
impl<'de> Deserialize<'de> for Augmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Kind {
            None,
            Original,
            LowData,
        }
        #[derive(Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
        enum Full {
            None {},
            Original {},
            LowData(LowData),
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "augmentation: expected none, original, low-data, or a map with kind and strengths"
        )]
        enum Written {
            Name(Kind),
            Full(Full),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Name(Kind::None) | Written::Full(Full::None {}) => Augmentation::None,
            Written::Name(Kind::Original) | Written::Full(Full::Original {}) => Augmentation::Original,
            Written::Name(Kind::LowData) => Augmentation::LowData(LowData::default()),
            Written::Full(Full::LowData(strengths)) => Augmentation::LowData(strengths),
        })
    }
}

/// A slice, or several as channels, and labels of one size, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub pixels: Vec<f32>,
    pub labels: Vec<u8>,
}

impl LowData {
    /// Warps a slice of its own size onto the canvas, then changes its intensities.
    pub fn apply(&self, sample: &Sample, placement: &Placement, random: &mut Random) -> Sample {
        let warp = self.draw(placement, random);
        let mut sample = warp.apply(sample, placement);
        self.change_intensity(&mut sample.pixels, placement.canvas, random);
        sample
    }

    fn draw(&self, placement: &Placement, random: &mut Random) -> Warp {
        let angle = if random.happens(0.75) { random.between(-self.rotation, self.rotation).to_radians() } else { 0.0 };
        let (mut row, mut column) = (1.0, 1.0);
        if random.happens(0.75) {
            let logarithm = self.scale.ln();
            let both = random.between(-logarithm, logarithm);
            row = (both + random.between(-logarithm, logarithm) / 3.0).exp();
            column = (both + random.between(-logarithm, logarithm) / 3.0).exp();
        }
        let [height, width] = placement.canvas.map(|side| side as f64);
        let shift = [height, width].map(|side| random.between(-self.shift, self.shift) * side);
        let mirror = self.mirror && random.happens(0.5);
        let elastic = if self.elastic > 0.0 && random.happens(0.5) { self.elastic } else { 0.0 };
        let mut warp = Warp::affine(angle, [row, if mirror { -column } else { column }], shift);
        if elastic > 0.0 {
            let strength = random.between(0.3, 1.0) * elastic;
            warp = warp.with_field([height, width].map(|side| side * strength), random);
        }
        warp
    }
}
