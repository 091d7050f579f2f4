//! One step of joint training, as `flowcast train` and `flowcast ablate` take it.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use flowcast_core::format::Header;

use super::batch::{Batch, Shape, batch};
use super::loss::{RowLosses, distance, importance};
use super::{MOST_GRADIENT, WARM_UP_STEPS, group};
use crate::features::Features;
use crate::model::Network;
use crate::optimizer::{AdamW, gradient_norm, schedule};
use crate::ridge::Aim;

/// Share of the rates with which sequences move the weights that rows have taught: more shakes them.
const AFTER_ROWS: f64 = 0.1;

/// What is the same for every step.
pub(crate) struct Step<'a> {
    /// What the model file would say.
    pub header: &'a Header,
    /// Of the rows that train, at least.
    pub features: &'a Features,
    /// The linear path's error, `[targets][knots]`.
    pub error: &'a [Vec<f32>],
    /// What the loss of each step ahead counts.
    pub aim: Aim,
    /// The rows that train.
    pub rows: &'a Range<usize>,
    /// Of a batch.
    pub shape: Shape,
    /// Where the network lives.
    pub device: &'a Device,
}

/// How a batch's tokens stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// Sequences, whose tokens attend to those before them.
    InSequence,
    /// Each by itself.
    Alone,
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
        let rate = AFTER_ROWS * schedule(step, WARM_UP_STEPS, steps);
        self.descend(network, &batch, Tokens::InSequence, optimizer, rate)
    }

    /// A batch's loss.
    pub fn loss(&self, network: &Network, batch: &Batch, tokens: Tokens) -> Result<Tensor> {
        let hidden = match tokens {
            Tokens::InSequence => network.hidden(&batch.tokens)?,
            Tokens::Alone => network.hidden_alone(&batch.tokens)?,
        };
        self.row_losses(network, batch, &hidden)?.mean(&batch.known, &self.importance())
    }

    /// The losses of a batch's rows, whose hidden states are at hand.
    pub fn row_losses(&self, network: &Network, batch: &Batch, hidden: &Tensor) -> Result<RowLosses> {
        self.losses_of(&network.forecast(hidden, &batch.positions)?, batch)
    }

    fn losses_of(&self, quantiles: &Tensor, batch: &Batch) -> Result<RowLosses> {
        RowLosses::new(&self.header.quantiles, quantiles, (&batch.future, &batch.weight), &self.importance())
    }

    /// What each knot's losses count.
    pub fn importance(&self) -> Vec<f32> {
        importance(self.aim, self.features.knots())
    }

    /// Moves the weights by a batch, at a share of the peak rate, and returns its loss.
    pub fn descend(
        &self,
        network: &Network,
        batch: &Batch,
        tokens: Tokens,
        optimizer: &mut AdamW,
        rate: f64,
    ) -> Result<f32> {
        let loss = self.loss(network, batch, tokens)?;
        self.follow(network, &loss, optimizer, rate)?;
        Ok(loss.to_scalar()?)
    }

    /// Moves the weights towards forecasts `[count][knots][quantiles]` of a batch of tokens that each are alone, at a share of
    /// the peak rate. Returns the batch's loss as [`Step::descend`] does.
    pub fn descend_towards(
        &self,
        network: &Network,
        (batch, forecasts): (&Batch, &Tensor),
        optimizer: &mut AdamW,
        rate: f64,
    ) -> Result<f32> {
        let quantiles = network.forecast(&network.hidden_alone(&batch.tokens)?, &batch.positions)?;
        let distance = distance(&quantiles, forecasts, &batch.weight, &self.importance())?;
        self.follow(network, &distance, optimizer, rate)?;
        Ok(self.losses_of(&quantiles.detach(), batch)?.mean(&batch.known, &self.importance())?.to_scalar()?)
    }

    /// Moves the weights down a loss.
    fn follow(&self, network: &Network, loss: &Tensor, optimizer: &mut AdamW, rate: f64) -> Result<()> {
        let gradients = loss.backward()?;
        let norm = gradient_norm(network.vars(), &gradients)?;
        let value = loss.to_scalar::<f32>()?;
        ensure!(
            norm.is_finite() && value.is_finite(),
            "the loss is {value} after {} steps, expected a finite number",
            optimizer.step
        );
        let clip = (MOST_GRADIENT / norm).min(1.0);
        optimizer.step(network.vars(), &gradients, clip, rate, group)
    }
}
