//! The output folder: what its results were made with, and results that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transunet::precision::ComputePrecision;
use transunet::weights::Checkpoint;
use transunet::{Error, Result, atomic_file, config};

use super::super::failure::{About, Code, Failure, Outcome};
use super::manifest::{Claim, Known, Manifest};
use super::shard::{Shard, hex};

const SETTINGS: &str = "batch.json";
/// What a result folder holds, besides "segmentation.*".
pub const PICTURE: &str = "picture.png";
pub const REPORT: &str = "report.json";
pub const SEGMENTATION: &str = "segmentation";

/// What all results of an output folder have in common; written there by the first run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub format: u32,
    pub model: ModelId,
    /// Of the segmentations of DICOM series and of volume files.
    pub series_formats: Vec<String>,
    pub file_formats: Vec<String>,
    pub picture: bool,
    pub report: bool,
    /// Form of DICOM SEG objects.
    pub seg_type: String,
    pub seg_compression: String,
    /// What becomes of a tilted series.
    pub tilt: String,
    #[serde(default)]
    pub precision: ComputePrecision,
    /// Version that began the folder.
    pub transunet: String,
}

/// Which model: its content, wherever the file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// Of the file.
    pub name: String,
    pub sha256: String,
    /// Of the description beside a checkpoint that has none of its own.
    pub description_sha256: Option<String>,
}

impl ModelId {
    pub fn of(path: &Path) -> Result<Self> {
        let own = Checkpoint::open(path)?.config.is_some();
        let beside = config::beside(path).filter(|_| !own);
        Ok(ModelId {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sha256: sha256(path)?,
            description_sha256: beside.map(|beside| sha256(&beside)).transpose()?,
        })
    }
}

fn sha256(path: &Path) -> Result<String> {
    let hash = || {
        let (mut hash, mut file) = (Sha256::new(), BufReader::with_capacity(1 << 20, File::open(path)?));
        loop {
            let chunk = file.fill_buf()?;
            if chunk.is_empty() {
                return Ok(hex(&hash.finalize()));
            }
            hash.update(chunk);
            let read = chunk.len();
            file.consume(read);
        }
    };
    hash().map_err(|source| Error::io(path, "read", source))
}

impl Settings {
    /// Refuses an output folder whose results were made with others; one without results suits all.
    pub fn check(&self, folder: &Path) -> Outcome {
        let path = folder.join(SETTINGS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|source| Error::io(&path, "read", source)).about(Code::Output)?,
        };
        let refuse = |what: String| {
            let hint = "choose another output folder, or the model and options of this one";
            Err(Failure::new(Code::Output, format!("{}: {what}", folder.display()), hint))
        };
        let earlier: Settings = match serde_json::from_str(&text) {
            Ok(settings) => settings,
            Err(error) => return refuse(format!("{SETTINGS} is not what transunet batch writes: {error}")),
        };
        if earlier.model.sha256 != self.model.sha256
            || earlier.model.description_sha256 != self.model.description_sha256
        {
            let id = |model: &ModelId| {
                let beside =
                    model.description_sha256.as_ref().map_or(String::new(), |sha| format!(", description {sha:.12}"));
                format!("{} (SHA-256 {:.12}{beside})", model.name, model.sha256)
            };
            return refuse(format!("holds results of {}, not of {}", id(&earlier.model), id(&self.model)));
        }
        let options = |settings: &Settings| {
            let yes = |on: bool| if on { "yes" } else { "no" };
            format!(
                "formats {} for DICOM series and {} for volume files, DICOM SEG {} with compression {}, tilt {}, picture {}, \
                 report {}, precision {}",
                settings.series_formats.join(","),
                settings.file_formats.join(","),
                settings.seg_type,
                settings.seg_compression,
                settings.tilt,
                yes(settings.picture),
                yes(settings.report),
                settings.precision
            )
        };
        if options(&earlier) != options(self) || earlier.format != self.format {
            return refuse(format!("holds results with {}; asked for: {}", options(&earlier), options(self)));
        }
        if earlier.transunet != self.transunet {
            log::warn!("{}: begun by transunet {}, this is {}", folder.display(), earlier.transunet, self.transunet);
        }
        Ok(())
    }
}

pub struct Folder {
    path: PathBuf,
    /// Results on their way, of this process alone.
    unfinished: PathBuf,
    claim: Option<Claim>,
}

impl Folder {
    /// Makes the folder if need be, and marks it with `settings`; other parts may do the same at the same time. What this
    /// part left unfinished before is taken away.
    pub fn open(path: &Path, settings: &Settings, shard: Option<Shard>) -> Outcome<Self> {
        let failed = |source| Error::io(path, "create", source);
        fs::create_dir_all(path).map_err(failed).about(Code::Output)?;
        settings.check(path)?;
        let claim = Claim::new(path, shard)?;
        let unfinished = path.join(shard.map_or(".unfinished".into(), |shard| format!(".unfinished-{shard}")));
        remove(&unfinished).and_then(|()| fs::create_dir(&unfinished)).map_err(failed).about(Code::Output)?;
        let folder = Folder { path: path.to_path_buf(), unfinished, claim: Some(claim) };
        folder.mark(settings)?;
        Ok(folder)
    }

    fn mark(&self, settings: &Settings) -> Outcome {
        let marks = self.path.join(SETTINGS);
        if !marks.exists() {
            let text = serde_json::to_string_pretty(settings).map_err(|e| Error::Internal(e.to_string()));
            let text = text.about(Code::Other)? + "\n";
            let mut file = atomic_file::beside(&self.unfinished.join(SETTINGS)).about(Code::Output)?;
            let written = file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all());
            let written = written.and_then(|()| match file.persist_noclobber(&marks) {
                Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
                _ => Ok(()),
            });
            written.map_err(|source| Error::io(&marks, "write", source)).about(Code::Output)?;
        }
        settings.check(&self.path)
    }

    /// Begins this part's manifest, see [`Claim::begin`].
    pub fn manifest(&mut self, keep: impl Fn(&Known) -> bool) -> Outcome<Manifest> {
        let claim = self.claim.take().ok_or_else(|| Error::Internal("the manifest is begun twice".into()));
        claim.about(Code::Other)?.begin(&self.unfinished, keep)
    }

    /// A place to write the results called `name` to.
    pub fn stage(&self, name: &str) -> Outcome<Stage> {
        let path = self.unfinished.join(name);
        fs::create_dir_all(&path).map_err(|source| Error::io(&path, "create", source)).about(Code::Output)?;
        Ok(Stage { path, result: self.path.join(name), name: name.to_owned() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove(&self.unfinished);
    }
}

/// Removes a folder that may not be there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Results on their way; gone when dropped, unless published.
pub struct Stage {
    path: PathBuf,
    result: PathBuf,
    name: String,
}

impl Stage {
    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the files will be.
    pub fn result(&self) -> &Path {
        &self.result
    }

    /// Where earlier results wait to be removed.
    fn earlier(&self) -> PathBuf {
        self.path.with_file_name(format!(".earlier-{}", self.name))
    }

    /// Puts the results in their place, instead of earlier ones; returns their paths below the output folder.
    pub fn publish(self) -> Outcome<Vec<String>> {
        let failed = |source| Error::io(&self.result, "write", source);
        let mut outputs = names(&self.path).map_err(failed).about(Code::Output)?;
        outputs.sort();
        match names(&self.result) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)).about(Code::Output),
            Ok(earlier) => {
                if let Some(other) = earlier.iter().find(|name| !is_result(name)) {
                    let place = self.result.join(other);
                    let error = io::Error::new(io::ErrorKind::AlreadyExists, "it is no result of transunet batch");
                    return Err(Error::io(place, "be replaced", error)).about(Code::Output);
                }
                // Aside in one step, so that a kill leaves no half of them; it goes with what is unfinished.
                fs::rename(&self.result, self.earlier()).map_err(failed).about(Code::Output)?;
            }
        }
        if let Err(error) = fs::rename(&self.path, &self.result) {
            let _ = fs::rename(self.earlier(), &self.result);
            return Err(failed(error)).about(Code::Output);
        }
        let _ = remove(&self.earlier());
        Ok(outputs.into_iter().map(|output| format!("{}/{output}", self.name)).collect())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    folder.read_dir()?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn is_result(name: &str) -> bool {
    name == PICTURE || name == REPORT || name.strip_prefix(SEGMENTATION).is_some_and(|rest| rest.starts_with('.'))
}
