//! `flowcast export`: a trained model becomes the file that the device runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use flowcast_core::format::{Header, Numeric};
use serde::Serialize;

use crate::backtest::check_interval;
use crate::calibration::calibrate;
use crate::config::TrainedModel;
use crate::data::{ReadOptions, Series};
use crate::duration::parse_duration;
use crate::file::{Kind, ending_in, not_ending_in, refuse_losing, refuse_overwriting, write_atomic};
use crate::output::Output;
use crate::plural::counted;
use crate::protocol::{self, Protocol};
use crate::rounding::{self, Rounding};
use crate::train::epochs;
use crate::train::fine_tune::{FineTuning, fine_tune};
use crate::train::setup::Split;

/// Export a trained model as the file that boards run
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The trained model
    #[arg(value_name = "MODEL.safetensors")]
    pub model: PathBuf,
    /// The file to write
    #[arg(long, value_name = "MODEL.flow", value_parser = out)]
    pub out: PathBuf,
    /// Weights of eight bits and arithmetic in integers: a quarter of the flash, and no need of floating point
    #[arg(long, value_name = "FORM")]
    pub quantize: Option<Quantize>,
    /// Round so that errors cancel on these measurements, and say what rounding costs, layer by layer (the rows that are
    /// held out are not read)
    #[arg(long, value_name = "DATA", requires = "quantize")]
    pub calibrate: Vec<PathBuf>,
    /// Of `--calibrate`: the column of times, if it is not found by itself
    #[arg(long, value_name = "COLUMN", requires = "calibrate")]
    pub time: Option<String>,
    /// Of `--calibrate`: read the rows as evenly spaced, whatever times they carry
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "calibrate", allow_hyphen_values = true)]
    pub interval: Option<Duration>,
    /// Of `--calibrate`: how rows are held out
    #[arg(long, value_enum, default_value_t, value_name = "NAME", requires = "calibrate")]
    pub protocol: protocol::Name,
    /// Of `--calibrate`: the part of the rows, at their end, that is held out [default: 0.2]
    #[arg(long, value_name = "FRACTION", value_parser = protocol::fraction, requires = "calibrate")]
    pub test_fraction: Option<f64>,
    /// Then have the rounded model learn to forecast what the exact one does, for at most so many epochs of 20 steps
    #[arg(long, value_name = "EPOCHS", value_parser = some_epochs, requires = "calibrate", allow_negative_numbers = true)]
    pub fine_tune: Option<usize>,
    /// Of `--fine-tune`: seed of every random choice
    #[arg(long, default_value_t = 1, value_name = "N", requires = "fine_tune")]
    pub seed: u64,
}

fn some_epochs(text: &str) -> Result<usize, String> {
    match epochs(text)? {
        0 => Err("found 0, expected at least 1".to_owned()),
        epochs => Ok(epochs),
    }
}

fn out(text: &str) -> Result<PathBuf, String> {
    not_ending_in(
        "safetensors",
        "expected MODEL.flow, which boards read: `flowcast train` writes MODEL.safetensors",
        text,
    )?;
    ending_in("flow", text)
}

/// A smaller form of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Quantize {
    /// Weights of eight bits, arithmetic in integers.
    Int8,
}

impl Quantize {
    fn numeric(self) -> Numeric {
        match self {
            Self::Int8 => Numeric::I8,
        }
    }
}

/// One tensor of a model.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: [usize; 3],
    /// Its bytes.
    pub bytes: usize,
}

/// What was exported.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Bytes of the file.
    pub bytes: usize,
    /// `f32` or `int8`.
    pub numeric: &'static str,
    /// CRC-32 of the file, which names the model.
    pub identity: String,
    /// Its tensors.
    pub layers: Vec<Layer>,
    /// What rounding costs, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roundings: Vec<Rounding>,
    /// How fine-tuning went, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_tuning: Option<FineTuning>,
}

/// Every tensor of a model.
pub fn layers(header: &Header) -> Vec<Layer> {
    let layer = |tensor: flowcast_core::format::Tensor| Layer {
        name: tensor.to_string(),
        shape: tensor.shape,
        bytes: tensor.bytes(header.numeric),
    };
    header.tensors().map(layer).collect()
}

/// Runs the command.
///
/// # Errors
/// The model is none, or the file cannot be written; an older file is kept.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    refuse_overwriting(&[std::slice::from_ref(&args.model), &args.calibrate].concat(), &args.out)?;
    refuse_losing(&args.out, Kind::Flow)?;
    let mut model = TrainedModel::load(&args.model)?;
    let (mut roundings, mut fine_tuning) = (Vec::new(), None);
    if !args.calibrate.is_empty() {
        let (series, split) = seen(args, &model, output)?;
        let mut rounded = calibrate(&model, &series)?;
        if let Some(epochs) = args.fine_tune {
            let (tuned, told) = fine_tune(&model, rounded, (&series, &split), (epochs, args.seed), output)?;
            (rounded, fine_tuning) = (tuned, Some(told));
        }
        roundings = rounding::measure(&model, &rounded, &series, output)?;
        model = rounded;
    }
    let bytes = model
        .to_flow_as(args.quantize.map_or(Numeric::F32, Quantize::numeric))
        .with_context(|| args.model.display().to_string())?;
    let header = Header::parse(&bytes)?;
    write_atomic(&args.out, &bytes)?;
    let report = Report {
        bytes: bytes.len(),
        numeric: header.numeric.name(),
        identity: format!("{:08x}", header.identity),
        layers: layers(&header),
        roundings,
        fine_tuning,
    };
    output.result(
        || {
            let Report { bytes, numeric, identity, roundings, fine_tuning, .. } = &report;
            let costs = if roundings.is_empty() { String::new() } else { rounding::show(roundings) };
            let tuned = fine_tuning.as_ref().map_or_else(String::new, |FineTuning { before, after, history }| {
                let epochs = counted(history.len(), "epoch");
                if after >= before {
                    let moved = 100.0 * before;
                    return format!(
                        "fine-tuned in {epochs} and nothing gained: the calibrated model is kept (integers move forecasts by {moved:.3} %)\n"
                    );
                }
                format!(
                    "fine-tuned in {epochs}: on the rows that choose, integers move forecasts by {:.3} % ({:.3} % before)\n",
                    100.0 * after,
                    100.0 * before
                )
            });
            format!("{costs}{tuned}{}: {bytes} bytes, {numeric}, model {identity}\n", args.out.display())
        },
        &report,
    )
}

/// The rows of `--calibrate` that are not held out, and which of them train.
fn seen(args: &Args, model: &TrainedModel, output: &Output) -> Result<(Series, Split)> {
    let protocol = Protocol::new(args.protocol, args.test_fraction)?;
    let columns = model.config.channels.iter().map(|channel| channel.name.clone()).collect();
    let options = ReadOptions { time: args.time.clone(), columns, interval: args.interval };
    let series = protocol.read(&args.calibrate, &options, output)?;
    check_interval(&model.config.header()?, &series)?;
    let (period, horizon) = (model.config.period() as usize, usize::from(model.config.horizon));
    let split = Split::new(protocol, &series, period, horizon);
    let rows = 0..split.validation.end;
    output.remarks(series.review(rows, &model.config.records(), model.config.targets.into(), period));
    Ok((series.before(split.validation.end), split))
}
