//! `transunet data check`: what a data set holds, and every pair that does not fit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use transunet::atomic_file::{self, folder_of};
use transunet::data::{CaseFacts, DataConfig, Listing, Survey};
use transunet::train::config::TrainConfig;
use transunet::{Error, Result};

use super::Session;
use super::failure::{About, Code, Failure, Outcome};
use super::table::{Table, count, plural};

const EXAMPLES: &str = "\
Examples:
  transunet data check Dataset001_Liver/          # a folder, its layout found out
  transunet data check liver.yaml                 # the data of a training configuration, with its split
  transunet data check liver.yaml --json facts.json

Every case is read once. Each file that does not fit is named, and the exit code is then 3.";

/// Look at training data
#[derive(clap::Args)]
pub struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Check(Check),
}

/// Print what a data set holds, and every pair that does not fit
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct Check {
    /// A training configuration, or the folder of a data set
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Also write all facts here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Data {
    pub fn run(&self, session: &Session) -> Outcome {
        match &self.command {
            Command::Check(check) => check.run(session),
        }
    }
}

impl Check {
    fn run(&self, session: &Session) -> Outcome {
        let mut control = session.control();
        let survey = self.survey(&mut control).about(Code::Input);
        let survey = survey.map_err(|failure| {
            failure.with_hint("PATH is the folder of a data set, or a training configuration (YAML); docs/training.md")
        })?;
        drop(control);
        if let Some(path) = &self.json {
            let json =
                serde_json::to_vec_pretty(&survey).map_err(|e| Error::Internal(e.to_string())).about(Code::Output)?;
            atomic_file::write(path, |out| out.write_all(&json)).about(Code::Output)?;
        }
        session.print(&words(&survey));
        match survey.faults.len() {
            0 => Ok(()),
            faults => Err(Failure::new(
                Code::Input,
                format!("{} found in {}", plural(faults, "fault"), self.path.display()),
                "put right or take away the files named above; nothing is trained while there are any",
            )),
        }
    }

    fn survey(&self, control: &mut transunet::control::Control) -> Result<Survey> {
        if self.path.is_dir() {
            let folder = DataConfig { folder: self.path.clone(), ..DataConfig::default() };
            return Survey::of(Listing::find(&folder, Path::new(""))?, None, |_| Ok(None), control);
        }
        let config = TrainConfig::read(&self.path)?;
        let base = folder_of(&self.path);
        let ignore = config.loss.as_ref().and_then(|loss| loss.ignore);
        let split = |dataset: &transunet::data::Dataset| {
            dataset.parts(config.split.as_ref(), &base.join(&config.data.folder)).map(Some)
        };
        Survey::of(Listing::find(&config.data, base)?, ignore, split, control)
    }
}

/// What people read: totals, labels, the spread over the cases, the split, then what is wrong.
fn words(survey: &Survey) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {} of {} (layout {})",
        survey.name,
        plural(survey.cases.len(), "case"),
        plural(survey.subjects, "subject"),
        survey.layout.name()
    );
    if !survey.cases.is_empty() {
        let _ = write!(text, "\n{}\n\n{}\n", labels(survey).join("\n"), spread(&survey.cases).join("\n"));
        let _ = writeln!(text, "\nOrientation: {}", orientations(survey));
    }
    if let Some(split) = &survey.split {
        let (train, validation) = (split.train.len(), split.validation.len());
        let _ = writeln!(text, "Split: {} to train with, {validation} to validate", plural(train, "case"));
        if validation > 0 {
            let _ = writeln!(text, "  validation: {}", some(&split.validation, 20, ", "));
        }
    }
    let part = |case: &&CaseFacts| case.covered < 1.0;
    let cropped: Vec<String> = survey
        .cases
        .iter()
        .filter(part)
        .map(|case| format!("{}: {:.1} % of {}", case.label, 100.0 * case.covered, case.image))
        .collect();
    if !cropped.is_empty() {
        let list = some(&cropped, 20, "\n  ");
        let _ = writeln!(
            text,
            "\nLabel maps of a part of their image, the rest counts as background ({}):\n  {list}",
            cropped.len()
        );
    }
    if !survey.apart.is_empty() {
        let _ = writeln!(text, "\nLeft out ({}):\n  {}", survey.apart.len(), some(&survey.apart, 20, "\n  "));
    }
    if !survey.faults.is_empty() {
        let _ = writeln!(text, "\nDoes not fit ({}):\n  {}", survey.faults.len(), survey.faults.join("\n  "));
    }
    text.truncate(text.trim_end().len());
    text
}

fn labels(survey: &Survey) -> Vec<String> {
    let mut table = Table::new(&["Value", "Label", "Cases", "Voxels", "Share"], &[true, false, true, true, true]);
    let all = survey.background + survey.labels.iter().map(|label| label.voxels).sum::<u64>();
    let with_background = survey.cases.iter().filter(|case| case.voxels.contains_key(&0)).count();
    let mut row = |value: u8, name: &str, cases: usize, voxels: u64, share: f64| {
        table.row([
            value.to_string(),
            name.to_owned(),
            cases.to_string(),
            count(voxels as usize),
            format!("{:.3} %", 100.0 * share),
        ]);
    };
    row(0, "(background)", with_background, survey.background, survey.background as f64 / all.max(1) as f64);
    for facts in &survey.labels {
        row(facts.label.value, &facts.label.name, facts.cases, facts.voxels, facts.share);
    }
    table.lines()
}

/// Lowest, median and highest of each figure over the cases.
fn spread(cases: &[CaseFacts]) -> Vec<String> {
    let mut table = Table::new(&["Over the cases", "lowest", "median", "highest"], &[false, true, true, true]);
    let mut row = |name: &str, of: &dyn Fn(&CaseFacts) -> f64| {
        let mut values: Vec<f64> = cases.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let at = [0, values.len() / 2, values.len() - 1].map(|n| short(values[n]));
        table.row([name.to_owned()].into_iter().chain(at));
    };
    for (axis, name) in ["columns", "rows", "slices"].into_iter().enumerate() {
        row(name, &|case| case.size[axis] as f64);
    }
    for (axis, name) in ["column spacing, mm", "row spacing, mm", "slice spacing, mm"].into_iter().enumerate() {
        row(name, &|case| case.spacing_mm[axis]);
    }
    let names =
        ["intensity, minimum", "intensity, 0.5 %", "intensity, median", "intensity, 99.5 %", "intensity, maximum"];
    for (n, name) in names.into_iter().enumerate() {
        row(name, &|case| case.intensity[n].into());
    }
    table.lines()
}

/// Four significant digits at most, or all of a whole number's.
fn short(x: f64) -> String {
    if x == x.round() && x.abs() < 1e9 {
        return format!("{x}");
    }
    let digits = (3 - x.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{x:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

fn orientations(survey: &Survey) -> String {
    if !survey.placed {
        let spacing = if survey.spaced { "as configured" } else { "neither: taken as 1 mm (data.spacing)" };
        return format!("not in the files; spacing {spacing}");
    }
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for case in &survey.cases {
        *counts.entry(case.orientation.as_deref().unwrap_or("?")).or_default() += 1;
    }
    let each = counts.into_iter().map(|(letters, cases)| format!("{letters} ({})", plural(cases, "case")));
    each.collect::<Vec<_>>().join(", ")
}

/// The first `most` of a list, and how many more there are.
fn some(list: &[String], most: usize, between: &str) -> String {
    let mut text = list.iter().take(most).cloned().collect::<Vec<_>>().join(between);
    if list.len() > most {
        let _ = write!(text, "{between}and {} more", list.len() - most);
    }
    text
}
