//! The linear path in closed form: a reduced-rank ridge regression of the future on the features.
//!
//! For channel c with feature vectors u and futures y (both relative to the location), from their second moments
//! G_c = E[u uᵀ], C_c = E[u yᵀ]:
//!
//! ```text
//! shared       B   = (G + λ)⁻¹ C                       G, C the means over channels
//! own          B_c = (G_c + μ)⁻¹ (C_c + μ B)           μ = ∞: the shared one
//! reduced      V   = top eigenvectors of Σ_c S_c S_cᵀ,  S_c = (G + λ)^½ B_c / σ_c
//!              L1  = Vᵀ (G + λ)^-½                      L2_c = B_cᵀ (G + λ)^½ V
//! ```
//!
//! σ_c, the error of each step on validation, makes a step of an hour count as much as one of a day. λ and μ are chosen
//! for each step by its error on validation: the next sample wants every fine difference between the last ones, a day
//! ahead wants few coarse features, and one λ for both costs the next sample a sixth of its accuracy.

use anyhow::{Context, Result};
use nalgebra::{Cholesky, DMatrix, DVector, SymmetricEigen};

use crate::features::Features;

/// λ and μ to choose from, relative to the mean square of the features.
const STRENGTHS: [f64; 8] = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// Rows that the moments of one part are taken over, at most, all channels together.
const MOST_ROWS: usize = 60_000;
/// A row whose future lacks more than this share of its samples is left out.
const MOST_MISSING: f64 = 0.25;
/// Readouts of their own must take this share off the error of one for all.
const LEAST_GAIN: f64 = 0.002;
const BLOCK: usize = 512;
/// The least squared error of a step, in squared deviations, and as a share of that on the training rows.
const LEAST_ERROR: f64 = 1e-6;
const LEAST_OF_TRAINING: f64 = 0.1;
/// The largest weight of L1. Directions in which few rows leave the features no variance would have weights beyond the
/// model file's range; a smaller row of L1 and a larger column of L2 are the same linear path.
const MOST_REDUCE: f64 = 100.0;

/// Second moments of one channel over some rows.
#[derive(Clone)]
struct Moments {
    /// E[u uᵀ], `[features][features]`.
    features: DMatrix<f64>,
    /// E[u yᵀ], `[features][horizon]`.
    cross: DMatrix<f64>,
    /// E[y²], `[horizon]`.
    future: Vec<f64>,
}

/// The linear path.
#[derive(Debug, Clone)]
pub struct LinearPath {
    /// L1, `[rank][features]`.
    pub reduce: Vec<f32>,
    /// L2, `[readouts][horizon][rank]`.
    pub readout: Vec<f32>,
    /// Whether `readout` holds one for each channel.
    pub own_readouts: bool,
    /// Root mean squared error on validation, in deviations: `[channels][horizon]`.
    pub error: Vec<Vec<f32>>,
}

/// Samples with the missing ones filled from the period before, or the last one.
fn filled(samples: &[f32], period: usize) -> Vec<f32> {
    let mut filled: Vec<f32> = Vec::with_capacity(samples.len());
    for (row, sample) in samples.iter().enumerate() {
        let before = row.checked_sub(period).map(|row| filled[row]).or(filled.last().copied()).unwrap_or(0.0);
        filled.push(if sample.is_nan() { before } else { *sample });
    }
    filled
}

fn moments(
    features: &Features,
    channel: usize,
    period: usize,
    horizon: usize,
    rows: std::ops::Range<usize>,
    most: usize,
) -> Option<Moments> {
    let width = features.width();
    let samples = features.samples(channel);
    let future = filled(samples, period);
    let mut missing_before = vec![0_usize];
    for sample in samples {
        missing_before.push(missing_before[missing_before.len() - 1] + usize::from(sample.is_nan()));
    }
    let stride = rows.len().div_ceil(most.max(1)).max(1);
    let mut sums = Moments {
        features: DMatrix::zeros(width, width),
        cross: DMatrix::zeros(width, horizon),
        future: vec![0.0; horizon],
    };
    let mut count = 0;
    let mut u = Vec::new();
    let mut y = Vec::new();
    let mut flush = |u: &mut Vec<f64>, y: &mut Vec<f64>| {
        let rows = u.len() / width;
        let u_block = DMatrix::from_column_slice(width, rows, u);
        let y_block = DMatrix::from_column_slice(horizon, rows, y);
        sums.features.gemm(1.0, &u_block, &u_block.transpose(), 1.0);
        sums.cross.gemm(1.0, &u_block, &y_block.transpose(), 1.0);
        for (sum, row) in sums.future.iter_mut().zip(y_block.row_iter()) {
            *sum += row.norm_squared();
        }
        count += rows;
        u.clear();
        y.clear();
    };
    let end = rows.end.min(samples.len().saturating_sub(horizon));
    let mut start = rows.start;
    while start < end {
        let window = features.window(channel, start, end, BLOCK * stride);
        let Some(last) = window.rows.last() else { break };
        start = last + 1;
        for (index, row) in window.rows.iter().enumerate().filter(|(_, row)| *row % stride == 0) {
            let missing = missing_before[row + 1 + horizon] - missing_before[row + 1];
            if missing as f64 > MOST_MISSING * horizon as f64 {
                continue;
            }
            u.extend(window.features[index * width..(index + 1) * width].iter().map(|x| f64::from(*x)));
            let location = f64::from(window.levels[index].location);
            y.extend(future[row + 1..=row + horizon].iter().map(|x| f64::from(*x) - location));
        }
        flush(&mut u, &mut y);
    }
    (count > 0).then(|| {
        let scale = 1.0 / count as f64;
        sums.features *= scale;
        sums.cross *= scale;
        sums.future.iter_mut().for_each(|sum| *sum *= scale);
        sums
    })
}

/// (G + λ)⁻¹ C.
fn solve(features: &DMatrix<f64>, lambda: f64, cross: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let mut regular = features.clone();
    for i in 0..regular.nrows() {
        regular[(i, i)] += lambda;
    }
    Cholesky::new(regular).map(|factor| factor.solve(cross))
}

/// E[(y − Bᵀ u)²] of each step.
fn errors(moments: &Moments, b: &DMatrix<f64>) -> Vec<f64> {
    let gb = &moments.features * b;
    (0..b.ncols())
        .map(|j| {
            let explained = 2.0 * b.column(j).dot(&moments.cross.column(j)) - b.column(j).dot(&gb.column(j));
            (moments.future[j] - explained).max(1e-12)
        })
        .collect()
}

/// The best candidate so far, step by step.
#[derive(Default)]
struct Choice {
    /// Of the first candidate, `[channels][horizon]`.
    scale: Vec<Vec<f64>>,
    /// Σ over channels of error over scale, `[horizon]`.
    ratio: Vec<f64>,
    /// `[channels]`, each `[features][horizon]`.
    best: Option<Vec<DMatrix<f64>>>,
}

impl Choice {
    fn offer(&mut self, candidate: Vec<DMatrix<f64>>, held: &[Moments]) {
        let found: Vec<_> = held.iter().zip(&candidate).map(|(held, b)| errors(held, b)).collect();
        let Some(best) = &mut self.best else {
            self.ratio = vec![found.len() as f64; found[0].len()];
            self.scale = found;
            self.best = Some(candidate);
            return;
        };
        for step in 0..self.ratio.len() {
            let ratio = found.iter().zip(&self.scale).map(|(found, scale)| found[step] / scale[step]).sum();
            if ratio < self.ratio[step] {
                self.ratio[step] = ratio;
                for (best, candidate) in best.iter_mut().zip(&candidate) {
                    best.set_column(step, &candidate.column(step));
                }
            }
        }
    }

    fn total(&self) -> f64 {
        self.ratio.iter().sum()
    }
}

/// Fits the linear path on `training` rows, choosing on `validation` rows.
///
/// # Errors
/// A channel has no row whose future is known.
pub fn fit(
    features: &Features,
    channels: usize,
    period: usize,
    horizon: usize,
    rank: usize,
    training: std::ops::Range<usize>,
    validation: std::ops::Range<usize>,
) -> Result<LinearPath> {
    let most = MOST_ROWS / channels;
    let part = |rows: std::ops::Range<usize>| -> Vec<Option<Moments>> {
        use rayon::prelude::*;
        (0..channels)
            .into_par_iter()
            .map(|channel| moments(features, channel, period, horizon, rows.clone(), most))
            .collect()
    };
    let train: Vec<Moments> =
        part(training).into_iter().collect::<Option<_>>().context("a channel has too few samples to train on")?;
    // A channel that is dead in the validation part chooses nothing.
    let held: Vec<Moments> =
        part(validation).into_iter().zip(&train).map(|(held, train)| held.unwrap_or(train.clone())).collect();

    let mean = |part: fn(&Moments) -> &DMatrix<f64>| {
        let mut sum = DMatrix::zeros(part(&train[0]).nrows(), part(&train[0]).ncols());
        for moments in &train {
            sum += part(moments);
        }
        sum / channels as f64
    };
    let (g, c) = (mean(|m| &m.features), mean(|m| &m.cross));
    let power = g.trace() / g.nrows() as f64;

    // A step's candidates compare by the sum over channels of the error over the first candidate's.
    let mut shared = Choice::default();
    for strength in STRENGTHS {
        if let Some(b) = solve(&g, strength * power, &c) {
            shared.offer(vec![b; channels], &held);
        }
    }
    let shared = shared.best.context("the features' second moments have no inverse: is every channel constant?")?;
    let mut chosen = Choice::default();
    chosen.offer(shared.clone(), &held);
    let one_for_all = chosen.total();
    // One channel's own readout is the shared one.
    for strength in STRENGTHS.iter().filter(|_| channels > 1) {
        let pull = strength * power;
        let own =
            train.iter().zip(&shared).map(|(own, shared)| solve(&own.features, pull, &(&own.cross + pull * shared)));
        if let Some(own) = own.collect() {
            chosen.offer(own, &held);
        }
    }
    let own_readouts = chosen.total() < (1.0 - LEAST_GAIN) * one_for_all;
    let own = if own_readouts { chosen.best.unwrap_or(shared) } else { shared };
    // A channel that stood still in the validation rows is not that easy: it counts by its training rows too.
    let of_channel = |((held, train), b): ((&Moments, &Moments), &DMatrix<f64>)| -> Vec<f64> {
        let floors = errors(train, b).into_iter().map(|error| (LEAST_OF_TRAINING * error).max(LEAST_ERROR));
        errors(held, b).into_iter().zip(floors).map(|(error, floor)| error.max(floor)).collect()
    };
    let error: Vec<Vec<f64>> = held.iter().zip(&train).zip(&own).map(of_channel).collect();

    let regular = &g + DMatrix::identity(g.nrows(), g.ncols()) * (STRENGTHS[0] * power);
    let eigen = SymmetricEigen::new(regular);
    let root = |power: f64| {
        let scaled = eigen.eigenvalues.map(|value| value.max(1e-12).powf(power));
        &eigen.eigenvectors * DMatrix::from_diagonal(&scaled) * eigen.eigenvectors.transpose()
    };
    let (half, inverse_half) = (root(0.5), root(-0.5));
    let mut gathered = DMatrix::zeros(g.nrows(), g.nrows());
    for (b, error) in own.iter().zip(&error) {
        let mut s = &half * b;
        for (mut column, error) in s.column_iter_mut().zip(error) {
            column /= error.sqrt();
        }
        gathered.gemm(1.0, &s, &s.transpose(), 1.0);
    }
    let directions = SymmetricEigen::new(gathered);
    let mut order: Vec<usize> = (0..directions.eigenvalues.len()).collect();
    order.sort_by(|a, b| directions.eigenvalues[*b].total_cmp(&directions.eigenvalues[*a]).then(a.cmp(b)));
    let v = directions.eigenvectors.select_columns(order.iter().take(rank));

    // nalgebra is column-major: the transpose's columns are the rows wanted.
    let rows_of = |matrix: &DMatrix<f64>| matrix.transpose().iter().map(|x| *x as f32).collect::<Vec<_>>();
    let mut reduce = v.transpose() * &inverse_half;
    let excess = DVector::from_iterator(v.ncols(), reduce.row_iter().map(|row| (row.amax() / MOST_REDUCE).max(1.0)));
    for (mut row, excess) in reduce.row_iter_mut().zip(&excess) {
        row /= *excess;
    }
    let reduce = rows_of(&reduce);
    let used = if own_readouts { &own[..] } else { &own[..1] };
    let expand = &half * &v * DMatrix::from_diagonal(&excess);
    let readout = used.iter().flat_map(|b| rows_of(&(b.transpose() * &expand))).collect();
    let error = error.iter().map(|steps| steps.iter().map(|error| error.sqrt() as f32).collect()).collect();
    Ok(LinearPath { reduce, readout, own_readouts, error })
}
