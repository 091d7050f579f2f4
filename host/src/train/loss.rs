//! What training makes small: pinball loss of every quantile and squared error of the median, each error in units of
//! the linear path's error at that step, so that an hour ahead counts as much as a day.
//!
//! ```text
//! e = (y − q) / σ      loss = 2 · mean_τ max(τ e_τ, (τ − 1) e_τ) + ½ · e_0.5²
//! ```
//!
//! A horizon has many far steps and few near ones, and what moves the far ones shakes the near ones, whose errors are
//! small. So each of the four groups of steps that intervals are corrected in ([`Groups`]) counts as much as the others.

use anyhow::Result;
use candle_core::Tensor;
use flowcast_core::format::median;
use flowcast_core::probe::{GROUPS, Groups};

use crate::ridge::Aim;

const PINBALL: f64 = 2.0;
const SQUARED: f64 = 0.5;

/// The loss of one forecast, as the back-test and validation see it. `quantiles` as `levels`.
pub fn loss(levels: &[f32], quantiles: &[f32], future: f32, error: f32) -> f64 {
    let mut pinball = 0.0;
    let mut squared = 0.0;
    for (level, quantile) in levels.iter().zip(quantiles) {
        let e = f64::from(future - quantile) / f64::from(error);
        let level = f64::from(*level);
        pinball += (level * e).max((level - 1.0) * e);
        if level == 0.5 {
            squared = e * e;
        }
    }
    PINBALL * pinball / levels.len() as f64 + SQUARED * squared
}

/// What each of some steps counts, 1 in the mean: every group of a horizon's steps the same, or every step where the
/// [`Aim`] is the literature's measure, which makes no difference between them.
pub fn importance(aim: Aim, steps: &[u16]) -> Vec<f32> {
    if aim == Aim::Mean {
        return vec![1.0; steps.len()];
    }
    let groups = Groups::<f32>::new(steps.last().copied().unwrap_or(1));
    let mut sizes = [0_usize; GROUPS];
    steps.iter().for_each(|step| sizes[groups.group(*step)] += 1);
    let share = steps.len() as f32 / sizes.iter().filter(|size| **size > 0).count() as f32;
    steps.iter().map(|step| share / sizes[groups.group(*step)] as f32).collect()
}

/// The losses of a batch's rows, each summed over the knots as they count, `[count]`.
pub struct RowLosses {
    /// What the median's error adds.
    pub point: Tensor,
    /// All of it.
    pub whole: Tensor,
}

impl RowLosses {
    /// Of quantiles `[count][knots][quantiles]`, future and weight (1/σ, 0 where missing) `[count][knots]`, of which each
    /// knot's count `importance`, `[knots]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn new(
        levels: &[f32],
        quantiles: &Tensor,
        (future, weight): (&Tensor, &Tensor),
        importance: &[f32],
    ) -> Result<Self> {
        let e = future.unsqueeze(2)?.broadcast_sub(quantiles)?.broadcast_mul(&weight.unsqueeze(2)?)?;
        let count = levels.len();
        let tau = Tensor::from_slice(levels, (1, 1, count), e.device())?;
        // max(τ e, (τ − 1) e) = τ e + max(0, −e)
        let pinball = ((e.broadcast_mul(&tau)? + e.neg()?.relu()?)? * (PINBALL / count as f64))?;
        let median = median(levels).unwrap_or(0);
        let of_median = |of: &Tensor| of.narrow(2, median, 1)?.squeeze(2);
        let squared = (of_median(&e)?.sqr()? * SQUARED)?;
        let shares = Tensor::from_slice(importance, (importance.len(), 1), e.device())?;
        let summed = |losses: Tensor| losses.matmul(&shares)?.squeeze(1);
        Ok(Self { point: summed((of_median(&pinball)? + &squared)?)?, whole: summed((pinball.sum(2)? + squared)?)? })
    }

    /// The mean of all that is not missing: `known` of each knot.
    ///
    /// # Errors
    /// The device fails.
    pub fn mean(&self, known: &[u64], importance: &[f32]) -> Result<Tensor> {
        let counted: f64 =
            known.iter().zip(importance).map(|(known, importance)| *known as f64 * f64::from(*importance)).sum();
        Ok((self.whole.sum_all()? / counted.max(1.0))?)
    }
}

/// How far quantiles are from others, both `[count][knots][quantiles]`: of each quantile the mean squared distance in the
/// linear path's error, as each knot counts, summed. `weight` as in [`RowLosses::new`]: a future that is missing does not
/// count here, either.
///
/// # Errors
/// The device fails.
pub fn distance(quantiles: &Tensor, others: &Tensor, weight: &Tensor, importance: &[f32]) -> Result<Tensor> {
    let apart = (quantiles - others)?.broadcast_mul(&weight.unsqueeze(2)?)?.sqr()?.sum(2)?;
    let shares = Tensor::from_slice(importance, (1, importance.len()), apart.device())?;
    Ok(apart.broadcast_mul(&shares)?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn both_forms_agree() {
        let levels = [0.1, 0.5, 0.9];
        let quantiles = [[[-1.0_f32, 0.5, 2.0], [0.0, 1.0, 3.0]], [[0.0, 0.25, 1.0], [-2.0, -1.0, 0.0]]];
        // One is missing.
        let (future, error) = ([[0.25_f32, 4.0], [1.5, 0.0]], [0.5_f32, 2.0]);
        let (weight, known, importance) = ([[2.0_f32, 0.5], [2.0, 0.0]], [2, 1], [0.5, 1.5]);
        let came = [(0, 0), (0, 1), (1, 0)];
        let each = |(row, knot): (usize, usize)| {
            f64::from(importance[knot]) * loss(&levels, &quantiles[row][knot], future[row][knot], error[knot])
        };
        let expected = came.map(each).iter().sum::<f64>() / 2.5;
        let device = Device::Cpu;
        let tensor = |values: [[f32; 2]; 2]| Tensor::new(&values, &device).unwrap();
        let quantiles = Tensor::new(&quantiles, &device).unwrap();
        let rows = RowLosses::new(&levels, &quantiles, (&tensor(future), &tensor(weight)), &importance).unwrap();
        let found = rows.mean(&known, &importance).unwrap().to_scalar::<f32>().unwrap();
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
        // The median's: (1.5 - 0.25) / 0.5 below what came; the second row's other knot is missing.
        let point = rows.point.to_vec1::<f32>().unwrap()[1];
        assert!((point - 0.5 * (2.0 / 3.0 * 0.5 * 2.5 + 0.5 * 2.5 * 2.5)).abs() < 1e-6, "{point}");
    }

    #[test]
    fn every_group_of_steps_counts_the_same() {
        let steps: Vec<u16> = (1..=24).collect();
        let found = importance(Aim::Median, &steps);
        assert!((found.iter().sum::<f32>() / 24.0 - 1.0).abs() < 1e-6);
        assert!((found[0] - 6.0).abs() < 1e-6, "the next sample is a group of its own: {found:?}");
        assert_eq!(importance(Aim::Median, &[1]), [1.0]);
        assert_eq!(importance(Aim::Mean, &steps), [1.0; 24]);
    }

    #[test]
    fn distance_counts_what_is_known_as_each_knot_counts() {
        let device = Device::Cpu;
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &device).unwrap();
        let ours = tensor(&[0.0, 1.0, 5.0, 5.0, 2.0, 2.0, 0.0, 0.0], &[2, 2, 2]);
        let others = tensor(&[1.0, 3.0, 0.0, 0.0, 2.0, 1.0, 1.0, 1.0], &[2, 2, 2]);
        // The first row's second knot is missing; errors are 2 and 1.
        let weight = tensor(&[0.5, 0.0, 0.5, 1.0], &[2, 2]);
        let found = distance(&ours, &others, &weight, &[0.5, 1.5]).unwrap().to_scalar::<f32>().unwrap();
        let expected = (0.5 * (0.25 + 1.0) + 0.5 * 0.25 + 1.5 * 2.0) / 4.0;
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
