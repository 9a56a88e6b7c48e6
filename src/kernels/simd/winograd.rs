//! Convolution with 3x3 kernels, stride 1 and padding 1, in fewer products: Winograd's minimal filtering.
//!
//! Source: Lavin and Gray, arXiv:1509.09308. Tiles of `side` x `side` outputs come from (side + 2)^2 inputs. Inputs and kernels
//! are transformed so that the convolution becomes a matrix product for each of the (side + 2)^2 places.

use std::ops::Range;

use super::buffer::Buffer;
use super::maps::Map;
use super::parallel::{self, Shared, with_scratch};
use super::product::pitch;
use super::tile::{Activation, LINE, MOST_ROWS, Stored, Tile, lines};
use super::transform::{Four, Transform, Two};
use super::{Isa, Kernel, Simd, WIDEST};

/// Bytes of weights up to which each thread takes its own tiles through all steps; beyond, all work on one step together.
const SMALL: usize = 2560 << 10;
/// Bytes of transformed tiles that a thread holds where it works on its own.
const OWN: usize = 640 << 10;
/// Bytes of transformed tiles that all threads hold together.
const TOGETHER: usize = 8 << 20;

/// Inputs whose kernels are transformed by one task.
const STRETCH: usize = 16;

/// Transformed kernels: for each place the matrix `[inputs, outputs]` in panels of two vectors of columns.
#[derive(Debug)]
pub struct Winograd {
    isa: Isa,
    /// 2 or 4.
    side: usize,
    inputs: usize,
    outputs: usize,
    values: Buffer,
    bias: Vec<f32>,
}

impl Winograd {
    /// From `weight(input, output)`, the kernel between two channels; `bias` may be empty.
    pub fn new(
        isa: Isa,
        side: usize,
        [inputs, outputs]: [usize; 2],
        bias: &[f32],
        weight: impl Fn(usize, usize) -> [f32; 9] + Sync,
    ) -> Self {
        assert!(side == 2 || side == 4);
        let places = (side + 2) * (side + 2);
        let panel = 2 * isa.lanes();
        let width = outputs.next_multiple_of(isa.lanes());
        let mut values = Buffer::any(places * inputs * width);
        let shared = Shared::of(&mut values);
        let stretches = inputs.div_ceil(STRETCH);
        parallel::each(width.div_ceil(panel) * stretches, |task| {
            let (first, begin) = (task / stretches * panel, task % stretches * STRETCH);
            let across = panel.min(width - first);
            let mut kernels = [[[0.0; 2 * WIDEST]; 9]; STRETCH];
            let kernels = &mut kernels[..STRETCH.min(inputs - begin)];
            for column in 0..across.min(outputs - first) {
                for (input, kernels) in kernels.iter_mut().enumerate() {
                    let kernel = weight(begin + input, first + column);
                    kernels.iter_mut().zip(kernel).for_each(|(places, value)| places[column] = value);
                }
            }
            for (input, kernel) in kernels.iter().enumerate() {
                let store = |place: usize, transformed: &[f32]| {
                    let at = place * inputs * width + first * inputs + (begin + input) * across;
                    // SAFETY: each input's part of a panel is the business of one task.
                    unsafe { shared.slice(at, across) }.copy_from_slice(&transformed[..across]);
                };
                isa.compiled(|| match side {
                    2 => transform(&Two::KERNEL, kernel, store),
                    _ => transform(&Four::KERNEL, kernel, store),
                });
            }
        });
        let mut padded = vec![0.0; width];
        padded[..bias.len()].copy_from_slice(bias);
        Winograd { isa, side, inputs, outputs, values, bias: padded }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values of transformed tiles that a thread holds at once for maps of `size`.
    pub fn scratch(isa: Isa, side: usize, channels: [usize; 2], size: [usize; 2]) -> usize {
        let places = (side + 2) * (side + 2);
        let tiles: usize = size.map(|length| length.div_ceil(side)).iter().product();
        let weights = places * channels[0] * channels[1].next_multiple_of(isa.lanes());
        scratch(places, tiles.div_ceil(parts(isa, weights, channels, places, tiles)), channels)
    }

    /// `activation(convolution(x) + bias)`; pixels of `out`, of the same size, are `apart` apart.
    pub fn convolve(&self, x: Map, out: &mut [f32], apart: usize, activation: Activation) {
        let [height, width] = x.size;
        let padded = self.outputs.next_multiple_of(self.isa.lanes());
        assert!(x.channels == self.inputs && padded <= apart && out.len() >= height * width * apart);
        assert!(x.values.len() >= (height * width - 1) * x.pitch + self.inputs.next_multiple_of(self.isa.lanes()));
        let places = (self.side + 2) * (self.side + 2);
        let across = width.div_ceil(self.side);
        let tiles = height.div_ceil(self.side) * across;
        let zeros = vec![0.0; pitch(self.inputs)];
        let out = Shared::of(out);
        let call = Call { of: self, x, out, apart, across, activation, zeros: &zeros };
        let panels = padded.div_ceil(2 * self.isa.lanes());
        let channels = [self.inputs, self.outputs];
        let parts = parts(self.isa, self.values.len(), channels, places, tiles);
        if 4 * self.values.len() <= SMALL {
            parallel::each(parts, |part| {
                let tiles = part * tiles / parts..(part + 1) * tiles / parts;
                with_scratch(scratch(places, tiles.len(), channels), |scratch| {
                    let steps = Steps { call, scratch: Shared::of(scratch), count: tiles.len() };
                    self.isa.run(Spread { steps, tiles: tiles.clone(), first: tiles.start });
                    for place in 0..places {
                        self.isa.run(Multiply { steps, place, panels: 0..panels });
                    }
                    self.isa.run(Gather { steps, tiles: tiles.clone(), first: tiles.start });
                });
            });
            return;
        }
        for part in 0..parts {
            let tiles = part * tiles / parts..(part + 1) * tiles / parts;
            with_scratch(scratch(places, tiles.len(), channels), |scratch| {
                let steps = Steps { call, scratch: Shared::of(scratch), count: tiles.len() };
                parallel::each(tiles.len(), |n| {
                    let tile = tiles.start + n;
                    self.isa.run(Spread { steps, tiles: tile..tile + 1, first: tiles.start });
                });
                // Panels of one place side by side: they share its tiles.
                let share = panels.div_ceil(4);
                parallel::each(places * panels.div_ceil(share), |task| {
                    let (place, part) = (task / panels.div_ceil(share), task % panels.div_ceil(share));
                    let panels = part * share..((part + 1) * share).min(panels);
                    self.isa.run(Multiply { steps, place, panels });
                });
                parallel::each(tiles.len(), |n| {
                    let tile = tiles.start + n;
                    self.isa.run(Gather { steps, tiles: tile..tile + 1, first: tiles.start });
                });
            });
        }
    }
}

/// Into how many parts so many tiles are divided: those that a thread, or all together where `weights` are many, hold
/// transformed at once.
fn parts(isa: Isa, weights: usize, channels: [usize; 2], places: usize, tiles: usize) -> usize {
    let bytes = 4 * places * channels.map(pitch).iter().sum::<usize>();
    let rows = isa.rows();
    let block = if 4 * weights <= SMALL { (OWN / bytes / rows).clamp(1, 4) } else { (TOGETHER / bytes / rows).max(4) };
    tiles.div_ceil(block * rows)
}

/// Values of the transformed inputs and the products of so many tiles.
fn scratch(places: usize, tiles: usize, channels: [usize; 2]) -> usize {
    places * channels.map(|channels| matrix(tiles, channels)).iter().sum::<usize>()
}

/// Calls `store(place, values)` with the transformed values of the 3x3 `kernel` of each of some outputs.
#[inline(always)]
fn transform<const P: usize>(rows: &[[f64; 3]; P], kernel: &[[f32; 2 * WIDEST]; 9], store: impl Fn(usize, &[f32])) {
    for (i, row) in rows.iter().enumerate() {
        let mut line = [[0.0f64; 2 * WIDEST]; 3];
        for (x, line) in line.iter_mut().enumerate() {
            for (n, value) in line.iter_mut().enumerate() {
                *value = (0..3).map(|y| row[y] * f64::from(kernel[y * 3 + x][n])).sum();
            }
        }
        for (j, column) in rows.iter().enumerate() {
            let mut found = [0.0; 2 * WIDEST];
            for (n, value) in found.iter_mut().enumerate() {
                *value = (0..3).map(|x| column[x] * line[x][n]).sum::<f64>() as f32;
            }
            store(i * P + j, &found);
        }
    }
}

/// Values from one place's matrix of `rows` tiles to the next: an odd number of cache lines, so that the places of one tile,
/// which are written and read together, lie in different sets of the cache.
fn matrix(rows: usize, channels: usize) -> usize {
    let lines = rows * pitch(channels) / LINE;
    (lines | 1) * LINE
}

/// One convolution.
#[derive(Clone, Copy)]
struct Call<'a> {
    of: &'a Winograd,
    x: Map<'a>,
    out: Shared<'a>,
    apart: usize,
    /// Tiles of a row.
    across: usize,
    activation: Activation,
    /// A pixel of zeros.
    zeros: &'a [f32],
}

/// The same for `count` tiles: in `scratch` the transformed inputs, for each place [`matrix`] values, behind them the products.
#[derive(Clone, Copy)]
struct Steps<'a> {
    call: Call<'a>,
    scratch: Shared<'a>,
    count: usize,
}

impl Steps<'_> {
    fn places(&self) -> usize {
        (self.call.of.side + 2) * (self.call.of.side + 2)
    }

    /// Where the transformed inputs of `tile` at `place` are.
    fn input(&self, place: usize, tile: usize) -> usize {
        place * matrix(self.count, self.call.of.inputs) + tile * pitch(self.call.of.inputs)
    }

    /// Where the product for `tile` at `place` is.
    fn product(&self, place: usize, tile: usize) -> usize {
        let inputs = self.places() * matrix(self.count, self.call.of.inputs);
        inputs + place * matrix(self.count, self.call.of.outputs) + tile * pitch(self.call.of.outputs)
    }
}

/// Transforms the inputs of some tiles; `first` is the one that `scratch` begins with.
struct Spread<'a> {
    steps: Steps<'a>,
    tiles: Range<usize>,
    first: usize,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.steps.call.of.side {
            2 => self.spread::<S, Two, 4, 2>(simd),
            _ => self.spread::<S, Four, 6, 4>(simd),
        }
    }
}

impl Spread<'_> {
    #[inline(always)]
    fn spread<S: Simd, T: Transform<P, Q>, const P: usize, const Q: usize>(self, simd: S) {
        let Spread { steps, tiles, first } = self;
        for tile in tiles {
            let (top, left) = (tile / steps.call.across * Q, tile % steps.call.across * Q);
            let sources: [[&[f32]; P]; P] = std::array::from_fn(|i| {
                std::array::from_fn(|j| {
                    let (y, x) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                    let inside = y < steps.call.x.size[0] && x < steps.call.x.size[1];
                    let place = (y.wrapping_mul(steps.call.x.size[1])).wrapping_add(x).wrapping_mul(steps.call.x.pitch);
                    if inside { &steps.call.x.values[place..] } else { steps.call.zeros }
                })
            });
            for c in (0..steps.call.of.inputs).step_by(S::LANES) {
                let mut lines = [[simd.splat(0.0); P]; P];
                for j in 0..P {
                    let mut column = [simd.splat(0.0); P];
                    for i in 0..P {
                        // SAFETY: `convolve` asserted that whole vectors can be read from each pixel.
                        column[i] = unsafe { simd.read(sources[i][j].as_ptr().add(c)) };
                    }
                    let column = T::spread(simd, column);
                    for i in 0..P {
                        lines[i][j] = column[i];
                    }
                }
                for i in 0..P {
                    let line = T::spread(simd, lines[i]);
                    for j in 0..P {
                        let place = steps.input(i * P + j, tile - first) + c;
                        // SAFETY: `at` asserts that it is inside; each tile is the business of one task.
                        unsafe { simd.write(line[j], steps.scratch.at(place, S::LANES)) };
                    }
                }
            }
        }
    }
}

/// The product of all tiles at one place, for some panels.
struct Multiply<'a> {
    steps: Steps<'a>,
    place: usize,
    panels: Range<usize>,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Multiply { steps, place, panels } = self;
        let (inputs, width) = (steps.call.of.inputs, steps.call.of.bias.len());
        let matrix = &steps.call.of.values[place * inputs * width..(place + 1) * inputs * width];
        let zeros = [0.0; 2 * WIDEST];
        let lines = lines::<S>(steps.count.div_ceil(S::ROWS));
        let mut places = [std::ptr::null(); MOST_ROWS];
        for panel in panels {
            let column = panel * 2 * S::LANES;
            let pair = width - column > S::LANES;
            let across = if pair { 2 * S::LANES } else { S::LANES };
            for first in (0..steps.count).step_by(S::ROWS) {
                let count = S::ROWS.min(steps.count - first);
                for (m, at) in places[..count].iter_mut().enumerate() {
                    *at = steps.scratch.at(steps.input(place, first + m), inputs).cast_const();
                }
                let tile = Tile {
                    places: &places[..count],
                    taps: 1,
                    skip: 0,
                    run: inputs,
                    weights: &matrix[column * inputs..(column + across) * inputs],
                    apart: across,
                    next: matrix
                        .as_ptr()
                        .wrapping_add((column + across) * inputs + first / S::ROWS * lines * LINE * (inputs / 4)),
                    lines,
                };
                let apart = pitch(steps.call.of.outputs);
                let at = steps.scratch.at(steps.product(place, first) + column, (count - 1) * apart + across);
                let stored = Stored { at, pitch: apart, add: false, bias: &zeros, activation: Activation::None };
                // SAFETY: `at` asserted that rows and sums are inside `scratch`, where they have no element in common; each
                // place's panel is the business of one task.
                unsafe {
                    if pair {
                        tile.dispatch::<S, 2>(simd, count, &stored);
                    } else {
                        tile.dispatch::<S, 1>(simd, count, &stored);
                    }
                }
            }
        }
    }
}

/// Transforms the products of some tiles to outputs.
struct Gather<'a> {
    steps: Steps<'a>,
    tiles: Range<usize>,
    first: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.steps.call.of.side {
            2 => self.gather::<S, Two, 4, 2>(simd),
            _ => self.gather::<S, Four, 6, 4>(simd),
        }
    }
}

impl Gather<'_> {
    #[inline(always)]
    fn gather<S: Simd, T: Transform<P, Q>, const P: usize, const Q: usize>(self, simd: S) {
        let Gather { steps, tiles, first } = self;
        let [height, width] = steps.call.x.size;
        for tile in tiles {
            let (top, left) = (tile / steps.call.across * Q, tile % steps.call.across * Q);
            for c in (0..steps.call.of.outputs).step_by(S::LANES) {
                let bias = simd.load(&steps.call.of.bias[c..]);
                let mut lines = [[bias; P]; Q];
                for j in 0..P {
                    let mut column = [bias; P];
                    for i in 0..P {
                        let place = steps.product(i * P + j, tile - first) + c;
                        // SAFETY: `at` asserts that it is inside; the products are done.
                        column[i] = unsafe { simd.read(steps.scratch.at(place, S::LANES)) };
                    }
                    let column = T::gather(simd, column);
                    for i in 0..Q {
                        lines[i][j] = column[i];
                    }
                }
                for i in 0..Q.min(height - top) {
                    let line = T::gather(simd, lines[i]);
                    for j in 0..Q.min(width - left) {
                        let value = simd.add(line[j], bias);
                        let value = match steps.call.activation {
                            Activation::None => value,
                            Activation::Relu => simd.max(value, simd.splat(0.0)),
                            Activation::Gelu => simd.gelu(value),
                        };
                        let place = ((top + i) * width + left + j) * steps.call.apart + c;
                        // SAFETY: `at` asserts that it is inside; each tile is the business of one task.
                        unsafe { simd.write(value, steps.call.out.at(place, S::LANES)) };
                    }
                }
            }
        }
    }
}
