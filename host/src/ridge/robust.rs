//! From the mean towards the median: iteratively reweighted least squares (Holland & Welsch, "Robust regression using
//! iteratively reweighted least-squares", 1977) with the weights of an absolute error that is rounded off near zero:
//!
//! ```text
//! v = 1 / max(|r|, δ)      r: a row's residual so far      δ: half the median of |r|
//! w = (Σ v f fᵀ + Λ)⁻¹ Σ v f y                             a few times
//! ```
//!
//! The forecast that is issued as the median should be one: a sensor that mostly repeats itself, or a sun that mostly
//! shines, has errors whose mean is not their median, and a few wild days should not bend what holds on all the others.
//! Whether it pays, validation decides at each knot, and for each target that has a readout of its own, by squared and
//! absolute error alike.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::{AtKnot, Columns, Fit, KnotFit, for_each_row};
use crate::features::Features;

/// Rows to fit on, of all targets together, and of each at least; half of that to choose on.
const MOST_ROWS: usize = 24_000;
const LEAST_ROWS: usize = 1_000;
const ITERATIONS: usize = 3;
/// δ over the median of |r|.
const ROUNDED: f64 = 0.5;
/// Errors below are none.
const LEAST_ERROR: f64 = 1e-6;

/// Some rows of a channel, every part of the features included.
struct Rows {
    /// `[rows][standing]`
    standing: Vec<f32>,
    /// `[knots][rows][aligned]`
    aligned: Vec<Vec<f32>>,
    /// `[knots][rows]`
    future: Vec<Vec<f64>>,
}

/// The rows at one knot, and the features that a readout sees: `[features][rows]`.
struct Case {
    features: DMatrix<f64>,
    future: DVector<f64>,
}

impl Rows {
    fn of(features: &Features, channel: usize, rows: Range<usize>, most: usize) -> Self {
        let (knots, aligned) = (features.knots().len(), features.aligned());
        let mut found =
            Self { standing: Vec::new(), aligned: vec![Vec::new(); knots], future: vec![Vec::new(); knots] };
        for_each_row(features, channel, rows, most, |readout, future| {
            found.standing.extend_from_slice(&readout.standing);
            for (kept, read) in found.aligned.iter_mut().zip(readout.aligned.chunks_exact(aligned)) {
                kept.extend_from_slice(read);
            }
            for (kept, future) in found.future.iter_mut().zip(future) {
                kept.push(future);
            }
        });
        found
    }

    fn at(&self, knot: usize, columns: &Columns, aligned: usize) -> Case {
        let rows = self.future[knot].len();
        let standing = self.standing.len() / rows.max(1);
        let features = DMatrix::from_fn(columns.of_every.len(), rows, |i, row| {
            let column = columns.of_every[i];
            f64::from(match column.checked_sub(aligned) {
                Some(column) => self.standing[row * standing + column],
                None => self.aligned[knot][row * aligned + column],
            })
        });
        Case { features, future: DVector::from_column_slice(&self.future[knot]) }
    }
}

impl Case {
    fn residuals(&self, w: &DVector<f64>) -> DVector<f64> {
        &self.future - self.features.tr_mul(w)
    }

    /// Moments with the weights that these residuals give.
    fn weighted(&self, residuals: &DVector<f64>) -> AtKnot {
        let mut sizes: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
        let middle = sizes.len() / 2;
        let median = *sizes.select_nth_unstable_by(middle, f64::total_cmp).1;
        let least = (ROUNDED * median).max(LEAST_ERROR);
        let mut weights = residuals.map(|r| 1.0 / r.abs().max(least));
        weights /= weights.sum();
        let mut scaled = self.features.clone();
        for (mut column, weight) in scaled.column_iter_mut().zip(&weights) {
            column *= *weight;
        }
        AtKnot {
            features: &scaled * self.features.transpose(),
            cross: &scaled * &self.future,
            future: self.future.component_mul(&self.future).dot(&weights),
        }
    }

    /// Mean squared error, and ln (√MSE · MAE).
    fn errors(&self, w: &DVector<f64>) -> (f64, f64) {
        let residuals = self.residuals(w);
        let mean_square = (residuals.norm_squared() / residuals.len() as f64).max(LEAST_ERROR * LEAST_ERROR);
        let mean_size = (residuals.lp_norm(1) / residuals.len() as f64).max(LEAST_ERROR);
        (mean_square, 0.5 * mean_square.ln() + mean_size.ln())
    }
}

/// Moves a fit's weights where that pays.
pub fn refit(fit: &mut Fit, features: &Features, targets: usize, training: Range<usize>, validation: Range<usize>) {
    let most = (MOST_ROWS / targets).max(LEAST_ROWS);
    let part = |rows: Range<usize>, most: usize| -> Vec<Rows> {
        (0..targets).into_par_iter().map(|channel| Rows::of(features, channel, rows.clone(), most)).collect()
    };
    let (train, held) = (part(training, most), part(validation, most / 2));
    // A channel that is dead in either part decides nothing.
    if train.iter().chain(&held).any(|rows| rows.standing.is_empty()) {
        return;
    }
    let columns = Columns::new(features, fit.parts);
    let aligned = features.aligned();
    let own_readouts = fit.own_readouts;
    fit.knots.par_iter_mut().enumerate().for_each(|(index, knot)| {
        let cases = |rows: &[Rows]| rows.iter().map(|rows| rows.at(index, &columns, aligned)).collect::<Vec<_>>();
        let (train, held) = (cases(&train), cases(&held));
        if own_readouts {
            own(knot, &train, &held);
        } else {
            shared(knot, &train, &held);
        }
    });
}

/// One readout for all.
fn shared(knot: &mut KnotFit, train: &[Case], held: &[Case]) {
    let before: Vec<_> = held.iter().map(|case| case.errors(&knot.shared)).collect();
    knot.score = before.iter().map(|(_, score)| *score).collect();
    let mut w = knot.shared.clone();
    for _ in 0..ITERATIONS {
        let moments: Vec<AtKnot> = train.iter().map(|case| case.weighted(&case.residuals(&w))).collect();
        let pooled = AtKnot::mean(&moments);
        let Some(next) = pooled.solve(&(&knot.shared_strengths * pooled.power()), None) else { return };
        w = next;
    }
    let now: Vec<_> = held.iter().map(|case| case.errors(&w)).collect();
    let score = |errors: &[(f64, f64)]| errors.iter().map(|(_, score)| score).sum::<f64>();
    if score(&now) < score(&before) {
        for (error, ((before, _), (now, _))) in knot.shared_error.iter_mut().zip(before.iter().zip(&now)) {
            *error *= now / before;
        }
        knot.score = now.iter().map(|(_, score)| *score).collect();
        knot.shared = w;
    }
}

/// Each target its own, towards one for all as before.
fn own(knot: &mut KnotFit, train: &[Case], held: &[Case]) {
    let before: Vec<_> = held.iter().zip(&knot.own).map(|(case, w)| case.errors(w)).collect();
    knot.score = before.iter().map(|(_, score)| *score).collect();
    let mut ws = knot.own.clone();
    for _ in 0..ITERATIONS {
        let weighted = |(case, w): (&Case, &DVector<f64>)| case.weighted(&case.residuals(w));
        let moments: Vec<AtKnot> = train.iter().zip(&ws).map(weighted).collect();
        let pooled = AtKnot::mean(&moments);
        let power = pooled.power();
        let Some(towards) = pooled.solve(&(&knot.shared_strengths * power), None) else { return };
        let next = moments.iter().map(|moments| match &knot.own_strengths {
            Some(strengths) => moments.solve(&(strengths * power), Some(&towards)),
            None => Some(towards.clone()),
        });
        let Some(next) = next.collect() else { return };
        ws = next;
    }
    let kept = knot.own.iter_mut().zip(&mut knot.own_error).zip(&mut knot.score);
    for (((own, error), kept), ((w, case), (before, _))) in kept.zip(ws.into_iter().zip(held).zip(before)) {
        let (now, score) = case.errors(&w);
        if score < *kept {
            (*own, *error, *kept) = (w, *error * now / before, score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// y = x, and one row in five is far above: the mean is not the median.
    fn case(rng: &mut ChaCha8Rng, share: f64) -> Case {
        let rows = 4_000;
        let x: Vec<f64> = (0..rows).map(|_| rng.random_range(1.0..2.0)).collect();
        let y = x.iter().map(|x| {
            let wild = if rng.random_range(0.0..1.0) < share { 5.0 } else { 0.0 };
            x + wild + rng.random_range(-0.1..0.1)
        });
        Case { future: DVector::from_iterator(rows, y), features: DMatrix::from_row_slice(1, rows, &x) }
    }

    fn fitted(train: &Case, held: &Case) -> KnotFit {
        let rows = train.future.len() as f64;
        let moments = AtKnot {
            features: &train.features * train.features.transpose() / rows,
            cross: &train.features * &train.future / rows,
            future: train.future.norm_squared() / rows,
        };
        let strengths = DVector::from_element(1, 1e-6);
        let w = moments.solve(&(&strengths * moments.power()), None).unwrap();
        let error = vec![held.errors(&w).0];
        KnotFit {
            shared: w.clone(),
            own: vec![w],
            shared_strengths: strengths,
            own_strengths: None,
            shared_error: error.clone(),
            own_error: error.clone(),
            training_error: error,
            score: Vec::new(),
        }
    }

    #[test]
    fn a_fifth_of_wild_rows_does_not_bend_the_fit() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (train, held) = (case(&mut rng, 0.2), case(&mut rng, 0.02));
        let mut knot = fitted(&train, &held);
        assert!(knot.shared[0] > 1.4, "least squares are bent: {}", knot.shared);
        let (train, held) = ([train], [held]);
        own(&mut knot, &train, &held);
        shared(&mut knot, &train, &held);
        for w in [&knot.shared, &knot.own[0]] {
            assert!((w[0] - 1.0).abs() < 0.03, "{w}");
        }
        let found = held[0].errors(&knot.shared).0;
        assert!((knot.shared_error[0] / found - 1.0).abs() < 1e-9, "{} {found}", knot.shared_error[0]);
    }

    #[test]
    fn what_does_not_pay_on_validation_stays_as_it_was() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // What is wild in training is the rule later.
        let (train, held) = (case(&mut rng, 0.3), case(&mut rng, 0.9));
        let mut knot = fitted(&train, &held);
        let before = (knot.shared.clone(), knot.own.clone());
        let (train, held) = ([train], [held]);
        own(&mut knot, &train, &held);
        shared(&mut knot, &train, &held);
        assert_eq!((knot.shared, knot.own), before);
    }
}
