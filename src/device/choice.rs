//! Which devices a caller asks for, as text.

use std::fmt;
use std::str::FromStr;

use super::graphics::Api;

/// One device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA when it is usable, else a discrete GPU through Vulkan or any through Metal, else the CPU; the choice is reported.
    #[default]
    Auto,
    Cpu,
    /// Fails rather than falls back.
    Cuda(u32),
    /// Fails rather than falls back; may be a software device.
    Graphics(Api, u32),
}

/// "auto", "cpu", "cuda", "cuda:N", "vulkan", "vulkan:N", "metal" or "metal:N".
impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => (kind, index.parse().ok()),
            None => (text, Some(0)),
        };
        match (kind, index) {
            ("cuda", Some(index)) => Ok(DeviceChoice::Cuda(index)),
            ("vulkan", Some(index)) => Ok(DeviceChoice::Graphics(Api::Vulkan, index)),
            ("metal", Some(index)) => Ok(DeviceChoice::Graphics(Api::Metal, index)),
            _ if text == "auto" => Ok(DeviceChoice::Auto),
            _ if text == "cpu" => Ok(DeviceChoice::Cpu),
            _ => Err(format!(
                "{text:?}, expected auto, cpu, cuda:N, vulkan:N, metal:N, or several GPUs such as cuda:0,cuda:1"
            )),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(index) => write!(f, "cuda:{index}"),
            DeviceChoice::Graphics(api, index) => write!(f, "{}:{index}", api.id()),
        }
    }
}

/// Devices that share the work: one, or several GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChoices(pub(super) Vec<DeviceChoice>);

impl Default for DeviceChoices {
    fn default() -> Self {
        DeviceChoices(vec![DeviceChoice::Auto])
    }
}

/// Choices with commas between them.
impl FromStr for DeviceChoices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choices = text.split(',').map(|one| one.trim().parse()).collect::<Result<Vec<DeviceChoice>, _>>()?;
        for (at, choice) in choices.iter().enumerate() {
            // Burn moves nothing between CUDA and others, and several devices of Vulkan's or Metal's have not been tried.
            if choices.len() > 1 && !matches!(choice, DeviceChoice::Cuda(_)) {
                return Err(format!("{text:?}, but {choice} goes alone"));
            }
            if choices[..at].contains(choice) {
                return Err(format!("{text:?} names {choice} twice"));
            }
        }
        Ok(DeviceChoices(choices))
    }
}
