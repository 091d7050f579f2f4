//! One cell of the table, a training and its test, and the file that keeps the finished ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use flowcast_core::format::Numeric;

use crate::backtest;
use crate::baseline::Baseline;
use crate::calibration::calibrate;
use crate::data::Series;
use crate::file::write_atomic;
use crate::forecaster;
use crate::output::Output;
use crate::protocol::Protocol;
use crate::train::setup::Wishes;
use crate::train::{self, train};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean squared error of standardised values.
    pub mse: f64,
    /// Mean absolute error of standardised values.
    pub mae: f64,
    /// Share of values within the 80 % band.
    pub coverage80: Option<f64>,
    /// "Repeat the last value", likewise: the check of the harness.
    pub repeat_mse: f64,
    /// Its absolute error.
    pub repeat_mae: f64,
    /// Bytes of the model file.
    pub bytes: usize,
    /// Seconds that training and test took.
    pub seconds: f64,
}

impl Cell {
    /// Trains on the series' training rows, exports, and scores every test window with the device's own code.
    ///
    /// # Errors
    /// Untrainable data, an interruption.
    pub fn measure(series: &Series, options: &train::Options, output: &Output) -> Result<Cell> {
        let start = std::time::Instant::now();
        let (model, _) = train(series, options, output)?;
        let seen = series.before(Protocol::Ett.borders(series, 0).test);
        let bytes = calibrate(&model, &seen)?.to_flow_as(Numeric::I8)?;
        let mut forecaster = forecaster::open(&bytes)?;
        let test = backtest::Options {
            protocol: Protocol::Ett,
            horizons: vec![usize::from(model.config.horizon)],
            origins: None,
            baselines: Some(vec![Baseline::LastValue]),
        };
        let report = backtest::score(forecaster.as_mut(), series, &test, output)?;
        let found = report.overall;
        ensure!(found.mse.is_finite() && found.count > 0, "the model's MSE is {}, expected a finite number", found.mse);
        let repeat = report.baselines.first().map(|(_, method)| method.overall).unwrap_or_default();
        Ok(Cell {
            mse: found.mse,
            mae: found.mae,
            coverage80: found.coverage80,
            repeat_mse: repeat.mse,
            repeat_mae: repeat.mae,
            bytes: bytes.len(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

/// Everything that shapes a cell, as one line.
pub fn key(dataset: &str, data: &str, options: &train::Options, program: &str) -> String {
    let Wishes { horizon, preset, .. } = &options.wishes;
    format!(
        "{dataset} {} seed {} preset {} epochs {} ensemble {} device {:?} data {data} program {program}",
        horizon.unwrap_or(0),
        options.seed,
        preset.name,
        options.epochs,
        options.ensemble,
        options.device,
    )
}

/// A name for what was read: another file, or another reader, gives another.
pub fn fingerprint(series: &Series) -> String {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    digest.update(format!("{:?} {}", series.columns, series.interval_ms).as_bytes());
    for values in &series.values {
        digest.update(bytemuck::cast_slice(values));
    }
    format!("{:08x}", digest.finalize())
}

/// The file of cells beside a table.
pub fn kept_beside(table: &Path) -> PathBuf {
    table.with_extension("cells.json")
}

/// What to say where a table ends early.
pub fn interruption(kept_in: Option<&Path>) -> String {
    match kept_in {
        Some(path) => format!("the benchmark ended early (finished cells are in {})", path.display()),
        None => "the benchmark ended early (with --out its finished cells would be kept)".to_owned(),
    }
}

/// Finished cells of one kind, in a file if there is one.
pub struct Kept<C> {
    path: Option<PathBuf>,
    cells: BTreeMap<String, C>,
}

impl<C: Clone + Serialize + DeserializeOwned> Kept<C> {
    /// Those of a file, or none where it is not there yet.
    ///
    /// # Errors
    /// The file is none of cells.
    pub fn open(path: Option<PathBuf>) -> Result<Kept<C>> {
        let cells = match &path {
            Some(path) if path.exists() => {
                let text = fs::read(path).with_context(|| path.display().to_string())?;
                serde_json::from_slice(&text).with_context(|| {
                    format!("{}: expected the finished cells of a table of this kind", path.display())
                })?
            }
            _ => BTreeMap::new(),
        };
        Ok(Kept { path, cells })
    }

    /// A finished cell.
    pub fn get(&self, key: &str) -> Option<C> {
        self.cells.get(key).cloned()
    }

    /// Keeps a cell, in the file at once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn insert(&mut self, key: String, cell: C) -> Result<()> {
        self.cells.insert(key, cell);
        match &self.path {
            Some(path) => write_atomic(path, &serde_json::to_vec_pretty(&self.cells)?),
            None => Ok(()),
        }
    }
}
