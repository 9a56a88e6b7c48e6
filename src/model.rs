//! A model: description, network and labels, immutable after load.

use std::path::Path;

use burn::tensor::Tensor;

use crate::config::{Compat, ModelConfig};
use crate::device::{Backend, Device};
use crate::error::{Error, Result};
use crate::network::{TransUNet, fill, initial_values, values};
use crate::weights::{self, BundleWriter, Checkpoint};

/// Weights on a device with all that is needed to use them. Shared freely between threads.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    network: TransUNet<Backend>,
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
        let network = TransUNet::new(&config.architecture, device.burn());
        let compat = config.compat == Some(Compat::TransUnet2021);
        let network =
            device.watch(|| fill(network, |name, _| checkpoint.read_for(name, &config.architecture, compat)))?;
        Ok(Model { config, network, device: device.clone(), warnings })
    }

    /// A model whose weights are a function of `seed` alone: its labels mean nothing, but everything else works.
    pub fn untrained(device: &Device, config: ModelConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        let network = TransUNet::new(&config.architecture, device.burn());
        let network = device.watch(|| fill(network, |name, shape| Ok(initial_values(seed, name, shape))))?;
        Ok(Model { config, network, device: device.clone(), warnings: Vec::new() })
    }

    /// Writes a bundle; the file appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut bundle = BundleWriter::create(path, &self.config)?;
        for (name, tensor) in values(&self.network) {
            let data = self.device.watch(|| Ok(tensor.into_data().into_vec::<f32>()))?;
            bundle.put(&name, &data.map_err(|e| Error::Internal(format!("{name}: {e:?}")))?)?;
        }
        bundle.finish()
    }

    /// `[b, 1 or channels, h, w]` to logits `[b, classes, h, w]`.
    pub fn forward(&self, input: Tensor<Backend, 4>) -> Result<Tensor<Backend, 4>> {
        let [_, channels, _, _] = input.dims();
        let expected = self.config.architecture.channels;
        if channels != 1 && channels != expected {
            return Err(Error::Argument(format!("input has {channels} channels, the model takes 1 or {expected}")));
        }
        Ok(self.network.forward(input))
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
