//! Where fetched images lie while they are needed: a folder that only this user can open, gone at the end.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use transunet::Error;

use super::super::failure::{About, Code, Outcome};

/// Folders that are still there.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new() -> Outcome<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("transunet-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o700));
        }
        let failed = |source| Error::io(std::env::temp_dir(), "create a folder for fetched images in", source);
        let path = builder.tempdir().map_err(failed).about(Code::Input)?.keep();
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Ok(Folder { path })
    }

    /// Folder number `n` in it.
    pub fn place(&self, n: usize) -> Outcome<PathBuf> {
        let place = self.path.join(n.to_string());
        fs::create_dir(&place).map_err(|source| Error::io(&place, "create", source)).about(Code::Input)?;
        Ok(place)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.path);
        remove(&self.path);
    }
}

/// For an end of the program that drops nothing.
pub fn remove_all() {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|path| remove(path));
}

/// Work that was left alone may still finish a file; it begins none.
fn remove(path: &Path) {
    for _ in 0..10 {
        match fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    log::warn!("{}: cannot be removed, and holds images of a PACS", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_the_user_can_open_it_and_it_goes() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new().unwrap();
        let place = folder.place(0).unwrap();
        let path = place.parent().unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(place.join("0.dcm"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
