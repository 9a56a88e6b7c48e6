//! The position embedding of a checkpoint, brought to the token grid of another image size.

use super::names::POSITION;
use super::{Checkpoint, Kind, bad};
use crate::error::Result;
use crate::resize::{Edge, Order, Resampler};

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
    let &[1, tokens, hidden @ 1..=usize::MAX] = &shape[..] else {
        return Err(place(bad(format!("has shape {shape:?}, expected [1, tokens, hidden]"))));
    };
    let data = checkpoint.entry(POSITION)?.read_f32().map_err(place)?;
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
        Some(grid) => resample_position_embedding(data, grid, to, hidden, compat).map_err(place),
        None => Err(place(bad(format!(
            "{tokens} tokens are no square grid; give the image_size that the weights were trained at"
        )))),
    }
}

/// Side of a square grid of `tokens`.
pub(super) fn square(tokens: usize) -> Option<usize> {
    let side = tokens.isqrt();
    (tokens > 0 && side * side == tokens).then_some(side)
}

/// Linear interpolation of `data` `[from rows, from columns, hidden]` with aligned corners.
///
/// Equals `scipy.ndimage.zoom(order=1)`, which the original calls. With `compat` it also repeats its fault: where rounding
/// puts the last sample beyond the last point, the whole edge is zero.
pub fn resample_position_embedding(
    data: &[f32],
    from: [usize; 2],
    to: [usize; 2],
    hidden: usize,
    compat: bool,
) -> Result<Vec<f32>> {
    let edge = if compat { Edge::AsScipy } else { Edge::Exact };
    let resampler = Resampler::new(from, to, Order::Linear, edge)?;
    let mut out = vec![0.0; to[0] * to[1] * hidden];
    let mut plane = vec![0.0; to[0] * to[1]];
    for channel in 0..hidden {
        let source: Vec<f32> = data.iter().skip(channel).step_by(hidden).copied().collect();
        resampler.apply(&source, &mut plane)?;
        for (token, value) in out.chunks_exact_mut(hidden).zip(&plane) {
            token[channel] = *value;
        }
    }
    Ok(out)
}
