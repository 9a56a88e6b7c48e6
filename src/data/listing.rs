//! What a folder holds, before any voxel is read: its layout, its cases, and what does not belong to one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lists::Lists;
use super::meaning::{Meaning, contiguous};
use super::{Case, DataConfig, Dataset, Kind, dicom, nnunet, nrrd, prepared};
use crate::error::{Error, Result};
use crate::labels::Label;

/// Cases of a folder, with all that is wrong about it.
#[derive(Debug)]
pub struct Listing {
    pub kind: Kind,
    pub folder: PathBuf,
    /// By name; their labels are not known yet.
    pub cases: Vec<Case>,
    /// What a data set must not have, each naming its file: nothing is learned from a folder with any.
    pub faults: Vec<String>,
    /// What is left out and does no harm, such as an image without labels.
    pub apart: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) spaced: bool,
    /// Labels that the configuration or dataset.json states; empty if neither does.
    pub(super) stated: Vec<Label>,
    /// The split that comes with the data.
    pub(super) lists: Option<Lists>,
}

impl Listing {
    /// Looks at names and headers. `base` is what relative paths of `config` are relative to.
    pub fn find(config: &DataConfig, base: &Path) -> Result<Self> {
        let folder = base.join(&config.folder);
        let kind = match config.kind {
            Some(kind) => kind,
            None => kind_of(&folder)?,
        };
        if let (Some(spacing), true) = (config.spacing, kind != Kind::Prepared) {
            return Err(Error::Config(format!(
                "data: spacing is {spacing:?}, but the files of kind {} say their own; it is for kind prepared",
                kind.name()
            )));
        }
        let of_dicom =
            [config.overlap.map(|_| "overlap"), config.others.map(|_| "others"), config.resample.map(|_| "resample")];
        if let (Some(name), true) = (of_dicom.into_iter().flatten().next(), kind != Kind::Dicom) {
            return Err(Error::Config(format!(
                "data: {name} is for kind dicom, and the files are of kind {}",
                kind.name()
            )));
        }
        let mut listing = Listing {
            kind,
            folder: folder.clone(),
            cases: Vec::new(),
            faults: Vec::new(),
            apart: Vec::new(),
            name: config.name.clone(),
            spaced: kind != Kind::Prepared || config.spacing.is_some(),
            stated: Vec::new(),
            lists: None,
        };
        match kind {
            Kind::NnUnet => nnunet::list(config, &folder, &mut listing)?,
            Kind::Dicom => dicom::list(config, &folder, &mut listing)?,
            Kind::Nrrd => nrrd::list(config, &folder, &mut listing)?,
            Kind::Prepared => prepared::list(config, &folder, &mut listing)?,
        }
        if !config.labels.is_empty() {
            listing.stated = config.labels.clone();
        }
        if !listing.stated.is_empty() {
            listing.stated = contiguous(std::mem::take(&mut listing.stated))?;
        }
        listing.cases.sort_by(|a, b| a.id.cmp(&b.id));
        let mut seen: BTreeMap<&str, &Case> = BTreeMap::new();
        for case in &listing.cases {
            if let Some(other) = seen.insert(&case.id, case) {
                let text = format!("{}: case {} is there twice, see {}", case.image, case.id, other.image);
                listing.faults.push(text);
            }
        }
        if listing.cases.is_empty() && listing.faults.is_empty() {
            let apart = listing.apart.iter().take(3).map(|text| format!("; {text}")).collect::<String>();
            return Err(Error::Argument(format!(
                "{}: no pairs of image and label map (kind {}){apart}",
                folder.display(),
                kind.name()
            )));
        }
        Ok(listing)
    }

    /// The data set with these labels.
    pub(super) fn with(self, labels: Vec<Label>) -> Dataset {
        let folder_name = || Some(self.folder.file_name()?.to_string_lossy().into_owned());
        let name = self.name.or_else(folder_name).unwrap_or_else(|| "data set".into());
        let placed = self.kind != Kind::Prepared;
        let meaning = Arc::new(Meaning { labels: labels.clone(), ignore: None });
        let mut cases = self.cases;
        cases.iter_mut().for_each(|case| case.meaning = meaning.clone());
        Dataset { name, labels, cases, placed, spaced: self.spaced, lists: self.lists }
    }
}

fn kind_of(folder: &Path) -> Result<Kind> {
    let refuse = |what: &str| Err(Error::Argument(format!("{}: {what}", folder.display())));
    if !folder.is_dir() {
        return refuse("there is no such folder");
    }
    let there = |name: &str| folder.join(name).is_dir();
    if there("imagesTr") && there("labelsTr") {
        return Ok(Kind::NnUnet);
    }
    if prepared::is_there(folder)? {
        return Ok(Kind::Prepared);
    }
    match (nrrd::is_there(folder)?, dicom::is_there(folder)) {
        (true, true) => refuse(
            "holds .seg.nrrd files and DICOM SEG or RTSTRUCT objects; say which to use (data.kind: nrrd or dicom)",
        ),
        (true, false) => Ok(Kind::Nrrd),
        (false, true) => Ok(Kind::Dicom),
        (false, false) => refuse(
            "nothing in it is known as training data, expected imagesTr and labelsTr (nnU-Net), NAME.seg.nrrd beside \
             NAME.nrrd, DICOM SEG or RTSTRUCT objects with their series, or .npz slices or .h5 volumes",
        ),
    }
}
