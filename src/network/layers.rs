//! Building blocks whose fields carry the names of the checkpoint's tensors, in the checkpoint's layout.
//!
//! All are created without values; `network::state` fills them by name. They compute in the precision of what they are given,
//! to which they bring their weights; norms are computed in float32.

use burn::module::{Module, Param, ParamId, RunningState};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::kernels::{Kernels, scale_channels};

/// A parameter that has a shape but no values yet.
fn empty<B: Backend, const D: usize>(shape: [usize; D], device: &B::Device) -> Param<Tensor<B, D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            let zeros = Tensor::zeros(shape, device);
            if require_grad { zeros.require_grad() } else { zeros }
        },
        device.clone(),
        true,
        shape.into(),
    )
}

/// Convolution with a square kernel, weight `[out, in, k, k]`.
#[derive(Module, Debug)]
pub struct Conv2d<B: Backend> {
    pub weight: Param<Tensor<B, 4>>,
    pub bias: Option<Param<Tensor<B, 1>>>,
    stride: usize,
    padding: usize,
}

impl<B: Kernels> Conv2d<B> {
    pub fn new(shape: [usize; 4], bias: bool, stride: usize, padding: usize, device: &B::Device) -> Self {
        let bias = bias.then(|| empty([shape[0]], device));
        Conv2d { weight: empty(shape, device), bias, stride, padding }
    }

    /// `[b, h, w, in]` to `[b, h', w', out]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let weight = self.weight.val().cast(x.dtype());
        let x = B::convolution(x, weight, self.stride, self.padding);
        match &self.bias {
            Some(bias) => {
                let bias = bias.val().cast(x.dtype());
                let [channels] = bias.dims();
                x + bias.reshape([1, 1, 1, channels])
            }
            None => x,
        }
    }
}

/// Convolution whose weight is standardised over (in, k, k) for each output channel, without bias
/// (Qiao et al., arXiv:1903.10520; epsilon 1e-5 inside the root, biased variance).
#[derive(Module, Debug)]
pub struct StdConv2d<B: Backend> {
    pub weight: Param<Tensor<B, 4>>,
    stride: usize,
    padding: usize,
}

impl<B: Kernels> StdConv2d<B> {
    pub fn new(shape: [usize; 4], stride: usize, padding: usize, device: &B::Device) -> Self {
        StdConv2d { weight: empty(shape, device), stride, padding }
    }

    /// `[b, h, w, in]` to `[b, h', w', out]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let weight = self.weight.val();
        let shape @ [outputs, inputs, height, width] = weight.dims();
        let count = inputs * height * width;
        let device = weight.device();
        let (ones, zeros) = (Tensor::ones([count], &device), Tensor::zeros([count], &device));
        let weight = B::layer_norm_of(weight.reshape([1, outputs, count]), ones, zeros, 1e-5).reshape(shape);
        let weight = weight.cast(x.dtype());
        B::convolution(x, weight, self.stride, self.padding)
    }
}

/// Normalisation over groups of channels (Wu and He, arXiv:1803.08494).
#[derive(Module, Debug)]
pub struct GroupNorm<B: Backend> {
    pub weight: Param<Tensor<B, 1>>,
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    epsilon: f64,
}

impl<B: Kernels> GroupNorm<B> {
    pub fn new(groups: usize, channels: usize, epsilon: f64, device: &B::Device) -> Self {
        GroupNorm { weight: empty([channels], device), bias: empty([channels], device), groups, epsilon }
    }

    /// Shape is kept: `[b, h, w, c]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        B::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.epsilon, false)
    }

    /// The same, then ReLU.
    pub fn forward_relu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        B::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.epsilon, true)
    }
}

/// Normalisation by running statistics (Ioffe and Szegedy, arXiv:1502.03167), epsilon 1e-5.
#[derive(Module, Debug)]
pub struct BatchNorm<B: Backend> {
    pub weight: Param<Tensor<B, 1>>,
    pub bias: Param<Tensor<B, 1>>,
    pub running_mean: RunningState<Tensor<B, 1>>,
    pub running_var: RunningState<Tensor<B, 1>>,
}

impl<B: Kernels> BatchNorm<B> {
    pub fn new(channels: usize, device: &B::Device) -> Self {
        BatchNorm {
            weight: empty([channels], device),
            bias: empty([channels], device),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
        }
    }

    /// Normalisation and ReLU; the shape is kept: `[b, h, w, c]`. With `batch_statistics` by those of the batch, which move
    /// the running ones by a tenth; the running variance takes the unbiased one, as PyTorch's does.
    pub fn forward_relu(&self, x: Tensor<B, 4>, batch_statistics: bool) -> Tensor<B, 4> {
        if batch_statistics {
            let [batch, height, width, _] = x.dims();
            let (out, [mean, variance]) = B::batch_norm(x, self.weight.val(), self.bias.val(), 1e-5);
            let count = (batch * height * width) as f64;
            let unbiased = variance * (count / (count - 1.0).max(1.0));
            for (state, now) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
                state.update(state.value() * 0.9 + now * 0.1);
                state.value_sync();
            }
            return out;
        }
        let scale = self.weight.val() / (self.running_var.value() + 1e-5).sqrt();
        let shift = self.bias.val() - self.running_mean.value() * scale.clone();
        let dtype = x.dtype();
        relu(scale_channels(x.cast(DType::F32), scale, shift).cast(dtype))
    }
}

/// Normalisation of each token, epsilon 1e-6 as in ViT.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    pub weight: Param<Tensor<B, 1>>,
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Kernels> LayerNorm<B> {
    pub fn new(width: usize, device: &B::Device) -> Self {
        LayerNorm { weight: empty([width], device), bias: empty([width], device) }
    }

    /// Shape is kept: `[b, tokens, width]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        B::layer_norm_of(x, self.weight.val(), self.bias.val(), 1e-6)
    }
}

/// Affine map of the last dimension, weight `[out, in]`.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    pub weight: Param<Tensor<B, 2>>,
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Kernels> Linear<B> {
    pub fn new(inputs: usize, outputs: usize, device: &B::Device) -> Self {
        Linear { weight: empty([outputs, inputs], device), bias: empty([outputs], device) }
    }

    /// `[b, tokens, in]` to `[b, tokens, out]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let dtype = x.dtype();
        B::linear_of(x, self.weight.val().cast(dtype), self.bias.val().cast(dtype))
    }
}

/// Learned position of each token, `[1, tokens, width]`.
pub(super) fn position_embedding<B: Backend>(tokens: usize, width: usize, device: &B::Device) -> Param<Tensor<B, 3>> {
    empty([1, tokens, width], device)
}
