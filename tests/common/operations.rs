//! Operations of the network with cases for each, and how two backends' results and derivatives are compared.
#![allow(dead_code)] // each test binary uses its own part

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use transunet::device::Learns;
use transunet::kernels::{Kernels, LossWeights, Shares};
use transunet::train::student::graph_turn;

#[derive(Debug, Clone, Copy)]
pub enum Operation {
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
    /// Of shares of classes, some pixels of which do not count.
    SegmentationLoss,
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
        Operation::SegmentationLoss => {
            let [total, ..] = B::segmentation_loss(four(0), shares(&shapes[0]), loss_weights(&shapes[0]));
            return total;
        }
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
pub fn found<B: Learns>(operation: Operation, shapes: &[Vec<usize>], device: &B::Device) -> Vec<Vec<f32>> {
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

/// Shares of classes that sum to one in each pixel that counts, which is two of three.
fn shares(shape: &[usize]) -> Shares {
    let (classes, pixels) = (shape[1], shape[2] * shape[3]);
    let counts = |pixel: usize| if pixel % 3 == 2 { 0.0 } else { 1.0f32 };
    let share = |at: usize| {
        let (pixel, class) = (at % pixels, at / pixels % classes);
        let mixed = if class == pixel % classes { 0.75 } else { 0.25 / (classes - 1) as f32 };
        mixed * counts(pixel)
    };
    let all = shape.iter().product();
    let valid = (0..shape[0] * pixels).map(|at| counts(at % pixels)).collect();
    (Arc::new((0..all).map(share).collect()), Some(Arc::new(valid)))
}

fn loss_weights(shape: &[usize]) -> LossWeights {
    let classes = (1..=shape[1]).map(|class| class as f64).collect();
    LossWeights { cross_entropy: 0.7, dice: 0.3, classes, total: 40.0, smooth: 1e-5 }
}

/// An operation and the shapes of its inputs.
pub type Case = (Operation, Vec<Vec<usize>>);

fn case(operation: Operation, shapes: &[&[usize]]) -> Case {
    (operation, shapes.iter().map(|shape| shape.to_vec()).collect())
}

/// Every operation of the network.
pub fn all() -> Vec<Case> {
    [convolutions(), normalisations(), tokens(), maps()].concat()
}

/// 1x1, 3x3 by tiles and without, strides, the root, patches, few channels, one pixel.
pub fn convolutions() -> Vec<Case> {
    [
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
    ]
    .map(|(shape, kernel, stride, padding): ([usize; 4], [usize; 4], usize, usize)| {
        case(Operation::Convolution(stride, padding), &[&shape, &kernel])
    })
    .to_vec()
}

pub fn normalisations() -> Vec<Case> {
    let groups = [false, true].into_iter().flat_map(|cut| {
        [
            case(Operation::GroupNorm(4, cut), &[&[2, 15, 11, 32], &[32], &[32]]),
            case(Operation::GroupNorm(12, cut), &[&[3, 3, 5, 12], &[12], &[12]]),
            case(Operation::GroupNorm(1, cut), &[&[1, 2, 2, 6], &[6], &[6]]),
        ]
    });
    let others = [
        case(Operation::BatchNorm, &[&[3, 13, 11, 10], &[10], &[10]]),
        case(Operation::BatchNorm, &[&[2, 4, 4, 16], &[16], &[16]]),
        case(Operation::LayerNorm, &[&[2, 7, 40], &[40], &[40]]),
    ];
    groups.chain(others).collect()
}

pub fn tokens() -> Vec<Case> {
    vec![
        case(Operation::Linear, &[&[2, 17, 24], &[40, 24], &[40]]),
        case(Operation::Linear, &[&[1, 70, 48], &[64, 48], &[64]]),
        case(Operation::Linear, &[&[3, 5, 7], &[9, 7], &[9]]),
        case(Operation::Attention(3), &[&[2, 19, 24], &[2, 19, 24], &[2, 19, 24]]),
        case(Operation::Attention(1), &[&[1, 4, 6], &[1, 4, 6], &[1, 4, 6]]),
        case(Operation::Gelu, &[&[1000]]),
    ]
}

pub fn maps() -> Vec<Case> {
    vec![
        case(Operation::Pool, &[&[2, 9, 12, 10]]),
        case(Operation::Pool, &[&[1, 3, 3, 16]]),
        case(Operation::AddRelu, &[&[2, 5, 7, 9], &[2, 5, 7, 9]]),
        case(Operation::Join, &[&[2, 6, 8, 5], &[2, 6, 8, 3]]),
        case(Operation::Join, &[&[2, 6, 8, 5], &[2, 5, 7, 3]]),
        case(Operation::Bilinear([8, 14]), &[&[2, 4, 7, 9]]),
        case(Operation::Bilinear([5, 3]), &[&[1, 8, 7, 80]]),
        case(Operation::Bilinear([2, 4]), &[&[1, 1, 2, 3]]),
        case(Operation::SegmentationLoss, &[&[2, 4, 6, 5]]),
    ]
}

/// Holds a backend's results and derivatives of all cases against another's, as shares of the largest value of each; what
/// differs is told together.
pub fn check<Tried: Learns, Right: Learns>(
    cases: &[Case],
    tried: &Tried::Device,
    right: &Right::Device,
    tolerance: f32,
) {
    let mut differ = Vec::new();
    for (operation, shapes) in cases {
        let found = [found::<Tried>(*operation, shapes, tried), found::<Right>(*operation, shapes, right)];
        for (n, (tried, right)) in found[0].iter().zip(&found[1]).enumerate() {
            assert_eq!(tried.len(), right.len());
            let largest = right.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
            let worst = tried.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
            let numbers = tried.iter().all(|x| x.is_finite());
            if !numbers || worst >= tolerance {
                let what = if n == 0 { "result".into() } else { format!("derivative by input {}", n - 1) };
                differ.push(format!("{operation:?} {shapes:?}: {what} differs by {worst}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
