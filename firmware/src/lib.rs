//! Flowcast on a board: samples come in over a port, forecasts go out.
//!
//! [`application`] is the loop, the same on every board and on the host that tests it; it asks little of the board: a
//! port (`embedded_io`), a pin (`embedded_hal`) and a [`meter`]. [`board`] holds what is peculiar to each one.

#![cfg_attr(target_os = "none", no_std)]
#![allow(clippy::result_large_err, reason = "there is no heap to put a refusal's words on")]

pub mod application;
#[cfg(target_os = "none")]
pub mod board;
pub mod meter;
