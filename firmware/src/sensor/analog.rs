//! A channel of an analogue-to-digital converter, in volts or whatever its divider and probe make of them.
//!
//! embedded-hal 1.0 has no trait for converters, so the board gives a function that converts once.

use super::{Fault, MAX_QUANTITIES, Quantity, Sensor};

/// One channel.
#[derive(Debug)]
pub struct Analog<CONVERT> {
    convert: CONVERT,
    quantity: [Quantity; 1],
}

impl<CONVERT: FnMut() -> Result<u16, Fault>> Analog<CONVERT> {
    /// `convert` gives 0 to `full_scale`, which stands for `reference` volts. A reading at either end is out of range: a
    /// cable that is off or shorted reads so, and a signal that clips says nothing either.
    pub fn new(convert: CONVERT, full_scale: u16, reference: f32) -> Self {
        let volts = reference / f32::from(full_scale);
        let bounds = [0.5 * volts, reference - 0.5 * volts];
        Self { convert, quantity: [Quantity::new("V", bounds).scaled(volts, 0.0)] }
    }

    /// In another unit: value = gain · volts + offset.
    pub fn of(self, unit: &'static str, gain: f32, offset: f32) -> Self {
        let [volts] = self.quantity;
        let mut bounds = volts.bounds.map(|bound| gain * bound + offset);
        if gain < 0.0 {
            bounds.reverse();
        }
        Self { quantity: [Quantity::new(unit, bounds).scaled(gain * volts.gain, offset)], ..self }
    }
}

impl<CONVERT: FnMut() -> Result<u16, Fault>> Sensor for Analog<CONVERT> {
    fn quantities(&self) -> &[Quantity] {
        &self.quantity
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        readings[0] = (self.convert)()?.into();
        Ok(())
    }
}
