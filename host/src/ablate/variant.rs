//! What stands in the place of the attention, and what that costs.

use clap::ValueEnum;
use flowcast_core::format::Header;
use flowcast_core::retrieval::{HIDDEN, KEY, RETRIEVALS, SUMMARY};
use serde::{Deserialize, Serialize};

use crate::attention::{Attention, Mixer, Switches};
use crate::config::RETRIEVAL_GAIN;
use crate::inspect::cost::Cost;
use crate::retrieval;

/// Samples that softmax attends to: five days of hours.
const SOFTMAX_WINDOW: usize = 128;
/// Days of one phase that it attends to at the season's place: four weeks.
const SOFTMAX_DAYS: usize = 28;

/// Which of the model's attentions gives place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The seasonal one: from day to day, phase by phase
    #[default]
    Season,
    /// The one in the blocks: from sample to sample
    Block,
}

/// A model of the table: everything but the part that mixes tokens is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Flow-Attention, as models have it
    Flow,
    /// None: no block at all, or no seasonal attention (its keys constant)
    None,
    /// No attention: a block's feed-forward network alone, on each sample by itself
    Alone,
    /// Flow-Attention with competition and allocation, as published (what blocks have)
    Published,
    /// Linear Transformer attention (elu + 1) with the same memories
    Linear,
    /// Linear Transformer attention as published, with an infinite memory
    LinearInfinite,
    /// cosFormer attention with the same memories
    Cosformer,
    /// Softmax attention over a window of 128 samples, or of 28 days
    Softmax,
    /// A GRU of as many weights
    Gru,
    /// Flow-Attention whose heads have one memory, the geometric mean of theirs
    OneMemory,
    /// Flow-Attention without competition: w = 1
    NoCompetition,
    /// Flow-Attention without allocation: a = 1
    NoAllocation,
}

/// A GRU's state at the season's place for which it has about as many weights as keys and queries.
const SEASONAL_UNITS: usize = 5;

/// A GRU's state for which it and its output projection have about as many weights as an attention layer of `d_model`.
fn gru_units(d_model: usize) -> usize {
    let attention = 4 * d_model * (d_model + 1);
    let of = |units: usize| 3 * units * (d_model + units + 2) + d_model * (units + 1);
    (1..=d_model).min_by_key(|units| of(*units).abs_diff(attention)).unwrap_or(1)
}

impl Variant {
    /// As the command line takes it.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it is, in a line.
    pub fn describe(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// Those that differ at a place.
    pub fn at(place: Place) -> Vec<Self> {
        let differs = |variant: &&Self| match place {
            // What models have at the season's place has neither competition nor allocation.
            Place::Season => !matches!(variant, Self::Alone | Self::NoCompetition | Self::NoAllocation),
            Place::Block => **variant != Self::Published,
        };
        Self::value_variants().iter().filter(differs).copied().collect()
    }

    /// What stands at the season's place.
    pub fn seasonal(self) -> Mixer {
        match self {
            Self::Flow | Self::OneMemory | Self::NoCompetition | Self::NoAllocation => retrieval::ATTENTION,
            Self::Published => Mixer::FLOW,
            Self::None | Self::Alone => Mixer::None,
            Self::Linear | Self::LinearInfinite => Mixer::Attention(Attention::Linear),
            Self::Cosformer => Mixer::Attention(Attention::Cosformer),
            Self::Softmax => Mixer::Attention(Attention::Softmax { window: SOFTMAX_DAYS }),
            Self::Gru => Mixer::Gru { units: SEASONAL_UNITS },
        }
    }

    /// Multiply-accumulates that the mixer at the season's place takes for one sample of one channel, and numbers that
    /// it carries: a forecast step that reads it included once.
    pub fn seasonal_cost(self, header: &Header) -> (usize, usize) {
        let bins = header.seasons.bins();
        let keys = SUMMARY * HIDDEN + 2 * HIDDEN * KEY;
        match self.seasonal() {
            Mixer::None | Mixer::Alone => (0, 0),
            Mixer::Gru { units } => (3 * units * (SUMMARY + 1 + units) + RETRIEVALS * units, bins * (units + 1)),
            Mixer::Attention(attention) => {
                let (macs, numbers) = match attention {
                    Attention::Flow(Switches { competition, allocation }) => {
                        let parts = 2 + 2 * usize::from(competition) + 4 * usize::from(allocation);
                        let means = 2 * KEY + usize::from(competition) * (KEY + 1) + 2 * usize::from(allocation) * KEY;
                        ((parts + 2) * KEY, means)
                    }
                    Attention::Linear => (4 * KEY, 2 * KEY),
                    Attention::Cosformer => (4 * KEY + 2 * 4 * KEY + 2 * KEY, 5 * KEY),
                    Attention::Softmax { window } => (window * (KEY + 1), window * (KEY + 1)),
                };
                // Softmax has one window; the others have a memory for each retrieval.
                let memories = if matches!(attention, Attention::Softmax { .. }) { 1 } else { RETRIEVALS };
                (keys + memories * macs, bins * (memories * numbers + 2 * KEY + 1))
            }
        }
    }

    /// 1/N of the retrievals.
    pub fn seasonal_gains(self) -> [f32; RETRIEVALS] {
        match self {
            Self::LinearInfinite => [0.0; RETRIEVALS],
            Self::OneMemory => [RETRIEVAL_GAIN.iter().product::<f32>().sqrt(); RETRIEVALS],
            _ => RETRIEVAL_GAIN,
        }
    }

    /// What its blocks have.
    pub fn mixer(self, header: &Header) -> Mixer {
        let flow = |switches| Mixer::Attention(Attention::Flow(switches));
        match self {
            Self::Flow | Self::Published | Self::OneMemory => Mixer::FLOW,
            Self::None => Mixer::None,
            Self::Alone => Mixer::Alone,
            Self::Linear | Self::LinearInfinite => Mixer::Attention(Attention::Linear),
            Self::Cosformer => Mixer::Attention(Attention::Cosformer),
            Self::Softmax => Mixer::Attention(Attention::Softmax { window: SOFTMAX_WINDOW }),
            Self::Gru => Mixer::Gru { units: gru_units(header.d_model.into()) },
            Self::NoCompetition => flow(Switches { competition: false, ..Switches::ALL }),
            Self::NoAllocation => flow(Switches { allocation: false, ..Switches::ALL }),
        }
    }

    /// 1/N of its heads, `[layers][heads]`, from those of the model.
    pub fn head_gains(self, gains: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let of_layer = |heads: &Vec<f32>| {
            let gain = match self {
                Self::LinearInfinite => 0.0,
                Self::OneMemory => {
                    let finite: Vec<f32> = heads.iter().copied().filter(|gain| *gain > 0.0).collect();
                    (finite.iter().map(|gain| gain.ln()).sum::<f32>() / finite.len().max(1) as f32).exp()
                }
                _ => return heads.clone(),
            };
            vec![gain; heads.len()]
        };
        gains.iter().map(of_layer).collect()
    }

    /// Whether a tensor of the network takes part in its forecasts.
    pub fn uses(self, tensor: &str) -> bool {
        let of_block = ["embed.", "blocks.", "norm."].iter().any(|part| tensor.starts_with(part));
        // Without a block the hidden state is 0, and so is what a weight makes of it.
        // What the device learns by itself is off in every variant.
        tensor != "interval.factors"
            && (self != Self::None || !(of_block || tensor == "gate.weight" || tensor == "head.weight"))
            && (self != Self::Alone || !of_attention(tensor))
    }

    /// Multiply-accumulates of one sample of one channel, counted as `flowcast inspect` does ([`Cost`]).
    pub fn macs(self, header: &Header) -> usize {
        let observe = Cost::of(header).macs_per_observe / usize::from(header.channels);
        let [layers, d_model, d_ff] = [header.layers, header.d_model, header.d_ff].map(usize::from);
        match self.mixer(header) {
            Mixer::None => {
                let feed_forward = 2 * d_model * d_ff;
                let block = layers * (mixing_macs(Mixer::FLOW, header) + feed_forward);
                observe - d_model * header.token_features() - block
            }
            mixer => observe - layers * mixing_macs(Mixer::FLOW, header) + layers * mixing_macs(mixer, header),
        }
    }

    /// Numbers that its blocks carry from sample to sample for one channel.
    pub fn state(self, header: &Header) -> usize {
        let [layers, heads, d] = [header.layers, header.heads, header.head_dim].map(usize::from);
        layers
            * match self.mixer(header) {
                Mixer::None | Mixer::Alone => 0,
                Mixer::Gru { units } => units,
                Mixer::Attention(attention) => {
                    heads
                        * match attention {
                            // Key, query, key out, query in; the mean of e^c.
                            Attention::Flow(Switches { competition, allocation }) => {
                                let competition = if competition { d + 1 } else { 0 };
                                let allocation = if allocation { 2 * d } else { 0 };
                                d * d + d + competition + allocation
                            }
                            Attention::Linear => d * d + d,
                            // By cosine and by sine, and the mean key alone.
                            Attention::Cosformer => 2 * (d * d + d) + d,
                            Attention::Softmax { window } => 2 * window * d,
                        }
                }
            }
    }
}

/// Whether a tensor is of what a block mixes tokens with.
fn of_attention(tensor: &str) -> bool {
    let parts = ["norm_attention.", "query.", "key.", "value.", "output."];
    tensor.starts_with("blocks.") && parts.iter().any(|part| tensor.contains(&format!(".{part}")))
}

/// Multiply-accumulates of a layer for one token: projections, elements of means that move, products with them.
fn mixing_macs(mixer: Mixer, header: &Header) -> usize {
    let [d_model, heads, d] = [header.d_model, header.heads, header.head_dim].map(usize::from);
    match mixer {
        Mixer::None | Mixer::Alone => 0,
        Mixer::Gru { units } => 3 * units * (d_model + units) + d_model * units,
        Mixer::Attention(attention) => {
            let of_head = match attention {
                Attention::Flow(Switches { competition, allocation }) => {
                    // Competition: query in and the flow that leaves by it; allocation: query, key out and both flows.
                    let parts = 2 + 2 * usize::from(competition) + 4 * usize::from(allocation);
                    parts * d + 2 * d * d
                }
                Attention::Linear => 2 * d + 2 * d * d,
                // The waves times query and key, and the capacity without them.
                Attention::Cosformer => 4 * d + 2 * (2 * d + 2 * d * d) + 2 * d,
                Attention::Softmax { window } => 2 * window * d,
            };
            4 * d_model * d_model + heads * of_head
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use flowcast_core::presets::PRESETS;

    fn headers() -> Vec<Header> {
        PRESETS.map(|preset| Config::example(&preset, 24).header().unwrap()).to_vec()
    }

    #[test]
    fn a_gru_has_as_many_weights_as_an_attention() {
        for header in headers() {
            let d_model = usize::from(header.d_model);
            let Mixer::Gru { units } = Variant::Gru.mixer(&header) else { panic!("a GRU") };
            let attention = 4 * d_model * (d_model + 1);
            // Input and recurrent weights with a bias each; the output projection.
            let gru = 3 * units * d_model + 3 * units * units + 6 * units + d_model * units + d_model;
            assert!(gru.abs_diff(attention) * 10 < attention, "{gru} and {attention}");
        }
    }

    #[test]
    fn the_cost_is_that_of_inspect() {
        for header in headers() {
            let macs = |variant: Variant| variant.macs(&header);
            assert_eq!(macs(Variant::Flow), Cost::of(&header).macs_per_observe);
            assert!(macs(Variant::None) < macs(Variant::Alone) && macs(Variant::Alone) < macs(Variant::Gru));
            assert!(macs(Variant::None) < macs(Variant::Linear) && macs(Variant::Linear) < macs(Variant::NoAllocation));
            assert!(macs(Variant::NoAllocation) < macs(Variant::NoCompetition));
            assert!(macs(Variant::NoCompetition) < macs(Variant::Flow) && macs(Variant::Flow) < macs(Variant::Softmax));
        }
        assert_eq!(Variant::Flow.state(&headers()[0]), 2 * (64 + 32 + 1));
    }

    #[test]
    fn one_memory_is_the_middle_one() {
        let gains = Variant::OneMemory.head_gains(&[vec![1.0 / 4.0, 1.0 / 100.0]]);
        assert!(gains[0].iter().all(|gain| (gain - 1.0 / 20.0).abs() < 1e-6), "{gains:?}");
        assert_eq!(Variant::LinearInfinite.head_gains(&[vec![0.5, 0.1]]), [[0.0, 0.0]]);
        assert_eq!(Variant::Flow.head_gains(&[vec![0.5, 0.1]]), [[0.5, 0.1]]);
    }
}
