//! The result of a segmentation: one label per voxel on the grid of the source volume.

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::fractions::Fractions;
use crate::geometry::Geometry;
use crate::labels::Label;
use crate::packed::{PackedSlice, Packer};
use crate::receipt::{Receipt, digest};
use crate::volume::Volume;

/// Which algorithm made a label map; written into DICOM SEG and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithm {
    /// Model name, such as "TransUNet R50-ViT-B_16 hippocampus".
    pub name: String,
    /// Library version and, when known, its revision.
    pub version: String,
}

/// Labels on the grid of its source volume, which it keeps alive. Slices are packed: memory grows little with them.
#[derive(Debug)]
pub struct Labelmap {
    slices: Vec<PackedSlice>,
    labels: Vec<Label>,
    source: Arc<Volume>,
    algorithm: Algorithm,
    fractions: Option<Fractions>,
    receipt: Option<Receipt>,
}

impl Labelmap {
    /// `voxels`, `[k, j, i]`, has one value for each voxel of `source`; every value is 0 or one of `labels`.
    pub fn new(
        source: Arc<Volume>,
        voxels: impl AsRef<[u8]>,
        labels: Vec<Label>,
        algorithm: Algorithm,
    ) -> Result<Self> {
        let (voxels, geometry) = (voxels.as_ref(), source.geometry());
        if voxels.len() != geometry.len() {
            return Err(Error::Argument(format!(
                "{} labels for a grid of {:?}, expected {}",
                voxels.len(),
                geometry.size,
                geometry.len()
            )));
        }
        let slices = voxels.par_chunks_exact(geometry.slice_len());
        let slices = slices
            .map_init(Packer::default, |packer, slice| packer.pack(slice, geometry.columns()))
            .collect::<Result<_>>()?;
        Labelmap::of_slices(source, slices, labels, algorithm)
    }

    /// The same of slices `[rows, columns]` that are packed already.
    pub fn of_slices(
        source: Arc<Volume>,
        slices: Vec<PackedSlice>,
        labels: Vec<Label>,
        algorithm: Algorithm,
    ) -> Result<Self> {
        let geometry = source.geometry();
        let len = geometry.slice_len();
        if slices.len() != geometry.slices() || slices.iter().any(|slice| slice.pixels() != len) {
            return Err(Error::Internal(format!(
                "{} slices of labels for a grid of {:?}",
                slices.len(),
                geometry.size
            )));
        }
        let mut known = [false; 256];
        known[0] = true;
        for label in &labels {
            known[usize::from(label.value)] = true;
        }
        let labelmap = Labelmap { slices, labels, source, algorithm, fractions: None, receipt: None };
        for (k, slice) in labelmap.slices.iter().enumerate() {
            if slice.values().any(|value| !known[usize::from(value)]) {
                let labels = labelmap.slice(k)?;
                let at = labels.iter().position(|&value| !known[usize::from(value)]).unwrap_or_default();
                return Err(Error::Argument(format!(
                    "voxel {} has label {}, which is not among the {} labels",
                    k * len + at,
                    labels[at],
                    labelmap.labels.len()
                )));
            }
        }
        Ok(labelmap)
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

    /// The same, with a receipt of its making.
    #[must_use]
    pub fn with_receipt(mut self, receipt: Receipt) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// Same grid as the source volume.
    pub fn geometry(&self) -> &Geometry {
        self.source.geometry()
    }

    /// Fills `out`, `[rows, columns]`, with slice `k`.
    pub fn read_slice(&self, k: usize, out: &mut [u8]) -> Result<()> {
        let slice = self.slices.get(k);
        slice.ok_or_else(|| Error::Internal(format!("slice {k} of {}", self.slices.len())))?.unpack(out)
    }

    /// `[rows, columns]` of slice `k`.
    pub fn slice(&self, k: usize) -> Result<Vec<u8>> {
        let mut labels = vec![0; self.geometry().slice_len()];
        self.read_slice(k, &mut labels)?;
        Ok(labels)
    }

    /// Hands all slices to `visit`, first to last.
    pub fn for_each_slice(&self, mut visit: impl FnMut(usize, &[u8])) -> Result<()> {
        let mut labels = vec![0; self.geometry().slice_len()];
        for (k, slice) in self.slices.iter().enumerate() {
            slice.unpack(&mut labels)?;
            visit(k, &labels);
        }
        Ok(())
    }

    /// All voxels, `[k, j, i]`: a byte for each. Prefer slices where they will do.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let (count, mut voxels) = (self.geometry().len(), Vec::new());
        voxels.try_reserve_exact(count).map_err(|_| Error::OutOfMemory(format!("no memory for {count} labels")))?;
        voxels.resize(count, 0);
        let slices = voxels.par_chunks_exact_mut(self.geometry().slice_len()).zip(&self.slices);
        slices.try_for_each(|(out, slice)| slice.unpack(out))?;
        Ok(voxels)
    }

    /// Whether a voxel of slice `k` has this value; known without unpacking it.
    pub fn is_present(&self, value: u8, k: usize) -> bool {
        self.slices.get(k).is_some_and(|slice| slice.has(value))
    }

    /// Whether slice `k` is all background.
    pub fn is_empty(&self, k: usize) -> bool {
        self.slices.get(k).is_none_or(|slice| slice.values().all(|value| value == 0))
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

    /// What it was made with and from; none if no network made these very labels.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// Of all labels, as [`digest::slices`].
    pub fn sha256(&self) -> Result<String> {
        let len = self.geometry().slice_len();
        let sum = |labels: &mut Vec<u8>, slice: &PackedSlice| {
            labels.resize(len, 0);
            slice.unpack(labels)?;
            Ok(digest::sha256(labels))
        };
        let sums = self.slices.par_iter().map_init(Vec::new, sum).collect::<Result<Vec<_>>>()?;
        Ok(digest::hex(&digest::joined(sums)))
    }

    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }
}
