//! Where an axis carries marks, and what they say.

use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::Offset;

use super::collect::Diagnostics;
use crate::backtest::BacktestReport;
use crate::duration::show_ms;

/// What a label has room for, in characters.
const ROOM: usize = 6;

/// Round values on an axis.
pub struct Scale {
    /// The values and their labels.
    pub marks: Vec<(f64, String)>,
    /// What the labels leave out: "101 300 + × 10⁻³" where a label is so many thousandths above it.
    pub note: Option<String>,
}

/// Round values within a range, about `wanted` of them. Labels that have no room leave out what is common to them.
pub fn scale(range: (f64, f64), wanted: usize) -> Scale {
    let rough = (range.1 - range.0) / wanted.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return Scale { marks: Vec::new(), note: None };
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999).unwrap_or(10.0);
    let step = factor * power;
    let first = (range.0 / step - 1e-9).ceil() as i64;
    let last = (range.1 / step + 1e-9).floor() as i64;
    let number = |value: f64, step: f64| {
        let digits = (-step.log10().floor()).max(0.0) as usize;
        format!("{value:.digits$}").replace('-', "−")
    };
    let marks = |base: i64, unit: f64| -> Vec<(f64, String)> {
        let label = |index: i64| number((index - base) as f64 * step / unit, step / unit);
        (first..=last).map(|index| (index as f64 * step, label(index))).collect()
    };
    let plain = marks(0, 1.0);
    if plain.iter().all(|(_, label)| label.chars().count() <= ROOM) {
        return Scale { marks: plain, note: None };
    }
    /// Steps from 0 beyond which labels have more digits in common than they differ in.
    const FAR: i64 = 1_000;
    let base = if first.abs().min(last.abs()) >= FAR { first.div_euclid(100) * 100 } else { 0 };
    // A single mark may be the base itself.
    let largest = (first - base).abs().max((last - base).abs()).max(1) as f64 * step;
    let thousands = (largest.log10() / 3.0).floor() as i32;
    let thousands = if (-1..=1).contains(&thousands) { 0 } else { thousands };
    let unit = 1_000_f64.powi(thousands);
    let above = (base != 0).then(|| format!("{} +", number(base as f64 * step, 100.0 * step)));
    let times = (thousands != 0).then(|| format!("× 10{}", superscript(3 * thousands)));
    Scale { marks: marks(base, unit), note: Some([above, times].into_iter().flatten().collect::<Vec<_>>().join(" ")) }
}

fn superscript(number: i32) -> String {
    let digit = |digit: char| match digit {
        '-' => '⁻',
        digit => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit.to_digit(10).unwrap_or(0) as usize],
    };
    number.to_string().chars().map(digit).collect()
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;

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

/// A share as a label: `80 %`.
pub fn share(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Shares from one to another, `step` apart.
pub fn shares(low: f64, high: f64, step: f64) -> Vec<(f64, String)> {
    let first = (low / step - 1e-9).ceil() as u32;
    let last = (high / step + 1e-9).floor() as u32;
    (first..=last).map(|index| f64::from(index) * step).map(|value| (value, share(value))).collect()
}

/// Marks of time over rows of the series, at those rows; at most `most`.
pub fn rows(report: &BacktestReport, found: &Diagnostics, range: &Range<usize>, most: usize) -> Vec<(f64, String)> {
    let interval = report.interval_ms as i64;
    let marks = match found.time(range.start, report.interval_ms) {
        Some(time) => times(0, range.len() as i64 * interval, Some(time), most),
        // Without a clock, time since the first row.
        None => times(range.start as i64 * interval, range.end as i64 * interval, None, most)
            .into_iter()
            .map(|(mark, label)| (mark - range.start as i64 * interval, label))
            .collect(),
    };
    marks.into_iter().map(|(mark, label)| (range.start as f64 + mark as f64 / interval as f64, label)).collect()
}

/// Marks over a period, in milliseconds from its beginning, and where in it the series begins: a day begins at midnight
/// and a week on Monday where the time is known, any other period with the series.
pub fn phases(period_ms: u64, start: Option<Timestamp>) -> (u64, Vec<(f64, String)>) {
    /// The first Monday after 1 January 1970, a Thursday.
    const MONDAY_MS: i64 = 4 * DAY_MS;
    let period = period_ms as i64;
    let since = |origin: i64| start.map(|start| (start.as_millisecond() - origin).rem_euclid(period) as u64);
    match period {
        DAY_MS if start.is_some() => {
            let hours = (0..=24).step_by(6).map(|hour| ((hour * HOUR_MS) as f64, format!("{hour:02}:00")));
            (since(0).unwrap_or(0), hours.collect())
        }
        WEEK_MS if start.is_some() => {
            let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
            let days = (0..).zip(names).map(|(day, name)| ((day * DAY_MS) as f64, name.to_owned()));
            (since(MONDAY_MS).unwrap_or(0), days.collect())
        }
        _ => {
            let marks = times(0, period, None, 6).into_iter();
            (0, marks.map(|(mark, label)| (mark as f64, label)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_values() {
        let labels = |range, wanted| scale(range, wanted).marks.into_iter().map(|mark| mark.1).collect::<Vec<_>>();
        assert_eq!(labels((0.0, 1.0), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels((-7.0, 12.0), 4), ["−5", "0", "5", "10"]);
        assert_eq!(labels((938.2, 941.0), 3), ["939", "940", "941"]);
        assert!(labels((1.0, 1.0), 3).is_empty());
        assert!(labels((f64::NAN, 1.0), 3).is_empty());
    }

    #[test]
    fn labels_leave_out_what_has_no_room() {
        let shown = |range, wanted| {
            let Scale { marks, note } = scale(range, wanted);
            assert!(marks.iter().all(|(_, label)| label.chars().count() <= ROOM), "{:?}", marks);
            (marks.into_iter().map(|mark| mark.1).collect::<Vec<_>>().join(" "), note.unwrap_or_default())
        };
        let of = |labels: &str, note: &str| (labels.to_owned(), note.to_owned());
        assert_eq!(shown((101_325.0, 101_327.0), 4), of("25.0 25.5 26.0 26.5 27.0", "101300 +"));
        assert_eq!(shown((-2e-8, 4.1e-8), 4), of("−20 0 20 40", "× 10⁻⁹"));
        assert_eq!(shown((1e8, 1.00000008e8), 2), of("0 5", "100000000 +"));
        assert_eq!(shown((-2e-8, 4.1e-8), 3), of("0", "× 10⁻⁹"));
        assert_eq!(shown((0.0, 4e9), 4), of("0 1 2 3 4", "× 10⁹"));
        assert_eq!(shown((-1_101_327.0, -1_101_325.0), 2), of("73 74 75", "−1101400 +"));
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
    fn phases_begin_where_people_expect() {
        // A Wednesday.
        let start: Timestamp = "2017-08-09T14:30:00Z".parse().unwrap();
        let (begin, marks) = phases(DAY_MS as u64, Some(start));
        assert_eq!((begin, marks[1].1.as_str()), ((14 * HOUR_MS + 30 * MINUTE_MS) as u64, "06:00"));
        let (begin, marks) = phases(WEEK_MS as u64, Some(start));
        assert_eq!((begin / DAY_MS as u64, marks[0].1.as_str(), marks.len()), (2, "Mon", 7));
        let (begin, marks) = phases(3_600_000, None);
        assert_eq!((begin, marks[0].1.as_str()), (0, "+30 min"));
    }

    #[test]
    fn distances_ahead() {
        let labels: Vec<String> = ahead(144, 600_000, 1.8).into_iter().map(|mark| mark.1).collect();
        assert_eq!(labels, ["10 min", "30 min", "1 h", "3 h", "6 h", "12 h", "1 d"]);
        assert_eq!(ahead(1, 20, 2.0), [(1, "20 ms".to_owned())]);
    }
}
