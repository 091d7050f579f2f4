//! Causal softmax attention over a sliding window of samples, to compare with: its state is a ring of the window's keys
//! and values.
//!
//! Vaswani et al., "Attention Is All You Need" (2017); the window as in Beltagy et al., "Longformer" (2020):
//!
//! ```text
//! y_t = Σ_i p_i v_i,   p = softmax over t − window < i ≤ t of q_t · k_i / √HEAD_DIM
//! ```

use candle_core::{Result, Tensor, WithDType};
use flowcast_core::math::Real;

use super::scan::{Gradients, Op, Scan};

/// Windowed attention; shapes as [`super::causal`].
pub(super) fn windowed(query: &Tensor, key: &Tensor, value: &Tensor, window: usize) -> Result<Tensor> {
    let softer = (query * (query.dim(3)? as f64).powf(-0.5))?;
    softer.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, Op(Window { samples: window.max(1) }))
}

struct Window {
    samples: usize,
}

/// Its gradients. Inputs: q, k, and v beside dy; output: dq, dk, dv side by side. With δ_i = dy · v_i:
/// ds_i = p_i (δ_i − Σ_j p_j δ_j), dq = Σ_i ds_i k_i, dk_i = ds_i q, dv_i = p_i dy.
struct WindowGradient {
    samples: usize,
}

fn dot<T: Real + WithDType>(a: &[T], b: &[T]) -> T {
    let mut sum = <T as Real>::ZERO;
    for (a, b) in a.iter().zip(b) {
        sum += *a * *b;
    }
    sum
}

/// p of the sources in `keys` for one sink.
fn shares<T: Real + WithDType>(query: &[T], keys: &[T], shares: &mut Vec<T>) {
    shares.clear();
    shares.extend(keys.chunks_exact(query.len()).map(|key| dot(query, key)));
    let largest = shares.iter().fold(shares[0], |largest, x| largest.at_least(*x));
    let mut total = <T as Real>::ZERO;
    for share in shares.iter_mut() {
        *share = (*share - largest).exp();
        total += *share;
    }
    shares.iter_mut().for_each(|share| *share /= total);
}

impl Scan for Window {
    const NAME: &'static str = "windowed-softmax";
    const WIDTH: usize = 1;

    fn sequence<T: Real + WithDType>(&self, _head: usize, length: usize, [q, k, v]: [&[T]; 3], output: &mut [T]) {
        let width = output.len() / length;
        let mut p = Vec::with_capacity(self.samples);
        for (t, (q, y)) in q.chunks_exact(width).zip(output.chunks_exact_mut(width)).enumerate() {
            let past = (t + 1).saturating_sub(self.samples) * width..(t + 1) * width;
            shares(q, &k[past.clone()], &mut p);
            for (p, v) in p.iter().zip(v[past].chunks_exact(width)) {
                y.iter_mut().zip(v).for_each(|(y, v)| *y += *p * *v);
            }
        }
    }

    fn gradients(&self, [q, k, v]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<Gradients> {
        let v_dy = Tensor::cat(&[v, dy], 3)?.contiguous()?;
        let all = q.apply_op3_no_bwd(k, &v_dy, &Op(WindowGradient { samples: self.samples }))?;
        let width = q.dim(3)?;
        let part = |index: usize| all.narrow(3, index * width, width)?.contiguous();
        Ok((Some(part(0)?), Some(part(1)?), Some(part(2)?)))
    }
}

impl Scan for WindowGradient {
    const NAME: &'static str = "windowed-softmax-gradient";
    const WIDTH: usize = 3;

    fn sequence<T: Real + WithDType>(&self, _head: usize, length: usize, [q, k, v_dy]: [&[T]; 3], output: &mut [T]) {
        let width = output.len() / length / 3;
        let (mut p, mut deltas) = (Vec::with_capacity(self.samples), Vec::with_capacity(self.samples));
        for (t, (q, dy)) in q.chunks_exact(width).zip(v_dy.chunks_exact(2 * width)).enumerate() {
            let dy = &dy[width..];
            let first = (t + 1).saturating_sub(self.samples);
            let keys = &k[first * width..(t + 1) * width];
            shares(q, keys, &mut p);
            deltas.clear();
            deltas
                .extend(v_dy[first * 2 * width..].chunks_exact(2 * width).take(p.len()).map(|v| dot(&v[..width], dy)));
            let mean = dot(&p, &deltas);
            let (before, row) = output.split_at_mut(t * 3 * width);
            let row = &mut row[..3 * width];
            for (i, ((p, delta), key)) in p.iter().zip(&deltas).zip(keys.chunks_exact(width)).enumerate() {
                let ds = *p * (*delta - mean);
                row[..width].iter_mut().zip(key).for_each(|(dq, k)| *dq += ds * *k);
                let source = match before.get_mut((first + i) * 3 * width..(first + i + 1) * 3 * width) {
                    Some(source) => source,
                    None => &mut *row,
                };
                source[width..2 * width].iter_mut().zip(q).for_each(|(dk, q)| *dk += ds * *q);
                source[2 * width..].iter_mut().zip(dy).for_each(|(dv, dy)| *dv += *p * *dy);
            }
        }
    }
}
