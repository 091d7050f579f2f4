//! A model bound to its bytes: every weight a slice of the file, nothing copied.
//!
//! With features of a channel relative to its location, and its scale (`seasonal`): u for the token, and for the readout
//! f_j, whose first part holds the seasonal memories where step j will fall and whose second part stands for every step:
//!
//! ```text
//! token    e = E [clamp(u/scale, ±12)/3, ln scale, location] + b      h = LN(blocks(e))
//! forecast y_j   = location + W_j · (f_j ⊙ (1 + tanh(G h + b_G)))
//!          q_j,τ = y_j + scale s_j (H_j,τ · h + b_j,τ), sorted over τ
//! ```
//!
//! W is the linear path (a regression of the future on f), the rest is the attention's residual. W and s, the spread of
//! the linear path's errors over the scale, are a channel's own; the rest is shared. W, s, H and b stand for some steps,
//! the knots: every one at first, then ever fewer. Between two knots, what they say is interpolated over the step.

use core::fmt;

use crate::attention::FlowParameters;
use crate::block::{Block, Contract};
use crate::conformal::Factors;
use crate::format::{Channel, FormatError, Header, LEVEL_FEATURES, MAX_QUANTILES, Tensors};
use crate::kernel::COLUMNS;
use crate::linear::{Input, Linear, Row, Rows, run};
use crate::math::{Real, ln, tanh};
use crate::norm::LayerNorm;
use crate::probe::{GROUPS, Groups};
use crate::retrieval::{Encoder, HIDDEN, KEY, SUMMARY};
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
    encoder: Option<Encoder<'m>>,
    embed: Linear<'m>,
    blocks: [Block<'m, HEADS>; LAYERS],
    norm: LayerNorm<'m>,
    gate: Linear<'m>,
    /// Steps ahead that the tensors below stand for, ascending. `[knots]`
    knots: &'m [u16],
    /// `[readouts][knots][readout_features]`
    readout: Rows<'m>,
    /// `[targets][knots]`
    spread: &'m [f32],
    /// `[knots][quantiles][D_MODEL]`
    head_weight: Rows<'m>,
    /// `[knots][quantiles]`
    head_bias: &'m [f32],
    /// Below and above the median. `[targets][GROUPS][2]`
    factors: &'m [f32],
    groups: Groups,
}

/// Where a step lies among the knots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// The knot at the step or before it.
    pub knot: usize,
    /// How far the step is on the way to the next knot, in 0..1.
    pub fraction: f32,
}

/// What a knot says of a channel, but for what depends on the step.
#[derive(Debug, Clone, Copy)]
pub struct KnotForecast<'m> {
    /// Weights of what is read where the step will fall.
    pub aligned: Row<'m>,
    /// The rest of the point forecast, relative to the location.
    pub standing: f32,
    /// The residual of each quantile, in scales: s (H h + b).
    pub residual: [f32; MAX_QUANTILES],
}

impl<'m, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    Model<'m, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// Checks a model file and binds it. `bytes` starts at a multiple of 4; what follows the model is ignored.
    ///
    /// # Errors
    /// The bytes are no model, or one of another backbone.
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
        let mut tensors = Tensors::new(&header, bytes)?;
        let linear = |tensors: &mut Tensors<'m>, outputs: usize, inputs: usize, bias: usize| {
            let weight = tensors.matrix(outputs, inputs);
            Linear { weight, bias: tensors.vector(bias) }
        };
        let norm = |tensors: &mut Tensors<'m>| {
            let gain = tensors.vector(D_MODEL);
            LayerNorm { gain, bias: tensors.vector(D_MODEL) }
        };
        let d_ff = usize::from(header.d_ff);
        let knots = usize::from(header.knots);
        let features = header.readout_features();
        let encoder = header.seasons.retrieval.map(|_| Encoder {
            expand: linear(&mut tensors, HIDDEN, SUMMARY, HIDDEN),
            key: linear(&mut tensors, KEY, HIDDEN, KEY),
            query: linear(&mut tensors, KEY, HIDDEN, KEY),
        });
        let embed = linear(&mut tensors, D_MODEL, header.token_features(), D_MODEL);
        let blocks = core::array::from_fn(|layer| {
            let mut memory_gain = [0.0; HEADS];
            for (gain, stored) in memory_gain.iter_mut().zip(header.head_gains(bytes, layer)) {
                *gain = stored;
            }
            let flow = FlowParameters { memory_gain, source_clamp: header.source_clamp, flow_limit: header.flow_limit };
            Block {
                norm_attention: norm(&mut tensors),
                query: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                key: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                value: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                output: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                flow,
                norm_feed_forward: norm(&mut tensors),
                expand: linear(&mut tensors, d_ff, D_MODEL, d_ff),
                contract: Contract { weight: tensors.transposed(d_ff, D_MODEL), bias: tensors.vector(D_MODEL) },
            }
        });
        let last_norm = norm(&mut tensors);
        let gate = linear(&mut tensors, features, D_MODEL, features);
        let readout = tensors.rows(usize::from(header.readouts) * knots, header.readout_parts());
        let spread = tensors.vector(usize::from(header.targets) * knots);
        let head_weight = tensors.rows(knots * header.quantiles.len(), [0, D_MODEL]);
        let head_bias = tensors.vector(knots * header.quantiles.len());
        let factors = tensors.vector(usize::from(header.targets) * GROUPS * 2);
        let knots = header.knots(bytes)?;
        let groups = Groups::new(header.horizon);
        Ok(Self {
            header,
            bytes,
            encoder,
            embed,
            blocks,
            norm: last_norm,
            gate,
            knots,
            readout,
            spread,
            head_weight,
            head_bias,
            factors,
            groups,
        })
    }

    /// What the file says of the model.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A channel's name, unit and ranges.
    pub fn channel(&self, index: usize) -> Option<Channel<'m>> {
        self.header.channel(self.bytes, index)
    }

    /// How the steps ahead are grouped for what is learned online.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The interval's correction that a channel starts with, as training left it.
    pub fn factors(&self, channel: usize) -> [Factors; GROUPS] {
        let stored = run(self.factors, channel, 2 * GROUPS).as_chunks::<2>().0;
        core::array::from_fn(|group| {
            stored.get(group).map_or(Factors::ONE, |[lower, upper]| Factors { lower: *lower, upper: *upper })
        })
    }

    /// What makes keys of the seasonal Flow-Attention, if the model has one.
    pub fn encoder(&self) -> Option<&Encoder<'m>> {
        self.encoder.as_ref()
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
        let count = self.header.seasons.features();
        let used = input.get_mut(..count + LEVEL_FEATURES).unwrap_or_default();
        for (input, feature) in used.iter_mut().zip(features) {
            *input = (feature * inverse).at_most(clamp).at_least(-clamp) / TOKEN_DIVISOR;
        }
        if let Some(last) = used.last_chunk_mut::<LEVEL_FEATURES>() {
            *last = [ln(level.scale), level.location];
        }
        let mut token = [0.0; D_MODEL];
        self.embed.apply_once::<{ MAX_TOKEN.next_multiple_of(COLUMNS) }>(used, &mut token);
        token
    }

    /// The last norm.
    #[inline]
    pub fn norm(&self, token: &[f32; D_MODEL]) -> [f32; D_MODEL] {
        self.norm.apply(token)
    }

    /// 1 + tanh(G h + b), one for each feature of the readout: `[readout_features]`.
    pub fn gates(&self, hidden: &Input<'_>, gates: &mut [f32]) {
        self.gate.apply(hidden, gates);
        for gate in gates {
            *gate = 1.0 + tanh(*gate);
        }
    }

    /// Where a step ahead, 1 to the horizon, lies among the knots.
    pub fn place(&self, step: u16) -> Place {
        // Every knot is looked at: a search's cost would depend on the step. The first knot is step 1.
        let after: usize = self.knots.iter().map(|knot| usize::from(*knot <= step)).sum();
        let knot = after.saturating_sub(1);
        let [begin, end] = [knot, after].map(|index| self.knots.get(index).copied().unwrap_or(step));
        let width = f32::from(end.saturating_sub(begin)).at_least(1.0);
        Place { knot, fraction: f32::from(step.saturating_sub(begin)) / width }
    }

    /// What one knot (the last one, beyond it) says of a channel: `standing` are the readout's features that are the same for every step, gated,
    /// and `hidden` the last block's output.
    pub fn at_knot(&self, channel: usize, knot: usize, standing: &Input<'_>, hidden: &Input<'_>) -> KnotForecast<'m> {
        let knots = self.knots.len();
        let knot = knot.min(knots.saturating_sub(1));
        let readout = if self.header.readouts == 1 { 0 } else { channel };
        let [left, right] = self.header.readout_parts();
        let [aligned, rest] = self.readout.row(readout * knots + knot, left, right);
        let spread = self.spread.get(channel * knots + knot).copied().unwrap_or(0.0);
        let quantiles = self.header.quantiles.len();
        let mut residual = [0.0; MAX_QUANTILES];
        let biases = run(self.head_bias, knot, quantiles);
        for (quantile, (residual, bias)) in residual.iter_mut().zip(biases).enumerate() {
            let [_, row] = self.head_weight.row(knot * quantiles + quantile, 0, D_MODEL);
            *residual = spread * (row.dot(hidden) + bias);
        }
        KnotForecast { aligned, standing: rest.dot(standing), residual }
    }
}
