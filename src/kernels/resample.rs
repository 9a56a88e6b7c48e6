//! Maps `[b, h, w, c]` of other sizes: upsampling with corners aligned, and pooling.

use std::sync::Arc;

use rayon::prelude::*;

use super::operation::{Array, Operation};
use super::simd::Isa;
use super::simd::buffer::Buffer;
use super::simd::maps::taps;

#[derive(Debug, Clone, Copy)]
pub struct Bilinear {
    pub size: [usize; 2],
}

/// What each of the four neighbours counts for.
fn shares([down, right]: [f32; 2]) -> [f32; 4] {
    [(1.0 - down) * (1.0 - right), (1.0 - down) * right, down * (1.0 - right), down * right]
}

impl Operation<1> for Bilinear {
    type Saved = ();

    fn forward(&self, [x]: [Array; 1]) -> (Vec<usize>, Buffer, ()) {
        let isa = Isa::fastest();
        let (from, channels) = ([x.shape[1], x.shape[2]], x.shape[3]);
        let (rows, columns) = (taps(from[0], self.size[0]), taps(from[1], self.size[1]));
        let line = self.size[1] * channels;
        let mut out = Buffer::any(x.shape[0] * self.size[0] * line);
        out.par_chunks_exact_mut(line).enumerate().for_each(|(n, out)| {
            let (image, (row, down)) = (n / self.size[0], rows[n % self.size[0]]);
            let source = |row: usize| &x.values[(image * from[0] + row) * from[1] * channels..][..from[1] * channels];
            let (upper, lower) = (source(row), source((row + 1).min(from[0] - 1)));
            isa.compiled(|| {
                for (out, &(column, right)) in out.chunks_exact_mut(channels).zip(&columns) {
                    let next = (column + 1).min(from[1] - 1);
                    let (at, beside) = (column * channels, next * channels);
                    let [a, b, c, d] = shares([down, right]);
                    let near = upper[at..at + channels].iter().zip(&upper[beside..beside + channels]);
                    let far = lower[at..at + channels].iter().zip(&lower[beside..beside + channels]);
                    for (out, ((p, q), (r, s))) in out.iter_mut().zip(near.zip(far)) {
                        *out = p * a + q * b + r * c + s * d;
                    }
                }
            });
        });
        (vec![x.shape[0], self.size[0], self.size[1], channels], out, ())
    }

    fn backward(&self, [x]: [Array; 1], _saved: &(), gradient: &[f32], _wanted: [bool; 1]) -> [Option<Buffer>; 1] {
        let isa = Isa::fastest();
        let (from, channels) = ([x.shape[1], x.shape[2]], x.shape[3]);
        let (rows, columns) = (taps(from[0], self.size[0]), taps(from[1], self.size[1]));
        let (line, flow) = (from[1] * channels, self.size[1] * channels);
        let mut by_x = Buffer::any(x.values.len());
        by_x.par_chunks_exact_mut(line).enumerate().for_each(|(n, out)| {
            let (image, own) = (n / from[0], n % from[0]);
            out.fill(0.0);
            for (row, &(upper, down)) in rows.iter().enumerate() {
                let share = if upper == own {
                    1.0 - down
                } else if upper + 1 == own {
                    down
                } else {
                    continue;
                };
                let flow = &gradient[(image * self.size[0] + row) * flow..][..flow];
                isa.compiled(|| {
                    for (g, &(column, right)) in flow.chunks_exact(channels).zip(&columns) {
                        let (left, rest) = out[column * channels..].split_at_mut(channels);
                        let shares = [share * (1.0 - right), share * right];
                        left.iter_mut().zip(g).for_each(|(sum, g)| *sum += g * shares[0]);
                        // Behind the last column lies nothing, and it has no share.
                        rest.iter_mut().zip(g).for_each(|(sum, g)| *sum += g * shares[1]);
                    }
                });
            }
        });
        [Some(by_x)]
    }
}

/// Maximum over 3x3 windows, stride 2, without padding.
#[derive(Debug, Clone, Copy)]
pub struct Pool;

impl Operation<1> for Pool {
    /// Which of the nine was the greatest, the first of equals.
    type Saved = Arc<Vec<u8>>;

    fn forward(&self, [x]: [Array; 1]) -> (Vec<usize>, Buffer, Self::Saved) {
        let (from, channels) = ([x.shape[1], x.shape[2]], x.shape[3]);
        let size = from.map(|side| (side - 3) / 2 + 1);
        let line = size[1] * channels;
        let mut out = Buffer::any(x.shape[0] * size[0] * line);
        let mut which = vec![0u8; out.len()];
        let lines = out.par_chunks_exact_mut(line).zip(which.par_chunks_exact_mut(line));
        lines.enumerate().for_each(|(n, (out, which))| {
            let (image, row) = (n / size[0], n % size[0]);
            for place in 0..9u8 {
                let source = (image * from[0] + 2 * row + usize::from(place / 3)) * from[1] + usize::from(place % 3);
                let pixels = out.chunks_exact_mut(channels).zip(which.chunks_exact_mut(channels)).enumerate();
                for (column, (out, which)) in pixels {
                    let x = &x.values[(source + 2 * column) * channels..][..channels];
                    for ((out, which), &x) in out.iter_mut().zip(which).zip(x) {
                        if place == 0 || x > *out {
                            (*out, *which) = (x, place);
                        }
                    }
                }
            }
        });
        (vec![x.shape[0], size[0], size[1], channels], out, Arc::new(which))
    }

    fn backward(&self, [x]: [Array; 1], saved: &Self::Saved, gradient: &[f32], _: [bool; 1]) -> [Option<Buffer>; 1] {
        let (from, channels) = ([x.shape[1], x.shape[2]], x.shape[3]);
        let size = from.map(|side| (side - 3) / 2 + 1);
        let (image, line) = (from[0] * from[1] * channels, size[1] * channels);
        let mut by_x = Buffer::zeros(x.values.len());
        by_x.par_chunks_exact_mut(image).enumerate().for_each(|(n, out)| {
            for row in 0..size[0] {
                let at = (n * size[0] + row) * line;
                for (place, (g, which)) in gradient[at..at + line].iter().zip(&saved[at..at + line]).enumerate() {
                    let (column, c) = (place / channels, place % channels);
                    let (down, right) = (usize::from(which / 3), usize::from(which % 3));
                    out[((2 * row + down) * from[1] + 2 * column + right) * channels + c] += g;
                }
            }
        });
        [Some(by_x)]
    }
}
