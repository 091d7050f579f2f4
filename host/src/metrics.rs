//! Errors of forecasts, by steps ahead.
//!
//! For a forecast f of an actual y, over all origins:
//!
//! - MAE = mean |y − f|, MSE = mean (y − f)², RMSE = √MSE, in the channel's unit; f is the median,
//! - sMAPE = 200 · mean |y − f| / (|y| + |f|), in per cent, 0 where both are 0,
//! - MASE = MAE / scale, scale = mean |x_t − x_{t−period}| over the training part (Hyndman and Koehler 2006): below 1 the forecast
//!   beats what repeating the last season does one step ahead, in sample,
//! - WQL = 2 Σ ρ_τ(y, q_τ) / Σ |y|, averaged over the levels τ, ρ_τ(y, q) = max(τ(y − q), (τ − 1)(y − q)) (pinball loss); a point
//!   forecast counts as all of its quantiles,
//! - coverage80 = share of actuals within [q_0.1, q_0.9], width80 = mean q_0.9 − q_0.1, where a forecast has both levels.
//!
//! An actual that is missing counts nowhere. Over channels each measure is averaged with equal weights.

use serde::Serialize;

/// Measures over some origins and steps. `None` where a measure has no meaning: see each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Mean squared error, in the unit's square.
    pub mse: f64,
    /// Mean absolute error, in the unit.
    pub mae: f64,
    /// Root of the mean squared error, in the unit.
    pub rmse: f64,
    /// Symmetric mean absolute percentage error, 0..=200 %.
    pub smape: f64,
    /// Mean absolute scaled error; `None` when the training part repeats itself exactly or is shorter than a period.
    pub mase: Option<f64>,
    /// Weighted quantile loss; `None` when all actuals are 0.
    pub wql: Option<f64>,
    /// Share of actuals within the 80 % band, 0..=1; `None` without a band.
    pub coverage80: Option<f64>,
    /// Mean width of the 80 % band, in the unit; `None` without a band.
    pub width80: Option<f64>,
    /// Actuals that were compared.
    pub count: u64,
}

impl Scores {
    /// The mean of each measure over channels that have it; `None` without a channel that was compared at all.
    pub fn mean(channels: &[Scores]) -> Option<Scores> {
        let compared: Vec<&Scores> = channels.iter().filter(|scores| scores.count > 0).collect();
        if compared.is_empty() {
            return None;
        }
        let mean = |measure: &dyn Fn(&Scores) -> Option<f64>| {
            let present: Vec<f64> = compared.iter().filter_map(|scores| measure(scores)).collect();
            (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64)
        };
        Some(Scores {
            mse: mean(&|scores| Some(scores.mse))?,
            mae: mean(&|scores| Some(scores.mae))?,
            rmse: mean(&|scores| Some(scores.rmse))?,
            smape: mean(&|scores| Some(scores.smape))?,
            mase: mean(&|scores| scores.mase),
            wql: mean(&|scores| scores.wql),
            coverage80: mean(&|scores| scores.coverage80),
            width80: mean(&|scores| scores.width80),
            count: compared.iter().map(|scores| scores.count).sum(),
        })
    }
}

/// The quantile levels of a forecast, and which of them are the median and the 80 % band.
#[derive(Clone, Debug)]
pub struct Levels {
    levels: Vec<f64>,
    median: usize,
    band: Option<(usize, usize)>,
}

impl Levels {
    /// From ascending levels in 0..1; the median is the level nearest 0.5.
    ///
    /// # Panics
    /// Without a level.
    pub fn new(levels: &[f32]) -> Levels {
        assert!(!levels.is_empty(), "at least one level");
        let find = |wanted: f32| levels.iter().position(|level| (level - wanted).abs() < 1e-4);
        let median = (0..levels.len())
            .min_by(|&left, &right| (levels[left] - 0.5).abs().total_cmp(&(levels[right] - 0.5).abs()))
            .unwrap_or(0);
        Levels {
            // 0.1_f32 is not 0.1; levels are meant as decimals.
            levels: levels.iter().map(|&level| (f64::from(level) * 1e6).round() / 1e6).collect(),
            median,
            band: find(0.1).zip(find(0.9)),
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.levels.len()
    }

    /// The position of the median.
    pub fn median(&self) -> usize {
        self.median
    }

    /// The positions of 0.1 and 0.9, if both are there.
    pub fn band(&self) -> Option<(usize, usize)> {
        self.band
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: u64,
    absolute: f64,
    squared: f64,
    symmetric: f64,
    pinball: f64,
    magnitude: f64,
    covered: u64,
    width: f64,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.count += other.count;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.symmetric += other.symmetric;
        self.pinball += other.pinball;
        self.magnitude += other.magnitude;
        self.covered += other.covered;
        self.width += other.width;
    }
}

/// Sums of one method's errors on one channel, for each number of steps ahead.
#[derive(Clone, Debug)]
pub struct Accumulator {
    levels: Levels,
    has_band: bool,
    steps: Vec<Sums>,
}

impl Accumulator {
    /// For forecasts of `horizon` steps with these levels.
    pub fn new(horizon: usize, levels: &Levels) -> Accumulator {
        Accumulator { levels: levels.clone(), has_band: levels.band.is_some(), steps: vec![Sums::default(); horizon] }
    }

    /// For point forecasts of `horizon` steps, measured at the levels of another method.
    pub fn point(horizon: usize, levels: &Levels) -> Accumulator {
        Accumulator { has_band: false, ..Accumulator::new(horizon, levels) }
    }

    /// Takes a forecast `steps_ahead` (from 1) and what came; `quantiles` is one value a level. A missing actual is skipped.
    ///
    /// # Panics
    /// If `steps_ahead` is out of range or `quantiles` has another length than the levels.
    pub fn push(&mut self, steps_ahead: usize, quantiles: &[f32], actual: f32) {
        assert_eq!(quantiles.len(), self.levels.count(), "one value a level");
        self.add(steps_ahead, |level| f64::from(quantiles[level]), f64::from(actual));
    }

    /// Takes a point forecast, which counts as every quantile.
    ///
    /// # Panics
    /// If `steps_ahead` is out of range.
    pub fn push_point(&mut self, steps_ahead: usize, forecast: f32, actual: f32) {
        self.add(steps_ahead, |_| f64::from(forecast), f64::from(actual));
    }

    fn add(&mut self, steps_ahead: usize, quantile: impl Fn(usize) -> f64, actual: f64) {
        if actual.is_nan() {
            return;
        }
        let sums = &mut self.steps[steps_ahead - 1];
        let median = quantile(self.levels.median);
        let error = actual - median;
        sums.count += 1;
        sums.absolute += error.abs();
        sums.squared += error * error;
        let magnitude = actual.abs() + median.abs();
        if magnitude > 0.0 {
            sums.symmetric += 200.0 * error.abs() / magnitude;
        }
        let pinball: f64 =
            self.levels.levels.iter().enumerate().map(|(index, &level)| pinball(level, quantile(index), actual)).sum();
        sums.pinball += 2.0 * pinball / self.levels.count() as f64;
        sums.magnitude += actual.abs();
        if let Some((low, high)) = self.levels.band.filter(|_| self.has_band) {
            let (low, high) = (quantile(low), quantile(high));
            sums.covered += u64::from((low..=high).contains(&actual));
            sums.width += high - low;
        }
    }

    /// All steps from 1 to `steps` together; `scale` is [`mase_scale`] of the channel.
    pub fn up_to(&self, steps: usize, scale: Option<f64>) -> Scores {
        let mut sums = Sums::default();
        for step in &self.steps[..steps.min(self.steps.len())] {
            sums.add(step);
        }
        self.scores(&sums, scale)
    }

    /// Exactly `steps` ahead.
    ///
    /// # Panics
    /// If `steps` is not in 1..=horizon.
    pub fn at(&self, steps: usize, scale: Option<f64>) -> Scores {
        self.scores(&self.steps[steps - 1], scale)
    }

    fn scores(&self, sums: &Sums, scale: Option<f64>) -> Scores {
        if sums.count == 0 {
            return Scores::default();
        }
        let mean = |sum: f64| sum / sums.count as f64;
        Scores {
            mse: mean(sums.squared),
            mae: mean(sums.absolute),
            rmse: mean(sums.squared).sqrt(),
            smape: mean(sums.symmetric),
            mase: scale.map(|scale| mean(sums.absolute) / scale),
            wql: (sums.magnitude > 0.0).then(|| sums.pinball / sums.magnitude),
            coverage80: self.has_band.then(|| mean(sums.covered as f64)),
            width80: self.has_band.then(|| mean(sums.width)),
            count: sums.count,
        }
    }
}

/// The pinball loss of a quantile forecast, in the unit of the actual.
pub fn pinball(level: f64, quantile: f64, actual: f64) -> f64 {
    let error = actual - quantile;
    (level * error).max((level - 1.0) * error)
}

/// The mean absolute error of repeating the season before, on the training part; pairs with a missing value are left out.
/// `None` when there is no pair, or when every season repeats exactly: no error can be scaled by 0.
pub fn mase_scale(training: &[f32], period: usize) -> Option<f64> {
    let period = period.max(1);
    let (mut sum, mut count) = (0.0, 0_u64);
    for (now, before) in training.iter().skip(period).zip(training) {
        let error = (f64::from(*now) - f64::from(*before)).abs();
        if !error.is_nan() {
            sum += error;
            count += 1;
        }
    }
    (count > 0 && sum > 0.0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn point_measures_by_hand() {
        let levels = Levels::new(&[0.5]);
        let mut errors = Accumulator::new(2, &levels);
        errors.push(1, &[3.0], 1.0); // error 2
        errors.push(1, &[1.0], 2.0); // error 1
        errors.push(2, &[8.0], 4.0); // error 4
        errors.push(2, &[100.0], f32::NAN);
        let first = errors.at(1, Some(0.5));
        close(first.mae, 1.5);
        close(first.mse, 2.5);
        close(first.rmse, 2.5_f64.sqrt());
        close(first.smape, (200.0 * 2.0 / 4.0 + 200.0 / 3.0) / 2.0);
        close(first.mase.unwrap(), 3.0);
        close(first.wql.unwrap(), 3.0 / 3.0); // 2 · 0.5 · Σ|error| / Σ|actual|
        assert_eq!(first.coverage80, None);
        let both = errors.up_to(2, None);
        close(both.mae, 7.0 / 3.0);
        assert_eq!((both.count, both.mase), (3, None));
    }

    #[test]
    fn quantile_measures_by_hand() {
        let levels = Levels::new(&[0.1, 0.5, 0.9]);
        let mut errors = Accumulator::new(1, &levels);
        errors.push(1, &[8.0, 10.0, 13.0], 12.0);
        errors.push(1, &[8.0, 10.0, 13.0], 14.0);
        let scores = errors.at(1, None);
        close(scores.coverage80.unwrap(), 0.5);
        close(scores.width80.unwrap(), 5.0);
        // 12: .1·4 + .5·2 + .1·1; 14: .1·6 + .5·4 + .9·1
        close(scores.wql.unwrap(), 2.0 * (1.5 + 3.5) / 3.0 / 26.0);
        let mut point = Accumulator::point(1, &levels);
        point.push_point(1, 10.0, 12.0);
        let scores = point.at(1, None);
        assert_eq!(scores.coverage80, None);
        close(scores.wql.unwrap(), 2.0 / 12.0); // A point's WQL at symmetric levels is its share of absolute error.
    }

    #[test]
    fn the_scale_skips_missing_and_refuses_zero() {
        close(mase_scale(&[0.0, 10.0, 1.0, f32::NAN, 3.0, 13.0], 2).unwrap(), 1.5);
        assert_eq!(mase_scale(&[1.0, 2.0, 1.0, 2.0], 2), None);
        assert_eq!(mase_scale(&[1.0, 2.0], 2), None);
    }

    #[test]
    fn channels_weigh_the_same() {
        let scores = |mae: f64, mase: Option<f64>, count: u64| Scores { mae, mase, count, ..Scores::default() };
        let mean = Scores::mean(&[scores(1.0, Some(2.0), 1), scores(3.0, None, 99), scores(0.0, None, 0)]).unwrap();
        close(mean.mae, 2.0);
        assert_eq!((mean.mase, mean.count), (Some(2.0), 100));
        assert_eq!(Scores::mean(&[]), None);
    }
}
