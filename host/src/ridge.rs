//! The linear path in closed form: for each knot a ridge regression of the future on what the readout sees.
//!
//! For target c with features f (their first part read where the knot will fall) and future y, both relative to the
//! location, from their second moments G_c = E[f fᵀ], r_c = E[f y], at every knot:
//!
//! ```text
//! shared   w   = (G + λ)⁻¹ r                       G, r the means over targets
//! own      w_c = (G_c + μ)⁻¹ (r_c + μ w)           μ = ∞: the shared one
//! ```
//!
//! What λ and μ are to be, validation says for each knot: the next sample wants every fine difference between the last
//! ones, a day ahead wants few coarse features. It does not choose one but weighs them all, and w is the mean of what they
//! give (Bayesian model averaging; Hoeting et al., "Bayesian model averaging: a tutorial", 1999):
//!
//! ```text
//! weight of a candidate ∝ prior · error^(−n/2)      n: validation rows / steps ahead, the outcomes that do not overlap
//!                                                   prior: λ^PRIOR; of μ, flat
//! ```
//!
//! the likelihood of n normal errors of whichever variance fits them best. Thousands of next samples leave one candidate;
//! eight days say little of a day ahead, where the best of all would be the luckiest.
//!
//! Which parts the readout sees (a second season, the ring of last samples, the other channels) validation decides too: a
//! part stays only if it takes its share off the error, for it costs weights, state and work on the device.
//!
//! A sample of the ring says the less the older it is: λ grows with the square of its age for it (Litterman,
//! "Forecasting with Bayesian vector autoregressions", 1986), times a factor that is weighed along with it. So far knots
//! may have next to none of the ring. The ring, and what the seasonal Flow-Attention retrieves, stay if they take
//! their share off the error of one group of steps; so does each of the columns that are known in advance, the best one
//! first.
//!
//! Where validation gains by it, a knot's weights are then moved towards the median (`robust`), unless the mean is what is
//! wanted ([`Aim`]).

mod robust;

use std::ops::Range;

use anyhow::{Context, Result};
use flowcast_core::probe::{GROUPS, Groups};
use flowcast_core::seasonal::RING;
use nalgebra::{Cholesky, DMatrix, DVector};
use rayon::prelude::*;

use crate::data::filled;
use crate::features::{Features, Parts, Readout};
use crate::stride::stride;

/// λ and μ to weigh, relative to the mean square of the features.
const STRENGTHS: [f64; 7] = [1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 0.3, 1.0];
/// How much more a strong λ is believed before validation has spoken: a hundred times the strength, twice as much.
const PRIOR: f64 = 0.15;
/// What λ is for the ring's newest sample, to weigh, relative to the other features'.
const RING_FACTORS: [f64; 4] = [1.0, 30.0, 1e3, 1e5];
/// Rows that the moments of one part are taken over: all targets together, and each at least.
const MOST_ROWS: usize = 60_000;
const LEAST_ROWS: usize = 12_000;
/// A row whose future lacks more than this share of its samples is left out.
const MOST_MISSING: f64 = 0.25;
/// Readouts of their own must take this share off the error of one for all.
const LEAST_GAIN: f64 = 0.002;
/// A part that the readout sees must take this share off the error without it.
const LEAST_PART_GAIN: f64 = 0.02;
/// The ring, which costs weights alone, must take this share off.
const LEAST_RING_GAIN: f64 = 0.01;
/// Of a part that need not pay but for one group of steps, the share of that gain that it must take off the error on the whole.
const ON_THE_WHOLE: f64 = 0.1;
/// Nor may it make the readout larger than this: an eight-bit model with every target, knot and part stays within 64 kB.
const MOST_WEIGHTS: usize = 36 * 1024;
const BLOCK: usize = 512;
/// The least squared error of a knot, in squared deviations, and as a share of that on the training rows.
const LEAST_ERROR: f64 = 1e-6;
const LEAST_OF_TRAINING: f64 = 0.1;
/// Larger weights are no fit but noise; far within the model file's range.
const MOST_WEIGHT: f64 = 100.0;

/// Second moments of one channel over some rows, every part of the features included.
#[derive(Clone)]
struct Moments {
    /// E[s sᵀ] of the standing features, `[standing][standing]`.
    standing: DMatrix<f64>,
    /// E[a aᵀ] and E[a sᵀ] of those that are read where a knot falls, by knot.
    aligned: Vec<(DMatrix<f64>, DMatrix<f64>)>,
    /// E[s y], `[standing][knots]`.
    standing_future: DMatrix<f64>,
    /// E[a y], `[aligned][knots]`.
    aligned_future: DMatrix<f64>,
    /// E[y²], `[knots]`.
    future: Vec<f64>,
}

/// Moments of some features at one knot.
struct AtKnot {
    features: DMatrix<f64>,
    cross: DVector<f64>,
    future: f64,
}

/// What the point forecast is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The mean of what may come: the least squared error, by which the literature's protocol measures.
    Mean,
    /// Nearer to its median where validation gains by it (`robust`).
    Median,
}

/// The linear path.
#[derive(Debug, Clone)]
pub struct LinearPath {
    /// What the readout sees.
    pub parts: Parts,
    /// `[readouts][knots][features]`
    pub readout: Vec<f32>,
    /// Whether `readout` holds one for each target.
    pub own_readouts: bool,
    /// Root mean squared error on validation, in deviations: `[targets][knots]`.
    pub error: Vec<Vec<f32>>,
    /// How far validation is off, to compare another fit with: ln of the root mean squared error times the mean absolute one
    /// (of the mean squared error where the mean is wanted), mean over knots, `[targets]`.
    pub score: Vec<f64>,
}

/// Shows about `most` rows of a channel: what a readout of every part sees, and the future at the knots relative to the
/// location.
fn for_each_row(
    features: &Features,
    channel: usize,
    rows: Range<usize>,
    most: usize,
    mut each: impl FnMut(&Readout, &mut dyn Iterator<Item = f64>),
) {
    let (knots, period) = (features.knots(), features.seasons().period() as usize);
    let horizon = usize::from(knots.last().copied().unwrap_or(1));
    let samples = features.samples(channel);
    let future = filled(samples, period);
    let mut missing_before = vec![0_usize];
    for sample in samples {
        missing_before.push(missing_before[missing_before.len() - 1] + usize::from(sample.is_nan()));
    }
    let stride = stride(rows.len().div_ceil(most.max(1)), period);
    let end = rows.end.min(samples.len().saturating_sub(horizon));
    features.visit(channel, rows.start, end, |after| {
        let row = after.row;
        let missing = missing_before[row + 1 + horizon] - missing_before[row + 1];
        if row % stride == 0 && missing as f64 <= MOST_MISSING * horizon as f64 {
            let readout = features.readout(channel, after, features.every_part());
            let location = f64::from(readout.level.map_or(0.0, |level| level.location));
            each(&readout, &mut knots.iter().map(|knot| f64::from(future[row + usize::from(*knot)]) - location));
        }
        true
    });
}

impl Moments {
    fn of(features: &Features, channel: usize, rows: Range<usize>, most: usize) -> Option<Self> {
        let every = features.every_part();
        let knots = features.knots();
        let aligned = features.aligned();
        let width = features.columns(every).len() - aligned;
        let mut sums = Self {
            standing: DMatrix::zeros(width, width),
            aligned: vec![(DMatrix::zeros(aligned, aligned), DMatrix::zeros(aligned, width)); knots.len()],
            standing_future: DMatrix::zeros(width, knots.len()),
            aligned_future: DMatrix::zeros(aligned, knots.len()),
            future: vec![0.0; knots.len()],
        };
        let mut count = 0_usize;
        // `[rows][standing]`, `[knots][rows][aligned]`, `[rows][knots]`: columns of nalgebra's matrices.
        let (mut s, mut y) = (Vec::new(), Vec::new());
        let mut a: Vec<Vec<f64>> = vec![Vec::new(); knots.len()];
        for_each_row(features, channel, rows, most, |readout, future| {
            s.extend(readout.standing.iter().map(|x| f64::from(*x)));
            for (a, read) in a.iter_mut().zip(readout.aligned.chunks_exact(aligned)) {
                a.extend(read.iter().map(|x| f64::from(*x)));
            }
            y.extend(future);
            if y.len() == BLOCK * knots.len() {
                count += sums.add(&mut s, &mut a, &mut y);
            }
        });
        count += sums.add(&mut s, &mut a, &mut y);
        (count > 0).then(|| {
            let scale = 1.0 / count as f64;
            sums.standing *= scale;
            sums.standing_future *= scale;
            sums.aligned_future *= scale;
            sums.aligned.iter_mut().for_each(|(own, with_standing)| {
                *own *= scale;
                *with_standing *= scale;
            });
            sums.future.iter_mut().for_each(|sum| *sum *= scale);
            sums
        })
    }

    /// Adds a block of rows, empties it and tells how many they were.
    fn add(&mut self, s: &mut Vec<f64>, a: &mut [Vec<f64>], y: &mut Vec<f64>) -> usize {
        let knots = self.future.len();
        let rows = y.len() / knots;
        let s_block = DMatrix::from_column_slice(self.standing.nrows(), rows, s);
        let y_block = DMatrix::from_column_slice(knots, rows, y);
        let (s_rows, y_rows) = (s_block.transpose(), y_block.transpose());
        self.standing.gemm(1.0, &s_block, &s_rows, 1.0);
        self.standing_future.gemm(1.0, &s_block, &y_rows, 1.0);
        for (knot, (a, (own, with_standing))) in a.iter_mut().zip(&mut self.aligned).enumerate() {
            let a_block = DMatrix::from_column_slice(own.nrows(), rows, a);
            own.gemm(1.0, &a_block, &a_block.transpose(), 1.0);
            with_standing.gemm(1.0, &a_block, &s_rows, 1.0);
            self.aligned_future.column_mut(knot).gemv(1.0, &a_block, &y_rows.column(knot), 1.0);
            self.future[knot] += y_rows.column(knot).norm_squared();
            a.clear();
        }
        s.clear();
        y.clear();
        rows
    }

    /// Of some of the features at one knot.
    fn at(&self, knot: usize, columns: &[usize]) -> AtKnot {
        let split = self.aligned_future.nrows();
        let (own, with_standing) = &self.aligned[knot];
        let features = DMatrix::from_fn(columns.len(), columns.len(), |i, j| {
            let (low, high) = (columns[i].min(columns[j]), columns[i].max(columns[j]));
            match (low < split, high < split) {
                (true, true) => own[(low, high)],
                (true, false) => with_standing[(low, high - split)],
                _ => self.standing[(low - split, high - split)],
            }
        });
        let cross = DVector::from_fn(columns.len(), |i, _| match columns[i].checked_sub(split) {
            Some(standing) => self.standing_future[(standing, knot)],
            None => self.aligned_future[(columns[i], knot)],
        });
        AtKnot { features, cross, future: self.future[knot] }
    }
}

impl AtKnot {
    /// The mean over several.
    fn mean(of: &[Self]) -> Self {
        let scale = 1.0 / of.len() as f64;
        let mut sum = Self { features: of[0].features.clone(), cross: of[0].cross.clone(), future: of[0].future };
        for other in &of[1..] {
            sum.features += &other.features;
            sum.cross += &other.cross;
            sum.future += other.future;
        }
        Self { features: sum.features * scale, cross: sum.cross * scale, future: sum.future * scale }
    }

    /// The features' mean square.
    fn power(&self) -> f64 {
        self.features.trace() / self.features.nrows() as f64
    }

    /// (G + Λ)⁻¹ (r + Λ · towards), Λ diagonal.
    fn solve(&self, strengths: &DVector<f64>, towards: Option<&DVector<f64>>) -> Option<DVector<f64>> {
        let mut regular = self.features.clone();
        for (i, strength) in strengths.iter().enumerate() {
            regular[(i, i)] += strength.max(1e-12);
        }
        let mut right = self.cross.clone();
        if let Some(towards) = towards {
            right += strengths.component_mul(towards);
        }
        Cholesky::new(regular).map(|factor| factor.solve(&right)).filter(|w| w.amax() <= MOST_WEIGHT)
    }

    /// E[(y − w·f)²].
    fn error(&self, w: &DVector<f64>) -> f64 {
        (self.future - 2.0 * w.dot(&self.cross) + w.dot(&(&self.features * w))).max(1e-12)
    }
}

/// The columns that a readout of some parts sees.
struct Columns {
    /// Among those of every part.
    of_every: Vec<usize>,
    /// The age of those that are the ring's samples; 0 is the newest.
    age: Vec<Option<usize>>,
}

impl Columns {
    fn new(features: &Features, parts: Parts) -> Self {
        let of_every = features.columns(parts);
        let others = features.columns(Parts { ring: false, ..parts });
        let mut older = RING;
        let age = of_every.iter().map(|column| {
            (!others.contains(column)).then(|| {
                older -= 1;
                older
            })
        });
        let age = age.collect();
        Self { of_every, age }
    }

    /// Λ for each of λ and the ring's factor.
    fn strengths(&self, strength: f64, ring_factor: f64) -> DVector<f64> {
        DVector::from_iterator(
            self.age.len(),
            self.age.iter().map(|age| age.map_or(1.0, |age| ring_factor * ((1 + age) as f64).powi(2)) * strength),
        )
    }

    /// The ring's factors to choose from.
    fn ring_factors(&self) -> &'static [f64] {
        if self.age.iter().any(Option::is_some) { &RING_FACTORS } else { &[1.0] }
    }
}

/// One knot's weights: one for all targets, and each its own.
struct KnotFit {
    shared: DVector<f64>,
    own: Vec<DVector<f64>>,
    /// Λ of `shared`, the candidates' geometric mean, and of `own` towards it, what is believed most, over the features'
    /// mean square; `None`: `own` is nearest to `shared`.
    shared_strengths: DVector<f64>,
    own_strengths: Option<DVector<f64>>,
    /// Squared errors on validation, `[targets]`.
    shared_error: Vec<f64>,
    own_error: Vec<f64>,
    /// As `own_error` on the training rows.
    training_error: Vec<f64>,
    /// As [`LinearPath::score`].
    score: Vec<f64>,
}

/// How much each of some candidates is believed, from its prior and its errors on validation, `[targets]`.
fn beliefs(candidates: &[(f64, Vec<f64>)], outcomes: f64) -> Vec<f64> {
    let Some((_, first)) = candidates.first() else { return Vec::new() };
    let mean_ratio =
        |errors: &[f64]| errors.iter().zip(first).map(|(error, first)| error / first).sum::<f64>() / first.len() as f64;
    let ratios: Vec<f64> = candidates.iter().map(|(_, errors)| mean_ratio(errors)).collect();
    // No power of a quotient that is at least 1 is infinite, and that of the best is 1.
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let posterior =
        ratios.iter().zip(candidates).map(|(ratio, (prior, _))| prior * (ratio / least).powf(-0.5 * outcomes));
    let posterior: Vec<f64> = posterior.collect();
    let sum: f64 = posterior.iter().sum();
    posterior.iter().map(|belief| belief / sum).collect()
}

impl KnotFit {
    /// `outcomes`: how many on validation do not overlap.
    fn new(train: &[Moments], held: &[Moments], knot: usize, columns: &Columns, outcomes: f64) -> Option<Self> {
        let train: Vec<AtKnot> = train.iter().map(|moments| moments.at(knot, &columns.of_every)).collect();
        let held: Vec<AtKnot> = held.iter().map(|moments| moments.at(knot, &columns.of_every)).collect();
        let pooled = AtKnot::mean(&train);
        let power = pooled.power();
        let width = columns.of_every.len();
        let errors = |own: &[DVector<f64>]| -> Vec<f64> {
            held.iter().zip(own.iter().cycle()).map(|(held, w)| held.error(w)).collect()
        };

        let pairs =
            STRENGTHS.iter().flat_map(|strength| columns.ring_factors().iter().map(move |ring| (*strength, *ring)));
        let (mut candidates, mut found) = (Vec::new(), Vec::new());
        for (strength, ring_factor) in pairs {
            let strengths = columns.strengths(strength, ring_factor) * power;
            let Some(w) = pooled.solve(&strengths, None) else { continue };
            found.push((strength.powf(PRIOR), errors(std::slice::from_ref(&w))));
            candidates.push((w, strength.ln(), ring_factor.ln()));
        }
        if candidates.is_empty() {
            return None;
        }
        let mut shared = DVector::zeros(width);
        let (mut strength, mut ring_factor) = (0.0, 0.0);
        for ((w, its_strength, its_ring_factor), belief) in candidates.iter().zip(beliefs(&found, outcomes)) {
            shared += w * belief;
            strength += its_strength * belief;
            ring_factor += its_ring_factor * belief;
        }
        let (strength, ring_factor) = (strength.exp(), ring_factor.exp());
        let shared_strengths = columns.strengths(strength, ring_factor);
        let shared_error = errors(std::slice::from_ref(&shared));

        let mut own = vec![shared.clone(); train.len()];
        let mut own_error = shared_error.clone();
        let mut own_strengths = None;
        if train.len() > 1 {
            // The first is μ = ∞.
            let (mut candidates, mut found) = (vec![(own, None)], vec![(1.0, own_error)]);
            for strength in STRENGTHS {
                let strengths = columns.strengths(strength, ring_factor);
                let pull = &strengths * power;
                let ws: Option<Vec<_>> = train.iter().map(|train| train.solve(&pull, Some(&shared))).collect();
                let Some(ws) = ws else { continue };
                found.push((1.0, errors(&ws)));
                candidates.push((ws, Some(strengths)));
            }
            own = vec![DVector::zeros(width); train.len()];
            let mut most = 0.0;
            for ((ws, strengths), belief) in candidates.into_iter().zip(beliefs(&found, outcomes)) {
                for (own, w) in own.iter_mut().zip(ws) {
                    *own += w * belief;
                }
                if belief > most {
                    (most, own_strengths) = (belief, strengths);
                }
            }
            own_error = errors(&own);
        }
        let training_error = train.iter().zip(&own).map(|(train, w)| train.error(w)).collect();
        let score = Vec::new();
        Some(Self { shared, own, shared_strengths, own_strengths, shared_error, own_error, training_error, score })
    }
}

/// A fit of some parts at every knot.
struct Fit {
    parts: Parts,
    knots: Vec<KnotFit>,
    own_readouts: bool,
}

impl Fit {
    /// `rows`: of validation.
    fn new(features: &Features, train: &[Moments], held: &[Moments], parts: Parts, rows: usize) -> Option<Self> {
        let columns = Columns::new(features, parts);
        let at_knot =
            |(knot, steps): (usize, &u16)| KnotFit::new(train, held, knot, &columns, rows as f64 / f64::from(*steps));
        let knots: Vec<KnotFit> = features.knots().par_iter().enumerate().map(at_knot).collect::<Option<_>>()?;
        let ratio = |fit: &KnotFit| -> f64 {
            fit.own_error.iter().zip(&fit.shared_error).map(|(own, shared)| own / shared).sum::<f64>()
        };
        let mean = knots.iter().map(ratio).sum::<f64>() / (knots.len() * train.len()) as f64;
        // What the others' trends mean differs by channel.
        let own_readouts = train.len() > 1 && (parts.mixed || mean < 1.0 - LEAST_GAIN);
        let mut fit = Self { parts, knots, own_readouts };
        for knot in 0..fit.knots.len() {
            fit.knots[knot].score = fit.errors(knot).iter().map(|error| error.ln()).collect();
        }
        Some(fit)
    }

    fn errors(&self, knot: usize) -> &[f64] {
        let knot = &self.knots[knot];
        if self.own_readouts { &knot.own_error } else { &knot.shared_error }
    }

    /// A fit with one part more, if that takes its share off the error of one of the groups of steps, and something off
    /// the mean over groups.
    fn or_for_some(self, wider: Option<Self>, knots: &[u16], least_gain: f64) -> Self {
        let groups = Groups::<f32>::new(knots.last().copied().unwrap_or(1));
        let pays = |wider: &Self| {
            let ratio = |group| wider.ratio_where(&self, knots.iter().map(|knot| groups.group(*knot) == group));
            let ratios: Vec<f64> = (0..GROUPS).filter_map(ratio).collect();
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            mean < 1.0 - ON_THE_WHOLE * least_gain && ratios.iter().any(|ratio| *ratio < 1.0 - least_gain)
        };
        wider.filter(pays).unwrap_or(self)
    }

    /// A fit with one part more, if that pays.
    fn or(self, wider: Option<Self>) -> Self {
        wider.filter(|wider| wider.ratio(&self) < 1.0 - LEAST_PART_GAIN).unwrap_or(self)
    }

    /// Mean over knots and targets of the error over another fit's.
    fn ratio(&self, other: &Self) -> f64 {
        self.ratio_where(other, std::iter::repeat_n(true, self.knots.len())).unwrap_or(1.0)
    }

    /// The same over some knots; `None` without one.
    fn ratio_where(&self, other: &Self, counts: impl Iterator<Item = bool>) -> Option<f64> {
        let knots = counts.enumerate().filter(|(_, counts)| *counts);
        let ratios = knots.flat_map(|(knot, _)| self.errors(knot).iter().zip(other.errors(knot)));
        let (sum, count) = ratios.fold((0.0, 0.0), |(sum, count), (own, other)| (sum + own / other, count + 1.0));
        (count > 0.0).then(|| sum / count)
    }
}

/// Fits the linear path on `training` rows, choosing on `validation` rows. The first `targets` channels are forecast.
/// Validation chooses the parts unless they are told.
///
/// # Errors
/// A target has no row whose future is known.
pub fn fit(
    features: &Features,
    targets: usize,
    training: Range<usize>,
    validation: Range<usize>,
    told: Option<Parts>,
    aim: Aim,
) -> Result<LinearPath> {
    let most = (MOST_ROWS / targets).max(LEAST_ROWS);
    let part = |rows: Range<usize>| -> Vec<Option<Moments>> {
        (0..targets).into_par_iter().map(|channel| Moments::of(features, channel, rows.clone(), most)).collect()
    };
    let train: Vec<Moments> = part(training.clone())
        .into_iter()
        .collect::<Option<_>>()
        .context("no row that trains has all of the steps ahead that are fitted: are most rows missing? (--interval reads rows as evenly \
                  spaced whatever their times, --horizon shortens the steps)")?;
    // A channel that is dead in the validation part chooses nothing.
    let held: Vec<Moments> =
        part(validation.clone()).into_iter().zip(&train).map(|(held, train)| held.unwrap_or(train.clone())).collect();

    let first = told.unwrap_or(Parts { seasons: 1, retrieval: false, ring: false, mixed: false, known: 0 });
    let new = |parts: Parts| {
        let weights = targets * features.knots().len() * features.columns(parts).len();
        (parts == first || weights <= MOST_WEIGHTS)
            .then(|| Fit::new(features, &train, &held, parts, validation.len()))
            .flatten()
    };
    let mut best = new(first).context("the features' second moments have no inverse: is every channel constant?")?;
    let seasons = features.seasons().list.len();
    let choosing = told.is_none();
    let wider = |parts: Parts| Parts { seasons: parts.seasons + 1, ..parts };
    let with_ring = |parts: Parts| Parts { ring: true, ..parts };
    let with_others = |parts: Parts| Parts { mixed: true, ..parts };
    for _ in (1..seasons).filter(|_| choosing) {
        let candidate = new(wider(best.parts));
        best = best.or(candidate);
    }
    for _ in (0..features.known()).filter(|_| choosing) {
        let known = best.parts.known;
        let wider = (0..features.known()).map(|column| known | 1 << column).filter(|wider| *wider != known);
        let candidates = wider.filter_map(|known| new(Parts { known, ..best.parts }));
        let candidate = candidates.min_by(|a, b| a.ratio(&best).total_cmp(&b.ratio(&best)));
        best = best.or_for_some(candidate, features.knots(), LEAST_PART_GAIN);
        if best.parts.known == known {
            break;
        }
    }
    if choosing && features.seasons().retrieval.is_some() {
        let candidate = new(Parts { retrieval: true, ..best.parts });
        best = best.or_for_some(candidate, features.knots(), LEAST_PART_GAIN);
    }
    if choosing {
        let candidate = new(with_ring(best.parts));
        best = best.or_for_some(candidate, features.knots(), LEAST_RING_GAIN);
    }
    if choosing && features.mixing() > 1 {
        let candidate = new(with_others(best.parts));
        best = best.or(candidate);
    }
    if aim == Aim::Median {
        robust::refit(&mut best, features, targets, training, validation);
    }
    let Fit { parts, knots, own_readouts } = best;

    let readouts = if own_readouts { targets } else { 1 };
    let mut readout = Vec::new();
    for target in 0..readouts {
        for knot in &knots {
            let w = if own_readouts { &knot.own[target] } else { &knot.shared };
            readout.extend(w.iter().map(|w| *w as f32));
        }
    }
    // A channel that stood still in the validation rows is not that easy: it counts by its training rows too.
    let error_of = |target: usize, knot: &KnotFit| {
        let floor = (LEAST_OF_TRAINING * knot.training_error[target]).max(LEAST_ERROR);
        let error = if own_readouts { knot.own_error[target] } else { knot.shared_error[target] };
        error.max(floor).sqrt() as f32
    };
    let error = (0..targets).map(|target| knots.iter().map(|knot| error_of(target, knot)).collect()).collect();
    let score = |target: usize| knots.iter().map(|knot| knot.score[target]).sum::<f64>() / knots.len() as f64;
    let score = (0..targets).map(score).collect();
    Ok(LinearPath { parts, readout, own_readouts, error, score })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Series;
    use crate::train::setup::{Wishes, prepare};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn fitted(values: Vec<f32>) -> LinearPath {
        let series = Series { columns: vec!["a".into()], interval_ms: 3_600_000, start: None, values: vec![values] };
        let wishes = Wishes::example(24, 24);
        let (config, split) = prepare(&series, &wishes).unwrap();
        let whole = |rows: &Range<usize>| rows.start..rows.end - 24;
        fit(
            &Features::new(&config, &series, None),
            1,
            whole(&split.training),
            whole(&split.validation),
            None,
            Aim::Median,
        )
        .unwrap()
    }

    #[test]
    fn many_outcomes_leave_the_best_candidate_and_few_leave_them_all() {
        let candidates = [(1.0, vec![0.5, 2.0]), (2.0, vec![0.52, 2.08]), (1.0, vec![1.0, 4.0])];
        let none = beliefs(&candidates, 0.0);
        assert_eq!(none, [0.25, 0.5, 0.25]);
        let few = beliefs(&candidates, 2.0);
        assert!((few[1] / few[0] - 2.0 / 1.04).abs() < 1e-12 && (few[2] / few[0] - 0.5).abs() < 1e-12, "{few:?}");
        assert!((few.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(beliefs(&candidates, 1e6)[0] > 0.999);
        assert_eq!(beliefs(&candidates, f64::MAX), [1.0, 0.0, 0.0]);
        assert!(beliefs(&[], 1.0).is_empty());
    }

    #[test]
    fn the_ring_stays_where_the_last_samples_tell_the_next_and_weighs_little_far_ahead() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut noise = || (0..4).map(|_| rng.random_range(-1.0..1.0_f32)).sum::<f32>();
        // A day's wave, and what wears off within hours, by a law that needs two last samples.
        let (mut last, mut before) = (0.0, 0.0);
        let echoing = (0..4_000).map(|row| {
            (last, before) = (1.5 * last - 0.7 * before + 0.2 * noise(), last);
            (row as f32 * 0.2618).sin() + last
        });
        let path = fitted(echoing.collect());
        assert!(path.parts.ring);
        let width = path.readout.len() / 24;
        let ring = |knot: usize| path.readout[(knot + 1) * width - RING..(knot + 1) * width].iter().map(|w| w.abs());
        assert!(ring(0).sum::<f32>() > 5.0 * ring(23).sum::<f32>(), "{:?}", ring(23).collect::<Vec<_>>());
        assert!(path.error[0][0] < 0.6 * path.error[0][23], "{:?}", path.error);

        let fresh = (0..4_000).map(|row| (row as f32 * 0.2618).sin() + 0.2 * noise()).collect();
        assert!(!fitted(fresh).parts.ring);
    }
}
