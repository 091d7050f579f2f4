//! The first epoch of several networks, and one that learns from them all.
//!
//! Networks that start from other weights err in part each in its own way, and their mean errs less (Hansen and Salamon,
//! "Neural network ensembles", 1990); but a board has room for one. So a last network learns the mean of the others' forecasts
//! (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015), beginning where the best of them ended.
//! It sees nothing of what came: what is chance in that, the mean has mostly lost. Where the rows that choose gain less by it
//! than by the others in the mean, nothing was distilled, and the best of them is kept.

use std::cell::Cell;
use std::ops::Range;

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::rows::{Epoch, Forecasts, Learnt};
use super::step::Step;
use crate::model::Network;

/// Which networks learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ensemble {
    /// How many teach the last one; 1 is that one itself.
    pub members: usize,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Ensemble {
    /// One network, that nobody teaches.
    pub fn one(seed: u64) -> Self {
        Self { members: 1, seed }
    }

    /// Networks that learn, one after the other.
    pub fn networks(self) -> usize {
        self.members + usize::from(self.members > 1)
    }

    /// Trains a network's weights but the attention's, from the closed form's on, on the rows of a step, and leaves the best
    /// on `choosing`. `learnt` are members that have learnt before an interruption; the others are added to it as they have.
    ///
    /// After each step, `told` hears the loss and says whether to go on: if not, the best so far is left.
    ///
    /// # Errors
    /// A loss that is not finite, or the device fails.
    pub fn first_epoch(
        self,
        step: &Step<'_>,
        choosing: &Range<usize>,
        network: &Network,
        learnt: &mut Vec<Learnt>,
        mut told: impl FnMut(f32) -> bool,
    ) -> Result<()> {
        let epoch = Epoch::new(step, choosing, network)?;
        let goes_on = Cell::new(true);
        let mut told = |loss: f32| {
            goes_on.set(told(loss));
            goes_on.get()
        };
        let rng = |stream: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(stream as u64);
            rng
        };
        for member in learnt.len()..self.members {
            let mut rng = rng(member);
            network.load(epoch.first())?;
            if member > 0 {
                network.redraw(&mut rng)?;
            }
            let new = epoch.learn(network, &mut rng, None, &mut told)?;
            if !goes_on.get() {
                let best = best(learnt).filter(|best| best.gain > new.gain).unwrap_or(&new);
                return network.load(&best.kept);
            }
            learnt.push(new);
        }
        let Some(best) = best(learnt) else { return network.load(epoch.first()) };
        if self.members == 1 {
            return network.load(&best.kept);
        }
        let mut mean = Forecasts::new();
        for member in learnt.iter() {
            network.load(&member.whole)?;
            let forecasts = epoch.forecasts(network)?;
            mean.resize_with(forecasts.len(), Vec::new);
            for (mean, forecasts) in mean.iter_mut().zip(forecasts) {
                mean.resize(forecasts.len(), 0.0);
                mean.iter_mut().zip(forecasts).for_each(|(mean, one)| *mean += one / learnt.len() as f32);
            }
        }
        network.load(&best.whole)?;
        let last = epoch.learn(network, &mut rng(self.members), Some(&mean), &mut told)?;
        let gain = learnt.iter().map(|member| member.gain).sum::<f32>() / learnt.len() as f32;
        network.load(if last.gain >= gain { &last.kept } else { &best.kept })
    }
}

fn best(learnt: &[Learnt]) -> Option<&Learnt> {
    learnt.iter().max_by(|a, b| a.gain.total_cmp(&b.gain))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand::RngExt;

    use super::super::EPOCH_STEPS;
    use super::*;
    use crate::config::Config;
    use crate::data::Series;
    use crate::features::Features;
    use crate::model::StepUnits;
    use crate::ridge::{Aim, LinearPath};
    use crate::train::batch::Shape;
    use crate::train::closed_form::ClosedForm;
    use crate::train::rows::Rows;
    use crate::train::setup::{Split, Wishes, prepare};
    use crate::train::step::Tokens;

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
            let wishes = Wishes { targets, ..Wishes::example(12, 4) };
            let (config, split) = prepare(series, &wishes).unwrap();
            let form = ClosedForm::fit(config, series, &split, Aim::Median, 1).unwrap();
            let header = form.config.header().unwrap();
            let spread = crate::train::residual_quantiles(&header, &form.features, &form.linear, &split);
            Self { config: form.config, features: form.features, linear: form.linear, split, spread }
        }

        /// Losses before and after an epoch of so many steps, and the weights that it left; `learnt` as
        /// [`Ensemble::first_epoch`] has it.
        fn learn_with(&self, ensemble: Ensemble, learnt: &mut Vec<Learnt>, steps: usize) -> (f32, f32, Vec<f32>) {
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
            let (before, mut left) = (loss(Tokens::Alone), steps);
            let told = |loss: f32| {
                assert!(loss.is_finite());
                left -= 1;
                left > 0
            };
            ensemble.first_epoch(&step, &self.split.validation, &network, learnt, told).unwrap();
            assert_eq!(left, 0);
            // The attention still says nothing: whether it is there makes no difference.
            assert_eq!(loss(Tokens::Alone), loss(Tokens::InSequence));
            (before, loss(Tokens::Alone), network.weights().unwrap())
        }

        fn learn(&self, seed: u64, steps: usize) -> (f32, f32, Vec<f32>) {
            self.learn_with(Ensemble::one(seed), &mut Vec::new(), steps)
        }
    }

    /// The wave alone.
    fn wave() -> Case {
        let Series { columns, values, .. } = series(900);
        Case::new(&Series { columns: columns[..1].to_vec(), values: values[..1].to_vec(), ..series(900) }, 1)
    }

    #[test]
    fn rows_teach_what_no_line_can_say() {
        let case = wave();
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

    #[test]
    fn one_who_learns_from_several_forecasts_better_than_they() {
        let (case, ensemble) = (wave(), Ensemble { members: 3, seed: 1 });
        let mut learnt = Vec::new();
        let (_, taught, weights) = case.learn_with(ensemble, &mut learnt, ensemble.networks() * EPOCH_STEPS);
        assert_eq!(learnt.len(), 3);
        // Others, and none of them is kept as it is.
        assert!(learnt[0].whole != learnt[1].whole && learnt.iter().all(|member| member.kept != weights));
        let alone = |seed: u64| case.learn(seed, EPOCH_STEPS).1;
        let alone = (alone(1) + alone(2) + alone(3)) / 3.0;
        assert!(taught < alone, "{taught} taught, {alone} alone");

        // Gone on with after two of them, it is the same network.
        let mut resumed = learnt[..2].to_vec();
        assert!(weights == case.learn_with(ensemble, &mut resumed, 2 * EPOCH_STEPS).2);
        assert_eq!(learnt, resumed);
    }

    #[test]
    fn targets_with_readouts_of_their_own_are_taught_each_its_own() {
        let mut series = series(900);
        // One goes up and down, and has fewer rows.
        series.values[1] = (0..900).map(|row| series.values[0][row] * if row % 2 == 0 { 1.0 } else { -1.0 }).collect();
        series.values[1][40..300].fill(f32::NAN);
        let (case, ensemble) = (Case::new(&series, 2), Ensemble { members: 2, seed: 1 });
        assert!(case.linear.own_readouts);
        let mut learnt = Vec::new();
        let (_, after, _) = case.learn_with(ensemble, &mut learnt, ensemble.networks() * EPOCH_STEPS);
        let alone = (case.learn(1, EPOCH_STEPS).1 + case.learn(2, EPOCH_STEPS).1) / 2.0;
        assert!(after < 1.01 * alone, "{after} taught, {alone} alone");
    }

    #[test]
    fn the_best_so_far_is_kept_when_time_runs_out() {
        let (case, ensemble) = (wave(), Ensemble { members: 2, seed: 1 });
        let mut learnt = Vec::new();
        let (_, _, early) = case.learn_with(ensemble, &mut learnt, 4);
        assert!(learnt.is_empty() && early == case.learn(1, 4).2, "as if there were no other");
        let (_, _, later) = case.learn_with(ensemble, &mut learnt, EPOCH_STEPS + 1);
        assert!(
            learnt.len() == 1 && later == case.learn(1, EPOCH_STEPS).2,
            "what another had begun to learn is no match"
        );
        let (before, after, _) = case.learn_with(ensemble, &mut learnt, EPOCH_STEPS + 4);
        assert!(learnt.len() == 2 && after < 0.9 * before, "{before} to {after}");
    }
}
