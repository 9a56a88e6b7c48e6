//! Input that fits the data: plane, spacing, canvas and intensity; and a batch that fits the memory.

use super::settings::{OptimizerSettings, Preset, Recipe};
use crate::config::{Input, Intensity, Plane};
use crate::data::{CaseFacts, Dataset};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::network::{Architecture, PATCH, values_per_pixel};
use crate::orient;
use crate::weights;

/// From this ratio of spacings on, slices are those across the thickest axis.
const ANISOTROPIC: f64 = 1.5;
/// Share of the layers' outputs that a pass of the engine has at once: tiny 0.47, small 0.28, base 0.18.
const PASS_SHARE: f64 = 0.5;

/// The input for the training cases `seen`, with what `given` says, and the size of the network's canvas.
pub fn input(
    dataset: &Dataset,
    seen: &[&CaseFacts],
    given: Option<Input>,
    preset: Preset,
) -> Result<(Input, [usize; 2])> {
    let planned = given.is_none();
    let mut input = given.unwrap_or_default();
    let intensity_given = input.intensity != Intensity::None;
    if let (Some(size), true) = (input.size, intensity_given) {
        return Ok((input, size));
    }
    // Where nobody knows the patient's left, slices are seen as they are stored.
    if planned && dataset.placed {
        input.plane = plane(seen);
    }
    if !intensity_given {
        input.intensity = intensity(seen);
    }
    if let Some(size) = input.size {
        return Ok((input, size));
    }
    if !dataset.spaced && input.spacing.is_none() {
        // As the original does: slices of any spacing are stretched over the canvas.
        return Ok((input, [longest_side(preset); 2]));
    }
    let framed = seen.iter().map(|seen| orient::framed(&input, &seen.geometry)).collect::<Result<Vec<_>>>()?;
    let spacing = input.spacing.unwrap_or_else(|| spacing(&framed, preset));
    input.spacing = Some(spacing);
    let size = [0, 1].map(|a| {
        let side = |geometry: &Geometry| {
            let (count, apart) = (geometry.size[1 - a], geometry.spacing[1 - a]);
            ((count - 1) as f64 * apart / spacing[a]).round() as usize + 1
        };
        let mut sides: Vec<usize> = framed.iter().map(side).collect();
        sides.sort_unstable();
        sides[(sides.len() - 1) * 19 / 20].next_multiple_of(PATCH)
    });
    Ok((input, size))
}

/// The plane with the finest pixels: across the patient's axis with the thickest voxels. Axial where voxels are nearly
/// cubes.
fn plane(seen: &[&CaseFacts]) -> Plane {
    let along = |axis: usize| {
        let spacing = |geometry: &Geometry| {
            let nearest = |a: &usize, b: &usize| {
                geometry.direction[*a][axis].abs().total_cmp(&geometry.direction[*b][axis].abs())
            };
            geometry.spacing[(0..3).max_by(nearest).unwrap_or(2)]
        };
        median(seen.iter().map(|seen| spacing(&seen.geometry)).collect())
    };
    let [left, posterior, superior] = [0, 1, 2].map(along);
    if left > ANISOTROPIC * posterior.max(superior) {
        Plane::Sagittal
    } else if posterior > ANISOTROPIC * left.max(superior) {
        Plane::Coronal
    } else {
        Plane::Axial
    }
}

/// Pixels of the longest side of a slice that a preset likes.
fn longest_side(preset: Preset) -> usize {
    match preset {
        Preset::Tiny => 112,
        Preset::Small => 160,
        Preset::Base => 224,
    }
}

/// Rows' and columns' distance, mm, that makes the usual slice as large as the preset likes.
fn spacing(framed: &[Geometry], preset: Preset) -> [f64; 2] {
    let own = [1, 0].map(|axis| median(framed.iter().map(|geometry| geometry.spacing[axis]).collect()));
    let longest = median(framed.iter().map(|geometry| geometry.rows().max(geometry.columns()) as f64).collect());
    // The finest skip has half of the canvas' resolution: up to two canvas pixels for one of the image.
    let finer = (longest_side(preset) as f64 / longest).min(2.0);
    own.map(|spacing| round(spacing / finer))
}

/// CT has air far below zero: a window about the foreground. Else percentiles of each volume.
fn intensity(seen: &[&CaseFacts]) -> Intensity {
    let ct = 2 * seen.iter().filter(|seen| seen.intensity[0] < -500.0).count() > seen.len();
    let ranges: Vec<[f32; 2]> = seen.iter().filter_map(|seen| seen.labelled_intensity).collect();
    if ct && !ranges.is_empty() {
        let [low, high] = [0, 1].map(|a| median(ranges.iter().map(|range| f64::from(range[a])).collect()));
        let margin = 0.25 * (high - low).max(40.0);
        return Intensity::Window { low: (low - margin).round() as f32, high: (high + margin).round() as f32 };
    }
    Intensity::Percentile { low: 0.5, high: 99.5 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(1.0)
}

/// Three significant digits.
fn round(x: f64) -> f64 {
    let unit = 10f64.powi(x.abs().log10().floor() as i32 - 2);
    (x / unit).round() * unit
}

/// Splits the batch into passes, so that each of `devices` has as many of them as the others: the same update, but for Dice
/// and the statistics of batch normalisation, which are each pass's own.
pub fn spread(recipe: Recipe, devices: usize) -> Recipe {
    let parts = |even: bool| {
        (1..=recipe.batch).find(|n| {
            let passes = recipe.accumulate * n;
            recipe.batch.is_multiple_of(*n) && passes >= devices && (!even || passes.is_multiple_of(devices))
        })
    };
    let Some(parts) = parts(true).or_else(|| parts(false)) else {
        log::warn!(
            "a step has {} passes, which leaves some of the {devices} devices idle: take a larger batch",
            recipe.accumulate * recipe.batch
        );
        return Recipe { batch: 1, accumulate: recipe.accumulate * recipe.batch, ..recipe };
    };
    Recipe { batch: recipe.batch / parts, accumulate: recipe.accumulate * parts, ..recipe }
}

/// Splits the batch into passes that fit into `memory` bytes together with the network: fewer slices each, more of them,
/// the same update but for Dice and the statistics of batch normalisation, which are each pass's own. On a CPU validations and
/// checkpoints must fit too; those of a GPU take main memory.
pub fn batch(recipe: Recipe, architecture: &Architecture, memory: u64, on_gpu: bool) -> Result<Recipe> {
    let refuse = |what: String, bytes: u64| {
        Err(Error::OutOfMemory(format!(
            "{what} needs about {} MiB, and {} MiB may be used: take a smaller preset, input or cache",
            bytes >> 20,
            memory >> 20
        )))
    };
    let mut planned = recipe;
    loop {
        let bytes = step_bytes(architecture, &planned, planned.batch);
        if bytes <= memory {
            break;
        }
        if planned.batch == 1 {
            return refuse(format!("a step with one slice of {:?} pixels", architecture.image_size), bytes);
        }
        let passes = (2..=planned.batch).find(|n| planned.batch.is_multiple_of(*n)).unwrap_or(planned.batch);
        planned = Recipe { batch: planned.batch / passes, accumulate: planned.accumulate * passes, ..planned };
    }
    let pause = pause_bytes(architecture, &planned);
    if !on_gpu && pause > memory {
        return refuse("a validation or a checkpoint".into(), pause);
    }
    Ok(planned)
}

/// Bytes of the weights as they are saved, and as the engine packs them.
fn weight_bytes(architecture: &Architecture) -> [u64; 2] {
    weights::expected(architecture).iter().fold([0, 0], |[plain, packed], (_, shape)| {
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        // Winograd's tiles of 4 x 4 have 36 places for the 9 of a kernel.
        [plain + bytes, packed + if shape.ends_with(&[3, 3]) { 4 * bytes } else { bytes }]
    })
}

/// Copies of the weights that a run holds from step to step: the weights, their moments, their average.
fn copies(recipe: &Recipe) -> u64 {
    let moments = match recipe.optimizer {
        OptimizerSettings::Sgd { .. } => 1,
        OptimizerSettings::AdamW { .. } => 2,
    };
    1 + moments + u64::from(recipe.average.is_some())
}

/// About what a step needs, rather too much: what a run holds, gradients, and the layers' outputs.
fn step_bytes(architecture: &Architecture, recipe: &Recipe, batch: usize) -> u64 {
    let [weights, _] = weight_bytes(architecture);
    let pixels = architecture.image_size.iter().product::<usize>() * batch;
    let values = values_per_pixel(architecture) * pixels as f64;
    // A fifth more for gradients and what kernels need in passing: small takes 1.15 and base 0.8 times the outputs.
    (copies(recipe) + 1) * weights + (4.0 * 1.2 * values) as u64
}

/// About what a CPU needs between two steps, rather too much: what a run holds, and for a validation the weights to save, the
/// engine and a pass of it, or for a checkpoint a copy of it all.
fn pause_bytes(architecture: &Architecture, recipe: &Recipe) -> u64 {
    let [weights, packed] = weight_bytes(architecture);
    let pixels = architecture.image_size.iter().product::<usize>();
    let pass = (4.0 * PASS_SHARE * values_per_pixel(architecture) * pixels as f64) as u64;
    let held = copies(recipe) * weights;
    held + (weights + packed + pass).max(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_split_until_they_fit() {
        let architecture = Architecture::r50_vit_b16(224, 9);
        let recipe = Preset::Base.recipe();
        let batch = |memory| batch(recipe.clone(), &architecture, memory, true);
        let whole = step_bytes(&architecture, &recipe, 24);
        assert_eq!(batch(whole).unwrap(), recipe);
        let halved = batch(whole - 1).unwrap();
        assert_eq!((halved.batch, halved.accumulate), (12, 2));
        let least = batch(step_bytes(&architecture, &recipe, 1)).unwrap();
        assert_eq!((least.batch, least.accumulate), (1, 24));
        let refused = batch(step_bytes(&architecture, &recipe, 1) - 1);
        assert!(matches!(refused, Err(Error::OutOfMemory(_))));
    }

    #[test]
    fn devices_share_the_passes_of_a_step() {
        let spread = |batch, accumulate, devices| {
            let planned = spread(Recipe { batch, accumulate, ..Preset::Tiny.recipe() }, devices);
            (planned.batch, planned.accumulate)
        };
        assert_eq!([spread(16, 1, 1), spread(16, 1, 2), spread(24, 1, 3)], [(16, 1), (8, 2), (8, 3)]);
        assert_eq!([spread(16, 1, 3), spread(2, 3, 2), spread(16, 2, 2)], [(4, 4), (1, 6), (16, 2)]);
        assert_eq!(spread(1, 1, 2), (1, 1), "one pass cannot be split");
        assert_eq!(spread(2, 1, 4), (1, 2));
    }

    #[test]
    fn validations_and_checkpoints_have_to_fit_into_main_memory() {
        let architecture = Architecture::r50_vit_b16(224, 9);
        // The engine is what weighs for one, the copy of the moments for the other.
        for recipe in [Preset::Base.recipe(), Recipe { batch: 1, ..Preset::Small.recipe() }] {
            let least = pause_bytes(&architecture, &recipe);
            assert!(least > step_bytes(&architecture, &recipe, 1));
            assert!(batch(recipe.clone(), &architecture, least, false).is_ok());
            let refused = batch(recipe.clone(), &architecture, least - 1, false).unwrap_err().to_string();
            assert!(refused.starts_with("a validation or a checkpoint needs about"), "{refused}");
            assert!(batch(recipe, &architecture, least - 1, true).is_ok());
        }
    }
}
