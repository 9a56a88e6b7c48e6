//! Input that fits the data: plane, spacing, canvas and intensity; and a batch that keeps all devices busy.

use super::settings::{Preset, Recipe};
use crate::config::{Input, Intensity, Plane};
use crate::data::{CaseFacts, Dataset};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::network::PATCH;
use crate::orient;

/// From this ratio of spacings on, slices are those across the thickest axis.
const ANISOTROPIC: f64 = 1.5;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
