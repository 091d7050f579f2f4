//! What training takes from the data before it starts: the split, the season, each channel's normalisation and bounds.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail, ensure};
use flowcast_core::format::MAX_CHANNELS;
use flowcast_core::presets::Preset;
use flowcast_core::seasonal::{MAX_SEASONS, RING};
use flowcast_core::spike::MAX_LIMIT;

use crate::config::{ChannelConfig, Config, knots};
use crate::data::fault::Bounds;
use crate::data::still::Stillness;
use crate::data::{DataError, Series};
use crate::duration::{LEAST_PERIOD, MOST_HORIZON};
use crate::protocol::{Borders, Protocol};
use crate::season;

/// The quantile levels of a forecast.
const QUANTILES: [f32; 3] = [0.1, 0.5, 0.9];
/// Seasons to look for, in milliseconds, longest first: a day, an hour, a minute, a second.
const SEASONS_MS: [u64; 4] = [86_400_000, 3_600_000, 60_000, 1000];
/// A week, for samples too far apart for a day.
const WEEK_MS: u64 = 7 * 86_400_000;
/// The training rows must hold this many periods for a season to be taken.
const LEAST_PERIODS: u64 = 8;
/// With fewer periods to train on, or to choose with, a series is short.
const FEW_PERIODS: usize = LEAST_PERIODS as usize;
const FEW_CHOOSING_PERIODS: usize = 2;
/// Samples of a season when none fits.
const SHORT_PERIOD: u32 = 24;
/// A season has at least this many samples.
const LEAST_SAMPLES: u64 = 4;
/// Share of the readings that must lie on a sensor's steps.
const ON_STEPS: f64 = 0.995;
/// A sensor ends at its most extreme reading where at least this share of all readings lie there,
const PILED_UP: f64 = 0.01;
/// and so many times as many as at the reading next to it.
const PILED_OVER: usize = 2;
/// So many steps of a coarse sensor are no spike.
const SPIKE_STEPS: f32 = 2.0;
/// The longest default horizon.
const LONGEST_HORIZON: u32 = 288;

/// Which rows do what. Rows after `validation` are held out: training never reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows whose samples and futures train.
    pub training: Range<usize>,
    /// Rows that choose.
    pub validation: Range<usize>,
}

impl Split {
    /// Of the rows of a series, for a main season and a horizon of so many samples.
    pub fn new(protocol: Protocol, series: &Series, period: usize, horizon: usize) -> Self {
        Self::of(&protocol.borders(series, least_validation(horizon)), period)
    }

    fn of(borders: &Borders, period: usize) -> Self {
        let first = (2 * period).min(borders.test / 4);
        Self { training: first..borders.validation.max(first), validation: borders.validation..borders.test }
    }
}

/// Rows that choose, at least.
fn least_validation(horizon: usize) -> usize {
    horizon + RING
}

/// Whether the device adapts its point forecasts to their errors (`flowcast_core::adaptation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Adapt {
    /// Unless that makes them clearly worse on the rows that choose.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What the user decided.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Samples of each season, if told.
    pub periods: Vec<u32>,
    /// Steps ahead, if told.
    pub horizon: Option<usize>,
    /// The backbone.
    pub preset: Preset,
    /// The first so many columns are forecast, the others are covariates.
    pub targets: usize,
    /// The last so many columns are known in advance.
    pub known: usize,
    /// Whether the device adapts the point forecast.
    pub adapt: Adapt,
    /// Which rows train, choose and are held out.
    pub protocol: Protocol,
}

#[cfg(test)]
impl Wishes {
    /// A small model of one target, that does not adapt, for tests.
    pub(crate) fn example(period: u32, horizon: usize) -> Self {
        Self {
            periods: vec![period],
            horizon: Some(horizon),
            preset: flowcast_core::presets::PRESETS[0],
            targets: 1,
            known: 0,
            adapt: Adapt::Off,
            protocol: Protocol::Tail { test_fraction: 0.2 },
        }
    }
}

/// The season of a sampling interval: the longest of day, hour, minute and second of which the rows hold enough.
pub fn default_period(interval_ms: u64, rows: usize) -> u32 {
    let fits = |season_ms: &u64| {
        let samples = season_ms / interval_ms;
        season_ms.is_multiple_of(interval_ms) && samples >= LEAST_SAMPLES && LEAST_PERIODS * samples <= rows as u64
    };
    let week = [WEEK_MS];
    let seasons = if interval_ms > SEASONS_MS[0] / LEAST_SAMPLES { &week[..] } else { &SEASONS_MS[..] };
    seasons.iter().find(|season_ms| fits(season_ms)).map_or(SHORT_PERIOD, |season_ms| (season_ms / interval_ms) as u32)
}

/// The seasons to try: what the training rows show ([`season::find`]), or else [`default_period`]. What does not pay, the
/// closed form leaves out.
pub fn default_periods(values: &[Vec<f32>], interval_ms: u64) -> Vec<u32> {
    let rows = values.iter().map(Vec::len).min().unwrap_or(0);
    let mut periods = season::find(values, interval_ms);
    if periods.first().is_none_or(|first| LEAST_PERIODS * u64::from(*first) > rows as u64) {
        periods = vec![default_period(interval_ms, rows)];
    }
    periods
}

/// Splits the rows and reads the channels' normalisation off those that the protocol allows.
///
/// # Errors
/// Too few rows, a channel without values or without change, a column's name that is too long for the model file.
pub fn prepare(series: &Series, wishes: &Wishes) -> Result<(Config, Split)> {
    let first_borders = wishes.protocol.borders(series, 0);
    let Borders { validation: chosen_from, test: seen, .. } = first_borders;
    let normalised = wishes.protocol.normalised_rows(&first_borders);
    let bounds = bounds(series, wishes.targets, normalised)?;
    let periods = if wishes.periods.is_empty() {
        let targets = series.values.iter().zip(&bounds).take(wishes.targets);
        let training: Vec<Vec<f32>> =
            targets.filter_map(|(values, bounds)| Some(bounds.as_ref()?.masked(&values[..chosen_from]))).collect();
        default_periods(&training, series.interval_ms)
    } else {
        wishes.periods.clone()
    };
    ensure!(periods.len() <= MAX_SEASONS, "--period: found {} seasons, expected at most {MAX_SEASONS}", periods.len());
    let period = periods[0];
    let horizon = wishes.horizon.unwrap_or(period.min(LONGEST_HORIZON) as usize);
    let columns = series.columns.len();
    ensure!(columns <= MAX_CHANNELS, "--target: found {columns} columns, expected at most {MAX_CHANNELS}");
    for period in &periods {
        ensure!(*period >= LEAST_PERIOD, "--period: found {period} samples, expected at least {LEAST_PERIOD}");
    }
    ensure!((1..=MOST_HORIZON).contains(&horizon), "--horizon: found {horizon} steps, expected 1 to {MOST_HORIZON}");

    let least_validation = least_validation(horizon);
    let borders = wishes.protocol.borders(series, least_validation);
    let shortest = 3 * period as usize + RING + horizon;
    let shares = |borders: &Borders| (borders.validation, borders.test - borders.validation);
    let enough = |borders: &Borders| {
        let (trains, chooses) = shares(borders);
        trains >= shortest && chooses >= least_validation
    };
    if !enough(&borders) {
        let needed = wishes.protocol.least_rows(series.interval_ms, least_validation, enough);
        let (rows, (trains, chooses)) = (series.rows(), shares(&borders));
        bail!(
            "found a series of {rows} rows, expected at least {} for a season of {period} samples and a horizon of {horizon}: {shortest} \
             to train on (found {trains}) and {least_validation} to choose with (found {chooses})",
            needed.map_or_else(|| "more".to_owned(), |rows| rows.to_string()),
        );
    }
    let channels = channels(series, wishes, &borders, &bounds, period)?;
    let config = Config {
        preset: wishes.preset.name.to_owned(),
        interval_ms: series.interval_ms,
        periods,
        horizon: horizon as u16,
        knots: knots(horizon as u16),
        quantiles: QUANTILES.to_vec(),
        own_readouts: false,
        retrieval: false,
        ring: false,
        mixed: false,
        corrected: true,
        adapted: wishes.adapt == Adapt::On,
        targets: wishes.targets as u16,
        known: wishes.known as u16,
        seen_until_ms: series.time(seen).map_or(0, |time| time.as_millisecond().max(0) as u64),
        memories: Config::spread_memories(&wishes.preset, period),
        channels,
    };
    Ok((config, Split::of(&borders, period as usize)))
}

/// Every column's normalisation, bounds and limit of standing still.
///
/// # Errors
/// A target without a reading among the rows that train, or those that choose; none that varies among the latter.
fn channels(
    series: &Series,
    wishes: &Wishes,
    borders: &Borders,
    bounds: &[Option<Bounds>],
    period: u32,
) -> Result<Vec<ChannelConfig>> {
    let (training, choosing) = (0..borders.validation, borders.validation..borders.test);
    let mut channels = Vec::with_capacity(bounds.len());
    let mut dead = Vec::new();
    for (index, ((name, values), bounds)) in series.columns.iter().zip(&series.values).zip(bounds).enumerate() {
        let is_target = index < wishes.targets;
        let measured = bounds.map_or_else(|| values.clone(), |bounds| bounds.masked(values));
        for (what, rows) in [("train", &training), ("choose the model", &choosing)] {
            ensure!(
                !is_target || measured[rows.clone()].iter().any(|value| value.is_finite()),
                "column `{name}` has no reading from {} to {}, which {what}: leave the column or those rows out",
                series.when(rows.start),
                series.when(rows.end.saturating_sub(1))
            );
        }
        let known = &measured[..wishes.protocol.normalised_rows(borders)];
        let mut still = Stillness::of(known, period as usize);
        if is_target && still.is_dead_throughout(&live_span(known, &choosing)) {
            // Nothing is left to choose by but its standing still, so that is a reading.
            still.longest = still.dead.iter().map(|run| run.length).max().unwrap_or(0);
            dead.push(format!("`{name}`"));
        }
        let mut channel = channel(name, known, *bounds, &still, period)?;
        // A plan is no sensor: it may stand still for as long as it likes.
        if index + wishes.known >= series.columns.len() {
            channel.stuck_limit = 0;
        }
        channels.push(channel);
    }
    ensure!(
        dead.len() < wishes.targets,
        "{} stands still from {} to {}, which choose the model, and long before (a dead sensor?): expected a target that varies there",
        dead.join(", "),
        series.when(choosing.start),
        series.when(choosing.end.saturating_sub(1))
    );
    Ok(channels)
}

/// What a user should know about the rows that training reads, a line each.
///
/// # Errors
/// A column that changes its unit on the way.
pub fn review(series: &Series, config: &Config, split: &Split) -> Result<Vec<String>> {
    let (period, rows) = (config.period() as usize, 0..split.validation.end);
    if let Some(change) = series.changed_unit(rows.clone(), period) {
        bail!(change);
    }
    let mut notes = series.review(rows, &config.records(), config.targets.into(), period);
    for (name, values) in series.columns.iter().zip(&series.values).skip(config.targets.into()) {
        if values[..split.validation.start].iter().any(|value| value.is_finite())
            && !values[split.validation.clone()].iter().any(|value| value.is_finite())
        {
            notes.push(format!(
                "column `{name}` has no reading from {} on, where the model is chosen: what it is worth cannot be told, leave it out",
                series.when(split.validation.start)
            ));
        }
    }
    let (trains, chooses) = (split.validation.start, split.validation.len());
    if trains < FEW_PERIODS * period || chooses < FEW_CHOOSING_PERIODS * period {
        let seasons = |rows: usize| rows as f64 / period as f64;
        notes.push(format!(
            "a short series: the rows that train hold {:.1} seasons of {period} samples, those that choose {:.1}; expect little below \
             {FEW_PERIODS} and {FEW_CHOOSING_PERIODS}",
            seasons(trains),
            seasons(chooses)
        ));
    }
    Ok(notes)
}

/// What each column measures, from its first `rows`; `None` for a column that is only seen and never is.
fn bounds(series: &Series, targets: usize, rows: usize) -> Result<Vec<Option<Bounds>>, DataError> {
    let of = |(index, (name, values)): (usize, (&String, &Vec<f32>))| {
        let values = &values[..rows];
        let bounds = Bounds::of(values);
        if index < targets {
            let bounds = bounds.ok_or_else(|| DataError::AllMissing { column: name.clone() })?;
            let mut measured = values.iter().filter(|value| bounds.contains(**value));
            if let Some(&value) = measured.next()
                && measured.all(|other| *other == value)
            {
                return Err(DataError::Constant { column: name.clone(), value });
            }
        }
        Ok(bounds)
    };
    series.columns.iter().zip(&series.values).enumerate().map(of).collect()
}

/// The rows from the first to the last reading among `rows`.
fn live_span(values: &[f32], rows: &Range<usize>) -> Range<usize> {
    let live = |row: &usize| values.get(*row).is_some_and(|value| value.is_finite());
    match (rows.clone().find(live), rows.clone().rfind(live)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => rows.clone(),
    }
}

/// What a model file takes: the largest mean of a channel, and the least width of its readings.
const LARGEST: f64 = 1e15;
const SMALLEST: f64 = 1e-11;
/// Steps of a reading, in deviations, from which on they tell too little.
const COARSEST: f64 = 1.0 / 16.0;

/// A channel's normalisation and bounds from its measurements, NaN where there is none.
fn channel(
    name: &str,
    values: &[f32],
    bounds: Option<Bounds>,
    still: &Stillness,
    period: u32,
) -> Result<ChannelConfig> {
    ensure!(name.len() <= 32, "column {name:?} has a name of {} bytes, expected at most 32: rename it", name.len());
    ensure!(
        !name.is_empty() && !name.contains(char::is_control),
        "column {name:?} has a name that cannot be shown, expected letters: rename it"
    );
    let mut present: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    present.sort_by(f32::total_cmp);
    let Bounds { valid_min, valid_max, width } =
        bounds.unwrap_or(Bounds { valid_min: 0.0, valid_max: 0.0, width: 0.0 });

    let count = present.len().max(1) as f64;
    let mean = present.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let deviation = (present.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count).sqrt();
    ensure!(
        mean.abs() <= LARGEST && (width == 0.0 || f64::from(width) >= SMALLEST),
        "column {name:?} reads about {mean:.3e}, within a range of {width:.3e}: expected readings within ±{LARGEST:e} and a range of \
         {SMALLEST:e} or more, convert it to another unit"
    );
    // As a board takes it.
    let step = f64::from((mean.abs() as f32).next_up()) - f64::from(mean.abs() as f32);
    ensure!(
        width == 0.0 || step <= COARSEST * deviation,
        "column {name:?} reads about {mean:.3e}, {deviation:.3e} more or less: a 32-bit float has steps of {step} there; \
         subtract a constant from the readings, here and on the board"
    );
    // Almost constant channels would turn noise into signal; of one that never changed, nothing is known.
    let scale = if width > 0.0 { deviation.max(1e-3 * f64::from(width)).max(1e-12) as f32 } else { 1.0 };
    let [lowest, highest] = ends(&present);
    let resolution = resolution(&present);
    let unit = name.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(unit, _)| unit.trim());
    Ok(ChannelConfig {
        name: name.to_owned(),
        unit: if unit.len() <= 8 { unit.to_owned() } else { String::new() },
        offset: mean as f32,
        scale,
        valid_min,
        valid_max,
        stuck_limit: (3 * still.longest as u32).max(period / 4).max(12),
        // The closed form finds out whether one pays.
        spike_limit: 0.0,
        spike_least: (SPIKE_STEPS * resolution / scale).min(MAX_LIMIT),
        resolution,
        lowest: lowest.unwrap_or(valid_min),
        highest: highest.unwrap_or(valid_max),
    })
}

/// Where a sensor's readings end (a humidity at 100 %, rain at 0), from ascending readings: at the lowest or highest of them, if they
/// pile up there; `None` where they thin out.
fn ends(ascending: &[f32]) -> [Option<f32>; 2] {
    let alike = || ascending.chunk_by(|a, b| a == b);
    [piled_up(alike(), ascending.len()), piled_up(alike().rev(), ascending.len())]
}

/// The first of equal readings of `count`, if far more than of the next lie there.
fn piled_up<'a>(mut alike: impl Iterator<Item = &'a [f32]>, count: usize) -> Option<f32> {
    let (end, next) = (alike.next()?, alike.next()?);
    let piles = end.len() as f64 >= PILED_UP * count as f64 && end.len() >= PILED_OVER * next.len();
    piles.then_some(end[0])
}

/// The step that readings are multiples of, from ascending readings: the most common difference between neighbours, if
/// nearly all are multiples of it; 0 for a sensor without one.
fn resolution(ascending: &[f32]) -> f32 {
    let mut readings: Vec<f64> = ascending.iter().map(|x| f64::from(*x)).collect();
    // Each value once: a rain gauge is not coarse because it mostly reads 0.
    readings.dedup();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for pair in readings.windows(2).filter(|pair| pair[1] > pair[0]) {
        // As written in the file: 0.1, not 0.10000038.
        let difference = pair[1] - pair[0];
        let digits = 10_f64.powi((3.0 - difference.log10()).ceil().clamp(0.0, 15.0) as i32);
        *counts.entry(((difference * digits).round() / digits).to_bits()).or_default() += 1;
    }
    // The smallest of those as common as the most common; positive floats order as their bits do.
    let most = counts.values().copied().max().unwrap_or(0);
    let Some((step, _)) = counts.into_iter().find(|(_, count)| *count == most && most > 1) else { return 0.0 };
    let step = f64::from_bits(step);
    let on_step = |reading: &&f64| {
        let off = **reading - (**reading / step).round() * step;
        off.abs() <= 1e-3 * step + reading.abs() * f64::from(f32::EPSILON)
    };
    let share = readings.iter().filter(on_step).count() as f64 / readings.len() as f64;
    if step > 0.0 && share >= ON_STEPS { step as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_season_follows_interval_and_length() {
        let minute = 60_000;
        assert_eq!(default_period(10 * minute, 10_000), 144);
        assert_eq!(default_period(60 * minute, 10_000), 24);
        assert_eq!(default_period(10 * minute, 300), 6); // Two days: an hour.
        assert_eq!(default_period(24 * 60 * minute, 10_000), 7);
        assert_eq!(default_period(20, 10_000), 50); // 50 Hz: a second.
        assert_eq!(default_period(7 * minute, 10_000), 24); // Divides nothing.
    }

    #[test]
    fn a_coarse_sensor_shows_its_step() {
        assert_eq!(resolution(&[20.0, 20.0625, 20.125, 21.0, 25.9375]), 0.0625);
        assert_eq!(resolution(&[936.0, 937.0, 938.0, 940.0]), 1.0);
        assert_eq!(resolution(&[-0.3, 0.1, 0.2, 0.3, 13.8]), 0.1);
        assert_eq!(resolution(&[0.0, 1.0, 2.5, 3.7]), 0.0);
        assert_eq!(resolution(&[0.0, 0.0, 0.0, 11.4, 30.0]), 0.0);
        assert_eq!(resolution(&[5.0, 5.0]), 0.0);
    }

    #[test]
    fn a_sensor_ends_where_its_readings_pile_up() {
        let ends = |of: fn(f32) -> f32| {
            let mut readings: Vec<f32> = (0..1000).map(|row| of((row as f32 * 0.1).sin() * 10.0)).collect();
            readings.sort_by(f32::total_cmp);
            ends(&readings)
        };
        assert_eq!(ends(|x| x), [None, None]);
        assert_eq!(ends(|x| x.max(0.0)), [Some(0.0), None]);
        assert_eq!(ends(|x| (x + 95.0).min(100.0)), [None, Some(100.0)]);
        assert_eq!(ends(|x| x.clamp(-9.0, 9.0)), [Some(-9.0), Some(9.0)]);
        // A coarse sensor's extremes are common, but not more so than what lies beside them; and one reading is no end.
        assert_eq!(ends(f32::round), [None, None]);
        assert_eq!(super::ends(&[3.0, 3.0, 3.0]), [None, None]);
    }

    #[test]
    fn outliers_do_not_set_the_scale() {
        for rows in [450, 5000] {
            let mut values: Vec<f32> = (0..rows).map(|row| (row as f32 * 0.1).sin()).collect();
            values[200] = 1e9;
            let bounds = Bounds::of(&values).unwrap();
            let values = bounds.masked(&values);
            let channel = channel("x (degC)", &values, Some(bounds), &Stillness::of(&values, 24), 24).unwrap();
            assert!(channel.valid_max < 10.0 && (channel.scale - 0.707).abs() < 0.01, "{channel:?}");
            assert_eq!(channel.unit, "degC");
        }
    }
}
