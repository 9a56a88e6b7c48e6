//! Input that fits the data: frame, spacing, canvas and intensity, from a look at some training cases.

use super::settings::Preset;
use crate::config::{Input, Intensity, Plane};
use crate::control::{Control, Progress, Stage};
use crate::data::Dataset;
use crate::error::Result;
use crate::network::PATCH;
use crate::orient::View;

/// Cases that are looked at.
const LOOKED_AT: usize = 40;

/// What was seen of one case.
struct Seen {
    /// Millimetres between rows and between columns, and pixels, in the network's frame.
    spacing: [f64; 2],
    size: [usize; 2],
    lowest: f32,
    /// 0.5 and 99.5 percentiles of the foreground, if there is any.
    foreground: Option<[f32; 2]>,
}

/// The input for `dataset`, with what `given` says, and the size of the network's canvas.
pub fn input(
    dataset: &Dataset,
    train: &[usize],
    given: Option<Input>,
    preset: Preset,
    control: &mut Control,
) -> Result<(Input, [usize; 2])> {
    let mut input = match given {
        Some(input) => input,
        None if dataset.placed => Input { plane: Plane::Axial, orientation: Some("LPS".into()), ..Input::default() },
        // Nobody knows where the patient's left is: slices are seen as they are stored.
        None => Input { plane: Plane::Acquisition, orientation: None, ..Input::default() },
    };
    let intensity_given = input.intensity != Intensity::None;
    if let (Some(size), true) = (input.size, intensity_given) {
        return Ok((input, size));
    }
    let step = train.len().div_ceil(LOOKED_AT).max(1);
    let chosen: Vec<usize> = train.iter().copied().step_by(step).collect();
    let mut seen = Vec::with_capacity(chosen.len());
    for (n, &case) in chosen.iter().enumerate() {
        seen.push(look(dataset, case, &input)?);
        control.report(Progress::of(Stage::Read, n + 1, chosen.len()))?;
    }
    if !intensity_given {
        input.intensity = intensity(&seen);
    }
    if let Some(size) = input.size {
        return Ok((input, size));
    }
    let side: usize = match preset {
        Preset::Tiny => 112,
        Preset::Small => 160,
        Preset::Base => 224,
    };
    if !dataset.spaced && input.spacing.is_none() {
        // As the original does: slices of any spacing are stretched over the canvas.
        return Ok((input, [side; 2]));
    }
    let spacing = input.spacing.unwrap_or_else(|| {
        let median_spacing = [0, 1].map(|a| median(seen.iter().map(|seen| seen.spacing[a]).collect()));
        let longest = median(seen.iter().map(|seen| seen.size[0].max(seen.size[1]) as f64).collect());
        // The finest skip has half of the canvas' resolution: up to two canvas pixels for one of the image.
        let finer = (side as f64 / longest).min(2.0);
        median_spacing.map(|spacing| round(spacing / finer))
    });
    input.spacing = Some(spacing);
    let size = [0, 1].map(|a| {
        let mut sides: Vec<usize> = seen
            .iter()
            .map(|seen| ((seen.size[a] - 1) as f64 * seen.spacing[a] / spacing[a]).round() as usize + 1)
            .collect();
        sides.sort_unstable();
        sides[(sides.len() - 1) * 19 / 20].next_multiple_of(PATCH)
    });
    Ok((input, size))
}

fn look(dataset: &Dataset, case: usize, input: &Input) -> Result<Seen> {
    let (volume, labels) = dataset.cases[case].load()?;
    let view = View::new(input, &volume, &mut || Ok(()))?;
    let geometry = view.geometry();
    let voxels = volume.to_vec()?;
    let mut foreground: Vec<f32> =
        voxels.iter().zip(&labels).filter(|&(_, &label)| label > 0).map(|(&value, _)| value).collect();
    let foreground = (!foreground.is_empty()).then(|| {
        let last = foreground.len() - 1;
        [0.005, 0.995].map(|part| *foreground.select_nth_unstable_by((last as f64 * part) as usize, f32::total_cmp).1)
    });
    Ok(Seen {
        spacing: [geometry.spacing[1], geometry.spacing[0]],
        size: [geometry.rows(), geometry.columns()],
        lowest: voxels.iter().copied().fold(f32::INFINITY, f32::min),
        foreground,
    })
}

/// CT has air far below zero: a window about the foreground. Else percentiles of each volume.
fn intensity(seen: &[Seen]) -> Intensity {
    let ct = 2 * seen.iter().filter(|seen| seen.lowest < -500.0).count() > seen.len();
    let ranges: Vec<[f32; 2]> = seen.iter().filter_map(|seen| seen.foreground).collect();
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
