//! Slices where a label map and the truth disagree most: labels as colours, the truth as white outlines, as PNG.

use super::canvas::{Canvas, nearest, resample};
use super::{GAP, INK, PAPER, draw_labels, draw_marks, draw_slice, encode, percentiles, tile_size};
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;

/// Up to `slices` slices side by side, longest side `tile` pixels; `truth` is on the label map's grid. PNG.
pub fn comparison(labelmap: &Labelmap, truth: &[u8], slices: usize, tile: usize) -> Result<Vec<u8>> {
    let geometry = labelmap.geometry();
    if truth.len() != geometry.len() {
        return Err(Error::Argument(format!("{} labels for a grid of {:?}", truth.len(), geometry.size)));
    }
    let len = geometry.slice_len();
    let mut differs = Vec::with_capacity(geometry.slices());
    labelmap.for_each_slice(|k, labels| {
        let there = truth[k * len..(k + 1) * len].iter().zip(labels);
        differs.push(there.filter(|(a, b)| a != b).count());
    })?;
    let mut shown: Vec<usize> = (0..geometry.slices()).collect();
    shown.sort_by_key(|&k| std::cmp::Reverse(differs[k]));
    shown.truncate(slices.max(1));
    shown.sort_unstable();

    let tile = tile_size(geometry, tile.max(1));
    let mut images = Vec::with_capacity(shown.len());
    for &k in &shown {
        let mut image = vec![0.0; len];
        labelmap.source().read_slice(k, &mut image)?;
        images.push(resample(&image, [geometry.columns(), geometry.rows()], tile));
    }
    let window = percentiles(&images);
    let mut canvas = Canvas::new(shown.len() * (tile[0] + GAP) - GAP, tile[1], PAPER);
    for (n, (&k, image)) in shown.iter().zip(&images).enumerate() {
        let corner = [n * (tile[0] + GAP), 0];
        draw_slice(&mut canvas, corner, tile, image, window);
        draw_labels(&mut canvas, corner, tile, labelmap, k, 0.35)?;
        outline(&mut canvas, corner, tile, &truth[k * len..(k + 1) * len], [geometry.columns(), geometry.rows()]);
        draw_marks(&mut canvas, corner, tile, geometry, k);
    }
    let mut png = Vec::new();
    encode(&canvas, &mut png).map_err(|e| Error::Internal(format!("picture: {e}")))?;
    Ok(png)
}

/// White where a pixel's label differs from that of its right or lower neighbour.
fn outline(canvas: &mut Canvas, [left, top]: [usize; 2], [width, height]: [usize; 2], labels: &[u8], size: [usize; 2]) {
    let at = |x: usize, y: usize| labels[nearest(y, size[1], height) * size[0] + nearest(x, size[0], width)];
    for y in 0..height - 1 {
        for x in 0..width - 1 {
            if at(x, y) != at(x + 1, y) || at(x, y) != at(x, y + 1) {
                canvas.blend(left + x, top + y, INK, 1.0);
            }
        }
    }
}
