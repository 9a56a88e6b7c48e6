//! Matrix products with packed weights: linear layers, and convolutions whose windows are read in place.

use std::ops::Range;

use super::buffer::Buffer;
use super::parallel::{self, Shared};
pub use super::tile::Activation;
use super::tile::{LINE, MOST_ROWS, Stored, Tile, lines};
use super::{Isa, Kernel, Simd, WIDEST};

/// Most taps of a window: each is a run of values that are neighbours in memory.
pub const MOST_TAPS: usize = 16;
/// Bytes of the right matrix up to which it is walked for each tile of rows: it stays in the second-level cache.
const SMALL: usize = 256 << 10;
/// Bytes of the left matrix that are worked on together where the right one is large.
const BLOCK: usize = 640 << 10;
/// Rows of the right matrix that are worked on together where it is large.
const DEPTH: usize = 768;
/// Panels that a thread takes one after the other.
const GROUP: usize = 2;
/// Tiles of rows from which on a block is two tasks.
const HALVED: usize = 8;

/// Right matrix `[taps * run, columns]` and the columns' bias, in panels of two vectors of columns.
#[derive(Debug)]
pub struct Packed {
    isa: Isa,
    taps: usize,
    run: usize,
    columns: usize,
    values: Buffer,
    bias: Vec<f32>,
}

/// Rows of a panel that are asked for column by column, then row by row: enough for a column's neighbours in memory to be used
/// while they are in the cache, few enough for all rows to be in it.
const TOGETHER: usize = 8;

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
        let mut values = Buffer::any(rows * width);
        let shared = Shared::of(&mut values);
        parallel::each(width.div_ceil(panel), |n| {
            let (first, across) = (n * panel, panel.min(width - n * panel));
            // SAFETY: each panel is a stretch of its own.
            let panel = unsafe { shared.slice(first * rows, across * rows) };
            let inside = across.min(columns - first);
            for (n, values) in panel.chunks_mut(TOGETHER * across).enumerate() {
                for column in 0..inside {
                    for (row, values) in values.chunks_exact_mut(across).enumerate() {
                        values[column] = weight(n * TOGETHER + row, first + column);
                    }
                }
                values.chunks_exact_mut(across).for_each(|values| values[inside..].fill(0.0));
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
}

impl Windows<'_> {
    /// Shows where run `tap` of row `first + m` begins, for m below `count`; nowhere in the zeros around the map.
    #[inline(always)]
    fn places(&self, first: usize, count: usize, mut show: impl FnMut(usize, usize, Option<usize>)) {
        for m in 0..count {
            let (i, j) = ((first + m) / self.out[1], (first + m) % self.out[1]);
            for y in 0..self.kernel[0] {
                let row = (i * self.stride + y).wrapping_sub(self.padding[0]);
                for x in 0..self.kernel[1] {
                    let column = (j * self.stride + x).wrapping_sub(self.padding[1]);
                    let inside = row < self.size[0] && column < self.size[1];
                    let place = inside.then(|| (row * self.size[1] + column) * self.pitch);
                    show(y * self.kernel[1] + x, m, place);
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
        // Neighbouring panels share what is cached of the left matrix where that is walked in stretches.
        let group =
            if depth > DEPTH { (panels * blocks / (8 * rayon::current_num_threads())).clamp(1, GROUP) } else { 1 };
        let groups = panels.div_ceil(group);
        // A block's halves follow each other: they share a panel, and no thread waits long for the last task of another.
        let halves = if tiles / blocks >= HALVED { 2 } else { 1 };
        parallel::each(blocks * groups * halves, |task| {
            let (block, first) = (task / halves / groups, task / halves % groups * group);
            let part = halves * block + task % halves;
            let tiles = part * tiles / (halves * blocks)..(part + 1) * tiles / (halves * blocks);
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
        match left {
            Left::Rows { values, pitch, .. } => {
                let rows = &values[first * pitch..(first + count - 1) * pitch + right.run];
                for (m, place) in places[..count].iter_mut().enumerate() {
                    *place = rows.as_ptr().wrapping_add(m * pitch);
                }
            }
            Left::Windows(windows) => windows.places(first, count, |tap, m, place| {
                let run = match place {
                    Some(place) => &windows.values[place..place + right.run],
                    None => zeros,
                };
                places[tap * count + m] = run.as_ptr();
            }),
        }
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

/// Distance between rows of `channels` values: whole vectors, and such that rows do not compete for the same lines of a cache.
pub fn pitch(channels: usize) -> usize {
    let padded = channels.next_multiple_of(WIDEST);
    if padded.is_multiple_of(256) { padded + WIDEST } else { padded }
}
