//! What a step of training is made of: loss, update rules, rates, dropout, averages, and what a recipe may say.

#[path = "common/backend.rs"]
mod backend;
mod common;
#[path = "common/discs.rs"]
mod discs;

use backend::{Learning as B, Plain};
use burn::tensor::{Tensor, TensorData};
use transunet::control::Control;
use transunet::loader::Batch;
use transunet::network::{Architecture, Pass, initial_values};
use transunet::random;
use transunet::train::config::TrainConfig;
use transunet::train::learner::{Learner, State, Step, begin};
use transunet::train::loss::{Loss, Target};
use transunet::train::optimizer::{Average, Optimizer, from_vec, to_vec};
use transunet::train::pass::TrainingPass;
use transunet::train::settings::{LossSettings, OptimizerSettings, Preset, Recipe, Schedule};
use transunet::train::student::{Student, graph_turn};

const SIDE: usize = 32;

fn architecture() -> Architecture {
    Architecture {
        hidden: 16,
        heads: 2,
        mlp: 16,
        head_channels: 16,
        decoder_channels: [16, 8, 8, 8],
        ..Architecture::tiny(SIDE, 3)
    }
}

/// SGD without momentum and decay, nothing random, running statistics, cross-entropy alone.
fn plain() -> Recipe {
    Recipe {
        loss: LossSettings { cross_entropy: 1.0, dice: 0.0, deep_supervision: false, ..LossSettings::default() },
        optimizer: OptimizerSettings::Sgd { rate: 0.1, momentum: 0.0, weight_decay: 0.0 },
        schedule: Schedule::Constant,
        clip: None,
        dropout: 0.0,
        drop_path: 0.0,
        average: None,
        freeze_statistics: true,
        ..Preset::Tiny.recipe()
    }
}

fn learner(recipe: &Recipe) -> Box<dyn Learner> {
    learner_on(1, recipe)
}

fn learner_on(devices: usize, recipe: &Recipe) -> Box<dyn Learner> {
    let read = |name: &str, shape: &[usize]| Ok(initial_values(3, name, shape));
    begin(&backend::several(devices), &architecture(), recipe, read).unwrap()
}

/// Images of noise, each with a stripe of every class.
fn batch(images: std::ops::Range<usize>) -> Batch {
    let pixel = |n: usize, at: usize| random::stream(5, "pixel", &[n as u64, at as u64 / 16]).unit() as f32;
    Batch {
        images: images.clone().flat_map(|n| (0..SIDE * SIDE).map(move |at| pixel(n, at))).collect(),
        channels: 1,
        labels: images.clone().flat_map(|n| (0..SIDE * SIDE).map(move |at| ((at / 100 + n) % 3) as u8)).collect(),
        size: [SIDE; 2],
        slices: images.map(|n| (0, n)).collect(),
    }
}

/// The weights after some steps.
fn after(recipe: &Recipe, batches: &[Batch], steps: u64) -> (State, Step) {
    let mut learner = learner(recipe);
    let made: Vec<Step> = (0..steps).map(|n| learner.step(batches, n, steps).unwrap()).collect();
    (learner.weights().unwrap(), made[made.len() - 1])
}

fn difference(a: &State, b: &State, which: impl Fn(&str) -> bool) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a
        .iter()
        .filter(|(name, _)| which(name))
        .map(|(name, values)| values.iter().zip(&b[name]).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>());
    squares.sum::<f64>().sqrt()
}

/// The loss in plain words: logits and shares `[b, c, pixels]`, what pixels count for, weights of classes.
fn reference(logits: &[f64], shares: &[f64], valid: &[f64], weights: &[f64], pixels: usize) -> f64 {
    let classes = weights.len();
    let (mut likelihood, mut total) = (0.0, 0.0);
    let mut sums = vec![[0.0; 3]; classes];
    for image in 0..logits.len() / classes / pixels {
        for pixel in 0..pixels {
            let at = |class: usize| (image * classes + class) * pixels + pixel;
            let sum: f64 = (0..classes).map(|class| logits[at(class)].exp()).sum();
            for (class, weight) in weights.iter().enumerate() {
                let (p, t, v) = (logits[at(class)].exp() / sum, shares[at(class)], valid[image * pixels + pixel]);
                likelihood += weight * t * p.ln();
                total += weight * t;
                let terms = [v * p * t, v * p * p, t * t];
                sums[class].iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
        }
    }
    let dice = sums
        .iter()
        .zip(weights)
        .map(|([shared, p, t], weight)| weight * (1.0 - (2.0 * shared + 1e-5) / (p + t + 1e-5)) / classes as f64);
    0.5 * -likelihood / total + 0.5 * dice.sum::<f64>()
}

fn noise(purpose: &str, count: usize) -> Vec<f64> {
    let mut random = random::stream(1, purpose, &[]);
    (0..count).map(|_| random.between(-2.0, 2.0)).collect()
}

fn one_hot(labels: &[u8], classes: usize, pixels: usize) -> Vec<f64> {
    let image = |labels: &[u8]| -> Vec<f64> {
        (0..classes)
            .flat_map(|class| labels.iter().map(move |&l| f64::from(u8::from(usize::from(l) == class))))
            .collect()
    };
    labels.chunks_exact(pixels).flat_map(image).collect()
}

fn tensor(values: &[f64], shape: [usize; 4]) -> Tensor<B, 4> {
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &backend::learning())
}

/// Each pass has its own dropout and statistics wherever it is made; only sums in another order differ.
#[test]
fn devices_share_the_passes_of_a_step() {
    let recipe = Recipe {
        loss: LossSettings::default(),
        optimizer: OptimizerSettings::Sgd { rate: 0.05, momentum: 0.9, weight_decay: 1e-3 },
        dropout: 0.1,
        average: Some(0.9),
        freeze_statistics: false,
        ..plain()
    };
    let batches = [0..2, 2..4, 4..6, 6..8].map(batch);
    let weights = |devices: usize, recipe: &Recipe, batches: &[Batch]| {
        let mut learner = learner_on(devices, recipe);
        let losses: Vec<f64> = (0..3).map(|n| learner.step(batches, n, 3).unwrap().loss).collect();
        // Running statistics are those of the first device's passes.
        let mut state = learner.state().unwrap();
        state.retain(|name, _| !name.contains("running_"));
        (state, losses)
    };
    let alone = weights(1, &recipe, &batches[..2]);
    assert!(weights(2, &recipe, &batches[..2]) == alone, "the same bits");
    assert!(weights(3, &recipe, &batches[..2]) == alone, "one is idle");
    let frozen = Recipe { freeze_encoder: true, ..recipe.clone() };
    assert!(weights(2, &frozen, &batches[..2]) == weights(1, &frozen, &batches[..2]), "the same bits");
    let (alone, losses) = weights(1, &recipe, &batches);
    for devices in [2, 3] {
        let (shared, found) = weights(devices, &recipe, &batches);
        let apart = difference(&shared, &alone, |_| true);
        assert!(apart < 1e-4, "{devices} devices: weights are {apart} apart");
        assert!(found.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {losses:?}");
    }
}

/// Runs in one process, each of which has tidied among the other's graphs.
#[test]
fn runs_at_once_do_not_meddle() {
    let recipe = Recipe { loss: LossSettings::default(), freeze_statistics: false, ..plain() };
    let batches = [batch(0..2)];
    let alone = after(&recipe, &batches, 4);
    let together: Vec<(State, Step)> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| after(&recipe, &batches, 4))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(together.iter().all(|run| run == &alone), "the same bits");
}

#[test]
fn class_weights_and_ignored_pixels() {
    let settings = LossSettings {
        class_weights: Some(vec![0.25, 1.0, 3.0]),
        ignore: Some(255),
        deep_supervision: false,
        ..LossSettings::default()
    };
    let weights = [0.25, 1.0, 3.0];
    let labels: Vec<u8> = (0..32).map(|n| [0, 1, 2, 255, 0, 0, 1][n * 5 % 7]).collect();
    let valid: Vec<f64> = labels.iter().map(|&label| f64::from(u8::from(label != 255))).collect();
    let shares = one_hot(&labels, 3, 16);
    let logits = noise("logits", 96);
    let _turn = graph_turn();
    let input = tensor(&logits, [2, 3, 4, 4]).require_grad();
    let target = Target::new(&labels, [2, 4, 4], 3, &settings);
    let loss = Loss::new(input.clone(), &target, &settings).total;
    let expected = reference(&logits, &shares, &valid, &weights, 16);
    assert!((f64::from(loss.clone().into_scalar()) - expected).abs() < 1e-6, "{loss} is not {expected}");

    let gradient = input.grad(&loss.backward()).unwrap().into_data().into_vec::<f32>().unwrap();
    for at in 0..96 {
        let moved = |by: f64| {
            let mut logits = logits.clone();
            logits[at] += by;
            reference(&logits, &shares, &valid, &weights, 16)
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((f64::from(gradient[at]) - slope).abs() < 1e-6, "{at}: {} is not {slope}", gradient[at]);
        if valid[at / 48 * 16 + at % 16] == 0.0 {
            assert_eq!(gradient[at], 0.0, "an ignored pixel");
        }
    }
}

#[test]
fn stages_of_the_decoder_count_half_as_much_each() {
    let settings = LossSettings::default();
    let labels: Vec<u8> = (0..64).map(|n| [0, 1, 2, 0, 1][n * 3 % 5]).collect();
    let target = Target::new(&labels, [1, 8, 8], 3, &settings);
    let shares = one_hot(&labels, 3, 64);
    let (mut expected, mut weights) = (0.0, 0.0);
    let mut logits = Vec::new();
    for (n, side) in [8, 4, 2, 1].into_iter().enumerate() {
        let step = 8 / side;
        let share = |at: usize| -> f64 {
            let (class, y, x) = (at / (side * side), at / side % side * step, at % side * step);
            let block = (0..step * step).map(|n| shares[class * 64 + (y + n / step) * 8 + x + n % step]);
            block.sum::<f64>() / (step * step) as f64
        };
        let shares: Vec<f64> = (0..3 * side * side).map(share).collect();
        let values = noise(&format!("stage {n}"), 3 * side * side);
        expected +=
            0.5f64.powi(n as i32) * reference(&values, &shares, &vec![1.0; side * side], &[1.0; 3], side * side);
        weights += 0.5f64.powi(n as i32);
        logits.push(tensor(&values, [1, 3, side, side]));
    }
    let output = logits.remove(0);
    logits.reverse();
    let loss = Loss::new(output, &target, &settings).with_stages(logits, &target, &settings);
    let ours = f64::from(loss.total.into_scalar());
    assert!((ours - expected / weights).abs() < 1e-6, "{ours}, expected {}", expected / weights);
}

#[test]
fn heads_on_the_stages_learn() {
    let supervised = |deep_supervision: bool| {
        let recipe = Recipe { loss: LossSettings { deep_supervision, ..LossSettings::default() }, ..plain() };
        let mut learner = learner(&recipe);
        let before = learner.state().unwrap();
        learner.step(&[batch(0..2)], 0, 1).unwrap();
        let after = learner.state().unwrap();
        let heads = before.keys().filter(|name| name.starts_with("supervision.")).count();
        let moved = before.iter().filter(|(name, values)| name.starts_with("supervision.") && after[*name] != **values);
        (heads, moved.count())
    };
    assert_eq!((supervised(true), supervised(false)), ((6, 6), (0, 0)));
}

/// The numbers are those of torch.optim.AdamW 2.15 in double precision, with and without weight decay.
#[test]
fn adamw_agrees_with_pytorch() {
    let device = backend::learning();
    let start = [0.5f32, -1.25, 2.0];
    let fill = |_: &str, shape: &[usize]| -> transunet::Result<Vec<f32>> {
        Ok(start.into_iter().cycle().take(shape.iter().product()).collect())
    };
    let mut student = Student::<B>::new(&architecture(), true, &device).filled(fill).unwrap();
    let settings = OptimizerSettings::AdamW { rate: 0.01, beta1: 0.9, beta2: 0.99, weight_decay: 0.1 };
    let mut optimizer = Optimizer::<B>::new(settings);
    let names = ["network.segmentation_head.0.weight", "supervision.1.weight", "network.segmentation_head.0.bias"];
    for (gradient, rate) in [([0.3f32, -0.2, 0.05], 0.01), ([-0.1, 0.4, 0.0], 0.02), ([0.25, 0.1, -0.6], 0.005)] {
        let values = student.values();
        let gradients = names.iter().map(|&name| {
            let count = values[name].dims()[0];
            let gradient = gradient.into_iter().cycle().take(count).collect();
            (name.to_owned(), from_vec::<Plain>(gradient, &backend::plain()))
        });
        student = optimizer.update(student, gradients.collect(), rate);
    }
    let plain = [0.478783627, -1.249391778, 1.979523434];
    let decayed = [0.477_064_376, -1.245_042_485, 1.972_562_138];
    let values = student.values();
    for (name, expected) in names.iter().zip([decayed, decayed, plain]) {
        for (ours, expected) in to_vec(values[*name].clone()).iter().zip(expected.into_iter().cycle()) {
            assert!((f64::from(*ours) - expected).abs() < 1e-6, "{name}: {ours}, expected {expected}");
        }
    }
    for untouched in ["network.decoder.conv_more.1.weight", "network.transformer.encoder.layer.0.ffn.fc1.weight"] {
        assert_eq!(to_vec(values[untouched].clone())[..3], start, "{untouched} has no gradient");
    }
}

#[test]
fn rates_over_a_run() {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a}, expected {b}");
    let poly = |late: bool, step: u64| Schedule::Poly { power: 0.9, late }.rate(0.01, step, 10);
    near(poly(false, 0), 0.01);
    near(poly(false, 4), 0.01 * 0.6f64.powf(0.9));
    // The 2021 code uses the first rate twice and never the last one.
    near(poly(true, 0), 0.01);
    near(poly(true, 1), 0.01);
    near(poly(true, 9), 0.01 * 0.2f64.powf(0.9));
    let warm = |warmup: f64, step: u64, steps: u64| Schedule::Cosine { warmup, floor: 0.01 }.rate(1.0, step, steps);
    let cosine = |step: u64| warm(0.1, step, 1000);
    near(cosine(0), 0.01);
    near(cosine(99), 1.0);
    near(cosine(100), 1.0);
    near(cosine(550), 0.01 + 0.99 / 2.0);
    assert!((100..999).all(|n| cosine(n + 1) < cosine(n)) && cosine(999) > 0.01 && cosine(999) < 0.011);
    // Short runs warm up for 60 updates or a quarter, whatever the share, unless that is 0.
    near(warm(0.05, 0, 400), 1.0 / 60.0);
    near(warm(0.05, 0, 40), 0.1);
    near(warm(0.0, 0, 400), 1.0);
    near(Schedule::Constant.rate(0.3, 7, 8), 0.3);
}

#[test]
fn long_gradients_are_shortened() {
    let (start, _) = after(&plain(), &[batch(0..4)], 1);
    let begun = learner(&plain()).weights().unwrap();
    let free = difference(&start, &begun, |_| true);
    let clipped = |clip: f64| after(&Recipe { clip: Some(clip), ..plain() }, &[batch(0..4)], 1);
    let (weights, step) = clipped(0.01);
    let moved = difference(&weights, &begun, |_| true);
    assert!(step.gradient_norm > 0.02 && (free / (0.1 * step.gradient_norm) - 1.0).abs() < 1e-3, "{free}, {step:?}");
    assert!((moved / (0.1 * 0.01) - 1.0).abs() < 1e-3, "moved by {moved}");
    assert_eq!(clipped(1e6).0, start);
}

#[test]
fn twenty_four_are_four_times_six() {
    let recipe =
        Recipe { optimizer: OptimizerSettings::Sgd { rate: 0.1, momentum: 0.9, weight_decay: 1e-4 }, ..plain() };
    let (whole, step) = after(&recipe, &[batch(0..24)], 2);
    let parts: Vec<Batch> = (0..4).map(|n| batch(6 * n..6 * n + 6)).collect();
    let (accumulated, same) = after(&recipe, &parts, 2);
    let (begun, all) = (learner(&recipe).weights().unwrap(), |_: &str| true);
    let (moved, differs) = (difference(&whole, &begun, all), difference(&whole, &accumulated, all));
    assert!(differs < 1e-5 * moved, "moved by {moved}, differ by {differs}");
    assert!((step.loss - same.loss).abs() < 1e-6 && (step.gradient_norm / same.gradient_norm - 1.0).abs() < 1e-5);
}

#[test]
fn dropout_is_a_function_of_seed_and_pass() {
    let device = backend::plain();
    let ones = || Tensor::<Plain, 2>::ones([100, 100], &device);
    let draw = |seed: u64, number: u64| {
        let mut pass = TrainingPass { seed, number, dropout: 0.25, ..TrainingPass::plain() };
        [pass.drop_values(ones()), pass.drop_values(ones())].map(|x| x.into_data().into_vec::<f32>().unwrap())
    };
    let [first, second] = draw(1, 5);
    let kept = first.iter().filter(|&&x| x != 0.0).count();
    assert!(first.iter().all(|&x| x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6) && (7300..7700).contains(&kept), "{kept}");
    assert_eq!(draw(1, 5), [first.clone(), second.clone()]);
    assert!(first != second && draw(1, 6)[0] != first && draw(2, 5)[0] != first);

    // The last of four blocks drops its branch for whole images, four times as often as the first.
    let dropped = |index: usize| {
        let mut pass = TrainingPass::<Plain> { drop_path: 0.4, ..TrainingPass::plain() };
        let branch = pass.drop_branch(Tensor::ones([4000, 2, 3], &device), index, 4);
        let values = branch.into_data().into_vec::<f32>().unwrap();
        assert!(values.chunks_exact(6).all(|image| image.iter().all(|x| x == &image[0])), "parts of an image");
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "mean {mean}");
        values.chunks_exact(6).filter(|image| image[0] == 0.0).count()
    };
    assert!((330..470).contains(&dropped(0)) && (1480..1720).contains(&dropped(3)), "{} {}", dropped(0), dropped(3));
    let differs = |recipe: &Recipe| after(recipe, &[batch(0..2)], 1).0 != after(&plain(), &[batch(0..2)], 1).0;
    assert!(differs(&Recipe { dropout: 0.5, ..plain() }) && differs(&Recipe { drop_path: 0.9, ..plain() }));
}

#[test]
fn the_average_follows_the_weights() {
    let device = backend::plain();
    let value = |x: f32| std::collections::BTreeMap::from([("w".to_owned(), from_vec::<Plain>(vec![x], &device))]);
    let mut average = Average::new(0.9, value(0.0));
    average.update(value(1.0), 1);
    let now = |average: &Average<Plain>| to_vec(average.values["w"].clone())[0];
    assert!((now(&average) - 9.0 / 11.0).abs() < 1e-6, "the start is soon forgotten: {}", now(&average));
    average.update(value(2.0), 1000);
    assert!((now(&average) - (0.9 * 9.0 / 11.0 + 0.2)).abs() < 1e-6, "{}", now(&average));

    let averaged = after(&Recipe { average: Some(0.5), ..plain() }, &[batch(0..2)], 3).0;
    let [raw, begun] = [after(&plain(), &[batch(0..2)], 3).0, learner(&plain()).weights().unwrap()];
    let lag = difference(&averaged, &raw, |_| true);
    assert!(lag > 0.0 && lag < difference(&begun, &raw, |_| true), "between start and end");
}

#[test]
fn frozen_parts_stay() {
    let decaying = OptimizerSettings::AdamW { rate: 0.01, beta1: 0.9, beta2: 0.999, weight_decay: 0.1 };
    let begun = learner(&plain()).weights().unwrap();
    let statistics = |name: &str| name.contains("running_");
    let encoder = |name: &str| name.starts_with("transformer.");
    let frozen = Recipe { freeze_encoder: true, freeze_statistics: false, optimizer: decaying, ..plain() };
    let (weights, _) = after(&frozen, &[batch(0..2)], 2);
    assert_eq!(difference(&weights, &begun, encoder), 0.0);
    assert!(difference(&weights, &begun, |name| !encoder(name) && !statistics(name)) > 0.0);
    assert!(difference(&weights, &begun, statistics) > 0.0);
    let (weights, _) = after(&plain(), &[batch(0..2)], 2);
    assert_eq!(difference(&weights, &begun, statistics), 0.0);
    assert!(difference(&weights, &begun, encoder) > 0.0);
}

#[test]
fn compat_follows_the_2021_recipe() {
    let set = discs::Set::new();
    let device = backend::devices();
    let resolved = |more: &str| {
        let path = set.config("out", more);
        TrainConfig::read(&path).unwrap().resolve(&set.at(""), &device, &mut Control::none())
    };
    let run = resolved("compat: transunet-2021\n").unwrap();
    assert_eq!(run.recipe.schedule, Schedule::Poly { power: 0.9, late: true });
    assert_eq!(run.recipe.optimizer, OptimizerSettings::Sgd { rate: 0.01, momentum: 0.9, weight_decay: 1e-4 });
    assert!(!run.recipe.loss.deep_supervision && run.recipe.clip.is_none() && run.recipe.average.is_none());
    let run = resolved("clip: 0\naverage: 0\n").unwrap();
    assert!(run.recipe.clip.is_none() && run.recipe.average.is_none(), "0 switches off");
    for (more, expected) in [
        ("optimizer: { kind: sgd, momentum: 1.5 }", "momentum is 1.5, expected 0 to below 1"),
        ("optimizer: { kind: adamw, beta2: 1.0 }", "beta2 is 1, expected 0 to below 1"),
        ("optimizer: { kind: adamw, weight_decay: -1 }", "weight_decay is -1, expected at least 0"),
        ("optimizer: { kind: sgd, rate: 0 }", "rate is 0, expected more than 0"),
        ("schedule: { kind: cosine, warmup: 1.5 }", "warmup is 1.5, expected 0 to below 1"),
        ("schedule: { kind: cosine, floor: 2 }", "floor is 2, expected 0 to 1"),
        ("schedule: { kind: poly, power: -1 }", "power is -1, expected at least 0"),
        ("clip: -1", "clip is Some(-1.0), expected more than 0"),
        ("epochs: .inf", "epochs and steps: expected one of them"),
        ("dropout: 1", "dropout is 1, expected 0 to below 1"),
        ("accumulate: 0", "accumulate is 0, expected 1 to 4096"),
        ("loss: { class_weights: [1, 2] }", "class_weights has 2 numbers, expected 3, background first"),
        ("loss: { ignore: 2 }", "ignore is 2, which is one of the 3 classes"),
        ("loss: { dice: 0, cross_entropy: 0 }", "expected two numbers from 0 that are not both 0"),
        ("augmentation: { kind: low-data, gamma: 0.5 }", "gamma is 0.5, expected 1 to 4"),
    ] {
        let error = resolved(more).unwrap_err().to_string();
        assert!(error.contains(expected), "{more}: {error}");
    }
}
