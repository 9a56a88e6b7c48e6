//! Two maps `[b, h, w, c]` made one: a residual sum that is cut at zero, and channels side by side.

use std::sync::Arc;

use rayon::prelude::*;

use super::operation::{Array, Operation};
use super::simd::Isa;
use super::simd::buffer::Buffer;

const CHUNK: usize = 16 << 10;

/// `relu(x + y)` of equal shapes.
#[derive(Debug, Clone, Copy)]
pub struct AddRelu;

impl Operation<2> for AddRelu {
    type Saved = ();

    fn forward(&self, [x, y]: [Array; 2]) -> (Vec<usize>, Buffer, ()) {
        let (isa, mut out) = (Isa::fastest(), Buffer::any(x.values.len()));
        let chunks = out.par_chunks_mut(CHUNK).zip(x.values.par_chunks(CHUNK)).zip(y.values.par_chunks(CHUNK));
        chunks.for_each(|((out, x), y)| {
            isa.compiled(|| out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out = (x + y).max(0.0)));
        });
        (x.shape.to_vec(), out, ())
    }

    fn backward(&self, [x, y]: [Array; 2], _saved: &(), gradient: &[f32], wanted: [bool; 2]) -> [Option<Buffer>; 2] {
        let isa = Isa::fastest();
        let [mut first, mut second] = wanted.map(|wanted| Buffer::any(if wanted { gradient.len() } else { 0 }));
        let cut = |out: &mut [f32], x: &[f32], y: &[f32], g: &[f32]| {
            for (((out, x), y), g) in out.iter_mut().zip(x).zip(y).zip(g) {
                *out = if x + y > 0.0 { *g } else { 0.0 };
            }
        };
        let inputs = x.values.par_chunks(CHUNK).zip(y.values.par_chunks(CHUNK)).zip(gradient.par_chunks(CHUNK));
        if wanted == [true; 2] {
            let outs = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
            outs.zip(inputs).for_each(|((first, second), ((x, y), g))| {
                isa.compiled(|| cut(first, x, y, g));
                second.copy_from_slice(first);
            });
        } else {
            let out = if wanted[0] { &mut first } else { &mut second };
            out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, ((x, y), g))| isa.compiled(|| cut(out, x, y, g)));
        }
        [wanted[0].then_some(first), wanted[1].then_some(second)]
    }
}

/// Channels of `x`, then those of `y`, which is smaller or of the same size: zeros below and to the right.
#[derive(Debug, Clone, Copy)]
pub struct Join;

impl Operation<2> for Join {
    type Saved = Arc<[[usize; 4]; 2]>;

    fn forward(&self, [x, y]: [Array; 2]) -> (Vec<usize>, Buffer, Self::Saved) {
        let shapes = [x.shape, y.shape].map(|shape| [shape[0], shape[1], shape[2], shape[3]]);
        let [[batch, height, width, first], [_, rows, columns, second]] = shapes;
        let mut out = Buffer::any(batch * height * width * (first + second));
        out.par_chunks_exact_mut(width * (first + second)).enumerate().for_each(|(n, out)| {
            let (image, row) = (n / height, n % height);
            let x = x.values[n * width * first..].chunks_exact(first);
            let mut y = y.values[(image * rows + row.min(rows - 1)) * columns * second..].chunks_exact(second);
            let inside = if row < rows { columns } else { 0 };
            for (column, (out, x)) in out.chunks_exact_mut(first + second).zip(x).enumerate() {
                out[..first].copy_from_slice(x);
                match y.next().filter(|_| column < inside) {
                    Some(y) => out[first..].copy_from_slice(y),
                    None => out[first..].fill(0.0),
                }
            }
        });
        (vec![batch, height, width, first + second], out, Arc::new(shapes))
    }

    fn backward(
        &self,
        _inputs: [Array; 2],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; 2],
    ) -> [Option<Buffer>; 2] {
        let [[_, height, width, first], [.., second]] = **saved;
        let part = |[batch, tall, wide, channels]: [usize; 4], start: usize| {
            let mut out = Buffer::any(batch * tall * wide * channels);
            out.par_chunks_exact_mut(wide * channels).enumerate().for_each(|(n, out)| {
                let line = (n / tall * height + n % tall) * width * (first + second);
                let source = gradient[line..].chunks_exact(first + second);
                for (out, source) in out.chunks_exact_mut(channels).zip(source) {
                    out.copy_from_slice(&source[start..start + channels]);
                }
            });
            out
        };
        let [x, y] = **saved;
        [wanted[0].then(|| part(x, 0)), wanted[1].then(|| part(y, first))]
    }
}
