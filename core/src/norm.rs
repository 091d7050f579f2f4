//! Layer normalisation: y = gain (x − mean) / √(variance + ε) + bias, over one token.

use crate::linear::Element;

/// ε of every layer norm.
pub const NORM_EPSILON: f32 = 1e-5;

/// A layer norm's weights, where they lie.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'m, R: Element> {
    /// `[D_MODEL]`
    pub gain: &'m [R::Number],
    /// `[D_MODEL]`
    pub bias: &'m [R::Number],
}

impl<R: Element> LayerNorm<'_, R> {
    /// Normalises one token, `[D_MODEL]`.
    #[inline]
    pub fn apply<const D_MODEL: usize>(&self, x: &[R; D_MODEL]) -> [R; D_MODEL] {
        R::normalize(x, self.gain, self.bias)
    }
}
