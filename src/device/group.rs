//! Devices that share the work.

use burn_autodiff::Autodiff;
use burn_dispatch::{Dispatch, DispatchDevice};

use super::{Cpu, Device, DeviceChoices, DeviceInfo, GradientWork, Place};
use crate::error::{Error, Result};
use crate::precision::ComputePrecision;

/// At least one device; several are all GPUs, or all software devices of the CPU. Clones share them.
#[derive(Debug, Clone)]
pub struct Devices(Vec<Device>);

impl Devices {
    pub fn open(choices: &DeviceChoices) -> Result<Self> {
        Self::new(choices.0.iter().map(|choice| Device::open(*choice)).collect::<Result<_>>()?)
    }

    pub fn new(devices: Vec<Device>) -> Result<Self> {
        let Some(first) = devices.first() else {
            return Err(Error::Argument("no device, expected at least one".into()));
        };
        if devices.iter().any(|device| device.is_gpu() != first.is_gpu()) {
            return Err(Error::Argument("a CPU and a GPU, expected devices of one kind".into()));
        }
        Ok(Devices(devices))
    }

    pub fn cpu() -> Self {
        Devices(vec![Device::cpu(None)])
    }

    /// The one that does what only one can do.
    pub fn first(&self) -> &Device {
        &self.0[0]
    }

    pub fn all(&self) -> &[Device] {
        &self.0
    }

    pub fn are_gpus(&self) -> bool {
        self.first().is_gpu()
    }

    /// "cpu", "cuda:0" or "cuda:0,cuda:1".
    pub fn id(&self) -> String {
        self.0.iter().map(|device| device.info.id.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Marketing names, joined by commas.
    pub fn names(&self) -> String {
        self.0.iter().map(|device| device.info.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub fn infos(&self) -> Vec<DeviceInfo> {
        self.0.iter().map(|device| device.info.clone()).collect()
    }

    /// Why automatic choice fell back to the CPU, if it did.
    pub fn fallback(&self) -> Option<&str> {
        self.first().fallback.as_deref()
    }

    /// As [`Device::check_precision`], of each.
    pub fn check_precision(&self, precision: ComputePrecision) -> Result<()> {
        self.0.iter().try_for_each(|device| device.check_precision(precision))
    }

    /// Runs `work`, which computes on these devices, as [`Device::watch`] does; a failure is that of all.
    pub fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        for device in &self.0 {
            if let Some(reason) = device.lost.get() {
                return Err(device.lost_error(reason));
            }
        }
        let result = self.first().watch(work);
        if let Some(reason) = self.first().lost.get() {
            self.0.iter().for_each(|device| {
                device.lost.get_or_init(|| reason.clone());
            });
        }
        result
    }

    /// Runs `work`, which computes gradients, on these devices' backend, watched.
    pub fn learn<W: GradientWork>(&self, work: W) -> Result<W::Output> {
        self.watch(|| {
            let gpus = self.0.iter().filter_map(|device| match &device.place {
                Place::Gpu(device) => Some(DispatchDevice::autodiff(device.clone())),
                Place::Cpu(_) => None,
            });
            let cpus = self.0.iter().filter_map(|device| match &device.place {
                Place::Cpu(device) => Some(*device),
                Place::Gpu(_) => None,
            });
            match self.are_gpus() {
                true => work.run::<Dispatch>(&gpus.collect::<Vec<_>>()),
                false => work.run::<Autodiff<Cpu>>(&cpus.collect::<Vec<_>>()),
            }
        })
    }

    /// Of the one that has the least, where it is known.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.0.iter().filter_map(|device| device.info.memory_bytes).min()
    }
}
