//! Samples a slice and its labels where a smooth map of the canvas says, in one step with the resize.

use super::Sample;
use crate::placement::Placement;
use crate::random::Random;
use crate::resize::Spline;

/// Knots of the random field along each side.
const KNOTS: usize = 7;

/// From places on the canvas to places on the canvas, about its centre.
#[derive(Debug, Clone)]
pub struct Warp {
    /// Rows of a 2 x 2 matrix.
    matrix: [[f64; 2]; 2],
    /// Pixels of the canvas.
    shift: [f64; 2],
    /// Displacements (rows, columns) in pixels at knots, row by row; interpolated by cubic B-splines.
    field: Option<Vec<[f64; 2]>>,
}

impl Warp {
    /// Rotation by `angle` (radians), sizes changed by `scale` (rows, columns), moved by `shift` pixels.
    pub fn affine(angle: f64, scale: [f64; 2], shift: [f64; 2]) -> Self {
        let (sin, cos) = angle.sin_cos();
        Warp { matrix: [[cos / scale[0], -sin / scale[0]], [sin / scale[1], cos / scale[1]]], shift, field: None }
    }

    /// Adds a random field of displacements of at most `strength` pixels.
    pub fn with_field(mut self, strength: [f64; 2], random: &mut Random) -> Self {
        let knot = |random: &mut Random| [0, 1].map(|a| random.between(-strength[a], strength[a]));
        self.field = Some((0..KNOTS * KNOTS).map(|_| knot(random)).collect());
        self
    }

    /// A sample of the placement's own size on its canvas. Outside of the slice pixels and labels are 0.
    pub fn apply(&self, sample: &Sample, placement: &Placement) -> Sample {
        let [height, width] = placement.canvas;
        let (labels, plane) = (&sample.labels, height * width);
        let splines: Vec<_> =
            sample.pixels.chunks_exact(labels.len()).map(|slice| Spline::new(slice, placement.own)).collect();
        let center = [height, width].map(|side| (side as f64 - 1.0) / 2.0);
        let mut out = Sample { pixels: vec![0.0; splines.len() * plane], labels: vec![0; plane] };
        let origin = placement.source([0.0; 2]);
        let margin = [0, 1].map(|a| ((placement.source([1.0; 2])[a] - origin[a]) / 2.0).max(1e-6));
        let columns: Vec<_> = (0..width).map(|x| weights(x, width)).collect();
        for y in 0..height {
            let rows = weights(y, height);
            for (x, columns) in columns.iter().enumerate() {
                let mut from = [y as f64 - center[0] - self.shift[0], x as f64 - center[1] - self.shift[1]];
                if let Some(field) = &self.field {
                    for (n, row) in rows.1.iter().enumerate() {
                        for (m, column) in columns.1.iter().enumerate() {
                            let knot = field[(rows.0 + n) * KNOTS + columns.0 + m];
                            from[0] += row * column * knot[0];
                            from[1] += row * column * knot[1];
                        }
                    }
                }
                let [[a, b], [c, d]] = self.matrix;
                let on_canvas = [a * from[0] + b * from[1] + center[0], c * from[0] + d * from[1] + center[1]];
                let at = placement.source(on_canvas);
                // Half a pixel of the canvas beyond the last ones still belongs to them.
                let inside = (0..2).all(|a| at[a] > -margin[a] && at[a] < (placement.own[a] - 1) as f64 + margin[a]);
                if inside {
                    let at = [0, 1].map(|a| at[a].clamp(0.0, (placement.own[a] - 1) as f64));
                    for (channel, spline) in splines.iter().enumerate() {
                        out.pixels[channel * plane + y * width + x] = spline.at(at);
                    }
                    out.labels[y * width + x] = vote(labels, placement.own, at);
                }
            }
        }
        out
    }
}

/// First knot and the weights of four for pixel `i` of `count`: uniform cubic B-spline.
fn weights(i: usize, count: usize) -> (usize, [f64; 4]) {
    let at = i as f64 / (count.max(2) - 1) as f64 * (KNOTS - 3) as f64;
    let first = (at.floor() as usize).min(KNOTS - 4);
    let (t, s) = (at - first as f64, 1.0 - (at - first as f64));
    let inner = |t: f64| (t * t * (t - 2.0) * 3.0 + 4.0) / 6.0;
    (first, [s * s * s / 6.0, inner(t), inner(s), t * t * t / 6.0])
}

/// The label with the largest share of the four around a place, as linear interpolation of each would have it.
fn vote(labels: &[u8], size: [usize; 2], at: [f64; 2]) -> u8 {
    let low = [0, 1].map(|a| at[a].floor() as usize);
    let part = [0, 1].map(|a| at[a] - low[a] as f64);
    let high = [0, 1].map(|a| (low[a] + 1).min(size[a] - 1));
    let near = [[low[0], low[1]], [low[0], high[1]], [high[0], low[1]], [high[0], high[1]]]
        .map(|[row, column]| labels[row * size[1] + column]);
    if near[1..].iter().all(|&label| label == near[0]) {
        return near[0];
    }
    let shares =
        [(1.0 - part[0]) * (1.0 - part[1]), (1.0 - part[0]) * part[1], part[0] * (1.0 - part[1]), part[0] * part[1]];
    let share = |label: u8| (0..4).filter(|&n| near[n] == label).map(|n| shares[n]).sum::<f64>();
    near.into_iter()
        .fold((near[0], 0.0), |best, label| if share(label) > best.1 { (label, share(label)) } else { best })
        .0
}
