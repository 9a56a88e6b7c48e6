//! Group, batch and layer normalisation, each with its affine map and, where wanted, the ReLU that follows.

use std::sync::Arc;

use rayon::prelude::*;

use super::operation::{Array, Operation};
use super::simd::Isa;

/// Which values of maps `[b, h, w, c]` share mean and variance.
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

/// Pixels whose sums are taken together, in f32; across them in f64. Sums do not depend on the number of threads.
const RUN: usize = 128;

/// Two sums for each channel of each image `[b][c]`: `add(pixels, sums, others)` adds those of a run of pixels, given as their
/// place in the batch's values.
fn sums(shape: &[usize], add: impl Fn(std::ops::Range<usize>, &mut [f32], &mut [f32]) + Sync) -> Vec<Vec<[f64; 2]>> {
    let isa = Isa::fastest();
    let (pixels, channels) = (shape[1] * shape[2], shape[3]);
    let runs = pixels.div_ceil(RUN);
    let mut found = vec![0.0f32; shape[0] * runs * 2 * channels];
    found.par_chunks_exact_mut(2 * channels).enumerate().for_each(|(n, found)| {
        let (image, run) = (n / runs, n % runs);
        let first = image * pixels;
        let (sums, others) = found.split_at_mut(channels);
        let pixels = first + run * RUN..first + ((run + 1) * RUN).min(pixels);
        isa.compiled(|| add(pixels.start * channels..pixels.end * channels, sums, others));
    });
    let of_image = |found: &[f32]| {
        let mut total = vec![[0.0; 2]; channels];
        for run in found.chunks_exact(2 * channels) {
            for (c, total) in total.iter_mut().enumerate() {
                total[0] += f64::from(run[c]);
                total[1] += f64::from(run[channels + c]);
            }
        }
        total
    };
    found.chunks_exact(runs * 2 * channels).map(of_image).collect()
}

impl Normalization {
    /// The channels of images that share statistics: for each set `(images, channels)`.
    fn sets(&self, batch: usize, channels: usize) -> Vec<[std::ops::Range<usize>; 2]> {
        match self.sets {
            Sets::Groups(groups) => {
                let size = channels / groups;
                let set = |n: usize| [n / groups..n / groups + 1, n % groups * size..(n % groups + 1) * size];
                (0..batch * groups).map(set).collect()
            }
            Sets::Channels => (0..channels).map(|c| [0..batch, c..c + 1]).collect(),
        }
    }

    /// For each set its part of the sums.
    fn totals(&self, sums: &[Vec<[f64; 2]>], weigh: impl Fn(usize, [f64; 2]) -> [f64; 2]) -> Vec<[f64; 2]> {
        let sets = self.sets(sums.len(), sums[0].len());
        let total = |[images, channels]: [std::ops::Range<usize>; 2]| {
            let mut total = [0.0; 2];
            for image in images {
                for c in channels.clone() {
                    let [a, b] = weigh(c, sums[image][c]);
                    total = [total[0] + a, total[1] + b];
                }
            }
            total
        };
        sets.into_iter().map(total).collect()
    }

    /// The set of each channel of an image.
    fn set_of(&self, image: usize, channels: usize, c: usize) -> usize {
        match self.sets {
            Sets::Groups(groups) => image * groups + c / (channels / groups),
            Sets::Channels => c,
        }
    }

    /// Values of a set.
    fn count(&self, shape: &[usize]) -> f64 {
        let all = shape.iter().product::<usize>();
        match self.sets {
            Sets::Groups(groups) => (all / (shape[0] * groups)) as f64,
            Sets::Channels => (all / shape[3]) as f64,
        }
    }

    /// `of(moments)` of each channel of an image.
    fn by_channel<T>(&self, moments: &[T], image: usize, channels: usize, of: impl Fn(usize, &T) -> f32) -> Vec<f32> {
        (0..channels).map(|c| of(c, &moments[self.set_of(image, channels, c)])).collect()
    }
}

impl Operation<3> for Normalization {
    type Saved = Arc<Vec<Moments>>;

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let isa = Isa::fastest();
        let (pixels, channels) = (x.shape[1] * x.shape[2], x.shape[3]);
        let count = self.count(x.shape);
        let of_x = sums(x.shape, |range, sums, _| {
            for pixel in x.values[range].chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
            }
        });
        let means: Vec<f32> = self.totals(&of_x, |_, sums| sums).iter().map(|sums| (sums[0] / count) as f32).collect();
        let mean_of = |image: usize| self.by_channel(&means, image, channels, |_, &mean| mean);
        let by_image: Vec<Vec<f32>> = (0..x.shape[0]).map(mean_of).collect();
        let squares = sums(x.shape, |range, sums, _| {
            let mean = &by_image[range.start / (pixels * channels)];
            for pixel in x.values[range].chunks_exact(channels) {
                for ((sum, x), mean) in sums.iter_mut().zip(pixel).zip(mean) {
                    *sum += (x - mean) * (x - mean);
                }
            }
        });
        let moments: Vec<Moments> = (self.totals(&squares, |_, sums| sums).iter().zip(&means))
            .map(|(sums, &mean)| Moments { mean, variance: (sums[0] / count) as f32 })
            .collect();
        let mut out = vec![0.0; x.values.len()];
        let low = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let factors: Vec<Vec<f32>> = (0..x.shape[0])
            .map(|image| {
                self.by_channel(&moments, image, channels, |c, moments| moments.scale(self.epsilon) * weight.values[c])
            })
            .collect();
        out.par_chunks_mut(RUN * channels).zip(x.values.par_chunks(RUN * channels)).enumerate().for_each(
            |(n, (out, x))| {
                for (at, (out, x)) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).enumerate() {
                    let image = (n * RUN + at) / pixels;
                    let values = out.iter_mut().zip(x).zip(&by_image[image]).zip(&factors[image]).zip(bias.values);
                    isa.compiled(|| {
                        for ((((out, x), mean), factor), bias) in values {
                            let y = (x - mean) * factor + bias;
                            *out = if y < low { low } else { y };
                        }
                    });
                }
            },
        );
        (x.shape.to_vec(), out, Arc::new(moments))
    }

    fn backward(
        &self,
        [x, weight, bias]: [Array; 3],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let isa = Isa::fastest();
        let (batch, pixels, channels) = (x.shape[0], x.shape[1] * x.shape[2], x.shape[3]);
        let by_image = |of: &dyn Fn(usize, &Moments) -> f32| -> Vec<Vec<f32>> {
            (0..batch).map(|image| self.by_channel(saved, image, channels, of)).collect()
        };
        let means = by_image(&|_, moments| moments.mean);
        let scales = by_image(&|_, moments| moments.scale(self.epsilon));
        let factors = by_image(&|c, moments| moments.scale(self.epsilon) * weight.values[c]);
        // Where the ReLU cut, nothing flows back.
        let low = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let flow = sums(x.shape, |range, sums, normed| {
            let image = range.start / (pixels * channels);
            let (mean, factor) = (&means[image], &factors[image]);
            for (x, g) in x.values[range.clone()].chunks_exact(channels).zip(gradient[range].chunks_exact(channels)) {
                let terms = x.iter().zip(g).zip(mean).zip(factor).zip(bias.values);
                let out = sums.iter_mut().zip(normed.iter_mut());
                for ((sum, normed), ((((x, g), mean), factor), bias)) in out.zip(terms) {
                    let g = if (x - mean) * factor + bias > low { *g } else { 0.0 };
                    *sum += g;
                    *normed += g * (x - mean);
                }
            }
        });
        let mut affine = [vec![0.0f64; channels], vec![0.0f64; channels]];
        for (sums, scales) in flow.iter().zip(&scales) {
            for (c, [sum, normed]) in sums.iter().enumerate() {
                affine[0][c] += normed * f64::from(scales[c]);
                affine[1][c] += sum;
            }
        }
        let by_x = wanted[0].then(|| {
            let count = self.count(x.shape);
            let weigh = |c: usize, sums: [f64; 2]| sums.map(|sum| sum * f64::from(weight.values[c]));
            let totals = self.totals(&flow, weigh);
            // dx = factor g - scale (all + (x - mean) normed) with the set's means of what flows back.
            let of_set = |n: usize, moments: &Moments| {
                let scale = f64::from(moments.scale(self.epsilon));
                let [all, normed] = totals[n].map(|total| total / count);
                [(scale * all) as f32, (scale * scale * scale * normed) as f32]
            };
            let of_sets: Vec<[f32; 2]> = saved.iter().enumerate().map(|(n, moments)| of_set(n, moments)).collect();
            let of = |part: usize| -> Vec<Vec<f32>> {
                (0..batch).map(|image| self.by_channel(&of_sets, image, channels, |_, set| set[part])).collect()
            };
            let (all, normed) = (of(0), of(1));
            let mut out = vec![0.0; x.values.len()];
            let chunks = out.par_chunks_mut(RUN * channels).zip(x.values.par_chunks(RUN * channels));
            chunks.zip(gradient.par_chunks(RUN * channels)).enumerate().for_each(|(n, ((out, x), g))| {
                let rows = out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(g.chunks_exact(channels));
                for (at, ((out, x), g)) in rows.enumerate() {
                    let image = (n * RUN + at) / pixels;
                    let of_channels = means[image].iter().zip(&factors[image]).zip(bias.values);
                    let of_sets = all[image].iter().zip(&normed[image]);
                    let terms = x.iter().zip(g).zip(of_channels).zip(of_sets);
                    isa.compiled(|| {
                        for (out, (((x, g), ((mean, factor), bias)), (all, normed))) in out.iter_mut().zip(terms) {
                            let g = if (x - mean) * factor + bias > low { *g } else { 0.0 };
                            *out = g * factor - all - (x - mean) * normed;
                        }
                    });
                }
            });
            out
        });
        let [by_weight, by_bias] = affine.map(|values| values.into_iter().map(|x| x as f32).collect::<Vec<_>>());
        [by_x, wanted[1].then_some(by_weight), wanted[2].then_some(by_bias)]
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

/// Mean and biased variance.
fn moments(values: &[f32]) -> Moments {
    let count = values.len() as f64;
    let mean = (sum_of(values, |x| x) / count) as f32;
    Moments { mean, variance: (sum_of(values, |x| (x - mean) * (x - mean)) / count) as f32 }
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
                let moments = moments(x);
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
