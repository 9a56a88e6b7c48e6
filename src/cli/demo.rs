//! `transunet demo`: a made-up patient, a small model and every step from images to files; or many patients to learn from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transunet::dicom::{SegOptions, Series, SeriesOptions, write_seg};
use transunet::formats::write_labels;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::picture::{Style, write_contact_sheet};
use transunet::volume::Volume;
use transunet::{Error, atomic_file};

use super::failure::{About, Code, Outcome};
use super::phantom::{Phantom, labels, write_series};
use super::{Session, read_line};

/// The patient of the demo; patients to learn from have the seeds after it.
const SEED: u64 = 1;
/// Trained on patients that the demo makes, see its card.
const MODEL: &[u8] = include_bytes!("../../models/phantom.safetensors");
/// How it was trained.
const TRAINING: &str = include_str!("../../models/phantom.yaml");

/// Make a synthetic CT, segment it and look at every kind of output; needs nothing but this program
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  transunet demo
  transunet demo --output /tmp/demo
  The demo's model again, from patients to learn from:
    transunet demo --patients 32 --output phantoms
    transunet train phantoms/train.yaml

Files of an earlier demo are replaced; other files in the folder stay.
Research use only, not for clinical use.")]
pub struct Demo {
    /// The folder for all files; made if it is not there
    #[arg(long, short, value_name = "FOLDER", default_value = "transunet-demo")]
    output: PathBuf,
    /// Make this many other patients instead, each with its true labels as a DICOM SEG, and a configuration to train with
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=999))]
    patients: Option<u16>,
}

impl Demo {
    pub fn run(&self, session: &Session) -> Outcome {
        match self.patients {
            Some(count) => self.make_patients(count, session),
            None => self.show(session),
        }
    }

    fn show(&self, session: &Session) -> Outcome {
        let at = |name: &str| self.output.join(name);
        let (images, model) = (at("ct"), at("model.safetensors"));
        let (count, truth) = make_patient(SEED, &images, session)?;
        session.print(&format!("Made a patient: {count} CT slices of a synthetic abdomen in {}", images.display()));
        write_labels(&truth, &at("truth.seg.nrrd")).about(Code::Output)?;
        write_contact_sheet(&truth, &at("truth.png"), &Style::default()).about(Code::Output)?;
        session.print(&format!("Drew its true labels: {}", at("truth.png").display()));
        atomic_file::write(&model, |out| out.write_all(MODEL)).about(Code::Output)?;
        session.print(&format!("A model, trained on other patients of this kind: {}", model.display()));

        let mut segment = vec!["segment".into(), path(&images), "--model".into(), path(&model)];
        for (option, name) in [
            ("--output", "segmentation.dcm"),
            ("--output", "segmentation.seg.nrrd"),
            ("--picture", "segmentation.png"),
            ("--report", "segmentation.json"),
        ] {
            segment.extend([option.into(), path(&at(name))]);
        }
        run(segment, session)?;
        run(vec!["evaluate".into(), path(&at("segmentation.seg.nrrd")), path(&at("truth.seg.nrrd"))], session)?;
        session.print(&farewell(&self.output));
        Ok(())
    }

    fn make_patients(&self, count: u16, session: &Session) -> Outcome {
        for seed in (SEED + 1..).take(count.into()) {
            let folder = self.output.join(format!("patient-{seed:03}"));
            let (_, truth) = make_patient(seed, &folder.join("ct"), session)?;
            let options = SegOptions { deterministic: true, ..SegOptions::default() };
            write_seg(&truth, &folder.join("labels.dcm"), &options, &mut session.control()).about(Code::Output)?;
        }
        let config = self.output.join("train.yaml");
        atomic_file::write(&config, |out| out.write_all(TRAINING.as_bytes())).about(Code::Output)?;
        session.print(&format!(
            "Made {count} patients with CT series and true labels in {folder}\nTrain with them:\n  {command}",
            folder = self.output.display(),
            command = shell(&[program(), "train".into(), path(&config)])
        ));
        Ok(())
    }
}

/// Shows a command of this program, then runs it: what is printed is what runs.
fn run(words: Vec<String>, session: &Session) -> Outcome {
    let command: Vec<String> = [program()].into_iter().chain(words).collect();
    session.print(&format!("\n$ {}\n\n", shell(&command)));
    read_line(&command).command.run(session)
}

/// Writes the series of a patient into `images`; returns the number of slices and what a perfect model would find.
fn make_patient(seed: u64, images: &Path, session: &Session) -> Outcome<(usize, Labelmap)> {
    fs::create_dir_all(images).map_err(|source| Error::io(images, "create", source)).about(Code::Output)?;
    let phantom = Phantom::new(seed).about(Code::Other)?;
    let count = write_series(&phantom, images).about(Code::Output)?.len();
    let series = Series::open(&[images], &SeriesOptions::default(), &mut session.control()).about(Code::Input)?;
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let algorithm = Algorithm { name: "ground truth".into(), version: env!("CARGO_PKG_VERSION").into() };
    Ok((count, Labelmap::new(volume, phantom.truth, labels(), algorithm).about(Code::Other)?))
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

/// This program as it was called, so that the commands shown can be typed as they are.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "transunet".into())
}

fn farewell(folder: &Path) -> String {
    let program = shell(&[program()]);
    let at = |name: &str| shell(&[path(&folder.join(name))]);
    format!(
        "
The patient and the model's teachers are made up; everything else is what happens with real ones.

Look at what there is:
  {segmentation} and {truth}
  {program} info {images}
  {program} info {model}
  {program} info {truth_labels}
Open {images} and {seg} together in a DICOM viewer such as 3D Slicer or OHIF.
Then segment your own images with your own weights:
  {program} segment YOUR-DICOM-FOLDER --model YOUR-WEIGHTS.pth --output segmentation.dcm",
        segmentation = at("segmentation.png"),
        truth = at("truth.png"),
        images = at("ct"),
        model = at("model.safetensors"),
        truth_labels = at("truth.seg.nrrd"),
        seg = at("segmentation.dcm"),
    )
}
