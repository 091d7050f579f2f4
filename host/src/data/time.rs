//! Times as they stand in files, to milliseconds since 1970-01-01.
//!
//! A cell may be ISO 8601 (`2024-05-31T15:20:00Z`, `2024-05-31 15:20`), the same with slashes or dots, a day-first or month-first
//! date with a time of day, its digits alone (`202405311520`), a number (Unix time in seconds to nanoseconds, or since the start in the
//! unit that the header names, or in seconds), or a number of days as spreadsheets and MATLAB count them. Which of them a column is
//! written in is decided from all its rows: a [`Reading`] keeps every layout that still fits. A time without an offset
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
    /// A number, in a unit of so many nanoseconds.
    Number {
        /// 1,000,000,000 for seconds, 1,000,000 for milliseconds and so on.
        unit_ns: u64,
    },
    /// `20240531`, `2024053115`, `202405311520`, `20240531152000`.
    Digits,
    /// `45443.638889`: days since 1899-12-30, as spreadsheets count them.
    SheetDays,
    /// `739403.638889`: days since the year 0, as MATLAB counts them.
    MatlabDays,
}

/// 1970-01-01 in a spreadsheet and in MATLAB,
const SHEET_EPOCH: f64 = 25_569.0;
const MATLAB_EPOCH: f64 = 719_529.0;
/// ... the days from there on that can be told from other numbers, 1954 to 2119,
const DAYS: std::ops::Range<f64> = -5_569.0..54_431.0;
/// ... and, where every time is a midnight, 2000 to 2064, of which two lie within a week: seconds may count so far too.
const WHOLE_DAYS: std::ops::Range<i64> = 10_957..34_431;
const DAY_S: f64 = 86_400.0;
/// A number of days that is no whole one has so many decimals: half a second, or a tenth, has fewer.
const LEAST_DECIMALS: usize = 4;
/// ... and is no multiple of this part of a day, but may be one of a second.
const BINARY: f64 = 1.0 / 64.0;
const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;
/// Below this a number of seconds counts from the start of the recording, not from 1970.
const UNIX_SECONDS_MIN: f64 = 1e8;

impl Layout {
    /// The layouts in which this cell reads as a time; a number only where `numbers` allows it.
    pub fn candidates(text: &str, numbers: bool) -> Vec<Layout> {
        if let Some(number) = number(text) {
            if !numbers || !number.is_finite() {
                return Vec::new();
            }
            let unit_ns = match number.abs() {
                seconds if seconds < 1e11 => SECOND_NS,
                milliseconds if milliseconds < 1e14 => 1_000_000,
                microseconds if microseconds < 1e17 => 1_000,
                _ => 1,
            };
            let other = [Layout::SheetDays, Layout::MatlabDays, Layout::Digits];
            let other = other.into_iter().filter(|layout| layout.parse(text).is_some());
            return std::iter::once(Layout::Number { unit_ns }).chain(other).collect();
        }
        [Layout::YearFirst, Layout::DayFirst, Layout::MonthFirst]
            .into_iter()
            .filter(|layout| layout.parse(text).is_some())
            .collect()
    }

    /// Milliseconds since 1970 (or since the start, for small numbers); `None` when the cell is not of this layout.
    pub fn parse(self, text: &str) -> Option<i64> {
        match self {
            Layout::Number { unit_ns } => {
                let milliseconds = number(text)? * (unit_ns as f64 / 1e6);
                (milliseconds.abs() < 1e16).then(|| milliseconds.round() as i64)
            }
            Layout::YearFirst => parse_iso(text).or_else(|| parse_parts(text, self)),
            Layout::DayFirst | Layout::MonthFirst => parse_parts(text, self),
            Layout::Digits => parse_digits(text),
            Layout::SheetDays => parse_days(text, SHEET_EPOCH),
            Layout::MatlabDays => parse_days(text, MATLAB_EPOCH),
        }
    }

    /// Whether times are days counted from some origin.
    pub fn is_days(self) -> bool {
        matches!(self, Layout::SheetDays | Layout::MatlabDays)
    }
}

/// A number; spreadsheets may write its decimals after a comma.
fn number(text: &str) -> Option<f64> {
    text.replacen(',', ".", 1).parse().ok()
}

/// The unit that a column's name tells, in nanoseconds: `time [ms]`, `t (s)`, `uptime_s`.
pub fn unit_of(name: &str) -> Option<u64> {
    let name = name.trim().to_lowercase();
    let bracketed = name.strip_suffix([')', ']']).and_then(|name| name.rsplit_once(['(', '['])).map(|(_, unit)| unit);
    let unit = bracketed.or_else(|| name.rsplit_once('_').map(|(_, unit)| unit))?.trim();
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND_NS,
        "min" | "mins" | "minute" | "minutes" => 60 * SECOND_NS,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * SECOND_NS,
        "d" | "day" | "days" => DAY_NS,
        _ => return None,
    })
}

/// A date's and a clock's digits, from the century to the hour, the minute or the second; the hour may be the 24th.
fn parse_digits(text: &str) -> Option<i64> {
    // As a table of numbers writes them.
    let text = text.strip_suffix(".0").unwrap_or(text);
    if !matches!(text.len(), 8 | 10 | 12 | 14) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let pair = |place: usize| text.get(place..place + 2).map_or(Some(0), |digits| digits.parse::<i8>().ok());
    let year = text[..4].parse::<i16>().ok().filter(|year| (1_900..2_200).contains(year))?;
    let date = Date::new(year, pair(4)?, pair(6)?).ok()?;
    match (pair(8)?, pair(10)?, pair(12)?) {
        (24, 0, 0) => at_utc(date.tomorrow().ok()?.at(0, 0, 0, 0)),
        (hour, minute, second) => at_utc(date.to_datetime(Time::new(hour, minute, second, 0).ok()?)),
    }
}

/// A number of days. Its last digit says how exact it is: `.0417` is one o'clock.
fn parse_days(text: &str, epoch: f64) -> Option<i64> {
    let days = number(text)? - epoch;
    if !DAYS.contains(&days) || !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',')) {
        return None;
    }
    let digits = decimals(text);
    // Half of the last digit; some lack their last zeros.
    let exact = 0.5 * DAY_S * 0.1_f64.powi(digits.min(12) as i32);
    let unit = [(0.5, 1.0), (30.0, 60.0), (300.0, 600.0)].into_iter().find(|(least, _)| exact < *least);
    let unit = unit.map_or(3_600.0, |(_, unit)| unit);
    let seconds = (days * DAY_S / unit).round() * unit;
    ((seconds - days * DAY_S).abs() <= exact + 1e-3).then_some(seconds as i64 * 1_000)
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

/// Digits after a number's point or comma.
fn decimals(text: &str) -> usize {
    text.split_once(['.', ',']).map_or(0, |(_, digits)| digits.len())
}

/// Whether no number of seconds in steps of a clock has this text: it has the decimals of a time of day in days.
fn is_part_of_a_day(text: &str) -> bool {
    let parts = number(text).map_or(0.0, |number| number.fract() / BINARY);
    decimals(text.trim_end_matches('0')) >= LEAST_DECIMALS && (parts - parts.round()).abs() > 1e-3
}

/// A column of times while it is read: one list for each layout that every row so far fits.
pub struct Reading {
    candidates: Vec<(Layout, Vec<i64>)>,
    /// Whether a cell was a part of a day.
    parts_of_days: bool,
}

impl Reading {
    /// Starts with the layouts of the first cell of a column whose name may tell a unit.
    pub fn new(first: &str, name: &str) -> Reading {
        let mut layouts = Layout::candidates(first, true);
        if let Some(unit) = unit_of(name) {
            // Only days are days; and whatever the name says, such large numbers are Unix time.
            layouts.retain(|layout| !layout.is_days() || unit == DAY_NS);
            for layout in &mut layouts {
                if *layout == (Layout::Number { unit_ns: SECOND_NS }) {
                    *layout = Layout::Number { unit_ns: unit };
                }
            }
        }
        let candidates = layouts.into_iter().map(|layout| (layout, Vec::new())).collect();
        Reading { candidates, parts_of_days: false }
    }

    /// Takes one more cell; `false` when no layout fits all cells up to this one.
    pub fn push(&mut self, text: &str) -> bool {
        self.parts_of_days |= is_part_of_a_day(text);
        self.candidates.retain_mut(|(layout, times)| match layout.parse(text) {
            Some(time) => {
                times.push(time);
                true
            }
            None => false,
        });
        !self.candidates.is_empty()
    }

    /// The layout and the times, if just one is left, or if those left agree.
    pub fn finish(mut self) -> Option<(Layout, Vec<i64>)> {
        // Numbers are whatever else they can be: nobody's seconds are a date and an hour in every row.
        let parts_of_days = self.parts_of_days;
        self.candidates.retain(|(layout, times)| !layout.is_days() || parts_of_days || are_whole_days(times));
        if self.candidates.iter().any(|(layout, _)| *layout == Layout::Digits || layout.is_days()) {
            self.candidates.retain(|(layout, _)| !matches!(layout, Layout::Number { .. }));
        }
        let (layout, times) = self.candidates.pop()?;
        self.candidates.iter().all(|(_, others)| *others == times).then_some((layout, times))
    }
}

/// Whether whole numbers that could be days are.
fn are_whole_days(times: &[i64]) -> bool {
    const DAY_MS: i64 = DAY_S as i64 * 1_000;
    let near = || times.windows(2).any(|pair| (pair[1] - pair[0]).abs() <= 7 * DAY_MS);
    let is_midnight = |time: &i64| time % DAY_MS == 0 && WHOLE_DAYS.contains(&(time / DAY_MS));
    times.iter().all(is_midnight) && (times.len() < 2 || near())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cells: &[&str]) -> Option<Vec<i64>> {
        read_of("time", cells)
    }

    fn read_of(name: &str, cells: &[&str]) -> Option<Vec<i64>> {
        let mut reading = Reading::new(cells[0], name);
        for cell in cells {
            assert!(reading.push(cell), "{cell}");
        }
        reading.finish().map(|(_, times)| times)
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
            "201605311520",
            "20160531152000",
            "42521.638889",
            "42521.63888888889",
            "736481.6388888889",
        ] {
            assert_eq!(read(&[text]), Some(vec![moment]), "{text}");
        }
    }

    #[test]
    fn the_whole_column_decides_between_day_and_month() {
        assert_eq!(read(&["03/04/2020 00:00", "04/04/2020 00:00"]), None);
        assert!(read(&["03/04/2020 00:00", "13/04/2020 00:00"]).is_some());
        let mut contradiction = Reading::new("13/04/2020", "time");
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
    fn digits_and_days_are_told_from_seconds_by_the_whole_column() {
        let hours = |times: Vec<i64>| times.iter().map(|time| (time - times[0]) / 3_600_000).collect::<Vec<_>>();
        for column in [
            ["45292", "45292.041667", "45292.0833333333"],
            ["45292.0", "45292.0417", "45292.0833"],
            ["738000.000000", "738000.041667", "738000.083333"],
            ["2021010100", "2021010101", "2021010102"],
            ["202101010000", "202101010100", "202101010200"],
        ] {
            assert_eq!(read(&column).map(hours), Some(vec![0, 1, 2]), "{column:?}");
        }
        for column in [["45292", "45293", "45295"], ["20210130", "20210131", "20210202"]] {
            assert_eq!(read(&column).map(hours), Some(vec![0, 24, 72]), "{column:?}");
        }
        // Seconds that began elsewhere, in steps of no clock, or far from now.
        for column in [
            ["17.5", "45292", "45293"],
            ["45292.001", "45292.002", "45292.003"],
            ["30000", "30001", "30003"],
            ["40000", "40060", "40120"],
            ["45000.0", "45000.5", "45001.0"],
            ["45000.00", "45000.25", "45000.50"],
            ["45000.0000", "45000.0625", "45000.1250"],
            ["45000.0", "45000.1", "45000.2"],
            ["719600.0", "719600.5", "719601.0"],
        ] {
            assert!(read(&column).is_some_and(|times| times[2] - times[1] <= 60_000), "{column:?}");
        }
        assert_eq!(
            read(&["20210101", "20210199", "20210203"]),
            Some(vec![20_210_101_000, 20_210_199_000, 20_210_203_000])
        );
    }

    #[test]
    fn a_header_tells_the_unit() {
        for (name, cells, step_ms) in [
            ("time [ms]", ["0", "500", "1000"], 500),
            ("timestamp (us)", ["0", "1000", "2000"], 1),
            ("time (min)", ["0", "15", "30"], 900_000),
            ("time [h]", ["0", "1", "2"], 3_600_000),
            ("time [d]", ["0", "0.5", "1"], 43_200_000),
            ("time (s)", ["45000", "45001", "45002"], 1_000),
            ("uptime_s", ["45000.0", "45000.5", "45001.0"], 500),
            ("time (UTC)", ["0", "1", "2"], 1_000),
            ("time [ms]", ["1464708000000", "1464708000500", "1464708001000"], 500),
            ("time (s)", ["1464708000000", "1464708000500", "1464708001000"], 500),
            ("date (d)", ["45292.041667", "45292.083333", "45292.125"], 3_600_000),
            ("Zeit", ["45292,041667", "45292,083333", "45292,125"], 3_600_000),
            ("t", ["0,5", "1", "1,5"], 500),
        ] {
            let steps = read_of(name, &cells).map(|times| (times[1] - times[0], times[2] - times[1]));
            assert_eq!(steps, Some((step_ms, step_ms)), "{name}");
        }
    }

    #[test]
    fn the_24th_hour_is_the_next_days_first() {
        let hours = read(&["2024053123", "2024053124", "2024060101"]).unwrap();
        assert_eq!((hours[1] - hours[0], hours[2] - hours[1]), (3_600_000, 3_600_000));
        assert_eq!(read(&["202405312400"]), read(&["202406010000"]));
        assert_eq!(read(&["20240531.0", "20240601.0"]), read(&["20240531", "20240601"]));
    }

    #[test]
    fn seconds_since_the_start_stay_small() {
        assert_eq!(read(&["0.0", "0.02", "0.04"]), Some(vec![0, 20, 40]));
        assert_eq!(show(20), "0.02 s");
    }
}
