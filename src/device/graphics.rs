//! What Vulkan or Metal would compute on, asked through wgpu before Burn is touched: Burn panics where the loader, a driver or
//! an adapter is missing.

use std::fmt;

#[cfg(all(feature = "vulkan", feature = "metal"))]
compile_error!("Burn is built for Vulkan or for Metal: take one of the features \"vulkan\" and \"metal\"");

/// A system's way to GPUs of all makers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Vulkan,
    /// Of macOS.
    Metal,
}

impl Api {
    /// The one that this build can use.
    pub const BUILT: Option<Api> = if cfg!(feature = "vulkan") {
        Some(Api::Vulkan)
    } else if cfg!(feature = "metal") {
        Some(Api::Metal)
    } else {
        None
    };

    /// As devices are called by it.
    pub fn id(self) -> &'static str {
        match self {
            Api::Vulkan => "vulkan",
            Api::Metal => "metal",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Vulkan => "Vulkan",
            Api::Metal => "Metal",
        })
    }
}

/// What an adapter is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Discrete,
    /// May be slower than the CPU's engine: taken only where it is named.
    Integrated,
    Virtual,
    /// Computes on the CPU; for tests.
    Software,
}

/// One adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    pub name: String,
    /// Name and version of its driver.
    pub driver: String,
    /// With the position among those of this kind, which is how Burn counts; or why Burn cannot use it.
    pub place: Result<(Kind, usize), String>,
}

/// All adapters in the order in which `api` names them, or why there is none and what would help. Never panics.
pub fn adapters(api: Api) -> Result<Vec<Adapter>, String> {
    if Api::BUILT != Some(api) {
        return Err(format!("this build of the library has no {api} support (feature \"{}\" is off)", api.id()));
    }
    imp::adapters(api)
}

#[cfg(any(feature = "vulkan", feature = "metal"))]
mod imp {
    use futures_lite::future::block_on;
    use wgpu::{Backends, DeviceDescriptor, DeviceType, DownlevelFlags, Instance, InstanceDescriptor};

    use super::{Adapter, Api, Kind};

    pub fn adapters(api: Api) -> Result<Vec<Adapter>, String> {
        let backends = match api {
            Api::Vulkan => Backends::VULKAN,
            Api::Metal => Backends::METAL,
        };
        // As cubecl-wgpu 0.10 asks, so that both count the same adapters.
        let instance =
            Instance::new(InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() });
        let found = block_on(instance.enumerate_adapters(backends));
        if found.is_empty() {
            return Err(match api {
                Api::Vulkan => {
                    "Vulkan shows no device: it needs its loader (libvulkan.so.1) and the driver of a card, which a \
                     file in /usr/share/vulkan/icd.d names (VK_DRIVER_FILES, where set, names others)"
                }
                Api::Metal => "Metal shows no device: it is a part of macOS",
            }
            .into());
        }
        let mut counts = [0; 4];
        Ok(found
            .iter()
            .map(|adapter| {
                let info = adapter.get_info();
                let place = kind(info.device_type).and_then(|kind| {
                    let index = counts[kind as usize];
                    counts[kind as usize] += 1;
                    match index {
                        1.. if kind == Kind::Software => Err("Burn opens only the first software device".into()),
                        _ => opens(adapter).map(|()| (kind, index)),
                    }
                });
                let driver = format!("{} {}", info.driver, info.driver_info).trim().to_string();
                Adapter { name: info.name, driver, place }
            })
            .collect())
    }

    fn kind(device: DeviceType) -> Result<Kind, String> {
        match device {
            DeviceType::DiscreteGpu => Ok(Kind::Discrete),
            DeviceType::IntegratedGpu => Ok(Kind::Integrated),
            DeviceType::VirtualGpu => Ok(Kind::Virtual),
            DeviceType::Cpu => Ok(Kind::Software),
            DeviceType::Other => Err("its driver does not say what it is".into()),
        }
    }

    fn opens(adapter: &wgpu::Adapter) -> Result<(), String> {
        if !adapter.get_downlevel_capabilities().flags.contains(DownlevelFlags::COMPUTE_SHADERS) {
            return Err("it has no compute shaders".into());
        }
        let asked = DeviceDescriptor { required_limits: adapter.limits(), ..DeviceDescriptor::default() };
        block_on(adapter.request_device(&asked)).map(drop).map_err(|error| format!("it does not open: {error}"))
    }
}

#[cfg(not(any(feature = "vulkan", feature = "metal")))]
mod imp {
    pub fn adapters(_: super::Api) -> Result<Vec<super::Adapter>, String> {
        Ok(Vec::new())
    }
}
