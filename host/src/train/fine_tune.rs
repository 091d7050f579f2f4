//! Fine-tuning for eight bits: a network with its matrices rounded as the file will have them, and with the attention's state
//! in the integers' steps, learns to forecast what the exact one does (a student and its teacher: Hinton et al., arXiv
//! 1503.02531), so that what one weight's rounding costs the others make up for.
//!
//! ```text
//! loss = mean ((q − q*) / e)²      q, q*: quantiles of student and teacher      e: the teacher's error at that step
//! ```
//!
//! What came is not looked at, so the model learns nothing new and forgets nothing. After each epoch the device's own integers
//! forecast the rows that choose, and the file that is nearest to the exact model there is kept.

use anyhow::{Context as _, Result, ensure};
use candle_core::Device;
use flowcast_core::format::Numeric;
use serde::Serialize;

use super::batch::{Shape, batch};
use super::setup::Split;
use super::{EPOCH_STEPS, MOST_GRADIENT, PATIENCE, WARM_UP_STEPS, group};
use crate::config::TrainedModel;
use crate::data::Series;
use crate::features::Features;
use crate::interrupt;
use crate::model::{Network, StepUnits};
use crate::optimizer::{AdamW, Group, gradient_norm, schedule};
use crate::output::Output;
use crate::retrieval::Keys;
use crate::rounding::Exact;

/// Of a first training's rates: weights are near where they belong, and a step of one should not carry it far past the next
/// of 127.
const RATE: f64 = 0.02;
/// The readout's, which training leaves as it is, before it.
const READOUT_RATE: f64 = 1e-3;

/// How a fine-tuning went: by how much integers move the exact model's forecasts, root mean square over that of its error.
#[derive(Debug, Clone, Serialize)]
pub struct FineTuning {
    /// Before it.
    pub before: f64,
    /// The model that is kept.
    pub after: f64,
    /// After every epoch.
    pub history: Vec<f64>,
}

/// Brings `rounded` nearer to `exact` in at most `epochs`; of `series` no row is held out.
///
/// # Errors
/// Rows that do not suffice, an interruption, of which nothing is left.
pub fn fine_tune(
    exact: &TrainedModel,
    rounded: TrainedModel,
    (series, split): (&Series, &Split),
    (epochs, seed): (usize, u64),
    output: &Output,
) -> Result<(TrainedModel, FineTuning)> {
    let config = &exact.config;
    let header = config.header()?;
    let (targets, horizon) = (usize::from(config.targets), usize::from(config.horizon));
    let rows = split.training.clone();
    ensure!(
        rows.len() > horizon && split.validation.len() > horizon,
        "found {} rows to train on and {} to choose with, expected more than the horizon of {horizon}",
        rows.len(),
        split.validation.len()
    );
    interrupt::listen();
    let features = Features::new(config, series, Keys::of(exact)?.as_ref());
    let device = Device::Cpu;
    // The closed form's error is in no file; the spread of what the model misses stands for it.
    let spread = header.tensors().find(|tensor| tensor.name == "head.spread").context("the model has no spread")?;
    let error: Vec<Vec<f32>> =
        exact.weights[spread.start..][..spread.len()].chunks(config.knots.len()).map(<[f32]>::to_vec).collect();
    let fewest = (0..targets).map(|channel| features.readings(channel, rows.end)).min().unwrap_or(0);
    let shape = Shape::new(targets, config.knots.len(), fewest);
    let network = |weights: &[f32]| {
        let units = StepUnits::new(&header, &error);
        Network::with_weights(header.clone(), &config.head_gains(), units, shape.length, weights, &device)
    };
    let (teacher, student) = (network(&exact.weights)?, network(&rounded.weights)?.rounded());

    let judge = Exact::new(exact, series, split.validation.clone())?;
    let before = judge.moved(&rounded, Numeric::I8)?;
    let (mut best, mut after, mut history) = (rounded, before, Vec::with_capacity(epochs));
    let steps = epochs * EPOCH_STEPS;
    let mut optimizer = AdamW::default();
    let bar = output.progress(steps as u64, "fine-tuning");
    let mut stale = 0;
    // Rows have their place already; a decay would move them.
    let group = |name: &str| match name {
        // It is rounded like the others, and most of what eight bits cost is its.
        "readout.weight" => Group { rate: READOUT_RATE, decay: 0.0 },
        name => Group { decay: 0.0, ..group(name) },
    };
    for step in 0..steps {
        interrupt::check()?;
        let batch = batch(&header, &features, &error, &rows, shape, (seed, step), &device)?;
        let said = teacher.forecast(&teacher.hidden(&batch.tokens)?, &batch.positions)?.detach();
        let found = student.forecast(&student.hidden(&batch.tokens)?, &batch.positions)?;
        let loss = (found - said)?.broadcast_mul(&batch.weight.unsqueeze(2)?)?.sqr()?.mean_all()?;
        let gradients = loss.backward()?;
        let norm = gradient_norm(student.vars(), &gradients)?;
        ensure!(norm.is_finite(), "the gradient is {norm} at step {step}, expected a finite number");
        let clip = (MOST_GRADIENT / norm.max(f64::MIN_POSITIVE)).min(1.0);
        optimizer.step(student.vars(), &gradients, clip, RATE * schedule(step, WARM_UP_STEPS, steps), group)?;
        bar.inc(1);
        bar.set_message(format!("moves forecasts by {:.3} %", 100.0 * after));
        if !(step + 1).is_multiple_of(EPOCH_STEPS) {
            continue;
        }
        let tuned = TrainedModel { config: config.clone(), weights: student.weights()? };
        let moved = judge.moved(&tuned, Numeric::I8)?;
        history.push(moved);
        stale += 1;
        if moved < after {
            (best, after, stale) = (tuned, moved, 0);
        }
        if stale == PATIENCE {
            break;
        }
    }
    bar.finish_and_clear();
    Ok((best, FineTuning { before, after, history }))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::protocol::Protocol;
    use crate::train::setup::Wishes;
    use crate::train::{Options, train};

    #[test]
    fn it_mends_a_readout_that_eight_bits_spoil() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let wave = |row: usize| 20.0 + 5.0 * (row as f32 * 0.2618).sin();
        let values = vec![(0..600).map(|row| wave(row) + rng.random_range(-1.0..1.0_f32)).collect()];
        let series = Series { columns: vec!["a".to_owned()], interval_ms: 3_600_000, start: None, values };
        let protocol = Protocol::Tail { test_fraction: 0.2 };
        let wishes = Wishes { protocol, ..Wishes::example(24, 12) };
        let options = Options::closed_form(wishes);
        let output = Output::default();
        let (mut model, _) = train(&series, &options, &output).unwrap();
        let split = Split::new(protocol, &series, 24, 12);
        let series = series.before(split.validation.end);
        let exact = model.clone();
        let tune = |model: &TrainedModel, epochs, seed| {
            fine_tune(&exact, model.clone(), (&series, &split), (epochs, seed), &output).unwrap()
        };
        // A readout of coarse steps.
        let header = model.config.header().unwrap();
        let readout = header.tensors().find(|tensor| tensor.name == "readout.weight").unwrap();
        for row in model.weights[readout.start..][..readout.len()].chunks_mut(readout.inputs()) {
            row.iter_mut().for_each(|weight| *weight = (*weight * 64.0).round() / 64.0);
        }
        let (tuned, told) = tune(&model, 1, 1);
        assert!(told.after < 0.95 * told.before, "{told:?}");
        assert_eq!(told.history.len(), 1);
        assert!(tune(&model, 1, 1).0 == tuned, "the same seed gives the same weights");
        assert!(tune(&model, 0, 1).0 == model);
    }
}
