//! A channel that changes its unit on the way: Fahrenheit in one year and Celsius in the next, hPa after Pa, mV after V.
//!
//! What is measured goes on; only the numbers change. So at a change of unit, and not at a season, a trend or a change of regime,
//! one of the known conversions u makes the readings after it a continuation of those before:
//!
//! 1. the step is larger than nearly all others of the series, and rare;
//! 2. u takes the step away: the first readings after it, converted, follow the last ones before as any reading follows another;
//! 3. over the seasons to either side, the converted quantiles and the mean step between readings are as before (the latter tells a
//!    change of 1.8 times the degree from a mere shift).
//!
//! Where all of it holds closely the change is certain; where it holds loosely, it is to be looked at.

use std::fmt;

/// Steps looked at, the largest of the series.
const CANDIDATES: usize = 12;
/// Rows that may lie between the two units: means over both.
const MOST_BETWEEN: usize = 2;
/// Seasons, and the least and most readings, that are held beside each other,
const SPAN_PERIODS: usize = 3;
const LEAST_SPAN: usize = 200;
const MOST_SPAN: usize = 5_000;
/// ... of which at least so many must be there, and for certainty.
const FEWEST: usize = 50;
const FEWEST_CERTAIN: usize = 100;
/// Readings whose median stands for one side of the step.
const BESIDE: usize = 3;
/// Readings of no thermometer, in any unit, lie beyond.
const HOTTEST: f64 = 5_000.0;
/// Steps of at least half the size that the series may have in all: changes to and fro are some.
const MOST_LARGE_STEPS: usize = 6;

/// A way of writing the same quantity: before = `factor` · after + `offset`.
struct Conversion {
    factor: f64,
    offset: f64,
    kind: Kind,
}

/// How a reading after the change relates to one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The one temperature unit after the other.
    Temperature(&'static str, &'static str),
    /// So many times as large.
    Larger(u32),
    /// So many times smaller.
    Smaller(u32),
}

/// A change of unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The first row in the other unit.
    pub row: usize,
    /// What it looks like.
    pub kind: Kind,
    /// Whether it cannot well be anything else.
    pub certain: bool,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Temperature(before, after) => {
                write!(formatter, "reads as if in {after} where it was in {before} before")
            }
            Kind::Larger(factor) => {
                write!(formatter, "reads {factor} times what it read before, as if in a smaller unit")
            }
            Kind::Smaller(factor) => {
                write!(formatter, "reads a {factor}th of what it read before, as if in a larger unit")
            }
        }
    }
}

/// Every known conversion.
fn conversions() -> impl Iterator<Item = Conversion> {
    const C: &str = "Celsius";
    const F: &str = "Fahrenheit";
    const K: &str = "Kelvin";
    let temperature =
        |factor, offset, before, after| Conversion { factor, offset, kind: Kind::Temperature(before, after) };
    let temperatures = [
        temperature(1.8, 32.0, F, C),
        temperature(1.0 / 1.8, -32.0 / 1.8, C, F),
        temperature(1.0, -273.15, C, K),
        temperature(1.0, 273.15, K, C),
        temperature(1.8, -459.67, F, K),
        temperature(1.0 / 1.8, 459.67 / 1.8, K, F),
    ];
    let powers = [10, 100, 1_000, 1_000_000].into_iter().flat_map(|power| {
        let factor = f64::from(power);
        [
            Conversion { factor: 1.0 / factor, offset: 0.0, kind: Kind::Larger(power) },
            Conversion { factor, offset: 0.0, kind: Kind::Smaller(power) },
        ]
    });
    temperatures.into_iter().chain(powers)
}

/// The first change of unit in a channel's measurements (NaN = missing) with a season of so many samples; a certain one before one
/// that is not.
pub fn find(values: &[f32], period: usize) -> Option<Change> {
    let rows: Vec<usize> = (0..values.len()).filter(|&row| values[row].is_finite()).collect();
    let readings: Vec<f64> = rows.iter().map(|&row| f64::from(values[row])).collect();
    let steps: Vec<f64> = readings.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let mut order: Vec<usize> = (0..steps.len()).collect();
    let largest = order.len().min(CANDIDATES);
    if largest == 0 {
        return None;
    }
    order.select_nth_unstable_by(largest - 1, |left, right| steps[*right].total_cmp(&steps[*left]));
    order.truncate(largest);
    order.sort_unstable();
    let span = (SPAN_PERIODS * period).clamp(LEAST_SPAN, MOST_SPAN);
    let changes = order.iter().filter_map(|step| {
        let found = (0..=MOST_BETWEEN).find_map(|between| {
            // The first reading after the step; those between may be of either unit.
            let (before, after) = ((step + 1).checked_sub(between)?, step + 1 + between);
            let before = &readings[before.checked_sub(span.min(before))?..before];
            let after = &readings[after.min(readings.len())..(after + span).min(readings.len())];
            let sides = Sides::new(before, after, period)?;
            conversions().find_map(|conversion| Some((conversion.kind, sides.certainty(&conversion, &steps)?)))
        });
        found.map(|(kind, certain)| Change { row: rows[step + 1], kind, certain })
    });
    let changes: Vec<Change> = changes.collect();
    changes.iter().find(|change| change.certain).or(changes.first()).copied()
}

/// What stands to either side of a step.
struct Sides {
    /// Medians of the nearest readings.
    last: f64,
    first: f64,
    /// The nearest readings.
    nearest: (f64, f64),
    /// Quantiles.
    usual_before: [f64; 5],
    usual_after: [f64; 5],
    /// Mean steps.
    step_before: f64,
    step_after: f64,
    /// Nearly all steps before, and after, are smaller.
    large_before: f64,
    large_after: f64,
    /// At least a season and enough readings to either side.
    whole: bool,
}

impl Sides {
    fn new(before: &[f64], after: &[f64], period: usize) -> Option<Sides> {
        if before.len().min(after.len()) < FEWEST {
            return None;
        }
        let (step_before, large_before) = steps(before);
        let (step_after, large_after) = steps(after);
        Some(Sides {
            last: median(&before[before.len() - BESIDE..]),
            first: median(&after[..BESIDE]),
            nearest: (before[before.len() - 1], after[0]),
            usual_before: quantiles(before),
            usual_after: quantiles(after),
            step_before,
            step_after,
            large_before,
            large_after,
            whole: before.len().min(after.len()) >= period.max(FEWEST_CERTAIN),
        })
    }

    /// Whether a conversion explains the step: `None` for no, and else whether it cannot well be anything else.
    fn certainty(&self, conversion: &Conversion, steps: &[f64]) -> Option<bool> {
        let Conversion { factor, offset, kind } = conversion;
        let convert = |reading: f64| factor * reading + offset;
        let jump = (self.first - self.last).abs();
        // The nearest two readings, or the middle of the nearest few where they are noisy.
        let jump_converted =
            (convert(self.first) - self.last).abs().min((convert(self.nearest.1) - self.nearest.0).abs());
        let usual = self.large_before.max(factor * self.large_after);
        let spread = self.usual_before[4] - self.usual_before[0];
        let spread_after = factor * (self.usual_after[4] - self.usual_after[0]);
        if spread <= 0.0 || spread_after <= 0.0 || self.step_before <= 0.0 || self.step_after <= 0.0 {
            return None;
        }
        let ratio = |left: f64, right: f64| (left / right).max(right / left);
        let offsets = self.usual_before.iter().zip(&self.usual_after);
        let worst = offsets.map(|(before, after)| (before - convert(*after)).abs()).fold(0.0, f64::max);
        // A shift alone leaves the mean step as it was.
        let step_ratio = ratio(self.step_before, factor * self.step_after);
        let unconverted = ratio(self.step_before, self.step_after);
        let rare = steps.iter().filter(|step| **step >= 0.5 * jump).count();
        let is_thermometer =
            || self.usual_before.iter().chain(&self.usual_after).all(|reading| reading.abs() < HOTTEST);
        if matches!(kind, Kind::Temperature(..)) && !is_thermometer() {
            return None;
        }
        let shift = matches!(kind, Kind::Temperature(..)) && *factor == 1.0;
        let loosely = rare <= 2 * MOST_LARGE_STEPS
            && jump >= 5.0 * self.large_before.min(self.large_after)
            && jump_converted <= 0.2 * jump
            && jump_converted <= 2.0 * usual
            && worst <= spread.max(0.1 * jump)
            && ratio(spread, spread_after) <= 4.0
            && step_ratio <= 2.5
            && (shift || step_ratio < unconverted);
        let closely = rare <= MOST_LARGE_STEPS
            && self.whole
            && jump >= 8.0 * self.large_before.min(self.large_after)
            && jump_converted <= usual.max(0.1 * jump)
            && worst <= (0.6 * spread).max(0.05 * jump)
            && ratio(spread, spread_after) <= 2.5
            && step_ratio <= 1.5;
        loosely.then_some(closely)
    }
}

/// The mean step between neighbours, and one that nearly all are smaller than.
fn steps(readings: &[f64]) -> (f64, f64) {
    let mut steps: Vec<f64> = readings.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let mean = steps.iter().sum::<f64>() / steps.len() as f64;
    let rank = (0.98 * (steps.len() - 1) as f64) as usize;
    let large = *steps.select_nth_unstable_by(rank, f64::total_cmp).1;
    (mean, large.max(mean))
}

fn median(readings: &[f64]) -> f64 {
    quantiles(readings)[2]
}

/// The quantiles 0.1, 0.25, 0.5, 0.75 and 0.9.
fn quantiles(readings: &[f64]) -> [f64; 5] {
    let mut sorted = readings.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.1, 0.25, 0.5, 0.75, 0.9].map(|level| sorted[(level * (sorted.len() - 1) as f64).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours of a season and weather around 50, in Fahrenheit; from `row` on as `convert` has it.
    fn converted(row: usize, convert: impl Fn(f32) -> f32) -> Vec<f32> {
        let mut weather = 0.0;
        let fahrenheit = |hour: usize| {
            weather = 0.97 * weather + ((hour * 7_919 + hour * hour * 31) % 201) as f32 / 100.0 - 1.0;
            let year = -15.0 * (hour as f32 / 2000.0 * std::f32::consts::TAU).cos();
            55.0 + year + 8.0 * (hour as f32 / 24.0 * std::f32::consts::TAU).sin() + weather
        };
        (0..2000).map(fahrenheit).enumerate().map(|(hour, x)| if hour < row { x } else { convert(x) }).collect()
    }

    #[test]
    fn a_change_of_unit_is_found_where_it_is() {
        type Convert = fn(f32) -> f32;
        let cases: [(Convert, Kind); 5] = [
            (|x| (x - 32.0) / 1.8, Kind::Temperature("Fahrenheit", "Celsius")),
            (|x| x + 273.15, Kind::Temperature("Celsius", "Kelvin")),
            (|x| 100.0 * x, Kind::Larger(100)),
            (|x| x / 1000.0, Kind::Smaller(1_000)),
            (|x| x / 10.0, Kind::Smaller(10)),
        ];
        for (convert, kind) in cases {
            for row in [500, 1003, 1500] {
                let found = find(&converted(row, convert), 24);
                assert_eq!(found, Some(Change { row, kind, certain: true }), "{kind:?}");
            }
        }
    }

    #[test]
    fn what_is_no_change_of_unit() {
        let untouched = converted(2000, |x| x);
        assert_eq!(find(&untouched, 24), None);
        // A shift, a calmer regime, a trend, and spikes.
        for convert in [|x: f32| x - 30.0, |x: f32| 55.0 + 0.4 * (x - 55.0), |x: f32| x + 100.0] {
            assert_eq!(find(&converted(1000, convert), 24), None);
        }
        let spikes: Vec<f32> =
            untouched.iter().enumerate().map(|(row, x)| if row % 301 == 0 { 10.0 * x } else { *x }).collect();
        assert_eq!(find(&spikes, 24), None);
        // On for a week, off for a week.
        let switched: Vec<f32> =
            untouched.iter().enumerate().map(|(row, x)| if row / 168 % 2 == 0 { 100.0 * x } else { *x }).collect();
        assert!(find(&switched, 24).is_none_or(|change| !change.certain));
        assert_eq!(find(&[1.0, 2.0], 24), None);
        assert_eq!(find(&[f32::NAN; 100], 24), None);
    }
}
