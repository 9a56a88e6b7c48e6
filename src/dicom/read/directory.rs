//! DICOMDIR: the files that the directory of a medium names (PS3.3 annex F, PS3.10 section 8.6).

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use dicom::dictionary_std::{tags, uids};

use super::file::DicomFile;
use crate::dicom::lookup::{items, text, whole};
use crate::error::{Error, Result};

/// Directories of real media take some hundred bytes a file.
const LARGEST: u64 = 256 << 20;

/// A file that a directory names.
pub(in crate::dicom) struct Listed {
    pub path: PathBuf,
    /// The series whose record comes before the file's. Directories are written in that order, but need not be.
    pub series_uid: Option<String>,
}

/// The image files that the directory at `path` names and that are in use, as they are called on disk, in its order;
/// `None`: not a DICOMDIR. A file that is not there is named all the same: whoever needs it says so.
pub(super) fn files(path: &Path) -> Result<Option<Vec<Listed>>> {
    if !is_directory(path)? {
        return Ok(None);
    }
    let refuse = |reason: String| Error::DicomParse(format!("{}: {reason}", path.display()));
    let object = DicomFile::whole(path, LARGEST)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    let mut series_uid = None;
    for record in items(&object, tags::DIRECTORY_RECORD_SEQUENCE) {
        // PS3.3 table F.3-3: 0000H is inactive, FFFFH in use.
        let in_use = whole(record, tags::RECORD_IN_USE_FLAG) != Some(0);
        match text(record, tags::DIRECTORY_RECORD_TYPE).as_deref() {
            Some("IMAGE") if in_use => {}
            Some("SERIES") => {
                series_uid = text(record, tags::SERIES_INSTANCE_UID);
                continue;
            }
            _ => continue,
        }
        let parts = record.get(tags::REFERENCED_FILE_ID).and_then(|id| id.to_multi_str().ok());
        let Some(parts) = parts.filter(|parts| !parts.is_empty()) else {
            return Err(refuse("an image record without ReferencedFileID (0004,1500)".into()));
        };
        let mut place = folder.to_path_buf();
        for part in parts.iter() {
            let part = part.trim_matches([' ', '\0']);
            // Eight characters of A-Z, 0-9 and underscore are allowed; nothing that leads out of the medium is followed.
            if part.is_empty() || part == "." || part == ".." || part.contains(['/', '\\', '\0']) {
                return Err(refuse(format!("ReferencedFileID (0004,1500) has the part {part:?}, expected a name")));
            }
            place = on_disk(&place, part);
        }
        files.push(Listed { path: place, series_uid: series_uid.clone() });
    }
    Ok(Some(files))
}

/// Whether the file begins as one of Media Storage Directory class.
fn is_directory(path: &Path) -> Result<bool> {
    let mut mark = [0; 132];
    let begun = File::open(path).and_then(|mut file| file.read_exact(&mut mark));
    if begun.is_err() || mark[128..] != *b"DICM" {
        return Ok(false);
    }
    let class = DicomFile::open(path).ok().flatten().map(|file| file.media_class);
    Ok(class.as_deref() == Some(uids::MEDIA_STORAGE_DIRECTORY_STORAGE))
}

/// `name` in `folder`, in the case that the disk has it: media are mounted in either.
fn on_disk(folder: &Path, name: &str) -> PathBuf {
    let exact = folder.join(name);
    if exact.exists() {
        return exact;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok());
    let found = entries.map(|entry| entry.file_name()).find(|other| other.to_string_lossy().eq_ignore_ascii_case(name));
    folder.join(found.unwrap_or_else(|| name.into()))
}
