//! Scores of each label of a case, and over cases; what absent labels count for.

use serde::{Deserialize, Serialize};

use super::surface::{Grid, SurfaceDistances};
use super::{Overlap, overlaps};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::labels::Label;

/// What an absent label counts for, and in which unit distances are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rules {
    /// A label that both lack has no score and is not counted. One that only one of them has: Dice 0, surface Dice 0, HD95
    /// the diagonal of the grid in mm.
    #[default]
    Standard,
    /// As the 2021 code: distances in voxels; a label that only the prediction has scores Dice 1 and HD95 0, any other
    /// absence Dice 0 and HD95 0.
    TransUnet2021,
}

/// Scores of one label in one case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    pub value: u8,
    pub dice: Option<f64>,
    /// mm; voxels under [`Rules::TransUnet2021`].
    pub hd95: Option<f64>,
    /// Share of the surfaces within the tolerance.
    pub surface_dice: Option<f64>,
    /// Of prediction and truth.
    pub voxels: [u64; 2],
}

/// Scores of every label; both label maps are `[k, j, i]` on the grid `geometry`.
pub fn scores(
    prediction: &[u8],
    truth: &[u8],
    geometry: &Geometry,
    labels: &[Label],
    rules: Rules,
    tolerance_mm: f64,
) -> Result<Vec<LabelScore>> {
    if prediction.len() != geometry.len() || truth.len() != geometry.len() {
        return Err(Error::Argument(format!(
            "{} and {} labels for a grid of {:?}, expected {} each",
            prediction.len(),
            truth.len(),
            geometry.size,
            geometry.len()
        )));
    }
    let spacing = match rules {
        Rules::Standard => geometry.spacing,
        Rules::TransUnet2021 => [1.0; 3],
    };
    let grid = Grid { size: geometry.size, spacing, connectivity: 1 };
    let diagonal = (0..3).map(|a| ((geometry.size[a] - 1) as f64 * spacing[a]).powi(2)).sum::<f64>().sqrt();
    let score = |(label, overlap): (&Label, Overlap)| {
        let mask = |voxels: &[u8]| -> Vec<bool> { voxels.iter().map(|&value| value == label.value).collect() };
        let mut score = LabelScore {
            value: label.value,
            dice: None,
            hd95: None,
            surface_dice: None,
            voxels: [overlap.first, overlap.second],
        };
        if overlap.first > 0 && overlap.second > 0 {
            let distances = SurfaceDistances::new(&mask(prediction), &mask(truth), grid);
            score.dice = overlap.dice();
            score.hd95 = distances.as_ref().map(SurfaceDistances::hd95);
            score.surface_dice = distances.map(|distances| distances.surface_dice(tolerance_mm));
        } else if rules == Rules::TransUnet2021 {
            score.dice = Some(if overlap.first > 0 { 1.0 } else { 0.0 });
            score.hd95 = Some(0.0);
        } else if overlap.first + overlap.second > 0 {
            score.dice = Some(0.0);
            score.hd95 = Some(diagonal);
            score.surface_dice = Some(0.0);
        }
        score
    };
    Ok(labels.iter().zip(overlaps(prediction, truth, labels)).map(score).collect())
}

/// One figure over the cases that have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub cases: usize,
    pub mean: f64,
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// `None` where no case has a value.
pub fn summarize(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (*values.first()?, *values.last()?);
    let cases = values.len();
    let mean = values.iter().sum::<f64>() / cases as f64;
    let median = (values[(cases - 1) / 2] + values[cases / 2]) / 2.0;
    Some(Summary { cases, mean, median, lowest, highest })
}
