//! What needs no training, on the rows that choose: the errors that a model must beat to be worth its bytes.

use std::ops::Range;

use serde::Serialize;

use super::validation::origins;
use crate::data::filled;
use crate::features::Features;

/// Mean errors over all targets and steps, in deviations of the training data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
}

/// The errors of two forecasts without a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Naive {
    /// The last reading, forever.
    pub last_value: Errors,
    /// The last season, again and again; a missing reading is that of a season earlier, or else the one before it.
    pub seasonal_naive: Errors,
}

impl Naive {
    /// At the origins and steps that [`super::validation::validate`] takes.
    pub fn new(features: &Features, targets: usize, period: usize, horizon: usize, rows: &Range<usize>) -> Self {
        let last = rows.end.saturating_sub(horizon).max(rows.start + 1);
        let (mut persistence, mut seasonal) = (Sums::default(), Sums::default());
        for channel in 0..targets {
            let samples = features.samples(channel);
            let past = filled(samples, period);
            for row in origins(rows.start..last, period) {
                for (step, came) in
                    samples[row + 1..].iter().take(horizon).enumerate().filter(|(_, came)| !came.is_nan())
                {
                    let season = (row + 1 + step % period).checked_sub(period).map_or(past[row], |row| past[row]);
                    persistence.add(came - past[row]);
                    seasonal.add(came - season);
                }
            }
        }
        Naive { last_value: persistence.mean(), seasonal_naive: seasonal.mean() }
    }

    /// The better of the two by its mean absolute error, and that.
    pub fn best(&self) -> (&'static str, f64) {
        if self.last_value.mae <= self.seasonal_naive.mae {
            ("repeating the last value", self.last_value.mae)
        } else {
            ("repeating the last season", self.seasonal_naive.mae)
        }
    }
}

#[derive(Default)]
struct Sums {
    squared: f64,
    absolute: f64,
    count: u64,
}

impl Sums {
    fn add(&mut self, miss: f32) {
        self.squared += f64::from(miss).powi(2);
        self.absolute += f64::from(miss).abs();
        self.count += 1;
    }

    fn mean(&self) -> Errors {
        let count = self.count.max(1) as f64;
        Errors { mse: self.squared / count, mae: self.absolute / count }
    }
}
