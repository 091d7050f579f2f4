//! One pre-norm block: x += O·Flow(Q, K, V of LN x), where it has an attention; x += contract·ReLU(expand·LN x).

use crate::attention::{FlowParameters, FlowState, FlowTrace};
use crate::linear::{Element, Linear};
use crate::norm::LayerNorm;
use crate::part::{Marks, Part};

/// A block's weights, where they lie.
#[derive(Debug, Clone, Copy)]
pub struct Block<'m, R: Element, const HEADS: usize> {
    /// `None`: a token receives nothing from those before it.
    pub attention: Option<Attention<'m, R, HEADS>>,
    /// Before the feed-forward layer.
    pub norm_feed_forward: LayerNorm<'m, R>,
    /// `[D_FF][D_MODEL]`
    pub expand: Linear<'m, R>,
    /// The second layer, laid out so that few hidden units are ever stored. Of `f32` it is the transpose,
    /// `[D_FF][D_MODEL]`; of eight bits it is matrices of `[D_MODEL][D_MODEL]` one after the other.
    pub contract: Linear<'m, R>,
}

/// A block's Flow-Attention: its norm and projections, and the cell's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'m, R: Element, const HEADS: usize> {
    /// Of what is projected.
    pub norm: LayerNorm<'m, R>,
    /// `[D_MODEL][D_MODEL]`, rows by head.
    pub query: Linear<'m, R>,
    /// As `query`.
    pub key: Linear<'m, R>,
    /// As `query`.
    pub value: Linear<'m, R>,
    /// `[D_MODEL][D_MODEL]`
    pub output: Linear<'m, R>,
    /// Memories and bounds.
    pub flow: FlowParameters<R, HEADS>,
}

impl<R: Element, const HEADS: usize> Block<'_, R, HEADS> {
    /// Takes one token, `[D_MODEL]`, and turns it into the block's output. `state` is its attention's, `None` where it has
    /// none. `trace` sees each head's flows; where it does not look, they are not computed.
    #[inline]
    pub fn step<const D_MODEL: usize, const HEAD_DIM: usize, M: Marks>(
        &self,
        state: Option<&mut FlowState<R, HEADS, HEAD_DIM>>,
        x: &mut [R; D_MODEL],
        trace: impl FnOnce(&[FlowTrace<R>; HEADS]),
    ) {
        if let (Some(attention), Some(state)) = (&self.attention, state) {
            attention.step::<D_MODEL, HEAD_DIM, M>(state, x, trace);
        }
        M::begin(Part::Norm);
        let normed = self.norm_feed_forward.apply(x);
        M::begin(Part::FeedForward);
        R::feed_forward(&self.expand, &self.contract, &normed, x);
    }
}

impl<R: Element, const HEADS: usize> Attention<'_, R, HEADS> {
    #[inline]
    fn step<const D_MODEL: usize, const HEAD_DIM: usize, M: Marks>(
        &self,
        state: &mut FlowState<R, HEADS, HEAD_DIM>,
        x: &mut [R; D_MODEL],
        trace: impl FnOnce(&[FlowTrace<R>; HEADS]),
    ) {
        const { assert!(D_MODEL == HEADS * HEAD_DIM, "D_MODEL is HEADS times HEAD_DIM") };
        let mut room = R::room::<D_MODEL>();
        M::begin(Part::Norm);
        let normed = self.norm.apply(x);
        M::begin(Part::Projections);
        let limit = R::tighter(self.query.limit(), R::tighter(self.key.limit(), self.value.limit()));
        R::prepare(&normed, limit, &mut room);
        let input = R::input(&normed, &room);
        let project = |layer: &Linear<'_, R>| {
            let mut y = [[R::ZERO; HEAD_DIM]; HEADS];
            layer.apply(input, y.as_flattened_mut());
            y
        };
        let (query, key, value) = (project(&self.query), project(&self.key), project(&self.value));
        M::begin(Part::Attention);
        let mut received = [[R::ZERO; HEAD_DIM]; HEADS];
        trace(&state.step(&self.flow, [&query, &key, &value], &mut received));
        M::begin(Part::Output);
        let mut mixed = [R::ZERO; D_MODEL];
        self.output.apply_once::<D_MODEL>(received.as_flattened(), &mut mixed);
        for (x, mixed) in x.iter_mut().zip(mixed) {
            *x += mixed;
        }
    }
}
