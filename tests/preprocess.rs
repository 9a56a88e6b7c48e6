//! From a volume to network input and back: orientation, intensity, resize.
mod common;

use std::sync::Arc;

use safetensors::SafeTensors;
use transunet::Error;
use transunet::config::{Compat, Input, Intensity, ModelConfig, Plane};
use transunet::control::{Cancel, Control, Flow, Stage};
use transunet::geometry::{Geometry, Vec3, cross, dot, norm, sub};
use transunet::network::Architecture;
use transunet::orient::{Block, View};
use transunet::preprocess::Preprocessor;
use transunet::resize::{Edge, Order, Resampler, nearest_indices};
use transunet::volume::Volume;

const IDENTITY: [Vec3; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn config(input: Input) -> ModelConfig {
    ModelConfig { input, ..ModelConfig::undescribed(Architecture::tiny(64, 4)) }
}

fn oriented(plane: Plane, orientation: Option<&str>) -> Input {
    Input { plane, orientation: orientation.map(String::from), ..Input::default() }
}

fn volume(size: [usize; 3], direction: [Vec3; 3], voxel: impl Fn(Vec3) -> f32) -> Arc<Volume> {
    let geometry = Geometry::new(size, [0.7, 1.1, 2.5], [-31.0, 12.5, 7.0], direction).unwrap();
    let voxels = indices(size).map(|index| voxel(geometry.position(index.map(|x| x as f64)))).collect();
    Arc::new(Volume::from_memory(geometry, voxels, "memory").unwrap())
}

fn flat(size: [usize; 3], voxels: Vec<f32>) -> Arc<Volume> {
    let geometry = Geometry::new(size, [1.0; 3], [0.0; 3], IDENTITY).unwrap();
    Arc::new(Volume::from_memory(geometry, voxels, "memory").unwrap())
}

/// (i, j, k), columns fastest.
fn indices([columns, rows, slices]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..slices * rows * columns).map(move |n| [n % columns, n / columns % rows, n / columns / rows])
}

fn view(input: &Input, volume: &Arc<Volume>) -> View {
    View::new(input, volume, &mut || Ok(())).unwrap()
}

/// Rotation by `angle` about `axis` (Rodrigues).
fn rotated(v: Vec3, axis: Vec3, angle: f64) -> Vec3 {
    let (sin, cos) = angle.sin_cos();
    let (across, along) = (cross(axis, v), dot(axis, v));
    std::array::from_fn(|n| v[n] * cos + across[n] * sin + axis[n] * along * (1.0 - cos))
}

fn towards(letter: char) -> Vec3 {
    match letter {
        'L' => [1.0, 0.0, 0.0],
        'R' => [-1.0, 0.0, 0.0],
        'P' => [0.0, 1.0, 0.0],
        'A' => [0.0, -1.0, 0.0],
        'S' => [0.0, 0.0, 1.0],
        _ => [0.0, 0.0, -1.0],
    }
}

/// All 48 ways to name three axes.
fn frames() -> Vec<String> {
    let mut all = Vec::new();
    for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for signs in 0..8 {
            let letter = |axis: usize, n: usize| ["LR", "PA", "SI"][axis].as_bytes()[signs >> n & 1] as char;
            all.push([letter(a, 0), letter(b, 1), letter(c, 2)].iter().collect());
        }
    }
    all
}

/// The voxels of a block, of slices of `len` voxels.
fn in_block<'a, T>(block: &Block, len: usize, voxels: &'a mut [T]) -> &'a mut [T] {
    &mut voxels[block.volume.start * len..block.volume.end * len]
}

#[test]
fn every_pose_is_seen_in_the_wanted_frame_and_labels_return_to_their_place() {
    let tilt = |v: Vec3| rotated(v, [0.6, 0.0, 0.8], 0.3);
    for pose in frames() {
        for oblique in [false, true] {
            let direction: Vec<Vec3> = pose.chars().map(towards).map(|v| if oblique { tilt(v) } else { v }).collect();
            let size = [5, 4, 3];
            // Every voxel differs, and its value tells its position.
            let value = |at: Vec3| (at[0] * 1.7 + at[1] * 13.1 + at[2] * 101.3) as f32;
            let volume = volume(size, direction.try_into().unwrap(), value);
            for wanted in ["LPS", "RAS", "LIP", "PIR", "SAL", "IRA"] {
                let view = view(&oriented(Plane::Acquisition, Some(wanted)), &volume);
                for (axis, letter) in wanted.chars().enumerate() {
                    let cosine = dot(view.geometry().direction[axis], towards(letter));
                    assert!(cosine > 0.9, "{pose} as {wanted}: axis {axis} has cosine {cosine}");
                }
                let covered: Vec<usize> = view.blocks().into_iter().flat_map(|block| block.volume).collect();
                assert_eq!(covered, [0, 1, 2], "{pose} as {wanted}: blocks in the volume's order");
                let [columns, rows, slices] = view.geometry().size;
                let mut returned = vec![0.0; 60];
                for k in 0..slices {
                    let mut slice = vec![0.0; columns * rows];
                    view.slice(k, &mut slice).unwrap();
                    for (pixel, &seen) in slice.iter().enumerate() {
                        let index = [pixel % columns, pixel / columns, k];
                        let at = view.geometry().position(index.map(|x| x as f64));
                        assert!((seen - value(at)).abs() < 1e-3, "{pose} as {wanted}, {index:?}");
                        let source = view.source_index(index).map(|x| x as f64);
                        assert!(norm(sub(volume.geometry().position(source), at)) < 1e-9);
                    }
                    let block = view.block(k);
                    assert!(view.blocks().contains(&block) && block.view.contains(&k));
                    view.place(k, &slice, in_block(&block, 20, &mut returned)).unwrap();
                }
                assert_eq!(returned, volume.to_vec().unwrap(), "{pose} as {wanted}");
            }
        }
    }
}

#[test]
fn planes_have_their_usual_frames() {
    let volume = volume([5, 4, 3], IDENTITY, |at| at[0] as f32);
    for (input, size, letters) in [
        (oriented(Plane::Acquisition, None), [5, 4, 3], "LPS"),
        (oriented(Plane::Axial, None), [5, 4, 3], "LPS"),
        (oriented(Plane::Coronal, None), [5, 3, 4], "LIP"),
        (oriented(Plane::Sagittal, None), [4, 3, 5], "PIR"),
        (oriented(Plane::Axial, Some("RAI")), [5, 4, 3], "RAI"),
        (oriented(Plane::Coronal, Some("ILA")), [3, 5, 4], "ILA"),
        (oriented(Plane::Sagittal, Some("AIL")), [4, 3, 5], "AIL"),
    ] {
        let view = view(&input, &volume);
        assert_eq!(view.geometry().size, size, "{input:?}");
        for (axis, letter) in letters.chars().enumerate() {
            assert_eq!(dot(view.geometry().direction[axis], towards(letter)), 1.0, "{input:?}");
        }
        assert!((view.geometry().voxel_volume() - volume.geometry().voxel_volume()).abs() < 1e-12);
    }
}

#[test]
fn any_oblique_pose_gets_a_valid_frame_and_a_tie_keeps_the_planes() {
    for step in 0..400 {
        let n = f64::from(step);
        let axis = [n.sin(), (1.3 * n).cos(), (0.7 * n).sin() + 0.1];
        let axis = axis.map(|x| x / norm(axis));
        let volume = volume([5, 4, 3], IDENTITY.map(|v| rotated(v, axis, n * 0.37)), |at| at[2] as f32);
        let view = view(&oriented(Plane::Coronal, None), &volume);
        let mut size = view.geometry().size;
        size.sort_unstable();
        assert_eq!(size, [3, 4, 5]);
        for (axis, letter) in "LIP".chars().enumerate() {
            assert!(dot(view.geometry().direction[axis], towards(letter)) > 0.0, "step {step}");
        }
    }
    // At 45 degrees the volume's own planes stay, whichever way rounding falls.
    for angle in [44.999_999f64, 45.0, 45.000_001] {
        let turned = IDENTITY.map(|v| rotated(v, [1.0, 0.0, 0.0], angle.to_radians()));
        let volume = volume([5, 4, 3], turned, |at| at[2] as f32);
        assert_eq!(view(&oriented(Plane::Axial, None), &volume).geometry().size, [5, 4, 3]);
    }
}

/// A hippocampus model learns from NIfTI in RAS; the same anatomy as DICOM comes in LPS.
#[test]
fn the_same_anatomy_looks_the_same_whatever_its_file_order() {
    let anatomy = |at: Vec3| ((at[0] * 0.31).sin() * 50.0 + at[1] * 3.0 + at[2]) as f32;
    let size = [6, 5, 4];
    let ras = volume(size, [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]], anatomy);
    let far = ras.geometry().position([5.0, 4.0, 0.0]);
    let lps = Geometry::new(size, ras.geometry().spacing, far, IDENTITY).unwrap();
    let voxels = indices(size).map(|index| anatomy(lps.position(index.map(|x| x as f64)))).collect();
    let lps = Arc::new(Volume::from_memory(lps, voxels, "memory").unwrap());

    let seen = |volume: &Arc<Volume>, orientation: Option<&str>| {
        let input = Input { size: Some([16, 16]), ..oriented(Plane::Acquisition, orientation) };
        let preprocessor = Preprocessor::new(&config(input), volume, &mut Control::none()).unwrap();
        let mut out = vec![0.0; 256];
        preprocessor.slice(1, &mut out).unwrap();
        out
    };
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let learnt = seen(&ras, None);
    assert_eq!(seen(&ras, Some("RAS")), learnt);
    assert!(largest(&seen(&lps, Some("RAS")), &learnt) < 1e-3);
    // Without an orientation the picture is turned by 180 degrees.
    let turned: Vec<f32> = seen(&lps, None).into_iter().rev().collect();
    assert!(largest(&turned, &learnt) < 1e-3 && largest(&seen(&lps, None), &learnt) > 1.0);
}

#[test]
fn the_original_volume_test_is_fed_the_same_and_its_labels_come_back() {
    let Some(folder) = common::golden("the original's volume test", "volume") else { return };
    let bytes = std::fs::read(folder.join("volume.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let image: Vec<f32> = tensors
        .tensor("image")
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let prediction = tensors.tensor("prediction").unwrap().data().to_vec();

    let mut config = config(Input::default());
    config.compat = Some(Compat::TransUnet2021);
    let preprocessor = Preprocessor::new(&config, &flat([80, 80, 3], image.clone()), &mut Control::none()).unwrap();
    assert_eq!((preprocessor.slices(), preprocessor.size()), (3, [64, 64]));

    let resampler = Resampler::new([80, 80], [64, 64], Order::Cubic, Edge::AsScipy).unwrap();
    let mut returned = vec![255; prediction.len()];
    for k in 0..3 {
        let (mut seen, mut expected) = (vec![0.0; 64 * 64], vec![0.0; 64 * 64]);
        preprocessor.slice(k, &mut seen).unwrap();
        resampler.apply(&image[k * 6400..][..6400], &mut expected).unwrap();
        assert_eq!(seen, expected);

        // The network's labels, as far as the prediction on the larger grid tells: all of them.
        let mut labels = [255; 64 * 64];
        let from = nearest_indices(64, 80, Edge::AsScipy);
        for (y, row) in from.iter().enumerate() {
            for (x, column) in from.iter().enumerate() {
                labels[row.unwrap() * 64 + column.unwrap()] = prediction[(k * 80 + y) * 80 + x];
            }
        }
        assert!(!labels.contains(&255));
        preprocessor.place_labels(k, &labels, &mut returned[k * 6400..][..6400]).unwrap();
    }
    assert_eq!(returned, prediction);
}

#[test]
fn labels_and_probabilities_return_through_orientation_and_size() {
    let volume = volume([9, 7, 5], IDENTITY, |at| at[0] as f32);
    let input = Input { size: Some([32, 48]), ..oriented(Plane::Sagittal, Some("AIR")) };
    let preprocessor = Preprocessor::new(&config(input), &volume, &mut Control::none()).unwrap();
    assert_eq!((preprocessor.slices(), preprocessor.size()), (9, [32, 48]));

    let (mut labels, mut probabilities) = (vec![9; 315], vec![f32::NAN; 315]);
    for k in 0..9 {
        // Upper half (superior) 1, and a ramp towards anterior from 0 to 1.
        let network: Vec<u8> = (0..32 * 48).map(|at| u8::from(at / 48 < 16) + 2 * u8::from(k == 0)).collect();
        preprocessor.place_labels(k, &network, &mut labels).unwrap();
        let ramp: Vec<f32> = (0..32 * 48).map(|at| (at % 48) as f32 / 47.0).collect();
        preprocessor.place_probabilities(k, &ramp, &mut probabilities).unwrap();
    }
    for ([i, j, k], (label, p)) in indices([9, 7, 5]).zip(labels.iter().zip(&probabilities)) {
        // Network slice 0 is the leftmost column of voxels; rows run down from k = 4.
        if k != 2 {
            assert_eq!(*label, u8::from(k > 2) + 2 * u8::from(i == 8), "voxel {i} {j} {k}");
        }
        assert!((p - (6 - j) as f32 / 6.0).abs() < 1e-6, "voxel {i} {j} {k}: {p}");
    }
}

/// 512 to 224 on the way in, 16 to 30 on the way out: pairs whose last row and column scipy zeroes.
#[test]
fn the_zeroed_edge_comes_with_compat_alone() {
    for compat in [None, Some(Compat::TransUnet2021)] {
        let edge = |at: usize, side: usize| at % side == side - 1 || at / side == side - 1;
        let mut large = config(Input { size: Some([224, 224]), ..Input::default() });
        large.compat = compat;
        let preprocessor =
            Preprocessor::new(&large, &flat([512, 512, 1], vec![0.5; 512 * 512]), &mut Control::none()).unwrap();
        let mut seen = vec![f32::NAN; 224 * 224];
        preprocessor.slice(0, &mut seen).unwrap();
        for (at, x) in seen.iter().enumerate() {
            let expected = if compat.is_some() && edge(at, 224) { 0.0 } else { 0.5 };
            assert!((x - expected).abs() < 1e-6, "{compat:?}: pixel {at} is {x}");
        }

        let mut small = config(Input { size: Some([16, 16]), ..Input::default() });
        small.compat = compat;
        let preprocessor = Preprocessor::new(&small, &flat([30, 30, 1], vec![0.0; 900]), &mut Control::none()).unwrap();
        let (mut labels, mut probabilities) = (vec![9; 900], vec![f32::NAN; 900]);
        preprocessor.place_labels(0, &[3; 256], &mut labels).unwrap();
        preprocessor.place_probabilities(0, &[1.0; 256], &mut probabilities).unwrap();
        for (at, (label, p)) in labels.iter().zip(&probabilities).enumerate() {
            let kept = compat.is_none() || !edge(at, 30);
            assert_eq!(*label, if kept { 3 } else { 0 }, "{compat:?}: pixel {at}");
            assert!((p - if kept { 1.0 } else { 0.0 }).abs() < 1e-6, "{compat:?}: pixel {at} is {p}");
        }
    }
}

/// What the network sees of `voxels` at their own size.
fn scaled(size: [usize; 3], voxels: &[f32], intensity: Intensity) -> transunet::Result<Vec<f32>> {
    let input = Input { intensity, size: Some([size[1], size[0]]), ..Input::default() };
    let preprocessor = Preprocessor::new(&config(input), &flat(size, voxels.to_vec()), &mut Control::none())?;
    let mut out = vec![0.0; voxels.len()];
    for (k, slice) in out.chunks_exact_mut(size[0] * size[1]).enumerate() {
        preprocessor.slice(k, slice)?;
    }
    Ok(out)
}

#[test]
fn intensities_are_scaled() {
    let x = [-1000.0, -125.0, 75.0, 275.0, 276.0, 3000.0];
    let mean = x.iter().sum::<f32>() / 6.0;
    let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 6.0).sqrt();
    for (intensity, expected) in [
        (Intensity::None, x.to_vec()),
        (Intensity::Window { low: -125.0, high: 275.0 }, vec![0.0, 0.0, 0.5, 1.0, 1.0, 1.0]),
        // Rank 1 and, half-way between ranks 4 and 3, 275.5.
        (Intensity::Percentile { low: 20.0, high: 70.0 }, vec![0.0, 0.0, 200.0 / 400.5, 400.0 / 400.5, 1.0, 1.0]),
        (Intensity::Zscore, x.map(|x| (x - mean) / std).to_vec()),
    ] {
        let seen = scaled([3, 1, 2], &x, intensity).unwrap();
        for (a, b) in seen.iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{intensity:?}: {seen:?}, expected {expected:?}");
        }
    }
    // Nothing to scale by: zeros, not NaN.
    for intensity in [Intensity::Percentile { low: 1.0, high: 99.0 }, Intensity::Zscore] {
        assert_eq!(scaled([2, 2, 2], &[0.1; 8], intensity).unwrap(), [0.0; 8]);
    }
}

#[test]
fn numpy_agrees_on_intensities() {
    let Some(mut python) = common::peers("numpy.percentile") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("intensity.safetensors");
    assert!(python.arg("tests/peers/intensity.py").arg(&file).status().unwrap().success());
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: String| -> (Vec<usize>, Vec<f32>) {
        let tensor = tensors.tensor(&name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (tensor.shape().to_vec(), values)
    };
    let percentile = |low, high| Intensity::Percentile { low, high };
    for n in 0..6 {
        let (shape, voxels) = read(format!("{n}.volume"));
        for (name, intensity) in [
            ("0.5-99.5", percentile(0.5, 99.5)),
            ("0-100", percentile(0.0, 100.0)),
            ("1-99.9", percentile(1.0, 99.9)),
            ("33.3-66.6", percentile(33.3, 66.6)),
            ("zscore", Intensity::Zscore),
        ] {
            let seen = scaled([shape[2], shape[1], shape[0]], &voxels, intensity).unwrap();
            let (_, expected) = read(format!("{n}.{name}"));
            for (a, b) in seen.iter().zip(&expected) {
                assert!((a - b).abs() <= 1.2e-7 * b.abs().max(1e-30), "volume {n}, {name}: {a} instead of {b}");
            }
        }
    }
}

#[test]
fn passes_over_the_volume_report_and_can_be_cancelled() {
    let volume = flat([3, 2, 4], (0..24).map(|x| x as f32).collect());
    for (intensity, total) in [
        (Intensity::None, 0),
        (Intensity::Window { low: 0.0, high: 1.0 }, 0),
        (Intensity::Zscore, 4),
        (Intensity::Percentile { low: 0.0, high: 100.0 }, 8),
    ] {
        let config = config(Input { intensity, ..Input::default() });
        let mut events = Vec::new();
        let mut control = Control::none().on_progress(|progress| {
            assert_eq!(progress.stage, Stage::Preprocess);
            events.push((progress.done, progress.total));
            Flow::Continue
        });
        Preprocessor::new(&config, &volume, &mut control).unwrap();
        drop(control);
        assert_eq!(events, (1..=total).map(|done| (done, total)).collect::<Vec<_>>());

        let mut seen = 0;
        let mut control = Control::none().on_progress(|_| {
            seen += 1;
            if seen == 2 { Flow::Cancel } else { Flow::Continue }
        });
        let result = Preprocessor::new(&config, &volume, &mut control);
        drop(control);
        assert_eq!(matches!(result, Err(Error::Cancelled)), total > 0);
        assert_eq!(seen, total.min(2));

        let cancel = Cancel::default();
        cancel.trigger();
        let result = Preprocessor::new(&config, &volume, &mut Control::none().with_cancel(&cancel));
        assert_eq!(matches!(result, Err(Error::Cancelled)), total > 0);
    }
}

#[test]
fn bad_input_is_refused_in_words() {
    let letters = |text: &str| {
        format!(
            "orientation {text:?}, expected three letters for columns, rows and slices, one each of L or R, P or A, \
             S or I, such as \"LPS\""
        )
    };
    let intensity = |intensity| Input { intensity, ..Input::default() };
    let window = |low, high| intensity(Intensity::Window { low, high });
    let percentile = |low, high| intensity(Intensity::Percentile { low, high });
    let below = "expected finite numbers, low below high";
    let table = [
        (oriented(Plane::Acquisition, Some("LP")), letters("LP")),
        (oriented(Plane::Acquisition, Some("LPSS")), letters("LPSS")),
        (oriented(Plane::Acquisition, Some("LRS")), letters("LRS")),
        (oriented(Plane::Acquisition, Some("lps")), letters("lps")),
        (oriented(Plane::Axial, Some("LP\u{00c4}")), letters("LP\u{00c4}")),
        (oriented(Plane::Acquisition, Some("")), letters("")),
        (
            oriented(Plane::Axial, Some("PIR")),
            "orientation \"PIR\" has its slices towards R, expected S or I for the axial plane".into(),
        ),
        (
            oriented(Plane::Coronal, Some("LPS")),
            "orientation \"LPS\" has its slices towards S, expected A or P for the coronal plane".into(),
        ),
        (
            oriented(Plane::Sagittal, Some("LIA")),
            "orientation \"LIA\" has its slices towards A, expected L or R for the sagittal plane".into(),
        ),
        (window(5.0, 5.0), format!("intensity: window from 5 to 5, {below}")),
        (window(5.0, -5.0), format!("intensity: window from 5 to -5, {below}")),
        (window(f32::NAN, 5.0), format!("intensity: window from NaN to 5, {below}")),
        (window(0.0, f32::INFINITY), format!("intensity: window from 0 to inf, {below}")),
        (percentile(-1.0, 99.0), "intensity: percentiles -1 and 99, expected 0 <= low < high <= 100".into()),
        (percentile(1.0, 100.5), "intensity: percentiles 1 and 100.5, expected 0 <= low < high <= 100".into()),
        (percentile(50.0, 50.0), "intensity: percentiles 50 and 50, expected 0 <= low < high <= 100".into()),
        (percentile(f32::NAN, 50.0), "intensity: percentiles NaN and 50, expected 0 <= low < high <= 100".into()),
    ];
    let volume = flat([3, 2, 2], vec![1.0; 12]);
    for (input, message) in table {
        let error = Preprocessor::new(&config(input.clone()), &volume, &mut Control::none()).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{input:?}");
        assert_eq!(error.to_string(), message);
    }

    let size = config(Input { size: Some([0, 64]), ..Input::default() });
    let error = Preprocessor::new(&size, &volume, &mut Control::none()).unwrap_err();
    assert_eq!(error.to_string(), "slices of 2x3 pixels cannot be resized to 0x64: expected sides of 1 to 16384");
}

#[test]
fn voxels_that_are_no_numbers_are_refused_with_their_place() {
    for (bad, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut voxels = vec![1.0; 24];
        voxels[12 + 4] = bad; // column 1, row 1 of slice 2
        let message = format!("slice 2: voxel in column 1, row 1 is {name}, expected a finite number");
        for intensity in [
            Intensity::None,
            Intensity::Window { low: 0.0, high: 1.0 },
            Intensity::Zscore,
            Intensity::Percentile { low: 1.0, high: 99.0 },
        ] {
            assert_eq!(scaled([3, 2, 4], &voxels, intensity).unwrap_err().to_string(), message);
        }
        // Turned on its side the voxel keeps the place it has in the volume.
        let volume = flat([3, 2, 4], voxels);
        let preprocessor =
            Preprocessor::new(&config(oriented(Plane::Sagittal, None)), &volume, &mut Control::none()).unwrap();
        let mut out = vec![0.0; 64 * 64];
        assert!(preprocessor.slice(0, &mut out).is_ok());
        assert_eq!(preprocessor.slice(1, &mut out).unwrap_err().to_string(), message);
    }
}

#[test]
fn wrong_buffers_are_refused() {
    let preprocessor =
        Preprocessor::new(&config(Input::default()), &flat([3, 2, 2], vec![1.0; 12]), &mut Control::none()).unwrap();
    assert!(preprocessor.slice(2, &mut [0.0; 64 * 64]).is_err());
    assert!(preprocessor.slice(0, &mut [0.0; 63 * 64]).is_err());
    assert!(preprocessor.place_labels(2, &[0; 64 * 64], &mut [0; 6]).is_err());
    assert!(preprocessor.place_labels(0, &[0; 64 * 64], &mut [0; 7]).is_err());
    assert!(preprocessor.place_labels(0, &[0; 63 * 64], &mut [0; 6]).is_err());
    assert!(preprocessor.place_labels(0, &[0; 64 * 64], &mut [0; 12]).is_err());
    assert!(preprocessor.place_probabilities(0, &[0.0; 64 * 64], &mut [0.0; 5]).is_err());
}
