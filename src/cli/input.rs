//! What is segmented: a DICOM series or a volume file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use transunet::control::Control;
use transunet::dicom::{self, Series, SeriesChoice};
use transunet::formats::{VolumeKind, read_volume};
use transunet::volume::Volume;
use transunet::{Error, Result};

use super::failure::{About, Code, Failure, Outcome};

#[derive(clap::Args)]
pub struct Input {
    /// A DICOM folder (searched at any depth), DICOM files, or one .nii, .nii.gz or .nrrd file
    #[arg(required = true, value_name = "INPUT")]
    paths: Vec<PathBuf>,
    /// The series to take where there are several: its UID, or its number in the list of `transunet info`
    #[arg(long, value_name = "UID|NUMBER", conflicts_with_all = ["modality", "description"])]
    series: Option<String>,
    /// Take the series of this modality, such as CT
    #[arg(long, value_name = "MODALITY")]
    modality: Option<String>,
    /// Take the series whose description contains this text
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Input {
    /// Refuses what needs no reading to be wrong.
    pub fn check(&self) -> Outcome {
        for path in &self.paths {
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
        if self.series.is_some() || self.modality.is_some() || self.description.is_some() {
            return usage(
                format!("{} is one volume: there is no series to choose", volume.display()),
                "--series, --modality and --description are for DICOM",
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

    /// Reads a volume file, or the headers of a series.
    pub fn open(&self, control: &mut Control) -> Outcome<Arc<Volume>> {
        let volume = match self.volume_file() {
            Some(path) => read_volume(path),
            None => self.open_series(control).map(|series| Volume::from_series(Arc::new(series))),
        };
        volume.map(Arc::new).about(Code::Input)
    }

    fn open_series(&self, control: &mut Control) -> Result<Series> {
        let scan = dicom::scan(&self.paths, control)?;
        let summary = match (&self.series, self.series.as_ref().and_then(|text| text.parse::<usize>().ok())) {
            (_, Some(number)) => number.checked_sub(1).and_then(|at| scan.series.get(at)).ok_or_else(|| {
                Error::SeriesChoice(format!("there is no series {number}: {} were found", scan.series.len()))
            })?,
            (Some(uid), None) => scan.choose(&SeriesChoice::Uid(uid.clone()))?,
            (None, _) if self.modality.is_none() && self.description.is_none() => scan.choose(&SeriesChoice::Only)?,
            (None, _) => scan.choose(&SeriesChoice::Rule {
                modality: self.modality.clone(),
                description: self.description.clone(),
                number: None,
            })?,
        };
        Series::from_summary(summary)
    }
}
