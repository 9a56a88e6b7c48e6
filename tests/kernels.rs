//! The CPU's operations and their derivatives against Burn's own, which they stand for.

use burn::tensor::{Tensor, TensorData};
use burn_autodiff::Autodiff;
use burn_dispatch::{Dispatch, DispatchDevice};
use burn_flex::Flex;
use transunet::device::Learns;
use transunet::kernels::Kernels;
use transunet::train::student::graph_turn;

#[derive(Debug, Clone, Copy)]
enum Operation {
    /// Stride, padding.
    Convolution(usize, usize),
    /// Groups, whether a ReLU follows.
    GroupNorm(usize, bool),
    BatchNorm,
    LayerNorm,
    Linear,
    /// Heads.
    Attention(usize),
    Pool,
    AddRelu,
    Join,
    Bilinear([usize; 2]),
    Gelu,
}

fn apply<B: Kernels>(operation: Operation, inputs: &[Tensor<B, 1>], shapes: &[Vec<usize>]) -> Tensor<B, 1> {
    let four = |n: usize| inputs[n].clone().reshape::<4, _>(<[usize; 4]>::try_from(&shapes[n][..]).unwrap());
    let three = |n: usize| inputs[n].clone().reshape::<3, _>(<[usize; 3]>::try_from(&shapes[n][..]).unwrap());
    let one = |n: usize| inputs[n].clone();
    let maps = match operation {
        Operation::Convolution(stride, padding) => B::convolution(four(0), four(1), stride, padding),
        Operation::GroupNorm(groups, cut) => B::group_norm(four(0), one(1), one(2), groups, 1e-6, cut),
        Operation::BatchNorm => B::batch_norm(four(0), one(1), one(2), 1e-5).0,
        Operation::Pool => B::pool(four(0)),
        Operation::AddRelu => B::add_relu(four(0), four(1)),
        Operation::Join => B::join(four(0), four(1)),
        Operation::Bilinear(size) => B::bilinear(four(0), size),
        Operation::Gelu => return B::gelu_of(one(0)),
        Operation::LayerNorm => return B::layer_norm_of(three(0), one(1), one(2), 1e-6).flatten(0, 2),
        Operation::Attention(heads) => return B::attention_of(three(0), three(1), three(2), heads).flatten(0, 2),
        Operation::Linear => {
            let weight = inputs[1].clone().reshape([shapes[1][0], shapes[1][1]]);
            return B::linear_of(three(0), weight, one(2)).flatten(0, 2);
        }
    };
    maps.flatten(0, 3)
}

/// Waves that repeat nowhere, away from zero where ReLUs cut.
fn waves(count: usize, seed: usize) -> Vec<f32> {
    let wave = |n: usize| ((n * 37 + seed * 101) as f32 * 0.731).sin() + ((n + seed) as f32 * 0.053).cos() * 0.5;
    (0..count).map(wave).collect()
}

/// The result, then the derivatives of a weighted sum of it by each input.
fn found<B: Learns>(operation: Operation, shapes: &[Vec<usize>], device: &B::Device) -> Vec<Vec<f32>> {
    let _turn = graph_turn();
    let inputs: Vec<Tensor<B, 1>> = (shapes.iter().enumerate())
        .map(|(n, shape)| {
            let count = shape.iter().product();
            Tensor::from_data(TensorData::new(waves(count, n), [count]), device).require_grad()
        })
        .collect();
    let out = apply(operation, &inputs, shapes);
    let [count] = out.dims();
    let weights = Tensor::<B, 1>::from_data(TensorData::new(waves(count, 9), [count]), device);
    let gradients = (out.clone() * weights).sum().backward();
    let values = |tensor: Tensor<B::InnerBackend, 1>| tensor.into_data().into_vec::<f32>().unwrap();
    let mut all = vec![values(out.inner())];
    all.extend(inputs.iter().map(|input| values(input.grad(&gradients).unwrap())));
    all
}

fn check(operation: Operation, shapes: &[&[usize]]) {
    let shapes: Vec<Vec<usize>> = shapes.iter().map(|shape| shape.to_vec()).collect();
    let ours = found::<Autodiff<Flex>>(operation, &shapes, &Default::default());
    let device = DispatchDevice::autodiff(DispatchDevice::Flex(Default::default()));
    let burns = found::<Dispatch>(operation, &shapes, &device);
    for (n, (ours, burns)) in ours.iter().zip(&burns).enumerate() {
        assert_eq!(ours.len(), burns.len());
        let largest = burns.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
        let worst = ours.iter().zip(burns).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        let what = if n == 0 { "result".into() } else { format!("derivative by input {}", n - 1) };
        assert!(worst < 1e-4, "{operation:?} {shapes:?}: {what} differs by {worst}");
    }
}

#[test]
fn convolutions() {
    for (shape, kernel, stride, padding) in [
        // 1x1, 3x3 by tiles and without, strides, the root, patches, few channels, one pixel.
        ([2, 5, 7, 16], [32, 16, 1, 1], 1, 0),
        ([2, 5, 7, 9], [5, 9, 1, 1], 1, 0),
        ([2, 6, 8, 16], [24, 16, 1, 1], 2, 0),
        ([2, 7, 5, 6], [4, 6, 1, 1], 2, 0),
        ([2, 9, 13, 16], [32, 16, 3, 3], 1, 1),
        ([1, 9, 13, 48], [16, 48, 3, 3], 1, 1),
        ([3, 6, 5, 7], [9, 7, 3, 3], 1, 1),
        ([2, 6, 5, 20], [18, 20, 3, 3], 1, 1),
        ([2, 8, 10, 16], [16, 16, 3, 3], 2, 1),
        ([2, 7, 9, 24], [10, 24, 3, 3], 2, 1),
        ([2, 7, 9, 5], [10, 5, 3, 3], 2, 1),
        ([2, 20, 18, 3], [16, 3, 7, 7], 2, 3),
        ([2, 32, 48, 3], [24, 3, 16, 16], 16, 0),
        ([1, 1, 1, 16], [16, 16, 3, 3], 1, 1),
    ] {
        check(Operation::Convolution(stride, padding), &[&shape, &kernel]);
    }
}

#[test]
fn normalisations() {
    for cut in [false, true] {
        check(Operation::GroupNorm(4, cut), &[&[2, 15, 11, 32], &[32], &[32]]);
        check(Operation::GroupNorm(12, cut), &[&[3, 3, 5, 12], &[12], &[12]]);
        check(Operation::GroupNorm(1, cut), &[&[1, 2, 2, 6], &[6], &[6]]);
    }
    check(Operation::BatchNorm, &[&[3, 13, 11, 10], &[10], &[10]]);
    check(Operation::BatchNorm, &[&[2, 4, 4, 16], &[16], &[16]]);
    check(Operation::LayerNorm, &[&[2, 7, 40], &[40], &[40]]);
}

#[test]
fn tokens() {
    check(Operation::Linear, &[&[2, 17, 24], &[40, 24], &[40]]);
    check(Operation::Linear, &[&[1, 70, 48], &[64, 48], &[64]]);
    check(Operation::Linear, &[&[3, 5, 7], &[9, 7], &[9]]);
    check(Operation::Attention(3), &[&[2, 19, 24], &[2, 19, 24], &[2, 19, 24]]);
    check(Operation::Attention(1), &[&[1, 4, 6], &[1, 4, 6], &[1, 4, 6]]);
    check(Operation::Gelu, &[&[1000]]);
}

#[test]
fn maps() {
    check(Operation::Pool, &[&[2, 9, 12, 10]]);
    check(Operation::Pool, &[&[1, 3, 3, 16]]);
    check(Operation::AddRelu, &[&[2, 5, 7, 9], &[2, 5, 7, 9]]);
    check(Operation::Join, &[&[2, 6, 8, 5], &[2, 6, 8, 3]]);
    check(Operation::Join, &[&[2, 6, 8, 5], &[2, 5, 7, 3]]);
    check(Operation::Bilinear([8, 14]), &[&[2, 4, 7, 9]]);
    check(Operation::Bilinear([5, 3]), &[&[1, 8, 7, 80]]);
    check(Operation::Bilinear([2, 4]), &[&[1, 1, 2, 3]]);
}

/// Sums are taken in an order that no number of threads changes.
#[test]
fn threads_change_no_bit() {
    let shapes: Vec<Vec<usize>> = vec![vec![2, 19, 23, 48], vec![32, 48, 3, 3]];
    let run = || found::<Autodiff<Flex>>(Operation::Convolution(1, 1), &shapes, &Default::default());
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run);
    for threads in [2, 3, 5] {
        let together = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
        assert!(alone == together, "{threads} threads");
    }
}
