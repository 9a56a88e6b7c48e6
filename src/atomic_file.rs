//! Files that appear whole or not at all: written beside their target, then renamed over it.
//!
//! A process that is killed while it writes leaves its temporary file. Writers hold a lock on theirs, which ends with them,
//! so that the next process that writes into the folder knows which ones nobody writes any more, and removes them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
#[cfg(unix)]
use std::io::ErrorKind;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// What the names of temporary files begin with; six random characters follow.
const PREFIX: &str = ".transunet-";

/// Creates or replaces `path` with what `fill` writes. A failure leaves an earlier file as it was.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut file = beside(path)?;
    let mut buffered = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    fill(&mut buffered).and_then(|()| buffered.flush()).map_err(|e| Error::io(path, "write", e))?;
    drop(buffered);
    persist(file, path)
}

/// A temporary file in the folder of `path`, readable like any new file; gone when dropped.
pub fn beside(path: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        let missing = io::Error::new(io::ErrorKind::NotFound, format!("there is no folder {}", folder.display()));
        return Err(Error::io(path, "create", missing));
    }
    tidy(folder);
    let mut builder = Builder::new();
    builder.prefix(PREFIX).rand_bytes(6);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask still applies; the default of temporary files would hide results from colleagues.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(folder).map_err(|e| Error::io(path, "create", e))?;
        if claim(file.as_file()) {
            return Ok(file);
        }
    }
}

/// Locks a new file for as long as it is open. `false` where somebody took it for an abandoned one before it was locked.
pub fn claim(file: &File) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        // Some file systems have no locks: then nobody tidies either.
        Err(TryLockError::Error(_)) => true,
        Ok(()) => has_name(file),
    }
}

#[cfg(unix)]
fn has_name(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

#[cfg(not(unix))]
fn has_name(_file: &File) -> bool {
    true
}

/// The lock of a file that nobody writes any more, `None` where somebody does.
pub fn abandoned(path: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).open(path).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Removes what killed processes have left in `folder`; looked at once in the life of a process.
fn tidy(folder: &Path) {
    static TIDIED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !TIDIED.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_path_buf()) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let temporary = |name: &str| name.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 6 && rest.is_ascii());
        if !entry.file_name().to_str().is_some_and(temporary) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if let Some(_lock) = abandoned(&entry.path())
            && fs::remove_file(entry.path()).is_ok()
        {
            log::debug!("{}: removed, a process that was killed had left it", entry.path().display());
        }
    }
}

/// Renames a file made by [`beside`] to `path`, after its bytes have reached the disk; then the new name reaches it too.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(|e| Error::io(path, "write", e))?;
    file.persist(path).map(drop).map_err(|e| Error::io(path, "write", e.error))?;
    sync_folder(folder_of(path)).map_err(|e| Error::io(path, "write", e))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot, and some folders may be written but not read.
        Err(e)
            if [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::PermissionDenied].contains(&e.kind()) =>
        {
            Ok(())
        }
        done => done,
    }
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".transunet-aB3xYz", ".transunet-notes.txt", "transunet-aB3xYz", ".transunet-"] {
            fs::write(at(name), "left").unwrap();
        }
        let others = Builder::new().prefix(PREFIX).tempfile_in(folder.path()).unwrap();
        assert!(claim(others.as_file()));
        let own = beside(&at("a")).unwrap();
        assert!(!at(".transunet-aB3xYz").exists(), "nobody writes it");
        assert!(own.path().exists() && others.path().exists(), "they are locked");
        assert!(abandoned(own.path()).is_none());
        assert!(at(".transunet-notes.txt").exists() && at("transunet-aB3xYz").exists() && at(".transunet-").exists());
        // Taken away before it was locked: make another.
        let gone = Builder::new().prefix(PREFIX).tempfile_in(folder.path()).unwrap();
        fs::remove_file(gone.path()).unwrap();
        assert!(!claim(gone.as_file()));
        persist(own, &at("a")).unwrap();
        assert!(at("a").exists());
        assert!(abandoned(&at("a")).is_some(), "what is done is not locked");
    }
}
