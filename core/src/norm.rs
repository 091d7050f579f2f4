//! Layer normalisation: y = gain (x − mean) / √(variance + ε) + bias, over one token.

use crate::math::{Real, rsqrt};

/// ε of every layer norm.
pub const NORM_EPSILON: f32 = 1e-5;

/// Larger variances count as this one, so that the square of a finite token never becomes infinite.
const MAX_VARIANCE: f32 = 1e30;

/// A layer norm's weights, where they lie.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'m> {
    /// `[D_MODEL]`
    pub gain: &'m [f32],
    /// `[D_MODEL]`
    pub bias: &'m [f32],
}

impl LayerNorm<'_> {
    /// Normalises one token, `[D_MODEL]`.
    #[inline]
    pub fn apply<const D_MODEL: usize>(&self, x: &[f32; D_MODEL]) -> [f32; D_MODEL] {
        let count = D_MODEL as f32;
        let mean = x.iter().fold(0.0, |sum, x| sum + x) / count;
        let variance = x.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / count;
        let inverse = rsqrt(variance.at_most(MAX_VARIANCE) + NORM_EPSILON);
        let mut y = [0.0; D_MODEL];
        for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(self.gain).zip(self.bias) {
            *y = (x - mean) * inverse * gain + bias;
        }
        y
    }
}
