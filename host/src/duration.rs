//! Lengths of time on the command line: `10min`, `1h`, `1d`, `90s`, `1h 30min`, `PT1H`, or a plain number of steps.
//!
//! The grammar is jiff's "friendly" one and ISO 8601's; a day is always 24 hours. Months and years have no fixed length and
//! are refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{Span, SpanRelativeTo};

/// A duration such as `10min`, `1h`, `1d`, `90s` or `PT1H`.
///
/// # Errors
/// One sentence with what was found and what was expected; zero and negative durations are refused.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(flowcast::duration::parse_duration("10min"), Ok(Duration::from_secs(600)));
/// assert!(flowcast::duration::parse_duration("ten").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("found `{text}`, expected a duration such as 90s, 10min, 1h or 1d");
    let span: Span = text.trim().parse().map_err(|_| expected())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    match Duration::try_from(signed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(expected()),
    }
}

/// The least samples of a season.
pub const LEAST_PERIOD: u32 = 2;
/// The most steps ahead that a model file holds.
pub const MOST_HORIZON: usize = flowcast_core::format::MAX_HORIZON as usize;

/// A number of sampling intervals, given as such (`144`) or as a duration (`1d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// So many sampling intervals.
    Count(usize),
    /// A length of time, to be divided by the sampling interval.
    Time(Duration),
}

impl Steps {
    /// The number of steps at this sampling interval (in milliseconds), at least one.
    ///
    /// # Errors
    /// When a duration is no whole number of intervals: both are named.
    pub fn count(self, interval_ms: u64) -> Result<usize, String> {
        match self {
            Steps::Count(steps) => Ok(steps),
            Steps::Time(duration) => {
                let wanted_ms = duration.as_millis();
                let interval = u128::from(interval_ms.max(1));
                if wanted_ms == 0 || wanted_ms % interval != 0 {
                    return Err(format!(
                        "found {}, expected a multiple of the sampling interval, {}",
                        show_ms(wanted_ms as u64),
                        show_ms(interval_ms)
                    ));
                }
                usize::try_from(wanted_ms / interval).map_err(|_| format!("found {self}, which is too long"))
            }
        }
    }
}

impl Steps {
    /// As [`Steps::count`], of an option of the command line, which an error names.
    ///
    /// # Errors
    /// As [`Steps::count`].
    pub fn of_option(self, name: &str, interval_ms: u64) -> anyhow::Result<usize> {
        self.count(interval_ms).map_err(|error| anyhow::anyhow!("--{name}: {error}"))
    }

    /// The seasons that `--period` names, in samples.
    ///
    /// # Errors
    /// As [`Steps::count`], or one is longer than 2³² samples.
    pub fn periods(periods: &[Self], interval_ms: u64) -> anyhow::Result<Vec<u32>> {
        let samples = |period: &Self| {
            let samples = period.of_option("period", interval_ms)?;
            u32::try_from(samples).context("--period is too long")
        };
        periods.iter().map(samples).collect()
    }
}

impl FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(steps) = text.parse::<usize>()
        {
            return if steps == 0 {
                Err("found 0, expected at least one step".to_owned())
            } else {
                Ok(Steps::Count(steps))
            };
        }
        parse_duration(text).map(Steps::Time).map_err(|_| {
            format!("found `{text}`, expected a number of steps or a duration such as 90s, 10min, 1h or 1d")
        })
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steps::Count(steps) => write!(formatter, "{steps}"),
            Steps::Time(duration) => formatter.write_str(&show_ms(duration.as_millis() as u64)),
        }
    }
}

/// [`Steps`] of a season.
///
/// # Errors
/// No steps, or a season that is no season; of a duration, only the data tell.
pub fn season(text: &str) -> Result<Steps, String> {
    match text.parse()? {
        Steps::Count(steps) if steps < LEAST_PERIOD as usize => {
            Err(format!("found {steps} sample, expected at least {LEAST_PERIOD}"))
        }
        steps => Ok(steps),
    }
}

/// [`Steps`] of a horizon.
///
/// # Errors
/// No steps, or too many; of a duration, only the data tell.
pub fn horizon(text: &str) -> Result<Steps, String> {
    match text.parse()? {
        Steps::Count(steps) if steps > MOST_HORIZON => {
            Err(format!("found {steps} steps, expected at most {MOST_HORIZON}"))
        }
        steps => Ok(steps),
    }
}

/// Milliseconds in the largest units that lose nothing: `10 min`, `1 h`, `1 d`, `1 h 30 min`, `20 ms`.
///
/// ```
/// assert_eq!(flowcast::duration::show_ms(5_400_000), "1 h 30 min");
/// ```
pub fn show_ms(milliseconds: u64) -> String {
    let mut rest = milliseconds;
    let mut parts = Vec::new();
    for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")] {
        if rest >= unit_ms {
            parts.push(format!("{} {unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_people_type() {
        for (text, seconds) in [
            ("90s", 90),
            ("10min", 600),
            ("10 min", 600),
            ("10m", 600),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("1d", 86_400),
            ("7 days", 604_800),
            ("1w", 604_800),
            ("PT1H", 3_600),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0s", "-1h", "1 month", "1 fortnight", "10"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn steps_are_counts_or_whole_multiples() {
        let ten_minutes = 600_000;
        assert_eq!("144".parse::<Steps>().unwrap().count(ten_minutes), Ok(144));
        assert_eq!("1d".parse::<Steps>().unwrap().count(ten_minutes), Ok(144));
        let error = "15min".parse::<Steps>().unwrap().count(ten_minutes).unwrap_err();
        assert_eq!(error, "found 15 min, expected a multiple of the sampling interval, 10 min");
        assert!("0".parse::<Steps>().is_err());
        assert!("soon".parse::<Steps>().is_err());
    }
}
