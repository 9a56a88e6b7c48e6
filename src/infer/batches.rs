//! Slices through the network in batches: prepared ahead, on all of the model's devices in turn, results in order.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{ScopedJoinHandle, scope};

use rayon::prelude::*;

use crate::control::{Cancel, Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::model::{Classified, Form, Model};
use crate::network::{Architecture, values_per_pixel};
use crate::preprocess::Preprocessor;

/// Pixels that keep a GPU busy: 16 slices of 224 x 224.
const GPU_PIXELS: usize = 16 * 224 * 224;
/// On a CPU one slice fills all cores, more only take more memory and delay cancelling.
const CPU_BATCH: usize = 1;

/// Slices per pass of the network where the caller does not say.
pub fn usual(model: &Model) -> usize {
    if !model.devices().are_gpus() {
        return CPU_BATCH;
    }
    gpu_batch(&model.config().architecture, model.devices().memory_bytes())
}

/// As many as keep a GPU busy, but not more than fit into half of its memory: the rest is the weights', the host's and what
/// an estimate leaves out. Where it is less still, the network halves its passes when it comes to that.
fn gpu_batch(architecture: &Architecture, memory: Option<u64>) -> usize {
    let pixels = architecture.image_size.iter().product::<usize>();
    let busy = (GPU_PIXELS / pixels).clamp(1, 64);
    let slice = 4.0 * values_per_pixel(architecture) * pixels as f64;
    let fit = memory.map_or(busy, |bytes| (bytes as f64 / 2.0 / slice) as usize);
    busy.min(fit.max(1))
}

/// Slices `first..first + count`: `[count, channels, h, w]`, of the network's size for a CPU, of their own for a GPU.
struct Batch {
    first: usize,
    count: usize,
    pixels: Vec<f32>,
}

/// What became of a batch, and how many slices are done with it.
pub struct Done {
    pub first: usize,
    pub slices: usize,
    pub classified: Classified,
}

/// Runs all slices through `model`, `batch` at once; `take` gets the results in the slices' order, on this thread.
///
/// The n-th batch is that of device `n % devices`, so that devices that are alike are all busy and no result waits for
/// long. Each has its next batch read, oriented and, for a CPU, resized while it works on the current one.
pub fn run(
    model: &Model,
    preprocessor: &Preprocessor,
    batch: usize,
    probabilities: bool,
    control: &mut Control,
    mut take: impl FnMut(Done, &mut Control) -> Result<()>,
) -> Result<()> {
    let slices = preprocessor.slices();
    let matrices = preprocessor.matrices().filter(|_| model.devices().are_gpus());
    let source = Source { preprocessor, resized: matrices.is_none() };
    let form = |count: usize| Form { shape: source.shape(count), resize: matrices.as_ref() };
    // Also stops what still runs when one batch has failed.
    let stop = Cancel::within(control.cancel());
    let replicas = model.replicas();
    let devices = replicas.len();
    if model.replicas().any(|replica| replica.compiles(form(batch.min(slices)))) {
        control.report(Progress::of(Stage::Compile, 0, 0))?;
    }
    control.report(Progress::of(Stage::Infer, 0, slices))?;
    scope(|scope| {
        let mut threads: Vec<ScopedJoinHandle<()>> = Vec::new();
        let mut results = Vec::new();
        for (n, replica) in replicas.enumerate() {
            let (send, batches) = sync_channel(1);
            let firsts = (n * batch..slices).step_by(devices * batch);
            threads.push(scope.spawn(move || source.read(firsts, batch, &send)));
            let (send, receive) = sync_channel(0);
            let stop = &stop;
            threads.push(scope.spawn(move || {
                classify(&batches, &send, |pixels, count| {
                    replica.classify(pixels, form(count), probabilities, Some(stop))
                });
            }));
            results.push(receive);
        }
        let taken = (0..slices.div_ceil(batch)).try_for_each(|n| {
            let done: Result<Done> =
                results[n % devices].recv().map_err(|_| Error::Internal("a thread of a device ended early".into()))?;
            take(done?, control)
        });
        stop.trigger();
        drop(results);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        taken
    })
}

/// Where batches come from.
#[derive(Clone, Copy)]
struct Source<'a> {
    preprocessor: &'a Preprocessor,
    /// Whether slices are brought to the network's size here.
    resized: bool,
}

impl Source<'_> {
    fn shape(&self, count: usize) -> [usize; 4] {
        let [height, width] = if self.resized { self.preprocessor.size() } else { self.preprocessor.placement().own };
        [count, self.preprocessor.channels(), height, width]
    }

    /// Prepares the batches that begin at `firsts`, the slices of each on all cores; stops at the first failure and when
    /// nobody listens any more.
    fn read(&self, firsts: impl Iterator<Item = usize>, batch: usize, send: &SyncSender<Result<Batch>>) {
        let slice_len = self.shape(1).iter().product();
        for first in firsts {
            let count = batch.min(self.preprocessor.slices() - first);
            let mut pixels = vec![0.0; count * slice_len];
            let read = pixels
                .par_chunks_exact_mut(slice_len)
                .enumerate()
                .try_for_each(|(n, slice)| match self.resized {
                    true => self.preprocessor.slice(first + n, slice),
                    false => self.preprocessor.own_slices(first + n, slice),
                })
                .map(|()| Batch { first, count, pixels });
            let failed = read.is_err();
            if send.send(read).is_err() || failed {
                return;
            }
        }
    }
}

/// Takes batches through `network`, as long as they come, it does not fail and someone listens.
fn classify(
    batches: &Receiver<Result<Batch>>,
    send: &SyncSender<Result<Done>>,
    network: impl Fn(Vec<f32>, usize) -> Result<Classified>,
) {
    for batch in batches {
        let done = batch.and_then(|Batch { first, count, pixels }| {
            Ok(Done { first, slices: first + count, classified: network(pixels, count)? })
        });
        let failed = done.is_err();
        if send.send(done).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpus_batch_keeps_it_busy_and_fits() {
        let base = Architecture::r50_vit_b16(224, 9);
        assert_eq!(gpu_batch(&base, None), 16);
        assert_eq!(gpu_batch(&base, Some(80 << 30)), 16);
        let slice = (4.0 * values_per_pixel(&base) * 224.0 * 224.0) as u64;
        assert_eq!(gpu_batch(&base, Some(9 * slice)), 4);
        assert_eq!(gpu_batch(&base, Some(slice)), 1);
        assert_eq!(gpu_batch(&Architecture::r50_vit_b16(512, 9), None), 3);
        assert_eq!(gpu_batch(&Architecture::tiny(64, 3), None), 64);
    }
}
