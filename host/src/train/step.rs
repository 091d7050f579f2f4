//! One step of joint training, as `flowcast train` and `flowcast ablate` take it.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::Device;
use flowcast_core::format::Header;

use super::batch::{Shape, batch};
use super::loss::batch_loss;
use super::{MOST_GRADIENT, WARM_UP_STEPS, group};
use crate::features::Features;
use crate::model::Network;
use crate::optimizer::{AdamW, gradient_norm, schedule};

/// What is the same for every step.
pub(crate) struct Step<'a> {
    /// What the model file would say.
    pub header: &'a Header,
    /// Of the rows that train, at least.
    pub features: &'a Features,
    /// The linear path's error, `[targets][knots]`.
    pub error: &'a [Vec<f32>],
    /// The rows that train.
    pub rows: &'a Range<usize>,
    /// Of a batch.
    pub shape: Shape,
    /// Where the network lives.
    pub device: &'a Device,
}

impl Step<'_> {
    /// Moves the weights by step `step` of `steps` and returns the batch's loss.
    pub fn take(
        &self,
        network: &Network,
        optimizer: &mut AdamW,
        (seed, step): (u64, usize),
        steps: usize,
    ) -> Result<f32> {
        let batch = batch(self.header, self.features, self.error, self.rows, self.shape, (seed, step), self.device)?;
        let hidden = network.hidden(&batch.tokens)?;
        let quantiles = network.forecast(&hidden, &batch.positions)?;
        let loss = batch_loss(&self.header.quantiles, &quantiles, &batch.future, &batch.weight, batch.known)?;
        let gradients = loss.backward()?;
        let norm = gradient_norm(network.vars(), &gradients)?;
        let value = loss.to_scalar::<f32>()?;
        ensure!(norm.is_finite() && value.is_finite(), "the loss is {value} at step {step}, expected a finite number");
        let clip = (MOST_GRADIENT / norm).min(1.0);
        optimizer.step(network.vars(), &gradients, clip, schedule(step, WARM_UP_STEPS, steps), group)?;
        Ok(value)
    }
}
