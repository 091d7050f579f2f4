//! Anybody's own series: one model for each `--series`, trained, exported with eight-bit weights, and back-tested by the device's own
//! code over the held-out end (protocol `tail`), beside the baseline that is best in each channel, at each horizon, by each measure.
//!
//! Choosing the best baseline afterwards, on the rows it is scored on, favours the baselines: nobody knows beforehand which one to take.

mod table;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use flowcast_core::format::Numeric;
use serde::{Deserialize, Serialize};

use super::Args;
use super::cell::{self, Kept, interruption, kept_beside};
use super::published::Outcome;
use crate::backtest::{self, ChannelScores};
use crate::baseline::{self, BASELINES, Baseline};
use crate::calibration::calibrate;
use crate::data::{self, ReadOptions, Series};
use crate::forecaster;
use crate::interrupt;
use crate::metrics::{QUARTERS, Scores};
use crate::output::Output;
use crate::plural::counted;
use crate::protocol::{Protocol, TEST_FRACTION};
use crate::train::setup::{Adapt, Wishes};
use crate::train::{self, train};
pub use table::{Row, Table};

/// Origins when the user does not say: as a back-test's.
pub const ORIGINS: usize = 200;

pub(super) fn origins(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(origins) if origins > 0 => Ok(origins),
        _ => Err(format!("found `{text}`, expected a whole number above 0")),
    }
}

/// Columns of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// .csv, .csv.gz or .csv.xz.
    pub path: PathBuf,
    /// Columns to forecast, by one model.
    pub columns: Vec<String>,
}

impl FromStr for Source {
    type Err = String;

    /// `FILE:COLUMN[,COLUMN]`; a file's name may hold colons, a column's may not.
    fn from_str(text: &str) -> Result<Source, String> {
        let expected = || format!("found `{text}`, expected FILE:COLUMN or FILE:COLUMN,COLUMN");
        let (path, columns) = text.rsplit_once(':').ok_or_else(expected)?;
        let columns: Vec<String> = columns.split(',').map(str::to_owned).collect();
        if path.is_empty() || columns.iter().any(String::is_empty) {
            return Err(expected());
        }
        if let Some(column) = data::twice(&columns) {
            return Err(format!("found `{text}`, which names {column} twice, expected each column once"));
        }
        Ok(Source { path: path.into(), columns })
    }
}

/// One `--series`, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Each channel.
    pub channels: Vec<Channel>,
    /// Samples of each season that training tried.
    pub periods: Vec<u32>,
    /// Forecasts that were scored, each of all channels.
    pub origins: usize,
    /// Bytes of the model file.
    pub bytes: usize,
    /// Seconds that training and test took.
    pub seconds: f64,
}

/// A channel of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Its column.
    pub column: String,
    /// The steps up to each horizon.
    pub horizons: Vec<Group>,
    /// Share of values within the 80 % band, over every step.
    pub coverage80: Option<f64>,
    /// The same in each quarter of the held-out rows.
    pub coverage80_quarters: [Option<f64>; QUARTERS],
}

/// The steps up to a horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Steps ahead.
    pub steps: usize,
    /// How far ahead that is, in milliseconds.
    pub ahead_ms: u64,
    /// Mean absolute scaled error.
    pub mase: Option<Contest>,
    /// Weighted quantile loss.
    pub wql: Option<Contest>,
    /// Share of values within the 80 % band.
    pub coverage80: Option<f64>,
}

/// The model beside the best baseline by one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// The model's.
    pub own: f64,
    /// The baseline's.
    pub best: f64,
    /// Its name.
    pub baseline: String,
    /// How the model compares with it, at three significant digits.
    pub outcome: Outcome,
}

impl Contest {
    fn new(channel: &ChannelScores, horizon: usize, measure: impl Fn(&Scores) -> Option<f64>) -> Option<Contest> {
        let own = measure(&channel.horizons[horizon].up_to)?;
        let others = channel.baselines.iter().filter_map(|(name, scores)| {
            let error = measure(&scores.horizons[horizon].up_to)?;
            Some((name, error))
        });
        let (baseline, best) = others.min_by(|(_, left), (_, right)| left.total_cmp(right))?;
        let unit = 10_f64.powf(best.abs().max(f64::MIN_POSITIVE).log10().floor() - 2.0);
        let outcome = Outcome::in_units_of(unit, own, best);
        Some(Contest { own, best, baseline: baseline.clone(), outcome })
    }
}

impl Channel {
    fn new(column: &str, scores: &ChannelScores, interval_ms: u64) -> Channel {
        let groups = scores.horizons.iter().enumerate().map(|(index, horizon)| Group {
            steps: horizon.steps,
            ahead_ms: horizon.steps as u64 * interval_ms,
            mase: Contest::new(scores, index, |scores| scores.mase),
            wql: Contest::new(scores, index, |scores| scores.wql),
            coverage80: horizon.up_to.coverage80,
        });
        Channel {
            column: column.to_owned(),
            horizons: groups.collect(),
            coverage80: scores.overall.coverage80,
            coverage80_quarters: scores.overall.coverage80_quarters.unwrap_or_default(),
        }
    }

    /// The least and the most covered quarter.
    pub fn quarters(&self) -> Option<(f64, f64)> {
        let known = || self.coverage80_quarters.iter().flatten().copied();
        known().min_by(f64::total_cmp).zip(known().max_by(f64::total_cmp))
    }
}

impl Cell {
    /// Trains on the rows that are not held out, exports, and scores the model and the baselines from the same origins.
    ///
    /// # Errors
    /// Untrainable data, too few held-out rows, an interruption.
    fn measure(series: &Series, options: &train::Options, test: &backtest::Options, output: &Output) -> Result<Cell> {
        let start = std::time::Instant::now();
        let (model, report) = train(series, options, output)?;
        let seen = series.before(test.protocol.borders(series, 0).test);
        let bytes = calibrate(&model, &seen)?.to_flow_as(Numeric::I8)?;
        let mut forecaster = forecaster::open(&bytes)?;
        let found = backtest::score(forecaster.as_mut(), series, test, output)?;
        Ok(Cell {
            channels: found
                .channels
                .iter()
                .map(|(column, scores)| Channel::new(column, scores, found.interval_ms))
                .collect(),
            periods: report.periods,
            origins: found.origins,
            bytes: bytes.len(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

pub(super) fn measure(args: &Args, output: &Output) -> Result<Table> {
    let kept_in = args.out.as_deref().map(kept_beside);
    let mut kept: Kept<Cell> = Kept::open(kept_in.clone())?;
    let program = crate::program::name()?;
    let protocol = Protocol::Tail { test_fraction: TEST_FRACTION };
    let baselines = args.naive.then(baseline::naive);
    let mut rows = Vec::new();
    interrupt::listen();
    for source in &args.series {
        let name = source.path.file_name().unwrap_or(source.path.as_os_str()).to_string_lossy().into_owned();
        let read = ReadOptions { columns: source.columns.clone(), ..ReadOptions::default() };
        let series = protocol.read(std::slice::from_ref(&source.path), &read, output)?;
        let horizon = args.horizon.map(|steps| steps.count(series.interval_ms)).transpose();
        let horizon = horizon.map_err(|error| anyhow!("--horizon: {error}"))?;
        let options = training(args, &series, horizon);
        let test = backtest::Options {
            protocol,
            horizons: Vec::new(),
            origins: Some(args.origins),
            baselines: baselines.clone(),
        };
        let key = key(&cell::fingerprint(&series), &options, &test, &program);
        let cell = match kept.get(&key) {
            Some(cell) => cell,
            None => {
                let cell = Cell::measure(&series, &options, &test, output)
                    .with_context(|| source.path.display().to_string())
                    .with_context(|| interruption(kept_in.as_deref()))?;
                kept.insert(key, cell.clone())?;
                cell
            }
        };
        let origins = counted(cell.origins, "forecast");
        output.note(format!("{name}: {origins}, {} bytes, {:.0} s", cell.bytes, cell.seconds));
        rows.push(Row { file: name, cell });
    }
    Ok(Table::new(program, args, rows))
}

fn training(args: &Args, series: &Series, horizon: Option<usize>) -> train::Options {
    train::Options {
        wishes: Wishes {
            periods: Vec::new(),
            horizon,
            preset: args.preset,
            targets: series.columns.len(),
            known: 0,
            adapt: Adapt::Auto,
            protocol: Protocol::Tail { test_fraction: TEST_FRACTION },
        },
        epochs: args.epochs,
        ensemble: args.ensemble,
        most: None,
        seed: 1,
        device: args.device,
        checkpoint: None,
    }
}

/// Everything that shapes a cell, as one line.
fn key(data: &str, options: &train::Options, test: &backtest::Options, program: &str) -> String {
    let Wishes { horizon, preset, .. } = &options.wishes;
    format!(
        "horizon {} preset {} epochs {} ensemble {} device {:?} origins {} baselines {} data {data} program {program}",
        horizon.map_or_else(|| "auto".to_owned(), |steps| steps.to_string()),
        preset.name,
        options.epochs,
        options.ensemble,
        options.device,
        test.origins.unwrap_or(0),
        test.baselines.as_ref().map_or(BASELINES.len(), Vec::<Baseline>::len),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{finish, tests::args};
    use super::*;
    use std::fmt::Write as _;

    fn source(text: &str) -> Result<Source, String> {
        text.parse()
    }

    #[test]
    fn sources_are_files_and_columns() {
        let expected = Source { path: "C:/a b.csv".into(), columns: vec!["x (°C)".into(), "y".into()] };
        assert_eq!(source("C:/a b.csv:x (°C),y"), Ok(expected));
        for wrong in ["a.csv", ":x", "a.csv:", "a.csv:x,,y"] {
            assert_eq!(
                source(wrong).unwrap_err(),
                format!("found `{wrong}`, expected FILE:COLUMN or FILE:COLUMN,COLUMN")
            );
        }
        assert!(source("a.csv:x,y,x").unwrap_err().contains("names x twice"));
    }

    #[test]
    fn a_series_is_measured_beside_the_best_baseline_kept_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("toy.csv");
        let mut text = String::from("time,wave,steps\n");
        for row in 0..700_usize {
            let noise = ((row * 7_919) % 1_009) as f64 / 500.0;
            let wave = 20.0 + 5.0 * (row as f64 * 0.2618).sin() + noise;
            let at = format!("2024-{:02}-{:02} {:02}:00:00", 1 + row / 24 / 28, 1 + row / 24 % 28, row % 24);
            writeln!(text, "{at},{wave},{}", row / 50).unwrap();
        }
        std::fs::write(&path, text).unwrap();
        let series = vec![source(&format!("{}:wave,steps", path.display())).unwrap()];
        let args = Args { folder: None, series, naive: true, origins: 20, ..args(folder.path()) };
        let output = Output::keeping();
        let table = measure(&args, &output).unwrap();
        finish(&args, &output, &table, Table::text).unwrap();
        let kept = output.kept().unwrap();
        let wave = &table.rows[0].cell.channels[0];
        assert_eq!(wave.horizons.iter().map(|group| group.steps).collect::<Vec<_>>(), [1, 6, 24]);
        let day = wave.horizons[2].mase.as_ref().unwrap();
        assert_eq!((day.baseline.as_str(), day.outcome), ("seasonal_naive", Outcome::Win));
        // The season's own noise, averaged, is less than twice the noise.
        assert!(day.own < 0.9 * day.best, "{day:?}");
        assert_eq!((table.mase.of, table.covered.of), (6, 2));
        assert_eq!(kept.json["rows"][0]["channels"][0]["horizons"][2]["mase"]["baseline"], "seasonal_naive");
        assert!(kept.human.contains("toy.csv: ") && kept.human.contains("better than every baseline: MASE "));

        // The finished cell is taken from the file; other origins are another cell.
        let cells = kept_beside(args.out.as_deref().unwrap());
        let text = std::fs::read_to_string(&cells).unwrap();
        let mut stored: serde_json::Value = serde_json::from_str(&text).unwrap();
        stored.as_object_mut().unwrap().values_mut().next().unwrap()["bytes"] = 7.into();
        std::fs::write(&cells, stored.to_string()).unwrap();
        assert_eq!(measure(&args, &output).unwrap().rows[0].cell.bytes, 7);
        let fewer = Args { origins: 10, ..args };
        assert!(measure(&fewer, &output).unwrap().rows[0].cell.bytes > 1_000);
    }
}
