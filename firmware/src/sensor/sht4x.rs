//! SHT40, SHT41, SHT45: temperature and relative humidity over I²C with a CRC-8, by the crate `sht4x`.

use embedded_hal::{delay::DelayNs, i2c::I2c};
use sht4x::{Address, Error, Precision, Sht4x as Driver};

use super::{Fault, MAX_QUANTITIES, Quantity, Sensor, bus_fault};

/// Datasheet, version 6.6, tables 1 and 2; the humidity's formula runs a little over its ends.
pub const QUANTITIES: [Quantity; 2] = [Quantity::new("°C", [-40.0, 125.0]), Quantity::new("%", [-6.0, 119.0])];

const MILLI: f32 = 1e-3;

/// One of them.
pub struct Sht4x<I2C, DELAY> {
    driver: Driver<I2C, DELAY>,
    delay: DELAY,
    quantities: [Quantity; 2],
}

impl<I2C: I2c, DELAY: DelayNs> Sht4x<I2C, DELAY> {
    /// At address 0x44, where all but one variant are.
    pub fn new(i2c: I2C, delay: DELAY) -> Self {
        Self { driver: Driver::new_with_address(i2c, Address::Address0x44), delay, quantities: QUANTITIES }
    }
}

impl<I2C: I2c, DELAY: DelayNs> Sensor for Sht4x<I2C, DELAY> {
    fn quantities(&self) -> &[Quantity] {
        &self.quantities
    }

    fn start(&mut self) -> Result<(), Fault> {
        self.driver.soft_reset(&mut self.delay).map_err(fault)
    }

    /// Takes 8 ms: the sensor measures when it is asked and sleeps otherwise.
    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        let measured = self.driver.measure(Precision::High, &mut self.delay).map_err(fault)?;
        readings[0] = measured.temperature_milli_celsius() as f32 * MILLI;
        readings[1] = measured.humidity_milli_percent() as f32 * MILLI;
        Ok(())
    }
}

fn fault<E: embedded_hal::i2c::Error>(error: Error<E>) -> Fault {
    match error {
        Error::I2c(error) => bus_fault(&error),
        Error::Crc => Fault::Checksum,
        // The crate may come to know others.
        _ => Fault::Bus,
    }
}
