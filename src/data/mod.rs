//! Data sets to learn from: pairs of image and label map, grouped by subject.

mod claims;
mod config;
mod dicom;
mod grid;
mod h5;
mod listing;
mod lists;
mod meaning;
mod nnunet;
mod npz;
mod nrrd;
mod prepared;
mod source;
mod split;
mod survey;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use claims::ClaimRules;
pub use config::{DataConfig, Kind, Others, Resample, SubjectRule};
pub use listing::Listing;
pub use source::{ImageSource, LabelSource, Stored, StoredFiles};
pub use split::{Parts, Split};
pub use survey::{CaseFacts, LabelFacts, SplitFacts, Survey};

use crate::error::Result;
use crate::formats::LabelImage;
use crate::labels::Label;
use crate::volume::Volume;
use lists::Lists;
use meaning::Meaning;

/// Cases and what their labels mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: String,
    /// Foreground classes 1 to n.
    pub labels: Vec<Label>,
    pub cases: Vec<Case>,
    /// Whether the files say where the patient's left, front and head are.
    pub placed: bool,
    /// Whether the distances of voxels are known, from the files or from the configuration.
    pub spaced: bool,
    /// The split that comes with the data.
    lists: Option<Lists>,
}

/// One image and its labels; knows its files, holds no voxels.
#[derive(Debug, Clone)]
pub struct Case {
    pub id: String,
    /// Cases of one subject are never split.
    pub subject: String,
    pub image: ImageSource,
    pub label: LabelSource,
    meaning: Arc<Meaning>,
}

impl Dataset {
    /// Lets voxels have a value that no label has.
    #[must_use]
    pub fn ignoring(mut self, value: Option<u8>) -> Self {
        let meaning = Arc::new(Meaning { labels: self.labels.clone(), ignore: value });
        self.cases.iter_mut().for_each(|case| case.meaning = meaning.clone());
        self
    }

    /// Training and validation cases by `split`; without one by the lists that come with the data, else the usual share.
    /// `base` is what a relative file is relative to: the data set's folder.
    pub fn parts(&self, split: Option<&Split>, base: &Path) -> Result<Parts> {
        match (split, &self.lists) {
            (Some(split), _) => split.apply(self, base),
            (None, Some(lists)) => split::from_lists(lists, self),
            (None, None) => Split::default().apply(self, base),
        }
    }
}

impl Case {
    fn new(subject: String, id: String, image: ImageSource, label: LabelSource) -> Self {
        Case { id, subject, image, label, meaning: Arc::default() }
    }

    /// Image and labels, `[k, j, i]` on the image's grid.
    pub fn load(&self) -> Result<(Arc<Volume>, Vec<u8>)> {
        let (volume, labels, _) = self.read()?;
        let voxels = self.meaning.apply(labels).map_err(|e| e.at(&self.label)).map_err(|e| e.at(self))?;
        Ok((volume, voxels))
    }

    /// As [`Case::load`], with the labels as the file numbers them, and the share of the image that the file covers.
    fn read(&self) -> Result<(Arc<Volume>, LabelImage, f64)> {
        let volume = self.image.read().map_err(|e| e.at(self))?;
        let (labels, covered) = self.label.read(&volume).map_err(|e| e.at(self))?;
        Ok((Arc::new(volume), labels, covered))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {}", self.id)
    }
}
