//! Which rows train, choose and test: the one place that training and back-test ask.
//!
//! | protocol | trains | chooses | is held out |
//! |---|---|---|---|
//! | `tail` | the rows before | the last 15 % of what is not held out | the last `--test-fraction` of the rows |
//! | `ett`, 17,420 hourly rows | 8,640 rows | 2,880 | 2,880, and the rest is unused |
//! | `ett`, 69,680 rows of 15 minutes | 34,560 rows | 11,520 | 11,520, and the rest is unused |
//! | `ett`, any other data | int(0.7 n) rows | the rows between | the last int(0.2 n) |
//!
//! `ett` is the protocol of the literature on long-term forecasting (Zhou et al., "Informer", AAAI 2021; its code lives on in
//! Time-Series-Library, `data_provider/data_loader.py`, whose borders and roundings these are). There, besides: every value is
//! standardised with the training rows' mean and (population) deviation; a model is scored at a horizon of H steps on every window
//! (stride 1) whose H steps all lie in the held-out rows, while what it looks back on may lie before them; MSE and MAE are means over
//! windows, steps and channels; rows are taken as evenly spaced, and no value is cleaned. A streaming model looks back on everything
//! from row 0.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::data::{DataError, ReadOptions, Series};
use crate::output::Output;
use crate::ridge::Aim;

/// The share that `tail` holds out when the user does not say.
pub const TEST_FRACTION: f64 = 0.2;
/// Share of the rows before the held-out end that choose between models, in `tail`.
const VALIDATION_FRACTION: f64 = 0.15;
/// Horizons of the literature.
pub const ETT_HORIZONS: [usize; 4] = [96, 192, 336, 720];

const HOUR_MS: u64 = 3_600_000;
/// Training, validation and test of an hourly ETT file: twelve, four and four months of 30 days.
const ETT_MONTHS: [usize; 3] = [12 * 30 * 24, 4 * 30 * 24, 4 * 30 * 24];
/// Rows of an hourly ETT file.
const ETT_ROWS: usize = 17_420;

/// A protocol's name on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Hold out the end of the rows; errors in the channels' units
    #[default]
    Tail,
    /// The literature's split, windows and standardised errors (Time-Series-Library)
    Ett,
}

/// The part of the rows that is held out: from 0 to below 1.
///
/// # Errors
/// The text is no such number.
pub fn fraction(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|fraction| (0.0..1.0).contains(fraction))
        .ok_or_else(|| format!("found {text:?}, expected a number from 0 to below 1"))
}

/// The same, of a command that measures on what is held out.
///
/// # Errors
/// The text is no such number, or 0.
pub fn measured_fraction(text: &str) -> Result<f64, String> {
    match fraction(text)? {
        0.0 => Err(format!("found {text:?}, expected more than 0: errors are measured on the rows that are held out")),
        some => Ok(some),
    }
}

/// How rows are divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    /// The end is held out.
    Tail {
        /// Its share of the rows, in 0..1.
        test_fraction: f64,
    },
    /// The literature's; see the module.
    Ett,
}

/// Rows up to `validation` train, from there to `test` they choose, from there to `end` they are held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borders {
    /// The first row that chooses.
    pub validation: usize,
    /// The first row that is held out.
    pub test: usize,
    /// The row after the last that is held out.
    pub end: usize,
}

impl Protocol {
    /// What its measure wants: the literature's is the squared error.
    pub fn aim(self) -> Aim {
        match self {
            Self::Tail { .. } => Aim::Median,
            Self::Ett => Aim::Mean,
        }
    }

    /// From the command line's words.
    ///
    /// # Errors
    /// A fraction beside a protocol that sets its own.
    pub fn new(name: Name, test_fraction: Option<f64>) -> Result<Protocol> {
        match (name, test_fraction) {
            (Name::Tail, fraction) => Ok(Protocol::Tail { test_fraction: fraction.unwrap_or(TEST_FRACTION) }),
            (Name::Ett, None) => Ok(Protocol::Ett),
            (Name::Ett, Some(_)) => {
                bail!(
                    "found --test-fraction with --protocol ett, expected one of them: that protocol sets the held-out rows"
                )
            }
        }
    }

    /// Its name.
    pub fn name(self) -> Name {
        match self {
            Protocol::Tail { .. } => Name::Tail,
            Protocol::Ett => Name::Ett,
        }
    }

    /// Reads data as the protocol takes them: on the grid of their times, or with `ett` row after row.
    ///
    /// # Errors
    /// As [`Series::read`].
    pub fn read(self, paths: &[PathBuf], options: &ReadOptions, output: &Output) -> Result<Series, DataError> {
        match self {
            Protocol::Tail { .. } => {
                let (series, notes) = Series::read_noting(paths, options)?;
                output.remarks(notes);
                Ok(series)
            }
            Protocol::Ett => Series::read_even(paths, options),
        }
    }

    /// Divides the rows of a series; `tail` leaves at least `least_validation` of them to choose, if there are so many.
    pub fn borders(self, series: &Series, least_validation: usize) -> Borders {
        self.borders_of(series.rows(), series.interval_ms, least_validation)
    }

    /// The rows that a series needs in all for its borders to be `enough`; `None` where no number is.
    pub fn least_rows(
        self,
        interval_ms: u64,
        least_validation: usize,
        enough: impl Fn(&Borders) -> bool,
    ) -> Option<usize> {
        const MOST: usize = 1 << 40;
        let fits = |rows: usize| enough(&self.borders_of(rows, interval_ms, least_validation));
        let (mut few, mut many) = (0, 1);
        while !fits(many) {
            (few, many) = (many, many * 2);
            if many > MOST {
                return None;
            }
        }
        // No part shrinks as rows come (but for the rows of an ETT file, which no error is about).
        while many - few > 1 {
            let middle = few.midpoint(many);
            if fits(middle) { many = middle } else { few = middle }
        }
        Some(many)
    }

    fn borders_of(self, rows: usize, interval_ms: u64, least_validation: usize) -> Borders {
        match self {
            Protocol::Tail { test_fraction } => {
                let test = Series::test_start_of(rows, test_fraction);
                let chosen = ((test as f64 * VALIDATION_FRACTION).round() as usize).max(least_validation);
                Borders { validation: test.saturating_sub(chosen), test, end: rows }
            }
            Protocol::Ett => ett_borders(rows, interval_ms),
        }
    }

    /// The row after the last one that normalisation is read from.
    pub fn normalised_rows(self, borders: &Borders) -> usize {
        match self {
            Protocol::Tail { .. } => borders.test,
            Protocol::Ett => borders.validation,
        }
    }
}

fn ett_borders(rows: usize, interval_ms: u64) -> Borders {
    for samples_an_hour in [1, 4] {
        if rows == ETT_ROWS * samples_an_hour && interval_ms == HOUR_MS / samples_an_hour as u64 {
            let [training, validation, test] = ETT_MONTHS.map(|rows| rows * samples_an_hour);
            return Borders { validation: training, test: training + validation, end: training + validation + test };
        }
    }
    // `int(n * 0.7)`, in double precision like the original.
    let share = |share: f64| (rows as f64 * share) as usize;
    Borders { validation: share(0.7), test: rows - share(0.2), end: rows }
}

/// The deviation of the values that are there, as scikit-learn's `StandardScaler` has it: of the population, and 1 where it is 0.
pub fn deviation(training: &[f32]) -> f64 {
    let present = || training.iter().filter(|value| !value.is_nan()).map(|&value| f64::from(value));
    let count = present().count() as f64;
    let mean = present().sum::<f64>() / count;
    let deviation = (present().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    if deviation > 0.0 { deviation } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(rows: usize, interval_ms: u64) -> Series {
        Series { columns: vec!["a".into()], interval_ms, start: None, values: vec![vec![0.0; rows]] }
    }

    #[test]
    fn the_literatures_borders() {
        let borders = |rows, interval_ms| {
            let Borders { validation, test, end } = Protocol::Ett.borders(&series(rows, interval_ms), 10_000);
            (validation, test - validation, end - test, end)
        };
        let minute = 60_000;
        assert_eq!(borders(17_420, 60 * minute), (8_640, 2_880, 2_880, 14_400));
        assert_eq!(borders(69_680, 15 * minute), (34_560, 11_520, 11_520, 57_600));
        assert_eq!(borders(52_696, 10 * minute), (36_887, 5_270, 10_539, 52_696));
        assert_eq!(borders(7_588, 1_440 * minute), (5_311, 760, 1_517, 7_588));
        // Another interval makes it another data set.
        assert_eq!(borders(17_420, 30 * minute), (12_194, 1_742, 3_484, 17_420));
    }

    #[test]
    fn the_tail_leaves_enough_to_choose_with() {
        let tail = Protocol::Tail { test_fraction: 0.2 };
        assert_eq!(tail.borders(&series(1_000, 1), 0), Borders { validation: 680, test: 800, end: 1_000 });
        assert_eq!(tail.borders(&series(1_000, 1), 200), Borders { validation: 600, test: 800, end: 1_000 });
        assert_eq!(tail.borders(&series(10, 1), 200).validation, 0);
    }

    #[test]
    fn the_rows_needed_are_the_fewest_that_do() {
        for protocol in [Protocol::Tail { test_fraction: 0.2 }, Protocol::Tail { test_fraction: 0.0 }, Protocol::Ett] {
            let enough = |rows: usize| {
                let borders = protocol.borders(&series(rows, 60_000), 40);
                borders.validation >= 120 && borders.test - borders.validation >= 40
            };
            let needed = protocol
                .least_rows(60_000, 40, |borders| borders.validation >= 120 && borders.test - borders.validation >= 40);
            assert_eq!(needed, (1..10_000).find(|rows| enough(*rows)), "{protocol:?}");
        }
        let never = Protocol::Tail { test_fraction: 0.0 }.least_rows(1, 0, |borders| borders.end > borders.test);
        assert_eq!(never, None);
    }

    #[test]
    fn deviations_are_the_populations() {
        assert_eq!(deviation(&[1.0, f32::NAN, 3.0]), 1.0);
        assert_eq!(deviation(&[0.0, 0.0, 6.0, 6.0]), 3.0);
        assert_eq!(deviation(&[5.0, 5.0]), 1.0);
        assert_eq!(deviation(&[]), 1.0);
    }

    #[test]
    fn only_what_measures_needs_held_out_rows() {
        for (text, value) in [("0", 0.0), ("0.2", 0.2), ("0.99", 0.99)] {
            assert_eq!(fraction(text), Ok(value));
            assert_eq!(measured_fraction(text).is_ok(), value > 0.0, "{text}");
        }
        for text in ["-0", "0.0"] {
            assert!(measured_fraction(text).unwrap_err().contains("errors are measured on"), "{text}");
        }
        for wrong in ["1", "-0.1", "nan", "inf", "20%", ""] {
            let said = format!("found {wrong:?}, expected a number from 0 to below 1");
            assert_eq!([fraction(wrong), measured_fraction(wrong)], [Err(said.clone()), Err(said)]);
        }
    }

    #[test]
    fn a_protocol_and_a_fraction_do_not_mix() {
        assert_eq!(Protocol::new(Name::Tail, None).unwrap(), Protocol::Tail { test_fraction: 0.2 });
        assert_eq!(Protocol::new(Name::Ett, None).unwrap(), Protocol::Ett);
        assert!(Protocol::new(Name::Ett, Some(0.3)).unwrap_err().to_string().contains("--test-fraction"));
    }
}
