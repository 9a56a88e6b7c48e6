//! One volume through the network to its files and their report.

use std::path::Path;
use std::sync::Arc;

use transunet::Error;
use transunet::control::Control;
use transunet::infer::{self, SegmentOptions};
use transunet::model::Model;
use transunet::volume::Volume;

use super::failure::{About, Code, Outcome};
use super::output::Output;
use super::pacs::Sending;
use super::report::{Clock, Report, Seconds};

pub struct Work<'a> {
    pub model: &'a Model,
    /// Where the model came from.
    pub path: &'a Path,
    /// Slices per pass of the network.
    pub batch: Option<u16>,
    pub output: &'a Output,
    /// Where the DICOM outputs go from there.
    pub sending: Sending<'a>,
}

impl Work<'_> {
    /// `seconds` says how long it took to come here, `clock` runs since then.
    pub fn run(
        &self,
        volume: &Arc<Volume>,
        mut seconds: Seconds,
        mut clock: Clock,
        control: &mut Control,
    ) -> Outcome<Report> {
        let Work { model, output, .. } = self;
        output.check_grid(volume)?;
        let options = SegmentOptions {
            batch: self.batch.map(usize::from),
            probabilities: output.probabilities.clone(),
            keep_probabilities: output.needs_probabilities(),
        };
        let labelmap = infer::segment(model, volume, &options, control).or_else(|error| {
            let part = match &error {
                Error::Io { path, .. } if Some(path) == options.probabilities.as_ref() => Code::Output,
                _ => Code::Input,
            };
            Err(error).about(part)
        })?;
        seconds.segment = clock.lap();

        output.write(&labelmap, control)?;
        let mut report = Report::new(&labelmap, model, self.path, output.places()).about(Code::Input)?;
        control.check().about(Code::Output)?;
        seconds.write = clock.lap();
        report.sent = self.sending.send(&output.dicom(), control);
        seconds.send = Some(clock.lap()).filter(|_| !self.sending.targets.is_empty());
        seconds.total = clock.total();
        report.finish(seconds);
        if let Some(path) = &output.report {
            report.write(path).about(Code::Output)?;
        }
        Ok(report)
    }
}
