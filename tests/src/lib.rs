//! What several tests need: models made without training, and devices that misbehave.

pub mod bus;
pub mod flash;

use flowcast_core::format::{Channel, Header, Numeric};
use flowcast_core::presets::Preset;
use flowcast_core::seasonal::{MEMORIES, Season, Seasons};

/// The firmware's boards with their targets, the default one first. The host's tables say the same (the test `images` holds them to
/// it); they are not at hand here, for `cargo verify` starts without candle.
pub const BOARDS: [(&str, &str); 9] = [
    ("mps2-an386", "thumbv7em-none-eabihf"),
    ("mps2-an385", "thumbv7m-none-eabi"),
    ("mps2-an500", "thumbv7em-none-eabihf"),
    ("mps2-an505", "thumbv8m.main-none-eabihf"),
    ("microbit", "thumbv6m-none-eabi"),
    ("nrf52840dk", "thumbv7em-none-eabihf"),
    ("pico", "thumbv6m-none-eabi"),
    ("pico2", "thumbv8m.main-none-eabihf"),
    ("stm32f411", "thumbv7em-none-eabihf"),
];

/// SplitMix64 (Steele, Lea and Flood 2014): a small generator whose numbers never change under the tests.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [-1, 1).
    pub fn symmetric(&mut self) -> f32 {
        2.0 * self.uniform() - 1.0
    }

    /// One of `0..count`.
    pub const fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }
}

/// A model file with small random weights: it forecasts nonsense, but through every part of the model.
///
/// `period` is the season's length in samples and `horizon` the steps ahead. Channels are named `c0`, `c1`, … with a
/// mean of 20, a deviation of 5 and a valid range of -1000 to 1000; three quantiles.
pub fn random_model(preset: &Preset, channels: usize, period: u32, horizon: usize, seed: u64) -> Vec<u8> {
    random_model_as(Numeric::F32, preset, channels, period, horizon, seed)
}

/// As [`random_model`], in a numeric form.
pub fn random_model_as(
    numeric: Numeric,
    preset: &Preset,
    channels: usize,
    period: u32,
    horizon: usize,
    seed: u64,
) -> Vec<u8> {
    random_model_with(true, numeric, preset, channels, period, horizon, seed)
}

/// As [`random_model_as`], with or without an attention in its blocks.
pub fn random_model_with(
    attention: bool,
    numeric: Numeric,
    preset: &Preset,
    channels: usize,
    period: u32,
    horizon: usize,
    seed: u64,
) -> Vec<u8> {
    /// Most slots of the seasonal memory on every board.
    const SLOTS: u32 = 288;
    let slot_samples = period.div_ceil(SLOTS);
    let mut knots: Vec<u16> = vec![1];
    while let Some(last) = knots.last().copied().filter(|last| usize::from(*last) < horizon) {
        knots.push((last + last.div_ceil(3)).min(horizon as u16));
    }
    let header = Header {
        d_model: preset.d_model as u16,
        heads: preset.heads as u16,
        head_dim: preset.head_dim as u16,
        layers: preset.layers as u16,
        attention,
        d_ff: preset.d_ff as u16,
        numeric,
        channels: channels as u16,
        targets: channels as u16,
        known: 0,
        readouts: channels as u16,
        horizon: horizon as u16,
        knots: knots.len() as u16,
        ring: true,
        mixed: false,
        corrected: true,
        adapted: true,
        seasons: Seasons {
            // A second season, of seven first ones in 28 slots.
            list: [
                Season { period, slot_samples, slots: period.div_ceil(slot_samples) as usize },
                Season {
                    period: 7 * period,
                    slot_samples: period.div_ceil(4),
                    slots: (7 * period).div_ceil(period.div_ceil(4)) as usize,
                },
            ]
            .into_iter()
            .collect(),
            memory_gain: [1.0, 1.0 / 3.0, 1.0 / 10.0, 1.0 / 30.0] as [f32; MEMORIES],
            scale_floor: 0.05,
            retrieval: Some([1.0 / 5.0, 1.0 / 30.0]),
        },
        interval_ms: 600_000,
        source_clamp: if attention { 1.0 } else { 0.0 },
        flow_limit: if attention { 100.0 } else { 0.0 },
        feature_clamp: 12.0,
        quantiles: [0.1, 0.5, 0.9].into_iter().collect(),
        seen_until_ms: 0,
        identity: 0,
    };
    let mut random = Random::new(seed);
    let weights: Vec<f32> = header
        .tensors()
        .flat_map(|tensor| {
            let fan_in = tensor.shape[2] as f32;
            let gain = tensor.name.ends_with("gain");
            (0..tensor.len())
                .map(|_| if gain { 1.0 + 0.1 * random.symmetric() } else { random.symmetric() / fan_in.sqrt() })
                .collect::<Vec<_>>()
        })
        .collect();
    // One memory is infinite, the others differ.
    let gains: Vec<f32> = (0..preset.layers * preset.heads)
        .filter(|_| attention)
        .map(|head| if head == 0 { 0.0 } else { 1.0 / (24.0 * head as f32) })
        .collect();
    let names: Vec<String> = (0..channels).map(|index| format!("c{index}")).collect();
    let channels: Vec<Channel<'_>> = names
        .iter()
        .map(|name| Channel {
            name,
            unit: "°C",
            offset: 20.0,
            scale: 5.0,
            valid_min: -1000.0,
            valid_max: 1000.0,
            stuck_limit: 50,
            spike_limit: 5.0,
            spike_least: 0.125,
            resolution: 0.0,
            lowest: -1000.0,
            highest: 1000.0,
        })
        .collect();
    let mut bytes = vec![0; header.length()];
    header
        .write(&gains, &knots, &channels, &weights, &mut bytes)
        .expect("the header and weights above make a valid model");
    bytes
}
