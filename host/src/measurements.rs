//! The part of a command line that says which measurements a command reads, and how they become a model's series.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowcast_core::format::Header;

use crate::backtest::{channel_names, check_interval};
use crate::data::{self, ReadOptions, Series};
use crate::duration::parse_duration;
use crate::output::Output;
use crate::plural::counted;

/// Measurements.
#[derive(clap::Args, Clone, Debug)]
pub struct Measurements {
    /// Measurements: .csv, .csv.gz or .csv.xz files of one layout
    #[arg(required = true, value_name = "DATA")]
    pub data: Vec<PathBuf>,
    /// The column of times, if it is not found by itself
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// Read the rows as evenly spaced, whatever times they carry
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub interval: Option<Duration>,
}

impl Measurements {
    /// How these columns of them are read.
    pub fn options(&self, columns: Vec<String>) -> ReadOptions {
        ReadOptions { time: self.time.clone(), columns, interval: self.interval }
    }
}

/// What a line to a board does not carry: the columns that the model was trained to know in advance, in words.
pub fn untold(header: &Header, series: &Series) -> Option<String> {
    let names: Vec<String> = series.columns[header.known_channels()].iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "the messages to a board carry nothing of the future: neither it nor this machine is told {} in advance here",
            names.join(", ")
        )
    })
}

/// A model and the measurements that are streamed through it.
#[derive(clap::Args, Clone, Debug)]
pub struct Streamed {
    /// The model, as `flowcast export` wrote it
    #[arg(value_name = "MODEL.flow")]
    pub model: PathBuf,
    /// What is streamed
    #[command(flatten)]
    pub measurements: Measurements,
    /// Columns of the data in the order of the model's channels [default: those named as the channels]
    #[arg(long = "column", value_name = "COLUMN")]
    pub columns: Vec<String>,
}

impl Streamed {
    /// The columns for a model's channels.
    ///
    /// # Errors
    /// The data have none of a name, or another count of names was given than there are channels.
    pub fn columns(&self, header: &Header, model: &[u8]) -> Result<Vec<String>> {
        let columns = match self.columns.as_slice() {
            [] => channel_names(header, model),
            named => data::resolve("--column", &self.measurements.data, named)?,
        };
        let (found, expected) = (columns.len(), usize::from(header.channels));
        ensure!(
            found == expected,
            "--column names {}, the model has {}",
            counted(found, "column"),
            counted(expected, "channel")
        );
        Ok(columns)
    }

    /// These columns, with remarks of what the data are like.
    ///
    /// # Errors
    /// The data cannot be read, or come at another pace than the model's.
    pub fn read(&self, columns: Vec<String>, header: &Header, model: &[u8], output: &Output) -> Result<Series> {
        let options = self.measurements.options(columns);
        let (series, notes) = Series::read_noting(&self.measurements.data, &options)
            .with_context(|| format!("{} wants the columns {}", self.model.display(), options.columns.join(", ")))?;
        check_interval(header, &series)?;
        output.remarks(notes);
        output.remarks(series.review_for(header, model));
        Ok(series)
    }

    /// All files that are read.
    pub fn inputs(&self) -> Vec<PathBuf> {
        [&self.measurements.data[..], std::slice::from_ref(&self.model)].concat()
    }
}
