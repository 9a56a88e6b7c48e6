//! Google's ViT checkpoints: a zip of NumPy arrays under Flax names, mapped to PyTorch names and layouts.
//!
//! Source: NumPy Lib/format.py (NPY 1.0 to 3.0); names as the authors' `load_from` reads them.

use std::collections::BTreeMap;
use std::io::Read;

use npyz::{DType as NpyType, Endianness, NpyHeader, Order, TypeChar};

use super::bad;
use super::pth::Found;
use super::source::Piece;
use super::tensor::{Axis, DType, Entry, product, row_major};
use crate::error::Result;

/// A header of a plain array is about 118 bytes.
const MAX_HEADER: usize = 4096;

/// Named tensors, names of arrays that the network does not have, and the number of heads.
pub(super) fn read(members: &BTreeMap<String, Piece>) -> Result<(Found, Option<usize>)> {
    let (mut tensors, mut others, mut heads) = (Vec::new(), Vec::new(), None);
    for (member, piece) in members {
        let key = npyz::npz::array_name_from_file_name(member).unwrap_or(member);
        let Some((name, role)) = pytorch_name(key.strip_prefix("opt/target/").unwrap_or(key)) else {
            others.push(key.to_owned());
            continue;
        };
        let array = Array::open(piece).map_err(|e| e.at(key))?;
        if let (Role::Linear { inputs: 1 }, [_, count, _]) = (role, array.shape()[..].as_ref()) {
            heads = Some(*count);
        }
        tensors.push((name, array.into_entry(role).map_err(|e| e.at(key))?));
    }
    Ok(((tensors, others), heads))
}

/// How an array becomes a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Any shape, all axes merged into one.
    Vector,
    /// Kept as it is.
    Plain,
    /// [h, w, in, out] to [out, in, h, w].
    Conv,
    /// `inputs` leading axes are the input; [in.., out..] to [out, in].
    Linear { inputs: usize },
}

/// The PyTorch name of a Flax one, without ".npy".
fn pytorch_name(key: &str) -> Option<(String, Role)> {
    let embeddings = |tail: &str| format!("transformer.embeddings.{tail}");
    let norm = |part: &str| match part {
        "scale" => Some("weight"),
        "bias" => Some("bias"),
        _ => None,
    };
    let dense = |part: &str, inputs: usize| match part {
        "kernel" => Some(("weight", Role::Linear { inputs })),
        "bias" => Some(("bias", Role::Vector)),
        _ => None,
    };
    let number = |text: &str, prefix: &str| text.strip_prefix(prefix)?.parse::<usize>().ok();
    let parts: Vec<&str> = key.split('/').collect();
    Some(match parts[..] {
        ["embedding", "kernel"] => (embeddings("patch_embeddings.weight"), Role::Conv),
        ["embedding", "bias"] => (embeddings("patch_embeddings.bias"), Role::Vector),
        ["Transformer", "posembed_input", "pos_embedding"] => (embeddings("position_embeddings"), Role::Plain),
        ["Transformer", "encoder_norm", part] => {
            (format!("transformer.encoder.encoder_norm.{}", norm(part)?), Role::Vector)
        }
        ["conv_root", "kernel"] => (embeddings("hybrid_model.root.conv.weight"), Role::Conv),
        ["gn_root", part] => (embeddings(&format!("hybrid_model.root.gn.{}", norm(part)?)), Role::Vector),
        [block, unit, layer, part] if block.starts_with("block") => {
            let (block, unit) = (number(block, "block")?, number(unit, "unit")?);
            let (tail, role) = match (layer, part) {
                ("conv1" | "conv2" | "conv3", "kernel") => (format!("{layer}.weight"), Role::Conv),
                ("conv_proj", "kernel") => ("downsample.weight".to_owned(), Role::Conv),
                ("gn1" | "gn2" | "gn3" | "gn_proj", part) => (format!("{layer}.{}", norm(part)?), Role::Vector),
                _ => return None,
            };
            (embeddings(&format!("hybrid_model.body.block{block}.unit{unit}.{tail}")), role)
        }
        ["Transformer", block, ref rest @ ..] => {
            let layer = number(block, "encoderblock_")?;
            let (tail, role) = match rest {
                ["LayerNorm_0", part] => (format!("attention_norm.{}", norm(part)?), Role::Vector),
                ["LayerNorm_2", part] => (format!("ffn_norm.{}", norm(part)?), Role::Vector),
                ["MultiHeadDotProductAttention_1", layer @ ("query" | "key" | "value" | "out"), part] => {
                    let (part, role) = dense(part, if *layer == "out" { 2 } else { 1 })?;
                    (format!("attn.{layer}.{part}"), role)
                }
                ["MlpBlock_3", layer, part] => {
                    let (part, role) = dense(part, 1)?;
                    (format!("ffn.fc{}.{part}", number(layer, "Dense_")?.checked_add(1)?), role)
                }
                _ => return None,
            };
            (format!("transformer.encoder.layer.{layer}.{tail}"), role)
        }
        _ => return None,
    })
}

/// A NumPy array in the archive, header read.
struct Array {
    axes: Vec<Axis>,
    dtype: DType,
    piece: Piece,
    header: u64,
}

impl Array {
    fn open(piece: &Piece) -> Result<Self> {
        let mut bytes = Vec::new();
        piece.source.explain(piece.reader(0)?.take(12 + MAX_HEADER as u64).read_to_end(&mut bytes))?;
        let start = elements_start(&bytes).map_err(bad)?;
        let header = NpyHeader::from_reader(&bytes[..]).map_err(|e| bad(format!("not a NumPy array: {e}")))?;
        let NpyType::Plain(kind) = header.dtype() else {
            return Err(bad("a structured array, expected plain numbers"));
        };
        let dtype = match (kind.type_char(), kind.size_field()) {
            (TypeChar::Float, 8) => DType::F64,
            (TypeChar::Float, 4) => DType::F32,
            (TypeChar::Float, 2) => DType::F16,
            (TypeChar::Int, 8) => DType::I64,
            (TypeChar::Int, 4) => DType::I32,
            _ => return Err(bad(format!("element type {kind}, expected float or integer"))),
        };
        if kind.endianness() == Endianness::Big {
            return Err(bad(format!("element type {kind} is big-endian, expected little-endian")));
        }
        let huge = || bad("the shape is impossible");
        let shape: Vec<usize> =
            header.shape().iter().map(|&n| usize::try_from(n).map_err(|_| huge())).collect::<Result<_>>()?;
        let mut axes = match header.order() {
            Order::C => row_major(&shape),
            Order::Fortran => row_major(&shape.iter().rev().copied().collect::<Vec<_>>()),
        }
        .ok_or_else(huge)?;
        if header.order() == Order::Fortran {
            axes.reverse();
        }
        Ok(Array { axes, dtype, piece: piece.clone(), header: start as u64 })
    }

    fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.len).collect()
    }

    fn into_entry(self, role: Role) -> Result<Entry> {
        let shape = self.shape();
        let merge = |axes: &[usize]| product(axes.iter().copied()).ok_or_else(|| bad("the shape is impossible"));
        let (axes, shape) = match (role, &self.axes[..]) {
            (Role::Plain, axes) => (axes.to_vec(), shape),
            (Role::Vector, axes) => (axes.to_vec(), vec![merge(&shape)?]),
            (Role::Conv, &[h, w, input, output]) => {
                (vec![output, input, h, w], vec![output.len, input.len, h.len, w.len])
            }
            (Role::Linear { inputs }, axes) if (2..=3).contains(&axes.len()) && inputs < axes.len() => {
                let (input, output) = axes.split_at(inputs);
                ([output, input].concat(), vec![merge(&shape[inputs..])?, merge(&shape[..inputs])?])
            }
            _ => return Err(bad(format!("has shape {shape:?}, which does not fit its name"))),
        };
        Entry::new(shape, self.dtype, axes, self.piece, self.header, 0)
    }
}

/// Where the elements begin behind the header that `bytes` begin with. The header must be that of a plain array: its reader
/// takes memory for as many bytes as it claims, and stack for as many levels as it nests.
pub(crate) fn elements_start(bytes: &[u8]) -> std::result::Result<usize, String> {
    let at = |i: usize| usize::from(bytes.get(i).copied().unwrap_or(0));
    let (start, len) = match at(6) {
        1 => (10, at(8) | at(9) << 8),
        _ => (12, at(8) | at(9) << 8 | at(10) << 16 | at(11) << 24),
    };
    let brackets = || bytes.iter().take(start + len).filter(|byte| b"([{".contains(byte)).count();
    if len > MAX_HEADER || brackets() > 8 {
        return Err(format!("a NumPy header of {len} bytes, expected that of a plain array"));
    }
    Ok(start + len)
}
