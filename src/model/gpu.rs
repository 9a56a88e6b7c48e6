//! A network on a GPU, by Burn.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use burn::tensor::activation::softmax;
use burn::tensor::backend::ExecutionError;
use burn::tensor::{Tensor, TensorData};

use super::{Classified, Network};
use crate::control::Cancel;
use crate::device::Work;
use crate::device::memory::{AtOnce, lacks_memory};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::network::{Architecture, Stoppable, TransUNet, fill_in, values};
use crate::precision::ComputePrecision;

#[derive(Debug)]
struct OnGpu<B: Kernels> {
    network: TransUNet<B>,
    precision: ComputePrecision,
    device: B::Device,
    at_once: AtOnce,
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
        let work = |part: Range<usize>| {
            let shape = [part.len(), channels, height, width];
            let pixels = pixels[part.start * image..part.end * image].to_vec();
            let one = self.pass(pixels, shape, probabilities, cancel)?;
            all.labels.extend(one.labels);
            if let Some(more) = one.probabilities {
                all.probabilities.get_or_insert_default().extend(more);
            }
            Ok(())
        };
        self.at_once.halving(images, work, || B::memory_cleanup(&self.device))?;
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
            at_once: AtOnce::all(),
            seen: Mutex::default(),
        }))
    }
}
