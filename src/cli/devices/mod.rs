//! `transunet devices`: where networks can run on this machine, and whether they run right there.

mod check;

use std::fmt;

use serde::Serialize;
use transunet::device::{Device, DeviceChoice, DeviceInfo};

use super::failure::{About, Code, Failure};
use super::table::{self, Table};
use super::{Outcome, Session};

/// List the devices of this machine: which can be used, and why others cannot
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  transunet devices
  transunet devices --check cuda:0     whether it gives the CPU's results, and how fast; some minutes")]
pub struct Devices {
    /// Run networks on this device, compare results and training with the CPU's, and measure both; fails where they differ
    #[arg(long, value_name = "DEVICE")]
    check: Option<DeviceChoice>,
    /// With --check: small networks alone, for devices that are slow
    #[arg(long, requires = "check")]
    quick: bool,
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub fn run(&self, session: &Session) -> Outcome {
        if let Some(choice) = self.check {
            let device = Device::open(choice).about(Code::Device)?;
            let devices = transunet::device::Devices::new(vec![device]).about(Code::Device)?;
            let check = check::Check::run(&devices, self.quick).about(Code::Device)?;
            session.print(&super::info::render(&check, self.json));
            if let [first, ..] = check.faults() {
                let hint = "do not use this device; a newer driver may help";
                return Err(Failure::new(Code::Device, first.clone(), hint));
            }
            return Ok(());
        }
        session.print(&super::info::render(&List { devices: Device::list() }, self.json));
        Ok(())
    }
}

#[derive(Serialize)]
struct List {
    devices: Vec<DeviceInfo>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = Table::new(&["Device", "Memory", "Name"], &[false, true, false]);
        for device in &self.devices {
            let driver = device.driver.as_ref().map_or(String::new(), |driver| format!(", driver {driver}"));
            let name = format!("{}{driver}", device.name);
            list.row([device.id.clone(), device.memory_bytes.map_or("-".into(), table::bytes), name]);
        }
        let lines = list.lines();
        for (line, reason) in lines.iter().zip(std::iter::once(&None).chain(self.devices.iter().map(|d| &d.unusable))) {
            writeln!(f, "{line}")?;
            if let Some(reason) = reason {
                writeln!(f, "  cannot be used: {reason}")?;
            }
        }
        Ok(())
    }
}
