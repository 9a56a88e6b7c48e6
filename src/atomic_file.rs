//! Files that appear whole or not at all: written beside their target, then renamed over it.

#[cfg(unix)]
use std::fs::File;
#[cfg(unix)]
use std::io::ErrorKind;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

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
    let mut builder = Builder::new();
    builder.prefix(".transunet-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask still applies; the default of temporary files would hide results from colleagues.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).map_err(|e| Error::io(path, "create", e))
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
