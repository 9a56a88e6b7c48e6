//! The network against the original's numbers: single layers, every stored activation, logits of the full size.

#[path = "common/backend.rs"]
mod backend;
mod common;
#[path = "common/name_weights.rs"]
mod name_weights;
#[path = "common/tensors.rs"]
mod tensors;

use std::collections::BTreeMap;

use backend::{Plain as B, plain as device};
use burn::tensor::{Tensor, TensorData};
use name_weights::{tiny_r50, tiny_vit};
use transunet::kernels::{Kernels, channels_first, channels_last};
use transunet::network::{Architecture, Block, DecoderBlock, Pass, TransUNet, Unit, fill, layers};

type Golden = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensor<const D: usize>(golden: &Golden, name: &str) -> Tensor<B, D> {
    let (shape, values) = &golden[name];
    Tensor::from_data(TensorData::new(values.clone(), shape.clone()), &device())
}

/// A map `[b, c, h, w]` as the network has it.
fn map(golden: &Golden, name: &str) -> Tensor<B, 4> {
    channels_last(tensor(golden, name))
}

fn assert_map_close(what: &str, ours: Tensor<B, 4>, golden: &Golden, name: &str, tolerance: f32) {
    assert_close(what, channels_first(ours), golden, name, tolerance);
}

fn assert_close<const D: usize>(what: &str, ours: Tensor<B, D>, golden: &Golden, name: &str, tolerance: f32) {
    let (shape, values) = &golden[name];
    assert_eq!(&ours.dims()[..], &shape[..], "{what}");
    let difference = tensors::difference(&ours.into_data().into_vec::<f32>().unwrap(), values);
    assert!(difference <= tolerance, "{what}: differs by {difference}, allowed {tolerance}");
}

/// Fills a module from `golden`'s tensors called `{prefix}{name}`.
fn filled<M: burn::module::Module<B>>(module: M, golden: &Golden, prefix: &str) -> M {
    fill(module, |name, shape| {
        let (found, values) = &golden[&format!("{prefix}{name}")];
        assert_eq!(found, shape, "{name}");
        Ok(values.clone())
    })
    .unwrap()
}

#[test]
fn single_layers_agree_where_slips_would_show() {
    let Some(folder) = common::golden("single layers", "probes") else { return };
    let golden = tensors::read(&folder.join("probes.safetensors"));
    let device = device();

    let conv = filled(layers::StdConv2d::new([4, 2, 3, 3], 2, 1, &device), &golden, "stdconv.");
    assert_map_close("stdconv", conv.forward(map(&golden, "stdconv.input")), &golden, "stdconv.output", 2e-5);

    let norm = filled(layers::LayerNorm::new(16, &device), &golden, "layernorm.");
    assert_close("layernorm", norm.forward(tensor(&golden, "layernorm.input")), &golden, "layernorm.output", 2e-5);

    let gelu = B::gelu_of(tensor::<1>(&golden, "gelu.input"));
    assert_close("gelu", gelu, &golden, "gelu.output", 1e-5);

    let pooled = B::pool(map(&golden, "maxpool.input"));
    assert_map_close("maxpool", pooled, &golden, "maxpool.output", 0.0);

    for (kind, inputs, stride) in [("unit_proj", 32, 2), ("unit_plain", 64, 1)] {
        let unit = filled(Unit::new(inputs, 32, 64, stride, &device), &golden, &format!("{kind}.param."));
        let output = unit.forward(map(&golden, &format!("{kind}.input")));
        assert_map_close(kind, output, &golden, &format!("{kind}.output"), 1e-4);
    }

    let config = Architecture { hidden: 8, heads: 2, mlp: 20, ..tiny_r50() };
    let block = filled(Block::new(&config, &device), &golden, "block.param.");
    let output = block.forward(tensor(&golden, "block.input"), [0, 1], &mut ());
    assert_close("block", output, &golden, "block.output", 2e-5);

    let up = B::bilinear(map(&golden, "decoderblock.input"), [8, 8]);
    assert_map_close("bilinear", up.clone(), &golden, "decoderblock.up", 1e-6);
    let block = filled(DecoderBlock::new(6, 3, 5, &device), &golden, "decoderblock.param.");
    let output = block.forward(up, Some(map(&golden, "decoderblock.skip")), &());
    assert_map_close("decoderblock", output, &golden, "decoderblock.output", 1e-4);
}

struct Compare<'a> {
    golden: &'a Golden,
    tolerance: f32,
    seen: usize,
}

impl Pass<B> for Compare<'_> {
    fn see<const D: usize>(&mut self, place: &str, tensor: &Tensor<B, D>) {
        if let Some((shape, _)) = self.golden.get(place) {
            let mut tensor = tensor.clone();
            if place.starts_with("skip.") {
                // The original pads skips before it joins them.
                for side in 2..4 {
                    let (mut missing, length) = (tensor.shape(), tensor.dims()[side]);
                    missing[side] = shape[side] - length;
                    tensor = Tensor::cat(vec![tensor, Tensor::zeros(missing, &device())], side);
                }
            }
            assert_close(place, tensor, self.golden, place, self.tolerance);
            self.seen += 1;
        }
    }
}

fn named(architecture: &Architecture, seed: u64, bits: u32) -> TransUNet<B> {
    architecture.validate().unwrap();
    fill(TransUNet::new(architecture, &device()), |name, shape| Ok(name_weights::values(seed, bits, name, shape)))
        .unwrap()
}

#[test]
fn every_stored_activation_agrees() {
    for (set, architecture, seed) in [("r50", tiny_r50(), 1), ("vit", tiny_vit(), 101)] {
        let Some(folder) = common::golden("activations", set) else { return };
        let golden = tensors::read(&folder.join("io_input0.safetensors"));
        let network = named(&architecture, seed, 4);
        // A GPU's sums are in another order than the original's.
        let tolerance = if backend::ID == "cpu" { 1e-4 } else { 5e-4 };
        let mut compare = Compare { golden: &golden, tolerance, seen: 0 };
        let logits = network.forward_with(tensor(&golden, "input"), &mut compare);
        assert_close(&format!("{set} logits"), logits, &golden, "logits", 1e-4);
        // All but the input and the logits.
        assert_eq!(compare.seen, golden.len() - 2, "{set}: activations compared");
    }
}

#[test]
fn fewer_skips_agree() {
    for skips in 0..3 {
        let Some(folder) = common::golden("skips", "r50_skip") else { return };
        let Some(input) = common::golden("skips", "r50") else { return };
        let input = tensors::read(&input.join("io_input0.safetensors"));
        let golden = tensors::read(&folder.join(format!("skip{skips}.safetensors")));
        let logits = named(&Architecture { skips, ..tiny_r50() }, 1, 4).forward(tensor(&input, "input"));
        assert_close(&format!("{skips} skips"), logits, &golden, "logits", 1e-4);
    }
}

#[test]
fn full_size_agrees() {
    let Some(folder) = common::golden("full size", "r50_b16_full") else { return };
    let read = |name: &str| {
        let file = npyz::NpyFile::new(std::fs::File::open(folder.join(name)).unwrap()).unwrap();
        let shape: Vec<usize> = file.shape().iter().map(|&n| n as usize).collect();
        (shape, file.into_vec::<f32>().unwrap())
    };
    let golden = Golden::from([("input".into(), read("input1.npy")), ("logits".into(), read("input1_logits.npy"))]);
    let network = named(&Architecture::r50_vit_b16(224, 9), 1, 24);
    let logits = network.forward(tensor(&golden, "input"));
    assert_close("full size logits", logits.clone(), &golden, "logits", 1e-3);
    let ours = logits.argmax(1).into_data();
    let theirs = tensor::<4>(&golden, "logits").argmax(1).into_data();
    let pairs = ours.iter::<i64>().zip(theirs.iter::<i64>());
    let equal = pairs.filter(|(a, b)| a == b).count();
    assert!(equal * 10_000 >= 224 * 224 * 9_999, "argmax agrees on {equal} of {} pixels", 224 * 224);
}

#[test]
fn any_height_width_and_channels() {
    let sizes = [(17, 33, 1), (100, 47, 3), (64, 80, 3), (16, 16, 1)];
    // On a GPU's software driver each takes half a minute.
    let tried = if backend::ID == "cpu" { sizes.len() } else { 2 };
    for (height, width, channels) in sizes.into_iter().take(tried) {
        let network = named(&tiny_r50(), 1, 4);
        let logits = network.forward(Tensor::ones([2, channels, height, width], &device()));
        assert_eq!(logits.dims(), [2, 4, height, width]);
        assert!(logits.into_data().iter::<f32>().all(f32::is_finite), "{height} x {width}");
    }
    for channels in [1, 2, 5] {
        let network = named(&Architecture { channels, ..tiny_vit() }, 1, 4);
        assert_eq!(network.forward(Tensor::ones([1, channels, 64, 64], &device())).dims(), [1, 4, 64, 64]);
    }
}

/// Parameters of the published networks, batch statistics excluded.
#[test]
fn parameter_counts() {
    for (architecture, expected) in [
        (Architecture::r50_vit_b16(224, 9), 105_277_081),
        (Architecture::vit_b16(224, 9), 91_674_201),
        (tiny_r50(), 702_744),
        (tiny_vit(), 74_684),
    ] {
        let mut count = 0;
        fill(TransUNet::<B>::new(&architecture, &device()), |name, shape| {
            let size = shape.iter().product();
            count += if name.contains("running_") { 0 } else { size };
            Ok(vec![0.0; size])
        })
        .unwrap();
        assert_eq!(count, expected);
    }
}
