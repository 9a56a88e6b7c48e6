//! Where fetched images lie while they are needed: a folder that only this user can open, gone at the end; at the latest
//! when the next process fetches some, should this one be killed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use transunet::Error;
use transunet::atomic_file::{abandoned, claim};

use super::super::failure::{About, Code, Outcome};

/// Folders that are still there.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub struct Folder {
    path: PathBuf,
    /// Held for as long as somebody needs the folder.
    _lock: File,
}

/// Not that of any folder that a user would make: what lies in these is removed.
const PREFIX: &str = "transunet-fetched-";
/// The file in a folder that is locked.
const LOCK: &str = "lock";

impl Folder {
    pub fn new() -> Outcome<Self> {
        let parent = std::env::temp_dir();
        tidy(&parent);
        loop {
            if let Some(folder) = Self::made_in(&parent)? {
                return Ok(folder);
            }
        }
    }

    /// `None` where another process took it for an abandoned one before it was locked.
    fn made_in(parent: &Path) -> Outcome<Option<Self>> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o700));
        }
        let failed = |source| Error::io(parent, "create a folder for fetched images in", source);
        let made = builder.tempdir_in(parent).map_err(failed).about(Code::Input)?;
        let lock = File::create_new(made.path().join(LOCK)).map_err(failed).about(Code::Input)?;
        if !claim(&lock) {
            return Ok(None);
        }
        let path = made.keep();
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Ok(Some(Folder { path, _lock: lock }))
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

/// Removes what this user's killed processes have left: their locks ended with them.
fn tidy(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(_lock) = abandoned(&entry.path().join(LOCK))
        {
            remove(&entry.path());
        }
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
        // While it is needed, others leave it alone; what has no lock is not ours.
        let parent = path.parent().unwrap();
        tidy(parent);
        assert!(place.join("0.dcm").exists());
        let left = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).unwrap();
        fs::write(left.path().join("1.dcm"), "x").unwrap();
        tidy(parent);
        assert!(left.path().exists());
        fs::write(left.path().join(LOCK), "").unwrap();
        tidy(parent);
        assert!(!left.path().exists() && place.join("0.dcm").exists());
        drop(folder);
        assert!(!path.exists());
    }
}
