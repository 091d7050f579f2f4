//! Readings that are no measurements: what a channel commonly reads, and what lies too far outside to be believed.
//!
//! 1. *Codes* are values that loggers and drivers write where they have none: all nines, the ends of integer types, powers of ten from
//!    100,000, the DS18B20's 85 °C after power-on and −127 °C without a sensor, absolute zero, Campbell's ±6999 and ±7999. One counts as
//!    a fault if nothing was ever read near it: it stands alone by the width of the middle 90 % of the other readings. Up to half of a
//!    channel may be codes, nearly all of it if the others are many values.
//! 2. Any other value that comes again and again, exactly, in at most a twentieth of the readings, and stands far apart from a channel
//!    that takes many values: ten such widths, or two where it comes more often than rule 4 could still tell it from what is common.
//!    (A heater's watts do not come again exactly; a switch's do, but a switch takes few values.)
//! 3. Whatever is so large that a 32-bit float of its size could not tell the other readings from 0.
//! 4. Of the rest, whatever lies farther outside the common range (99.8 % of the readings) than 1.5 of its widths.
//!
//! The device knows two bounds a channel ([`Bounds`]); they are set so that all of these lie outside.

use std::fmt::Write as _;

use flowcast_core::ends::Ends;
use flowcast_core::format::Channel;
use flowcast_core::intake::{Intake, Watch};

/// Share, and least count, of the readings at either end that are not of the common range.
const UNCOMMON: f64 = 0.001;
const LEAST_UNCOMMON: usize = 3;
/// A reading farther outside the common range than so many of its widths is a fault.
const MARGIN: f32 = 1.5;
/// Codes are believed to be some up to this share of the readings,
const MOST_CODES: f64 = 0.5;
/// ... up to this one beside a channel of many values,
const MOST_CODES_BESIDE_MANY: f64 = 0.95;
/// ... and other repeated values up to this.
const MOST_REPEATS: f64 = 0.05;
/// What comes more often than those is suspected up to this share.
const MOST_SUSPECT: f64 = 0.25;
/// A repeated value comes at least so often,
const LEAST_REPEATS: usize = 3;
/// ... or so often.
const MORE_REPEATS: usize = LEAST_UNCOMMON + 1;
/// How many widths of the middle 90 % a code stands apart, and a value that is repeated so often.
const CODE_APART: f64 = 1.0;
const REPEAT_APART: f64 = 10.0;
const MORE_REPEATS_APART: f64 = 2.0;
/// A channel of fewer values switches or counts: its rare states are no faults.
const LEAST_VALUES: usize = 20;
/// Beyond so many times the others' size an f32 has no digit left for them.
const DYNAMIC_RANGE: f64 = 16_777_216.0;
/// From a fault towards the nearest reading, the share of the way at which the bound lies.
const BOUND: f64 = 0.25;
/// From this share of the readings on, those outside a model's bounds are no faults but another regime.
const MOST_FAULTS: f64 = 0.05;
/// Different values that a note shows.
const SHOWN: usize = 3;

/// Readings within are measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The smallest.
    pub valid_min: f32,
    /// The largest.
    pub valid_max: f32,
    /// Of the common range, or of all measurements where that has none.
    pub width: f32,
}

impl Bounds {
    /// Of a channel's readings in any order, NaN = missing; `None` without a reading.
    pub fn of(values: &[f32]) -> Option<Bounds> {
        let mut readings: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        readings.sort_by(f32::total_cmp);
        if readings.is_empty() {
            return None;
        }
        let (above, below) = limits(&readings);
        let kept = &readings[readings.partition_point(|value| f64::from(*value) <= above)
            ..readings.partition_point(|value| f64::from(*value) < below)];
        // In a short file the extreme readings are more than 0.1 %, and an outlier must not be one of the common ones.
        let uncommon = ((kept.len() as f64 * UNCOMMON).ceil() as usize).max(LEAST_UNCOMMON).min(kept.len() / 10);
        let (low, high) = (kept[uncommon], kept[kept.len() - 1 - uncommon]);
        let width = if high > low { high - low } else { kept[kept.len() - 1] - kept[0] };
        let bound = |inner: f32, fault: f64| (fault + BOUND * (f64::from(inner) - fault)) as f32;
        let (mut valid_min, mut valid_max) = (low - MARGIN * width, high + MARGIN * width);
        if above.is_finite() {
            valid_min = valid_min.max(bound(kept[0], above));
        }
        if below.is_finite() {
            valid_max = valid_max.min(bound(kept[kept.len() - 1], below));
        }
        Some(Bounds { valid_min, valid_max, width })
    }

    /// Whether a reading is a measurement; NaN is none.
    pub fn contains(&self, reading: f32) -> bool {
        (self.valid_min..=self.valid_max).contains(&reading)
    }

    /// The values with NaN in the place of faults.
    pub fn masked(&self, values: &[f32]) -> Vec<f32> {
        values.iter().map(|value| if self.contains(*value) { *value } else { f32::NAN }).collect()
    }
}

/// A value and how often it comes.
#[derive(Clone, Copy)]
struct Level {
    value: f64,
    count: usize,
}

/// The largest fault below the measurements and the smallest above them, infinite where there is none. `readings` ascend.
fn limits(readings: &[f32]) -> (f64, f64) {
    let levels = levels(readings);
    let (codes, others): (Vec<Level>, Vec<Level>) = levels.iter().partition(|level| is_code(level.value));
    let mut found = (f64::NEG_INFINITY, f64::INFINITY);
    let total = |levels: &[Level]| levels.iter().map(|level| level.count).sum::<usize>();
    let is_few = |count: usize, most: f64| count as f64 <= most * readings.len() as f64;
    let most = if others.len() >= LEAST_VALUES { MOST_CODES_BESIDE_MANY } else { MOST_CODES };
    // Where more readings are codes, they are what the channel reads.
    let (codes, others) = if is_few(total(&codes), most) { (codes, others) } else { (Vec::new(), levels.clone()) };
    let (low, high) = (quantile(&others, 0.05), quantile(&others, 0.95));
    let width = high - low;
    for code in codes {
        let beside = others.partition_point(|level| level.value < code.value);
        let alone = |neighbour: Option<&Level>| {
            neighbour.is_some_and(|level| (level.value - code.value).abs() >= CODE_APART * width)
        };
        if code.value > high && alone(others[..beside].last()) {
            found.1 = code.value.min(found.1);
        } else if code.value < low && alone(others.get(beside)) {
            found.0 = code.value.max(found.0);
        }
    }
    let size = low.abs().max(high.abs());
    let huge = |level: &Level| size > 0.0 && level.value.abs() > DYNAMIC_RANGE * size;
    // From either end inwards, while what lies outside is rare.
    let repeat = |from_outside: &mut dyn Iterator<Item = (&Level, &Level)>| {
        let (mut outside, mut limit) = (0, None);
        for (level, inner) in from_outside {
            outside += level.count;
            if !is_few(outside, MOST_REPEATS) {
                break;
            }
            let apart = match level.count {
                MORE_REPEATS.. => MORE_REPEATS_APART,
                LEAST_REPEATS.. => REPEAT_APART,
                _ => f64::INFINITY,
            };
            let again = width > 0.0 && others.len() >= LEAST_VALUES;
            if huge(level) || (again && (level.value - inner.value).abs() >= apart * width) {
                limit = Some(level.value);
            }
        }
        limit
    };
    let upper = repeat(&mut others.iter().rev().zip(others.iter().rev().skip(1)));
    let lower = repeat(&mut others.iter().zip(others.iter().skip(1)));
    (lower.map_or(found.0, |limit| limit.max(found.0)), upper.map_or(found.1, |limit| limit.min(found.1)))
}

/// Ascending readings, each value once.
fn levels(readings: &[f32]) -> Vec<Level> {
    readings.chunk_by(|a, b| a == b).map(|alike| Level { value: alike[0].into(), count: alike.len() }).collect()
}

/// A quantile of ascending levels.
fn quantile(levels: &[Level], share: f64) -> f64 {
    let total: usize = levels.iter().map(|level| level.count).sum();
    let rank = (share * total.saturating_sub(1) as f64).round() as usize;
    let mut before = 0;
    for level in levels {
        before += level.count;
        if before > rank {
            return level.value;
        }
    }
    f64::NAN
}

/// Whether a value is one that is written where there is no reading.
fn is_code(value: f64) -> bool {
    const SENSORS: [f64; 10] = [85.0, 185.0, -127.0, -196.6, -273.15, -459.67, 6999.0, -6999.0, 7999.0, -7999.0];
    const BITS: [i32; 9] = [10, 12, 14, 15, 16, 23, 24, 31, 32];
    let size = value.abs();
    // As an f32 prints it: 99.9 and not 99.9000015.
    let digits = (size as f32).to_string();
    let all_nines = size >= 99.0 && digits.bytes().all(|digit| matches!(digit, b'9' | b'.'));
    let is = |code: f64| value as f32 == code as f32;
    all_nines
        || SENSORS.into_iter().any(is)
        || BITS.into_iter().map(|bits| 2_f64.powi(bits)).any(|end| is(end) || is(end - 1.0) || is(-end))
        || (5..=38).map(|zeros| 10_f64.powi(zeros)).any(|power| is(power) || is(-power))
}

/// A value that comes exactly again and again, far from a channel of many values, but so often that it is believed; and its share. (What
/// is off reads 0, and rests for longer.)
pub fn suspect(values: &[f32]) -> Option<(f32, f64)> {
    let mut readings: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    readings.sort_by(f32::total_cmp);
    let levels = levels(&readings);
    let alone = |level: &Level, others: &[Level], nearest: Option<&Level>| {
        let share = level.count as f64 / readings.len() as f64;
        let width = quantile(others, 0.95) - quantile(others, 0.05);
        let far = width > 0.0 && (nearest?.value - level.value).abs() >= MORE_REPEATS_APART * width;
        let often = (MOST_REPEATS..MOST_SUSPECT).contains(&share) && level.value != 0.0;
        (others.len() >= LEAST_VALUES && far && often).then_some((level.value as f32, share))
    };
    let below = || levels.split_first().and_then(|(lowest, others)| alone(lowest, others, others.first()));
    let above = || levels.split_last().and_then(|(highest, others)| alone(highest, others, others.last()));
    below().or_else(above)
}

/// What becomes of a reading on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It enters.
    Entered,
    /// It stands still for too long.
    Stuck,
    /// It is none, or lies beyond what the channel reads.
    Refused,
}

/// What becomes of a channel's readings, one after the other, where nothing better than the mean is expected of them.
pub fn fates(channel: &Channel<'_>, values: &[f32]) -> Vec<Fate> {
    let intake = Intake::<f32>::new(channel);
    let (mut watch, mut ends) = (Watch::new(), Ends::new(channel));
    let fate = |value: &f32| {
        let before = watch.run();
        match intake.take(&mut watch, &mut ends, 0.0, *value) {
            Some(_) => Fate::Entered,
            None if watch.run() > before => Fate::Stuck,
            None => Fate::Refused,
        }
    };
    values.iter().map(fate).collect()
}

/// What of a channel's readings lies outside its bounds, in words; `None` where all lie within. `fates` are [`fates`]' of them.
pub fn note(channel: &Channel<'_>, values: &[f32], fates: &[Fate]) -> Option<String> {
    let Channel { name, valid_min, valid_max, .. } = *channel;
    let bounds = (valid_min, valid_max);
    let present = values.iter().filter(|value| value.is_finite()).count();
    let is_outside = |value: f32| value.is_finite() && !(valid_min..=valid_max).contains(&value);
    let (levels, missing): (Vec<_>, Vec<_>) = values
        .iter()
        .zip(fates)
        .filter(|(value, _)| is_outside(**value))
        .partition(|(_, fate)| **fate == Fate::Entered);
    // A level begins with readings that are missing.
    if missing.is_empty() {
        return None;
    }
    let mut outside: Vec<f32> = missing.into_iter().map(|(value, _)| *value).collect();
    outside.sort_by(f32::total_cmp);
    let mut kinds: Vec<(f32, usize)> =
        outside.chunk_by(|left, right| left == right).map(|equal| (equal[0], equal.len())).collect();
    // The most frequent first, then the farthest out.
    let middle = 0.5 * (valid_min + valid_max);
    kinds
        .sort_by(|left, right| right.1.cmp(&left.1).then((right.0 - middle).abs().total_cmp(&(left.0 - middle).abs())));
    let shown = kinds.iter().take(SHOWN).map(|(value, count)| {
        let value = show(*value);
        if *count == 1 { value } else { format!("{value} ({count} times)") }
    });
    let mut text = format!(
        "column `{name}`: {} of {} readings taken as missing, far outside the common range ({} to {}): {}",
        outside.len(),
        present,
        show(valid_min),
        show(valid_max),
        shown.collect::<Vec<_>>().join(", ")
    );
    if kinds.len() > SHOWN {
        let _ = write!(text, " and {} more", outside.len() - kinds[..SHOWN].iter().map(|kind| kind.1).sum::<usize>());
    }
    if !levels.is_empty() {
        let _ = write!(text, "; {} more were taken: they came step by step, or lasted", levels.len());
    }
    if is_regime(values, bounds) {
        text.push_str("; so many are no faults: another unit, another place, another sensor?");
    }
    Some(text)
}

/// Whether what lies outside a model's bounds is too much for faults and, by what the readings themselves say, none.
fn is_regime(values: &[f32], (valid_min, valid_max): (f32, f32)) -> bool {
    let present = values.iter().filter(|value| value.is_finite()).count();
    Bounds::of(values).is_some_and(|own| {
        let credible = |value: &&f32| own.contains(**value) && !(valid_min..=valid_max).contains(*value);
        values.iter().filter(credible).count() as f64 > MOST_FAULTS * present as f64
    })
}

/// Without the readings that a model takes for faults by their size, for scoring: a sentinel of -9999 is no error of a forecast. What
/// is another regime rather than faults stays, and so does what the device comes to take as a new level.
pub fn without_faults(values: &mut [f32], channel: &Channel<'_>) {
    let bounds = (channel.valid_min, channel.valid_max);
    let own = Bounds::of(values).filter(|_| is_regime(values, bounds));
    let fates = fates(channel, values);
    let is_outside = |value: f32| !(channel.valid_min..=channel.valid_max).contains(&value);
    let mut start = 0;
    while start < values.len() {
        let outside = is_outside(values[start]);
        let length = values[start..].iter().take_while(|value| is_outside(**value) == outside).count();
        let run = start..start + length;
        start = run.end;
        // Up to its first reading that entered, a run is the beginning of a level.
        let begins =
            fates[run.clone()].iter().position(|fate| *fate == Fate::Entered).map_or(run.start, |at| run.start + at);
        for row in run.filter(|row| outside && *row >= begins && fates[*row] != Fate::Entered) {
            if own.is_none_or(|own| !own.contains(values[row])) {
                values[row] = f32::NAN;
            }
        }
    }
}

/// A number in few digits.
pub fn show(value: f32) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e7).contains(&size) => {
            let digits = (5 - size.log10().floor() as i32).clamp(0, 7) as usize;
            without_zeros(&format!("{value:.digits$}")).to_owned()
        }
        _ => {
            let text = format!("{value:.5e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", without_zeros(mantissa))
        }
    }
}

/// A number's text without the zeros that end its fraction.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten days of a daily wave of minutes-old noise, 15 to 25, `every`th reading replaced.
    fn with(every: usize, fault: impl Fn(usize) -> f32) -> Vec<f32> {
        let wave = |row: usize| 20.0 + 4.0 * (row as f32 * 0.0436).sin() + ((row * 7_919) % 100) as f32 / 100.0;
        (0..1440).map(|row| if row % every == every / 2 { fault(row) } else { wave(row) }).collect()
    }

    fn channel(valid_min: f32, valid_max: f32) -> Channel<'static> {
        Channel {
            name: "t",
            unit: "",
            offset: 0.5 * (valid_min + valid_max),
            scale: 1.0,
            valid_min,
            valid_max,
            stuck_limit: 0,
            spike_limit: 0.0,
            spike_least: 0.0,
            resolution: 0.0,
            lowest: valid_min,
            highest: valid_max,
        }
    }

    #[test]
    fn what_becomes_a_level_is_scored_from_its_first_reading() {
        let bounds = Bounds::of(&with(usize::MAX, |_| 0.0)).unwrap();
        let channel = channel(bounds.valid_min, bounds.valid_max);
        let values: Vec<f32> = with(usize::MAX, |_| 0.0)
            .iter()
            .enumerate()
            .map(|(row, x)| x + if row < 1400 { 0.0 } else { 25.0 })
            .collect();
        assert!(!is_regime(&values, (channel.valid_min, channel.valid_max)));
        let mut scored = values.clone();
        without_faults(&mut scored, &channel);
        assert_eq!(scored, values);
        let mut few = values[..1410].to_vec();
        without_faults(&mut few, &channel);
        assert!(few[1400..].iter().all(|value| value.is_nan()));
    }

    #[test]
    fn sentinels_are_outside_however_many() {
        let clean = Bounds::of(&with(usize::MAX, |_| 0.0)).unwrap();
        for fault in [-999.0, -9999.0, 9999.0, 99999.0, 65535.0, 1e9, -127.0, 85.0, 1e20, 500.5, -300.25] {
            for every in [30, 100, 1000] {
                let bounds = Bounds::of(&with(every, |_| fault)).unwrap();
                assert!(!bounds.contains(fault) && bounds.contains(15.5), "{fault} every {every}: {bounds:?}");
                assert!((bounds.width / clean.width - 1.0).abs() < 0.05, "{fault} every {every}: {bounds:?}");
            }
        }
        // A third of the readings, and two in three.
        assert!(!Bounds::of(&with(3, |_| -9999.0)).unwrap().contains(-9999.0));
        let mostly: Vec<f32> = with(usize::MAX, |_| 0.0).into_iter().flat_map(|x| [x, -127.0, -127.0]).collect();
        assert!(!Bounds::of(&mostly).unwrap().contains(-127.0));
        // Two codes, and means of a code and a reading.
        let mixed = |row: usize| [-9999.0, -999.0, 1e9][row / 50 % 3] + if row == 25 { 4000.0 } else { 0.0 };
        let bounds = Bounds::of(&with(50, mixed)).unwrap();
        assert!(bounds.valid_min > -100.0 && bounds.valid_max < 100.0, "{bounds:?}");
    }

    #[test]
    fn what_a_channel_really_reads_is_kept() {
        // Humidity that saturates, a switch, a meter of whole watts, a rain gauge, an oven that passes 85.
        let saturated: Vec<f32> = with(usize::MAX, |_| 0.0).iter().map(|x| (x * 4.5).min(99.0)).collect();
        let switch: Vec<f32> = (0..1000).map(|row| if row % 40 == 0 { 999.0 } else { (row % 3) as f32 }).collect();
        let rain: Vec<f32> = (0..1000).map(|row| if row % 50 == 0 { (row % 7) as f32 * 0.3 } else { 0.0 }).collect();
        let oven: Vec<f32> = (0..1000).map(|row| (row % 200) as f32).collect();
        for (name, values) in [("humidity", saturated), ("rain", rain), ("oven", oven)] {
            let bounds = Bounds::of(&values).unwrap();
            assert!(values.iter().all(|value| bounds.contains(*value)), "{name}: {bounds:?}");
        }
        let states: Vec<f32> = switch.iter().map(|x| if *x == 999.0 { 40.0 } else { *x }).collect();
        assert!(Bounds::of(&states).unwrap().contains(40.0));
        assert!(!Bounds::of(&switch).unwrap().contains(999.0));
    }

    #[test]
    fn a_constant_and_nothing() {
        let bounds = Bounds::of(&[20.5; 50]).unwrap();
        assert_eq!((bounds.valid_min, bounds.valid_max, bounds.width), (20.5, 20.5, 0.0));
        assert_eq!(Bounds::of(&[f32::NAN; 5]), None);
        // All codes: then they are what the channel reads.
        assert!(Bounds::of(&[999.0, 9999.0, 999.0]).unwrap().contains(9999.0));
    }

    #[test]
    fn faults_are_not_scored_and_another_regime_is() {
        let Bounds { valid_min, valid_max, .. } = Bounds::of(&with(usize::MAX, |_| 0.0)).unwrap();
        let bounds = (valid_min, valid_max);
        let channel = channel(valid_min, valid_max);
        for every in [3, 100] {
            let mut values = with(every, |_| -127.0);
            without_faults(&mut values, &channel);
            assert_eq!(
                values.iter().filter(|value| value.is_nan()).count(),
                (0..1440).filter(|x| x % every == every / 2).count()
            );
            assert!(!is_regime(&with(every, |_| -127.0), bounds));
        }
        let mut hot: Vec<f32> = with(usize::MAX, |_| 0.0)
            .iter()
            .enumerate()
            .map(|(row, x)| if row < 900 { *x } else { x + 60.0 })
            .collect();
        hot[100] = 1e9;
        assert!(is_regime(&hot, bounds));
        without_faults(&mut hot, &channel);
        assert!(hot[100].is_nan() && hot.iter().filter(|value| value.is_nan()).count() == 1);
    }

    #[test]
    fn a_code_that_comes_too_often_to_be_left_out_is_suspected() {
        let code = |value: f32| move |_: usize| value;
        assert!(
            suspect(&with(10, code(127.0))).is_some_and(|(value, share)| value == 127.0 && (share - 0.1).abs() < 1e-3)
        );
        assert!(suspect(&with(10, code(-40.0))).is_some_and(|(value, _)| value == -40.0));
        // Rare enough to be left out; near; a channel of few values; nothing.
        assert_eq!(suspect(&with(100, code(127.0))), None);
        assert_eq!(suspect(&with(10, code(26.0))), None);
        let switch: Vec<f32> = (0..1000).map(|row| if row % 10 == 0 { 999.0 } else { (row % 3) as f32 }).collect();
        assert_eq!(suspect(&switch), None);
        assert_eq!((suspect(&[]), suspect(&[f32::NAN, 1.0])), (None, None));
    }

    #[test]
    fn numbers_have_few_digits() {
        let shown = [0.0, 85.0, -9999.0, 0.1, 1e9, -1.5e-7, 1.002e-7, 99.9].map(show);
        assert_eq!(shown, ["0", "85", "-9999", "0.1", "1e9", "-1.5e-7", "1.002e-7", "99.9"]);
    }

    #[test]
    fn a_note_tells_how_many_and_which() {
        let channel = channel(0.0, 30.0);
        let told = |values: &[f32]| note(&channel, values, &fates(&channel, values));
        assert_eq!(told(&[1.0, f32::NAN, 30.0]), None);
        assert_eq!(
            told(&[1.0, -9999.0, -9999.0, 592.25, 1e9, 40.0, 41.0]).unwrap(),
            "column `t`: 6 of 7 readings taken as missing, far outside the common range (0 to 30): -9999 (2 times), 1e9, 592.25 and 2 more; \
             so many are no faults: another unit, another place, another sensor?"
        );
        let level: Vec<f32> =
            (0..100).map(|row| if row < 80 { row as f32 / 4.0 } else { 40.0 + (row % 2) as f32 }).collect();
        assert_eq!(
            told(&level).unwrap(),
            "column `t`: 16 of 100 readings taken as missing, far outside the common range (0 to 30): 41 (8 times), 40 (8 times); \
             4 more were taken: they came step by step, or lasted; so many are no faults: another unit, another place, another sensor?"
        );
        assert_eq!([0.01, -127.0, 1013.25, 99999.0, 1e-9].map(show), ["0.01", "-127", "1013.25", "99999", "1e-9"]);
    }
}
