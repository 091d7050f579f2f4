//! Where an axis carries marks, and what they say.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::duration::show_ms;

/// Round values within a range, about `wanted` of them, with their labels.
pub fn values(range: (f64, f64), wanted: usize) -> Vec<(f64, String)> {
    let rough = (range.1 - range.0) / wanted.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999).unwrap_or(10.0);
    let step = factor * power;
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let first = (range.0 / step - 1e-9).ceil() as i64;
    let last = (range.1 / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|index| {
            let value = index as f64 * step;
            (value, format!("{value:.digits$}").replace('-', "−"))
        })
        .collect()
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Marks of time between two moments given in milliseconds from `origin`: on the wall clock where the origin's time is known, else as
/// distances from it. At most `most` marks.
pub fn times(from_ms: i64, to_ms: i64, origin: Option<Timestamp>, most: usize) -> Vec<(i64, String)> {
    let steps = [
        1,
        10,
        100,
        1_000,
        10_000,
        MINUTE_MS,
        10 * MINUTE_MS,
        30 * MINUTE_MS,
        HOUR_MS,
        3 * HOUR_MS,
        6 * HOUR_MS,
        12 * HOUR_MS,
        DAY_MS,
        2 * DAY_MS,
        7 * DAY_MS,
        28 * DAY_MS,
        182 * DAY_MS,
        364 * DAY_MS,
        3_640 * DAY_MS,
    ];
    let span = to_ms - from_ms;
    let step = steps.into_iter().find(|step| span / step < most.max(2) as i64).unwrap_or(span.max(1));
    let base = origin.map_or(0, Timestamp::as_millisecond);
    let first = (base + from_ms).div_euclid(step) + 1;
    (first..)
        .map(|index| index * step)
        .take_while(|&moment| moment <= base + to_ms)
        .map(|moment| {
            let label = match origin {
                Some(_) => wall_clock(moment, step),
                None => from_origin(moment),
            };
            (moment - base, label)
        })
        .collect()
}

fn wall_clock(moment_ms: i64, step_ms: i64) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(moment_ms) else {
        return String::new();
    };
    let civil = Offset::UTC.to_datetime(timestamp);
    let format = match () {
        () if step_ms >= 300 * DAY_MS => "%Y",
        () if moment_ms % DAY_MS == 0 => "%-d %b",
        () if step_ms >= MINUTE_MS => "%H:%M",
        () => "%H:%M:%S",
    };
    civil.strftime(format).to_string()
}

fn from_origin(distance_ms: i64) -> String {
    match distance_ms {
        0 => "now".to_owned(),
        past if past < 0 => format!("−{}", show_ms(past.unsigned_abs())),
        future => format!("+{}", show_ms(future.unsigned_abs())),
    }
}

/// A moment for a caption: `7 Aug 2017, 12:30`.
pub fn moment(time: Timestamp) -> String {
    Offset::UTC.to_datetime(time).strftime("%-d %b %Y, %H:%M").to_string()
}

/// Round distances ahead on a logarithmic axis, in steps: those among 1, 2, 3, 5 × a second to 12 h and whole days that are multiples
/// of the interval, at least `apart` times the one before; the first and the last step always.
pub fn ahead(horizon: usize, interval_ms: u64, apart: f64) -> Vec<(usize, String)> {
    const ROUND_S: [u64; 19] = [
        1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600,
        2_419_200, 7_862_400, 31_449_600,
    ];
    let label = |steps: usize| (steps, show_ms(steps as u64 * interval_ms));
    let mut marks = vec![label(1)];
    for seconds in ROUND_S {
        let round_ms = seconds * 1_000;
        let steps = (round_ms / interval_ms) as usize;
        let previous = marks.last().map_or(1, |mark| mark.0);
        let clear = |low: usize, high: usize| high as f64 >= apart * low as f64;
        if round_ms % interval_ms == 0 && clear(previous, steps) && clear(steps, horizon) {
            marks.push(label(steps));
        }
    }
    if horizon > 1 {
        marks.push(label(horizon));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_values() {
        let labels = |range, wanted| values(range, wanted).into_iter().map(|mark| mark.1).collect::<Vec<_>>();
        assert_eq!(labels((0.0, 1.0), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels((-7.0, 12.0), 4), ["−5", "0", "5", "10"]);
        assert_eq!(labels((938.2, 941.0), 3), ["939", "940", "941"]);
        assert!(labels((1.0, 1.0), 3).is_empty());
        assert!(labels((f64::NAN, 1.0), 3).is_empty());
    }

    #[test]
    fn marks_on_the_wall_clock() {
        let origin: Timestamp = "2017-08-07T14:30:00Z".parse().unwrap();
        let marks = times(-DAY_MS, DAY_MS, Some(origin), 5);
        let labels: Vec<&str> = marks.iter().map(|mark| mark.1.as_str()).collect();
        assert_eq!(labels, ["7 Aug", "12:00", "8 Aug", "12:00"]);
        assert_eq!(marks[0].0, -14 * HOUR_MS - 30 * MINUTE_MS);
        let labels: Vec<String> = times(-DAY_MS, DAY_MS, None, 5).into_iter().map(|mark| mark.1).collect();
        assert_eq!(labels, ["−12 h", "now", "+12 h", "+1 d"]);
    }

    #[test]
    fn distances_ahead() {
        let labels: Vec<String> = ahead(144, 600_000, 1.8).into_iter().map(|mark| mark.1).collect();
        assert_eq!(labels, ["10 min", "30 min", "1 h", "3 h", "6 h", "12 h", "1 d"]);
        assert_eq!(ahead(1, 20, 2.0), [(1, "20 ms".to_owned())]);
    }
}
