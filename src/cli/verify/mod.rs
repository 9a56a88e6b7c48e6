//! `transunet verify`: a result made again from its receipt, and compared voxel by voxel.

mod original;
mod sources;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use transunet::device::{DeviceChoices, Devices, cpu_threads};
use transunet::infer::{SegmentOptions, segment};
use transunet::kernels::simd::Isa;
use transunet::precision::ComputePrecision;
use transunet::receipt::differences::Differences;
use transunet::receipt::{Code as Version, Receipt};

use super::failure::{About, Code, Failure, Outcome};
use super::table::plural;
use super::{Session, info};
use original::Original;

const EXAMPLES: &str = "\
Examples:
  A DICOM SEG against the model that is said to have made it, and the images:
    transunet verify organs.dcm ct/ --model organs.safetensors
  The images lie beside the result, the model is one of the installed ones:
    transunet verify results/organs.seg.nrrd
  For a script: exit code 0 and nothing else, or why not:
    transunet verify organs.dcm ct/ --model models/ --quiet && echo the same

A result's receipt names the model by its SHA-256, the code, device, precision and the source images; without one, a
result is refused. Exit code 0: every voxel is the same. 8: some are not; their number and place are said.
docs/receipts.md says when results are the same.";

/// Make a result again and say whether its voxels are the same
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// What `transunet segment` wrote: a DICOM SEG, .seg.nrrd, .nrrd, .nii or .nii.gz; or its report, .json
    #[arg(value_name = "RESULT")]
    result: PathBuf,
    /// The images that it was made from: DICOM folders and files, or one volume file [default: the folder of RESULT]
    #[arg(value_name = "INPUT")]
    input: Vec<PathBuf>,
    /// The model: a file, a name that `transunet models` lists, or a folder that holds it [default: the installed model
    /// that the receipt names]
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Where to compute [default: where the result was made]
    #[arg(long, visible_alias = "devices", value_name = "DEVICE")]
    device: Option<DeviceChoices>,
    /// What to compute with [default: what the result was made with]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<ComputePrecision>,
    /// Threads that compute on the CPU; voxels do not depend on it [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(&self, session: &Session) -> Outcome {
        let original = Original::read(&self.result)?;
        let made = original.receipt()?;
        let mut control = session.control();
        let devices = self.devices(&made)?;
        let precision = self.precision.unwrap_or(made.settings.precision);
        devices.check_precision(precision).about(Code::Device)?;
        let model = sources::model(self.model.as_deref(), &made, &devices, precision)?;
        let beside = self.result.parent().filter(|folder| !folder.as_os_str().is_empty());
        let beside = [beside.unwrap_or(".".as_ref()).to_path_buf()];
        let input = if self.input.is_empty() { &beside[..] } else { &self.input };
        let volume = Arc::new(sources::volume(input, &made, &mut control)?);
        let options = SegmentOptions {
            batch: made.settings.batch,
            keep_probabilities: original.holds_probabilities(),
            ..SegmentOptions::default()
        };
        let labelmap = segment(&model, &volume, &options, &mut control).about(Code::Input)?;
        drop(control);
        let again = labelmap.receipt().cloned();
        let again = again.ok_or_else(|| transunet::Error::Internal("a result without a receipt".into()));
        let again = again.about(Code::Other)?;
        let differences = original.differences(&labelmap)?;
        let verdict = Verdict {
            result: self.result.clone(),
            identical: match &differences {
                Some(differences) => differences.voxels == 0,
                None => again.labels_sha256 == made.labels_sha256,
            },
            voxels: labelmap.geometry().len(),
            differences,
            notes: notes(&made, &again),
            made,
            again,
        };
        if self.json || verdict.identical {
            session.print(&info::render(&verdict, self.json));
        }
        verdict.outcome()
    }

    /// Those that the result was made on, unless others are named; with the same vector instructions where there are.
    fn devices(&self, made: &Receipt) -> Outcome<Devices> {
        if let Some(threads) = self.threads {
            cpu_threads(threads.into());
        }
        if let Some(name) = &made.settings.instructions
            && let Some(at) = Isa::available().iter().position(|isa| isa.name() == name)
        {
            Isa::pass_over(at);
        }
        let choices = match &self.device {
            Some(choices) => Ok(choices.clone()),
            None => made.settings.device.parse::<DeviceChoices>(),
        };
        let elsewhere = |failure: Failure| {
            let on = made.settings.hardware.as_deref().unwrap_or(&made.settings.device);
            failure.with_hint(&format!(
                "the result was made on {on}; `--device cpu` compares with another device, on which a few voxels may differ"
            ))
        };
        let choices = choices.map_err(|text| Failure::new(Code::Device, format!("the device is {text}"), ""));
        choices.and_then(|choices| Devices::open(&choices).about(Code::Device)).map_err(elsewhere)
    }
}

/// What is not as it was, and may change voxels.
fn notes(made: &Receipt, again: &Receipt) -> Vec<String> {
    let (was, is) = (&made.settings, &again.settings);
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    let revision = |code: &Version| code.words();
    let all = [
        ("code", revision(&made.code), revision(&again.code)),
        ("device", was.device.clone(), is.device.clone()),
        ("hardware", or(&was.hardware), or(&is.hardware)),
        ("vector instructions", or(&was.instructions), or(&is.instructions)),
        ("precision", was.precision.to_string(), is.precision.to_string()),
    ];
    let changed = all.into_iter().filter(|(_, was, is)| was != is);
    changed.map(|(what, was, is)| format!("{what}: the result was made with {was}, this run with {is}")).collect()
}

#[derive(Serialize)]
struct Verdict {
    result: PathBuf,
    identical: bool,
    /// Of the grid.
    voxels: usize,
    /// `None` for a report, which has a hash of the voxels alone.
    differences: Option<Differences>,
    notes: Vec<String>,
    /// The result's receipt, and this run's.
    made: Receipt,
    again: Receipt,
}

impl Verdict {
    fn outcome(&self) -> Outcome {
        self.notes.iter().for_each(|note| log::warn!("{note}"));
        let repeated = self.again.labels_sha256 == self.made.labels_sha256;
        if self.identical {
            if !repeated {
                log::warn!("the voxels are the same, but not those that the receipt has the hash of");
            }
            return Ok(());
        }
        let place = self.result.display();
        let message = match &self.differences {
            Some(Differences { voxels, slices, first: Some(first), within: Some([low, high]) }) => format!(
                "{place}: {voxels} of {} voxels differ, in {}; the first is {first:?}, all lie within {low:?} to {high:?} \
                 (column, row, slice, from 0)",
                self.voxels,
                plural(*slices, "slice")
            ),
            _ => format!("{place}: this run gives other voxels than those that the report has the hash of"),
        };
        let hint = match (repeated, self.notes.is_empty()) {
            (true, true) => {
                "this run gives the labels that the receipt has the hash of: the file was changed after it was written"
            }
            (true, false) => {
                "this run gives the labels that the receipt has the hash of: the file was changed, or holds probabilities of \
                 other arithmetic (see the warnings)"
            }
            (false, true) => {
                "this run does not give the labels that the receipt has the hash of, though nothing that is known of has changed"
            }
            (false, false) => "the run was not made in the same way, see the warnings",
        };
        Err(Failure::new(Code::Differs, message, hint))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Receipt { model, code, settings, source, .. } = &self.again;
        let images = match source.instances.len() {
            0 => "a volume".into(),
            count => plural(count, "image"),
        };
        write!(
            f,
            "the same: {} voxels, made again from {images} by model {} (SHA-256 {:.12}) with transunet {} on {} in {}",
            self.voxels,
            model.name.as_deref().unwrap_or("without a name"),
            model.sha256,
            code.words(),
            settings
                .instructions
                .as_ref()
                .map_or(settings.device.clone(), |isa| format!("{} ({isa})", settings.device)),
            settings.precision
        )
    }
}
