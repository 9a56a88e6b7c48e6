//! Attention of several heads: scores, softmax and mixture for a few rows at a time, so that scores stay in the cache.

use super::parallel::{self, Shared};
use super::product::pitch;
use super::tile::{Activation, MOST_ROWS, Stored, Tile};
use super::{Isa, Kernel, Simd, WIDEST};

/// Rows of queries, keys and values: in each row, `pitch` apart, all heads' queries, then their keys, then their values,
/// `width` values to a head, a multiple of [`WIDEST`].
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    pub rows: &'a [f32],
    pub tokens: usize,
    pub heads: usize,
    pub width: usize,
    pub pitch: usize,
}

/// Softmax of queries times keys, times values, for each image's `tokens` rows; queries are scaled already. Rows of `out` are
/// `apart` apart and hold the heads one after the other.
pub fn attend(isa: Isa, of: Heads, images: usize, out: &mut [f32], apart: usize) {
    assert!(of.width.is_multiple_of(WIDEST) && of.pitch >= 3 * of.heads * of.width && apart >= of.heads * of.width);
    assert!(of.rows.len() >= images * of.tokens * of.pitch && out.len() >= images * of.tokens * apart);
    let tiles = of.tokens.div_ceil(isa.rows());
    let parts = (8 * rayon::current_num_threads()).div_ceil(images * of.heads).clamp(1, tiles.div_ceil(4));
    let out = Shared::of(out);
    parallel::each(images * of.heads * parts, |task| {
        let (image, head, part) = (task / parts / of.heads, task / parts % of.heads, task % parts);
        let rows = [part, part + 1].map(|part| (part * tiles / parts * isa.rows()).min(of.tokens));
        isa.run(Attention { of, image, head, rows: rows[0]..rows[1], out, apart });
    });
}

struct Attention<'a> {
    of: Heads<'a>,
    image: usize,
    head: usize,
    rows: std::ops::Range<usize>,
    out: Shared<'a>,
    apart: usize,
}

impl Kernel for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Attention { of, image, head, rows, out, apart } = self;
        let Heads { tokens, heads, width, .. } = of;
        let first = image * tokens;
        let row = |token: usize, part: usize| &of.rows[(first + token) * of.pitch + (part * heads + head) * width..];
        // Keys as the right matrix of a product: [panel, width, 2 vectors of tokens], zeros behind the last token.
        let panel = 2 * S::LANES;
        let padded = tokens.next_multiple_of(panel);
        let mut keys = vec![0.0; padded * width];
        for token in 0..tokens {
            let base = token / panel * panel * width + token % panel;
            for (d, &value) in row(token, 1)[..width].iter().enumerate() {
                keys[base + d * panel] = value;
            }
        }
        let values = &row(0, 2)[..(tokens - 1) * of.pitch + width];
        let apart_scores = pitch(padded);
        let mut scores = vec![0.0; S::ROWS * apart_scores];
        let zeros = [0.0; 2 * WIDEST];
        let mut places = [std::ptr::null(); MOST_ROWS];
        for start in rows.clone().step_by(S::ROWS) {
            let count = S::ROWS.min(rows.end - start);
            for (m, place) in places[..count].iter_mut().enumerate() {
                *place = row(start + m, 0)[..width].as_ptr();
            }
            for (n, keys) in keys.chunks_exact(panel * width).enumerate() {
                let tile = Tile {
                    places: &places[..count],
                    taps: 1,
                    skip: 0,
                    run: width,
                    weights: keys,
                    apart: panel,
                    next: keys.as_ptr(),
                    lines: 0,
                };
                let at = scores[n * panel..(count - 1) * apart_scores + (n + 1) * panel].as_mut_ptr();
                let stored = Stored { at, pitch: apart_scores, add: false, bias: &zeros, activation: Activation::None };
                // SAFETY: each place begins `width` values, `keys` holds as many rows of a panel, `scores` was sliced.
                unsafe { tile.dispatch::<S, 2>(simd, count, &stored) };
            }
            for (m, scores) in scores.chunks_exact_mut(apart_scores).take(count).enumerate() {
                softmax(simd, &mut scores[..padded], tokens);
                places[m] = scores.as_ptr();
            }
            for column in (0..width).step_by(panel) {
                let pair = width - column > S::LANES;
                let across = if pair { panel } else { S::LANES };
                let tile = Tile {
                    places: &places[..count],
                    taps: 1,
                    skip: 0,
                    run: tokens,
                    weights: &values[column..(tokens - 1) * of.pitch + column + across],
                    apart: of.pitch,
                    next: values.as_ptr(),
                    lines: 0,
                };
                let place = (first + start) * apart + head * width + column;
                let at = out.at(place, (count - 1) * apart + across);
                let stored = Stored { at, pitch: apart, add: false, bias: &zeros, activation: Activation::None };
                // SAFETY: rows of scores hold `tokens` values and more, `values` was sliced, `at` asserted that the tile is
                // inside `out`; tasks have no head's rows in common.
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

/// Softmax of the first `count` scores, whole vectors long.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], count: usize) {
    // Behind the last: e^-87, which is nothing.
    scores[count..].fill(f32::NEG_INFINITY);
    let mut most = simd.splat(f32::NEG_INFINITY);
    for c in (0..scores.len()).step_by(S::LANES) {
        most = simd.max(most, simd.load(&scores[c..]));
    }
    let most = simd.splat(simd.lanes(most)[..S::LANES].iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut sum = simd.splat(0.0);
    for c in (0..scores.len()).step_by(S::LANES) {
        let e = simd.exp(simd.sub(simd.load(&scores[c..]), most));
        simd.store(e, &mut scores[c..]);
        sum = simd.add(sum, e);
    }
    let share = simd.splat(1.0 / simd.lanes(sum).iter().sum::<f32>());
    for c in (0..scores.len()).step_by(S::LANES) {
        simd.store(simd.mul(simd.load(&scores[c..]), share), &mut scores[c..]);
    }
}
