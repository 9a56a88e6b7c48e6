//! Whether CUDA would work, asked before Burn is touched: Burn panics where the driver, NVRTC or the headers are missing.
//!
//! cubecl 0.10 needs three things at run time: the driver's libcuda, NVRTC to compile kernels, and the CUDA headers that
//! the kernels include. The driver is looked for with cudarc, which cubecl loads it with; the others by `cuda_toolkit`.

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaCard {
    pub name: String,
    pub memory_bytes: u64,
}

/// The GPUs in order of their index, or why there is none to use and what would help. Never panics.
pub fn cards() -> Result<Vec<CudaCard>, String> {
    imp::cards()
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
        (0..count)
            .map(|index| {
                let card = device::get(index)?;
                // SAFETY: `card` is a device that the driver has just named.
                let memory_bytes = unsafe { device::total_mem(card) }? as u64;
                Ok(CudaCard { name: device::get_name(card)?, memory_bytes })
            })
            .collect::<Result<_, _>>()
            .map_err(|error| said("cuDeviceGet", error))
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
