//! `flowcast gate`: replays data through a board that is silent while its gateway, which runs the same model, would be right
//! within a stated error, and through that gateway; says what it saves, beside a board that is silent while its last value is.
//!
//! Both ends begin equal, with the rows that trained the model behind them, as measured; what is counted comes after those.
//! Reports are lost at random where that is asked for: the gateway then asks, and the board sends again. At the end the states
//! of both must be equal to the bit, and what the gateway filled in within the error, or the command fails.

pub mod deadband;
pub mod gateway;

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use flowcast_core::format::{Header, MAX_CHANNELS};
use flowcast_core::gate::{Gate, SILENCE};
use flowcast_core::wire::{FRAME_BYTES, Gated, Reply, Request, Sampled, encode};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::backtest::{channel_names, seen};
use crate::data::Series;
use crate::forecaster::{self, Kept};
use crate::measurements::{Streamed, untold};
use crate::output::Output;
use crate::plural::counted;
use deadband::Deadband;
use gateway::{Ask, Gateway};

/// What the errors asked for are multiplied by, a line of the table each.
const LADDER: [f32; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Reports that a board keeps.
const KEPT: usize = 16;
/// Of a channel without an error of its own: a tenth of its deviation.
const DEFAULT_ERROR: f32 = 0.1;

/// Replay data through a board that reports only what its gateway would not expect, and say what that saves
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model and what is streamed through it
    #[command(flatten)]
    pub streamed: Streamed,
    /// The largest error of what is filled in, in the channel's unit: of every channel, or CHANNEL=VALUE [default: a tenth of each
    /// channel's deviation]
    #[arg(long = "max-error", value_name = "VALUE|CHANNEL=VALUE", value_delimiter = ',', value_parser = max_error, allow_negative_numbers = true)]
    pub max_errors: Vec<(Option<String>, f32)>,
    /// Lose this part of the reports
    #[arg(long, default_value_t = 0.0, value_name = "PART", value_parser = part)]
    pub lost: f64,
    /// Seed of which ones
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `--max-error`: of every channel, or of one.
///
/// # Errors
/// What was found and what was expected.
pub fn max_error(text: &str) -> Result<(Option<String>, f32), String> {
    let (channel, value) = match text.rsplit_once('=') {
        Some((channel, value)) => (Some(channel.to_owned()), value),
        None => (None, text),
    };
    match value.parse::<f32>() {
        Ok(error) if error.is_finite() && error > 0.0 => Ok((channel, error)),
        _ => Err(format!("found `{text}`, expected a number above 0, or CHANNEL=NUMBER")),
    }
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse::<f64>().ok().filter(|part| (0.0..1.0).contains(part));
    part.ok_or_else(|| format!("found `{text}`, expected a number from 0 to below 1"))
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Samples that are counted.
    pub samples: usize,
    /// The channels.
    pub channels: Vec<String>,
    /// The largest error of each, in its unit, where `times` is 1.
    pub max_errors: Vec<f32>,
    /// By size of the errors.
    pub lines: Vec<Line>,
}

/// One size of the errors.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Times the errors.
    pub times: f32,
    /// The gate.
    pub gate: Outcome,
    /// Reports that were lost, and what was sent again.
    pub lost: usize,
    /// See `lost`.
    pub sent_again: usize,
    /// Its rival.
    pub deadband: Outcome,
}

/// What was sent, and how wrong the other end was. Errors are parts of the allowed ones.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Outcome {
    /// Samples that were sent.
    pub messages: usize,
    /// The same as a part of all samples.
    pub messages_part: f64,
    /// Bytes on the line, frames and requests to send again, as a part of those of a board that sends every sample.
    pub bytes_part: f64,
    /// The largest error of any channel.
    pub largest_error: f64,
    /// The mean over channels and samples.
    pub mean_error: f64,
}

/// Runs the command.
///
/// # Errors
/// The model or the data cannot be read or do not fit each other; both ends differ, or an error is too large.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let path = &args.streamed.model;
    let model = forecaster::read(path)?;
    let header = Header::parse(&model).with_context(|| path.display().to_string())?;
    let names = channel_names(&header, &model);
    let columns = args.streamed.columns(&header, &model)?;
    let series = args.streamed.read(columns, &header, &model, output)?;
    output.remarks(seen::skipped(&header, &series));
    output.remarks(untold(&header, &series));
    let max_errors = errors(&args.max_errors, &header, &model, &names)?;
    let from = Some(seen::until(&header, &series)).filter(|row| *row < series.rows()).unwrap_or(0);
    ensure!(
        series.values.iter().flat_map(|column| &column[from..]).any(|value| !value.is_nan()),
        "found no reading in rows {} to {}, which are replayed: there is nothing to tell",
        from + 1,
        series.rows()
    );
    crate::interrupt::listen();
    let mut lines = Vec::new();
    let bar = output.progress(LADDER.len() as u64, "replaying");
    let start = warm(&model, &series, from)?;
    for times in LADDER {
        let errors: Vec<f32> = max_errors.iter().map(|error| times * error).collect();
        let mut line = Replay { model: &model, series: &series, from, start: &start, errors: &errors }
            .run(args.lost, args.seed)?;
        line.times = times;
        lines.push(line);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report { samples: series.rows() - from, channels: names, max_errors, lines };
    output.result(|| report.text(), &report)
}

/// The largest error of each channel, where these are wanted.
///
/// # Errors
/// The model has no such channel, or two are wanted of one.
pub fn errors(wanted: &[(Option<String>, f32)], header: &Header, model: &[u8], names: &[String]) -> Result<Vec<f32>> {
    let default = |index| header.channel(model, index).map_or(1.0, |channel| DEFAULT_ERROR * channel.scale);
    let mut errors: Vec<f32> = (0..names.len()).map(default).collect();
    for (index, (channel, _)) in wanted.iter().enumerate() {
        let again = wanted[..index].iter().any(|(before, _)| before == channel);
        let of = channel.as_deref().unwrap_or("every channel");
        ensure!(!again, "--max-error: found two for {of}, expected one; CHANNEL=NUMBER is for a single one");
    }
    for (channel, error) in wanted {
        match channel {
            None => errors.fill(*error),
            Some(channel) => {
                let index = names.iter().position(|name| name == channel);
                let index = index.with_context(|| {
                    format!("--max-error {channel}: the model has the channels {}", names.join(", "))
                })?;
                errors[index] = *error;
            }
        }
    }
    Ok(errors)
}

/// The state after the first rows, as measured.
fn warm(model: &[u8], series: &Series, rows: usize) -> Result<Vec<u8>> {
    let mut forecaster = forecaster::open(model)?;
    let mut sample = vec![0.0; series.columns.len()];
    for row in 0..rows {
        if row % 1024 == 0 {
            crate::interrupt::check()?;
        }
        series.row(row, &mut sample);
        forecaster.observe(&sample);
    }
    snapshot(forecaster.as_ref())
}

fn snapshot(forecaster: &(dyn Kept + Send + '_)) -> Result<Vec<u8>> {
    let mut bytes = vec![0; forecaster.snapshot_bytes()];
    forecaster.snapshot(&mut bytes)?;
    Ok(bytes)
}

/// Data, a model and errors.
pub struct Replay<'r> {
    /// The model.
    pub model: &'r [u8],
    /// Its channels.
    pub series: &'r Series,
    /// The first row that goes through the gate.
    pub from: usize,
    /// The state before it.
    pub start: &'r [u8],
    /// The largest error of each channel.
    pub errors: &'r [f32],
}

impl Replay<'_> {
    /// Both ends, with this part of the reports lost.
    ///
    /// # Errors
    /// Both ends differ, or an error is too large.
    pub fn run(&self, lost_part: f64, seed: u64) -> Result<Line> {
        let Self { model, series, from, start, errors } = *self;
        let channels = series.columns.len();
        let (mut board, mut other) = (forecaster::open(model)?, forecaster::open(model)?);
        board.restore(start)?;
        other.restore(start)?;
        let mut max_error = [f32::MAX; MAX_CHANNELS];
        max_error.iter_mut().zip(errors).for_each(|(place, error)| *place = *error);
        let mut gate = Gate::<MAX_CHANNELS, SILENCE, KEPT>::new(max_error).after_samples(from as u32);
        let mut gateway = Gateway::after(other, from as u32)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut deadband = Deadband::new(errors);
        let (mut line_bytes, mut all_bytes, mut rival_bytes) = (0, 0, 0);
        let (mut messages, mut lost, mut sent_again) = (0, 0, 0);
        let frame = |report: &gateway::Report| bytes(&Reply::Gated(Gated::new(report, channels as u16)));
        let mut sample = vec![0.0; channels];
        for row in from..series.rows() {
            series.row(row, &mut sample);
            let whole = bytes(&Reply::Sampled(Sampled { index: row as u32, values: sample.iter().copied().collect() }));
            all_bytes += whole;
            rival_bytes += if deadband.sends(&sample) { whole } else { 0 };
            match gate.sample(board.as_mut(), &sample) {
                None => gateway.fill(),
                Some(report) => {
                    messages += 1;
                    line_bytes += frame(&report);
                    // What no report follows could not be missed by anybody, and without a beginning there is nothing to mend.
                    if report.silent.is_some() && row + SILENCE < series.rows() && random.random_bool(lost_part) {
                        lost += 1;
                        gateway.fill();
                        continue;
                    }
                    let mut ask = gateway.receive(&report)?;
                    if let Some(Ask::After(last)) = ask {
                        line_bytes += bytes(&Request::Reports { after: Some(last) });
                        let again = gate.after(last).with_context(|| {
                            format!("sample {row}: the board keeps {KEPT} reports, and more were lost in a row")
                        })?;
                        // What is asked for comes: a line's own protocol sees to that.
                        for report in again {
                            sent_again += 1;
                            line_bytes += frame(report);
                            ask = gateway.receive(report)?;
                        }
                    }
                    ensure!(ask.is_none(), "sample {row}: the gateway asks for {ask:?} after what was sent again");
                }
            }
        }
        if gateway.index() as usize != series.rows() || snapshot(board.as_ref())? != snapshot(gateway.forecaster())? {
            bail!("the two ends differ after {}", counted(series.rows() - from, "sample"));
        }
        let samples = series.rows() - from;
        let of = |messages: usize, sent: usize, (largest_error, mean_error)| Outcome {
            messages,
            messages_part: messages as f64 / samples.max(1) as f64,
            bytes_part: sent as f64 / all_bytes.max(1) as f64,
            largest_error,
            mean_error,
        };
        let filled = gateway.values().iter().map(|values| &values[..channels]);
        let gate = of(messages, line_bytes, wrong(series, from, errors, filled)?);
        let rival = wrong(series, from, errors, deadband.filled().chunks(channels))?;
        let deadband = of(deadband.messages(), rival_bytes, rival);
        Ok(Line { times: 1.0, gate, lost, sent_again, deadband })
    }
}

fn bytes(message: &impl Serialize) -> usize {
    encode(message, &mut [0; FRAME_BYTES]).len()
}

/// The largest and the mean error of what was filled in, in allowed ones.
fn wrong<'f>(
    series: &Series,
    from: usize,
    errors: &[f32],
    filled: impl Iterator<Item = &'f [f32]>,
) -> Result<(f64, f64)> {
    let (mut largest, mut sum, mut count) = (0.0_f64, 0.0, 0_usize);
    for (row, values) in (from..series.rows()).zip(filled) {
        for ((column, filled), allowed) in series.values.iter().zip(values).zip(errors) {
            let value = column[row];
            ensure!(value.is_nan() == filled.is_nan(), "row {row}: found {filled}, expected {value}");
            if !value.is_nan() {
                let error = f64::from((value - filled).abs()) / f64::from(*allowed);
                ensure!(
                    error <= 1.0,
                    "row {row}: filled in {filled}, measured {value}, allowed to differ by {allowed}"
                );
                (largest, sum, count) = (largest.max(error), sum + error, count + 1);
            }
        }
    }
    Ok((largest, sum / count.max(1) as f64))
}

impl Report {
    fn text(&self) -> String {
        let Self { samples, channels, max_errors, lines } = self;
        let errors = channels.iter().zip(max_errors).map(|(channel, error)| format!("{channel} {error}"));
        let mut text = format!(
            "{}; largest errors: {}; at least every {SILENCE}th sample is sent\n\n{:>6}  {:<46} {:<46}\n{:>6} {}{}\n",
            counted(samples, "sample"),
            errors.collect::<Vec<_>>().join(", "),
            "",
            "gate: what the forecast does not expect",
            "deadband: what has left its last value",
            "times",
            " messages   bytes  largest error    mean       ",
            " messages   bytes  largest error    mean"
        );
        for Line { times, gate, lost, sent_again, deadband } in lines {
            let _ = write!(text, "{times:>6}");
            for Outcome { messages_part, bytes_part, largest_error, mean_error, .. } in [gate, deadband] {
                let (messages, bytes) = (100.0 * messages_part, 100.0 * bytes_part);
                let _ =
                    write!(text, " {messages:>7.1} % {bytes:>5.1} % {largest_error:>14.3} {mean_error:>7.3}       ");
            }
            text.truncate(text.trim_end().len());
            if *lost > 0 {
                let _ = write!(text, "   {lost} lost, {sent_again} sent again");
            }
            text.push('\n');
        }
        text.push_str("both ends are equal to the bit\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_and_nonsense_is_refused() {
        assert_eq!(max_error("0.5"), Ok((None, 0.5)));
        assert_eq!(max_error("a=b=2"), Ok((Some("a=b".to_owned()), 2.0)));
        for text in ["0", "-1", "T=", "T=inf", "x"] {
            assert!(max_error(text).unwrap_err().contains(text));
        }
        assert!(part("1").is_err() && part("-0.1").is_err());
        assert_eq!(part("0.25"), Ok(0.25));
    }
}
