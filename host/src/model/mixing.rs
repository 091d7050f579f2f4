//! What carries the past from token to token: the part of the network that `flowcast ablate` replaces.

use anyhow::Result;
use candle_core::{Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Network, SHARPNESS};
use crate::attention::{Attention, Bounds, Mixer, gru};

/// A block's tensors that only an attention has.
const OF_ATTENTION: [&str; 3] = ["query", "key", "value"];

impl Network {
    /// The same network with another mixer in its blocks; the seed is for weights that only that mixer has.
    ///
    /// Queries and keys of the other attentions start as those of Flow-Attention without the sharpness that its sigmoid
    /// asks for; a GRU's weights start as PyTorch's, ± 1/√units.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn with_mixer(mut self, mixer: Mixer, seed: u64) -> Result<Self> {
        self.mixer = mixer;
        let d_model = usize::from(self.header.d_model);
        for layer in 0..usize::from(self.header.layers) {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            match mixer {
                Mixer::Attention(Attention::Flow(_)) | Mixer::Alone | Mixer::None => {}
                Mixer::Attention(_) => {
                    for part in ["query.weight", "key.weight"] {
                        let weight = self.var(&name(part))?;
                        weight.set(&(weight.as_tensor() / f64::from(SHARPNESS))?)?;
                    }
                }
                Mixer::Gru { units } => {
                    for part in OF_ATTENTION {
                        self.vars.remove(&name(&format!("{part}.weight")));
                        self.vars.remove(&name(&format!("{part}.bias")));
                    }
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream(layer as u64);
                    let bound = 1.0 / (units as f32).sqrt();
                    for (part, inputs) in [("input", d_model), ("recurrent", units)] {
                        for (kind, shape) in [("weight", [1, 3 * units, inputs]), ("bias", [1, 1, 3 * units])] {
                            let first = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
                            let var = Var::from_vec::<_, f32>(first, &shape[..], &self.device)?;
                            self.vars.insert(name(&format!("{part}.{kind}")), var);
                        }
                    }
                    let output = Var::from_vec(vec![0.0_f32; d_model * units], (1, d_model, units), &self.device)?;
                    self.vars.insert(name("output.weight"), output);
                }
            }
        }
        Ok(self)
    }

    /// The same weights, shared, for sequences of another length.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn for_length(&self, length: usize) -> Result<Self> {
        let mut network = self.clone();
        network.memories =
            self.memories.iter().map(|memories| memories.for_length(length)).collect::<candle_core::Result<_>>()?;
        Ok(network)
    }

    /// What the tokens of a block receive from their past, before the output projection: normed tokens
    /// `[batch * length][d_model]` to `[batch * length][width]`.
    pub(super) fn mix(&self, layer: usize, normed: &Tensor, (batch, length): (usize, usize)) -> Result<Tensor> {
        let name = |part: &str| format!("blocks.{layer}.{part}");
        match self.mixer {
            Mixer::Attention(attention) => {
                let (heads, head_dim) = (usize::from(self.header.heads), usize::from(self.header.head_dim));
                let bounds =
                    Bounds { source_clamp: self.header.source_clamp.into(), flow_limit: self.header.flow_limit.into() };
                let project = |part: &str| -> Result<Tensor> {
                    let projected = self.linear(&name(part), normed)?.reshape((batch, length, heads, head_dim))?;
                    Ok(projected.transpose(1, 2)?.contiguous()?)
                };
                let [query, key, value] = [project("query")?, project("key")?, project("value")?];
                let received = attention.causal([&query, &key, &value], &self.memories[layer], bounds)?;
                Ok(received.transpose(1, 2)?.contiguous()?.reshape((batch * length, heads * head_dim))?)
            }
            Mixer::Gru { units } => {
                let projected = self.linear(&name("input"), normed)?.reshape((batch, length, 3 * units))?;
                let weight = self.matrix(&name("recurrent.weight"))?;
                let bias = self.vector(&name("recurrent.bias"))?;
                Ok(gru(&projected, &weight, &bias)?.reshape((batch * length, units))?)
            }
            Mixer::Alone | Mixer::None => Ok(normed.zeros_like()?),
        }
    }
}
