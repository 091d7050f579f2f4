//! One cell of the table: a variant trained with a seed, from the same closed form, on the same batches, for the same
//! number of steps, and its errors.
//!
//! The best epoch on the validation rows is kept, as `flowcast train` does; nothing stops early, so that every variant
//! takes as many steps. The held-out rows are read when the weights are final.

use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Device;
use flowcast_core::format::Header;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::evaluate::evaluate;
use super::variant::{Place, Variant};
use crate::config::Config;
use crate::data::Series;
use crate::features::{Features, Parts};
use crate::interrupt;
use crate::metrics::mase_scale;
use crate::model::{Network, StepUnits};
use crate::optimizer::AdamW;
use crate::retrieval::{self, Days, Keys, Trained};
use crate::ridge::{self, Aim, LinearPath};
use crate::train::batch::Shape;
use crate::train::closed_form::ClosedForm;
use crate::train::ensemble::Ensemble;
use crate::train::setup::Split;
use crate::train::step::Step;
use crate::train::{EPOCH_STEPS, residual_quantiles};

/// Origins of a channel, at most about, in validation and in the test.
const VALIDATION_ORIGINS: usize = 300;
const TEST_ORIGINS: usize = 1000;

/// Errors in deviations of the training data, all channels and steps alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean squared error of the median.
    pub mse: f64,
    /// Mean absolute error of the median.
    pub mae: f64,
    /// Mean absolute scaled error, the mean over channels that have one.
    pub mase: Option<f64>,
}

/// A trained variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What was asked for and the data that were read, as a checksum.
    pub identity: String,
    /// What stood in the place of the attention.
    pub variant: Variant,
    /// Of weights and batches.
    pub seed: u64,
    /// Weights that take part in a forecast.
    pub parameters: usize,
    /// The epoch that was kept; 0 is the closed form.
    pub epoch: usize,
    /// On the validation rows.
    pub validation: Scores,
    /// On the held-out rows.
    pub test: Scores,
    /// What a step of training took.
    pub step_ms: f64,
}

/// What fills the readout's retrieved features.
enum Told {
    /// The device's own code, with keys if the model has them.
    Device(Option<Keys>),
    /// A mixer in its place.
    Mixer(Trained),
}

/// What every cell shares.
pub struct Experiment {
    config: Config,
    header: Header,
    split: Split,
    shape: Shape,
    features: Features,
    linear: LinearPath,
    told: Told,
    spread: Vec<f32>,
    bias: Vec<f32>,
    /// What a MASE of 1 is for each channel, in deviations.
    mase_scales: Vec<Option<f64>>,
    device: Device,
}

/// The rows before the held-out end, and nothing of it.
fn seen(series: &Series, rows: usize) -> Series {
    let mut seen = series.clone();
    seen.values.iter_mut().for_each(|values| values.truncate(rows));
    seen
}

impl Experiment {
    /// Reads the rows before the held-out end and fits the linear path in closed form, for what
    /// [`prepare`](crate::train::setup::prepare) found.
    ///
    /// # Errors
    /// Untrainable data.
    pub fn new(series: &Series, mut config: Config, split: Split) -> Result<Self> {
        // Whether rounding to a sensor's step pays is another question.
        config.channels.iter_mut().for_each(|channel| channel.resolution = 0.0);
        // So is what the device learns by itself, and whether spikes enter: here all do.
        config.corrected = false;
        let seen = seen(series, split.validation.end);
        let ClosedForm { config, features, linear, keys, fewest, .. } =
            ClosedForm::fit_as(config, &seen, &split, Aim::Median, 1)?;
        let channels = usize::from(config.targets);
        let header = config.header()?;
        let shape = Shape::new(channels, config.knots.len(), fewest);
        let (spread, bias) = residual_quantiles(&header, &features, &linear, &split);
        let mase_scales =
            (0..channels).map(|channel| mase_scale(features.samples(channel), config.period() as usize)).collect();
        Ok(Self {
            config,
            header,
            split,
            shape,
            features,
            linear,
            told: Told::Device(keys),
            spread,
            bias,
            mase_scales,
            device: Device::Cpu,
        })
    }

    /// The same closed form with a variant at the season's place, its parts otherwise the same.
    ///
    /// # Errors
    /// There are too few days; an interruption.
    pub fn at_season(&self, series: &Series, variant: Variant, seed: u64) -> Result<Self> {
        let seen = seen(series, self.split.validation.end);
        let mut config = Config { retrieval: false, ..self.config.clone() };
        let plain = Features::new(&config, &seen, None);
        let targets = usize::from(config.targets);
        let days = Days::new(&plain, targets, self.split.validation.end);
        let days =
            days.context("found too few periods for a seasonal attention, expected 56 before the held-out rows")?;
        let gains = variant.seasonal_gains();
        let (training, validation) = (&self.split.training, &self.split.validation);
        let trained = retrieval::train(&days, variant.seasonal(), gains, training, validation, seed)?;
        let trained = trained.context("the training rows hold nothing that a seasonal attention could learn")?;
        config.retrieval = variant != Variant::None;
        let features = Features::new(&config, &seen, None);
        let features = if config.retrieval { features.foretelling(trained.foretold(days)?) } else { features };
        let parts = Parts { retrieval: config.retrieval, ..self.linear.parts };
        let horizon = usize::from(config.horizon);
        let whole = |rows: &Range<usize>| rows.start..rows.end - horizon;
        let linear = ridge::fit(&features, targets, whole(training), whole(validation), Some(parts), Aim::Median)?;
        config.take_parts(&linear);
        let header = config.header()?;
        let (spread, bias) = residual_quantiles(&header, &features, &linear, &self.split);
        Ok(Self {
            config,
            header,
            split: self.split.clone(),
            shape: self.shape,
            features,
            linear,
            told: Told::Mixer(trained),
            spread,
            bias,
            mase_scales: self.mase_scales.clone(),
            device: self.device.clone(),
        })
    }

    /// As the model sees a series.
    fn features_of(&self, series: &Series) -> Result<Features> {
        let keys = match &self.told {
            Told::Device(keys) => keys.as_ref(),
            Told::Mixer(_) => None,
        };
        let features = Features::new(&self.config, series, keys);
        let Told::Mixer(trained) = &self.told else { return Ok(features) };
        let days = Days::new(&features, usize::from(self.config.targets), series.rows());
        Ok(match days.filter(|_| self.config.retrieval) {
            Some(days) => features.foretelling(trained.foretold(days)?),
            None => features,
        })
    }

    /// What the model file would say.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Season, horizon and channels.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A variant's network with its first weights, which forecast the closed form.
    pub(super) fn network(&self, variant: Variant, seed: u64) -> Result<Network> {
        let units = StepUnits::new(&self.header, &self.linear.error);
        let gains = variant.head_gains(&self.config.head_gains());
        let network = Network::new(self.header.clone(), &gains, units, self.shape.length, seed, &self.device)?;
        network.set("readout.weight", &self.linear.readout)?;
        network.set("head.spread", &self.spread)?;
        network.set("head.bias", &self.bias)?;
        if let Told::Device(Some(keys)) = &self.told {
            for (name, values) in keys.tensors() {
                network.set(name, values)?;
            }
        }
        network.with_mixer(variant.mixer(&self.header), seed)
    }

    fn scores(
        &self,
        network: &Network,
        features: &Features,
        rows: &Range<usize>,
        most: usize,
    ) -> Result<(Scores, f64)> {
        let (found, absolute) = evaluate(network, &self.header, features, &self.linear.error, rows, most)?;
        let scaled: Vec<f64> =
            absolute.iter().zip(&self.mase_scales).filter_map(|(mae, scale)| scale.map(|scale| mae / scale)).collect();
        let mase = (!scaled.is_empty()).then(|| scaled.iter().sum::<f64>() / scaled.len() as f64);
        let scores = Scores { mse: decimal(found.mse), mae: decimal(found.mae), mase: mase.map(decimal) };
        Ok((scores, found.loss))
    }

    /// Trains a variant and measures it.
    ///
    /// # Errors
    /// A loss that is not finite, too few held-out rows, an interruption.
    pub fn run(
        &self,
        series: &Series,
        identity: &str,
        (place, variant): (Place, Variant),
        seed: u64,
        epochs: usize,
        bar: &ProgressBar,
    ) -> Result<Cell> {
        let mixer = if place == Place::Block { variant } else { Variant::Flow };
        let network = self.network(mixer, seed)?;
        let rows = &self.split.validation;
        let (mut validation, mut least) = self.scores(&network, &self.features, rows, VALIDATION_ORIGINS)?;
        let (mut best, mut epoch) = (network.copy()?, 0);
        let mut optimizer = AdamW::default();
        let steps = epochs.saturating_sub(1) * EPOCH_STEPS;
        let mut seconds = 0.0;
        for done in 1..=epochs {
            if done == 1 {
                Ensemble::one(seed).first_epoch(&self.step(), rows, &network, &mut Vec::new(), |_| {
                    bar.inc(1);
                    !interrupt::requested()
                })?;
            } else {
                for step in (done - 2) * EPOCH_STEPS..(done - 1) * EPOCH_STEPS {
                    interrupt::check()?;
                    let started = Instant::now();
                    self.step().take(&network, &mut optimizer, (seed, step), steps)?;
                    seconds += started.elapsed().as_secs_f64();
                    bar.inc(1);
                }
            }
            interrupt::check()?;
            let (scores, loss) = self.scores(&network, &self.features, rows, VALIDATION_ORIGINS)?;
            if loss < least {
                (validation, least, best, epoch) = (scores, loss, network.copy()?, done);
            }
        }
        network.restore(&best)?;
        let (test, _) = self.scores(&network, &self.features_of(series)?, &(rows.end..series.rows()), TEST_ORIGINS)?;
        let mut parameters = 0;
        for (name, var) in network.vars() {
            let replaced = matches!(self.told, Told::Mixer(_)) && retrieval::TENSORS.contains(&name.as_str());
            parameters += if mixer.uses(name) && !replaced { var.elem_count() } else { 0 };
        }
        if let Told::Mixer(trained) = &self.told {
            parameters += trained.parameters();
        }
        Ok(Cell {
            identity: identity.to_owned(),
            variant,
            seed,
            parameters,
            epoch,
            validation,
            test,
            step_ms: 1e3 * seconds / steps.max(1) as f64,
        })
    }

    /// What is the same for every step of gradient descent.
    pub(super) fn step(&self) -> Step<'_> {
        let Self { header, features, linear, split, shape, device, .. } = self;
        let (error, rows, aim) = (&linear.error, &split.training, Aim::Median);
        Step { header, features, error, aim, rows, shape: *shape, device }
    }
}

/// Nine decimals, which a JSON file gives back to the bit: a table is the same whether its cells were kept or not.
fn decimal(x: f64) -> f64 {
    (x * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainedModel;
    use crate::train::setup::{Wishes, prepare};
    use crate::train::validation::validate;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn series(rows: usize) -> Series {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let phase = |row: usize| row as f32 * std::f32::consts::TAU / 12.0;
        let mut level = 0.0_f32;
        let wave = (0..rows)
            .map(|row| {
                level = 0.98 * level + rng.random_range(-0.5..0.5_f32);
                20.0 + 5.0 * phase(row).sin() + level
            })
            .collect();
        let other = (0..rows).map(|row| phase(row).cos() + rng.random_range(-0.3..0.3_f32)).collect();
        Series {
            columns: vec!["a".to_owned(), "b".to_owned()],
            interval_ms: 3_600_000,
            start: None,
            values: vec![wave, other],
        }
    }

    fn experiment(series: &Series) -> Experiment {
        let wishes = Wishes { targets: series.columns.len(), ..Wishes::example(12, 4) };
        let (config, split) = prepare(series, &wishes).unwrap();
        Experiment::new(series, config, split).unwrap()
    }

    /// The sequence form over a whole stream is what the device computes, sample by sample.
    #[test]
    fn flow_is_measured_as_the_device_measures_it() {
        let series = series(600);
        let experiment = experiment(&series);
        let network = experiment.network(Variant::Flow, 1).unwrap();
        let mut optimizer = AdamW::default();
        for step in 0..150 {
            experiment.step().take(&network, &mut optimizer, (1, step), 150).unwrap();
        }
        let rows = &experiment.split.validation;
        let error = &experiment.linear.error;
        let (found, absolute) =
            evaluate(&network, &experiment.header, &experiment.features, error, rows, VALIDATION_ORIGINS).unwrap();
        let model = TrainedModel { config: experiment.config.clone(), weights: network.weights().unwrap() };
        let (device, of_device) =
            validate(&model, &experiment.features, (error, Aim::Median), &series, 0, rows).unwrap();
        let pairs = [(found.mse, device.mse), (found.mae, device.mae), (found.loss, device.loss)];
        for (found, device) in pairs.into_iter().chain(absolute.into_iter().zip(of_device)) {
            assert!((found - device).abs() < 1e-4 * device, "{found} and {device}");
        }
        // And it is no closed form any more.
        let first = experiment.network(Variant::Flow, 1).unwrap();
        let (first, _) =
            evaluate(&first, &experiment.header, &experiment.features, error, rows, VALIDATION_ORIGINS).unwrap();
        assert!((first.loss - found.loss).abs() > 1e-3 * found.loss, "{first:?} {found:?}");
    }

    #[test]
    fn every_variant_starts_as_the_closed_form_and_moves() {
        let series = series(230);
        let experiment = experiment(&series);
        let rows = &experiment.split.validation;
        let loss = |network: &Network| {
            let error = &experiment.linear.error;
            evaluate(network, &experiment.header, &experiment.features, error, rows, 50).unwrap().0.loss
        };
        let closed_form = loss(&experiment.network(Variant::None, 1).unwrap());
        for variant in Variant::at(Place::Block) {
            let network = experiment.network(variant, 1).unwrap();
            assert!((loss(&network) - closed_form).abs() < 1e-6 * closed_form, "{variant:?}");
            let before = network.copy().unwrap();
            let mut optimizer = AdamW::default();
            // Head and gate start as 0, and so does the output projection: what lies behind both moves from the third on.
            for step in 0..3 {
                experiment.step().take(&network, &mut optimizer, (1, step), 20).unwrap();
            }
            for (name, var) in network.vars() {
                let moved = (var.as_tensor() - &before[name]).unwrap().abs().unwrap().max_all().unwrap();
                let moved = moved.to_scalar::<f32>().unwrap();
                let expected = variant.uses(name) && !["head.spread", "readout.weight"].contains(&name.as_str());
                assert_eq!(moved > 0.0, expected, "{variant:?} {name} moved by {moved}");
            }
        }
    }

    #[test]
    fn nothing_of_the_held_out_rows_is_read_before_the_end() {
        let series = series(230);
        let mut changed = series.clone();
        changed.values.iter_mut().for_each(|values| values[184..].iter_mut().for_each(|value| *value = 21.0));
        let bar = ProgressBar::hidden();
        let cell =
            |series: &Series| experiment(series).run(series, "x", (Place::Block, Variant::Flow), 1, 1, &bar).unwrap();
        let (first, second) = (cell(&series), cell(&changed));
        assert_eq!((first.validation, first.epoch), (second.validation, second.epoch));
        assert_ne!(first.test, second.test);
    }
}
