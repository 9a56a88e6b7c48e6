//! Segments a volume: slices in batches through the network, labels back on the source grid.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rayon::prelude::*;

use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::labelmap::{Algorithm, Labelmap};
use crate::model::{Classified, Model};
use crate::packed::{PackedSlice, Packer};
use crate::preprocess::Preprocessor;
use crate::probabilities::Probabilities;
use crate::volume::Volume;

#[derive(Debug, Clone, Default)]
pub struct SegmentOptions {
    /// Slices per pass of the network; `None` lets the library choose.
    pub batch: Option<usize>,
    /// Also writes class probabilities here: float32 NIfTI, one volume per class.
    pub probabilities: Option<PathBuf>,
    /// The label map keeps its labels' probabilities, in a file without a name in the folder for temporary files.
    pub keep_probabilities: bool,
}

/// Slices per pass where the caller does not say: enough to fill a GPU; on a CPU one slice fills all cores, more only
/// take more memory and delay cancelling.
const GPU_BATCH: usize = 16;
const CPU_BATCH: usize = 1;

/// Segments `volume`; the label map keeps it. Cancelled and failed calls leave nothing behind.
///
/// Never holds the logits of more than one batch, nor labels that are not packed but of the slice at hand, or of all where
/// the network's slices lie across those of the volume. The next batch is read, oriented and resized while the network works on
/// the current one.
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
        None if model.device().is_gpu() => GPU_BATCH,
        None => CPU_BATCH,
    };
    let preprocessor = Preprocessor::new(config, volume, control)?;
    let (path, keep) = (options.probabilities.as_deref(), options.keep_probabilities);
    let mut probabilities = Probabilities::create(path, keep, volume.geometry(), config.architecture.classes)?;
    control.report(Progress::of(Stage::Infer, 0, preprocessor.slices()))?;
    let slices = std::thread::scope(|scope| {
        let (send, batches) = sync_channel(1);
        let preprocessor = &preprocessor;
        scope.spawn(move || read_batches(preprocessor, batch, &send));
        run_batches(model, preprocessor, &batches, probabilities.as_mut(), control)
    })?;
    let fractions = match probabilities {
        Some(probabilities) => probabilities.finish(&preprocessor, control)?,
        None => None,
    };
    let algorithm = Algorithm {
        name: config.name.clone().unwrap_or_else(|| "TransUNet".into()),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let labelmap = Labelmap::of_slices(volume.clone(), slices, config.labels.clone(), algorithm)?;
    match fractions {
        Some(fractions) => labelmap.with_fractions(fractions),
        None => Ok(labelmap),
    }
}

/// Network input of slices `first..first + count`: `[count, channels, h, w]`.
struct Batch {
    first: usize,
    count: usize,
    pixels: Vec<f32>,
}

/// Prepares batches one ahead of the network, the slices of each on all cores; stops at the first failure and when nobody listens any more.
fn read_batches(preprocessor: &Preprocessor, batch: usize, send: &SyncSender<Result<Batch>>) {
    let slice_len = preprocessor.channels() * preprocessor.size().iter().product::<usize>();
    for first in (0..preprocessor.slices()).step_by(batch) {
        let count = batch.min(preprocessor.slices() - first);
        let mut pixels = vec![0.0; count * slice_len];
        let read = pixels
            .par_chunks_exact_mut(slice_len)
            .enumerate()
            .try_for_each(|(n, slice)| preprocessor.slice(first + n, slice))
            .map(|()| Batch { first, count, pixels });
        let failed = read.is_err();
        if send.send(read).is_err() || failed {
            return;
        }
    }
}

/// The volume's slices of labels.
fn run_batches(
    model: &Model,
    preprocessor: &Preprocessor,
    batches: &Receiver<Result<Batch>>,
    mut probabilities: Option<&mut Probabilities>,
    control: &mut Control,
) -> Result<Vec<PackedSlice>> {
    let [height, width] = preprocessor.size();
    let slices = preprocessor.slices();
    let mut labelling = Labelling::new(preprocessor);
    while let Ok(batch) = batches.recv() {
        let Batch { first, count, pixels } = batch?;
        let shape = [count, preprocessor.channels(), height, width];
        let Classified { labels, probabilities: classes } =
            model.classify(pixels, shape, probabilities.is_some(), control.cancel())?;
        if let (Some(writer), Some(classes)) = (probabilities.as_deref_mut(), classes) {
            writer.store(&classes)?;
        }
        for (slice, k) in labels.chunks_exact(height * width).zip(first..) {
            labelling.place(k, slice)?;
        }
        control.report(Progress::of(Stage::Infer, first + count, slices))?;
    }
    Ok(labelling.slices)
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
