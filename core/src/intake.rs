//! What enters the state: a reading in the channel's unit becomes a sample in deviations of the training data, or is
//! taken as missing.
//!
//! A reading outside the channel's bounds is a measurement where the last one was near it ([`NEAR`]): what is measured may
//! go where it never was, but not in one step.
//!
//! Any other is a fault, until so many have come on the same side, and moved meanwhile ([`MOVE`]), that they are a new
//! level: the sensor hangs elsewhere, was replaced, tells another unit, or what it measures has changed at once and for
//! good. From then on its samples are *shifted* by as much as the level lies from what was foreseen, and so are forecasts
//! on their way out: the state goes on, and never sees how far it was. How far readings spread is not known there: what lies
//! within once the bounds' width beyond them enters too. The level of training, and the one before the present, are
//! believed again at the second reading ([`RETURNING`]). The end of a broken wire's scale does not move by as much as
//! a new level takes, and a code such as 1e9 lies beyond what can become one ([`REACH`]).

use core::hint::select_unpredictable;

use crate::bits::{is_finite, order};
use crate::ends::Ends;
use crate::format::Channel;
use crate::linear::Element;
use crate::spike::Limit;
use crate::unit::Unit;

/// Readings of a new level: more than this, and than the channel may stand still.
pub const LEAST_READINGS: u32 = 16;

/// So often, at the least, a new level has moved,
pub const LEAST_MOVES: u32 = 8;

/// ... each time by this share of the width of the channel's bounds, or by two steps of a coarse sensor.
pub const MOVE: f32 = 1.0 / 1024.0;

/// Readings of a level that was there before.
pub const RETURNING: u32 = 2;

/// Readings are near each other up to this share of the width of the bounds: about half of the common range.
pub const NEAR: f32 = 1.0 / 8.0;

/// What can become a level lies within so many widths of the bounds beyond either of them,
pub const REACH: f32 = 8.0;

/// ... and so many deviations of the mean: farther out the integers end.
pub const FARTHEST: f32 = 511.0;

/// So many readings beyond the bounds one within takes back.
const TAKEN_BACK: i32 = 8;

/// A channel's normalisation and the bounds of what it takes for a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intake<R: Element> {
    unit: R::Unit,
    /// The bounds, as [`order`] has them.
    valid: Range<i32>,
    /// The bounds, as samples.
    samples: Range<R>,
    /// The bounds on another level, as samples.
    shifted: Range<R>,
    /// Within, what lasts is a level.
    reach: Range<R>,
    stuck_limit: u32,
    spike_limit: Limit<R>,
    /// How far readings that are near each other lie apart, as samples.
    near: R,
    /// What a level moves by, as a sample.
    step: R,
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range<T> {
    min: T,
    max: T,
}

impl<T: PartialOrd> Range<T> {
    /// By [`order`], NaN lies in no range of numbers.
    #[inline]
    fn contains(&self, place: T) -> bool {
        (place >= self.min) & (place <= self.max)
    }
}

/// How long a channel has stood still, how long it has been beyond its bounds, and by how much it is shifted since.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch<R> {
    /// Bits of the last reading within the bounds.
    last: u32,
    /// How often it came in a row; 0 before the first, and after one beyond them.
    run: u32,
    /// Readings since they left the bounds, less what those within took back; below 0 under the lower one.
    out: i32,
    /// How often they have moved.
    moves: u32,
    /// The sample from which the next one there must have moved.
    beyond: R,
    /// The mean of what they lay from what was foreseen.
    distance: R,
    /// The last sample that entered.
    entered: R,
    /// By how much the channel's level lies from that of training, and the level before did.
    shift: R,
    before: R,
}

impl<R: Element> Intake<R> {
    /// Of no channel: takes nothing but 0.
    pub(crate) const NONE: Self = Self {
        unit: R::Unit::NONE,
        valid: Range { min: 0, max: 0 },
        samples: Range { min: R::ZERO, max: R::ZERO },
        shifted: Range { min: R::ZERO, max: R::ZERO },
        reach: Range { min: R::ZERO, max: R::ZERO },
        stuck_limit: 0,
        spike_limit: Limit::NONE,
        near: R::ZERO,
        step: R::ZERO,
    };

    /// From a channel's record in the model file.
    pub fn new(channel: &Channel<'_>) -> Self {
        let Channel { valid_min, valid_max, stuck_limit, spike_limit, spike_least, .. } = *channel;
        let unit = R::Unit::new(channel);
        let samples = Range { min: unit.sample(valid_min), max: unit.sample(valid_max) };
        let width = samples.max - samples.min;
        let farther = width * R::of(REACH);
        Self {
            unit,
            valid: Range { min: order(valid_min), max: order(valid_max) },
            samples,
            shifted: Range { min: samples.min - width, max: samples.max + width },
            reach: Range {
                min: (samples.min - farther).at_least(R::of(-FARTHEST)).at_most(samples.min),
                max: (samples.max + farther).at_most(R::of(FARTHEST)).at_least(samples.max),
            },
            stuck_limit,
            spike_limit: Limit { steps: R::of(spike_limit), least: R::of(spike_least) },
            near: width * R::of(NEAR),
            step: (width * R::of(MOVE)).at_least(R::of(3.0) * unit.half_step()).at_least(finest(&unit)),
        }
    }

    /// The sample of a reading; `None` if it is NaN, infinite, has stood still for longer than the channel's limit, or lies
    /// outside the channel's bounds, not near the last one and on no level. `foreseen` is what the seasonal memory says of
    /// it ([`SeasonalState::foreseen`](crate::seasonal::SeasonalState::foreseen)). What enters moves the ends, unless it is shifted.
    #[inline]
    pub fn take(&self, watch: &mut Watch<R>, ends: &mut Ends, foreseen: R, reading: f32) -> Option<R> {
        let on_training = self.credible(reading)?;
        let (mut sample, mut inside) = self.seen(watch, reading, on_training);
        if watch.out != 0 || !inside {
            watch.wander(inside, sample, sample - foreseen, self.step);
            let known =
                [R::ZERO, watch.before].into_iter().find(|level| !inside & self.samples.contains(on_training - *level));
            let readings = watch.out.unsigned_abs();
            if let Some(level) = known.filter(|_| readings >= RETURNING) {
                watch.settle(level);
            } else if (readings > self.stuck_limit.max(LEAST_READINGS)) & (watch.moves >= LEAST_MOVES) {
                watch.settle(watch.shift + watch.distance);
            }
            (sample, inside) = self.seen(watch, reading, on_training);
        }
        if !inside {
            // It stood elsewhere in between.
            watch.run = 0;
            return None;
        }
        if !watch.stand(reading, self.stuck_limit) {
            return None;
        }
        watch.entered = sample;
        if !watch.is_shifted() {
            ends.observe(reading);
        }
        Some(sample)
    }

    /// The sample of a reading on the level of training, if it lies within what can become a level.
    #[inline]
    fn credible(&self, reading: f32) -> Option<R> {
        let sample = self.unit.sample(reading);
        (is_finite(reading) & self.reach.contains(sample)).then_some(sample)
    }

    /// A credible reading, that is this sample on the level of training, as one on the channel's level; and whether it lies
    /// within the bounds there, or near what does.
    #[inline]
    fn seen(&self, watch: &Watch<R>, reading: f32, on_training: R) -> (R, bool) {
        let sample = on_training - watch.shift;
        let usual = self.valid.contains(order(reading));
        // What would be usual in training speaks for a return.
        let wide = watch.is_shifted() & !usual & self.shifted.contains(sample);
        let inside = if watch.is_shifted() { self.samples.contains(sample) } else { usual };
        (sample, inside | wide | ((sample - watch.entered).abs() <= self.near))
    }

    /// The sample of a value that is told ahead; `None` if it is no measurement on the channel's level. It may
    /// stand still: no sensor made it.
    #[inline]
    pub(crate) fn told(&self, watch: &Watch<R>, value: f32) -> Option<R> {
        let (sample, inside) = self.seen(watch, value, self.credible(value)?);
        inside.then_some(sample)
    }

    /// Any finite number as a sample on the channel's level, whatever the channel's bounds.
    #[inline]
    pub(crate) fn sample(&self, shift: R, reading: f32) -> R {
        self.unit.sample(reading) - shift
    }

    /// From when on a sample sticks out.
    #[inline]
    pub fn spike_limit(&self) -> &Limit<R> {
        &self.spike_limit
    }

    /// Half a step of a coarse sensor, as a sample; 0 for a fine one.
    pub(crate) fn half_step(&self) -> R {
        self.unit.half_step()
    }

    /// A forecast sample as a reading: in the channel's unit, on its level, and, for a sensor of coarse steps, one of its steps.
    /// (Half of all readings of such a sensor may repeat the one before; a forecast between two steps is never right.)
    #[inline]
    pub fn restore(&self, shift: R, sample: R) -> f32 {
        self.unit.reading(sample + shift)
    }

    /// The smallest difference that means anything, as a sample: half a step of the sensor, at least 0.001.
    #[inline]
    pub fn finest(&self) -> R {
        finest(&self.unit)
    }
}

#[inline]
fn finest<R: Element>(unit: &R::Unit) -> R {
    unit.half_step().at_least(R::of(1e-3))
}

crate::persist::persist!(impl [R: crate::persist::Persist] Watch<R> {
    last, run, out, moves, beyond, distance, entered, shift, before
});

impl<R: Element> Watch<R> {
    /// Before the first reading.
    pub const fn new() -> Self {
        Self {
            last: 0,
            run: 0,
            out: 0,
            moves: 0,
            beyond: R::ZERO,
            distance: R::ZERO,
            entered: R::ZERO,
            shift: R::ZERO,
            before: R::ZERO,
        }
    }

    /// By how much the channel's level lies from that of training.
    #[inline]
    pub fn shift(&self) -> R {
        self.shift
    }

    /// Where the channel ends on its level: nowhere on another one than that of training.
    #[inline]
    pub fn ends(&self, ends: &Ends) -> Ends {
        if self.is_shifted() { Ends::NOWHERE } else { *ends }
    }

    /// How often the last reading within the bounds has come in a row; 0 before the first, and after one beyond them.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Whether the channel is on another level than in training.
    #[inline]
    pub fn is_shifted(&self) -> bool {
        self.shift != R::ZERO
    }

    /// Counts credible readings beyond the bounds, on the same side, and how often they have moved by `step`.
    #[inline(never)]
    fn wander(&mut self, inside: bool, sample: R, distance: R, step: R) {
        if inside {
            let left = self.out.saturating_sub(self.out.signum() * TAKEN_BACK);
            self.out = if left.signum() == self.out.signum() { left } else { 0 };
            return;
        }
        // The mean of training lies within the bounds.
        let side = if sample > R::ZERO { 1 } else { -1 };
        let stays = self.out.signum() == side;
        self.out = if stays { self.out.saturating_add(side) } else { side };
        if !stays {
            (self.moves, self.beyond) = (0, sample);
        } else if (sample - self.beyond).abs() >= step {
            (self.moves, self.beyond) = (self.moves.saturating_add(1), sample);
        }
        self.distance.approach(distance, R::one_over(self.out.unsigned_abs()));
    }

    /// Goes on at a level.
    fn settle(&mut self, shift: R) {
        (self.before, self.shift) = (self.shift, shift);
        self.out = 0;
    }

    /// Whether a reading has not stood still for longer than the limit, if there is one.
    #[inline]
    fn stand(&mut self, reading: f32, limit: u32) -> bool {
        let same = (self.run != 0) & (reading.to_bits() == self.last);
        self.last = reading.to_bits();
        self.run = select_unpredictable(same, self.run.saturating_add(1), 1);
        (limit == 0) | (self.run <= limit)
    }
}

impl<R: Element> Default for Watch<R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::math::Real;
    use crate::q20::Q20;

    /// 20 ± 2 degrees, bounds −20 to 60, stuck after 20.
    const CHANNEL: Channel<'_> = Channel {
        name: "temperature",
        unit: "C",
        offset: 20.0,
        scale: 2.0,
        valid_min: -20.0,
        valid_max: 60.0,
        stuck_limit: 20,
        spike_limit: 0.0,
        spike_least: 0.0,
        resolution: 0.0,
        lowest: -20.0,
        highest: 60.0,
    };

    /// The sample that each reading enters as, of which a mean was expected; both forms agree.
    fn entering(readings: &[f32]) -> Vec<Option<f32>> {
        let (float, integer) = (Intake::<f32>::new(&CHANNEL), Intake::<Q20>::new(&CHANNEL));
        let (mut watch, mut integer_watch) = (Watch::new(), Watch::new());
        let mut ends = [Ends::new(&CHANNEL); 2];
        readings
            .iter()
            .map(|reading| {
                let sample = float.take(&mut watch, &mut ends[0], 0.0, *reading);
                let other = integer.take(&mut integer_watch, &mut ends[1], Q20::ZERO, *reading);
                assert_eq!(sample.is_some(), other.is_some(), "{reading}");
                assert!(sample.is_none_or(|sample| (sample - other.unwrap().to_f32()).abs() < 1e-3));
                assert_eq!(ends[0], ends[1]);
                if let Some(sample) = sample {
                    assert!((float.restore(watch.shift(), sample) - reading).abs() < 1e-4, "out as it came in");
                }
                sample
            })
            .collect()
    }

    fn count(readings: impl IntoIterator<Item = f32>) -> usize {
        let readings: Vec<f32> = readings.into_iter().collect();
        entering(&readings).into_iter().flatten().count()
    }

    fn level(at: f32, count: usize) -> impl Iterator<Item = f32> {
        (0..count).map(move |row| at + [0.0, 2.0, -1.0, 1.0, -2.0][row % 5])
    }

    #[test]
    fn what_lasts_and_moves_beyond_the_bounds_becomes_the_level() {
        for at in [90.0, -60.0, 450.0] {
            let entered = entering(&level(at, 100).collect::<Vec<_>>());
            assert_eq!(entered.iter().position(Option::is_some), Some(20), "the 21st has moved more than 20 times");
            // 2 degrees are 1.
            for (row, sample) in entered.iter().enumerate().skip(20) {
                assert!(
                    (sample.unwrap() - [0.0, 1.0, -0.5, 0.5, -1.0][row % 5]).abs() < 0.1,
                    "{at}, row {row}: {sample:?}"
                );
            }
        }
    }

    #[test]
    fn back_is_a_level_too_and_the_one_of_training() {
        let there_and_back = level(90.0, 100).chain(level(20.0, 100)).chain(level(90.0, 100)).chain(level(24.0, 30));
        let entered = entering(&there_and_back.collect::<Vec<_>>());
        let rows = |range: core::ops::Range<usize>| entered[range].iter().flatten().count();
        assert_eq!([rows(0..100), rows(100..200), rows(200..300), rows(300..330)], [80, 99, 99, 29]);
        assert_eq!(entered[329], Some(1.0), "a sample as in training, to the bit");
    }

    #[test]
    fn a_blip_on_the_way_does_not_begin_anew_and_alternation_does() {
        let blip = level(90.0, 15).chain([20.0]).chain(level(90.0, 60));
        assert_eq!(count(blip), 1 + 60 - 13, "8 moves are taken back");
        let rows = || 0..10_000;
        assert_eq!(
            count(rows().map(|row| if row % 9 < 4 { 20.0 + (row % 7) as f32 } else { 90.0 + (row % 5) as f32 })),
            4445
        );
        assert_eq!(count(rows().map(|row| if row % 2 == 0 { 90.0 } else { -60.0 })), 0);
    }

    #[test]
    fn what_stands_still_flickers_or_is_out_of_reach_is_no_level() {
        let rows = || (0..10_000_u32).map(|row| (row, row as f32));
        // The end of a scale, with a bit that flickers: 0.08 of 80 degrees are a move.
        assert_eq!(count(rows().map(|_| 125.0)), 0);
        assert_eq!(count(rows().map(|(row, _)| 125.0 - (row % 2) as f32 / 16.0)), 0);
        // Eight times 80 degrees beyond the bounds.
        assert_eq!(count(rows().map(|(_, row)| 701.0 + row)), 0);
        assert_eq!(count(rows().map(|(_, row)| 1e9 + 1e6 * row)), 0);
        assert_eq!(count(rows().map(|(row, _)| [f32::NAN, f32::INFINITY, f32::MIN, f32::MAX][row as usize % 4])), 0);
    }

    #[test]
    fn what_moves_beyond_the_bounds_and_back_does_not_stand_still() {
        // Nights of 15 equal readings, and days that are none: they end on the other side now and then, or would be a level.
        let day = |row: usize| if (row / 30).is_multiple_of(2) { 500.0 } else { -500.0 };
        let rows = (0..600).map(|row| if row % 30 < 15 { 20.0 } else { day(row) });
        assert_eq!(count(rows), 300);
    }

    #[test]
    fn what_goes_beyond_the_bounds_step_by_step_enters() {
        // A day's swing across the upper bound; a fault on the way; a walk to where nothing can be.
        let swing = (0..240).map(|row| if row == 100 { 125.0 } else { 57.0 + 8.0 * (row as f32 * 0.26).sin() });
        assert_eq!(count(swing), 239);
        let walk: Vec<f32> = (0..200).map(|row| 20.0 + 9.0 * row as f32).collect();
        let entered = entering(&walk);
        let reach = 60.0 + 8.0 * 80.0;
        assert!(walk.iter().zip(&entered).all(|(reading, entered)| entered.is_some() == (*reading <= reach)));
    }

    #[test]
    fn a_coarse_sensor_moves_by_two_of_its_steps() {
        let coarse = Channel { resolution: 1.0, ..CHANNEL };
        let taken = |swing: [f32; 4]| {
            let (float, integer) = (Intake::<f32>::new(&coarse), Intake::<Q20>::new(&coarse));
            let (mut watch, mut integer_watch, mut ends) = (Watch::new(), Watch::new(), Ends::new(&coarse));
            (0..200)
                .filter(|row| {
                    let reading = 90.0 + swing[row / 6 % 4];
                    let other = integer.take(&mut integer_watch, &mut ends, Q20::ZERO, reading);
                    let entered = float.take(&mut watch, &mut ends, 0.0, reading);
                    assert_eq!(entered.is_some(), other.is_some());
                    entered.is_some()
                })
                .count()
        };
        // The second moves at row 6 and then once in 12 rows, the eighth time at row 90.
        assert_eq!([taken([0.0, 1.0, 0.0, 1.0]), taken([0.0, 2.0, 1.0, -1.0])], [0, 200 - 90]);
    }

    #[test]
    fn on_a_level_readings_may_spread_more() {
        let wider = (0..200).map(|row| 150.0 + 70.0 * (row as f32 * 0.26).sin());
        assert_eq!(count(wider), 180);
    }

    #[test]
    fn a_level_may_stand_still_no_longer_than_the_sensor() {
        assert_eq!(count(level(90.0, 30).chain([93.0; 100])), 10 + 20);
    }

    #[test]
    fn both_forms_end_where_the_integers_do() {
        // 16,000 deviations of 0.005 within the bounds' reach.
        let narrow = Channel { scale: 0.005, valid_min: 19.0, valid_max: 21.0, ..CHANNEL };
        let (float, integer) = (Intake::<f32>::new(&narrow), Intake::<Q20>::new(&narrow));
        for reading in [21.5, 22.5, 22.6, 25.0, 37.0, 1e9, -1e9] {
            let credible = (reading - 20.0_f32).abs() <= FARTHEST * 0.005;
            assert_eq!(float.credible(reading).is_some(), credible, "{reading}");
            assert_eq!(integer.credible(reading).is_some(), credible, "{reading}");
        }
    }

    #[test]
    fn bounds_as_wide_as_floats_reach_no_infinity() {
        let wide =
            Channel { valid_min: f32::MIN / 2.0, valid_max: f32::MAX / 2.0, scale: 1e33, offset: 0.0, ..CHANNEL };
        let intake = Intake::<f32>::new(&wide);
        let (mut watch, mut ends) = (Watch::new(), Ends::new(&wide));
        assert_eq!(intake.take(&mut watch, &mut ends, 0.0, f32::INFINITY), None);
        assert_eq!(intake.take(&mut watch, &mut ends, 0.0, f32::NAN), None);
        assert!(intake.take(&mut watch, &mut ends, 0.0, 1e33).is_some());
    }
}
