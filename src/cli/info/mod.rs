//! `transunet info`: what a file or folder is, in words or JSON.

mod model;
mod series;
mod volume;

use std::fmt::Display;
use std::path::PathBuf;

use serde::Serialize;
use transunet::Error;
use transunet::catalog;
use transunet::dicom::SeriesChoice;
use transunet::formats::VolumeKind;

use super::failure::{About, Code, Failure, Outcome};
use super::pacs::{self, Connection};
use super::{Session, terminal};

/// Say what a model, a DICOM folder or a volume file holds
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  transunet info organs.safetensors        sizes, labels and provenance of a model
  transunet info weights.pth --json        the same of a checkpoint, for a script
  transunet info study/                    the series of a DICOM folder, with numbers and UIDs for --series
  transunet info study/ --series modality=CT,slices>=40    which of them these rules choose, and why not the others
  transunet info organs.seg.nrrd           the labels of a segmentation and their volumes
  transunet info dimse://PACS@host:104/1.2.3   the series of a study on a PACS, whose images are fetched for it
                                               (see `transunet segment --help`)")]
pub struct Info {
    /// A bundle or checkpoint, a DICOM folder or file, a NIfTI or NRRD file, or an address of a PACS
    #[arg(value_name = "FILE|FOLDER|ADDRESS")]
    path: PathBuf,
    /// Say of each series what speaks for it and against it by these rules, as --series of segment takes them
    #[arg(long, value_name = "UID|NUMBER|RULES")]
    series: Option<SeriesChoice>,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(&self, session: &Session) -> Outcome {
        let path = &self.path;
        if let Some(address) = path.to_str().filter(|text| pacs::is_address(text)) {
            session.print(&render(&self.fetched(address, session)?, self.json));
            return Ok(());
        }
        let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, "open", source)).about(Code::Input)?;
        let dicom = metadata.is_dir() || !(VolumeKind::of(path).is_some() || catalog::is_weights(path));
        if self.series.is_some() && !dicom {
            let text = format!("{}: there is no series to choose", path.display());
            return Err(Failure::new(Code::Usage, text, "--series is for DICOM"));
        }
        let folder = || series::Folder::read(path, self.series.as_ref(), &mut session.control());
        let text = if dicom {
            render(&folder()?, self.json)
        } else if VolumeKind::of(path).is_some() {
            render(&volume::VolumeFile::read(path)?, self.json)
        } else {
            render(&model::ModelFile::read(path)?, self.json)
        };
        session.print(&text);
        Ok(())
    }

    fn fetched(&self, address: &str, session: &Session) -> Outcome<series::Folder> {
        let source = pacs::source(address)?;
        let access = self.connection.access([&source.peer])?;
        let folder = pacs::Folder::new()?;
        let (place, mut control) = (folder.place(0)?, session.control());
        pacs::fetch(&source, &access, &place, &mut control)?;
        Ok(series::Folder::read(&place, self.series.as_ref(), &mut control)?.called(&self.path))
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
