//! Flowcast's device half: a streaming time-series forecaster for microcontrollers.
//!
//! A board takes a sample, does a constant amount of work in a fixed amount of memory, and can say at any moment what
//! comes next, with intervals. The backbone is causal Flow-Attention (Wu et al., "Flowformer", ICML 2022) run as a
//! recurrence of running means, beside a seasonal memory and a linear readout. No allocator, no float formatting, no
//! panic after construction; weights are read where they lie in flash. The host runs this same crate.
//!
//! Start at [`forecaster::Forecaster`]: `bind` a model, `observe` samples, `forecast`; `README.md` has the loop.
//!
//! Each file is one idea, and files depend downwards only:
//! `forecaster → {snapshot, intake, ends, known, seasonal, model, anomaly, conformal, adaptation}`, `model → {format, block} → {attention, linear, norm, part} → math`,
//! `format → known → seasonal → retrieval → linear → {fixed, kernel, unit} → q20 → {bits, wide}`, `{conformal, adaptation} → probe → math`;
//! whatever has state `→ persist`; `{warning, gate} → forecaster`.

#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!("Flowcast reads little-endian weights in place; big-endian targets are not supported");

pub mod adaptation;
pub mod anomaly;
pub mod attention;
pub mod bits;
pub mod block;
pub mod conformal;
pub mod ends;
pub mod experts;
pub mod fixed;
pub mod forecaster;
pub mod format;
pub mod gate;
mod guard;
pub mod intake;
pub mod kernel;
pub mod known;
pub mod linear;
pub mod math;
pub mod model;
pub mod norm;
pub mod part;
pub mod persist;
pub mod presets;
pub mod probe;
pub mod q20;
pub mod retrieval;
pub mod seasonal;
#[cfg(feature = "signed")]
pub mod signature;
pub mod slot;
pub mod snapshot;
pub mod spike;
pub mod unit;
pub mod warning;
pub mod wide;
#[cfg(feature = "wire")]
pub mod wire;

/// README's device code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
