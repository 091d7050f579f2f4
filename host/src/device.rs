//! Where training runs: `auto`, `cpu` or `cuda:N`.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use candle_core::Device;

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if this build and this machine have one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("found {text:?}, expected auto, cpu or cuda:N")),
        }
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// A GPU was asked for and this build or this machine has none.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !cfg!(feature = "cuda") => Ok(Device::Cpu),
            Self::Auto => Ok(Device::new_cuda(0).unwrap_or(Device::Cpu)),
            Self::Cuda(number) if !cfg!(feature = "cuda") => {
                bail!("cuda:{number} was asked for, but this build has no GPU support: build with `--features cuda`")
            }
            Self::Cuda(number) => {
                Device::new_cuda(number).with_context(|| format!("GPU {number} does not answer; use --device cpu"))
            }
        }
    }
}
