//! What eight bits cost: how far each matrix, rounded alone, moves the forecasts, and what all of them and integers do.
//!
//! The model runs over rows that training read, by the device's own code, once as it is and once with each matrix as an
//! eight-bit file would hold it; nothing else changes. The rows that are held out are never read.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Result, ensure};
use flowcast_core::format::{Numeric, median};
use serde::Serialize;

use crate::config::TrainedModel;
use crate::data::Series;
use crate::forecaster;
use crate::output::Output;
use crate::train::validation;

/// What a rounding does.
#[derive(Debug, Clone, Serialize)]
pub struct Rounding {
    /// The matrix; or what else is rounded.
    pub what: String,
    /// By how much it moves the forecasts' medians: root mean square, over that of the model's error.
    pub moved: f64,
    /// By how much the mean squared error grows, over that of the model.
    pub mse: f64,
}

/// Rounds one matrix after the other as `file`, the model with weights that an eight-bit file is made of, has them; of
/// `series` the last fifth is forecast.
///
/// # Errors
/// The series is too short, or the user interrupted.
pub fn measure(model: &TrainedModel, file: &TrainedModel, series: &Series, output: &Output) -> Result<Vec<Rounding>> {
    let header = model.config.header()?;
    let matrices: Vec<_> = header.tensors().filter(|tensor| tensor.outputs() > 0).collect();
    let bar = output.progress(matrices.len() as u64 + 3, "rounding");
    let horizon = usize::from(model.config.horizon);
    let rows = series.rows() - series.rows() / 5..series.rows();
    ensure!(
        rows.len() > horizon,
        "found {} rows before the held-out ones, expected at least {}",
        series.rows(),
        5 * (horizon + 1)
    );
    let exact = Exact::new(model, series, rows)?;
    bar.inc(1);
    let compare = |what: String, model: &TrainedModel, numeric| -> Result<Rounding> {
        let rounded = exact.forecast(model, numeric)?;
        bar.inc(1);
        Ok(Rounding { what, moved: exact.distance(&rounded), mse: error(&rounded) / exact.error - 1.0 })
    };
    let mut found = Vec::with_capacity(matrices.len() + 2);
    let mut all = model.clone();
    for tensor in &matrices {
        let range = tensor.start..tensor.start + tensor.len();
        let mut alone = model.clone();
        alone.weights[range.clone()].copy_from_slice(&file.weights[range.clone()]);
        tensor.round_to_eight_bits(&mut alone.weights[range.clone()]);
        all.weights[range.clone()].copy_from_slice(&alone.weights[range]);
        found.push(compare(tensor.to_string(), &alone, Numeric::F32)?);
    }
    found.push(compare("all of them".to_owned(), &all, Numeric::F32)?);
    found.push(compare("int8: integers, too".to_owned(), file, Numeric::I8)?);
    bar.finish_and_clear();
    Ok(found)
}

/// A table for a terminal.
pub fn show(roundings: &[Rounding]) -> String {
    let mut text = format!("{:<28}{:>20}{:>12}\n", "rounded to eight bits", "moves forecasts by", "adds to MSE");
    for Rounding { what, moved, mse } in roundings {
        writeln!(text, "{what:<28}{:>18.3} %{:>+10.3} %", 100.0 * moved, 100.0 * mse).expect("a string takes all");
    }
    text
}

fn mean_square(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + f64::from(value).powi(2), count + 1));
    sum / count.max(1) as f64
}

/// What the exact model forecasts, which others are held beside.
pub(crate) struct Exact<'s> {
    series: &'s Series,
    rows: Range<usize>,
    /// Medians and what came.
    said: Vec<[f32; 2]>,
    /// The medians' mean squared error.
    error: f64,
}

impl<'s> Exact<'s> {
    /// Of a model, from origins in `rows`, more than a horizon.
    ///
    /// # Errors
    /// It is warming up throughout, or the user interrupted.
    pub fn new(model: &TrainedModel, series: &'s Series, rows: Range<usize>) -> Result<Self> {
        let mut exact = Self { series, rows, said: Vec::new(), error: 0.0 };
        exact.said = exact.forecast(model, Numeric::F32)?;
        exact.error = error(&exact.said);
        ensure!(
            exact.error > 0.0,
            "the forecasts have no error at all, expected a series that is not constant, nor a pattern without noise"
        );
        Ok(exact)
    }

    /// By how much another one's forecasts differ: root mean square, over that of this one's error.
    ///
    /// # Errors
    /// The user interrupted.
    pub fn moved(&self, model: &TrainedModel, numeric: Numeric) -> Result<f64> {
        Ok(self.distance(&self.forecast(model, numeric)?))
    }

    fn distance(&self, others: &[[f32; 2]]) -> f64 {
        let apart = self.said.iter().zip(others).map(|(exact, other)| exact[0] - other[0]);
        (mean_square(apart) / self.error).sqrt()
    }

    /// Medians and what came, in deviations: of every channel, step and origin.
    fn forecast(&self, model: &TrainedModel, numeric: Numeric) -> Result<Vec<[f32; 2]>> {
        let bytes = model.to_flow_as(numeric)?;
        let mut forecaster = forecaster::open(&bytes)?;
        let median = median(&model.config.quantiles).unwrap_or(0);
        let series = self.series;
        let rows = self.rows.start..self.rows.end.saturating_sub(usize::from(model.config.horizon));
        let mut found = Vec::new();
        validation::at_origins(forecaster.as_mut(), series, 0, rows, |forecaster, row| {
            for (index, channel) in model.config.channels.iter().enumerate().take(model.config.targets.into()) {
                let scaled = |value: f32| (value - channel.offset) / channel.scale;
                let came = &series.values[index][row + 1..];
                forecaster.for_each_step_knowing(index, &series.to_come(row + 1), &mut |step, quantiles| {
                    if !came[step - 1].is_nan() {
                        found.push([scaled(quantiles[median]), scaled(came[step - 1])]);
                    }
                });
            }
        })?;
        ensure!(
            !found.is_empty(),
            "none of what was forecast came: the model was still warming up, or takes these readings as missing; expected longer data, in its \
             units"
        );
        Ok(found)
    }
}

fn error(medians: &[[f32; 2]]) -> f64 {
    mean_square(medians.iter().map(|[median, came]| median - came))
}
