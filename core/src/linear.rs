//! Dense layers over weights that lie in flash, with one fixed order of summation on every machine.
//!
//! Weights are `f32`, or `i8` with a scale for each row: y_r = s_r unit Σ_c w_rc v_c, with x ≈ unit v in sixteen bits
//! ([`crate::fixed`]) and the sum in integers ([`crate::kernel`]). What leaves a layer is `f32` either way.

use crate::fixed::{Fixed, View};
use crate::kernel;

/// A matrix for products with the whole of it, where it lies.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'m> {
    /// Row-major. `[rows][columns]`
    F32(&'m [f32]),
    /// As [`kernel::Layout::Blocks`].
    I8(Scaled<'m>),
}

/// A matrix for products with single rows, where it lies.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'m> {
    /// `[rows][columns]`
    F32(&'m [f32]),
    /// As [`kernel::Layout::Rows`].
    I8(Scaled<'m>),
}

/// Eight-bit weights, four a word, and what 1 means in each row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scaled<'m> {
    /// In a layout of [`kernel`].
    pub weights: &'m [u32],
    /// `[rows]`
    pub scales: &'m [f32],
}

/// One row of a matrix, or a part of it.
#[derive(Debug, Clone, Copy)]
pub enum Row<'m> {
    /// `[columns]`
    F32(&'m [f32]),
    /// Four weights a word, and what 1 means.
    I8(&'m [u32], f32),
}

/// What a layer takes: a vector, and its sixteen-bit form where the weights have eight bits.
#[derive(Debug, Clone, Copy)]
pub struct Input<'x> {
    values: &'x [f32],
    /// Empty for `f32` weights.
    fixed: View<'x>,
}

/// A vector that keeps its sixteen-bit form beside it; `N` is a multiple of 4.
#[derive(Debug, Clone)]
pub struct Vector<const N: usize> {
    values: [f32; N],
    fixed: Fixed<N>,
    count: usize,
    eight_bit: bool,
}

impl<'x> Input<'x> {
    /// Of a vector of up to `N` numbers. `room` takes its sixteen-bit form, if the weights have eight bits.
    #[inline]
    pub fn new<const N: usize>(values: &'x [f32], room: &'x mut Fixed<N>, eight_bit: bool) -> Self {
        if !eight_bit {
            return Self { values, fixed: View::EMPTY };
        }
        room.set(values);
        Self { values, fixed: room.view(values.len()) }
    }
}

impl<const N: usize> Vector<N> {
    /// No number.
    pub const EMPTY: Self = Self { values: [0.0; N], fixed: Fixed::ZERO, count: 0, eight_bit: false };

    /// Has `fill` write up to `N` numbers and say how many there are. (In place: a vector is dear to move.)
    #[inline]
    pub fn fill(&mut self, eight_bit: bool, fill: impl FnOnce(&mut [f32; N]) -> usize) {
        self.count = fill(&mut self.values).min(N);
        self.eight_bit = eight_bit;
        if eight_bit {
            self.fixed.set(self.values.get(..self.count).unwrap_or_default());
        }
    }

    /// The numbers.
    #[inline]
    pub fn values(&self) -> &[f32] {
        self.values.get(..self.count).unwrap_or_default()
    }

    /// What a layer takes of it.
    #[inline]
    pub fn input(&self) -> Input<'_> {
        let fixed = if self.eight_bit { self.fixed.view(self.count) } else { View::EMPTY };
        Input { values: self.values(), fixed }
    }
}

impl Matrix<'_> {
    /// Whether the weights have eight bits.
    #[inline]
    pub fn is_eight_bit(&self) -> bool {
        matches!(self, Self::I8(_))
    }

    /// y += W x, `[rows]`; rows beyond either are left alone. (One copy for all layers: flash is dearer than a call.)
    #[inline(never)]
    pub fn add_product(&self, x: &Input<'_>, y: &mut [f32]) {
        match self {
            Self::F32(values) => {
                for (y, row) in y.iter_mut().zip(values.chunks_exact(x.values.len().max(1))) {
                    *y += dot(row, x.values);
                }
            }
            Self::I8(Scaled { weights, scales }) => {
                let View { pairs, unit } = x.fixed;
                // A block has a word for each column, a word of the vector two of them.
                let mut blocks = weights.chunks_exact((2 * pairs.len()).max(1));
                let (whole, rest) = y.as_chunks_mut::<{ kernel::BLOCK_ROWS }>();
                let (scales, rest_scales) = scales.as_chunks::<{ kernel::BLOCK_ROWS }>();
                // Whole blocks apart from the rest: their four rows are unrolled.
                for ((y, scales), weights) in whole.iter_mut().zip(scales).zip(&mut blocks) {
                    let sums = kernel::block(weights, pairs);
                    for ((y, scale), sum) in y.iter_mut().zip(scales).zip(sums) {
                        *y += sum as f32 * (scale * unit);
                    }
                }
                if let Some(weights) = blocks.next() {
                    let sums = kernel::block(weights, pairs);
                    for ((y, scale), sum) in rest.iter_mut().zip(rest_scales).zip(sums) {
                        *y += sum as f32 * (scale * unit);
                    }
                }
            }
        }
    }
}

impl<'m> Rows<'m> {
    /// The `index`-th row in two parts, of `left` and of `right` columns; empty beyond the last.
    #[inline]
    pub fn row(&self, index: usize, left: usize, right: usize) -> [Row<'m>; 2] {
        match self {
            Self::F32(values) => {
                let row = run(values, index, left + right);
                let (left, right) = row.split_at_checked(left).unwrap_or((row, &[]));
                [Row::F32(left), Row::F32(right)]
            }
            Self::I8(Scaled { weights, scales }) => {
                let [left, right] = [left, right].map(|columns| columns.div_ceil(kernel::COLUMNS));
                let row = run(weights, index, left + right);
                let (left, right) = row.split_at_checked(left).unwrap_or((row, &[]));
                let scale = scales.get(index).copied().unwrap_or(0.0);
                [Row::I8(left, scale), Row::I8(right, scale)]
            }
        }
    }
}

impl Row<'_> {
    /// Σ w_c x_c over the shorter length.
    #[inline]
    pub fn dot(&self, x: &Input<'_>) -> f32 {
        match self {
            Self::F32(row) => dot(row, x.values),
            Self::I8(row, scale) => kernel::row(row, x.fixed.pairs) as f32 * (scale * x.fixed.unit),
        }
    }
}

/// y = W x + b.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'m> {
    /// `[outputs][inputs]`
    pub weight: Matrix<'m>,
    /// `[outputs]`
    pub bias: &'m [f32],
}

impl Linear<'_> {
    /// Writes `[outputs]` numbers; `x` is `[inputs]`. Rows beyond either slice are left alone.
    #[inline]
    pub fn apply(&self, x: &Input<'_>, y: &mut [f32]) {
        for (y, bias) in y.iter_mut().zip(self.bias) {
            *y = *bias;
        }
        self.weight.add_product(x, y);
    }

    /// As [`Linear::apply`], of a vector that no other layer takes; `N` is its length or more, a multiple of 4.
    #[inline]
    pub fn apply_once<const N: usize>(&self, x: &[f32], y: &mut [f32]) {
        let mut room = Fixed::<N>::ZERO;
        self.apply(&Input::new(x, &mut room, self.weight.is_eight_bit()), y);
    }
}

/// The `index`-th run of `width` numbers; empty beyond the last.
#[inline]
pub fn run<T>(values: &[T], index: usize, width: usize) -> &[T] {
    values.get(index * width..).and_then(|rest| rest.get(..width)).unwrap_or_default()
}

/// y += factor · x.
#[inline]
pub fn add(y: &mut [f32], x: &[f32], factor: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// Σ aᵢ bᵢ over the shorter length: four sums side by side (they hide the latency of the adder), joined pairwise.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let (a, b) = (a.get(..length).unwrap_or_default(), b.get(..length).unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::Layout;
    use std::vec;
    use std::vec::Vec;

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

    fn vector<const N: usize>(numbers: &[f32]) -> Vector<N> {
        let mut vector = Vector::EMPTY;
        vector.fill(true, |values| {
            values[..numbers.len()].copy_from_slice(numbers);
            numbers.len()
        });
        vector
    }

    /// Words of a matrix in a layout.
    fn words(layout: Layout, values: &[i8], columns: usize) -> Vec<u32> {
        let mut bytes = vec![0_u8; layout.bytes(values.len() / columns, columns)];
        for (index, value) in values.iter().enumerate() {
            bytes[layout.place(columns, index / columns, index % columns)] = *value as u8;
        }
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    #[test]
    fn both_forms_of_a_matrix_multiply_alike() {
        const COLUMNS: usize = 5;
        let values: [i8; 3 * COLUMNS] = core::array::from_fn(|i| (i as i8 - 7) * 16);
        let scales = [0.5, 2.0, 0.25];
        let plain: [f32; 3 * COLUMNS] = core::array::from_fn(|i| f32::from(values[i]) * scales[i / COLUMNS]);
        let blocks = words(Layout::Blocks, &values, COLUMNS);
        let eight = Matrix::I8(Scaled { weights: &blocks, scales: &scales });
        let float = Matrix::F32(&plain);
        // All of sixteen bits under one power of two: nothing is lost.
        let x = vector::<8>(&[1.0, -2.0, 4.0, 0.5, 8.0]);
        let (mut a, mut b) = ([1.0; 3], [1.0; 3]);
        eight.add_product(&x.input(), &mut a);
        float.add_product(&x.input(), &mut b);
        assert_eq!(a, b);

        // A row in two parts, each filled up by itself.
        let (left, right) = (2, COLUMNS - 2);
        let parts: Vec<u32> = values
            .chunks(COLUMNS)
            .flat_map(|row| {
                let (a, b) = row.split_at(left);
                [words(Layout::Rows, a, left), words(Layout::Rows, b, right)].concat()
            })
            .collect();
        let eight = Rows::I8(Scaled { weights: &parts, scales: &scales });
        let float = Rows::F32(&plain);
        let (x, y) = (vector::<4>(&[1.0, -2.0]), vector::<4>(&[4.0, 0.5, 8.0]));
        for index in 0..4 {
            let of = |rows: &Rows<'_>| {
                let [a, b] = rows.row(index, left, right);
                a.dot(&x.input()) + b.dot(&y.input())
            };
            assert_eq!(of(&eight), of(&float), "row {index}");
            assert_eq!(of(&eight) == 0.0, index == 3);
        }
    }
}
