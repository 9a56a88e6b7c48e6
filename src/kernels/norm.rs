//! Group, batch and layer normalisation, each with its affine map and, where wanted, the ReLU that follows.

use std::sync::Arc;

use rayon::prelude::*;

use super::operation::{Array, Operation};

/// Which values of `[b, c, h, w]` share mean and variance.
#[derive(Debug, Clone, Copy)]
pub enum Sets {
    /// This many groups of neighbouring channels of each image.
    Groups(usize),
    /// Each channel of the whole batch.
    Channels,
}

/// `relu?((x - mean) / sqrt(variance + epsilon) * weight + bias)` with biased variance; one weight and bias per channel.
#[derive(Debug, Clone, Copy)]
pub struct Normalization {
    pub sets: Sets,
    pub epsilon: f64,
    pub relu: bool,
}

/// Mean, and variance or its reciprocal root, of a set.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    pub mean: f32,
    pub variance: f32,
}

impl Moments {
    fn scale(&self, epsilon: f64) -> f32 {
        (1.0 / (f64::from(self.variance) + epsilon).sqrt()) as f32
    }
}

/// Sum of `f(i)`, in f32 within short runs and in f64 across them.
pub fn sum(count: usize, f: impl Fn(std::ops::Range<usize>, &mut [f32; 16])) -> f64 {
    const RUN: usize = 2048;
    let mut total = 0.0;
    for start in (0..count).step_by(RUN) {
        let mut lanes = [0.0f32; 16];
        f(start..(start + RUN).min(count), &mut lanes);
        total += lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
    }
    total
}

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

/// Mean and biased variance of several pieces together.
fn moments<'a>(pieces: impl Iterator<Item = &'a [f32]> + Clone) -> Moments {
    let count = pieces.clone().map(<[f32]>::len).sum::<usize>() as f64;
    let mean = (pieces.clone().map(|piece| sum_of(piece, |x| x)).sum::<f64>() / count) as f32;
    let variance = pieces.map(|piece| sum_of(piece, |x| (x - mean) * (x - mean))).sum::<f64>() / count;
    Moments { mean, variance: variance as f32 }
}

impl Normalization {
    /// Planes (image * channels + channel) of each set, in order.
    fn planes(&self, batch: usize, channels: usize) -> Vec<Vec<usize>> {
        match self.sets {
            Sets::Groups(groups) => {
                let group = channels / groups;
                (0..batch * groups).map(|set| (set * group..(set + 1) * group).collect()).collect()
            }
            Sets::Channels => (0..channels).map(|c| (0..batch).map(|image| image * channels + c).collect()).collect(),
        }
    }

    /// Hands out the planes of `out` set by set.
    fn split<'a>(sets: &[Vec<usize>], out: &'a mut [f32], area: usize) -> Vec<Vec<&'a mut [f32]>> {
        let mut planes: Vec<Option<&mut [f32]>> = out.chunks_exact_mut(area).map(Some).collect();
        sets.iter().map(|set| set.iter().filter_map(|&plane| planes[plane].take()).collect()).collect()
    }
}

impl Operation<3> for Normalization {
    type Saved = Arc<Vec<Moments>>;

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let (batch, channels) = (x.shape[0], x.shape[1]);
        let area = x.shape[2] * x.shape[3];
        let sets = self.planes(batch, channels);
        let mut out = vec![0.0; x.values.len()];
        let plane = |n: usize| &x.values[n * area..(n + 1) * area];
        let parts = Self::split(&sets, &mut out, area);
        let found = (sets.par_iter().zip(parts))
            .map(|(set, parts)| {
                let moments = moments(set.iter().map(|&n| plane(n)));
                let scale = moments.scale(self.epsilon);
                for (&n, out) in set.iter().zip(parts) {
                    let scale = scale * weight.values[n % channels];
                    let shift = bias.values[n % channels];
                    let low = if self.relu { 0.0 } else { f32::NEG_INFINITY };
                    for (out, &x) in out.iter_mut().zip(plane(n)) {
                        let y = (x - moments.mean) * scale + shift;
                        *out = if y < low { low } else { y };
                    }
                }
                moments
            })
            .collect();
        (x.shape.to_vec(), out, Arc::new(found))
    }

    fn backward(
        &self,
        [x, weight, bias]: [Array; 3],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let (batch, channels) = (x.shape[0], x.shape[1]);
        let area = x.shape[2] * x.shape[3];
        let sets = self.planes(batch, channels);
        let mut by_x = vec![0.0; x.values.len()];
        let parts = Self::split(&sets, &mut by_x, area);
        // For each set its planes' sums of gradient, and of gradient times normalised value.
        let sums: Vec<Vec<[f64; 2]>> = (sets.par_iter().zip(parts).zip(saved.par_iter()))
            .map(|((set, mut parts), moments)| {
                let scale = moments.scale(self.epsilon);
                let mean = moments.mean;
                let mut sums = Vec::with_capacity(set.len());
                let (mut all, mut all_normed) = (0.0, 0.0);
                for (&n, out) in set.iter().zip(&mut parts) {
                    let (weight, shift) = (weight.values[n % channels], bias.values[n % channels]);
                    let (x, gradient) = (&x.values[n * area..][..area], &gradient[n * area..][..area]);
                    // Where the ReLU cut, nothing flows back. `out` holds what does.
                    let factor = scale * weight;
                    for ((out, &x), &g) in out.iter_mut().zip(x).zip(gradient) {
                        let cut = self.relu && (x - mean) * factor + shift <= 0.0;
                        *out = if cut { 0.0 } else { g };
                    }
                    let flow = sum_of(out, |g| g);
                    let normed = sum_of_pairs(out, x, |g, x| g * (x - mean)) * f64::from(scale);
                    all += flow * f64::from(weight);
                    all_normed += normed * f64::from(weight);
                    sums.push([flow, normed]);
                }
                let count = (set.len() * area) as f64;
                let (all, all_normed) = ((all / count) as f32, (all_normed / count) as f32 * scale);
                for (&n, out) in set.iter().zip(&mut parts) {
                    let weight = weight.values[n % channels];
                    for (out, &x) in out.iter_mut().zip(&x.values[n * area..][..area]) {
                        *out = scale * (*out * weight - all - (x - mean) * all_normed);
                    }
                }
                sums
            })
            .collect();
        let mut affine = [vec![0.0f64; channels], vec![0.0f64; channels]];
        for (&n, sums) in sets.iter().flatten().zip(sums.iter().flatten()) {
            affine[0][n % channels] += sums[1];
            affine[1][n % channels] += sums[0];
        }
        let [by_weight, by_bias] = affine.map(|values| values.into_iter().map(|x| x as f32).collect::<Vec<_>>());
        [wanted[0].then_some(by_x), wanted[1].then_some(by_weight), wanted[2].then_some(by_bias)]
    }
}

/// Normalises the last dimension, with one weight and bias for each of its places.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormalization {
    pub epsilon: f64,
}

impl Operation<3> for LayerNormalization {
    type Saved = Arc<Vec<Moments>>;

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let width = weight.values.len();
        let mut out = vec![0.0; x.values.len()];
        let found = (out.par_chunks_exact_mut(width).zip(x.values.par_chunks_exact(width)))
            .with_min_len(16)
            .map(|(out, x)| {
                let moments = moments(std::iter::once(x));
                let scale = moments.scale(self.epsilon);
                for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight.values).zip(bias.values) {
                    *out = (x - moments.mean) * scale * weight + bias;
                }
                moments
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
    ) -> [Option<Vec<f32>>; 3] {
        let width = weight.values.len();
        let mut by_x = vec![0.0; x.values.len()];
        let rows = by_x.par_chunks_exact_mut(width).zip(x.values.par_chunks_exact(width));
        rows.zip(gradient.par_chunks_exact(width)).zip(saved.par_iter()).with_min_len(16).for_each(
            |(((out, x), gradient), moments)| {
                let (mean, scale) = (moments.mean, moments.scale(self.epsilon));
                for ((out, &g), &weight) in out.iter_mut().zip(gradient).zip(weight.values) {
                    *out = g * weight;
                }
                let all = (sum_of(out, |g| g) / width as f64) as f32;
                let normed = sum_of_pairs(out, x, |g, x| g * (x - mean)) * f64::from(scale);
                let normed = (normed / width as f64) as f32 * scale;
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = scale * (*out - all - (x - mean) * normed);
                }
            },
        );
        let (mut by_weight, mut by_bias) = (vec![0.0f32; width], vec![0.0f32; width]);
        let rows = x.values.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((x, gradient), moments) in rows.zip(saved.iter()) {
            let (mean, scale) = (moments.mean, moments.scale(self.epsilon));
            for (((by_weight, by_bias), &x), &g) in by_weight.iter_mut().zip(&mut by_bias).zip(x).zip(gradient) {
                *by_weight += g * (x - mean) * scale;
                *by_bias += g;
            }
        }
        [wanted[0].then_some(by_x), wanted[1].then_some(by_weight), wanted[2].then_some(by_bias)]
    }
}
