//! Data sets to learn from: pairs of image and label map, grouped by subject.

mod config;
mod folder;
mod grid;
mod split;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use config::{DataConfig, Kind};
pub use split::{Parts, Split};

use crate::error::{Error, Result};
use crate::formats::{read_labels, read_volume};
use crate::labels::Label;
use crate::volume::Volume;

/// Cases and what their labels mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: String,
    /// Foreground classes 1 to n.
    pub labels: Vec<Label>,
    pub cases: Vec<Case>,
}

/// One image and its label map; knows its files, holds no voxels.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub id: String,
    /// Cases of one subject are never split.
    pub subject: String,
    pub image: PathBuf,
    pub label: PathBuf,
}

impl Dataset {
    /// Looks at file names only. `base` is what relative paths of `config` are relative to.
    pub fn open(config: &DataConfig, base: &Path) -> Result<Self> {
        let folder = base.join(&config.folder);
        let mut dataset = match config.kind(&folder)? {
            Kind::NnUnet => folder::open(config, &folder)?,
        };
        if dataset.cases.is_empty() {
            return Err(Error::Argument(format!("{}: no pairs of image and label map", folder.display())));
        }
        dataset.cases.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(twice) = dataset.cases.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(Error::Argument(format!(
                "{}: case {} is there twice ({} and {})",
                folder.display(),
                twice[0].id,
                twice[0].image.display(),
                twice[1].image.display()
            )));
        }
        Ok(dataset)
    }
}

impl Case {
    /// Image and labels, `[k, j, i]` on the image's grid.
    pub fn load(&self) -> Result<(Arc<Volume>, Vec<u8>)> {
        let volume = read_volume(&self.image)?;
        let labels = read_labels(&self.label)?;
        let voxels = grid::placed(labels, volume.geometry()).map_err(|e| e.at(self))?;
        Ok((Arc::new(volume), voxels))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {} ({} with {})", self.id, self.image.display(), self.label.display())
    }
}
