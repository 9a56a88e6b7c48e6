//! Where compiled kernels and what tuning found are kept for later processes. CubeCL has one place for a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};

/// What must be free: the kernels of a whole training take some MB.
const ROOM: u64 = 64 << 20;

/// The folder that was asked for.
static WISH: OnceLock<PathBuf> = OnceLock::new();

/// Chooses the folder, which is made if need be; the first choice holds, for the life of the process.
pub fn keep_kernels_in(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    let held = WISH.get_or_init(|| folder.to_path_buf());
    if held != folder {
        log::warn!("kernels are kept in {} already, not in {}", held.display(), folder.display());
    }
    Ok(())
}

/// Where they are kept: as chosen, else in the user's folder for caches; `None` where there is none.
pub fn kernel_cache() -> Option<PathBuf> {
    WISH.get().cloned().or_else(|| Some(dirs::cache_dir()?.join("transunet/kernels")))
}

/// Tells CubeCL, before it does anything; later calls change nothing. `hardware` tells apart what kernels are compiled for,
/// which CubeCL's own names do not; `alike` says that all GPUs of this machine are of that kind.
pub(super) fn hand_over(hardware: &str, alike: bool) {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut *done, true) {
        return;
    }
    let word: String = hardware.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let folder = kernel_cache().map(|folder| folder.join(word)).filter(|folder| match check(folder) {
        Ok(()) => true,
        Err(reason) => {
            log::warn!("kernels are not kept and will be compiled again: {}: {reason}", folder.display());
            false
        }
    });
    if let Some(folder) = &folder {
        log::info!("kernels are kept in {}", folder.display());
    }
    imp::hand_over(folder, alike);
}

/// Makes the folder, and sees that files can be written into it: CubeCL 0.10 panics where compiled kernels cannot be.
fn check(folder: &Path) -> std::result::Result<(), String> {
    fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder)).map_err(|error| error.to_string())?;
    match space(folder) {
        Some(bytes) if bytes < ROOM => Err(format!("{} MiB are free, expected {}", bytes >> 20, ROOM >> 20)),
        _ => Ok(()),
    }
}

/// Free bytes for this user, where the system says.
fn space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    return None;
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
mod imp {
    use std::path::PathBuf;
    use std::sync::Arc;

    use cubecl_runtime::config::cache::CacheConfig;
    use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

    /// Leaves out what CubeCL would read by itself: files in the working folder, and variables.
    pub fn hand_over(folder: Option<PathBuf>, alike: bool) {
        let mut config = CubeClRuntimeConfig::default();
        config.compilation.cache = folder.clone().filter(|_| alike).map(CacheConfig::File);
        // What tuning found CubeCL always keeps, unless it cannot.
        config.autotune.cache = CacheConfig::File(folder.unwrap_or_else(|| "/dev/null/transunet".into()));
        CubeClRuntimeConfig::storage().lock().get_or_insert_with(|| Arc::new(config));
    }
}

#[cfg(not(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
mod imp {
    pub fn hand_over(_folder: Option<std::path::PathBuf>, _alike: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_that_can_be_written() {
        let root = tempfile::tempdir().unwrap();
        check(&root.path().join("some/where")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        assert!(check(&root.path().join("file/card")).unwrap_err().contains("Not a directory"));
        assert!(check(Path::new("/dev/null/transunet")).is_err());
        assert!(space(root.path()).is_some_and(|bytes| bytes > 0));
    }
}
