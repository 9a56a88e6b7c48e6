//! A network on a GPU, by Burn.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use burn::tensor::activation::softmax;
use burn::tensor::backend::ExecutionError;
use burn::tensor::{DType, Tensor, TensorData};

use super::{Classified, Form, Network};
use crate::control::Cancel;
use crate::device::Work;
use crate::device::memory::{AtOnce, lacks_memory};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::network::{Architecture, Stoppable, TransUNet, fill_in, values};
use crate::precision::ComputePrecision;
use crate::resize::Matrices;

#[derive(Debug)]
struct OnGpu<B: Kernels> {
    network: TransUNet<B>,
    precision: ComputePrecision,
    device: B::Device,
    at_once: AtOnce,
    /// Shapes that have been through it, and sizes that they were resized to.
    seen: Mutex<BTreeSet<([usize; 4], [usize; 2])>>,
}

impl<B: Kernels> OnGpu<B> {
    /// Slices in float32.
    fn upload<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32))
    }

    /// In the network's size, and in the precision that it computes with.
    fn input(&self, pixels: Vec<f32>, Form { shape, resize }: Form) -> Tensor<B, 4> {
        let slices = self.upload(pixels, shape);
        let slices = match resize {
            Some(matrices) => self.resized(slices, matrices),
            None => slices,
        };
        slices.cast(self.precision.dtype())
    }

    fn resized(&self, slices: Tensor<B, 4>, Matrices { from, to, rows, columns }: &Matrices) -> Tensor<B, 4> {
        let [images, channels, height, width] = slices.dims();
        let columns = self.upload(columns.clone(), [to[1], from[1]]).transpose();
        let rows = self.upload(rows.clone(), [1, to[0], from[0]]);
        let narrow = B::product(slices.reshape([images * channels * height, width]), columns, Tensor::matmul);
        let narrow = narrow.reshape([images * channels, height, to[1]]);
        B::product(rows, narrow, Tensor::matmul).reshape([images, channels, to[0], to[1]])
    }

    /// One pass. Too little memory shows when results are read, or, while memory is asked for, as a panic of Burn.
    fn pass(&self, pixels: Vec<f32>, form: Form, probabilities: bool, cancel: Option<&Cancel>) -> Result<Classified> {
        let pixels = self.input(pixels, form);
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
        form: Form,
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        let [images, channels, height, width] = form.shape;
        let image = channels * height * width;
        let plane = form.size().iter().product::<usize>();
        let mut all = Classified { labels: Vec::with_capacity(images * plane), probabilities: None };
        let work = |part: Range<usize>| {
            let form = Form { shape: [part.len(), channels, height, width], ..form };
            let pixels = pixels[part.start * image..part.end * image].to_vec();
            let one = self.pass(pixels, form, probabilities, cancel)?;
            all.labels.extend(one.labels);
            if let Some(more) = one.probabilities {
                all.probabilities.get_or_insert_default().extend(more);
            }
            Ok(())
        };
        self.at_once.halving(images, work, || B::memory_cleanup(&self.device))?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert((form.shape, form.size()));
        Ok(all)
    }

    fn compiles(&self, form: Form) -> bool {
        !self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&(form.shape, form.size()))
    }

    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        floats(self.network.forward(self.input(pixels, shape.into())))
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

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;
    use crate::network::initial_values;
    use crate::resize::{Edge, Order, Resampler};

    #[test]
    fn slices_are_resized_on_the_device() {
        let (own, size, canvas) = ([40, 29], [30, 36], [32, 48]);
        let pixels: Vec<f32> = (0..2 * own[0] * own[1]).map(|n| (n as f32 * 0.13).sin()).collect();
        let resampler = Resampler::new(own, size, Order::Cubic, Edge::Exact).unwrap();
        let matrices = resampler.matrices(canvas, [1, 6]);
        let mut placed = vec![0.0; 2 * canvas[0] * canvas[1]];
        for (slice, placed) in pixels.chunks_exact(own[0] * own[1]).zip(placed.chunks_exact_mut(canvas[0] * canvas[1]))
        {
            let mut resized = vec![0.0; size[0] * size[1]];
            resampler.apply(slice, &mut resized).unwrap();
            for (row, resized) in resized.chunks_exact(size[1]).enumerate() {
                placed[(1 + row) * canvas[1] + 6..][..size[1]].copy_from_slice(resized);
            }
        }
        let architecture = Architecture::tiny(32, 3);
        let read = |name: &str, shape: &[usize]| Ok(initial_values(1, name, shape));
        let build = Build { architecture: &architecture, precision: ComputePrecision::F32, read };
        let network = build.run::<Flex>(&Default::default()).unwrap();
        let form = Form { shape: [2, 1, own[0], own[1]], resize: Some(&matrices) };
        assert!(network.compiles(form));
        let tried = network.classify(pixels, form, true, None).unwrap();
        assert!(!network.compiles(form) && network.compiles(form.shape.into()));
        let right = network.classify(placed, [2, 1, canvas[0], canvas[1]].into(), true, None).unwrap();
        assert_eq!(tried.labels.len(), right.labels.len());
        let differ = tried.labels.iter().zip(&right.labels).filter(|(a, b)| a != b).count();
        let pairs = tried.probabilities.iter().flatten().zip(right.probabilities.iter().flatten());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(differ == 0 && worst < 1e-5, "{differ} labels differ, probabilities by {worst}");
    }
}
