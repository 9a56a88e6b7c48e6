//! The list files that come with prepared data: train.txt names slices, test_vol.txt volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::prepared::{slice_name, volume_name};
use crate::error::{Error, Result};

const TRAIN: &str = "train.txt";
const VALIDATION: &str = "test_vol.txt";

/// A split by case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    /// The folder of the lists.
    pub folder: PathBuf,
    pub train: Vec<String>,
    pub validation: Vec<String>,
    /// Why they cannot be used, if so.
    pub faults: Vec<String>,
}

impl Lists {
    /// Lists in `folder`, its folder `lists`, or a folder in that. `slices` has the numbers of each case's slices.
    pub fn find(folder: &Path, slices: &BTreeMap<String, BTreeSet<u32>>) -> Result<Option<Self>> {
        let mut places = vec![folder.to_path_buf(), folder.join("lists")];
        if let Ok(entries) = std::fs::read_dir(folder.join("lists")) {
            places.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        places.retain(|place| place.join(TRAIN).is_file() || place.join(VALIDATION).is_file());
        places.sort();
        let place = match &places[..] {
            [] => return Ok(None),
            [one] => one.clone(),
            several => {
                let names = several.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
                let faults = vec![format!("lists in several folders ({names}): say the split in the configuration")];
                let (train, validation) = Default::default();
                return Ok(Some(Lists { folder: folder.to_path_buf(), train, validation, faults }));
            }
        };
        let mut faults = Vec::new();
        let train = train(&lines(&place.join(TRAIN))?, slices, &mut faults);
        let validation = lines(&place.join(VALIDATION))?.iter().map(|line| volume_name(line).to_owned()).collect();
        Ok(Some(Lists { folder: place, train, validation, faults }))
    }
}

/// Cases of a list of slices or of whole cases. A case's slices must be listed all or not at all: volumes have no gaps.
fn train(lines: &[String], there: &BTreeMap<String, BTreeSet<u32>>, faults: &mut Vec<String>) -> Vec<String> {
    let mut listed: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for line in lines {
        match slice_name(line) {
            Some((case, slice)) => drop(listed.entry(case.to_owned()).or_default().insert(slice)),
            None => drop(listed.entry(volume_name(line).to_owned()).or_default()),
        }
    }
    for (case, slices) in &listed {
        let Some(there) = there.get(case) else { continue };
        if slices.is_empty() || slices == there {
            continue;
        }
        let only = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| -> String {
            a.difference(b).take(5).map(u32::to_string).collect::<Vec<_>>().join(", ")
        };
        let text = match (only(slices, there), only(there, slices)) {
            (missing, _) if !missing.is_empty() => {
                format!("{TRAIN}: slices {missing} of {case} are listed and not there")
            }
            (_, more) => format!("{TRAIN}: slices {more} of {case} are there and not listed"),
        };
        faults.push(text);
    }
    listed.into_keys().collect()
}

fn lines(path: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io(path, "read", e)),
    }
}
