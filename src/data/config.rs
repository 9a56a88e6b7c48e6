//! Where the training data are and what their labels mean, as people write it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::labels::Label;

/// The `data` section of a training configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How many characters of a case's name, or how many of its parts between `_` or `-`, name the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectRule>,
}

/// Which part of a case's name is its subject's; the whole name when there is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectRule {
    /// That many first characters.
    Characters(usize),
    /// That many first parts between `_`.
    Parts(usize),
}

impl SubjectRule {
    pub fn of(rule: Option<Self>, id: &str) -> String {
        match rule {
            None => id.into(),
            Some(SubjectRule::Characters(count)) => id.chars().take(count).collect(),
            Some(SubjectRule::Parts(count)) => id.split('_').take(count).collect::<Vec<_>>().join("_"),
        }
    }
}

/// Layouts of data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// nnU-Net's and the Medical Segmentation Decathlon's: imagesTr, labelsTr, dataset.json.
    NnUnet,
}

impl DataConfig {
    pub(super) fn kind(&self, folder: &Path) -> Result<Kind> {
        if let Some(kind) = self.kind {
            return Ok(kind);
        }
        let there = |name: &str| folder.join(name).is_dir();
        if there("imagesTr") && there("labelsTr") {
            return Ok(Kind::NnUnet);
        }
        let what = if folder.is_dir() { "nothing in it is known as training data" } else { "there is no such folder" };
        Err(Error::Argument(format!("{}: {what}, expected imagesTr and labelsTr", folder.display())))
    }
}
