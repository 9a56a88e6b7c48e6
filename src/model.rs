//! A model: description, network and labels, immutable after load.

use std::path::Path;

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use crate::config::{Compat, ModelConfig, Provenance};
use crate::control::Cancel;
use crate::device::{Device, Work};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::network::{Architecture, Stoppable, TransUNet, fill, initial_values, values};
use crate::weights::{self, BundleWriter, Checkpoint, Precision};

/// Weights on a device with all that is needed to use them. Shared freely between threads.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    network: Box<dyn Network>,
    device: Device,
    /// What the caller should know but is not an error, such as a missing description.
    warnings: Vec<String>,
}

impl Model {
    /// Loads a bundle or a foreign checkpoint (`.pth`, `.npz`, `.safetensors`, with `NAME.yaml` beside it if there is
    /// one). Tensors that are missing, unexpected or wrongly shaped are refused, all of them listed.
    pub fn load(device: &Device, path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let (config, warnings) = checkpoint.describe()?;
        weights::check(&checkpoint, &config.architecture)?;
        let compat = config.compat == Some(Compat::TransUnet2021);
        let read = |name: &str, _: &[usize]| checkpoint.read_for(name, &config.architecture, compat);
        let network = device.run(Build { architecture: &config.architecture, read })?;
        Ok(Model { config, network, device: device.clone(), warnings })
    }

    /// A model whose weights are a function of `seed` alone: its labels mean nothing, but everything else works.
    pub fn untrained(device: &Device, config: ModelConfig, seed: u64) -> Result<Self> {
        Self::with_values(device, config, |name, shape| Ok(initial_values(seed, name, shape)))
    }

    /// A model whose parameters and running statistics are what `read(name, shape)` returns.
    pub fn with_values(
        device: &Device,
        config: ModelConfig,
        read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        config.validate()?;
        let network = device.run(Build { architecture: &config.architecture, read })?;
        Ok(Model { config, network, device: device.clone(), warnings: Vec::new() })
    }

    /// The same model, saying where it comes from.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Provenance) -> Self {
        self.config.provenance = Some(provenance);
        self
    }

    /// Writes a bundle; the file appears whole or not at all.
    pub fn save(&self, path: &Path, precision: Precision) -> Result<()> {
        let mut bundle = BundleWriter::create(path, &self.config, precision)?;
        self.device.watch(|| self.network.visit(&mut |name, values| bundle.put(name, values)))?;
        bundle.finish()
    }

    /// `pixels`, `shape` `[b, 1 or channels, h, w]`, to the class of each pixel, `[b, h, w]`, and, if asked for, the
    /// classes' probabilities, `[b, classes, h, w]`. `cancel` stops it between two layers.
    pub fn classify(
        &self,
        pixels: Vec<f32>,
        shape: [usize; 4],
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        let pixels = self.input(pixels, shape)?;
        self.device.watch(|| Stoppable::run(cancel, |pass| self.network.classify(pixels, probabilities, pass)))
    }

    /// `pixels`, `shape` `[b, 1 or channels, h, w]`, to the network's own output, `[b, classes, h, w]`.
    pub fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let pixels = self.input(pixels, shape)?;
        self.device.watch(|| self.network.logits(pixels))
    }

    fn input(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<TensorData> {
        let expected = self.config.architecture.channels;
        if shape[1] != 1 && shape[1] != expected {
            return Err(Error::Argument(format!("input has {} channels, the model takes 1 or {expected}", shape[1])));
        }
        Ok(TensorData::new(pixels, shape))
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What the network makes of its input.
#[derive(Debug)]
pub struct Classified {
    /// `[b, h, w]`.
    pub labels: Vec<u8>,
    /// `[b, classes, h, w]`, if they were asked for.
    pub probabilities: Option<Vec<f32>>,
}

/// A network on its device, whichever backend that needs.
trait Network: std::fmt::Debug + Send + Sync {
    fn classify(&self, pixels: TensorData, probabilities: bool, pass: Option<Stoppable>) -> Result<Classified>;

    fn logits(&self, pixels: TensorData) -> Result<Vec<f32>>;

    /// Shows every parameter and running statistic, one at a time.
    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()>;
}

#[derive(Debug)]
struct OnDevice<B: Kernels> {
    network: TransUNet<B>,
    device: B::Device,
}

impl<B: Kernels> Network for OnDevice<B> {
    fn classify(&self, pixels: TensorData, probabilities: bool, pass: Option<Stoppable>) -> Result<Classified> {
        let pixels = Tensor::from_data(pixels, &self.device);
        let logits = match pass {
            Some(mut pass) => self.network.forward_with(pixels, &mut pass),
            None => self.network.forward(pixels),
        };
        let probabilities = probabilities.then(|| floats(softmax(logits.clone(), 1))).transpose()?;
        let labels = logits.argmax(1).into_data().iter::<i64>().map(|class| class as u8).collect();
        Ok(Classified { labels, probabilities })
    }

    fn logits(&self, pixels: TensorData) -> Result<Vec<f32>> {
        floats(self.network.forward(Tensor::from_data(pixels, &self.device)))
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
    tensor.into_data().into_vec().map_err(|e| Error::Internal(format!("output of the network: {e:?}")))
}

/// Builds a network of values that `read(name, shape)` returns.
struct Build<'a, F> {
    architecture: &'a Architecture,
    read: F,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> Work for Build<'_, F> {
    type Output = Box<dyn Network>;

    fn run<B: Kernels>(self, device: &B::Device) -> Result<Box<dyn Network>> {
        let network = fill(TransUNet::<B>::new(self.architecture, device), self.read)?;
        Ok(Box::new(OnDevice { network, device: device.clone() }))
    }
}
