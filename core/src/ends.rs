//! Where a channel's readings end: a humidity at 100 %, rain and sunshine at 0. No forecast that a user is told lies beyond.
//!
//! Only what is told is cut off there. What the board learns from its forecasts (`probe`, `conformal`, `adaptation`, `experts`)
//! sees them whole: a band that is cut off has no width at the end, and readings that lie there would all be on its edge.

use core::hint::select_unpredictable;

use crate::bits::order;
use crate::format::Channel;

/// One channel's ends, in its unit: 8 bytes. What came beyond an end, on the level of training, moves it there, until the
/// state is forgotten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    lowest: f32,
    highest: f32,
}

crate::persist::persist!(Ends { lowest, highest });

impl Ends {
    /// Of no channel: nothing but 0.
    pub(crate) const NONE: Self = Self { lowest: 0.0, highest: 0.0 };

    /// Of a channel that may read anything.
    pub(crate) const NOWHERE: Self = Self { lowest: f32::MIN, highest: f32::MAX };

    /// From a channel's record in the model file: an end at the channel's own bound is none.
    pub fn new(channel: &Channel<'_>) -> Self {
        Self {
            lowest: if order(channel.lowest) > order(channel.valid_min) { channel.lowest } else { f32::MIN },
            highest: if order(channel.highest) < order(channel.valid_max) { channel.highest } else { f32::MAX },
        }
    }

    /// Takes a reading that enters.
    #[inline]
    pub fn observe(&mut self, reading: f32) {
        self.lowest = select_unpredictable(order(reading) < order(self.lowest), reading, self.lowest);
        self.highest = select_unpredictable(order(reading) > order(self.highest), reading, self.highest);
    }

    /// The value, or the end that it lies beyond.
    #[inline]
    pub fn within(&self, value: f32) -> f32 {
        let value = select_unpredictable(order(value) < order(self.lowest), self.lowest, value);
        select_unpredictable(order(value) > order(self.highest), self.highest, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_beyond_an_end_until_a_reading_was() {
        let mut ends = Ends { lowest: 0.0, highest: 100.0 };
        assert_eq!([-0.5, 0.0, 42.0, 100.0, 100.7].map(|value| ends.within(value)), [0.0, 0.0, 42.0, 100.0, 100.0]);
        ends.observe(50.0);
        assert_eq!(ends, Ends { lowest: 0.0, highest: 100.0 });
        ends.observe(100.4);
        ends.observe(-3.0);
        assert_eq!([-5.0, -1.0, 100.3, 101.0].map(|value| ends.within(value)), [-3.0, -1.0, 100.3, 100.4]);
    }
}
