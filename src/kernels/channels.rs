//! Loops over the channels of runs of pixels, which normalisation is made of. They are kernels, not closures, for only those are
//! sure to be compiled for the processor's vectors.
// Indices are what compilers turn into vectors.
#![allow(clippy::needless_range_loop)]

use super::simd::{Kernel, Simd};

/// One value for each channel.
pub type Channels<'a> = &'a [f32];

/// Adds the pixels.
pub struct Sum<'a> {
    pub x: &'a [f32],
    pub sums: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let sums = self.sums;
        for x in self.x.chunks_exact(sums.len()) {
            for c in 0..sums.len() {
                sums[c] += x[c];
            }
        }
    }
}

/// Adds the squares of the pixels' distances from the mean.
pub struct Spread<'a> {
    pub x: &'a [f32],
    pub mean: Channels<'a>,
    pub sums: &'a mut [f32],
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let sums = self.sums;
        let mean = &self.mean[..sums.len()];
        for x in self.x.chunks_exact(sums.len()) {
            for c in 0..sums.len() {
                let x = x[c] - mean[c];
                sums[c] += x * x;
            }
        }
    }
}

/// What a normalised pixel is: `y = (x - mean) * factor + bias`, and `low` where it is less.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    pub mean: Channels<'a>,
    pub factor: Channels<'a>,
    pub bias: Channels<'a>,
    pub low: f32,
}

/// Normalises pixels.
pub struct Apply<'a> {
    pub x: &'a [f32],
    pub by: Affine<'a>,
    pub out: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Affine { mean, factor, bias, low } = self.by;
        let n = mean.len();
        let (factor, bias) = (&factor[..n], &bias[..n]);
        for (out, x) in self.out.chunks_exact_mut(n).zip(self.x.chunks_exact(n)) {
            for c in 0..n {
                let y = (x[c] - mean[c]) * factor[c] + bias[c];
                out[c] = if y < low { low } else { y };
            }
        }
    }
}

/// Adds what flows back to the pixels where nothing was cut, and its product with their distance from the mean.
pub struct Flow<'a> {
    pub x: &'a [f32],
    pub gradient: &'a [f32],
    pub by: Affine<'a>,
    pub sums: &'a mut [f32],
    pub normed: &'a mut [f32],
}

impl Kernel for Flow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Affine { mean, factor, bias, low } = self.by;
        let n = mean.len();
        let (factor, bias, sums, normed) = (&factor[..n], &bias[..n], &mut self.sums[..n], &mut self.normed[..n]);
        for (x, g) in self.x.chunks_exact(n).zip(self.gradient.chunks_exact(n)) {
            for c in 0..n {
                let (x, g) = (x[c] - mean[c], g[c]);
                let g = if x * factor[c] + bias[c] > low { g } else { 0.0 };
                sums[c] += g;
                normed[c] += g * x;
            }
        }
    }
}

/// The derivative by pixels, `g * factor - all - (x - mean) * normed` with g what flows back where nothing was cut.
pub struct Revert<'a> {
    pub x: &'a [f32],
    pub gradient: &'a [f32],
    pub by: Affine<'a>,
    pub all: Channels<'a>,
    pub normed: Channels<'a>,
    pub out: &'a mut [f32],
}

impl Kernel for Revert<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Affine { mean, factor, bias, low } = self.by;
        let n = mean.len();
        let (factor, bias, all, normed) = (&factor[..n], &bias[..n], &self.all[..n], &self.normed[..n]);
        let pixels = self.x.chunks_exact(n).zip(self.gradient.chunks_exact(n));
        for (out, (x, g)) in self.out.chunks_exact_mut(n).zip(pixels) {
            for c in 0..n {
                let (x, g) = (x[c] - mean[c], g[c]);
                let g = if x * factor[c] + bias[c] > low { g } else { 0.0 };
                out[c] = g * factor[c] - all[c] - x * normed[c];
            }
        }
    }
}
