//! `flowcast export`: a trained model becomes the file that the device runs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flowcast_core::format::Header;
use serde::Serialize;

use crate::config::TrainedModel;
use crate::file::{refuse_overwriting, write_atomic};
use crate::output::Output;

/// Export a trained model as the file that boards run
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The trained model
    #[arg(value_name = "MODEL.safetensors")]
    pub model: PathBuf,
    /// The file to write
    #[arg(long, value_name = "MODEL.flow")]
    pub out: PathBuf,
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
    /// `f32`.
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
        bytes: 4 * tensor.len(),
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
    let bytes = model.to_flow().with_context(|| args.model.display().to_string())?;
    let header = Header::parse(&bytes)?;
    write_atomic(&args.out, &bytes)?;
    let report = Report {
        bytes: bytes.len(),
        numeric: "f32",
        identity: format!("{:08x}", header.identity),
        layers: layers(&header),
    };
    output
        .result(|| format!("{}: {} bytes, f32, model {}\n", args.out.display(), report.bytes, report.identity), &report)
}
