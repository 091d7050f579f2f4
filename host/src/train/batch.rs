//! Batches: windows of consecutive samples of every channel, at random starts, and positions in them to forecast from.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use flowcast_core::format::Header;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::features::{Features, Window};
use crate::model::{Network, Positions};

/// Sizes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Windows of each channel.
    pub windows: usize,
    /// Samples of a window.
    pub length: usize,
    /// Positions of each window that are forecast from.
    pub positions: usize,
}

/// Sequences of a batch over all channels, about.
const SEQUENCES: usize = 28;
/// The longest window.
const LONGEST: usize = 512;
/// Positions a window, at most, and numbers forecast a batch, about.
const MOST_POSITIONS: usize = 192;
const FORECASTS: usize = 800_000;

impl Shape {
    /// For some channels and a horizon, with windows no longer than `samples` allows.
    pub fn new(channels: usize, horizon: usize, samples: usize) -> Self {
        let windows = (SEQUENCES / channels).max(1);
        let length = LONGEST.min(samples * 3 / 4).max(1);
        let positions = (FORECASTS / (windows * channels * horizon)).clamp(8, MOST_POSITIONS);
        Self { windows, length, positions }
    }
}

/// One batch.
pub struct Batch {
    /// `[channels * windows][length][token_features]`
    pub tokens: Tensor,
    /// Where to forecast from.
    pub positions: Positions,
    /// What came, `[channels * windows * positions][horizon]`, 0 where missing.
    pub future: Tensor,
    /// One over the linear path's error, 0 where the future is missing; as `future`.
    pub weight: Tensor,
    /// Futures that are known.
    pub known: f64,
}

/// Makes the batch of one step; the same seed and step give the same one.
///
/// `error` is the linear path's on validation, `[channels][horizon]`.
///
/// # Errors
/// The device is out of memory.
pub fn batch(
    header: &Header,
    features: &Features,
    error: &[Vec<f32>],
    rows: &Range<usize>,
    shape: Shape,
    (seed, step): (u64, usize),
    device: &Device,
) -> Result<Batch> {
    let channels = usize::from(header.channels);
    let horizon = usize::from(header.horizon);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(step as u64 + 1);
    let end = rows.end - horizon;
    let starts: Vec<(usize, usize)> = (0..channels * shape.windows)
        .map(|sequence| {
            (
                sequence / shape.windows,
                rng.random_range(rows.start..end.saturating_sub(shape.length).max(rows.start + 1)),
            )
        })
        .collect();
    let windows: Vec<Window> = starts
        .into_par_iter()
        .map(|(channel, mut start)| {
            loop {
                let window = features.window(channel, start, end, shape.length);
                if window.rows.len() == shape.length || start == 0 {
                    return window;
                }
                // Missing samples ran into the end: further back there are more.
                start = start.saturating_sub(shape.length);
            }
        })
        .collect();

    let width = features.width();
    let mut tokens = Vec::with_capacity(windows.len() * shape.length * header.token_features());
    let count = windows.len() * shape.positions;
    let (mut hidden, mut inputs) = (Vec::with_capacity(count), Vec::with_capacity(count * width));
    let (mut location, mut scale) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut future, mut weight) = (Vec::with_capacity(count * horizon), Vec::with_capacity(count * horizon));
    let mut known = 0_u64;
    for (sequence, window) in windows.iter().enumerate() {
        let channel = sequence / shape.windows;
        for (vector, level) in window.features.chunks_exact(width).zip(&window.levels) {
            Network::token(header, vector, level, &mut tokens);
        }
        let samples = features.samples(channel);
        for _ in 0..shape.positions {
            // The first samples of a window know too little of the past to learn from.
            let position = rng.random_range(shape.length / 8..shape.length);
            hidden.push((sequence * shape.length + position) as u32);
            inputs.extend_from_slice(&window.features[position * width..(position + 1) * width]);
            location.push(window.levels[position].location);
            scale.push(window.levels[position].scale);
            let row = window.rows[position];
            for (sample, error) in samples[row + 1..=row + horizon].iter().zip(&error[channel]) {
                let missing = sample.is_nan();
                future.push(if missing { 0.0 } else { *sample });
                weight.push(if missing { 0.0 } else { 1.0 / error });
                known += u64::from(!missing);
            }
        }
    }
    Ok(Batch {
        tokens: Tensor::from_vec(tokens, (windows.len(), shape.length, header.token_features()), device)?,
        positions: Positions {
            hidden: Tensor::from_vec(hidden, count, device)?,
            features: Tensor::from_vec(inputs, (count, width), device)?,
            location: Tensor::from_vec(location, (count, 1), device)?,
            scale: Tensor::from_vec(scale, (count, 1), device)?,
        },
        future: Tensor::from_vec(future, (count, horizon), device)?,
        weight: Tensor::from_vec(weight, (count, horizon), device)?,
        known: known as f64,
    })
}
