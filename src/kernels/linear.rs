//! Affine map of rows `[.., in]` by `[out, in]`, and its derivatives.

use super::operation::{Array, Operation};
use super::rows;
use super::simd::buffer::Buffer;
use super::simd::correlate::{Pair, correlate};
use super::simd::product::{Activation, Left, Packed, multiply};
use super::simd::{Isa, parallel};

#[derive(Debug, Clone, Copy)]
pub struct Linear;

/// `[rows, columns]`: `x` `[rows, depth]` times `weight(row, column)`, plus bias.
fn product(
    x: &[f32],
    [depth, columns]: [usize; 2],
    bias: &[f32],
    weight: impl Fn(usize, usize) -> f32 + Sync,
) -> Buffer {
    let isa = Isa::fastest();
    let packed = Packed::new(isa, [1, depth, columns], bias, weight);
    let rows = x.len() / depth;
    let (values, apart) = rows::spaced(x, depth);
    let left = Left::Rows { values: &values, rows, pitch: apart };
    rows::written(isa, rows, columns, |out, pitch| multiply(&left, &packed, out, pitch, false, Activation::None))
}

impl Operation<3> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Buffer, ()) {
        let (outputs, inputs) = (weight.shape[0], weight.shape[1]);
        let out = product(x.values, [inputs, outputs], bias.values, |i, o| weight.values[o * inputs + i]);
        let mut shape = x.shape.to_vec();
        shape.pop();
        shape.push(outputs);
        (shape, out, ())
    }

    fn backward(
        &self,
        [x, weight, _]: [Array; 3],
        _saved: &(),
        gradient: &[f32],
        [by_x, by_weight, by_bias]: [bool; 3],
    ) -> [Option<Buffer>; 3] {
        let (outputs, inputs) = (weight.shape[0], weight.shape[1]);
        [
            by_x.then(|| product(gradient, [outputs, inputs], &[], |o, i| weight.values[o * inputs + i])),
            by_weight.then(|| {
                let isa = Isa::fastest();
                let windows = Left::Rows { values: x.values, rows: x.values.len() / inputs, pitch: inputs };
                let pair = Pair { flow: gradient, pitch: outputs, windows };
                rows::written(isa, outputs, inputs, |out, _| correlate(isa, &[pair], [outputs, 1, inputs], out))
            }),
            by_bias.then(|| column_sums(gradient, outputs)),
        ]
    }
}

/// Rows that are summed in f32 before their sums are, in f64.
const RUN: usize = 64;

/// Sum of each column of rows of `columns`.
fn column_sums(rows: &[f32], columns: usize) -> Buffer {
    let runs = rows.len().div_ceil(RUN * columns);
    let isa = Isa::fastest();
    let mut sums = vec![0.0f32; runs * columns];
    parallel::chunks(&mut sums, columns, |n, sums| {
        isa.compiled(|| {
            for row in rows.chunks_exact(columns).skip(n * RUN).take(RUN) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        });
    });
    let mut total = vec![0.0f64; columns];
    for sums in sums.chunks_exact(columns) {
        total.iter_mut().zip(sums).for_each(|(total, &sum)| *total += f64::from(sum));
    }
    let mut out = Buffer::any(columns);
    out.iter_mut().zip(total).for_each(|(out, total)| *out = total as f32);
    out
}
