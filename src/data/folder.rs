//! nnU-Net's folder convention, and the Medical Segmentation Decathlon's: imagesTr, labelsTr, dataset.json.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::config::SubjectRule;
use super::{Case, DataConfig, Dataset};
use crate::error::{Error, Result};
use crate::formats::{VolumeKind, read_labels};
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

pub(super) fn open(config: &DataConfig, folder: &Path) -> Result<Dataset> {
    let description = describe(&folder.join("dataset.json"))?;
    let channels = description.channel_names.len().max(description.modality.len());
    if channels > 1 {
        return Err(Error::Argument(format!(
            "{}: {channels} channels, expected one image for each case",
            folder.join("dataset.json").display()
        )));
    }
    let (images, labels) = (volumes(&folder.join("imagesTr"))?, volumes(&folder.join("labelsTr"))?);
    let mut cases = Vec::with_capacity(images.len());
    let mut alone = Vec::new();
    for (name, image) in images {
        let id = match name.rsplit_once('_') {
            Some((id, "0000")) => id.to_owned(),
            Some((id, number))
                if number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()) && labels.contains_key(id) =>
            {
                return Err(Error::Argument(format!(
                    "{}: a second channel of case {id}, expected one image for each case",
                    image.display()
                )));
            }
            _ => name.clone(),
        };
        match labels.get(&id) {
            Some(label) => {
                cases.push(Case { subject: SubjectRule::of(config.subject, &id), id, image, label: label.clone() })
            }
            None => alone.push(image.display().to_string()),
        }
    }
    if !alone.is_empty() {
        return Err(Error::Argument(format!(
            "{} images have no label map of the same name in {}: {}",
            alone.len(),
            folder.join("labelsTr").display(),
            alone.join(", ")
        )));
    }
    let labels = match (config.labels.is_empty(), description.labels.is_empty()) {
        (false, _) => config.labels.clone(),
        (true, false) => named(&description.labels).map_err(|e| e.at(folder.join("dataset.json").display()))?,
        (true, true) => found(&cases)?,
    };
    let name = config.name.clone().or(description.name);
    let name = name.or_else(|| Some(folder.file_name()?.to_string_lossy().into_owned()));
    Ok(Dataset { name: name.unwrap_or_else(|| "data set".into()), labels: contiguous(labels)?, cases })
}

fn describe(path: &Path) -> Result<Description> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Config(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Description::default()),
        Err(e) => Err(Error::io(path, "read", e)),
    }
}

/// Volumes of a folder by their names without extensions.
fn volumes(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read", e))? {
        let path = entry.map_err(|e| Error::io(folder, "read", e))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // The Decathlon's archives hold macOS's shadows of files.
        if name.starts_with('.') || VolumeKind::of(&path).is_none() {
            continue;
        }
        let stem =
            [".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr"].into_iter().find_map(|end| name.strip_suffix(end));
        found.insert(stem.unwrap_or(&name).to_owned(), path);
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

/// Labels of the first cases' files, numbered.
fn found(cases: &[Case]) -> Result<Vec<Label>> {
    let mut most = 0;
    for case in cases.iter().take(20) {
        most = most.max(read_labels(&case.label)?.voxels.into_iter().max().unwrap_or(0));
    }
    Ok((1..=most).map(Label::numbered).collect())
}

/// Refuses labels that are not 1 to n.
fn contiguous(mut labels: Vec<Label>) -> Result<Vec<Label>> {
    labels.sort_by_key(|label| label.value);
    let values: Vec<_> = labels.iter().map(|label| label.value).collect();
    if labels.is_empty() || values.iter().zip(1..).any(|(&value, n)| value != n) {
        return Err(Error::Config(format!("labels {values:?}, expected 1 to n without gaps")));
    }
    Ok(labels)
}
