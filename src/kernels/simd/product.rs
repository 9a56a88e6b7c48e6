//! Matrix products with packed weights: linear layers, and convolutions whose windows are read in place.
#![allow(unsafe_code)]

use std::ops::Range;

use super::memory;
use super::parallel::{self, Shared};
use super::{Isa, Kernel, Simd, WIDEST};

/// Most rows of a tile, of any instruction set.
pub(super) const MOST_ROWS: usize = 14;
/// Most taps of a window: each is a run of values that are neighbours in memory.
pub const MOST_TAPS: usize = 16;
/// Bytes of the right matrix up to which it is walked for each tile of rows: it stays in the second-level cache.
const SMALL: usize = 256 << 10;
/// Bytes of the left matrix that are worked on together where the right one is large.
const BLOCK: usize = 640 << 10;
/// Rows of the right matrix that are worked on together where it is large.
const DEPTH: usize = 768;
/// Panels that a thread takes one after the other.
const GROUP: usize = 4;

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Gelu,
}

/// Right matrix `[taps * run, columns]` and the columns' bias, in panels of two vectors of columns.
#[derive(Debug)]
pub struct Packed {
    isa: Isa,
    taps: usize,
    run: usize,
    columns: usize,
    values: Vec<f32>,
    bias: Vec<f32>,
}

impl Packed {
    /// From `weight(row, column)`; `bias` may be empty.
    pub fn new(
        isa: Isa,
        [taps, run, columns]: [usize; 3],
        bias: &[f32],
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        assert!(taps <= MOST_TAPS);
        let panel = 2 * isa.lanes();
        let rows = taps * run;
        let width = columns.next_multiple_of(isa.lanes());
        let mut values = memory::zeros(rows * width);
        let shared = Shared::of(&mut values);
        parallel::each(width.div_ceil(panel), |n| {
            let (first, across) = (n * panel, panel.min(width - n * panel));
            // SAFETY: each panel is a stretch of its own.
            let panel = unsafe { shared.slice(first * rows, across * rows) };
            for (row, values) in panel.chunks_exact_mut(across).enumerate() {
                for (column, value) in (first..columns).zip(values) {
                    *value = weight(row, column);
                }
            }
        });
        let mut padded = vec![0.0; width];
        padded[..bias.len()].copy_from_slice(bias);
        Packed { isa, taps, run, columns, values, bias: padded }
    }

    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Rows of the left matrix: where each begins in `values`.
#[derive(Debug, Clone, Copy)]
pub enum Left<'a> {
    /// Row i at `i * pitch`.
    Rows { values: &'a [f32], rows: usize, pitch: usize },
    /// Windows of a map.
    Windows(Windows<'a>),
}

/// Windows of one image `[height, width]` of pixels `pitch` apart, zeros around it.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    pub values: &'a [f32],
    pub size: [usize; 2],
    pub pitch: usize,
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: [usize; 2],
    pub out: [usize; 2],
}

impl Left<'_> {
    fn rows(&self) -> usize {
        match self {
            Left::Rows { rows, .. } => *rows,
            Left::Windows(windows) => windows.out[0] * windows.out[1],
        }
    }

    fn values(&self) -> &[f32] {
        match self {
            Left::Rows { values, .. } | Left::Windows(Windows { values, .. }) => values,
        }
    }

    /// Shows where run `tap` of row `first + m` begins, for m below `count`; nowhere in the zeros around a map.
    #[inline(always)]
    fn places(&self, first: usize, count: usize, mut show: impl FnMut(usize, usize, Option<usize>)) {
        match self {
            Left::Rows { pitch, .. } => (0..count).for_each(|m| show(0, m, Some((first + m) * pitch))),
            Left::Windows(windows) => {
                for m in 0..count {
                    let (i, j) = ((first + m) / windows.out[1], (first + m) % windows.out[1]);
                    for y in 0..windows.kernel[0] {
                        let row = (i * windows.stride + y).wrapping_sub(windows.padding[0]);
                        for x in 0..windows.kernel[1] {
                            let column = (j * windows.stride + x).wrapping_sub(windows.padding[1]);
                            let inside = row < windows.size[0] && column < windows.size[1];
                            let place = inside.then(|| (row * windows.size[1] + column) * windows.pitch);
                            show(y * windows.kernel[1] + x, m, place);
                        }
                    }
                }
            }
        }
    }
}

/// `out = activation(left * right + bias)`, or `out = activation(out + left * right + bias)` with `add`; rows of `out` are
/// `pitch` apart. Sums run over the rows of `right` in order, however many threads and rows there are.
pub fn multiply(left: &Left, right: &Packed, out: &mut [f32], pitch: usize, add: bool, activation: Activation) {
    let rows = left.rows();
    let width = right.columns.next_multiple_of(right.isa.lanes());
    assert!(width <= pitch && out.len() >= rows * pitch, "the product is outside its slice");
    let tile = right.isa.rows();
    let panels = width.div_ceil(2 * right.isa.lanes());
    let out = Shared::of(out);
    let zeros = vec![0.0; right.run.max(2 * WIDEST)];
    let product = Product { left, right, out, pitch, add, activation, zeros: &zeros };
    let depth = right.taps * right.run;
    let tiles = rows.div_ceil(tile);
    if depth * width * 4 <= SMALL {
        let tasks = (16 * rayon::current_num_threads()).min(tiles);
        parallel::each(tasks, |task| {
            let tiles = task * tiles / tasks..(task + 1) * tiles / tasks;
            right.isa.run(ByRows(Part {
                product,
                rows: tiles.start * tile..(tiles.end * tile).min(rows),
                panels: 0..panels,
            }));
        });
    } else {
        let most = (BLOCK / (4 * depth.min(DEPTH)) / tile).max(1);
        let blocks = tiles.div_ceil(most);
        // Neighbouring panels share what is cached of the left matrix.
        let group = (panels * blocks / (4 * rayon::current_num_threads())).clamp(1, GROUP);
        let groups = panels.div_ceil(group);
        parallel::each(blocks * groups, |task| {
            let (block, first) = (task / groups, task % groups * group);
            let tiles = block * tiles / blocks..(block + 1) * tiles / blocks;
            let rows = tiles.start * tile..(tiles.end * tile).min(rows);
            right.isa.run(ByPanels(Part { product, rows, panels: first..(first + group).min(panels) }));
        });
    }
}

#[derive(Clone, Copy)]
struct Product<'a> {
    left: &'a Left<'a>,
    right: &'a Packed,
    out: Shared<'a>,
    pitch: usize,
    add: bool,
    activation: Activation,
    /// A run of zeros, or a panel's bias.
    zeros: &'a [f32],
}

/// A stretch of rows and of panels of one product.
struct Part<'a> {
    product: Product<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
}

/// Each tile of rows takes all panels.
struct ByRows<'a>(Part<'a>);

impl Kernel for ByRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ByRows(part) = self;
        let run = part.product.right.run;
        let mut places = [std::ptr::null(); MOST_TAPS * MOST_ROWS];
        for first in part.rows.clone().step_by(S::ROWS) {
            let count = S::ROWS.min(part.rows.end - first);
            part.places(first, count, &mut places);
            for panel in part.panels.clone() {
                part.tile(simd, first, panel, 0..run, &places[..part.product.right.taps * count]);
            }
        }
    }
}

/// Each panel takes all tiles of rows, a stretch of its depth at a time.
struct ByPanels<'a>(Part<'a>);

impl Kernel for ByPanels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ByPanels(part) = self;
        let right = part.product.right;
        let mut places = [std::ptr::null(); MOST_TAPS * MOST_ROWS];
        let cuts = if right.taps == 1 { right.run.div_ceil(DEPTH) } else { 1 };
        let step = right.run.div_ceil(cuts).next_multiple_of(4);
        for start in (0..right.run).step_by(step) {
            let depth = start..(start + step).min(right.run);
            for panel in part.panels.clone() {
                for first in part.rows.clone().step_by(S::ROWS) {
                    let count = S::ROWS.min(part.rows.end - first);
                    part.places(first, count, &mut places);
                    part.tile(simd, first, panel, depth.clone(), &places[..right.taps * count]);
                }
            }
        }
    }
}

impl Part<'_> {
    /// Where the runs of `count` rows from `first` on begin, `[taps, count]`.
    #[inline(always)]
    fn places(&self, first: usize, count: usize, places: &mut [*const f32]) {
        let Product { left, right, zeros, .. } = self.product;
        let values = left.values();
        left.places(first, count, |tap, m, place| {
            let run = match place {
                Some(place) => &values[place..place + right.run],
                None => zeros,
            };
            places[tap * count + m] = run.as_ptr();
        });
    }

    /// The part `depth` of each run of one tile's sums; the last part finishes them.
    #[inline(always)]
    fn tile<S: Simd>(&self, simd: S, first: usize, panel: usize, depth: Range<usize>, places: &[*const f32]) {
        let Product { right, out, pitch, add, activation, zeros, .. } = self.product;
        let width = right.bias.len();
        let count = places.len() / right.taps;
        let column = panel * 2 * S::LANES;
        let pair = width - column > S::LANES;
        let across = if pair { 2 * S::LANES } else { S::LANES };
        let whole = right.taps * right.run;
        let start = column * whole + depth.start * across;
        let done = (first - self.rows.start) / S::ROWS;
        let lines = lines::<S>(self.rows.len().div_ceil(S::ROWS));
        let (begins, ends) = (depth.start == 0, depth.end == right.run);
        let rows = if ends && begins { whole } else { depth.len() };
        let tile = Tile {
            places,
            taps: right.taps,
            skip: depth.start,
            run: depth.len(),
            weights: &right.values[start..start + rows * across],
            apart: across,
            // The next panel, a share for each tile of rows.
            next: right.values.as_ptr().wrapping_add(start + whole * across + done * lines * LINE * (rows / 4)),
            lines,
        };
        let stored = Stored {
            at: out.at(first * pitch + column, (count - 1) * pitch + across),
            pitch,
            add: add || !begins,
            bias: if ends { &right.bias[column..column + across] } else { zeros },
            activation: if ends { activation } else { Activation::None },
        };
        // SAFETY: a run of values begins at every place; the weights are as many rows; `at` asserted that the tile is inside
        // `out`, and the parts of a product have no tile in common.
        unsafe {
            if pair {
                tile.dispatch::<S, 2>(simd, count, &stored);
            } else {
                tile.dispatch::<S, 1>(simd, count, &stored);
            }
        }
    }
}

/// Values of a cache line.
pub(super) const LINE: usize = 16;

/// Cache lines of the next panel to ask for with every four rows of this one, which is used `times` times.
#[inline(always)]
pub(super) fn lines<S: Simd>(times: usize) -> usize {
    (4 * 2 * S::LANES / LINE).div_ceil(times)
}

/// One tile of sums: where its rows' runs begin, `[taps, rows]`, and its panel of weights, rows `apart` apart.
pub(super) struct Tile<'a> {
    pub places: &'a [*const f32],
    pub taps: usize,
    /// Values of each run that come before.
    pub skip: usize,
    pub run: usize,
    pub weights: &'a [f32],
    pub apart: usize,
    /// What is likely to be read next: so many cache lines from there on are asked for with every four rows of weights.
    pub next: *const f32,
    pub lines: usize,
}

/// Where the tile goes, and how.
pub(super) struct Stored<'a> {
    pub at: *mut f32,
    pub pitch: usize,
    pub add: bool,
    pub bias: &'a [f32],
    pub activation: Activation,
}

impl Tile<'_> {
    /// # Safety
    /// `skip + run` values can be read at each of `taps * rows` places; `weights` holds `taps * run` rows, `apart` apart, of N
    /// vectors; as many rows of N vectors, `pitch` apart, can be written at `stored.at`, and `bias` holds N vectors.
    #[inline(always)]
    pub unsafe fn dispatch<S: Simd, const N: usize>(&self, simd: S, rows: usize, stored: &Stored) {
        assert!(self.places.len() >= self.taps * rows);
        match rows {
            1 => simd.call(Sums::<1, N>(self, stored)),
            2 => simd.call(Sums::<2, N>(self, stored)),
            3 => simd.call(Sums::<3, N>(self, stored)),
            4 => simd.call(Sums::<4, N>(self, stored)),
            5 => simd.call(Sums::<5, N>(self, stored)),
            6 => simd.call(Sums::<6, N>(self, stored)),
            7 if S::ROWS >= 7 => simd.call(Sums::<7, N>(self, stored)),
            8 if S::ROWS >= 8 => simd.call(Sums::<8, N>(self, stored)),
            9 if S::ROWS >= 9 => simd.call(Sums::<9, N>(self, stored)),
            10 if S::ROWS >= 10 => simd.call(Sums::<10, N>(self, stored)),
            11 if S::ROWS >= 11 => simd.call(Sums::<11, N>(self, stored)),
            12 if S::ROWS >= 12 => simd.call(Sums::<12, N>(self, stored)),
            13 if S::ROWS >= 13 => simd.call(Sums::<13, N>(self, stored)),
            14 if S::ROWS >= 14 => simd.call(Sums::<14, N>(self, stored)),
            _ => unreachable!("a tile has {} rows", S::ROWS),
        }
    }
}

/// The sums of M rows of N vectors; made by [`Tile::dispatch`] alone, whose caller promised what they need.
struct Sums<'a, const M: usize, const N: usize>(&'a Tile<'a>, &'a Stored<'a>);

impl<const M: usize, const N: usize> Kernel for Sums<'_, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sums(tile, stored) = self;
        let mut sums = [[simd.splat(0.0); N]; M];
        let mut weights = tile.weights.as_ptr();
        let mut next = tile.next;
        // SAFETY: the promise to `dispatch`.
        unsafe {
            for tap in 0..tile.taps {
                let rows: &[*const f32; M] = &*tile.places.as_ptr().add(tap * M).cast();
                let rows: [*const f32; M] = std::array::from_fn(|m| rows[m].add(tile.skip));
                let mut k = 0;
                while k + 4 <= tile.run {
                    for _ in 0..tile.lines {
                        simd.prefetch(next);
                        next = next.wrapping_add(LINE);
                    }
                    for step in 0..4 {
                        let b: [S::F; N] = std::array::from_fn(|n| simd.read(weights.add(n * S::LANES)));
                        for m in 0..M {
                            let a = simd.splat(*rows[m].add(k + step));
                            for n in 0..N {
                                sums[m][n] = simd.fma(a, b[n], sums[m][n]);
                            }
                        }
                        weights = weights.add(tile.apart);
                    }
                    k += 4;
                }
                while k < tile.run {
                    let b: [S::F; N] = std::array::from_fn(|n| simd.read(weights.add(n * S::LANES)));
                    for m in 0..M {
                        let a = simd.splat(*rows[m].add(k));
                        for n in 0..N {
                            sums[m][n] = simd.fma(a, b[n], sums[m][n]);
                        }
                    }
                    weights = weights.add(tile.apart);
                    k += 1;
                }
            }
            let mut found = [[0.0f32; 2 * WIDEST]; M];
            for m in 0..M {
                for n in 0..N {
                    simd.write(sums[m][n], found[m].as_mut_ptr().add(n * S::LANES));
                }
            }
            stored.finish::<S>(simd, &found, N);
        }
    }
}

impl Stored<'_> {
    /// # Safety
    /// `vectors` vectors of each row can be written, `pitch` apart, at `self.at`, and `bias` holds as many.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, simd: S, tile: &[[f32; 2 * WIDEST]], vectors: usize) {
        for (m, row) in tile.iter().enumerate() {
            for n in 0..vectors {
                // SAFETY: the caller's promise.
                unsafe {
                    let at = self.at.add(m * self.pitch + n * S::LANES);
                    let sum = simd.load(&row[n * S::LANES..]);
                    let mut sum = simd.add(sum, simd.load(&self.bias[n * S::LANES..]));
                    if self.add {
                        sum = simd.add(simd.read(at), sum);
                    }
                    let sum = match self.activation {
                        Activation::None => sum,
                        Activation::Relu => simd.max(sum, simd.splat(0.0)),
                        Activation::Gelu => simd.gelu(sum),
                    };
                    simd.write(sum, at);
                }
            }
        }
    }
}

/// Distance between rows of `channels` values: whole vectors, and such that rows do not compete for the same lines of a cache.
pub fn pitch(channels: usize) -> usize {
    let padded = channels.next_multiple_of(WIDEST);
    if padded.is_multiple_of(256) { padded + WIDEST } else { padded }
}
