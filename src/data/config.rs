//! Where the training data are and what their labels mean, as people write it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dicom::Overlap;
use crate::labels::Label;

/// The `data` section of a training configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set's folder; relative to the configuration's own.
    pub folder: PathBuf,
    /// How the folder is laid out; found out when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Foreground classes; from the data set when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// How many characters of a case's name, or how many of its parts between `_`, name the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectRule>,
    /// Distance of columns, rows and slices in mm, for prepared data, whose files do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spacing: Option<[f64; 3]>,
    /// What becomes of voxels that several segments or regions of DICOM have; the order is that of `labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// What becomes of segments and regions of DICOM that are not among `labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Others>,
    /// What becomes of segments and regions of DICOM that do not lie on their image's grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resample: Option<Resample>,
}

/// Segments and regions that no label is named after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    #[default]
    Refuse,
    /// They are background, and overlap nothing.
    Background,
}

/// Labels on another grid than their image's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    #[default]
    Refuse,
    /// A voxel gets the label of what lies nearest to its centre.
    Nearest,
}

/// Which part of a case's name is its subject's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "expected characters or parts, and how many")]
pub enum SubjectRule {
    /// That many first characters.
    Characters { characters: usize },
    /// That many first parts between `_`.
    Parts { parts: usize },
}

impl SubjectRule {
    /// The subject of case `id`; `usual` where there is no rule.
    pub fn of(rule: Option<Self>, id: &str, usual: impl FnOnce() -> String) -> String {
        match rule {
            None => usual(),
            Some(SubjectRule::Characters { characters }) => id.chars().take(characters).collect(),
            Some(SubjectRule::Parts { parts }) => id.split('_').take(parts).collect::<Vec<_>>().join("_"),
        }
    }
}

/// Layouts of data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// nnU-Net's and the Medical Segmentation Decathlon's: imagesTr, labelsTr, dataset.json.
    NnUnet,
    /// DICOM series and the DICOM SEG or RT Structure Set that refers to each, in any tree.
    Dicom,
    /// NAME.nrrd or NAME.nii.gz beside NAME.seg.nrrd, in any tree.
    Nrrd,
    /// The original's prepared data: slices in .npz, volumes in .h5.
    Prepared,
}

impl Kind {
    /// As a configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::NnUnet => "nnunet",
            Kind::Dicom => "dicom",
            Kind::Nrrd => "nrrd",
            Kind::Prepared => "prepared",
        }
    }
}
