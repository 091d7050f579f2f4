//! The board's watchdog, a CMSDK APB one (ARM DDI 0479, chapter 4): it counts down, interrupts (not maskable) at zero, counts
//! down again, and resets the board.

use super::fault;
use super::register::mps2::{self, Watchdog as Registers};
use crate::station::Watchdog;

const LOAD: usize = 0;
const CONTROL: usize = 2;
const CLEAR: usize = 3;
/// The interrupt, with which it counts, and the reset.
const COUNT_AND_RESET: u32 = 0b11;
/// The clock of the board's peripherals.
const TICKS_PER_MS: u32 = 25_000;

/// It.
#[derive(Debug)]
pub struct Dog(Registers);

impl Dog {
    /// Started; `None` but for the first time.
    pub fn start() -> Option<Self> {
        let mut registers = mps2::take_watchdog()?;
        registers.write::<LOAD>(Self::PATIENCE_MS as u32 / 2 * TICKS_PER_MS);
        registers.write::<CONTROL>(COUNT_AND_RESET);
        fault::watch();
        Some(Self(registers))
    }
}

impl Watchdog for Dog {
    // Half of it until the interrupt, and as long again.
    const PATIENCE_MS: u64 = 2_000;

    fn feed(&mut self) {
        // Counts from the start again, whatever it was at.
        self.0.write::<CLEAR>(1);
    }
}
