//! Training steps of R50-ViT-B_16 for `compare.py`: writes weights and a batch, then makes a step for each line that it reads.

use std::error::Error;
use std::io::{BufRead, stdin};
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;
use transunet::config::ModelConfig;
use transunet::device::{Cpu, Devices, cpu_threads};
use transunet::kernels::simd::buffer::Keeper;
use transunet::model::Model;
use transunet::network::{Architecture, initial_values};
use transunet::random;
use transunet::train::loss::{Loss, Target};
use transunet::train::optimizer::Optimizer;
use transunet::train::pass::TrainingPass;
use transunet::train::settings::{LossSettings, OptimizerSettings};
use transunet::train::student::{NETWORK, Student};
use transunet::weights::Precision;

#[path = "../common/program.rs"]
mod program;

type Learning = burn_autodiff::Autodiff<Cpu>;

const SEED: u64 = 1;
const SIDE: usize = 224;
const CLASSES: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = program::arguments();
    let [folder, batch, threads] = &arguments[..] else {
        println!("benches/train_step/run measures a training step against PyTorch");
        return Ok(());
    };
    let (folder, batch): (PathBuf, usize) = (folder.into(), batch.parse()?);
    let threads = cpu_threads(threads.parse()?);
    let architecture = Architecture::r50_vit_b16(SIDE, CLASSES);
    let device = Devices::cpu();
    Model::untrained(&device, ModelConfig::undescribed(architecture.clone()), SEED)?
        .save(&folder.join("weights.safetensors"), Precision::Single)?;
    let (images, labels) = made_up(batch);
    let bytes: Vec<u8> = images.iter().flat_map(|x| x.to_le_bytes()).collect();
    let views = [
        ("images", TensorView::new(Dtype::F32, vec![batch, 1, SIDE, SIDE], &bytes)?),
        ("labels", TensorView::new(Dtype::U8, vec![batch, SIDE, SIDE], &labels)?),
    ];
    serialize_to_file(views, None, &folder.join("batch.safetensors"))?;

    let settings = LossSettings { deep_supervision: false, ..LossSettings::default() };
    let mut optimizer =
        Optimizer::<Learning>::new(OptimizerSettings::Sgd { rate: 0.01, momentum: 0.9, weight_decay: 1e-4 });
    let (device, memory) = (Default::default(), Keeper::new());
    let mut student = Student::<Learning>::new(&architecture, false, &device)
        .filled(|name, shape| Ok(initial_values(SEED, name.strip_prefix(NETWORK).unwrap_or(name), shape)))?;
    program::tell(&json!({ "pid": std::process::id(), "threads": threads }))?;
    for line in stdin().lock().lines() {
        line?;
        let began = Instant::now();
        memory.turn();
        let mut pass = TrainingPass { batch_statistics: true, ..TrainingPass::plain() };
        let input = Tensor::from_data(TensorData::new(images.clone(), [batch, 1, SIDE, SIDE]), &device);
        let logits = student.network.forward_with(input, &mut pass);
        let target = Target::new(&labels, [batch, SIDE, SIDE], CLASSES, &settings);
        let loss = Loss::new(logits, &target, &settings).total;
        let value = f64::from(loss.clone().into_scalar());
        let forward = began.elapsed();
        let gradients = student.gradients(&loss)?;
        let backward = began.elapsed() - forward;
        student = optimizer.update(student, gradients, 0.01);
        let seconds = began.elapsed();
        let update = seconds - forward - backward;
        program::tell(&json!({ "loss": value, "seconds": seconds.as_secs_f64(), "forward": forward.as_secs_f64(),
            "backward": backward.as_secs_f64(), "update": update.as_secs_f64() }))?;
    }
    Ok(())
}

/// Noise in 0..1, and stripes of all classes.
fn made_up(batch: usize) -> (Vec<f32>, Vec<u8>) {
    let count = batch * SIDE * SIDE;
    let mut random = random::stream(SEED, "benchmark", &[]);
    let images = (0..count).map(|_| random.unit() as f32).collect();
    (images, (0..count).map(|at| (at / 1000 % CLASSES) as u8).collect())
}
