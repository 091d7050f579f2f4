//! Fine-tuning for eight bits: training goes on with matrices rounded as the file will have them and with the attention's
//! state in the integers' steps, so that what one weight's rounding costs the others learn to make up for.
//!
//! Each epoch is validated by the device's own integers, and the best is kept, so that no model becomes worse on the rows
//! that choose.

use anyhow::{Context as _, Result, ensure};
use candle_core::Device;
use flowcast_core::format::Numeric;
use serde::Serialize;

use super::batch::Shape;
use super::setup::Split;
use super::step::Step;
use super::validation::{Validation, validate};
use super::{EPOCH_STEPS, PATIENCE, burnt_in};
use crate::config::TrainedModel;
use crate::data::Series;
use crate::features::Features;
use crate::interrupt;
use crate::model::{Network, StepUnits};
use crate::optimizer::AdamW;
use crate::output::Output;
use crate::retrieval::Keys;

/// Of a first training's rates: weights are near where they belong, and a step should not carry them far past the next
/// of 127.
const RATE: f64 = 0.1;

/// How a fine-tuning went: the model in integers, on the rows that choose.
#[derive(Debug, Clone, Serialize)]
pub struct FineTuning {
    /// Before it.
    pub before: Validation,
    /// The model that is kept.
    pub after: Validation,
    /// Every epoch.
    pub history: Vec<Validation>,
}

/// Trains a model on for at most `epochs`; of `series` no row is held out.
///
/// # Errors
/// Rows that do not suffice, a device that fails, an interruption, of which nothing is left.
pub fn fine_tune(
    model: TrainedModel,
    (series, split): (&Series, &Split),
    (epochs, seed): (usize, u64),
    output: &Output,
) -> Result<(TrainedModel, FineTuning)> {
    let config = model.config.clone();
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
    let features = Features::new(&config, series, Keys::of(&model)?.as_ref());
    let device = Device::Cpu;
    // The spread of what the model misses stands for the closed form's error, which is in no file.
    let spread = header.tensors().find(|tensor| tensor.name == "head.spread").context("the model has no spread")?;
    let error: Vec<Vec<f32>> =
        model.weights[spread.start..][..spread.len()].chunks(config.knots.len()).map(<[f32]>::to_vec).collect();
    let readings = |channel| features.samples(channel)[..rows.end].iter().filter(|sample| !sample.is_nan()).count();
    let fewest = (0..targets).map(readings).min().unwrap_or(0);
    let shape = Shape::new(targets, config.knots.len(), fewest);
    let units = StepUnits::new(&header, &error);
    let (gains, weights) = (config.head_gains(), &model.weights);
    let network = Network::with_weights(header.clone(), &gains, units, shape.length, weights, &device)?.rounded();

    let from = burnt_in(split, &config);
    let judged = |model: &TrainedModel| -> Result<Validation> {
        Ok(validate((model, Numeric::I8), &features, &error, series, from, &split.validation)?.0)
    };
    let before = judged(&model)?;
    let (mut best, mut after, mut history) = (model, before, Vec::with_capacity(epochs));
    let steps = epochs * EPOCH_STEPS;
    let step =
        Step { header: &header, features: &features, error: &error, rows: &rows, shape, device: &device, rate: RATE };
    let mut optimizer = AdamW::default();
    let bar = output.progress(steps as u64, "fine-tuning");
    let mut stale = 0;
    for taken in 0..steps {
        interrupt::check()?;
        let loss = step.take(&network, &mut optimizer, (seed, taken), steps)?;
        bar.inc(1);
        bar.set_message(format!("loss {loss:.4}, validation {:.4}", after.loss));
        if !(taken + 1).is_multiple_of(EPOCH_STEPS) {
            continue;
        }
        let tuned = TrainedModel { config: config.clone(), weights: network.weights()? };
        let validation = judged(&tuned)?;
        history.push(validation);
        stale += 1;
        if validation.loss < after.loss {
            (best, after, stale) = (tuned, validation, 0);
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
    use flowcast_core::presets::PRESETS;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::device::DeviceChoice;
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
        let wishes = Wishes {
            periods: vec![24],
            horizon: Some(12),
            preset: PRESETS[0],
            targets: 1,
            known: 0,
            adapted: false,
            protocol,
        };
        let options = Options { wishes, epochs: 0, most: None, seed: 1, device: DeviceChoice::Cpu, checkpoint: None };
        let output = Output::default();
        let (mut model, _) = train(&series, &options, &output).unwrap();
        let split = Split::new(protocol, &series, 24, 12);
        let series = series.before(split.validation.end);
        let tune = |model: &TrainedModel, epochs, seed| {
            fine_tune(model.clone(), (&series, &split), (epochs, seed), &output).unwrap()
        };
        let sound = tune(&model, 0, 1).1.before;
        // A readout as one of four bits would be.
        let header = model.config.header().unwrap();
        let readout = header.tensors().find(|tensor| tensor.name == "readout.weight").unwrap();
        for row in model.weights[readout.start..][..readout.len()].chunks_mut(readout.inputs()) {
            row.iter_mut().for_each(|weight| *weight = (*weight * 8.0).round() / 8.0);
        }
        let (tuned, told) = tune(&model, 1, 1);
        assert!(told.before.loss > 1.01 * sound.loss, "{:?} and {sound:?}", told.before);
        assert!(told.after.loss < 0.995 * told.before.loss, "{told:?}");
        assert_eq!(told.history.len(), 1);
        assert!(tune(&model, 1, 1).0 == tuned, "the same seed gives the same weights");
        assert!(tune(&model, 0, 1).0 == model);
    }
}
