//! nnU-Net's folder convention, and the Medical Segmentation Decathlon's: imagesTr, labelsTr, dataset.json.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::config::SubjectRule;
use super::listing::Listing;
use super::{Case, DataConfig, ImageSource, LabelSource};
use crate::error::{Error, Result};
use crate::formats::VolumeKind;
use crate::labels::Label;

/// What is read of dataset.json, in both conventions.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Description {
    name: Option<String>,
    /// `{"0": "background", "1": "liver"}` or `{"background": 0, "liver": 1}`.
    labels: BTreeMap<String, serde_json::Value>,
    channel_names: BTreeMap<String, serde_json::Value>,
    modality: BTreeMap<String, serde_json::Value>,
}

pub(super) fn list(config: &DataConfig, folder: &Path, listing: &mut Listing) -> Result<()> {
    let description = describe(&folder.join("dataset.json"))?;
    let channels = description.channel_names.len().max(description.modality.len());
    if channels > 1 {
        return Err(Error::Argument(format!(
            "{}: {channels} channels, expected one image for each case",
            folder.join("dataset.json").display()
        )));
    }
    let images = volumes(&folder.join("imagesTr"), &mut listing.faults)?;
    let mut labels = volumes(&folder.join("labelsTr"), &mut listing.faults)?;
    let known: BTreeSet<String> = labels.keys().cloned().collect();
    for (name, image) in images {
        let id = match name.rsplit_once('_') {
            Some((id, "0000")) => id.to_owned(),
            Some((id, number))
                if number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()) && known.contains(id) =>
            {
                listing.faults.push(format!(
                    "{}: a second channel of case {id}, expected one image for each case",
                    image.display()
                ));
                continue;
            }
            _ => name,
        };
        match labels.remove(&id) {
            Some(label) => listing.cases.push(Case::new(
                SubjectRule::of(config.subject, &id, || id.clone()),
                id,
                ImageSource::File(image),
                LabelSource::File(label),
            )),
            None if known.contains(&id) => {
                listing.faults.push(format!("{}: a second image of case {id}", image.display()));
            }
            None => listing.faults.push(format!("{}: no label map of its name in labelsTr", image.display())),
        }
    }
    listing.apart.extend(labels.values().map(|label| format!("{}: no image of its name in imagesTr", label.display())));
    listing.stated = named(&description.labels).map_err(|e| e.at(folder.join("dataset.json").display()))?;
    listing.name = listing.name.take().or(description.name);
    Ok(())
}

fn describe(path: &Path) -> Result<Description> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Config(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Description::default()),
        Err(e) => Err(Error::io(path, "read", e)),
    }
}

/// Volumes of a folder by their names without extensions.
fn volumes(folder: &Path, faults: &mut Vec<String>) -> Result<BTreeMap<String, PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read", e))? {
        paths.push(entry.map_err(|e| Error::io(folder, "read", e))?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // The Decathlon's archives hold macOS's shadows of files.
        if name.starts_with('.') || VolumeKind::of(&path).is_none() {
            continue;
        }
        let stem =
            [".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr"].into_iter().find_map(|end| name.strip_suffix(end));
        match found.entry(stem.unwrap_or(&name).to_owned()) {
            Entry::Vacant(place) => drop(place.insert(path)),
            Entry::Occupied(other) => faults.push(format!(
                "{}: the same name as {}, expected one file for each case",
                path.display(),
                other.get().display()
            )),
        }
    }
    Ok(found)
}

fn named(labels: &BTreeMap<String, serde_json::Value>) -> Result<Vec<Label>> {
    let mut found = Vec::new();
    for (key, value) in labels {
        let (number, name) = match (key.parse::<u8>(), value) {
            (Ok(number), serde_json::Value::String(name)) => (number, name.clone()),
            (Err(_), serde_json::Value::Number(number)) => match number.as_u64().and_then(|n| u8::try_from(n).ok()) {
                Some(number) => (number, key.clone()),
                None => return Err(Error::Config(format!("label {key:?} is {number}, expected 0 to 255"))),
            },
            _ => {
                return Err(Error::Config(format!(
                    "labels: {key:?}: {value}, expected a number and a name; regions are not supported"
                )));
            }
        };
        if number > 0 && name != "ignore" {
            found.push(Label { name, ..Label::numbered(number) });
        }
    }
    Ok(found)
}
