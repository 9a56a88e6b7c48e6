//! The figures of a run as it goes: CSV, JSON lines and a TensorBoard event file, in the run's folder.
//!
//! A resumed run's files hold the rows of one run: what came after the checkpoint is dropped and comes again.

mod tensorboard;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::labels::Label;
use crate::train::learner::Step;
use crate::train::validate::Validation;
use tensorboard::Events;

/// One update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepRow {
    pub step: u64,
    pub epoch: f64,
    pub loss: f64,
    pub cross_entropy: f64,
    pub dice_loss: f64,
    pub rate: f64,
    pub gradient_norm: f64,
    pub seconds: f64,
}

/// One validation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValidationRow {
    pub step: u64,
    pub epoch: f64,
    pub mean_dice: f64,
    /// In the order of the labels; `None` where no case has the label.
    pub dice: Vec<Option<f64>>,
    pub best: bool,
}

/// All rows of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    pub steps: Vec<StepRow>,
    pub validations: Vec<ValidationRow>,
}

/// Writes the rows of a run.
pub struct Journal {
    labels: Vec<String>,
    history: History,
    steps: Lines,
    validations: Lines,
    json: Lines,
    events: Events,
    flushed: Instant,
}

const STEPS: &str = "metrics.csv";
const VALIDATIONS: &str = "validation.csv";
const JSON: &str = "metrics.jsonl";
const STEP_HEAD: &str = "step,epoch,loss,cross_entropy,dice_loss,rate,gradient_norm,seconds";

impl Journal {
    /// In `folder`, which exists. With `resume_at` the rows up to that step are kept; without, files of an earlier run are
    /// replaced.
    pub fn open(folder: &Path, labels: &[Label], resume_at: Option<u64>) -> Result<Self> {
        let labels: Vec<String> = labels.iter().map(|label| label.name.clone()).collect();
        let history = match resume_at {
            Some(step) => History::read(folder, step)?,
            None => History::default(),
        };
        let head = format!(
            "step,epoch,mean_dice,best{}",
            labels.iter().map(|name| format!(",{}", quoted(name))).collect::<String>()
        );
        let rows = history.steps.iter().map(csv_step);
        let steps = Lines::begin(folder.join(STEPS), std::iter::once(STEP_HEAD.to_owned()).chain(rows))?;
        let rows = history.validations.iter().map(csv_validation);
        let validations = Lines::begin(folder.join(VALIDATIONS), std::iter::once(head).chain(rows))?;
        let json = Lines::begin(folder.join(JSON), history.in_order(&labels))?;
        let mut events = Events::begin(folder)?;
        for row in &history.steps {
            events.step(row);
        }
        for row in &history.validations {
            events.validation(row, &labels);
        }
        events.flush()?;
        Ok(Journal { labels, history, steps, validations, json, events, flushed: Instant::now() })
    }

    /// Rows so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Everything so far reaches the files.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.steps.flush()?;
        self.validations.flush()?;
        self.json.flush()?;
        self.events.flush()
    }

    pub fn step(&mut self, number: u64, epoch: f64, step: &Step, seconds: f64) -> Result<()> {
        let row = StepRow {
            step: number,
            epoch,
            loss: step.loss,
            cross_entropy: step.cross_entropy,
            dice_loss: step.dice_loss,
            rate: step.rate,
            gradient_norm: step.gradient_norm,
            seconds,
        };
        self.steps.add(&csv_step(&row))?;
        self.json.add(&json_step(&row))?;
        self.events.step(&row);
        self.history.steps.push(row);
        if self.flushed.elapsed() > Duration::from_secs(2) { self.flush() } else { Ok(()) }
    }

    /// A row that is there already, of a validation whose checkpoint was not reached, comes again with the same figures.
    pub fn validation(&mut self, number: u64, epoch: f64, found: &Validation, best: bool) -> Result<()> {
        if self.history.validations.last().is_some_and(|row| row.step == number) {
            return Ok(());
        }
        let row = ValidationRow { step: number, epoch, mean_dice: found.mean_dice, dice: found.labels.clone(), best };
        self.validations.add(&csv_validation(&row))?;
        self.json.add(&json_validation(&row, &self.labels))?;
        self.events.validation(&row, &self.labels);
        self.history.validations.push(row);
        self.flush()
    }
}

impl History {
    /// Rows up to `step`; a half-written last line, as a killed run leaves it, is no row.
    pub fn read(folder: &Path, step: u64) -> Result<Self> {
        let steps = rows(&folder.join(STEPS), |cells| {
            let mut cells = cells.iter();
            let step = cells.next()?.parse().ok()?;
            let mut number = || cells.next()?.parse().ok();
            Some(StepRow {
                step,
                epoch: number()?,
                loss: number()?,
                cross_entropy: number()?,
                dice_loss: number()?,
                rate: number()?,
                gradient_norm: number()?,
                seconds: number()?,
            })
        })?;
        let validations = rows(&folder.join(VALIDATIONS), |cells| {
            let [step, epoch, mean_dice, best, dice @ ..] = cells else { return None };
            Some(ValidationRow {
                step: step.parse().ok()?,
                epoch: epoch.parse().ok()?,
                mean_dice: mean_dice.parse().ok()?,
                best: best.parse().ok()?,
                dice: dice.iter().map(|cell| cell.parse().ok()).collect(),
            })
        })?;
        Ok(History {
            steps: steps.into_iter().filter(|row: &StepRow| row.step <= step).collect(),
            validations: validations.into_iter().filter(|row: &ValidationRow| row.step <= step).collect(),
        })
    }

    /// JSON lines of all rows by step.
    fn in_order(&self, labels: &[String]) -> Vec<String> {
        let mut lines: Vec<(u64, u8, String)> = Vec::new();
        lines.extend(self.steps.iter().map(|row| (row.step, 0, json_step(row))));
        lines.extend(self.validations.iter().map(|row| (row.step, 1, json_validation(row, labels))));
        lines.sort_by_key(|(step, kind, _)| (*step, *kind));
        lines.into_iter().map(|(_, _, line)| line).collect()
    }
}

/// Complete lines of a CSV file but the first; none if there is no file.
fn rows<T>(path: &Path, read: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path, "read", e)),
    };
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut found = Vec::new();
    for (n, line) in complete.lines().enumerate().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        found.push(read(&cells).ok_or_else(|| {
            Error::Argument(format!(
                "{}: line {} is damaged; remove the file to go on without its rows",
                path.display(),
                n + 1
            ))
        })?);
    }
    Ok(found)
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn csv_step(row: &StepRow) -> String {
    let StepRow { step, epoch, loss, cross_entropy, dice_loss, rate, gradient_norm, seconds } = row;
    format!("{step},{epoch},{loss},{cross_entropy},{dice_loss},{rate},{gradient_norm},{seconds}")
}

fn csv_validation(row: &ValidationRow) -> String {
    let dice: String =
        row.dice.iter().map(|dice| format!(",{}", dice.map_or(String::new(), |x| x.to_string()))).collect();
    format!("{},{},{},{}{dice}", row.step, row.epoch, row.mean_dice, row.best)
}

fn json_step(row: &StepRow) -> String {
    serde_json::json!({ "kind": "step", "step": row.step, "epoch": row.epoch, "loss": row.loss,
        "cross_entropy": row.cross_entropy, "dice_loss": row.dice_loss, "rate": row.rate,
        "gradient_norm": row.gradient_norm, "seconds": row.seconds })
    .to_string()
}

fn json_validation(row: &ValidationRow, labels: &[String]) -> String {
    let dice: serde_json::Map<String, serde_json::Value> =
        labels.iter().cloned().zip(row.dice.iter().map(|&dice| dice.into())).collect();
    serde_json::json!({ "kind": "validation", "step": row.step, "epoch": row.epoch, "mean_dice": row.mean_dice,
        "best": row.best, "dice": dice })
    .to_string()
}

/// A text file that grows by lines.
struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Lines {
    /// Replaces `path` by `lines`, all or nothing, then adds to it.
    fn begin(path: PathBuf, lines: impl IntoIterator<Item = String>) -> Result<Self> {
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        atomic_file::write(&path, |out| out.write_all(text.as_bytes()))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, "open", e))?;
        Ok(Lines { path, out: BufWriter::new(file) })
    }

    fn add(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").map_err(|e| Error::io(&self.path, "write", e))
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| Error::io(&self.path, "write", e))
    }
}
