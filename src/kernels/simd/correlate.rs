//! Sums over rows of products of their values: the derivatives of linear layers and convolutions by their weights.

use std::ops::Range;

use super::buffer::Buffer;
use super::parallel::{self, Shared, with_scratch};
use super::product::{Left, MOST_TAPS, Windows};
use super::tile::LINE;
use super::{Isa, Kernel, Simd};

/// Rows whose products are summed in registers: a panel of them stays in the second-level cache.
const DEPTH: usize = 1024;
/// Bytes of both matrices that are worked on together, if more than [`DEPTH`] rows.
const BLOCK: usize = 1 << 20;
/// Rows ahead that are asked for.
const AHEAD: usize = 8;
/// Tasks from which on threads are evenly busy.
const ENOUGH: usize = 12;

/// Some rows of both matrices: pixels of what flows back, and the windows that they came from.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// Rows `pitch` apart.
    pub flow: &'a [f32],
    pub pitch: usize,
    pub windows: Left<'a>,
}

/// `out[i][tap * width + j]`, the sum over the rows of all `pairs` of `flow[i] * windows[tap][j]`, where `width` is that of a run
/// in whole vectors. Sums run over rows in order, however many threads there are.
pub fn correlate(isa: Isa, pairs: &[Pair], [outputs, taps, run]: [usize; 3], out: &mut [f32]) {
    let width = run.next_multiple_of(isa.lanes());
    assert!(taps <= MOST_TAPS && out.len() >= outputs * taps * width);
    let across = width.div_ceil(2 * isa.lanes());
    let shape = Shape { outputs, run, width, across, taps, tiles: outputs.div_ceil(isa.rows()) };
    let panels = taps * across;
    let parts = ENOUGH.div_ceil(panels).min(shape.tiles);
    let out = Shared::of(out);
    let mut begun = false;
    for pair in pairs {
        let rows = rows_of(&pair.windows);
        assert!(rows == 0 || (outputs <= pair.pitch && pair.flow.len() >= (rows - 1) * pair.pitch + outputs));
        let block = (BLOCK / (4 * (outputs + run))).next_multiple_of(DEPTH);
        for first in (0..rows).step_by(block) {
            let rows = first..(first + block).min(rows);
            let flow = packed(isa, pair, shape, rows.clone());
            parallel::each(panels * parts, |task| {
                let (panel, part) = (task / parts, task % parts);
                let tiles = part * shape.tiles / parts..(part + 1) * shape.tiles / parts;
                with_scratch(DEPTH * 2 * isa.lanes(), |windows| {
                    isa.run(Part { pair, flow: &flow, shape, rows: rows.clone(), panel, tiles, windows, out, begun });
                });
            });
            begun = true;
        }
    }
    assert!(begun, "a sum of nothing");
}

#[derive(Clone, Copy)]
struct Shape {
    outputs: usize,
    /// Values of a run, and of one in whole vectors.
    run: usize,
    width: usize,
    /// Panels of a run.
    across: usize,
    taps: usize,
    tiles: usize,
}

impl Shape {
    /// Values of the flow that a tile takes.
    fn values(&self, tile: usize) -> Range<usize> {
        tile * self.outputs / self.tiles..(tile + 1) * self.outputs / self.tiles
    }
}

/// The flow of some rows, each tile's values side by side: `[tiles, rows, values]`.
fn packed(isa: Isa, pair: &Pair, shape: Shape, rows: Range<usize>) -> Buffer {
    const STRETCH: usize = 64;
    let mut out = Buffer::any(rows.len() * shape.outputs);
    let shared = Shared::of(&mut out);
    parallel::each(rows.len().div_ceil(STRETCH), |n| {
        let stretch = n * STRETCH..((n + 1) * STRETCH).min(rows.len());
        for tile in 0..shape.tiles {
            let values = shape.values(tile);
            let start = values.start * rows.len() + stretch.start * values.len();
            // SAFETY: each stretch of rows is the business of one task.
            let out = unsafe { shared.slice(start, stretch.len() * values.len()) };
            let from = &pair.flow[(rows.start + stretch.start) * pair.pitch + values.start..];
            isa.run(Pack { from, pitch: pair.pitch, values: values.len(), out });
        }
    });
    out
}

/// Copies the first `values` of rows `pitch` apart to where they lie side by side.
struct Pack<'a> {
    from: &'a [f32],
    pitch: usize,
    values: usize,
    out: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pack { from, pitch, values, out } = self;
        let whole = values.next_multiple_of(S::LANES);
        for row in 0..out.len() / values {
            let (from, out) = (&from[row * pitch..], &mut out[row * values..]);
            if whole <= from.len() && whole <= out.len() {
                // What is written behind the row is the next one's, which comes later.
                for lane in (0..values).step_by(S::LANES) {
                    simd.store(simd.load(&from[lane..]), &mut out[lane..]);
                }
            } else {
                out[..values].copy_from_slice(&from[..values]);
            }
        }
    }
}

/// One panel of one tap, with some tiles of the flow.
struct Part<'a> {
    pair: &'a Pair<'a>,
    flow: &'a [f32],
    shape: Shape,
    rows: Range<usize>,
    panel: usize,
    tiles: Range<usize>,
    /// For the panel's values of some rows.
    windows: &'a mut [f32],
    out: Shared<'a>,
    /// Whether `out` has sums of earlier rows.
    begun: bool,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { pair, flow, shape, rows, panel, tiles, windows, out, mut begun } = self;
        let (tap, column) = (panel / shape.across, panel % shape.across * 2 * S::LANES);
        let across = (shape.width - column).min(2 * S::LANES);
        for first in rows.clone().step_by(DEPTH) {
            let depth = first..(first + DEPTH).min(rows.end);
            pack_windows::<S>(simd, &pair.windows, tap, depth.clone(), column..shape.run, across, windows);
            for tile in tiles.clone() {
                let values = shape.values(tile);
                let start = values.start * rows.len() + (first - rows.start) * values.len();
                let apart = shape.taps * shape.width;
                let place = values.start * apart + tap * shape.width + column;
                let sums = Tile {
                    flow: &flow[start..start + depth.len() * values.len()],
                    windows: &windows[..depth.len() * across],
                    at: out.at(place, (values.len() - 1) * apart + across),
                    apart,
                    begun,
                };
                // SAFETY: rows of the tile are inside `out`, as `at` asserts, and tasks have no tile in common.
                unsafe {
                    if across > S::LANES {
                        sums.dispatch::<S, 2>(simd, values.len());
                    } else {
                        sums.dispatch::<S, 1>(simd, values.len());
                    }
                }
            }
            begun = true;
        }
    }
}

fn rows_of(left: &Left) -> usize {
    match left {
        Left::Rows { rows, .. } => *rows,
        Left::Windows(windows) => windows.out[0] * windows.out[1],
    }
}

/// `columns` of run `tap` of some rows side by side, `[rows, across]`, zeros behind them and around a map.
#[inline(always)]
fn pack_windows<S: Simd>(
    simd: S,
    left: &Left,
    tap: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    across: usize,
    out: &mut [f32],
) {
    let out = out.chunks_exact_mut(across);
    match *left {
        Left::Rows { values, pitch, .. } => {
            for (row, out) in rows.zip(out) {
                for lane in (0..across).step_by(LINE) {
                    simd.prefetch(values.as_ptr().wrapping_add((row + AHEAD) * pitch + columns.start + lane));
                }
                put(simd, &values[row * pitch..][columns.clone()], out);
            }
        }
        Left::Windows(Windows { values, size, pitch, kernel, stride, padding, out: grid }) => {
            let (y, x) = (tap / kernel[1], tap % kernel[1]);
            let (mut i, mut j) = (rows.start / grid[1], rows.start % grid[1]);
            for (_, out) in rows.zip(out) {
                let row = (i * stride + y).wrapping_sub(padding[0]);
                let column = (j * stride + x).wrapping_sub(padding[1]);
                if row < size[0] && column < size[1] {
                    let place = (row * size[1] + column) * pitch;
                    for lane in (0..across).step_by(LINE) {
                        let ahead = place + AHEAD * stride * pitch + columns.start + lane;
                        simd.prefetch(values.as_ptr().wrapping_add(ahead));
                    }
                    put(simd, &values[place..][columns.clone()], out);
                } else {
                    out.fill(0.0);
                }
                j += 1;
                if j == grid[1] {
                    (i, j) = (i + 1, 0);
                }
            }
        }
    }
}

/// As much of `run` as `out`, whole vectors, has room for, zeros behind it.
#[inline(always)]
fn put<S: Simd>(simd: S, run: &[f32], out: &mut [f32]) {
    if run.len() >= out.len() {
        for lane in (0..out.len()).step_by(S::LANES) {
            simd.store(simd.load(&run[lane..]), &mut out[lane..]);
        }
    } else {
        out[..run.len()].copy_from_slice(run);
        out[run.len()..].fill(0.0);
    }
}

/// Rows whose products make one tile of sums, rows of the tile `apart` apart; added to what is there if something is.
struct Tile<'a> {
    flow: &'a [f32],
    windows: &'a [f32],
    at: *mut f32,
    apart: usize,
    begun: bool,
}

impl Tile<'_> {
    /// # Safety
    /// N vectors can be read and written at each of `values` rows at `at`.
    #[inline(always)]
    unsafe fn dispatch<S: Simd, const N: usize>(&self, simd: S, values: usize) {
        match values {
            1 => simd.call(Sums::<1, N>(self)),
            2 => simd.call(Sums::<2, N>(self)),
            3 => simd.call(Sums::<3, N>(self)),
            4 => simd.call(Sums::<4, N>(self)),
            5 => simd.call(Sums::<5, N>(self)),
            6 => simd.call(Sums::<6, N>(self)),
            7 if S::ROWS >= 7 => simd.call(Sums::<7, N>(self)),
            8 if S::ROWS >= 8 => simd.call(Sums::<8, N>(self)),
            9 if S::ROWS >= 9 => simd.call(Sums::<9, N>(self)),
            10 if S::ROWS >= 10 => simd.call(Sums::<10, N>(self)),
            11 if S::ROWS >= 11 => simd.call(Sums::<11, N>(self)),
            12 if S::ROWS >= 12 => simd.call(Sums::<12, N>(self)),
            13 if S::ROWS >= 13 => simd.call(Sums::<13, N>(self)),
            14 if S::ROWS >= 14 => simd.call(Sums::<14, N>(self)),
            _ => unreachable!("a tile has {} values", S::ROWS),
        }
    }
}

/// The sums of M values by N vectors; made by [`Tile::dispatch`] alone, whose caller promised what they need.
struct Sums<'a, const M: usize, const N: usize>(&'a Tile<'a>);

impl<const M: usize, const N: usize> Kernel for Sums<'_, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let tile = self.0;
        if tile.begun {
            for m in 0..M {
                for n in 0..N {
                    simd.prefetch(tile.at.wrapping_add(m * tile.apart + n * S::LANES));
                }
            }
        }
        let mut sums = [[simd.splat(0.0); N]; M];
        for (flow, windows) in tile.flow.as_chunks::<M>().0.iter().zip(tile.windows.chunks_exact(N * S::LANES)) {
            let b: [S::F; N] = std::array::from_fn(|n| simd.load(&windows[n * S::LANES..]));
            for m in 0..M {
                let a = simd.splat(flow[m]);
                for n in 0..N {
                    sums[m][n] = simd.fma(a, b[n], sums[m][n]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                let at = tile.at.wrapping_add(m * tile.apart + n * S::LANES);
                // SAFETY: the promise to `dispatch`.
                unsafe {
                    let before = if tile.begun { simd.read(at) } else { simd.splat(0.0) };
                    simd.write(simd.add(before, sums[m][n]), at);
                }
            }
        }
    }
}
