//! Whether CUDA would work, asked before Burn is touched: Burn panics where the driver, NVRTC or the headers are missing.
//!
//! cubecl 0.10 needs three things at run time: the driver's libcuda, NVRTC to compile kernels, and the CUDA headers that
//! the kernels include. The driver is looked for with cudarc, which cubecl loads it with; the others by `cuda_toolkit`.

use std::panic::catch_unwind;

use crate::panics;

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaCard {
    pub name: String,
    pub memory_bytes: u64,
    /// Version of the driver where the system says it, and of the CUDA that it speaks.
    pub driver: String,
    /// What a compiled kernel is for: the generation of the card, and the driver's CUDA.
    pub kind: String,
    /// Whether it multiplies in TF32.
    pub tf32: bool,
}

/// The GPUs in order of their index, or why there is none to use and what would help. Never panics.
pub fn cards() -> Result<Vec<CudaCard>, String> {
    // cudarc panics where a driver lacks a function.
    catch_unwind(imp::cards)
        .unwrap_or_else(|panic| Err(format!("the NVIDIA driver is too old: {}", panics::text(&*panic))))
}

/// What else than a driver is missing; `None` when kernels can be compiled. Changes nothing.
pub fn missing_toolkit() -> Option<String> {
    imp::missing_toolkit()
}

/// Lets cubecl find what compiles kernels; says what is missing.
pub fn hand_over_toolkit() -> Result<(), String> {
    imp::hand_over_toolkit()
}

#[cfg(feature = "cuda")]
mod imp {
    use cudarc::driver::result::{DriverError, device, init};
    use cudarc::driver::sys::{self, CUdevice_attribute};

    use super::CudaCard;
    use crate::ffi::cuda_toolkit::{self, Toolkit};

    pub fn cards() -> Result<Vec<CudaCard>, String> {
        // SAFETY: opens and closes the library; NVIDIA's driver has no other effect before cuInit.
        if !unsafe { cudarc::driver::sys::is_culib_present() } {
            return Err(
                "no NVIDIA driver: libcuda.so.1 is not found (install the driver of the card; in a container, \
                        start it with GPU access)"
                    .into(),
            );
        }
        let said = |what: &str, error: DriverError| format!("the NVIDIA driver refuses: {what}: {error}");
        init().map_err(|error| said("cuInit", error))?;
        let count = device::get_count().map_err(|error| said("cuDeviceGetCount", error))?;
        if count == 0 {
            return Err("the NVIDIA driver sees no card (is CUDA_VISIBLE_DEVICES set?)".into());
        }
        let mut speaks = 0;
        // SAFETY: writes one number.
        unsafe { sys::cuDriverGetVersion(&mut speaks) }.result().map_err(|error| said("cuDriverGetVersion", error))?;
        let cuda = format!("CUDA {}.{}", speaks / 1000, speaks % 1000 / 10);
        let driver = version().map_or_else(|| cuda.clone(), |version| format!("{version} ({cuda})"));
        (0..count)
            .map(|index| {
                let card = device::get(index)?;
                // SAFETY: `card` is a device that the driver has just named.
                let memory_bytes = unsafe { device::total_mem(card) }? as u64;
                // SAFETY: as above.
                let number = |what| unsafe { device::get_attribute(card, what) };
                let major = number(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
                let minor = number(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
                Ok(CudaCard {
                    name: device::get_name(card)?,
                    memory_bytes,
                    driver: driver.clone(),
                    kind: format!("sm {major}.{minor} {cuda}"),
                    tf32: major >= 8,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(|error| said("cuDeviceGet", error))
    }

    /// Of the driver, such as 580.65.06; Linux' kernel module says it.
    fn version() -> Option<String> {
        let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
        let numbers =
            |word: &&str| word.contains('.') && word.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
        text.lines().next()?.split_whitespace().find(numbers).map(Into::into)
    }

    pub fn missing_toolkit() -> Option<String> {
        find().err()
    }

    pub fn hand_over_toolkit() -> Result<(), String> {
        find()?.hand_over()
    }

    fn find() -> Result<Toolkit, String> {
        // SAFETY: opens and closes the library, which does nothing until it is asked to compile.
        cuda_toolkit::find(|| unsafe { cudarc::nvrtc::sys::is_culib_present() })
    }
}

#[cfg(not(feature = "cuda"))]
mod imp {
    pub fn cards() -> Result<Vec<super::CudaCard>, String> {
        Err("this build of the library has no CUDA support (feature \"cuda\" is off)".into())
    }

    pub fn missing_toolkit() -> Option<String> {
        None
    }

    pub fn hand_over_toolkit() -> Result<(), String> {
        Ok(())
    }
}
