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
    /// Futures that are known, of each knot.
    pub known: Vec<u64>,
}

/// Where forecasts are made: what the readout sees there, and what came. Row-major, one row an origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    /// `[origins][knots][aligned]`
    aligned: Vec<f32>,
    /// `[origins][standing]`
    standing: Vec<f32>,
    /// `[origins]`
    location: Vec<f32>,
    scale: Vec<f32>,
    /// `[origins][knots]`; see [`Batch`].
    future: Vec<f32>,
    weight: Vec<f32>,
}

impl Origins {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.location.len()
    }

    /// Adds one, of which `came` is the sample at each knot, NaN where missing, and `error` the linear path's.
    pub fn push(&mut self, readout: &Readout, came: impl Iterator<Item = f32>, error: &[f32]) {
        self.aligned.extend_from_slice(&readout.aligned);
        self.standing.extend_from_slice(&readout.standing);
        self.location.push(readout.level.map_or(0.0, |level| level.location));
        self.scale.push(readout.level.map_or(1.0, |level| level.scale));
        for (sample, error) in came.zip(error) {
            let missing = sample.is_nan();
            self.future.push(if missing { 0.0 } else { sample });
            self.weight.push(if missing { 0.0 } else { 1.0 / error });
        }
    }

    /// Adds one of another's.
    pub fn push_from(&mut self, other: &Self, origin: usize) {
        let count = other.len();
        let row = |values: &[f32]| values.len() / count * origin..values.len() / count * (origin + 1);
        self.aligned.extend_from_slice(&other.aligned[row(&other.aligned)]);
        self.standing.extend_from_slice(&other.standing[row(&other.standing)]);
        self.location.push(other.location[origin]);
        self.scale.push(other.scale[origin]);
        self.future.extend_from_slice(&other.future[row(&other.future)]);
        self.weight.extend_from_slice(&other.weight[row(&other.weight)]);
    }

    /// A batch of them all, each with the index of its hidden state among those of `tokens`.
    pub fn into_batch(self, tokens: Tensor, hidden: Vec<u32>, knots: usize, device: &Device) -> Result<Batch> {
        let count = self.len();
        let aligned = self.aligned.len() / (count * knots);
        let standing = self.standing.len() / count;
        let mut known = vec![0; knots];
        for weights in self.weight.chunks_exact(knots) {
            known.iter_mut().zip(weights).for_each(|(known, weight)| *known += u64::from(*weight > 0.0));
        }
        Ok(Batch {
            tokens,
            positions: Positions {
                hidden: Tensor::from_vec(hidden, count, device)?,
                aligned: Tensor::from_vec(self.aligned, (count, knots, aligned), device)?,
                standing: Tensor::from_vec(self.standing, (count, standing), device)?,
                location: Tensor::from_vec(self.location, (count, 1), device)?,
                scale: Tensor::from_vec(self.scale, (count, 1), device)?,
            },
            future: Tensor::from_vec(self.future, (count, knots), device)?,
            weight: Tensor::from_vec(self.weight, (count, knots), device)?,
            known,
        })
    }
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

    let (width, knots) = (features.width(), features.knots());
    let mut tokens = Vec::with_capacity(sequences.len() * shape.length * header.token_features());
    let (mut origins, mut hidden) = (Origins::default(), Vec::with_capacity(sequences.len() * shape.positions));
    for (index, sequence) in sequences.iter().enumerate() {
        let channel = index / shape.windows;
        let window = &sequence.window;
        for (vector, level) in window.features.chunks_exact(width).zip(&window.levels) {
            Network::token(header, vector, level, &mut tokens);
        }
        let samples = features.samples(channel);
        for (position, readout) in sequence.positions.iter().zip(&sequence.readouts) {
            hidden.push((index * shape.length + position) as u32);
            let row = window.rows[*position];
            origins.push(readout, knots.iter().map(|knot| samples[row + usize::from(*knot)]), &error[channel]);
        }
    }
    let tokens = Tensor::from_vec(tokens, (sequences.len(), shape.length, header.token_features()), device)?;
    origins.into_batch(tokens, hidden, knots.len(), device)
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
