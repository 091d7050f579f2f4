//! `flowcast ablate`: does the attention earn its place? The same model with something else where one of its attentions
//! is, trained alike, in one table: the seasonal one (`--place season`), or the one in the blocks.
//!
//! Every variant starts from the same closed form and takes the same steps on the same batches, seed by seed;
//! [`variant`] says what is replaced, [`experiment`] trains and measures, [`table`] compares. What a variant's own
//! streaming form would compute is measured by the training network over the whole stream ([`evaluate`]).

pub mod cells;
pub mod evaluate;
pub mod experiment;
pub mod table;
pub mod variant;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use flowcast_core::format::Header;
use flowcast_core::presets::Preset;
use flowcast_core::seasonal::Seasons;
use serde::Serialize;

use crate::data::{self, Series};
use crate::duration::{self, Steps, show_ms};
use crate::file::{Kind, refuse_output, write_atomic};
use crate::interrupt;
use crate::measurements::Measurements;
use crate::output::Output;
use crate::plural::counted;
use crate::program;
use crate::protocol::{self, Protocol};
use crate::train::setup::{self, Adapt, Wishes};
use crate::train::{self, EPOCH_STEPS};
use cells::Cells;
use experiment::Experiment;
use table::Row;
use variant::{Place, Variant};

/// Train the same model with other attentions, a GRU or none in the place of Flow-Attention, and compare
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is read
    #[command(flatten)]
    pub measurements: Measurements,
    /// Columns to forecast, separated by commas or each with a --target of its own; a name may hold commas
    #[arg(long, required = true, value_name = "COLUMN")]
    pub target: Vec<String>,
    /// Seasons: samples or durations, the main one first [default: as `flowcast train`]
    #[arg(long, value_delimiter = ',', value_name = "N|DURATION", value_parser = duration::season)]
    pub period: Vec<Steps>,
    /// How far ahead to forecast: steps or a duration [default: one season, at most 288 steps]
    #[arg(long, value_name = "N|DURATION", value_parser = duration::horizon)]
    pub horizon: Option<Steps>,
    /// The backbone: tiny, small or base
    #[arg(long, default_value = "small", value_name = "NAME", value_parser = train::preset)]
    pub preset: Preset,
    /// The part of the rows, at their end, that is held out: each trained model is measured on it, once
    #[arg(long, default_value_t = protocol::TEST_FRACTION, value_name = "FRACTION", value_parser = protocol::measured_fraction)]
    pub test_fraction: f64,
    /// Trainings of each variant, with seeds 1 to N
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Which of the model's attentions gives place to others
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub place: Place,
    /// Epochs of joint training, as `flowcast train`; every variant takes all of them and keeps its best on validation
    /// [default: 10 for blocks, 0 for the season's attention, whose keys have their own training and all else a closed
    /// form]
    #[arg(long, value_name = "N", value_parser = train::epochs)]
    pub epochs: Option<usize>,
    /// Only these variants
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    pub variants: Vec<Variant>,
    /// Write the table here too. Finished trainings are kept beside it, in TABLE.json.cells, and the same command goes
    /// on after them: remove that file where another version of this program wrote it
    #[arg(long, value_name = "TABLE.json")]
    pub out: Option<PathBuf>,
}

impl Args {
    fn epochs(&self) -> usize {
        self.epochs.unwrap_or(match self.place {
            Place::Season => 0,
            Place::Block => 10,
        })
    }
}

/// What the command prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Columns.
    pub channels: Vec<String>,
    /// Rows, held-out ones included.
    pub rows: usize,
    /// Rows that were held out.
    pub test_rows: usize,
    /// Milliseconds between samples.
    pub interval_ms: u64,
    /// Samples of each season.
    pub periods: Vec<u32>,
    /// Steps ahead.
    pub horizon: u16,
    /// The backbone.
    pub preset: &'static str,
    /// Trainings of each variant.
    pub seeds: u64,
    /// Which attention gives place.
    pub place: Place,
    /// Epochs of each.
    pub epochs: usize,
    /// The table.
    pub variants: Vec<Row>,
}

/// Runs the command.
///
/// # Errors
/// Unreadable or untrainable data, an unwritable file, an interruption (which leaves the finished cells).
pub fn run(args: &Args, output: &Output) -> Result<()> {
    // Before the data are read.
    let variants = variants(args)?;
    let targets = data::resolve("--target", &args.measurements.data, &args.target)?;
    let read = args.measurements.options(targets.clone());
    let protocol = Protocol::Tail { test_fraction: args.test_fraction };
    let series = protocol.read(&args.measurements.data, &read, output)?;
    let interval_ms = series.interval_ms;
    let periods = Steps::periods(&args.period, interval_ms)?;
    let horizon = args.horizon.map(|horizon| horizon.of_option("horizon", interval_ms)).transpose()?;
    let wishes =
        Wishes { periods, horizon, preset: args.preset, targets: targets.len(), known: 0, adapt: Adapt::Off, protocol };
    if let Some(out) = &args.out {
        refuse_output(&args.measurements.data, out, Kind::Json)?;
    }
    let report = ablate(&series, &wishes, &variants, args, output)?;
    if let Some(out) = &args.out {
        write_atomic(out, &serde_json::to_vec_pretty(&report)?)?;
    }
    output.result(|| report.text(), &report)
}

/// The variants that were asked for, each once.
///
/// # Errors
/// One that is no other model at that place.
fn variants(args: &Args) -> Result<Vec<Variant>> {
    let at_place = Variant::at(args.place);
    let names = || at_place.iter().map(|variant| variant.name()).collect::<Vec<_>>().join(", ");
    if let Some(same) = args.variants.iter().find(|variant| !at_place.contains(variant)) {
        let place = args.place.to_possible_value().map(|place| place.get_name().to_owned()).unwrap_or_default();
        bail!("--variants: {} is no other model at --place {place}, expected some of {}", same.name(), names());
    }
    let mut variants = if args.variants.is_empty() { at_place } else { args.variants.clone() };
    variants.sort();
    variants.dedup();
    Ok(variants)
}

fn ablate(series: &Series, wishes: &Wishes, variants: &[Variant], args: &Args, output: &Output) -> Result<Report> {
    interrupt::listen();
    let mut cells = Cells::beside(args.out.as_deref())?;
    // Here, where the files' names are known, for a refusal to name them.
    let names = || args.measurements.data.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let (config, split) = setup::prepare(series, wishes).with_context(names)?;
    output.remarks(setup::review(series, &config, &split).with_context(names)?);
    output.note("reading features and fitting the linear path in closed form");
    let experiment = Experiment::new(series, config, split).with_context(names)?;
    let config = experiment.config();
    let test_rows = series.rows() - wishes.protocol.borders(series, 0).test;
    ensure!(
        test_rows > usize::from(config.horizon),
        "found {test_rows} held-out rows, expected more than the horizon's {}",
        config.horizon
    );
    let identity = identity(series, &experiment, args)?;
    let epochs = args.epochs();
    // Seed by seed, that an interrupted table is complete for some.
    let pending: Vec<(u64, Variant)> = (1..=args.seeds)
        .flat_map(|seed| variants.iter().map(move |variant| (seed, *variant)))
        .filter(|(seed, variant)| cells.find(&identity, *variant, *seed).is_none())
        .collect();
    let bar = output.progress((pending.len() * epochs * EPOCH_STEPS) as u64, "ablation");
    for (seed, variant) in pending {
        bar.set_message(format!("{}, seed {seed}", variant.name()));
        let name = || format!("{}, seed {seed}", variant.name());
        let at_season = match args.place {
            Place::Season => Some(experiment.at_season(series, variant, seed).with_context(name)?),
            Place::Block => None,
        };
        let cell = at_season
            .as_ref()
            .unwrap_or(&experiment)
            .run(series, &identity, (args.place, variant), seed, epochs, &bar)
            .with_context(name)?;
        let line = format!(
            "{:<16} seed {seed}: validation MSE {:.4}, {:.0} ms a step",
            variant.name(),
            cell.validation.mse,
            cell.step_ms
        );
        bar.suspend(|| output.note(line));
        cells.add(cell)?;
    }
    bar.finish_and_clear();

    let header = experiment.header();
    let row = |variant: &Variant| {
        let of_variant: Vec<_> = (1..=args.seeds).filter_map(|seed| cells.find(&identity, *variant, seed)).collect();
        let (macs, state) = match args.place {
            Place::Season => {
                let (macs, state) = variant.seasonal_cost(header);
                (
                    macs + Variant::Flow.macs(&Header {
                        seasons: Seasons { retrieval: None, ..header.seasons.clone() },
                        ..header.clone()
                    }),
                    state,
                )
            }
            Place::Block => (variant.macs(header), variant.state(header)),
        };
        Row::new(*variant, &of_variant, macs, state)
    };
    let mut rows: Vec<Row> = variants.iter().map(row).collect();
    table::compare(&mut rows);
    Ok(Report {
        channels: series.columns.clone(),
        rows: series.rows(),
        test_rows,
        interval_ms: series.interval_ms,
        periods: config.periods.clone(),
        horizon: config.horizon,
        preset: wishes.preset.name,
        seeds: args.seeds,
        place: args.place,
        epochs,
        variants: rows,
    })
}

/// What must be the same for a finished cell to count: program, configuration, length of training and every value.
fn identity(series: &Series, experiment: &Experiment, args: &Args) -> Result<String> {
    let mut bytes = serde_json::to_vec(experiment.config())?;
    bytes
        .extend(format!("{} {:?} {} {}", program::name()?, args.place, args.epochs(), args.test_fraction).into_bytes());
    for values in &series.values {
        bytes.extend_from_slice(bytemuck::cast_slice(values));
    }
    Ok(format!("{:08x}", crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes)))
}

impl Report {
    fn text(&self) -> String {
        format!(
            "{} every {}, {} rows of which {} held out, seasons of {} samples, {} ahead, {}, {}, {}\n\
             in the place of the {}; MSE and MAE in deviations of the training rows\n\n{}",
            self.channels.join(", "),
            show_ms(self.interval_ms),
            self.rows,
            self.test_rows,
            self.periods.iter().map(u32::to_string).collect::<Vec<_>>().join(" and "),
            counted(self.horizon, "step"),
            self.preset,
            counted(self.epochs, "epoch"),
            counted(self.seeds, "seed"),
            match self.place {
                Place::Season => "attention from day to day, phase by phase",
                Place::Block => "attention in the blocks, from sample to sample",
            },
            table::text(&self.variants)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_variant_that_is_none_at_its_place_is_refused() {
        let asked = |words: &str| {
            let line = format!("flowcast data.csv --target x {words}");
            variants(&Line::try_parse_from(line.split_whitespace()).unwrap().args).map_err(|error| error.to_string())
        };
        for words in ["--variants alone", "--variants none,no-competition", "--place block --variants published"] {
            assert!(asked(words).unwrap_err().contains("is no other model at --place"), "{words}");
        }
        assert_eq!(asked("--place block --variants none,alone,none"), Ok(vec![Variant::None, Variant::Alone]));
        assert_eq!(asked("").unwrap(), Variant::at(Place::Season));
    }

    #[test]
    fn faults_of_the_data_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let row =
            |row: usize| if row % 50 == 7 { "-9999\n".to_owned() } else { format!("{}\n", (row as f32 * 0.7).sin()) };
        std::fs::write(path("data.csv"), "x\n".to_owned() + &(0..230).map(row).collect::<String>()).unwrap();
        let line = format!(
            "flowcast {} --target x --interval 1h --period 12 --horizon 3 --preset tiny --place block --epochs 0 --seeds 1 \
             --variants none",
            path("data.csv")
        );
        let output = Output::keeping();
        run(&Line::parse_from(line.split(' ')).args, &output).unwrap();
        let notes = output.kept().unwrap().json["notes"].to_string();
        assert!(notes.contains("column `x`: 4 of 184 readings taken as missing"), "{notes}");
    }

    #[test]
    fn a_table_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let rows: String = (0..230).map(|row| format!("{}\n", (row as f32 * 0.7).sin())).collect();
        // A name with a comma, as `flowcast train` takes it.
        std::fs::write(path("data.csv"), "\"x,y\"\n".to_owned() + &rows).unwrap();
        let table = |variants: &str, out: &str| -> serde_json::Value {
            let (data, out) = (path("data.csv"), path(out));
            let line = format!(
                "flowcast {data} --target x,y --interval 1h --period 12 --horizon 3 --preset tiny --place block --epochs 0 --seeds 2 --out {out} \
                 --variants {variants}"
            );
            run(&Line::parse_from(line.split(' ')).args, &Output::keeping()).unwrap();
            serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
        };
        let whole = table("gru,flow,none", "whole.json");
        table("none", "parts.json");
        let first: Cells = serde_json::from_slice(&std::fs::read(path("parts.json.cells")).unwrap()).unwrap();
        assert_eq!(table("none,flow,gru", "parts.json"), whole);
        let identity = &first.iter().next().unwrap().identity;
        let second = Cells::beside(Some(&folder.path().join("parts.json"))).unwrap();
        for seed in [1, 2] {
            let kept = first.find(identity, Variant::None, seed);
            assert!(kept.is_some() && kept == second.find(identity, Variant::None, seed));
            assert!(second.find(identity, Variant::Gru, seed).is_some());
        }
        let names: Vec<_> = whole["variants"].as_array().unwrap().iter().map(|row| row["variant"].clone()).collect();
        assert_eq!(names, ["flow", "none", "gru"]);
        // Without a step, all are the closed form.
        assert_eq!(whole["variants"][2]["difference"]["mse"], 0.0);
    }
}
