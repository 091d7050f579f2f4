//! Placeholder until the forecaster lands.
#![no_std]
pub mod forecaster;
pub mod format;
pub mod model;
pub mod presets;
#[cfg(feature = "wire")]
pub mod wire;
