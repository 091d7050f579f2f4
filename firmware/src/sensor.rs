//! Sensors: any driver, turned into readings with a unit, a scale and bounds.
//!
//! A sensor measures one quantity or several, the channels of a sample in their order. What it cannot read is missing,
//! which a forecaster knows how to take: nothing that a sensor does stops the stream.

pub mod analog;
pub mod lis2dh12;
pub mod lm75;
pub mod sht4x;

use embedded_hal::i2c::{self, ErrorKind};
pub use flowcast_core::wire::SensorFault as Fault;

/// Most quantities of one sensor.
pub const MAX_QUANTITIES: usize = 4;

/// What a sensor measures, and how its readings become values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    /// Of the value; a model's channel names the same.
    pub unit: &'static str,
    /// value = gain · reading + offset: 1 and 0 where the driver already reads in the unit.
    pub gain: f32,
    /// See `gain`.
    pub offset: f32,
    /// The least and the largest value that the sensor can have measured: beyond, it is broken.
    pub bounds: [f32; 2],
}

impl Quantity {
    /// In the driver's own unit.
    pub const fn new(unit: &'static str, bounds: [f32; 2]) -> Self {
        Self { unit, gain: 1.0, offset: 0.0, bounds }
    }

    /// The same with a calibration.
    pub const fn scaled(self, gain: f32, offset: f32) -> Self {
        Self { gain, offset, ..self }
    }

    /// The value of a reading.
    ///
    /// # Errors
    /// It is no number, or one that the sensor cannot have measured.
    pub fn value(&self, reading: f32) -> Result<f32, Fault> {
        let value = self.gain * reading + self.offset;
        let [low, high] = self.bounds;
        match value {
            value if !value.is_finite() => Err(Fault::NotANumber),
            value if value < low || value > high => Err(Fault::OutOfRange),
            value => Ok(value),
        }
    }
}

/// Of a failed transfer on an I²C bus.
pub fn bus_fault(error: &impl i2c::Error) -> Fault {
    match error.kind() {
        ErrorKind::NoAcknowledge(_) => Fault::NoAnswer,
        _ => Fault::Bus,
    }
}

/// A driver as the logger sees it.
pub trait Sensor {
    /// What it measures, at most [`MAX_QUANTITIES`], in the order of its readings.
    fn quantities(&self) -> &[Quantity];

    /// Sets the sensor up; before the first reading, and again after each failure: it may have lost its power meanwhile.
    ///
    /// # Errors
    /// Why it cannot be.
    fn start(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Takes a reading of each quantity, in the driver's unit; what one of them lacks is NaN.
    ///
    /// # Errors
    /// Why there is none at all.
    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault>;
}
