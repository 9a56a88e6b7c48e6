//! Models to choose from: those of the folders that are searched, and what a person means by a model's name.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Plane, ValidationFigures};
use crate::error::{Error, Result};
use crate::manifest::manifest;
use crate::train::run::{BEST, CHECKPOINT};
use crate::weights::{Checkpoint, Kind};

/// Endings of the names of weights files.
const ENDINGS: [&str; 6] = ["safetensors", "pth", "pt", "npz", "bin", "ckpt"];

/// What folders of models hold.
#[derive(Debug, Default, Serialize)]
pub struct Catalog {
    /// As they were searched. Of two models with one id the first found counts.
    pub folders: Vec<PathBuf>,
    /// By folder, then by id.
    pub models: Vec<Listed>,
    pub unreadable: Vec<Unreadable>,
}

/// A bundle, by its description alone.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// File name without the ending.
    pub id: String,
    pub path: PathBuf,
    pub name: Option<String>,
    pub labels: Vec<String>,
    /// The planes that it sees.
    pub plane: Plane,
    /// Neighbouring slices on each side that it sees too.
    pub context: usize,
    pub licence: Option<String>,
    pub intended_use: Option<String>,
    /// Figures on the validation cases.
    pub validation: Vec<ValidationFigures>,
}

/// A file that is called like a bundle and is none.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

impl Catalog {
    /// The bundles that lie in `folders`; folders that are not there hold none.
    fn of(folders: Vec<PathBuf>) -> Self {
        let mut catalog = Catalog::default();
        for folder in &folders {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            paths.sort();
            // What a training run goes on from is not for use.
            if folder.join(CHECKPOINT).exists() {
                paths.retain(|path| !path.ends_with(CHECKPOINT) && !path.ends_with(BEST));
            }
            for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "safetensors")) {
                match Listed::read(&path) {
                    Ok(Some(model)) if catalog.models.iter().all(|known| known.id != model.id) => {
                        catalog.models.push(model);
                    }
                    Ok(_) => {}
                    Err(error) => catalog.unreadable.push(Unreadable { path, reason: error.to_string() }),
                }
            }
        }
        catalog.folders = folders;
        catalog
    }

    /// The bundles in one folder, which must be there.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        fs::read_dir(folder).map_err(|source| Error::io(folder, "open", source))?;
        Ok(Catalog::of(vec![folder.to_path_buf()]))
    }

    /// What is installed beside the program or library in the folder `home`, and what the manifest's variable names.
    pub fn installed(home: Option<&Path>) -> Result<Self> {
        let searched = &manifest()?.models;
        let named = env::var_os(&searched.variable).unwrap_or_default();
        let named = env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty());
        let beside = home.into_iter().flat_map(|home| searched.folders.iter().map(|folder| home.join(folder)));
        let beside = beside.filter_map(|folder| folder.canonicalize().ok());
        Ok(Catalog::of(named.chain(beside).collect()))
    }

    fn ids(&self) -> String {
        if self.models.is_empty() {
            return "none".into();
        }
        self.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Listed {
    /// `None` for safetensors without a description.
    fn read(path: &Path) -> Result<Option<Self>> {
        let checkpoint = Checkpoint::open(path)?;
        if checkpoint.kind != Kind::Bundle {
            return Ok(None);
        }
        let (config, _) = checkpoint.describe()?;
        let training = config.provenance.and_then(|provenance| provenance.training);
        Ok(Some(Listed {
            id: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_path_buf(),
            name: config.name,
            labels: config.labels.into_iter().map(|label| label.name).collect(),
            plane: config.input.plane,
            context: config.input.context,
            licence: config.licence,
            intended_use: config.intended_use,
            validation: training.map(|training| training.validation).unwrap_or_default(),
        }))
    }
}

/// Whether a file is called like weights.
pub fn is_weights(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The weights file that `model` means: a file, a folder with one bundle, or the id of an installed model; see
/// [`Catalog::installed`] for `home`.
pub fn find(model: &Path, home: Option<&Path>) -> Result<PathBuf> {
    if model.is_file() {
        return Ok(model.to_path_buf());
    }
    if model.is_dir() {
        let found = Catalog::of(vec![model.to_path_buf()]);
        return match &found.models[..] {
            [one] => Ok(one.path.clone()),
            _ => Err(Error::Argument(format!(
                "{}: a folder with {} bundles ({}), expected one; name the file",
                model.display(),
                found.models.len(),
                found.ids()
            ))),
        };
    }
    if model.components().count() != 1 || is_weights(model) {
        return Err(Error::io(model, "open", std::io::ErrorKind::NotFound.into()));
    }
    let installed = Catalog::installed(home)?;
    match installed.models.iter().find(|known| Path::new(&known.id) == model) {
        Some(known) => Ok(known.path.clone()),
        None => Err(Error::Argument(format!(
            "{}: neither a file nor an installed model; installed: {}",
            model.display(),
            installed.ids()
        ))),
    }
}
