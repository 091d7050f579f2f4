//! The kernels in plain Rust: what other kernels are tested against, and what runs where there are none.

use core::ops::AddAssign as _;

use super::{Halves, PAIR};
use crate::fixed::{LARGEST, Shifts, View};
use crate::q20::Q20;
use crate::wide::{high, high_rounded, product};

/// y = from + W x of whole pairs of rows: `weights` are their words, half as many a pair as there are columns. Nothing
/// where there are too few of something.
pub fn pairs(weights: &[u32], multipliers: &[i32], x: View<'_>, up: u32, from: Option<&[i32]>, y: &mut [Q20]) {
    pairs_by(pair, weights, multipliers, x, up, from, y);
}

/// The same with a `pair` that sums as this file's does.
#[inline(always)]
pub(super) fn pairs_by(
    pair: impl Fn(&[u32], &[u32], i32) -> [i32; PAIR],
    weights: &[u32],
    multipliers: &[i32],
    x: View<'_>,
    up: u32,
    from: Option<&[i32]>,
    y: &mut [Q20],
) {
    let count = y.len() / PAIR;
    let enough = weights.len() >= count * x.pairs.len() && multipliers.len() / PAIR >= count;
    if !enough || from.is_some_and(|from| from.len() / PAIR < count) {
        return;
    }
    if let Some(from) = from {
        for (y, from) in y.iter_mut().zip(from).take(PAIR * count) {
            *y = Q20::from_raw(*from);
        }
    }
    let mut weights = weights;
    for (y, multipliers) in y.as_chunks_mut::<PAIR>().0.iter_mut().zip(multipliers.as_chunks::<PAIR>().0) {
        let (now, later) = weights.split_at_checked(x.pairs.len()).unwrap_or_default();
        weights = later;
        let sums = pair(now, x.pairs, x.start);
        for ((y, multiplier), sum) in y.iter_mut().zip(multipliers).zip(sums) {
            y.add_assign(Q20::from_raw(high_rounded(sum, *multiplier).wrapping_shl(up)));
        }
    }
}

/// Σ_c w_rc x_c of both rows, the upper one's weights with 128 added, its sum from `start`. Over the shorter length.
#[inline(always)]
fn pair(weights: &[u32], x: &[u32], start: i32) -> [i32; PAIR] {
    let (mut upper, mut lower) = (start, 0_i32);
    for (word, pair) in weights.iter().zip(x) {
        let [x0, x1] = halves(*pair);
        let [a, b, c, d] = word.to_le_bytes();
        upper = upper.wrapping_add(i32::from(a) * x0).wrapping_add(i32::from(c) * x1);
        lower = lower.wrapping_add(i32::from(b as i8) * x0).wrapping_add(i32::from(d as i8) * x1);
    }
    [upper, lower]
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
    let mut take = |nearest: fn(Q20, u32) -> i32| {
        for (value, x) in values.0.iter_mut().zip(x) {
            let nearest = nearest(*x, shift);
            *value = nearest as i16;
            sum += nearest;
        }
    };
    if shift < shifts.most {
        take(nearest)
    } else {
        take(|x, shift| bounded(nearest(x, shift)))
    }
    (sum, shift)
}

/// The nearest multiple of 2^`shift` steps (1 to 31), halves up.
#[inline(always)]
pub fn nearest(x: Q20, shift: u32) -> i32 {
    ((x.raw() >> (shift - 1)) + 1) >> 1
}

/// Within fourteen bits and a sign.
#[inline(always)]
pub fn bounded(value: i32) -> i32 {
    value.clamp(-LARGEST, LARGEST - 1)
}

/// Running means take samples x · scale, of which each is within ±256 and x within 0 to 1: over the shorter length. `scale` is
/// moved up by 2 bits, `gain` by 10, so that upper halves of products are in steps.
///
/// ```text
/// d = x scale − mean      mean += ⌊(d + 1) gain⌋ + [d ≥ 0]
/// ```
///
/// A mean moves at least a step and stays a step above a sample that stays: rounded to the nearest, a mean of N samples would
/// stop N/2 steps before the end.
#[inline]
pub fn approach(means: &mut [Q20], x: &[Q20], scale: i32, gain: i32) {
    for (mean, x) in means.iter_mut().zip(x) {
        *mean = moved(*mean, high_rounded(scale, x.raw().wrapping_shl(10)), gain);
    }
}

/// The same for means, `[value][key]`, of values under a key, and what a query receives of each, its products summed. `key`
/// and `gain` are moved up by 10 bits, `values` by 2.
#[inline]
pub fn remember<const N: usize>(
    means: &mut [[Q20; N]; N],
    key: &[i32; N],
    values: &[i32; N],
    gain: i32,
    query: &[Q20; N],
) -> [i64; N] {
    let mut sums = [0_i64; N];
    for ((means, value), sum) in means.iter_mut().zip(values).zip(&mut sums) {
        for ((mean, key), query) in means.iter_mut().zip(key).zip(query) {
            *mean = moved(*mean, high_rounded(*value, *key), gain);
            *sum = sum.wrapping_add(product(query.raw(), mean.raw()));
        }
    }
    sums
}

/// A mean that has taken a sample.
#[inline(always)]
fn moved(mean: Q20, sample: i32, gain: i32) -> Q20 {
    let above = mean.raw().wrapping_sub(sample.wrapping_add(1)); // −(d + 1)
    let by = high(above.wrapping_neg().wrapping_shl(2), gain);
    Q20::from_raw(mean.raw().wrapping_add(by).wrapping_sub(above >> 31))
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
