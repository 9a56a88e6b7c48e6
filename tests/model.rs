//! What a model on the CPU is: the engine, with weights that are saved as they came.

#[path = "common/checkpoints.rs"]
#[allow(dead_code)]
mod checkpoints;
#[path = "common/name_weights.rs"]
mod name_weights;
#[path = "common/tensors.rs"]
mod tensors;

use std::fs;
use std::path::Path;

use checkpoints::write_pth;
use name_weights::tiny_r50;
use transunet::Error;
use transunet::config::ModelConfig;
use transunet::device::Devices;
use transunet::engine::Engine;
use transunet::kernels::simd::Isa;
use transunet::model::Model;
use transunet::weights::{Precision, expected};

fn cpu() -> Devices {
    Devices::cpu()
}

/// The golden network with weights of this seed.
fn model(seed: u64) -> Model {
    let read = |name: &str, shape: &[usize]| Ok(name_weights::values(seed, 24, name, shape));
    Model::with_values(&cpu(), ModelConfig::undescribed(tiny_r50()), read).unwrap()
}

fn save(model: &Model, path: &Path) {
    model.save(path, Precision::Single).unwrap();
}

#[test]
fn a_model_of_learned_values_runs_on_the_engine() {
    let of = tiny_r50();
    let read = |name: &str, shape: &[usize]| Ok(name_weights::values(1, 24, name, shape));
    let engine = Engine::new(&of, Isa::fastest(), read).unwrap();
    let shape = [1, 1, 64, 64];
    let pixels: Vec<f32> = (0..64 * 64).map(|n| (n as f32 * 0.37).sin()).collect();
    let mut expected = Vec::new();
    let show = |_: usize, logits: transunet::kernels::simd::maps::Map| {
        for class in 0..of.classes {
            expected.extend((0..64 * 64).map(|pixel| logits.values[pixel * logits.pitch + class]));
        }
    };
    engine.forward(&pixels, shape, None, show).unwrap();
    assert!(model(1).first().logits(pixels, shape).unwrap() == expected, "not the engine's bits");
}

#[test]
fn a_loaded_model_is_saved_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    save(&model(1), &at("first.safetensors"));
    let loaded = Model::load(&cpu(), &at("first.safetensors")).unwrap();
    // Also over the file that it was loaded from, which is replaced.
    for path in [at("second.safetensors"), at("first.safetensors"), at("third.safetensors")] {
        save(&loaded, &path);
        assert!(tensors::read(&path) == tensors::read(&at("first.safetensors")));
    }
    save(&model(2), &at("first.safetensors"));
    save(&loaded, &at("fourth.safetensors"));
    assert!(tensors::read(&at("fourth.safetensors")) == tensors::read(&at("third.safetensors")));
}

/// Whatever the file: the weights that it gives, and what it says of them.
#[test]
fn a_checkpoint_and_the_bundle_saved_from_it_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let values = |name: &str, shape: &[usize]| match name.ends_with("num_batches_tracked") {
        true => vec![7.0],
        false => name_weights::values(1, 24, name, shape),
    };
    write_pth(&at("weights.pth"), &expected(&tiny_r50()), values);
    let heads = format!("format: 1\narchitecture: {{ heads: {} }}\n", tiny_r50().heads);
    fs::write(at("weights.yaml"), format!("{heads}compat: transunet-2021\n")).unwrap();
    let load = |name: &str| Model::load(&cpu(), &at(name)).unwrap();
    let checkpoint = load("weights.pth");
    save(&checkpoint, &at("bundle.safetensors"));
    let hash = checkpoint.sha256().unwrap();
    assert_eq!(load("bundle.safetensors").sha256().unwrap(), hash);
    fs::write(at("weights.yaml"), heads).unwrap();
    assert_ne!(load("weights.pth").sha256().unwrap(), hash, "another description");
}

#[test]
fn a_file_that_was_written_over_is_not_saved_as_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |path: &Path, seed: u64| {
        if path.extension().is_some_and(|kind| kind == "pth") {
            let values = |name: &str, shape: &[usize]| match name.ends_with("num_batches_tracked") {
                true => vec![7.0],
                false => name_weights::values(seed, 24, name, shape),
            };
            write_pth(path, &expected(&tiny_r50()), values);
        } else {
            save(&model(seed), path);
        }
    };
    fs::write(at("weights.yaml"), format!("format: 1\narchitecture: {{ heads: {} }}\n", tiny_r50().heads)).unwrap();
    for name in ["weights.pth", "weights.safetensors"] {
        let (path, out) = (at(name), at("out.safetensors"));
        write(&path, 1);
        let loaded = Model::load(&cpu(), &path).unwrap();
        let original = fs::read(&path).unwrap();
        write(&at(&format!("other-{name}")), 2);
        let others = fs::read(at(&format!("other-{name}"))).unwrap();
        let mut flipped = original.clone();
        flipped[original.len() / 2] ^= 1;
        let cut = original[..original.len() / 2].to_vec();
        for bytes in [&others, &flipped, &cut] {
            // In place, as `cp` does.
            fs::write(&path, bytes).unwrap();
            let refused = loaded.save(&out, Precision::Single);
            let said = |text: &str| text.starts_with(path.to_str().unwrap());
            assert!(matches!(&refused, Err(Error::WeightsFormat(text)) if said(text)), "{refused:?}");
        }
        fs::write(&path, &original).unwrap();
        assert!(!out.exists());
        save(&loaded, &out);
        fs::remove_file(&out).unwrap();
    }
}
