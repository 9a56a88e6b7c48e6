//! The cascaded decoder: upsample by two, join the skip of the same scale, convolve; four times.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels::Kernels;

use super::architecture::Architecture;
use super::layers::{BatchNorm, Conv2d};
use super::pass::Pass;

#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    pub conv_more: ConvNorm<B>,
    pub blocks: Vec<DecoderBlock<B>>,
}

/// 3x3 convolution without bias, batch normalisation, ReLU.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    pub conv: Conv2d<B>,
    pub norm: BatchNorm<B>,
}

#[derive(Module, Debug)]
pub struct DecoderBlock<B: Backend> {
    pub conv1: ConvNorm<B>,
    pub conv2: ConvNorm<B>,
}

impl<B: Kernels> ConvNorm<B> {
    pub fn new(inputs: usize, outputs: usize, device: &B::Device) -> Self {
        ConvNorm {
            conv: Conv2d::new([outputs, inputs, 3, 3], false, 1, 1, device),
            norm: BatchNorm::new(outputs, device),
        }
    }

    /// `[b, h, w, in]` to `[b, h, w, out]`.
    pub fn forward(&self, x: Tensor<B, 4>, pass: &impl Pass<B>) -> Tensor<B, 4> {
        self.norm.forward_relu(self.conv.forward(x), pass.batch_statistics())
    }
}

impl<B: Kernels> DecoderBlock<B> {
    pub fn new(inputs: usize, skip: usize, outputs: usize, device: &B::Device) -> Self {
        DecoderBlock {
            conv1: ConvNorm::new(inputs + skip, outputs, device),
            conv2: ConvNorm::new(outputs, outputs, device),
        }
    }

    /// Upsampled `[b, h, w, in]` and a skip `[b, h, w, skip]` to `[b, h, w, out]`.
    pub fn forward(&self, up: Tensor<B, 4>, skip: Option<Tensor<B, 4>>, pass: &impl Pass<B>) -> Tensor<B, 4> {
        let x = match skip {
            Some(skip) => B::join(up, skip),
            None => up,
        };
        self.conv2.forward(self.conv1.forward(x, pass), pass)
    }
}

impl<B: Kernels> Decoder<B> {
    pub fn new(config: &Architecture, device: &B::Device) -> Self {
        let skips = config.skip_channels();
        let mut inputs = config.head_channels;
        let blocks = (config.decoder_channels.into_iter().zip(skips))
            .map(|(outputs, skip)| DecoderBlock::new(std::mem::replace(&mut inputs, outputs), skip, outputs, device))
            .collect();
        Decoder { conv_more: ConvNorm::new(config.hidden, config.head_channels, device), blocks }
    }

    /// `[b, h, w, hidden]` and skips, deepest first, to `[b, 16h, 16w, decoder_channels[3]]`.
    pub fn forward(
        &self,
        x: Tensor<B, 4>,
        mut skips: impl Iterator<Item = Tensor<B, 4>>,
        pass: &mut impl Pass<B>,
    ) -> Tensor<B, 4> {
        let mut x = self.conv_more.forward(x, pass);
        pass.see_map("decoder.conv_more", &x);
        for (index, block) in self.blocks.iter().enumerate() {
            let skip = skips.next();
            if let Some(skip) = &skip {
                pass.see_map(&format!("skip.{index}"), skip);
            }
            let [_, height, width, _] = x.dims();
            let up = B::bilinear(x, [2 * height, 2 * width]);
            pass.see_map(&format!("decoder.blocks.{index}.up"), &up);
            x = block.forward(up, skip, pass);
            pass.see_map(&format!("decoder.blocks.{index}"), &x);
            pass.stage(index, &x);
        }
        x
    }
}
