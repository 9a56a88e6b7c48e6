//! `transunet info`: what a file or folder is, in words or JSON.

mod model;
mod series;
mod volume;

use std::fmt::Display;
use std::path::PathBuf;

use serde::Serialize;
use transunet::Error;
use transunet::catalog;
use transunet::formats::VolumeKind;

use super::failure::{About, Code, Outcome};
use super::{Session, terminal};

/// Say what a model, a DICOM folder or a volume file holds
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  transunet info organs.safetensors        sizes, labels and provenance of a model
  transunet info weights.pth --json        the same of a checkpoint, for a script
  transunet info study/                    the series of a DICOM folder, with numbers and UIDs for --series
  transunet info organs.seg.nrrd           the labels of a segmentation and their volumes")]
pub struct Info {
    /// A bundle or checkpoint, a DICOM folder or file, or a NIfTI or NRRD file
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(&self, session: &Session) -> Outcome {
        let path = &self.path;
        let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, "open", source)).about(Code::Input)?;
        let text = if metadata.is_dir() {
            render(&series::Folder::read(path, &mut session.control())?, self.json)
        } else if VolumeKind::of(path).is_some() {
            render(&volume::VolumeFile::read(path)?, self.json)
        } else if catalog::is_weights(path) {
            render(&model::ModelFile::read(path)?, self.json)
        } else {
            render(&series::Folder::read(path, &mut session.control())?, self.json)
        };
        session.print(&text);
        Ok(())
    }
}

pub fn render<T: Serialize + Display>(what: &T, json: bool) -> String {
    if json {
        serde_json::to_string_pretty(what).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"))
    } else {
        what.to_string()
    }
}

/// "label:      text", lined up with other facts.
fn fact(f: &mut std::fmt::Formatter<'_>, label: &str, text: impl Display) -> std::fmt::Result {
    writeln!(f, "{:<14}{text}", format!("{label}:"))
}

/// Warnings so far.
fn warnings() -> Vec<String> {
    terminal::warnings()
}
