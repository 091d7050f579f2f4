//! What is fitted before any joint training: the keys of the seasonal Flow-Attention, and the linear path in closed form,
//! which decides what the model carries.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::setup::Split;
use crate::config::{Config, RETRIEVAL_GAIN};
use crate::data::Series;
use crate::features::Features;
use crate::retrieval::{self, ATTENTION, Days, Keys};
use crate::ridge::{self, Aim, LinearPath};

/// Trainings of keys, of which the best on validation is kept: where days have types, seeds differ by a few per cent.
const STARTS: u64 = 3;
/// A target must have more readings than this to train on.
const LEAST_TRAINING: usize = 32;
/// From so many times what samples are commonly off on, one is a spike, held back until another says the same.
const SPIKE_LIMIT: f32 = 5.0;
/// What that may add to the score on validation: few spikes fall there, and on a board each costs the forecasts after it.
const MOST_SPIKE_LOSS: f64 = 0.002;

/// A configuration with the parts that pay, and what was fitted.
pub struct ClosedForm {
    /// With the parts that pay alone.
    pub config: Config,
    /// As the model sees the series.
    pub features: Features,
    /// The linear path.
    pub linear: LinearPath,
    /// Of the seasonal Flow-Attention, if it pays.
    pub keys: Option<Keys>,
    /// The series without the columns that are left out, where any are.
    pub narrowed: Option<Series>,
    /// Readings that train, of the target that has the fewest.
    pub fewest: usize,
}

impl ClosedForm {
    /// Fits on a split of the series. Each target's validation decides whether its spikes are held back
    /// (`flowcast_core::spike`); what is known in advance has none, and where the mean is wanted every value counts.
    ///
    /// # Errors
    /// A target has too few readings, or no row whose future is known; an interruption.
    pub fn fit(config: Config, series: &Series, split: &Split, aim: Aim, seed: u64) -> Result<Self> {
        if aim == Aim::Mean {
            return Self::fit_as(config, series, split, aim, seed);
        }
        let sensors = config.channels.len() - usize::from(config.known);
        let targets = usize::from(config.targets);
        let holding = |holds: &dyn Fn(usize) -> bool| {
            let mut config = config.clone();
            for (index, channel) in config.channels.iter_mut().enumerate() {
                channel.spike_limit = if index < sensors && holds(index) { SPIKE_LIMIT } else { 0.0 };
            }
            config
        };
        let fit = |holds: &(dyn Fn(usize) -> bool + Sync)| Self::fit_as(holding(holds), series, split, aim, seed);
        let (none, all) = rayon::join(|| fit(&|_| false), || fit(&|_| true));
        let (none, all) = (none?, all?);
        let losses: Vec<f64> = all.linear.score.iter().zip(&none.linear.score).map(|(all, none)| all - none).collect();
        let pays = |loss: f64| loss <= MOST_SPIKE_LOSS;
        // What is only seen does as targets do in the mean.
        let covariates = pays(losses.iter().sum::<f64>() / targets as f64);
        let holds = |index: usize| losses.get(index).map_or(covariates, |loss| pays(*loss));
        match (0..sensors).filter(|index| holds(*index)).count() {
            0 => Ok(none),
            every if every == sensors => Ok(all),
            _ => fit(&holds),
        }
    }

    /// Fits a configuration as it is: with the limits of spikes that its channels have.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn fit_as(mut config: Config, series: &Series, split: &Split, aim: Aim, seed: u64) -> Result<Self> {
        let (targets, horizon) = (usize::from(config.targets), usize::from(config.horizon));
        // A row's future counts as read too: none may reach into the part behind.
        let whole = |rows: &Range<usize>| rows.start..rows.end - horizon;
        let mut features = Features::new(&config, series, None);
        let readings = |channel: &usize| features.readings(*channel, whole(&split.training).end);
        let sparsest = (0..targets).min_by_key(readings).unwrap_or(0);
        let fewest = readings(&sparsest);
        let column = || format!("column `{}` has {fewest} readings in the rows that train", series.columns[sparsest]);
        ensure!(fewest > LEAST_TRAINING, "{}, expected more than {LEAST_TRAINING}", column());
        let mut keys = None;
        if let Some(days) = Days::new(&features, targets, split.validation.end) {
            let mut least = f64::INFINITY;
            for start in 0..STARTS {
                let seed = seed.wrapping_mul(STARTS).wrapping_add(start);
                let (training, validation) = (&split.training, &split.validation);
                let trained = retrieval::train(&days, ATTENTION, RETRIEVAL_GAIN, training, validation, seed)?;
                if let Some(trained) = trained.filter(|trained| trained.validation < least) {
                    least = trained.validation;
                    keys = trained.keys()?;
                }
            }
        }
        if keys.is_some() {
            config.retrieval = true;
            features = Features::new(&config, series, keys.as_ref());
        }
        let mut linear = ridge::fit(&features, targets, whole(&split.training), whole(&split.validation), None, aim)
            .with_context(column)?;
        let offered = config.clone();
        config.take_parts(&linear);
        keys = keys.filter(|_| config.retrieval);
        let narrowed = (config.known < offered.known).then(|| config.columns_of(series)).transpose()?;
        // What was left out is left out of the state too.
        if config.seasons() != offered.seasons() || narrowed.is_some() {
            features = Features::new(&config, narrowed.as_ref().unwrap_or(series), keys.as_ref());
            linear.parts.known = features.every_part().known;
        }
        Ok(Self { config, features, linear, keys, narrowed, fewest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::setup::{Wishes, prepare};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const ROWS: usize = 3_000;

    /// Noise about a day's wave, and what else there is of each row.
    fn noisy(mut else_of: impl FnMut(usize) -> f32) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut of = |row: usize| (row as f32 * 0.2618).sin() + rng.random_range(-0.2..0.2_f32) + else_of(row);
        (0..ROWS).map(&mut of).collect()
    }

    fn limits(columns: &[(&str, Vec<f32>)], targets: usize, known: usize) -> Vec<f32> {
        let series = Series {
            columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            interval_ms: 3_600_000,
            start: None,
            values: columns.iter().map(|(_, values)| values.clone()).collect(),
        };
        let wishes = Wishes { targets, known, ..Wishes::example(24, 24) };
        let (config, split) = prepare(&series, &wishes).unwrap();
        let found = ClosedForm::fit(config, &series, &split, Aim::Median, 1).unwrap();
        found.config.channels.iter().map(|channel| channel.spike_limit).collect()
    }

    #[test]
    fn spikes_are_held_back_unless_validation_loses_by_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut at = |row: usize, size: f32| if row % 37 == 5 { rng.random_range(-size..size) } else { 0.0 };
        let spiky = noisy(|row| at(row, 9.0));
        // What comes stays for a while: its first sample tells all of it.
        let jumping = noisy(|row| {
            let size = 9.0 * ((row / 37 * 7_919 % 1_009) as f32 / 504.0 - 1.0);
            if (5..15).contains(&(row % 37)) { size } else { 0.0 }
        });
        assert_eq!(limits(&[("spiky", spiky.clone())], 1, 0), [SPIKE_LIMIT]);
        assert_eq!(limits(&[("jumping", jumping.clone())], 1, 0), [0.0]);
        let plan: Vec<f32> = (0..ROWS).map(|row| f32::from(u8::from(row * 7_919 % 1_009 < 90))).collect();
        let planned = spiky.iter().zip(&plan).map(|(spiky, plan)| spiky + 3.0 * plan).collect();
        let columns = [("planned", planned), ("jumping", jumping), ("plan", plan)];
        assert_eq!(limits(&columns, 2, 1), [SPIKE_LIMIT, 0.0, 0.0]);
    }
}
