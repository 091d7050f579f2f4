//! `flowcast inspect`: what is in a model file, what it costs to run, and whether a board holds it, before flashing.
//!
//! [`cost`] counts arithmetic and memory, [`board`] knows what boards have, [`power`] what they draw.

pub mod board;
pub mod cost;
pub mod power;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flowcast_core::format::{Channel, Header};
use flowcast_core::seasonal::Season;
use flowcast_core::signature::{SIGNATURE_BYTES, find_signature};
use serde::Serialize;

use crate::duration::{parse_duration, show_ms};
use crate::export::{Layer, layers};
use crate::forecaster::{self, preset};
use crate::output::Output;
use crate::plural::counted;
use board::{Board, BoardReport};
use cost::{Cost, state_bytes};
use power::{Draw, Power};

/// Show what is in a model file, what it costs to run, and whether a board holds it
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model, as `flowcast export` wrote it
    #[arg(value_name = "MODEL.flow")]
    pub model: PathBuf,
    /// Whether this board holds it and, if it is a real one, is done with a sample before the next one is due; exits 1 where not
    #[arg(long, value_name = "NAME", value_parser = Board::named)]
    pub board: Option<Board>,
    /// What a battery gives where samples come at another interval than the model's; exits 1 where the board cannot keep up
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "board", allow_hyphen_values = true)]
    pub every: Option<Duration>,
    /// What your board draws, as you measured it: volts, milliamperes awake, milliamperes asleep [default: the chip alone, where its
    /// maker's figures are known]
    #[arg(long, value_name = "V,MA,MA", value_parser = power::measured, requires = "board")]
    pub draw: Option<Draw>,
}

/// A head's memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Samples; none for an infinite one.
    pub samples: Option<f32>,
    /// The same as time.
    pub milliseconds: Option<u64>,
}

/// A channel, as the file describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChannelReport {
    /// The column that it was trained on.
    pub name: String,
    /// Its unit, may be empty.
    pub unit: String,
    /// Mean of the training data.
    pub offset: f32,
    /// Deviation of the training data.
    pub scale: f32,
    /// Samples below are taken as missing.
    pub valid_min: f32,
    /// Samples above are taken as missing.
    pub valid_max: f32,
    /// More equal samples in a row are taken as missing; 0 for never.
    pub stuck_limit: u32,
    /// A sample is held back until another says the same where it lies beyond what the memories know, by so many times
    /// what samples are commonly off; 0 for never.
    pub spike_limit: f32,
    /// That is at least so far, in deviations.
    pub spike_least: f32,
    /// Forecasts are multiples of it; 0 for any number.
    pub resolution: f32,
    /// No forecast is told below it; `valid_min` for a sensor that does not end there.
    pub lowest: f32,
    /// No forecast is told above it; `valid_max` for a sensor that does not end there.
    pub highest: f32,
}

/// A season.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeasonReport {
    /// Samples of one period.
    pub samples: u32,
    /// The same as time.
    pub milliseconds: u64,
    /// Slots of the seasonal memory, and samples that share one.
    pub slots: usize,
    /// Samples that share a slot.
    pub slot_samples: u32,
}

/// What the command prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What lies behind the model in its file: `nothing`, `a signature`, `a signature and other bytes`, or `other bytes`.
    pub behind: &'static str,
    /// Bytes of the model.
    pub bytes: usize,
    /// The same with the signature behind it, as a board that wants one holds it; none without a signature.
    pub signed_bytes: Option<usize>,
    /// CRC-32 of the file, which names the model.
    pub identity: String,
    /// `f32` or `int8`.
    pub numeric: &'static str,
    /// Name of the backbone.
    pub preset: &'static str,
    /// Weights.
    pub parameters: usize,
    /// Milliseconds between samples.
    pub interval_ms: u64,
    /// The seasons, the main one first.
    pub seasons: Vec<SeasonReport>,
    /// Channels that are forecast, the first ones; the others are covariates.
    pub targets: u16,
    /// Channels that are known in advance, the last ones.
    pub known: u16,
    /// Steps ahead with weights of their own.
    pub knots: u16,
    /// Periods that each memory of the seasonal Flow-Attention holds; none without it.
    pub retrieval: Vec<f32>,
    /// Whether the readout sees the ring of last samples.
    pub ring: bool,
    /// Whether the readout sees the other channels' trends.
    pub mixed: bool,
    /// Whether intervals are corrected on the device.
    pub corrected: bool,
    /// Whether the point forecast is adapted on the device.
    pub adapted: bool,
    /// Steps ahead.
    pub horizon: u16,
    /// Quantile levels.
    pub quantiles: Vec<f32>,
    /// The channels.
    pub channels: Vec<ChannelReport>,
    /// Memories, `[layers][heads]`; none where the blocks have no attention.
    pub memories: Vec<Vec<Memory>>,
    /// Every tensor.
    pub layers: Vec<Layer>,
    /// Slots that a forecaster of this model must have room for: its `SLOTS`.
    pub slots: usize,
    /// Blocks whose attention it must have room for: its `FLOWS`, 0 where they have none.
    pub flows: u16,
    /// RAM of a forecaster for just these channels and slots ([`state_bytes`]).
    pub state_bytes: usize,
    /// Arithmetic.
    #[serde(flatten)]
    pub cost: Cost,
    /// On the board that was asked for.
    pub board: Option<BoardReport>,
}

/// Runs the command.
///
/// # Errors
/// The file is no model, or one of no preset; or the board does not hold it or cannot keep up, which is said last.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let bytes = forecaster::read(&args.model)?;
    let mut report =
        inspect_at(&bytes, args.board.as_ref(), args.every).with_context(|| args.model.display().to_string())?;
    if let Some(board) = &mut report.board {
        let asked = args.draw.map(|_| "--draw").or(args.every.map(|_| "--every"));
        if let (None, Some(asked)) = (&board.power, asked) {
            bail!("{asked}: {} is emulated and draws nothing", board.name);
        }
        if let Some(draw) = args.draw {
            board.power = board.power.take().map(|power| power.measured(draw));
        }
    }
    output.result(|| format!("{}: {}", args.model.display(), report.text()), &report)?;
    let Some(board) = &report.board else { return Ok(()) };
    if !board.fits {
        bail!("{} does not hold {}: {}", board.name, args.model.display(), board.refused.join("; "));
    }
    if let Some(late) = board.power.as_ref().and_then(Power::late) {
        bail!("{} cannot keep up with {}: {late}", board.name, args.model.display());
    }
    Ok(())
}

/// Describes the model in `bytes`.
///
/// # Errors
/// The bytes are no model, or one of no preset.
pub fn inspect(bytes: &[u8], board: Option<&Board>) -> Result<Report> {
    inspect_at(bytes, board, None)
}

/// The same with another time between samples than the model's.
fn inspect_at(bytes: &[u8], board: Option<&Board>, every: Option<Duration>) -> Result<Report> {
    let header = Header::parse(bytes)?;
    let preset = preset(&header)?;
    let cost = Cost::of(&header);
    let interval_ms = every.map_or(header.interval_ms, |every| (every.as_millis() as u64).max(1));
    let memory = |gain: f32| {
        let samples = (gain > 0.0).then(|| 1.0 / gain);
        let milliseconds = samples.map(|samples| (f64::from(samples) * header.interval_ms as f64).round() as u64);
        Memory { samples, milliseconds }
    };
    let memories =
        (0..header.attending_layers().into()).map(|layer| header.head_gains(bytes, layer).map(memory).collect());
    let channels = (0..header.channels.into()).filter_map(|index| header.channel(bytes, index));
    let behind = &bytes[header.length()..];
    let signed_bytes = find_signature(behind).map(|_| header.length() + SIGNATURE_BYTES);
    let behind = match (behind.len(), signed_bytes) {
        (0, _) => "nothing",
        (_, None) => "other bytes",
        (length, Some(_)) if length > SIGNATURE_BYTES => "a signature and other bytes",
        _ => "a signature",
    };
    Ok(Report {
        behind,
        bytes: header.length(),
        signed_bytes,
        identity: format!("{:08x}", header.identity),
        numeric: header.numeric.name(),
        preset: preset.name,
        parameters: header.weight_count(),
        interval_ms: header.interval_ms,
        seasons: header.seasons.list.iter().map(|season| SeasonReport::new(season, header.interval_ms)).collect(),
        targets: header.targets,
        known: header.known,
        knots: header.knots,
        retrieval: header.seasons.retrieval.into_iter().flatten().map(|gain| 1.0 / gain).collect(),
        ring: header.ring,
        mixed: header.mixed,
        corrected: header.corrected,
        adapted: header.adapted,
        horizon: header.horizon,
        quantiles: header.quantiles.to_vec(),
        channels: channels.map(ChannelReport::from).collect(),
        memories: memories.collect(),
        layers: layers(&header),
        slots: header.seasons.capacity(),
        flows: header.attending_layers(),
        state_bytes: state_bytes(
            &preset,
            header.numeric,
            header.channels.into(),
            header.seasons.capacity(),
            header.attention,
        ),
        cost,
        board: board.map(|board| board.report(&header, &preset, &cost, interval_ms)),
    })
}

impl SeasonReport {
    fn new(season: &Season, interval_ms: u64) -> Self {
        Self {
            samples: season.period,
            milliseconds: u64::from(season.period) * interval_ms,
            slots: season.slots,
            slot_samples: season.slot_samples,
        }
    }
}

impl From<Channel<'_>> for ChannelReport {
    fn from(channel: Channel<'_>) -> Self {
        Self {
            name: channel.name.to_owned(),
            unit: channel.unit.to_owned(),
            offset: channel.offset,
            scale: channel.scale,
            valid_min: channel.valid_min,
            valid_max: channel.valid_max,
            stuck_limit: channel.stuck_limit,
            spike_limit: channel.spike_limit,
            spike_least: channel.spike_least,
            resolution: channel.resolution,
            lowest: channel.lowest,
            highest: channel.highest,
        }
    }
}

impl Memory {
    fn text(&self) -> String {
        match (self.samples, self.milliseconds) {
            (Some(samples), Some(milliseconds)) => {
                format!("{} ({})", counted(format_args!("{samples:.0}"), "sample"), show_rounded(milliseconds))
            }
            _ => "everything".to_owned(),
        }
    }
}

/// A length of time without what is less than a hundredth of it: 1/N is stored, and N comes back nearly whole.
fn show_rounded(milliseconds: u64) -> String {
    let units = [86_400_000, 3_600_000, 60_000, 1000];
    let unit = units.into_iter().find(|unit| 100 * unit <= milliseconds).unwrap_or(1);
    show_ms((milliseconds + unit / 2) / unit * unit)
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        };
        let cost = &self.cost;
        line(format_args!(
            "{} bytes, {}, preset {}, {} weights, model {}",
            self.bytes, self.numeric, self.preset, self.parameters, self.identity
        ));
        if let Some(bytes) = self.signed_bytes {
            line(format_args!(
                "signed    {bytes} bytes with the signature; by whom, `flowcast flash --key FILE.pub` checks"
            ));
        }
        match self.behind {
            "other bytes" => {
                line(format_args!("          found bytes behind the model that are no signature; boards ignore them"));
            }
            "a signature and other bytes" => {
                line(format_args!("          found bytes behind the signature, too; `flowcast flash` leaves them out"));
            }
            _ => {}
        }
        line(format_args!("samples   every {}", show_ms(self.interval_ms)));
        for season in &self.seasons {
            line(format_args!(
                "season    {} samples ({}) in {} slots of {}",
                season.samples,
                show_ms(season.milliseconds),
                season.slots,
                season.slot_samples
            ));
        }
        if !self.retrieval.is_empty() {
            let periods = self.retrieval.iter().map(|periods| format!("{periods:.0}")).collect::<Vec<_>>();
            line(format_args!("season    attention from period to period, over {} of them", periods.join(" and ")));
        }
        let seen = [
            (self.ring, "the last samples"),
            (self.mixed, "the other channels"),
            (self.known > 0, "what is known in advance"),
        ];
        let seen: String = seen.iter().filter(|(seen, _)| *seen).map(|(_, what)| format!(", {what}")).collect();
        line(format_args!("readout   {}; sees memories, levels, trends{seen}", counted(self.knots, "knot")));
        let learned = [(self.corrected, "the intervals"), (self.adapted, "the forecast")];
        let learned: Vec<&str> = learned.iter().filter(|(on, _)| *on).map(|(_, what)| *what).collect();
        line(format_args!("learns    {}", if learned.is_empty() { "nothing".to_owned() } else { learned.join(", ") }));
        line(format_args!(
            "forecast  {} ({}), quantiles {}",
            counted(self.horizon, "step"),
            show_ms(u64::from(self.horizon) * self.interval_ms),
            self.quantiles.iter().map(f32::to_string).collect::<Vec<_>>().join(", ")
        ));
        for (index, channel) in self.channels.iter().enumerate() {
            let unit = if channel.unit.is_empty() { String::new() } else { format!(" {}", channel.unit) };
            let ends: Vec<String> = [(channel.lowest, channel.valid_min), (channel.highest, channel.valid_max)]
                .into_iter()
                .filter(|(end, valid)| end != valid)
                .map(|(end, _)| end.to_string())
                .collect();
            let ends = if ends.is_empty() { String::new() } else { format!(", ends at {}", ends.join(" and ")) };
            let stuck = match channel.stuck_limit {
                0 => String::new(),
                limit => format!(", stuck after {limit} equal samples"),
            };
            let spikes = match channel.spike_limit {
                0.0 => "",
                _ => ", spikes held back",
            };
            let step = match channel.resolution {
                0.0 => String::new(),
                step => format!(", in steps of {step}"),
            };
            let known = usize::from(self.known) + index >= self.channels.len();
            let role = match (index < self.targets.into(), known) {
                (true, _) => "",
                (_, true) => ", known in advance",
                (_, false) => ", seen only",
            };
            line(format_args!(
                "channel {index} {}{role}: {} to {}{unit}, mean {}, deviation {}{step}{ends}{stuck}{spikes}",
                channel.name, channel.valid_min, channel.valid_max, channel.offset, channel.scale
            ));
        }
        if self.memories.is_empty() {
            line(format_args!("blocks    without an attention: a program needs no room for one (FLOWS 0)"));
        }
        for (layer, heads) in self.memories.iter().enumerate() {
            let heads = heads.iter().map(Memory::text).collect::<Vec<_>>().join(", ");
            line(format_args!("block {layer}   heads remember {heads}"));
        }
        for layer in &self.layers {
            let shape = layer.shape.iter().skip_while(|size| **size == 1).map(usize::to_string).collect::<Vec<_>>();
            line(format_args!("tensor    {:<34} {:>14} {:>8} bytes", layer.name, shape.join(" x "), layer.bytes));
        }
        line(format_args!(
            "state     {} bytes of RAM on a 32-bit microcontroller, for CHANNELS {}, SLOTS {} and FLOWS {}",
            self.state_bytes,
            self.channels.len(),
            self.slots,
            self.flows
        ));
        line(format_args!(
            "cost      {} multiply-accumulates for each observe, {} for each step of a channel's forecast, {} for all",
            cost.macs_per_observe, cost.macs_per_forecast_step, cost.macs_per_forecast
        ));
        if let Some(board) = &self.board {
            line(format_args!(
                "board     {}: {}",
                board.name,
                if board.fits { "fits".to_owned() } else { format!("does not fit: {}", board.refused.join("; ")) }
            ));
            line(format_args!(
                "          model {} of {} bytes of flash, program at most {} more",
                board.flash_bytes, board.flash_available_bytes, board.program_bytes
            ));
            line(format_args!(
                "          RAM {} of {} bytes: forecaster {}; stack, room for a snapshot where it keeps one, and all else {}",
                board.ram_bytes,
                board.ram_available_bytes,
                board.state_bytes,
                board.ram_bytes - board.state_bytes
            ));
            if let (Some(observe), Some(forecast)) = (board.instructions_per_observe, board.instructions_per_forecast) {
                let cycles = board.cycles_per_observe.map_or_else(String::new, |[low, high]| {
                    format!(" ({low} to {high} cycles by ARM's tables, memory that never waits)")
                });
                line(format_args!(
                    "          about {observe} instructions for each observe{cycles}, {forecast} for a whole forecast of every target"
                ));
                line(format_args!(
                    "          (estimated from what `flowcast bench` counts; `flowcast emulate` counts this model's)"
                ));
            }
            for (index, said) in board.power.iter().flat_map(Power::text).enumerate() {
                line(format_args!("{:<10}{said}", if index == 0 { "power" } else { "" }));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ChannelConfig, Config, TrainedModel, knots};
    use crate::file::AlignedBytes;
    use flowcast_core::format::Numeric;
    use flowcast_core::presets::{PRESETS, Preset};

    fn model(preset: &Preset, channels: usize, period: u32, horizon: u16) -> AlignedBytes {
        model_as(Numeric::F32, preset, channels, period, horizon)
    }

    fn model_as(numeric: Numeric, preset: &Preset, channels: usize, period: u32, horizon: u16) -> AlignedBytes {
        let mut config = Config::example(preset, period);
        config.memories[0][0] = None;
        let channel = |index| ChannelConfig { name: format!("c{index}"), ..config.channels[0].clone() };
        let config = Config {
            interval_ms: 600_000,
            horizon,
            knots: knots(horizon),
            targets: channels as u16,
            channels: (0..channels).map(channel).collect(),
            ..config
        };
        let weights = vec![0.0; config.header().unwrap().weight_count()];
        TrainedModel { config, weights }.to_flow_as(numeric).unwrap()
    }

    /// By hand, for small with a day of 10-minute samples: 72 slots in 24 bins, 4 * 24 + 24 features.
    #[test]
    fn the_counts_are_those_made_by_hand() {
        let report = inspect(&model(&PRESETS[1], 3, 144, 36), None).unwrap();
        let embedding = 32 * (120 + 2);
        let projections = 4 * 32 * 32;
        let attention = 4 * (4 * 8 + 4 * 8 + 2 * 64);
        let feed_forward = 2 * 32 * 64;
        let one = 4 + 8 + 4 * 72 + embedding + projections + attention + feed_forward;
        assert_eq!(one, 13_164);
        // 4 memories read, 3 levels, 8 trends; knots at 1 to 24, 26, 29, 32, 35 and 36.
        let (start, knot, step) = (15 * 33, 11 + 3 * 32, 3 * 4 + 3 + 1);
        assert_eq!(report.cost.macs_per_observe, 3 * (one + start + 2 * (2 * knot + step)));
        assert_eq!((report.knots, report.cost.macs_per_forecast_step), (29, 2 * knot + step));
        assert_eq!(report.cost.macs_per_forecast, 3 * (start + 29 * knot + 36 * step));
        assert_eq!(report.layers.iter().map(|layer| layer.bytes).sum::<usize>(), 4 * report.parameters);
        assert_eq!(report.memories[0][0], Memory { samples: None, milliseconds: None });
        assert_eq!(report.memories[0][3].text(), "4320 samples (30 d)");
        assert_eq!(report.seasons[0].milliseconds, 86_400_000);
        assert_eq!((report.channels.len(), report.channels[2].name.as_str()), (3, "c2"));
    }

    #[test]
    fn a_board_refuses_what_it_has_no_room_for() {
        let board = Board::named("mps2-an386").unwrap();
        let fits = inspect(&model(&PRESETS[1], 8, 144, 144), Some(&board)).unwrap().board.unwrap();
        assert!(fits.fits && fits.refused.is_empty() && fits.ram_bytes < fits.ram_available_bytes, "{fits:?}");
        let wide = inspect(&model(&PRESETS[1], 9, 144, 144), Some(&board)).unwrap().board.unwrap();
        assert_eq!(wide.refused, ["found 9 channels, expected at most 8"]);
        // A long horizon takes few weights: only some steps have their own.
        let long = inspect(&model(&PRESETS[2], 2, 144, 8000), Some(&board)).unwrap().board.unwrap();
        assert!(long.fits && long.flash_bytes < 512 << 10, "{long:?}");
        // The smallest board runs the smallest preset, and says of another one what would fit.
        let small_board = Board::named("microbit").unwrap();
        let eight_bit = |preset: &Preset| model_as(Numeric::I8, preset, 1, 144, 144);
        let fits = inspect(&eight_bit(&PRESETS[0]), Some(&small_board)).unwrap().board.unwrap();
        assert!(fits.fits && fits.refused.is_empty(), "{fits:?}");
        let float = inspect(&model(&PRESETS[0], 1, 144, 144), Some(&small_board)).unwrap().board.unwrap();
        assert!(float.refused[0].starts_with("found a model that computes in f32, expected int8: a Cortex-M0"));
        let wrong = inspect(&eight_bit(&PRESETS[1]), Some(&small_board)).unwrap().board.unwrap();
        assert_eq!(wrong.refused[0], "found preset small, expected tiny");
        assert!(Board::named("toaster").unwrap_err().contains("mps2-an386"));
    }
}
