//! The first epoch: the network without its attention learns from rows one by one.
//!
//! What a row shows depends on the memories before it, which the data alone decide. As long as nothing is received from
//! other tokens (the attention's output starts as 0), rows can be drawn at random from everything that trains: a thousand
//! small steps in the time of a few dozen with whole sequences, and most of what the network adds to the closed form.
//! What is kept is not where the last step led, but the running mean of the weights (Polyak and Juditsky, "Acceleration of
//! stochastic approximation by averaging", 1992), and of the way from the closed form to there the share that the rows
//! that choose speak for ([`Choice`]).

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::EPOCH_STEPS;
use super::batch::{Batch, Origins};
use super::choice::Choice;
use super::step::{Step, Tokens};
use crate::features::{Parts, Readout};
use crate::model::{Network, Weights};
use crate::optimizer::{AdamW, schedule};
use crate::ridge::stride;

/// Batches of each of the epoch's steps.
const BATCHES: usize = 50;
const WARM_UP_BATCHES: usize = 50;
/// Rows of a batch, about, and of each target at least.
const ROWS: usize = 256;
const LEAST_ROWS: usize = 16;
/// Rows that choose, about.
const CHOOSING_ROWS: usize = 3_000;
/// Numbers that are kept of the rows, at most.
const MOST_NUMBERS: usize = 64 << 20;
/// What the running mean keeps of itself at each batch, in the end.
const KEPT: f64 = 0.99;

/// Rows of every target, ready to be drawn.
struct Rows {
    targets: Vec<Target>,
    token: usize,
    knots: usize,
}

#[derive(Default)]
struct Target {
    /// `[rows][token_features]`
    tokens: Vec<f32>,
    origins: Origins,
}

impl Rows {
    /// Those of `rows` whose futures lie within them, about `most` of each target.
    fn of(step: &Step<'_>, rows: &Range<usize>, most: usize) -> Self {
        let Step { header, features, error, .. } = step;
        let (token, knots) = (header.token_features(), features.knots());
        let end = rows.end.saturating_sub(header.horizon.into()).max(rows.start);
        let parts = Parts { ring: header.ring, mixed: header.mixed, ..features.every_part() };
        let stride = stride((end - rows.start).div_ceil(most), features.seasons().period() as usize);
        let target = |channel: usize| {
            let samples = features.samples(channel);
            let mut target = Target::default();
            features.visit(channel, rows.start, end, |after| {
                if after.row % stride == 0 {
                    let readout = features.readout(channel, after, parts);
                    let came = knots.iter().map(|knot| samples[after.row + usize::from(*knot)]);
                    target.origins.push(&readout, came, &error[channel]);
                    let (vector, level) = features.token(after);
                    Network::token(header, &vector, &level, &mut target.tokens);
                }
                true
            });
            if target.origins.len() == 0 {
                // A channel that is dead here has a row of which nothing counts.
                let (aligned, standing) = (header.step_features(), header.readout_features() - header.step_features());
                let nothing =
                    Readout { aligned: vec![0.0; knots.len() * aligned], standing: vec![0.0; standing], level: None };
                target.origins.push(&nothing, knots.iter().map(|_| f32::NAN), &error[channel]);
                target.tokens = vec![0.0; token];
            }
            target
        };
        let targets = (0..usize::from(header.targets)).into_par_iter().map(target).collect();
        Self { targets, token, knots: knots.len() }
    }

    /// A batch of some rows of each target, as many of every one.
    fn batch(&self, picked: &[Vec<usize>], device: &Device) -> Result<Batch> {
        let (mut tokens, mut origins) = (Vec::new(), Origins::default());
        for (target, picked) in self.targets.iter().zip(picked) {
            for &row in picked {
                tokens.extend_from_slice(&target.tokens[row * self.token..(row + 1) * self.token]);
                origins.push_from(&target.origins, row);
            }
        }
        let count = origins.len();
        let tokens = Tensor::from_vec(tokens, (count, 1, self.token), device)?;
        origins.into_batch(tokens, (0..count as u32).collect(), self.knots, device)
    }

    /// Every row, those of a target that has fewer again from its first on.
    fn all(&self, device: &Device) -> Result<Batch> {
        let most = self.targets.iter().map(|target| target.origins.len()).max().unwrap_or(0);
        let every = |target: &Target| (0..most).map(|row| row % target.origins.len()).collect();
        self.batch(&self.targets.iter().map(every).collect::<Vec<_>>(), device)
    }
}

/// The running mean of a network's weights.
struct Average {
    weights: Weights,
    batches: f64,
}

impl Average {
    fn of(network: &Network) -> Result<Self> {
        Ok(Self { weights: network.copy()?, batches: 0.0 })
    }

    /// Moves towards the network as it is now: at first by much.
    fn follow(&mut self, network: &Network) -> Result<()> {
        self.batches += 1.0;
        let kept = KEPT.min(self.batches / (9.0 + self.batches));
        for (name, var) in network.vars() {
            if let Some(mean) = self.weights.get_mut(name) {
                *mean = ((&*mean * kept)? + (var.as_tensor() * (1.0 - kept))?)?.detach();
            }
        }
        Ok(())
    }
}

/// Trains a network's weights but the attention's on the rows of a step, and leaves the best on `choosing`.
///
/// After each of [`EPOCH_STEPS`] steps, `told` hears the mean loss of its batches and says whether to go on.
///
/// # Errors
/// A loss that is not finite, or the device fails.
pub(crate) fn first_epoch(
    step: &Step<'_>,
    choosing: &Range<usize>,
    network: &Network,
    seed: u64,
    mut told: impl FnMut(f32) -> bool,
) -> Result<()> {
    let targets = usize::from(step.header.targets);
    let numbers = step.header.token_features() + step.header.readout_features() * usize::from(step.header.knots);
    let rows = Rows::of(step, step.rows, (MOST_NUMBERS / (targets * numbers)).max(1));
    let held = Rows::of(step, choosing, (CHOOSING_ROWS / targets).max(LEAST_ROWS)).all(step.device)?;
    let each = (ROWS / targets).max(LEAST_ROWS);

    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut optimizer = AdamW::default();
    let mut average = Average::of(network)?;
    let choice = Choice::new(step, held, network)?;
    let (mut most, mut best) = (0.0, choice.first().to_vec());
    for run in 0..EPOCH_STEPS {
        let mut losses = 0.0;
        for batch in run * BATCHES..(run + 1) * BATCHES {
            let mut some = |target: &Target| (0..each).map(|_| rng.random_range(0..target.origins.len())).collect();
            let picked: Vec<Vec<usize>> = rows.targets.iter().map(&mut some).collect();
            let drawn = rows.batch(&picked, step.device)?;
            let rate = schedule(batch, WARM_UP_BATCHES, EPOCH_STEPS * BATCHES);
            losses += step.descend(network, &drawn, Tokens::Alone, &mut optimizer, rate)?;
            average.follow(network)?;
        }
        let moved = network.copy()?;
        network.restore(&average.weights)?;
        let (gain, weights) = choice.best(network)?;
        if gain > most {
            (most, best) = (gain, weights);
        }
        network.restore(&moved)?;
        if !told(losses / BATCHES as f32) {
            break;
        }
    }
    network.load(&best)
}

#[cfg(test)]
mod tests {
    use flowcast_core::presets::PRESETS;

    use super::*;
    use crate::config::Config;
    use crate::data::Series;
    use crate::features::Features;
    use crate::model::StepUnits;
    use crate::protocol::Protocol;
    use crate::ridge::{Aim, LinearPath};
    use crate::train::batch::Shape;
    use crate::train::closed_form::ClosedForm;
    use crate::train::setup::{Adapt, Split, Wishes, prepare};

    /// A daily wave and a tent map, of which the next value follows from the last, but by no line; its twin is dead from
    /// where rows choose.
    fn series(rows: usize) -> Series {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut tent = 0.1_f32;
        let wave: Vec<f32> = (0..rows)
            .map(|row| {
                tent = 0.8 - 1.2 * tent.abs() + rng.random_range(-0.05..0.05_f32);
                (row as f32 * std::f32::consts::TAU / 12.0).sin() + tent
            })
            .collect();
        let dead = |row: usize| if row < rows / 2 { wave[row] } else { 0.25 };
        let twin = (0..rows).map(dead).collect();
        let columns = ["wave", "twin"].map(str::to_owned).to_vec();
        Series { columns, interval_ms: 3_600_000, start: None, values: vec![wave, twin] }
    }

    struct Case {
        config: Config,
        features: Features,
        linear: LinearPath,
        split: Split,
        spread: (Vec<f32>, Vec<f32>),
    }

    impl Case {
        fn new(series: &Series, targets: usize) -> Self {
            let wishes = Wishes {
                periods: vec![12],
                horizon: Some(4),
                preset: PRESETS[0],
                targets,
                known: 0,
                adapt: Adapt::Off,
                protocol: Protocol::Tail { test_fraction: 0.2 },
            };
            let (config, split) = prepare(series, &wishes).unwrap();
            let form = ClosedForm::fit(config, series, &split, Aim::Median, 1).unwrap();
            let header = form.config.header().unwrap();
            let spread = crate::train::residual_quantiles(&header, &form.features, &form.linear, &split);
            Self { config: form.config, features: form.features, linear: form.linear, split, spread }
        }

        /// Losses before and after an epoch, and the weights that it left.
        fn learn(&self, seed: u64, runs: usize) -> (f32, f32, Vec<f32>) {
            let header = self.config.header().unwrap();
            let units = StepUnits::new(&header, &self.linear.error);
            let shape = Shape::new(self.config.targets.into(), self.config.knots.len(), 400);
            let gains = self.config.head_gains();
            let network = Network::new(header.clone(), &gains, units, shape.length, 1, &Device::Cpu).unwrap();
            network.set("readout.weight", &self.linear.readout).unwrap();
            network.set("head.spread", &self.spread.0).unwrap();
            network.set("head.bias", &self.spread.1).unwrap();
            let step = Step {
                header: &header,
                features: &self.features,
                error: &self.linear.error,
                aim: Aim::Median,
                rows: &self.split.training,
                shape,
                device: &Device::Cpu,
            };
            let held = Rows::of(&step, &self.split.validation, 500).all(&Device::Cpu).unwrap();
            let short = network.for_length(1).unwrap();
            let loss = |tokens| step.loss(&short, &held, tokens).unwrap().to_scalar::<f32>().unwrap();
            let (before, mut left) = (loss(Tokens::Alone), runs);
            let told = |loss: f32| {
                assert!(loss.is_finite());
                left -= 1;
                left > 0
            };
            first_epoch(&step, &self.split.validation, &network, seed, told).unwrap();
            assert_eq!(left, 0);
            // The attention still says nothing: whether it is there makes no difference.
            assert_eq!(loss(Tokens::Alone), loss(Tokens::InSequence));
            (before, loss(Tokens::Alone), network.weights().unwrap())
        }
    }

    #[test]
    fn rows_teach_what_no_line_can_say() {
        let series = Series { columns: vec!["wave".into()], values: series(900).values[..1].to_vec(), ..series(900) };
        let case = Case::new(&series, 1);
        let (before, after, weights) = case.learn(1, 4);
        assert!(after < 0.9 * before, "{before} to {after}");
        assert!(weights == case.learn(1, 4).2, "the same seed gives the same weights");
        assert!(weights != case.learn(2, 4).2);
    }

    #[test]
    fn a_target_without_a_row_that_chooses_stops_nobody() {
        let case = Case::new(&series(900), 2);
        let (before, after, _) = case.learn(1, 4);
        assert!(after < 0.9 * before, "{before} to {after}");
    }

    #[test]
    fn nothing_that_is_worse_is_kept() {
        // Noise alone: there is nothing to learn.
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let values = vec![(0..600).map(|_| rng.random_range(-1.0..1.0_f32)).collect()];
        let case = Case::new(&Series { columns: vec!["noise".into()], interval_ms: 3_600_000, start: None, values }, 1);
        let (before, after, _) = case.learn(1, 3);
        assert!(after <= before && after > 0.97 * before, "{before} to {after}");
    }
}
