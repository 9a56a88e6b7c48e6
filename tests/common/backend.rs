//! Where tests of networks and of training compute: on the CPU; in a build with Vulkan and without CUDA on Vulkan's first
//! device, which `scripts/mesa` brings for machines without a GPU.
#![allow(dead_code)] // each test binary uses its own part

use transunet::device::{Device, Devices};

#[allow(unused_imports)]
pub use imp::{ID, Learning, Plain, learning, plain};

#[cfg(not(all(feature = "vulkan", not(feature = "cuda"))))]
mod imp {
    use burn_autodiff::Autodiff;
    use transunet::device::Cpu;

    pub const ID: &str = "cpu";
    pub type Plain = Cpu;
    pub type Learning = Autodiff<Cpu>;

    pub fn plain() -> burn::tensor::Device<Plain> {
        Default::default()
    }

    /// For gradients.
    pub fn learning() -> burn::tensor::Device<Learning> {
        Default::default()
    }
}

#[cfg(all(feature = "vulkan", not(feature = "cuda")))]
mod imp {
    use std::sync::OnceLock;

    use burn_dispatch::{Dispatch, DispatchDevice};
    use burn_wgpu::WgpuDevice;
    use transunet::device::Device;

    pub const ID: &str = "vulkan:0";
    pub type Plain = Dispatch;
    pub type Learning = Dispatch;

    pub fn plain() -> DispatchDevice {
        static OPENED: OnceLock<()> = OnceLock::new();
        OPENED.get_or_init(|| match Device::open(ID.parse().unwrap()) {
            Ok(_) => (),
            Err(error) => panic!("{error}; scripts/mesa runs a command on a driver without a GPU"),
        });
        DispatchDevice::Vulkan(WgpuDevice::Cpu)
    }

    /// For gradients.
    pub fn learning() -> DispatchDevice {
        DispatchDevice::autodiff(plain())
    }
}

pub fn devices() -> Devices {
    several(1)
}

/// The same one several times stands in for several GPUs.
pub fn several(count: usize) -> Devices {
    let choice = ID.parse().unwrap();
    Devices::new((0..count).map(|_| Device::open(choice).unwrap()).collect()).unwrap()
}
