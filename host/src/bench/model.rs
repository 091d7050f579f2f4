//! A model to count: of a preset's sizes, with random weights.

use anyhow::{Context as _, Result};
use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::Preset;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::config::{ChannelConfig, Config, TrainedModel, knots};
use crate::emulate::machine::Machine;
use crate::file::AlignedBytes;

/// Samples of a day: each hour, or each two where the board's memory is small.
const PERIODS: [u32; 2] = [24, 12];
const DAY_MS: u64 = 86_400_000;

/// One channel, the season of a day, a day's horizon, every part that `train` may choose but for other channels; with `adapted`
/// the board corrects its forecasts.
///
/// # Errors
/// The board holds no such model.
pub fn random(machine: &Machine, preset: &Preset, numeric: Numeric, adapted: bool, seed: u64) -> Result<AlignedBytes> {
    let config = PERIODS.into_iter().map(|period| config(preset, adapted, period)).find(|config| {
        let header = config.header().map(|header| Header { numeric, ..header });
        header.is_ok_and(|header| machine.refuses(&header, preset).is_empty())
    });
    let config = config.with_context(|| format!("{} holds no model of preset {}", machine.name, preset.name))?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Vec::new();
    for tensor in config.header()?.tensors() {
        let (gain, inputs) = (tensor.name.ends_with("gain"), tensor.shape[2] as f32);
        weights.extend((0..tensor.len()).map(|_| match random.random_range(-1.0..1.0_f32) {
            number if gain => 1.0 + 0.1 * number,
            number => number / inputs.sqrt(),
        }));
    }
    TrainedModel { config, weights }.to_flow_as(numeric)
}

fn config(preset: &Preset, adapted: bool, period: u32) -> Config {
    Config {
        preset: preset.name.to_owned(),
        interval_ms: DAY_MS / u64::from(period),
        periods: vec![period],
        horizon: period as u16,
        knots: knots(period as u16),
        quantiles: vec![0.1, 0.5, 0.9],
        own_readouts: false,
        retrieval: true,
        ring: true,
        mixed: false,
        corrected: true,
        adapted,
        targets: 1,
        known: 0,
        seen_until_ms: 0,
        memories: Config::spread_memories(preset, period),
        channels: vec![ChannelConfig {
            name: "random".to_owned(),
            unit: String::new(),
            offset: 20.0,
            scale: 5.0,
            valid_min: -100.0,
            valid_max: 100.0,
            stuck_limit: 0,
            spike_limit: 5.0,
            spike_least: 0.125,
            resolution: 0.0,
            lowest: -100.0,
            highest: 100.0,
        }],
    }
}
