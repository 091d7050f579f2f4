//! Data streamed to a board and what came of it, for whoever streams: to an emulated board (`flowcast emulate`) or to one on
//! a line (`flowcast replay`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};
use flowcast_core::format::Header;
use serde::Serialize;

use super::session::{self, Difference, Outcome};
use crate::backtest::channel_units;
use crate::measurements::{Streamed, untold};
use crate::output::Output;
use crate::plural::counted;

/// The part of the command line that says what is streamed.
#[derive(clap::Args, Clone, Debug)]
pub struct Data {
    /// The model and what is streamed through it
    #[command(flatten)]
    pub streamed: Streamed,
    /// Stream so many samples, the last ones of the data
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
    /// Ask for a forecast after each so many samples
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
}

/// What is streamed.
pub struct Rows {
    /// `[samples][CHANNELS]`; NaN is a missing value.
    pub samples: Vec<Vec<f32>>,
    /// The columns.
    pub names: Vec<String>,
    /// The sample whose forecast is shown.
    pub keep: usize,
}

impl Data {
    /// The last rows, in the order of a model's channels.
    ///
    /// # Errors
    /// The data cannot be read, or do not fit the model.
    pub fn rows(&self, header: &Header, model: &[u8], output: &Output) -> Result<Rows> {
        let columns = self.streamed.columns(header, model)?;
        let series = self.streamed.read(columns, header, model, output)?;
        let samples = session::last_rows(&series, self.samples as usize)?;
        output.remarks(untold(header, &series));
        let keep = samples.len().checked_sub(1 + usize::from(header.horizon)).unwrap_or(samples.len() / 2);
        Ok(Rows { samples, names: series.columns, keep })
    }
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The board: its name, or the line that it is on.
    pub machine: String,
    /// Samples streamed, missing ones included.
    pub samples: u32,
    /// Samples without any value among them.
    pub missing: u32,
    /// Forecasts compared.
    pub forecasts: u32,
    /// Values compared.
    pub values: u64,
    /// Whether every bit of every value is this machine's.
    pub equal_to_host: bool,
    /// The first value that is not.
    pub first_difference: Option<Difference>,
    /// Instructions that one `observe` takes.
    pub instructions_per_observe: Instructions,
    /// Bytes of static RAM, the state among them.
    pub ram_bytes: u32,
    /// Bytes of the stack that were ever in use.
    pub stack_bytes: u32,
    /// Bytes of the forecaster.
    pub state_bytes: u32,
    /// Frames that the board did not understand.
    pub bad_frames: u32,
    /// Wall time of the stream; of an emulator nothing that a board would take.
    pub seconds: f64,
}

/// Instructions that one `observe` takes, samples with a missing value aside.
#[derive(Clone, Debug, Serialize)]
pub struct Instructions {
    /// Fewest; `None` where the board cannot count.
    pub min: Option<u32>,
    /// Most.
    pub max: Option<u32>,
    /// At these samples, counted from 1.
    pub at: BTreeMap<u32, u32>,
}

impl Report {
    /// Of a board of that name.
    pub fn new(machine: &str, outcome: &Outcome) -> Self {
        let Outcome { samples, forecasts, values, difference, marks, stats, seconds, .. } = outcome.clone();
        Self {
            machine: machine.to_owned(),
            samples,
            missing: stats.missing,
            forecasts,
            values,
            equal_to_host: difference.is_none() && values > 0,
            first_difference: difference,
            instructions_per_observe: Instructions {
                min: stats.instructions_min,
                max: stats.instructions_max,
                at: marks,
            },
            ram_bytes: stats.ram_bytes,
            stack_bytes: stats.stack_bytes,
            state_bytes: stats.state_bytes,
            bad_frames: stats.bad_frames,
            seconds,
        }
    }
}

impl Report {
    /// Prints the result: one forecast, and what `board` is in a few words. A board that differs is an error.
    ///
    /// # Errors
    /// A forecast is not equal to this machine's, with the first difference, or there was nothing to compare.
    pub fn conclude(
        &self,
        board: &str,
        outcome: &Outcome,
        rows: &Rows,
        (header, model): (&Header, &[u8]),
        output: &Output,
    ) -> Result<()> {
        let human = || {
            let shown = Shown { header, names: &rows.names, units: &channel_units(header, model) };
            shown.forecast(outcome, &rows.samples, rows.keep) + &summary(board, self)
        };
        output.result(human, self)?;
        match &outcome.difference {
            Some(difference) => bail!("board and host differ: {difference}"),
            None if self.values == 0 => bail!(
                "nothing to compare: no forecast within {}, one period ({} samples) must pass first",
                counted(self.samples, "sample"),
                header.seasons.period()
            ),
            None => Ok(()),
        }
    }
}

/// What a forecast is shown with.
struct Shown<'s> {
    header: &'s Header,
    names: &'s [String],
    units: &'s [String],
}

impl Shown<'_> {
    /// Most lines for one channel.
    const LINES: usize = 8;

    /// One forecast beside what came.
    fn forecast(&self, outcome: &Outcome, rows: &[Vec<f32>], keep: usize) -> String {
        let (levels, median) = (&self.header.quantiles, self.header.median());
        if outcome.kept.iter().all(Vec::is_empty) {
            return "no forecast yet at the sample that would be shown: stream more of them (--samples)\n\n".to_owned();
        }
        let mut text = format!("forecast by the board after sample {}, beside what came\n", keep + 1);
        for (channel, forecast) in outcome.kept.iter().enumerate().filter(|(_, forecast)| !forecast.is_empty()) {
            let name = self.names.get(channel).map_or("", String::as_str);
            let unit = self.units.get(channel).map_or("", String::as_str);
            let _ = writeln!(
                text,
                "\n  {name} {unit}\n  {:>5} {:>10} {:>10} {:>10} {:>10}",
                "ahead", "low", "median", "high", "came"
            );
            let steps: Vec<&[f32]> = forecast.chunks_exact(levels.len()).collect();
            let stride = steps.len().div_ceil(Self::LINES).max(1);
            let every = (stride..=steps.len()).step_by(stride);
            let shown: BTreeSet<usize> = every.chain([1, steps.len()]).collect();
            for ahead in shown {
                let values = steps[ahead - 1];
                let came = rows.get(keep + ahead).map_or(f32::NAN, |row| row[channel]);
                let came = if came.is_nan() { "-".to_owned() } else { format!("{came:.2}") };
                let (low, high) = (values[0], values[values.len() - 1]);
                let _ = writeln!(text, "  {ahead:>5} {low:>10.2} {:>10.2} {high:>10.2} {came:>10}", values[median]);
            }
        }
        text.push('\n');
        text
    }
}

fn summary(board: &str, report: &Report) -> String {
    let count = |count: Option<u32>| count.map_or("-".to_owned(), |count| count.to_string());
    let Instructions { min, max, at } = &report.instructions_per_observe;
    let marks: String = at.iter().map(|(sample, count)| format!(", {count} at sample {sample}")).collect();
    format!(
        "{board}: {} ({} missing) in {:.1} s\n\
         forecasts     {}, {} values: {}\n\
         instructions  {} to {} for each observe{marks}\n\
         memory        {} bytes of RAM ({} of them the forecaster) and {} of stack\n\
         bad frames    {}\n",
        counted(report.samples, "sample"),
        report.missing,
        report.seconds,
        report.forecasts,
        report.values,
        match (report.values, report.equal_to_host) {
            (0, _) => "nothing to compare",
            (_, true) => "equal to this machine's to the bit",
            (_, false) => "NOT equal to this machine's",
        },
        count(*min),
        count(*max),
        report.ram_bytes,
        report.state_bytes,
        report.stack_bytes,
        report.bad_frames,
    )
}
