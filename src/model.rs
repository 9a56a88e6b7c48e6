//! A model: description, network and labels, immutable after load.

use std::path::Path;

use crate::config::ModelConfig;
use crate::device::Device;
use crate::error::{Error, Result};

/// Weights on a device with all that is needed to use them. Shared freely between threads.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    device: Device,
    /// What the caller should know but is not an error, such as a missing description.
    warnings: Vec<String>,
}

impl Model {
    /// Loads a bundle or a foreign checkpoint (`.pth`, `.npz`, `.safetensors`, with `NAME.yaml` beside it if there is one).
    pub fn load(device: &Device, path: &Path) -> Result<Self> {
        let _ = (device, path);
        Err(Error::Internal("not built yet".into()))
    }

    /// Writes a bundle; the file appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let _ = path;
        Err(Error::Internal("not built yet".into()))
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
