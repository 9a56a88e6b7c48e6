//! Slice resampling against scipy: golden figures, and scipy itself where it is installed.
mod common;

use std::time::Instant;

use safetensors::{SafeTensors, tensor::TensorView};
use transunet::resize::{Edge, Matrices, Nearest, Order, Resampler, nearest_indices};

/// Of the largest magnitude in the slice.
const TOLERANCE: f64 = 1e-6;

fn shape(tensor: &TensorView) -> [usize; 2] {
    [tensor.shape()[0], tensor.shape()[1]]
}

fn floats(tensor: &TensorView) -> Vec<f32> {
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn integers(tensor: &TensorView) -> Vec<i64> {
    tensor.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn resampled(image: &[f32], from: [usize; 2], to: [usize; 2], order: Order, edge: Edge) -> Vec<f32> {
    let mut out = vec![f32::NAN; to[0] * to[1]];
    Resampler::new(from, to, order, edge).unwrap().apply(image, &mut out).unwrap();
    out
}

/// Largest difference, relative to the largest expected magnitude.
fn difference(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(1e-30, |m, x| f64::from(x.abs()).max(m));
    ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs()) / largest).fold(0.0, f64::max)
}

/// A slice between two matrices, in f64.
fn multiplied(matrices: &Matrices, image: &[f32]) -> Vec<f32> {
    let ([rows, columns], [height, width]) = (matrices.from, matrices.to);
    let dot =
        |a: &[f32], b: &mut dyn Iterator<Item = f64>| a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum::<f64>();
    let narrow: Vec<f64> = image
        .chunks_exact(columns)
        .flat_map(|row| {
            matrices
                .columns
                .chunks_exact(columns)
                .map(move |weights| dot(weights, &mut row.iter().map(|&x| f64::from(x))))
        })
        .collect();
    (0..height * width)
        .map(|at| {
            dot(&matrices.rows[at / width * rows..][..rows], &mut (0..rows).map(|y| narrow[y * width + at % width]))
                as f32
        })
        .collect()
}

/// What GPUs resize with.
#[test]
fn two_products_are_the_same() {
    for (from, to, edge) in [
        ([30, 28], [32, 48], Edge::Exact),
        ([97, 131], [40, 131], Edge::Exact),
        ([512, 64], [224, 1], Edge::AsScipy),
        ([1, 2], [5, 9], Edge::Exact),
    ] {
        let image: Vec<f32> = (0..from[0] * from[1]).map(|n| (n as f32 * 0.7).sin() * 100.0).collect();
        let resampler = Resampler::new(from, to, Order::Cubic, edge).unwrap();
        let mut alone = vec![f32::NAN; to[0] * to[1]];
        resampler.apply(&image, &mut alone).unwrap();
        let error = difference(&multiplied(&resampler.matrices(to, [0, 0]), &image), &alone);
        assert!(error <= TOLERANCE, "{from:?} to {to:?}: {error:e}");

        let canvas = [to[0] + 7, to[1] + 4];
        let placed = multiplied(&resampler.matrices(canvas, [3, 4]), &image);
        for (at, value) in placed.iter().enumerate() {
            let (y, x) = (at / canvas[1], at % canvas[1]);
            let inside = (3..3 + to[0]).contains(&y) && x >= 4;
            let expected = if inside { alone[(y - 3) * to[1] + x - 4] } else { 0.0 };
            assert!((value - expected).abs() <= 1e-4, "{from:?} to {to:?} at {y}, {x}: {value}, expected {expected}");
        }
    }
}

#[test]
fn golden_zooms_are_reproduced() {
    let Some(folder) = common::golden("golden zooms", "ops") else { return };
    let bytes = std::fs::read(folder.join("ops.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut cases = 0;
    for name in tensors.names() {
        let Some(case) = name.strip_suffix(".image").filter(|case| case.starts_with("zoom")) else { continue };
        let get = |what: &str| tensors.tensor(&format!("{case}.{what}")).unwrap();
        let (image, from) = (floats(&get("image")), shape(&get("image")));
        for (what, order) in [("image_o1", Order::Linear), ("image_o3", Order::Cubic)] {
            let ours = resampled(&image, from, shape(&get(what)), order, Edge::AsScipy);
            let error = difference(&ours, &floats(&get(what)));
            assert!(error <= TOLERANCE, "{case} {what}: {error:e}");
        }
        let expected = floats(&get("label_o0"));
        let mut ours = vec![f32::NAN; expected.len()];
        let nearest = Nearest::new(from, shape(&get("label_o0")), Edge::AsScipy).unwrap();
        nearest.apply(&floats(&get("label")), &mut ours).unwrap();
        assert_eq!(ours, expected, "{case} label_o0");
        cases += 1;
    }
    assert_eq!(cases, 7);

    for (from, to) in [(512, 224), (224, 512)] {
        let expected = integers(&tensors.tensor(&format!("o0_index_{from}_to_{to}")).unwrap());
        let ours: Vec<i64> =
            nearest_indices(from, to, Edge::AsScipy).iter().map(|i| i.map_or(-1, |i| i as i64)).collect();
        assert_eq!(ours, expected, "{from} to {to}");
    }
}

#[test]
fn the_edge_that_scipy_zeroes_is_kept_unless_asked_for() {
    let image = vec![0.5; 512 * 512];
    for order in [Order::Linear, Order::Cubic] {
        let exact = resampled(&image, [512; 2], [224; 2], order, Edge::Exact);
        assert!(exact.iter().all(|x| (x - 0.5).abs() < 1e-6));
        let scipy = resampled(&image, [512; 2], [224; 2], order, Edge::AsScipy);
        for (at, x) in scipy.iter().enumerate() {
            let expected = if at % 224 == 223 || at / 224 == 223 { 0.0 } else { 0.5 };
            assert!((x - expected).abs() < 1e-6, "{order:?}: pixel {at} is {x}");
        }
    }
    assert_eq!(nearest_indices(512, 224, Edge::AsScipy)[223], None);
    assert_eq!(nearest_indices(512, 224, Edge::Exact)[223], Some(511));
}

#[test]
fn scipy_agrees() {
    let Some(mut python) = common::peers("scipy.ndimage.zoom") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zoom.safetensors");
    let status = python.arg("tests/peers/zoom.py").arg(&file).status().unwrap();
    assert!(status.success());
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();

    let mut worst = [0.0f64; 2];
    for case in 0..60 {
        let get = |what: &str| tensors.tensor(&format!("{case}.{what}")).unwrap();
        let (from, to) = (shape(&get("image")), shape(&get("scipy3")));
        let (image, labels) = (floats(&get("image")), get("label").data().to_vec());
        for (edge, name) in [(Edge::AsScipy, "scipy"), (Edge::Exact, "exact")] {
            for (n, order) in [(1, Order::Linear), (3, Order::Cubic)] {
                let ours = resampled(&image, from, to, order, edge);
                let error = difference(&ours, &floats(&get(&format!("{name}{n}"))));
                assert!(error <= TOLERANCE, "{from:?} to {to:?}, {order:?}, {edge:?}: {error:e}");
                worst[n / 2] = worst[n / 2].max(error);
            }
            let mut ours = vec![255; to[0] * to[1]];
            Nearest::new(from, to, edge).unwrap().apply(&labels, &mut ours).unwrap();
            assert_eq!(ours, get(&format!("{name}0")).data(), "{from:?} to {to:?}, nearest, {edge:?}");
        }
    }
    println!("largest relative difference from scipy: linear {:e}, cubic {:e}", worst[0], worst[1]);

    let edges = integers(&tensors.tensor("edges").unwrap());
    assert!(edges.len() / 3 > 5000);
    for pair in edges.chunks_exact(3) {
        let zeroed = nearest_indices(pair[0] as usize, pair[1] as usize, Edge::AsScipy).contains(&None);
        assert_eq!(zeroed, pair[2] == 1, "{} to {}", pair[0], pair[1]);
    }
}

#[test]
fn equal_sizes_change_nothing() {
    let image: Vec<f32> = (0..35).map(|x| (x as f32).sin() * 1e6).collect();
    for order in [Order::Linear, Order::Cubic] {
        assert_eq!(resampled(&image, [5, 7], [5, 7], order, Edge::AsScipy), image);
    }
    // One side kept: its lines stay apart.
    let wide = resampled(&[1.0, 1.0, 9.0, 9.0], [2, 2], [2, 5], Order::Cubic, Edge::Exact);
    for (at, x) in wide.iter().enumerate() {
        assert!((x - if at < 5 { 1.0 } else { 9.0 }).abs() < 1e-6);
    }
}

#[test]
fn a_ct_slice_takes_milliseconds() {
    let image: Vec<f32> = (0..512 * 512).map(|at| ((at * 7919) % 4096) as f32).collect();
    let best = |from: usize, to: usize, order| {
        let resampler = Resampler::new([from; 2], [to; 2], order, Edge::Exact).unwrap();
        let mut out = vec![0.0; to * to];
        let time = |_| {
            let start = Instant::now();
            resampler.apply(&image[..from * from], &mut out).unwrap();
            start.elapsed().as_secs_f64() * 1e3
        };
        (0..20).map(time).fold(f64::INFINITY, f64::min)
    };
    let (cubic, linear) = (best(512, 224, Order::Cubic), best(224, 512, Order::Linear));
    println!("cubic 512 to 224: {cubic:.2} ms, linear 224 to 512: {linear:.2} ms");
    if !cfg!(debug_assertions) {
        assert!(cubic < 30.0 && linear < 30.0, "{cubic} ms, {linear} ms");
    }
}

#[test]
fn impossible_sizes_are_refused() {
    for (from, to, message) in [
        ([0, 4], [4, 4], "slices of 0x4 pixels cannot be resized to 4x4: expected sides of 1 to 16384"),
        ([4, 4], [4, 0], "slices of 4x4 pixels cannot be resized to 4x0: expected sides of 1 to 16384"),
        (
            [4, 4],
            [1 << 40, 4],
            "slices of 4x4 pixels cannot be resized to 1099511627776x4: expected sides of 1 to 16384",
        ),
    ] {
        let error = Resampler::new(from, to, Order::Cubic, Edge::Exact).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(Nearest::new(from, to, Edge::Exact).unwrap_err().to_string(), message);
    }
    let short = Resampler::new([2, 2], [3, 3], Order::Linear, Edge::Exact).unwrap().apply(&[0.0; 4], &mut [0.0; 8]);
    assert_eq!(
        short.unwrap_err().to_string(),
        "internal error: resize of 4 pixels into 8, expected [2, 2] into [3, 3]"
    );
}
