//! Convolution of `[b, in, h, w]` with a square kernel `[out, in, k, k]`, as matrix products of unrolled windows.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Strides, gemm};
use super::operation::{Array, Operation};

/// Unrolled windows that are held at once by a thread, in values: about the second-level cache.
const TILE: usize = 64 << 10;
/// Sums of weight gradients that are kept apart, so that threads need not wait and their number changes nothing.
const PARTS: usize = 8;

#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    pub stride: usize,
    pub padding: usize,
}

/// Sizes of one convolution.
#[derive(Clone, Copy)]
struct Window {
    inputs: usize,
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    out: [usize; 2],
}

impl Window {
    /// Values of a window: rows of the unrolled matrix.
    fn len(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Rows of the output whose windows are unrolled together.
    fn rows(&self) -> usize {
        (TILE / (self.len() * self.out[1]).max(1)).clamp(1, self.out[0])
    }

    /// Whether the image is its own unrolled matrix.
    fn trivial(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Output columns whose input column `j * stride + shift - padding` exists.
    fn columns(&self, shift: usize) -> Range<usize> {
        let first = self.padding.saturating_sub(shift).div_ceil(self.stride);
        let end = (self.size[1] + self.padding).saturating_sub(shift).div_ceil(self.stride);
        first.min(self.out[1])..end.min(self.out[1]).max(first.min(self.out[1]))
    }

    /// Input row under output row `i` at kernel row `shift`.
    fn row(&self, i: usize, shift: usize) -> Option<usize> {
        (i * self.stride + shift).checked_sub(self.padding).filter(|&row| row < self.size[0])
    }

    /// Unrolls the windows of output rows `rows` of `image` `[in, h, w]` into `[len, rows * columns]`.
    fn unroll(&self, image: &[f32], rows: Range<usize>, cols: &mut [f32]) {
        let width = rows.len() * self.out[1];
        let mut line = cols.chunks_exact_mut(width);
        for plane in image.chunks_exact(self.size[0] * self.size[1]) {
            for y in 0..self.kernel {
                for x in 0..self.kernel {
                    let Some(line) = line.next() else { return };
                    let columns = self.columns(x);
                    for (i, out) in rows.clone().zip(line.chunks_exact_mut(self.out[1])) {
                        let Some(row) = self.row(i, y).filter(|_| !columns.is_empty()) else {
                            out.fill(0.0);
                            continue;
                        };
                        out[..columns.start].fill(0.0);
                        out[columns.end..].fill(0.0);
                        let start = row * self.size[1] + columns.start * self.stride + x - self.padding;
                        let target = &mut out[columns.clone()];
                        if self.stride == 1 {
                            target.copy_from_slice(&plane[start..start + target.len()]);
                        } else {
                            for (value, source) in target.iter_mut().zip(plane[start..].iter().step_by(self.stride)) {
                                *value = *source;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Adds unrolled windows back to where they came from: the transposed of [`Window::unroll`].
    fn roll(&self, cols: &[f32], rows: Range<usize>, image: &mut [f32]) {
        let width = rows.len() * self.out[1];
        let mut line = cols.chunks_exact(width);
        for plane in image.chunks_exact_mut(self.size[0] * self.size[1]) {
            for y in 0..self.kernel {
                for x in 0..self.kernel {
                    let Some(line) = line.next() else { return };
                    let columns = self.columns(x);
                    for (i, values) in rows.clone().zip(line.chunks_exact(self.out[1])) {
                        let Some(row) = self.row(i, y).filter(|_| !columns.is_empty()) else { continue };
                        let start = row * self.size[1] + columns.start * self.stride + x - self.padding;
                        let targets = plane[start..].iter_mut().step_by(self.stride);
                        for (target, value) in targets.zip(&values[columns.clone()]) {
                            *target += value;
                        }
                    }
                }
            }
        }
    }
}

impl Convolution {
    fn window(&self, x: &[usize], weight: &[usize]) -> Window {
        let size = [x[2], x[3]];
        let out = size.map(|side| (side + 2 * self.padding - weight[2]) / self.stride + 1);
        Window { inputs: x[1], size, kernel: weight[2], stride: self.stride, padding: self.padding, out }
    }
}

thread_local! {
    /// Unrolled windows, and a product that is copied: kept from call to call.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Lends two stretches of memory, whatever is in them.
fn with_scratch(counts: [usize; 2], work: impl FnOnce(&mut [f32], &mut [f32])) {
    SCRATCH.with_borrow_mut(|[a, b]| {
        for (scratch, count) in [&mut *a, &mut *b].into_iter().zip(counts) {
            if scratch.len() < count {
                scratch.resize(count, 0.0);
            }
        }
        work(&mut a[..counts[0]], &mut b[..counts[1]]);
    });
}

/// Images from which on each is a task of its own; below, tiles of images are.
const MANY: usize = 4;

/// `weight` `[out, len]` times the unrolled windows of every image of `x`.
fn convolve(window: &Window, x: &[f32], weight: &[f32], outputs: usize) -> Vec<f32> {
    let image = window.inputs * window.size[0] * window.size[1];
    let plane = window.out[0] * window.out[1];
    let batch = x.len() / image;
    let (tile, len) = (window.rows(), window.len());
    let most = tile * window.out[1];
    // The product for one tile of rows into `out`, whose rows are `apart` values apart.
    let product = |source: &[f32], rows: Range<usize>, cols: &mut [f32], out: &mut [f32], apart: usize| {
        let width = rows.len() * window.out[1];
        let (b, b_at) = if window.trivial() {
            (&source[rows.start * window.out[1]..], Strides::of_rows(plane))
        } else {
            window.unroll(source, rows, &mut cols[..len * width]);
            (&cols[..len * width], Strides::of_rows(width))
        };
        gemm([outputs, len, width], weight, Strides::of_rows(len), b, b_at, out, Strides::of_rows(apart), false);
    };
    let mut out = vec![0.0; batch * outputs * plane];
    let unrolled = if window.trivial() { 0 } else { len * most };
    if batch >= MANY {
        out.par_chunks_exact_mut(outputs * plane).zip(x.par_chunks_exact(image)).for_each(|(out, source)| {
            with_scratch([unrolled, 0], |cols, _| {
                for first in (0..window.out[0]).step_by(tile) {
                    let rows = first..(first + tile).min(window.out[0]);
                    product(source, rows, cols, &mut out[first * window.out[1]..], plane);
                }
            });
        });
        return out;
    }
    // One task for each image and tile of rows: the tile's part of every output plane.
    let tiles = window.out[0].div_ceil(tile);
    let mut tasks: Vec<(usize, usize, Vec<&mut [f32]>)> =
        (0..batch * tiles).map(|n| (n / tiles, n % tiles * tile, Vec::with_capacity(outputs))).collect();
    for (n, plane) in out.chunks_exact_mut(plane).enumerate() {
        for (t, part) in plane.chunks_mut(most).enumerate() {
            tasks[n / outputs * tiles + t].2.push(part);
        }
    }
    tasks.into_par_iter().for_each(|(n, first, parts)| {
        with_scratch([unrolled, outputs * most], |cols, values| {
            let rows = first..(first + tile).min(window.out[0]);
            let width = rows.len() * window.out[1];
            product(&x[n * image..(n + 1) * image], rows, cols, &mut values[..outputs * width], width);
            for (part, values) in parts.into_iter().zip(values.chunks_exact(width)) {
                part.copy_from_slice(values);
            }
        });
    });
    out
}

/// Derivative by the input where windows overlap with a stride: products rolled back, image by image.
fn spread(window: &Window, weight: &[f32], gradient: &[f32], outputs: usize, batch: usize) -> Vec<f32> {
    let image = window.inputs * window.size[0] * window.size[1];
    let plane = window.out[0] * window.out[1];
    let (tile, len) = (window.rows(), window.len());
    let mut out = vec![0.0; batch * image];
    out.par_chunks_exact_mut(image).zip(gradient.par_chunks_exact(outputs * plane)).for_each(|(out, gradient)| {
        with_scratch([len * tile * window.out[1], 0], |cols, _| {
            for first in (0..window.out[0]).step_by(tile) {
                let rows = first..(first + tile).min(window.out[0]);
                let width = rows.len() * window.out[1];
                let cols = &mut cols[..len * width];
                let b = &gradient[first * window.out[1]..];
                let (of_weight, of_b) = (Strides::transposed(len), Strides::of_rows(plane));
                gemm([len, outputs, width], weight, of_weight, b, of_b, cols, Strides::of_rows(width), false);
                window.roll(cols, rows, out);
            }
        });
    });
    out
}

/// Derivative by the weight `[out, len]`.
fn correlate(window: &Window, x: &[f32], gradient: &[f32], outputs: usize) -> Vec<f32> {
    let image = window.inputs * window.size[0] * window.size[1];
    let plane = window.out[0] * window.out[1];
    let (tile, len) = (window.rows(), window.len());
    let batch = x.len() / image;
    let share = batch.div_ceil(PARTS.min(batch).max(1)).max(1);
    let parts: Vec<Vec<f32>> = (x.par_chunks(share * image).zip(gradient.par_chunks(share * outputs * plane)))
        .map(|(x, gradient)| {
            let mut sum = vec![0.0; outputs * len];
            let mut cols = vec![0.0; if window.trivial() { 0 } else { len * tile * window.out[1] }];
            for (x, gradient) in x.chunks_exact(image).zip(gradient.chunks_exact(outputs * plane)) {
                for first in (0..window.out[0]).step_by(tile) {
                    let rows = first..(first + tile).min(window.out[0]);
                    let width = rows.len() * window.out[1];
                    let (b, stride) = if window.trivial() {
                        (&x[first * window.out[1]..], plane)
                    } else {
                        window.unroll(x, rows, &mut cols[..len * width]);
                        (&cols[..len * width], width)
                    };
                    let a = &gradient[first * window.out[1]..];
                    let (of_a, of_b) = (Strides::of_rows(plane), Strides::transposed(stride));
                    gemm([outputs, width, len], a, of_a, b, of_b, &mut sum, Strides::of_rows(len), true);
                }
            }
            sum
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sum
}

/// The kernel that takes gradients back where the stride is 1: inputs and outputs exchanged, turned by 180 degrees.
fn turned(weight: &[f32], outputs: usize, inputs: usize, area: usize) -> Vec<f32> {
    let mut turned = vec![0.0; weight.len()];
    for (n, kernel) in weight.chunks_exact(area).enumerate() {
        let (output, input) = (n / inputs, n % inputs);
        let target = &mut turned[(input * outputs + output) * area..][..area];
        target.iter_mut().zip(kernel.iter().rev()).for_each(|(target, value)| *target = *value);
    }
    turned
}

impl Operation<2> for Convolution {
    type Saved = ();

    fn forward(&self, [x, weight]: [Array; 2]) -> (Vec<usize>, Vec<f32>, ()) {
        let window = self.window(x.shape, weight.shape);
        let outputs = weight.shape[0];
        let values = convolve(&window, x.values, weight.values, outputs);
        (vec![x.shape[0], outputs, window.out[0], window.out[1]], values, ())
    }

    fn backward(
        &self,
        [x, weight]: [Array; 2],
        _saved: &(),
        gradient: &[f32],
        [by_x, by_weight]: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        let window = self.window(x.shape, weight.shape);
        let (outputs, inputs, kernel) = (weight.shape[0], weight.shape[1], weight.shape[2]);
        let by_x = by_x.then(|| {
            if self.stride == 1 && self.padding < kernel {
                let back = Convolution { stride: 1, padding: kernel - 1 - self.padding };
                let shape = [x.shape[0], outputs, window.out[0], window.out[1]];
                let back = back.window(&shape, &[inputs, outputs, kernel, kernel]);
                convolve(&back, gradient, &turned(weight.values, outputs, inputs, kernel * kernel), inputs)
            } else {
                spread(&window, weight.values, gradient, outputs, x.shape[0])
            }
        });
        [by_x, by_weight.then(|| correlate(&window, x.values, gradient, outputs))]
    }
}
