//! The boards, one file each, and what they share. A feature of this crate chooses the one that an image is for.
//!
//! A board says how many channels and slots it has RAM for and has a port, a pin and a counter of instructions: `CHANNELS`,
//! `SLOTS`, and `take`, which gives the three once.

mod counter;
pub mod fault;
pub mod memory;
mod polled;
pub mod register;
#[cfg(mps2)]
pub mod wire;

#[cfg(microbit)]
mod microbit;
#[cfg(microbit)]
pub use microbit::{CHANNELS, Counter, Led, SLOTS, Uart, take};

#[cfg(not(microbit))]
mod mps2;
#[cfg(not(microbit))]
pub use mps2::{CHANNELS, Counter, Led, SLOTS, Uart, take};

/// The board's name, as QEMU has it.
pub const NAME: &str = env!("FLOWCAST_BOARD");
