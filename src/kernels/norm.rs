//! Group, batch and layer normalisation, each with its affine map and, where wanted, the ReLU that follows.

use std::sync::Arc;

use rayon::prelude::*;

use super::channels::{Affine, Apply, Flow, Revert, Spread, Sum};
use super::operation::{Array, Operation};
use super::simd::Isa;
use super::simd::buffer::Buffer;

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
    pub(super) fn scale(&self, epsilon: f64) -> f32 {
        (1.0 / (f64::from(self.variance) + epsilon).sqrt()) as f32
    }
}

/// Pixels whose sums are taken together, in f32; across them in f64. Sums do not depend on the number of threads.
const RUN: usize = 128;

/// Two sums for each channel of each image `[b][c]`: `add(pixels, sums, others)` adds those of a run of pixels, given as their
/// place in the batch's values.
fn sums(shape: &[usize], add: impl Fn(std::ops::Range<usize>, &mut [f32], &mut [f32]) + Sync) -> Vec<Vec<[f64; 2]>> {
    let (pixels, channels) = (shape[1] * shape[2], shape[3]);
    let runs = pixels.div_ceil(RUN);
    let mut found = vec![0.0f32; shape[0] * runs * 2 * channels];
    found.par_chunks_exact_mut(2 * channels).enumerate().for_each(|(n, found)| {
        let (image, run) = (n / runs, n % runs);
        let first = image * pixels;
        let (sums, others) = found.split_at_mut(channels);
        let pixels = first + run * RUN..first + ((run + 1) * RUN).min(pixels);
        add(pixels.start * channels..pixels.end * channels, sums, others);
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

/// Rounded to f32.
pub(super) fn singles(values: &[f64]) -> Buffer {
    let mut out = Buffer::any(values.len());
    out.iter_mut().zip(values).for_each(|(out, &value)| *out = value as f32);
    out
}

/// Calls `work(image, places, out)` for each run of pixels, given as its place in the batch's values, and its part of `out`.
fn by_runs(shape: &[usize], out: &mut [f32], work: impl Fn(usize, std::ops::Range<usize>, &mut [f32]) + Sync) {
    let (image, run) = (shape[1] * shape[2] * shape[3], RUN * shape[3]);
    out.par_chunks_exact_mut(image).enumerate().for_each(|(n, out)| {
        out.par_chunks_mut(run).enumerate().for_each(|(at, out)| {
            let first = n * image + at * run;
            work(n, first..first + out.len(), out);
        });
    });
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

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Buffer, Self::Saved) {
        let isa = Isa::fastest();
        let (pixels, channels) = (x.shape[1] * x.shape[2], x.shape[3]);
        let count = self.count(x.shape);
        let of_x = sums(x.shape, |range, sums, _| {
            isa.run(Sum { x: &x.values[range], sums });
        });
        let means: Vec<f32> = self.totals(&of_x, |_, sums| sums).iter().map(|sums| (sums[0] / count) as f32).collect();
        let mean_of = |image: usize| self.by_channel(&means, image, channels, |_, &mean| mean);
        let by_image: Vec<Vec<f32>> = (0..x.shape[0]).map(mean_of).collect();
        let squares = sums(x.shape, |range, sums, _| {
            let mean = &by_image[range.start / (pixels * channels)];
            isa.run(Spread { x: &x.values[range], mean, sums });
        });
        let moments: Vec<Moments> = (self.totals(&squares, |_, sums| sums).iter().zip(&means))
            .map(|(sums, &mean)| Moments { mean, variance: (sums[0] / count) as f32 })
            .collect();
        let mut out = Buffer::any(x.values.len());
        let low = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let factors: Vec<Vec<f32>> = (0..x.shape[0])
            .map(|image| {
                self.by_channel(&moments, image, channels, |c, moments| moments.scale(self.epsilon) * weight.values[c])
            })
            .collect();
        by_runs(x.shape, &mut out, |image, places, out| {
            let by = Affine { mean: &by_image[image], factor: &factors[image], bias: bias.values, low };
            isa.run(Apply { x: &x.values[places], by, out });
        });
        (x.shape.to_vec(), out, Arc::new(moments))
    }

    fn backward(
        &self,
        [x, weight, bias]: [Array; 3],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Buffer>; 3] {
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
        let by = |image: usize| Affine { mean: &means[image], factor: &factors[image], bias: bias.values, low };
        let flow = sums(x.shape, |range, sums, normed| {
            let image = range.start / (pixels * channels);
            isa.run(Flow { x: &x.values[range.clone()], gradient: &gradient[range], by: by(image), sums, normed });
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
            let mut out = Buffer::any(x.values.len());
            by_runs(x.shape, &mut out, |image, places, out| {
                let (x, gradient) = (&x.values[places.clone()], &gradient[places]);
                let (all, normed) = (&all[image], &normed[image]);
                isa.run(Revert { x, gradient, by: by(image), all, normed, out });
            });
            out
        });
        let [by_weight, by_bias] = affine.map(|values| singles(&values));
        [by_x, wanted[1].then_some(by_weight), wanted[2].then_some(by_bias)]
    }
}
