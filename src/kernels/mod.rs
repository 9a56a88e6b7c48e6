//! Operations of the network: Burn's own on GPUs, ours with their derivatives on the CPU, where they are faster.

mod activation;
mod attention;
mod channels;
mod combine;
mod conv;
mod gemm;
mod layer_norm;
mod linear;
mod norm;
mod operation;
mod parts;
mod resample;
mod rows;
mod segmentation_loss;
pub mod simd;
mod update;

use std::f64::consts::SQRT_2;
use std::sync::Arc;

use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::module::{conv2d, linear, max_pool2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor, TensorData, s};
use burn_autodiff::Autodiff;
use burn_dispatch::Dispatch;
use burn_flex::Flex;

use norm::{Normalization, Sets};
use operation::{Runs, primitive, whole};
pub use segmentation_loss::LossWeights;
use simd::maps::taps;

/// A backend that the network runs on. Maps are `[b, h, w, c]`. The provided methods are in terms of Burn's operations.
///
/// Results have the type of the first input. Where that is a half precision, norms, exponentials and losses are computed in
/// float32 within; products and convolutions want weights of that type too, norms want theirs in float32.
pub trait Kernels: Backend {
    /// `product(x, y)`, which is linear in both.
    fn product<const X: usize, const Y: usize, const OUT: usize>(
        x: Tensor<Self, X>,
        y: Tensor<Self, Y>,
        product: impl Fn(Tensor<Self, X>, Tensor<Self, Y>) -> Tensor<Self, OUT>,
    ) -> Tensor<Self, OUT> {
        product(x, y)
    }

    /// `[b, h, w, in]` with kernels `[out, in, k, k]` to `[b, h', w', out]`.
    fn convolution(x: Tensor<Self, 4>, weight: Tensor<Self, 4>, stride: usize, padding: usize) -> Tensor<Self, 4> {
        // What a kernel of one pixel does not look at is left out first: where the kernel is smaller than the stride, Burn
        // 0.21's GPU kernel for the derivative by the input (conv_transpose2d_direct) sums over nothing and gives zeros.
        let (x, stride) = match weight.dims() {
            [_, _, 1, 1] if stride > 1 && padding == 0 => (x.slice(s![.., ..;stride, ..;stride, ..]), 1),
            _ => (x, stride),
        };
        let convolve = |x, weight| conv2d(x, weight, None, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1));
        channels_last(Self::product(channels_first(x), weight, convolve))
    }

    /// Normalises groups of channels of `[b, h, w, c]`, then maps each channel by `weight` and `bias`, then ReLU.
    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        groups: usize,
        epsilon: f64,
        cut: bool,
    ) -> Tensor<Self, 4> {
        let [batch, height, width, channels] = x.dims();
        let dtype = x.dtype();
        let x = channels_first(x.cast(DType::F32)).reshape([batch, groups, channels / groups * height * width]);
        let x = channels_last(standardize(x, epsilon).reshape([batch, channels, height, width]));
        let x = scale_channels(x, weight, bias).cast(dtype);
        if cut { relu(x) } else { x }
    }

    /// Normalises each channel over the batch, maps it by `weight` and `bias`, then ReLU. Also mean and biased variance of
    /// the channels, `[c]`, without gradients.
    fn batch_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> (Tensor<Self, 4>, [Tensor<Self, 1>; 2]) {
        let [batch, height, width, channels] = x.dims();
        let mean_of = |x: Tensor<Self, 4>| x.reshape([1, 1, batch * height * width, channels]).mean_dim(2);
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let mean = mean_of(x.clone());
        let centered = x - mean.clone();
        let variance = mean_of(centered.clone().square());
        let x = scale_channels(centered / (variance.clone() + epsilon).sqrt(), weight, bias);
        (relu(x.cast(dtype)), [mean, variance].map(|x| x.detach().reshape([channels])))
    }

    /// Normalises the last dimension of `[b, n, width]`.
    fn layer_norm_of(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        let dtype = x.dtype();
        let x = primitive(x.cast(DType::F32));
        whole::<Self, 3>(Self::layer_norm(x, primitive(weight), Some(primitive(bias)), epsilon)).cast(dtype)
    }

    /// `[b, n, in]` by weight `[out, in]` and bias `[out]` to `[b, n, out]`.
    fn linear_of(x: Tensor<Self, 3>, weight: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 3> {
        let width = bias.dims()[0];
        Self::product(x, weight.transpose(), |x, weight| linear(x, weight, None)) + bias.reshape([1, 1, width])
    }

    /// Attention over the tokens of `[b, n, hidden]` each, heads side by side in the last dimension.
    fn attention_of(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        let shape @ [batch, tokens, hidden] = query.dims();
        let width = hidden / heads;
        // [b, n, hidden] -> [b, heads, n, width]
        let split = |x: Tensor<Self, 3>| x.reshape([batch, tokens, heads, width]).swap_dims(1, 2);
        let dtype = query.dtype();
        // Divided before, not after: sums over a head's width may leave float16's range.
        let query = split(query / (width as f64).sqrt());
        let scores = Self::product(query, split(key).transpose(), Tensor::matmul);
        let shares = softmax(scores.cast(DType::F32), 3).cast(dtype);
        Self::product(shares, split(value), Tensor::matmul).swap_dims(1, 2).reshape(shape)
    }

    /// Maximum over 3x3 windows of `[b, h, w, c]`, stride 2, without padding.
    fn pool(x: Tensor<Self, 4>) -> Tensor<Self, 4> {
        channels_last(max_pool2d(channels_first(x), [3, 3], [2, 2], [0, 0], [1, 1], false))
    }

    /// `relu(x + y)`.
    fn add_relu(x: Tensor<Self, 4>, y: Tensor<Self, 4>) -> Tensor<Self, 4> {
        relu(x + y)
    }

    /// Channels of `x` `[b, h, w, c]`, then those of `y`, with zeros below and to the right where it is smaller.
    fn join(x: Tensor<Self, 4>, y: Tensor<Self, 4>) -> Tensor<Self, 4> {
        let [_, height, width, _] = x.dims();
        Tensor::cat(vec![x, grown(y, [height, width])], 3)
    }

    /// `[b, h, w, c]` to `[b, size[0], size[1], c]`; source coordinate of sample i is `i * (in - 1) / (out - 1)`. Two small
    /// matrix products, so that every backend can differentiate it.
    fn bilinear(x: Tensor<Self, 4>, size: [usize; 2]) -> Tensor<Self, 4> {
        let [_, height, width, _] = x.dims();
        let (device, dtype) = (x.device(), x.dtype());
        let matrix = |from: usize, to: usize| -> Tensor<Self, 4> {
            let mut weights = vec![0.0f32; to * from];
            for (row, (low, share)) in weights.chunks_exact_mut(from).zip(taps(from, to)) {
                row[low] += 1.0 - share;
                if let Some(high) = row.get_mut(low + 1) {
                    *high += share;
                }
            }
            Tensor::<Self, 2>::from_data(TensorData::new(weights, [to, from]), (&device, dtype)).unsqueeze()
        };
        let wide = Self::product(channels_first(x), matrix(width, size[1]).transpose(), Tensor::matmul);
        channels_last(Self::product(matrix(height, size[0]), wide, Tensor::matmul))
    }

    /// `x Phi(x)` with the normal distribution function itself. Burn's `gelu` has the same values, but on GPUs the derivative
    /// of another function, the approximation by tanh, which is off by up to 9e-4.
    fn gelu_of<const D: usize>(x: Tensor<Self, D>) -> Tensor<Self, D> {
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        (x.clone() * ((x / SQRT_2).erf() + 1.0) * 0.5).cast(dtype)
    }

    /// Loss of logits `[b, c, h, w]`, `[1]`; also cross-entropy and 1 - Dice alone, `[1]` each, without gradients.
    fn segmentation_loss(
        logits: Tensor<Self, 4>,
        (shares, valid): Shares,
        weights: LossWeights,
    ) -> [Tensor<Self, 1>; 3] {
        let shape @ [batch, classes, height, width] = logits.dims();
        let device = logits.device();
        let shares = Tensor::from_data(TensorData::new(shares.to_vec(), shape), &device);
        let valid =
            valid.map(|valid| Tensor::from_data(TensorData::new(valid.to_vec(), [batch, 1, height, width]), &device));
        let by_class = |x: Tensor<Self, 4>| x.sum_dim(3).sum_dim(2).sum_dim(0).reshape([classes]);
        let of_classes: Vec<f32> = weights.classes.iter().map(|&weight| weight as f32).collect();
        let of_classes = Tensor::<Self, 1>::from_data(TensorData::new(of_classes, [classes]), &device);
        let log_p = log_softmax(logits.cast(DType::F32), 1);
        let likelihood = by_class(log_p.clone() * shares.clone()) * of_classes.clone();
        let cross_entropy = likelihood.sum_dim(0) / -weights.total.max(1e-12);
        let p = match valid {
            Some(valid) => log_p.exp() * valid,
            None => log_p.exp(),
        };
        let shared = by_class(p.clone() * shares.clone()) * 2.0 + weights.smooth;
        let own = by_class(p.square()) + by_class(shares.square()) + weights.smooth;
        let dice = ((-(shared / own) + 1.0) * of_classes).sum_dim(0) / classes as f64;
        let total = cross_entropy.clone() * weights.cross_entropy + dice.clone() * weights.dice;
        [total, cross_entropy.detach(), dice.detach()]
    }

    /// One update with momentum of a parameter, as PyTorch's SGD makes it: the parameter and its momentum.
    fn sgd(
        value: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moved: Option<Tensor<Self, 1>>,
        [momentum, decay, rate]: [f64; 3],
    ) -> [Tensor<Self, 1>; 2] {
        let gradient = gradient + value.clone() * decay;
        let moved = match moved {
            Some(moved) => moved * momentum + gradient,
            None => gradient,
        };
        [value - moved.clone() * rate, moved]
    }

    /// Euclidean norm of all of them together.
    fn norm_of(tensors: Vec<Tensor<Self, 1>>) -> f64 {
        if tensors.is_empty() {
            return 0.0;
        }
        let squares = tensors.into_iter().map(|x| summed(x.square())).collect();
        Tensor::cat(squares, 0).into_data().iter::<f64>().sum::<f64>().sqrt()
    }
}

/// Share of each class in each pixel, `[b, c, h, w]`, and of each pixel that counts, `[b, 1, h, w]` where not all do.
pub type Shares = (Arc<Vec<f32>>, Option<Arc<Vec<f32>>>);

/// The sum `[1]`, in the same order each time: Burn's own adds up on GPUs in the order in which threads end.
fn summed<B: Backend>(x: Tensor<B, 1>) -> Tensor<B, 1> {
    const PARTS: usize = 1024;
    match x.dims() {
        [count] if count.is_multiple_of(PARTS) => {
            x.reshape([PARTS, count / PARTS]).sum_dim(1).reshape([PARTS]).sum_dim(0)
        }
        _ => x.sum_dim(0),
    }
}

/// `(x - mean) / sqrt(variance + epsilon)` over the last dimension, biased variance.
fn standardize<B: Backend>(x: Tensor<B, 3>, epsilon: f64) -> Tensor<B, 3> {
    let centered = x.clone() - x.mean_dim(2);
    let variance = centered.clone().square().mean_dim(2);
    centered / (variance + epsilon).sqrt()
}

/// `x * weight + bias`, one weight and bias for each channel of `x` `[b, h, w, c]`.
pub fn scale_channels<B: Backend>(x: Tensor<B, 4>, weight: Tensor<B, 1>, bias: Tensor<B, 1>) -> Tensor<B, 4> {
    let [channels] = weight.dims();
    x * weight.reshape([1, 1, 1, channels]) + bias.reshape([1, 1, 1, channels])
}

/// `[b, h, w, c]` to `[b, size[0], size[1], c]` by zeros below and to the right. Burn's own padding takes float32 only.
pub fn grown<B: Backend>(mut x: Tensor<B, 4>, size: [usize; 2]) -> Tensor<B, 4> {
    for (axis, size) in [1, 2].into_iter().zip(size) {
        let mut missing = x.dims();
        missing[axis] = size - missing[axis];
        if missing[axis] > 0 {
            let zeros = Tensor::zeros(missing, (&x.device(), x.dtype()));
            x = Tensor::cat(vec![x, zeros], axis);
        }
    }
    x
}

/// `[b, h, w, c]` to `[b, c, h, w]`.
pub fn channels_first<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.permute([0, 3, 1, 2])
}

/// `[b, c, h, w]` to `[b, h, w, c]`.
pub fn channels_last<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.permute([0, 2, 3, 1])
}

impl Kernels for Dispatch {
    fn product<const X: usize, const Y: usize, const OUT: usize>(
        x: Tensor<Self, X>,
        y: Tensor<Self, Y>,
        product: impl Fn(Tensor<Self, X>, Tensor<Self, Y>) -> Tensor<Self, OUT>,
    ) -> Tensor<Self, OUT> {
        match parts::are_needed(&x.device(), x.dtype()) {
            true => parts::in_parts(x, y, product),
            false => product(x, y),
        }
    }
}

/// The CPU, with and without autodiff, and what is asked of one of them alone.
macro_rules! on_cpu {
    ($backend:ty, { $($more:item)* }) => {
        impl Kernels for $backend {
            $($more)*

            fn convolution(
                x: Tensor<Self, 4>,
                weight: Tensor<Self, 4>,
                stride: usize,
                padding: usize,
            ) -> Tensor<Self, 4> {
                whole(Self::apply(conv::Convolution { stride, padding }, [primitive(x), primitive(weight)]).0)
            }

            fn group_norm(
                x: Tensor<Self, 4>,
                weight: Tensor<Self, 1>,
                bias: Tensor<Self, 1>,
                groups: usize,
                epsilon: f64,
                cut: bool,
            ) -> Tensor<Self, 4> {
                let operation = Normalization { sets: Sets::Groups(groups), epsilon, relu: cut };
                whole(Self::apply(operation, [primitive(x), primitive(weight), primitive(bias)]).0)
            }

            fn batch_norm(
                x: Tensor<Self, 4>,
                weight: Tensor<Self, 1>,
                bias: Tensor<Self, 1>,
                epsilon: f64,
            ) -> (Tensor<Self, 4>, [Tensor<Self, 1>; 2]) {
                let device = x.device();
                let operation = Normalization { sets: Sets::Channels, epsilon, relu: true };
                let (out, found) = Self::apply(operation, [primitive(x), primitive(weight), primitive(bias)]);
                let means: Vec<f32> = found.iter().map(|moments| moments.mean).collect();
                let variances: Vec<f32> = found.iter().map(|moments| moments.variance).collect();
                (
                    whole(out),
                    [means, variances].map(|values| {
                        let count = values.len();
                        Tensor::from_data(TensorData::new(values, [count]), &device)
                    }),
                )
            }

            fn layer_norm_of(
                x: Tensor<Self, 3>,
                weight: Tensor<Self, 1>,
                bias: Tensor<Self, 1>,
                epsilon: f64,
            ) -> Tensor<Self, 3> {
                let operation = layer_norm::LayerNormalization { epsilon };
                whole(Self::apply(operation, [primitive(x), primitive(weight), primitive(bias)]).0)
            }

            fn linear_of(x: Tensor<Self, 3>, weight: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 3> {
                whole(Self::apply(linear::Linear, [primitive(x), primitive(weight), primitive(bias)]).0)
            }

            fn attention_of(
                query: Tensor<Self, 3>,
                key: Tensor<Self, 3>,
                value: Tensor<Self, 3>,
                heads: usize,
            ) -> Tensor<Self, 3> {
                let inputs = [primitive(query), primitive(key), primitive(value)];
                whole(Self::apply(attention::Attention { heads }, inputs).0)
            }

            fn pool(x: Tensor<Self, 4>) -> Tensor<Self, 4> {
                whole(Self::apply(resample::Pool, [primitive(x)]).0)
            }

            fn add_relu(x: Tensor<Self, 4>, y: Tensor<Self, 4>) -> Tensor<Self, 4> {
                whole(Self::apply(combine::AddRelu, [primitive(x), primitive(y)]).0)
            }

            fn join(x: Tensor<Self, 4>, y: Tensor<Self, 4>) -> Tensor<Self, 4> {
                whole(Self::apply(combine::Join, [primitive(x), primitive(y)]).0)
            }

            fn bilinear(x: Tensor<Self, 4>, size: [usize; 2]) -> Tensor<Self, 4> {
                whole(Self::apply(resample::Bilinear { size }, [primitive(x)]).0)
            }

            fn gelu_of<const D: usize>(x: Tensor<Self, D>) -> Tensor<Self, D> {
                whole(Self::apply(activation::Gelu, [primitive(x)]).0)
            }

            fn segmentation_loss(
                logits: Tensor<Self, 4>,
                (shares, valid): Shares,
                weights: LossWeights,
            ) -> [Tensor<Self, 1>; 3] {
                let device = logits.device();
                let operation = segmentation_loss::SegmentationLoss { weights, shares, valid };
                let (total, parts) = Self::apply(operation, [primitive(logits)]);
                let [cross_entropy, dice] = [parts.cross_entropy, parts.dice]
                    .map(|x| Tensor::from_data(TensorData::new(vec![x as f32], [1]), &device));
                [whole(total), cross_entropy, dice]
            }
        }
    };
}

on_cpu!(Flex, {
    fn sgd(
        value: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moved: Option<Tensor<Self, 1>>,
        factors: [f64; 3],
    ) -> [Tensor<Self, 1>; 2] {
        let [value, gradient] = [value, gradient].map(|x| primitive(x).to_contiguous());
        let moved = moved.map(|x| primitive(x).to_contiguous());
        update::sgd(value, gradient, moved, factors.map(|x| x as f32)).map(whole)
    }

    fn norm_of(tensors: Vec<Tensor<Self, 1>>) -> f64 {
        tensors.into_iter().map(|x| update::squared(&primitive(x).to_contiguous())).sum::<f64>().sqrt()
    }
});
on_cpu!(Autodiff<Flex>, {});
