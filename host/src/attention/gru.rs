//! A gated recurrent unit over sequences, to compare with: forwards and, for the gradient, backwards through time.
//!
//! Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (EMNLP 2014), in the form of cuDNN and
//! PyTorch, gates in the order r, z, n:
//!
//! ```text
//! r = σ(x_r + U_r h + b_r)   z = σ(x_z + U_z h + b_z)   n = tanh(x_n + r (U_n h + b_n))   h ← (1 − z) n + z h
//! ```
//!
//! x are the projections of the inputs, `[batch][length][3 units]`, one product for a whole sequence. candle-nn's `GRU`
//! is the test's oracle: it makes a dozen tensors for each sample.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use flowcast_core::math::Real;
use rayon::prelude::*;

/// Hidden states, `[batch][length][units]`, of projected inputs `[batch][length][3 units]`; `weight` is U,
/// `[3 units][units]`, `bias` `[3 units]`. The first state is 0.
pub fn gru(projected: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    projected.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Gru)
}

struct Gru;

/// Inputs: x, h and dh side by side, `[batch][length][5 units]`, U, b; output: gradients before the gates' functions, of
/// r, z, n and of n's recurrent part, `[batch][length][4 units]`.
struct GruGradient;

fn tanh<T: Real>(x: T) -> T {
    let sigmoid = (x + x).sigmoid();
    sigmoid + sigmoid - T::ONE
}

/// r, z, n and n's recurrent part, one after the other, `[4][units]`.
fn gates<T: Real + WithDType>(x: &[T], h: &[T], weight: &[T], bias: &[T], gates: &mut [T]) {
    let units = h.len();
    let (first, recurrent) = gates.split_at_mut(3 * units);
    for (i, ((row, bias), x)) in weight.chunks_exact(units).zip(bias).zip(x).enumerate() {
        let mut sum = *bias;
        for (w, h) in row.iter().zip(h) {
            sum += *w * *h;
        }
        if i < 2 * units {
            first[i] = (*x + sum).sigmoid();
        } else {
            let reset = first[i - 2 * units];
            recurrent[i - 2 * units] = sum;
            first[i] = tanh(*x + reset * sum);
        }
    }
}

fn forward<T: Real + WithDType>(units: usize, x: &[T], [weight, bias]: [&[T]; 2], states: &mut [T]) {
    let mut h = vec![<T as Real>::ZERO; units];
    let mut all = vec![<T as Real>::ZERO; 4 * units];
    for (x, state) in x.chunks_exact(3 * units).zip(states.chunks_exact_mut(units)) {
        gates(x, &h, weight, bias, &mut all);
        for (i, (h, state)) in h.iter_mut().zip(state).enumerate() {
            let (update, candidate) = (all[units + i], all[2 * units + i]);
            *h = candidate + update * (*h - candidate);
            *state = *h;
        }
    }
}

fn backward<T: Real + WithDType>(units: usize, inputs: &[T], [weight, bias]: [&[T]; 2], gradients: &mut [T]) {
    let (zero, one) = (<T as Real>::ZERO, <T as Real>::ONE);
    let mut carried = vec![zero; units];
    let mut all = vec![zero; 4 * units];
    let start = vec![zero; units];
    let rows: Vec<&[T]> = inputs.chunks_exact(5 * units).collect();
    for (t, d) in gradients.chunks_exact_mut(4 * units).enumerate().rev() {
        let (x, dh) = (&rows[t][..3 * units], &rows[t][4 * units..]);
        let h = if t == 0 { &start[..] } else { &rows[t - 1][3 * units..4 * units] };
        gates(x, h, weight, bias, &mut all);
        for i in 0..units {
            let [r, z, n, recurrent] = [all[i], all[units + i], all[2 * units + i], all[3 * units + i]];
            let dh = dh[i] + carried[i];
            let dn = dh * (one - z) * (one - n * n);
            d[i] = dn * recurrent * r * (one - r);
            d[units + i] = dh * (h[i] - n) * z * (one - z);
            d[2 * units + i] = dn;
            d[3 * units + i] = dn * r;
            carried[i] = dh * z;
        }
        let recurrent = d[..2 * units].iter().chain(&d[3 * units..]);
        for (row, d) in weight.chunks_exact(units).zip(recurrent) {
            carried.iter_mut().zip(row).for_each(|(carried, w)| *carried += *d * *w);
        }
    }
}

/// Runs `scan(units, input, [weight, bias], output)` on every sequence; the output is `width` units wide.
fn over_sequences<T: Real + WithDType>(
    inputs: [(&[T], &Layout); 3],
    width: usize,
    scan: impl Fn(usize, &[T], [&[T]; 2], &mut [T]) + Sync,
) -> Result<(Vec<T>, Shape)> {
    let (batch, length, inner) = inputs[0].1.shape().dims3()?;
    let (rows, units) = inputs[1].1.shape().dims2()?;
    if rows != 3 * units || batch * length * inner * units == 0 {
        bail!("a GRU of {rows} rows of {units} over {:?}, expected three rows a unit", inputs[0].1.shape());
    }
    let mut slices: [&[T]; 3] = [&[]; 3];
    for (slice, (x, layout)) in slices.iter_mut().zip(inputs) {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a GRU needs contiguous inputs") };
        *slice = &x[start..end];
    }
    let [x, weight, bias] = slices;
    let mut y = vec![<T as Real>::ZERO; batch * length * width * units];
    let sequences = x.par_chunks_exact(length * inner).zip(y.par_chunks_exact_mut(length * width * units));
    sequences.for_each(|(x, y)| scan(units, x, [weight, bias], y));
    Ok((y, Shape::from((batch, length, width * units))))
}

macro_rules! gru_op {
    ($op:ty, $name:literal, $width:literal, $scan:ident $(, $backward:item)?) => {
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
                match (s1, s2, s3) {
                    (CpuStorage::F32(a), CpuStorage::F32(b), CpuStorage::F32(c)) => {
                        let (y, shape) = over_sequences([(a, l1), (b, l2), (c, l3)], $width, $scan)?;
                        Ok((CpuStorage::F32(y), shape))
                    }
                    (CpuStorage::F64(a), CpuStorage::F64(b), CpuStorage::F64(c)) => {
                        let (y, shape) = over_sequences([(a, l1), (b, l2), (c, l3)], $width, $scan)?;
                        Ok((CpuStorage::F64(y), shape))
                    }
                    _ => bail!("a GRU takes three inputs of f32 or of f64"),
                }
            }

            $($backward)?
        }
    };
}

gru_op!(
    Gru,
    "gru",
    1,
    forward,
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        h: &Tensor,
        dh: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (batch, length, units) = h.dims3()?;
        let inputs = Tensor::cat(&[x, h, dh], 2)?.contiguous()?;
        let gates = inputs.apply_op3_no_bwd(weight, bias, &GruGradient)?;
        let projected = gates.narrow(2, 0, 3 * units)?.contiguous()?;
        let recurrent = Tensor::cat(&[gates.narrow(2, 0, 2 * units)?, gates.narrow(2, 3 * units, units)?], 2)?;
        let recurrent = recurrent.reshape((batch * length, 3 * units))?;
        let before = h.narrow(1, 0, length - 1)?.pad_with_zeros(1, 1, 0)?.reshape((batch * length, units))?;
        let weight = recurrent.t()?.contiguous()?.matmul(&before)?;
        Ok((Some(projected), Some(weight), Some(recurrent.sum(0)?)))
    }
);
gru_op!(GruGradient, "gru-gradient", 4, backward);
