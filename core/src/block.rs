//! One pre-norm block: x += O·Flow(Q, K, V of LN x); x += contract·ReLU(expand·LN x).

use crate::attention::{FlowParameters, FlowState, FlowTrace};
use crate::linear::{Linear, add};
use crate::norm::LayerNorm;

/// A block's weights, where they lie, and its attention's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Block<'m, const HEADS: usize> {
    /// Before the attention.
    pub norm_attention: LayerNorm<'m>,
    /// `[D_MODEL][D_MODEL]`, rows by head.
    pub query: Linear<'m>,
    /// As `query`.
    pub key: Linear<'m>,
    /// As `query`.
    pub value: Linear<'m>,
    /// `[D_MODEL][D_MODEL]`
    pub output: Linear<'m>,
    /// The attention's memories and bounds.
    pub flow: FlowParameters<f32, HEADS>,
    /// Before the feed-forward layer.
    pub norm_feed_forward: LayerNorm<'m>,
    /// `[D_FF][D_MODEL]`
    pub expand: Linear<'m>,
    /// The transpose of the second layer, `[D_FF][D_MODEL]`, so that a hidden unit is used once and never stored; its
    /// bias is `[D_MODEL]`.
    pub contract: Linear<'m>,
}

impl<const HEADS: usize> Block<'_, HEADS> {
    /// Takes one token, `[D_MODEL]`, and turns it into the block's output. `trace` sees each head's flows; where it
    /// does not look, they are not computed.
    #[inline]
    pub fn step<const D_MODEL: usize, const HEAD_DIM: usize>(
        &self,
        state: &mut FlowState<f32, HEADS, HEAD_DIM>,
        x: &mut [f32; D_MODEL],
        trace: impl FnOnce(&[FlowTrace<f32>; HEADS]),
    ) {
        const { assert!(D_MODEL == HEADS * HEAD_DIM, "D_MODEL is HEADS times HEAD_DIM") };
        let normed = self.norm_attention.apply(x);
        let project = |layer: &Linear<'_>| {
            let mut y = [[0.0; HEAD_DIM]; HEADS];
            layer.apply(&normed, y.as_flattened_mut());
            y
        };
        let (query, key, value) = (project(&self.query), project(&self.key), project(&self.value));
        let mut received = [[0.0; HEAD_DIM]; HEADS];
        trace(&state.step(&self.flow, [&query, &key, &value], &mut received));
        let mut mixed = [0.0; D_MODEL];
        self.output.apply(received.as_flattened(), &mut mixed);
        add(x, &mixed, 1.0);

        let normed = self.norm_feed_forward.apply(x);
        add(x, self.contract.bias, 1.0);
        for (unit, bias) in self.expand.bias.iter().enumerate() {
            let hidden = self.expand.weight.row(unit, D_MODEL).dot(&normed) + bias;
            // A select: a skipped column would make the cost depend on the data.
            let hidden = if hidden > 0.0 { hidden } else { 0.0 };
            self.contract.weight.row(unit, D_MODEL).add_to(hidden, x);
        }
    }
}
