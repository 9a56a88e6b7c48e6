//! From cases to batches of training slices, prepared beside the step that uses them.

mod cache;
mod order;
mod prepared;

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

pub use cache::Source;
pub use order::Sampling;
pub use prepared::PreparedCase;

use crate::augment::{Augmentation, Sample, augment_original};
use crate::config::ModelConfig;
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::placement::Placement;
use crate::preprocess::Preprocessor;
use crate::random;
use cache::Cache;
use order::Order;

/// Input and labels of one pass of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[b, channels, h, w]`.
    pub images: Vec<f32>,
    /// The slice and its neighbours.
    pub channels: usize,
    /// `[b, h, w]`.
    pub labels: Vec<u8>,
    /// h and w.
    pub size: [usize; 2],
    /// Case and slice of each image.
    pub slices: Vec<(usize, usize)>,
}

impl Batch {
    /// Some of its slices.
    pub fn part(&self, slices: &Range<usize>) -> Batch {
        let pixels = self.size[0] * self.size[1];
        let of = |length: usize| slices.start * length..slices.end * length;
        Batch {
            images: self.images[of(self.channels * pixels)].to_vec(),
            labels: self.labels[of(pixels)].to_vec(),
            slices: self.slices[slices.clone()].to_vec(),
            ..*self
        }
    }
}

/// Makes batches; batch `n` is a function of the seed and of `n` alone.
pub struct Loader {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Cache,
    order: Order,
    config: ModelConfig,
    augmentation: Augmentation,
    seed: u64,
}

/// Batches that are ready before they are asked for.
pub const AHEAD: usize = 3;

impl Loader {
    /// Prepares each case once, to know its slices; keeps at most `memory` bytes of them.
    pub fn new(
        source: Arc<dyn Source>,
        config: &ModelConfig,
        sampling: Sampling,
        augmentation: Augmentation,
        seed: u64,
        memory: u64,
        control: &mut Control,
    ) -> Result<Self> {
        let cache = Cache::new(source, memory);
        let count = cache.cases();
        let mut present = Vec::with_capacity(count);
        control.report(Progress::of(Stage::Preprocess, 0, count))?;
        for case in 0..count {
            present.push(cache.get(case)?.present().to_vec());
            control.report(Progress::of(Stage::Preprocess, case + 1, count))?;
        }
        let order = Order::new(present, config.architecture.classes, sampling, seed)?;
        Ok(Loader { inner: Arc::new(Inner { cache, order, config: config.clone(), augmentation, seed }) })
    }

    /// Batches in one pass over all slices.
    pub fn batches_per_epoch(&self) -> u64 {
        self.inner.order.batches_per_epoch()
    }

    /// Training slices.
    pub fn slices(&self) -> usize {
        self.inner.order.slices()
    }

    /// Batch `n`, made now.
    pub fn batch(&self, n: u64) -> Result<Batch> {
        self.inner.batch(n)
    }

    /// Batches from number `from` up to `to`, in order, made by a thread of its own. The first failure ends it.
    pub fn batches(&self, from: u64, to: u64) -> Receiver<Result<Batch>> {
        let (send, batches) = sync_channel(AHEAD);
        let inner = self.inner.clone();
        std::thread::spawn(move || {
            for n in from..to {
                let batch = inner.batch(n);
                let failed = batch.is_err();
                if send.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        batches
    }
}

impl Inner {
    fn batch(&self, n: u64) -> Result<Batch> {
        let chosen = self.order.batch(n);
        let mut samples = Vec::with_capacity(chosen.len());
        for (at, &(case, slice)) in (0..).zip(&chosen) {
            let prepared = self.cache.get(case)?;
            samples.push(self.sample(&prepared, slice, n, at)?);
        }
        // Slices larger than the canvas have canvases of their own: all take the largest, with zeros around.
        let size = samples.iter().fold([0; 2], |most, (_, size)| [0, 1].map(|a| most[a].max(size[a])));
        let mut batch = Batch {
            images: Vec::new(),
            channels: self.config.input_channels(),
            labels: Vec::new(),
            size,
            slices: chosen,
        };
        for (sample, own) in samples {
            for channel in sample.pixels.chunks_exact(own[0] * own[1]) {
                batch.images.extend(centred(channel, own, size));
            }
            batch.labels.extend(centred(&sample.labels, own, size));
        }
        Ok(batch)
    }

    fn sample(&self, case: &PreparedCase, slice: usize, n: u64, at: u64) -> Result<(Sample, [usize; 2])> {
        let mut random = random::stream(self.seed, "augmentation", &[n, at]);
        let placement = case.placement();
        let sample = case.slice(slice, self.config.input.context)?;
        match &self.augmentation {
            Augmentation::LowData(strengths) => {
                Ok((strengths.apply(&sample, &placement, &mut random), placement.canvas))
            }
            Augmentation::None => case.on_canvas(&sample, &self.config, placement.own),
            Augmentation::Original => {
                let (sample, size) = augment_original(sample, placement.own, &mut random);
                case.on_canvas(&sample, &self.config, size)
            }
        }
    }
}

/// `image` of `own` size in the middle of one of `size`.
fn centred<T: Copy + Default>(image: &[T], own: [usize; 2], size: [usize; 2]) -> Vec<T> {
    if own == size {
        return image.to_vec();
    }
    let offset = [0, 1].map(|a| (size[a] - own[a]) / 2);
    let mut out = vec![T::default(); size[0] * size[1]];
    Placement { own, resampled: own, canvas: size, offset }.place(image, &mut out);
    out
}

/// Refuses a class that the network does not have.
fn check_labels(labels: &[u8], classes: usize, ignore: Option<u8>) -> Result<()> {
    match labels.iter().find(|&&label| usize::from(label) >= classes && Some(label) != ignore) {
        None => Ok(()),
        Some(label) => Err(Error::VolumeFormat(format!(
            "label {label} is outside of the {classes} classes (0 to {})",
            classes - 1
        ))),
    }
}

/// Prepares a case for the network: frame, intensity, slices.
pub fn prepare(
    config: &ModelConfig,
    volume: &Arc<crate::volume::Volume>,
    labels: Vec<u8>,
    ignore: Option<u8>,
) -> Result<PreparedCase> {
    check_labels(&labels, config.architecture.classes, ignore)?;
    let preprocessor = Preprocessor::new(config, volume, &mut Control::none())?;
    PreparedCase::new(&preprocessor, volume, labels, config.architecture.classes)
}
