//! Batches: windows of consecutive samples of every channel, at random starts, and positions in them to forecast from.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use flowcast_core::format::Header;
use flowcast_core::seasonal::MAX_FEATURES;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::features::{Features, Parts, Readout, Window};
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

/// Sequences of a batch over all targets, about.
const SEQUENCES: usize = 28;
/// The longest window.
const LONGEST: usize = 512;
/// Positions a window, at most, and numbers forecast a batch, about.
const MOST_POSITIONS: usize = 192;
const FORECASTS: usize = 400_000;

impl Shape {
    /// For some targets and knots, with windows no longer than `samples` allows.
    pub fn new(targets: usize, knots: usize, samples: usize) -> Self {
        let windows = (SEQUENCES / targets).max(1);
        let length = LONGEST.min(samples * 3 / 4).max(1);
        let positions = (FORECASTS / (windows * targets * knots)).clamp(8, MOST_POSITIONS);
        Self { windows, length, positions }
    }
}

/// One batch.
pub struct Batch {
    /// `[targets * windows][length][token_features]`
    pub tokens: Tensor,
    /// Where to forecast from.
    pub positions: Positions,
    /// What came, `[targets * windows * positions][knots]`, 0 where missing.
    pub future: Tensor,
    /// One over the linear path's error, 0 where the future is missing; as `future`.
    pub weight: Tensor,
    /// Futures that are known.
    pub known: f64,
}

/// One sequence of a batch.
#[derive(Default)]
struct Sequence {
    window: Window,
    /// Indices into the window that are forecast from, ascending.
    positions: Vec<usize>,
    /// What the readout sees there.
    readouts: Vec<Readout>,
}

/// Makes the batch of one step; the same seed and step give the same one.
///
/// `error` is the linear path's on validation, `[targets][knots]`.
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
    let targets = usize::from(header.targets);
    let horizon = usize::from(header.horizon);
    let parts = Parts { ring: header.ring, mixed: header.mixed, ..features.every_part() };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(step as u64 + 1);
    let end = rows.end - horizon;
    let starts: Vec<(usize, usize, Vec<usize>)> = (0..targets * shape.windows)
        .map(|sequence| {
            let start = rng.random_range(rows.start..end.saturating_sub(shape.length).max(rows.start + 1));
            // The first samples of a window know too little of the past to learn from.
            let mut positions: Vec<usize> =
                (0..shape.positions).map(|_| rng.random_range(shape.length / 8..shape.length)).collect();
            positions.sort_unstable();
            (sequence / shape.windows, start, positions)
        })
        .collect();
    let sequences: Vec<Sequence> = starts
        .into_par_iter()
        .map(|(channel, mut start, positions)| {
            loop {
                let sequence = Sequence::new(features, channel, start..end, shape.length, &positions, parts);
                if sequence.window.rows.len() == shape.length || start == 0 {
                    return sequence;
                }
                // Missing samples ran into the end: further back there are more.
                start = start.saturating_sub(shape.length);
            }
        })
        .collect();

    let (aligned, knots) = (header.step_features(), features.knots());
    let width = features.width();
    let mut tokens = Vec::with_capacity(sequences.len() * shape.length * header.token_features());
    let count = sequences.len() * shape.positions;
    let (mut hidden, mut reads) = (Vec::with_capacity(count), Vec::with_capacity(count * knots.len() * aligned));
    let (mut standing, mut location) = (Vec::new(), Vec::with_capacity(count));
    let mut scale = Vec::with_capacity(count);
    let (mut future, mut weight) = (Vec::with_capacity(count * knots.len()), Vec::with_capacity(count * knots.len()));
    let mut known = 0_u64;
    for (index, sequence) in sequences.iter().enumerate() {
        let channel = index / shape.windows;
        let window = &sequence.window;
        for (vector, level) in window.features.chunks_exact(width).zip(&window.levels) {
            Network::token(header, vector, level, &mut tokens);
        }
        let samples = features.samples(channel);
        for (position, readout) in sequence.positions.iter().zip(&sequence.readouts) {
            hidden.push((index * shape.length + position) as u32);
            reads.extend_from_slice(&readout.aligned);
            standing.extend_from_slice(&readout.standing);
            location.push(window.levels[*position].location);
            scale.push(window.levels[*position].scale);
            let row = window.rows[*position];
            for (knot, error) in knots.iter().zip(&error[channel]) {
                let sample = samples[row + usize::from(*knot)];
                let missing = sample.is_nan();
                future.push(if missing { 0.0 } else { sample });
                weight.push(if missing { 0.0 } else { 1.0 / error });
                known += u64::from(!missing);
            }
        }
    }
    let seen = standing.len() / count;
    Ok(Batch {
        tokens: Tensor::from_vec(tokens, (sequences.len(), shape.length, header.token_features()), device)?,
        positions: Positions {
            hidden: Tensor::from_vec(hidden, count, device)?,
            aligned: Tensor::from_vec(reads, (count, knots.len(), aligned), device)?,
            standing: Tensor::from_vec(standing, (count, seen), device)?,
            location: Tensor::from_vec(location, (count, 1), device)?,
            scale: Tensor::from_vec(scale, (count, 1), device)?,
        },
        future: Tensor::from_vec(future, (count, knots.len()), device)?,
        weight: Tensor::from_vec(weight, (count, knots.len()), device)?,
        known: known as f64,
    })
}

impl Sequence {
    fn new(
        features: &Features,
        channel: usize,
        rows: Range<usize>,
        length: usize,
        positions: &[usize],
        parts: Parts,
    ) -> Self {
        let mut sequence = Self { positions: positions.to_vec(), ..Self::default() };
        let mut token = [0.0; MAX_FEATURES];
        let mut wanted = positions.iter().peekable();
        features.visit(channel, rows.start, rows.end, |after| {
            let window = &mut sequence.window;
            let index = window.rows.len();
            window.levels.push(after.state.features(features.seasons(), after.clocks, &mut token));
            window.features.extend_from_slice(&token[..features.width()]);
            window.rows.push(after.row);
            // A position may be drawn more than once.
            while wanted.next_if(|position| **position == index).is_some() {
                sequence.readouts.push(features.readout(channel, after, parts));
            }
            index + 1 < length
        });
        sequence
    }
}
