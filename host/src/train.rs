//! Training: the linear path in closed form, which stays as it is, then the rest by gradient descent, the best on validation kept.
//!
//! 1. Split off the held-out end, which is never read; read season, normalisation and bounds off the rest.
//! 2. Run core's intake and seasonal memory over it ([`crate::features`]); fit the linear path ([`crate::ridge`]).
//! 3. Train: first all but the attention, on rows one by one (`rows`: the first epoch), several networks and one that
//!    learns from them (`ensemble`); then with it, on sequences: AdamW, warm-up and cosine decay, clipped gradients.
//! 4. After each epoch of 20 steps, validate the exported model with the device's own code; keep the best; stop when
//!    three epochs brought nothing. The closed form itself is the first candidate, and of the way from there to the
//!    best a share is kept: of the first epoch's as far as validation is sure of it (`choice`), of the best again (`share`).
//! 5. Leave the blocks' attention out of the model where the best is hardly better than the best without one.
//! 6. Let the device adapt its forecasts, unless that makes those of the rows that choose worse.
//!
//! Every random number follows from `--seed` and the step, so an interrupted training that is resumed gives the file
//! that an uninterrupted one gives.

pub mod batch;
pub mod checkpoint;
mod choice;
pub mod closed_form;
mod command;
pub(crate) mod ensemble;
pub mod fine_tune;
pub mod learning;
pub mod loss;
pub mod naive;
pub mod rows;
pub mod setup;
mod share;
mod spread;
pub(crate) mod step;
pub mod validation;

pub use command::{Args, run};
pub(crate) use command::{ensemble, epochs, preset};
pub(crate) use spread::residual_quantiles;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use candle_core::Device;
use flowcast_core::format::Header;
use serde::Serialize;

use crate::config::{Config, TrainedModel};
use crate::data::Series;
use crate::device::DeviceChoice;
use crate::features::Features;
use crate::forecaster::open;
use crate::interrupt;
use crate::model::{Network, StepUnits};
use crate::optimizer::{AdamW, Group};
use crate::output::Output;
use crate::plural::counted;
use crate::program;
use crate::retrieval::Keys;
use crate::ridge::{Aim, LinearPath};
use batch::Shape;
use checkpoint::{Candidates, Progress};
use closed_form::ClosedForm;
use ensemble::Ensemble;
use learning::Learning;
use naive::Naive;
use setup::{Adapt, Split, Wishes};
use share::{SHARES, Share, between};
use step::Step;
use validation::{Validation, validate};

/// Steps between validations: one epoch.
pub const EPOCH_STEPS: usize = 20;
/// Epochs, at most, when the user does not say.
pub const EPOCHS: usize = 10;
pub(crate) const WARM_UP_STEPS: usize = 10;
const PATIENCE: usize = 3;
/// Networks that teach the one that is kept, when the user does not say, and at most.
pub const ENSEMBLE: usize = 3;
const MOST_ENSEMBLE: usize = 32;
/// The blocks' attention takes a quarter of a board's work and a third of its state: it stays where it takes so much off the loss.
const ATTENTION_PAYS: f64 = 0.01;
/// Adaptation stays unless it makes the loss more than so many times what it was.
const MOST_ADAPTATION_COSTS: f64 = 1.03;
/// The gradient's norm is cut to this.
pub(crate) const MOST_GRADIENT: f64 = 1.0;
/// The closed form's readout stays as it is: by itself it is an expert that the board can turn to (`flowcast_core::experts`), and
/// moved with the network it is a worse one, for gains that are within what seeds differ by.
const FIXED_GROUP: Group = Group { rate: 0.0, decay: 0.0 };
const BIAS_GROUP: Group = Group { rate: 3e-3, decay: 0.0 };
const WEIGHT_GROUP: Group = Group { rate: 3e-3, decay: 1e-2 };
/// Periods that validation streams before its first origin; the slowest seasonal memory has mostly settled then.
const BURN_IN_PERIODS: usize = 40;
/// How to train.
#[derive(Debug, Clone)]
pub struct Options {
    /// Season, horizon, backbone, held-out rows.
    pub wishes: Wishes,
    /// Epochs, at most.
    pub epochs: usize,
    /// Networks of the first epoch that teach the one that is kept; 1 for none.
    pub ensemble: usize,
    /// Stop after so long.
    pub most: Option<Duration>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Where to train.
    pub device: DeviceChoice,
    /// Where a checkpoint is kept, and whether to go on from it.
    pub checkpoint: Option<(PathBuf, bool)>,
}

impl Options {
    /// The closed form alone, on the CPU.
    pub fn closed_form(wishes: Wishes) -> Self {
        Self { wishes, epochs: 0, ensemble: 1, most: None, seed: 1, device: DeviceChoice::Cpu, checkpoint: None }
    }
}

/// How a training went.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Weights of the model.
    pub parameters: usize,
    /// Epochs that were run.
    pub epochs: usize,
    /// Networks of the first epoch that the kept one learnt from; 1 where nobody taught it, 0 without an epoch.
    pub ensemble: usize,
    /// Whether the blocks' attention pays, and stays in the model.
    pub attention: bool,
    /// Whether the device adapts its forecasts.
    pub adapted: bool,
    /// Seconds that training took, before an interruption too.
    pub seconds: f64,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// Samples of each season.
    pub periods: Vec<u32>,
    /// Steps ahead.
    pub horizon: u16,
    /// Columns known in advance that pay: the model's last channels.
    pub known: Vec<String>,
    /// The kept model on the validation rows.
    pub validation: Validation,
    /// The closed form on them, adapted if the model is.
    pub closed_form: Validation,
    /// What needs no model on them.
    pub naive: Naive,
    /// Every epoch on them (from a shorter past than `validation`'s).
    pub history: Vec<Validation>,
    /// Its curves.
    #[serde(skip)]
    pub learning: Learning,
}

/// Trains a model.
///
/// # Errors
/// Untrainable data, a device that is not there, an interruption by Ctrl-C.
pub fn train(series: &Series, options: &Options, output: &Output) -> Result<(TrainedModel, Report)> {
    train_prepared(series, setup::prepare(series, &options.wishes)?, options, output)
}

/// As [`train`], of what [`setup::prepare`] found.
fn train_prepared(
    series: &Series,
    (config, split): (Config, Split),
    options: &Options,
    output: &Output,
) -> Result<(TrainedModel, Report)> {
    let started = Instant::now();
    interrupt::listen();
    let device = options.device.open()?;
    output.note("reading features, training keys and fitting the linear path in closed form");
    let ClosedForm { config, features, linear, keys, narrowed, fewest } =
        ClosedForm::fit(config, series, &split, options.wishes.protocol.aim(), options.seed)?;
    let series = narrowed.as_ref().unwrap_or(series);

    let header = config.header()?;
    let shape = Shape::new(config.targets.into(), config.knots.len(), fewest);
    let units = StepUnits::new(&header, &linear.error);
    let network = Network::new(header.clone(), &config.head_gains(), units, shape.length, options.seed, &device)?;
    network.set("readout.weight", &linear.readout)?;
    for (name, values) in keys.iter().flat_map(Keys::tensors) {
        network.set(name, values)?;
    }
    let (spread, bias) = residual_quantiles(&header, &features, &linear, &split);
    network.set("head.spread", &spread)?;
    network.set("head.bias", &bias)?;

    let mut training = Training { series, options, output, config, header, split, features, linear, shape, device };
    training.round_where_it_pays(network.weights()?)?;
    training.descend(network, started)
}

/// Everything that stays the same while the weights move.
struct Training<'a> {
    series: &'a Series,
    options: &'a Options,
    output: &'a Output,
    config: Config,
    header: Header,
    split: Split,
    features: Features,
    linear: LinearPath,
    shape: Shape,
    device: Device,
}

impl Training<'_> {
    fn model(&self, weights: Vec<f32>) -> TrainedModel {
        TrainedModel { config: self.config.clone(), weights }
    }

    fn validate(&self, model: &TrainedModel, whole: bool) -> Result<Validation> {
        let from = if whole { 0 } else { self.burnt_in() };
        Ok(validate(
            model,
            &self.features,
            (&self.linear.error, self.aim()),
            self.series,
            from,
            &self.split.validation,
        )?
        .0)
    }

    /// The row from which a stream has settled when validation begins.
    fn burnt_in(&self) -> usize {
        self.split.validation.start.saturating_sub(BURN_IN_PERIODS * self.config.period() as usize)
    }

    /// Keeps a sensor's step in the model only where rounding to it does not cost accuracy.
    fn round_where_it_pays(&mut self, weights: Vec<f32>) -> Result<()> {
        let found: Vec<f32> = self.config.channels.iter().map(|channel| channel.resolution).collect();
        let error = |config: &Config| -> Result<Vec<f64>> {
            let model = TrainedModel { config: config.clone(), weights: weights.clone() };
            let rows = &self.split.validation;
            Ok(validate(&model, &self.features, (&self.linear.error, self.aim()), self.series, self.burnt_in(), rows)?
                .1)
        };
        let rounded = error(&self.config)?;
        let mut config = self.config.clone();
        config.channels.iter_mut().for_each(|channel| channel.resolution = 0.0);
        let smooth = error(&config)?;
        for (channel, ((found, rounded), smooth)) in
            self.config.channels.iter_mut().zip(found.iter().zip(&rounded).zip(&smooth))
        {
            channel.resolution = if rounded <= smooth { *found } else { 0.0 };
        }
        Ok(())
    }

    /// What must be the same for a checkpoint to be gone on with.
    fn identity(&self) -> Result<String> {
        let mut bytes = serde_json::to_vec(&self.config)?;
        bytes.extend(
            format!(
                "{} {:?} {} {} {} {:?}",
                program::name()?,
                self.options.device,
                self.options.seed,
                self.options.epochs,
                self.options.ensemble,
                self.split
            )
            .into_bytes(),
        );
        for values in &self.series.values {
            bytes.extend_from_slice(bytemuck::cast_slice(values));
        }
        Ok(format!("{:08x}", crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes)))
    }

    fn descend(&self, network: Network, started: Instant) -> Result<(TrainedModel, Report)> {
        let steps = self.options.epochs * EPOCH_STEPS;
        let ensemble = self.ensemble();
        let mut optimizer = AdamW::default();
        let first = self.model(network.weights()?);
        let start = self.validate(&first, false)?;
        let (mut progress, mut candidates) = self.begin(&first, start, &network, &mut optimizer)?;
        let before = progress.seconds;
        let seconds = || before + started.elapsed().as_secs_f64();
        // A network that teaches takes as many steps as an epoch.
        let taught = if steps == 0 { 0 } else { EPOCH_STEPS * (ensemble.networks() - 1) };
        let bar = self.output.progress((taught + steps) as u64, "training");
        bar.set_position(
            if progress.step == 0 { EPOCH_STEPS * progress.members } else { taught + progress.step } as u64
        );
        let late = || self.options.most.is_some_and(|most| started.elapsed() >= most);
        let save = |progress: &Progress, candidates: &Candidates, optimizer: &AdamW| match &self.options.checkpoint {
            Some((path, _)) => checkpoint::save(path, progress, &network, candidates, optimizer),
            None => Ok(()),
        };
        let show = |loss: f32, best: &Validation| {
            bar.inc(1);
            bar.set_message(format!("loss {loss:.4}, validation {:.4}", best.loss));
        };
        let interrupted = |progress: &Progress| match &self.options.checkpoint {
            Some(_) => anyhow!("interrupted after {}; the same command with --resume goes on", self.reached(progress)),
            None => anyhow!("interrupted"),
        };
        // An epoch is over once it is validated, which may have been interrupted too.
        let unjudged = |progress: &Progress| progress.history.len() < progress.step / EPOCH_STEPS;
        while unjudged(&progress) || (progress.step < steps && progress.stale < PATIENCE && !late()) {
            if interrupt::requested() {
                bar.abandon();
                progress.seconds = seconds();
                save(&progress, &candidates, &optimizer)?;
                return Err(interrupted(&progress));
            }
            let step = self.step();
            if unjudged(&progress) {
                // Nothing is left to learn in it.
            } else if progress.step == 0 {
                let untouched = network.copy()?;
                let (mut losses, mut stopped) = (Vec::new(), false);
                ensemble.first_epoch(&step, &self.split.validation, &network, &mut candidates.members, |loss| {
                    show(loss, &progress.best);
                    losses.push(loss);
                    stopped = interrupt::requested();
                    !stopped && !late()
                })?;
                if stopped {
                    // What a network has drawn that has not learnt it all cannot be gone on with: it begins anew.
                    network.restore(&untouched)?;
                    progress.members = candidates.members.len();
                    continue;
                }
                // Those of the network that is kept, or of the one that time ran out for.
                progress.losses = losses.split_off((losses.len() - 1) / EPOCH_STEPS * EPOCH_STEPS);
                progress.step = progress.losses.len();
                (progress.members, candidates.members) = (0, Vec::new());
            } else {
                let drawn = (self.options.seed, progress.step - EPOCH_STEPS);
                let loss = step.take(&network, &mut optimizer, drawn, steps - EPOCH_STEPS)?;
                progress.losses.push(loss);
                progress.step += 1;
                show(loss, &progress.best);
            }
            if progress.step.is_multiple_of(EPOCH_STEPS) || late() {
                progress.seconds = seconds();
                save(&progress, &candidates, &optimizer)?;
                let model = self.model(network.weights()?);
                let judged = self.validate(&model, false);
                let validation =
                    judged.map_err(|error| if interrupt::requested() { interrupted(&progress) } else { error })?;
                progress.history.push(validation);
                progress.stale += 1;
                if validation.loss < progress.best.loss {
                    (progress.best, progress.stale, candidates.best) = (validation, 0, model.weights);
                }
                if progress.history.len() == 1 {
                    (progress.silent, candidates.silent) = (progress.best, candidates.best.clone());
                }
                progress.seconds = seconds();
                save(&progress, &candidates, &optimizer)?;
            }
        }
        bar.finish_and_clear();
        progress.seconds = seconds();
        let resumable = interrupted(&progress);
        let finished = self.finish(first, start, progress, candidates);
        finished.map_err(|error| if interrupt::requested() { resumable } else { error })
    }

    /// Where training begins: at the closed form, or where it was interrupted.
    fn begin(
        &self,
        first: &TrainedModel,
        start: Validation,
        network: &Network,
        optimizer: &mut AdamW,
    ) -> Result<(Progress, Candidates)> {
        let identity = self.identity()?;
        if let Some((path, true)) = &self.options.checkpoint {
            if path.exists() {
                let (progress, candidates) = checkpoint::load(path, &identity, network, optimizer)?;
                self.output.note(format!("going on after {}", self.reached(&progress)));
                return Ok((progress, candidates));
            }
            self.output.remark(format!(
                "--resume: {} is not there, nothing was interrupted: training starts anew",
                path.display()
            ));
        }
        let weights = || first.weights.clone();
        let candidates = Candidates { best: weights(), silent: weights(), members: Vec::new() };
        let progress = Progress {
            identity,
            step: 0,
            members: 0,
            stale: 0,
            seconds: 0.0,
            best: start,
            silent: start,
            history: Vec::new(),
            losses: Vec::new(),
        };
        Ok((progress, candidates))
    }

    /// What is kept of a training, and what the device learns from there on.
    fn finish(
        &self,
        first: TrainedModel,
        start: Validation,
        progress: Progress,
        candidates: Candidates,
    ) -> Result<(TrainedModel, Report)> {
        let Candidates { best, silent, .. } = candidates;
        let attends = progress.best.loss < (1.0 - ATTENTION_PAYS) * progress.silent.loss;
        let (best, Validation { loss: least, .. }) =
            if attends { (best, progress.best) } else { (silent, progress.silent) };
        let kept = std::iter::once(&start).chain(&progress.history).position(|epoch| epoch.loss == least).unwrap_or(0);
        let model = self.model(self.shared(&first.weights, best, least)?);
        let model = if attends { model } else { model.without_attention()? };
        let model = self.adapted_where_it_pays(model)?;
        // Like with like: what training gained is not what the device learns.
        let mut untrained = first;
        untrained.config.adapted = model.config.adapted;
        let closed_form = self.validate(&untrained, true)?;
        let model = self.with_learned_factors(model)?;
        let report = Report {
            parameters: model.weights.len(),
            attention: attends,
            adapted: model.config.adapted,
            epochs: progress.history.len(),
            ensemble: if progress.history.is_empty() { 0 } else { self.options.ensemble },
            seconds: progress.seconds,
            device: if self.device.is_cpu() { "cpu" } else { "cuda" },
            periods: self.config.periods.clone(),
            horizon: self.config.horizon,
            known: self.config.known().iter().map(|channel| channel.name.clone()).collect(),
            validation: self.validate(&model, true)?,
            closed_form,
            naive: Naive::new(
                &self.features,
                self.header.targets.into(),
                self.config.period() as usize,
                self.header.horizon.into(),
                &self.split.validation,
            ),
            learning: Learning { start, epochs: progress.history.clone(), losses: progress.losses, kept },
            history: progress.history,
        };
        Ok((model, report))
    }

    fn ensemble(&self) -> Ensemble {
        Ensemble { members: self.options.ensemble, seed: self.options.seed }
    }

    /// How far a training has come.
    fn reached(&self, progress: &Progress) -> String {
        if progress.step == 0 {
            let networks = self.ensemble().networks();
            format!("{} of {} of the first epoch", progress.members, counted(networks, "network"))
        } else {
            format!("step {} of {}", progress.step, self.options.epochs * EPOCH_STEPS)
        }
    }

    /// Leaves it to the device to adapt its forecasts, unless that makes them clearly worse. A season that differs from those
    /// that train is the rule, of which the rows that choose, next to those that train, show the least; and as long as there is
    /// nothing to correct, the guard keeps forecasts as they are.
    fn adapted_where_it_pays(&self, plain: TrainedModel) -> Result<TrainedModel> {
        if self.options.wishes.adapt != Adapt::Auto {
            return Ok(plain);
        }
        let mut adapted = plain.clone();
        adapted.config.adapted = true;
        let worse = self.validate(&adapted, false)?.loss > MOST_ADAPTATION_COSTS * self.validate(&plain, false)?.loss;
        Ok(if worse { plain } else { adapted })
    }

    /// A model whose intervals start as the device would have corrected them by the end of the rows that train.
    fn with_learned_factors(&self, mut model: TrainedModel) -> Result<TrainedModel> {
        let header = model.config.header()?;
        let bytes = model.to_flow()?;
        let mut forecaster = open(&bytes)?;
        let mut sample = vec![0.0; self.series.columns.len()];
        // What is known of the rows that are held out stays there.
        let series = self.series.before(self.split.validation.end);
        for row in self.burnt_in()..series.rows() {
            series.row(row, &mut sample);
            forecaster.observe_knowing(&sample, &series.to_come(row + 1));
        }
        let factors = (0..usize::from(header.targets))
            .flat_map(|channel| forecaster.interval_factors(channel))
            .flat_map(|factors| [factors.lower, factors.upper]);
        let place = header.tensors().find(|tensor| tensor.name == "interval.factors");
        let place = place.context("the model has no tensor interval.factors")?;
        for (weight, factor) in model.weights[place.start..place.start + place.len()].iter_mut().zip(factors) {
            *weight = factor;
        }
        Ok(model)
    }

    /// The weights that were learnt, `best` with a loss of `least`, or the share of them that validation says to keep.
    fn shared(&self, first: &[f32], best: Vec<f32>, mut least: f64) -> Result<Vec<f32>> {
        let mut kept = best.clone();
        for share in SHARES.into_iter().filter(|_| best != first) {
            let between = between(&self.header, first, &best, Share::of_both(share));
            let loss = self.validate(&self.model(between.clone()), false)?.loss;
            if loss < least {
                (least, kept) = (loss, between);
            }
        }
        Ok(kept)
    }

    fn step(&self) -> Step<'_> {
        let Self { header, features, linear, split, shape, device, .. } = self;
        let (error, rows, aim) = (&linear.error, &split.training, self.aim());
        Step { header, features, error, aim, rows, shape: *shape, device }
    }

    fn aim(&self) -> Aim {
        self.options.wishes.protocol.aim()
    }
}

/// How fast a tensor moves.
pub(crate) fn group(name: &str) -> Group {
    match name {
        "head.spread" | "interval.factors" | "readout.weight" => FIXED_GROUP,
        name if name.ends_with(".bias") || name.ends_with(".gain") => BIAS_GROUP,
        _ => WEIGHT_GROUP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The 80 % band's width a season ahead of a daily wave with noise, trained beside `other`, in closed form.
    fn width_beside(other: Option<Vec<f32>>) -> f32 {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let wave =
            (0..1500).map(|row| 20.0 + 5.0 * (row as f32 * 0.2618).sin() + rng.random_range(-1.0..1.0_f32)).collect();
        let values: Vec<Vec<f32>> = std::iter::once(wave).chain(other).collect();
        let columns: Vec<String> = (0..values.len()).map(|index| format!("c{index}")).collect();
        let series = Series { columns, interval_ms: 3_600_000, start: None, values };
        let wishes = Wishes { targets: series.columns.len(), ..Wishes::example(24, 24) };
        let options = Options::closed_form(wishes);
        let (model, _) = train(&series, &options, &Output::default()).unwrap();
        let bytes = model.to_flow().unwrap();
        let mut forecaster = open(&bytes).unwrap();
        let mut sample = vec![0.0; series.columns.len()];
        for row in 0..series.rows() {
            series.row(row, &mut sample);
            forecaster.observe(&sample);
        }
        let mut width = f32::NAN;
        assert!(forecaster.for_each_step(0, &mut |_, quantiles| width = quantiles[2] - quantiles[0]));
        width
    }

    #[test]
    fn under_ett_no_held_out_row_changes_the_model_and_no_validation_row_its_normalisation() {
        let wave = |row: usize| (row as f32 * 0.2618).sin() + ((row * 7_919) % 101) as f32 / 300.0;
        let values = vec![(0..1_000).map(wave).collect::<Vec<f32>>()];
        let series = Series { columns: vec!["a".into()], interval_ms: 3_600_000, start: None, values };
        let wishes = Wishes { targets: series.columns.len(), protocol: Protocol::Ett, ..Wishes::example(24, 12) };
        let options = Options::closed_form(wishes);
        let trained = |from: usize| {
            let mut changed = series.clone();
            changed.values[0][from..].iter_mut().for_each(|value| *value = 3.0 - 2.0 * *value);
            train(&changed, &options, &Output::default()).unwrap().0
        };
        let (model, other_test, other_validation) = (trained(1_000), trained(800), trained(700));
        assert!(model == other_test, "rows from 800 on are held out");
        assert!(model != other_validation, "rows from 700 on choose");
        let channel = |model: &TrainedModel| (model.config.channels[0].offset, model.config.channels[0].scale);
        assert_eq!(channel(&model), channel(&other_validation));
        assert!(channel(&model) != channel(&trained(699)), "row 699 is the last that trains");
    }

    #[test]
    fn a_level_in_the_rows_that_choose_is_no_error_of_the_model() {
        let wave = |row: usize| (row as f32 * 0.2618).sin() + ((row * 7_919) % 101) as f32 / 300.0;
        let trained = |step: f32| {
            let values = vec![(0..1_000).map(|row| wave(row) + if row < 720 { 0.0 } else { step }).collect()];
            let series = Series { columns: vec!["a".into()], interval_ms: 3_600_000, start: None, values };
            // Bounds are those of the rows that train.
            let wishes = Wishes { targets: 1, protocol: Protocol::Ett, ..Wishes::example(24, 12) };
            train(&series, &Options::closed_form(wishes), &Output::default()).unwrap().1
        };
        let (plain, moved) = (trained(0.0), trained(30.0));
        // The level is known to a twentieth of a deviation; 30 are 40.
        assert!(moved.validation.mse < 5.0 * plain.validation.mse, "{:?} {:?}", plain.validation, moved.validation);
        assert!(moved.naive.seasonal_naive.mse < 2.0 * plain.naive.seasonal_naive.mse, "{:?}", moved.naive);
    }

    #[test]
    fn a_quiet_channel_does_not_widen_the_intervals_of_another() {
        let alone = width_beside(None);
        // Still in its last half; and at rest but for rare bursts.
        let still = (0..1500).map(|row| if row < 750 { (row as f32 * 0.7).sin() } else { 0.0 }).collect();
        let bursts = (0..1500).map(|row| if row % 97 == 0 { 40.0 } else { 0.0 }).collect();
        for other in [still, bursts] {
            let beside = width_beside(Some(other));
            assert!(alone > 0.5 && beside < 1.5 * alone && beside > alone / 1.5, "{alone} alone, {beside} beside");
        }
    }

    #[test]
    fn the_device_adapts_unless_that_is_worse_or_the_user_says_no() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut last = [0.0, 0.0];
        // One wanders, and from the rows that choose on upwards; of the other, what wore off slowly wears off faster in the
        // midst of them.
        let values: Vec<[f32; 2]> = (0..2_000)
            .map(|row| {
                let noise = rng.random_range(-0.3..0.3_f32);
                last[0] += noise + if row < 1_340 { 0.0 } else { 0.1 };
                last[1] = if row < 1_400 { 0.95 } else { 0.3 } * last[1] + noise;
                last
            })
            .collect();
        let trained = |adapt: Adapt, which: usize| {
            let values = vec![values.iter().map(|values| values[which]).collect()];
            let series = Series { columns: vec!["a".into()], interval_ms: 3_600_000, start: None, values };
            let wishes = Wishes { adapt, ..Wishes::example(24, 4) };
            let options = Options::closed_form(wishes);
            let (model, report) = train(&series, &options, &Output::default()).unwrap();
            assert_eq!(model.config.adapted, report.adapted);
            report
        };
        let each = [Adapt::Auto, Adapt::On, Adapt::Off];
        let [auto, on, off] = each.map(|adapt| trained(adapt, 0));
        assert!(on.adapted && !off.adapted);
        assert!(on.validation.loss < 0.9 * off.validation.loss, "{on:?} {off:?}");
        assert_eq!((auto.adapted, auto.validation), (true, on.validation));

        let [auto, on, off] = each.map(|adapt| trained(adapt, 1));
        assert!(on.validation.loss > off.validation.loss, "{on:?} {off:?}");
        assert_eq!((auto.adapted, auto.validation), (false, off.validation));
    }

    const HORIZON: usize = 8;

    /// A daily wave that jumps where a plan says, in hours that no season knows; the plan; and noise.
    fn planned() -> Series {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let (mut on, mut left) = (0.0, 0);
        let mut values = vec![Vec::new(); 3];
        for row in 0..1_000 {
            if left == 0 {
                (on, left) = (1.0 - on, rng.random_range(3..18));
            }
            left -= 1;
            let wave = (row as f32 * 0.2618).sin();
            values[0].push(10.0 + wave + 4.0 * on + rng.random_range(-0.5..0.5_f32));
            values[1].push(on);
            values[2].push(rng.random_range(-1.0..1.0_f32));
        }
        let columns = ["load", "plan", "noise"].map(str::to_owned).to_vec();
        Series { columns, interval_ms: 3_600_000, start: None, values }
    }

    #[test]
    fn a_plan_takes_most_of_the_error_away_and_a_column_that_tells_nothing_is_left_out() {
        let series = planned();
        let trained = |known: usize, epochs: usize| {
            let wishes = Wishes { known, ..Wishes::example(24, HORIZON) };
            let options = Options { epochs, ..Options::closed_form(wishes) };
            train(&series, &options, &Output::default()).unwrap()
        };
        let names =
            |model: &TrainedModel| model.config.channels.iter().map(|channel| channel.name.clone()).collect::<Vec<_>>();
        let (seen, blind) = trained(0, 0);
        assert_eq!((names(&seen).len(), blind.known.len()), (3, 0));
        let (model, told) = trained(2, 1);
        assert_eq!(names(&model), ["load", "plan"]);
        assert_eq!(told.known, ["plan"]);
        assert!(told.closed_form.mae < 0.4 * blind.validation.mae, "{:?} and {:?}", told.closed_form, blind.validation);
        // The joint training goes on from there.
        assert!(told.epochs == 1 && told.validation.mae < 1.05 * told.closed_form.mae, "{told:?}");
        assert!(blind.learning.kept == 0 && told.learning.kept <= 1);
        // The first epoch trains no attention in the blocks: the model is left without one.
        assert!(!told.attention && model.config.memories.is_empty());

        // A board that is told forecasts the held-out rows as well; one that is not takes what the season expects.
        let bytes = model.to_flow().unwrap();
        let kept = model.config.columns_of(&series).unwrap();
        let (mut knowing, mut plain) = (open(&bytes).unwrap(), open(&bytes).unwrap());
        let (mut sample, mut missed, mut count) = (vec![0.0; 2], [0.0, 0.0], 0.0);
        for row in 0..kept.rows() - HORIZON {
            kept.row(row, &mut sample);
            knowing.observe_knowing(&sample, &kept.to_come(row + 1));
            plain.observe(&sample);
            if row < 800 {
                continue;
            }
            count += HORIZON as f32;
            let came = &kept.values[0][row + 1..];
            knowing.for_each_step_knowing(0, &kept.to_come(row + 1), &mut |step, quantiles| {
                missed[0] += (quantiles[1] - came[step - 1]).abs();
            });
            plain.for_each_step(0, &mut |step, quantiles| missed[1] += (quantiles[1] - came[step - 1]).abs());
        }
        let [knowing, plain] =
            missed.map(|missed| f64::from(missed / count) / f64::from(model.config.channels[0].scale));
        assert!(knowing < 0.4 * plain, "{knowing} and {plain}");
    }
}
