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
//! - coverage80 = share of actuals within [q_0.1, q_0.9], width80 = mean q_0.9 − q_0.1, where a forecast has both levels,
//!   `coverage80_quarters` the same in each quarter of the held-out rows, by the row of the actual.
//!
//! At a horizon of H steps, steps 1 to H of every forecast whose H steps all came are taken together.
//! An actual that is missing counts nowhere. Over channels each measure is averaged with equal weights. What has no meaning is `None`,
//! in JSON `null`: never 0, never NaN.

use std::ops::Range;

use flowcast_core::format::median;
use serde::{Serialize, Serializer};

/// Parts of the held-out span whose coverage is told apart.
pub const QUARTERS: usize = 4;

/// Measures over some origins and steps. `None` where a measure has no meaning: see each. Without an actual that was compared none has
/// one; the errors are 0 then, and `null` in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// `coverage80` in each quarter of the held-out span; `None` without a band, and in a quarter without an actual.
    pub coverage80_quarters: Option<[Option<f64>; QUARTERS]>,
    /// Actuals that were compared.
    pub count: u64,
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Known {
            mse: Option<f64>,
            mae: Option<f64>,
            rmse: Option<f64>,
            smape: Option<f64>,
            mase: Option<f64>,
            wql: Option<f64>,
            coverage80: Option<f64>,
            width80: Option<f64>,
            coverage80_quarters: Option<[Option<f64>; QUARTERS]>,
            count: u64,
        }
        let known = |error: f64| (self.count > 0).then_some(error);
        Known {
            mse: known(self.mse),
            mae: known(self.mae),
            rmse: known(self.rmse),
            smape: known(self.smape),
            mase: self.mase,
            wql: self.wql,
            coverage80: self.coverage80,
            width80: self.width80,
            coverage80_quarters: self.coverage80_quarters,
            count: self.count,
        }
        .serialize(serializer)
    }
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
        let quarter = |quarter: usize| mean(&|scores| scores.coverage80_quarters?[quarter]);
        let coverage80 = mean(&|scores| scores.coverage80);
        Some(Scores {
            mse: mean(&|scores| Some(scores.mse))?,
            mae: mean(&|scores| Some(scores.mae))?,
            rmse: mean(&|scores| Some(scores.rmse))?,
            smape: mean(&|scores| Some(scores.smape))?,
            mase: mean(&|scores| scores.mase),
            wql: mean(&|scores| scores.wql),
            coverage80,
            width80: mean(&|scores| scores.width80),
            coverage80_quarters: coverage80.map(|_| std::array::from_fn(quarter)),
            count: compared.iter().map(|scores| scores.count).sum(),
        })
    }

    /// The same errors of values that are divided by `deviation`, as standardised values are. Measures that are relative by themselves
    /// (MASE, coverage) do not change; sMAPE and WQL, which a standardised value's origin would make meaningless, stay those of the
    /// values as measured.
    pub fn standardised(self, deviation: f64) -> Scores {
        Scores {
            mse: self.mse / (deviation * deviation),
            mae: self.mae / deviation,
            rmse: self.rmse / deviation,
            width80: self.width80.map(|width| width / deviation),
            ..self
        }
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
    /// From ascending levels in 0..1.
    ///
    /// # Panics
    /// Without the median.
    pub fn new(levels: &[f32]) -> Levels {
        let find = |wanted: f32| levels.iter().position(|level| (level - wanted).abs() < 1e-4);
        let median = median(levels).expect("every model has a median");
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
    width: f64,
    /// Actuals, and those of them within the band, by quarter; only where there is a band.
    held: [u64; QUARTERS],
    covered: [u64; QUARTERS],
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.count += other.count;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.symmetric += other.symmetric;
        self.pinball += other.pinball;
        self.magnitude += other.magnitude;
        self.width += other.width;
        for quarter in 0..QUARTERS {
            self.held[quarter] += other.held[quarter];
            self.covered[quarter] += other.covered[quarter];
        }
    }
}

/// Sums the errors of one method on one channel, by steps ahead and up to each horizon.
#[derive(Clone, Debug)]
pub struct Accumulator {
    levels: Levels,
    has_band: bool,
    /// The held-out rows, whose quarters coverage is told for.
    span: Range<usize>,
    /// Of step `index + 1`. `[longest horizon]`
    steps: Vec<Sums>,
    /// Of steps 1 to each horizon, ascending.
    horizons: Vec<(usize, Sums)>,
}

impl Accumulator {
    /// For forecasts of quantiles up to each of `horizons` (ascending), of rows in `span`.
    pub fn new(horizons: &[usize], levels: &Levels, span: Range<usize>) -> Accumulator {
        Accumulator {
            levels: levels.clone(),
            has_band: levels.band.is_some(),
            span,
            steps: vec![Sums::default(); horizons.last().copied().unwrap_or(0)],
            horizons: horizons.iter().map(|&steps| (steps, Sums::default())).collect(),
        }
    }

    /// For point forecasts, which have no band.
    pub fn point(horizons: &[usize], levels: &Levels, span: Range<usize>) -> Accumulator {
        Accumulator { has_band: false, ..Accumulator::new(horizons, levels, span) }
    }

    /// Takes a forecast, `[steps][levels]`, and what came from row `origin` on, as far as the held-out rows go. It counts at the
    /// horizons that `actual` reaches; a missing actual is skipped.
    ///
    /// # Panics
    /// If `forecast` is shorter than `actual`.
    pub fn push(&mut self, origin: usize, forecast: &[f32], actual: &[f32]) {
        let levels = self.levels.count();
        assert!(forecast.len() >= levels * actual.len(), "one value a step and level");
        self.add(origin, actual, |step, level| f64::from(forecast[step * levels + level]));
    }

    /// Takes a point forecast, `[steps]`, which counts as every quantile; see [`Accumulator::push`].
    ///
    /// # Panics
    /// If `forecast` is shorter than `actual`.
    pub fn push_point(&mut self, origin: usize, forecast: &[f32], actual: &[f32]) {
        assert!(forecast.len() >= actual.len(), "one value a step");
        self.add(origin, actual, |step, _| f64::from(forecast[step]));
    }

    fn add(&mut self, origin: usize, actual: &[f32], quantile: impl Fn(usize, usize) -> f64) {
        let mut so_far = Sums::default();
        let mut horizons = self.horizons.iter_mut().peekable();
        for (step, (&actual, sums)) in actual.iter().zip(&mut self.steps).enumerate() {
            if !actual.is_nan() {
                let band = self.levels.band.filter(|_| self.has_band);
                let mut one = errors(&self.levels, f64::from(actual), |level| quantile(step, level));
                if let Some((low, high)) = band {
                    let (low, high) = (quantile(step, low), quantile(step, high));
                    let held_out = (origin + step).saturating_sub(self.span.start);
                    let quarter = (held_out * QUARTERS / self.span.len().max(1)).min(QUARTERS - 1);
                    one.width = high - low;
                    one.held[quarter] = 1;
                    one.covered[quarter] = u64::from((low..=high).contains(&f64::from(actual)));
                }
                sums.add(&one);
                so_far.add(&one);
            }
            while let Some((_, sums)) = horizons.next_if(|(steps, _)| *steps == step + 1) {
                sums.add(&so_far);
            }
        }
    }

    /// Adds what another took, of the same horizons.
    pub fn merge(&mut self, other: &Accumulator) {
        for (sums, other) in self.steps.iter_mut().zip(&other.steps) {
            sums.add(other);
        }
        for ((_, sums), (_, other)) in self.horizons.iter_mut().zip(&other.horizons) {
            sums.add(other);
        }
    }

    /// Steps 1 to `steps` together, one of the horizons; `scale` is [`mase_scale`] of the channel.
    ///
    /// # Panics
    /// If `steps` is none of the horizons.
    pub fn up_to(&self, steps: usize, scale: Option<f64>) -> Scores {
        let found = self.horizons.iter().find(|(horizon, _)| *horizon == steps);
        let Some((_, sums)) = found else { panic!("{steps} steps are none of the horizons") };
        self.scores(sums, scale)
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
        let share =
            |quarter: usize| (sums.held[quarter] > 0).then(|| sums.covered[quarter] as f64 / sums.held[quarter] as f64);
        Scores {
            mse: mean(sums.squared),
            mae: mean(sums.absolute),
            rmse: mean(sums.squared).sqrt(),
            smape: mean(sums.symmetric),
            mase: scale.map(|scale| mean(sums.absolute) / scale),
            wql: (sums.magnitude > 0.0).then(|| sums.pinball / sums.magnitude),
            coverage80: self.has_band.then(|| mean(sums.covered.iter().sum::<u64>() as f64)),
            width80: self.has_band.then(|| mean(sums.width)),
            coverage80_quarters: self.has_band.then(|| std::array::from_fn(share)),
            count: sums.count,
        }
    }
}

/// The errors of one step, the band aside.
fn errors(levels: &Levels, actual: f64, quantile: impl Fn(usize) -> f64) -> Sums {
    let median = quantile(levels.median);
    let error = actual - median;
    let magnitude = actual.abs() + median.abs();
    let pinball: f64 =
        levels.levels.iter().enumerate().map(|(index, &level)| pinball(level, quantile(index), actual)).sum();
    Sums {
        count: 1,
        absolute: error.abs(),
        squared: error * error,
        symmetric: if magnitude > 0.0 { 200.0 * error.abs() / magnitude } else { 0.0 },
        pinball: 2.0 * pinball / levels.count() as f64,
        magnitude: actual.abs(),
        ..Sums::default()
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
        let mut errors = Accumulator::new(&[1, 2], &levels, 0..4);
        errors.push(0, &[3.0, 8.0], &[1.0, 4.0]); // errors 2, 4
        errors.push(1, &[1.0, 100.0], &[2.0, f32::NAN]); // error 1
        let first = errors.at(1, Some(0.5));
        close(first.mae, 1.5);
        close(first.mse, 2.5);
        close(first.rmse, 2.5_f64.sqrt());
        close(first.smape, (200.0 * 2.0 / 4.0 + 200.0 / 3.0) / 2.0);
        close(first.mase.unwrap(), 3.0);
        close(first.wql.unwrap(), 3.0 / 3.0); // 2 · 0.5 · Σ|error| / Σ|actual|
        assert_eq!((first.coverage80, first.coverage80_quarters), (None, None));
        let both = errors.up_to(2, None);
        close(both.mae, 7.0 / 3.0);
        assert_eq!((both.count, both.mase), (3, None));
    }

    #[test]
    fn quantile_measures_by_hand() {
        let levels = Levels::new(&[0.1, 0.5, 0.9]);
        let mut errors = Accumulator::new(&[1], &levels, 0..2);
        errors.push(0, &[8.0, 10.0, 13.0], &[12.0]);
        errors.push(1, &[8.0, 10.0, 13.0], &[14.0]);
        let scores = errors.at(1, None);
        close(scores.coverage80.unwrap(), 0.5);
        close(scores.width80.unwrap(), 5.0);
        // 12: .1·4 + .5·2 + .1·1; 14: .1·6 + .5·4 + .9·1
        close(scores.wql.unwrap(), 2.0 * (1.5 + 3.5) / 3.0 / 26.0);
        let mut point = Accumulator::point(&[1], &levels, 0..2);
        point.push_point(0, &[10.0], &[12.0]);
        let scores = point.at(1, None);
        assert_eq!(scores.coverage80, None);
        close(scores.wql.unwrap(), 2.0 / 12.0); // A point's WQL at symmetric levels is its share of absolute error.
    }

    #[test]
    fn a_window_counts_at_the_horizons_that_it_reaches() {
        let mut errors = Accumulator::new(&[1, 3], &Levels::new(&[0.5]), 0..5);
        errors.push(0, &[0.0; 3], &[1.0, 2.0, 3.0]);
        errors.push(3, &[0.0; 3], &[5.0, 7.0]); // The held-out rows end here.
        close(errors.up_to(1, None).mae, 3.0);
        close(errors.up_to(3, None).mae, 2.0);
        assert_eq!((errors.up_to(1, None).count, errors.up_to(3, None).count), (2, 3));
        let mut halves = [Accumulator::new(&[1, 3], &Levels::new(&[0.5]), 0..5), errors.clone()];
        halves[0].push(1, &[1.0; 3], &[2.0, 2.0, 2.0]);
        errors.push(1, &[1.0; 3], &[2.0, 2.0, 2.0]);
        let [mut whole, second] = halves;
        whole.merge(&second);
        assert_eq!((whole.up_to(3, None), whole.at(2, None)), (errors.up_to(3, None), errors.at(2, None)));
    }

    #[test]
    fn coverage_is_told_for_each_quarter_of_the_held_out_rows() {
        let mut errors = Accumulator::new(&[2], &Levels::new(&[0.1, 0.5, 0.9]), 100..108);
        let band = [-1.0, 0.0, 1.0, -1.0, 0.0, 1.0];
        errors.push(100, &band, &[0.0, 5.0]); // Rows 100, 101: the first quarter.
        errors.push(101, &band, &[1.0, 1.0]); // One row in each of the first two.
        errors.push(106, &band, &[9.0, 9.0]); // The last.
        let scores = errors.up_to(2, None);
        let quarters = scores.coverage80_quarters.unwrap();
        close(quarters[0].unwrap(), 2.0 / 3.0);
        assert_eq!(quarters[1..], [Some(1.0), None, Some(0.0)]);
        close(scores.coverage80.unwrap(), 0.5);
    }

    #[test]
    fn standardising_divides_what_has_a_unit() {
        let mut errors = Accumulator::new(&[1], &Levels::new(&[0.1, 0.5, 0.9]), 0..1);
        errors.push(0, &[4.0, 6.0, 12.0], &[10.0]);
        let (raw, scores) = (errors.up_to(1, Some(2.0)), errors.up_to(1, Some(2.0)).standardised(4.0));
        assert_eq!((scores.mse, scores.mae, scores.rmse, scores.width80), (1.0, 1.0, 1.0, Some(2.0)));
        assert_eq!((scores.smape, scores.mase, scores.wql), (raw.smape, raw.mase, raw.wql));
    }

    #[test]
    fn nothing_compared_is_null_and_not_0() {
        let errors = Accumulator::new(&[1], &Levels::new(&[0.5]), 0..1);
        let json = serde_json::to_value(errors.up_to(1, Some(1.0))).unwrap();
        for (name, value) in json.as_object().unwrap() {
            assert!(if name == "count" { value == 0 } else { value.is_null() }, "{name}: {value}");
        }
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
