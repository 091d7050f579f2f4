//! `flowcast replay`: streams measurements to a board on a line that runs the firmware for it, and holds its forecasts beside
//! this machine's own, which must be equal to the bit.
//!
//! The board forgets what it knew and is told the data as if they were its sensors' (`firmware/src/bin/replay.rs`, which
//! `flowcast flash --replay` writes). A station keeps what it learns and refuses that.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use flowcast_core::wire::Refusal;

use crate::emulate::report::{Data, Report};
use crate::emulate::session::{self, Options, SessionError};
use crate::forecaster;
use crate::line::{self, Name};
use crate::link::{Link, LinkError};
use crate::output::Output;

/// Stream data through a board on a line, and compare its forecasts with this machine's
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The model, which the board runs too, and what is streamed
    #[command(flatten)]
    pub data: Data,
    /// Where the board is: a serial port or tcp:HOST:PORT
    #[arg(long = "to", value_name = "LINE")]
    pub line: Name,
    /// The serial port's rate
    #[arg(long, default_value_t = line::BAUD, value_parser = line::baud)]
    pub baud: u32,
}

/// How long a board may take to answer; a forecast of many steps is long on a slow line.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
///
/// # Errors
/// Bad input, no line, a board that is silent or refuses, and a forecast that is not equal to this machine's, with the first
/// difference.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    crate::interrupt::listen();
    let path = &args.data.streamed.model;
    let model = forecaster::read(path)?;
    let mut host = forecaster::open(&model).with_context(|| path.display().to_string())?;
    let header = host.header().clone();
    let rows = args.data.rows(&header, &model, output)?;
    let mut link = Link::new(line::open_to_ask(&args.line, args.baud)?, PATIENCE);
    let options = Options {
        every: args.data.every as usize,
        // A real board holds one request at a time.
        window: 1,
        keep: Some(rows.keep),
        progress: output.progress(rows.samples.len() as u64, "streaming"),
        ..Options::default()
    };
    let name = args.line.to_string();
    let outcome =
        session::stream(&mut link, host.as_mut(), &rows.samples, options).map_err(|error| explain(error, &name))?;
    Report::new(&name, &outcome).conclude(&name, &outcome, &rows, (&header, &model), output)
}

fn explain(error: SessionError, name: &str) -> anyhow::Error {
    match &error {
        SessionError::Link(LinkError::Refused(refusal)) if **refusal == Refusal::OwnSensors => {
            anyhow!(
                "{name} is a station, which learns from its own sensors alone; `flowcast flash --replay` writes a firmware that replays"
            )
        }
        SessionError::Link(LinkError::Silent(_)) => {
            anyhow!("{name}: {error}; it runs the firmware that `flowcast flash --replay` writes?")
        }
        _ => anyhow::Error::new(error).context(name.to_owned()),
    }
}
