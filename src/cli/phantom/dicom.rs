//! The phantom as a series of DICOM images.

use std::path::{Path, PathBuf};

use transunet::{Error, Result, atomic_file};

use super::Phantom;
use super::image::{INTERCEPT, image};

/// Writes `slice-001.dcm` and so on into `folder`, which exists; the same phantom always gives the same bytes.
pub fn write_series(phantom: &Phantom, folder: &Path) -> Result<Vec<PathBuf>> {
    let Phantom { seed, geometry, voxels, .. } = phantom;
    let slices = voxels.chunks_exact(geometry.slice_len()).enumerate();
    slices
        .map(|(k, slice)| {
            let path = folder.join(format!("slice-{:03}.dcm", k + 1));
            let stored = slice.iter().map(|&hu| (hu - INTERCEPT) as u16).collect();
            let mut bytes = Vec::new();
            image(*seed, geometry, k, stored)?
                .write_all(&mut bytes)
                .map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
            atomic_file::write(&path, |out| out.write_all(&bytes))?;
            Ok(path)
        })
        .collect()
}
