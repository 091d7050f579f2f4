//! What a forecast must beat, each from the past of one channel alone:
//!
//! | name | forecast |
//! |---|---|
//! | `last_value` | the last value, forever (the literature's "repeat") |
//! | `seasonal_naive` | the last season, again and again |
//! | `seasonal_naive_week` | the last week, again and again |
//! | `drift` | the line through the first and the last value of the look-back (Hyndman and Athanasopoulos, *Forecasting*, 5.2) |
//! | `ets` | exponential smoothing by `augurs-ets`, error and trend chosen by AICc; that library has no seasonal models |
//! | `mstl_ets` | STL's season repeated, plus `ets` on what remains (`augurs-mstl`; *Forecasting*, 5.7) |
//! | `mstl_week_ets` | the same with a season and a week (Bandara et al., "MSTL", 2021) |
//!
//! The season is the model's. A week is one where it is longer than the season, a whole number of samples and the rows before the
//! held-out ones hold two; `mstl_week_ets` needs two in its look-back as well. The look-back of all that fits is 14 seasons (of
//! `mstl_week_ets`, weeks), but no more than 4,096 samples unless that is less than two seasons; exponential smoothing
//! is fitted to the last 1,024 of them, where nearly all of a back-test's time goes. A missing value is filled from the
//! past alone: with the value of a season earlier, or else the last one. Where a fit fails the next simpler method steps in
//! (`mstl_week_ets` → `mstl_ets` → `seasonal_naive`, `ets` → `last_value`), and [`Fit::Fallback`] tells.

use std::borrow::Cow;
use std::error::Error;

use augurs_core::{Fit as _, Predict as _};
use augurs_ets::{AutoETS, trend::AutoETSTrendModel};
use augurs_mstl::{FittedTrendModel, MSTLModel, TrendModel};

const WEEK_MS: u64 = 7 * 86_400_000;
/// The look-back's length in seasons, and in samples unless two seasons are more.
const LOOK_BACK_SEASONS: usize = 14;
const MOST_LOOK_BACK: usize = 4_096;
/// Samples that exponential smoothing is fitted to, at most.
const MOST_SMOOTHED: usize = 1_024;
/// A season is told from no fewer of them.
const LEAST_SEASONS: usize = 2;

/// Lengths of what repeats, in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seasons {
    /// The season.
    pub period: usize,
    /// A week, where the data allow it; longer than the season.
    pub week: Option<usize>,
}

impl Seasons {
    /// Of data with this season (in samples) and interval, of which `rows` are known before the first forecast.
    pub fn new(period: usize, interval_ms: u64, rows: usize) -> Seasons {
        let week = usize::try_from(WEEK_MS / interval_ms.max(1)).unwrap_or(usize::MAX);
        let fits = WEEK_MS.is_multiple_of(interval_ms.max(1)) && week > period && week <= rows / LEAST_SEASONS;
        Seasons { period, week: fits.then_some(week) }
    }
}

/// A baseline's method; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The last value, forever.
    LastValue,
    /// The last season, again and again.
    SeasonalNaive,
    /// The last week, again and again.
    SeasonalNaiveWeek,
    /// The line through the look-back's ends.
    Drift,
    /// Exponential smoothing without a season.
    Ets,
    /// STL's season plus exponential smoothing.
    MstlEts,
    /// STL's season and week plus exponential smoothing.
    MstlWeekEts,
}

/// All of them, simplest first.
pub const BASELINES: [Baseline; 7] = [
    Baseline::LastValue,
    Baseline::SeasonalNaive,
    Baseline::SeasonalNaiveWeek,
    Baseline::Drift,
    Baseline::Ets,
    Baseline::MstlEts,
    Baseline::MstlWeekEts,
];

/// Those that need no fit.
pub fn naive() -> Vec<Baseline> {
    BASELINES.into_iter().filter(|baseline| !baseline.is_fitted()).collect()
}

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
            Baseline::SeasonalNaiveWeek => "seasonal_naive_week",
            Baseline::Drift => "drift",
            Baseline::Ets => "ets",
            Baseline::MstlEts => "mstl_ets",
            Baseline::MstlWeekEts => "mstl_week_ets",
        }
    }

    /// Whether data with these seasons give it something of its own to say.
    pub fn applies(self, seasons: Seasons) -> bool {
        match self {
            Baseline::SeasonalNaiveWeek => seasons.week.is_some(),
            Baseline::MstlWeekEts => seasons.week.is_some_and(|week| week <= MOST_LOOK_BACK / LEAST_SEASONS),
            _ => true,
        }
    }

    /// Whether a model is fitted for each forecast: milliseconds, where the others take none.
    pub fn is_fitted(self) -> bool {
        matches!(self, Baseline::Ets | Baseline::MstlEts | Baseline::MstlWeekEts)
    }

    /// Forecasts `out.len()` steps from everything up to now: `past` is [`crate::data::filled`], oldest first, not empty.
    ///
    /// # Panics
    /// If `past` is empty.
    pub fn forecast(self, past: &[f32], seasons: Seasons, out: &mut [f32]) -> Fit {
        let last = past[past.len() - 1];
        let Seasons { period, week } = seasons;
        let longest = week.filter(|_| self == Baseline::MstlWeekEts).unwrap_or(period);
        let recent = &past[past.len() - look_back(longest).min(past.len())..];
        match self {
            Baseline::LastValue => out.fill(last),
            Baseline::SeasonalNaive => seasonal_naive(past, period, out),
            Baseline::SeasonalNaiveWeek => seasonal_naive(past, longest_naive(past.len(), seasons), out),
            Baseline::Drift => {
                let slope = (last - recent[0]) / (recent.len().max(2) - 1) as f32;
                for (step, value) in out.iter_mut().enumerate() {
                    *value = last + slope * (step + 1) as f32;
                }
            }
            Baseline::Ets => {
                let point = AutoETS::non_seasonal()
                    .fit(&to_f64(smoothed(recent)))
                    .ok()
                    .and_then(|model| model.predict(out.len(), None).ok());
                if !copy_finite(point.map(|forecast| forecast.point), out) {
                    out.fill(last);
                    return Fit::Fallback;
                }
            }
            Baseline::MstlEts => {
                if !mstl(recent, vec![period], out) {
                    seasonal_naive(past, period, out);
                    return Fit::Fallback;
                }
            }
            Baseline::MstlWeekEts => {
                let fitted = week.is_some_and(|week| mstl(recent, vec![period, week], out));
                if !fitted {
                    Baseline::MstlEts.forecast(past, seasons, out);
                    return Fit::Fallback;
                }
            }
        }
        Fit::Own
    }
}

/// Samples that a fit looks back over.
pub fn look_back(period: usize) -> usize {
    (LOOK_BACK_SEASONS * period).min(MOST_LOOK_BACK.max(LEAST_SEASONS * period)).max(2)
}

/// What exponential smoothing needs of the past.
fn smoothed<T>(recent: &[T]) -> &[T] {
    &recent[recent.len().saturating_sub(MOST_SMOOTHED)..]
}

/// Exponential smoothing of what the seasons leave.
#[derive(Debug)]
struct RecentEts(AutoETSTrendModel);

impl TrendModel for RecentEts {
    fn name(&self) -> Cow<'_, str> {
        self.0.name()
    }

    fn fit(&self, y: &[f64]) -> Result<Box<dyn FittedTrendModel + Sync + Send>, Box<dyn Error + Send + Sync>> {
        self.0.fit(smoothed(y))
    }
}

/// A week, or before a whole one has passed, a season.
fn longest_naive(past: usize, seasons: Seasons) -> usize {
    seasons.week.filter(|week| *week <= past).unwrap_or(seasons.period)
}

/// Seasons of ascending `periods` by STL, the rest by exponential smoothing; false where that cannot be fitted.
fn mstl(recent: &[f32], periods: Vec<usize>, out: &mut [f32]) -> bool {
    let longest = periods.last().copied().unwrap_or(0);
    if periods[0] < 2 || recent.len() < LEAST_SEASONS * longest {
        return false;
    }
    let model = MSTLModel::new(periods, RecentEts(AutoETSTrendModel::from(AutoETS::non_seasonal())));
    let point = model.fit(&to_f64(recent)).ok().and_then(|fitted| fitted.predict(out.len(), None).ok());
    copy_finite(point.map(|forecast| forecast.point), out)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn season(period: usize) -> Seasons {
        Seasons { period, week: None }
    }

    #[test]
    fn simple_forecasts_by_hand() {
        let past = [1.0, 2.0, 3.0, 5.0];
        let mut out = [0.0; 4];
        assert_eq!(Baseline::LastValue.forecast(&past, season(3), &mut out), Fit::Own);
        assert_eq!(out, [5.0; 4]);
        Baseline::SeasonalNaive.forecast(&past, season(3), &mut out);
        assert_eq!(out, [2.0, 3.0, 5.0, 2.0]);
        Baseline::SeasonalNaive.forecast(&past[..1], season(3), &mut out);
        assert_eq!(out, [1.0; 4]);
        let mut line = [0.0; 2];
        Baseline::Drift.forecast(&[1.0, 9.0, 5.0], season(3), &mut line);
        assert_eq!(line, [7.0, 9.0]);
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
        assert_eq!(Baseline::MstlEts.forecast(&past, season(period), &mut out), Fit::Own);
        for (step, value) in out.iter().enumerate() {
            let truth = 20.05 + 5.0 * (step as f32 / period as f32 * std::f32::consts::TAU).sin();
            assert!((value - truth).abs() < 0.25, "{step}: {value} {truth}");
        }
        assert_eq!(Baseline::Ets.forecast(&past, season(period), &mut out), Fit::Own);
        assert!(out.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn a_failed_fit_is_told() {
        let mut out = [0.0; 3];
        assert_eq!(Baseline::Ets.forecast(&[4.0], season(24), &mut out), Fit::Fallback);
        assert_eq!(out, [4.0; 3]);
        assert_eq!(Baseline::MstlEts.forecast(&[1.0, 2.0, 3.0], season(2), &mut out), Fit::Fallback);
        assert_eq!(out, [2.0, 3.0, 2.0]);
    }

    #[test]
    fn the_look_back_stays_affordable() {
        assert_eq!(look_back(144), 2_016);
        assert_eq!(look_back(1_440), 4_096);
        assert_eq!(look_back(10_080), 20_160);
        assert_eq!(look_back(1), 14);
    }
    #[test]
    fn a_week_needs_two_of_itself() {
        let hour = 3_600_000;
        assert_eq!(Seasons::new(24, hour, 336), Seasons { period: 24, week: Some(168) });
        assert_eq!(Seasons::new(24, hour, 335).week, None);
        assert_eq!(Seasons::new(7, 24 * hour, 1_000).week, None); // The season is one.
        assert_eq!(Seasons::new(24, 11 * hour, 100_000).week, None); // No whole number of samples.
        let minutely = Seasons::new(1_440, 60_000, 100_000);
        assert!(Baseline::SeasonalNaiveWeek.applies(minutely) && !Baseline::MstlWeekEts.applies(minutely));
        assert!(!Baseline::SeasonalNaiveWeek.applies(season(24)) && !Baseline::MstlWeekEts.applies(season(24)));
    }

    #[test]
    fn the_week_is_found_where_there_is_one() {
        let seasons = Seasons { period: 24, week: Some(168) };
        // Two days of seven are quiet.
        let at = |row: usize| {
            let phase = (row % 24) as f32 / 24.0 * std::f32::consts::TAU;
            let noise = ((row * 7_919) % 101) as f32 / 1_000.0;
            if row / 24 % 7 < 5 { 20.0 + 5.0 * phase.sin() + noise } else { 10.0 + noise }
        };
        let past: Vec<f32> = (0..168 * 5).map(at).collect();
        let mut out = vec![0.0; 168];
        let mut error = |baseline: Baseline| {
            assert_eq!(baseline.forecast(&past, seasons, &mut out), Fit::Own);
            let errors = out.iter().enumerate().map(|(step, value)| (value - at(past.len() + step)).abs());
            errors.sum::<f32>() / 168.0
        };
        assert!(error(Baseline::SeasonalNaiveWeek) < 0.1);
        let (day, week) = (error(Baseline::MstlEts), error(Baseline::MstlWeekEts));
        assert!(day > 3.0 && week < 0.5, "{day} by the day, {week} by day and week");
        let mut out = [0.0; 3];
        assert_eq!(Baseline::MstlWeekEts.forecast(&past[..335], seasons, &mut out), Fit::Fallback);
    }
}
