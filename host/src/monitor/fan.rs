//! Forecasts as they come from a board, in chunks, and what they say of a sample.

use flowcast_core::wire::Chunk;
use serde::Serialize;

/// One step of a forecast: the outermost quantiles and the one in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Band {
    /// The lowest.
    pub lower: f32,
    /// The median.
    pub median: f32,
    /// The highest.
    pub upper: f32,
}

/// What was expected of a sample, and how long before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// Steps from the forecast to the sample; 1 is the sample before.
    pub ahead: u32,
    /// The forecast.
    #[serde(flatten)]
    pub band: Band,
}

/// A channel's forecast.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fan {
    /// The sample after which it was made.
    pub index: u32,
    /// The first is of the next sample.
    pub steps: Vec<Band>,
}

impl Fan {
    /// What it says of a sample.
    pub fn at(&self, index: u32) -> Option<Expected> {
        let ahead = index.checked_sub(self.index)?;
        let band = *self.steps.get(ahead.checked_sub(1)? as usize)?;
        Some(Expected { ahead, band })
    }
}

/// The quantiles of a model's forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// How many.
    pub count: usize,
    /// Which of them is the median.
    pub median: usize,
}

impl Levels {
    /// Of so many, the one in the middle the median.
    pub fn around_the_median(count: usize) -> Option<Self> {
        (count > 0).then_some(Self { count, median: count / 2 })
    }

    /// A step's band; `quantiles` are as many as there are levels.
    pub fn band(self, quantiles: &[f32]) -> Option<Band> {
        let (lower, upper) = (*quantiles.first()?, *quantiles.last()?);
        Some(Band { lower, median: *quantiles.get(self.median)?, upper })
    }
}

/// The newest forecast of a channel, and the newest of more than the next sample.
#[derive(Clone, Debug, Default)]
struct Told {
    newest: Fan,
    far: Fan,
}

/// Every channel's.
#[derive(Clone, Debug, Default)]
pub struct Forecasts {
    channels: Vec<Told>,
}

impl Forecasts {
    /// Takes a part of a forecast and returns the steps that are there now; `None` where a part before it was lost.
    pub fn take(&mut self, chunk: &Chunk, levels: Levels) -> Option<usize> {
        let told = self.channel(chunk.channel.into());
        let first = usize::from(chunk.steps_ahead).checked_sub(1)?;
        if first == 0 {
            told.newest = Fan { index: chunk.index, steps: Vec::new() };
        }
        if told.newest.index != chunk.index || told.newest.steps.len() != first {
            return None;
        }
        told.newest.steps.extend(chunk.values.chunks_exact(levels.count).filter_map(|step| levels.band(step)));
        told.far_too();
        Some(told.newest.steps.len())
    }

    /// Takes a whole forecast.
    pub fn put(&mut self, channel: usize, fan: Fan) {
        let told = self.channel(channel);
        told.newest = fan;
        told.far_too();
    }

    fn channel(&mut self, channel: usize) -> &mut Told {
        if self.channels.len() <= channel {
            self.channels.resize_with(channel + 1, Told::default);
        }
        &mut self.channels[channel]
    }

    /// What the newest forecast of a channel that reaches a sample says of it.
    pub fn expected(&self, channel: usize, index: u32) -> Option<Expected> {
        let Told { newest, far } = self.channels.get(channel)?;
        newest.at(index).or_else(|| far.at(index))
    }

    /// The newest forecast of more than the next sample.
    pub fn far(&self, channel: usize) -> Option<&Fan> {
        self.channels.get(channel).map(|told| &told.far).filter(|fan| !fan.steps.is_empty())
    }

    /// The newest forecast of a channel.
    pub fn newest(&self, channel: usize) -> Option<&Fan> {
        self.channels.get(channel).map(|told| &told.newest).filter(|fan| !fan.steps.is_empty())
    }
}

impl Told {
    fn far_too(&mut self) {
        if self.newest.steps.len() > 1 || self.far.steps.len() <= 1 {
            self.far.clone_from(&self.newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: Levels = Levels { count: 3, median: 1 };

    fn chunk(index: u32, steps_ahead: u16, values: &[f32]) -> Chunk {
        Chunk { index, channel: 1, steps_ahead, values: values.iter().copied().collect() }
    }

    #[test]
    fn chunks_become_a_fan_and_a_lost_one_ends_it() {
        let mut forecasts = Forecasts::default();
        assert_eq!(forecasts.take(&chunk(7, 1, &[1.0, 2.0, 3.0, 2.0, 3.0, 4.0]), LEVELS), Some(2));
        assert_eq!(forecasts.take(&chunk(7, 3, &[3.0, 4.0, 5.0]), LEVELS), Some(3));
        assert_eq!(forecasts.take(&chunk(7, 6, &[9.0, 9.0, 9.0]), LEVELS), None);
        let expected = |forecasts: &Forecasts, index| forecasts.expected(1, index).map(|e| (e.ahead, e.band.median));
        assert_eq!(
            [7, 8, 10, 11].map(|index| expected(&forecasts, index)),
            [None, Some((1, 2.0)), Some((3, 4.0)), None]
        );
        // A forecast of the next sample alone leaves the longer one to say the rest.
        assert_eq!(forecasts.take(&chunk(8, 1, &[0.0, 0.5, 1.0]), LEVELS), Some(1));
        assert_eq!([9, 10].map(|index| expected(&forecasts, index)), [Some((1, 0.5)), Some((3, 4.0))]);
        assert_eq!(forecasts.far(1).map(|fan| (fan.index, fan.steps.len())), Some((7, 3)));
        assert_eq!(forecasts.far(0), None);
    }
}
