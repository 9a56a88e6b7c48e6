//! `transunet devices`: where networks can run on this machine.

use std::fmt;

use serde::Serialize;
use transunet::device::{Device, DeviceChoice, DeviceInfo};

use super::table::{self, Table};
use super::{Outcome, Session};

/// List the devices of this machine: which can be used, and why others cannot
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  transunet devices\n  transunet devices --json")]
pub struct Devices {
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub fn run(&self, session: &Session) -> Outcome {
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
            list.row([device.id.clone(), device.memory_bytes.map_or("-".into(), table::bytes), device.name.clone()]);
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

/// "auto", "cpu", "cuda" or "cuda:N".
pub fn parse(text: &str) -> Result<DeviceChoice, String> {
    match text {
        "auto" => Ok(DeviceChoice::Auto),
        "cpu" => Ok(DeviceChoice::Cpu),
        "cuda" => Ok(DeviceChoice::Cuda(0)),
        _ => text
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok())
            .map(DeviceChoice::Cuda)
            .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".into()),
    }
}
