//! The boards, one file each, and what they share. A feature of this crate chooses the one that an image is for.
//!
//! A board says how many channels and slots it has RAM for, `CHANNELS` and `SLOTS`, and gives its devices once, by `take`: an
//! emulated one a port, a pin and a counter of instructions, a real one (`station`) a bus for sensors, a port and
//! its way back, a watchdog and a place for its state.

pub mod fault;
pub mod memory;
pub mod trust;

#[cfg(emulated)]
mod counter;
#[cfg(mps2)]
mod guard;
#[cfg(mps2)]
pub mod kept;
#[cfg(emulated)]
mod mark;
#[cfg(emulated)]
mod polled;
#[cfg(emulated)]
pub mod register;
#[cfg(mps2)]
pub mod watchdog;
#[cfg(mps2)]
pub mod wire;

#[cfg(microbit)]
mod microbit;
#[cfg(microbit)]
pub use microbit::{CHANNELS, Counter, Led, SLOTS, Uart, take};

#[cfg(any(mps2, mps2_an505))]
mod mps2;
#[cfg(any(mps2, mps2_an505))]
pub use mps2::{CHANNELS, Counter, Led, SLOTS, Uart, take};

#[cfg(gated)]
pub mod errors;
#[cfg(station)]
pub mod gauge;
#[cfg(station)]
pub mod journal;
#[cfg(station)]
pub mod limits;
#[cfg(station)]
pub mod timer;

#[cfg(nrf52840dk)]
mod nrf52840dk;
#[cfg(nrf52840dk)]
pub use nrf52840dk::{CHANNELS, LISTENS_MS, SLOTS, take};

#[cfg(stm32f411)]
mod stm32f411;
#[cfg(stm32f411)]
pub use stm32f411::{CHANNELS, LISTENS_MS, SLOTS, take};

#[cfg(any(pico, pico2))]
mod pico;
#[cfg(any(pico, pico2))]
pub use pico::{CHANNELS, LISTENS_MS, SLOTS, take};

/// The board's name; an emulated one's as QEMU has it.
pub const NAME: &str = env!("FLOWCAST_BOARD");
