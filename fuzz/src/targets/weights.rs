//! Weights: PyTorch checkpoints, NumPy archives, safetensors and bundles.
//!
//! What zip archives hold is guarded by checksums that no mutation survives, so an input that is no archive is put into
//! one: a pickle beside storages, or a NumPy array.

use std::path::Path;

use transunet::data::StoredFiles;
use transunet::network::Architecture;
use transunet::weights::{Checkpoint, check, check_initial, infer_architecture};

use super::volumes::stored;
use super::{Place, Target};
use zip::Zip;

#[path = "../../../tests/common/checkpoints.rs"]
#[allow(dead_code)] // it writes whole checkpoints, too
pub mod zip;

/// What `Format::of` knows a stream of pickles by.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a";
const ARCHIVE: &[u8] = b"PK\x03\x04";

/// A checkpoint of either kind, or the pickle of one.
pub(super) fn pth() -> Target {
    let place = Place::new();
    Box::new(move |bytes| {
        if bytes.starts_with(ARCHIVE) || bytes.starts_with(LEGACY) {
            return read(&place.put("x.pth", bytes));
        }
        let mut archive = Zip::new(Vec::new());
        archive.store("archive/data.pkl", bytes);
        for (key, size) in [("0", 64), ("1", 24), ("2", 8)] {
            archive.store(&format!("archive/data/{key}"), &[0x3f; 64][..size]);
        }
        read(&place.put("x.pth", &archive.finish()));
    })
}

/// An archive, or one array: of Google's weights and of prepared data.
pub(super) fn npz() -> Target {
    let place = Place::new();
    Box::new(move |bytes| {
        let path = if bytes.starts_with(ARCHIVE) {
            place.put("x.npz", bytes)
        } else {
            let mut archive = Zip::new(Vec::new());
            for name in ["image.npy", "label.npy", "embedding/kernel.npy"] {
                archive.store(name, bytes);
            }
            place.put("x.npz", &archive.finish())
        };
        read(&path);
        stored(StoredFiles::Slices(vec![path]));
    })
}

/// A safetensors file.
pub(super) fn bundle() -> Target {
    let place = Place::new();
    Box::new(move |bytes| read(&place.put("x.safetensors", bytes)))
}

/// Looks at everything that a file of weights can say.
fn read(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    let _ = infer_architecture(&checkpoint);
    let described = checkpoint.describe().map(|(config, _)| config.architecture);
    let architecture = described.unwrap_or_else(|_| Architecture::tiny(32, 3));
    let _ = check(&checkpoint, &architecture);
    let _ = check_initial(&checkpoint, &architecture);
    for (name, entry) in &checkpoint.tensors {
        if let Ok(values) = checkpoint.read(name) {
            assert_eq!(values.len(), entry.shape().iter().product::<usize>(), "{name}");
        }
        let _ = checkpoint.read_for(name, &architecture, false);
    }
}
