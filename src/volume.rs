//! A volume: voxels in modality units (HU for CT) on a grid in patient space, wherever they came from.

use std::sync::Arc;

use rayon::prelude::*;

use crate::dicom::Series;
use crate::error::{Error, Result};
use crate::geometry::Geometry;

/// Slices that are decoded at a time, however many cores there are: 64 MiB of 512 x 512 pixels.
const AHEAD: usize = 64;

/// Immutable after construction; a DICOM volume decodes its slices when they are asked for.
#[derive(Debug)]
pub struct Volume {
    geometry: Geometry,
    voxels: Voxels,
    /// What the volume was made from, for messages and reports: a path or "memory".
    origin: String,
}

#[derive(Debug)]
enum Voxels {
    /// Slice after slice, row after row: `[k, j, i]`.
    Memory(Vec<f32>),
    Dicom(Arc<Series>),
}

impl Volume {
    /// A volume from `voxels` in `[k, j, i]` order (columns fastest), in modality units.
    pub fn from_memory(geometry: Geometry, voxels: Vec<f32>, origin: impl Into<String>) -> Result<Self> {
        if voxels.len() != geometry.len() {
            return Err(Error::Argument(format!(
                "{} voxels for a grid of {:?}, expected {}",
                voxels.len(),
                geometry.size,
                geometry.len()
            )));
        }
        Ok(Volume { geometry, voxels: Voxels::Memory(voxels), origin: origin.into() })
    }

    /// A volume whose slices are decoded from the files of `series`.
    pub fn from_series(series: Arc<Series>) -> Self {
        Volume {
            geometry: series.geometry.clone(),
            origin: format!("series {}", series.series_uid),
            voxels: Voxels::Dicom(series),
        }
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What the volume was made from, for messages and reports.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The DICOM series behind the volume, if there is one.
    pub fn series(&self) -> Option<&Arc<Series>> {
        match &self.voxels {
            Voxels::Dicom(series) => Some(series),
            Voxels::Memory(_) => None,
        }
    }

    /// All voxels, `[k, j, i]`, if they are in memory.
    pub fn voxels(&self) -> Option<&[f32]> {
        match &self.voxels {
            Voxels::Memory(voxels) => Some(voxels),
            Voxels::Dicom(_) => None,
        }
    }

    /// Fills `out` (`[rows, columns]`, row by row) with slice `k` in modality units.
    pub fn read_slice(&self, k: usize, out: &mut [f32]) -> Result<()> {
        let len = self.geometry.slice_len();
        if k >= self.geometry.slices() || out.len() != len {
            return Err(Error::Internal(format!(
                "slice {k} into {} pixels, volume is {:?}",
                out.len(),
                self.geometry.size
            )));
        }
        match &self.voxels {
            Voxels::Memory(voxels) => {
                out.copy_from_slice(&voxels[k * len..(k + 1) * len]);
                Ok(())
            }
            Voxels::Dicom(series) => series.decode_slice(k, out),
        }
    }

    /// Hands all slices to `visit`, first to last. Those of files are decoded on all cores, at most [`AHEAD`] at a time.
    pub fn for_each_slice(&self, mut visit: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let len = self.geometry.slice_len();
        if let Voxels::Memory(voxels) = &self.voxels {
            return voxels.chunks_exact(len).enumerate().try_for_each(|(k, slice)| visit(k, slice));
        }
        let slices = self.geometry.slices();
        let ahead = AHEAD.min(2 * rayon::current_num_threads()).min(slices);
        let mut pixels = vec![0.0; ahead * len];
        for first in (0..slices).step_by(ahead) {
            let pixels = &mut pixels[..ahead.min(slices - first) * len];
            self.read_slices(first, pixels)?;
            pixels.chunks_exact(len).zip(first..).try_for_each(|(slice, k)| visit(k, slice))?;
        }
        Ok(())
    }

    /// Fills `out`, `[k, j, i]`, with slices `first..`, decoded on all cores.
    fn read_slices(&self, first: usize, out: &mut [f32]) -> Result<()> {
        let slices = out.par_chunks_exact_mut(self.geometry.slice_len()).enumerate();
        slices.try_for_each(|(n, slice)| self.read_slice(first + n, slice))
    }

    /// All voxels, `[k, j, i]`. Prefer [`Volume::for_each_slice`] where slices will do.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let mut voxels = vec![0.0; self.geometry.len()];
        self.read_slices(0, &mut voxels)?;
        Ok(voxels)
    }
}
