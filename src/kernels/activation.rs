//! GELU in its exact form and softmax, on an exponential that compilers turn into vector code.

use rayon::prelude::*;

use super::operation::{Array, Operation};
use super::simd::Isa;
use super::simd::buffer::Buffer;

/// `e^x` for x <= 88 to about 2e-7 relative; about 1e-38 from -87 down.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts (Cody and Waite); Taylor of e^r.
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0; // 1.5 * 2^23: rounds, and keeps n in the low bits
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_4;
    let r = r + n * 2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    p * f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23)
}

/// The standard normal's distribution function and `e^(-x^2 / 2)`.
///
/// Abramowitz and Stegun 7.1.26, absolute error below 1e-7.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152 + t * 1.061_405_4))));
    let bell = exp(-z * z);
    let tail = 0.5 * poly * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

const CHUNK: usize = 4096;

#[derive(Debug, Clone, Copy)]
pub struct Gelu;

impl Operation<1> for Gelu {
    type Saved = ();

    fn forward(&self, [x]: [Array; 1]) -> (Vec<usize>, Buffer, ()) {
        let (isa, mut out) = (Isa::fastest(), Buffer::any(x.values.len()));
        out.par_chunks_mut(CHUNK).zip(x.values.par_chunks(CHUNK)).for_each(|(out, x)| {
            isa.compiled(|| out.iter_mut().zip(x).for_each(|(out, &x)| *out = x * normal(x).0));
        });
        (x.shape.to_vec(), out, ())
    }

    fn backward(&self, [x]: [Array; 1], _saved: &(), gradient: &[f32], _wanted: [bool; 1]) -> [Option<Buffer>; 1] {
        const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
        let (isa, mut out) = (Isa::fastest(), Buffer::any(x.values.len()));
        let chunks = out.par_chunks_mut(CHUNK).zip(x.values.par_chunks(CHUNK));
        chunks.zip(gradient.par_chunks(CHUNK)).for_each(|((out, x), gradient)| {
            isa.compiled(|| {
                for ((out, &x), &g) in out.iter_mut().zip(x).zip(gradient) {
                    let (below, bell) = normal(x);
                    *out = g * (below + x * bell * DENSITY);
                }
            });
        });
        [Some(out)]
    }
}

/// Of one row, in place.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32]) {
    const LANES: usize = 16;
    let mut most = [f32::NEG_INFINITY; LANES];
    for x in row.chunks(LANES) {
        most.iter_mut().zip(x).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for x in row.chunks_mut(LANES) {
        for (x, sum) in x.iter_mut().zip(&mut sums) {
            *x = exp(*x - most);
            *sum += *x;
        }
    }
    let sum = sums.iter().sum::<f32>();
    row.iter_mut().for_each(|x| *x /= sum);
}
