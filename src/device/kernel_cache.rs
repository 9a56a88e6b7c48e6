//! Where compiled kernels and what tuning found are kept for later processes. CubeCL has one place for a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};

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
    // CubeCL goes on without a folder that it cannot write.
    let folder = kernel_cache().unwrap_or_else(|| "/dev/null/transunet".into()).join(word);
    log::info!("kernels are kept in {}", folder.display());
    imp::hand_over(folder, alike);
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
mod imp {
    use std::path::PathBuf;
    use std::sync::Arc;

    use cubecl_runtime::config::cache::CacheConfig;
    use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

    /// Leaves out what CubeCL would read by itself: files in the working folder, and variables.
    pub fn hand_over(folder: PathBuf, alike: bool) {
        let mut config = CubeClRuntimeConfig::default();
        config.compilation.cache = alike.then(|| CacheConfig::File(folder.clone()));
        config.autotune.cache = CacheConfig::File(folder);
        CubeClRuntimeConfig::storage().lock().get_or_insert_with(|| Arc::new(config));
    }
}

#[cfg(not(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
mod imp {
    pub fn hand_over(_folder: std::path::PathBuf, _alike: bool) {}
}
