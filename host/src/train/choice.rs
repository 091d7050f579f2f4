//! How much of what was learnt the rows that choose speak for.
//!
//! They are few, and next to each other: what one shows, its neighbours show again. So the gain over the closed form is
//! taken for each of some stretches of time, and where the median is to go, what counts is the mean gain less one standard
//! error of it. A band about the median that is too narrow or too wide the device mends by itself; there the mean decides.

use anyhow::Result;
use candle_core::Tensor;

use super::batch::Batch;
use super::share::{SHARES, Share, between};
use super::step::Step;
use crate::model::Network;

/// Stretches of time whose gains are compared.
const STRETCHES: usize = 10;
/// Standard errors of the median's gain that are taken off it.
const CAUTION: f64 = 1.0;

/// Rows that choose, and what the closed form loses on them.
pub(crate) struct Choice<'a> {
    step: &'a Step<'a>,
    /// Target by target, of each as many, in the order of time.
    rows: Batch,
    first: Vec<f32>,
    losses: Losses,
}

/// Of each row.
struct Losses {
    point: Vec<f32>,
    whole: Vec<f32>,
}

/// What is gained over the closed form.
struct Gain {
    point: f64,
    whole: f64,
    /// The standard error of `point`.
    error: f64,
}

impl<'a> Choice<'a> {
    /// Among shares of the way from the network as it is.
    ///
    /// # Errors
    /// The device fails.
    pub fn new(step: &'a Step<'a>, rows: Batch, network: &Network) -> Result<Self> {
        let first = network.weights()?;
        let losses = Losses::of(step, &rows, network, &network.hidden_alone(&rows.tokens)?)?;
        Ok(Self { step, rows, first, losses })
    }

    /// The closed form's weights.
    pub fn first(&self) -> &[f32] {
        &self.first
    }

    /// The share of what the network has learnt that is best: its gain, less what may be chance, and its weights. Leaves
    /// the network with weights in between.
    ///
    /// # Errors
    /// The device fails.
    pub fn best(&self, network: &Network) -> Result<(f64, Vec<f32>)> {
        let learnt = network.weights()?;
        // No share changes the hidden states.
        let hidden = network.hidden_alone(&self.rows.tokens)?.detach();
        let weights = |share: Share| between(self.step.header, &self.first, &learnt, share);
        let gain = |share: Share| -> Result<Gain> {
            network.load(&weights(share))?;
            let losses = Losses::of(self.step, &self.rows, network, &hidden)?;
            Ok(self.losses.gain(&losses, self.step.header.targets.into()))
        };
        let (mut kept, mut most) = (Share::of_both(0.0), 0.0);
        for point in shares() {
            let Gain { point: gained, error, .. } = gain(Share { point, ..kept })?;
            if gained - CAUTION * error > most {
                (kept, most) = (Share { point, ..kept }, gained - CAUTION * error);
            }
        }
        most = 0.0;
        for band in std::iter::once(0.0).chain(shares()) {
            let Gain { whole, error, .. } = gain(Share { band, ..kept })?;
            if whole - CAUTION * error > most {
                (kept, most) = (Share { band, ..kept }, whole - CAUTION * error);
            }
        }
        Ok((most, weights(kept)))
    }
}

/// All of it too, but not none.
fn shares() -> impl Iterator<Item = f32> {
    SHARES.into_iter().chain([1.0])
}

impl Losses {
    fn of(step: &Step<'_>, rows: &Batch, network: &Network, hidden: &Tensor) -> Result<Self> {
        let losses = step.row_losses(network, rows, hidden)?;
        Ok(Self { point: losses.point.to_vec1()?, whole: losses.whole.to_vec1()? })
    }

    /// What others' are below these.
    fn gain(&self, others: &Self, targets: usize) -> Gain {
        let gains = |before: &[f32], now: &[f32]| -> Vec<f64> {
            let rows = before.len() / targets;
            let mut sums = vec![(0.0, 0.0); STRETCHES.min(rows)];
            let stretches = sums.len();
            for (row, (before, now)) in before.iter().zip(now).enumerate() {
                let (sum, count) = &mut sums[row % rows * stretches / rows];
                *sum += f64::from(before - now);
                *count += 1.0;
            }
            sums.iter().map(|(sum, count)| sum / count).collect()
        };
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let point = gains(&self.point, &others.point);
        let (middle, count) = (mean(&point), point.len() as f64);
        let squares: f64 = point.iter().map(|gain| (gain - middle).powi(2)).sum();
        let error = (squares / (count - 1.0).max(1.0) / count).sqrt();
        Gain { point: middle, whole: mean(&gains(&self.whole, &others.whole)), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(of: impl Fn(usize) -> f32) -> Losses {
        let whole: Vec<f32> = (0..200).map(of).collect();
        Losses { point: whole.iter().map(|loss| loss / 2.0).collect(), whole }
    }

    #[test]
    fn what_every_stretch_gains_is_sure_and_what_one_gains_is_not() {
        let before = losses(|_| 1.0);
        let sure = before.gain(&losses(|_| 0.75), 2);
        assert_eq!((sure.point, sure.whole, sure.error), (0.125, 0.25, 0.0));
        // Two targets of a hundred rows each: the last tenth of both gains it all.
        let lucky = before.gain(&losses(|row| if row % 100 < 90 { 1.0 } else { -1.5 }), 2);
        assert!(
            (lucky.point - sure.point).abs() < 1e-12 && (lucky.error - sure.point).abs() < 1e-12,
            "{}",
            lucky.error
        );
        // Rows that go up and down within every stretch are as sure as any.
        let restless = before.gain(&losses(|row| if row % 2 == 0 { 1.5 } else { 0.0 }), 2);
        assert!((restless.point - sure.point).abs() < 1e-12 && restless.error < 1e-12, "{}", restless.error);
    }

    #[test]
    fn a_few_rows_are_a_stretch_each() {
        let losses = |of: &[f32]| Losses { point: of.to_vec(), whole: of.to_vec() };
        let gain = losses(&[1.0, 2.0, 3.0]).gain(&losses(&[0.0, 2.0, 4.0]), 1);
        assert!(gain.point.abs() < 1e-12 && (gain.error - 1.0 / 3.0_f64.sqrt()).abs() < 1e-12, "{}", gain.error);
        let one = losses(&[1.0]).gain(&losses(&[0.5]), 1);
        assert_eq!((one.point, one.error), (0.5, 0.0));
    }
}
