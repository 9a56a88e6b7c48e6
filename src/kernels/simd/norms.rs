//! Normalisation of maps `[pixels, channels]` over groups of channels, and of rows.

use super::parallel;
use super::{Isa, Kernel, Simd, WIDEST};

/// Pixels whose statistics are taken together; sums do not depend on threads or batches.
const RUN: usize = 64;

/// A map's pixels, `pitch` apart.
#[derive(Debug, Clone, Copy)]
pub struct Pixels {
    pub count: usize,
    pub channels: usize,
    pub pitch: usize,
}

/// `x * scale + shift` of each channel.
#[derive(Debug)]
pub struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// What makes each group of neighbouring channels of `x` have mean 0 and variance 1, then maps channels by `weight` and
/// `bias` (Wu and He, arXiv:1803.08494).
pub fn group_norm(
    isa: Isa,
    x: &[f32],
    of: Pixels,
    groups: usize,
    epsilon: f64,
    weight: &[f32],
    bias: &[f32],
) -> Affine {
    let padded = of.channels.next_multiple_of(WIDEST);
    let runs = of.count.div_ceil(RUN);
    // For each run the channels' means, then their sums of squared deviations.
    let mut found = vec![0.0; runs * 2 * padded];
    parallel::chunks(&mut found, 2 * padded, |run, found| {
        let x = &x[run * RUN * of.pitch..];
        let (means, squares) = found.split_at_mut(padded);
        isa.run(Moments { x, of: Pixels { count: RUN.min(of.count - run * RUN), ..of }, means, squares });
    });
    let counts: Vec<f64> = (0..runs).map(|run| RUN.min(of.count - run * RUN) as f64).collect();
    let total = of.count as f64;
    let mut means = vec![0.0f64; padded];
    for (found, count) in found.chunks_exact(2 * padded).zip(&counts) {
        means.iter_mut().zip(found).for_each(|(sum, &mean)| *sum += f64::from(mean) * count);
    }
    means.iter_mut().for_each(|mean| *mean /= total);
    let mut squares = vec![0.0f64; padded];
    for (found, count) in found.chunks_exact(2 * padded).zip(&counts) {
        let (of_run, deviations) = found.split_at(padded);
        for (((sum, mean), &own), &deviation) in squares.iter_mut().zip(&means).zip(of_run).zip(deviations) {
            let apart = f64::from(own) - mean;
            *sum += f64::from(deviation) + count * apart * apart;
        }
    }
    let size = of.channels / groups;
    let mut affine = Affine { scale: vec![0.0; padded], shift: vec![0.0; padded] };
    for group in 0..groups {
        let channels = group * size..(group + 1) * size;
        let mean = means[channels.clone()].iter().sum::<f64>() / size as f64;
        let spread = |c: usize| squares[c] + total * (means[c] - mean) * (means[c] - mean);
        let variance = channels.clone().map(spread).sum::<f64>() / (total * size as f64);
        let root = 1.0 / (variance + epsilon).sqrt();
        for c in channels {
            affine.scale[c] = (root * f64::from(weight[c])) as f32;
            affine.shift[c] = (f64::from(bias[c]) - mean * root * f64::from(weight[c])) as f32;
        }
    }
    affine
}

/// Mean and sum of squared deviations of each channel of a few pixels.
struct Moments<'a> {
    x: &'a [f32],
    of: Pixels,
    means: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Moments { x, of, means, squares } = self;
        let share = simd.splat(1.0 / of.count as f32);
        for c in (0..of.channels).step_by(S::LANES) {
            // Four sums each, so that additions need not wait for each other.
            let mut sums = [simd.splat(0.0); 4];
            for first in (0..of.count).step_by(4) {
                for n in 0..4 {
                    if first + n < of.count {
                        sums[n] = simd.add(sums[n], simd.load(&x[(first + n) * of.pitch + c..]));
                    }
                }
            }
            let mean = simd.mul(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])), share);
            let mut sums = [simd.splat(0.0); 4];
            for first in (0..of.count).step_by(4) {
                for n in 0..4 {
                    if first + n < of.count {
                        let apart = simd.sub(simd.load(&x[(first + n) * of.pitch + c..]), mean);
                        sums[n] = simd.fma(apart, apart, sums[n]);
                    }
                }
            }
            simd.store(mean, &mut means[c..]);
            simd.store(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])), &mut squares[c..]);
        }
    }
}

/// What is added to a map before the ReLU.
#[derive(Clone, Copy)]
pub enum Shortcut<'a> {
    None,
    /// A map of the same shape.
    Plain(&'a [f32]),
    /// The same, itself normalised.
    Normed(&'a [f32], &'a Affine),
}

/// `x = relu(affine(x) + shortcut)`.
pub fn apply(isa: Isa, x: &mut [f32], of: Pixels, affine: &Affine, shortcut: Shortcut) {
    let step = (8192 / of.pitch).max(1);
    let x = &mut x[..of.count * of.pitch];
    parallel::chunks(x, step * of.pitch, |n, x| {
        isa.run(Apply { x, of, affine, shortcut, first: n * step });
    });
}

struct Apply<'a> {
    x: &'a mut [f32],
    of: Pixels,
    affine: &'a Affine,
    shortcut: Shortcut<'a>,
    first: usize,
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Apply { x, of, affine, shortcut, first } = self;
        let zero = simd.splat(0.0);
        for (pixel, x) in x.chunks_exact_mut(of.pitch).enumerate() {
            let place = (first + pixel) * of.pitch;
            for c in (0..of.channels).step_by(S::LANES) {
                let y = simd.fma(simd.load(&x[c..]), simd.load(&affine.scale[c..]), simd.load(&affine.shift[c..]));
                let y = match shortcut {
                    Shortcut::None => y,
                    Shortcut::Plain(other) => simd.add(y, simd.load(&other[place + c..])),
                    Shortcut::Normed(other, by) => {
                        let other = simd.load(&other[place + c..]);
                        simd.add(y, simd.fma(other, simd.load(&by.scale[c..]), simd.load(&by.shift[c..])))
                    }
                };
                simd.store(simd.max(y, zero), &mut x[c..]);
            }
        }
    }
}

/// Normalises each row of `x`, then maps it by `weight` and `bias` (padded to whole vectors), into `out`.
pub fn layer_norm(isa: Isa, x: &[f32], of: Pixels, epsilon: f64, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let step = (8192 / of.pitch).max(1);
    parallel::chunks(&mut out[..of.count * of.pitch], step * of.pitch, |n, out| {
        isa.run(LayerNorm { x: &x[n * step * of.pitch..], of, epsilon, weight, bias, out });
    });
}

struct LayerNorm<'a> {
    x: &'a [f32],
    of: Pixels,
    epsilon: f64,
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let LayerNorm { x, of, epsilon, weight, bias, out } = self;
        let width = of.channels.next_multiple_of(S::LANES);
        for (out, x) in out.chunks_exact_mut(of.pitch).zip(x.chunks_exact(of.pitch)) {
            let mut sums = [simd.splat(0.0); 4];
            for first in (0..width).step_by(4 * S::LANES) {
                for n in 0..4 {
                    let c = first + n * S::LANES;
                    if c < width {
                        sums[n] = simd.add(sums[n], simd.load(&x[c..]));
                    }
                }
            }
            let mean = (total(simd, sums) / of.channels as f64) as f32;
            let mut sums = [simd.splat(0.0); 4];
            for first in (0..width).step_by(4 * S::LANES) {
                for n in 0..4 {
                    let c = first + n * S::LANES;
                    if c < width {
                        let apart = simd.sub(simd.load(&x[c..]), simd.splat(mean));
                        sums[n] = simd.fma(apart, apart, sums[n]);
                    }
                }
            }
            // The lanes beyond the row hold zeros, which are not its own.
            let beyond = (width - of.channels) as f64 * f64::from(mean) * f64::from(mean);
            let variance = (total(simd, sums) - beyond).max(0.0) / of.channels as f64;
            let root = simd.splat((1.0 / (variance + epsilon).sqrt()) as f32);
            for c in (0..width).step_by(S::LANES) {
                let apart = simd.sub(simd.load(&x[c..]), simd.splat(mean));
                let y = simd.fma(simd.mul(apart, root), simd.load(&weight[c..]), simd.load(&bias[c..]));
                simd.store(y, &mut out[c..]);
            }
        }
    }
}

/// Sum of all lanes.
#[inline(always)]
fn total<S: Simd>(simd: S, sums: [S::F; 4]) -> f64 {
    let sum = simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]));
    simd.lanes(sum).iter().map(|&x| f64::from(x)).sum()
}
