//! `transunet batch`: a tree of studies in, a result folder and a line for each series out.

mod folder;
mod manifest;
mod plan;
mod run;
mod shard;
mod teller;
mod workers;

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use transunet::Error;
use transunet::catalog;
use transunet::dicom::{SeriesChoice, Tilt};
use transunet::model::Model;
use transunet::precision::ComputePrecision;
use transunet::weights::Checkpoint;

use super::computing::Computing;
use super::failure::{About, Code, Failure, Outcome};
use super::pacs::{self, Connection, Sending};
use super::seg::SegForm;
use super::{Session, home};
use folder::{ModelId, Settings};
use plan::{Plan, Rules};
use run::Run;
use shard::Shard;

const EXAMPLES: &str = "\
Examples:
  Every series of a tree to a DICOM SEG; the same again goes on where it stopped, or takes new ones:
    transunet batch studies/ results/ --model organs.safetensors
  See first what it would do, and what keeps it from some:
    transunet batch studies/ results/ --model organs.safetensors --dry-run
  MR series only, to 3D Slicer, with pictures and reports:
    transunet batch studies/ results/ --model brain.safetensors --modality MR \\
        --format seg.nrrd --picture --report
  What failed, and another try:
    jq -r 'select(.status==\"failed\") | [.name, .error.message] | @tsv' results/manifest*.jsonl
    transunet batch studies/ results/ --model organs.safetensors --retry
  A part of the series in each task of a Slurm array (--array=1-8):
    transunet batch studies/ results/ --model organs.safetensors \\
        --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

OUT gets a folder for each series, called by its Series Instance UID (of a volume file: by its
name and a hash of its place), with segmentation.dcm and so on; and manifest.jsonl, a line for
each series. A result folder is complete or not there. Exit code 0: everything is done; 7: some
series failed, the manifest says why. docs/hosts/batch.md says more.
Research use only, not for clinical use.";

/// Segment every series of a tree of studies
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Batch {
    /// The folder with studies: DICOM series anywhere in it, and .nii, .nii.gz, .nrrd and .nhdr files
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The folder for results; made if it is not there, taken up again if it is
    #[arg(value_name = "OUT")]
    output: PathBuf,
    #[arg(long, short, value_name = "MODEL")]
    model: PathBuf,
    /// Only series that fit these rules (or have this UID or number), such as modality=CT,description=venous; given more
    /// than once, any of them
    #[arg(long, value_name = "RULES")]
    series: Vec<SeriesChoice>,
    #[arg(long, value_name = "HOW", default_value = Tilt::NAMES[0], value_parser = PossibleValuesParser::new(Tilt::NAMES))]
    tilt: String,
    /// Only series of these modalities
    #[arg(long, value_name = "MODALITY", value_delimiter = ',')]
    modality: Vec<String>,
    /// What to write [default: dcm (DICOM SEG) for DICOM series, seg.nrrd for volume files]
    #[arg(long, value_delimiter = ',', value_name = "FORMAT", value_parser = PossibleValuesParser::new(FORMATS))]
    format: Vec<String>,
    #[command(flatten)]
    seg: SegForm,
    /// Also draw slices with their labels: picture.png
    #[arg(long)]
    picture: bool,
    /// Also write volumes, extents and intensities per label and how they were made: report.json
    #[arg(long)]
    report: bool,
    /// Try again what failed in an earlier run
    #[arg(long)]
    retry: bool,
    /// Only part I of N: parts share no series and may run at the same time, on machines that see the same OUT
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Series at once: while one is read or written another is computed; each takes the memory of its volume
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Print what would be done with each series, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    computing: Computing,
    /// Send each DICOM SEG to this PACS: https://HOST/dicom-web or dimse://TITLE@HOST:PORT; may be given more than once.
    /// A series is done when it is stored there; --retry tries again
    #[arg(long, value_name = "ADDRESS", help_heading = "PACS")]
    send: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: ComputePrecision,
    /// Print the lines of the manifest instead of words
    #[arg(long)]
    json: bool,
}

const FORMATS: [&str; 6] = ["dcm", "rtstruct.dcm", "seg.nrrd", "nrrd", "nii.gz", "nii"];

impl Batch {
    pub fn run(&self, session: &Session) -> Outcome {
        self.check_folders()?;
        let weights = catalog::find(&self.model, home().as_deref()).about(Code::Model)?;
        let settings = self.settings(&weights)?;
        let targets = pacs::targets(&self.send)?;
        if !targets.is_empty() && !settings.series_formats.iter().any(|format| format.ends_with("dcm")) {
            let hint = "add dcm to --format";
            return Err(Failure::new(Code::Usage, "--send sends DICOM files, and none is written", hint));
        }
        let access = self.connection.access(targets.iter().map(|target| &target.0))?;
        let sending = Sending { targets: &targets, access: &access };
        let run = Run { session, batch: self, settings: &settings, weights: &weights, sending };
        if self.dry_run {
            settings.check(&self.output)?;
            return run.rehearse(&self.plan(&settings, &weights, session)?);
        }
        let devices = self.computing.open()?;
        devices.check_precision(self.precision).about(Code::Device)?;
        let model = Model::load_with(&devices, &weights, self.precision).about(Code::Model)?;
        model.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        let folder = folder::Folder::open(&self.output, &settings, self.shard)?;
        let plan = self.plan(&settings, &weights, session)?;
        run.work(&plan, &model, folder)
    }

    fn plan(&self, settings: &Settings, weights: &Path, session: &Session) -> Outcome<Plan> {
        let Settings { series_formats, file_formats, .. } = settings;
        let tilt = self.tilt.parse().about(Code::Usage)?;
        // Without rules of the caller's, those of the model hold.
        let series =
            if self.series.is_empty() { usual_series(weights).about(Code::Model)? } else { self.series.clone() };
        let (series, modalities) = (&series, &self.modality);
        let rules = Rules { series, tilt, modalities, series_formats, file_formats, shard: self.shard };
        Plan::of(&self.input, &rules, &mut session.control())
    }

    fn settings(&self, weights: &Path) -> Outcome<Settings> {
        let mut formats: Vec<String> = Vec::new();
        for format in &self.format {
            if !formats.contains(format) {
                formats.push(format.clone());
            }
        }
        let (series_formats, file_formats) = if formats.is_empty() {
            (vec!["dcm".into()], vec!["seg.nrrd".into()])
        } else {
            (formats.clone(), formats.into_iter().filter(|format| !format.ends_with("dcm")).collect())
        };
        self.seg.check(series_formats.iter().any(|format| format == "dcm"))?;
        Ok(Settings {
            format: 1,
            model: ModelId::of(weights).about(Code::Model)?,
            series_formats,
            file_formats,
            picture: self.picture,
            report: self.report,
            seg_type: self.seg.encoding().to_string(),
            seg_compression: self.seg.compression().to_string(),
            tilt: self.tilt.clone(),
            precision: self.precision,
            transunet: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// Results among the images would be found as images by the next run.
    fn check_folders(&self) -> Outcome {
        let input = self.input.canonicalize().map_err(|source| Error::io(&self.input, "open", source));
        let input = input.about(Code::Input)?;
        if !input.is_dir() {
            let text = format!("{}: expected a folder", self.input.display());
            return Err(Failure::new(Code::Input, text, "`transunet segment` takes single files"));
        }
        let output = real(&self.output).map_err(|source| Error::io(&self.output, "open", source));
        let output = output.about(Code::Output)?;
        if input.starts_with(&output) || output.starts_with(&input) {
            let text = format!("{} and {}: one is in the other", self.input.display(), self.output.display());
            return Err(Failure::new(Code::Usage, text, "choose an output folder apart from the images"));
        }
        Ok(())
    }
}

/// What the model says of the series it is for; none if it says nothing.
fn usual_series(weights: &Path) -> transunet::Result<Vec<SeriesChoice>> {
    let (config, _) = Checkpoint::open(weights)?.describe()?;
    config.input.series.iter().map(|_| config.input.series_choice()).collect()
}

/// `path` without links, even if its last parts are not there yet.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(real(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?.join(name))
        }
        (found, ..) => found,
    }
}
