//! Where and how the network runs; the arguments' help is the manifest's.

use transunet::device::{DeviceChoices, Devices, cpu_threads};

use super::failure::{About, Code, Outcome};

#[derive(clap::Args)]
pub struct Computing {
    #[arg(long, visible_alias = "devices", value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoices,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Computing {
    /// Opens the devices; from here on the number of threads holds.
    pub fn open(&self) -> Outcome<Devices> {
        if let Some(threads) = self.threads {
            cpu_threads(threads.into());
        }
        Devices::open(&self.device).about(Code::Device)
    }
}
