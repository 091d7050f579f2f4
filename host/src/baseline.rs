//! What a forecast must beat, each from the past of one channel alone:
//!
//! | name | forecast |
//! |---|---|
//! | `last_value` | the last value, forever |
//! | `seasonal_naive` | the last season, again and again |
//! | `drift` | the line through the first and the last value of the look-back (Hyndman and Athanasopoulos, *Forecasting*, 5.2) |
//! | `ets` | exponential smoothing by `augurs-ets`, error and trend chosen by AICc; that library has no seasonal models |
//! | `mstl_ets` | STL's season repeated, plus `ets` on what remains (`augurs-mstl`; *Forecasting*, 5.7) |
//!
//! The look-back of the last three is 14 periods, but no more than 4,096 samples unless that is less than two periods. A missing value
//! is filled from the past alone: with the value of a period earlier, or else the last one. Where a fit fails the next simpler method
//! steps in (`mstl_ets` → `seasonal_naive`, `ets` → `last_value`), and [`Fit::Fallback`] tells.

use augurs_core::{Fit as _, Predict as _};
use augurs_ets::{AutoETS, trend::AutoETSTrendModel};
use augurs_mstl::MSTLModel;

/// A baseline's method; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The last value, forever.
    LastValue,
    /// The last season, again and again.
    SeasonalNaive,
    /// The line through the look-back's ends.
    Drift,
    /// Exponential smoothing without a season.
    Ets,
    /// STL's season plus exponential smoothing.
    MstlEts,
}

/// All of them, simplest first.
pub const BASELINES: [Baseline; 5] =
    [Baseline::LastValue, Baseline::SeasonalNaive, Baseline::Drift, Baseline::Ets, Baseline::MstlEts];

/// Whether a forecast came from the method itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It did.
    Own,
    /// The fit failed; a simpler method stepped in.
    Fallback,
}

impl Baseline {
    /// The name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Baseline::LastValue => "last_value",
            Baseline::SeasonalNaive => "seasonal_naive",
            Baseline::Drift => "drift",
            Baseline::Ets => "ets",
            Baseline::MstlEts => "mstl_ets",
        }
    }

    /// Forecasts `out.len()` steps from everything up to now: `past` is [`filled`], oldest first, not empty.
    ///
    /// # Panics
    /// If `past` is empty.
    pub fn forecast(self, past: &[f32], period: usize, out: &mut [f32]) -> Fit {
        let last = past[past.len() - 1];
        let recent = &past[past.len() - look_back(period).min(past.len())..];
        match self {
            Baseline::LastValue => out.fill(last),
            Baseline::SeasonalNaive => seasonal_naive(past, period, out),
            Baseline::Drift => {
                let slope = (last - recent[0]) / (recent.len().max(2) - 1) as f32;
                for (step, value) in out.iter_mut().enumerate() {
                    *value = last + slope * (step + 1) as f32;
                }
            }
            Baseline::Ets => {
                let point = AutoETS::non_seasonal()
                    .fit(&to_f64(recent))
                    .ok()
                    .and_then(|model| model.predict(out.len(), None).ok());
                if !copy_finite(point.map(|forecast| forecast.point), out) {
                    out.fill(last);
                    return Fit::Fallback;
                }
            }
            Baseline::MstlEts => {
                let model = MSTLModel::new(vec![period], AutoETSTrendModel::from(AutoETS::non_seasonal()));
                let enough = period >= 2 && recent.len() >= 2 * period;
                let point = enough
                    .then(|| model.fit(&to_f64(recent)).ok())
                    .flatten()
                    .and_then(|fitted| fitted.predict(out.len(), None).ok());
                if !copy_finite(point.map(|forecast| forecast.point), out) {
                    seasonal_naive(past, period, out);
                    return Fit::Fallback;
                }
            }
        }
        Fit::Own
    }
}

/// Samples that a fit looks back over.
pub fn look_back(period: usize) -> usize {
    (14 * period).min(4_096.max(2 * period)).max(2)
}

fn seasonal_naive(past: &[f32], period: usize, out: &mut [f32]) {
    // Before a whole season has passed, the last value is the season.
    let period = if period <= past.len() { period.max(1) } else { 1 };
    let season = &past[past.len() - period..];
    for (value, &again) in out.iter_mut().zip(season.iter().cycle()) {
        *value = again;
    }
}

fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn copy_finite(point: Option<Vec<f64>>, out: &mut [f32]) -> bool {
    match point {
        Some(point) if point.len() == out.len() && point.iter().all(|value| value.is_finite()) => {
            for (value, forecast) in out.iter_mut().zip(point) {
                *value = forecast as f32;
            }
            true
        }
        _ => false,
    }
}

/// The channel with each missing value filled from its own past: the (filled) value of a period earlier, or else the last one.
/// Missing values before the first one stay NaN.
pub fn filled(values: &[f32], period: usize) -> Vec<f32> {
    let mut filled: Vec<f32> = Vec::with_capacity(values.len());
    for (row, &value) in values.iter().enumerate() {
        let season_before = row.checked_sub(period).map_or(f32::NAN, |earlier| filled[earlier]);
        let fill = if season_before.is_nan() { filled.last().copied().unwrap_or(f32::NAN) } else { season_before };
        filled.push(if value.is_nan() { fill } else { value });
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_forecasts_by_hand() {
        let past = [1.0, 2.0, 3.0, 5.0];
        let mut out = [0.0; 4];
        assert_eq!(Baseline::LastValue.forecast(&past, 3, &mut out), Fit::Own);
        assert_eq!(out, [5.0; 4]);
        Baseline::SeasonalNaive.forecast(&past, 3, &mut out);
        assert_eq!(out, [2.0, 3.0, 5.0, 2.0]);
        Baseline::SeasonalNaive.forecast(&past[..1], 3, &mut out);
        assert_eq!(out, [1.0; 4]);
        let mut line = [0.0; 2];
        Baseline::Drift.forecast(&[1.0, 9.0, 5.0], 3, &mut line);
        assert_eq!(line, [7.0, 9.0]);
    }

    #[test]
    fn missing_values_are_filled_from_the_past() {
        let nan = f32::NAN;
        let values = [nan, 1.0, nan, 3.0, nan, nan, 7.0];
        let filled_values = filled(&values, 2);
        assert!(filled_values[0].is_nan());
        assert_eq!(filled_values[1..], [1.0, 1.0, 3.0, 1.0, 3.0, 7.0]);
        // Nothing that comes later changes what was filled.
        for length in 1..values.len() {
            assert_eq!(filled(&values[..length], 2)[1..], filled_values[1..length]);
        }
    }

    #[test]
    fn fitted_methods_find_level_and_season() {
        let period = 24;
        let past: Vec<f32> = (0..period * 14)
            .map(|row| {
                let noise = ((row * 7919) % 101) as f32 / 1_000.0;
                20.0 + 5.0 * (row as f32 / period as f32 * std::f32::consts::TAU).sin() + noise
            })
            .collect();
        let mut out = vec![0.0; period];
        assert_eq!(Baseline::MstlEts.forecast(&past, period, &mut out), Fit::Own);
        for (step, value) in out.iter().enumerate() {
            let truth = 20.05 + 5.0 * (step as f32 / period as f32 * std::f32::consts::TAU).sin();
            assert!((value - truth).abs() < 0.25, "{step}: {value} {truth}");
        }
        assert_eq!(Baseline::Ets.forecast(&past, period, &mut out), Fit::Own);
        assert!(out.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn a_failed_fit_is_told() {
        let mut out = [0.0; 3];
        assert_eq!(Baseline::Ets.forecast(&[4.0], 24, &mut out), Fit::Fallback);
        assert_eq!(out, [4.0; 3]);
        assert_eq!(Baseline::MstlEts.forecast(&[1.0, 2.0, 3.0], 2, &mut out), Fit::Fallback);
        assert_eq!(out, [2.0, 3.0, 2.0]);
    }

    #[test]
    fn the_look_back_stays_affordable() {
        assert_eq!(look_back(144), 2_016);
        assert_eq!(look_back(1_440), 4_096);
        assert_eq!(look_back(10_080), 20_160);
        assert_eq!(look_back(1), 14);
    }
}
