use burn::tensor::{Tensor, TensorData};
use transunet::device::Cpu;
type B = burn_autodiff::Autodiff<Cpu>;
use std::time::Instant;
use transunet::network::{Architecture, initial_values};
use transunet::train::loss::{Loss, Target};
use transunet::train::optimizer::Optimizer;
use transunet::train::pass::TrainingPass;
use transunet::train::settings::{LossSettings, OptimizerSettings};
use transunet::train::student::Student;
#[test]
fn speed() {
    let which = std::env::var("W").unwrap_or("tiny".into());
    let b: usize = std::env::var("B").unwrap_or("16".into()).parse().unwrap();
    let s: usize = std::env::var("S").unwrap_or("64".into()).parse().unwrap();
    let n: usize = std::env::var("N").unwrap_or("5".into()).parse().unwrap();
    let device = burn::tensor::Device::<B>::default();
    let a = Architecture::preset(&which, s, 3).unwrap();
    let settings = LossSettings::default();
    let mut student =
        Student::<B>::new(&a, true, &device).filled(|name, shape| Ok(initial_values(1, name, shape))).unwrap();
    let mut opt = Optimizer::<B>::new(OptimizerSettings::Sgd { rate: 0.01, momentum: 0.9, weight_decay: 1e-4 });
    for step in 0..n {
        let t = Instant::now();
        let mut pass = TrainingPass::<B> {
            batch_statistics: true,
            keep_stages: true,
            dropout: 0.1,
            seed: 1,
            number: step as u64,
            ..TrainingPass::plain()
        };
        let images = Tensor::<B, 4>::from_data(
            TensorData::new((0..b * s * s).map(|i| (i % 97) as f32 / 97.0).collect::<Vec<_>>(), [b, 1, s, s]),
            &device,
        );
        let labels: Vec<u8> = (0..b * s * s).map(|i| ((i / 50) % 3) as u8).collect();
        let logits = student.network.forward_with(images, &mut pass);
        let target = Target::new(&labels, [b, s, s], 3, &settings);
        let stages = pass.stages.drain(..).zip(&student.supervision).map(|(x, h)| h.forward(x)).collect();
        let loss = Loss::new(logits, &target, &settings).with_stages(stages, &target, &settings);
        let f = t.elapsed();
        let g = student.gradients(&loss.total);
        let bk = t.elapsed();
        let l = loss.total.into_scalar();
        student = opt.update(student, g, 0.01);
        println!("loss {l:.4} forward {:?} backward {:?} update {:?}", f, bk - f, t.elapsed() - bk);
    }
}
