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
    /// Fits on a split of the series.
    ///
    /// # Errors
    /// A target has too few readings, or no row whose future is known; an interruption.
    pub fn fit(mut config: Config, series: &Series, split: &Split, aim: Aim, seed: u64) -> Result<Self> {
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
