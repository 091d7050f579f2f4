//! Flow-Attention over whole sequences, in candle: the normal form, and the causal form that training runs.
//!
//! Wu et al., "Flowformer" (ICML 2022). Shapes are `[batch][heads][length][width]`; φ = σ; the equations stand in
//! `flowcast_core::attention`, of which [`causal`] is the sequence form: the same running means, each taken over the
//! whole sequence at once. A running mean is linear, `mean_t = Σ_i W[t,i] x_i` with `W[t,i] = g_i Π_{i<j≤t} (1 − g_j)`, and
//! so has two forms: a scan (linear cost, on the CPU) and a product with that lower-triangular matrix (on a GPU).
//!
//! [`Mixer`] names what `flowcast ablate` puts in its place; a model that is exported has Flow-Attention as published.

mod gru;
mod linear;
mod running_mean;
mod scan;
mod softmax;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax};
use flowcast_core::math::Real;

pub use gru::gru;
use running_mean::{Retrieve, RunningMean};

/// ε of the paper's code.
const EPSILON: f64 = <f64 as Real>::EPSILON;

/// How a running mean over a sequence is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The recurrence itself, forwards and, for the gradient, backwards.
    Scan,
    /// A product with the matrix of weights.
    Matrix,
}

impl Form {
    /// The faster form on a device.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::Scan } else { Self::Matrix }
    }
}

/// Memories of the heads of a layer, for sequences up to a length.
#[derive(Debug, Clone)]
pub struct Memories {
    /// 1/N a head, 0 for an infinite memory.
    floors: Vec<f64>,
    form: Form,
    /// Whether [`Form::Scan`] keeps means in steps of the integers' state.
    in_steps: bool,
    /// g, `[1][heads][length][1]`.
    gains: Tensor,
    /// W, `[heads][length][length]`, for [`Form::Matrix`].
    weights: Option<Tensor>,
}

/// Parts of Flow-Attention that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Sources compete (w); otherwise w = 1.
    pub competition: bool,
    /// Sinks are allocated what they receive (a); otherwise a = 1.
    pub allocation: bool,
}

impl Switches {
    /// Flow-Attention as published.
    pub const ALL: Self = Self { competition: true, allocation: true };
}

/// An attention that a block can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Flow-Attention.
    Flow(Switches),
    /// Linear Transformer: elu + 1.
    Linear,
    /// cosFormer: ReLU and a cosine of a source's age.
    Cosformer,
    /// Softmax over a sliding window.
    Softmax {
        /// Samples of the window.
        window: usize,
    },
}

/// What carries the past from token to token in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// An attention between query, key, value and output projections.
    Attention(Attention),
    /// A gated recurrent unit and an output projection.
    Gru {
        /// Numbers of its state.
        units: usize,
    },
    /// Tokens receive nothing of each other; the feed-forward network stays.
    Alone,
    /// There is no block, and every hidden state is 0.
    None,
}

impl Mixer {
    /// What models have.
    pub const FLOW: Self = Self::Attention(Attention::Flow(Switches::ALL));
}

impl Attention {
    /// Queries, keys and values, each `[batch][heads][length][HEAD_DIM]`, to outputs of the same shape.
    pub fn causal(self, [query, key, value]: [&Tensor; 3], memories: &Memories, bounds: Bounds) -> Result<Tensor> {
        match self {
            Self::Flow(switches) => flow(query, key, value, memories, bounds, switches),
            Self::Linear => linear::linear(query, key, value, memories),
            Self::Cosformer => linear::cosformer(query, key, value, memories),
            Self::Softmax { window } => softmax::windowed(query, key, value, window),
        }
    }
}

/// What a causal layer fixes beside its memories.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// κ.
    pub source_clamp: f64,
    /// Largest sink_incoming and source_outgoing; ∞ for the paper's form.
    pub flow_limit: f64,
}

/// g = max(1/n, floor) of the samples 1 to `length`.
fn gains(floor: f64, length: usize) -> impl Iterator<Item = f64> {
    (1..=length).map(move |n| (1.0 / n as f64).max(floor))
}

impl Memories {
    /// For heads with the given 1/N (0: infinite) and sequences of `length`.
    pub fn new(floors: &[f64], length: usize, form: Form, dtype: DType, device: &Device) -> Result<Self> {
        let heads = floors.len();
        let all: Vec<f64> = floors.iter().flat_map(|floor| gains(*floor, length)).collect();
        let gain_tensor = Tensor::from_vec(all, (1, heads, length, 1), device)?.to_dtype(dtype)?;
        let weights = match form {
            Form::Scan => None,
            Form::Matrix => {
                let mut weights = vec![0.0_f64; heads * length * length];
                for (matrix, floor) in weights.chunks_exact_mut(length * length).zip(floors) {
                    for (t, g) in gains(*floor, length).enumerate() {
                        let (before, row) = matrix.split_at_mut(t * length);
                        if let Some(last) = before.chunks_exact(length).next_back() {
                            for (w, last) in row[..t].iter_mut().zip(last) {
                                *w = (1.0 - g) * last;
                            }
                        }
                        row[t] = g;
                    }
                }
                Some(Tensor::from_vec(weights, (heads, length, length), device)?.to_dtype(dtype)?)
            }
        };
        Ok(Self { floors: floors.to_vec(), form, in_steps: false, gains: gain_tensor, weights })
    }

    /// From now on [`Form::Scan`] rounds each mean to the integers' steps as it arises; gradients pass through. (A
    /// [`Form::Matrix`] holds no state that could be rounded.)
    pub fn keep_in_steps(&mut self) {
        self.in_steps = true;
    }

    /// The running mean of `x`, `[batch][heads][length][width]`, at every position.
    fn mean(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weights {
            Some(weights) => {
                let (batch, heads, length, width) = x.dims4()?;
                let flat = x.permute((1, 2, 0, 3))?.contiguous()?.reshape((heads, length, batch * width))?;
                weights.matmul(&flat)?.reshape((heads, length, batch, width))?.permute((2, 0, 1, 3))?.contiguous()
            }
            None => x.contiguous()?.apply_op1(RunningMean { floors: self.floors.clone(), in_steps: self.in_steps }),
        }
    }

    /// The same memories for sequences of another length.
    pub fn for_length(&self, length: usize) -> Result<Self> {
        let memories = Self::new(&self.floors, length, self.form, self.gains.dtype(), self.gains.device())?;
        Ok(Self { in_steps: self.in_steps, ..memories })
    }

    /// q_tᵀ mean_t(k ⊗ v), shapes as [`causal`].
    fn retrieve(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        match &self.weights {
            // Σ_i W[t,i] (q_t · k_i) v_i: cheaper on a GPU than a mean over key times value.
            Some(weights) => {
                let capacity = query.contiguous()?.matmul(&key.transpose(2, 3)?.contiguous()?)?;
                capacity.broadcast_mul(&weights.unsqueeze(0)?)?.matmul(&value.contiguous()?)
            }
            None => {
                let retrieve = scan::Op(Retrieve { floors: self.floors.clone(), in_steps: self.in_steps });
                query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, retrieve)
            }
        }
    }
}

/// Causal Flow-Attention: queries, keys and values before φ, each `[batch][heads][length][HEAD_DIM]`, to outputs of
/// the same shape. `memories` are for exactly this length.
pub fn causal(query: &Tensor, key: &Tensor, value: &Tensor, memories: &Memories, bounds: Bounds) -> Result<Tensor> {
    flow(query, key, value, memories, bounds, Switches::ALL)
}

fn flow(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    memories: &Memories,
    bounds: Bounds,
    switches: Switches,
) -> Result<Tensor> {
    let query = sigmoid(query)?;
    let key = sigmoid(key)?;
    // Σ (φ + ε)(mean + ε g), `[batch][heads][length][1]`.
    let smallest = (&memories.gains * EPSILON)?;
    let through = |capacity: &Tensor, mean: &Tensor| -> Result<Tensor> {
        ((capacity + EPSILON)? * mean.broadcast_add(&smallest)?)?.sum_keepdim(3)
    };
    let limited = |flow: Tensor| if bounds.flow_limit.is_finite() { flow.minimum(bounds.flow_limit) } else { Ok(flow) };
    let sink_incoming = limited(through(&query, &memories.mean(&key)?)?.recip()?)?;
    let outgoing = if switches.allocation {
        let source_outgoing = limited(through(&key, &memories.mean(&query)?)?.recip()?)?;
        let conserved_sink = through(&query, &memories.mean(&key.broadcast_mul(&source_outgoing)?)?)?;
        (sigmoid(&conserved_sink)? * &sink_incoming)?
    } else {
        sink_incoming.clone()
    };
    let value = if switches.competition {
        let conserved_source = through(&key, &memories.mean(&query.broadcast_mul(&sink_incoming)?)?)?
            .minimum(bounds.source_clamp)?
            .maximum(-bounds.source_clamp)?;
        let exp = conserved_source.exp()?;
        let source_competition = (&exp / memories.mean(&exp)?)?;
        value.broadcast_mul(&source_competition)?
    } else {
        value.clone()
    };
    memories.retrieve(&query, &key, &value)?.broadcast_mul(&outgoing)
}

/// Normal (bidirectional) Flow-Attention: queries `[batch][heads][sinks][HEAD_DIM]`, keys and values
/// `[batch][heads][sources][HEAD_DIM]`, before φ.
pub fn normal(query: &Tensor, key: &Tensor, value: &Tensor, source_clamp: f64) -> Result<Tensor> {
    let query = sigmoid(query)?;
    let key = sigmoid(key)?;
    let (sinks, sources) = (query.dim(2)? as f64, key.dim(2)? as f64);
    // Σ_d (φ + ε)(Σ_j φ_j + ε), `[batch][heads][length][1]`.
    let flow = |capacity: &Tensor, others: &Tensor| -> Result<Tensor> {
        (capacity + EPSILON)?.broadcast_mul(&(others.sum_keepdim(2)? + EPSILON)?)?.sum_keepdim(3)
    };
    let sink_incoming = flow(&query, &key)?.recip()?;
    let source_outgoing = flow(&key, &query)?.recip()?;
    let conserved_sink = flow(&query, &key.broadcast_mul(&source_outgoing)?)?;
    let conserved_source =
        flow(&key, &query.broadcast_mul(&sink_incoming)?)?.minimum(source_clamp)?.maximum(-source_clamp)?;
    let sink_allocation = sigmoid(&(conserved_sink * (sinks / sources))?)?;
    let source_competition = (softmax(&conserved_source, 2)? * sources)?;
    let received = key.transpose(2, 3)?.contiguous()?.matmul(&value.broadcast_mul(&source_competition)?)?;
    query.broadcast_mul(&sink_incoming)?.contiguous()?.matmul(&received)?.broadcast_mul(&sink_allocation)
}

#[cfg(test)]
mod tests;
