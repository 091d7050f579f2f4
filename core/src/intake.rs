//! What enters the state: a reading in the channel's unit becomes a sample in deviations of the training data, or is
//! taken as missing.

use crate::format::Channel;

/// A channel's normalisation and the bounds of what it takes for a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intake {
    offset: f32,
    scale: f32,
    inverse_scale: f32,
    valid_min: f32,
    valid_max: f32,
    stuck_limit: u32,
}

/// How long a channel has stood still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stillness {
    /// Bits of the last reading within the bounds.
    last: u32,
    /// How often it came in a row.
    run: u32,
}

impl Intake {
    /// From a channel's record in the model file.
    pub fn new(channel: &Channel<'_>) -> Self {
        Self {
            offset: channel.offset,
            scale: channel.scale,
            inverse_scale: 1.0 / channel.scale,
            valid_min: channel.valid_min,
            valid_max: channel.valid_max,
            stuck_limit: channel.stuck_limit,
        }
    }

    /// The sample of a reading; `None` if it is NaN, infinite, outside the channel's bounds, or has stood still for
    /// longer than the channel's limit.
    #[inline]
    pub fn take(&self, stillness: &mut Stillness, reading: f32) -> Option<f32> {
        // False for NaN and infinities too.
        let in_range = (reading >= self.valid_min) & (reading <= self.valid_max);
        if !in_range {
            return None;
        }
        let same = reading.to_bits() == stillness.last;
        stillness.last = reading.to_bits();
        stillness.run = if same { stillness.run.saturating_add(1) } else { 1 };
        let moving = (self.stuck_limit == 0) | (stillness.run <= self.stuck_limit);
        moving.then_some((reading - self.offset) * self.inverse_scale)
    }

    /// A sample's value in the channel's unit.
    #[inline]
    pub fn restore(&self, sample: f32) -> f32 {
        sample * self.scale + self.offset
    }
}

impl Stillness {
    /// Before the first reading.
    pub const fn new() -> Self {
        Self { last: f32::NAN.to_bits(), run: 0 }
    }
}

impl Default for Stillness {
    fn default() -> Self {
        Self::new()
    }
}
