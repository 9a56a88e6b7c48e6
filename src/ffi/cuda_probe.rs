//! Whether CUDA would work, asked before Burn is touched: Burn panics where the driver, NVRTC or the headers are missing.
//!
//! cubecl 0.10 needs three things at run time: the driver's libcuda, NVRTC to compile kernels, and the CUDA headers that
//! the kernels include. The libraries are looked for with cudarc, which cubecl loads them with; the headers where
//! cubecl_cuda::install looks.

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

/// What else than a driver is missing; `None` when kernels can be compiled.
pub fn missing_toolkit() -> Option<String> {
    imp::missing_toolkit()
}

#[cfg(feature = "cuda")]
mod imp {
    use std::path::{Path, PathBuf};

    use cudarc::driver::result::{DriverError, device, init};

    use super::CudaCard;

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
        // SAFETY: opens and closes the library, which does nothing until it is asked to compile.
        if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
            return Some(
                "NVRTC is not found: install libnvrtc.so of the CUDA toolkit and put its folder into LD_LIBRARY_PATH"
                    .into(),
            );
        }
        let Some(root) = toolkit() else {
            return Some(
                "the CUDA headers are not found: install the CUDA toolkit's headers and set CUDA_PATH to the folder that \
                 holds include/cuda_runtime.h (looked at /usr/local/cuda and /opt/cuda)"
                    .into(),
            );
        };
        let header = root.join("include/cuda_runtime.h");
        if root.to_str().is_none() || !header.is_file() {
            return Some(format!(
                "{} is not found: install the CUDA toolkit's headers, or set CUDA_PATH to where they are",
                header.display()
            ));
        }
        None
    }

    /// As cubecl_cuda::install::cuda_path of cubecl 0.10 decides.
    fn toolkit() -> Option<PathBuf> {
        if let Ok(path) = std::env::var("CUDA_PATH") {
            return Some(path.into());
        }
        if cfg!(windows) {
            return Some("C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/".into());
        }
        [("/usr/local/cuda", "/usr/local/cuda"), ("/opt/cuda", "/opt/cuda"), ("/usr/bin/nvcc", "/usr")]
            .into_iter()
            .find(|(sign, _)| Path::new(sign).exists())
            .map(|(_, root)| root.into())
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
}
