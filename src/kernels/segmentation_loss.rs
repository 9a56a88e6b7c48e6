//! Cross-entropy and Dice of logits against shares of classes, with their derivative, in two passes over the pixels.

use std::sync::Arc;

use rayon::prelude::*;

use super::operation::{Array, Operation};
use super::simd::Isa;
use super::simd::buffer::Buffer;

/// `cross_entropy * CE + dice * (1 - Dice)`; see `train::loss` for the terms.
#[derive(Debug, Clone)]
pub struct SegmentationLoss {
    pub weights: LossWeights,
    /// Share of each class in each pixel, `[b, c, h, w]`.
    pub shares: Arc<Vec<f32>>,
    /// Share of each pixel that counts, `[b, h, w]`; `None` where all do.
    pub valid: Option<Arc<Vec<f32>>>,
}

/// What the parts of the loss count for.
#[derive(Debug, Clone)]
pub struct LossWeights {
    pub cross_entropy: f64,
    pub dice: f64,
    /// One for each class.
    pub classes: Vec<f64>,
    /// Sum over all pixels of the weights of their classes.
    pub total: f64,
    /// Keeps the Dice of an absent class finite.
    pub smooth: f64,
}

/// The two parts, and what the derivative needs.
#[derive(Debug, Clone)]
pub struct Parts {
    pub cross_entropy: f64,
    pub dice: f64,
    /// For each class the derivative of 1 - Dice by `p t`, and by `p^2`.
    slopes: Vec<[f64; 2]>,
}

/// Pixels of a task.
const STRETCH: usize = 1024;

/// Sums over a stretch of pixels, for each class: `t log p`, `p t`, `p^2`, `t^2`.
type Sums = Vec<[f64; 4]>;

impl SegmentationLoss {
    /// Calls `visit(pixels, p, log of p)` for a stretch of one image, `[c, pixels]` each, with what the pixels count for
    /// in `p`.
    fn stretch(
        &self,
        logits: &[f32],
        image: usize,
        pixels: std::ops::Range<usize>,
        plane: usize,
        p: &mut [f32],
        log_p: &mut [f32],
    ) {
        let classes = self.weights.classes.len();
        let count = pixels.len();
        let at = |class: usize| &logits[(image * classes + class) * plane..][pixels.clone()];
        let (most, sum) = (&mut vec![f32::NEG_INFINITY; count], &mut vec![0.0f32; count]);
        for class in 0..classes {
            most.iter_mut().zip(at(class)).for_each(|(most, &x)| *most = most.max(x));
        }
        for class in 0..classes {
            let p = &mut p[class * count..][..count];
            for (((p, sum), &x), &most) in p.iter_mut().zip(sum.iter_mut()).zip(at(class)).zip(most.iter()) {
                *p = super::activation::exp(x - most);
                *sum += *p;
            }
        }
        let (sum, log_sum) = (&*sum, sum.iter().map(|sum| sum.ln()).collect::<Vec<f32>>());
        for class in 0..classes {
            let (p, log_p) = (&mut p[class * count..][..count], &mut log_p[class * count..][..count]);
            let of_pixels = sum.iter().zip(&log_sum).zip(most.iter());
            for (((p, log_p), &x), ((sum, log_sum), most)) in p.iter_mut().zip(log_p).zip(at(class)).zip(of_pixels) {
                *p /= sum;
                *log_p = x - most - log_sum;
            }
        }
    }

    fn each<T: Send>(
        &self,
        plane: usize,
        batch: usize,
        work: impl Fn(usize, std::ops::Range<usize>) -> T + Sync + Send,
    ) -> Vec<T> {
        let stretches = plane.div_ceil(STRETCH);
        let range = |n: usize| {
            let first = n % stretches * STRETCH;
            (n / stretches, first..(first + STRETCH).min(plane))
        };
        let isa = Isa::fastest();
        let work = |(image, pixels)| isa.compiled(|| work(image, pixels));
        (0..batch * stretches).into_par_iter().map(range).map(work).collect()
    }
}

impl Operation<1> for SegmentationLoss {
    type Saved = Parts;

    fn forward(&self, [logits]: [Array; 1]) -> (Vec<usize>, Buffer, Parts) {
        let (batch, classes) = (logits.shape[0], logits.shape[1]);
        let plane = logits.shape[2] * logits.shape[3];
        let sums: Vec<Sums> = self.each(plane, batch, |image, pixels| {
            let count = pixels.len();
            let (mut p, mut log_p) = (vec![0.0; classes * count], vec![0.0; classes * count]);
            self.stretch(logits.values, image, pixels.clone(), plane, &mut p, &mut log_p);
            let valid = self.valid.as_ref().map(|valid| &valid[image * plane..][pixels.clone()]);
            (0..classes)
                .map(|class| {
                    let share = &self.shares[(image * classes + class) * plane..][pixels.clone()];
                    let mut sums = [0.0f64; 4];
                    for n in 0..count {
                        let (t, p) = (share[n], p[class * count + n] * valid.map_or(1.0, |valid| valid[n]));
                        let terms = [t * log_p[class * count + n], p * t, p * p, t * t];
                        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += f64::from(term));
                    }
                    sums
                })
                .collect()
        });
        let mut total = vec![[0.0f64; 4]; classes];
        for sums in &sums {
            for (total, sums) in total.iter_mut().zip(sums) {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        let (mut cross_entropy, mut dice) = (0.0, 0.0);
        let mut slopes = Vec::with_capacity(classes);
        for ([likelihood, shared, squares, own], weight) in total.into_iter().zip(&self.weights.classes) {
            cross_entropy -= weight * likelihood / self.weights.total.max(1e-12);
            let (above, below) = (2.0 * shared + self.weights.smooth, squares + own + self.weights.smooth);
            let share = weight / classes as f64;
            dice += share * (1.0 - above / below);
            slopes.push([-2.0 * share / below, 2.0 * share * above / (below * below)]);
        }
        let value = self.weights.cross_entropy * cross_entropy + self.weights.dice * dice;
        (vec![1], Buffer::from(&[value as f32][..]), Parts { cross_entropy, dice, slopes })
    }

    fn backward(
        &self,
        [logits]: [Array; 1],
        saved: &Parts,
        gradient: &[f32],
        _wanted: [bool; 1],
    ) -> [Option<Buffer>; 1] {
        let (batch, classes) = (logits.shape[0], logits.shape[1]);
        let plane = logits.shape[2] * logits.shape[3];
        let outer = gradient.first().copied().unwrap_or(0.0);
        let by_likelihood = (self.weights.cross_entropy / self.weights.total.max(1e-12)) as f32 * outer;
        let slopes: Vec<[f32; 2]> =
            saved.slopes.iter().map(|slopes| slopes.map(|slope| (slope * self.weights.dice) as f32 * outer)).collect();
        let weights: Vec<f32> = self.weights.classes.iter().map(|&weight| weight as f32 * by_likelihood).collect();
        let found = self.each(plane, batch, |image, pixels| {
            let count = pixels.len();
            let (mut p, mut scratch) = (vec![0.0; classes * count], vec![0.0; classes * count]);
            self.stretch(logits.values, image, pixels.clone(), plane, &mut p, &mut scratch);
            let share = |class: usize| &self.shares[(image * classes + class) * plane..][pixels.clone()];
            let valid = self.valid.as_ref().map(|valid| &valid[image * plane..][pixels.clone()]);
            // By p, then through the softmax: p (h - sum of p h); and of the cross-entropy: p (sum of w t) - w t.
            let (mut mean, mut weight) = (vec![0.0f32; count], vec![0.0f32; count]);
            for class in 0..classes {
                let (share, [by_shared, by_square]) = (share(class), slopes[class]);
                for n in 0..count {
                    let p = p[class * count + n];
                    let counts = valid.map_or(1.0, |valid| valid[n]);
                    let h = counts * (by_shared * share[n] + by_square * p * counts);
                    scratch[class * count + n] = h;
                    mean[n] += p * h;
                    weight[n] += weights[class] * share[n];
                }
            }
            for class in 0..classes {
                let share = share(class);
                for n in 0..count {
                    let p = p[class * count + n];
                    let out = &mut scratch[class * count + n];
                    *out = p * (*out - mean[n] + weight[n]) - weights[class] * share[n];
                }
            }
            (image, pixels, scratch)
        });
        let mut out = Buffer::any(logits.values.len());
        for (image, pixels, values) in found {
            for (class, values) in values.chunks_exact(pixels.len()).enumerate() {
                out[(image * classes + class) * plane..][pixels.clone()].copy_from_slice(values);
            }
        }
        [Some(out)]
    }
}
