//! The position embedding of a checkpoint, brought to the token grid of another image size.

use super::names::POSITION;
use super::{Checkpoint, Kind, bad};
use crate::config::{Compat, ModelConfig};
use crate::error::Result;

/// Position embedding `[1, rows * columns, hidden]` of `checkpoint` for a grid `to` of tokens.
///
/// `from` is the grid that the embedding belongs to where it is known, as in a bundle; else a square one is assumed.
/// Google's files carry a class token in front, dropped unless the counts agree as they are (`load_from`, cases a to c).
/// `compat` reproduces the zeroed edge of the original's resize.
pub fn position_embedding(
    checkpoint: &Checkpoint,
    from: Option<[usize; 2]>,
    to: [usize; 2],
    compat: bool,
) -> Result<Vec<f32>> {
    let place = |e: crate::Error| e.at(POSITION);
    let wanted = to[0] * to[1];
    let shape = checkpoint.entry(POSITION)?.shape().to_vec();
    let [1, tokens, hidden] = shape[..] else {
        return Err(place(bad(format!("has shape {shape:?}, expected [1, tokens, hidden]"))));
    };
    let data = checkpoint.read(POSITION)?;
    let grid = |tokens: usize| match from {
        Some(grid) if grid[0] * grid[1] == tokens => Some(grid),
        _ => square(tokens).map(|side| [side; 2]),
    };
    let classed = checkpoint.kind == Kind::GoogleNpz && tokens != wanted;
    let (tokens, data) =
        if classed { (tokens.saturating_sub(1), data.get(hidden..).unwrap_or_default()) } else { (tokens, &data[..]) };
    match grid(tokens) {
        Some(grid) if grid == to => Ok(data.to_vec()),
        None if tokens == wanted => Ok(data.to_vec()),
        // Without a known grid, equal counts are taken as the same grid.
        Some(_) if tokens == wanted && from.is_none() => Ok(data.to_vec()),
        Some(grid) => Ok(resample_position_embedding(data, grid, to, hidden, compat)),
        None => Err(place(bad(format!(
            "{tokens} tokens are no square grid; give the image_size that the weights were trained at"
        )))),
    }
}

/// Elements of the tensor `name` as a model described by `config` needs them: the position embedding on its token grid,
/// all else as stored.
pub fn read_for(checkpoint: &Checkpoint, config: &ModelConfig, name: &str) -> Result<Vec<f32>> {
    if name != POSITION {
        return checkpoint.read(name);
    }
    // A bundle's embedding belongs to its own description; foreign ones are square.
    let to = config.architecture.grid();
    let from = (checkpoint.kind == Kind::Bundle).then_some(to);
    position_embedding(checkpoint, from, to, config.compat == Some(Compat::TransUnet2021))
}

/// Side of a square grid of `tokens`.
pub(super) fn square(tokens: usize) -> Option<usize> {
    let side = tokens.isqrt();
    (tokens > 0 && side * side == tokens).then_some(side)
}

/// Linear interpolation of `data` `[from rows, from columns, hidden]` with aligned corners, in f64.
///
/// Equals `scipy.ndimage.zoom(order=1)`, which the original calls. With `compat` it also repeats its fault: where rounding
/// puts the last sample beyond the last point by one ulp, the whole edge is zero.
///
/// # Panics
/// If `data` is not of that size or a side is zero.
pub fn resample_position_embedding(
    data: &[f32],
    from: [usize; 2],
    to: [usize; 2],
    hidden: usize,
    compat: bool,
) -> Vec<f32> {
    assert_eq!(data.len(), from[0] * from[1] * hidden, "position embedding of {from:?} tokens");
    let [rows, columns] = [0, 1].map(|axis| samples(from[axis], to[axis], compat));
    let mut out = Vec::with_capacity(to[0] * to[1] * hidden);
    for row in &rows {
        for column in &columns {
            let (Some(row), Some(column)) = (row, column) else {
                out.extend(std::iter::repeat_n(0.0, hidden));
                continue;
            };
            let token = |r: usize, c: usize| &data[(r * from[1] + c) * hidden..][..hidden];
            let near = (token(row.low, column.low), token(row.low, column.high));
            let far = (token(row.high, column.low), token(row.high, column.high));
            out.extend((0..hidden).map(|i| {
                // Summed in the order of NI_ZoomShift.
                let mut sum = f64::from(near.0[i]) * (1.0 - row.weight) * (1.0 - column.weight);
                sum += f64::from(near.1[i]) * (1.0 - row.weight) * column.weight;
                sum += f64::from(far.0[i]) * row.weight * (1.0 - column.weight);
                sum += f64::from(far.1[i]) * row.weight * column.weight;
                sum as f32
            }));
        }
    }
    out
}

/// Two neighbours and the share of the second.
#[derive(Debug)]
struct Sample {
    low: usize,
    high: usize,
    weight: f64,
}

/// Where the `to` points of an axis fall among its `from` points; `None` is outside.
fn samples(from: usize, to: usize, compat: bool) -> Vec<Option<Sample>> {
    let last = (from - 1) as f64;
    let step = if to > 1 { last / (to - 1) as f64 } else { 1.0 };
    let sample = |i: usize| {
        let mut at = i as f64 * step;
        if at > last {
            if compat {
                return None;
            }
            at = last;
        }
        let low = at.floor();
        Some(Sample { low: low as usize, high: (low as usize + 1).min(from - 1), weight: at - low })
    };
    (0..to).map(sample).collect()
}
