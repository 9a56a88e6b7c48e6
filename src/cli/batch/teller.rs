//! Tells what became of each series: to the manifest, and to who watches.

use dicom::core::chrono::Utc;

use super::super::Session;
use super::super::failure::{Code, Failure, Outcome};
use super::super::table::{plural, size};
use super::folder::ModelId;
use super::manifest::{Fault, LabelVolume, Line, Manifest, Status, to_json};
use super::plan::Item;

/// What became of a series.
pub enum Became<'a> {
    Done(Found),
    /// In an earlier run.
    DoneBefore,
    Skipped(&'a str),
    Failed(Fault),
    /// Would be segmented: columns, rows, slices.
    Todo([usize; 3]),
}

pub struct Found {
    pub outputs: Vec<String>,
    pub sent: Vec<String>,
    pub labels: Vec<LabelVolume>,
    pub seconds: f64,
    /// Columns, rows, slices.
    pub size: [usize; 3],
}

pub struct Teller<'a> {
    session: &'a Session,
    json: bool,
    /// Where lines go, with model and device; `None` in a rehearsal.
    manifest: Option<(Manifest, (&'a ModelId, &'a str))>,
    told: usize,
    /// How many will be told.
    pub total: usize,
    pub count: Count,
}

impl<'a> Teller<'a> {
    pub fn new(session: &'a Session, json: bool, manifest: Option<(Manifest, (&'a ModelId, &'a str))>) -> Self {
        Teller { session, json, manifest, told: 0, total: 0, count: Count::default() }
    }

    pub fn tell(&mut self, item: &Item, became: Became) -> Outcome {
        self.told += 1;
        self.count.add(item, &became);
        let words = if self.json { String::new() } else { self.words(item, &became) };
        let line = self.line(item, became);
        let text = if self.json { to_json(&line)? } else { words };
        if let Some((manifest, _)) = &mut self.manifest {
            manifest.append(&line)?;
        }
        self.session.print(&text);
        Ok(())
    }

    /// Says something that is no line of the manifest.
    pub fn say(&self, text: &str) {
        if !self.json {
            self.session.print(text);
        }
    }

    fn line<'b>(&self, item: &'b Item, became: Became<'b>) -> Line<'b>
    where
        'a: 'b,
    {
        let made_by = self.manifest.as_ref().map(|(_, made_by)| *made_by);
        let mut line = Line {
            facts: &item.facts,
            status: Status::Done,
            reason: None,
            error: None,
            outputs: Vec::new(),
            sent: Vec::new(),
            labels: Vec::new(),
            seconds: None,
            model: made_by.map(|(model, _)| model),
            device: made_by.map(|(_, device)| device),
            versions: Default::default(),
            finished: Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        match became {
            Became::Done(Found { outputs, sent, labels, seconds, .. }) => {
                (line.outputs, line.sent) = (outputs, sent);
                (line.labels, line.seconds) = (labels, Some(seconds));
            }
            Became::DoneBefore => {}
            Became::Skipped(reason) => (line.status, line.reason) = (Status::Skipped, Some(reason)),
            Became::Failed(fault) => (line.status, line.error) = (Status::Failed, Some(fault)),
            Became::Todo(_) => line.status = Status::Todo,
        }
        line
    }

    /// One line for people: how far, what, and the series by its name in the output folder.
    fn words(&self, item: &Item, became: &Became) -> String {
        let facts = &item.facts;
        let (what, more) = match became {
            Became::Done(found) => ("done", format!("{:.1} s, {}", found.seconds, plural(found.size[2], "slice"))),
            Became::DoneBefore => ("done", "in an earlier run".into()),
            Became::Skipped(reason) => ("skipped", (*reason).to_owned()),
            Became::Failed(fault) if fault.ends_run => ("stopped", fault.message.clone()),
            Became::Failed(fault) => ("failed", format!("{}: {}", fault.status, fault.message)),
            Became::Todo(size_of) => ("to do", size(*size_of)),
        };
        let kind = match (&facts.modality, facts.paths.first()) {
            (Some(modality), _) => format!("{modality} {:?}", facts.description.as_deref().unwrap_or_default()),
            (None, Some(path)) => path.clone(),
            (None, None) => String::new(),
        };
        let (told, total) = (self.told, self.total);
        let width = total.to_string().len();
        format!("[{told:width$}/{total}] {what:<7} {}  {kind}: {more}", facts.name).replace('\n', " ")
    }
}

#[derive(Default)]
pub struct Count {
    pub done: usize,
    pub done_before: usize,
    skipped: usize,
    failed: usize,
    pub failed_before: usize,
    /// Of those that failed, the ones that were begun, and not broken off.
    pub failed_of_work: usize,
    to_do: usize,
}

impl Count {
    fn add(&mut self, item: &Item, became: &Became) {
        match became {
            Became::Done(_) => self.done += 1,
            Became::DoneBefore => self.done_before += 1,
            Became::Skipped(_) => self.skipped += 1,
            Became::Failed(fault) if fault.ends_run => {}
            Became::Failed(_) => {
                self.failed += 1;
                self.failed_of_work += usize::from(item.is_work());
            }
            Became::Todo(_) => self.to_do += 1,
        }
    }

    pub fn words(&self, others: usize) -> String {
        let before = |n: usize| if n > 0 { format!(" ({n} in earlier runs)") } else { String::new() };
        let mut parts = Vec::new();
        if self.to_do > 0 {
            parts.push(format!("{} to do", self.to_do));
        }
        parts.push(format!("{} done{}", self.done + self.done_before, before(self.done_before)));
        parts.push(format!("{} skipped", self.skipped));
        parts.push(format!("{} failed{}", self.failed + self.failed_before, before(self.failed_before)));
        if others > 0 {
            parts.push(format!("{} of other kinds", plural(others, "file")));
        }
        parts.join(", ")
    }

    /// Whether all is well; `did` says what the others did.
    pub fn verdict(&self, did: &str, hint: &str) -> Outcome {
        match self.failed + self.failed_before {
            0 => Ok(()),
            failed => {
                let of = failed + self.done + self.done_before + self.to_do;
                Err(Failure::new(Code::Series, format!("{failed} of {of} series {did}"), hint))
            }
        }
    }
}
