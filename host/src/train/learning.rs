//! How a training went, kept beside the weights so that a report can draw it.

use serde::{Deserialize, Serialize};

use super::validation::Validation;

/// Curves of a training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// The closed form, from the same rows as the epochs.
    pub start: Validation,
    /// After each epoch of [`super::EPOCH_STEPS`] steps.
    pub epochs: Vec<Validation>,
    /// Loss of each step's batch.
    pub losses: Vec<f32>,
    /// The epoch whose weights were kept, or a share of them; 0 is the closed form.
    pub kept: usize,
}
