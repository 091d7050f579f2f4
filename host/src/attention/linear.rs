//! Two linear attentions to compare with, each as a ratio of running means and so as a recurrence of constant state.
//!
//! Linear Transformer: Katharopoulos et al., "Transformers are RNNs" (ICML 2020), φ = elu + 1. cosFormer: Qin et al.,
//! "cosFormer: Rethinking Softmax in Attention" (ICLR 2022), φ = ReLU, a source weighed by the cosine of its age:
//!
//! ```text
//! linear     y_t = Σ_i W[t,i] (φq_t · φk_i) v_i / Σ_i W[t,i] φq_t · φk_i
//! cosFormer  the same with W[t,i] cos(π (t − i) / 2M)
//! ```
//!
//! W are the weights of a running mean ([`super::Memories`]): with an infinite memory all the same, which is the papers'
//! sum. cosFormer's M is the longest sequence; a stream has none, so M is [`COSINE_REACH`] memories of the head, where
//! the running mean has forgotten all but 2 %: beyond, the cosine is negative.

use candle_core::{Result, Tensor};

use super::{EPSILON, Memories};

/// cosFormer's M in memories of the head.
const COSINE_REACH: f64 = 4.0;
/// The denominator is at least this share of what it is without the cosine, so that an old source alone, whose cosine
/// is negative, leaves the output bounded.
const LEAST_SHARE: f64 = 0.1;

/// Σ φq mean, `[batch][heads][length][1]`.
fn flow(query: &Tensor, mean: &Tensor) -> Result<Tensor> {
    (query * mean)?.sum_keepdim(3)
}

/// Linear Transformer attention, causal; shapes as [`super::causal`].
pub(super) fn linear(query: &Tensor, key: &Tensor, value: &Tensor, memories: &Memories) -> Result<Tensor> {
    let query = (query.elu(1.0)? + 1.0)?;
    let key = (key.elu(1.0)? + 1.0)?;
    let capacity = flow(&query, &memories.mean(&key)?)?.broadcast_add(&(&memories.gains * EPSILON)?)?;
    memories.retrieve(&query, &key, value)?.broadcast_div(&capacity)
}

/// cosFormer attention, causal; shapes as [`super::causal`].
pub(super) fn cosformer(query: &Tensor, key: &Tensor, value: &Tensor, memories: &Memories) -> Result<Tensor> {
    let query = query.relu()?;
    let key = key.relu()?;
    // cos(a − b) = cos a cos b + sin a sin b
    let [cosine, sine] = angles(memories, &query)?;
    let part = |wave: &Tensor| -> Result<[Tensor; 2]> {
        let query = query.broadcast_mul(wave)?;
        let key = key.broadcast_mul(wave)?;
        Ok([memories.retrieve(&query, &key, value)?, flow(&query, &memories.mean(&key)?)?])
    };
    let ([received, capacity], [received_sine, capacity_sine]) = (part(&cosine)?, part(&sine)?);
    let received = (received + received_sine)?;
    let least = (flow(&query, &memories.mean(&key)?)? * LEAST_SHARE)?;
    let capacity = (capacity + capacity_sine)?.maximum(&least)?;
    received.broadcast_div(&(capacity + EPSILON)?)
}

/// Cosine and sine of every position's angle, `[1][heads][length][1]`.
fn angles(memories: &Memories, like: &Tensor) -> Result<[Tensor; 2]> {
    let (_, heads, length, _) = like.dims4()?;
    let angle = |floor: f64, position: usize| {
        let reach = if floor > 0.0 { COSINE_REACH / floor } else { length as f64 };
        std::f64::consts::FRAC_PI_2 * position as f64 / reach
    };
    let wave = |of: fn(f64) -> f64| -> Result<Tensor> {
        let all: Vec<f64> = memories
            .floors
            .iter()
            .flat_map(|floor| (0..length).map(move |position| of(angle(*floor, position))))
            .collect();
        Tensor::from_vec(all, (1, heads, length, 1), like.device())?.to_dtype(like.dtype())
    };
    Ok([wave(f64::cos)?, wave(f64::sin)?])
}
