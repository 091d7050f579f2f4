//! One pre-norm block: x += O·Flow(Q, K, V of LN x); x += contract·ReLU(expand·LN x).

use crate::attention::{FlowParameters, FlowState, FlowTrace};
use crate::fixed::Fixed;
use crate::kernel::Layout;
use crate::linear::{Input, Linear, Matrix, Scaled, add, dot, run};
use crate::math::Real as _;
use crate::norm::LayerNorm;
use crate::part::{Marks, Part};

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
    /// The second layer.
    pub contract: Contract<'m>,
}

/// The second layer of the feed-forward, laid out so that few hidden units are ever stored.
#[derive(Debug, Clone, Copy)]
pub struct Contract<'m> {
    /// `f32`: the transpose, `[D_FF][D_MODEL]`, so that a hidden unit is used once and never stored. Of eight bits:
    /// matrices of `[D_MODEL][D_MODEL]` one after the other, each for the next hidden units, the last one for those that
    /// are left; they have their rows' scales in common.
    pub weight: Matrix<'m>,
    /// `[D_MODEL]`
    pub bias: &'m [f32],
}

impl<const HEADS: usize> Block<'_, HEADS> {
    /// Takes one token, `[D_MODEL]`, and turns it into the block's output. `trace` sees each head's flows; where it
    /// does not look, they are not computed.
    #[inline]
    pub fn step<const D_MODEL: usize, const HEAD_DIM: usize, M: Marks>(
        &self,
        state: &mut FlowState<f32, HEADS, HEAD_DIM>,
        x: &mut [f32; D_MODEL],
        trace: impl FnOnce(&[FlowTrace<f32>; HEADS]),
    ) {
        const { assert!(D_MODEL == HEADS * HEAD_DIM, "D_MODEL is HEADS times HEAD_DIM") };
        let eight_bit = self.query.weight.is_eight_bit();
        let mut room = Fixed::<D_MODEL>::ZERO;
        M::begin(Part::Norm);
        let normed = self.norm_attention.apply(x);
        M::begin(Part::Projections);
        let input = Input::new(&normed, &mut room, eight_bit);
        let project = |layer: &Linear<'_>| {
            let mut y = [[0.0; HEAD_DIM]; HEADS];
            layer.apply(&input, y.as_flattened_mut());
            y
        };
        let (query, key, value) = (project(&self.query), project(&self.key), project(&self.value));
        M::begin(Part::Attention);
        let mut received = [[0.0; HEAD_DIM]; HEADS];
        trace(&state.step(&self.flow, [&query, &key, &value], &mut received));
        M::begin(Part::Output);
        let mut mixed = [0.0; D_MODEL];
        self.output.apply(&Input::new(received.as_flattened(), &mut room, eight_bit), &mut mixed);
        add(x, &mixed, 1.0);

        M::begin(Part::Norm);
        let normed = self.norm_feed_forward.apply(x);
        M::begin(Part::FeedForward);
        add(x, self.contract.bias, 1.0);
        match (&self.expand.weight, &self.contract.weight) {
            (Matrix::F32(expand), Matrix::F32(contract)) => {
                for (unit, bias) in self.expand.bias.iter().enumerate() {
                    // A select: a skipped unit would make the cost depend on the data.
                    let hidden = (dot(run(expand, unit, D_MODEL), &normed) + bias).at_least(0.0);
                    add(x, run(contract, unit, D_MODEL), hidden);
                }
            }
            (Matrix::I8(expand), Matrix::I8(contract)) => {
                let input = Input::new(&normed, &mut room, true);
                let mut room = Fixed::<D_MODEL>::ZERO;
                // So many hidden units at a time as the token is wide: both layers' next weights.
                let words = Layout::Blocks.words(D_MODEL, D_MODEL).max(1);
                let layers = expand.weights.chunks(words).zip(contract.weights.chunks(words));
                let outputs = expand.scales.chunks(D_MODEL).zip(self.expand.bias.chunks(D_MODEL));
                for ((expand, contracted), (scales, bias)) in layers.zip(outputs) {
                    let mut hidden = [0.0; D_MODEL];
                    let units = hidden.get_mut(..bias.len()).unwrap_or_default();
                    let expand = Linear { weight: Matrix::I8(Scaled { weights: expand, scales }), bias };
                    expand.apply(&input, units);
                    for unit in &mut *units {
                        *unit = unit.at_least(0.0);
                    }
                    let contract = Matrix::I8(Scaled { weights: contracted, scales: contract.scales });
                    contract.add_product(&Input::new(units, &mut room, true), x);
                }
            }
            // A file has one form for all its weights.
            _ => {}
        }
    }
}
