//! Flowcast's device half: a streaming time-series forecaster for microcontrollers.
//!
//! A board takes a sample, does a constant amount of work in a fixed amount of memory, and can say at any moment what
//! comes next, with intervals. The backbone is causal Flow-Attention (Wu et al., "Flowformer", ICML 2022) run as a
//! recurrence of running means, beside a seasonal memory and a linear readout. No allocator, no float formatting, no
//! panic after construction; weights are read where they lie in flash. The host runs this same crate.
//!
//! ```
//! use flowcast_core::{forecaster::Forecaster, presets};
//!
//! # fn main() -> Result<(), flowcast_core::model::ModelError> {
//! # let model: &[u8] = &[];
//! // Up to 4 channels, up to 144 slots of the seasonal memory (a day of 10-minute samples).
//! type Logger<'m> = presets::Small<'m, 4, 144>;
//! let mut forecaster = match Logger::new(model) {
//!     Ok(forecaster) => forecaster,
//!     Err(refused) => return Ok(()), // `refused` says what was found and what was expected
//! };
//! forecaster.observe(&[21.5, 43.0, 1013.2, f32::NAN]); // NaN: this sensor did not answer
//! if let Some(forecast) = forecaster.forecast() {
//!     if let Some(next) = forecast.channel(0).and_then(|channel| channel.at(1)) {
//!         let _ = next.median();
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each file is one idea, and files depend downwards only:
//! `forecaster → {intake, seasonal, model}`, `model → {format, block} → {attention, linear, norm} → math`.

#![no_std]

#[cfg(target_endian = "big")]
compile_error!("Flowcast reads little-endian weights in place; big-endian targets are not supported");

pub mod attention;
pub mod block;
pub mod forecaster;
pub mod format;
pub mod intake;
pub mod linear;
pub mod math;
pub mod model;
pub mod norm;
pub mod presets;
pub mod seasonal;
#[cfg(feature = "wire")]
pub mod wire;
