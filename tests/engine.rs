//! The CPU's engine against the network that it stands for, and against the original's numbers.

mod common;
#[path = "common/name_weights.rs"]
mod name_weights;
#[path = "common/tensors.rs"]
mod tensors;

use burn::tensor::{Tensor, TensorData};
use name_weights::{tiny_r50, tiny_vit};
use transunet::control::Cancel;
use transunet::device::Cpu as B;
use transunet::engine::Engine;
use transunet::error::Error;
use transunet::kernels::simd::Isa;
use transunet::network::{Architecture, Stem, TransUNet, fill};

fn read(seed: u64, bits: u32) -> impl FnMut(&str, &[usize]) -> transunet::Result<Vec<f32>> {
    move |name, shape| Ok(name_weights::values(seed, bits, name, shape))
}

fn engine(of: &Architecture, isa: Isa) -> Engine {
    of.validate().unwrap();
    Engine::new(of, isa, read(1, 24)).unwrap()
}

/// Logits `[b, classes, h, w]`.
fn logits(engine: &Engine, pixels: &[f32], shape: [usize; 4]) -> Vec<f32> {
    let [images, _, height, width] = shape;
    let mut out = vec![Vec::new(); images];
    let planes = |image: usize, logits: transunet::kernels::simd::maps::Map| {
        for class in 0..logits.channels {
            for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                out[image].push(logits.values[(row * logits.size[1] + column) * logits.pitch + class]);
            }
        }
    };
    engine.forward(pixels, shape, None, planes).unwrap();
    out.concat()
}

fn pixels(shape: [usize; 4]) -> Vec<f32> {
    // Waves, a little different in each image and channel.
    (0..shape.iter().product()).map(|n: usize| ((n as f32 * 0.37).sin() + (n as f32 * 0.011).cos()) * 0.5).collect()
}

/// Largest difference between the engine and the network, in units of the largest logit.
fn difference(of: &Architecture, isa: Isa, shape: [usize; 4]) -> f32 {
    let network = fill(TransUNet::<B>::new(of, &Default::default()), read(1, 24)).unwrap();
    let pixels = pixels(shape);
    let input = Tensor::from_data(TensorData::new(pixels.clone(), shape), &Default::default());
    let expected = network.forward(input).into_data().into_vec::<f32>().unwrap();
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    tensors::difference(&logits(&engine(of, isa), &pixels, shape), &expected) / largest
}

#[test]
fn every_shape_on_every_instruction_set() {
    let tiny = tiny_r50();
    let wide =
        Architecture { stem: Some(Stem { width: 64, units: [1, 1, 2] }), hidden: 96, heads: 3, mlp: 100, ..tiny_r50() };
    let cases = [
        (tiny.clone(), [1, 3, 64, 64]),
        (tiny.clone(), [2, 1, 17, 33]),
        (tiny.clone(), [1, 3, 100, 47]),
        (tiny.clone(), [1, 1, 16, 16]),
        (tiny.clone(), [3, 3, 80, 64]),
        (Architecture { skips: 0, ..tiny.clone() }, [1, 1, 64, 64]),
        (Architecture { skips: 1, ..tiny.clone() }, [1, 1, 50, 64]),
        (Architecture { skips: 2, ..tiny.clone() }, [1, 1, 64, 64]),
        (Architecture { channels: 1, classes: 1, ..tiny.clone() }, [1, 1, 64, 64]),
        (
            Architecture { channels: 5, image_size: [96, 48], decoder_channels: [20, 17, 33, 16], ..tiny },
            [1, 5, 96, 48],
        ),
        (wide, [1, 3, 64, 64]),
        (tiny_vit(), [2, 1, 64, 64]),
        (tiny_vit(), [1, 3, 90, 33]),
        (Architecture { channels: 4, classes: 40, ..tiny_vit() }, [1, 4, 64, 64]),
        (Architecture { layers: 1, ..Architecture::small(96, 2) }, [1, 1, 96, 96]),
    ];
    for isa in Isa::available() {
        for (of, shape) in &cases {
            let difference = difference(of, isa, *shape);
            assert!(difference < 3e-5, "{} {of:?} {shape:?}: differs by {difference}", isa.name());
        }
    }
}

#[test]
fn the_original_agrees() {
    for (set, of, seed) in [("r50", tiny_r50(), 1), ("vit", tiny_vit(), 101)] {
        let Some(folder) = common::golden("engine", set) else { return };
        let golden = tensors::read(&folder.join("io_input0.safetensors"));
        let (shape, input) = &golden["input"];
        for isa in Isa::available() {
            let engine = Engine::new(&of, isa, read(seed, 4)).unwrap();
            let ours = logits(&engine, input, shape[..].try_into().unwrap());
            let difference = tensors::difference(&ours, &golden["logits"].1);
            assert!(difference <= 1e-4, "{set}, {}: differs by {difference}", isa.name());
        }
    }
}

#[test]
fn the_original_of_full_size_agrees() {
    let Some(folder) = common::golden("engine, full size", "r50_b16_full") else { return };
    let values = |name: &str| {
        npyz::NpyFile::new(std::fs::File::open(folder.join(name)).unwrap()).unwrap().into_vec::<f32>().unwrap()
    };
    let (input, expected) = (values("input1.npy"), values("input1_logits.npy"));
    let engine = engine(&Architecture::r50_vit_b16(224, 9), Isa::fastest());
    let channels = input.len() / (224 * 224);
    let ours = logits(&engine, &input, [1, channels, 224, 224]);
    let difference = tensors::difference(&ours, &expected);
    println!("logits differ by {difference} at most");
    assert!(difference <= 1e-3, "differs by {difference}");
    let class = |logits: &[f32], pixel: usize| {
        let at = |class: usize| logits[class * 224 * 224 + pixel];
        (1..9).fold(0, |best, class| if at(class) > at(best) { class } else { best })
    };
    let equal = (0..224 * 224).filter(|&pixel| class(&ours, pixel) == class(&expected, pixel)).count();
    assert!(equal * 10_000 >= 224 * 224 * 9_999, "argmax agrees on {equal} of {} pixels", 224 * 224);
}

#[test]
fn an_image_gives_the_same_bits_in_every_batch_with_any_number_of_threads() {
    let of = Architecture { layers: 2, ..Architecture::small(96, 3) };
    let engine = engine(&of, Isa::fastest());
    let shape = [5, 1, 96, 96];
    let pixels = pixels(shape);
    let together = logits(&engine, &pixels, shape);
    let alone: Vec<f32> =
        pixels.chunks_exact(96 * 96).flat_map(|image| logits(&engine, image, [1, 1, 96, 96])).collect();
    assert!(together == alone);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| logits(&engine, &pixels, shape)) == together, "{threads} threads");
    }
}

#[test]
fn a_stop_is_an_error_and_nothing_is_shown() {
    let engine = engine(&tiny_r50(), Isa::fastest());
    let cancel = Cancel::default();
    cancel.trigger();
    let result = engine.forward(&[0.0; 64 * 64], [1, 1, 64, 64], Some(&cancel), |_, _| panic!("shown"));
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(logits(&engine, &[0.0; 64 * 64], [1, 1, 64, 64]).len(), 4 * 64 * 64);
}
