//! An I²C controller over two pins, for boards without one (NXP UM10204, rev. 7, chapter 3).
//!
//! Lines are open-drain: `set_high` lets go of a line, and reading tells what is really on it. That is what tells faults
//! apart: a data line that stays low although everybody should have let go of it is a short or a device that hangs (it
//! would read as zeros, acknowledged, for ever); a device that hangs within a byte is clocked free.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::i2c::{self, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

/// Half a clock period: 100 kHz at most.
const HALF_PERIOD_NS: u32 = 5_000;
/// A device may hold the clock this long: 25 ms, SMBus's limit.
const STRETCH: u32 = 5_000;
/// Clocks that free a device that hangs within a byte and its acknowledge.
const FREEING_CLOCKS: u32 = 9;

/// A controller over its two lines.
#[derive(Debug)]
pub struct BitBang<SCL, SDA, DELAY> {
    scl: SCL,
    sda: SDA,
    delay: DELAY,
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A line stays low although nobody should hold it.
    Held,
    /// A device held the clock for too long.
    Stretched,
    /// Nobody acknowledged the address, or a byte.
    NoAcknowledge(NoAcknowledgeSource),
    /// A pin of the board failed.
    Pin,
}

impl i2c::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Held | Self::Stretched => ErrorKind::Bus,
            Self::NoAcknowledge(source) => ErrorKind::NoAcknowledge(*source),
            Self::Pin => ErrorKind::Other,
        }
    }
}

impl<SCL, SDA, DELAY> BitBang<SCL, SDA, DELAY>
where
    SCL: OutputPin + InputPin,
    SDA: OutputPin + InputPin,
    DELAY: DelayNs,
{
    /// A controller that has let go of both lines.
    pub fn new(mut scl: SCL, mut sda: SDA, delay: DELAY) -> Self {
        // A pin that fails says so at the first transfer.
        let _ = scl.set_high();
        let _ = sda.set_high();
        Self { scl, sda, delay }
    }

    /// The lines, given back.
    pub fn destroy(self) -> (SCL, SDA, DELAY) {
        (self.scl, self.sda, self.delay)
    }

    fn wait(&mut self) {
        self.delay.delay_ns(HALF_PERIOD_NS);
    }

    fn data(&mut self, high: bool) -> Result<(), Error> {
        if high { self.sda.set_high() } else { self.sda.set_low() }.map_err(|_| Error::Pin)
    }

    fn data_is_high(&mut self) -> Result<bool, Error> {
        self.sda.is_high().map_err(|_| Error::Pin)
    }

    fn clock_low(&mut self) -> Result<(), Error> {
        self.scl.set_low().map_err(|_| Error::Pin)?;
        self.wait();
        Ok(())
    }

    /// Lets go of the clock and waits for whoever holds it.
    fn clock_high(&mut self) -> Result<(), Error> {
        self.scl.set_high().map_err(|_| Error::Pin)?;
        for _ in 0..STRETCH {
            self.wait();
            if self.scl.is_high().map_err(|_| Error::Pin)? {
                return Ok(());
            }
        }
        Err(Error::Stretched)
    }

    /// A start, or a start again. Leaves the clock low.
    fn start(&mut self) -> Result<(), Error> {
        self.data(true)?;
        self.wait();
        self.clock_high()?;
        if !self.data_is_high()? {
            return Err(Error::Held);
        }
        self.data(false)?;
        self.wait();
        self.clock_low()
    }

    /// A stop, from a low clock.
    fn stop(&mut self) -> Result<(), Error> {
        self.data(false)?;
        self.wait();
        self.clock_high()?;
        self.data(true)?;
        self.wait();
        if self.data_is_high()? { Ok(()) } else { Err(Error::Held) }
    }

    /// A bit out and what was on the line meanwhile, from a low clock to a low clock.
    fn bit(&mut self, out: bool) -> Result<bool, Error> {
        self.data(out)?;
        self.wait();
        self.clock_high()?;
        let seen = self.data_is_high()?;
        self.clock_low()?;
        Ok(seen)
    }

    fn write_byte(&mut self, byte: u8, source: NoAcknowledgeSource) -> Result<(), Error> {
        for place in (0..8).rev() {
            let out = (byte >> place) & 1 == 1;
            if out && !self.bit(out)? {
                return Err(Error::Held);
            } else if !out {
                self.bit(out)?;
            }
        }
        if self.bit(true)? { Err(Error::NoAcknowledge(source)) } else { Ok(()) }
    }

    fn read_byte(&mut self, acknowledge: bool) -> Result<u8, Error> {
        let mut byte = 0;
        for _ in 0..8 {
            byte = (byte << 1) | u8::from(self.bit(true)?);
        }
        self.bit(!acknowledge)?;
        Ok(byte)
    }

    fn transfer(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Error> {
        let mut reading = None;
        let count = operations.len();
        for index in 0..count {
            // A run of reads is one read: only its last byte is not acknowledged.
            let more = matches!(operations.get(index + 1), Some(Operation::Read(_)));
            let Some(operation) = operations.get_mut(index) else { break };
            let reads = matches!(operation, Operation::Read(_));
            if reading != Some(reads) {
                self.start()?;
                self.write_byte(address << 1 | u8::from(reads), NoAcknowledgeSource::Address)?;
                reading = Some(reads);
            }
            match operation {
                Operation::Write(bytes) => {
                    for byte in *bytes {
                        self.write_byte(*byte, NoAcknowledgeSource::Data)?;
                    }
                }
                Operation::Read(bytes) => {
                    let last = bytes.len().wrapping_sub(1);
                    for (place, byte) in bytes.iter_mut().enumerate() {
                        *byte = self.read_byte(place != last || more)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Clocks free whoever still sends, until the data line is let go of.
    fn free(&mut self) -> Result<(), Error> {
        self.data(true)?;
        for _ in 0..FREEING_CLOCKS {
            self.clock_high()?;
            if self.data_is_high()? {
                break;
            }
            self.clock_low()?;
        }
        self.clock_low()?;
        self.stop()
    }
}

impl<SCL, SDA, DELAY> ErrorType for BitBang<SCL, SDA, DELAY> {
    type Error = Error;
}

impl<SCL, SDA, DELAY> I2c for BitBang<SCL, SDA, DELAY>
where
    SCL: OutputPin + InputPin,
    SDA: OutputPin + InputPin,
    DELAY: DelayNs,
{
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Error> {
        match self.transfer(address, operations) {
            Ok(()) => self.stop(),
            Err(error) => {
                // The first error is the one to tell.
                let _ = if error == Error::Held { self.free() } else { self.stop() };
                Err(error)
            }
        }
    }
}
