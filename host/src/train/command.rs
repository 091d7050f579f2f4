//! `flowcast train`: its options, what it does with them, and what it says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flowcast_core::known::MAX_KNOWN;
use flowcast_core::presets::{PRESETS, Preset};

use super::checkpoint;
use super::setup::{self, Adapt, Wishes};
use super::{ENSEMBLE, EPOCHS, MOST_ENSEMBLE, Options, Report, train_prepared};
use crate::config::Config;
use crate::data;
use crate::device::DeviceChoice;
use crate::duration::{self, Steps, show_ms};
use crate::file::{Kind, not_ending_in, refuse_output};
use crate::measurements::Measurements;
use crate::output::Output;
use crate::plural::counted;
use crate::protocol::{self, Protocol};

/// Train a model on measurements
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is read
    #[command(flatten)]
    pub measurements: Measurements,
    /// Columns to forecast, separated by commas or each with a --target of its own; a name may hold commas
    #[arg(long, required = true, value_name = "COLUMN")]
    pub target: Vec<String>,
    /// Columns that are seen but not forecast: what else the board measures; as --target
    #[arg(long, value_name = "COLUMN")]
    pub covariate: Vec<String>,
    /// Columns whose values are known for the whole horizon ahead: a plan, a tariff, a holiday, a forecast of the weather;
    /// as --target. Those that do not pay are left out
    #[arg(long, value_name = "COLUMN")]
    pub known: Vec<String>,
    /// Seasons, at most three: samples or durations, the main one first [default: those that are found in the rows that
    /// train, or the longest of day, hour, minute and second that fits them]
    #[arg(long, value_delimiter = ',', value_name = "N|DURATION", value_parser = duration::season)]
    pub period: Vec<Steps>,
    /// How far ahead to forecast: steps or a duration [default: one season, at most 288 steps]
    #[arg(long, value_name = "N|DURATION", value_parser = duration::horizon)]
    pub horizon: Option<Steps>,
    /// The backbone: tiny, small or base
    #[arg(long, default_value = "small", value_name = "NAME", value_parser = preset)]
    pub preset: Preset,
    /// Which rows train, choose and are held out
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub protocol: protocol::Name,
    /// The part of the rows, at their end, that is held out and never read; 0 for none [default: 0.2]
    #[arg(long, value_name = "FRACTION", value_parser = protocol::fraction)]
    pub test_fraction: Option<f64>,
    /// Whether the device adapts its forecasts to their errors: believes simple experts, corrects bias and scale
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub adapt: Adapt,
    /// Epochs, at most: the first learns from rows one by one, the others from sequences, 20 steps each; 0 keeps the
    /// closed form
    #[arg(long, default_value_t = EPOCHS, value_name = "N", value_parser = epochs)]
    pub epochs: usize,
    /// Networks that learn in the first epoch, each from other first weights; one more then learns from them all and is
    /// kept. 1 for one that nobody teaches, in a quarter of the time
    #[arg(long, default_value_t = ENSEMBLE, value_name = "N", value_parser = ensemble)]
    pub ensemble: usize,
    /// Stop after this many minutes and keep the best so far (a finished training: nothing is left to resume)
    #[arg(long, value_name = "M", value_parser = minutes)]
    pub max_minutes: Option<f64>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Where to train: auto, cpu or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceChoice,
    /// Go on with an interrupted training of the same data and options
    #[arg(long)]
    pub resume: bool,
    /// The file to write
    #[arg(long, value_name = "MODEL.safetensors", value_parser = out)]
    pub out: PathBuf,
}

fn out(text: &str) -> Result<PathBuf, String> {
    not_ending_in("flow", "expected MODEL.safetensors, of which `flowcast export` then makes MODEL.flow", text)
}

/// A backbone by name.
pub(crate) fn preset(name: &str) -> Result<Preset, String> {
    let names = PRESETS.map(|preset| preset.name).join(", ");
    Preset::named(name).ok_or_else(|| format!("found {name:?}, expected one of {names}"))
}

/// A number of epochs.
pub(crate) fn epochs(text: &str) -> Result<usize, String> {
    text.parse::<usize>()
        .ok()
        .filter(|epochs| *epochs <= 100_000)
        .ok_or_else(|| format!("found {text:?}, expected a whole number up to 100000"))
}

/// A number of networks.
pub(crate) fn ensemble(text: &str) -> Result<usize, String> {
    text.parse::<usize>()
        .ok()
        .filter(|networks| (1..=MOST_ENSEMBLE).contains(networks))
        .ok_or_else(|| format!("found {text:?}, expected a whole number from 1 to {MOST_ENSEMBLE}"))
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|minutes| (0.0..=1e6).contains(minutes))
        .ok_or_else(|| format!("found {text:?}, expected a number of minutes, 0 or more"))
}

/// Runs the command.
///
/// # Errors
/// Unreadable or untrainable data, an unwritable file, an interruption (which leaves a checkpoint).
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let targets = data::resolve("--target", &args.measurements.data, &args.target)?;
    let covariates = data::resolve("--covariate", &args.measurements.data, &args.covariate)?;
    if let Some(twice) = covariates.iter().find(|column| targets.contains(column)) {
        bail!("--covariate: column {twice:?} is a target already");
    }
    let known = data::resolve("--known", &args.measurements.data, &args.known)?;
    for (columns, what) in [(&targets, "target"), (&covariates, "covariate")] {
        if let Some(twice) = known.iter().find(|column| columns.contains(column)) {
            bail!("--known: column {twice:?} is a {what} already");
        }
    }
    ensure!(known.len() <= MAX_KNOWN, "--known: found {} columns, expected at most {MAX_KNOWN}", known.len());
    let columns = [targets.as_slice(), &covariates, &known].concat();
    let read = args.measurements.options(columns);
    let protocol = Protocol::new(args.protocol, args.test_fraction)?;
    let series = protocol.read(&args.measurements.data, &read, output)?;
    let interval_ms = series.interval_ms;
    let periods = Steps::periods(&args.period, interval_ms)?;
    let horizon = args.horizon.map(|horizon| horizon.of_option("horizon", interval_ms)).transpose()?;
    let wishes = Wishes {
        periods,
        targets: targets.len(),
        known: known.len(),
        adapt: args.adapt,
        horizon,
        preset: args.preset,
        protocol,
    };
    let checkpoint = checkpoint::path(&args.out);
    let options = Options {
        wishes,
        epochs: args.epochs,
        ensemble: args.ensemble,
        most: args.max_minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes)),
        seed: args.seed,
        device: args.device,
        checkpoint: Some((checkpoint.clone(), args.resume)),
    };
    // Before the work, not after it.
    refuse_output(&args.measurements.data, &args.out, Kind::Safetensors)?;
    ensure!(
        args.resume || !checkpoint.exists(),
        "{} is there, of a training that was interrupted: go on with --resume, or delete it",
        checkpoint.display()
    );
    // Here, where the files' names are known, for a refusal to name them.
    let names = || args.measurements.data.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let prepared = setup::prepare(&series, &options.wishes).with_context(names)?;
    output.remarks(setup::review(&series, &prepared.0, &prepared.1).with_context(names)?);
    let (model, report) = train_prepared(&series, prepared, &options, output)?;
    output.remarks(report.without_gain());
    // A season that was asked for does not go in silence.
    let asked = &options.wishes.periods;
    output.remarks(asked.iter().filter(|period| !report.periods.contains(period)).map(|period| {
        format!(
            "the season of {period} samples is left out: on the validation rows it takes less than 2 % off the error"
        )
    }));
    output.remarks(known.iter().filter(|column| !report.known.contains(column)).map(|column| {
        format!(
            "column `{column}` is left out: knowing it in advance takes less than 2 % off the error of any group of steps on \
             the validation rows"
        )
    }));
    model.save(&args.out, &report.learning)?;
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint).with_context(|| checkpoint.display().to_string())?;
    }
    output.result(|| report.text(&model.config, &args.out), &report)
}

impl Report {
    /// A line where the model is no better than what needs none.
    fn without_gain(&self) -> Option<String> {
        let (name, mae) = self.naive.best();
        (self.validation.mae >= mae).then(|| {
            format!(
                "no gain on the rows that choose: {name} has a MAE of {mae:.4} there, the model one of {:.4} (in deviations); these \
                 data have no signal beyond it, or are too short to show one",
                self.validation.mae
            )
        })
    }

    fn text(&self, config: &Config, out: &Path) -> String {
        let gain = 100.0 * (1.0 - self.validation.loss / self.closed_form.loss);
        let joint = match self.epochs {
            0 => String::new(),
            _ => format!("; the joint training took {gain:.1} % off the loss"),
        };
        let blocks = if self.attention { "" } else { ", without an attention in the blocks" };
        let adapted = if self.adapted { ", adapted on the device" } else { "" };
        format!(
            "{}: {} parameters{blocks}{adapted}, {} every {}, seasons of {} samples, {} ahead\n\
             validation: MSE {:.4}, MAE {:.4} (closed form {:.4}, {:.4}{joint})\n\
             {} in {:.0} s on the {}\n",
            out.display(),
            self.parameters,
            counted(config.channels.len(), "channel"),
            show_ms(config.interval_ms),
            self.periods.iter().map(u32::to_string).collect::<Vec<_>>().join(" and "),
            counted(self.horizon, "step"),
            self.validation.mse,
            self.validation.mae,
            self.closed_form.mse,
            self.closed_form.mae,
            counted(self.epochs, "epoch"),
            self.seconds,
            self.device,
        )
    }
}
