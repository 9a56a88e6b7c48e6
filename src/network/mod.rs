//! The network: hybrid ViT encoder, cascaded decoder with skips, segmentation head.
//!
//! Source: Chen et al., TransUNet, arXiv:2102.04306; numbers agree with the authors' code.

mod architecture;
mod decoder;
mod init;
pub mod layers;
mod pass;
mod size;
mod state;
mod stem;
mod transformer;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::kernels::{Kernels, channels_first, channels_last, grown};

pub use architecture::{Architecture, PATCH, Stem};
pub use decoder::DecoderBlock;
pub use init::initial_values;
pub use pass::{Pass, Stoppable};
pub use size::{products_per_pixel, values_per_pixel};
pub use state::{Named, Place, fill, fill_in, values};
pub use stem::Unit;
pub use transformer::Block;

/// TransUNet with the field names of the original's checkpoints.
#[derive(Module, Debug)]
pub struct TransUNet<B: Backend> {
    pub transformer: transformer::Transformer<B>,
    pub decoder: decoder::Decoder<B>,
    pub segmentation_head: layers::Conv2d<B>,
    channels: usize,
    skips: usize,
}

impl<B: Kernels> TransUNet<B> {
    /// A network without values; [`fill`] gives it some.
    pub fn new(config: &Architecture, device: &B::Device) -> Self {
        TransUNet {
            transformer: transformer::Transformer::new(config, device),
            decoder: decoder::Decoder::new(config, device),
            segmentation_head: layers::Conv2d::new(
                [config.classes, config.decoder_channels[3], 3, 3],
                true,
                1,
                1,
                device,
            ),
            channels: config.channels,
            skips: config.skips,
        }
    }

    /// `[b, 1 or channels, h, w]` to logits `[b, classes, h, w]`; any h and w.
    ///
    /// One channel is repeated. Heights and widths that are no multiple of 16 are padded with zeros to the right and
    /// below, and the logits cropped. Computes in the precision of `x`; the head, and so the logits, in float32.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward_with(x, &mut ())
    }

    /// As [`TransUNet::forward`], accompanied by `pass`.
    pub fn forward_with(&self, x: Tensor<B, 4>, pass: &mut impl Pass<B>) -> Tensor<B, 4> {
        let [_, channels, height, width] = x.dims();
        let x = if channels == 1 && self.channels > 1 { x.repeat_dim(1, self.channels) } else { x };
        let padded = [height, width].map(|side| side.next_multiple_of(PATCH));
        let (tokens, skips) = self.transformer.forward(grown(channels_last(x), padded), pass);
        let skips = skips.into_iter().flatten().take(self.skips);
        // Logits of few bits would tie.
        let decoded = self.decoder.forward(tokens, skips, pass).cast(DType::F32);
        let logits = channels_first(self.segmentation_head.forward(decoded));
        if padded == [height, width] { logits } else { logits.narrow(2, 0, height).narrow(3, 0, width) }
    }
}
