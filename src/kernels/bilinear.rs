//! Align-corners bilinear resampling of `[b, c, h, w]`.

use rayon::prelude::*;

use super::operation::{Array, Operation};

#[derive(Debug, Clone, Copy)]
pub struct Bilinear {
    pub size: [usize; 2],
}

/// For each output sample the lower of its two neighbours and the share of the upper one.
pub fn taps(from: usize, to: usize) -> Vec<(usize, f32)> {
    let step = if to > 1 { (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    let tap = |i: usize| {
        let at = (i as f64 * step).min((from - 1) as f64);
        let low = (at.floor() as usize).min(from.saturating_sub(2));
        (low, (at - low as f64) as f32)
    };
    (0..to).map(tap).collect()
}

impl Operation<1> for Bilinear {
    type Saved = ();

    fn forward(&self, [x]: [Array; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        let (from, to) = ([x.shape[2], x.shape[3]], self.size);
        let (rows, columns) = (taps(from[0], to[0]), taps(from[1], to[1]));
        let mut out = vec![0.0; x.shape[0] * x.shape[1] * to[0] * to[1]];
        let planes = out.par_chunks_exact_mut(to[0] * to[1]).zip(x.values.par_chunks_exact(from[0] * from[1]));
        planes.for_each_init(
            || vec![0.0; from[1]],
            |line, (out, plane)| {
                for (out, &(row, share)) in out.chunks_exact_mut(to[1]).zip(&rows) {
                    let upper = &plane[row * from[1]..][..from[1]];
                    let lower = &plane[(row + 1).min(from[0] - 1) * from[1]..][..from[1]];
                    for ((value, &a), &b) in line.iter_mut().zip(upper).zip(lower) {
                        *value = a * (1.0 - share) + b * share;
                    }
                    for (out, &(column, share)) in out.iter_mut().zip(&columns) {
                        *out = line[column] * (1.0 - share) + line[(column + 1).min(from[1] - 1)] * share;
                    }
                }
            },
        );
        (vec![x.shape[0], x.shape[1], to[0], to[1]], out, ())
    }

    fn backward(&self, [x]: [Array; 1], _saved: &(), gradient: &[f32], _wanted: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        let (from, to) = ([x.shape[2], x.shape[3]], self.size);
        let (rows, columns) = (taps(from[0], to[0]), taps(from[1], to[1]));
        let mut by_x = vec![0.0; x.values.len()];
        let planes = by_x.par_chunks_exact_mut(from[0] * from[1]).zip(gradient.par_chunks_exact(to[0] * to[1]));
        planes.for_each_init(
            || vec![0.0; from[1]],
            |line, (out, gradient)| {
                for (gradient, &(row, share)) in gradient.chunks_exact(to[1]).zip(&rows) {
                    line.fill(0.0);
                    for (&g, &(column, share)) in gradient.iter().zip(&columns) {
                        line[column] += g * (1.0 - share);
                        line[(column + 1).min(from[1] - 1)] += g * share;
                    }
                    for (at, share) in [(row, 1.0 - share), ((row + 1).min(from[0] - 1), share)] {
                        for (out, &value) in out[at * from[1]..][..from[1]].iter_mut().zip(line.iter()) {
                            *out += value * share;
                        }
                    }
                }
            },
        );
        [Some(by_x)]
    }
}
