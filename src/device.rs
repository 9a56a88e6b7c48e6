//! Where the network runs. With its parts the only module, besides the kernels, that names a Burn backend.

mod choice;
mod floor;
pub mod graphics;
mod group;
mod kernel_cache;
pub(crate) mod memory;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_dispatch::{Dispatch, DispatchDevice};
use burn_flex::{Flex, FlexDevice};

use crate::error::{Error, Result};
use crate::ffi::cuda_probe::{self, CudaCard};
use crate::kernels::Kernels;
use crate::panics;
use crate::precision::ComputePrecision;
pub use choice::{DeviceChoice, DeviceChoices};
pub use floor::Floor;
use graphics::{Adapter, Api, Kind};
pub use group::Devices;
pub use kernel_cache::{keep_kernels_in, kernel_cache};

/// The backend of the CPU.
pub type Cpu = Flex;

/// Work that is the same on every device.
pub trait Work {
    type Output;

    fn run<B: Kernels>(self, device: &B::Device) -> Result<Self::Output>;
}

/// Work that computes gradients.
pub trait GradientWork {
    type Output;

    /// At least one device.
    fn run<B: Learns>(self, devices: &[B::Device]) -> Result<Self::Output>;
}

/// A backend that computes gradients.
pub trait Learns: Kernels + AutodiffBackend<InnerBackend: Kernels> {}

impl<B: Kernels + AutodiffBackend<InnerBackend: Kernels>> Learns for B {}

/// Which backend, and where.
#[derive(Debug, Clone)]
enum Place {
    Cpu(FlexDevice),
    /// Compiled once, apart from this library: its types are found when it runs.
    Gpu(DispatchDevice),
}

/// A device that could be opened, or one that could not, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    /// "cpu", "cuda:0", "vulkan:0" or "metal:0".
    pub id: String,
    /// Marketing name of the processor or card.
    pub name: String,
    /// Name and version, or the version alone, where it is known.
    pub driver: Option<String>,
    pub memory_bytes: Option<u64>,
    /// Why the device cannot be used; `None` when it can.
    pub unusable: Option<String>,
}

/// An open device; clones share it.
#[derive(Debug, Clone)]
pub struct Device {
    place: Place,
    info: DeviceInfo,
    /// Why `Auto` did not take a GPU.
    fallback: Option<String>,
    /// Why the device is lost. A failure of a GPU does not heal within a process.
    lost: Arc<OnceLock<String>>,
}

impl Device {
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        let device = match choice {
            DeviceChoice::Cpu => Device::cpu(None),
            DeviceChoice::Cuda(index) => Device::cuda(index)?,
            DeviceChoice::Graphics(api, index) => Device::graphics(api, index)?,
            DeviceChoice::Auto => Device::auto(),
        };
        match &device.fallback {
            None => log::info!("device: {} ({})", device.info.id, device.info.name),
            Some(reason) => log::info!("device: {} ({}), because {reason}", device.info.id, device.info.name),
        }
        Ok(device)
    }

    /// All devices that this library could use on this machine, usable or not.
    pub fn list() -> Vec<DeviceInfo> {
        let mut devices = vec![cpu_info()];
        match cuda_probe::cards() {
            Ok(cards) => {
                let missing = cuda_probe::missing_toolkit();
                devices
                    .extend(cards.into_iter().enumerate().map(|(index, card)| cuda_info(index, card, missing.clone())));
            }
            Err(reason) => devices.push(DeviceInfo {
                id: "cuda:0".into(),
                name: "NVIDIA GPU".into(),
                driver: None,
                memory_bytes: None,
                unusable: Some(reason),
            }),
        }
        let Some(api) = Api::BUILT else { return devices };
        match graphics::adapters(api) {
            Ok(adapters) => {
                let infos = adapters.into_iter().enumerate();
                devices.extend(infos.map(|(index, adapter)| graphics_info(api, index, adapter)));
            }
            Err(reason) => devices.push(DeviceInfo {
                id: format!("{}:0", api.id()),
                name: format!("GPU through {api}"),
                driver: None,
                memory_bytes: None,
                unusable: Some(reason),
            }),
        }
        devices
    }

    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Why automatic choice fell back to the CPU, if it did.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self.place, Place::Gpu(_))
    }

    /// Runs `work`, which computes on this device. Burn panics where a GPU fails: that becomes [`Error::DeviceLost`], for
    /// this and every later call, but [`Error::OutOfMemory`] where a buffer found no room, which a device survives. A panic on
    /// the CPU is a bug and passes through.
    pub fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.is_gpu() {
            return work();
        }
        if let Some(reason) = self.lost.get() {
            return Err(self.lost_error(reason));
        }
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match panics::text(&*panic) {
            text if memory::lacks_memory(&text) => Err(Error::OutOfMemory(format!("{}: {text}", self.info.id))),
            text => Err(self.lost_error(self.lost.get_or_init(|| text))),
        })
    }

    /// Refuses a precision that this device does not compute in. The CPU's kernels are float32's only.
    pub fn check_precision(&self, precision: ComputePrecision) -> Result<()> {
        let can = match &self.place {
            Place::Cpu(_) => precision == ComputePrecision::F32,
            Place::Gpu(device) => self.watch(|| Ok(Dispatch::supports_dtype(device, precision.dtype())))?,
        };
        if can {
            return Ok(());
        }
        let others = if self.is_gpu() { "another precision" } else { "f32" };
        Err(Error::Argument(format!(
            "{} ({}) does not compute in {precision}, expected {others}",
            self.info.id, self.info.name
        )))
    }

    fn lost_error(&self, reason: &str) -> Error {
        Error::DeviceLost(format!("{} failed and can be used again only by a new process ({reason})", self.info.id))
    }

    /// Runs `work` on this device's backend, watched.
    pub fn run<W: Work>(&self, work: W) -> Result<W::Output> {
        self.watch(|| match &self.place {
            Place::Cpu(device) => work.run::<Cpu>(device),
            Place::Gpu(device) => work.run::<Dispatch>(device),
        })
    }

    fn cpu(fallback: Option<String>) -> Self {
        Device { place: Place::Cpu(FlexDevice), info: cpu_info(), fallback, lost: Arc::default() }
    }

    fn cuda(index: u32) -> Result<Self> {
        let refuse = |reason: String| Error::DeviceUnavailable(format!("cuda:{index}: {reason}"));
        let cards = cuda_probe::cards().map_err(refuse)?;
        let count = cards.len();
        let alike = cards.windows(2).all(|pair| pair[0].kind == pair[1].kind);
        let card = cards
            .into_iter()
            .nth(index as usize)
            .ok_or_else(|| refuse(format!("there are {count} cards, counted from 0")))?;
        cuda_probe::hand_over_toolkit().map_err(refuse)?;
        kernel_cache::hand_over(&card.kind, alike);
        let burn = cuda_device(index as usize).map_err(refuse)?;
        Device::gpu(burn, cuda_info(index as usize, card, None)).map_err(|error| refuse(error.to_string()))
    }

    fn graphics(api: Api, index: u32) -> Result<Self> {
        let id = format!("{}:{index}", api.id());
        let refuse = |reason: String| Error::DeviceUnavailable(format!("{id}: {reason}"));
        let adapters = graphics::adapters(api).map_err(refuse)?;
        let count = adapters.len();
        let adapter = adapters
            .into_iter()
            .nth(index as usize)
            .ok_or_else(|| refuse(format!("there are {count} devices, counted from 0")))?;
        let (kind, at) = adapter.place.clone().map_err(refuse)?;
        kernel_cache::hand_over(&format!("{} {}", adapter.name, adapter.driver), count == 1);
        let burn = graphics_device(kind, at).map_err(refuse)?;
        Device::gpu(burn, graphics_info(api, index as usize, adapter)).map_err(|error| refuse(error.to_string()))
    }

    /// CUDA, else the first GPU that is worth it and opens, else the CPU.
    fn auto() -> Self {
        let mut reasons = match Device::cuda(0) {
            Ok(device) => return device,
            Err(error) => vec![error.to_string()],
        };
        let Some(api) = Api::BUILT else { return Device::cpu(reasons.pop()) };
        match graphics::adapters(api) {
            Ok(adapters) => {
                for (index, adapter) in (0..).zip(adapters) {
                    let id = format!("{}:{index}", api.id());
                    match adapter.place {
                        // Macs have one GPU, which Metal calls integrated.
                        Ok((kind, _)) if kind == Kind::Discrete || api == Api::Metal => {
                            match Device::graphics(api, index) {
                                Ok(device) => return device,
                                Err(error) => reasons.push(error.to_string()),
                            }
                        }
                        Ok(_) => reasons.push(format!("{id}: {} is no discrete GPU", adapter.name)),
                        Err(reason) => reasons.push(format!("{id}: {reason}")),
                    }
                }
            }
            Err(reason) => reasons.push(format!("{}:0: {reason}", api.id())),
        }
        Device::cpu(Some(reasons.join("; ")))
    }

    /// Opens a GPU. Also shows whether driver, compiler and card go together, which no probe can tell.
    fn gpu(burn: DispatchDevice, info: DeviceInfo) -> Result<Self> {
        let device = Device { place: Place::Gpu(burn.clone()), info, fallback: None, lost: Arc::default() };
        device.watch(|| trial(&burn))?;
        Ok(device)
    }
}

/// Compiles and runs one kernel.
fn trial(device: &DispatchDevice) -> Result<()> {
    let ones = Tensor::<Dispatch, 1>::ones([2], device);
    match (ones.clone() + ones).into_data().to_vec::<f32>() {
        Ok(sum) if sum == [2.0, 2.0] => Ok(()),
        other => Err(Error::DeviceUnavailable(format!("1 + 1 gave {other:?}"))),
    }
}

#[cfg(feature = "cuda")]
fn cuda_device(index: usize) -> std::result::Result<DispatchDevice, String> {
    Ok(DispatchDevice::Cuda(burn_cuda::CudaDevice::new(index)))
}

#[cfg(not(feature = "cuda"))]
fn cuda_device(_index: usize) -> std::result::Result<DispatchDevice, String> {
    Err("this build has no CUDA support".into())
}

/// Whether float32 matrices are multiplied in TF32 there: on CUDA from compute capability 8.0 on.
pub(crate) fn multiplies_in_tf32(device: &DispatchDevice) -> bool {
    match device {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cuda(device) => {
            static CARDS: OnceLock<Vec<bool>> = OnceLock::new();
            let known = || cuda_probe::cards().unwrap_or_default().iter().map(|card| card.tf32).collect();
            CARDS.get_or_init(known).get(device.index).copied().unwrap_or_default()
        }
        _ => false,
    }
}

fn cuda_info(index: usize, card: CudaCard, unusable: Option<String>) -> DeviceInfo {
    DeviceInfo {
        id: format!("cuda:{index}"),
        name: card.name,
        driver: Some(card.driver),
        memory_bytes: Some(card.memory_bytes),
        unusable,
    }
}

#[cfg(any(feature = "vulkan", feature = "metal"))]
fn graphics_device(kind: Kind, index: usize) -> std::result::Result<DispatchDevice, String> {
    use burn_wgpu::WgpuDevice;
    let device = match kind {
        Kind::Discrete => WgpuDevice::DiscreteGpu(index),
        Kind::Integrated => WgpuDevice::IntegratedGpu(index),
        Kind::Virtual => WgpuDevice::VirtualGpu(index),
        Kind::Software => WgpuDevice::Cpu,
    };
    #[cfg(feature = "vulkan")]
    let device = DispatchDevice::Vulkan(device);
    #[cfg(feature = "metal")]
    let device = DispatchDevice::Metal(device);
    Ok(device)
}

#[cfg(not(any(feature = "vulkan", feature = "metal")))]
fn graphics_device(_kind: Kind, _index: usize) -> std::result::Result<DispatchDevice, String> {
    Err("this build has no support for it".into())
}

fn graphics_info(api: Api, index: usize, adapter: Adapter) -> DeviceInfo {
    DeviceInfo {
        id: format!("{}:{index}", api.id()),
        name: adapter.name,
        driver: Some(adapter.driver).filter(|driver| !driver.is_empty()),
        memory_bytes: None, // wgpu does not tell
        unusable: adapter.place.err(),
    }
}

fn cpu_info() -> DeviceInfo {
    let value = |file: &str, key: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let kilobytes = value("/proc/meminfo", "MemTotal").and_then(|v| v.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    DeviceInfo {
        id: "cpu".into(),
        name: value("/proc/cpuinfo", "model name").unwrap_or_else(|| "CPU".into()),
        driver: None,
        memory_bytes: kilobytes.map(|k| k * 1024),
        unusable: None,
    }
}

/// Fixes the number of threads that compute on the CPU, for the life of the process; 0 = one for each core. Returns what
/// holds: the first call decides.
pub fn cpu_threads(wish: usize) -> usize {
    let _ = rayon::ThreadPoolBuilder::new().num_threads(wish).build_global();
    let held = rayon::current_num_threads();
    if wish > 0 && wish != held {
        log::warn!("{wish} CPU threads were asked for, but the process already computes with {held}");
    }
    held
}
