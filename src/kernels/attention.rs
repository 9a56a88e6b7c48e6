//! Attention of several heads over tokens (Vaswani et al., arXiv:1706.03762), heads side by side in each token.

use std::sync::Arc;

use rayon::prelude::*;

use super::activation::softmax;
use super::gemm::{Strides, gemm};
use super::operation::{Array, Operation};
use super::simd::buffer::Buffer;
use super::simd::{Isa, Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub heads: usize,
}

/// One image's part of queries, keys and values `[b, n, hidden]`, and of a head in it.
struct Head {
    tokens: usize,
    hidden: usize,
    width: usize,
    /// First value.
    start: usize,
}

impl Attention {
    fn heads(&self, shape: &[usize]) -> Vec<Head> {
        let (tokens, hidden) = (shape[1], shape[2]);
        let width = hidden / self.heads;
        let head = |n: usize| n / self.heads * tokens * hidden + n % self.heads * width;
        (0..shape[0] * self.heads).map(|n| Head { tokens, hidden, width, start: head(n) }).collect()
    }
}

impl Head {
    fn rows(&self) -> Strides {
        Strides::of_rows(self.hidden)
    }

    fn columns(&self) -> Strides {
        Strides::transposed(self.hidden)
    }

    fn square(&self) -> Strides {
        Strides::of_rows(self.tokens)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Puts a head's `[n, width]` into its place of an image's `[n, hidden]`.
    fn place(&self, values: &[f32], out: &mut [f32]) {
        for (row, out) in values.chunks_exact(self.width).zip(out.chunks_exact_mut(self.hidden)) {
            out[self.start % self.hidden..][..self.width].copy_from_slice(row);
        }
    }
}

/// Turns products of queries and keys into weights.
struct Weigh<'a> {
    scores: &'a mut [f32],
    tokens: usize,
    scale: f32,
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for scores in self.scores.chunks_exact_mut(self.tokens) {
            for score in scores.iter_mut() {
                *score *= self.scale;
            }
            softmax(scores);
        }
    }
}

/// Turns the derivative by weights into that by products of queries and keys.
struct ByScores<'a> {
    flow: &'a mut [f32],
    weights: &'a [f32],
    tokens: usize,
    scale: f32,
}

impl Kernel for ByScores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (flow, weights) in self.flow.chunks_exact_mut(self.tokens).zip(self.weights.chunks_exact(self.tokens)) {
            let mut lanes = [0.0f32; 16];
            for (flow, weights) in flow.chunks(lanes.len()).zip(weights.chunks(lanes.len())) {
                for (lane, (g, p)) in lanes.iter_mut().zip(flow.iter().zip(weights)) {
                    *lane += g * p;
                }
            }
            let mean = lanes.iter().sum::<f32>();
            for (g, p) in flow.iter_mut().zip(weights) {
                *g = p * (*g - mean) * self.scale;
            }
        }
    }
}

/// All heads' `[n, width]` to `[b, n, hidden]`.
fn joined(heads: &[Head], parts: &[Buffer], of: usize) -> Buffer {
    let image = heads[0].tokens * heads[0].hidden;
    let count = heads[0].hidden / heads[0].width;
    let mut out = Buffer::any(heads.len() / count * image);
    out.par_chunks_exact_mut(image).enumerate().for_each(|(n, out)| {
        for at in n * count..(n + 1) * count {
            let len = heads[at].tokens * heads[at].width;
            heads[at].place(&parts[at][of * len..][..len], out);
        }
    });
    out
}

impl Operation<3> for Attention {
    /// Of each head its `[n, n]` weights.
    type Saved = Arc<Vec<Buffer>>;

    fn forward(&self, [query, key, value]: [Array; 3]) -> (Vec<usize>, Buffer, Self::Saved) {
        let (isa, heads) = (Isa::fastest(), self.heads(query.shape));
        let found = heads.par_iter().map(|head| {
            let (n, width) = (head.tokens, head.width);
            let [query, key, value] = [&query, &key, &value].map(|array| &array.values[head.start..]);
            let mut scores = Buffer::any(n * n);
            gemm([n, width, n], query, head.rows(), key, head.columns(), &mut scores, head.square(), false);
            isa.run(Weigh { scores: &mut scores, tokens: n, scale: head.scale() });
            let mut mixed = Buffer::any(n * width);
            gemm([n, n, width], &scores, head.square(), value, head.rows(), &mut mixed, Strides::of_rows(width), false);
            (scores, mixed)
        });
        let (weights, mixed): (Vec<_>, Vec<_>) = found.unzip();
        (query.shape.to_vec(), joined(&heads, &mixed, 0), Arc::new(weights))
    }

    fn backward(
        &self,
        [query, key, value]: [Array; 3],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Buffer>; 3] {
        let (isa, heads) = (Isa::fastest(), self.heads(query.shape));
        // Of each head the three derivatives, one after the other.
        let parts: Vec<Buffer> = (heads.par_iter().zip(saved.par_iter()))
            .map(|(head, weights)| {
                let (n, width) = (head.tokens, head.width);
                let [query, key, value] = [&query, &key, &value].map(|array| &array.values[head.start..]);
                let flow = &gradient[head.start..];
                let narrow = Strides::of_rows(width);
                let mut by_weights = Buffer::any(n * n);
                gemm([n, width, n], flow, head.rows(), value, head.columns(), &mut by_weights, head.square(), false);
                isa.run(ByScores { flow: &mut by_weights, weights, tokens: n, scale: head.scale() });
                let mut out = Buffer::any(3 * n * width);
                let (by_query, rest) = out.split_at_mut(n * width);
                let (by_key, by_value) = rest.split_at_mut(n * width);
                gemm([n, n, width], &by_weights, head.square(), key, head.rows(), by_query, narrow, false);
                let turned = Strides::transposed(n);
                gemm([n, n, width], &by_weights, turned, query, head.rows(), by_key, narrow, false);
                gemm([n, n, width], weights, turned, flow, head.rows(), by_value, narrow, false);
                out
            })
            .collect();
        [0, 1, 2].map(|of| wanted[of].then(|| joined(&heads, &parts, of)))
    }
}
