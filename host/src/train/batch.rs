//! Batches: windows of consecutive samples of every channel, at random starts, and positions in them to forecast from.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use flowcast_core::format::Header;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::features::{Features, Parts, Readout};
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

/// What the readout sees where forecasts are made. Row-major, one row an origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// `[origins][knots][aligned]`
    aligned: Vec<f32>,
    /// `[origins][standing]`
    standing: Vec<f32>,
    /// `[origins]`
    location: Vec<f32>,
    scale: Vec<f32>,
}

impl Seen {
    /// Of how many origins.
    pub fn len(&self) -> usize {
        self.location.len()
    }

    /// Adds one.
    pub fn push(&mut self, readout: &Readout) {
        self.aligned.extend_from_slice(&readout.aligned);
        self.standing.extend_from_slice(&readout.standing);
        self.location.push(readout.level.map_or(0.0, |level| level.location));
        self.scale.push(readout.level.map_or(1.0, |level| level.scale));
    }

    /// Adds one of another's.
    pub fn push_from(&mut self, other: &Self, origin: usize) {
        self.aligned.extend_from_slice(row(&other.aligned, other.len(), origin));
        self.standing.extend_from_slice(row(&other.standing, other.len(), origin));
        self.location.push(other.location[origin]);
        self.scale.push(other.scale[origin]);
    }

    /// Positions of them all, each with the index of its hidden state.
    pub fn into_positions(self, hidden: Vec<u32>, knots: usize, device: &Device) -> Result<Positions> {
        let count = self.len();
        let (aligned, standing) = (self.aligned.len() / (count * knots), self.standing.len() / count);
        Ok(Positions {
            hidden: Tensor::from_vec(hidden, count, device)?,
            aligned: Tensor::from_vec(self.aligned, (count, knots, aligned), device)?,
            standing: Tensor::from_vec(self.standing, (count, standing), device)?,
            location: Tensor::from_vec(self.location, (count, 1), device)?,
            scale: Tensor::from_vec(self.scale, (count, 1), device)?,
        })
    }
}

/// One of so many rows.
fn row(values: &[f32], rows: usize, index: usize) -> &[f32] {
    let width = values.len() / rows;
    &values[width * index..][..width]
}

/// Where forecasts are made: what is seen there, and what came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    seen: Seen,
    /// `[origins][knots]`; see [`Batch`].
    future: Vec<f32>,
    weight: Vec<f32>,
}

impl Origins {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Adds one, of which `came` is the sample at each knot, NaN where missing, and `error` the linear path's.
    pub fn push(&mut self, readout: &Readout, came: impl Iterator<Item = f32>, error: &[f32]) {
        self.seen.push(readout);
        for (sample, error) in came.zip(error) {
            let missing = sample.is_nan();
            self.future.push(if missing { 0.0 } else { sample });
            self.weight.push(if missing { 0.0 } else { 1.0 / error });
        }
    }

    /// Adds one of another's.
    pub fn push_from(&mut self, other: &Self, origin: usize) {
        self.seen.push_from(&other.seen, origin);
        self.future.extend_from_slice(row(&other.future, other.len(), origin));
        self.weight.extend_from_slice(row(&other.weight, other.len(), origin));
    }

    /// A batch of them all, each with the index of its hidden state among those of `tokens`.
    pub fn into_batch(self, tokens: Tensor, hidden: Vec<u32>, knots: usize, device: &Device) -> Result<Batch> {
        let count = self.len();
        let mut known = vec![0; knots];
        for weights in self.weight.chunks_exact(knots) {
            known.iter_mut().zip(weights).for_each(|(known, weight)| *known += u64::from(*weight > 0.0));
        }
        Ok(Batch {
            tokens,
            positions: self.seen.into_positions(hidden, knots, device)?,
            future: Tensor::from_vec(self.future, (count, knots), device)?,
            weight: Tensor::from_vec(self.weight, (count, knots), device)?,
            known,
        })
    }
}

/// One sequence of a batch.
#[derive(Default)]
struct Sequence {
    /// How many tokens.
    length: usize,
    /// `[length][token_features]`
    tokens: Vec<f32>,
    /// At each position that is forecast from.
    origins: Origins,
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
    let knots = features.knots();
    // From a row on; of positions, ascending indices into it, those that it reaches.
    let sequence = |channel: usize, start: usize, positions: &[usize]| {
        let samples = features.samples(channel);
        let (mut sequence, mut wanted) = (Sequence::default(), positions.iter().peekable());
        features.visit(channel, start, end, |after| {
            let (vector, level) = features.token(after);
            Network::token(header, &vector, &level, &mut sequence.tokens);
            // A position may be drawn more than once.
            while wanted.next_if(|position| **position == sequence.length).is_some() {
                let came = knots.iter().map(|knot| samples[after.row + usize::from(*knot)]);
                sequence.origins.push(&features.readout(channel, after, parts), came, &error[channel]);
            }
            sequence.length += 1;
            sequence.length < shape.length
        });
        sequence
    };
    let sequences: Vec<(Sequence, Vec<usize>)> = starts
        .into_par_iter()
        .map(|(channel, mut start, positions)| {
            loop {
                let sequence = sequence(channel, start, &positions);
                if sequence.length == shape.length || start == 0 {
                    return (sequence, positions);
                }
                // Missing samples ran into the end: further back there are more.
                start = start.saturating_sub(shape.length);
            }
        })
        .collect();

    let mut tokens = Vec::with_capacity(sequences.len() * shape.length * header.token_features());
    let (mut origins, mut hidden) = (Origins::default(), Vec::with_capacity(sequences.len() * shape.positions));
    for (index, (sequence, positions)) in sequences.iter().enumerate() {
        tokens.extend_from_slice(&sequence.tokens);
        hidden.extend(positions.iter().map(|position| (index * shape.length + position) as u32));
        (0..sequence.origins.len()).for_each(|origin| origins.push_from(&sequence.origins, origin));
    }
    let tokens = Tensor::from_vec(tokens, (sequences.len(), shape.length, header.token_features()), device)?;
    origins.into_batch(tokens, hidden, knots.len(), device)
}
