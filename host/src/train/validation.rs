//! Validation by the device's own code: the model as exported, streamed over the validation rows.

use std::ops::Range;

use anyhow::Result;
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::median;
use serde::{Deserialize, Serialize};

use super::loss::{importance, loss};
use crate::config::{TrainedModel, between_knots};
use crate::data::Series;
use crate::features::Features;
use crate::forecaster::open;
use crate::ridge::Aim;
use crate::stride::stride;

/// Forecasts that a validation makes, about.
const ORIGINS: usize = 300;

/// Errors on the validation rows, all channels and steps alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Mean squared error of the median, in deviations of the training data.
    pub mse: f64,
    /// Mean absolute error of the median, likewise.
    pub mae: f64,
    /// What training makes small (see [`super::loss`]).
    pub loss: f64,
}

/// Errors of quantile forecasts as they add up.
pub(crate) struct Errors<'a> {
    levels: &'a [f32],
    median: usize,
    squared: f64,
    /// Of losses, each as often as it counts, and how often that is.
    total: f64,
    counted: f64,
    /// Of each target.
    absolute: Vec<f64>,
    counts: Vec<u64>,
}

impl<'a> Errors<'a> {
    /// None yet, of forecasts with these quantile levels for some targets.
    pub fn new(levels: &'a [f32], targets: usize) -> Self {
        let median = median(levels).unwrap_or(0);
        Self {
            levels,
            median,
            squared: 0.0,
            total: 0.0,
            counted: 0.0,
            absolute: vec![0.0; targets],
            counts: vec![0; targets],
        }
    }

    /// Adds a target's forecast, ascending and in deviations like what came, of a step at which the linear path's error is
    /// `error` and a loss counts `importance`.
    pub fn add(&mut self, target: usize, quantiles: &[f32], came: f32, (error, importance): (f32, f32)) {
        let miss = f64::from(came - quantiles[self.median]);
        self.squared += miss * miss;
        self.absolute[target] += miss.abs();
        self.total += f64::from(importance) * loss(self.levels, quantiles, came, error);
        self.counted += f64::from(importance);
        self.counts[target] += 1;
    }

    /// All alike, and each target's mean absolute error.
    pub fn mean(&self) -> (Validation, Vec<f64>) {
        let Self { squared, total, counted, absolute, counts, .. } = self;
        let count = counts.iter().sum::<u64>().max(1) as f64;
        let mae = absolute.iter().sum::<f64>() / count;
        let validation = Validation { mse: squared / count, mae, loss: total / counted.max(f64::MIN_POSITIVE) };
        let of_target = |(absolute, count): (&f64, &u64)| absolute / (*count).max(1) as f64;
        (validation, absolute.iter().zip(counts).map(of_target).collect())
    }
}

/// The origins among some rows at which forecasts are looked at.
pub fn origins(rows: Range<usize>, period: usize) -> impl Iterator<Item = usize> {
    let stride = stride(rows.len() / ORIGINS, period);
    rows.step_by(stride)
}

/// Streams the rows from `from` to the end of `rows` through a forecaster and shows it at some of those.
///
/// # Errors
/// The user interrupted.
pub(crate) fn at_origins(
    forecaster: &mut dyn Streaming,
    series: &Series,
    from: usize,
    rows: Range<usize>,
    mut each: impl FnMut(&dyn Streaming, usize),
) -> Result<()> {
    let period = forecaster.header().seasons.period() as usize;
    let mut origins = self::origins(rows.clone(), period).peekable();
    let mut sample = vec![0.0; series.columns.len()];
    for row in from..rows.end {
        if row % 1024 == 0 {
            crate::interrupt::check()?;
        }
        series.row(row, &mut sample);
        forecaster.observe_knowing(&sample, &series.to_come(row + 1));
        if origins.next_if_eq(&row).is_some() {
            each(forecaster, row);
        }
    }
    Ok(())
}

/// Streams the rows from `from` to the end of `rows` through a model and forecasts from origins in `rows`.
///
/// `error` is the linear path's, `[targets][knots]`; `aim` says what each step's loss counts. `from` is 0 for the whole stream as a device would see it.
/// Returns each target's mean absolute error too.
///
/// # Errors
/// The model cannot be exported.
pub fn validate(
    model: &TrainedModel,
    features: &Features,
    (error, aim): (&[Vec<f32>], Aim),
    series: &Series,
    from: usize,
    rows: &Range<usize>,
) -> Result<(Validation, Vec<f64>)> {
    let bytes = model.to_flow()?;
    let mut forecaster = open(&bytes)?;
    let levels = &model.config.quantiles;
    let horizon = usize::from(model.config.horizon);
    let last = rows.end.saturating_sub(horizon).max(rows.start + 1);
    let error: Vec<Vec<f32>> = error.iter().map(|error| between_knots(&model.config.knots, error)).collect();
    let importance = importance(aim, &(1..=model.config.horizon).collect::<Vec<u16>>());
    let mut errors = Errors::new(levels, error.len());
    at_origins(forecaster.as_mut(), series, from, rows.start..last, |forecaster, row| {
        for (channel, error) in error.iter().enumerate() {
            let config = &model.config.channels[channel];
            // Errors are counted on the channel's level: of a step up no forecast could have known.
            let shift = features.shift(channel, row);
            let future = &features.samples(channel)[row + 1..];
            forecaster.for_each_step_knowing(channel, &series.to_come(row + 1), &mut |step, quantiles| {
                let Some(came) = future.get(step - 1).filter(|came| !came.is_nan()) else { return };
                let mut scaled = [0.0; flowcast_core::format::MAX_QUANTILES];
                for (scaled, quantile) in scaled.iter_mut().zip(quantiles) {
                    *scaled = (quantile - config.offset) / config.scale - shift;
                }
                errors.add(channel, &scaled[..levels.len()], *came, (error[step - 1], importance[step - 1]));
            });
        }
    })?;
    Ok(errors.mean())
}
