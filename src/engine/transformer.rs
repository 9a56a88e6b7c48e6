//! The ViT encoder, as `network::transformer` describes it, on rows of tokens of all images.

use crate::error::Result;
use crate::kernels::simd::WIDEST;
use crate::kernels::simd::attention::{Heads, attend};
use crate::kernels::simd::product::{Activation, Packed, pitch};
use crate::network::Architecture;

use super::arena::{Feature, Run};
use super::layers::{LayerNorm, Linear, Reader};

#[derive(Debug)]
pub struct Encoder {
    layers: Vec<Layer>,
    norm: LayerNorm,
}

#[derive(Debug)]
struct Layer {
    attention_norm: LayerNorm,
    /// Queries, keys and values in one product.
    inputs: Linear,
    heads: usize,
    /// Values of a head, padded to whole vectors.
    width: usize,
    output: Linear,
    ffn_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    fn new(reader: &mut Reader, of: &Architecture, index: usize) -> Result<Self> {
        let name = |part: &str| format!("transformer.encoder.layer.{index}.{part}");
        let (hidden, heads) = (of.hidden, of.heads);
        let own = hidden / heads;
        let width = own.next_multiple_of(WIDEST);
        let mut weights = Vec::with_capacity(3);
        let mut bias = vec![0.0; 3 * heads * width];
        // Scores are divided by the root of a head's width: the queries are.
        for (part, (kind, scale)) in
            [("query", 1.0 / (own as f64).sqrt()), ("key", 1.0), ("value", 1.0)].into_iter().enumerate()
        {
            let mut weight = reader.tensor(&name(&format!("attn.{kind}.weight")), &[hidden, hidden])?;
            weight.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
            weights.push(weight);
            let values = reader.tensor(&name(&format!("attn.{kind}.bias")), &[hidden])?;
            for (n, value) in values.into_iter().enumerate() {
                bias[(part * heads + n / own) * width + n % own] = (f64::from(value) * scale) as f32;
            }
        }
        let inputs = Packed::new(reader.isa, [1, hidden, 3 * heads * width], &bias, |row, column| {
            let (part, head, d) = (column / width / heads, column / width % heads, column % width);
            if d < own { weights[part][(head * own + d) * hidden + row] } else { 0.0 }
        });
        drop(weights);
        let weight = reader.tensor(&name("attn.out.weight"), &[hidden, hidden])?;
        let bias = reader.tensor(&name("attn.out.bias"), &[hidden])?;
        let output = Packed::new(reader.isa, [1, heads * width, hidden], &bias, |row, column| {
            let (head, d) = (row / width, row % width);
            if d < own { weight[column * hidden + head * own + d] } else { 0.0 }
        });
        Ok(Layer {
            attention_norm: LayerNorm::new(reader, &name("attention_norm"), hidden)?,
            inputs: Linear(inputs),
            heads,
            width,
            output: Linear(output),
            ffn_norm: LayerNorm::new(reader, &name("ffn_norm"), hidden)?,
            fc1: Linear::new(reader, &name("ffn.fc1"), [hidden, of.mlp])?,
            fc2: Linear::new(reader, &name("ffn.fc2"), [of.mlp, hidden])?,
        })
    }

    fn forward(&self, run: &mut Run, x: &mut Feature, images: usize) -> Result<()> {
        let normed = self.attention_norm.forward(run, x)?;
        let inputs = self.inputs.forward(run, &normed, Activation::None)?;
        run.free(normed.values);
        run.check()?;
        let tokens = x.size[0] * x.size[1] / images;
        let heads = Heads { rows: &inputs.values, tokens, heads: self.heads, width: self.width, pitch: inputs.pitch() };
        let mut mixed = run.feature(x.size, self.heads * self.width)?;
        let apart = pitch(mixed.channels);
        attend(run.isa, heads, images, &mut mixed.values, apart);
        run.free(inputs.values);
        self.output.add_to(run, &mixed, x)?;
        run.free(mixed.values);
        let normed = self.ffn_norm.forward(run, x)?;
        let inner = self.fc1.forward(run, &normed, Activation::Gelu)?;
        run.free(normed.values);
        self.fc2.add_to(run, &inner, x)?;
        run.free(inner.values);
        Ok(())
    }
}

impl Encoder {
    pub fn new(reader: &mut Reader, of: &Architecture) -> Result<Self> {
        Ok(Encoder {
            layers: (0..of.layers).map(|index| Layer::new(reader, of, index)).collect::<Result<_>>()?,
            norm: LayerNorm::new(reader, "transformer.encoder.encoder_norm", of.hidden)?,
        })
    }

    /// Tokens of all images, `[images, tokens]` rows of `hidden`, to the same, encoded.
    pub fn forward(&self, run: &mut Run, mut x: Feature, images: usize) -> Result<Feature> {
        for layer in &self.layers {
            layer.forward(run, &mut x, images)?;
        }
        let encoded = self.norm.forward(run, &x)?;
        run.free(x.values);
        Ok(encoded)
    }
}
