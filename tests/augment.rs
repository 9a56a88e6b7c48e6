//! Augmentation: the original's against scipy and numpy, the low-data one against what it must keep true.

mod common;
#[path = "common/tensors.rs"]
mod tensors;

use std::sync::Arc;

use transunet::augment::{Augmentation, LowData, Sample, Warp, rotate, turn};
use transunet::config::{Input, ModelConfig};
use transunet::control::Control;
use transunet::geometry::Geometry;
use transunet::loader::prepare;
use transunet::network::Architecture;
use transunet::placement::Placement;
use transunet::preprocess::Preprocessor;
use transunet::random;
use transunet::volume::Volume;

const AXES: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// A smooth picture.
fn picture([rows, columns]: [usize; 2]) -> Vec<f32> {
    let at = |n: usize| ((n / columns) as f32, (n % columns) as f32);
    (0..rows * columns).map(|n| ((at(n).0 * 0.31).sin() + (at(n).1 * 0.23).cos()) / 4.0 + 0.5).collect()
}

fn config(size: [usize; 2], spacing: Option<[f64; 2]>, context: usize) -> ModelConfig {
    let architecture = Architecture { channels: 2 * context + 1, ..Architecture::tiny(32, 2) };
    let input = Input { size: Some(size), spacing, context, ..Input::default() };
    ModelConfig { input, ..ModelConfig::undescribed(architecture) }
}

#[test]
fn right_angles_and_rotations_agree_with_numpy_and_scipy() {
    let Some(folder) = common::golden("augmentation", "ops") else { return };
    let golden = tensors::read(&folder.join("ops.safetensors"));
    let size = |name: &str| [golden[name].0[0], golden[name].0[1]];
    for quarters in 0..4 {
        for axis in 0..2 {
            let name = format!("rf.k{quarters}_axis{axis}");
            let (ours, shape) = turn(&golden["rf.image"].1, size("rf.image"), quarters, axis);
            assert_eq!((&ours, shape), (&golden[&name].1, size(&name)), "{name}");
        }
    }
    for angle in [-20, -13, -7, -1, 0, 1, 8, 19] {
        let ours = rotate(&golden["rot.image"].1, size("rot.image"), f64::from(angle));
        let theirs = &golden[&format!("rot.image_{angle}")].1;
        let differ = ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 0, "{angle} degrees");
    }
}

#[test]
fn a_warp_that_moves_nothing_is_the_networks_own_input() {
    let (rows, columns) = (21, 34);
    let geometry = Geometry::new([columns, rows, 3], [0.8, 1.1, 3.0], [0.0; 3], AXES).unwrap();
    let image: Vec<f32> = (0..3).flat_map(|_| picture([rows, columns])).collect();
    let labels: Vec<u8> = image.iter().map(|&x| u8::from(x > 0.6)).collect();
    let volume = Arc::new(Volume::from_memory(geometry, image, "test").unwrap());
    for config in
        [config([32, 48], None, 0), config([48, 64], Some([0.5, 0.7]), 1), config([16, 16], Some([0.4, 0.5]), 0)]
    {
        let preprocessor = Preprocessor::new(&config, &volume, &mut Control::none()).unwrap();
        let placement = preprocessor.placement();
        let mut expected = vec![0.0; preprocessor.channels() * placement.pixels()];
        preprocessor.slice(1, &mut expected).unwrap();
        let case = prepare(&config, &volume, labels.clone(), None).unwrap();
        let sample = case.slice(1, config.input.context).unwrap();
        let warped = Warp::affine(0.0, [1.0; 2], [0.0; 2]).apply(&sample, &placement);
        let difference = tensors::difference(&warped.pixels, &expected);
        assert!(difference < 1e-4, "{:?}: differs by {difference}", config.input);
    }
}

#[test]
fn labels_follow_their_image() {
    let size = [40, 36];
    let placement = Placement { own: size, resampled: [79, 71], canvas: [80, 80], offset: [0, 4] };
    let pixels = picture(size);
    let labels = pixels.iter().map(|&x| u8::from(x > 0.55)).collect();
    let strengths = LowData { contrast: 0.0, brightness: 0.0, gamma: 1.0, noise: 0.0, blur: 0.0, ..LowData::default() };
    let sample = Sample { pixels, labels };
    for n in 0..40 {
        let found = strengths.apply(&sample, &placement, &mut random::stream(3, "test", &[n]));
        // Where the picture is clearly on one side of the threshold, so is the label.
        let wrong = found.pixels.iter().zip(&found.labels).filter(|&(&x, &label)| match label {
            1 => x < 0.5,
            _ => x > 0.6,
        });
        assert!(wrong.count() < 20, "sample {n}");
        let again = strengths.apply(&sample, &placement, &mut random::stream(3, "test", &[n]));
        assert_eq!(found, again, "a function of seed and place");
    }
}

#[test]
fn sides_stay_apart_unless_mirroring_is_asked_for() {
    // A mark on the left half must stay on the left half's side of the mark in the middle.
    let size = [32, 32];
    let placement = Placement { own: size, resampled: size, canvas: size, offset: [0; 2] };
    let labels: Vec<u8> =
        (0..1024).map(|n| [0, 1, 2][usize::from(n % 32 / 4 == 2) + 2 * usize::from(n % 32 / 4 == 5)]).collect();
    let sample = Sample { pixels: labels.iter().map(|&l| f32::from(l)).collect(), labels };
    let flipped = |strengths: &LowData| {
        let middle = |labels: &[u8], label: u8| {
            let places: Vec<_> = labels.iter().enumerate().filter(|(_, l)| **l == label).map(|(n, _)| n % 32).collect();
            places.iter().sum::<usize>() as f64 / places.len() as f64
        };
        (0..60)
            .filter(|&n| {
                let found = strengths.apply(&sample, &placement, &mut random::stream(1, "test", &[n])).labels;
                middle(&found, 1) > middle(&found, 2)
            })
            .count()
    };
    assert_eq!(flipped(&LowData::default()), 0);
    let mirrored = flipped(&LowData { mirror: true, ..LowData::default() });
    assert!((15..=45).contains(&mirrored), "{mirrored} of 60");
}

/// Each change of intensity alone, on a picture that stays in its place.
#[test]
fn intensities_change_as_said() {
    let size = [40, 36];
    let still = LowData {
        rotation: 0.0,
        scale: 1.0,
        shift: 0.0,
        elastic: 0.0,
        contrast: 0.0,
        brightness: 0.0,
        gamma: 1.0,
        noise: 0.0,
        blur: 0.0,
        mirror: false,
    };
    let placement = Placement { own: size, resampled: size, canvas: size, offset: [0; 2] };
    let noisy: Vec<f32> = (0..1440).map(|n| random::stream(2, "noise", &[n]).unit() as f32).collect();
    let sample = Sample { labels: noisy.iter().map(|&x| u8::from(x > 0.5)).collect(), pixels: noisy };
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let deviation = |values: &[f32]| {
        let mean = mean(values);
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
    };
    // How many of 100 samples were changed, each as `check` says.
    let changed = |strengths: &LowData, check: &dyn Fn(&[f32]) -> bool| {
        let each = (0..100).filter(|&n| {
            let found = strengths.apply(&sample, &placement, &mut random::stream(7, "test", &[n]));
            assert_eq!(found.labels, sample.labels);
            let changed = tensors::difference(&found.pixels, &sample.pixels) > 1e-4;
            assert!(!changed || check(&found.pixels), "{strengths:?}, sample {n}");
            changed
        });
        each.count()
    };
    let before = &sample.pixels;
    assert_eq!(changed(&still, &|_| false), 0);
    let offset = |after: &[f32]| {
        let moved: Vec<f32> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        deviation(&moved) < 1e-5 && mean(&moved).abs() <= 0.1
    };
    assert!((35..65).contains(&changed(&LowData { brightness: 0.1, ..still.clone() }, &offset)));
    let gain = |after: &[f32]| {
        let ratio = deviation(after) / deviation(before);
        (mean(after) - mean(before)).abs() < 1e-4 && (0.74..1.26).contains(&ratio)
    };
    assert!((35..65).contains(&changed(&LowData { contrast: 0.25, ..still.clone() }, &gain)));
    let curve = |after: &[f32]| {
        let middle = after.iter().zip(before).filter(|(_, b)| (0.1..0.9).contains(*b));
        let exponents: Vec<f32> = middle.map(|(a, b)| a.ln() / b.ln()).collect();
        let exponent = exponents[0];
        (1.0 / 1.41..1.41).contains(&exponent) && exponents.iter().all(|e| (e - exponent).abs() < 0.02)
    };
    assert!((15..45).contains(&changed(&LowData { gamma: 1.4, ..still.clone() }, &curve)));
    let noise = |after: &[f32]| {
        let moved: Vec<f32> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        deviation(&moved) < 0.055 && mean(&moved).abs() < 0.006
    };
    assert!((15..45).contains(&changed(&LowData { noise: 0.05, ..still.clone() }, &noise)));
    let smooth =
        |after: &[f32]| deviation(after) < 0.995 * deviation(before) && (mean(after) - mean(before)).abs() < 0.01;
    assert!((8..35).contains(&changed(&LowData { blur: 1.0, ..still }, &smooth)));
}

#[test]
fn is_written_by_name_or_with_strengths() {
    let parse = |text: &str| transunet::config::parse::<Augmentation>(text, "test");
    assert_eq!(parse("none").unwrap(), Augmentation::None);
    assert_eq!(parse("original").unwrap(), Augmentation::Original);
    assert_eq!(parse("low-data").unwrap(), Augmentation::LowData(LowData::default()));
    let strong = parse("{ kind: low-data, rotation: 90, mirror: true }").unwrap();
    assert_eq!(strong, Augmentation::LowData(LowData { rotation: 90.0, mirror: true, ..LowData::default() }));
    for text in ["lowdata", "{ kind: low-data, rotatoin: 3 }", "{ rotation: 3 }"] {
        assert!(
            parse(text).unwrap_err().to_string().contains("augmentation: expected none, original, low-data"),
            "{text}"
        );
    }
    let refused = LowData { scale: 0.5, ..LowData::default() }.check().unwrap_err().to_string();
    assert_eq!(refused, "augmentation: scale is 0.5, expected 1 to 4");
}
