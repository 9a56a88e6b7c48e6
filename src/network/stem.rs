//! The convolutional stem of the hybrid: ResNetV2 with standardised convolutions and group normalisation.
//!
//! Despite its name the original activates after each convolution: conv, norm, ReLU (Kolesnikov et al., arXiv:1912.11370).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels::Kernels;

use super::architecture;
use super::layers::{GroupNorm, StdConv2d};
use super::pass::Pass;

/// Groups of every normalisation but the projections'.
const GROUPS: usize = 32;
const EPSILON: f64 = 1e-6;

#[derive(Module, Debug)]
pub struct Stem<B: Backend> {
    pub root: Root<B>,
    pub body: Body<B>,
}

#[derive(Module, Debug)]
pub struct Root<B: Backend> {
    pub conv: StdConv2d<B>,
    pub gn: GroupNorm<B>,
}

#[derive(Module, Debug)]
pub struct Body<B: Backend> {
    pub block1: Vec<Unit<B>>,
    pub block2: Vec<Unit<B>>,
    pub block3: Vec<Unit<B>>,
}

/// Bottleneck: 1x1, 3x3 (with the stride), 1x1, each normalised; the shortcut is projected where shapes differ.
#[derive(Module, Debug)]
pub struct Unit<B: Backend> {
    pub gn1: GroupNorm<B>,
    pub conv1: StdConv2d<B>,
    pub gn2: GroupNorm<B>,
    pub conv2: StdConv2d<B>,
    pub gn3: GroupNorm<B>,
    pub conv3: StdConv2d<B>,
    pub downsample: Option<StdConv2d<B>>,
    /// One channel per group and epsilon 1e-5, unlike all other norms of the stem.
    pub gn_proj: Option<GroupNorm<B>>,
}

impl<B: Kernels> Unit<B> {
    /// `inner` is the width between the 1x1 convolutions, a quarter of `outputs` in the published networks.
    pub fn new(inputs: usize, inner: usize, outputs: usize, stride: usize, device: &B::Device) -> Self {
        let project = inputs != outputs || stride != 1;
        Unit {
            gn1: GroupNorm::new(GROUPS, inner, EPSILON, device),
            conv1: StdConv2d::new([inner, inputs, 1, 1], 1, 0, device),
            gn2: GroupNorm::new(GROUPS, inner, EPSILON, device),
            conv2: StdConv2d::new([inner, inner, 3, 3], stride, 1, device),
            gn3: GroupNorm::new(GROUPS, outputs, EPSILON, device),
            conv3: StdConv2d::new([outputs, inner, 1, 1], 1, 0, device),
            downsample: project.then(|| StdConv2d::new([outputs, inputs, 1, 1], stride, 0, device)),
            gn_proj: project.then(|| GroupNorm::new(outputs, outputs, 1e-5, device)),
        }
    }

    /// `[b, h, w, in]` to `[b, h', w', out]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let y = self.gn1.forward_relu(self.conv1.forward(x.clone()));
        let y = self.gn2.forward_relu(self.conv2.forward(y));
        let y = self.gn3.forward(self.conv3.forward(y));
        let shortcut = match (&self.downsample, &self.gn_proj) {
            (Some(downsample), Some(norm)) => norm.forward(downsample.forward(x)),
            _ => x,
        };
        B::add_relu(shortcut, y)
    }
}

impl<B: Kernels> Stem<B> {
    pub fn new(config: &architecture::Stem, channels: usize, device: &B::Device) -> Self {
        let width = config.width;
        let block = |index: usize, inputs: usize, outputs: usize, stride: usize| -> Vec<Unit<B>> {
            (0..config.units[index])
                .map(|unit| match unit {
                    0 => Unit::new(inputs, outputs / 4, outputs, stride, device),
                    _ => Unit::new(outputs, outputs / 4, outputs, 1, device),
                })
                .collect()
        };
        Stem {
            root: Root {
                conv: StdConv2d::new([width, channels, 7, 7], 2, 3, device),
                gn: GroupNorm::new(GROUPS, width, EPSILON, device),
            },
            body: Body {
                block1: block(0, width, 4 * width, 1),
                block2: block(1, 4 * width, 8 * width, 2),
                block3: block(2, 8 * width, 16 * width, 2),
            },
        }
    }

    /// `[b, h, w, channels]` with h, w multiples of 16 to features `[b, h/16, w/16, 16 width]` and the skips, deepest first:
    /// `[b, h/8, w/8, 8 width]`, `[b, h/4, w/4, 4 width]`, `[b, h/2, w/2, width]`; the first two may lack a row and a column.
    pub fn forward(&self, x: Tensor<B, 4>, pass: &mut impl Pass<B>) -> (Tensor<B, 4>, [Tensor<B, 4>; 3]) {
        let root = self.root.gn.forward_relu(self.root.conv.forward(x));
        pass.see_map("resnet.root", &root);
        let mut x = B::pool(root.clone());
        let mut outputs = Vec::with_capacity(3);
        for (index, block) in [&self.body.block1, &self.body.block2, &self.body.block3].into_iter().enumerate() {
            for (unit, layer) in block.iter().enumerate() {
                x = layer.forward(x);
                pass.see_map(&format!("resnet.block{}.unit{}", index + 1, unit + 1), &x);
            }
            pass.see_map(&format!("resnet.block{}", index + 1), &x);
            outputs.push(x.clone());
        }
        let deep = outputs.swap_remove(1);
        let fine = outputs.swap_remove(0);
        (x, [deep, fine, root])
    }
}
