//! What enters the state: a reading in the channel's unit becomes a sample in deviations of the training data, or is
//! taken as missing.

use core::hint::select_unpredictable;

use crate::format::Channel;
use crate::math::{Real as _, round};

/// Steps of a sensor that `restore` rounds to, at most: [`round`]'s range.
const MOST_STEPS: f32 = 4_194_304.0;

/// A channel's normalisation and the bounds of what it takes for a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intake {
    offset: f32,
    scale: f32,
    inverse_scale: f32,
    valid_min: f32,
    valid_max: f32,
    stuck_limit: u32,
    resolution: f32,
    inverse_resolution: f32,
}

/// How long a channel has stood still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stillness {
    /// Bits of the last reading within the bounds.
    last: u32,
    /// How often it came in a row; 0 before the first.
    run: u32,
}

impl Intake {
    /// Of no channel: takes nothing.
    pub(crate) const NONE: Self = Self {
        offset: 0.0,
        scale: 0.0,
        inverse_scale: 0.0,
        valid_min: 0.0,
        valid_max: 0.0,
        stuck_limit: 0,
        resolution: 0.0,
        inverse_resolution: 0.0,
    };

    /// From a channel's record in the model file.
    pub fn new(channel: &Channel<'_>) -> Self {
        Self {
            offset: channel.offset,
            scale: channel.scale,
            inverse_scale: 1.0 / channel.scale,
            valid_min: channel.valid_min,
            valid_max: channel.valid_max,
            stuck_limit: channel.stuck_limit,
            resolution: channel.resolution,
            inverse_resolution: if channel.resolution > 0.0 { 1.0 / channel.resolution } else { 0.0 },
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
        let same = (stillness.run != 0) & (reading.to_bits() == stillness.last);
        stillness.last = reading.to_bits();
        stillness.run = select_unpredictable(same, stillness.run.saturating_add(1), 1);
        let moving = (self.stuck_limit == 0) | (stillness.run <= self.stuck_limit);
        moving.then_some((reading - self.offset) * self.inverse_scale)
    }

    /// The sample of a value that is told ahead; NaN if it is none within the channel's bounds. It may stand still: no
    /// sensor made it.
    #[inline]
    pub(crate) fn told(&self, value: f32) -> f32 {
        let in_range = (value >= self.valid_min) & (value <= self.valid_max);
        select_unpredictable(in_range, (value - self.offset) * self.inverse_scale, f32::NAN)
    }

    /// Half a step of a coarse sensor, as a sample; 0 for a fine one.
    pub(crate) fn half_step(&self) -> f32 {
        0.5 * self.resolution * self.inverse_scale
    }

    /// A forecast sample as a reading: in the channel's unit and, for a sensor of coarse steps, one of its steps. (Half
    /// of all readings of such a sensor may repeat the one before; a forecast between two steps is never right.)
    #[inline]
    pub fn restore(&self, sample: f32) -> f32 {
        let reading = sample * self.scale + self.offset;
        let steps = reading * self.inverse_resolution;
        // Beyond, a reading is coarser than half a step itself.
        let coarse = (self.resolution > 0.0) & (steps.abs() < MOST_STEPS);
        select_unpredictable(coarse, round(steps) * self.resolution, reading)
    }

    /// The smallest difference that means anything: half a step of the sensor, at least 0.001 deviations.
    #[inline]
    pub fn finest(&self) -> f32 {
        (0.5 * self.resolution).at_least(1e-3 * self.scale)
    }
}

impl Stillness {
    /// Before the first reading.
    pub const fn new() -> Self {
        Self { last: 0, run: 0 }
    }
}

impl Default for Stillness {
    fn default() -> Self {
        Self::new()
    }
}
