//! What is done with an input: each target reads it as a host would, and holds the library to what it promises.
//! libFuzzer runs them on mutated inputs, tests/fuzzed.rs on those that are kept.

pub mod api;
mod dicom;
mod text;
mod volumes;
pub mod weights;

use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Takes one input after the other; keeps what it needs between them.
pub type Target = Box<dyn FnMut(&[u8])>;

pub const NAMES: [&str; 11] =
    ["dicom", "series", "labels", "pth", "npz", "bundle", "nrrd", "nifti", "h5", "yaml", "api"];

/// The target called `name`.
pub fn target(name: &str) -> Option<Target> {
    Some(match name {
        "dicom" => dicom::file(),
        "series" => dicom::series(),
        "labels" => dicom::labels(),
        "pth" => weights::pth(),
        "npz" => weights::npz(),
        "bundle" => weights::bundle(),
        "nrrd" => volumes::nrrd(),
        "nifti" => volumes::nifti(),
        "h5" => volumes::h5(),
        "yaml" => text::yaml(),
        "api" => api::sequences(),
        _ => return None,
    })
}

/// Calls `fault` at each panic of the library itself, caught or not. Those of the libraries that it reads files with are
/// not counted: it catches them, and makes errors of them.
pub fn watch(fault: impl Fn(&PanicHookInfo) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |info| {
        let foreign = info.location().is_some_and(|place| place.file().contains("/registry/src/"));
        if !foreign {
            fault(info);
        }
    }));
}

/// A folder for a target's files, in memory where that is possible: outputs are written through to the disk otherwise.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let memory = std::env::var_os("TMPDIR").map_or_else(|| "/dev/shm".into(), PathBuf::from);
        Place(tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file that holds `bytes`.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a file in the temporary folder");
        path
    }
}
