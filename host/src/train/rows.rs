//! The first epoch: a network without its attention learns from rows one by one.
//!
//! What a row shows depends on the memories before it, which the data alone decide. As long as nothing is received from
//! other tokens (the attention's output starts as 0), rows can be drawn at random from everything that trains: a thousand
//! small steps in the time of a few dozen with whole sequences, and most of what the network adds to the closed form.
//! What is kept is not where the last step led, but the running mean of the weights (Polyak and Juditsky, "Acceleration of
//! stochastic approximation by averaging", 1992), and of the way from the closed form to there the share that the rows
//! that choose speak for (`choice`).

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::EPOCH_STEPS;
use super::batch::{Batch, Origins};
use super::choice::Choice;
use super::step::{Step, Tokens};
use crate::features::{Parts, Readout};
use crate::model::{Network, Weights};
use crate::optimizer::{AdamW, schedule};
use crate::stride::stride;

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
/// Rows that are forecast at once.
const AT_ONCE: usize = 512;
/// What the running mean keeps of itself at each batch, in the end.
const KEPT: f64 = 0.99;

/// Rows of every target, ready to be drawn.
pub(super) struct Rows {
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
    pub fn of(step: &Step<'_>, rows: &Range<usize>, most: usize) -> Self {
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

    /// Rows of the target that has the most.
    fn longest(&self) -> usize {
        self.targets.iter().map(|target| target.origins.len()).max().unwrap_or(0)
    }

    /// These rows of every target, those of one that has fewer again from its first on: a batch has as many of each.
    fn of_each(&self, rows: &Range<usize>) -> Vec<Vec<usize>> {
        let of = |target: &Target| rows.clone().map(|row| row % target.origins.len()).collect();
        self.targets.iter().map(of).collect()
    }

    /// Every row.
    pub fn all(&self, device: &Device) -> Result<Batch> {
        self.batch(&self.of_each(&(0..self.longest())), device)
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

/// What a network learnt in an epoch, in the order of [`Header::tensors`](flowcast_core::format::Header::tensors).
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// What is kept of it gains on the rows that choose, less what may be chance.
    pub gain: f32,
    /// All of it.
    pub whole: Vec<f32>,
    /// What is kept: the share that the rows that choose speak for.
    pub kept: Vec<f32>,
}

/// Forecasts of every row of each target, `[targets][rows][knots][quantiles]`.
pub(crate) type Forecasts = Vec<Vec<f32>>;

/// What a network learns from, and the rows that choose.
pub(crate) struct Epoch<'a> {
    step: &'a Step<'a>,
    rows: Rows,
    choice: Choice<'a>,
}

impl<'a> Epoch<'a> {
    /// On the rows of a step; the network is the closed form still.
    ///
    /// # Errors
    /// The device fails.
    pub fn new(step: &'a Step<'a>, choosing: &Range<usize>, network: &Network) -> Result<Self> {
        let targets = usize::from(step.header.targets);
        let numbers = step.header.token_features() + step.header.readout_features() * usize::from(step.header.knots);
        let rows = Rows::of(step, step.rows, (MOST_NUMBERS / (targets * numbers)).max(1));
        let held = Rows::of(step, choosing, (CHOOSING_ROWS / targets).max(LEAST_ROWS)).all(step.device)?;
        Ok(Self { step, rows, choice: Choice::new(step, held, network)? })
    }

    /// The closed form's weights.
    pub fn first(&self) -> &[f32] {
        self.choice.first()
    }

    /// Trains a network's weights but the attention's, towards what came or, if others teach, what they forecast. Returns
    /// what it learnt until the rows that choose gained most by it; the network is left as it was then, with all of it.
    ///
    /// After each of [`EPOCH_STEPS`] steps, `told` hears the mean loss of its batches and says whether to go on.
    ///
    /// # Errors
    /// A loss that is not finite, or the device fails.
    pub fn learn(
        &self,
        network: &Network,
        rng: &mut ChaCha8Rng,
        taught: Option<&Forecasts>,
        told: &mut impl FnMut(f32) -> bool,
    ) -> Result<Learnt> {
        let Self { step, rows, choice } = self;
        let each = (ROWS / rows.targets.len()).max(LEAST_ROWS);
        let mut optimizer = AdamW::default();
        let mut average = Average::of(network)?;
        let mut best = Learnt { gain: 0.0, whole: network.weights()?, kept: choice.first().to_vec() };
        for run in 0..EPOCH_STEPS {
            let mut losses = 0.0;
            for batch in run * BATCHES..(run + 1) * BATCHES {
                let mut some = |target: &Target| (0..each).map(|_| rng.random_range(0..target.origins.len())).collect();
                let picked: Vec<Vec<usize>> = rows.targets.iter().map(&mut some).collect();
                let drawn = rows.batch(&picked, step.device)?;
                let rate = schedule(batch, WARM_UP_BATCHES, EPOCH_STEPS * BATCHES);
                losses += match taught {
                    None => step.descend(network, &drawn, Tokens::Alone, &mut optimizer, rate)?,
                    Some(taught) => {
                        let taught = self.of_batch(taught, &picked)?;
                        step.descend_towards(network, (&drawn, &taught), &mut optimizer, rate)?
                    }
                };
                average.follow(network)?;
            }
            let moved = network.copy()?;
            network.restore(&average.weights)?;
            let whole = network.weights()?;
            let (gain, kept) = choice.best(network)?;
            if gain as f32 > best.gain {
                best = Learnt { gain: gain as f32, whole, kept };
            }
            network.restore(&moved)?;
            if !told(losses / BATCHES as f32) {
                break;
            }
        }
        network.load(&best.whole)?;
        Ok(best)
    }

    /// Forecasts of every row that teaches.
    ///
    /// # Errors
    /// The device fails.
    pub fn forecasts(&self, network: &Network) -> Result<Forecasts> {
        let targets = &self.rows.targets;
        let mut forecasts: Forecasts = vec![Vec::new(); targets.len()];
        let longest = self.rows.longest();
        let at_once = (AT_ONCE / targets.len()).max(1);
        for from in (0..longest).step_by(at_once) {
            let rows = from..longest.min(from + at_once);
            let batch = self.rows.batch(&self.rows.of_each(&rows), self.step.device)?;
            let quantiles = network.forecast(&network.hidden_alone(&batch.tokens)?, &batch.positions)?;
            let numbers = quantiles.flatten_all()?.to_vec1::<f32>()?;
            let of_target = numbers.chunks_exact(numbers.len() / targets.len());
            for ((forecasts, target), numbers) in forecasts.iter_mut().zip(targets).zip(of_target) {
                let own = rows.len().min(target.origins.len().saturating_sub(rows.start));
                forecasts.extend_from_slice(&numbers[..numbers.len() / rows.len() * own]);
            }
        }
        Ok(forecasts)
    }

    /// Those of the rows of a batch, `[count][knots][quantiles]`.
    fn of_batch(&self, forecasts: &Forecasts, picked: &[Vec<usize>]) -> Result<Tensor> {
        let (knots, quantiles) = (self.rows.knots, self.step.header.quantiles.len());
        let width = knots * quantiles;
        let mut numbers = Vec::new();
        for (forecasts, picked) in forecasts.iter().zip(picked) {
            picked.iter().for_each(|row| numbers.extend_from_slice(&forecasts[row * width..(row + 1) * width]));
        }
        let count = numbers.len() / width;
        Ok(Tensor::from_vec(numbers, (count, knots, quantiles), self.step.device)?)
    }
}
