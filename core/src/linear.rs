//! Dense layers over weights that lie in flash, with one fixed order of summation on every machine.
//!
//! Weights are `f32`, or `i8` with a scale for each row: y_i = s_i Σ_j W_ij x_j. The numbers in between are `f32` either
//! way; eight bits a weight cost a conversion each and save three quarters of the flash.

/// A matrix, row-major, where it lies.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'m> {
    /// `[rows][columns]`
    F32(&'m [f32]),
    /// As numbers of -127 to 127.
    I8 {
        /// `[rows][columns]`
        values: &'m [i8],
        /// What 1 means in each row. `[rows]`
        scales: &'m [f32],
    },
}

/// One row of a matrix.
#[derive(Debug, Clone, Copy)]
pub enum Row<'m> {
    /// `[columns]`
    F32(&'m [f32]),
    /// `[columns]`, and what 1 means.
    I8(&'m [i8], f32),
}

impl<'m> Matrix<'m> {
    /// The `index`-th row of `columns` numbers; empty beyond the last.
    #[inline]
    pub fn row(&self, index: usize, columns: usize) -> Row<'m> {
        match *self {
            Self::F32(values) => Row::F32(run(values, index, columns)),
            Self::I8 { values, scales } => {
                Row::I8(run(values, index, columns), scales.get(index).copied().unwrap_or(0.0))
            }
        }
    }

    /// y = W x, `[rows]`; rows beyond either are left alone. (One copy for all layers: flash is dearer than a call.)
    #[inline(never)]
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        let columns = x.len().max(1);
        match *self {
            Self::F32(values) => {
                for (y, row) in y.iter_mut().zip(values.chunks_exact(columns)) {
                    *y = dot(row, x);
                }
            }
            Self::I8 { values, scales } => {
                for ((y, row), scale) in y.iter_mut().zip(values.chunks_exact(columns)).zip(scales) {
                    *y = dot(row, x) * scale;
                }
            }
        }
    }
}

impl Row<'_> {
    /// Σ wᵢ xᵢ over the shorter length.
    #[inline]
    pub fn dot(&self, x: &[f32]) -> f32 {
        match *self {
            Self::F32(row) => dot(row, x),
            Self::I8(row, scale) => dot(row, x) * scale,
        }
    }

    /// The row from its `count`-th number on, and up to it.
    #[inline]
    pub fn split(&self, count: usize) -> (Self, Self) {
        match *self {
            Self::F32(row) => {
                let (left, right) = row.split_at_checked(count).unwrap_or((row, &[]));
                (Self::F32(left), Self::F32(right))
            }
            Self::I8(row, scale) => {
                let (left, right) = row.split_at_checked(count).unwrap_or((row, &[]));
                (Self::I8(left, scale), Self::I8(right, scale))
            }
        }
    }

    /// y += factor · row.
    #[inline]
    pub fn add_to(&self, factor: f32, y: &mut [f32]) {
        match *self {
            Self::F32(row) => add(y, row, factor),
            Self::I8(row, scale) => add(y, row, factor * scale),
        }
    }
}

/// y = W x + b.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'m> {
    /// `[outputs][inputs]`
    pub weight: Matrix<'m>,
    /// `[outputs]`, or empty for none.
    pub bias: &'m [f32],
}

impl Linear<'_> {
    /// Writes `[outputs]` numbers; `x` is `[inputs]`. Rows beyond either slice are left alone.
    #[inline]
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        self.weight.apply(x, y);
        for (y, bias) in y.iter_mut().zip(self.bias) {
            *y += bias;
        }
    }
}

/// The `index`-th run of `width` numbers; empty beyond the last.
#[inline]
pub fn run<T>(values: &[T], index: usize, width: usize) -> &[T] {
    values.get(index * width..).and_then(|rest| rest.get(..width)).unwrap_or_default()
}

/// y += factor · x.
#[inline]
pub fn add<T: Copy + Into<f32>>(y: &mut [f32], x: &[T], factor: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        let x: f32 = (*x).into();
        *y += factor * x;
    }
}

/// Σ aᵢ bᵢ over the shorter length: four sums side by side (they hide the latency of the adder), joined pairwise.
#[inline]
pub fn dot<T: Copy + Into<f32>>(a: &[T], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let (a, b) = (a.get(..length).unwrap_or_default(), b.get(..length).unwrap_or_default());
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            let a: f32 = (*a).into();
            *sum += a * b;
        }
    }
    let [s0, s1, s2, s3] = sums;
    let mut sum = (s0 + s2) + (s1 + s3);
    for (a, b) in a_rest.iter().zip(b_rest) {
        let a: f32 = (*a).into();
        sum += a * b;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_takes_the_shorter_length_whatever_is_left_of_the_other() {
        let a: [f32; 11] = core::array::from_fn(|i| i as f32);
        let whole: [f32; 21] = core::array::from_fn(|i| 1.0 + i as f32);
        let mut plain = 0.0;
        for (index, (x, y)) in a.iter().zip(&whole).enumerate() {
            plain += x * y;
            for end in [index + 1, index + 2, whole.len()] {
                assert_eq!(dot(a.get(..=index).unwrap(), whole.get(..end).unwrap()), plain);
                assert_eq!(dot(whole.get(..end).unwrap(), a.get(..=index).unwrap()), plain);
            }
        }
    }

    #[test]
    fn both_forms_of_a_matrix_multiply_alike() {
        let values: [i8; 15] = core::array::from_fn(|i| (i as i8 - 7) * 16);
        let scales = [0.5, 2.0, 0.25];
        let plain: [f32; 15] = core::array::from_fn(|i| f32::from(values[i]) * scales[i / 5]);
        let (eight, float) = (Matrix::I8 { values: &values, scales: &scales }, Matrix::F32(&plain));
        let x = [1.0, -2.0, 4.0, 0.5, 8.0];
        let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
        eight.apply(&x, &mut a);
        float.apply(&x, &mut b);
        assert_eq!(a, b);
        for (row, expected) in a.iter().enumerate() {
            assert_eq!(eight.row(row, 5).dot(&x), *expected);
            let (left, right) = eight.row(row, 5).split(2);
            assert_eq!(left.dot(&x[..2]) + right.dot(&x[2..]), *expected);
            let (mut y, mut z) = ([1.0; 5], [1.0; 5]);
            eight.row(row, 5).add_to(2.0, &mut y);
            float.row(row, 5).add_to(2.0, &mut z);
            assert_eq!(y, z);
        }
        assert_eq!(eight.row(3, 5).dot(&x), 0.0);
    }
}
