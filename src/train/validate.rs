//! Validation on whole volumes: every validation case segmented as a user would, compared with its labels.

use super::config::Run;
use crate::control::{Control, Progress, Stage};
use crate::data::Case;
use crate::error::Result;
use crate::infer::{SegmentOptions, segment};
use crate::labelmap::Labelmap;
use crate::metrics::dice_of_labels;
use crate::model::Model;

/// Dice on the validation cases.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Case, and Dice of each label; `None` where label map and truth both lack it.
    pub cases: Vec<(String, Vec<Option<f64>>)>,
    /// Mean over the cases, for each label.
    pub labels: Vec<Option<f64>>,
    /// Mean over the labels.
    pub mean_dice: f64,
}

/// What `model` finds in a case, and the truth; both 0 where the truth is to be ignored.
pub fn compared(run: &Run, model: &Model, case: &Case) -> Result<(Labelmap, Vec<u8>)> {
    let (volume, mut truth) = case.load()?;
    let found = segment(model, &volume, &SegmentOptions::default(), &mut Control::none()).map_err(|e| e.at(case))?;
    let Some(ignored) = run.recipe.loss.ignore else { return Ok((found, truth)) };
    let mut voxels = found.to_vec()?;
    for (found, truth) in voxels.iter_mut().zip(&mut truth).filter(|(_, truth)| **truth == ignored) {
        (*found, *truth) = (0, 0);
    }
    Ok((Labelmap::new(volume, voxels, found.labels().to_vec(), found.algorithm().clone())?, truth))
}

/// Segments all validation cases with `model`.
pub fn dice(run: &Run, model: &Model, control: &mut Control) -> Result<Validation> {
    let count = run.parts.validation.len();
    let mut cases = Vec::with_capacity(count);
    for (n, &case) in run.parts.validation.iter().enumerate() {
        control.report(Progress::of(Stage::Validate, n, count))?;
        let case = &run.dataset.cases[case];
        let (found, truth) = compared(run, model, case)?;
        cases.push((case.id.clone(), dice_of_labels(&found.to_vec()?, &truth, &run.dataset.labels)));
    }
    let labels: Vec<Option<f64>> =
        (0..run.dataset.labels.len()).map(|label| mean(cases.iter().filter_map(|(_, dice)| dice[label]))).collect();
    let mean_dice = mean(labels.iter().copied().flatten()).unwrap_or(0.0);
    Ok(Validation { cases, labels, mean_dice })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
