//! The network on the GPU's kernels, which run here on the CPU, through Mesa's software Vulkan, against the CPU's own:
//! `scripts/mesa target/mesa cargo test --release --no-default-features --features vulkan --test vulkan`.

#![cfg(all(feature = "vulkan", not(feature = "cuda")))]

#[path = "common/backend.rs"]
mod backend;
mod common;
#[path = "common/discs.rs"]
mod discs;
#[path = "common/name_weights.rs"]
mod name_weights;
#[path = "common/operations.rs"]
mod operations;

use std::process::Command;
use std::sync::Arc;

use backend::devices;
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::Autodiff;
use burn_dispatch::Dispatch;
use burn_flex::Flex;
use discs::Set;
use transunet::Error;
use transunet::config::ModelConfig;
use transunet::control::Control;
use transunet::device::graphics::Api;
use transunet::device::{Device, DeviceChoice, DeviceChoices, Devices};
use transunet::formats::{read_labels, read_volume};
use transunet::infer::{SegmentOptions, segment};
use transunet::kernels::Kernels;
use transunet::loader::Batch;
use transunet::model::Model;
use transunet::network::{Architecture, initial_values};
use transunet::train::config::TrainConfig;
use transunet::train::learner::{State, Step, begin, resume};
use transunet::train::run::run;
use transunet::train::settings::{LossSettings, OptimizerSettings, Preset, Recipe, Schedule};

/// What a machine without a driver for Vulkan says, and that it goes on.
#[test]
fn no_driver() {
    let transunet = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.args(arguments).env("VK_DRIVER_FILES", "/nowhere.json").output().unwrap()
    };
    let output = transunet(&["devices"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("vulkan:0") && text.contains("cannot be used: Vulkan shows no device"), "{text}");
}

#[test]
fn it_is_listed_and_opened_when_asked_for() {
    let list = Device::list();
    let device = list.iter().find(|device| device.id == "vulkan:0").unwrap();
    assert!(device.name.contains("llvmpipe") && device.unusable.is_none(), "{device:?}");
    assert!(device.driver.as_ref().unwrap().contains("Mesa"), "{device:?}");
    assert!(devices().are_gpus());
    let several = "vulkan:0,cuda:0".parse::<DeviceChoices>().unwrap_err();
    assert!(several.contains("vulkan:0 goes alone"), "{several}");
    let refused = Device::open(DeviceChoice::Graphics(Api::Vulkan, 7)).unwrap_err().to_string();
    assert!(refused.contains("vulkan:7: there are 1 devices, counted from 0"), "{refused}");
    let chosen = Device::open(DeviceChoice::Auto).unwrap();
    let reason = chosen.fallback().unwrap_or_default();
    assert!(chosen.info().id.starts_with("cuda") || reason.contains("is no discrete GPU"), "{chosen:?}");
}

#[test]
fn operations_are_the_cpus() {
    let device = backend::learning();
    operations::check::<Dispatch, Autodiff<Flex>>(&operations::all(), &device, &Default::default(), 1e-4);
}

#[test]
fn a_device_that_fails_is_an_error_from_then_on() {
    let devices = devices();
    let model = |devices: &Devices| Model::untrained(devices, ModelConfig::undescribed(hybrid()), 3).unwrap();
    let one = model(&devices);
    let logits = |model: &Model| model.first().logits(vec![0.5; 32 * 32], [1, 1, 32, 32]);
    logits(&one).unwrap();
    let failed = devices.watch(|| -> Result<(), Error> { panic!("the device went away") });
    let recipe = Preset::Tiny.recipe();
    let read = |name: &str, shape: &[usize]| Ok(initial_values(3, name, shape));
    let learning = begin(&devices, &hybrid(), &recipe, read).map(drop);
    for failure in [failed, logits(&one).map(drop), learning] {
        let said = failure.unwrap_err();
        let text = said.to_string();
        assert!(matches!(said, Error::DeviceLost(_)) && text.contains("the device went away"), "{text}");
    }
    logits(&model(&backend::devices())).unwrap();
}

/// Two updates of a parameter, and the norm that clips gradients.
fn updates<B: Kernels>(device: &B::Device) -> Vec<f32> {
    let of = |values: [f32; 4]| Tensor::<B, 1>::from_data(TensorData::new(values.to_vec(), [4]), device);
    let (value, gradient) = (of([1.0, -2.0, 0.5, 8.0]), of([0.3, 0.1, -4.0, 2.0]));
    let norm = B::norm_of(vec![value.clone(), gradient.clone()]) as f32;
    let [value, moved] = B::sgd(value, gradient.clone(), None, [0.9, 1e-2, 0.1]);
    let [value, moved] = B::sgd(value, gradient, Some(moved), [0.9, 1e-2, 0.1]);
    let both = [value, moved].map(|x| x.into_data().into_vec::<f32>().unwrap()).concat();
    [both, vec![norm]].concat()
}

#[test]
fn updates_are_the_cpus() {
    let tried = updates::<Dispatch>(&backend::plain());
    let right = updates::<Flex>(&Default::default());
    assert!(tried.iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-5), "{tried:?} {right:?}");
}

#[test]
fn logits_are_the_cpus() {
    let shape = [2, 1, 64, 64];
    let pixels: Vec<f32> = (0..2 * 64 * 64).map(|n| (n as f32 * 0.37).sin()).collect();
    for of in [name_weights::tiny_r50(), name_weights::tiny_vit()] {
        let model = |device: &Devices| {
            let read = |name: &str, shape: &[usize]| Ok(name_weights::values(1, 24, name, shape));
            Model::with_values(device, ModelConfig::undescribed(of.clone()), read).unwrap()
        };
        let models = [model(&devices()), model(&Devices::cpu())];
        let [tried, right] = models.each_ref().map(|model| model.first().logits(pixels.clone(), shape).unwrap());
        assert!(models[0].first().logits(pixels.clone(), shape).unwrap() == tried, "a second pass gives other bits");
        assert_eq!(models[0].sha256().unwrap(), models[1].sha256().unwrap());
        let worst = tried.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(tried.iter().all(|x| x.is_finite()) && worst < 1e-3, "logits differ by {worst}");
        let [tried, right] = models.map(|model| model.first().classify(pixels.clone(), shape, true, None).unwrap());
        let differ = tried.labels.iter().zip(&right.labels).filter(|(a, b)| a != b).count();
        assert!(differ == 0, "{differ} of {} labels differ", right.labels.len());
        println!("logits differ by at most {worst}");
    }
}

/// A network that is as small as one can be.
fn hybrid() -> Architecture {
    Architecture {
        hidden: 16,
        heads: 2,
        layers: 1,
        mlp: 16,
        head_channels: 16,
        decoder_channels: [16, 8, 8, 8],
        ..Architecture::tiny(32, 3)
    }
}

/// Images with a stripe of every class.
fn batch(seed: usize) -> Batch {
    let pixels = 32 * 32;
    Batch {
        images: (0..2 * pixels).map(|at| ((at + seed * 7) as f32 * 0.37).sin()).collect(),
        channels: 1,
        labels: (0..2 * pixels).map(|at| (at / 100 % 3) as u8).collect(),
        size: [32; 2],
        slices: (0..2).map(|n| (seed, n)).collect(),
    }
}

/// Weights and images for which the CPU itself ends in the same place when the images change by some millionths: with most
/// others a ReLU that is just about to open makes another step of it.
const CALM: usize = 8;

/// Two updates of two passes each, the second by a learner that begins where the first one stopped; what they told, and all
/// that is left.
fn learned(device: &Devices, of: &Architecture, recipe: &Recipe) -> ([Step; 2], State) {
    let batches = [batch(CALM), batch(CALM + 1)];
    let read = |name: &str, shape: &[usize]| Ok(initial_values(CALM as u64 + 3, name, shape));
    let mut first = begin(device, of, recipe, read).unwrap();
    let one = first.step(&batches, 0, 2).unwrap();
    let mut second = resume(device, of, recipe, 1, first.state().unwrap()).unwrap();
    let two = second.step(&batches, 1, 2).unwrap();
    let mut all = second.state().unwrap();
    all.extend(second.weights().unwrap().into_iter().map(|(name, values)| (format!("saved/{name}"), values)));
    ([one, two], all)
}

/// With all that a recipe can ask for: stages with a loss, an ignored label, both kinds of dropout, clipping, averages.
fn training_is_the_cpus(of: &Architecture, optimizer: OptimizerSettings, class_weights: Option<Vec<f64>>) {
    let recipe = Recipe {
        loss: LossSettings { ignore: Some(2), class_weights, ..LossSettings::default() },
        optimizer,
        schedule: Schedule::Constant,
        drop_path: 0.2,
        ..Preset::Tiny.recipe()
    };
    let (steps, tried) = learned(&devices(), of, &recipe);
    let (expected, right) = learned(&Devices::cpu(), of, &recipe);
    for (step, expected) in steps.iter().zip(&expected) {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b.abs();
        let right = near(step.loss, expected.loss) && near(step.gradient_norm, expected.gradient_norm);
        assert!(right, "{step:?}, expected {expected:?}");
    }
    assert!(tried.keys().eq(right.keys()), "{:?}, expected {:?}", tried.keys(), right.keys());
    let mut differ = Vec::new();
    for (name, values) in &right {
        let largest = values.iter().fold(1e-12f32, |most, x| most.max(x.abs()));
        let worst = tried[name].iter().zip(values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        let finite = tried[name].iter().all(|x| x.is_finite());
        // A number that all scores of a row have in common changes nothing: this gradient is what rounding leaves of zero.
        if !finite || worst >= 1e-3 && !name.ends_with("key.bias") {
            differ.push(format!("{name} differs by {worst}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn training_a_hybrid_with_sgd_is_the_cpus() {
    let sgd = OptimizerSettings::Sgd { rate: 0.1, momentum: 0.9, weight_decay: 1e-4 };
    training_is_the_cpus(&hybrid(), sgd, Some(vec![0.5, 2.0, 1.0]));
}

#[test]
fn training_a_transformer_with_adamw_is_the_cpus() {
    let of = Architecture { stem: None, skips: 0, ..hybrid() };
    training_is_the_cpus(&of, Preset::Tiny.recipe().optimizer, None);
}

#[test]
fn segmenting_is_the_cpus() {
    let set = Set::new();
    let volume = Arc::new(read_volume(&set.at("data/imagesTr/case_0.nii.gz")).unwrap());
    let [tried, right] = [devices(), Devices::cpu()].map(|device| {
        let model = Model::untrained(&device, ModelConfig::undescribed(hybrid()), 3).unwrap();
        segment(&model, &volume, &SegmentOptions::default(), &mut Control::none()).unwrap().to_vec().unwrap()
    });
    assert!(right.iter().any(|label| *label != right[0]), "all of one label");
    let differ = tried.iter().zip(&right).filter(|(a, b)| a != b).count();
    assert!(differ == 0, "{differ} of {} voxels differ", right.len());
}

/// A whole run with a validation, then the command with what it left.
#[test]
fn a_run_leaves_a_model_that_the_command_uses() {
    let set = Set::new();
    let config = set.config("out", "accumulate: 2\n");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("steps: 12\nbatch: 4\nvalidations: 3", "steps: 2\nbatch: 2\nvalidations: 1");
    std::fs::write(&config, text).unwrap();
    let device = devices();
    let plan = TrainConfig::read(&config).unwrap().resolve(&set.at(""), &device, &mut Control::none()).unwrap();
    let outcome = run(&plan, &device, false, &mut (), &mut Control::none()).unwrap();
    assert!(!outcome.stopped && outcome.steps == 2 && outcome.best.is_some(), "{outcome:?}");

    let segmented = |device: &str, caches: &str| {
        let output = set.at(&format!("{device}.nii"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.env("XDG_CACHE_HOME", set.at(caches)).arg("segment").arg(set.at("data/imagesTr/case_0.nii.gz"));
        command.args(["--device", device, "--model"]).arg(&outcome.bundle).arg("--output").arg(&output);
        let said = common::run(&mut command).stderr;
        (read_labels(&output).unwrap().voxels, String::from_utf8_lossy(&said).into_owned())
    };
    let (right, _) = segmented("cpu", "caches");
    let (tried, _) = segmented("vulkan:0", "caches");
    assert!(tried == right, "the labels differ");
    let kernels = set.at("caches/transunet/kernels");
    let kept = std::fs::read_dir(&kernels).unwrap();
    let kept: Vec<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(matches!(&kept[..], [one] if one.starts_with("llvmpipe")), "compiled kernels are kept: {kept:?}");

    // Files that are no kernels, and a folder that cannot be made.
    for file in walkdir::WalkDir::new(&kernels).into_iter().map(Result::unwrap) {
        if file.file_type().is_file() {
            std::fs::write(file.path(), [0xA5; 5000]).unwrap();
        }
    }
    let (tried, _) = segmented("vulkan:0", "caches");
    assert!(tried == right, "the labels differ");
    std::fs::write(set.at("file"), "").unwrap();
    let (tried, said) = segmented("vulkan:0", "file");
    assert!(tried == right && said.contains("kernels are not kept"), "{said}");
}
