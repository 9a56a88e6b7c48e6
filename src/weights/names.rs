//! Names and shapes of all tensors of a network, as the original PyTorch code saves them, and the strict check of a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::bundle::is_count;
use super::{Checkpoint, Kind, looks_like};
use crate::error::{Error, Result};
use crate::network::{Architecture, PATCH};

pub(super) const POSITION: &str = "transformer.embeddings.position_embeddings";

/// Every tensor of the state_dict of `a`, in its order.
pub fn expected(a: &Architecture) -> Vec<(String, Vec<usize>)> {
    let mut list = List(Vec::new());
    let tokens = a.grid()[0] * a.grid()[1];
    list.add(POSITION, &[1, tokens, a.hidden]);
    let (embedded, patch) = match &a.stem {
        Some(stem) => (16 * stem.width, 1),
        None => (a.channels, PATCH),
    };
    if let Some(stem) = &a.stem {
        let root = "transformer.embeddings.hybrid_model.root";
        list.add(&format!("{root}.conv.weight"), &[stem.width, a.channels, 7, 7]);
        list.affine(&format!("{root}.gn"), stem.width);
        let mut input = stem.width;
        for (block, &units) in stem.units.iter().enumerate() {
            let (middle, output) = (stem.width << block, (4 * stem.width) << block);
            for unit in 1..=units {
                let unit_name = format!("transformer.embeddings.hybrid_model.body.block{}.unit{unit}", block + 1);
                list.affine(&format!("{unit_name}.gn1"), middle);
                list.add(&format!("{unit_name}.conv1.weight"), &[middle, input, 1, 1]);
                list.affine(&format!("{unit_name}.gn2"), middle);
                list.add(&format!("{unit_name}.conv2.weight"), &[middle, middle, 3, 3]);
                list.affine(&format!("{unit_name}.gn3"), output);
                list.add(&format!("{unit_name}.conv3.weight"), &[output, middle, 1, 1]);
                if unit == 1 {
                    list.add(&format!("{unit_name}.downsample.weight"), &[output, input, 1, 1]);
                    list.affine(&format!("{unit_name}.gn_proj"), output);
                }
                input = output;
            }
        }
    }
    list.add("transformer.embeddings.patch_embeddings.weight", &[a.hidden, embedded, patch, patch]);
    list.add("transformer.embeddings.patch_embeddings.bias", &[a.hidden]);
    for layer in 0..a.layers {
        let layer = format!("transformer.encoder.layer.{layer}");
        list.affine(&format!("{layer}.attention_norm"), a.hidden);
        list.affine(&format!("{layer}.ffn_norm"), a.hidden);
        list.linear(&format!("{layer}.ffn.fc1"), a.hidden, a.mlp);
        list.linear(&format!("{layer}.ffn.fc2"), a.mlp, a.hidden);
        for part in ["query", "key", "value", "out"] {
            list.linear(&format!("{layer}.attn.{part}"), a.hidden, a.hidden);
        }
    }
    list.affine("transformer.encoder.encoder_norm", a.hidden);
    list.conv_norm("decoder.conv_more", a.hidden, a.head_channels);
    let mut input = a.head_channels;
    for (block, (&output, skip)) in a.decoder_channels.iter().zip(a.skip_channels()).enumerate() {
        list.conv_norm(&format!("decoder.blocks.{block}.conv1"), input + skip, output);
        list.conv_norm(&format!("decoder.blocks.{block}.conv2"), output, output);
        input = output;
    }
    list.add("segmentation_head.0.weight", &[a.classes, input, 3, 3]);
    list.add("segmentation_head.0.bias", &[a.classes]);
    list.0
}

/// The same without counts of batches: what the network computes with.
pub fn parameters(a: &Architecture) -> Vec<(String, Vec<usize>)> {
    let mut list = expected(a);
    list.retain(|(name, _)| !is_count(name));
    list
}

struct List(Vec<(String, Vec<usize>)>);

impl List {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_owned(), shape.to_vec()));
    }

    fn affine(&mut self, layer: &str, size: usize) {
        self.add(&format!("{layer}.weight"), &[size]);
        self.add(&format!("{layer}.bias"), &[size]);
    }

    fn linear(&mut self, layer: &str, input: usize, output: usize) {
        self.add(&format!("{layer}.weight"), &[output, input]);
        self.add(&format!("{layer}.bias"), &[output]);
    }

    /// 3 x 3 convolution without bias, then BatchNorm.
    fn conv_norm(&mut self, layer: &str, input: usize, output: usize) {
        self.add(&format!("{layer}.0.weight"), &[output, input, 3, 3]);
        self.affine(&format!("{layer}.1"), output);
        self.add(&format!("{layer}.1.running_mean"), &[output]);
        self.add(&format!("{layer}.1.running_var"), &[output]);
        self.add(&format!("{layer}.1.num_batches_tracked"), &[]);
    }
}

/// Refuses a checkpoint that is not exactly the network `a`, and lists all differences.
///
/// A position embedding of another image size is fine (see [`super::position_embedding`]); batch counts may be missing.
pub fn check(checkpoint: &Checkpoint, a: &Architecture) -> Result<()> {
    compare(checkpoint, expected(a), &[])
}

/// As [`check`], for the initial weights of training: the transformer must fit; decoder and head may be absent, and the
/// head may be of another class count. Returns the names that start anew.
pub fn check_initial(checkpoint: &Checkpoint, a: &Architecture) -> Result<Vec<String>> {
    let encoder_only = !checkpoint.tensors.keys().any(|name| name.starts_with("decoder."));
    let other_classes = |name: &str, shape: &[usize]| {
        name.starts_with("segmentation_head.")
            && checkpoint.tensors.get(name).is_some_and(|entry| {
                entry.shape().len() == shape.len() && entry.shape()[1..] == shape[1..] && entry.shape() != shape
            })
    };
    let (fresh, wanted): (Vec<_>, Vec<_>) = expected(a)
        .into_iter()
        .partition(|(name, shape)| (encoder_only && !name.starts_with("transformer.")) || other_classes(name, shape));
    let fresh: Vec<String> = fresh.into_iter().map(|(name, _)| name).collect();
    compare(checkpoint, wanted, &fresh)?;
    Ok(fresh)
}

/// Tensors called as one of `aside` are not looked at.
fn compare(checkpoint: &Checkpoint, wanted: Vec<(String, Vec<usize>)>, aside: &[String]) -> Result<()> {
    let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for (name, shape) in &wanted {
        match checkpoint.tensors.get(name).map(|entry| entry.shape()) {
            None if is_count(name) => {}
            None => missing.push(format!("{name} {shape:?}")),
            Some(found) if found == shape || (name == POSITION && same_width(found, shape)) => {}
            // Old files store a count as [1].
            Some([1]) if is_count(name) => {}
            Some(found) => wrong.push(format!("{name}: {found:?} in the file, expected {shape:?}")),
        }
    }
    let unexpected: Vec<_> =
        (checkpoint.tensors.iter()).filter(|(name, _)| !wanted.contains_key(*name) && !aside.contains(name)).collect();
    let unexpected: Vec<_> = unexpected.iter().map(|(name, entry)| format!("{name} {:?}", entry.shape())).collect();
    if missing.is_empty() && wrong.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    let mut text = format!(
        "{}: the tensors do not fit the network: {} missing, {} unexpected, {} of wrong shape (of {} expected)",
        checkpoint.path().display(),
        missing.len(),
        unexpected.len(),
        wrong.len(),
        wanted.len()
    );
    if checkpoint.kind == Kind::GoogleNpz && missing.iter().any(|name| name.starts_with("decoder.")) {
        text += "\nThis file holds the encoder alone: initial weights for training, not a model that segments";
    } else if let Some(guess) = looks_like(checkpoint) {
        let _ = write!(text, "\nThe file looks like {guess}");
    }
    for (title, names) in [("missing", missing), ("unexpected", unexpected), ("wrong shape", wrong)] {
        if !names.is_empty() {
            let _ = write!(text, "\n{title} ({}):\n  {}", names.len(), names.join("\n  "));
        }
    }
    Err(Error::WeightsMismatch(text))
}

/// Whether both are position embeddings [1, tokens, hidden] of one width.
fn same_width(found: &[usize], wanted: &[usize]) -> bool {
    matches!((found, wanted), ([1, tokens, a], [1, _, b]) if *tokens > 0 && a == b)
}
