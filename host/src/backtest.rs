//! Rolling-origin back-test: what the device would have forecast over the held-out end of a series, by the device's own code.
//!
//! The model streams every row from the first, and is asked for a forecast at the origins: so no forecast can know what comes after
//! it, by construction. An origin is a row; the forecast made there has seen all rows before it and starts with it. Origins are evenly
//! spaced over the held-out end by a stride that has no common divisor with the period, so that every phase of the season has its turn,
//! and every baseline is scored on the same ones. With `--protocol ett` every held-out row is an origin ([`crate::protocol`]).

mod plan;
mod result;
mod rivals;
mod rolling;
pub mod seen;
mod table;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::Header;

use crate::baseline::{self, Baseline};
use crate::data::Series;
use crate::duration::{Steps, show_ms};
use crate::file::{ending_in, refuse_overwriting, refuse_unwritable, write_atomic};
use crate::forecaster;
use crate::measurements::Measurements;
use crate::output::Output;
use crate::protocol::{self, Protocol};

use plan::Plan;
pub use plan::default_horizons;
pub use result::{BacktestReport, ChannelScores, HorizonScores, MethodScores};
pub use rolling::Example;
pub use table::show;

/// The model's name among the methods.
pub const MODEL: &str = "flowcast";

/// Back-test a model with the device's own code, against honest baselines
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL.flow")]
    pub model: PathBuf,
    /// What is read
    #[command(flatten)]
    pub measurements: Measurements,
    /// How rows are held out, and errors scaled
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub protocol: protocol::Name,
    /// The part of the rows, at their end, that is held out [default: 0.2]
    #[arg(long, value_name = "FRACTION", value_parser = protocol::measured_fraction)]
    pub test_fraction: Option<f64>,
    /// Horizons to report, as durations or steps [default: 1h,6h,1d; with the protocol ett 96,192,336,720; within the model's horizon]
    #[arg(long, value_delimiter = ',', value_name = "N|DURATION")]
    pub horizons: Vec<Steps>,
    /// At most this many origins [default: 200]; the protocol ett takes every one
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub origins: Option<usize>,
    /// Compare with naive forecasts only: fitting ETS and MSTL at each origin takes most of the time
    #[arg(long)]
    pub naive: bool,
    /// Write the report, one self-contained HTML file
    #[arg(long, value_name = "FILE.html", value_parser = |text: &str| ending_in("html", text))]
    pub report: Option<PathBuf>,
    /// Write the report's figures as PNG files
    #[arg(long, value_name = "FOLDER")]
    pub figures: Option<PathBuf>,
    /// Write a picture of some forecasts beside what came
    #[arg(long, value_name = "FILE.svg", value_parser = |text: &str| ending_in("svg", text))]
    pub figure: Option<PathBuf>,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("found `{text}`, expected a whole number above 0")),
    }
}

/// How to back-test.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which rows are held out, and what errors are divided by.
    pub protocol: Protocol,
    /// Horizons to report, in steps; empty = [`default_horizons`], or the literature's.
    pub horizons: Vec<usize>,
    /// At most this many origins; `None` = the protocol's.
    pub origins: Option<usize>,
    /// Which baselines to compare with, as far as the data have their seasons; `None` = the protocol's.
    pub baselines: Option<Vec<Baseline>>,
}

impl Default for Options {
    fn default() -> Options {
        let protocol = Protocol::Tail { test_fraction: protocol::TEST_FRACTION };
        Options { protocol, horizons: Vec::new(), origins: None, baselines: None }
    }
}

/// Runs the command.
///
/// # Errors
/// Unreadable model or data, a channel that the data lacks, another sampling interval, too few rows.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let inputs = [std::slice::from_ref(&args.model), args.measurements.data.as_slice()].concat();
    for output in args.report.iter().chain(&args.figure) {
        refuse_overwriting(&inputs, output)?;
        refuse_unwritable(output)?;
    }
    if let Some(folder) = &args.figures
        && folder.exists()
        && !folder.is_dir()
    {
        bail!("--figures {}: found a file, expected a folder", folder.display());
    }
    if args.protocol == protocol::Name::Ett && args.origins.is_some() {
        let said = "found --origins with --protocol ett, expected one of them: that protocol scores every window\n";
        return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, said).into());
    }
    let protocol = Protocol::new(args.protocol, args.test_fraction)?;
    let bytes = forecaster::read(&args.model)?;
    let mut model = forecaster::open(&bytes).with_context(|| args.model.display().to_string())?;
    let names = channel_names(model.header(), &bytes);
    let read = args.measurements.options(names);
    let series = protocol
        .read(&args.measurements.data, &read, output)
        .with_context(|| format!("{} wants the columns {}", args.model.display(), read.columns.join(", ")))?;
    check_interval(model.header(), &series)?;
    let review = series.review_for(model.header(), &bytes);
    output.remarks(review.iter().cloned());
    // The literature cleans no value.
    let series =
        if args.protocol == protocol::Name::Ett { series } else { series.without_faults(model.header(), &bytes) };
    let interval_ms = series.interval_ms;
    let horizons = args
        .horizons
        .iter()
        .map(|steps| steps.count(interval_ms).map_err(|error| anyhow::anyhow!("--horizons: {error}")))
        .collect::<Result<Vec<usize>>>()?;
    let options = Options { protocol, horizons, origins: args.origins, baselines: args.naive.then(baseline::naive) };
    let mut report = score(model.as_mut(), &series, &options, output)?;
    output.remarks(seen::scored(model.header(), &series, report.test_start..report.rows));
    output.remarks(seen::stuck(model.header(), &bytes, &series, report.test_start..report.rows));
    output.remarks(report.unscored(model.header().targets.into()));
    output.remarks(report.unscaled(model.header().targets.into()));
    ensure!(
        report.channels.iter().any(|(_, scores)| scores.overall.count > 0),
        "found no reading in rows {} to {}, which are held out: nothing can be scored{}",
        report.test_start + 1,
        report.rows,
        review.iter().map(|note| format!("; {note}")).collect::<String>()
    );
    report.units = channel_units(model.header(), &bytes);
    if args.report.is_some() || args.figures.is_some() {
        let found = crate::report::diagnose(model.as_mut(), &series, &report, (&args.model, &bytes), output)?;
        if let Some(path) = &args.report {
            crate::report::write(path, &args.model.display().to_string(), &report, &found)?;
        }
        if let Some(folder) = &args.figures {
            crate::report::write_figures(folder, &report, &found)?;
        }
    }
    if let Some(path) = &args.figure {
        // The first channels are enough for a picture.
        let drawn = |channel: &usize| report.examples.iter().any(|example| example.channel == *channel);
        let channels: Vec<usize> = (0..report.columns.len()).filter(drawn).take(2).collect();
        write_atomic(path, crate::report::figure::forecasts(&report, &channels)?.as_bytes())?;
    }
    output.result(|| report.table(), &report)
}

/// The names of a model's channels, in its order.
pub fn channel_names(header: &Header, model: &[u8]) -> Vec<String> {
    (0..usize::from(header.channels))
        .filter_map(|index| header.channel(model, index))
        .map(|channel| channel.name.to_owned())
        .collect()
}

/// The units of a model's channels, in its order; empty where the file tells none.
pub fn channel_units(header: &Header, model: &[u8]) -> Vec<String> {
    (0..usize::from(header.channels))
        .filter_map(|index| header.channel(model, index))
        .map(|channel| channel.unit.to_owned())
        .collect()
}

/// Whether data come at the model's pace.
///
/// # Errors
/// Both intervals, when they differ.
pub fn check_interval(header: &Header, series: &Series) -> Result<()> {
    if header.interval_ms != series.interval_ms {
        bail!(
            "found a sample every {} in the data, expected every {} as in the model",
            show_ms(series.interval_ms),
            show_ms(header.interval_ms)
        );
    }
    Ok(())
}

/// Streams a whole series through the model and scores what it forecast, and what the baselines did, at the held-out origins.
///
/// The channels of `series` are the model's, in its order. The model is reset first.
///
/// # Errors
/// When the held-out end is shorter than the horizon, a wanted horizon is out of the model's reach, or no origin could be scored.
pub fn score(model: &mut dyn Streaming, series: &Series, options: &Options, output: &Output) -> Result<BacktestReport> {
    let plan = Plan::new(model.header(), series, options)?;
    crate::interrupt::listen();
    let bar = output.progress(plan.held_out.end as u64, "stream");
    let rolled = rolling::roll(model, series, &plan, &bar)?;
    bar.finish_and_clear();
    let forecasts: usize = rolled.of_channel.iter().map(Vec::len).sum();
    let bar = output.progress(forecasts as u64, "baselines");
    let rivals = rivals::score(series, &plan, &rolled.of_channel, &bar);
    crate::interrupt::check()?;
    bar.finish_and_clear();
    Ok(BacktestReport::new(&plan, series, rolled, &rivals))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flowcast_core::conformal::Factors;
    use flowcast_core::format::Numeric;
    use flowcast_core::probe::GROUPS;
    use flowcast_core::seasonal::{Season, Seasons};

    /// Repeats the last season, with a band of ± 1; not ready before a whole season has passed, and never for a channel without a
    /// value in it.
    struct Repeater {
        header: Header,
        /// Filled like the baseline's past. `[channel][row]`
        past: Vec<Vec<f32>>,
    }

    impl Repeater {
        fn new(channels: u16, period: u32, horizon: u16) -> Repeater {
            let header = Header {
                d_model: 0,
                heads: 0,
                head_dim: 0,
                layers: 0,
                attention: false,
                d_ff: 0,
                numeric: Numeric::F32,
                channels,
                targets: channels,
                known: 0,
                readouts: 0,
                horizon,
                knots: 0,
                ring: false,
                mixed: false,
                corrected: false,
                adapted: false,
                seasons: Seasons {
                    list: [Season { period, slot_samples: 1, slots: 1 }].into_iter().collect(),
                    memory_gain: [1.0; 4],
                    scale_floor: 0.0,
                    retrieval: None,
                },
                interval_ms: 600_000,
                source_clamp: 0.0,
                flow_limit: 0.0,
                feature_clamp: 0.0,
                quantiles: [0.1, 0.5, 0.9].into_iter().collect(),
                seen_until_ms: 0,
                identity: 0,
            };
            Repeater { header, past: vec![Vec::new(); channels.into()] }
        }
    }

    impl Streaming for Repeater {
        fn header(&self) -> &Header {
            &self.header
        }
        fn observe(&mut self, sample: &[f32]) {
            let period = self.header.seasons.period() as usize;
            for (past, &value) in self.past.iter_mut().zip(sample) {
                let before = past.len().checked_sub(period).map(|row| past[row]).filter(|value| !value.is_nan());
                let fill = before.or(past.last().copied()).unwrap_or(f32::NAN);
                past.push(if value.is_nan() { fill } else { value });
            }
        }
        fn observe_gap(&mut self, samples: u32) {
            for _ in 0..samples {
                self.observe(&vec![f32::NAN; self.past.len()]);
            }
        }
        fn reset(&mut self) {
            self.past.iter_mut().for_each(Vec::clear);
        }
        fn is_ready(&self) -> bool {
            self.past[0].len() >= self.header.seasons.period() as usize
        }
        fn missing(&self, _channel: usize) -> u32 {
            0
        }
        fn interval_factors(&self, _channel: usize) -> [Factors<f32>; GROUPS] {
            [Factors::ONE; GROUPS]
        }
        fn state_bytes(&self) -> usize {
            0
        }
        fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize {
            let past = &self.past[channel];
            let season = &past[past.len() - self.header.seasons.period() as usize..];
            if season[0].is_nan() {
                return 0;
            }
            for (quantiles, value) in out.chunks_exact_mut(3).zip(season.iter().cycle()) {
                quantiles.copy_from_slice(&[value - 1.0, *value, value + 1.0]);
            }
            out.len()
        }
        fn for_each_step(&self, _channel: usize, _each: &mut dyn FnMut(usize, &[f32])) -> bool {
            false
        }
    }

    /// Two channels with a season of 24, noise that repeats nowhere near it, and holes.
    fn series(rows: usize) -> Series {
        let wave = |row: usize, noise: usize, size: f32| {
            let phase = row as f32 / 24.0 * std::f32::consts::TAU;
            if row % 97 == 13 { f32::NAN } else { 10.0 + size * phase.sin() + ((row * noise) % 1_009) as f32 / 500.0 }
        };
        Series {
            columns: vec!["a".into(), "b".into()],
            interval_ms: 600_000,
            start: None,
            values: vec![
                (0..rows).map(|row| wave(row, 7_919, 3.0)).collect(),
                (0..rows).map(|row| wave(row, 104_729, 30.0)).collect(),
            ],
        }
    }

    pub(crate) fn report_of_a_repeater() -> BacktestReport {
        run_on(&series(600), &Options { origins: Some(9), ..Options::default() })
    }

    fn run_on(series: &Series, options: &Options) -> BacktestReport {
        score(&mut Repeater::new(2, 24, 36), series, options, &Output::default()).unwrap()
    }

    #[test]
    fn a_streaming_seasonal_naive_scores_as_the_baseline_does() {
        let report = run_on(&series(600), &Options { horizons: vec![6, 24, 36], ..Options::default() });
        let naive = &report.baselines[1];
        assert_eq!(naive.0, "seasonal_naive");
        // The sums are the same but for the order of their terms.
        let close = |own: f64, theirs: f64| assert!((own / theirs - 1.0).abs() < 1e-12, "{own} is not {theirs}");
        for (own, theirs) in report.horizons.iter().zip(&naive.1.horizons) {
            for (own, theirs) in [(own.up_to, theirs.up_to), (own.at_step, theirs.at_step)] {
                assert!(own.mae > 0.0);
                close(own.mae, theirs.mae);
                close(own.mse, theirs.mse);
                close(own.rmse, theirs.rmse);
                close(own.smape, theirs.smape);
                close(own.mase.unwrap(), theirs.mase.unwrap());
                assert_eq!(own.count, theirs.count);
            }
        }
        report.curves[0].1.iter().zip(&report.curves[2].1).for_each(|(own, theirs)| close(*own, *theirs));
        // 485 - 36 places in the last 120 rows, each scored, holes left out.
        assert_eq!((report.test_start, report.origins, report.stride), (480, 85, 1));
        assert!(report.overall.count < 85 * 36 * 2 && report.overall.count > 84 * 35 * 2);
        assert!(report.examples.len() >= 10, "{}", report.examples.len());
        assert!(report.overall.coverage80.unwrap() > 0.2);
        assert!(naive.1.overall.coverage80.is_none());
    }

    #[test]
    fn the_future_changes_no_forecast() {
        let whole = series(600);
        let mut changed = whole.clone();
        for values in &mut changed.values {
            values[540..].fill(1e6);
        }
        // Only the first origin: what it is scored on ends before row 540.
        let options = Options { origins: Some(1), horizons: vec![24], ..Options::default() };
        let (before, after) = (run_on(&whole, &options), run_on(&changed, &options));
        assert_eq!((before.origins, before.examples[0].origin), (1, 480));
        assert_eq!(
            serde_json::to_value(&before).unwrap(),
            serde_json::to_value(&after).unwrap(),
            "every method's scores at the origin before the change"
        );
    }

    #[test]
    fn json_has_the_fields_that_scripts_rely_on() {
        let report = run_on(&series(600), &Options { origins: Some(9), ..Options::default() });
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["horizons"][0]["steps"], 6);
        for field in ["mse", "mae", "rmse", "smape", "mase", "wql", "coverage80", "width80", "coverage80_quarters"] {
            for scores in [
                &json["horizons"][0],
                &json["horizons"][0]["at_step"],
                &json["overall"],
                &json["baselines"]["last_value"]["horizons"][0],
                &json["baselines"]["mstl_ets"]["overall"],
                &json["channels"]["b"]["horizons"][1],
                &json["channels"]["a"]["baselines"]["drift"]["overall"],
            ] {
                let value = &scores[field];
                let of_band = field.contains("80");
                assert!(value.is_number() || value.is_array() || (of_band && value.is_null()), "{field} in {scores}");
            }
        }
        assert_eq!(json["protocol"], "tail");
        for quarter in json["overall"]["coverage80_quarters"].as_array().unwrap() {
            assert!((0.1..1.0).contains(&quarter.as_f64().unwrap()), "{quarter}");
        }
        let table = report.table();
        assert!(table.contains("seasonal_naive") && table.contains("1 h") && table.contains('*'), "{table}");
    }

    #[test]
    fn refusals_name_both_sides() {
        let error = |series: &Series, options: &Options| {
            score(&mut Repeater::new(2, 24, 36), series, options, &Output::default()).unwrap_err().to_string()
        };
        assert_eq!(
            error(&series(100), &Options::default()),
            "found 20 held-out rows (of 100), expected at least the model's horizon of 36: a series of 178 rows"
        );
        assert_eq!(
            error(&series(600), &Options { horizons: vec![37], ..Options::default() }),
            "found a horizon of 37 steps (6 h 10 min), expected at most the model's 36 (6 h)"
        );
        let hourly = Series { interval_ms: 3_600_000, ..series(600) };
        assert_eq!(
            error(&hourly, &Options::default()),
            "found a sample every 1 h in the data, expected every 10 min as in the model"
        );
        let one = series(600).select(&["a".to_owned()]).unwrap();
        assert!(error(&one, &Options::default()).contains("1 channel, expected 2"));
    }

    #[test]
    fn origins_of_the_warm_up_are_left_out_for_all() {
        let options = Options {
            protocol: Protocol::Tail { test_fraction: 0.99 },
            origins: Some(1_000),
            horizons: vec![36],
            baselines: None,
        };
        let report = run_on(&series(100), &options);
        assert_eq!((report.test_start, report.warming_up, report.origins), (1, 23, 41));
        let short = Options { origins: Some(1), ..options.clone() };
        let error = score(&mut Repeater::new(2, 24, 36), &series(100), &short, &Output::default()).unwrap_err();
        assert!(error.to_string().contains("still warming up"), "{error}");
    }

    #[test]
    fn a_channel_that_the_model_says_nothing_of_is_scored_for_nobody() {
        let mut dead_at_first = series(600);
        dead_at_first.values[1][..500].fill(f32::NAN);
        let report = run_on(&dead_at_first, &Options::default());
        let theirs = report.baselines.iter().map(|(_, method)| method.overall.count);
        assert!(theirs.chain([report.overall.count]).all(|count| count == report.overall.count));
        // Origins from 524 on, where 480 was the first.
        assert_eq!(report.origins, 85);
        assert!(report.channels[1].1.overall.count < 41 * 36 + 1 && report.channels[1].1.overall.count > 30 * 36);
    }

    /// Ten rows: seven train, one chooses, two are held out.
    fn ten_rows() -> Series {
        Series {
            columns: vec!["a".into(), "b".into()],
            interval_ms: 600_000,
            start: None,
            values: vec![
                vec![0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 1.0, 7.0, 3.0, 6.0],
                vec![5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, -9_999.0, 4.0, 5.0],
            ],
        }
    }

    #[test]
    fn the_literatures_protocol_by_hand() {
        let options = Options { protocol: Protocol::Ett, horizons: vec![1, 2], ..Options::default() };
        let report = score(&mut Repeater::new(2, 2, 2), &ten_rows(), &options, &Output::default()).unwrap();
        assert_eq!((report.rows, report.test_start, report.origins, report.stride), (10, 8, 2, 1));
        let (name, repeat) = &report.baselines[0];
        assert_eq!(name, "last_value");
        let close =
            |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
        // The training rows of `a` have a variance of 6/7 about their mean of 1; `b` stands still there, which counts as 1.
        let variance = 6.0 / 7.0;
        // One step: rows 8 and 9 from the values before them, where the outlier -9999 is one of them.
        close(repeat.horizons[0].up_to.mse, ((16.0 + 9.0) / 2.0 / variance + (10_003.0_f64.powi(2) + 1.0) / 2.0) / 2.0);
        close(repeat.horizons[0].up_to.mae, ((4.0 + 3.0) / 2.0 / f64::sqrt(variance) + (10_003.0 + 1.0) / 2.0) / 2.0);
        // Two steps: the one window that ends within the held-out rows.
        close(
            repeat.horizons[1].up_to.mse,
            ((16.0 + 1.0) / 2.0 / variance + (10_003.0_f64.powi(2) + 10_004.0_f64.powi(2)) / 2.0) / 2.0,
        );
        assert_eq!((repeat.horizons[0].up_to.count, repeat.horizons[1].up_to.count), (4, 4));
        // Each channel stays in its unit.
        let unscaled = &report.channels[0].1;
        close(unscaled.baselines[0].1.horizons[0].up_to.mse, 12.5);
        close(unscaled.deviation.unwrap(), f64::sqrt(variance));
        // The model is a streaming seasonal naive.
        close(report.horizons[1].up_to.mae, report.baselines[1].1.horizons[1].up_to.mae);
        let slow = report.baselines.iter().filter(|(name, _)| name.contains("ets")).count();
        assert_eq!(slow, 0, "no fit for each of thousands of windows");
        assert!(report.table().contains("MSE of standardised values"));
    }

    #[test]
    fn the_literatures_protocol_scores_every_window_or_none() {
        let options = Options { protocol: Protocol::Ett, ..Options::default() };
        let error = |period: u32, options: &Options| {
            let mut model = Repeater::new(2, period, 2);
            score(&mut model, &ten_rows(), options, &Output::default()).unwrap_err().to_string()
        };
        assert_eq!(
            error(9, &Options { horizons: vec![1], ..options.clone() }),
            "column `a`: found forecasts at 1 of 2 windows, expected one at each, as the protocol scores them all"
        );
        assert!(error(2, &Options { origins: Some(5), ..options }).contains("--origins"));
    }

    /// The published row of "repeat the last value", on the files themselves where `FLOWCAST_BENCH` names their folder.
    #[test]
    fn repeat_on_the_benchmarks() {
        let Some(folder) = std::env::var_os("FLOWCAST_BENCH").map(PathBuf::from) else { return };
        for (name, mse, mae) in [
            ("ETTh1", 1.294, 0.713),
            ("ETTh2", 0.432, 0.422),
            ("ETTm1", 1.214, 0.665),
            ("weather", 0.259, 0.254),
            ("exchange_rate", 0.081, 0.196),
        ] {
            let path = folder.join(format!("{name}.csv.gz"));
            if name != "ETTh1" && !path.exists() {
                continue;
            }
            let series = Protocol::Ett.read(&[path], &crate::data::ReadOptions::default(), &Output::default()).unwrap();
            let mut model = Repeater::new(series.columns.len() as u16, 7, 96);
            model.header.interval_ms = series.interval_ms;
            let baselines = Some(vec![Baseline::LastValue]);
            let options = Options { protocol: Protocol::Ett, baselines, ..Options::default() };
            let report = score(&mut model, &series, &options, &Output::default()).unwrap();
            let found = report.baselines[0].1.overall;
            assert!(
                (found.mse - mse).abs() < 6e-4 && (found.mae - mae).abs() < 6e-4,
                "{name}: {} {}",
                found.mse,
                found.mae
            );
        }
    }
}
