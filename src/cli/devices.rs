//! `transunet devices`: where networks can run on this machine.

use std::fmt;

use serde::Serialize;
use transunet::device::{Device, DeviceInfo};

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
