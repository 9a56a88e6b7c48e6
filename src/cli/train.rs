//! `transunet train`: labelled images in, a model out.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use transunet::atomic_file::folder_of;
use transunet::train::config::TrainConfig;
use transunet::train::learner::Step;
use transunet::train::run::{self, Witness};
use transunet::train::validate::Validation;

use super::Session;
use super::computing::Computing;
use super::failure::{About, Code, Outcome};

const EXAMPLES: &str = "\
Examples:
  The least that a configuration says:
    data: { folder: Dataset001_Liver }      # imagesTr, labelsTr, dataset.json
    output: runs/liver
  Train, and look at the curves meanwhile in runs/liver:
    transunet train liver.yaml
  Or without a configuration, all planned from the data:
    transunet train --data Dataset001_Liver --output runs/liver --preset tiny --epochs 50
  Ctrl-C stops it after the step, with a usable model; so does a file called `stop` in the output. Go on later:
    transunet train liver.yaml --resume

Research use only, not for clinical use.";

/// Train a model on labelled images
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Train {
    #[arg(value_name = "CONFIG.yaml")]
    config: Option<PathBuf>,
    #[arg(long, value_name = "FOLDER", required_unless_present = "config")]
    data: Option<PathBuf>,
    #[arg(long, short, value_name = "FOLDER", required_unless_present = "config")]
    output: Option<PathBuf>,
    #[arg(long, value_name = "NAME", value_parser = ["tiny", "small", "base"], hide_possible_values = true)]
    preset: Option<String>,
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    computing: Computing,
}

impl Train {
    pub fn run(&self, session: &Session) -> Outcome {
        let (data, output) = (self.data.as_deref(), self.output.as_deref());
        let settings = self.settings();
        let config =
            TrainConfig::layered(self.config.as_deref(), settings.as_deref(), data, output).about(Code::Input)?;
        let mut control = session.control();
        let devices = self.computing.open()?;
        let base = self.config.as_deref().map_or(Path::new(""), folder_of);
        let mut plan = config.resolve(base, &devices, &mut control).about(Code::Input)?;
        plan.command = std::env::args().collect::<Vec<_>>().join(" ");
        session.print(&described(&plan));
        let outcome =
            run::run(&plan, &devices, self.resume, &mut Told { session }, &mut control).about(Code::Output)?;
        drop(control);
        let best = match outcome.best {
            Some(best) => format!(", validation Dice {:.4} at step {}", best.dice, best.step),
            None => String::new(),
        };
        let state = if outcome.stopped { "Stopped" } else { "Done" };
        session.print(&format!(
            "{state} after {} of {} steps{best}\nModel: {}",
            outcome.steps,
            outcome.total_steps,
            outcome.bundle.display()
        ));
        Ok(())
    }
}

impl Train {
    /// What the options say instead of the configuration, if they say anything.
    fn settings(&self) -> Option<String> {
        let said = [
            ("preset", self.preset.as_ref().map(|preset| json!(preset))),
            ("epochs", self.epochs.map(|epochs| json!(epochs))),
            ("seed", self.seed.map(|seed| json!(seed))),
        ];
        let said: Map<_, _> = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        (!said.is_empty()).then(|| Value::Object(said).to_string())
    }
}

fn described(plan: &transunet::train::config::Run) -> String {
    let [height, width] = plan.model.input_size();
    let input = &plan.model.input;
    let spacing = input.spacing.map_or(String::new(), |[rows, columns]| format!(" at {rows} x {columns} mm"));
    format!(
        "{}: {} cases to train with, {} to validate; labels: {}\nSlices of {height} x {width} pixels{spacing}",
        plan.dataset.name,
        plan.parts.train.len(),
        plan.parts.validation.len(),
        plan.dataset.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>().join(", "),
    )
}

/// Prints validations.
struct Told<'a> {
    session: &'a Session,
}

impl Witness for Told<'_> {
    fn validation(&mut self, number: u64, epoch: f64, found: &Validation, best: bool) -> transunet::Result<()> {
        let labels: Vec<String> =
            found.labels.iter().map(|dice| dice.map_or("-".into(), |dice| format!("{dice:.4}"))).collect();
        let mark = if best { "  best" } else { "" };
        self.session.print(&format!(
            "step {number:6}  epoch {epoch:6.2}  Dice {:.4}  ({}){mark}",
            found.mean_dice,
            labels.join(", ")
        ));
        Ok(())
    }

    fn step(&mut self, number: u64, _epoch: f64, step: &Step, seconds: f64) -> transunet::Result<()> {
        log::debug!("step {number}: loss {:.4}, rate {:.2e}, {seconds:.2} s", step.loss, step.rate);
        Ok(())
    }
}
