//! Maps `[height, width, channels]`: layout, pooling, upsampling.

use super::parallel;
use super::{Isa, Kernel, Simd};

/// Planes `[1 or channels, height, width]` to pixels of `channels` values without gaps, in a frame of zeros `[top, left]`
/// wide above and to the left and as wide as `size` leaves room for below and to the right. One plane is repeated.
pub fn interleave(
    planes: &[f32],
    [height, width]: [usize; 2],
    channels: usize,
    frame: [usize; 2],
    size: [usize; 2],
    out: &mut [f32],
) {
    let repeated = planes.len() == height * width;
    parallel::chunks(&mut out[..size[0] * size[1] * channels], size[1] * channels, |row, out| {
        out.fill(0.0);
        let Some(row) = row.checked_sub(frame[0]).filter(|&row| row < height) else { return };
        let out = &mut out[frame[1] * channels..(frame[1] + width) * channels];
        for c in 0..channels {
            let plane = if repeated { 0 } else { c * height * width };
            let line = &planes[plane + row * width..][..width];
            out[c..].iter_mut().step_by(channels).zip(line).for_each(|(out, &x)| *out = x);
        }
    });
}

/// Maximum over 3x3 windows, stride 2, without padding: `[h, w]` to `[(h - 3) / 2 + 1, (w - 3) / 2 + 1]`.
pub fn pool(isa: Isa, x: &[f32], [height, width]: [usize; 2], channels: usize, pitch: usize, out: &mut [f32]) {
    let size = [height, width].map(|side| (side - 3) / 2 + 1);
    parallel::chunks(&mut out[..size[0] * size[1] * pitch], size[1] * pitch, |row, out| {
        isa.run(Pool { x: &x[2 * row * width * pitch..], width, channels, pitch, out });
    });
}

struct Pool<'a> {
    x: &'a [f32],
    width: usize,
    channels: usize,
    pitch: usize,
    out: &'a mut [f32],
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pool { x, width, channels, pitch, out } = self;
        for (column, out) in out.chunks_exact_mut(pitch).enumerate() {
            for c in (0..channels).step_by(S::LANES) {
                let mut most = simd.load(&x[2 * column * pitch + c..]);
                for n in 1..9 {
                    most = simd.max(most, simd.load(&x[(n / 3 * width + 2 * column + n % 3) * pitch + c..]));
                }
                simd.store(most, &mut out[c..]);
            }
        }
    }
}

/// A map within wider pixels.
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    pub values: &'a [f32],
    pub size: [usize; 2],
    pub channels: usize,
    pub pitch: usize,
}

/// For each output sample the lower of its two neighbours and the share of the upper one, corners aligned.
pub fn taps(from: usize, to: usize) -> Vec<(usize, f32)> {
    let step = if to > 1 { (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    let tap = |i: usize| {
        let at = (i as f64 * step).min((from - 1) as f64);
        let low = (at.floor() as usize).min(from.saturating_sub(2));
        (low, (at - low as f64) as f32)
    };
    (0..to).map(tap).collect()
}

/// Each pixel of `out`, `[size, pitch]`: `x` upsampled with corners aligned, then, from the next whole vector on, `skip`
/// with zeros where it is smaller than `size`.
pub fn upsample(isa: Isa, x: Map, skip: Option<Map>, size: [usize; 2], out: &mut [f32], pitch: usize) {
    let [rows, columns] = [0, 1].map(|side| taps(x.size[side], size[side]));
    parallel::chunks(&mut out[..size[0] * size[1] * pitch], size[1] * pitch, |row, out| {
        isa.run(Upsample { x, skip, row, tap: rows[row], columns: &columns, out, pitch });
    });
}

struct Upsample<'a> {
    x: Map<'a>,
    skip: Option<Map<'a>>,
    row: usize,
    tap: (usize, f32),
    columns: &'a [(usize, f32)],
    out: &'a mut [f32],
    pitch: usize,
}

impl Kernel for Upsample<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Upsample { x, skip, row, tap: (low, down), columns, out, pitch } = self;
        let high = (low + 1).min(x.size[0] - 1);
        let width = x.channels.next_multiple_of(S::LANES);
        for (column, (out, &(left, share))) in out.chunks_exact_mut(pitch).zip(columns).enumerate() {
            let right = (left + 1).min(x.size[1] - 1);
            let place = |row: usize, column: usize| &x.values[(row * x.size[1] + column) * x.pitch..][..width];
            let (upper, lower) = ([place(low, left), place(low, right)], [place(high, left), place(high, right)]);
            let (up, down) = (simd.splat(1.0 - down), simd.splat(down));
            let (to_left, to_right) = (simd.splat(1.0 - share), simd.splat(share));
            for c in (0..width).step_by(S::LANES) {
                let near = simd.fma(simd.load(&lower[0][c..]), down, simd.mul(simd.load(&upper[0][c..]), up));
                let far = simd.fma(simd.load(&lower[1][c..]), down, simd.mul(simd.load(&upper[1][c..]), up));
                simd.store(simd.fma(far, to_right, simd.mul(near, to_left)), &mut out[c..]);
            }
            let Some(skip) = skip else { continue };
            let out = &mut out[width..];
            let inside = row < skip.size[0] && column < skip.size[1];
            for c in (0..skip.channels).step_by(S::LANES) {
                let value = if inside {
                    simd.load(&skip.values[(row * skip.size[1] + column) * skip.pitch + c..])
                } else {
                    simd.splat(0.0)
                };
                simd.store(value, &mut out[c..]);
            }
        }
    }
}
