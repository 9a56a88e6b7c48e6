//! Sums over rows of products of their values: the derivatives of linear layers and convolutions by their weights.
#![allow(unsafe_code)]

use std::ops::Range;

use super::parallel::{self, Shared};
use super::product::{Left, MOST_TAPS, Windows};
use super::{Isa, Kernel, Simd};

/// Rows that are worked on together: a panel of them and a tile of the other side stay in the first-level cache.
const BLOCK: usize = 256;
/// What a row of a tile's values, at most as many as a tile has rows, is padded to.
const PADDED: usize = 16;
/// Tasks from which on threads are evenly busy.
const ENOUGH: usize = 12;

/// Some rows of both matrices, on a side each: windows of an image and pixels of what was made of it.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub left: Left<'a>,
    /// Rows `pitch` apart, of whole vectors.
    pub right: &'a [f32],
    pub pitch: usize,
}

/// `out[tap * run + i][j]`, the sum over the rows of all `pairs` of `left[tap][i] * right[j]`, rows of `out` whole vectors of
/// `columns`. Sums run over rows in order, however many threads there are.
pub fn correlate(isa: Isa, pairs: &[Pair], [taps, run, columns]: [usize; 3], out: &mut [f32]) {
    let width = columns.next_multiple_of(isa.lanes());
    assert!(taps <= MOST_TAPS && out.len() >= taps * run * width);
    for pair in pairs {
        let rows = rows_of(&pair.left);
        assert!(width <= pair.pitch && (rows == 0 || pair.right.len() >= (rows - 1) * pair.pitch + width));
    }
    out.fill(0.0);
    let shape = Shape { run, width, tiles: run.div_ceil(isa.rows()) };
    let (tiles, panels) = (taps * shape.tiles, width.div_ceil(2 * isa.lanes()));
    let high = ENOUGH.min(tiles);
    let wide = ENOUGH.div_ceil(high).min(panels);
    let out = Shared::of(out);
    parallel::each(high * wide, |task| {
        let (part, of_panels) = (task / wide, task % wide);
        let tiles = part * tiles / high..(part + 1) * tiles / high;
        let panels = of_panels * panels / wide..(of_panels + 1) * panels / wide;
        isa.run(Part { pairs, shape, tiles, panels, out });
    });
}

#[derive(Clone, Copy)]
struct Shape {
    run: usize,
    width: usize,
    /// Of a run.
    tiles: usize,
}

impl Shape {
    /// Values of its run that a tile takes.
    fn values(&self, tile: usize) -> Range<usize> {
        let n = tile % self.tiles;
        n * self.run / self.tiles..(n + 1) * self.run / self.tiles
    }
}

/// Some tiles, counted through all taps, and some panels of columns.
struct Part<'a> {
    pairs: &'a [Pair<'a>],
    shape: Shape,
    tiles: Range<usize>,
    panels: Range<usize>,
    out: Shared<'a>,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { pairs, shape, tiles, panels, out } = self;
        let zeros = vec![0.0f32; shape.run];
        let mut runs: Vec<&[f32]> = vec![&zeros; BLOCK];
        // Rows side by side, whatever lies between them: `[tiles, rows, PADDED]` and `[rows, panel]`.
        let mut left = vec![0.0f32; tiles.len() * BLOCK * PADDED];
        let mut right = vec![0.0f32; BLOCK * 2 * S::LANES];
        for pair in pairs {
            let rows = rows_of(&pair.left);
            for first in (0..rows).step_by(BLOCK) {
                let count = BLOCK.min(rows - first);
                let mut known = None;
                for (tile, left) in tiles.clone().zip(left.chunks_exact_mut(BLOCK * PADDED)) {
                    let (tap, values) = (tile / shape.tiles, shape.values(tile));
                    if known != Some(tap) {
                        runs_of(&pair.left, tap, first, &zeros, &mut runs[..count]);
                        known = Some(tap);
                    }
                    for (left, run) in left.chunks_exact_mut(PADDED).zip(&runs[..count]) {
                        if values.start + values.len().next_multiple_of(S::LANES) <= run.len() {
                            for lane in (0..values.len()).step_by(S::LANES) {
                                simd.store(simd.load(&run[values.start + lane..]), &mut left[lane..]);
                            }
                        } else {
                            left[..values.len()].copy_from_slice(&run[values.clone()]);
                        }
                    }
                }
                for panel in panels.clone() {
                    let column = panel * 2 * S::LANES;
                    let across = if shape.width - column > S::LANES { 2 * S::LANES } else { S::LANES };
                    let source = pair.right[first * pair.pitch..].chunks(pair.pitch);
                    for (right, source) in right.chunks_exact_mut(across).take(count).zip(source) {
                        for lane in (0..across).step_by(S::LANES) {
                            simd.store(simd.load(&source[column + lane..]), &mut right[lane..]);
                        }
                    }
                    for (tile, left) in tiles.clone().zip(left.chunks_exact(BLOCK * PADDED)) {
                        let values = shape.values(tile);
                        let place = (tile / shape.tiles * shape.run + values.start) * shape.width + column;
                        let at = out.at(place, (values.len() - 1) * shape.width + across);
                        let sums = Tile { left, right: &right[..count * across], at, apart: shape.width };
                        // SAFETY: rows of the tile are inside `out`, as `at` asserts, and tasks have no tile in common.
                        unsafe {
                            if across > S::LANES {
                                sums.dispatch::<S, 2>(simd, values.len());
                            } else {
                                sums.dispatch::<S, 1>(simd, values.len());
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rows_of(left: &Left) -> usize {
    match left {
        Left::Rows { rows, .. } => *rows,
        Left::Windows(windows) => windows.out[0] * windows.out[1],
    }
}

/// Run `tap` of row `first` and of those behind it, `zeros` around a map.
fn runs_of<'a>(left: &Left<'a>, tap: usize, first: usize, zeros: &'a [f32], runs: &mut [&'a [f32]]) {
    match *left {
        Left::Rows { values, pitch, .. } => {
            for (m, run) in runs.iter_mut().enumerate() {
                *run = &values[(first + m) * pitch..][..zeros.len()];
            }
        }
        Left::Windows(Windows { values, size, pitch, kernel, stride, padding, out }) => {
            let (y, x) = (tap / kernel[1], tap % kernel[1]);
            let (mut i, mut j) = (first / out[1], first % out[1]);
            for run in runs {
                let row = (i * stride + y).wrapping_sub(padding[0]);
                let column = (j * stride + x).wrapping_sub(padding[1]);
                let inside = row < size[0] && column < size[1];
                *run = if inside { &values[(row * size[1] + column) * pitch..][..zeros.len()] } else { zeros };
                j += 1;
                if j == out[1] {
                    (i, j) = (i + 1, 0);
                }
            }
        }
    }
}

/// Rows whose products are added to one tile of sums, rows of the tile `apart` apart.
struct Tile<'a> {
    left: &'a [f32],
    right: &'a [f32],
    at: *mut f32,
    apart: usize,
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
        // SAFETY: the promise to `dispatch`.
        unsafe {
            let mut sums = [[simd.splat(0.0); N]; M];
            for (m, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.read(tile.at.add(m * tile.apart + n * S::LANES));
                }
            }
            for (left, right) in tile.left.chunks_exact(PADDED).zip(tile.right.chunks_exact(N * S::LANES)) {
                let b: [S::F; N] = std::array::from_fn(|n| simd.load(&right[n * S::LANES..]));
                for m in 0..M {
                    let a = simd.splat(left[m]);
                    for n in 0..N {
                        sums[m][n] = simd.fma(a, b[n], sums[m][n]);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                for (n, &sum) in sums.iter().enumerate() {
                    simd.write(sum, tile.at.add(m * tile.apart + n * S::LANES));
                }
            }
        }
    }
}
