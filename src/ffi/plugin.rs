//! What hosts ask before they run anything: the plugin's manifest, and the models to choose from.

use std::ffi::CString;
#[cfg(unix)]
use std::ffi::{CStr, OsStr};
#[cfg(unix)]
use std::mem::zeroed;
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::ptr;
use std::sync::OnceLock;

use libc::c_char;

use crate::catalog::Catalog;
use crate::ffi::error::transunet_error;
use crate::ffi::guard::create;
use crate::ffi::library::transunet_status;
use crate::ffi::text::{json_text, path_in, transunet_text};
use crate::manifest::manifest;

/// plugin_manifest.yaml as JSON: {"id","title","version","abi":{"generation","revision"},"category","description",
/// "modules":[{"id","title","entry_point","groups":[{"label","parameters":[...]}]}],"models":{...},...}. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn transunet_plugin_manifest() -> *const c_char {
    static JSON: OnceLock<Option<CString>> = OnceLock::new();
    let json = JSON.get_or_init(|| manifest().and_then(json_text).ok());
    json.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

/// Lists the bundles in `folder`, as JSON: {"folders":[...],"models":[{"id","path","name","labels":[names],"plane",
/// "context","licence","intended_use","validation":[{"label","dice_mean",...}]}],"unreadable":[{"path","reason"}]}. NULL =
/// the installed models: those in the folders of the environment variable TRANSUNET_MODELS (as in PATH), then in
/// ../share/transunet/models and models beside the library; of two with one id the first counts. Only descriptions are
/// read. Free `*out` with transunet_text_free. Statuses: INVALID_ARGUMENT, IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_models_list(
    folder: *const c_char,
    out: *mut *mut transunet_text,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let catalog = if folder.is_null() {
            Catalog::installed(home().as_deref())?
        } else {
            Catalog::of_folder(path_in(folder, "folder")?)?
        };
        transunet_text::json(&catalog)
    })
}

/// The folder of this library, where the system can say it.
#[cfg(unix)]
pub(super) fn home() -> Option<PathBuf> {
    let here: extern "C" fn() -> *const c_char = transunet_plugin_manifest;
    // SAFETY: dladdr fills the struct or returns 0; the name lives as long as the library.
    unsafe {
        let mut found: libc::Dl_info = zeroed();
        if libc::dladdr(here as *const libc::c_void, &raw mut found) == 0 || found.dli_fname.is_null() {
            return None;
        }
        let file = Path::new(OsStr::from_bytes(CStr::from_ptr(found.dli_fname).to_bytes()));
        Some(file.canonicalize().ok()?.parent()?.to_path_buf())
    }
}

/// Models beside the library are not found here; the environment variable and paths work.
#[cfg(not(unix))]
pub(super) fn home() -> Option<PathBuf> {
    None
}
