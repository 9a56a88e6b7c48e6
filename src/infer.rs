//! Segments a volume: slices in batches through the network, labels back on the source grid.

use std::path::PathBuf;
use std::sync::Arc;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;
use crate::model::Model;
use crate::volume::Volume;

#[derive(Debug, Clone, Default)]
pub struct SegmentOptions {
    /// Slices per pass of the network; `None` lets the library choose.
    pub batch: Option<usize>,
    /// Also writes class probabilities here: float32 NIfTI, one volume per class.
    pub probabilities: Option<PathBuf>,
}

/// Segments `volume`; the label map keeps it. Cancelled calls leave nothing behind.
pub fn segment(
    model: &Model,
    volume: &Arc<Volume>,
    options: &SegmentOptions,
    control: &mut Control,
) -> Result<Labelmap> {
    let _ = (model, volume, options, control);
    Err(Error::Internal("not built yet".into()))
}
