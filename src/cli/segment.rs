//! `transunet segment`: an image in, its segmentation out.

use std::path::PathBuf;

use transunet::catalog;
use transunet::model::Model;
use transunet::precision::ComputePrecision;

use super::computing::Computing;
use super::failure::{About, Code, Failure, Outcome};
use super::input::Input;
use super::output::Output;
use super::pacs::{self, Connection, Sending};
use super::report::{Clock, Seconds};
use super::work::Work;
use super::{Session, home};

const EXAMPLES: &str = "\
Examples:
  A DICOM folder, to a DICOM SEG that viewers lay over the images:
    transunet segment ct/ --model organs.safetensors --output organs.dcm
  One series of several, to 3D Slicer, with a picture and the volumes in a file:
    transunet segment study/ --series 2 --model organs.safetensors \\
        --output organs.seg.nrrd --picture organs.png --report organs.json
  A NIfTI file with the original's checkpoint, organs.yaml beside it says what its classes are:
    transunet segment ct.nii.gz --model organs.pth --output organs.nii.gz
  The volumes of all labels in ml, for a script:
    transunet segment ct/ --model organs.safetensors --output organs.dcm --json | jq '.labels[] | {name, volume_ml}'
  A series of a PACS, the DICOM SEG sent back to it:
    transunet segment https://pacs.example/dicom-web/studies/1.2.3/series/1.2.3.4 --model organs.safetensors \\
        --output organs.dcm --send https://pacs.example/dicom-web

Existing outputs are replaced without a question, and only by complete files.
Research use only, not for clinical use.";

/// Segment a DICOM series, here or on a PACS, or a volume file
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", pacs::HELP))]
pub struct Segment {
    #[command(flatten)]
    input: Input,
    #[arg(long, short, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    computing: Computing,
    /// Send the DICOM outputs to this PACS when they are written: https://HOST/dicom-web or dimse://TITLE@HOST:PORT; may
    /// be given more than once
    #[arg(long, value_name = "ADDRESS", help_heading = "PACS")]
    send: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: ComputePrecision,
    #[arg(long)]
    json: bool,
}

impl Segment {
    pub fn run(&self, session: &Session) -> Outcome {
        self.input.check()?;
        let weights = catalog::find(&self.model, home().as_deref()).about(Code::Model)?;
        self.output.check(&self.input, &weights)?;
        let (sources, targets) = (self.input.sources()?, pacs::targets(&self.send)?);
        if !targets.is_empty() && self.output.dicom().is_empty() {
            let hint = "add --output NAME.dcm";
            return Err(Failure::new(Code::Usage, "--send sends DICOM files, and none is written", hint));
        }
        let peers = sources.iter().map(|source| &source.peer).chain(targets.iter().map(|target| &target.0));
        let access = self.connection.access(peers)?;

        let mut clock = Clock::start();
        let mut seconds = Seconds::default();
        let mut control = session.control();
        let devices = self.computing.open()?;
        devices.check_precision(self.precision).about(Code::Device)?;
        let model = Model::load_with(&devices, &weights, self.precision).about(Code::Model)?;
        model.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        seconds.load_model = clock.lap();
        let usual = model.config().input.series_choice().about(Code::Model)?;
        let (input, _images) = self.input.fetched(&access, &mut control)?;
        let volume = input.open(&usual, &mut control)?;
        seconds.read = clock.lap();

        let sending = Sending { targets: &targets, access: &access };
        let work = Work { model: &model, path: &weights, batch: self.batch, output: &self.output, sending };
        let report = work.run(&volume, seconds, clock, &mut control)?;
        drop(control);
        session.print(&if self.json { report.to_json() } else { report.to_words() });
        pacs::verdict(&report.sent)
    }
}
