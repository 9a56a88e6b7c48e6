//! A model: description, network and labels, immutable after load.

mod cpu;
mod gpu;
mod rounded;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::config::{Compat, ModelConfig, Provenance};
use crate::control::Cancel;
use crate::device::{Device, Devices};
use crate::error::{Error, Result};
use crate::network::initial_values;
use crate::precision::ComputePrecision;
use crate::receipt::digest::{self, Sum};
use crate::resize::Matrices;
use crate::weights::{self, BundleWriter, Checkpoint, Precision};
use cpu::OnCpu;
use gpu::Build;
use rounded::Rounded;

/// Weights on a device with all that is needed to use them. Shared freely between threads.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    /// The same on each device.
    networks: Vec<Box<dyn Network>>,
    devices: Devices,
    precision: ComputePrecision,
    /// Of the weights; of those of a file as they are read, of others when it is asked for.
    weights: OnceLock<Sum>,
    /// What the caller should know but is not an error, such as a missing description.
    warnings: Vec<String>,
}

impl Model {
    /// Loads a bundle or a foreign checkpoint (`.pth`, `.npz`, `.safetensors`, with `NAME.yaml` beside it if there is
    /// one). Tensors that are missing, unexpected or wrongly shaped are refused, all of them listed.
    pub fn load(devices: &Devices, path: &Path) -> Result<Self> {
        Self::load_with(devices, path, ComputePrecision::F32)
    }

    /// As [`Model::load`], to compute with `precision`; devices that do not are refused.
    pub fn load_with(devices: &Devices, path: &Path, precision: ComputePrecision) -> Result<Self> {
        devices.check_precision(precision)?;
        let checkpoint = Arc::new(Checkpoint::open(path)?);
        let (config, warnings) = checkpoint.describe()?;
        weights::check(&checkpoint, &config.architecture)?;
        let compat = config.compat == Some(Compat::TransUnet2021);
        let mut networks: Vec<Box<dyn Network>> = Vec::new();
        let mut sums = digest::Weights::default();
        for device in devices.all() {
            let (architecture, checkpoint) = (config.architecture.clone(), checkpoint.clone());
            networks.push(if precision != ComputePrecision::F32 {
                Box::new(Rounded::load(device, architecture, checkpoint, compat, precision, &mut sums)?)
            } else if device.is_gpu() {
                let read = |name: &str, _: &[usize]| {
                    let values = checkpoint.read_for(name, &architecture, compat)?;
                    sums.add(name, &values);
                    Ok(values)
                };
                device.run(Build { architecture: &architecture, precision, read })?
            } else {
                Box::new(OnCpu::load(architecture, checkpoint, compat, &mut sums)?)
            });
        }
        let weights = sums.finish().into();
        Ok(Model { config, networks, devices: devices.clone(), precision, weights, warnings })
    }

    /// A model whose weights are a function of `seed` alone: its labels mean nothing, but everything else works.
    pub fn untrained(devices: &Devices, config: ModelConfig, seed: u64) -> Result<Self> {
        Self::with_values(devices, config, |name, shape| Ok(initial_values(seed, name, shape)))
    }

    /// A model whose parameters and running statistics are what `read(name, shape)` returns.
    pub fn with_values(
        devices: &Devices,
        config: ModelConfig,
        mut read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        config.validate()?;
        let precision = ComputePrecision::F32;
        // Values that the next device will ask for too.
        let mut kept = BTreeMap::new();
        let mut networks: Vec<Box<dyn Network>> = Vec::new();
        for (n, device) in devices.all().iter().enumerate() {
            let last = n + 1 == devices.all().len();
            let read = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
                let values = kept.remove(name).map_or_else(|| read(name, shape), Ok)?;
                if !last {
                    kept.insert(name.to_owned(), values.clone());
                }
                Ok(values)
            };
            networks.push(if device.is_gpu() {
                device.run(Build { architecture: &config.architecture, precision, read })?
            } else {
                Box::new(OnCpu::with_values(config.architecture.clone(), read)?)
            });
        }
        Ok(Model {
            config,
            networks,
            devices: devices.clone(),
            precision,
            weights: OnceLock::new(),
            warnings: Vec::new(),
        })
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
        let replica = self.first();
        replica.device.watch(|| replica.network.visit(&mut |name, values| bundle.put(name, values)))?;
        bundle.finish()
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// What it computes with.
    pub fn precision(&self) -> ComputePrecision {
        self.precision
    }

    /// SHA-256 of weights and description, in hexadecimal: the same wherever it is loaded from, before and after saving it in
    /// full precision.
    pub fn sha256(&self) -> Result<String> {
        let weights = match self.weights.get() {
            Some(weights) => *weights,
            None => {
                let (replica, mut sums) = (self.first(), digest::Weights::default());
                let mut add = |name: &str, values: &[f32]| {
                    sums.add(name, values);
                    Ok(())
                };
                replica.device.watch(|| replica.network.visit(&mut add))?;
                *self.weights.get_or_init(|| sums.finish())
            }
        };
        sha256(weights, &self.config)
    }

    /// The same of a checkpoint that fits `config`, on no device.
    pub fn sha256_of(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<String> {
        let compat = config.compat == Some(Compat::TransUnet2021);
        let mut sums = digest::Weights::default();
        for (name, _) in weights::parameters(&config.architecture) {
            sums.add(&name, &checkpoint.read_for(&name, &config.architecture, compat)?);
        }
        sha256(sums.finish(), config)
    }

    /// Vector instructions that a CPU computes with.
    pub fn instructions(&self) -> Result<Option<&'static str>> {
        self.networks[0].instructions()
    }

    /// The network on its first device.
    pub fn first(&self) -> Replica<'_> {
        Replica { config: &self.config, network: &*self.networks[0], device: self.devices.first() }
    }

    /// The network on each device.
    pub fn replicas(&self) -> impl ExactSizeIterator<Item = Replica<'_>> {
        let placed = self.networks.iter().zip(self.devices.all());
        placed.map(|(network, device)| Replica { config: &self.config, network: &**network, device })
    }

    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn sha256(weights: Sum, config: &ModelConfig) -> Result<String> {
    let description = serde_json::to_vec(config).map_err(|e| Error::Internal(format!("model description: {e}")))?;
    Ok(digest::hex(&digest::joined([weights, digest::sha256(&description)])))
}

/// A model's network on one of its devices.
#[derive(Debug, Clone, Copy)]
pub struct Replica<'a> {
    config: &'a ModelConfig,
    network: &'a dyn Network,
    device: &'a Device,
}

impl Replica<'_> {
    /// `pixels` in `form` to the class of each pixel, `[b, h, w]`, and, if asked for, the classes' probabilities,
    /// `[b, classes, h, w]`. `cancel` stops it between two layers.
    pub fn classify<'a>(
        &self,
        pixels: Vec<f32>,
        form: impl Into<Form<'a>>,
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        let form = form.into();
        self.check(form.shape)?;
        self.device.watch(|| self.network.classify(pixels, form, probabilities, cancel))
    }

    /// `pixels`, `shape` `[b, 1 or channels, h, w]`, to the network's own output, `[b, classes, h, w]`.
    pub fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        self.check(shape)?;
        self.device.watch(|| self.network.logits(pixels, shape))
    }

    /// Whether the first pass of this form is still to come on a GPU, for which it compiles and tunes kernels.
    pub fn compiles(&self, form: Form) -> bool {
        self.network.compiles(form)
    }

    /// Main memory that a pass of so many `images` of `size` takes, besides what is held already.
    pub fn pass_bytes(&self, images: usize, size: [usize; 2]) -> u64 {
        self.network.pass_bytes(images, size)
    }

    fn check(&self, shape: [usize; 4]) -> Result<()> {
        let expected = self.config.architecture.channels;
        if shape[1] != 1 && shape[1] != expected {
            return Err(Error::Argument(format!("input has {} channels, the model takes 1 or {expected}", shape[1])));
        }
        Ok(())
    }
}

/// What a pass of the network begins with.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// `[b, 1 or channels, h, w]`
    pub shape: [usize; 4],
    /// Makes of slices of another size those that the network sees; on GPUs.
    pub resize: Option<&'a Matrices>,
}

impl Form<'_> {
    /// Height and width that the network sees.
    fn size(&self) -> [usize; 2] {
        let [_, _, height, width] = self.shape;
        self.resize.map_or([height, width], |matrices| matrices.to)
    }
}

impl From<[usize; 4]> for Form<'_> {
    fn from(shape: [usize; 4]) -> Self {
        Form { shape, resize: None }
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
        form: Form,
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified>;

    /// `[b, classes, h, w]`.
    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>>;

    fn compiles(&self, form: Form) -> bool;

    /// Of a CPU.
    fn instructions(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }

    /// Main memory that a pass takes, besides what is held already; 0 on a GPU, which has its own.
    fn pass_bytes(&self, _images: usize, _size: [usize; 2]) -> u64 {
        0
    }

    /// Shows every parameter and running statistic, one at a time.
    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()>;
}
