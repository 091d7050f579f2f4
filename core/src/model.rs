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
use crate::block::{Attention, Block};
use crate::conformal::Factors;
use crate::format::{Channel, FormatError, Header, LEVEL_FEATURES, MAX_QUANTILES, Tensors};
use crate::kernel::COLUMNS;
pub use crate::linear::TOKEN_DIVISOR;
use crate::linear::{Element, Linear, Numeric, Vector, run};
use crate::norm::LayerNorm;
use crate::probe::{GROUPS, Groups};
use crate::retrieval::{Encoder, HIDDEN, KEY, SUMMARY};
use crate::seasonal::{Level, MAX_FEATURES};

/// The widest token input.
const MAX_TOKEN: usize = MAX_FEATURES + LEVEL_FEATURES;

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
    /// The model computes in another way than the one that this program was built for.
    Numeric {
        /// The model's.
        found: Numeric,
        /// The program's.
        expected: Numeric,
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
            Self::Numeric { found, expected } => {
                let (found, expected) = (found.name(), expected.name());
                write!(f, "model computes in {found}, this program was built for {expected}")
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
pub struct Model<'m, R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize> {
    header: Header,
    bytes: &'m [u8],
    encoder: Option<Encoder<'m, R>>,
    embed: Linear<'m, R>,
    blocks: [Block<'m, R, HEADS>; LAYERS],
    norm: LayerNorm<'m, R>,
    gate: Linear<'m, R>,
    /// Steps ahead that the tensors below stand for, ascending. `[knots]`
    knots: &'m [u16],
    /// `[readouts][knots][readout_features]`
    readout: R::Rows<'m>,
    /// `[targets][knots]`
    spread: &'m [R::Number],
    /// `[knots][quantiles][D_MODEL]`
    head_weight: R::Rows<'m>,
    /// `[knots][quantiles]`
    head_bias: &'m [R::Number],
    /// Below and above the median. `[targets][GROUPS][2]`
    factors: &'m [R::Number],
    groups: Groups<R>,
    /// How far scaled features enter a token.
    feature_clamp: R,
    /// Shares of samples that the lowest quantile promises below it and the highest above.
    tails: [R; 2],
}

/// Where a step lies among the knots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place<R> {
    /// The knot at the step or before it.
    pub knot: usize,
    /// How far the step is on the way to the next knot, in 0..1.
    pub fraction: R,
}

/// What a knot says of a channel, but for what depends on the step.
#[derive(Debug, Clone, Copy)]
pub struct KnotForecast<'m, R: Element> {
    /// Weights of what is read where the step will fall.
    pub aligned: R::Row<'m>,
    /// The rest of the point forecast, relative to the location.
    pub standing: R,
    /// The same, not gated; 0 where nobody asks.
    pub ungated: R,
    /// The residual of each quantile, in scales: s (H h + b).
    pub residual: [R; MAX_QUANTILES],
}

impl<'m, R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>
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
        if header.numeric != R::NUMERIC {
            return Err(ModelError::Numeric { found: header.numeric, expected: R::NUMERIC });
        }
        let mut tensors = Tensors::new(&header, bytes)?;
        let linear = |tensors: &mut Tensors<'m>, outputs: usize, inputs: usize, bias: usize| {
            let weight = tensors.matrix::<R>(outputs, inputs);
            Linear::<R> { weight, bias: tensors.vector::<R>(bias) }
        };
        let norm = |tensors: &mut Tensors<'m>| {
            let gain = tensors.vector::<R>(D_MODEL);
            LayerNorm::<R> { gain, bias: tensors.vector::<R>(D_MODEL) }
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
            let attention = header.attention.then(|| {
                let mut memory_gain = [R::ZERO; HEADS];
                for (gain, stored) in memory_gain.iter_mut().zip(header.head_gains(bytes, layer)) {
                    *gain = R::of(stored);
                }
                let [source_clamp, flow_limit] = [header.source_clamp, header.flow_limit].map(R::of);
                Attention {
                    norm: norm(&mut tensors),
                    query: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                    key: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                    value: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                    output: linear(&mut tensors, D_MODEL, D_MODEL, D_MODEL),
                    flow: FlowParameters { memory_gain, source_clamp, flow_limit },
                }
            });
            Block {
                attention,
                norm_feed_forward: norm(&mut tensors),
                expand: linear(&mut tensors, d_ff, D_MODEL, d_ff),
                contract: Linear { weight: tensors.transposed::<R>(d_ff, D_MODEL), bias: tensors.vector::<R>(D_MODEL) },
            }
        });
        let last_norm = norm(&mut tensors);
        let gate = linear(&mut tensors, features, D_MODEL, features);
        let readout = tensors.rows::<R>(usize::from(header.readouts) * knots, header.readout_parts());
        let spread = tensors.vector::<R>(usize::from(header.targets) * knots);
        let head_weight = tensors.rows::<R>(knots * header.quantiles.len(), [0, D_MODEL]);
        let head_bias = tensors.vector::<R>(knots * header.quantiles.len());
        let factors = tensors.vector::<R>(usize::from(header.targets) * GROUPS * 2);
        tensors.check()?;
        let knots = header.knots(bytes)?;
        let groups = Groups::new(header.horizon);
        let feature_clamp = R::of(header.feature_clamp);
        let [lowest, highest] =
            [header.quantiles.first(), header.quantiles.last()].map(|level| level.copied().map_or(R::ZERO, R::of));
        let tails = [lowest, R::ONE - highest];
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
            feature_clamp,
            tails,
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
    pub fn groups(&self) -> &Groups<R> {
        &self.groups
    }

    /// Shares of samples that the lowest quantile promises below it and the highest above.
    pub fn tails(&self) -> [R; 2] {
        self.tails
    }

    /// The interval's correction that a channel starts with, as training left it.
    pub fn factors(&self, channel: usize) -> [Factors<R>; GROUPS] {
        let stored = run(self.factors, channel, 2 * GROUPS).as_chunks::<2>().0;
        core::array::from_fn(|group| {
            stored
                .get(group)
                .map_or(Factors::ONE, |[lower, upper]| Factors { lower: R::number(*lower), upper: R::number(*upper) })
        })
    }

    /// What makes keys of the seasonal Flow-Attention, if the model has one.
    pub fn encoder(&self) -> Option<&Encoder<'m, R>> {
        self.encoder.as_ref()
    }

    /// The blocks, whose attentions' states the caller holds.
    pub fn blocks(&self) -> &[Block<'m, R, HEADS>; LAYERS] {
        &self.blocks
    }

    /// A token from features: `E [clamp(u/scale, ±12)/3, ln scale, location] + b`.
    #[inline]
    pub fn embed(&self, features: &[R; MAX_FEATURES], level: &Level<R>) -> [R; D_MODEL] {
        let mut input = [R::ZERO; MAX_TOKEN];
        let count = self.header.seasons.features();
        let used = input.get_mut(..count + LEVEL_FEATURES).unwrap_or_default();
        let mut room = R::room::<{ MAX_TOKEN.next_multiple_of(COLUMNS) }>();
        let last = [level.scale.ln(), level.location];
        R::prepare_token(features, level.scale, self.feature_clamp, last, self.embed.limit(), used, &mut room);
        let mut token = [R::ZERO; D_MODEL];
        self.embed.apply(R::input(used, &room), &mut token);
        token
    }

    /// The last norm.
    #[inline]
    pub fn norm(&self, token: &[R; D_MODEL]) -> [R; D_MODEL] {
        self.norm.apply(token)
    }

    /// What the layers that take the last block's output can bear of it.
    #[inline]
    pub fn hidden_limit(&self) -> R::Limit {
        self.gate.limit()
    }

    /// 1 + tanh(G h + b), one for each feature of the readout: `[readout_features]`.
    pub fn gates(&self, hidden: R::Input<'_>, gates: &mut [R]) {
        self.gate.apply(hidden, gates);
        for gate in gates {
            *gate = R::ONE + gate.tanh();
        }
    }

    /// Where a step ahead, 1 to the horizon, lies among the knots.
    pub fn place(&self, step: u16) -> Place<R> {
        // Every knot is looked at: a search's cost would depend on the step. The first knot is step 1.
        let after: usize = self.knots.iter().map(|knot| usize::from(*knot <= step)).sum();
        let knot = after.saturating_sub(1);
        let [begin, end] = [knot, after].map(|index| self.knots.get(index).copied().unwrap_or(step));
        let [way, width] = [step, end].map(|end| u32::from(end.saturating_sub(begin)));
        Place { knot, fraction: R::ratio(way, width.max(1)) }
    }

    /// What one knot (the last one, beyond it) says of a channel: `standing` are the readout's features that are the same for
    /// every step, gated, `ungated` the same before, where somebody asks, and `hidden` the last block's output.
    pub fn at_knot<const STANDING: usize>(
        &self,
        channel: usize,
        knot: usize,
        standing: &Vector<R, STANDING>,
        ungated: Option<&Vector<R, STANDING>>,
        hidden: &Vector<R, D_MODEL>,
    ) -> KnotForecast<'m, R> {
        let knots = self.knots.len();
        let knot = knot.min(knots.saturating_sub(1));
        let readout = if self.header.readouts == 1 { 0 } else { channel };
        let [left, right] = self.header.readout_parts();
        let [aligned, rest] = R::row(&self.readout, readout * knots + knot, left, right);
        let spread = self.spread.get(channel * knots + knot).map_or(R::ZERO, |spread| R::number(*spread));
        let quantiles = self.header.quantiles.len();
        let mut residual = [R::ZERO; MAX_QUANTILES];
        let biases = run(self.head_bias, knot, quantiles);
        for (quantile, (residual, bias)) in residual.iter_mut().zip(biases).enumerate() {
            let [_, row] = R::row(&self.head_weight, knot * quantiles + quantile, 0, D_MODEL);
            *residual = spread * (R::dot(&row, hidden.input()) + R::number(*bias));
        }
        let [standing, ungated] =
            [Some(standing), ungated].map(|read| read.map_or(R::ZERO, |read| R::dot(&rest, read.input())));
        KnotForecast { aligned, standing, ungated, residual }
    }
}
