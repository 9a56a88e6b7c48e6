//! NAME.seg.nrrd beside NAME.nrrd, NAME.nhdr, NAME.nii or NAME.nii.gz, at any depth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::config::SubjectRule;
use super::listing::Listing;
use super::{Case, DataConfig, ImageSource, LabelSource};
use crate::error::{Error, Result};

/// What names a segmentation.
const LABELS: &str = ".seg.nrrd";
const IMAGES: [&str; 4] = [".nii.gz", ".nii", ".nrrd", ".nhdr"];

#[derive(Default)]
struct Found {
    images: Vec<PathBuf>,
    label: Option<PathBuf>,
}

pub(super) fn list(config: &DataConfig, folder: &Path, listing: &mut Listing) -> Result<()> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for path in files(folder)? {
        let relative = path.strip_prefix(folder).unwrap_or(&path);
        let name = relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
        if let Some(id) = name.strip_suffix(LABELS) {
            found.entry(id.to_owned()).or_default().label = Some(path);
        } else if let Some(id) = IMAGES.into_iter().find_map(|end| name.strip_suffix(end)) {
            found.entry(id.to_owned()).or_default().images.push(path);
        }
    }
    for (id, Found { mut images, label }) in found {
        match (images.len(), label) {
            (1, Some(label)) => listing.cases.push(Case::new(
                SubjectRule::of(config.subject, &id, || id.clone()),
                id,
                ImageSource::File(images.swap_remove(0)),
                LabelSource::File(label),
            )),
            (0, Some(label)) => listing
                .faults
                .push(format!("{}: no image beside it, expected {id}.nrrd, .nhdr, .nii or .nii.gz", label.display())),
            (_, Some(label)) => {
                let images = images.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
                listing.faults.push(format!(
                    "{}: {} images of its name, expected one: {}",
                    label.display(),
                    images.len(),
                    images.join(", ")
                ));
            }
            (_, None) => {
                listing.apart.extend(images.iter().map(|path| format!("{}: no {id}{LABELS} beside it", path.display())))
            }
        }
    }
    Ok(())
}

/// Whether there is a segmentation anywhere.
pub(super) fn is_there(folder: &Path) -> Result<bool> {
    Ok(files(folder)?.iter().any(|path| path.to_string_lossy().ends_with(LABELS)))
}

/// All files but hidden ones, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let visible =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(visible) {
        let entry = entry.map_err(|error| {
            let place = error.path().unwrap_or(folder).to_path_buf();
            let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("cannot be listed"));
            Error::io(place, "read", source)
        })?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}
