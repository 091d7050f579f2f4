//! A model bound to its bytes: every weight a slice of the file, nothing copied.
//!
//! With features u of a channel relative to its location, and its scale (`seasonal`):
//!
//! ```text
//! token    e = E [clamp(u/scale, ±12)/3, ln scale, location] + b      h = LN(blocks(e))
//! forecast z = L1 u                       y_j = location + L2_j · (z ⊙ (1 + tanh(G h + b_G)))
//!          q_j,τ = y_j + scale s_j (H_j,τ · h + b_j,τ), sorted over τ
//! ```
//!
//! L1 and L2 are the linear path (a reduced-rank regression of the future on u), the rest is the attention's residual.
//! L2 and s, the spread of the linear path's errors over the scale, are a channel's own; the rest is shared.

use core::fmt;

use crate::attention::FlowParameters;
use crate::block::Block;
use crate::format::{Channel, FormatError, Header, LEVEL_FEATURES};
use crate::linear::Linear;
use crate::math::{Real, ln};
use crate::norm::LayerNorm;
use crate::seasonal::{Level, MAX_FEATURES};

/// The widest token input.
const MAX_TOKEN: usize = MAX_FEATURES + LEVEL_FEATURES;
/// Scaled features enter a token divided by this, which brings most of them within ±1.
pub const TOKEN_DIVISOR: f32 = 3.0;

/// Why a model cannot run here.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are no model.
    Format(FormatError),
    /// The model's backbone is another than the one that this program was built for.
    Backbone {
        /// Which dimension differs.
        name: &'static str,
        /// The model's.
        found: u16,
        /// The program's.
        expected: u16,
    },
    /// The model needs more than this program holds memory for.
    Capacity {
        /// What there is too little of.
        name: &'static str,
        /// What the model needs.
        found: u16,
        /// What the program holds.
        capacity: u16,
    },
}

impl From<FormatError> for ModelError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Backbone { name, found, expected } => {
                write!(f, "model has {name} {found}, this program was built for {expected}")
            }
            Self::Capacity { name, found, capacity } => {
                write!(f, "model needs {found} {name}, this program holds {capacity}")
            }
        }
    }
}

impl core::error::Error for ModelError {}

/// A checked model: header and weights, all borrowed from the file's bytes.
#[derive(Debug, Clone)]
pub struct Model<'m, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize> {
    header: Header,
    bytes: &'m [u8],
    embed: Linear<'m>,
    blocks: [Block<'m, HEADS>; LAYERS],
    norm: LayerNorm<'m>,
    reduce: Linear<'m>,
    gate: Linear<'m>,
    /// `[readouts][horizon][rank]`
    readout: &'m [f32],
    /// `[channels][horizon]`
    spread: &'m [f32],
    /// `[horizon][quantiles][D_MODEL]`
    head_weight: &'m [f32],
    /// `[horizon][quantiles]`
    head_bias: &'m [f32],
}

/// Hands out the tensors in the order in which they lie.
struct Tensors<'m> {
    rest: &'m [f32],
}

impl<'m> Tensors<'m> {
    fn take(&mut self, count: usize) -> &'m [f32] {
        // `Header::weights` has checked the length of the whole.
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn linear(&mut self, outputs: usize, inputs: usize, bias: usize) -> Linear<'m> {
        Linear { weight: self.take(outputs * inputs), bias: self.take(bias), inputs }
    }

    fn norm(&mut self, width: usize) -> LayerNorm<'m> {
        LayerNorm { gain: self.take(width), bias: self.take(width) }
    }
}

impl<'m, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    Model<'m, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// Checks a model file and binds it. `bytes` starts at a multiple of 4; what follows the model is ignored.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, ModelError> {
        const { assert!(D_MODEL > 0 && D_MODEL == HEADS * HEAD_DIM, "D_MODEL is HEADS times HEAD_DIM") };
        let header = Header::parse(bytes)?;
        for (name, found, expected) in [
            ("d_model", header.d_model, D_MODEL),
            ("heads", header.heads, HEADS),
            ("head_dim", header.head_dim, HEAD_DIM),
            ("layers", header.layers, LAYERS),
        ] {
            let expected = expected as u16;
            if found != expected {
                return Err(ModelError::Backbone { name, found, expected });
            }
        }
        let mut tensors = Tensors { rest: header.weights(bytes)? };
        let rank = usize::from(header.rank);
        let d_ff = usize::from(header.d_ff);
        let horizon = usize::from(header.horizon);
        let embed = tensors.linear(D_MODEL, header.token_features(), D_MODEL);
        let blocks = core::array::from_fn(|layer| {
            let mut memory_gain = [0.0; HEADS];
            for (gain, stored) in memory_gain.iter_mut().zip(header.head_gains(bytes, layer)) {
                *gain = stored;
            }
            let flow = FlowParameters { memory_gain, source_clamp: header.source_clamp, flow_limit: header.flow_limit };
            Block {
                norm_attention: tensors.norm(D_MODEL),
                query: tensors.linear(D_MODEL, D_MODEL, D_MODEL),
                key: tensors.linear(D_MODEL, D_MODEL, D_MODEL),
                value: tensors.linear(D_MODEL, D_MODEL, D_MODEL),
                output: tensors.linear(D_MODEL, D_MODEL, D_MODEL),
                flow,
                norm_feed_forward: tensors.norm(D_MODEL),
                expand: tensors.linear(d_ff, D_MODEL, d_ff),
                contract: tensors.linear(d_ff, D_MODEL, D_MODEL),
            }
        });
        let norm = tensors.norm(D_MODEL);
        let reduce = tensors.linear(rank, header.season.features(), 0);
        let gate = tensors.linear(rank, D_MODEL, rank);
        let readout = tensors.take(usize::from(header.readouts) * horizon * rank);
        let spread = tensors.take(usize::from(header.channels) * horizon);
        let head_weight = tensors.take(horizon * header.quantiles.len() * D_MODEL);
        let head_bias = tensors.take(horizon * header.quantiles.len());
        Ok(Self { header, bytes, embed, blocks, norm, reduce, gate, readout, spread, head_weight, head_bias })
    }

    /// What the file says of the model.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A channel's name, unit and ranges.
    pub fn channel(&self, index: usize) -> Option<Channel<'m>> {
        self.header.channel(self.bytes, index)
    }

    /// The blocks, whose states the caller holds.
    pub fn blocks(&self) -> &[Block<'m, HEADS>; LAYERS] {
        &self.blocks
    }

    /// A token from features: `E [clamp(u/scale, ±12)/3, ln scale, location] + b`.
    #[inline]
    pub fn embed(&self, features: &[f32; MAX_FEATURES], level: &Level) -> [f32; D_MODEL] {
        let clamp = self.header.feature_clamp;
        let inverse = 1.0 / level.scale;
        let mut input = [0.0; MAX_TOKEN];
        let count = self.header.season.features();
        let used = input.get_mut(..count + LEVEL_FEATURES).unwrap_or_default();
        for (input, feature) in used.iter_mut().zip(features) {
            *input = (feature * inverse).at_most(clamp).at_least(-clamp) / TOKEN_DIVISOR;
        }
        if let Some(last) = used.last_chunk_mut::<LEVEL_FEATURES>() {
            *last = [ln(level.scale), level.location];
        }
        let mut token = [0.0; D_MODEL];
        self.embed.apply(used, &mut token);
        token
    }

    /// The last norm.
    #[inline]
    pub fn norm(&self, token: &[f32; D_MODEL]) -> [f32; D_MODEL] {
        self.norm.apply(token)
    }

    /// z ⊙ (1 + tanh(G h + b)), z = L1 u: `[rank]` numbers.
    pub fn reduce(&self, features: &[f32; MAX_FEATURES], hidden: &[f32; D_MODEL], reduced: &mut [f32]) {
        let mut gate = [0.0; crate::format::MAX_RANK];
        let features = features.get(..self.header.season.features()).unwrap_or_default();
        self.reduce.apply(features, reduced);
        self.gate.apply(hidden, &mut gate);
        for (reduced, gate) in reduced.iter_mut().zip(&gate) {
            *reduced *= 1.0 + crate::math::tanh(*gate);
        }
    }

    /// Row of the linear path for one channel and step, `[rank]`.
    pub fn readout(&self, channel: usize, step: usize) -> &'m [f32] {
        let readout = if self.header.readouts == 1 { 0 } else { channel };
        row(self.readout, readout * usize::from(self.header.horizon) + step, self.header.rank.into())
    }

    /// s: what a residual of 1 means for one channel and step, in scales.
    pub fn spread(&self, channel: usize, step: usize) -> f32 {
        row(self.spread, channel * usize::from(self.header.horizon) + step, 1).first().copied().unwrap_or(0.0)
    }

    /// Weights, `[quantiles][D_MODEL]`, and biases, `[quantiles]`, of the residual's head at one step.
    pub fn head(&self, step: usize) -> (&'m [f32], &'m [f32]) {
        let quantiles = self.header.quantiles.len();
        (row(self.head_weight, step, quantiles * D_MODEL), row(self.head_bias, step, quantiles))
    }
}

/// The `index`-th run of `width` numbers; empty beyond the last.
fn row(weights: &[f32], index: usize, width: usize) -> &[f32] {
    weights.get(index * width..).and_then(|rest| rest.get(..width)).unwrap_or_default()
}
