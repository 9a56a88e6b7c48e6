//! Affine map of rows `[.., in]` by `[out, in]`, and its derivatives.

use super::conv::spaced_rows;
use super::operation::{Array, Operation};
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
) -> Vec<f32> {
    let isa = Isa::fastest();
    let packed = Packed::new(isa, [1, depth, columns], bias, weight);
    let rows = x.len() / depth;
    let pitch = columns.next_multiple_of(isa.lanes());
    let mut out = vec![0.0; rows * pitch];
    let (values, apart) = spaced_rows(x, depth);
    multiply(&Left::Rows { values: &values, rows, pitch: apart }, &packed, &mut out, pitch, false, Activation::None);
    if pitch == columns { out } else { out.chunks_exact(pitch).flat_map(|row| &row[..columns]).copied().collect() }
}

impl Operation<3> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Vec<usize>, Vec<f32>, ()) {
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
    ) -> [Option<Vec<f32>>; 3] {
        let (outputs, inputs) = (weight.shape[0], weight.shape[1]);
        [
            by_x.then(|| product(gradient, [outputs, inputs], &[], |o, i| weight.values[o * inputs + i])),
            by_weight.then(|| {
                // The sums for `[out, in]`: what flows back on the left, inputs on the right.
                let isa = Isa::fastest();
                let width = inputs.next_multiple_of(isa.lanes());
                let (right, apart) = spaced_rows(x.values, inputs);
                let (flow, pitch) = spaced_rows(gradient, outputs);
                let left = Left::Rows { values: &flow, rows: gradient.len() / outputs, pitch };
                let mut out = vec![0.0; outputs * width];
                correlate(isa, &[Pair { left, right: &right, pitch: apart }], [1, outputs, inputs], &mut out);
                if width == inputs {
                    out
                } else {
                    out.chunks_exact(width).flat_map(|row| &row[..inputs]).copied().collect()
                }
            }),
            by_bias.then(|| column_sums(gradient, outputs)),
        ]
    }
}

/// Rows that are summed in f32 before their sums are, in f64.
const RUN: usize = 64;

/// Sum of each column of rows of `columns`.
fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let runs = rows.len().div_ceil(RUN * columns);
    let mut sums = vec![0.0f32; runs * columns];
    parallel::chunks(&mut sums, columns, |n, sums| {
        for row in rows.chunks_exact(columns).skip(n * RUN).take(RUN) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    });
    let mut total = vec![0.0f64; columns];
    for sums in sums.chunks_exact(columns) {
        total.iter_mut().zip(sums).for_each(|(total, &sum)| *total += f64::from(sum));
    }
    total.into_iter().map(|sum| sum as f32).collect()
}
