//! The cascaded decoder and the segmentation head, as `network::decoder` describes them.

use crate::error::Result;
use crate::kernels::simd::maps::{Map, upsample};
use crate::kernels::simd::product::Activation;
use crate::network::Architecture;

use super::arena::{Feature, Run};
use super::layers::{Convolution, Kernels, Parts, Reader};

#[derive(Debug)]
pub struct Decoder {
    conv_more: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
}

#[derive(Debug)]
struct Block {
    inputs: Parts,
    convolutions: [Convolution; 2],
}

impl Decoder {
    pub fn new(reader: &mut Reader, of: &Architecture) -> Result<Self> {
        let mut size = of.grid();
        let conv_more = Convolution::normalized(reader, "decoder.conv_more", [of.hidden, 0], of.head_channels, size)?;
        let mut inputs = of.head_channels;
        let mut blocks = Vec::with_capacity(4);
        for (index, (&outputs, skip)) in of.decoder_channels.iter().zip(of.skip_channels()).enumerate() {
            size = size.map(|side| 2 * side);
            let name = |part: &str| format!("decoder.blocks.{index}.{part}");
            let convolutions = [
                Convolution::normalized(reader, &name("conv1"), [inputs, skip], outputs, size)?,
                Convolution::normalized(reader, &name("conv2"), [outputs, 0], outputs, size)?,
            ];
            blocks.push(Block { inputs: Parts::two(reader.isa, [inputs, skip]), convolutions });
            inputs = outputs;
        }
        let values = reader.tensor("segmentation_head.0.weight", &[of.classes, inputs, 3, 3])?;
        let bias = reader.tensor("segmentation_head.0.bias", &[of.classes])?;
        let kernels = Kernels { values, outputs: of.classes, inputs: Parts::one(inputs), side: 3, bias };
        Ok(Decoder { conv_more, blocks, head: Convolution::new(reader.isa, &kernels, 1, size) })
    }

    /// Encoded tokens of one image as a map and its skips, deepest first, to logits `[16h, 16w, classes]`.
    pub fn forward(&self, run: &mut Run, tokens: Map, skips: Vec<Feature>) -> Result<Feature> {
        let mut x = self.conv_more.forward(run, tokens, Activation::Relu)?;
        let mut skips = skips.into_iter();
        for block in &self.blocks {
            run.check()?;
            let skip = skips.next();
            let mut joined = run.feature(x.size.map(|side| 2 * side), block.inputs.len())?;
            let (size, pitch) = (joined.size, joined.pitch());
            upsample(run.isa, x.map(), skip.as_ref().map(Feature::map), size, &mut joined.values, pitch);
            run.free(x.values);
            skip.into_iter().for_each(|skip| run.free(skip.values));
            let [first, second] = &block.convolutions;
            let y = first.forward(run, joined.map(), Activation::Relu)?;
            run.free(joined.values);
            x = second.forward(run, y.map(), Activation::Relu)?;
            run.free(y.values);
        }
        let logits = self.head.forward(run, x.map(), Activation::None)?;
        run.free(x.values);
        Ok(logits)
    }
}
