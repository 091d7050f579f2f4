//! What enters the state: a reading in the channel's unit becomes a sample in deviations of the training data, or is
//! taken as missing.

use core::hint::select_unpredictable;

use crate::bits::order;
use crate::format::Channel;
use crate::linear::Element;
use crate::unit::Unit;

/// A channel's normalisation and the bounds of what it takes for a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intake<R: Element> {
    unit: R::Unit,
    /// As [`order`] has them.
    valid_min: i32,
    valid_max: i32,
    stuck_limit: u32,
}

/// How long a channel has stood still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stillness {
    /// Bits of the last reading within the bounds.
    last: u32,
    /// How often it came in a row; 0 before the first.
    run: u32,
}

impl<R: Element> Intake<R> {
    /// Of no channel: takes nothing but 0.
    pub(crate) const NONE: Self = Self { unit: R::Unit::NONE, valid_min: 0, valid_max: 0, stuck_limit: 0 };

    /// From a channel's record in the model file.
    pub fn new(channel: &Channel<'_>) -> Self {
        Self {
            unit: R::Unit::new(channel),
            valid_min: order(channel.valid_min),
            valid_max: order(channel.valid_max),
            stuck_limit: channel.stuck_limit,
        }
    }

    /// False for NaN and infinities too.
    #[inline]
    fn in_range(&self, reading: f32) -> bool {
        let place = order(reading);
        (place >= self.valid_min) & (place <= self.valid_max)
    }

    /// The sample of a reading; `None` if it is NaN, infinite, outside the channel's bounds, or has stood still for
    /// longer than the channel's limit.
    #[inline]
    pub fn take(&self, stillness: &mut Stillness, reading: f32) -> Option<R> {
        if !self.in_range(reading) {
            return None;
        }
        let same = (stillness.run != 0) & (reading.to_bits() == stillness.last);
        stillness.last = reading.to_bits();
        stillness.run = select_unpredictable(same, stillness.run.saturating_add(1), 1);
        let moving = (self.stuck_limit == 0) | (stillness.run <= self.stuck_limit);
        moving.then_some(self.unit.sample(reading))
    }

    /// The sample of a value that is told ahead; `None` if it is none within the channel's bounds. It may stand still: no
    /// sensor made it.
    #[inline]
    pub(crate) fn told(&self, value: f32) -> Option<R> {
        self.in_range(value).then(|| self.unit.sample(value))
    }

    /// Any finite number as a sample, whatever the channel's bounds.
    #[inline]
    pub(crate) fn sample(&self, reading: f32) -> R {
        self.unit.sample(reading)
    }

    /// Half a step of a coarse sensor, as a sample; 0 for a fine one.
    pub(crate) fn half_step(&self) -> R {
        self.unit.half_step()
    }

    /// A forecast sample as a reading: in the channel's unit and, for a sensor of coarse steps, one of its steps. (Half
    /// of all readings of such a sensor may repeat the one before; a forecast between two steps is never right.)
    #[inline]
    pub fn restore(&self, sample: R) -> f32 {
        self.unit.reading(sample)
    }

    /// The smallest difference that means anything, as a sample: half a step of the sensor, at least 0.001.
    #[inline]
    pub fn finest(&self) -> R {
        self.half_step().at_least(R::of(1e-3))
    }
}

crate::persist::persist!(Stillness { last, run });

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
