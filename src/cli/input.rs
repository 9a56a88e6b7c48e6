//! What is segmented: a DICOM series, here or on a PACS, or a volume file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use transunet::Error;
use transunet::control::Control;
use transunet::dicom::{Series, SeriesChoice, SeriesOptions, Tilt};
use transunet::formats::{VolumeKind, read_volume};
use transunet::volume::Volume;

use super::failure::{About, Code, Failure, Outcome};
use super::pacs;

#[derive(clap::Args)]
pub struct Input {
    #[arg(required = true, value_name = "INPUT")]
    paths: Vec<PathBuf>,
    #[arg(long, value_name = "UID|NUMBER|RULES")]
    series: Option<SeriesChoice>,
    #[arg(long, value_name = "HOW", default_value = Tilt::NAMES[0], value_parser = PossibleValuesParser::new(Tilt::NAMES).try_map(|how| how.parse::<Tilt>()))]
    tilt: Tilt,
}

impl Input {
    /// Refuses what needs no reading to be wrong.
    pub fn check(&self) -> Outcome {
        for path in self.paths.iter().filter(|path| address(path).is_none()) {
            std::fs::metadata(path).map_err(|source| Error::io(path, "open", source)).about(Code::Input)?;
        }
        let Some(volume) = self.volume_file() else {
            return Ok(());
        };
        let usage = |message: String, hint: &str| Err(Failure::new(Code::Usage, message, hint));
        if self.paths.len() > 1 {
            return usage(
                format!("{} together with other inputs", volume.display()),
                "pass one volume file, or only DICOM files and folders",
            );
        }
        if self.series.is_some() {
            return usage(
                format!("{} is one volume: there is no series to choose", volume.display()),
                "--series is for DICOM",
            );
        }
        Ok(())
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The first input that its name shows to be no DICOM.
    pub fn volume_file(&self) -> Option<&Path> {
        self.paths.iter().find(|path| VolumeKind::of(path).is_some() && !path.is_dir()).map(PathBuf::as_path)
    }

    /// What is on a PACS.
    pub fn sources(&self) -> Outcome<Vec<pacs::Source>> {
        self.paths.iter().filter_map(|path| address(path)).map(pacs::source).collect()
    }

    /// The input with what is on a PACS fetched, and the folder of its files, which goes when it is dropped.
    pub fn fetched(&self, access: &pacs::Access, control: &mut Control) -> Outcome<(Self, Option<pacs::Folder>)> {
        let (mut paths, mut fetched) = (self.paths.clone(), None);
        for (n, path) in paths.iter_mut().enumerate() {
            let Some(mut source) = address(path).map(pacs::source).transpose()? else { continue };
            if let (None, Some(SeriesChoice::Uid(uid))) = (&source.content.series, &self.series) {
                source.content.series = Some(uid.clone());
            }
            let folder = match &mut fetched {
                Some(folder) => folder,
                none => none.insert(pacs::Folder::new()?),
            };
            let place = folder.place(n)?;
            pacs::fetch(&source, access, &place, control)?;
            *path = place;
        }
        Ok((Input { paths, series: self.series.clone(), tilt: self.tilt }, fetched))
    }

    /// Reads a volume file, or the headers of a series: the one that is named, else that which `usual` means.
    pub fn open(&self, usual: &SeriesChoice, control: &mut Control) -> Outcome<Arc<Volume>> {
        let volume = match self.volume_file() {
            Some(path) => read_volume(path),
            None => {
                let choice = self.series.as_ref().unwrap_or(usual).clone();
                let options = SeriesOptions { choice, tilt: self.tilt };
                Series::open(&self.paths, &options, control).map(|series| Volume::from_series(Arc::new(series)))
            }
        };
        volume.map(Arc::new).about(Code::Input)
    }
}

/// `path` as an address of a PACS, if it is one.
fn address(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| pacs::is_address(text))
}
