//! Where and how the network runs; the arguments' help is the manifest's.

use transunet::device::{Device, DeviceChoice, cpu_threads};

use super::devices;
use super::failure::{About, Code, Outcome};

#[derive(clap::Args)]
pub struct Computing {
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = devices::parse)]
    device: DeviceChoice,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Computing {
    /// Opens the device; from here on the number of threads holds.
    pub fn open(&self) -> Outcome<Device> {
        if let Some(threads) = self.threads {
            cpu_threads(threads.into());
        }
        Device::open(self.device).about(Code::Device)
    }
}
