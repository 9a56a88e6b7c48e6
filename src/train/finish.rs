//! The end of a run: the model scored on every validation case, its card, its bundle, the report.

use std::fs;

use super::checkpoint::Standing;
use super::config::Run;
use super::validate;
use crate::atomic_file;
use crate::config::{Provenance, TrainingCard, ValidationFigures, to_yaml};
use crate::control::{Control, Progress, Stage};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::journal::History;
use crate::metrics::{LabelScore, Rules, scores, summarize};
use crate::model::Model;
use crate::picture::comparison;
use crate::report::{CaseResult, Report, model_card};

/// mm within which surfaces count as the same.
const TOLERANCE: f64 = 1.0;
/// Cases with pictures, worst and best.
const WORST: usize = 4;
const BEST: usize = 2;

/// Scores of `model` on every validation case, with pictures of some. `listening` obeys a stop, else it only reports.
pub fn judge(run: &Run, model: &Model, listening: bool, control: &mut Control) -> Result<Vec<CaseResult>> {
    let count = run.parts.validation.len();
    let rules = match run.model.compat {
        Some(_) => Rules::TransUnet2021,
        None => Rules::Standard,
    };
    let mut cases = Vec::with_capacity(count);
    for (n, &index) in run.parts.validation.iter().enumerate() {
        let progress = Progress::of(Stage::Validate, n, count);
        if listening {
            control.report(progress)?
        } else {
            control.tell(progress)
        }
        let case = &run.dataset.cases[index];
        let (found, truth) = validate::compared(run, model, case)?;
        let geometry = found.geometry();
        let scores = scores(&found.to_vec()?, &truth, geometry, &run.dataset.labels, rules, TOLERANCE)?;
        let picture = comparison(&found, &truth, 3, 300)?;
        cases.push(CaseResult { id: case.id.clone(), scores, picture: Some(picture) });
        keep_extremes(&mut cases);
    }
    Ok(cases)
}

/// Drops the pictures of cases that are neither among the worst nor the best so far.
fn keep_extremes(cases: &mut [CaseResult]) {
    let mut order: Vec<usize> = (0..cases.len()).filter(|&n| cases[n].picture.is_some()).collect();
    order.sort_by(|&a, &b| cases[a].mean_dice().unwrap_or(0.0).total_cmp(&cases[b].mean_dice().unwrap_or(0.0)));
    if order.len() > WORST + BEST {
        order[WORST..order.len() - BEST].iter().for_each(|&n| cases[n].picture = None);
    }
}

/// Writes `model.safetensors` with its card inside, `model.md` and `report.html` into the run's folder. The model is there
/// before it is scored: whatever stops the scoring leaves it. Returns whether the run came to its end.
pub fn finish(
    run: &Run,
    devices: &Devices,
    model: Model,
    standing: &Standing,
    history: &History,
    stopped: bool,
    control: &mut Control,
) -> Result<bool> {
    let model = described(run, devices, model, standing, &[])?;
    let cases = match judge(run, &model, !stopped, control) {
        Err(Error::Cancelled) => None,
        cases => Some(cases?),
    };
    let complete = !stopped && cases.is_some();
    let cases = cases.unwrap_or_default();
    let model = described(run, devices, model, standing, &cases)?;
    let card = model_card(model.config());
    atomic_file::write(&run.output.join("model.md"), |out| out.write_all(card.as_bytes()))?;
    Report {
        model: model.config(),
        history,
        cases: &cases,
        settings: fs::read_to_string(run.output.join(super::run::SETTINGS)).unwrap_or_default(),
        command: run.command.clone(),
        finished: complete,
    }
    .write(&run.output.join("report.html"))?;
    Ok(complete)
}

/// The model with its card, written.
fn described(run: &Run, devices: &Devices, model: Model, standing: &Standing, cases: &[CaseResult]) -> Result<Model> {
    let card = TrainingCard {
        data: run.dataset.name.clone(),
        training_cases: run.parts.train.len(),
        validation_cases: run.parts.validation.len(),
        run: standing.run.clone(),
        seed: run.recipe.seed,
        steps: standing.best.map_or(standing.step, |best| best.step),
        seconds: standing.seconds.round(),
        device: devices.names(),
        mixed_precision: Some(run.recipe.mixed_precision),
        fingerprint: Some(run.fingerprint.clone()),
        recipe: to_yaml(&run.recipe)?,
        validation: figures(run, cases),
    };
    let provenance = Provenance {
        source: Some("trained by transunet".into()),
        code_version: Some(format!("transunet {}", env!("CARGO_PKG_VERSION"))),
        note: None,
        training: Some(card),
    };
    let model = model.with_provenance(provenance);
    model.save(&run.output.join(super::run::MODEL), run.precision)?;
    Ok(model)
}

fn figures(run: &Run, cases: &[CaseResult]) -> Vec<ValidationFigures> {
    let of = |value: u8, figure: fn(&LabelScore) -> Option<f64>| {
        let scores = cases.iter().flat_map(|case| &case.scores).filter(move |score| score.value == value);
        summarize(scores.filter_map(figure))
    };
    let each = run.dataset.labels.iter().filter_map(|label| {
        let dice = of(label.value, |score| score.dice)?;
        Some(ValidationFigures {
            label: label.name.clone(),
            dice_mean: dice.mean,
            dice_median: dice.median,
            dice_worst: dice.lowest,
            hd95_mm_mean: of(label.value, |score| score.hd95).map_or(0.0, |hd95| hd95.mean),
            surface_dice_1mm_mean: of(label.value, |score| score.surface_dice).map_or(0.0, |dice| dice.mean),
        })
    });
    each.collect()
}
