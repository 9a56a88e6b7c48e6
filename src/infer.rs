//! Segments a volume: slices in batches through the network, labels back on the source grid.

mod batches;
pub mod plan;

use std::path::PathBuf;
use std::sync::Arc;

use batches::Done;

use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::labelmap::{Algorithm, Labelmap};
use crate::model::{Classified, Model};
use crate::packed::{PackedSlice, Packer};
use crate::preprocess::Preprocessor;
use crate::probabilities::Probabilities;
use crate::receipt::{Code, Receipt};
use crate::volume::Volume;

#[derive(Debug, Clone, Default)]
pub struct SegmentOptions {
    /// Slices per pass of the network, fewer where memory lacks; `None` lets the library choose.
    pub batch: Option<usize>,
    /// Also writes class probabilities here: float32 NIfTI, one volume per class.
    pub probabilities: Option<PathBuf>,
    /// The label map keeps its labels' probabilities, in a file without a name in the folder for temporary files.
    pub keep_probabilities: bool,
}

/// Segments `volume`; the label map keeps it. Cancelled and failed calls leave nothing behind.
///
/// Never holds the logits of more than one batch, nor labels that are not packed but of the slice at hand, or of all where
/// the network's slices lie across those of the volume.
pub fn segment(
    model: &Model,
    volume: &Arc<Volume>,
    options: &SegmentOptions,
    control: &mut Control,
) -> Result<Labelmap> {
    let config = model.config();
    if config.architecture.classes > 256 {
        return Err(Error::Argument(format!(
            "the model has {} classes, but label maps hold at most 256",
            config.architecture.classes
        )));
    }
    let batch = match options.batch {
        Some(0) => return Err(Error::Argument("batch is 0, expected at least 1".into())),
        Some(batch) => batch,
        None => batches::usual(model),
    };
    let batch = plan::fitting(model, volume, batch, options.probabilities.is_some() || options.keep_probabilities)?;
    let preprocessor = Preprocessor::new(config, volume, control)?;
    let (path, keep) = (options.probabilities.as_deref(), options.keep_probabilities);
    let mut probabilities = Probabilities::create(path, keep, volume.geometry(), config.architecture.classes)?;
    let mut labelling = Labelling::new(&preprocessor);
    let plane = preprocessor.size().iter().product::<usize>();
    batches::run(model, &preprocessor, batch, probabilities.is_some(), control, |done, control| {
        let Done { first, slices, classified: Classified { labels, probabilities: classes } } = done;
        if let (Some(writer), Some(classes)) = (&mut probabilities, classes) {
            writer.store(&classes)?;
        }
        for (slice, k) in labels.chunks_exact(plane).zip(first..) {
            labelling.place(k, slice)?;
        }
        control.report(Progress::of(Stage::Infer, slices, preprocessor.slices()))
    })?;
    let slices = labelling.slices;
    let fractions = match probabilities {
        Some(probabilities) => probabilities.finish(&preprocessor, control)?,
        None => None,
    };
    let algorithm =
        Algorithm { name: config.name.clone().unwrap_or_else(|| "TransUNet".into()), version: Code::here().words() };
    let labelmap = Labelmap::of_slices(volume.clone(), slices, config.labels.clone(), algorithm)?;
    let labelmap = match fractions {
        Some(fractions) => labelmap.with_fractions(fractions)?,
        None => labelmap,
    };
    let receipt = Receipt::of(model, batch, &labelmap)?;
    Ok(labelmap.with_receipt(receipt))
}

/// The labels so far: slices of the volume are packed as soon as they are whole.
struct Labelling<'a> {
    preprocessor: &'a Preprocessor,
    /// Voxels of the block that is being filled.
    block: Vec<u8>,
    packer: Packer,
    slices: Vec<PackedSlice>,
}

impl<'a> Labelling<'a> {
    fn new(preprocessor: &'a Preprocessor) -> Self {
        let view = preprocessor.view();
        let mut slices = Vec::new();
        slices.resize_with(view.volume().geometry().slices(), PackedSlice::default);
        Labelling { preprocessor, block: vec![0; view.block_len()], packer: Packer::default(), slices }
    }

    /// Takes the labels of the next network slice.
    fn place(&mut self, k: usize, labels: &[u8]) -> Result<()> {
        self.preprocessor.place_labels(k, labels, &mut self.block)?;
        let block = self.preprocessor.view().block(k);
        if k + 1 == block.view.end {
            let grid = self.preprocessor.view().volume().geometry();
            for (slice, labels) in self.slices[block.volume].iter_mut().zip(self.block.chunks_exact(grid.slice_len())) {
                *slice = self.packer.pack(labels, grid.columns())?;
            }
        }
        Ok(())
    }
}
