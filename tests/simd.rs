//! Kernels of the CPU against plain loops, on every instruction set that the processor has.

use transunet::kernels::simd::attention::{Heads, attend};
use transunet::kernels::simd::maps::{Map, interleave, pool, upsample};
use transunet::kernels::simd::norms::{Pixels, Shortcut, apply, group_norm, layer_norm};
use transunet::kernels::simd::product::{Activation, Left, Packed, Windows, multiply, pitch};
use transunet::kernels::simd::winograd::Winograd;
use transunet::kernels::simd::{Isa, Kernel, Simd};

/// Values between -1 and 1, the same every time.
fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / (1u32 << 31) as f32 - 1.0
    })
    .take(count)
    .collect()
}

fn assert_close(what: &str, ours: f32, expected: f64, tolerance: f64) {
    let difference = (f64::from(ours) - expected).abs();
    assert!(difference <= tolerance, "{what}: {ours} for {expected}");
}

fn gelu(x: f64) -> f64 {
    // erf by its series, which converges for all that is tested.
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
}

#[test]
fn functions() {
    struct Functions(f32);
    impl Kernel for Functions {
        type Output = [f32; 2];
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [f32; 2] {
            let x = simd.splat(self.0);
            [simd.exp(x), simd.gelu(x)].map(|y| simd.lanes(y)[S::LANES - 1])
        }
    }
    for isa in Isa::available() {
        for n in -400..=400 {
            let x = n as f32 / 100.0;
            let [exp, gelued] = isa.run(Functions(x));
            let expected = f64::from(x).exp();
            assert_close(&format!("{} exp {x}", isa.name()), exp, expected, 4e-7 * expected);
            assert_close(&format!("{} gelu {x}", isa.name()), gelued, gelu(f64::from(x)), 1e-6);
        }
        assert!(isa.run(Functions(f32::NEG_INFINITY))[0] < 1e-37);
        assert!(isa.run(Functions(-20.0))[1].abs() < 1e-37);
    }
}

#[test]
fn products() {
    for isa in Isa::available() {
        for (rows, depth, columns) in
            [(1, 1, 1), (5, 7, 3), (14, 33, 32), (29, 64, 70), (100, 20, 9), (13, 300, 500), (31, 1601, 50)]
        {
            let left = noise(1, rows * pitch(depth));
            let right = noise(2, depth * columns);
            let bias = noise(3, columns);
            let packed = Packed::new(isa, [1, depth, columns], &bias, |row, column| right[row * columns + column]);
            for (add, activation) in [(false, Activation::None), (true, Activation::Relu), (false, Activation::Gelu)] {
                let before = noise(4, rows * pitch(columns));
                let mut out = before.clone();
                let rows_of = Left::Rows { values: &left, rows, pitch: pitch(depth) };
                multiply(&rows_of, &packed, &mut out, pitch(columns), add, activation);
                for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                    let mut sum = f64::from(bias[column]);
                    if add {
                        sum += f64::from(before[row * pitch(columns) + column]);
                    }
                    for k in 0..depth {
                        sum += f64::from(left[row * pitch(depth) + k]) * f64::from(right[k * columns + column]);
                    }
                    let expected = match activation {
                        Activation::None => sum,
                        Activation::Relu => sum.max(0.0),
                        Activation::Gelu if sum.abs() < 5.0 => gelu(sum),
                        Activation::Gelu => sum.max(0.0),
                    };
                    let what = format!("{} {rows} x {depth} x {columns}, {row}, {column}", isa.name());
                    assert_close(&what, out[row * pitch(columns) + column], expected, 5e-5);
                }
            }
        }
    }
}

/// A map of `size`, `channels` to a pixel.
struct Sample {
    values: Vec<f32>,
    size: [usize; 2],
    channels: usize,
}

impl Sample {
    fn new(seed: u32, size: [usize; 2], channels: usize) -> Self {
        let mut values = noise(seed, size[0] * size[1] * pitch(channels));
        // Whole vectors are zero behind the last channel.
        for pixel in values.chunks_exact_mut(pitch(channels)) {
            pixel[channels..].fill(0.0);
        }
        Sample { values, size, channels }
    }

    fn map(&self) -> Map<'_> {
        Map { values: &self.values, size: self.size, channels: self.channels, pitch: pitch(self.channels) }
    }

    /// Zero outside.
    fn at(&self, row: isize, column: isize, channel: usize) -> f64 {
        let inside = (0..self.size[0] as isize).contains(&row) && (0..self.size[1] as isize).contains(&column);
        let place = |row: isize, column: isize| (row as usize * self.size[1] + column as usize) * pitch(self.channels);
        if inside { f64::from(self.values[place(row, column) + channel]) } else { 0.0 }
    }

    fn convolved(
        &self,
        weight: &[f32],
        outputs: usize,
        kernel: usize,
        [stride, padding]: [usize; 2],
        at: [usize; 3],
    ) -> f64 {
        let [row, column, output] = at;
        let mut sum = 0.0;
        for (y, x, c) in
            (0..kernel).flat_map(|y| (0..kernel).flat_map(move |x| (0..self.channels).map(move |c| (y, x, c))))
        {
            let [row, column] = [row * stride + y, column * stride + x].map(|at| at as isize - padding as isize);
            let weight = weight[((y * kernel + x) * self.channels + c) * outputs + output];
            sum += self.at(row, column, c) * f64::from(weight);
        }
        sum
    }
}

#[test]
fn convolutions() {
    for isa in Isa::available() {
        for (size, channels, outputs, kernel, stride) in [
            ([7, 9], 5, 6, 3, 2),
            ([14, 14], 16, 33, 3, 1),
            ([5, 5], 3, 64, 1, 2),
            ([1, 3], 2, 4, 3, 1),
            ([40, 31], 20, 150, 3, 1),
        ] {
            let x = Sample::new(5, size, channels);
            let (weight, bias) = (noise(6, kernel * kernel * channels * outputs), noise(7, outputs));
            let padding = kernel / 2;
            let out_size = size.map(|side| (side + 2 * padding - kernel) / stride + 1);
            let packed = Packed::new(isa, [kernel * kernel, channels, outputs], &bias, |k, n| weight[k * outputs + n]);
            let mut out = vec![0.0; out_size[0] * out_size[1] * pitch(outputs)];
            let windows = Windows {
                values: &x.values,
                size,
                pitch: pitch(channels),
                kernel: [kernel; 2],
                stride,
                padding: [padding; 2],
                out: out_size,
            };
            multiply(&Left::Windows(windows), &packed, &mut out, pitch(outputs), false, Activation::None);
            let mut by_tiles = Vec::new();
            if kernel == 3 && stride == 1 {
                for side in [2, 4] {
                    let weight =
                        |c: usize, n: usize| std::array::from_fn(|tap| weight[(tap * channels + c) * outputs + n]);
                    let winograd = Winograd::new(isa, side, [channels, outputs], &bias, weight);
                    let mut out = vec![0.0; out.len()];
                    winograd.convolve(x.map(), &mut out, pitch(outputs), Activation::None);
                    by_tiles.push(out);
                }
            }
            for n in 0..out_size[0] * out_size[1] * outputs {
                let at = [n / outputs / out_size[1], n / outputs % out_size[1], n % outputs];
                let expected = x.convolved(&weight, outputs, kernel, [stride, padding], at) + f64::from(bias[at[2]]);
                let place = n / outputs * pitch(outputs) + at[2];
                assert_close(&format!("{} {at:?}", isa.name()), out[place], expected, 1e-5);
                for (out, tolerance) in by_tiles.iter().zip([2e-5, 4e-5]) {
                    assert_close(&format!("{} {at:?} by tiles", isa.name()), out[place], expected, tolerance);
                }
            }
        }
    }
}

#[test]
fn tiles_taken_together() {
    // Weights too large for each thread to work on its own, and more tiles than are held at once.
    let isa = Isa::fastest();
    let x = Sample::new(8, [66, 58], 300);
    let weight = noise(9, 9 * 300 * 96);
    let get = |c: usize, n: usize| std::array::from_fn(|tap| weight[(tap * 300 + c) * 96 + n]);
    for side in [2, 4] {
        let winograd = Winograd::new(isa, side, [300, 96], &[], get);
        let mut out = vec![0.0; 66 * 58 * pitch(96)];
        winograd.convolve(x.map(), &mut out, pitch(96), Activation::Relu);
        for n in (0..66 * 58 * 96).step_by(977) {
            let at = [n / 96 / 58, n / 96 % 58, n % 96];
            let expected = x.convolved(&weight, 96, 3, [1, 1], at).max(0.0);
            assert_close(&format!("{at:?}"), out[n / 96 * pitch(96) + at[2]], expected, 3e-4);
        }
    }
}

#[test]
fn group_norms() {
    for isa in Isa::available() {
        for (size, channels, groups) in [([9, 9], 32, 32), ([3, 5], 64, 32), ([20, 10], 48, 3), ([1, 1], 8, 2)] {
            let (mut x, other) = (Sample::new(10, size, channels), Sample::new(11, size, channels));
            // A mean far from 0, where squares would cancel.
            x.values.iter_mut().for_each(|x| *x += 100.0);
            let pixels = size[0] * size[1];
            let of = Pixels { count: pixels, channels, pitch: pitch(channels) };
            let (weight, bias) = (noise(12, channels), noise(13, channels));
            let norm = |x: &Sample, c: usize| {
                let size = channels / groups;
                let group = c / size * size..(c / size + 1) * size;
                let values: Vec<f64> = (group.flat_map(|c| (0..pixels).map(move |pixel| pixel * pitch(channels) + c)))
                    .map(|place| f64::from(x.values[place]))
                    .collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64;
                (mean, 1.0 / (variance + 1e-5).sqrt())
            };
            let affine = group_norm(isa, &x.values, of, groups, 1e-5, &weight, &bias);
            let by = group_norm(isa, &other.values, of, groups, 1e-5, &weight, &bias);
            for shortcut in [Shortcut::None, Shortcut::Plain(&other.values), Shortcut::Normed(&other.values, &by)] {
                let mut out = x.values.clone();
                apply(isa, &mut out, of, &affine, shortcut);
                for c in 0..channels {
                    let ((mean, root), (mean_2, root_2)) = (norm(&x, c), norm(&other, c));
                    for place in (0..pixels).map(|pixel| pixel * pitch(channels) + c) {
                        let [w, b] = [weight[c], bias[c]].map(f64::from);
                        let shortcut = match shortcut {
                            Shortcut::None => 0.0,
                            Shortcut::Plain(other) => f64::from(other[place]),
                            Shortcut::Normed(other, _) => (f64::from(other[place]) - mean_2) * root_2 * w + b,
                        };
                        let expected = ((f64::from(x.values[place]) - mean) * root * w + b + shortcut).max(0.0);
                        // One step of f32 at 100, times what the norm makes of it.
                        assert_close(&format!("{} {channels}", isa.name()), out[place], expected, 2e-5 * root.max(1.0));
                    }
                }
            }
        }
    }
}

#[test]
fn layer_norms() {
    for isa in Isa::available() {
        for (rows, width) in [(1, 8), (7, 20), (30, 96)] {
            let x = Sample::new(14, [rows, 1], width);
            let mut padded = noise(15, 2 * pitch(width));
            padded[width..pitch(width)].fill(0.0);
            padded[pitch(width) + width..].fill(0.0);
            let (weight, bias) = padded.split_at(pitch(width));
            let mut out = vec![0.0; x.values.len()];
            let of = Pixels { count: rows, channels: width, pitch: pitch(width) };
            layer_norm(isa, &x.values, of, 1e-6, weight, bias, &mut out);
            for row in 0..rows {
                let values: Vec<f64> = (0..width).map(|c| x.at(row as isize, 0, c)).collect();
                let mean = values.iter().sum::<f64>() / width as f64;
                let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / width as f64;
                for (c, value) in values.iter().enumerate() {
                    let expected =
                        (value - mean) / (variance + 1e-6).sqrt() * f64::from(weight[c]) + f64::from(bias[c]);
                    assert_close(isa.name(), out[row * pitch(width) + c], expected, 2e-6);
                }
            }
        }
    }
}

#[test]
fn attention() {
    for isa in Isa::available() {
        for (images, tokens, heads, width) in [(1, 5, 2, 16), (2, 33, 3, 32), (1, 100, 1, 48)] {
            let apart = pitch(3 * heads * width);
            let rows = noise(16, images * tokens * apart);
            let mut out = vec![0.0; images * tokens * pitch(heads * width)];
            let of = Heads { rows: &rows, tokens, heads, width, pitch: apart };
            attend(isa, of, images, &mut out, pitch(heads * width));
            let at = |image: usize, token: usize, part: usize, head: usize, d: usize| {
                f64::from(rows[(image * tokens + token) * apart + (part * heads + head) * width + d])
            };
            for (image, head, row) in
                (0..images).flat_map(|i| (0..heads).flat_map(move |h| (0..tokens).map(move |row| (i, h, row))))
            {
                let score = |key: usize| {
                    (0..width).map(|d| at(image, row, 0, head, d) * at(image, key, 1, head, d)).sum::<f64>().exp()
                };
                let scores: Vec<f64> = (0..tokens).map(score).collect();
                let sum: f64 = scores.iter().sum();
                for d in 0..width {
                    let expected = (0..tokens).map(|key| scores[key] / sum * at(image, key, 2, head, d)).sum();
                    let place = (image * tokens + row) * pitch(heads * width) + head * width + d;
                    assert_close(isa.name(), out[place], expected, 5e-6);
                }
            }
        }
    }
}

#[test]
fn maps() {
    for isa in Isa::available() {
        let x = Sample::new(17, [5, 8], 6);
        let mut out = vec![0.0; 2 * 3 * pitch(6)];
        pool(isa, &x.values, x.size, 6, pitch(6), &mut out);
        for (i, j, c) in (0..2).flat_map(|i| (0..3).flat_map(move |j| (0..6).map(move |c| (i, j, c)))) {
            let window = (0..9).map(|n| x.at((2 * i + n / 3) as isize, (2 * j + n % 3) as isize, c));
            assert_close("pool", out[(i * 3 + j) * pitch(6) + c], window.fold(f64::MIN, f64::max), 0.0);
        }

        let (up, skip) = (Sample::new(18, [3, 4], 10), Sample::new(19, [5, 8], 7));
        let gap = 10usize.next_multiple_of(isa.lanes());
        let apart = pitch(gap + 7);
        let mut out = vec![f32::NAN; 6 * 8 * apart];
        upsample(isa, up.map(), Some(skip.map()), [6, 8], &mut out, apart);
        for (i, j) in (0..6).flat_map(|i| (0..8).map(move |j| (i, j))) {
            let pixel = &out[(i * 8 + j) * apart..][..gap + 7];
            let (y, x) = (i as f64 * 2.0 / 5.0, j as f64 * 3.0 / 7.0);
            let (low, left) = (y.floor(), x.floor());
            for (c, &ours) in pixel[..10].iter().enumerate() {
                let at = |i: f64, j: f64| up.at((low + i) as isize, (left + j) as isize, c);
                let (down, share) = (y - low, x - left);
                let near = at(0.0, 0.0) * (1.0 - down) + at(1.0, 0.0) * down;
                let far = at(0.0, 1.0) * (1.0 - down) + at(1.0, 1.0) * down;
                assert_close("upsampled", ours, near * (1.0 - share) + far * share, 1e-6);
            }
            assert!(pixel[10..gap].iter().all(|&x| x == 0.0));
            for c in 0..7 {
                assert_close("skip", pixel[gap + c], skip.at(i as isize, j as isize, c), 0.0);
            }
        }
    }
    let planes = noise(20, 2 * 3);
    let mut out = vec![f32::NAN; 5 * 6 * 2];
    interleave(&planes, [2, 3], 2, [1, 2], [5, 6], &mut out);
    for (n, pixel) in out.chunks_exact(2).enumerate() {
        let (i, j) = (n / 6, n % 6);
        let inside = (1..3).contains(&i) && (2..5).contains(&j);
        let expected = if inside { planes[(i - 1) * 3 + j - 2] } else { 0.0 };
        assert_eq!(pixel, [expected; 2]);
    }
}
