//! The innermost loop of all products: a tile of sums that stays in registers.

use super::{Kernel, Simd, WIDEST};

/// Most rows of a tile, of any instruction set.
pub(super) const MOST_ROWS: usize = 14;

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Gelu,
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
