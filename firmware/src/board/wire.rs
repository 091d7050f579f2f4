//! The two wires of the MPS2's second shield: an I²C bus whose lines the program moves itself (ARM DAI 0386, "SBCon").
//!
//! A tester's hand is [`Hand`]: the emulated sensor cannot be unplugged, so the data line can.

use core::convert::Infallible;
use core::sync::atomic::{AtomicU8, Ordering};

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};

use super::register::mps2::{Lines, take_lines};
use crate::wiring::Wires;

// Word offsets: a write of ones sets lines here and clears them there; reading the first tells them.
const SET: usize = 0;
const CLEAR: usize = 1;

/// The clock's line.
#[derive(Debug)]
pub struct Clock(Lines);

/// The data's line, and what is done to it.
#[derive(Debug)]
pub struct Data(Lines, &'static Hand);

/// Both lines, the first time; `None` ever after.
pub fn take(hand: &'static Hand) -> Option<(Clock, Data)> {
    let (clock, data) = take_lines()?;
    Some((Clock(clock), Data(data, hand)))
}

/// What is done to the data line.
#[derive(Debug)]
pub struct Hand(AtomicU8);

impl Hand {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(AtomicU8::new(Wires::Sound as u8))
    }

    /// Does it from now on.
    pub fn make(&self, wires: Wires) {
        self.0.store(wires as u8, Ordering::Relaxed);
    }
}

impl Default for Hand {
    fn default() -> Self {
        Self::new()
    }
}

impl ErrorType for Clock {
    type Error = Infallible;
}

impl ErrorType for Data {
    type Error = Infallible;
}

const SCL: u32 = 1;
const SDA: u32 = 2;

impl OutputPin for Clock {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.write::<CLEAR>(SCL);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.write::<SET>(SCL);
        Ok(())
    }
}

impl InputPin for Clock {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.read::<SET>() & SCL != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

impl OutputPin for Data {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.write::<CLEAR>(SDA);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.write::<SET>(SDA);
        Ok(())
    }
}

impl InputPin for Data {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        let wires = self.1.0.load(Ordering::Relaxed);
        let high = self.0.read::<SET>() & SDA != 0;
        Ok((high || wires == Wires::Unplugged as u8) && wires != Wires::Shorted as u8)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

/// Waits by counting instructions of a 25 MHz core, one a cycle at the most.
#[derive(Clone, Copy, Debug)]
pub struct Spin;

const NS_PER_CYCLE: u32 = 40;

impl DelayNs for Spin {
    fn delay_ns(&mut self, ns: u32) {
        cortex_m::asm::delay(ns.div_ceil(NS_PER_CYCLE));
    }
}
