//! Times as they stand in files, to milliseconds since 1970-01-01.
//!
//! A cell may be ISO 8601 (`2024-05-31T15:20:00Z`, `2024-05-31 15:20`), the same with slashes or dots, a day-first or month-first
//! date with a time of day, or a number of seconds (Unix time in seconds to nanoseconds, or seconds since the start). Which of them a
//! column is written in is decided from all its rows: a [`Reading`] keeps every layout that still fits. A time without an offset
//! is taken as if it were UTC, so that a local clock's jump in spring is a gap and its repeated hour in autumn is an error.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{Timestamp, fmt::strtime};

/// How a column of times may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `2024-05-31T15:20:00Z`, `2024/5/31 15:20`: not ambiguous.
    YearFirst,
    /// `31/05/2024 15:20`.
    DayFirst,
    /// `05/31/2024 15:20`.
    MonthFirst,
    /// A number, in so many units a second.
    Number {
        /// 1 for seconds, 1,000 for milliseconds and so on.
        per_second: u32,
    },
}

/// Below this a number of seconds counts from the start of the recording, not from 1970.
const UNIX_SECONDS_MIN: f64 = 1e8;

impl Layout {
    /// The layouts in which this cell reads as a time; a number only where `numbers` allows it.
    pub fn candidates(text: &str, numbers: bool) -> Vec<Layout> {
        if let Ok(number) = text.parse::<f64>() {
            if !numbers || !number.is_finite() {
                return Vec::new();
            }
            let per_second = match number.abs() {
                seconds if seconds < 1e11 => 1,
                milliseconds if milliseconds < 1e14 => 1_000,
                microseconds if microseconds < 1e17 => 1_000_000,
                _ => 1_000_000_000,
            };
            return vec![Layout::Number { per_second }];
        }
        [Layout::YearFirst, Layout::DayFirst, Layout::MonthFirst]
            .into_iter()
            .filter(|layout| layout.parse(text).is_some())
            .collect()
    }

    /// Milliseconds since 1970 (or since the start, for small numbers); `None` when the cell is not of this layout.
    pub fn parse(self, text: &str) -> Option<i64> {
        match self {
            Layout::Number { per_second } => {
                let number: f64 = text.parse().ok()?;
                let milliseconds = number * (1_000.0 / f64::from(per_second));
                (milliseconds.abs() < 1e16).then(|| milliseconds.round() as i64)
            }
            Layout::YearFirst => parse_iso(text).or_else(|| parse_parts(text, self)),
            Layout::DayFirst | Layout::MonthFirst => parse_parts(text, self),
        }
    }
}

fn parse_iso(text: &str) -> Option<i64> {
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let clock = text.get(10..)?;
    if clock.is_empty() {
        return text.parse::<Date>().ok().and_then(|date| at_utc(date.at(0, 0, 0, 0)));
    }
    if clock.ends_with(['Z', 'z']) || clock.contains(['+', '-']) {
        return text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    }
    if let Some(utc) = text.strip_suffix("UTC") {
        return utc.trim_end().parse::<DateTime>().ok().and_then(at_utc);
    }
    text.parse::<DateTime>().ok().and_then(at_utc)
}

fn parse_parts(text: &str, layout: Layout) -> Option<i64> {
    let (date, clock) = match text.split_once([' ', 'T']) {
        Some((date, clock)) => (date, clock.trim()),
        None => (text, ""),
    };
    let time = if clock.is_empty() { Time::midnight() } else { time_of_day(clock)? };
    at_utc(date_alone(date, layout)?.to_datetime(time))
}

/// A date without a time of day, in a layout.
fn date_alone(text: &str, layout: Layout) -> Option<Date> {
    let separator = text.chars().find(|character| !character.is_ascii_digit())?;
    let format = match (layout, separator) {
        (Layout::YearFirst, '-') => "%Y-%m-%d",
        (Layout::YearFirst, '/') => "%Y/%m/%d",
        (Layout::YearFirst, '.') => "%Y.%m.%d",
        (Layout::DayFirst, '-') => "%d-%m-%Y",
        (Layout::DayFirst, '/') => "%d/%m/%Y",
        (Layout::DayFirst, '.') => "%d.%m.%Y", // Dots are day-first everywhere.
        (Layout::MonthFirst, '-') => "%m-%d-%Y",
        (Layout::MonthFirst, '/') => "%m/%d/%Y",
        _ => return None,
    };
    // `%Y` also takes two digits, as a year of antiquity.
    let year = text.split(separator).map(str::len).max()?;
    if year != 4 {
        return None;
    }
    strtime::parse(format, text).ok()?.to_date().ok()
}

/// Whether the cell is a date without a time of day.
pub fn is_date_alone(text: &str) -> bool {
    !text.contains([' ', 'T', ':'])
        && [Layout::YearFirst, Layout::DayFirst, Layout::MonthFirst]
            .into_iter()
            .any(|layout| date_alone(text, layout).is_some())
}

/// `17:24`, `17:24:00`, `17:24:00.5`, `5:24 PM`.
pub fn time_of_day(text: &str) -> Option<Time> {
    let half_day = text.ends_with(['M', 'm']);
    let formats: [&str; 2] = if half_day { ["%I:%M:%S%.f %p", "%I:%M %p"] } else { ["%H:%M:%S%.f", "%H:%M"] };
    formats.iter().find_map(|format| strtime::parse(format, text).ok()?.to_time().ok())
}

fn at_utc(civil: DateTime) -> Option<i64> {
    Some(Offset::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

/// A time for people, as exact as needed: `2024-05-31 15:20:00`, or seconds for a recording that counts from its start.
pub fn show(milliseconds: i64) -> String {
    if is_since_start(milliseconds) {
        return format!("{} s", milliseconds as f64 / 1_000.0);
    }
    match Timestamp::from_millisecond(milliseconds) {
        Ok(timestamp) => {
            let civil = Offset::UTC.to_datetime(timestamp);
            format!("{} {}", civil.date(), civil.time())
        }
        Err(_) => format!("{milliseconds} ms"),
    }
}

/// Whether a time is so small that it counts from the start of the recording rather than from 1970.
pub fn is_since_start(milliseconds: i64) -> bool {
    (milliseconds as f64).abs() < UNIX_SECONDS_MIN * 1_000.0
}

/// A column of times while it is read: one list for each layout that every row so far fits.
pub struct Reading {
    candidates: Vec<(Layout, Vec<i64>)>,
}

impl Reading {
    /// Starts with the layouts of the first cell.
    pub fn new(first: &str, numbers: bool) -> Reading {
        Reading {
            candidates: Layout::candidates(first, numbers).into_iter().map(|layout| (layout, Vec::new())).collect(),
        }
    }

    /// Takes one more cell; `false` when no layout fits all cells up to this one.
    pub fn push(&mut self, text: &str) -> bool {
        self.candidates.retain_mut(|(layout, times)| match layout.parse(text) {
            Some(time) => {
                times.push(time);
                true
            }
            None => false,
        });
        !self.candidates.is_empty()
    }

    /// The times, if just one layout is left, or if those left agree.
    pub fn finish(mut self) -> Option<Vec<i64>> {
        let times = self.candidates.pop()?.1;
        self.candidates.iter().all(|(_, others)| *others == times).then_some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cells: &[&str]) -> Option<Vec<i64>> {
        let mut reading = Reading::new(cells[0], true);
        for cell in cells {
            assert!(reading.push(cell), "{cell}");
        }
        reading.finish()
    }

    #[test]
    fn one_moment_in_many_spellings() {
        let moment = 1_464_708_000_000; // 2016-05-31T15:20:00Z
        for text in [
            "2016-05-31T15:20:00Z",
            "2016-05-31 15:20:00",
            "2016-05-31 15:20:00.000",
            "2016-05-31 15:20",
            "2016-05-31T15:20",
            "2016-05-31 15:20:00 UTC",
            "2016-05-31T17:20:00+02:00",
            "2016-05-31 08:20:00-07:00",
            "2016/5/31 15:20",
            "31/05/2016 15:20:00",
            "31/5/2016 15:20",
            "31.05.2016 15:20",
            "05/31/2016 15:20",
            "05/31/2016 3:20 PM",
            "1464708000",
            "1464708000000",
            "1464708000.0",
        ] {
            assert_eq!(read(&[text]), Some(vec![moment]), "{text}");
        }
    }

    #[test]
    fn the_whole_column_decides_between_day_and_month() {
        assert_eq!(read(&["03/04/2020 00:00", "04/04/2020 00:00"]), None);
        assert!(read(&["03/04/2020 00:00", "13/04/2020 00:00"]).is_some());
        let mut contradiction = Reading::new("13/04/2020", false);
        assert!(contradiction.push("13/04/2020"));
        assert!(!contradiction.push("04/13/2020"));
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "abc", "12.5", "16:20", "2016-13-01 00:00", "1/1/20 0:00", "30/02/2020"] {
            assert_eq!(Layout::candidates(text, false), [], "{text}");
        }
        assert!(is_date_alone("16/12/2006"));
        assert!(!is_date_alone("16/12/2006 10:00"));
        assert_eq!(time_of_day("25:00"), None);
    }

    #[test]
    fn seconds_since_the_start_stay_small() {
        assert_eq!(read(&["0.0", "0.02", "0.04"]), Some(vec![0, 20, 40]));
        assert_eq!(show(20), "0.02 s");
    }
}
