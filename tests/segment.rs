//! Volume in, label map out: the original's own volume test, batches, probabilities, cancelling.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "segment/receipts.rs"]
mod receipts;
#[path = "common/tensors.rs"]
mod tensors;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transunet::config::ModelConfig;
use transunet::control::{Cancel, Control, Flow, Stage};
use transunet::device::{Device, DeviceChoice, Devices};
use transunet::dicom::{Series, SeriesOptions};
use transunet::error::Error;
use transunet::formats;
use transunet::geometry::Geometry;
use transunet::infer::{SegmentOptions, segment};
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::packed::{PackedSlice, Packer};
use transunet::volume::Volume;
use transunet::weights::Precision;

fn cpu() -> Devices {
    Devices::cpu()
}

fn volume(size: [usize; 3], voxels: Vec<f32>) -> Arc<Volume> {
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let geometry = Geometry::new(size, [1.0; 3], [0.0; 3], axes).unwrap();
    Arc::new(Volume::from_memory(geometry, voxels, "memory").unwrap())
}

/// A picture with structure: smooth waves in all directions.
fn waves(size: [usize; 3]) -> Arc<Volume> {
    let value = |n: usize| {
        let (i, j, k) = (n % size[0], n / size[0] % size[1], n / size[0] / size[1]);
        (i as f32 * 0.31).sin() * (j as f32 * 0.17).cos() + (k as f32 * 0.7 + i as f32 * 0.05).sin()
    };
    volume(size, (0..size.iter().product()).map(value).collect())
}

fn untrained() -> Model {
    let config = ModelConfig::undescribed(Architecture::tiny(64, 4));
    Model::untrained(&cpu(), config, 3).unwrap()
}

#[test]
fn the_originals_volume_test_agrees() {
    let Some(golden) = common::golden("volume test", "volume") else { return };
    let Some(weights) = common::golden("volume test", "vit") else { return };
    let golden = tensors::read(&golden.join("volume.safetensors"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    std::fs::copy(weights.join("model.pth"), &path).unwrap();
    std::fs::write(path.with_extension("yaml"), "architecture: { heads: 2 }\ncompat: transunet-2021\n").unwrap();
    let model = Model::load(&cpu(), &path).unwrap();

    let (shape, image) = &golden["image"];
    let volume = volume([shape[2], shape[1], shape[0]], image.clone());
    let labels = segment(&model, &volume, &SegmentOptions::default(), &mut Control::none()).unwrap();
    let expected = &golden["prediction"].1;
    let equal =
        labels.to_vec().unwrap().iter().zip(expected).filter(|(ours, theirs)| f32::from(**ours) == **theirs).count();
    assert!(equal * 10_000 >= expected.len() * 9_999, "{equal} of {} voxels agree", expected.len());
}

#[test]
fn batches_and_bundles_change_nothing() {
    let model = untrained();
    let volume = waves([50, 40, 7]);
    let folder = tempfile::tempdir().unwrap();
    let likely = folder.path().join("p.nii");
    // Labels, and the bits of all probabilities.
    let run = |model: &Model, batch| {
        let options = SegmentOptions { batch, probabilities: Some(likely.clone()), keep_probabilities: true };
        let labelmap = segment(model, &volume, &options, &mut Control::none()).unwrap();
        (labelmap.to_vec().unwrap(), *labelmap.fractions().unwrap().digest(), std::fs::read(&likely).unwrap())
    };
    let labels = run(&model, None);
    assert!(labels.0.iter().any(|&label| label != labels.0[0]), "the picture is not all of one label");
    // With tails of 1 to 6 slices, and none.
    for batch in (1..=8).chain([100]) {
        assert!(run(&model, Some(batch)) == labels, "batch {batch}");
    }
    let path = folder.path().join("model.safetensors");
    model.save(&path, Precision::Single).unwrap();
    let loaded = Model::load(&cpu(), &path).unwrap();
    assert_eq!(loaded.config(), model.config());
    assert!(run(&loaded, None) == labels, "after saving and loading");
}

fn files(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn probabilities_fit_the_labels_on_every_plane() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.nii");
    for plane in ["plane: acquisition", "plane: axial", "plane: coronal", "plane: sagittal", "orientation: RAI"] {
        let yaml = format!(
            "format: 1\narchitecture: {{ preset: tiny, image_size: 64, classes: 3 }}\n\
             input: {{ {plane}, size: [24, 24] }}\n"
        );
        let config = ModelConfig::from_yaml(&yaml, "test").unwrap();
        let model = Model::untrained(&cpu(), config, 5).unwrap();
        let volume = waves([24, 24, 24]);
        let options = SegmentOptions { batch: Some(5), probabilities: Some(path.clone()), keep_probabilities: true };
        let labels = segment(&model, &volume, &options, &mut Control::none()).unwrap();

        let bytes = std::fs::read(&path).unwrap();
        let values: Vec<f32> = bytes[352..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let voxels = labels.geometry().len();
        assert_eq!(values.len(), 3 * voxels);
        for (n, &label) in labels.to_vec().unwrap().iter().enumerate() {
            let of = |class: usize| values[class * voxels + n];
            assert!((of(0) + of(1) + of(2) - 1.0).abs() < 1e-4, "{plane}: voxel {n}");
            let most = (0..3).max_by(|&a, &b| of(a).total_cmp(&of(b))).unwrap();
            assert_eq!(most, usize::from(label), "{plane}: voxel {n}");
        }
        // Those that the label map keeps are the same, in 1/255.
        let kept = labels.fractions().unwrap();
        let mut slice = vec![0; 24 * 24];
        for (label, k) in (1..3u8).flat_map(|label| (0..24).map(move |k| (label, k))) {
            kept.read(label, k, &mut slice).unwrap();
            let expected = &values[usize::from(label) * voxels + k * slice.len()..][..slice.len()];
            assert!(slice.iter().zip(expected).all(|(byte, p)| *byte == (255.0 * p + 0.5).floor() as u8), "{plane}");
            assert_eq!(kept.is_present(label, k), slice.iter().any(|&byte| byte > 0));
        }
        assert!(kept.read(0, 0, &mut slice).is_err() && kept.read(3, 0, &mut slice).is_err());
    }
    assert_eq!(files(folder.path()), ["p.nii"]);
}

#[test]
fn cancelling_leaves_nothing() {
    let model = untrained();
    let volume = waves([64, 64, 6]);
    let folder = tempfile::tempdir().unwrap();
    let options =
        SegmentOptions { batch: Some(1), probabilities: Some(folder.path().join("p.nii.gz")), ..Default::default() };

    let mut seen = Vec::new();
    let mut control = Control::none().on_progress(|progress| {
        seen.push((progress.stage, progress.done));
        if progress.done == 3 { Flow::Cancel } else { Flow::Continue }
    });
    let result = segment(&model, &volume, &options, &mut control);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    drop(control);
    assert_eq!(seen, (0..=3).map(|done| (Stage::Infer, done)).collect::<Vec<_>>());

    let cancel = Cancel::default();
    cancel.trigger();
    let result = segment(&model, &volume, &options, &mut Control::none().with_cancel(&cancel));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert!(files(folder.path()).is_empty());

    segment(&model, &volume, &options, &mut Control::none()).unwrap();
    assert_eq!(files(folder.path()), ["p.nii.gz"], "the model still works");
}

/// A slice of the full network takes seconds on a CPU: a stop must not wait for its end.
#[test]
fn a_stop_takes_effect_within_a_slice() {
    let config = ModelConfig::undescribed(Architecture::r50_vit_b16(224, 9));
    let model = Model::untrained(&cpu(), config, 3).unwrap();
    let shape = [1, 1, 224, 224];
    let pixels = || vec![0.5; shape.iter().product()];
    // The first pass packs the weights.
    model.first().classify(pixels(), shape, false, None).unwrap();
    let start = Instant::now();
    model.first().classify(pixels(), shape, false, None).unwrap();
    let whole = start.elapsed();
    let mut latest = Duration::ZERO;
    for part in 1..10 {
        let cancel = Cancel::default();
        let (result, late) = std::thread::scope(|scope| {
            let stop = scope.spawn(|| {
                std::thread::sleep(whole * part / 10);
                cancel.trigger();
                Instant::now()
            });
            let result = model.first().classify(pixels(), shape, false, Some(&cancel));
            let returned = Instant::now();
            (result, returned.saturating_duration_since(stop.join().unwrap()))
        });
        // The last stop may come when all is done.
        assert!(matches!(result, Err(Error::Cancelled)) || part > 5, "part {part}: {:?}", result.map(|_| ()));
        latest = latest.max(late);
    }
    println!("a slice takes {whole:.0?}, the slowest stop {latest:.0?}");
    model.first().classify(pixels(), shape, false, Some(&Cancel::default())).unwrap();
}

/// Calls at once share a model's buffers, in turn and dirty.
#[test]
fn calls_at_once_give_the_bits_of_calls_alone() {
    let model = untrained();
    let volumes = [[50, 40, 7], [64, 64, 5], [33, 71, 6], [50, 40, 3]].map(waves);
    let keep = SegmentOptions { keep_probabilities: true, ..Default::default() };
    let run = |volume| {
        let labelmap = segment(&model, volume, &keep, &mut Control::none()).unwrap();
        (labelmap.receipt().cloned(), *labelmap.fractions().unwrap().digest())
    };
    let alone = volumes.each_ref().map(run);
    for _ in 0..3 {
        let together = std::thread::scope(|scope| {
            let threads = volumes.each_ref().map(|volume| scope.spawn(|| run(volume)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(together == alone);
    }
}

/// The CPU several times stands in for several GPUs.
#[test]
fn several_devices_share_a_volume() {
    let cpu = || Device::open(DeviceChoice::Cpu).unwrap();
    let devices = Devices::new(vec![cpu(), cpu(), cpu()]).unwrap();
    assert_eq!(devices.id(), "cpu,cpu,cpu");
    let config = ModelConfig::undescribed(Architecture::tiny(64, 4));
    let shared = Model::untrained(&devices, config, 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let volume = waves([50, 40, 7]);
    let run = |model: &Model, name: &str, batch| {
        let probabilities = Some(folder.path().join(name));
        let options = SegmentOptions { batch, probabilities, ..Default::default() };
        let mut done = Vec::new();
        let mut control = Control::none().on_progress(|event| {
            if event.stage == Stage::Infer {
                done.push(event.done);
            }
            Flow::Continue
        });
        let labels = segment(model, &volume, &options, &mut control).unwrap().to_vec().unwrap();
        drop(control);
        (labels, std::fs::read(folder.path().join(name)).unwrap(), done)
    };
    let alone = run(&untrained(), "alone.nii", Some(1));
    assert!(run(&shared, "shared.nii", Some(1)) == alone, "each slice once, in order");
    let pairs = run(&shared, "pairs.nii", Some(2));
    assert!(pairs.0 == alone.0);
    assert_eq!(pairs.2, [0, 2, 4, 6, 7]);
    // Fewer batches than devices.
    assert!(run(&shared, "whole.nii", Some(7)).0 == alone.0);

    let bundle = folder.path().join("model.safetensors");
    shared.save(&bundle, Precision::Single).unwrap();
    assert!(run(&Model::load(&devices, &bundle).unwrap(), "loaded.nii", None).0 == alone.0);

    let mut voxels = vec![0.0; 20 * 20 * 9];
    voxels[400 * 5 + 21] = f32::NAN;
    let broken = self::volume([20, 20, 9], voxels);
    let failed = segment(&shared, &broken, &SegmentOptions::default(), &mut Control::none()).unwrap_err().to_string();
    assert!(failed.contains("slice 5"), "{failed}");
    let mut stop = Control::none().on_progress(|event| if event.done == 2 { Flow::Cancel } else { Flow::Continue });
    let stopped = segment(&shared, &volume, &SegmentOptions::default(), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert!(matches!(Devices::new(Vec::new()), Err(Error::Argument(_))));
}

#[test]
fn what_cannot_be_segmented_is_refused() {
    let model = untrained();
    let fail = |volume: &Arc<Volume>, options: &SegmentOptions| {
        segment(&model, volume, options, &mut Control::none()).unwrap_err().to_string()
    };
    let volume = waves([20, 20, 2]);
    let zero = SegmentOptions { batch: Some(0), ..Default::default() };
    assert_eq!(fail(&volume, &zero), "batch is 0, expected at least 1");
    let nowhere = SegmentOptions { probabilities: Some("/no/such/folder/p.nii".into()), ..Default::default() };
    assert!(fail(&volume, &nowhere).starts_with("/no/such/folder/p.nii: cannot create"), "{}", fail(&volume, &nowhere));

    let mut voxels = vec![0.0; 800];
    voxels[400 + 21] = f32::NAN;
    let broken = self::volume([20, 20, 2], voxels);
    let message = fail(&broken, &SegmentOptions::default());
    assert!(message.contains("slice 1"), "{message}");
}

/// A DICOM series, decoded slice by slice or read first, against the same voxels in memory.
#[test]
fn a_series_gives_the_labels_of_its_voxels_on_every_plane() {
    let Some(folder) = common::data("series on every plane", "dicom-mr-study1-hippocrop/HippoCrop") else { return };
    let series = Series::open(&[folder], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let dicom = Arc::new(Volume::from_series(Arc::new(series)));
    let memory = Volume::from_memory(dicom.geometry().clone(), dicom.to_vec().unwrap(), "memory").unwrap();
    let memory = Arc::new(memory);
    for input in ["plane: acquisition", "plane: coronal", "plane: sagittal", "orientation: RAS"] {
        let yaml = format!(
            "architecture: {{ preset: tiny, image_size: 48, classes: 3 }}\n\
             input: {{ {input}, intensity: {{ kind: percentile, low: 0.5, high: 99.5 }} }}\n"
        );
        let model = Model::untrained(&cpu(), ModelConfig::from_yaml(&yaml, "test").unwrap(), 5).unwrap();
        let run = |volume| segment(&model, volume, &SegmentOptions::default(), &mut Control::none()).unwrap();
        let (ours, expected) = (run(&dicom).to_vec().unwrap(), run(&memory).to_vec().unwrap());
        assert!(ours == expected, "{input}");
        assert!(ours.iter().any(|&label| label != ours[0]), "{input}: all of one label");
    }
}

/// A label map written and read again keeps voxels and place.
#[test]
fn a_label_map_survives_its_file() {
    let volume = waves([30, 20, 5]);
    let labels = segment(&untrained(), &volume, &SegmentOptions::default(), &mut Control::none()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["l.nii.gz", "l.seg.nrrd", "l.nrrd"] {
        let path = folder.path().join(name);
        formats::write_labels(&labels, &path).unwrap();
        let read = formats::read_volume(&path).unwrap();
        assert!(read.geometry().matches(labels.geometry(), 1e-4), "{name}");
        let voxels = read.to_vec().unwrap();
        assert!(voxels.iter().zip(labels.to_vec().unwrap()).all(|(read, label)| *read == f32::from(label)), "{name}");
    }
}

#[test]
fn a_label_map_gives_its_slices_back_and_refuses_those_that_do_not_fit() {
    let source = waves([5, 4, 3]);
    let labels = vec![Label::numbered(1), Label::numbered(2)];
    let algorithm = || Algorithm { name: "test".into(), version: "1".into() };
    let voxels: Vec<u8> = (0..60).map(|at| if at < 20 { 0 } else { at % 7 / 3 }).collect();
    let map = Labelmap::new(source.clone(), &voxels, labels.clone(), algorithm()).unwrap();
    assert_eq!(map.to_vec().unwrap(), voxels);
    let mut next = 0;
    map.for_each_slice(|k, slice| {
        assert_eq!((k, slice), (next, &voxels[k * 20..][..20]));
        assert_eq!(map.is_empty(k), k == 0);
        (0..=255).for_each(|value| assert_eq!(map.is_present(value, k), slice.contains(&value)));
        next += 1;
    })
    .unwrap();
    assert_eq!(next, 3);
    assert!(map.slice(3).is_err() && map.read_slice(0, &mut [0; 19]).is_err());
    assert!(!map.is_present(1, 3) && map.is_empty(3));

    let mut packer = Packer::default();
    let mut ones = |sizes: &[usize]| -> Vec<PackedSlice> {
        sizes.iter().map(|&pixels| packer.pack(&vec![1; pixels], 5).unwrap()).collect()
    };
    let of = |slices| Labelmap::of_slices(source.clone(), slices, labels.clone(), algorithm());
    assert_eq!(of(ones(&[20; 3])).unwrap().to_vec().unwrap(), [1; 60]);
    for wrong in [&[20; 2][..], &[20; 4], &[20, 15, 20]] {
        assert!(of(ones(wrong)).is_err(), "slices of {wrong:?} pixels");
    }
    let mut unfinished = ones(&[20; 2]);
    unfinished.push(PackedSlice::default());
    assert!(of(unfinished).is_err());
}
