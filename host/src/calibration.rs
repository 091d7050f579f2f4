//! Rounding a model's readout to eight bits so that errors cancel: what each weight loses, the others make up for as far as
//! the features say.
//!
//! A row's forecast errs by (w − q)·f. With G = E[f fᵀ] over the rows that training read, the least (w − q)ᵀ G (w − q) is
//! sought weight by weight: round one, then move those that are not rounded yet to where the error is least (Frantar et
//! al., "GPTQ", ICLR 2023, equations 2 to 4). Features of a series are so alike, each memory near the others and each ring's
//! sample near the next, that this takes most of the error away. The largest weight comes first: it sets the row's scale
//! and loses nothing.

use anyhow::{Context as _, Result};
use flowcast_core::format::LARGEST_I8;
use nalgebra::{Cholesky, DMatrix, DVector};
use rayon::prelude::*;

use crate::config::TrainedModel;
use crate::data::Series;
use crate::features::{Features, Parts};
use crate::retrieval::Keys;
use crate::stride::stride;

/// The tensor whose rounding costs accuracy.
const READOUT: &str = "readout.weight";
/// Rows that moments are taken over, for each channel.
const ROWS: usize = 2_000;
/// What is added to each feature's mean square, over that of all.
const DAMPING: f64 = 1e-4;
/// The largest eight-bit weight.
const LARGEST: f64 = LARGEST_I8 as f64;

/// The model with a readout that an eight-bit file holds exactly; of `series` no row is held out.
///
/// # Errors
/// The configuration is out of the format's range.
pub fn calibrate(model: &TrainedModel, series: &Series) -> Result<TrainedModel> {
    let config = &model.config;
    let header = config.header()?;
    let tensor = header.tensors().find(|tensor| tensor.to_string() == READOUT).context("the model has no readout")?;
    let [readouts, knots, columns] = tensor.shape;
    let features = Features::new(config, series, Keys::of(model)?.as_ref());
    let parts = Parts { ring: config.ring, mixed: config.mixed, ..features.every_part() };
    let targets = usize::from(config.targets);
    let of_channel: Vec<Vec<DMatrix<f64>>> =
        (0..targets).into_par_iter().map(|channel| moments(&features, channel, parts, columns)).collect();
    let mut calibrated = model.clone();
    let weights = &mut calibrated.weights[tensor.start..tensor.start + tensor.len()];
    weights.par_chunks_mut(columns).enumerate().for_each(|(row, weights)| {
        let (readout, knot) = (row / knots, row % knots);
        // One readout for all channels sees what each of them sees.
        let seen = if readouts == 1 { 0..targets } else { readout..readout + 1 };
        let moments =
            seen.map(|channel| &of_channel[channel][knot]).fold(DMatrix::zeros(columns, columns), |a, b| a + b);
        round(weights, moments);
    });
    Ok(calibrated)
}

/// E[f fᵀ] at each knot; zeros where there is no row.
fn moments(features: &Features, channel: usize, parts: Parts, columns: usize) -> Vec<DMatrix<f64>> {
    let knots = features.knots().len();
    let rows = features.samples(channel).len();
    let stride = stride(rows / ROWS, features.seasons().period() as usize);
    let mut seen: Vec<Vec<f64>> = vec![Vec::new(); knots];
    features.visit(channel, 0, rows, |after| {
        // Memories that still fill are no guide.
        if after.row >= rows / 10 && after.row % stride == 0 {
            let readout = features.readout(channel, after, parts);
            let aligned = readout.aligned.chunks_exact((columns - readout.standing.len()).max(1));
            for (seen, aligned) in seen.iter_mut().zip(aligned) {
                seen.extend(aligned.iter().chain(&readout.standing).map(|x| f64::from(*x)));
            }
        }
        true
    });
    let of_knot = seen.into_iter().map(|seen| {
        let rows = DMatrix::from_column_slice(columns, seen.len() / columns, &seen);
        &rows * rows.transpose() / rows.ncols().max(1) as f64
    });
    of_knot.collect()
}

/// Rounds a row; where the moments say nothing, each weight to its nearest.
fn round(weights: &mut [f32], mut moments: DMatrix<f64>) {
    let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    let scale = largest / LARGEST_I8;
    if scale <= 0.0 || !scale.is_finite() {
        return;
    }
    let power = moments.trace() / moments.nrows() as f64;
    for index in 0..moments.nrows() {
        moments[(index, index)] += DAMPING * power.max(f64::MIN_POSITIVE);
    }
    let exact = DVector::from_iterator(weights.len(), weights.iter().map(|weight| f64::from(*weight / scale)));
    let nearest = exact.map(|weight| weight.round().clamp(-LARGEST, LARGEST));
    let error = |rounded: &DVector<f64>| {
        let lost = &exact - rounded;
        lost.dot(&(&moments * &lost))
    };
    let better = compensated(&exact, &moments).filter(|rounded| error(rounded) < error(&nearest));
    for (weight, rounded) in weights.iter_mut().zip(better.unwrap_or(nearest).iter()) {
        *weight = *rounded as f32 * scale;
    }
}

/// Weights in steps of eight bits, each rounded and what it lost taken up by those that follow; none where the moments
/// cannot be inverted.
fn compensated(exact: &DVector<f64>, moments: &DMatrix<f64>) -> Option<DVector<f64>> {
    let count = exact.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| moments[(*b, *b)].total_cmp(&moments[(*a, *a)]).then(a.cmp(b)));
    let largest = order.iter().position(|index| *index == exact.icamax())?;
    order[..=largest].rotate_right(1);
    let ordered = DMatrix::from_fn(count, count, |i, j| moments[(order[i], order[j])]);
    // G⁻¹ = L Lᵀ: column i of L is how those after i are moved for what i lost.
    let factor = Cholesky::new(Cholesky::new(ordered)?.inverse())?.l();
    let mut left: Vec<f64> = order.iter().map(|index| exact[*index]).collect();
    let mut rounded = DVector::zeros(count);
    for i in 0..count {
        let nearest = left[i].round().clamp(-LARGEST, LARGEST);
        let lost = (left[i] - nearest) / factor[(i, i)];
        for j in i + 1..count {
            left[j] -= lost * factor[(j, i)];
        }
        rounded[order[i]] = nearest;
    }
    Some(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_features_that_are_alike_cancel() {
        // Features that differ little from their neighbours, as a ring's samples do.
        let count = 24;
        let moments = DMatrix::from_fn(count, count, |i, j| 0.98_f64.powi(i.abs_diff(j) as i32));
        let exact: Vec<f32> = (0..count).map(|i| (1.3 * i as f32).sin() * if i == 5 { 2.0 } else { 0.3 }).collect();
        let error = |rounded: &[f32]| {
            let lost = DVector::from_iterator(count, exact.iter().zip(rounded).map(|(a, b)| f64::from(a - b)));
            lost.dot(&(&moments * &lost))
        };
        let scale = exact.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs())) / LARGEST_I8;
        let nearest: Vec<f32> = exact.iter().map(|weight| (weight / scale).round() * scale).collect();
        let mut found = exact.clone();
        round(&mut found, moments.clone());
        assert!(error(&found) < 0.3 * error(&nearest), "{} of {}", error(&found), error(&nearest));
        // On the grid of the largest weight, which stays: what a file holds.
        assert_eq!(found[5], exact[5]);
        assert!(found.iter().all(|weight| ((weight / scale).round() * scale - weight).abs() < 1e-6 * scale));
        // Without moments, the nearest.
        let mut found = exact.clone();
        round(&mut found, DMatrix::zeros(count, count));
        assert!(found.iter().zip(&nearest).all(|(a, b)| (a - b).abs() < 1e-6));
        let mut zeros = [0.0; 3];
        round(&mut zeros, DMatrix::identity(3, 3));
        assert_eq!(zeros, [0.0; 3]);
    }
}
