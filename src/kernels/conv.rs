//! Convolution of maps `[b, h, w, in]` with a square kernel `[out, in, k, k]`, and its derivatives.

use super::operation::{Array, Operation};
use super::rows::{self, Values};
use super::simd::buffer::Buffer;
use super::simd::correlate::{Pair, correlate};
use super::simd::maps::Map;
use super::simd::product::{Activation, Left, Packed, Windows, multiply};
use super::simd::winograd::Winograd;
use super::simd::{Isa, WIDEST, parallel};

#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    pub stride: usize,
    pub padding: usize,
}

/// Maps `[b, height, width, channels]` without gaps.
#[derive(Clone, Copy)]
struct Maps<'a> {
    values: &'a [f32],
    size: [usize; 2],
    channels: usize,
}

impl<'a> Maps<'a> {
    fn of(array: &Array<'a>) -> Self {
        Maps { values: array.values, size: [array.shape[1], array.shape[2]], channels: array.shape[3] }
    }

    fn images(&self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.size[0] * self.size[1] * self.channels)
    }

    /// Each image in a frame of zeros.
    fn framed(&self, frame: usize) -> Buffer {
        let [height, width] = self.size;
        let row = (width + 2 * frame) * self.channels;
        let tall = height + 2 * frame;
        let mut out = Buffer::any(self.images().len() * tall * row);
        parallel::chunks(&mut out, row, |n, out| {
            let (image, line) = (n / tall, (n % tall).wrapping_sub(frame));
            if line >= height {
                return out.fill(0.0);
            }
            let line = &self.values[(image * height + line) * width * self.channels..][..width * self.channels];
            let (left, rest) = out.split_at_mut(frame * self.channels);
            left.fill(0.0);
            rest[..line.len()].copy_from_slice(line);
            rest[line.len()..].fill(0.0);
        });
        out
    }

    /// Each pixel followed by `stride - 1` pixels of zeros to the right and below, up to `size`.
    fn spread(&self, stride: usize, size: [usize; 2]) -> Buffer {
        let [height, width] = self.size;
        let row = size[1] * self.channels;
        let mut out = Buffer::zeros(self.images().len() * size[0] * row);
        parallel::chunks(&mut out, size[0] * row, |n, out| {
            let image = &self.values[n * height * width * self.channels..];
            for (i, line) in image.chunks_exact(width * self.channels).take(height).enumerate() {
                for (j, pixel) in line.chunks_exact(self.channels).enumerate() {
                    out[i * stride * row + j * stride * self.channels..][..self.channels].copy_from_slice(pixel);
                }
            }
        });
        out
    }
}

/// Rows whose products with a matrix `[taps * run, ...]` make a convolution of one image.
struct Unrolled<'a> {
    /// Of all images; those in a frame have it with them.
    values: Values<'a>,
    size: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    /// Neighbouring pixels of a window that are one run.
    joined: usize,
    stride: usize,
    padding: usize,
    out: [usize; 2],
}

impl<'a> Unrolled<'a> {
    fn new(maps: Maps<'a>, side: usize, stride: usize, padding: usize) -> Self {
        let out = maps.size.map(|length| (length + 2 * padding - side) / stride + 1);
        let Maps { values, size, channels } = maps;
        if side == 1 || (side == 3 && channels >= WIDEST) {
            let (kernel, values) = ([side; 2], Values::Lent(values));
            return Unrolled { values, size, channels, kernel, joined: 1, stride, padding, out };
        }
        // Lines of a window are one run each, which is longer; a frame saves the cases at the edges.
        let values = if padding == 0 { Values::Lent(values) } else { Values::Own(maps.framed(padding)) };
        let size = size.map(|length| length + 2 * padding);
        Unrolled { values, size, channels, kernel: [side, 1], joined: side, stride, padding: 0, out }
    }

    fn image(&self, n: usize) -> Left<'_> {
        let len = self.size[0] * self.size[1] * self.channels;
        Left::Windows(Windows {
            values: &self.values[n * len..(n + 1) * len],
            size: self.size,
            pitch: self.channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: [self.padding; 2],
            out: self.out,
        })
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn run(&self) -> usize {
        self.joined * self.channels
    }
}

/// `[b, h', w', outputs]`, where `weight(output, input, place)` is the kernel.
fn convolve(
    x: Maps,
    [side, stride, padding]: [usize; 3],
    outputs: usize,
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> ([usize; 2], Buffer) {
    let isa = Isa::fastest();
    let area = |size: [usize; 2]| size[0] * size[1];
    let whole = x.channels.is_multiple_of(WIDEST) && outputs.is_multiple_of(WIDEST);
    if whole && [side, stride, padding] == [3, 1, 1] {
        let mut out = Buffer::any(x.images().len() * area(x.size) * outputs);
        let tiles = Winograd::new(isa, 4, [x.channels, outputs], &[], |input, output| {
            std::array::from_fn(|place| weight(output, input, place))
        });
        for (out, values) in out.chunks_exact_mut(area(x.size) * outputs).zip(x.images()) {
            let map = Map { values, size: x.size, channels: x.channels, pitch: x.channels };
            tiles.convolve(map, out, outputs, Activation::None);
        }
        return (x.size, out);
    }
    let rows = Unrolled::new(x, side, stride, padding);
    let packed = Packed::new(isa, [rows.taps(), rows.run(), outputs], &[], |row, output| {
        weight(output, row % x.channels, row / x.channels)
    });
    let out = rows::written(isa, x.images().len() * area(rows.out), outputs, |out, pitch| {
        if [side, stride, padding] == [1, 1, 0] {
            let (values, apart) = rows::spaced(x.values, x.channels);
            let all = Left::Rows { values: &values, rows: x.values.len() / x.channels, pitch: apart };
            multiply(&all, &packed, out, pitch, false, Activation::None);
            return;
        }
        for (n, out) in out.chunks_exact_mut(area(rows.out) * pitch).enumerate() {
            multiply(&rows.image(n), &packed, out, pitch, false, Activation::None);
        }
    });
    (rows.out, out)
}

impl Operation<2> for Convolution {
    type Saved = ();

    fn forward(&self, [x, weight]: [Array; 2]) -> (Vec<usize>, Buffer, ()) {
        let [outputs, inputs, side, _] = weight.shape[..] else { unreachable!("four sides") };
        let kernel = weight.values;
        let (size, values) = convolve(Maps::of(&x), [side, self.stride, self.padding], outputs, |o, i, place| {
            kernel[(o * inputs + i) * side * side + place]
        });
        (vec![x.shape[0], size[0], size[1], outputs], values, ())
    }

    fn backward(
        &self,
        [x, weight]: [Array; 2],
        _saved: &(),
        gradient: &[f32],
        [by_x, by_weight]: [bool; 2],
    ) -> [Option<Buffer>; 2] {
        let [outputs, inputs, side, _] = weight.shape[..] else { unreachable!("four sides") };
        let x = Maps::of(&x);
        let size = x.size.map(|length| (length + 2 * self.padding - side) / self.stride + 1);
        let flow = Maps { values: gradient, size, channels: outputs };
        [
            by_x.then(|| self.by_input(flow, weight.values, [outputs, inputs, side], x.size)),
            by_weight.then(|| self.by_weight(x, flow, side)),
        ]
    }
}

impl Convolution {
    /// The convolution of what flows back, pixels as far apart as the stride, with the kernel turned by 180 degrees and
    /// inputs and outputs exchanged.
    fn by_input(&self, flow: Maps, kernel: &[f32], [outputs, inputs, side]: [usize; 3], size: [usize; 2]) -> Buffer {
        let turned =
            |i: usize, o: usize, place: usize| kernel[(o * inputs + i) * side * side + side * side - 1 - place];
        if side == 1 && self.padding == 0 {
            let (_, out) = convolve(flow, [1, 1, 0], inputs, turned);
            return if self.stride == 1 {
                out
            } else {
                Maps { values: &out, channels: inputs, ..flow }.spread(self.stride, size)
            };
        }
        // Of this size the turned kernel, with its own padding, makes the input's.
        let spread_size = size.map(|length| length + 2 * self.padding + 1 - side);
        let spread = if self.stride == 1 {
            Values::Lent(flow.values)
        } else {
            Values::Own(flow.spread(self.stride, spread_size))
        };
        let flow = Maps { values: &spread, size: spread_size, channels: outputs };
        if self.padding < side {
            return convolve(flow, [side, 1, side - 1 - self.padding], inputs, turned).1;
        }
        unreachable!("no layer is padded by more than its kernel")
    }

    /// `[out, in, k, k]`.
    fn by_weight(&self, x: Maps, flow: Maps, side: usize) -> Buffer {
        let isa = Isa::fastest();
        let (inputs, outputs) = (x.channels, flow.channels);
        let rows = Unrolled::new(x, side, self.stride, self.padding);
        let image = flow.size[0] * flow.size[1] * outputs;
        let pairs: Vec<Pair> = if [side, self.stride, self.padding] == [1, 1, 0] {
            let all = Left::Rows { values: x.values, rows: x.values.len() / inputs, pitch: inputs };
            vec![Pair { flow: flow.values, pitch: outputs, windows: all }]
        } else {
            let images = flow.values.chunks_exact(image).enumerate();
            images.map(|(n, flow)| Pair { flow, pitch: outputs, windows: rows.image(n) }).collect()
        };
        // Lines of a window, or its pixels, begin at whole vectors.
        let width = rows.run().next_multiple_of(isa.lanes());
        let mut sums = Buffer::any(outputs * rows.taps() * width);
        correlate(isa, &pairs, [outputs, rows.taps(), rows.run()], &mut sums);
        let mut out = Buffer::any(outputs * inputs * side * side);
        parallel::chunks(&mut out, inputs * side * side, |output, out| {
            let sums = &sums[output * rows.taps() * width..];
            for place in 0..side * side {
                let sums = &sums[place / rows.joined * width + place % rows.joined * inputs..][..inputs];
                out[place..].iter_mut().step_by(side * side).zip(sums).for_each(|(out, sum)| *out = *sum);
            }
        });
        out
    }
}
