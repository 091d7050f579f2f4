//! What training makes small: pinball loss of every quantile and squared error of the median, each error in units of
//! the linear path's error at that step, so that an hour ahead counts as much as a day.
//!
//! ```text
//! e = (y − q) / σ      loss = 2 · mean_τ max(τ e_τ, (τ − 1) e_τ) + ½ · e_0.5²
//! ```

use anyhow::Result;
use candle_core::Tensor;

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

/// The mean loss of a batch: quantiles `[count][horizon][quantiles]`, future and weight (1/σ, 0 where missing)
/// `[count][horizon]`, of which `known` are not missing.
///
/// # Errors
/// The device fails.
pub fn batch_loss(levels: &[f32], quantiles: &Tensor, future: &Tensor, weight: &Tensor, known: f64) -> Result<Tensor> {
    let e = future.unsqueeze(2)?.broadcast_sub(quantiles)?.broadcast_mul(&weight.unsqueeze(2)?)?;
    let count = levels.len();
    let tau = Tensor::from_slice(levels, (1, 1, count), e.device())?;
    // max(τ e, (τ − 1) e) = τ e + max(0, −e)
    let pinball = (e.broadcast_mul(&tau)? + e.neg()?.relu()?)?.sum_all()?;
    let median = levels.iter().position(|level| *level == 0.5).unwrap_or(0);
    let squared = e.narrow(2, median, 1)?.sqr()?.sum_all()?;
    let total = ((pinball * (PINBALL / count as f64))? + (squared * SQUARED)?)?;
    Ok((total / known.max(1.0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn both_forms_agree() {
        let levels = [0.1, 0.5, 0.9];
        let (quantiles, future, error) = ([[-1.0_f32, 0.5, 2.0], [0.0, 1.0, 3.0]], [0.25_f32, 4.0], [0.5_f32, 2.0]);
        let expected = (0..2).map(|i| loss(&levels, &quantiles[i], future[i], error[i])).sum::<f64>() / 2.0;
        let device = Device::Cpu;
        let quantiles = Tensor::new(&[quantiles], &device).unwrap();
        let future = Tensor::new(&[future], &device).unwrap();
        let weight = Tensor::new(&[error.map(|error| 1.0 / error)], &device).unwrap();
        let found = batch_loss(&levels, &quantiles, &future, &weight, 2.0).unwrap().to_scalar::<f32>().unwrap();
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
    }
}
