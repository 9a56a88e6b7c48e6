//! The ViT encoder: patches to tokens, positions, pre-norm attention and MLP blocks.
//!
//! Source: Dosovitskiy et al., arXiv:2010.11929, without a class token.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels::Kernels;

use super::architecture::{Architecture, PATCH};
use super::layers::{Conv2d, LayerNorm, Linear, position_embedding};
use super::pass::Pass;
use super::stem::Stem;

#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    pub embeddings: Embeddings<B>,
    pub encoder: Encoder<B>,
}

#[derive(Module, Debug)]
pub struct Embeddings<B: Backend> {
    pub hybrid_model: Option<Stem<B>>,
    pub patch_embeddings: Conv2d<B>,
    pub position_embeddings: Param<Tensor<B, 3>>,
    /// Rows and columns of tokens that the position embedding belongs to.
    grid: [usize; 2],
}

#[derive(Module, Debug)]
pub struct Encoder<B: Backend> {
    pub layer: Vec<Block<B>>,
    pub encoder_norm: LayerNorm<B>,
}

#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    pub attention_norm: LayerNorm<B>,
    pub ffn_norm: LayerNorm<B>,
    pub ffn: Mlp<B>,
    pub attn: Attention<B>,
}

#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    pub fc1: Linear<B>,
    pub fc2: Linear<B>,
}

#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    pub query: Linear<B>,
    pub key: Linear<B>,
    pub value: Linear<B>,
    pub out: Linear<B>,
    heads: usize,
}

impl<B: Kernels> Transformer<B> {
    pub fn new(config: &Architecture, device: &B::Device) -> Self {
        let hidden = config.hidden;
        let patch_embeddings = match &config.stem {
            Some(stem) => Conv2d::new([hidden, 16 * stem.width, 1, 1], true, 1, 0, device),
            None => Conv2d::new([hidden, config.channels, PATCH, PATCH], true, PATCH, 0, device),
        };
        let grid = config.grid();
        Transformer {
            embeddings: Embeddings {
                hybrid_model: config.stem.as_ref().map(|stem| Stem::new(stem, config.channels, device)),
                patch_embeddings,
                position_embeddings: position_embedding(grid[0] * grid[1], hidden, device),
                grid,
            },
            encoder: Encoder {
                layer: (0..config.layers).map(|_| Block::new(config, device)).collect(),
                encoder_norm: LayerNorm::new(hidden, device),
            },
        }
    }

    /// `[b, h, w, channels]` to encoded tokens as a map `[b, h/16, w/16, hidden]`, and the stem's skips.
    pub fn forward(&self, x: Tensor<B, 4>, pass: &mut impl Pass<B>) -> (Tensor<B, 4>, Option<[Tensor<B, 4>; 3]>) {
        let (mut x, grid, skips) = self.embeddings.forward(x, pass);
        for (index, block) in self.encoder.layer.iter().enumerate() {
            x = block.forward(x, [index, self.encoder.layer.len()], pass);
        }
        let x = self.encoder.encoder_norm.forward(x);
        pass.see("encoder.encoder_norm", &x);
        let [batch, _, hidden] = x.dims();
        (x.reshape([batch, grid[0], grid[1], hidden]), skips)
    }
}

/// Tokens `[b, n, hidden]`, their grid, and the stem's skips.
type Embedded<B> = (Tensor<B, 3>, [usize; 2], Option<[Tensor<B, 4>; 3]>);

impl<B: Kernels> Embeddings<B> {
    fn forward(&self, x: Tensor<B, 4>, pass: &mut impl Pass<B>) -> Embedded<B> {
        let (x, skips) = match &self.hybrid_model {
            Some(stem) => {
                let (x, skips) = stem.forward(x, pass);
                (x, Some(skips))
            }
            None => (x, None),
        };
        let x = self.patch_embeddings.forward(x);
        pass.see_map("patch_embeddings", &x);
        let [_, rows, columns, _] = x.dims();
        let positions = self.positions([rows, columns]).cast(x.dtype());
        let tokens = x.flatten::<3>(1, 2) + positions;
        let tokens = pass.drop_values(tokens);
        pass.see("embeddings", &tokens);
        (tokens, [rows, columns], skips)
    }

    /// The position embedding for a grid of `[rows, columns]`, interpolated where it differs from the trained one.
    fn positions(&self, grid: [usize; 2]) -> Tensor<B, 3> {
        let positions = self.position_embeddings.val();
        if grid == self.grid {
            return positions;
        }
        let [_, _, hidden] = positions.dims();
        let map = positions.reshape([1, self.grid[0], self.grid[1], hidden]);
        B::bilinear(map, grid).flatten::<3>(1, 2)
    }
}

impl<B: Kernels> Block<B> {
    pub fn new(config: &Architecture, device: &B::Device) -> Self {
        let hidden = config.hidden;
        let square = || Linear::new(hidden, hidden, device);
        Block {
            attention_norm: LayerNorm::new(hidden, device),
            ffn_norm: LayerNorm::new(hidden, device),
            ffn: Mlp { fc1: Linear::new(hidden, config.mlp, device), fc2: Linear::new(config.mlp, hidden, device) },
            attn: Attention { query: square(), key: square(), value: square(), out: square(), heads: config.heads },
        }
    }

    /// Shape is kept: `[b, n, hidden]`. `index` of `count` is the block's place in the encoder.
    pub fn forward(&self, x: Tensor<B, 3>, [index, count]: [usize; 2], pass: &mut impl Pass<B>) -> Tensor<B, 3> {
        let normed = self.attention_norm.forward(x.clone());
        pass.see(&format!("encoder.layer.{index}.attention_norm"), &normed);
        let attended = self.attn.forward(normed);
        pass.see(&format!("encoder.layer.{index}.attn"), &attended);
        let x = x + pass.drop_branch(attended, index, count);
        let mixed = self.ffn.forward(self.ffn_norm.forward(x.clone()), pass);
        pass.see(&format!("encoder.layer.{index}.ffn"), &mixed);
        let x = x + pass.drop_branch(mixed, index, count);
        pass.see(&format!("encoder.layer.{index}"), &x);
        x
    }
}

impl<B: Kernels> Mlp<B> {
    /// Shape is kept: `[b, n, hidden]`. GELU in its exact (erf) form.
    pub fn forward(&self, x: Tensor<B, 3>, pass: &mut impl Pass<B>) -> Tensor<B, 3> {
        let inner = pass.drop_values(B::gelu_of(self.fc1.forward(x)));
        pass.drop_values(self.fc2.forward(inner))
    }
}

impl<B: Kernels> Attention<B> {
    /// Shape is kept: `[b, n, hidden]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let (query, key) = (self.query.forward(x.clone()), self.key.forward(x.clone()));
        self.out.forward(B::attention_of(query, key, self.value.forward(x), self.heads))
    }
}
