//! Flowcast on a board: samples come in from sensors or over a port, forecasts go out.
//!
//! There are two applications, the same on every board and on the host that tests them. [`logger`] is for real life: it
//! samples [`sensor`]s (`embedded_hal`) by a clock and tells a listener ([`telemetry`]). [`application`] answers a host that
//! sends the samples: for tests and benchmarks. Both ask little of a board; [`board`] holds what is peculiar to each one.

#![cfg_attr(target_os = "none", no_std)]
#![allow(clippy::result_large_err, reason = "there is no heap to put a refusal's words on")]

pub mod answer;
pub mod application;
pub mod bitbang;
#[cfg(target_os = "none")]
pub mod board;
pub mod calendar;
pub mod drill;
pub mod install;
pub mod log;
pub mod logger;
pub mod meter;
pub mod pace;
pub mod paced;
pub mod pin;
pub mod ram;
pub mod sampler;
pub mod sensor;
#[cfg(target_os = "none")]
pub mod state;
pub mod station;
pub mod store;
pub mod telemetry;
pub mod wiring;
