//! Reads the sizes of a network off the names and shapes of its tensors.

use super::names::POSITION;
use super::position::square;
use super::{Checkpoint, Entry, Kind};
use crate::config::Sizes;
use crate::error::{Error, Result};
use crate::network::{Architecture, PATCH, Stem};

/// All sizes that the weights show, when they show every one; else says which must be given.
pub fn infer_architecture(checkpoint: &Checkpoint) -> Result<Architecture> {
    let sizes = infer_sizes(checkpoint)?;
    if sizes.classes.is_none() {
        return Err(Error::WeightsMismatch(format!(
            "{}: the file holds an encoder alone, without decoder and segmentation head: initial weights for training, \
             not a model that segments",
            checkpoint.path().display()
        )));
    }
    let architecture = sizes.complete().map_err(|e| e.at(checkpoint.path().display()))?;
    architecture.validate().map_err(|e| e.at(checkpoint.path().display()))?;
    Ok(architecture)
}

/// The sizes that the weights show. Heads are seen in Google's files alone; elsewhere 64 channels each are assumed
/// where that divides the width, as in every published ViT.
pub fn infer_sizes(checkpoint: &Checkpoint) -> Result<Sizes> {
    let shape = |name: &str| checkpoint.tensors.get(name).map(Entry::shape);
    let refuse = |text: String| Err(Error::WeightsMismatch(format!("{}: {text}", checkpoint.path().display())));
    let patch = "transformer.embeddings.patch_embeddings.weight";
    let Some(&[hidden, embedded, height, width]) = shape(patch) else {
        let guess = looks_like(checkpoint);
        return refuse(match guess {
            Some(guess) => format!("these are not weights of TransUNet: they look like {guess}"),
            None => format!(
                "these are not weights of TransUNet: {patch} is missing; the file has {} tensors such as {:?}",
                checkpoint.tensors.len(),
                checkpoint.tensors.keys().take(5).collect::<Vec<_>>()
            ),
        });
    };
    if let Some(guess) = looks_like(checkpoint) {
        return refuse(format!("these are not weights of the 2-D TransUNet: they look like {guess}"));
    }
    let root = shape("transformer.embeddings.hybrid_model.root.conv.weight");
    let side = if root.is_some() { 1 } else { PATCH };
    if (height, width) != (side, side) {
        return refuse(format!("patches of {height} x {width}, expected {side} x {side}"));
    }
    let count = |prefix: &str, from: usize, suffix: &str| {
        (from..).take_while(|i| shape(&format!("{prefix}{i}{suffix}")).is_some()).count()
    };
    let stem = match root {
        Some(&[width, ..]) => {
            let body = "transformer.embeddings.hybrid_model.body.block";
            Some(Stem { width, units: [1, 2, 3].map(|b| count(&format!("{body}{b}.unit"), 1, ".conv1.weight")) })
        }
        _ => None,
    };
    let decoder = |block: usize| match shape(&format!("decoder.blocks.{block}.conv1.0.weight")) {
        Some(&[output, input, ..]) => Some((output, input)),
        _ => None,
    };
    let head_channels = first(shape("decoder.conv_more.0.weight"));
    let blocks: Option<Vec<_>> = (0..4).map(decoder).collect();
    let skips = match (&blocks, head_channels) {
        (Some(blocks), Some(head)) => {
            let before = std::iter::once(head).chain(blocks.iter().map(|(output, _)| *output));
            Some(before.zip(blocks).take_while(|(before, (_, input))| input > before).count())
        }
        _ => None,
    };
    let decoder_channels = blocks.and_then(|blocks| {
        <[usize; 4]>::try_from(blocks.into_iter().map(|(output, _)| output).collect::<Vec<_>>()).ok()
    });
    let tokens = match shape(POSITION) {
        Some(&[1, tokens, _]) if checkpoint.kind == Kind::GoogleNpz => tokens.checked_sub(1),
        Some(&[1, tokens, _]) => Some(tokens),
        _ => None,
    };
    Ok(Sizes {
        image_size: tokens.and_then(square).and_then(|side| side.checked_mul(PATCH)).map(|side| [side; 2]),
        channels: match root {
            Some(root) => root.get(1).copied(),
            None => Some(embedded),
        },
        classes: first(shape("segmentation_head.0.weight")),
        stem: Some(stem),
        hidden: Some(hidden),
        heads: checkpoint.heads.or_else(|| (hidden > 0 && hidden % 64 == 0).then_some(hidden / 64)),
        layers: Some(count("transformer.encoder.layer.", 0, ".attn.query.weight")),
        mlp: first(shape("transformer.encoder.layer.0.ffn.fc1.weight")),
        head_channels,
        decoder_channels,
        skips,
        ..Sizes::default()
    })
}

fn first(shape: Option<&[usize]>) -> Option<usize> {
    shape.and_then(|shape| shape.first().copied())
}

/// What a checkpoint that is not ours seems to be.
pub(super) fn looks_like(checkpoint: &Checkpoint) -> Option<&'static str> {
    let any = |test: &dyn Fn(&str) -> bool| checkpoint.tensors.keys().any(|name| test(name));
    let starts = |prefix: &str| any(&|name| name.starts_with(prefix));
    let convolutional = starts("conv_blocks_context.") || starts("seg_outputs.");
    if convolutional && (starts("transformer.") || starts("predictor.")) {
        return Some("3D-TransUNet (nnU-Net v1 names with a transformer), which is three-dimensional");
    }
    if convolutional || (starts("encoder.stages.") && starts("decoder.")) {
        return Some("nnU-Net, a convolutional network");
    }
    if starts("patch_embed.") && any(&|name| name.contains(".attn.qkv.")) {
        return Some("a plain ViT with timm names, without TransUNet's decoder");
    }
    if starts("vit.") || starts("encoder.layers.encoder_layer_") {
        return Some("a plain ViT (Hugging Face or torchvision names), without TransUNet's decoder");
    }
    if starts("swin_unet.") || any(&|name| name.contains("relative_position_bias_table")) {
        return Some("a Swin transformer");
    }
    if starts("image_encoder.") {
        return Some("Segment Anything");
    }
    if starts("layer1.0.conv1") {
        return Some("a torchvision ResNet");
    }
    if any(&|name| name.ends_with("/kernel") || name.ends_with("kernel:0")) {
        return Some("a Flax or Keras network of another kind");
    }
    None
}
