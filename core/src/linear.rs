//! Dense layers over weights that lie in flash, with one fixed order of summation on every machine.

/// y = W x + b.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'m> {
    /// `[outputs][inputs]`
    pub weight: &'m [f32],
    /// `[outputs]`, or empty for none.
    pub bias: &'m [f32],
    /// Columns of `weight`.
    pub inputs: usize,
}

impl Linear<'_> {
    /// Writes `[outputs]` numbers; `x` is `[inputs]`. Rows beyond either slice are left alone.
    #[inline]
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        let rows = self.weight.chunks_exact(self.inputs.max(1));
        for (y, row) in y.iter_mut().zip(rows) {
            *y = dot(row, x);
        }
        for (y, bias) in y.iter_mut().zip(self.bias) {
            *y += bias;
        }
    }
}

/// Σ aᵢ bᵢ over the shorter length: four sums side by side (they hide the latency of the adder), joined pairwise.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let [s0, s1, s2, s3] = sums;
    let mut sum = (s0 + s2) + (s1 + s3);
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum
}
