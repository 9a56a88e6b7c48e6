//! The manifest: one line of JSON for each series, appended when it is known what became of it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use transunet::statistics::LabelStatistics;
use transunet::{Error, atomic_file};

use super::super::failure::{About, Code, Failure, Outcome};
use super::folder::ModelId;
use super::shard::Shard;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Done,
    /// There is nothing to segment, or it was not chosen.
    Skipped,
    Failed,
    /// Only a dry run says this.
    Todo,
}

/// What a line says before any work.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Of the result folder; tells series apart.
    pub name: String,
    /// Below the input folder: folders that hold images of the series, or the file.
    pub paths: Vec<String>,
    pub series_uid: Option<String>,
    pub study_uid: Option<String>,
    pub modality: Option<String>,
    pub description: Option<String>,
    pub images: Option<usize>,
    /// Changes when images come, go or change.
    pub input: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Line<'a> {
    #[serde(flatten)]
    pub facts: &'a Facts,
    pub status: Status,
    /// Why it was skipped.
    pub reason: Option<&'a str>,
    pub error: Option<Fault>,
    /// Below the output folder.
    pub outputs: Vec<String>,
    /// Addresses of the PACS that stored them.
    pub sent: Vec<String>,
    pub labels: Vec<LabelVolume>,
    pub seconds: Option<f64>,
    pub model: Option<&'a ModelId>,
    pub device: Option<&'a str>,
    pub versions: Versions,
    /// UTC.
    pub finished: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct LabelVolume {
    pub value: u8,
    pub name: String,
    pub volume_ml: f64,
}

impl LabelVolume {
    pub fn of(label: &LabelStatistics) -> Self {
        LabelVolume { value: label.value, name: label.name.clone(), volume_ml: label.volume_ml }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Name of the library's status.
    pub status: String,
    pub message: String,
    /// It ended the run and says nothing about the series, which the next run computes.
    pub ends_run: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    pub transunet: &'static str,
}

impl Default for Versions {
    fn default() -> Self {
        Versions { transunet: env!("CARGO_PKG_VERSION") }
    }
}

/// What a later run needs of a line.
#[derive(Debug, Deserialize)]
pub struct Known {
    pub name: String,
    pub status: Status,
    #[serde(default)]
    pub input: String,
    #[serde(default)]
    pub outputs: Vec<String>,
    #[serde(default)]
    pub sent: Vec<String>,
    #[serde(default)]
    pub error: Option<Fault>,
}

/// The manifest that this process alone writes.
pub struct Manifest {
    path: PathBuf,
    file: File,
    /// Held as long as the process writes.
    _lock: File,
}

/// The right to write a manifest.
pub struct Claim {
    path: PathBuf,
    lock: File,
}

impl Claim {
    /// Refuses if another process has it.
    pub fn new(folder: &Path, shard: Option<Shard>) -> Outcome<Self> {
        let name = file_name(shard);
        let lock_path = folder.join(format!(".{name}.lock"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|source| Error::io(&lock_path, "create", source)).about(Code::Output)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(
                    Code::Output,
                    format!("{}: another transunet batch is writing it", folder.join(&name).display()),
                    "wait for it or stop it; parts that run at the same time need --shard I/N, each with its own I",
                ));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => log::warn!("{}: cannot be locked ({error})", lock_path.display()),
        }
        Ok(Claim { path: folder.join(name), lock })
    }

    /// Begins to write: lines of earlier runs for which `keep` holds stay, of several for a series the last. The file is made
    /// in `staging`, a folder of this process alone whose rest is taken away after a kill.
    pub fn begin(self, staging: &Path, keep: impl Fn(&Known) -> bool) -> Outcome<Manifest> {
        let lines = read(&self.path)?;
        let last: HashMap<String, usize> =
            lines.iter().enumerate().map(|(n, (known, _))| (known.name.clone(), n)).collect();
        let path = self.path;
        let made = staging.join("manifest");
        atomic_file::write(&made, |out| {
            for (n, (known, text)) in lines.iter().enumerate() {
                if last[&known.name] == n && keep(known) {
                    writeln!(out, "{text}")?;
                }
            }
            Ok(())
        })
        .about(Code::Output)?;
        let placed = std::fs::rename(&made, &path).map_err(|source| Error::io(&path, "write", source));
        placed.about(Code::Output)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|source| Error::io(&path, "write", source)).about(Code::Output)?;
        Ok(Manifest { path, file, _lock: self.lock })
    }
}

impl Manifest {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line. One that says "done" has reached the disk when this returns; others are soon found out again.
    pub fn append(&mut self, line: &Line) -> Outcome {
        let text = to_json(line)? + "\n";
        let mut written = self.file.write_all(text.as_bytes());
        if line.status == Status::Done {
            written = written.and_then(|()| self.file.sync_data());
        }
        written.map_err(|source| Error::io(&self.path, "write", source)).about(Code::Output)
    }
}

pub fn to_json(line: &Line) -> Outcome<String> {
    serde_json::to_string(line).map_err(|e| Error::Internal(format!("manifest: {e}"))).about(Code::Other)
}

/// "manifest.jsonl", or "manifest-3-of-8.jsonl".
fn file_name(shard: Option<Shard>) -> String {
    match shard {
        Some(shard) => format!("manifest-{shard}.jsonl"),
        None => "manifest.jsonl".into(),
    }
}

/// The lines of all manifests in `folder`, whichever processes wrote or are writing them; none if there is no folder.
pub fn read_all(folder: &Path) -> Outcome<Vec<Known>> {
    let failed = |source| Error::io(folder, "read", source);
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed).about(Code::Output)?,
    };
    let mut known = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed).about(Code::Output)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("manifest") && name.ends_with(".jsonl") {
            known.extend(read(&path)?.into_iter().map(|(known, _)| known));
        }
    }
    Ok(known)
}

/// Lines and their texts. Behind the last whole line there may be a part of one: a process was killed as it wrote, or is
/// writing now.
fn read(path: &Path) -> Outcome<Vec<(Known, String)>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(|source| Error::io(path, "read", source)).about(Code::Output)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    let mut texts = text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()).peekable();
    while let Some((n, text)) = texts.next() {
        match serde_json::from_str::<Known>(text) {
            Ok(known) => lines.push((known, text.to_owned())),
            Err(_) if texts.peek().is_none() => log::info!("{}: half a line at its end", path.display()),
            Err(error) => {
                return Err(Failure::new(
                    Code::Output,
                    format!("{}: line {} is no line of a manifest: {error}", path.display(), n + 1),
                    "mend the line or take it away; its series is then computed again",
                ));
            }
        }
    }
    Ok(lines)
}
