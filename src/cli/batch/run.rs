//! A run over a plan: what earlier runs left to do is done, and told series by series.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use transunet::model::Model;
use transunet::volume::Volume;

use super::super::failure::{About, Code, Failure, Outcome};
use super::super::output::Output;
use super::super::pacs::{self, Sending};
use super::super::report::{Clock, Seconds};
use super::super::work::Work;
use super::super::{Session, terminal};
use super::folder::{Folder, PICTURE, REPORT, SEGMENTATION, Settings};
use super::manifest::{Fault, Known, LabelVolume, Status, read_all};
use super::plan::{Item, Plan, Verdict};
use super::teller::{Became, Found, Teller};
use super::{Batch, workers};

pub struct Run<'a> {
    pub session: &'a Session,
    pub batch: &'a Batch,
    pub settings: &'a Settings,
    /// The model's file.
    pub weights: &'a Path,
    /// Where DICOM SEGs go.
    pub sending: Sending<'a>,
}

/// What earlier runs say of an item that is as it was.
enum Before {
    Done,
    Failed(Fault),
    Nothing,
}

impl Run<'_> {
    /// Does what is to be done.
    pub fn work(&self, plan: &Plan, model: &Model, mut folder: Folder) -> Outcome {
        let before = self.before(plan)?;
        let names: HashMap<&str, &Before> =
            plan.items.iter().map(|item| item.facts.name.as_str()).zip(&before).collect();
        let manifest = folder.manifest(|line| match names.get(line.name.as_str()) {
            Some(Before::Done) => line.status == Status::Done,
            Some(Before::Failed(_)) => line.status == Status::Failed,
            Some(Before::Nothing) => false,
            // No longer in the tree, or of another part: what was found stays known.
            None => line.status != Status::Skipped,
        })?;
        let path = manifest.path().display().to_string();
        let devices = model.devices().id();
        let made_by = (&self.settings.model, devices.as_str());
        let mut teller = Teller::new(self.session, self.batch.json, Some((manifest, made_by)));
        let mut fresh = Vec::new();
        for (item, before) in plan.items.iter().zip(before) {
            match before {
                Before::Done => teller.count.done_before += 1,
                Before::Failed(_) => teller.count.failed_before += 1,
                Before::Nothing => fresh.push(item),
            }
        }
        teller.total = fresh.len();
        let mut queue = Vec::new();
        for item in fresh {
            match &item.verdict {
                Verdict::Work(formats) => queue.push((item, formats)),
                Verdict::Skip(reason) => teller.tell(item, Became::Skipped(reason))?,
                Verdict::Refuse(fault) => teller.tell(item, Became::Failed(fault.clone()))?,
            }
        }
        let left = queue.len() + teller.count.done;
        let ended = workers::each(
            &queue,
            self.batch.jobs.into(),
            |(item, formats)| self.segment(item, formats, model, &folder),
            |(item, _), outcome| {
                let told = match outcome {
                    Ok(found) => teller.tell(item, Became::Done(found)),
                    Err(failure) => {
                        let told = teller.tell(item, Became::Failed(item.fault(&failure)));
                        told.and(if failure.ends_run() { Err(failure) } else { Ok(()) })
                    }
                };
                // Series under way need not go on when the run cannot.
                told.inspect_err(|_| self.session.cancel.trigger())
            },
        );
        let count = &teller.count;
        teller.say(&format!("{}; {path}", count.words(plan.others)));
        match ended {
            Err(failure) if failure.code == Code::Cancelled => {
                let left = left - count.done - count.failed_of_work;
                let text = format!("cancelled with {left} series to do");
                Err(Failure::new(Code::Cancelled, text, "the same command goes on where this one stopped"))
            }
            Err(failure) => Err(failure),
            Ok(()) => count.verdict("failed", &format!("{path} says why; --retry tries them again")),
        }
    }

    /// Says what [`Run::work`] would do, with what keeps a series from being a volume.
    pub fn rehearse(&self, plan: &Plan) -> Outcome {
        let before = self.before(plan)?;
        let mut teller = Teller::new(self.session, self.batch.json, None);
        teller.total = plan.items.len();
        for (item, before) in plan.items.iter().zip(before) {
            let mut control = self.session.control();
            control.check().about(Code::Other)?;
            let became = match (before, &item.verdict) {
                (Before::Done, _) => Became::DoneBefore,
                (Before::Failed(fault), _) => Became::Failed(fault),
                (Before::Nothing, Verdict::Skip(reason)) => Became::Skipped(reason),
                (Before::Nothing, Verdict::Refuse(fault)) => Became::Failed(fault.clone()),
                (Before::Nothing, Verdict::Work(_)) => match item.open(&mut control) {
                    Ok(volume) => Became::Todo(volume.geometry().size),
                    Err(failure) if failure.ends_run() => return Err(failure),
                    Err(failure) => Became::Failed(item.fault(&failure)),
                },
            };
            drop(control);
            teller.tell(item, became)?;
        }
        teller.say(&teller.count.words(plan.others));
        teller.count.verdict("cannot be segmented", "nothing was computed or written; the lines above say why")
    }

    /// For each item of the plan, what the manifests in the output folder hold of it.
    fn before(&self, plan: &Plan) -> Outcome<Vec<Before>> {
        let mut known: HashMap<String, Vec<Known>> = HashMap::new();
        for line in read_all(&self.batch.output)? {
            known.entry(line.name.clone()).or_default().push(line);
        }
        let before = |item: &Item| {
            let lines = known.remove(&item.facts.name).unwrap_or_default();
            let mut lines: Vec<Known> = lines.into_iter().filter(|line| line.input == item.facts.input).collect();
            let is_there = |output: &String| self.batch.output.join(output).is_file();
            let is_sent = |line: &Known| {
                let dicom = |output: &String| output.ends_with(".dcm");
                let has = |target: &pacs::Target| line.sent.contains(&target.to_string());
                !line.outputs.iter().any(dicom) || self.sending.targets.iter().all(has)
            };
            let is_done = |line: &Known| line.outputs.iter().all(is_there) && is_sent(line);
            if lines.iter().any(|line| line.status == Status::Done && is_done(line)) {
                return Before::Done;
            }
            let fault = lines.pop().and_then(|line| line.error.filter(|_| line.status == Status::Failed));
            match (fault, &item.verdict) {
                (Some(fault), Verdict::Work(_) | Verdict::Refuse(_)) if !fault.ends_run && !self.batch.retry => {
                    Before::Failed(fault)
                }
                _ => Before::Nothing,
            }
        };
        Ok(plan.items.iter().map(before).collect())
    }

    fn segment(&self, item: &Item, formats: &[String], model: &Model, folder: &Folder) -> Outcome<Found> {
        // Its report tells those of its own.
        terminal::forget_warnings();
        model.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        let (mut clock, mut seconds) = (Clock::start(), Seconds::default());
        let mut control = self.session.control();
        control.check().about(Code::Other)?;
        let stage = folder.stage(&item.facts.name)?;
        let volume: Arc<Volume> = item.open(&mut control)?;
        seconds.read = clock.lap();
        let at = |name: &str| stage.path().join(name);
        let output = Output {
            labels: formats.iter().map(|format| at(&format!("{SEGMENTATION}.{format}"))).collect(),
            picture: self.settings.picture.then(|| at(PICTURE)),
            report: self.settings.report.then(|| at(REPORT)),
            // A series that is computed again gets the same object, not a second one.
            seg: self.batch.seg,
            deterministic: true,
            destination: Some(stage.result().to_path_buf()),
            ..Output::default()
        };
        // What is sent is in its place before.
        let sending = Sending { targets: &[], ..self.sending };
        let work = Work { model, path: self.weights, batch: self.batch.batch, output: &output, sending };
        let report = work.run(&volume, seconds, clock, &mut control)?;
        let outputs = stage.publish()?;
        let sent = self.sending.send(&output.dicom(), &mut control);
        drop(control);
        pacs::verdict(&sent)?;
        let mut stored: Vec<String> = sent.into_iter().map(|sent| sent.to).collect();
        stored.dedup();
        Ok(Found {
            outputs,
            sent: stored,
            labels: report.statistics.labels.iter().map(LabelVolume::of).collect(),
            seconds: report.seconds.total,
            size: report.statistics.geometry.size,
        })
    }
}
