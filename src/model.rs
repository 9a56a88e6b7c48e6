//! A model: description, network and labels, immutable after load.

mod cpu;
mod gpu;

use std::path::Path;

use crate::config::{Compat, ModelConfig, Provenance};
use crate::control::Cancel;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::network::initial_values;
use crate::weights::{self, BundleWriter, Checkpoint, Precision};
use cpu::OnCpu;
use gpu::Build;

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
        let network: Box<dyn Network> = if device.is_gpu() {
            let read = |name: &str, _: &[usize]| checkpoint.read_for(name, &config.architecture, compat);
            device.run(Build { architecture: &config.architecture, read })?
        } else {
            Box::new(OnCpu::load(config.architecture.clone(), checkpoint, compat)?)
        };
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
        let network: Box<dyn Network> = if device.is_gpu() {
            device.run(Build { architecture: &config.architecture, read })?
        } else {
            Box::new(OnCpu::with_values(config.architecture.clone(), read)?)
        };
        Ok(Model { config, network, device: device.clone(), warnings: Vec::new() })
    }

    /// The same model, saying where it comes from.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Provenance) -> Self {
        self.config.provenance = Some(provenance);
        self
    }

    /// Writes a bundle; the file appears whole or not at all. The weights of a loaded model are read from its file again: one
    /// that was written over since is refused, one that was replaced does not matter.
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
        self.check(shape)?;
        self.device.watch(|| self.network.classify(pixels, shape, probabilities, cancel))
    }

    /// `pixels`, `shape` `[b, 1 or channels, h, w]`, to the network's own output, `[b, classes, h, w]`.
    pub fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        self.check(shape)?;
        self.device.watch(|| self.network.logits(pixels, shape))
    }

    fn check(&self, shape: [usize; 4]) -> Result<()> {
        let expected = self.config.architecture.channels;
        if shape[1] != 1 && shape[1] != expected {
            return Err(Error::Argument(format!("input has {} channels, the model takes 1 or {expected}", shape[1])));
        }
        Ok(())
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

/// A network on its device.
trait Network: std::fmt::Debug + Send + Sync {
    fn classify(
        &self,
        pixels: Vec<f32>,
        shape: [usize; 4],
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified>;

    /// `[b, classes, h, w]`.
    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>>;

    /// Shows every parameter and running statistic, one at a time.
    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()>;
}
