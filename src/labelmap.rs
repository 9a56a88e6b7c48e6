//! The result of a segmentation: one label per voxel on the grid of the source volume.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fractions::Fractions;
use crate::geometry::Geometry;
use crate::labels::Label;
use crate::volume::Volume;

/// Which algorithm made a label map; written into DICOM SEG and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithm {
    /// Model name, such as "TransUNet R50-ViT-B_16 hippocampus".
    pub name: String,
    /// Library version and, when known, the hash of the model.
    pub version: String,
}

/// Labels in `[k, j, i]` order; keeps its source volume alive.
#[derive(Debug)]
pub struct Labelmap {
    voxels: Vec<u8>,
    labels: Vec<Label>,
    source: Arc<Volume>,
    algorithm: Algorithm,
    fractions: Option<Fractions>,
}

impl Labelmap {
    /// `voxels` has one value for each voxel of `source`; every value is 0 or one of `labels`.
    pub fn new(source: Arc<Volume>, voxels: Vec<u8>, labels: Vec<Label>, algorithm: Algorithm) -> Result<Self> {
        if voxels.len() != source.geometry().len() {
            return Err(Error::Argument(format!(
                "{} labels for a grid of {:?}, expected {}",
                voxels.len(),
                source.geometry().size,
                source.geometry().len()
            )));
        }
        let mut known = [false; 256];
        known[0] = true;
        for label in &labels {
            known[usize::from(label.value)] = true;
        }
        if let Some(at) = voxels.iter().position(|&v| !known[usize::from(v)]) {
            return Err(Error::Argument(format!(
                "voxel {at} has label {}, which is not among the {} labels",
                voxels[at],
                labels.len()
            )));
        }
        Ok(Labelmap { voxels, labels, source, algorithm, fractions: None })
    }

    /// The same, knowing how likely each label is in each voxel of its grid.
    pub fn with_fractions(mut self, fractions: Fractions) -> Result<Self> {
        if fractions.geometry() != self.geometry() {
            let sizes = (fractions.geometry().size, self.geometry().size);
            return Err(Error::Argument(format!(
                "probabilities on a grid of {:?} for labels on {:?}",
                sizes.0, sizes.1
            )));
        }
        self.fractions = Some(fractions);
        Ok(self)
    }

    /// Same grid as the source volume.
    pub fn geometry(&self) -> &Geometry {
        self.source.geometry()
    }

    /// `[k, j, i]`, columns fastest.
    pub fn voxels(&self) -> &[u8] {
        &self.voxels
    }

    /// `[rows, columns]` of slice `k`.
    pub fn slice(&self, k: usize) -> &[u8] {
        let len = self.geometry().slice_len();
        &self.voxels[k * len..(k + 1) * len]
    }

    /// Foreground labels in order of value.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    pub fn source(&self) -> &Arc<Volume> {
        &self.source
    }

    /// How likely each label is in each voxel, if that was kept.
    pub fn fractions(&self) -> Option<&Fractions> {
        self.fractions.as_ref()
    }

    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }
}
