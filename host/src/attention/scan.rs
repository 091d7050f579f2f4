//! Recurrences over sequences as candle operations of three inputs, sequence by sequence in parallel, on the CPU.
//!
//! A recurrence written as tensor operations costs a kernel and an allocation for each sample; as one operation it costs
//! its arithmetic.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use flowcast_core::math::Real;
use rayon::prelude::*;

/// Gradients of three inputs.
pub(super) type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// A recurrence over `[batch][heads][length][width]`.
pub(super) trait Scan: Send + Sync {
    /// Of the operation.
    const NAME: &'static str;
    /// Width of the output over the width of the first input.
    const WIDTH: usize;

    /// One sequence of a head of `heads`: rows of each input to rows of the output, which is 0 before.
    fn sequence<T: Real + WithDType>(&self, head: usize, length: usize, inputs: [&[T]; 3], output: &mut [T]);

    /// Gradients of the inputs from the output's.
    fn gradients(&self, _inputs: [&Tensor; 3], _output: &Tensor, _gradient: &Tensor) -> Result<Gradients> {
        bail!("{} has no gradient", Self::NAME)
    }
}

/// A scan as candle takes it.
pub(super) struct Op<S>(pub S);

impl<S: Scan> Op<S> {
    fn run<T: Real + WithDType>(&self, inputs: [(&[T], &Layout); 3]) -> Result<(Vec<T>, Shape)> {
        let (batch, heads, length, width) = inputs[0].1.shape().dims4()?;
        let width = S::WIDTH * width;
        if batch * heads * length * width == 0 {
            bail!("{} of shape {:?}, expected no dimension of 0", S::NAME, inputs[0].1.shape());
        }
        let mut slices: [&[T]; 3] = [&[]; 3];
        for (slice, (x, layout)) in slices.iter_mut().zip(inputs) {
            let Some((start, end)) = layout.contiguous_offsets() else { bail!("{} needs contiguous inputs", S::NAME) };
            *slice = &x[start..end];
        }
        let mut y = vec![<T as Real>::ZERO; batch * heads * length * width];
        y.par_chunks_exact_mut(length * width).enumerate().for_each(|(sequence, y)| {
            let part = slices.map(|x| {
                let size = x.len() / (batch * heads);
                &x[sequence * size..(sequence + 1) * size]
            });
            self.0.sequence(sequence % heads, length, part, y);
        });
        Ok((y, Shape::from((batch, heads, length, width))))
    }
}

impl<S: Scan> CustomOp3 for Op<S> {
    fn name(&self) -> &'static str {
        S::NAME
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
                let (y, shape) = self.run([(a, l1), (b, l2), (c, l3)])?;
                Ok((CpuStorage::F32(y), shape))
            }
            (CpuStorage::F64(a), CpuStorage::F64(b), CpuStorage::F64(c)) => {
                let (y, shape) = self.run([(a, l1), (b, l2), (c, l3)])?;
                Ok((CpuStorage::F64(y), shape))
            }
            _ => bail!("{} takes three inputs of f32 or of f64", S::NAME),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.0.gradients([a, b, c], output, gradient)
    }
}
