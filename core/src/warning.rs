//! Warnings: a forecast that crosses a limit of its channel, and then the reading that does, each told once.
//!
//! A limit L above (below is its mirror image), a margin m, and a line of the forecast: the median, or the edge of its band
//! that is nearer to the limit (comes early, often for nothing) or farther from it (late, seldom for nothing):
//!
//! ```text
//! clear      → foreseen   the line lies beyond L at some step within reach: told with the first such step
//! foreseen   → clear      every step lies on the safe side of L − m; or the reach has passed, and nothing came
//! any        → reached    the reading itself lies beyond L: told as 0 steps ahead
//! reached    → clear      a reading lies on the safe side of L − m
//! ```
//!
//! So a forecast that moves to and fro by less than m tells nothing twice, and a warning that does not come true is told
//! again when its time is over. A missing reading decides nothing, nor one that the forecaster takes as missing
//! ([`crate::intake`]): it is no measurement, and what is strange about it an alert tells.
//!
//! Every step within reach is looked at, since the first that crosses is what is asked for and neighbours share most of
//! their work: a sample costs one whole forecast of each channel that has a limit, however many limits it has
//! (`flowcast bench` counts one), the same whatever it says. All zeros is the state before the first sample.

use crate::forecaster::Streaming;
use crate::format::Header;
use crate::known::Known;

/// On which side of its value a limit is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// By what is greater.
    Above,
    /// By what is less.
    Below,
}

/// Which of a forecast's values a limit is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The edge of the band that crosses first: as likely as not, nothing comes.
    Near,
    /// The median.
    Median,
    /// The edge of the band that crosses last.
    Far,
}

/// What a channel should not cross.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The channel.
    pub channel: u16,
    /// Where it is crossed.
    pub side: Side,
    /// In the channel's unit.
    pub value: f32,
    /// How far on the safe side everything must be before the limit counts as clear, in the channel's unit.
    pub margin: f32,
    /// What is held against it.
    pub line: Line,
    /// Steps ahead that are looked at, at most the model's horizon.
    pub within: u16,
}

impl Limit {
    fn is_beyond(&self, value: f32) -> bool {
        match self.side {
            Side::Above => value > self.value,
            Side::Below => value < self.value,
        }
    }

    fn is_clear(&self, value: f32) -> bool {
        match self.side {
            Side::Above => value <= self.value - self.margin,
            Side::Below => value >= self.value + self.margin,
        }
    }

    /// Index of its line among a model's quantiles, which ascend.
    fn index(&self, header: &Header) -> usize {
        let last = header.quantiles.len().saturating_sub(1);
        match (self.line, self.side) {
            (Line::Median, _) => header.median(),
            (Line::Near, Side::Above) | (Line::Far, Side::Below) => last,
            (Line::Far, Side::Above) | (Line::Near, Side::Below) => 0,
        }
    }
}

/// A limit is about to be crossed, or is crossed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "wire", derive(serde::Serialize, serde::Deserialize))]
pub struct Warning {
    /// The sample that it was seen from.
    pub index: u32,
    /// The channel.
    pub channel: u16,
    /// Which of the limits that are watched, counted from 0.
    pub limit: u8,
    /// The first step ahead that lies beyond the limit; 0: the sample itself does.
    pub steps_ahead: u16,
    /// The limit, in the channel's unit.
    pub threshold: f32,
    /// What lies beyond it: the forecast's value at that step, or the reading.
    pub value: f32,
}

impl core::fmt::Display for Warning {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { channel, steps_ahead, threshold, value, .. } = self;
        let side = if value > threshold { "above" } else { "below" };
        match steps_ahead {
            0 => write!(f, "channel {channel} is {value}, {side} {threshold}"),
            _ => write!(f, "channel {channel} is expected {side} {threshold} in {steps_ahead} samples: {value}"),
        }
    }
}

/// What a limit has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Clear,
    /// A forecast lay beyond it, so many samples ago.
    Foreseen(u16),
    Reached,
}

/// What the steps of one forecast say of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ahead {
    /// The first step beyond it, and its value.
    first: Option<(u16, f32)>,
    /// Whether every step so far is clear.
    clear: bool,
}

/// A limit that is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch {
    limit: Limit,
    phase: Phase,
    ahead: Ahead,
}

impl Watch {
    /// Nothing has been seen yet.
    pub const fn new(limit: Limit) -> Self {
        Self { limit, phase: Phase::Clear, ahead: Self::UNSEEN }
    }

    const UNSEEN: Ahead = Ahead { first: None, clear: true };

    /// The limit.
    pub const fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Whether a warning stands that has not come true yet.
    pub const fn is_foreseen(&self) -> bool {
        matches!(self.phase, Phase::Foreseen(_))
    }

    /// Forgets what came.
    pub const fn reset(&mut self) {
        self.phase = Phase::Clear;
    }

    /// Notes samples that were not taken.
    pub fn skip(&mut self, samples: u32) {
        if let Phase::Foreseen(age) = &mut self.phase {
            *age = age.saturating_add(u16::try_from(samples).unwrap_or(u16::MAX));
        }
    }

    /// Takes one step of a forecast, the first one first; [`Self::observe`] ends it.
    pub fn look(&mut self, steps_ahead: u16, value: f32) {
        if steps_ahead > self.limit.within {
            return;
        }
        let Ahead { first, clear } = &mut self.ahead;
        if first.is_none() && self.limit.is_beyond(value) {
            *first = Some((steps_ahead, value));
        }
        *clear &= self.limit.is_clear(value);
    }

    /// Takes the reading that the forecast just looked at was made after, and returns what is to be told: steps ahead and
    /// the value there. `forecast`: whether there was one.
    pub fn observe(&mut self, reading: f32, forecast: bool) -> Option<(u16, f32)> {
        let Ahead { first, clear } = core::mem::replace(&mut self.ahead, Self::UNSEEN);
        if self.limit.is_beyond(reading) {
            let before = core::mem::replace(&mut self.phase, Phase::Reached);
            return (before != Phase::Reached).then_some((0, reading));
        }
        match self.phase {
            Phase::Reached if !self.limit.is_clear(reading) => return None,
            Phase::Reached => self.phase = Phase::Clear,
            Phase::Foreseen(age) => {
                let age = age.saturating_add(1);
                let over = (forecast && clear) || age >= self.limit.within;
                self.phase = if over { Phase::Clear } else { Phase::Foreseen(age) };
                return None;
            }
            Phase::Clear => {}
        }
        let first = first.filter(|_| forecast)?;
        self.phase = Phase::Foreseen(0);
        Some(first)
    }
}

/// The limits of a channel, and which they are of all.
fn own(watches: &mut [Watch], channel: u16) -> impl Iterator<Item = (&mut Watch, u8)> {
    watches.iter_mut().zip(0..).filter(move |(watch, _)| watch.limit.channel == channel)
}

/// Holds every limit against the sample that `forecaster` has just observed, `readings`, and against what it expects after it.
/// A channel without a forecast is held by its readings alone.
pub fn observe<F: Streaming + ?Sized>(
    forecaster: &F,
    known: &Known<'_>,
    (index, readings): (u32, &[f32]),
    watches: &mut [Watch],
    mut tell: impl FnMut(Warning),
) {
    let header = forecaster.header();
    for (channel, reading) in (0..).zip(readings.iter().copied()) {
        if own(watches, channel).next().is_none() {
            continue;
        }
        let forecast = forecaster.for_each_step_knowing(channel.into(), known, &mut |step, quantiles| {
            for (watch, _) in own(watches, channel) {
                let value = quantiles.get(watch.limit.index(header)).copied().unwrap_or(f32::NAN);
                watch.look(u16::try_from(step).unwrap_or(u16::MAX), value);
            }
        });
        let reading = if forecaster.missing_run(channel.into()) == 0 { reading } else { f32::NAN };
        for (watch, limit) in own(watches, channel) {
            if let Some((steps_ahead, value)) = watch.observe(reading, forecast) {
                tell(Warning { index, channel, limit, steps_ahead, threshold: watch.limit.value, value });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString as _;
    use std::vec::Vec;

    use super::*;

    const LIMIT: Limit =
        Limit { channel: 0, side: Side::Above, value: 25.0, margin: 1.0, line: Line::Median, within: 4 };

    /// What is told of each reading and the forecast made after it.
    fn told(limit: Limit, samples: &[(f32, &[f32])]) -> Vec<Option<u16>> {
        let mut watch = Watch::new(limit);
        let tell = |(reading, forecast): &(f32, &[f32])| {
            (1..).zip(*forecast).for_each(|(step, value)| watch.look(step, *value));
            watch.observe(*reading, !forecast.is_empty()).map(|(steps, _)| steps)
        };
        samples.iter().map(tell).collect()
    }

    #[test]
    fn a_crossing_is_told_when_it_is_foreseen_and_when_it_comes() {
        let samples: [(f32, &[f32]); 8] = [
            (20.0, &[21.0, 22.0, 23.0, 24.0, 99.0]),
            (21.0, &[22.0, 24.0, 25.5, 27.0]),
            (22.0, &[24.0, 24.5, 24.9, 24.9]),
            (24.0, &[25.1, 27.0, 27.0, 27.0]),
            (25.1, &[27.0, 27.0, 27.0, 27.0]),
            (24.5, &[25.1, 27.0, 27.0, 27.0]),
            (25.2, &[24.0, 23.0, 23.0, 23.0]),
            (24.0, &[24.0, 26.0, 23.0, 23.0]),
        ];
        // Beyond reach; foreseen; not clear; still so; reached; not back; still so; back, and foreseen anew.
        assert_eq!(told(LIMIT, &samples), [None, Some(3), None, None, Some(0), None, None, Some(2)]);
        let mirrored = samples.map(|(reading, forecast)| (-reading, forecast.iter().map(|value| -value).collect()));
        let mirrored: Vec<(f32, &[f32])> =
            mirrored.iter().map(|(reading, forecast): &(f32, Vec<f32>)| (*reading, &forecast[..])).collect();
        let below = Limit { side: Side::Below, value: -25.0, ..LIMIT };
        assert_eq!(told(below, &mirrored), told(LIMIT, &samples));
    }

    #[test]
    fn what_does_not_come_is_told_again_only_when_it_was_clear_or_its_time_is_over() {
        let (high, near, clear): (&[f32], &[f32], &[f32]) = (&[24.0, 26.0], &[24.0, 24.5], &[24.0, 24.0]);
        let to_and_fro = [(20.0, high), (20.0, near), (20.0, high), (20.0, clear), (20.0, high)];
        assert_eq!(told(LIMIT, &to_and_fro), [Some(2), None, None, None, Some(2)]);
        let never = [(20.0, high); 12];
        let expected = [Some(2), None, None, None, None, Some(2), None, None, None, None, Some(2), None];
        assert_eq!(told(LIMIT, &never), expected);
    }

    #[test]
    fn what_is_missing_decides_nothing() {
        let high: &[f32] = &[24.0, 26.0];
        // No forecast, no warning; a missing reading neither reaches the limit nor leaves it.
        let samples =
            [(20.0, &[][..]), (f32::NAN, high), (f32::NAN, high), (26.0, &[]), (f32::NAN, high), (26.0, high)];
        assert_eq!(told(LIMIT, &samples), [None, Some(2), None, Some(0), None, None]);
        let nowhere: &[f32] = &[f32::NAN, f32::NAN];
        assert_eq!(told(LIMIT, &[(20.0, nowhere), (20.0, high), (20.0, nowhere)]), [None, Some(2), None]);
    }

    #[test]
    fn a_gap_takes_of_the_time_that_a_warning_has() {
        let mut watch = Watch::new(LIMIT);
        let mut sample = |gap| {
            watch.skip(gap);
            watch.look(1, 26.0);
            watch.observe(20.0, true).is_some()
        };
        assert_eq!([sample(0), sample(0), sample(2), sample(0)], [true, false, false, true]);
    }

    #[test]
    fn a_warning_in_words() {
        let warning = Warning { index: 7, channel: 1, limit: 0, steps_ahead: 12, threshold: 25.0, value: 25.5 };
        assert_eq!(warning.to_string(), "channel 1 is expected above 25 in 12 samples: 25.5");
        let reached = Warning { steps_ahead: 0, threshold: -2.0, value: -2.5, ..warning };
        assert_eq!(reached.to_string(), "channel 1 is -2.5, below -2");
    }
}
