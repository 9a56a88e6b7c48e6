//! Half precision on Burn's own operations, as GPUs have them, here on the CPU: logits, gradients, loss scaling.

mod common;
#[path = "common/name_weights.rs"]
mod name_weights;

use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData};
use burn_dispatch::{Dispatch, DispatchDevice};
use name_weights::{tiny_r50, tiny_vit};
use transunet::Error;
use transunet::control::Control;
use transunet::data::{Listing, Survey};
use transunet::device::{Devices, GradientWork};
use transunet::loader::Batch;
use transunet::metrics::dice_of_labels;
use transunet::network::{Architecture, TransUNet, fill_in, initial_values};
use transunet::precision::ComputePrecision::{self, Bf16, F16, F32};
use transunet::preprocess::Preprocessor;
use transunet::train::config::TrainConfig;
use transunet::train::learner::{Learner, beginning, resuming};
use transunet::train::loss::{Loss, Target};
use transunet::train::optimizer::to_vec;
use transunet::train::pass::TrainingPass;
use transunet::train::settings::{LossSettings, Preset, Recipe, Schedule};
use transunet::train::student::{NETWORK, Student};
use transunet::weights::Checkpoint;

fn plain() -> DispatchDevice {
    DispatchDevice::Flex(Default::default())
}

fn learning() -> DispatchDevice {
    DispatchDevice::autodiff(plain())
}

/// Waves that repeat nowhere.
fn waves(count: usize) -> Vec<f32> {
    (0..count).map(|n| (n as f32 * 0.731).sin() + (n as f32 * 0.0137).cos() * 0.5).collect()
}

fn images(count: usize, precision: ComputePrecision, device: &DispatchDevice) -> Tensor<Dispatch, 4> {
    Tensor::from_data(TensorData::new(waves(count * 64 * 64), [count, 1, 64, 64]), (device, precision.dtype()))
}

fn named(architecture: &Architecture, precision: ComputePrecision) -> TransUNet<Dispatch> {
    let read = |name: &str, shape: &[usize]| Ok(name_weights::values(1, 24, name, shape));
    fill_in(TransUNet::new(architecture, &plain()), precision, read).unwrap()
}

fn classes(logits: Tensor<Dispatch, 4>) -> Vec<u8> {
    logits.argmax(1).into_data().iter::<i64>().map(|class| class as u8).collect()
}

fn equal(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

/// Of the logits' standard deviation.
fn largest_difference(a: &Tensor<Dispatch, 4>, b: &Tensor<Dispatch, 4>) -> f32 {
    let difference = (a.clone() - b.clone()).abs().max().into_scalar();
    difference / b.clone().flatten::<1>(0, 3).var(0).sqrt().into_scalar()
}

#[test]
fn logits_and_labels_are_nearly_those_of_float32() {
    for (name, architecture) in [("r50", tiny_r50()), ("vit", tiny_vit())] {
        let single = named(&architecture, F32).forward(images(2, F32, &plain()));
        for (precision, allowed) in [(Bf16, 0.3), (F16, 0.04)] {
            // With float32 weights, as in training, and with rounded ones, as in segmentation.
            for held in [F32, precision] {
                let logits = named(&architecture, held).forward(images(2, precision, &plain()));
                assert_eq!(logits.dtype(), DType::F32);
                let difference = largest_difference(&logits, &single);
                let equal = equal(&classes(logits), &classes(single.clone()));
                println!("{name}, {precision}, weights in {held}: {difference:.4} of the deviation, {equal:.5} equal");
                assert!(difference < allowed && equal > 0.99, "{name}, {precision}: {difference}, {equal}");
            }
        }
    }
}

/// Loss of two made-up images with dropout, and its gradients by name, all float32. Matrices and kernels begin as those of a
/// new run, `rounded` to a precision.
fn step(
    architecture: &Architecture,
    precision: ComputePrecision,
    rounded: ComputePrecision,
    factor: f64,
) -> (f64, Vec<(String, Vec<f32>)>) {
    let device = learning();
    let read = |name: &str, shape: &[usize]| {
        let data = TensorData::new(initial_values(1234, name, shape), shape.to_vec());
        let data = if shape.len() > 1 { data.convert_dtype(rounded.dtype()) } else { data };
        Ok(data.iter::<f32>().collect())
    };
    let student = Student::<Dispatch>::new(architecture, false, &device).filled(read).unwrap();
    let mut pass = TrainingPass { batch_statistics: true, dropout: 0.1, drop_path: 0.1, ..TrainingPass::plain() };
    let logits = student.network.forward_with(images(2, precision, &device), &mut pass);
    let settings = LossSettings { deep_supervision: false, ..LossSettings::default() };
    let target = Target::new(&labels(), [2, 64, 64], 4, &settings);
    let loss = Loss::new(logits, &target, &settings).total;
    let gradients = student.gradients(&(loss.clone() * factor)).unwrap();
    assert!(gradients.values().all(|gradient| gradient.dtype() == DType::F32));
    assert!(student.values().values().all(|value| value.dtype() == DType::F32));
    let gradients = gradients.into_iter().map(|(name, gradient)| (name, to_vec(gradient / factor))).collect();
    (f64::from(loss.into_scalar()), gradients)
}

/// Four squares.
fn labels() -> Vec<u8> {
    (0..2 * 64 * 64).map(|n| (n / 32 % 2 + n / 2048 % 2 * 2) as u8).collect()
}

fn cosine<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f64 {
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (&a, &b) in pairs {
        let (a, b) = (f64::from(a), f64::from(b));
        both += a * b;
        one += a * a;
        other += b * b;
    }
    both / (one * other).sqrt()
}

/// Gradients of so small a batch hang by its ReLUs: rounding the weights alone, with all arithmetic in float32, turns them
/// nearly as far.
#[test]
fn gradients_are_as_near_to_those_of_float32_as_rounded_weights_allow() {
    for (name, architecture) in [("r50", tiny_r50()), ("vit", tiny_vit())] {
        let (loss, single) = step(&architecture, F32, F32, 1.0);
        for (precision, factor) in [(Bf16, 1.0), (F16, 1024.0)] {
            let distance = |other: &[(String, Vec<f32>)]| {
                assert!(single.iter().map(|pair| &pair.0).eq(other.iter().map(|pair| &pair.0)));
                1.0 - cosine(single.iter().zip(other).flat_map(|(a, b)| a.1.iter().zip(&b.1)))
            };
            let rounded = distance(&step(&architecture, F32, precision, 1.0).1);
            let (half_loss, half) = step(&architecture, precision, F32, factor);
            let apart = distance(&half);
            println!(
                "{name}, {precision}: loss {half_loss:.6}, in float32 {loss:.6}; cosine of all gradients {:.4}, with rounded \
                 weights {:.4}",
                1.0 - apart,
                1.0 - rounded
            );
            assert!(((half_loss - loss) / loss).abs() < 2e-3, "{name}, {precision}: {half_loss}, in float32 {loss}");
            // Convolutions of burn-flex add up in float16, which the patch embedding's 768 products show.
            let allowed = 3.0 * rounded + if precision == F16 { 0.015 } else { 0.0 };
            assert!(apart < allowed, "{name}, {precision}: 1 - cosine {apart}, with rounded weights {rounded}");
        }
    }
}

fn recipe() -> Recipe {
    Recipe {
        // Gradients of a loss as large as this leave float16's range at first.
        loss: LossSettings { cross_entropy: 2000.0, ..LossSettings::default() },
        schedule: Schedule::Constant,
        mixed_precision: F16,
        ..Preset::Tiny.recipe()
    }
}

fn batch() -> Batch {
    Batch { images: waves(2 * 64 * 64), channels: 1, labels: labels(), size: [64; 2], slices: vec![(0, 0), (0, 1)] }
}

fn learner(recipe: &Recipe) -> Box<dyn Learner> {
    let read = |name: &str, shape: &[usize]| {
        Ok(name_weights::values(1, 24, name.strip_prefix(NETWORK).unwrap_or(name), shape))
    };
    beginning(&tiny_r50(), recipe, read).run::<Dispatch>(&[learning()]).unwrap()
}

#[test]
fn overflows_are_skipped_and_a_resumed_learner_is_the_same() {
    let recipe = recipe();
    let mut first = learner(&recipe);
    let mut skipped = 0;
    let mut number = 0;
    // Two updates after the last skipped one.
    while number < skipped + 2 {
        let before = first.state().unwrap();
        let step = first.step(&[batch()], number, 100).unwrap();
        let after = first.state().unwrap();
        number += 1;
        println!("step {number}: loss {:.4}, norm {:.4}, skipped {}", step.loss, step.gradient_norm, step.skipped);
        assert!(step.loss.is_finite() && step.skipped != step.gradient_norm.is_finite());
        if step.skipped {
            skipped = number;
            let changed: Vec<_> = after.iter().filter(|(name, values)| before.get(*name) != Some(values)).collect();
            let scale = 65_536.0 / 2f32.powi(number as i32);
            assert_eq!(changed, [(&"loss_scale".to_owned(), &vec![scale, 0.0, number as f32])]);
        }
    }
    assert!(skipped > 0);

    let mut second =
        resuming(&tiny_r50(), &recipe, number, first.state().unwrap()).run::<Dispatch>(&[learning()]).unwrap();
    assert!(first.state().unwrap() == second.state().unwrap());
    for number in number..number + 2 {
        let steps = [&mut first, &mut second].map(|learner| learner.step(&[batch()], number, 100).unwrap());
        assert_eq!(steps[0], steps[1]);
    }
    assert!(first.state().unwrap() == second.state().unwrap());
}

/// A loss that no scale mends is told as before.
#[test]
fn at_the_floor_a_step_is_not_skipped() {
    let recipe = Recipe { loss: LossSettings { cross_entropy: 1e9, ..LossSettings::default() }, ..recipe() };
    let mut learner = learner(&recipe);
    let skipped = (0..20).take_while(|&number| learner.step(&[batch()], number, 100).unwrap().skipped).count();
    assert_eq!(skipped, 16);
}

/// Twenty updates on one batch, by AdamW with dropout, deep supervision and an average.
#[test]
fn half_precision_learns_as_float32_does() {
    let losses = [F32, Bf16, F16].map(|mixed_precision| {
        let recipe = Recipe { mixed_precision, schedule: Schedule::Constant, ..Preset::Tiny.recipe() };
        let mut learner = learner(&recipe);
        let steps: Vec<_> = (0..20).map(|number| learner.step(&[batch()], number, 20).unwrap()).collect();
        let skipped = steps.iter().filter(|step| step.skipped).count();
        println!("{mixed_precision}: loss {:.4} to {:.4}, {skipped} skipped", steps[0].loss, steps[19].loss);
        [steps[0].loss, steps[19].loss]
    });
    let [[before, after], halves @ ..] = losses;
    assert!(after < 0.8 * before);
    for [first, last] in halves {
        assert!((first / before - 1.0).abs() < 0.01 && (last / after - 1.0).abs() < 0.05, "{first} to {last}");
    }
}

#[test]
fn a_cpu_refuses_half_precision() {
    let devices = Devices::cpu();
    assert!(devices.check_precision(F32).is_ok());
    for precision in [Bf16, F16] {
        let refused = devices.check_precision(precision).unwrap_err();
        let Error::Argument(text) = &refused else { panic!("{refused:?}") };
        assert!(text.contains(&format!("does not compute in {precision}, expected f32")), "{text}");
    }
}

/// The validation cases of the hippocampus model: labels in half precision against float32's, and Dice.
#[test]
fn a_trained_model_scores_alike() {
    let Some(folder) = common::data("hippocampus model in half precision", "msd-hippocampus") else { return };
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut config = TrainConfig::read(&models.join("hippocampus.yaml")).unwrap();
    config.redirect(Some(&folder), None).unwrap();
    let listing = Listing::find(&config.data, Path::new("")).unwrap();
    let dataset = Survey::of(listing, None, |_| Ok(None), &mut Control::none()).unwrap().dataset;
    let parts = dataset.parts(config.split.as_ref(), &folder).unwrap();
    // All of them with TRANSUNET_TEST_ALL, which takes minutes.
    let count = if std::env::var_os("TRANSUNET_TEST_ALL").is_some() { parts.validation.len() } else { 1 };

    let checkpoint = Checkpoint::open(&models.join("hippocampus.safetensors")).unwrap();
    let (config, _) = checkpoint.describe().unwrap();
    let networks = ComputePrecision::ALL.map(|precision| {
        let network = TransUNet::<Dispatch>::new(&config.architecture, &plain());
        let read = |name: &str, _: &[usize]| checkpoint.read_for(name, &config.architecture, false);
        (precision, fill_in(network, precision, read).unwrap())
    });
    let (mut shares, mut figures) = ([0.0; 3], [[0.0; 2]; 3]);
    for &case in &parts.validation[..count] {
        let (volume, truth) = dataset.cases[case].load().unwrap();
        let preprocessor = Preprocessor::new(&config, &volume, &mut Control::none()).unwrap();
        let [height, width] = preprocessor.size();
        let found = networks.each_ref().map(|(precision, network)| {
            let mut voxels = vec![0; truth.len()];
            for k in 0..preprocessor.slices() {
                let mut pixels = vec![0.0; preprocessor.channels() * height * width];
                preprocessor.slice(k, &mut pixels).unwrap();
                let pixels = TensorData::new(pixels, [1, preprocessor.channels(), height, width]);
                let labels = classes(network.forward(Tensor::from_data(pixels, (&plain(), precision.dtype()))));
                let view = preprocessor.view();
                let block = view.block(k);
                let place = block.volume.start * view.volume().geometry().slice_len();
                preprocessor.place_labels(k, &labels, &mut voxels[place..][..view.block_len()]).unwrap();
            }
            voxels
        });
        for (n, voxels) in found.iter().enumerate() {
            // Of the voxels that are no background in either.
            let named = || found[0].iter().zip(voxels).filter(|(a, b)| **a > 0 || **b > 0);
            shares[n] += named().filter(|(a, b)| a == b).count() as f64 / named().count() as f64;
            let dice = dice_of_labels(voxels, &truth, &dataset.labels);
            (0..2).for_each(|label| figures[n][label] += dice[label].unwrap());
        }
    }
    let count = count as f64;
    for (n, precision) in ComputePrecision::ALL.iter().enumerate() {
        let (share, [anterior, posterior]) = (shares[n] / count, figures[n].map(|sum| sum / count));
        println!(
            "{precision}: Dice {anterior:.4} anterior, {posterior:.4} posterior; {share:.5} of the labels as in float32"
        );
        assert!(share > 0.97);
        (0..2).for_each(|label| assert!((figures[n][label] - figures[0][label]).abs() / count < 2e-3));
    }
}
