//! A network on a GPU, by Burn.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::tensor::activation::softmax;
use burn::tensor::backend::ExecutionError;
use burn::tensor::{Tensor, TensorData};

use super::{Classified, Network};
use crate::control::Cancel;
use crate::device::{Work, lacks_memory};
use crate::error::{Error, Result};
use crate::ffi::panic_text;
use crate::kernels::Kernels;
use crate::network::{Architecture, Stoppable, TransUNet, fill_in, values};
use crate::precision::ComputePrecision;

#[derive(Debug)]
struct OnGpu<B: Kernels> {
    network: TransUNet<B>,
    precision: ComputePrecision,
    device: B::Device,
    /// Images that a pass may have; halved where the device's memory does not suffice.
    most: AtomicUsize,
    /// Shapes that have been through it.
    seen: Mutex<BTreeSet<[usize; 4]>>,
}

impl<B: Kernels> OnGpu<B> {
    /// Their precision is what the network computes with.
    fn pixels(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Tensor<B, 4> {
        Tensor::from_data(TensorData::new(pixels, shape), (&self.device, self.precision.dtype()))
    }

    /// One pass. Too little memory shows when results are read, or, while memory is asked for, as a panic of Burn.
    fn pass(
        &self,
        pixels: Vec<f32>,
        shape: [usize; 4],
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        let pixels = self.pixels(pixels, shape);
        Stoppable::run(cancel, |pass| {
            let logits = match pass {
                Some(mut pass) => self.network.forward_with(pixels, &mut pass),
                None => self.network.forward(pixels),
            };
            let probabilities = probabilities.then(|| floats(softmax(logits.clone(), 1))).transpose()?;
            let labels = logits.argmax(1).try_into_data().map_err(failed)?;
            Ok(Classified { labels: labels.iter::<i64>().map(|class| class as u8).collect(), probabilities })
        })
    }
}

/// The one failure that a device survives; any other is told as Burn tells it, by a panic.
fn failed(error: ExecutionError) -> Error {
    let text = error.to_string();
    if lacks_memory(&text) { Error::OutOfMemory(text) } else { panic!("{text}") }
}

/// Runs `work` on `images` images, at most `most` at once; where memory lacks, on half as many from then on.
fn in_parts(images: usize, most: &AtomicUsize, mut work: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
    let mut done = 0;
    while done < images {
        let count = most.load(Ordering::Relaxed).min(images - done);
        match work(done..done + count) {
            Ok(()) => done += count,
            Err(Error::OutOfMemory(reason)) if count > 1 => {
                // Calls at once share it: the least holds.
                most.fetch_min(count / 2, Ordering::Relaxed);
                log::warn!("no room for {count} slices at once, going on with {}: {reason}", count / 2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl<B: Kernels> Network for OnGpu<B> {
    fn classify(
        &self,
        pixels: Vec<f32>,
        shape: [usize; 4],
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        let [images, channels, height, width] = shape;
        let image = channels * height * width;
        let mut all = Classified { labels: Vec::with_capacity(images * height * width), probabilities: None };
        in_parts(images, &self.most, |part| {
            let shape = [part.len(), channels, height, width];
            let pixels = pixels[part.start * image..part.end * image].to_vec();
            let passed = catch_unwind(AssertUnwindSafe(|| self.pass(pixels, shape, probabilities, cancel)));
            let one = passed.unwrap_or_else(|panic| match panic_text(&*panic) {
                text if lacks_memory(&text) => Err(Error::OutOfMemory(text)),
                _ => resume_unwind(panic),
            });
            let one = one.inspect_err(|_| B::memory_cleanup(&self.device))?;
            all.labels.extend(one.labels);
            if let Some(more) = one.probabilities {
                all.probabilities.get_or_insert_default().extend(more);
            }
            Ok(())
        })?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(shape);
        Ok(all)
    }

    fn compiles(&self, shape: [usize; 4]) -> bool {
        !self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&shape)
    }

    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        floats(self.network.forward(self.pixels(pixels, shape)))
    }

    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()> {
        for (name, tensor) in values(&self.network) {
            let data = tensor.into_data().into_vec::<f32>();
            show(&name, &data.map_err(|e| Error::Internal(format!("{name}: {e:?}")))?)?;
        }
        Ok(())
    }
}

fn floats<B: Kernels>(tensor: Tensor<B, 4>) -> Result<Vec<f32>> {
    tensor
        .try_into_data()
        .map_err(failed)?
        .into_vec()
        .map_err(|e| Error::Internal(format!("output of the network: {e:?}")))
}

/// Builds a network of values that `read(name, shape)` returns, rounded to `precision`.
pub(super) struct Build<'a, F> {
    pub architecture: &'a Architecture,
    pub precision: ComputePrecision,
    pub read: F,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> Work for Build<'_, F> {
    type Output = Box<dyn Network>;

    fn run<B: Kernels>(self, device: &B::Device) -> Result<Box<dyn Network>> {
        let network = fill_in(TransUNet::<B>::new(self.architecture, device), self.precision, self.read)?;
        Ok(Box::new(OnGpu {
            network,
            precision: self.precision,
            device: device.clone(),
            most: AtomicUsize::new(usize::MAX),
            seen: Mutex::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_halves_the_pass_and_loses_nothing() {
        let most = AtomicUsize::new(usize::MAX);
        let mut parts = Vec::new();
        let mut room_for = |room: usize, images: usize| {
            parts.clear();
            let ended = in_parts(images, &most, |part| {
                if part.len() > room {
                    return Err(Error::OutOfMemory("can't allocate buffer of size: 1".into()));
                }
                parts.push(part);
                Ok(())
            });
            ended.map(|()| parts.clone())
        };
        assert_eq!(room_for(3, 11).unwrap(), [0..2, 2..4, 4..6, 6..8, 8..10, 10..11]);
        assert_eq!(room_for(9, 5).unwrap(), [0..2, 2..4, 4..5], "what did not fit is not tried again");
        assert!(matches!(room_for(0, 2), Err(Error::OutOfMemory(_))));
        let other = in_parts(4, &AtomicUsize::new(9), |_| Err(Error::Cancelled));
        assert!(matches!(other, Err(Error::Cancelled)));
    }
}
