//! Validation by the device's own code: the model as exported, streamed over the validation rows.

use std::ops::Range;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::loss::loss;
use crate::config::{TrainedModel, between_knots};
use crate::data::Series;
use crate::features::Features;
use crate::forecaster::open;

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

/// Rows between two origins; odd, that no phase of an even period is left out.
pub fn stride(origins: Range<usize>) -> usize {
    (origins.len() / ORIGINS).max(1) | 1
}

/// Streams the rows from `from` to the end of `rows` through a model and forecasts from origins in `rows`.
///
/// `error` is the linear path's, `[targets][knots]`. `from` is 0 for the whole stream as a device would see it.
/// Returns each target's mean absolute error too.
///
/// # Errors
/// The model cannot be exported.
pub fn validate(
    model: &TrainedModel,
    features: &Features,
    error: &[Vec<f32>],
    series: &Series,
    from: usize,
    rows: &Range<usize>,
) -> Result<(Validation, Vec<f64>)> {
    let bytes = model.to_flow()?;
    let mut forecaster = open(&bytes)?;
    let levels = model.config.quantiles.clone();
    let median = levels.iter().position(|level| *level == 0.5).unwrap_or(0);
    let horizon = usize::from(model.config.horizon);
    let last = rows.end.saturating_sub(horizon).max(rows.start + 1);
    let stride = stride(rows.start..last);
    let error: Vec<Vec<f32>> = error.iter().map(|error| between_knots(&model.config.knots, error)).collect();
    let mut sample = vec![0.0; series.columns.len()];
    let (mut squared, mut total) = (0.0, 0.0);
    let mut absolute = vec![0.0; error.len()];
    let mut counts = vec![0_u64; error.len()];
    for row in from..last {
        if row % 1024 == 0 {
            crate::interrupt::check()?;
        }
        series.row(row, &mut sample);
        forecaster.observe(&sample);
        if row < rows.start || !(row - rows.start).is_multiple_of(stride) {
            continue;
        }
        for (channel, errors) in error.iter().enumerate() {
            let config = &model.config.channels[channel];
            let future = &features.samples(channel)[row + 1..];
            forecaster.for_each_step(channel, &mut |step, quantiles| {
                let Some(came) = future.get(step - 1).filter(|came| !came.is_nan()) else { return };
                let mut scaled = [0.0; flowcast_core::format::MAX_QUANTILES];
                for (scaled, quantile) in scaled.iter_mut().zip(quantiles) {
                    *scaled = (quantile - config.offset) / config.scale;
                }
                let miss = f64::from(came - scaled[median]);
                squared += miss * miss;
                absolute[channel] += miss.abs();
                total += loss(&levels, &scaled[..levels.len()], *came, errors[step - 1]);
                counts[channel] += 1;
            });
        }
    }
    let count = counts.iter().sum::<u64>().max(1) as f64;
    let validation =
        Validation { mse: squared / count, mae: absolute.iter().sum::<f64>() / count, loss: total / count };
    let of_channel = |(absolute, count): (&f64, &u64)| absolute / (*count).max(1) as f64;
    Ok((validation, absolute.iter().zip(&counts).map(of_channel).collect()))
}
