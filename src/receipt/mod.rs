//! Receipts: what a segmentation was made with and from, so that it can be made again and compared.
//!
//! A receipt names all that changes voxels, and nothing of the patient but UIDs. It goes with the label map: as JSON into
//! reports, NRRD and NIfTI files, as text into DICOM objects.

pub mod differences;
pub mod digest;
mod text;

use serde::{Deserialize, Serialize};

use crate::dicom::{Series, Tilt};
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;
use crate::model::Model;
use crate::precision::ComputePrecision;
use crate::volume::Volume;

/// Number of the form; a reader refuses higher ones.
pub const FORMAT: u32 = 1;

/// Key of a receipt in NRRD and NIfTI files.
pub const KEY: &str = "TransUNet_Receipt";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub format: u32,
    pub model: ModelId,
    pub code: Code,
    pub settings: Settings,
    pub source: Source,
    /// Of the labels, see [`digest::slices`].
    pub labels_sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelId {
    pub name: Option<String>,
    /// Of weights and description, see [`Model::sha256`].
    pub sha256: String,
}

/// Which code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    pub version: String,
    /// Of the sources, where the build was told: `TRANSUNET_REVISION`.
    pub revision: Option<String>,
}

/// What else changes voxels. What does not is left out: threads anywhere, batches on a CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// "cpu", "cuda:0" or "cuda:0,cuda:1".
    pub device: String,
    /// Names and drivers of GPUs.
    pub hardware: Option<String>,
    /// Vector instructions of a CPU, such as "AVX-512".
    pub instructions: Option<String>,
    pub precision: ComputePrecision,
    /// Slices per pass on a GPU.
    pub batch: Option<usize>,
    /// Of a DICOM series.
    pub tilt: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Of a DICOM series.
    pub series_uid: Option<String>,
    /// SOP Instance UIDs, each once, in the order of the slices.
    pub instances: Vec<String>,
    /// Of a series: which image, and which frame of it, each slice is. Of another volume: grid and voxels.
    pub sha256: String,
}

impl Receipt {
    /// Of `labelmap`, which `model` made with `batch` slices per pass.
    pub fn of(model: &Model, batch: usize, labelmap: &Labelmap) -> Result<Self> {
        let (devices, volume) = (model.devices(), labelmap.source());
        let gpus = devices.are_gpus();
        let hardware = || {
            let infos = devices.infos();
            let name = |info: &crate::device::DeviceInfo| match &info.driver {
                Some(driver) => format!("{} ({driver})", info.name),
                None => info.name.clone(),
            };
            infos.iter().map(name).collect::<Vec<_>>().join(" + ")
        };
        Ok(Receipt {
            format: FORMAT,
            model: ModelId { name: model.config().name.clone(), sha256: model.sha256()? },
            code: Code::here(),
            settings: Settings {
                device: devices.id(),
                hardware: gpus.then(hardware),
                instructions: model.instructions()?.map(Into::into),
                precision: model.precision(),
                batch: gpus.then_some(batch),
                tilt: volume.series().map(|series| tilt(series).to_string()),
            },
            source: Source::of(volume),
            labels_sha256: labelmap.sha256()?,
        })
    }

    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::Internal(format!("receipt: {e}")))
    }

    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let damaged = |e: serde_json::Error| Error::VolumeFormat(format!("the receipt is damaged: {e}"));
        check_format(serde_json::from_str::<Format>(text).map_err(damaged)?.format)?;
        serde_json::from_str(text).map_err(damaged)
    }
}

fn check_format(format: u64) -> Result<()> {
    if format > u64::from(FORMAT) {
        return Err(Error::VolumeFormat(format!(
            "the receipt has format {format} of a newer version of TransUNet; this one reads up to {FORMAT}"
        )));
    }
    Ok(())
}

/// How the series was read.
fn tilt(series: &Series) -> &'static str {
    Tilt::NAMES[usize::from(series.resampled)]
}

impl Code {
    /// This code.
    pub fn here() -> Self {
        let revision = option_env!("TRANSUNET_REVISION").filter(|revision| !revision.is_empty());
        Code { version: env!("CARGO_PKG_VERSION").into(), revision: revision.map(Into::into) }
    }

    /// "0.1.0", or "0.1.0+1f2e3d4c5b6a" of a known revision.
    pub fn words(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}+{:.12}", self.version, revision),
            None => self.version.clone(),
        }
    }
}

impl Source {
    pub fn of(volume: &Volume) -> Self {
        let Some(series) = volume.series() else {
            return Source { series_uid: None, instances: Vec::new(), sha256: digest::volume(volume) };
        };
        let mut instances: Vec<String> = Vec::new();
        let mut lines = String::new();
        for slice in &series.instances {
            if instances.last() != Some(&slice.sop_instance_uid) && !instances.contains(&slice.sop_instance_uid) {
                instances.push(slice.sop_instance_uid.clone());
            }
            lines += &format!("{} {}\n", slice.sop_instance_uid, slice.frame.unwrap_or_default());
        }
        let sha256 = digest::hex(&digest::sha256(lines.as_bytes()));
        Source { series_uid: Some(series.series_uid.clone()), instances, sha256 }
    }
}
