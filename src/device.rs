//! Where the network runs. The only file that names a Burn backend.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn_autodiff::Autodiff;
use burn_dispatch::{Dispatch, DispatchDevice};
use burn_flex::{Flex, FlexDevice};

use crate::error::{Error, Result};
use crate::ffi::cuda_probe::{self, CudaCard};
use crate::ffi::panic_text;
use crate::kernels::Kernels;

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

    fn run<B: Learns>(self, device: &B::Device) -> Result<Self::Output>;
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

/// What the caller asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA when it is usable, else the CPU; the choice is reported.
    #[default]
    Auto,
    Cpu,
    /// Fails rather than falls back.
    Cuda(u32),
}

/// A device that could be opened, or one that could not, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    /// "cpu" or "cuda:0".
    pub id: String,
    /// Marketing name of the processor or card.
    pub name: String,
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
    /// Why the device is lost. A CUDA failure does not heal within a process.
    lost: Arc<OnceLock<String>>,
}

impl Device {
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        let device = match choice {
            DeviceChoice::Cpu => Device::cpu(None),
            DeviceChoice::Cuda(index) => Device::cuda(index)?,
            DeviceChoice::Auto => Device::cuda(0).unwrap_or_else(|error| Device::cpu(Some(error.to_string()))),
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
    /// this and every later call. A panic on the CPU is a bug and passes through.
    pub fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.is_gpu() {
            return work();
        }
        if let Some(reason) = self.lost.get() {
            return Err(self.lost_error(reason));
        }
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(self.lost_error(self.lost.get_or_init(|| panic_text(&*panic)))))
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

    /// Runs `work`, which computes gradients, on this device's backend, watched.
    pub fn learn<W: GradientWork>(&self, work: W) -> Result<W::Output> {
        self.watch(|| match &self.place {
            Place::Cpu(device) => work.run::<Autodiff<Cpu>>(device),
            Place::Gpu(device) => work.run::<Dispatch>(&DispatchDevice::autodiff(device.clone())),
        })
    }

    fn cpu(fallback: Option<String>) -> Self {
        Device { place: Place::Cpu(FlexDevice), info: cpu_info(), fallback, lost: Arc::default() }
    }

    fn cuda(index: u32) -> Result<Self> {
        let refuse = |reason: String| Error::DeviceUnavailable(format!("cuda:{index}: {reason}"));
        let cards = cuda_probe::cards().map_err(refuse)?;
        let count = cards.len();
        let card = cards
            .into_iter()
            .nth(index as usize)
            .ok_or_else(|| refuse(format!("there are {count} cards, counted from 0")))?;
        cuda_probe::hand_over_toolkit().map_err(refuse)?;
        let burn = cuda_device(index as usize).map_err(refuse)?;
        let device = Device {
            place: Place::Gpu(burn.clone()),
            info: cuda_info(index as usize, card, None),
            fallback: None,
            lost: Arc::default(),
        };
        // Also shows whether driver, NVRTC and card go together, which no probe can tell.
        device.watch(|| trial(&burn)).map_err(|error| refuse(error.to_string()))?;
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

fn cuda_info(index: usize, card: CudaCard, unusable: Option<String>) -> DeviceInfo {
    DeviceInfo { id: format!("cuda:{index}"), name: card.name, memory_bytes: Some(card.memory_bytes), unusable }
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
