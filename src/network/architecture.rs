//! Every size of a TransUNet in one value, with the published configurations as constructors.
//!
//! Source: Chen et al., TransUNet, arXiv:2102.04306; sizes as in the authors' code.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// ResNetV2 stem: root convolution, then three stages of bottleneck units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// Channels of the root convolution; a multiple of 32, the group count of every GroupNorm. 64 for ResNet-50.
    pub width: usize,
    /// Units of the three stages; [3, 4, 9] for the hybrid ResNet-50.
    pub units: [usize; 3],
}

/// Sizes of the network. Input `[b, channels, h, w]`, output logits `[b, classes, h, w]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Height and width that the position embedding belongs to; other sizes are interpolated.
    pub image_size: [usize; 2],
    /// Input channels; a one-channel image is repeated.
    pub channels: usize,
    /// Output classes, background included.
    pub classes: usize,
    /// Convolutional stem of the hybrid; `None` embeds 16 x 16 patches of the image itself.
    pub stem: Option<Stem>,
    /// Width of the transformer.
    pub hidden: usize,
    pub heads: usize,
    pub layers: usize,
    /// Width inside the MLP blocks.
    pub mlp: usize,
    /// Channels that enter the decoder; 512 in the original.
    pub head_channels: usize,
    /// Output channels of the four decoder blocks, deepest first.
    pub decoder_channels: [usize; 4],
    /// Stem features given to the decoder, deepest first: 0 to 3, 0 without a stem.
    pub skips: usize,
    /// Probability of dropout in the embedding and the MLP blocks while training.
    pub dropout: f64,
}

/// Pixels per token along each side, in every configuration: three halvings by the stem and its pool, or one patch.
pub const PATCH: usize = 16;

impl Architecture {
    /// The paper's network: ResNet-50 stem, ViT-Base.
    pub fn r50_vit_b16(image_size: usize, classes: usize) -> Self {
        Architecture {
            image_size: [image_size; 2],
            channels: 3,
            classes,
            stem: Some(Stem { width: 64, units: [3, 4, 9] }),
            hidden: 768,
            heads: 12,
            layers: 12,
            mlp: 3072,
            head_channels: 512,
            decoder_channels: [256, 128, 64, 16],
            skips: 3,
            dropout: 0.1,
        }
    }

    /// ViT-Base without a stem, hence without skips.
    pub fn vit_b16(image_size: usize, classes: usize) -> Self {
        Architecture { stem: None, skips: 0, ..Self::r50_vit_b16(image_size, classes) }
    }

    /// ResNet-50 stem, ViT-Large.
    pub fn r50_vit_l16(image_size: usize, classes: usize) -> Self {
        Architecture { hidden: 1024, heads: 16, layers: 24, mlp: 4096, ..Self::r50_vit_b16(image_size, classes) }
    }

    /// ViT-Large without a stem.
    pub fn vit_l16(image_size: usize, classes: usize) -> Self {
        Architecture { stem: None, skips: 0, ..Self::r50_vit_l16(image_size, classes) }
    }

    /// For few labels and small machines: about 0.9 M parameters.
    pub fn tiny(image_size: usize, classes: usize) -> Self {
        Architecture {
            image_size: [image_size; 2],
            channels: 1,
            classes,
            stem: Some(Stem { width: 32, units: [1, 1, 1] }),
            hidden: 64,
            heads: 4,
            layers: 2,
            mlp: 128,
            head_channels: 64,
            decoder_channels: [64, 32, 16, 16],
            skips: 3,
            dropout: 0.1,
        }
    }

    /// Between tiny and the paper's: about 6.4 M parameters.
    pub fn small(image_size: usize, classes: usize) -> Self {
        Architecture {
            channels: 1,
            stem: Some(Stem { width: 32, units: [2, 3, 3] }),
            hidden: 256,
            heads: 8,
            layers: 6,
            mlp: 768,
            head_channels: 128,
            decoder_channels: [128, 64, 32, 16],
            ..Self::tiny(image_size, classes)
        }
    }

    /// The configuration called `name` ("r50-vit-b16", "vit-b16", "r50-vit-l16", "vit-l16", "small", "tiny").
    pub fn preset(name: &str, image_size: usize, classes: usize) -> Option<Self> {
        let build = match name {
            "r50-vit-b16" => Self::r50_vit_b16,
            "vit-b16" => Self::vit_b16,
            "r50-vit-l16" => Self::r50_vit_l16,
            "vit-l16" => Self::vit_l16,
            "small" => Self::small,
            "tiny" => Self::tiny,
            _ => return None,
        };
        Some(build(image_size, classes))
    }

    /// Names that [`Architecture::preset`] knows.
    pub const PRESETS: [&'static str; 6] = ["r50-vit-b16", "vit-b16", "r50-vit-l16", "vit-l16", "small", "tiny"];

    /// Channels of the stem features handed to the decoder blocks, deepest first; 0 where a block gets none.
    pub fn skip_channels(&self) -> [usize; 4] {
        let width = self.stem.as_ref().map_or(0, |stem| stem.width);
        let all = [8 * width, 4 * width, width, 0];
        std::array::from_fn(|block| if block < self.skips { all[block] } else { 0 })
    }

    /// Rows and columns of tokens at `image_size`.
    pub fn grid(&self) -> [usize; 2] {
        self.image_size.map(|side| side / PATCH)
    }

    /// Refuses sizes that no network can have, all reasons at once.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let mut need = |ok: bool, text: String| {
            if !ok {
                faults.push(text);
            }
        };
        for (name, value, limit) in [
            ("channels", self.channels, 1024),
            ("classes", self.classes, 65_536),
            ("hidden", self.hidden, 16_384),
            ("heads", self.heads, 1024),
            ("layers", self.layers, 256),
            ("mlp", self.mlp, 65_536),
            ("head_channels", self.head_channels, 16_384),
        ] {
            need((1..=limit).contains(&value), format!("{name} is {value}, expected 1 to {limit}"));
        }
        for side in self.image_size {
            need(
                (PATCH..=4096).contains(&side) && side.is_multiple_of(PATCH),
                format!("image_size has {side}, expected a multiple of {PATCH} up to 4096"),
            );
        }
        need(
            self.heads > 0 && self.hidden.is_multiple_of(self.heads),
            format!("hidden {} is not a multiple of heads {}", self.hidden, self.heads),
        );
        for channels in self.decoder_channels {
            need((1..=16_384).contains(&channels), format!("decoder_channels has {channels}, expected 1 to 16384"));
        }
        if let Some(stem) = &self.stem {
            need(
                stem.width > 0 && stem.width.is_multiple_of(32) && stem.width <= 1024,
                format!("stem.width is {}, expected a multiple of 32 up to 1024", stem.width),
            );
            for units in stem.units {
                need((1..=64).contains(&units), format!("stem.units has {units}, expected 1 to 64"));
            }
        }
        let most = if self.stem.is_some() { 3 } else { 0 };
        need(
            self.skips <= most,
            format!("skips is {}, expected at most {most} (a network without a stem has none)", self.skips),
        );
        need((0.0..1.0).contains(&self.dropout), format!("dropout is {}, expected 0 to below 1", self.dropout));
        if faults.is_empty() { Ok(()) } else { Err(Error::Config(format!("architecture: {}", faults.join("; ")))) }
    }
}
