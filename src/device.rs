//! Where the network runs. The only file that names a Burn backend.

use burn_dispatch::{Dispatch, DispatchDevice};

use crate::error::{Error, Result};

/// The one backend type; CPU or GPU, with or without autodiff, is decided when a device is opened.
pub type Backend = Dispatch;

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
    burn: DispatchDevice,
    info: DeviceInfo,
    /// Why `Auto` did not take a GPU.
    fallback: Option<String>,
}

impl Device {
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu | DeviceChoice::Auto => Ok(Device {
                burn: DispatchDevice::Flex(Default::default()),
                info: DeviceInfo { id: "cpu".into(), name: "CPU".into(), memory_bytes: None, unusable: None },
                fallback: None,
            }),
            DeviceChoice::Cuda(index) => Err(Error::DeviceUnavailable(format!("cuda:{index}: not built yet"))),
        }
    }

    /// All devices that this library could use on this machine, usable or not.
    pub fn list() -> Vec<DeviceInfo> {
        Vec::new()
    }

    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Why automatic choice fell back to the CPU, if it did.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    pub fn is_gpu(&self) -> bool {
        !matches!(self.burn, DispatchDevice::Flex(_))
    }

    /// The device as Burn names it, for tensors that go with this device's network.
    pub fn burn(&self) -> &DispatchDevice {
        &self.burn
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
