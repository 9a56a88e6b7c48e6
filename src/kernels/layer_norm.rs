//! Layer normalisation with its affine map.

use std::sync::Arc;

use rayon::prelude::*;

use super::norm::{Moments, singles};
use super::operation::{Array, Operation};
use super::simd::Isa;
use super::simd::buffer::Buffer;

/// Sum of `f(i)`, in f32 within short runs and in f64 across them.
#[inline(always)]
fn sum(count: usize, f: impl Fn(std::ops::Range<usize>, &mut [f32; 16])) -> f64 {
    const RUN: usize = 2048;
    let mut total = 0.0;
    for start in (0..count).step_by(RUN) {
        let mut lanes = [0.0f32; 16];
        f(start..(start + RUN).min(count), &mut lanes);
        total += lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
    }
    total
}

#[inline(always)]
fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    sum(values.len(), |range, lanes| {
        let (chunks, rest) = values[range].as_chunks::<16>();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f(x);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += f(x);
        }
    })
}

#[inline(always)]
fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    sum(a.len(), |range, lanes| {
        let (a, rest_a) = a[range.clone()].as_chunks::<16>();
        let (b, rest_b) = b[range].as_chunks::<16>();
        for (a, b) in a.iter().zip(b) {
            for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += f(a, b);
            }
        }
        for ((lane, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
            *lane += f(a, b);
        }
    })
}

/// Mean and biased variance.
#[inline(always)]
fn moments(values: &[f32]) -> Moments {
    let count = values.len() as f64;
    let mean = (sum_of(values, |x| x) / count) as f32;
    Moments { mean, variance: (sum_of(values, |x| (x - mean) * (x - mean)) / count) as f32 }
}

/// Rows whose derivatives by weights and biases are summed in f32 before their sums are, in f64.
const ROWS: usize = 32;

/// Normalises the last dimension, with one weight and bias for each of its places.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormalization {
    pub epsilon: f64,
}

impl Operation<3> for LayerNormalization {
    type Saved = Arc<Vec<Moments>>;

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Buffer, Self::Saved) {
        let (isa, width) = (Isa::fastest(), weight.values.len());
        let mut out = Buffer::any(x.values.len());
        let found = (out.par_chunks_exact_mut(width).zip(x.values.par_chunks_exact(width)))
            .with_min_len(16)
            .map(|(out, x)| {
                isa.compiled(|| {
                    let moments = moments(x);
                    let scale = moments.scale(self.epsilon);
                    for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight.values).zip(bias.values) {
                        *out = (x - moments.mean) * scale * weight + bias;
                    }
                    moments
                })
            })
            .collect();
        (x.shape.to_vec(), out, Arc::new(found))
    }

    fn backward(
        &self,
        [x, weight, _]: [Array; 3],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Buffer>; 3] {
        let (isa, width) = (Isa::fastest(), weight.values.len());
        let mut by_x = Buffer::any(x.values.len());
        let runs = by_x.par_chunks_mut(ROWS * width).zip(x.values.par_chunks(ROWS * width));
        // Of each run of rows the derivatives by weights and by biases.
        let affine: Vec<[Vec<f32>; 2]> = (runs.zip(gradient.par_chunks(ROWS * width)).zip(saved.par_chunks(ROWS)))
            .map(|(((out, x), gradient), moments)| {
                let (mut by_weight, mut by_bias) = (vec![0.0f32; width], vec![0.0f32; width]);
                let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
                for (((out, x), gradient), moments) in rows.zip(moments) {
                    isa.compiled(|| {
                        let (mean, scale) = (moments.mean, moments.scale(self.epsilon));
                        let affine = by_weight.iter_mut().zip(&mut by_bias);
                        let values = x.iter().zip(gradient).zip(weight.values);
                        for ((out, (by_weight, by_bias)), ((x, g), weight)) in out.iter_mut().zip(affine).zip(values) {
                            *out = g * weight;
                            *by_weight += g * (x - mean) * scale;
                            *by_bias += g;
                        }
                        let all = (sum_of(out, |g| g) / width as f64) as f32;
                        let normed = sum_of_pairs(out, x, |g, x| g * (x - mean)) * f64::from(scale);
                        let normed = (normed / width as f64) as f32 * scale;
                        for (out, &x) in out.iter_mut().zip(x) {
                            *out = scale * (*out - all - (x - mean) * normed);
                        }
                    });
                }
                [by_weight, by_bias]
            })
            .collect();
        let [by_weight, by_bias] = [0, 1].map(|which| {
            let mut total = vec![0.0f64; width];
            for run in &affine {
                total.iter_mut().zip(&run[which]).for_each(|(total, &sum)| *total += f64::from(sum));
            }
            singles(&total)
        });
        [wanted[0].then_some(by_x), wanted[1].then_some(by_weight), wanted[2].then_some(by_bias)]
    }
}
