//! `flowcast emulate`: streams measurements through the firmware on an emulated board and holds its forecasts beside
//! this machine's own, which must be equal to the bit.

pub mod image;
pub mod machine;
pub mod monitor;
pub mod report;
pub mod session;

use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::forecaster;
use crate::output::Output;
use crate::setup::{self, Need};
use machine::{Board, Machine};
use report::{Data, Report};
use session::{Options, Outcome};

/// Stream data through the firmware on an emulated board, and compare its forecasts with this machine's
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What is streamed
    #[command(flatten)]
    pub data: Data,
    /// The board to emulate
    #[arg(long, default_value = "mps2-an386", value_parser = Machine::named)]
    pub machine: Machine,
    /// Run this firmware image instead of building the one for the model's preset
    #[arg(long, value_name = "ELF")]
    pub firmware: Option<PathBuf>,
    /// Show the firmware's log on standard error (needs defmt-print)
    #[arg(long)]
    pub log: bool,
}

/// Runs the command.
///
/// # Errors
/// Bad input, a missing tool (with the command that gets it), a board that stops or refuses, and a forecast that is not
/// equal to this machine's, with the first difference.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    setup::ensure(&[Need::Qemu], false)?;
    crate::interrupt::listen();
    let path = &args.data.streamed.model;
    let model = forecaster::read(path)?;
    let in_model = || path.display().to_string();
    let mut host = forecaster::open(&model).with_context(in_model)?;
    let header = host.header().clone();
    let rows = args.data.rows(&header, &model, output)?;

    let firmware = match &args.firmware {
        Some(firmware) => firmware.clone(),
        None => {
            let preset = forecaster::preset(&header).with_context(in_model)?;
            let refused = args.machine.refuses(&header, &preset);
            if !refused.is_empty() {
                bail!("{} does not run {}: {}", args.machine.name, path.display(), refused.join("; "));
            }
            output.note(format!("building the firmware for {}, preset {}", args.machine.name, preset.name));
            image::build(&args.machine, preset.name, header.numeric)?
        }
    };
    let (log, printer): (Box<dyn io::Write + Send>, _) = if args.log {
        let (input, printer) = machine::printer(&firmware)?;
        (Box::new(input), Some(printer))
    } else {
        (Box::new(io::sink()), None)
    };
    let mut board = Board::start(&args.machine, &firmware, &model, log)?;
    let options = Options {
        every: args.data.every as usize,
        keep: Some(rows.keep),
        progress: output.progress(rows.samples.len() as u64, "streaming"),
        ..Options::default()
    };
    let outcome = board.stream(host.as_mut(), &rows.samples, options);
    let stopped = board.stop();
    if let Some(mut printer) = printer {
        let _ = printer.wait();
    }
    let outcome = outcome?;
    stopped?;

    let name = format!("{} {}, emulated", args.machine.name, args.machine.processor);
    Report::new(args.machine.name, &outcome).conclude(&name, &outcome, &rows, (&header, &model), output)
}

impl Board {
    /// [`session::stream`] to this board.
    ///
    /// # Errors
    /// As there; where the emulator stopped, what it said.
    pub fn stream(
        &mut self,
        host: &mut dyn flowcast_core::forecaster::Streaming,
        rows: &[Vec<f32>],
        options: Options<'_>,
    ) -> Result<Outcome> {
        session::stream(self.link(), host, rows, options).map_err(|error| match error {
            session::SessionError::Link(error) => self.explain(error),
            error => error.into(),
        })
    }
}
