//! The kernels in plain Rust: what other kernels are tested against, and what runs where there are none.

use core::ops::AddAssign as _;

use super::{Halves, OFFSET_BITS, PAIR};
use crate::fixed::{Shifts, View};
use crate::q20::Q20;
use crate::wide::high_rounded;

/// y = from + W x of whole pairs of rows: `weights` are their words, half as many a pair as there are columns. Nothing
/// where there are too few of something.
pub fn pairs(weights: &[u32], multipliers: &[i32], x: View<'_>, up: u32, from: Option<&[i32]>, y: &mut [Q20]) {
    let rows = y.len() / PAIR * PAIR;
    let enough = weights.len() >= rows / PAIR * x.pairs.len() && multipliers.len() >= rows;
    if !enough || from.is_some_and(|from| from.len() < rows) {
        return;
    }
    if let Some(from) = from {
        for (y, from) in y.iter_mut().zip(from).take(rows) {
            *y = Q20::from_raw(*from);
        }
    }
    let rows = y.as_chunks_mut::<PAIR>().0.iter_mut().zip(multipliers.as_chunks::<PAIR>().0);
    for ((y, multipliers), weights) in rows.zip(weights.chunks_exact(x.pairs.len().max(1))) {
        let sums = pair(weights, x.pairs);
        for ((y, multiplier), sum) in y.iter_mut().zip(multipliers).zip(sums) {
            y.add_assign(Q20::from_raw(high_rounded(sum, *multiplier).wrapping_shl(up)));
        }
    }
}

/// Σ_c w_rc x_c of both rows.
#[inline(always)]
fn pair(weights: &[u32], x: &[u32]) -> [i32; PAIR] {
    let mut sums = [0_i32; PAIR];
    let [upper, lower] = &mut sums;
    for (word, pair) in weights.iter().zip(x) {
        let [x0, x1] = halves(*pair);
        let [a, b, c, d] = signed(*word ^ OFFSET_BITS);
        *upper = upper.wrapping_add(a * x0).wrapping_add(c * x1);
        *lower = lower.wrapping_add(b * x0).wrapping_add(d * x1);
    }
    sums
}

/// Σ_c w_c x_c of one row; `weights` are its words, one for each four columns, `x` has two columns a word, the first in the
/// low half. What one of the two is longer than the other is left out.
#[inline]
pub fn row(weights: &[u32], x: &[u32]) -> i32 {
    let mut sum = 0_i32;
    for (word, [first, second]) in weights.iter().zip(x.as_chunks::<2>().0) {
        let [a, b, c, d] = signed(*word);
        let ([x0, x1], [x2, x3]) = (halves(*first), halves(*second));
        sum = sum.wrapping_add(a * x0).wrapping_add(c * x1).wrapping_add(b * x2).wrapping_add(d * x3);
    }
    sum
}

/// Takes numbers in steps of 2^shift steps: as few bits as the largest needs, within `shifts`. Gives the sum of what it wrote
/// and the shift. With the largest shift, what needs more saturates. As many as the shorter one has.
#[inline]
pub fn shorten<const N: usize>(x: &[Q20], values: &mut Halves<N>, shifts: Shifts) -> (i32, u32) {
    let shift = shifts.of(x);
    let mut sum = 0;
    for (value, x) in values.0.iter_mut().zip(x) {
        *value = shifts.nearest(*x, shift);
        sum += i32::from(*value);
    }
    (sum, shift)
}

/// The two numbers of a word.
#[inline]
fn halves(word: u32) -> [i32; 2] {
    [i32::from(word as i16), word as i32 >> 16]
}

/// The four weights of a word.
#[inline]
fn signed(word: u32) -> [i32; 4] {
    word.to_le_bytes().map(|byte| i32::from(byte as i8))
}
