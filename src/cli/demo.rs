//! `transunet demo`: a made-up patient, a small model and every step from images to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use transunet::Error;
use transunet::config::{Input, Intensity, ModelConfig, Plane, Provenance};
use transunet::device::{Device, DeviceChoice};
use transunet::dicom::{Series, SeriesChoice};
use transunet::formats::write_labels;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::picture::{Style, write_contact_sheet};
use transunet::volume::Volume;

use super::failure::{About, Code, Outcome};
use super::phantom::{Phantom, labels, write_series};
use super::{CommandLine, Session};

const SEED: u64 = 1;

/// Make a synthetic CT, segment it and look at every kind of output; needs nothing but this program
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  transunet demo
  transunet demo --output /tmp/demo

Files of an earlier demo are replaced; other files in the folder stay.
Research use only, not for clinical use.")]
pub struct Demo {
    /// The folder for all files; made if it is not there
    #[arg(long, short, value_name = "FOLDER", default_value = "transunet-demo")]
    output: PathBuf,
}

impl Demo {
    pub fn run(&self, session: &Session) -> Outcome {
        let at = |name: &str| self.output.join(name);
        let (images, model) = (at("ct"), at("model.safetensors"));
        fs::create_dir_all(&images).map_err(|source| Error::io(&images, "create", source)).about(Code::Output)?;

        let phantom = Phantom::new(SEED).about(Code::Other)?;
        let count = write_series(&phantom, &images).about(Code::Output)?.len();
        session.print(&format!("Made a patient: {count} CT slices of a synthetic abdomen in {}", images.display()));
        write_truth(phantom, &images, &at("truth.seg.nrrd"), &at("truth.png"), session)?;
        session.print(&format!("Drew its true labels: {}", at("truth.png").display()));
        untrained_model().about(Code::Model)?.save(&model).about(Code::Output)?;
        session.print(&format!("Made a model: a tiny TransUNet, NOT TRAINED, in {}", model.display()));

        let mut command: Vec<String> = [program(), "segment".into()].into();
        command.extend([path(&images), "--model".into(), path(&model)]);
        for (option, name) in [
            ("--output", "segmentation.dcm"),
            ("--output", "segmentation.seg.nrrd"),
            ("--picture", "segmentation.png"),
            ("--report", "segmentation.json"),
        ] {
            command.extend([option.into(), path(&at(name))]);
        }
        session.print(&format!("\n$ {}\n\n", shell(&command)));
        // What is printed is what runs.
        CommandLine::parse_from(&command).command.run(session)?;
        session.print(&farewell(&self.output));
        Ok(())
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A command as one would type it.
fn shell(words: &[String]) -> String {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=+,@%".contains(c));
    let quoted =
        words.iter().map(|word| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) });
    let mut line = quoted.collect::<Vec<_>>().join(" ");
    for option in [" --output ", " --picture "] {
        line = line.replacen(option, &format!(" \\\n   {option}"), 1);
    }
    line
}

/// Saves what a perfect model would find.
fn write_truth(phantom: Phantom, images: &Path, labels_at: &Path, picture_at: &Path, session: &Session) -> Outcome {
    let series = Series::open(&[images], &SeriesChoice::Only, &mut session.control()).about(Code::Input)?;
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let algorithm = Algorithm { name: "ground truth".into(), version: env!("CARGO_PKG_VERSION").into() };
    let truth = Labelmap::new(volume, phantom.truth, labels(), algorithm).about(Code::Other)?;
    write_labels(&truth, labels_at).about(Code::Output)?;
    write_contact_sheet(&truth, picture_at, &Style::default()).about(Code::Output)
}

/// Random weights for the phantom's labels: all parts run, and the labels mean nothing.
fn untrained_model() -> transunet::Result<Model> {
    let labels = labels();
    let config = ModelConfig {
        name: Some("TransUNet demo (untrained)".into()),
        input: Input {
            plane: Plane::Axial,
            orientation: Some("LPS".into()),
            intensity: Intensity::Window { low: -160.0, high: 240.0 },
            ..Input::default()
        },
        provenance: Some(Provenance {
            source: Some("transunet demo".into()),
            code_version: Some(env!("CARGO_PKG_VERSION").into()),
            note: Some("random weights, not trained: its labels are noise".into()),
            training: None,
        }),
        intended_use: Some("To show that everything works; never for patients.".into()),
        ..ModelConfig::undescribed(Architecture::tiny(128, labels.len() + 1))
    };
    Model::untrained(&Device::open(DeviceChoice::Cpu)?, ModelConfig { labels, ..config }, SEED)
}

/// This program as it was called, so that the commands shown can be typed as they are.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "transunet".into())
}

fn farewell(folder: &Path) -> String {
    let program = shell(&[program()]);
    let at = |name: &str| shell(&[path(&folder.join(name))]);
    format!(
        "
The model is NOT TRAINED: its weights are random and its labels above are noise.
They show that every step works; {truth} shows what a trained model should find.

Look at what there is:
  {program} info {images}
  {program} info {model}
  {program} info {truth_labels}
Open {images} and {seg} together in a DICOM viewer such as 3D Slicer or OHIF.
Then segment your own images with your own weights:
  {program} segment YOUR-DICOM-FOLDER --model YOUR-WEIGHTS.pth --output segmentation.dcm",
        truth = at("truth.png"),
        images = at("ct"),
        model = at("model.safetensors"),
        truth_labels = at("truth.seg.nrrd"),
        seg = at("segmentation.dcm"),
    )
}
