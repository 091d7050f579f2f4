//! Running means with a memory, and what a query reads from the mean of key times value, as scans.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, bail};
use flowcast_core::math::Real;
use flowcast_core::q20::FRACTION_BITS;
use rayon::prelude::*;

use super::gains;
use super::scan::{Gradients, Op, Scan};

/// The running mean as a scan over `[batch][heads][length][width]`.
pub(super) struct RunningMean {
    pub floors: Vec<f64>,
    /// Whether it is kept in steps of the integers' state.
    pub in_steps: bool,
}

/// The nearest number in steps of the integers' state.
fn step<T: WithDType>(x: T) -> T {
    let steps = f64::from(1 << FRACTION_BITS);
    T::from_f64((x.to_f64() * steps).round() / steps)
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

impl RunningMean {
    fn scan<T: WithDType>(&self, gains: &[T], x: &[T], y: &mut [T]) {
        if self.in_steps { mean_of(gains, x, y, step) } else { mean_of(gains, x, y, |mean| mean) }
    }
}

fn mean_of<T: WithDType>(gains: &[T], x: &[T], y: &mut [T], kept: impl Fn(T) -> T) {
    let width = x.len() / gains.len();
    let mut mean = vec![T::zero(); width];
    for ((x, y), gain) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(gains) {
        for ((x, y), mean) in x.iter().zip(y).zip(&mut mean) {
            *mean = kept(*mean + *gain * (*x - *mean));
            *y = *mean;
        }
    }
}

impl RunningMeanGradient {
    fn scan<T: WithDType>(&self, gains: &[T], dy: &[T], dx: &mut [T]) {
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
}

/// Dispatches a scan over the number types that training and tests use.
macro_rules! scan_op {
    ($op:ty, $name:literal $(, $backward:item)?) => {
        impl CustomOp1 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
                let y = match storage {
                    CpuStorage::F32(x) => CpuStorage::F32(over_sequences(x, layout, &self.floors, |gains, x, y| self.scan(gains, x, y))?),
                    CpuStorage::F64(x) => CpuStorage::F64(over_sequences(x, layout, &self.floors, |gains, x, y| self.scan(gains, x, y))?),
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
    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let gradient = RunningMeanGradient { floors: self.floors.clone() };
        dy.contiguous()?.apply_op1_no_bwd(&gradient).map(Some)
    }
);
scan_op!(RunningMeanGradient, "running-mean-gradient");

/// y_t = q_tᵀ mean_t(k ⊗ v) as a scan: the mean over key times value is never stored, for a state of
/// `HEAD_DIM × HEAD_DIM` goes along with it. Inputs and output `[batch][heads][length][HEAD_DIM]`.
pub(super) struct Retrieve {
    pub floors: Vec<f64>,
    /// As [`RunningMean`]'s.
    pub in_steps: bool,
}

/// Its gradients. Inputs: q, k, and v beside dy, `[..][2 HEAD_DIM]`; output: dq, dk, dv side by side,
/// `[..][3 HEAD_DIM]`. With S_t = q_t ⊗ dy_t + (1 − g_{t+1}) S_{t+1}: dk_t = g_t S_t v_t, dv_t = g_t S_tᵀ k_t, and
/// dq_t = mean_t dy_t.
struct RetrieveGradient {
    floors: Vec<f64>,
    in_steps: bool,
}

impl Scan for Retrieve {
    const NAME: &'static str = "retrieve";
    const WIDTH: usize = 1;

    fn sequence<T: Real + WithDType>(&self, head: usize, length: usize, inputs: [&[T]; 3], output: &mut [T]) {
        let gains: Vec<T> = gains(self.floors[head], length).map(T::from_f64).collect();
        if self.in_steps {
            retrieve_scan(&gains, inputs, output, step);
        } else {
            retrieve_scan(&gains, inputs, output, |mean| mean);
        }
    }

    fn gradients(&self, [q, k, v]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<Gradients> {
        let gradient = Op(RetrieveGradient { floors: self.floors.clone(), in_steps: self.in_steps });
        let v_dy = Tensor::cat(&[v, dy], 3)?.contiguous()?;
        let all = q.apply_op3_no_bwd(k, &v_dy, &gradient)?;
        let width = q.dim(3)?;
        let part = |index: usize| all.narrow(3, index * width, width)?.contiguous();
        Ok((Some(part(0)?), Some(part(1)?), Some(part(2)?)))
    }
}

impl Scan for RetrieveGradient {
    const NAME: &'static str = "retrieve-gradient";
    const WIDTH: usize = 3;

    fn sequence<T: Real + WithDType>(&self, head: usize, length: usize, inputs: [&[T]; 3], output: &mut [T]) {
        let gains: Vec<T> = gains(self.floors[head], length).map(T::from_f64).collect();
        if self.in_steps {
            retrieve_gradient_scan(&gains, inputs, output, step);
        } else {
            retrieve_gradient_scan(&gains, inputs, output, |mean| mean);
        }
    }
}

fn retrieve_scan<T: Real + WithDType>(gains: &[T], [q, k, v]: [&[T]; 3], y: &mut [T], kept: impl Fn(T) -> T) {
    let width = y.len() / gains.len();
    let mut mean = vec![T::zero(); width * width];
    let tokens = q.chunks_exact(width).zip(k.chunks_exact(width)).zip(v.chunks_exact(width));
    for ((((q, k), v), y), gain) in tokens.zip(y.chunks_exact_mut(width)).zip(gains) {
        for ((row, q), k) in mean.chunks_exact_mut(width).zip(q).zip(k) {
            for ((mean, v), y) in row.iter_mut().zip(v).zip(&mut *y) {
                *mean = kept(*mean + *gain * (*k * *v - *mean));
                *y += *q * *mean;
            }
        }
    }
}

fn retrieve_gradient_scan<T: Real + WithDType>(
    gains: &[T],
    [q, k, v_dy]: [&[T]; 3],
    gradients: &mut [T],
    kept: impl Fn(T) -> T,
) {
    let width = gradients.len() / gains.len() / 3;
    let mut mean = vec![T::zero(); width * width];
    let tokens = k.chunks_exact(width).zip(v_dy.chunks_exact(2 * width));
    for (((k, v_dy), gradient), gain) in tokens.zip(gradients.chunks_exact_mut(3 * width)).zip(gains) {
        let (v, dy) = v_dy.split_at(width);
        for ((row, k), dq) in mean.chunks_exact_mut(width).zip(k).zip(gradient) {
            for ((mean, v), dy) in row.iter_mut().zip(v).zip(dy) {
                *mean = kept(*mean + *gain * (*k * *v - *mean));
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
