//! The original's prepared data: .npz slices and .h5 volumes with `image` and `label`, and its lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::SubjectRule;
use super::listing::Listing;
use super::lists::Lists;
use super::source::{Stored, StoredFiles};
use super::{Case, DataConfig, ImageSource, LabelSource};
use crate::error::{Error, Result};

/// Where slices and volumes may lie, besides the folder itself.
const SLICES: &str = "train_npz";
const VOLUMES: &str = "test_vol_h5";

pub(super) fn list(config: &DataConfig, folder: &Path, listing: &mut Listing) -> Result<()> {
    let spacing = config.spacing.unwrap_or([1.0; 3]);
    if !spacing.iter().all(|mm| (1e-3..=1e3).contains(mm)) {
        return Err(Error::Config(format!(
            "data: spacing is {spacing:?}, expected three distances from 0.001 to 1000 mm"
        )));
    }
    let add = |listing: &mut Listing, id: String, files: StoredFiles| {
        let stored = Arc::new(Stored { files, spacing });
        let subject = SubjectRule::of(config.subject, &id, || subject(&id).to_owned());
        listing.cases.push(Case::new(subject, id, ImageSource::Stored(stored.clone()), LabelSource::Stored(stored)));
    };
    let mut slices: BTreeMap<String, BTreeMap<u32, PathBuf>> = BTreeMap::new();
    for path in [folder.to_path_buf(), folder.join(SLICES), folder.join(VOLUMES)].iter().map(|place| files(place)) {
        for path in path? {
            let name = name(&path);
            if let Some(id) = name.strip_suffix(".h5").or(name.strip_suffix(".hdf5")) {
                add(listing, volume_name(id).to_owned(), StoredFiles::Volume(path));
            } else if let Some(stem) = name.strip_suffix(".npz") {
                let Some((case, number)) = slice_name(stem) else {
                    listing.faults.push(format!("{}: expected a name such as case0005_slice012.npz", path.display()));
                    continue;
                };
                if let Some(other) = slices.entry(case.to_owned()).or_default().insert(number, path.clone()) {
                    let text =
                        format!("{}: slice {number} of {case} is there twice, see {}", path.display(), other.display());
                    listing.faults.push(text);
                }
            }
        }
    }
    let numbers = slices.iter().map(|(case, slices)| (case.clone(), slices.keys().copied().collect()));
    listing.lists = Lists::find(folder, &numbers.collect::<BTreeMap<String, BTreeSet<u32>>>())?;
    for (case, slices) in slices {
        let (first, last) = (slices.keys().next().copied().unwrap_or(0), slices.keys().last().copied().unwrap_or(0));
        let missing: Vec<String> =
            (first..last).filter(|n| !slices.contains_key(n)).take(5).map(|n| n.to_string()).collect();
        if !missing.is_empty() {
            let place = slices.values().next().and_then(|path| path.parent()).unwrap_or(folder).display().to_string();
            listing.faults.push(format!(
                "{place}: {case} has slices {first} to {last} without {}, expected no gaps",
                missing.join(", ")
            ));
            continue;
        }
        add(listing, case, StoredFiles::Slices(slices.into_values().collect()));
    }
    let of_slices =
        if config.spacing.is_some() { "as configured" } else { "taken as 1 mm (data.spacing says otherwise)" };
    log::info!("prepared data say nothing of spacing and orientation: voxels are {of_slices}, slices seen as stored");
    Ok(())
}

/// Whether there are such files.
pub(super) fn is_there(folder: &Path) -> Result<bool> {
    if folder.join(SLICES).is_dir() || folder.join(VOLUMES).is_dir() {
        return Ok(true);
    }
    Ok(files(folder)?.iter().any(|path| {
        let name = name(path);
        name.ends_with(".h5") || name.ends_with(".hdf5") || name.strip_suffix(".npz").and_then(slice_name).is_some()
    }))
}

/// Case and number of "case0005_slice012".
pub(super) fn slice_name(stem: &str) -> Option<(&str, u32)> {
    let (case, number) = stem.rsplit_once("_slice")?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    Some((case, number.parse().ok().filter(|_| digits && !case.is_empty())?))
}

/// "case0008" of "case0008.npy.h5" and its parts.
pub(super) fn volume_name(name: &str) -> &str {
    let name = name.strip_suffix(".h5").unwrap_or(name);
    name.strip_suffix(".npy").unwrap_or(name)
}

/// "patient001" of "patient001_frame12"; else all of it.
fn subject(id: &str) -> &str {
    match id.rsplit_once("_frame") {
        Some((patient, number)) if !patient.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => patient,
        _ => id,
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Files of a folder but hidden ones, by name; none where there is no such folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read", e))? {
        let path = entry.map_err(|e| Error::io(folder, "read", e))?.path();
        if path.is_file() && !name(&path).starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
