//! LIS2DH12 (and LIS3DH, register for register): acceleration over I²C, by the crate `lis2dh12`; one reading an axis.

use embedded_hal::i2c::I2c;
use lis2dh12::{Error, ErrorKind, FullScale, Lis2dh12 as Driver, Mode, Odr, RawAccelerometer as _, SlaveAddr};

use super::{Fault, MAX_QUANTITIES, Quantity, Sensor, bus_fault};

/// A 12-bit reading in the upper bits of sixteen: 1 mg each (datasheet, table 4, ±2 g).
const G_PER_BIT: f32 = 1e-3 / 16.0;
const AXIS: Quantity = Quantity::new("g", [-2.1, 2.1]).scaled(G_PER_BIT, 0.0);

/// One of them.
#[derive(Debug)]
pub struct Lis2dh12<I2C> {
    i2c: I2C,
    alternate: bool,
    quantities: [Quantity; 3],
}

impl<I2C: I2c> Lis2dh12<I2C> {
    /// At address 0x18, or 0x19 with SA0 high.
    pub fn new(i2c: I2C, alternate: bool) -> Self {
        Self { i2c, alternate, quantities: [AXIS; 3] }
    }

    /// The driver, made anew each time: making it checks that it is the sensor that answers.
    fn driver(&mut self) -> Result<Driver<&mut I2C>, Fault> {
        let address = if self.alternate { SlaveAddr::Alternative(true) } else { SlaveAddr::Default };
        Driver::new(&mut self.i2c, address).map_err(fault)
    }
}

impl<I2C: I2c> Sensor for Lis2dh12<I2C> {
    fn quantities(&self) -> &[Quantity] {
        &self.quantities
    }

    fn start(&mut self) -> Result<(), Fault> {
        let mut driver = self.driver()?;
        driver.set_mode(Mode::HighResolution).map_err(fault)?;
        driver.set_odr(Odr::Hz10).map_err(fault)?;
        driver.set_fs(FullScale::G2).map_err(fault)?;
        // The two bytes of a reading belong together.
        driver.set_bdu(true).map_err(fault)?;
        driver.enable_axis((true, true, true)).map_err(fault)
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        let axes = self.driver()?.accel_raw().map_err(fault)?;
        for (reading, axis) in readings.iter_mut().zip([axes.x, axes.y, axes.z]) {
            *reading = axis.into();
        }
        Ok(())
    }
}

fn fault<E: embedded_hal::i2c::Error + core::fmt::Debug>(error: Error<E>) -> Fault {
    match (error.kind(), error.cause()) {
        (ErrorKind::Device, _) => Fault::OtherDevice,
        (_, Some(cause)) => bus_fault(cause),
        _ => Fault::Bus,
    }
}
