//! One series through the library: what it reads against the truth, labels written, and what peers must find in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use transunet::control::Control;
use transunet::dicom::{SegOptions, Series, SeriesOptions, Tilt, write_seg};
use transunet::geometry::{Vec3, cross, dot, norm, sub};
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::random::stream;
use transunet::volume::Volume;

use super::recipe::Recipe;
use super::scene::{Answer, Image, Scene};

/// In this order they are segments 1, 2 and 3.
const LABELS: [u8; 3] = [2, 7, 200];

/// Writes `seg` for a series that is read; what peers must find in it. `None` for a series that is refused as it must be.
pub fn verify(
    recipe: &Recipe,
    scene: &Scene,
    places: &[(PathBuf, Option<u32>)],
    folder: &Path,
    seg: &Path,
) -> Result<Option<Value>, String> {
    let choice = scene.choice.parse().map_err(|error| format!("{}: {error}", scene.choice))?;
    let options = SeriesOptions { choice, tilt: scene.tilt };
    let read = Series::open(&[folder], &options, &mut Control::none()).and_then(|series| {
        let volume = Volume::from_series(Arc::new(series));
        let voxels = volume.to_vec()?;
        Ok((volume, voxels))
    });
    let (order, volume, voxels) = match (&scene.answer, read) {
        (Answer::Read(order), Ok((volume, voxels))) => (order, volume, voxels),
        (Answer::Read(_), Err(error)) => return Err(format!("refused: {error}")),
        (Answer::Refused(words), Err(error)) => {
            let text = error.to_string();
            let missing: Vec<_> = words.iter().filter(|word| !text.contains(*word)).collect();
            return if missing.is_empty() { Ok(None) } else { Err(format!("{missing:?} is not in: {text}")) };
        }
        (Answer::Refused(words), Ok(_)) => return Err(format!("was read, expected {words:?}")),
    };
    let slices: Vec<&Image> = order.iter().map(|&n| &scene.images[n]).collect();
    let series = volume.series().ok_or("no series")?.clone();
    for (k, (instance, &n)) in series.instances.iter().zip(order).enumerate() {
        let image = &scene.images[n];
        let (path, frame) = &places[n];
        let uid = &scene.images[n].uid;
        let same_file = instance.path == *path || image.copied;
        let single = frame.is_none() && instance.sop_instance_uid == *uid;
        if instance.frame != *frame || !same_file || !(single || frame.is_some()) {
            return Err(format!("slice {k} is {instance:?}, expected {uid}, frame {frame:?} of {}", path.display()));
        }
        if norm(sub(instance.position, image.position)) > 1e-9 {
            return Err(format!("slice {k} lies at {:?}, expected {:?}", instance.position, image.position));
        }
    }
    if scene.tilt == Tilt::Resample {
        resampled(&volume, &voxels, &slices)?;
    } else {
        as_written(&volume, &voxels, &slices)?;
    }

    let labels = labels(recipe, &volume);
    let grid = volume.geometry().clone();
    let [columns, rows, _] = grid.size;
    let mut points = [Vec::new(), Vec::new(), Vec::new()];
    for (at, &label) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        let (i, j, k) = (at % columns, at / columns % rows, at / columns / rows);
        let place = match scene.tilt {
            // Checked against the ramp in the pixels.
            Tilt::Resample => grid.position([i as f64, j as f64, k as f64]),
            _ => slices[k].place(i, j),
        };
        let uid = &series.instances[k].sop_instance_uid;
        let segment = LABELS.iter().position(|&value| value == label).ok_or("an unknown label")?;
        points[segment].push(json!([place, uid, series.instances[k].frame]));
    }
    let known = LABELS.map(Label::numbered).to_vec();
    let algorithm = Algorithm { name: "property".into(), version: "1".into() };
    let labelmap = Labelmap::new(Arc::new(volume), labels, known, algorithm).map_err(|error| error.to_string())?;
    let options = SegOptions { deterministic: true, ..SegOptions::default() };
    write_seg(&labelmap, seg, &options, &mut Control::none()).map_err(|error| format!("write: {error}"))?;
    let kept = scene.tilt == Tilt::Keep && grid.is_sheared();
    Ok(Some(json!({
        "seed": recipe.seed,
        "file": seg,
        "patient": recipe.patient.1,
        "segments": points,
        // A reader that makes a grid of the frames is as far off as the source's positions are rounded; a sheared one it
        // refuses.
        "grid": if kept { None } else { Some(1e-3 + 3.0 * stray(&slices)) },
        "preserved": scene.tilt != Tilt::Resample,
    })))
}

/// How far slices are at most from an even stack along their normal, in mm.
fn stray(slices: &[&Image]) -> f64 {
    let (first, last) = (slices[0], slices[slices.len() - 1]);
    let normal = cross(first.row, first.column);
    let normal = normal.map(|x| x / norm(normal));
    let count = (slices.len() - 1).max(1) as f64;
    let step = dot(sub(last.position, first.position), normal) / count;
    let from_even = |(k, image): (usize, &&Image)| {
        norm(sub(sub(image.position, first.position), normal.map(|x| x * step * k as f64)))
    };
    slices.iter().enumerate().map(from_even).fold(0.0, f64::max)
}

/// Every voxel has the value and the place of its pixel.
fn as_written(volume: &Volume, voxels: &[f32], slices: &[&Image]) -> Result<(), String> {
    let grid = volume.geometry();
    let [columns, rows] = slices[0].size;
    if grid.size != [columns, rows, slices.len()] {
        return Err(format!("grid of {:?}, expected {:?} x {}", grid.size, slices[0].size, slices.len()));
    }
    let mut at = 0;
    for (k, image) in slices.iter().enumerate() {
        for j in 0..rows {
            for i in 0..columns {
                let expected = image.value(j * columns + i);
                if voxels[at].to_bits() != expected.to_bits() {
                    return Err(format!("voxel ({i}, {j}, {k}) is {}, expected {expected}", voxels[at]));
                }
                let off = norm(sub(grid.position([i as f64, j as f64, k as f64]), image.place(i, j)));
                // An even grid through rounded positions: what the reader says it lets pass.
                if off > 0.06 + 0.02 * grid.spacing[2] || (stray(slices) < 1e-7 && off > 1e-6) {
                    return Err(format!("voxel ({i}, {j}, {k}) is {off} mm off its place"));
                }
                at += 1;
            }
        }
    }
    Ok(())
}

/// Every voxel lies in the plane of its slice and has the value that the ramp has there, or the slice's lowest beyond it.
fn resampled(volume: &Volume, voxels: &[f32], slices: &[&Image]) -> Result<(), String> {
    let grid = volume.geometry();
    let [columns, rows, count] = grid.size;
    if count != slices.len() || grid.is_sheared() {
        return Err(format!("{grid:?} for {} slices", slices.len()));
    }
    let mut reached = 0;
    for (at, &voxel) in voxels.iter().enumerate() {
        let [i, j, k] = [at % columns, at / columns % rows, at / columns / rows];
        let image = slices[k];
        let offset: Vec3 = sub(grid.position([i as f64, j as f64, k as f64]), image.position);
        let (across, down) = (dot(offset, image.row) / image.spacing[0], dot(offset, image.column) / image.spacing[1]);
        let depth = dot(offset, cross(image.row, image.column));
        if depth.abs() > 1e-6 {
            return Err(format!("voxel ({i}, {j}, {k}) is {depth} mm off the plane of its slice"));
        }
        let inside = |x: f64, size: usize| x > -1e-7 && x < (size - 1) as f64 + 1e-7;
        let near = |x: f64, size: usize| x > -1e-5 && x < (size - 1) as f64 + 1e-5;
        let (a, b) = (image.stored[0], image.stored[image.size[0]] - image.stored[0]);
        let value = a as f64 + across * (image.stored[1] - a) as f64 + down * b as f64;
        let expected = if inside(across, image.size[0]) && inside(down, image.size[1]) {
            reached += 1;
            image.slope * value + image.intercept
        } else if near(across, image.size[0]) && near(down, image.size[1]) {
            continue;
        } else {
            image.stored.iter().map(|&x| image.slope * x as f64 + image.intercept).fold(f64::INFINITY, f64::min)
        };
        if (f64::from(voxel) - expected).abs() > 1e-6 * expected.abs().max(100.0) {
            return Err(format!("voxel ({i}, {j}, {k}) is {voxel}, expected {expected} at ({across}, {down})"));
        }
    }
    // All of the source but what falls between the pixels of its edge.
    let least = slices.iter().map(|image| (image.size[0] - 1) * (image.size[1] - 1)).sum::<usize>();
    if reached < least { Err(format!("only {reached} voxels hold pixels, expected {least}")) } else { Ok(()) }
}

/// Some voxels here and there and a block.
fn labels(recipe: &Recipe, volume: &Volume) -> Vec<u8> {
    let random = &mut stream(recipe.seed, "labels", &[]);
    let [columns, rows, slices] = volume.geometry().size;
    let mut labels = vec![0; columns * rows * slices];
    let corner = [random.below(columns - 2), random.below(rows - 2), random.below(slices)];
    for k in corner[2]..slices.min(corner[2] + 2) {
        for j in corner[1]..corner[1] + 3 {
            for i in corner[0]..corner[0] + 2 {
                labels[(k * rows + j) * columns + i] = LABELS[0];
            }
        }
    }
    for _ in 0..8 {
        let at = random.below(labels.len());
        labels[at] = LABELS[random.below(3)];
    }
    labels
}
