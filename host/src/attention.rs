//! Flow-Attention over whole sequences, in candle: the normal form, and the causal form that training runs.
//!
//! Wu et al., "Flowformer" (ICML 2022). Shapes are `[batch][heads][length][width]`; φ = σ; the equations stand in
//! `flowcast_core::attention`, of which [`causal`] is the sequence form: the same running means, each taken over the
//! whole sequence at once. A running mean is linear, `mean_t = Σ_i W[t,i] x_i` with `W[t,i] = g_i Π_{i<j≤t} (1 − g_j)`, and
//! so has two forms: a scan (linear cost, on the CPU) and a product with that lower-triangular matrix (on a GPU).

use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail};
use candle_nn::ops::{sigmoid, softmax};
use flowcast_core::math::Real;
use rayon::prelude::*;

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
    /// g, `[1][heads][length][1]`.
    gains: Tensor,
    /// W, `[heads][length][length]`, for [`Form::Matrix`].
    weights: Option<Tensor>,
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
        Ok(Self { floors: floors.to_vec(), form, gains: gain_tensor, weights })
    }

    /// The running mean of `x`, `[batch][heads][length][width]`, at every position.
    fn mean(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.weights, self.form) {
            (Some(weights), _) => {
                let (batch, heads, length, width) = x.dims4()?;
                let flat = x.permute((1, 2, 0, 3))?.contiguous()?.reshape((heads, length, batch * width))?;
                weights.matmul(&flat)?.reshape((heads, length, batch, width))?.permute((2, 0, 1, 3))?.contiguous()
            }
            (None, _) => x.contiguous()?.apply_op1(RunningMean { floors: self.floors.clone() }),
        }
    }
}

/// The running mean as a scan over `[batch][heads][length][width]`.
struct RunningMean {
    floors: Vec<f64>,
}

/// Its gradient, a scan from the end: s_t = dy_t + (1 − g_{t+1}) s_{t+1}, dx_t = g_t s_t.
struct RunningMeanGradient {
    floors: Vec<f64>,
}

/// Runs `scan(gains, input, output)` on every `[length][width]` of a head's sequences.
fn over_sequences<T: WithDType>(
    x: &[T],
    layout: &Layout,
    floors: &[f64],
    scan: impl Fn(&[T], &[T], &mut [T]) + Sync,
) -> Result<Vec<T>> {
    let (_, heads, length, width) = layout.shape().dims4()?;
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a running mean needs contiguous input") };
    let size = length * width;
    if size == 0 || heads != floors.len() {
        bail!("a running mean of shape {:?} with {} memories", layout.shape(), floors.len());
    }
    let gains: Vec<Vec<T>> = floors.iter().map(|floor| gains(*floor, length).map(T::from_f64).collect()).collect();
    let mut y = vec![T::zero(); end - start];
    y.par_chunks_exact_mut(size).zip(x[start..end].par_chunks_exact(size)).enumerate().for_each(
        |(sequence, (y, x))| {
            scan(&gains[sequence % heads], x, y);
        },
    );
    Ok(y)
}

fn scan_forward<T: WithDType>(gains: &[T], x: &[T], y: &mut [T]) {
    let width = x.len() / gains.len();
    let mut mean = vec![T::zero(); width];
    for ((x, y), gain) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(gains) {
        for ((x, y), mean) in x.iter().zip(y).zip(&mut mean) {
            *mean = *mean + *gain * (*x - *mean);
            *y = *mean;
        }
    }
}

fn scan_backward<T: WithDType>(gains: &[T], dy: &[T], dx: &mut [T]) {
    let width = dy.len() / gains.len();
    let mut sum = vec![T::zero(); width];
    let mut keep = T::zero();
    let rows = dy.chunks_exact(width).zip(dx.chunks_exact_mut(width)).zip(gains).rev();
    for ((dy, dx), gain) in rows {
        for ((dy, dx), sum) in dy.iter().zip(dx).zip(&mut sum) {
            *sum = *dy + keep * *sum;
            *dx = *gain * *sum;
        }
        keep = T::from_f64(1.0) - *gain;
    }
}

/// Dispatches a scan over the number types that training and tests use.
macro_rules! scan_op {
    ($op:ty, $name:literal, $scan:ident $(, $backward:item)?) => {
        impl CustomOp1 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
                let y = match storage {
                    CpuStorage::F32(x) => CpuStorage::F32(over_sequences(x, layout, &self.floors, $scan)?),
                    CpuStorage::F64(x) => CpuStorage::F64(over_sequences(x, layout, &self.floors, $scan)?),
                    _ => bail!("a running mean takes f32 or f64"),
                };
                Ok((y, layout.shape().clone()))
            }

            $($backward)?
        }
    };
}

scan_op!(
    RunningMean,
    "running-mean",
    scan_forward,
    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let gradient = RunningMeanGradient { floors: self.floors.clone() };
        dy.contiguous()?.apply_op1_no_bwd(&gradient).map(Some)
    }
);
scan_op!(RunningMeanGradient, "running-mean-gradient", scan_backward);

/// y_t = q_tᵀ mean_t(k ⊗ v) as a scan: the mean over key times value is never stored, for a state of
/// `HEAD_DIM × HEAD_DIM` goes along with it. Inputs and output `[batch][heads][length][HEAD_DIM]`.
struct Retrieve {
    floors: Vec<f64>,
}

/// Its gradients. Inputs: q, k, and v beside dy, `[..][2 HEAD_DIM]`; output: dq, dk, dv side by side,
/// `[..][3 HEAD_DIM]`. With S_t = q_t ⊗ dy_t + (1 − g_{t+1}) S_{t+1}: dk_t = g_t S_t v_t, dv_t = g_t S_tᵀ k_t, and
/// dq_t = mean_t dy_t.
struct RetrieveGradient {
    floors: Vec<f64>,
}

/// Three inputs of `[batch][heads][length]` and their widths, and the width of the output.
fn over_three<T: WithDType>(
    inputs: [(&[T], &Layout); 3],
    width: usize,
    floors: &[f64],
    scan: impl Fn(&[T], [&[T]; 3], &mut [T]) + Sync,
) -> Result<(Vec<T>, Shape)> {
    let (batch, heads, length, _) = inputs[0].1.shape().dims4()?;
    if heads != floors.len() || length == 0 || width == 0 {
        bail!("a retrieval of shape {:?} with {} memories", inputs[0].1.shape(), floors.len());
    }
    let mut slices: [&[T]; 3] = [&[]; 3];
    for (slice, (x, layout)) in slices.iter_mut().zip(inputs) {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a retrieval needs contiguous inputs") };
        *slice = &x[start..end];
    }
    let gains: Vec<Vec<T>> = floors.iter().map(|floor| gains(*floor, length).map(T::from_f64).collect()).collect();
    let mut y = vec![T::zero(); batch * heads * length * width];
    y.par_chunks_exact_mut(length * width).enumerate().for_each(|(sequence, y)| {
        let part = slices.map(|x| {
            let size = x.len() / (batch * heads);
            &x[sequence * size..(sequence + 1) * size]
        });
        scan(&gains[sequence % heads], part, y);
    });
    Ok((y, Shape::from((batch, heads, length, width))))
}

fn retrieve_scan<T: WithDType>(gains: &[T], [q, k, v]: [&[T]; 3], y: &mut [T]) {
    let width = y.len() / gains.len();
    let mut mean = vec![T::zero(); width * width];
    let tokens = q.chunks_exact(width).zip(k.chunks_exact(width)).zip(v.chunks_exact(width));
    for ((((q, k), v), y), gain) in tokens.zip(y.chunks_exact_mut(width)).zip(gains) {
        for ((row, q), k) in mean.chunks_exact_mut(width).zip(q).zip(k) {
            for ((mean, v), y) in row.iter_mut().zip(v).zip(&mut *y) {
                *mean = *mean + *gain * (*k * *v - *mean);
                *y += *q * *mean;
            }
        }
    }
}

fn retrieve_gradient_scan<T: WithDType>(gains: &[T], [q, k, v_dy]: [&[T]; 3], gradients: &mut [T]) {
    let width = gradients.len() / gains.len() / 3;
    let mut mean = vec![T::zero(); width * width];
    let tokens = k.chunks_exact(width).zip(v_dy.chunks_exact(2 * width));
    for (((k, v_dy), gradient), gain) in tokens.zip(gradients.chunks_exact_mut(3 * width)).zip(gains) {
        let (v, dy) = v_dy.split_at(width);
        for ((row, k), dq) in mean.chunks_exact_mut(width).zip(k).zip(gradient) {
            for ((mean, v), dy) in row.iter_mut().zip(v).zip(dy) {
                *mean = *mean + *gain * (*k * *v - *mean);
                *dq += *mean * *dy;
            }
        }
    }
    let mut sum = vec![T::zero(); width * width];
    let mut keep = T::zero();
    let tokens = q.chunks_exact(width).zip(k.chunks_exact(width)).zip(v_dy.chunks_exact(2 * width));
    for ((((q, k), v_dy), gradient), gain) in tokens.zip(gradients.chunks_exact_mut(3 * width)).zip(gains).rev() {
        let (v, dy) = v_dy.split_at(width);
        let (dk, dv) = gradient[width..].split_at_mut(width);
        for (((row, q), k), dk) in sum.chunks_exact_mut(width).zip(q).zip(k).zip(dk) {
            for (((sum, v), dy), dv) in row.iter_mut().zip(v).zip(dy).zip(&mut *dv) {
                *sum = *q * *dy + keep * *sum;
                *dk += *gain * *sum * *v;
                *dv += *gain * *sum * *k;
            }
        }
        keep = T::from_f64(1.0) - *gain;
    }
}

/// As `scan_op`, for three inputs; `$width` is the output's width over the first input's.
macro_rules! scan_op3 {
    ($op:ty, $name:literal, $scan:ident, $width:literal $(, $backward:item)?) => {
        impl CustomOp3 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(
                &self,
                s1: &CpuStorage,
                l1: &Layout,
                s2: &CpuStorage,
                l2: &Layout,
                s3: &CpuStorage,
                l3: &Layout,
            ) -> Result<(CpuStorage, Shape)> {
                let width = $width * l1.shape().dims4()?.3;
                match (s1, s2, s3) {
                    (CpuStorage::F32(a), CpuStorage::F32(b), CpuStorage::F32(c)) => {
                        let (y, shape) = over_three([(a, l1), (b, l2), (c, l3)], width, &self.floors, $scan)?;
                        Ok((CpuStorage::F32(y), shape))
                    }
                    (CpuStorage::F64(a), CpuStorage::F64(b), CpuStorage::F64(c)) => {
                        let (y, shape) = over_three([(a, l1), (b, l2), (c, l3)], width, &self.floors, $scan)?;
                        Ok((CpuStorage::F64(y), shape))
                    }
                    _ => bail!("a retrieval takes f32 or f64"),
                }
            }

            $($backward)?
        }
    };
}

scan_op3!(
    Retrieve,
    "retrieve",
    retrieve_scan,
    1,
    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = RetrieveGradient { floors: self.floors.clone() };
        let v_dy = Tensor::cat(&[v, dy], 3)?.contiguous()?;
        let all = q.apply_op3_no_bwd(k, &v_dy, &gradient)?;
        let width = q.dim(3)?;
        let part = |index: usize| all.narrow(3, index * width, width)?.contiguous();
        Ok((Some(part(0)?), Some(part(1)?), Some(part(2)?)))
    }
);
scan_op3!(RetrieveGradient, "retrieve-gradient", retrieve_gradient_scan, 3);

/// Causal Flow-Attention: queries, keys and values before φ, each `[batch][heads][length][HEAD_DIM]`, to outputs of
/// the same shape. `memories` are for exactly this length.
pub fn causal(query: &Tensor, key: &Tensor, value: &Tensor, memories: &Memories, bounds: Bounds) -> Result<Tensor> {
    let query = sigmoid(query)?;
    let key = sigmoid(key)?;
    // Σ (φ + ε)(mean + ε g), `[batch][heads][length][1]`.
    let smallest = (&memories.gains * EPSILON)?;
    let flow = |capacity: &Tensor, mean: &Tensor| -> Result<Tensor> {
        ((capacity + EPSILON)? * mean.broadcast_add(&smallest)?)?.sum_keepdim(3)
    };
    let limited = |flow: Tensor| if bounds.flow_limit.is_finite() { flow.minimum(bounds.flow_limit) } else { Ok(flow) };
    let sink_incoming = limited(flow(&query, &memories.mean(&key)?)?.recip()?)?;
    let source_outgoing = limited(flow(&key, &memories.mean(&query)?)?.recip()?)?;
    let conserved_sink = flow(&query, &memories.mean(&key.broadcast_mul(&source_outgoing)?)?)?;
    let conserved_source = flow(&key, &memories.mean(&query.broadcast_mul(&sink_incoming)?)?)?
        .minimum(bounds.source_clamp)?
        .maximum(-bounds.source_clamp)?;
    let sink_allocation = sigmoid(&conserved_sink)?;
    let exp = conserved_source.exp()?;
    let source_competition = (&exp / memories.mean(&exp)?)?;
    let value = value.broadcast_mul(&source_competition)?;
    let outgoing = (sink_allocation * sink_incoming)?;

    let received = match &memories.weights {
        // Σ_i W[t,i] (φq_t · φk_i) w_i v_i: cheaper on a GPU than a mean over key times value.
        Some(weights) => {
            let capacity = query.matmul(&key.transpose(2, 3)?.contiguous()?)?;
            capacity.broadcast_mul(&weights.unsqueeze(0)?)?.matmul(&value.contiguous()?)?
        }
        None => {
            let retrieve = Retrieve { floors: memories.floors.clone() };
            query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, retrieve)?
        }
    };
    received.broadcast_mul(&outgoing)
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
