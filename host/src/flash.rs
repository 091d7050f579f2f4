//! `flowcast flash`: writes a model, and the firmware that runs it, to a board through a debug probe.
//!
//! Everything is checked first: the model, that the firmware built for it runs it (of `--firmware`, only its place in flash), that the chip is as the table of boards says
//! ([`layout`]). `--dry-run` ends there, and needs no board.

pub mod chip;
pub mod image;
pub mod layout;
pub mod probe;
pub mod slot;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use flowcast_core::format::Header;
use flowcast_core::slot::{RECORD_BYTES, Record};
use flowcast_core::warning::{Limit, Line};
use probe_rs::probe::DebugProbeSelector;
use serde::Serialize;

use crate::backtest::channel_names;
use crate::emulate::image as build;
use crate::emulate::machine::Machine;
use crate::forecaster;
use crate::hardware::{Hardware, Region};
use crate::inspect::board::Board;
use crate::inspect::cost::Cost;
use crate::output::Output;
use crate::plural::counted;
use crate::{gate, key, limit};
use chip::Chip;
use image::Image;
use layout::{Layout, Place};

/// Write a model, and the firmware that runs it, to a board through a debug probe
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The model, as `flowcast export` wrote it
    #[arg(value_name = "MODEL.flow")]
    pub model: PathBuf,
    /// The board
    #[arg(long, value_name = "NAME", value_parser = Hardware::named)]
    pub board: Hardware,
    /// Which of the board's two slots takes the model [default: the one whose model the board does not run]
    #[arg(long, value_enum, ignore_case = true)]
    pub slot: Option<Slot>,
    /// Write this firmware image instead of building the one for the model's preset
    #[arg(long, value_name = "ELF", conflicts_with_all = ["model_only", "limits", "max_errors"])]
    pub firmware: Option<PathBuf>,
    /// Leave the firmware that is on the board
    #[arg(long, conflicts_with_all = ["limits", "max_errors"])]
    pub model_only: bool,
    /// Tell a sample only where a gateway with the same model would be wrong by more than this, in the channel's unit: of every
    /// channel, or CHANNEL=VALUE. `flowcast gate` says what that saves, `flowcast monitor --model` is such a gateway. After a
    /// reset both ends start anew
    #[arg(long = "max-error", value_name = "VALUE|CHANNEL=VALUE", value_delimiter = ',', value_parser = gate::max_error, allow_negative_numbers = true)]
    pub max_errors: Vec<(Option<String>, f32)>,
    /// The sensor on the board's I2C pins, at its usual address
    #[arg(long, value_enum, default_value_t, value_name = "NAME", conflicts_with_all = ["model_only", "firmware"])]
    pub sensor: Sensor,
    /// A clock with a battery on the same pins
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["model_only", "firmware"])]
    pub clock: Option<Clock>,
    /// Write the firmware that `flowcast replay` streams data to instead of the one that samples
    #[arg(long, conflicts_with_all = ["model_only", "firmware", "limits", "max_errors", "sensor", "clock"])]
    pub replay: bool,
    /// The debug probe, where several are connected: VENDOR:PRODUCT or VENDOR:PRODUCT:SERIAL
    #[arg(long, value_name = "PROBE")]
    pub probe: Option<DebugProbeSelector>,
    /// Limits that the firmware warns of before the forecast crosses them
    #[command(flatten)]
    pub limits: limit::Limits,
    /// What of the forecast has to cross a limit
    #[arg(long, value_enum, default_value_t = By::Median, requires = "limits")]
    pub by: By,
    /// Build a firmware that runs models signed by this key alone, which the model must be; with `--model-only` or `--firmware`
    /// check the model alone
    #[arg(long, value_name = "FILE.pub")]
    pub key: Option<PathBuf>,
    /// Check and lay out everything, and write nothing; needs no board
    #[arg(long)]
    pub dry_run: bool,
}

/// A sensor that stations have a driver for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sensor {
    /// LM75 or TMP105: a temperature.
    #[default]
    Lm75,
    /// SHT40 to SHT45: temperature and humidity.
    Sht4x,
    /// LIS2DH12: acceleration on three axes.
    Lis2dh12,
}

/// A clock that stations have a driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Clock {
    /// DS3231.
    Ds3231,
}

/// A slot for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

/// What of a forecast is held against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// The edge of its band that is nearer to the limit: early, and often for nothing.
    Near,
    /// Its median.
    Median,
    /// The edge of its band that is farther from the limit: late, and seldom for nothing.
    Far,
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The board.
    pub board: &'static str,
    /// Its chip, as probe-rs names it.
    pub chip: &'static str,
    /// The model's CRC-32.
    pub model: String,
    /// Whether everything may be written.
    pub fits: bool,
    /// Why not, one sentence each.
    pub refused: Vec<String>,
    /// The flash, in its order.
    pub layout: Vec<Place>,
    /// Whether it was written and read back.
    pub written: bool,
}

/// Runs the command.
///
/// # Errors
/// No model, one that the board does not run or has no room for, a firmware that does not fit; no probe, no permission, no
/// board; what was written does not read back.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let board = &args.board;
    let bytes = forecaster::read(&args.model)?;
    let in_model = || args.model.display().to_string();
    let header = Header::parse(&bytes).with_context(in_model)?;
    let preset = forecaster::preset(&header).with_context(in_model)?;
    let key = args.key.as_deref().map(key::public).transpose()?;
    let model = match &key {
        Some(key) => key::signed(&bytes, header.length(), key).with_context(in_model)?,
        None => bytes.get(..header.length()).unwrap_or(&bytes),
    };

    let line = match args.by {
        By::Near => Line::Near,
        By::Median => Line::Median,
        By::Far => Line::Far,
    };
    let limits: Vec<Limit> =
        args.limits.of(&header, &bytes)?.into_iter().map(|limit| Limit { line, ..limit }).collect();
    let errors = match &args.max_errors[..] {
        [] => Vec::new(),
        wanted => gate::errors(wanted, &header, &bytes, &channel_names(&header, &bytes))?,
    };

    let mut refused = Board::of(board).report(&header, &preset, &Cost::of(&header), header.interval_ms).refused;
    let firmware = match &args.firmware {
        Some(path) => {
            output.remark(format!(
                "{}: only its place in flash is checked; that it runs preset {} in {}{}, nobody has checked",
                path.display(),
                preset.name,
                header.numeric.name(),
                if key.is_some() { ", and models of this key alone" } else { "" }
            ));
            Some(path.clone())
        }
        None if args.model_only => None,
        // No firmware is built for a model that it would refuse.
        None if refused.is_empty() && build::is_there(board.feature) => {
            output.note(format!("building the firmware for {}, preset {}", board.machine.name, preset.name));
            let machine = Machine { name: board.feature, ..board.machine };
            let errors = errors.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
            let mut variables = vec![("FLOWCAST_LIMITS", limit::variable(&limits)), ("FLOWCAST_ERRORS", errors)];
            variables.extend(key.iter().map(|key| ("FLOWCAST_KEY", key::hexadecimal(key))));
            let sensor = match args.sensor {
                Sensor::Lm75 => None,
                Sensor::Sht4x => Some("sensor-sht4x"),
                Sensor::Lis2dh12 => Some("sensor-lis2dh12"),
            };
            let clock = args.clock.map(|Clock::Ds3231| "clock-ds3231");
            let signed = key.is_some().then_some("signed");
            let features: Vec<_> = [sensor, clock, signed].into_iter().flatten().collect();
            let with = build::With { variables: &variables, features: &features };
            let program = if args.replay { "replay" } else { "station" };
            Some(build::build_program(&machine, program, preset.name, header.numeric, with)?)
        }
        None => {
            if !build::is_there(board.feature) {
                output.remark(format!(
                    "there is no firmware for {} here: only the model is laid out",
                    board.machine.name
                ));
            }
            None
        }
    };
    let image = firmware.as_deref().map(Image::read).transpose()?;
    let chip = Chip::named(board.chip)?;
    let wanted = args.slot.map(|slot| slot as usize);
    let identity = header.identity;
    let mut at = if refused.is_empty() && !args.dry_run {
        Some(probe::Board::attach(board, args.probe.as_ref())?)
    } else {
        None
    };
    let (slot, record) = match &mut at {
        Some(at) => {
            let [a, b] = board.models.map(|slot| slot::Content::read(slot, |address, bytes| at.read(address, bytes)));
            slot::pick(&[a?, b?], wanted, header.length() as u32, identity)
        }
        None => {
            if wanted.is_none() && args.dry_run {
                output.remark("which slot the board does not run is read from it: this is the layout for slot A");
            }
            (wanted.unwrap_or(0), Record { sequence: 0, length: header.length() as u32, model: identity })
        }
    };
    let Layout { places, refused: more } = layout::lay_out(board, &chip, image.as_ref(), (slot, model.len() as u64));
    refused.extend(more);
    // A model that is too large is so for the firmware and for the flash.
    refused.dedup();

    let fits = refused.is_empty();
    let at = at.filter(|_| fits);
    let written = at.is_some();
    if let Some(mut at) = at {
        let firmware = image.iter().flat_map(|image| &image.parts).map(|(start, bytes)| (*start, bytes.as_slice()));
        let parts: Vec<_> = firmware.chain([(board.models[slot].start, model)]).collect();
        // In this order, a cut at any moment leaves the other slot's model in use.
        let place = layout::record(board.models[slot]).start;
        at.write(&[(place, &[0xFF; RECORD_BYTES])], output)?;
        at.write(&parts, output)?;
        at.write_erased(&[(place, &record.write())], output)?;
        at.reset()?;
    }
    let report = Report {
        board: board.machine.name,
        chip: board.chip,
        model: format!("{:08x}", header.identity),
        fits,
        refused,
        layout: places,
        written,
    };
    output.result(|| report.text(), &report)?;
    if !fits {
        bail!("{} does not take {}: {}", report.board, args.model.display(), report.refused.join("; "));
    }
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("{}, {} as probe-rs knows it\n", self.board, self.chip);
        for Place { name, start, bytes_available, bytes, sectors } in &self.layout {
            let region = Region { start: *start, bytes: *bytes_available };
            let _ = match bytes {
                Some(bytes) => writeln!(
                    text,
                    "{name:9} {region}  {bytes:>7} of {bytes_available:>7} bytes, {} erased",
                    counted(sectors, "sector")
                ),
                None => writeln!(text, "{name:9} {region}        - of {bytes_available:>7} bytes, left as it is"),
            };
        }
        let _ = match (self.fits, self.written) {
            // Why, the error says.
            (false, _) => writeln!(text, "does not fit; nothing was written"),
            (true, true) => writeln!(text, "model {} written, read back, board reset", self.model),
            (true, false) => writeln!(text, "fits; nothing was written (dry run)"),
        };
        text
    }
}
