//! `flowcast detect`: streams data through the device's code and says what was strange, and when; with `--limit`, what
//! warnings that a limit will be crossed are worth.

pub mod foreseen;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use flowcast_core::forecaster::Streaming;
use serde::Serialize;

use crate::backtest::{channel_units, seen};
use crate::data::Series;
use crate::data::fault::show;
use crate::file::{Kind, SCORES, ending_in, refuse_output, write_atomic};
use crate::forecaster;
use crate::limit;
use crate::measurements::Streamed;
use crate::output::Output;
use crate::plural::counted;
use foreseen::{Foreseen, Judges};

/// Alerts that people are shown, the strangest first.
const SHOWN: usize = 20;

/// Stream data through the device's own code and list what came unexpectedly
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model and what is streamed through it
    #[command(flatten)]
    pub streamed: Streamed,
    /// Alert from this score on: 0.9999 is a sample as one in 10,000 is
    #[arg(long, default_value_t = 0.9999, value_name = "P", value_parser = threshold, allow_negative_numbers = true)]
    pub threshold: f64,
    /// Write every sample's forecast and score, a .csv file
    #[arg(long, value_name = "SCORES.csv", value_parser = |text: &str| ending_in("csv", text))]
    pub out: Option<PathBuf>,
    /// Limits of the forecast, and what warnings of them are worth
    #[command(flatten)]
    pub limits: limit::Limits,
}

/// A score below 1 that an f32 can hold.
fn threshold(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|score| (0.5..=1.0 - 1e-12).contains(score))
        .ok_or_else(|| format!("found {text:?}, expected a score from 0.5 to below 1, such as 0.9999"))
}

/// Something came that the forecast did not expect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alert {
    /// The sample, counted from 0.
    pub row: usize,
    /// Its time, where the data tell it.
    pub time: Option<String>,
    /// The channel.
    pub channel: String,
    /// 1 − p.
    pub score: f64,
    /// p: the share of samples on this channel that are at least as strange.
    pub probability: f64,
    /// What came.
    pub value: f32,
    /// What was expected: the forecast made a sample before, its median.
    pub expected: f32,
    /// The 80 % band's lower end.
    pub lower: f32,
    /// The 80 % band's upper end.
    pub upper: f32,
}

/// What `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Samples streamed.
    pub samples: usize,
    /// Readings scored, all channels together.
    pub scored: usize,
    /// The score from which on there are alerts.
    pub threshold: f64,
    /// Readings that score so high, within one event or not, as a share of those scored: at most 1 − threshold where
    /// nothing is wrong.
    pub above_threshold: f64,
    /// In the order of their times.
    pub alerts: Vec<Alert>,
    /// What warnings of each limit are worth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Foreseen>,
}

/// Runs the command.
///
/// # Errors
/// The model or the data cannot be read or do not fit each other, the scores cannot be written.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let path = &args.streamed.model;
    let model = forecaster::read(path)?;
    let mut forecaster = forecaster::open(&model).with_context(|| path.display().to_string())?;
    let header = forecaster.header().clone();
    let columns = args.streamed.columns(&header, &model)?;
    // What is wrong with the command line is said before the data are read.
    let limits = args.limits.of(&header, &model)?;
    if let Some(out) = &args.out {
        refuse_output(&args.streamed.inputs(), out, Kind::Scores)?;
    }
    let series = args.streamed.read(columns, &header, &model, output)?;
    output.remarks(seen::streamed(&header, &series));
    crate::interrupt::listen();
    let mut scores = args.out.as_ref().map(|_| csv::Writer::from_writer(Vec::new()));
    let limits: Vec<_> = args.limits.limits.iter().map(ToString::to_string).zip(limits).collect();
    // What trained the model flatters its forecasts; where all of it did, there is nothing else to judge.
    let from = Some(seen::until(&header, &series)).filter(|row| *row < series.rows()).unwrap_or(0);
    let mut judges = Judges::new(&limits, header.seasons.period() as usize, from);
    let streamed = detect(forecaster.as_mut(), &series, args.threshold, (scores.as_mut(), &mut judges), output)?;
    let report = Report { limits: judges.finish(series.rows()), ..streamed };
    if let (Some(out), Some(scores)) = (&args.out, scores) {
        write_atomic(out, &scores.into_inner().context("scores")?)?;
    }
    let units = channel_units(&header, &model);
    output.result(|| report.text(&series, &units), &report)
}

/// Streams a series and collects alerts; every sample goes to `scores`, one line a channel, and to `judges`.
///
/// # Errors
/// An interruption.
pub fn detect(
    forecaster: &mut dyn Streaming,
    series: &Series,
    threshold: f64,
    (mut scores, judges): (Option<&mut csv::Writer<Vec<u8>>>, &mut Judges),
    output: &Output,
) -> Result<Report> {
    let header = forecaster.header().clone();
    let levels = header.quantiles.len();
    let median = header.median();
    let probability = (1.0 - threshold) as f32;
    let mut report = Report {
        samples: series.rows(),
        scored: 0,
        threshold,
        above_threshold: 0.0,
        alerts: Vec::new(),
        limits: Vec::new(),
    };
    let mut above = 0;
    if let Some(scores) = &mut scores {
        scores.write_record(SCORES)?;
    }
    let bar = output.progress(series.rows() as u64, "streaming");
    let mut sample = vec![0.0; series.columns.len()];
    let mut expected = vec![f32::NAN; series.columns.len() * levels];
    for row in 0..series.rows() {
        if row % 1024 == 0 {
            crate::interrupt::check()?;
            bar.set_position(row as u64);
        }
        expected.fill(f32::NAN);
        for (channel, quantiles) in expected.chunks_exact_mut(levels).enumerate() {
            forecaster.forecast_into_knowing(channel, &series.to_come(row), quantiles);
        }
        series.row(row, &mut sample);
        forecaster.observe_knowing(&sample, &series.to_come(row + 1));
        judges.observe(forecaster, series, row, &sample);
        let time = series.time(row).map(|time| time.to_string());
        for (channel, (value, quantiles)) in sample.iter().zip(expected.chunks_exact(levels)).enumerate() {
            let known = !value.is_nan() && !quantiles[0].is_nan();
            let anomaly = forecaster.anomaly(channel).unwrap_or_default();
            let p = (-f64::from(anomaly.surprise)).exp();
            if let Some(scores) = &mut scores {
                let number = |value: f32| if value.is_nan() { String::new() } else { value.to_string() };
                let score = if known { format!("{:.8}", 1.0 - p) } else { String::new() };
                let time = time.clone().unwrap_or_else(|| row.to_string());
                let [lower, upper] = [quantiles[0], quantiles[levels - 1]].map(number);
                let cells = [number(*value), number(quantiles[median]), lower, upper, score];
                scores.write_record([&time, &series.columns[channel]].into_iter().chain(&cells))?;
            }
            if !known {
                continue;
            }
            report.scored += 1;
            above += usize::from(p <= 1.0 - threshold);
            if anomaly.alert(probability) {
                report.alerts.push(Alert {
                    row,
                    time: time.clone(),
                    channel: series.columns[channel].clone(),
                    score: 1.0 - p,
                    probability: p,
                    value: *value,
                    expected: quantiles[median],
                    lower: quantiles[0],
                    upper: quantiles[levels - 1],
                });
            }
        }
    }
    bar.finish_and_clear();
    report.above_threshold = above as f64 / report.scored.max(1) as f64;
    Ok(report)
}

impl Report {
    fn text(&self, series: &Series, units: &[String]) -> String {
        let mut text = format!(
            "{}, {} scored: {} at {} and above ({:.3} % of the readings score so high)\n",
            counted(self.samples, "sample"),
            counted(self.scored, "reading"),
            counted(self.alerts.len(), "alert"),
            self.threshold,
            100.0 * self.above_threshold
        );
        let mut strangest: Vec<&Alert> = self.alerts.iter().collect();
        strangest.sort_by(|a, b| a.probability.total_cmp(&b.probability));
        strangest.truncate(SHOWN);
        strangest.sort_by_key(|alert| alert.row);
        if self.alerts.len() > SHOWN {
            let _ = writeln!(
                text,
                "the {SHOWN} strangest; --json lists all, a lower count comes with a higher --threshold"
            );
        }
        if !strangest.is_empty() {
            let _ = writeln!(
                text,
                "\n{:<22} {:<16} {:>10} {:>10} {:>22} {:>10}",
                "time", "channel", "value", "expected", "80 % band", "one in"
            );
        }
        for alert in strangest {
            let channel = series.columns.iter().position(|name| *name == alert.channel);
            let unit = channel.and_then(|channel| units.get(channel)).map_or("", String::as_str);
            let _ = writeln!(
                text,
                "{:<22} {:<16} {:>10} {:>10} {:>22} {:>10.1e}",
                alert.time.clone().unwrap_or_else(|| format!("sample {}", alert.row)),
                format!("{} {unit}", alert.channel).trim_end(),
                show(alert.value),
                show(alert.expected),
                format!("{} to {}", show(alert.lower), show(alert.upper)),
                1.0 / alert.probability.max(f64::MIN_POSITIVE),
            );
        }
        text.extend(self.limits.iter().map(|limit| limit.text(series.interval_ms)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::AlignedBytes;
    use crate::protocol::Protocol;
    use crate::train::setup::Wishes;
    use crate::train::{Options, train};
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    /// What comes from row 2500 on.
    #[derive(Clone, Copy)]
    enum Change {
        Shift,
        WrongPhase,
    }

    /// A daily wave with noise, a spike at row 2000, and a change.
    fn series(change: Change) -> Series {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let values = (0..3500_usize).map(|row| {
            let noise: f32 = (0..4).map(|_| rng.random_range(-0.5..0.5_f32)).sum();
            let (hours, level) = match change {
                Change::Shift if row >= 2500 => (0, 8.0),
                Change::WrongPhase if row >= 2500 => (12, 0.0),
                _ => (0, 0.0),
            };
            let wave = 5.0 * ((row + hours) as f32 / 24.0 * std::f32::consts::TAU).sin();
            20.0 + wave + noise + level + if row == 2000 { 15.0 } else { 0.0 }
        });
        Series { columns: vec!["t (degC)".into()], interval_ms: 3_600_000, start: None, values: vec![values.collect()] }
    }

    /// Trained on the rows before the spike.
    fn model() -> AlignedBytes {
        let wishes = Wishes { protocol: Protocol::Tail { test_fraction: 0.5 }, ..Wishes::example(24, 24) };
        let options = Options::closed_form(wishes);
        train(&series(Change::Shift), &options, &Output::default()).unwrap().0.to_flow().unwrap()
    }

    #[test]
    fn a_spike_a_shift_and_a_wrong_phase_are_one_alert_each() {
        let model = model();
        for change in [Change::Shift, Change::WrongPhase] {
            let series = series(change);
            let mut scores = csv::Writer::from_writer(Vec::new());
            let mut forecaster = forecaster::open(&model).unwrap();
            let mut judges = Judges::new(&[], 24, 0);
            let report =
                detect(forecaster.as_mut(), &series, 0.9999, (Some(&mut scores), &mut judges), &Output::default())
                    .unwrap();
            let rows: Vec<usize> = report.alerts.iter().map(|alert| alert.row).collect();
            assert_eq!(rows, [2000, 2500], "{:?}", report.alerts);
            let alert = &report.alerts[0];
            assert!(alert.value > alert.upper && alert.upper > alert.expected && alert.score > 0.9999, "{alert:?}");
            assert!(report.above_threshold < 0.01, "{report:?}");

            let scores = String::from_utf8(scores.into_inner().unwrap()).unwrap();
            let lines: Vec<&str> = scores.lines().collect();
            assert_eq!((lines.len(), lines[0]), (3501, "time,channel,value,median,lower,upper,score"));
            assert!(lines[1].starts_with("0,t (degC),") && lines[1].ends_with(",,,,"), "{}", lines[1]);
            assert!(lines[2001].split(',').next_back().unwrap().parse::<f64>().unwrap() > 0.9999, "{}", lines[2001]);
            let text = report.text(&series, &["degC".to_owned()]);
            assert!(text.contains("2 alerts") && text.contains("sample 2500"), "{text}");
        }
    }

    #[test]
    fn missing_samples_change_no_score() {
        let (model, series) = (model(), series(Change::Shift));
        let mut forecaster = forecaster::open(&model).unwrap();
        let score = |forecaster: &dyn Streaming| forecaster.anomaly(0).unwrap().surprise;
        let mut values = series.values[0].iter();
        for value in values.by_ref().take(1000) {
            forecaster.observe(&[*value]);
        }
        // A reading just as expected surprises by nothing at all.
        let surprising = values.any(|value| {
            forecaster.observe(&[*value]);
            score(forecaster.as_ref()) > 0.0
        });
        assert!(surprising);
        let before = score(forecaster.as_ref());
        for missing in [f32::NAN, f32::INFINITY] {
            forecaster.observe(&[missing]);
            assert_eq!(score(forecaster.as_ref()), before);
            assert!(!forecaster.anomaly(0).unwrap().alert(1.0));
        }
        forecaster.observe_gap(50);
        assert_eq!(score(forecaster.as_ref()), before);
        assert!(forecaster.anomaly(1).is_none());
    }
}
