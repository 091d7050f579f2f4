//! `flowcast export`: a trained model becomes the file that the device runs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flowcast_core::format::{Header, Numeric};
use serde::Serialize;

use crate::config::TrainedModel;
use crate::file::{not_ending_in, refuse_overwriting, write_atomic};
use crate::output::Output;

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
}

fn out(text: &str) -> Result<PathBuf, String> {
    not_ending_in(
        "safetensors",
        "expected MODEL.flow, which boards read: `flowcast train` writes MODEL.safetensors",
        text,
    )
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
    refuse_overwriting(std::slice::from_ref(&args.model), &args.out)?;
    let model = TrainedModel::load(&args.model)?;
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
    };
    output.result(
        || format!("{}: {} bytes, {}, model {}\n", args.out.display(), report.bytes, report.numeric, report.identity),
        &report,
    )
}
