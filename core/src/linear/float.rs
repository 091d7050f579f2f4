//! Layers of `f32`.

use super::{Element, LEVEL_FEATURES, Linear, Numeric, Source, TOKEN_DIVISOR, run};
use crate::math::{Real, rsqrt};
use crate::norm::NORM_EPSILON;
use crate::unit::FloatUnit;

/// Larger variances count as this one, so that the square of a finite token never becomes infinite.
const MAX_VARIANCE: f32 = 1e30;

impl Element for f32 {
    const NUMERIC: Numeric = Numeric::F32;
    type Unit = FloatUnit;
    type Number = f32;
    type Room<const N: usize> = ();
    type Held<const N: usize> = [f32; N];
    type Input<'x> = &'x [f32];
    type Limit = ();
    /// Row-major. `[rows][columns]`
    type Matrix<'m> = &'m [f32];
    /// `[rows][columns]`
    type Rows<'m> = &'m [f32];
    type Row<'m> = &'m [f32];

    #[inline(always)]
    fn number(stored: f32) -> f32 {
        stored
    }

    fn room<const N: usize>() {}

    fn prepare<const N: usize>(_values: &[f32], _limit: (), _room: &mut ()) {}

    fn nothing_held<const N: usize>() -> [f32; N] {
        [0.0; N]
    }

    #[inline]
    fn hold<const N: usize>(held: &mut [f32; N], _limit: (), fill: impl FnOnce(&mut [f32; N]) -> usize) -> usize {
        fill(held)
    }

    fn held<const N: usize>(held: &[f32; N], count: usize) -> &[f32] {
        held.get(..count).unwrap_or_default()
    }

    fn input<'x, const N: usize>(values: &'x [f32], _room: &'x ()) -> &'x [f32] {
        values
    }

    fn matrix<'m>(source: &mut Source<'m>, outputs: usize, inputs: usize, _part: usize) -> &'m [f32] {
        source.numbers(outputs * inputs)
    }

    fn rows<'m>(source: &mut Source<'m>, outputs: usize, parts: [usize; 2]) -> &'m [f32] {
        source.numbers(outputs * parts.iter().sum::<usize>())
    }

    fn limit(_matrix: &&[f32]) {}

    fn no_limit() {}

    fn tighter(_a: (), _b: ()) {}

    /// (One copy for all layers: flash is dearer than a call.)
    #[inline(never)]
    fn product(matrix: &&[f32], bias: &[f32], x: &[f32], y: &mut [f32]) {
        for ((y, row), bias) in y.iter_mut().zip(matrix.chunks_exact(x.len().max(1))).zip(bias) {
            *y = *bias + dot(row, x);
        }
    }

    /// (One copy for all layers: flash is dearer than a call.)
    #[inline(never)]
    fn add_product(matrix: &&[f32], x: &[f32], y: &mut [f32]) {
        for (y, row) in y.iter_mut().zip(matrix.chunks_exact(x.len().max(1))) {
            *y += dot(row, x);
        }
    }

    #[inline]
    fn row<'m>(rows: &Self::Rows<'m>, index: usize, left: usize, right: usize) -> [Self::Row<'m>; 2] {
        let row = run(rows, index, left + right);
        let (left, right) = row.split_at_checked(left).unwrap_or((row, &[]));
        [left, right]
    }

    #[inline]
    fn dot(row: &&[f32], x: &[f32]) -> f32 {
        dot(row, x)
    }

    #[inline]
    fn prepare_token<const N: usize>(
        features: &[f32],
        scale: f32,
        most: f32,
        last: [f32; LEVEL_FEATURES],
        _limit: (),
        values: &mut [f32],
        _room: &mut (),
    ) {
        let inverse = 1.0 / scale;
        for (value, feature) in values.iter_mut().zip(features) {
            *value = (feature * inverse).at_most(most).at_least(-most) / TOKEN_DIVISOR;
        }
        if let Some(place) = values.last_chunk_mut() {
            *place = last;
        }
    }

    /// `contract` lies transposed, `[D_FF][D_MODEL]`: a hidden unit is used once and never stored.
    #[inline]
    fn feed_forward<const D_MODEL: usize>(
        expand: &Linear<'_, f32>,
        contract: &Linear<'_, f32>,
        normed: &[f32; D_MODEL],
        x: &mut [f32; D_MODEL],
    ) {
        add(x, contract.bias, 1.0);
        for (unit, bias) in expand.bias.iter().enumerate() {
            // A select: a skipped unit would make the cost depend on the data.
            let hidden = (dot(run(expand.weight, unit, D_MODEL), normed) + bias).at_least(0.0);
            add(x, run(contract.weight, unit, D_MODEL), hidden);
        }
    }

    #[inline]
    fn normalize<const D_MODEL: usize>(x: &[f32; D_MODEL], gain: &[f32], bias: &[f32]) -> [f32; D_MODEL] {
        let count = D_MODEL as f32;
        let mean = x.iter().fold(0.0, |sum, x| sum + x) / count;
        let variance = x.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / count;
        let inverse = rsqrt(variance.at_most(MAX_VARIANCE) + NORM_EPSILON);
        let mut y = [0.0; D_MODEL];
        for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(gain).zip(bias) {
            *y = (x - mean) * inverse * gain + bias;
        }
        y
    }
}

/// y += factor · x.
#[inline]
fn add(y: &mut [f32], x: &[f32], factor: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// Σ aᵢ bᵢ over the shorter length: four sums side by side (they hide the latency of the adder), joined pairwise.
#[inline]
fn dot(a: &[f32], b: &[f32]) -> f32 {
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
}
