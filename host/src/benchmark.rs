//! `flowcast benchmark`: the literature's table, and the same for anybody's own series ([`series`]).
//!
//! For the literature's, one model a data set, horizon and seed is trained, exported and tested on every test window by the device's
//! own code ([`crate::protocol`]), and stands beside the best published error.

mod cell;
mod published;
pub mod series;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flowcast_core::presets::Preset;
use serde::Serialize;

use crate::data::ReadOptions;
use crate::device::DeviceChoice;
use crate::duration::{self, MOST_HORIZON, Steps};
use crate::file::{Kind, refuse_output, write_atomic};
use crate::interrupt;
use crate::output::Output;
use crate::plural::counted;
use crate::protocol::{ETT_HORIZONS, Protocol};
use crate::train;
use crate::train::setup::{Adapt, Wishes};
use cell::{Cell, Kept, interruption, kept_beside};
use published::Outcome;
use series::Source;

/// What a data set's file may end in.
const ENDINGS: [&str; 3] = [".csv", ".csv.gz", ".csv.xz"];

/// Train and test on the literature's benchmarks beside the best published errors, or on series of your own beside the best baseline
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("data").required(true))]
pub struct Args {
    /// The folder with NAME.csv, NAME.csv.gz or NAME.csv.xz for each data set; every column but the time is forecast
    #[arg(value_name = "FOLDER", group = "data")]
    pub folder: Option<PathBuf>,
    /// Instead of FOLDER: columns of a file, one model for each --series; the last 20 % of its rows are held out
    #[arg(long, value_name = "FILE:COLUMN[,COLUMN]", group = "data")]
    pub series: Vec<Source>,
    /// Data sets by name
    #[arg(long, value_delimiter = ',', value_name = "NAME", default_values_t = published::datasets().map(str::to_owned),
        conflicts_with = "series")]
    pub datasets: Vec<String>,
    /// Horizons in steps
    #[arg(long, value_delimiter = ',', value_name = "N", default_values_t = ETT_HORIZONS, value_parser = steps,
        conflicts_with = "series")]
    pub horizons: Vec<usize>,
    /// Trainings of each, whose mean is taken
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000),
        conflicts_with = "series")]
    pub seeds: u64,
    /// How far ahead to forecast the --series: steps or a duration [default: one season, at most 288 steps]
    #[arg(long, value_name = "N|DURATION", value_parser = duration::horizon, requires = "series")]
    pub horizon: Option<Steps>,
    /// Forecasts of each of the --series, at most
    #[arg(long, default_value_t = series::ORIGINS, value_name = "N", value_parser = series::origins, requires = "series")]
    pub origins: usize,
    /// Compare the --series with naive forecasts only: fitting ETS and MSTL at each origin takes most of the time
    #[arg(long, requires = "series")]
    pub naive: bool,
    /// The backbone: tiny, small or base
    #[arg(long, default_value = "small", value_name = "NAME", value_parser = train::preset)]
    pub preset: Preset,
    /// Epochs, at most: the first learns from rows, the others from sequences; 0 keeps the closed form
    #[arg(long, default_value_t = train::EPOCHS, value_name = "N", value_parser = train::epochs)]
    pub epochs: usize,
    /// Networks that learn in the first epoch and teach the one that is kept; 1 for one that nobody teaches
    #[arg(long, default_value_t = train::ENSEMBLE, value_name = "N", value_parser = train::ensemble)]
    pub ensemble: usize,
    /// Where to train: auto, cpu or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceChoice,
    /// Write the table as JSON; finished cells are kept beside it, and the same command goes on with them
    #[arg(long, value_name = "TABLE.json")]
    pub out: Option<PathBuf>,
}

fn steps(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(steps) if (1..=MOST_HORIZON).contains(&steps) => Ok(steps),
        _ => Err(format!("found `{text}`, expected a number of steps from 1 to {MOST_HORIZON}")),
    }
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The program that made it.
    pub program: String,
    /// The backbone.
    pub preset: &'static str,
    /// One for each data set and horizon.
    pub rows: Vec<Row>,
    /// Rows whose MSE is below the published one.
    pub wins: usize,
    /// Rows that have a published one.
    pub published: usize,
    /// Data sets whose file is not there.
    pub missing: Vec<String>,
}

/// A data set at a horizon.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The data set.
    pub dataset: String,
    /// Steps ahead.
    pub horizon: usize,
    /// Mean squared error of standardised values, mean over seeds.
    pub mse: f64,
    /// Mean absolute error, likewise.
    pub mae: f64,
    /// The best published MSE.
    pub published_mse: Option<f64>,
    /// How `mse` compares with it.
    pub outcome: Option<Outcome>,
    /// "Repeat the last value".
    pub repeat_mse: f64,
    /// Its absolute error.
    pub repeat_mae: f64,
    /// Bytes of the largest model file.
    pub bytes: usize,
    /// Each seed's.
    pub seeds: Vec<Cell>,
}

impl Row {
    fn new(dataset: &str, horizon: usize, seeds: Vec<Cell>) -> Row {
        let mean = |of: fn(&Cell) -> f64| seeds.iter().map(of).sum::<f64>() / seeds.len() as f64;
        let mse = mean(|cell| cell.mse);
        let published_mse = published::mse(dataset, horizon);
        Row {
            dataset: dataset.to_owned(),
            horizon,
            mse,
            mae: mean(|cell| cell.mae),
            published_mse,
            outcome: published_mse.map(|published| Outcome::new(mse, published)),
            repeat_mse: mean(|cell| cell.repeat_mse),
            repeat_mae: mean(|cell| cell.repeat_mae),
            bytes: seeds.iter().map(|cell| cell.bytes).max().unwrap_or(0),
            seeds,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// No data set's file is there, one that cannot be read or trained on, a file that cannot be written, an interruption.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    if let Some(out) = &args.out {
        refuse_output(&[], out, Kind::Json)?;
    }
    match &args.folder {
        Some(folder) => {
            let table = measure(args, folder, output)?;
            finish(args, output, &table, Table::text)
        }
        None => {
            let table = series::measure(args, output)?;
            finish(args, output, &table, series::Table::text)
        }
    }
}

fn finish<T: Serialize>(args: &Args, output: &Output, table: &T, text: impl Fn(&T) -> String) -> Result<()> {
    if let Some(out) = &args.out {
        write_atomic(out, &serde_json::to_vec_pretty(table)?)?;
    }
    output.result(|| text(table), table)
}

fn measure(args: &Args, folder: &Path, output: &Output) -> Result<Table> {
    let kept_in = args.out.as_deref().map(kept_beside);
    let mut kept = Kept::open(kept_in.clone())?;
    let program = crate::program::name()?;
    let mut table = Table {
        program: program.clone(),
        preset: args.preset.name,
        rows: Vec::new(),
        wins: 0,
        published: 0,
        missing: Vec::new(),
    };
    interrupt::listen();
    for dataset in &args.datasets {
        let Some(path) = find(folder, dataset) else {
            output.note(format!("{dataset}: {}", absence(folder, dataset)));
            table.missing.push(dataset.clone());
            continue;
        };
        let series = Protocol::Ett.read(std::slice::from_ref(&path), &ReadOptions::default(), output)?;
        let data = cell::fingerprint(&series);
        for &horizon in &args.horizons {
            let mut seeds = Vec::new();
            for seed in 1..=args.seeds {
                let options = training(args, series.columns.len(), horizon, seed);
                let key = cell::key(dataset, &data, &options, &program);
                let cell = match kept.get(&key) {
                    Some(cell) => cell,
                    None => {
                        let cell = Cell::measure(&series, &options, output)
                            .with_context(|| path.display().to_string())
                            .with_context(|| interruption(kept_in.as_deref()))?;
                        kept.insert(key, cell)?;
                        cell
                    }
                };
                output.note(format!(
                    "{dataset} {}, seed {seed}: MSE {:.4}, MAE {:.4}, {} bytes, {:.0} s",
                    counted(horizon, "step"),
                    cell.mse,
                    cell.mae,
                    cell.bytes,
                    cell.seconds
                ));
                seeds.push(cell);
            }
            table.rows.push(Row::new(dataset, horizon, seeds));
        }
    }
    if let (true, Some(first)) = (table.rows.is_empty(), args.datasets.first()) {
        bail!("{}", absence(folder, first));
    }
    table.wins = table.rows.iter().filter(|row| row.outcome == Some(Outcome::Win)).count();
    table.published = table.rows.iter().filter(|row| row.published_mse.is_some()).count();
    Ok(table)
}

fn find(folder: &Path, dataset: &str) -> Option<PathBuf> {
    ENDINGS.iter().map(|ending| folder.join(format!("{dataset}{ending}"))).find(|path| path.is_file())
}

fn absence(folder: &Path, dataset: &str) -> String {
    format!("found no {} in {}", ENDINGS.map(|ending| format!("{dataset}{ending}")).join(", "), folder.display())
}

fn training(args: &Args, targets: usize, horizon: usize, seed: u64) -> train::Options {
    train::Options {
        wishes: Wishes {
            periods: Vec::new(),
            horizon: Some(horizon),
            preset: args.preset,
            targets,
            known: 0,
            adapt: Adapt::Off,
            protocol: Protocol::Ett,
        },
        epochs: args.epochs,
        ensemble: args.ensemble,
        most: None,
        seed,
        device: args.device,
        checkpoint: None,
    }
}

impl Table {
    fn text(&self) -> String {
        let mut text = format!(
            "MSE and MAE of standardised values over every test window; eight-bit weights; mean of the seeds, preset {}\n\n",
            self.preset
        );
        let width = self.rows.iter().map(|row| row.dataset.len()).max().unwrap_or(0).max(8);
        let _ = writeln!(
            text,
            "{:<width$}{:>8}{:>8}{:>8}{:>11}{:>7}{:>12}{:>16}",
            "data", "steps", "MSE", "MAE", "published", "", "bytes", "repeat MSE/MAE"
        );
        for row in &self.rows {
            let published = row.published_mse.map_or_else(|| "–".to_owned(), |mse| format!("{mse:.3}"));
            let outcome = row.outcome.map_or_else(String::new, |outcome| outcome.to_string());
            let _ = writeln!(
                text,
                "{:<width$}{:>8}{:>8.3}{:>8.3}{published:>11}{outcome:>7}{:>12}{:>16}",
                row.dataset,
                row.horizon,
                row.mse,
                row.mae,
                row.bytes,
                format!("{:.3}/{:.3}", row.repeat_mse, row.repeat_mae),
            );
        }
        let _ = writeln!(text, "\n{} of {} below the best published", self.wins, self.published);
        for dataset in &self.missing {
            let _ = writeln!(text, "{dataset}: its file is not there");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowcast_core::presets::PRESETS;

    fn folder_with_toy() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::from("date,a,b\n");
        for row in 0..500 {
            let phase = f64::from(row) * 0.2618;
            let noise = f64::from((row * 7_919) % 101) / 200.0;
            let _ = writeln!(
                text,
                "2024-{:02}-{:02} {:02}:00:00,{},{}",
                1 + row / 24 / 28,
                1 + row / 24 % 28,
                row % 24,
                phase.sin() + noise,
                20.0 + 5.0 * phase.cos() - noise
            );
        }
        std::fs::write(folder.path().join("toy.csv"), text).unwrap();
        folder
    }

    pub(super) fn args(folder: &Path) -> Args {
        Args {
            folder: Some(folder.to_owned()),
            series: Vec::new(),
            datasets: vec!["toy".to_owned(), "nowhere".to_owned()],
            horizons: vec![6],
            seeds: 2,
            horizon: None,
            origins: series::ORIGINS,
            naive: false,
            preset: PRESETS[0],
            epochs: 0,
            ensemble: 1,
            device: DeviceChoice::Cpu,
            out: Some(folder.join("table.json")),
        }
    }

    #[test]
    fn a_table_is_measured_kept_and_gone_on_with() {
        let folder = folder_with_toy();
        let args = args(folder.path());
        let output = Output::keeping();
        run(&args, &output).unwrap();
        let first = output.kept().unwrap();
        let row = &first.json["rows"][0];
        assert_eq!(
            (&row["dataset"], &row["horizon"], &first.json["missing"][0]),
            (&"toy".into(), &6.into(), &"nowhere".into())
        );
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("mse") > 0.0 && number("mse") < 0.5 * number("repeat_mse"), "{row}");
        assert!(row["published_mse"].is_null() && number("bytes") > 1_000.0);
        assert!(first.human.contains("nowhere: its file is not there"), "{}", first.human);

        // A finished cell is taken from the file, not measured again.
        let cells = kept_beside(args.out.as_deref().unwrap());
        let text = std::fs::read_to_string(&cells).unwrap();
        let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cell = kept.as_object_mut().unwrap().values_mut().next().unwrap();
        cell["mse"] = 40.0.into();
        std::fs::write(&cells, kept.to_string()).unwrap();
        let again = measure(&args, folder.path(), &output).unwrap();
        assert!(
            (again.rows[0].seeds[0].mse, again.rows[0].seeds[1].mse)
                == (40.0, row["seeds"][1]["mse"].as_f64().unwrap())
        );
        // Another horizon is another cell.
        let other = measure(&Args { horizons: vec![5], ..args.clone() }, folder.path(), &output).unwrap();
        assert!(other.rows[0].mse < 1.0);
        let lost = Args { datasets: vec!["nowhere".to_owned()], ..args };
        let error = measure(&lost, folder.path(), &output).unwrap_err().to_string();
        assert!(error.starts_with("found no nowhere.csv, nowhere.csv.gz, nowhere.csv.xz in "), "{error}");
    }

    #[test]
    fn whatever_shapes_a_cell_is_in_its_key() {
        let base = args(Path::new("."));
        let key = |args: &Args, horizon, seed| cell::key("toy", "0", &training(args, 2, horizon, seed), "1");
        let first = key(&base, 6, 1);
        let others = [
            key(&base, 7, 1),
            key(&base, 6, 2),
            key(&Args { epochs: 1, ..base.clone() }, 6, 1),
            key(&Args { ensemble: 2, ..base.clone() }, 6, 1),
            key(&Args { preset: PRESETS[1], ..base.clone() }, 6, 1),
            cell::key("toy", "1", &training(&base, 2, 6, 1), "1"),
            cell::key("toy", "0", &training(&base, 2, 6, 1), "2"),
            cell::key("joy", "0", &training(&base, 2, 6, 1), "1"),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}
