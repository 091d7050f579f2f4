//! LM75 and its kin (TMP105, PCT2075, …): temperature over I²C, by the crate `lm75`, in steps of 0.5 °C.

use embedded_hal::i2c::I2c;
use lm75::{Address, Error, Lm75 as Driver, ic};

use super::{Fault, MAX_QUANTITIES, Quantity, Sensor, bus_fault};

/// What its kind measures: beyond is a register that was read wrong, or a chip that is on fire.
pub const TEMPERATURE: Quantity = Quantity::new("°C", [-55.0, 125.0]);

/// One of them.
pub struct Lm75<I2C> {
    driver: Driver<I2C, ic::Lm75>,
    quantity: [Quantity; 1],
}

impl<I2C: I2c> Lm75<I2C> {
    /// At an address of 0x48 to 0x4F.
    pub fn new(i2c: I2C, address: u8) -> Self {
        Self { driver: Driver::new(i2c, Address::from(address)), quantity: [TEMPERATURE] }
    }

    /// With a calibration: value = gain · °C + offset.
    pub fn calibrated(self, gain: f32, offset: f32) -> Self {
        Self { quantity: [TEMPERATURE.scaled(gain, offset)], ..self }
    }
}

impl<I2C: I2c> Sensor for Lm75<I2C> {
    fn quantities(&self) -> &[Quantity] {
        &self.quantity
    }

    fn start(&mut self) -> Result<(), Fault> {
        self.driver.enable().map_err(fault)
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        readings[0] = self.driver.read_temperature().map_err(fault)?;
        Ok(())
    }
}

fn fault<E: embedded_hal::i2c::Error>(error: Error<E>) -> Fault {
    match error {
        Error::I2C(error) => bus_fault(&error),
        // Of settings that are not made here.
        Error::InvalidInputData => Fault::Bus,
    }
}
