//! Layers of eight-bit weights over numbers of 2⁻²⁰ steps, in integers only.
//!
//! ```text
//! x_c ≈ 2^s v_c steps         |v_c| ≤ 2¹⁴                        ([`crate::fixed`])
//! y_r += round(Σ_c w_rc v_c · m_r / 2³²) · 2^(s − e + 32)        in steps, halves up
//! ```
//!
//! The sum is exact in 32 bits ([`crate::kernel`]); a step of its product with the row's multiplier m_r, moved up, is about
//! two of its own. A multiplier's exponent e is at most 38, so that s ≥ 6 moves up and never down. How far up nothing is lost
//! follows from the weights: with
//!
//! ```text
//! max_r m_r Σ_c |w_rc| < 2^(49 − u)      s ≤ e − 32 + u
//! ```
//!
//! no product leaves 32 bits, whatever v. That is the layer's limit for its inputs: 2048 deviations over the largest sum of
//! an output's weights, down to the next power of two. A matrix for single rows has none; there, what moves up too far
//! saturates.

use super::{Element, LEVEL_FEATURES, Linear, Numeric, Source, TOKEN_DIVISOR, run};
use crate::fixed::{Fixed, LARGEST_BITS, Shifts, View};
use crate::kernel::{self, Layout, OFFSET_BITS, PAIR};
use crate::math::Real;
use crate::norm::NORM_EPSILON;
use crate::q20::{Q20, narrow_by};
use crate::unit::IntegerUnit;
use crate::wide::{high, high_rounded, product, product_unsigned};

/// Eight-bit weights, four a word, and what 1 means in each row: multiplier / 2^exponent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scaled<'m> {
    /// In a layout of [`kernel`].
    pub weights: &'m [u32],
    /// At least 0. `[rows]`
    pub multipliers: &'m [i32],
    /// Of all rows.
    pub exponent: i32,
    /// Those of inputs with which no output leaves its range.
    pub shifts: Shifts,
}

/// One row: its words, its multiplier, and the exponent.
#[derive(Debug, Clone, Copy)]
pub struct ScaledRow<'m> {
    weights: &'m [u32],
    multiplier: i32,
    exponent: i32,
}

/// One over [`TOKEN_DIVISOR`] in steps of 2⁻³¹.
const DIVISOR: i32 = ((1_i64 << 31) as f64 / TOKEN_DIVISOR as f64) as i32;
/// The least shift of inputs for a matrix whose weights allow it: steps of 2⁻¹⁴.
const LEAST_SHIFT: u32 = 6;
/// Bits of an eight-bit weight's magnitude.
const WEIGHT_BITS: u32 = 7;

impl<'m> Scaled<'m> {
    fn take(source: &mut Source<'m>, outputs: usize, words: usize) -> Self {
        let exponent = source.numbers(1).first().copied().unwrap_or(0);
        let multipliers = source.numbers(outputs);
        Self { weights: source.words(words), multipliers, exponent, shifts: Shifts::ALL }
    }

    /// The largest m_r Σ_c |w_rc|, of parts of `outputs` rows and so many columns, the last of `columns` less what the others
    /// have.
    fn heaviest(&self, outputs: usize, columns: usize, part: usize) -> u64 {
        let mut heaviest = 0;
        let mut weights = self.weights;
        for begin in (0..columns).step_by(part.max(1)) {
            let columns = part.min(columns - begin);
            let (part, rest) = weights.split_at_checked(Layout::Pairs.words(outputs, columns)).unwrap_or_default();
            weights = rest;
            let width = Layout::Pairs.words(PAIR, columns).max(1);
            for (row, multipliers) in part.chunks(width).zip(self.multipliers.chunks(PAIR)) {
                let mut sums = [0_u32; PAIR];
                for word in row {
                    let [a, b, c, d] =
                        (word ^ OFFSET_BITS).to_le_bytes().map(|byte| u32::from((byte as i8).unsigned_abs()));
                    sums = [sums[0] + a + c, sums[1] + b + d];
                }
                for (sum, multiplier) in sums.into_iter().zip(multipliers) {
                    heaviest = product_unsigned(sum, multiplier.unsigned_abs()).max(heaviest);
                }
            }
        }
        heaviest
    }

    /// By how many bits outputs are moved up; at least 0, for so are exponents and the least shift.
    #[inline]
    fn up(&self, x: View<'_>) -> u32 {
        x.shift.wrapping_add_signed(32 - self.exponent)
    }
}

/// How sums of a single row's products become numbers: moved up by what their length leaves free and multiplied; the upper
/// half, rounded, is moved down and rounded again.
#[derive(Clone, Copy)]
struct Requantize {
    /// Bits that a sum leaves free.
    up: u32,
    /// Bits by which the upper half of a product is moved down; negative: up.
    down: i32,
}

impl Requantize {
    #[inline]
    fn new(columns: usize, exponent: i32, shift: u32) -> Self {
        let most_bits = usize::BITS - columns.max(1).saturating_sub(1).leading_zeros();
        let up = 31_u32.saturating_sub(LARGEST_BITS + WEIGHT_BITS + most_bits);
        Self { up, down: exponent - shift as i32 + up as i32 - 32 }
    }

    /// round(sum · multiplier / 2^(e − s)).
    #[inline(always)]
    fn apply(self, sum: i32, multiplier: i32) -> Q20 {
        let high = high_rounded(sum << self.up, multiplier);
        Q20::from_raw(match self.down {
            down @ 0..=31 => high.wrapping_add((1 << down) >> 1) >> down,
            32.. => 0,
            up => {
                let up = up.unsigned_abs().min(31);
                let limit = i32::MAX >> up;
                high.clamp(-limit, limit) << up
            }
        })
    }
}

impl Element for Q20 {
    const NUMERIC: Numeric = Numeric::I8;
    type Unit = IntegerUnit;
    type Number = i32;
    type Room<const N: usize> = Fixed<N>;
    type Held<const N: usize> = Fixed<N>;
    type Input<'x> = View<'x>;
    type Limit = Shifts;
    /// As [`Layout::Pairs`].
    type Matrix<'m> = Scaled<'m>;
    /// As [`Layout::Rows`].
    type Rows<'m> = Scaled<'m>;
    type Row<'m> = ScaledRow<'m>;

    #[inline(always)]
    fn number(stored: i32) -> Self {
        Self::from_raw(stored)
    }

    #[inline]
    fn room<const N: usize>() -> Fixed<N> {
        Fixed::ZERO
    }

    #[inline]
    fn prepare<const N: usize>(values: &[Self], limit: Shifts, room: &mut Fixed<N>) {
        room.set(values, limit);
    }

    #[inline]
    fn nothing_held<const N: usize>() -> Fixed<N> {
        Fixed::ZERO
    }

    /// (The numbers themselves need not be kept.)
    #[inline]
    fn hold<const N: usize>(held: &mut Fixed<N>, limit: Shifts, fill: impl FnOnce(&mut [Self; N]) -> usize) -> usize {
        let mut values = [Self::ZERO; N];
        let count = fill(&mut values).min(N);
        held.set(values.get(..count).unwrap_or_default(), limit);
        count
    }

    #[inline]
    fn held<const N: usize>(held: &Fixed<N>, count: usize) -> View<'_> {
        held.view(count)
    }

    #[inline]
    fn input<'x, const N: usize>(values: &'x [Self], room: &'x Fixed<N>) -> View<'x> {
        room.view(values.len())
    }

    fn matrix<'m>(source: &mut Source<'m>, outputs: usize, inputs: usize, part: usize) -> Scaled<'m> {
        let (whole, rest) = (inputs / part.max(1), inputs % part.max(1));
        let words = whole * Layout::Pairs.words(outputs, part) + Layout::Pairs.words(outputs, rest);
        let taken = Scaled::take(source, outputs, words);
        // (What half a step of rounding adds is below 2¹⁸.)
        let heaviest = taken.heaviest(outputs, inputs, part) + (1 << 18);
        let most = taken.exponent - 32 + 48 - heaviest.ilog2() as i32;
        if most < Shifts::ALL.least as i32 {
            source.refuse();
        }
        let most = (most.max(0) as u32).clamp(Shifts::ALL.least, Shifts::ALL.most);
        Scaled { shifts: Shifts { least: LEAST_SHIFT.min(most), most }, ..taken }
    }

    fn rows<'m>(source: &mut Source<'m>, outputs: usize, parts: [usize; 2]) -> Scaled<'m> {
        Scaled::take(source, outputs, parts.iter().map(|columns| Layout::Rows.words(outputs, *columns)).sum())
    }

    fn limit(matrix: &Scaled<'_>) -> Shifts {
        matrix.shifts
    }

    fn no_limit() -> Shifts {
        Shifts::ALL
    }

    fn tighter(a: Shifts, b: Shifts) -> Shifts {
        a.both(b)
    }

    /// (One copy for all layers: flash is dearer than a call.)
    #[inline(never)]
    fn product(matrix: &Scaled<'_>, bias: &[i32], x: View<'_>, y: &mut [Self]) {
        kernel::product(matrix.weights, matrix.multipliers, x, matrix.up(x), Some(bias), y);
    }

    #[inline(never)]
    fn add_product(matrix: &Scaled<'_>, x: View<'_>, y: &mut [Self]) {
        kernel::product(matrix.weights, matrix.multipliers, x, matrix.up(x), None, y);
    }

    #[inline]
    fn row<'m>(rows: &Self::Rows<'m>, index: usize, left: usize, right: usize) -> [Self::Row<'m>; 2] {
        let [left, right] = [left, right].map(|columns| columns.div_ceil(kernel::COLUMNS));
        let row = run(rows.weights, index, left + right);
        let (left, right) = row.split_at_checked(left).unwrap_or((row, &[]));
        let multiplier = rows.multipliers.get(index).copied().unwrap_or(0);
        [left, right].map(|weights| ScaledRow { weights, multiplier, exponent: rows.exponent })
    }

    #[inline]
    fn dot(row: &ScaledRow<'_>, x: View<'_>) -> Self {
        let sum = kernel::row(row.weights, x.pairs);
        Requantize::new(2 * x.pairs.len(), row.exponent, x.shift).apply(sum, row.multiplier)
    }

    /// Into sixteen bits at once: a scaled feature is at most `most` / 3, which says by how much all move down.
    #[inline]
    fn prepare_token<const N: usize>(
        features: &[Self],
        scale: Self,
        most: Self,
        last: [Self; LEVEL_FEATURES],
        limit: Shifts,
        values: &mut [Self],
        room: &mut Fixed<N>,
    ) {
        let farthest = most * scale;
        let least = -farthest;
        let largest = [most * Self::of(1.0 / TOKEN_DIVISOR) + Self::EPSILON, last[0], last[1]];
        let shift = limit.of(&largest);
        let (mantissa, exponent) = scale.inverse().parts();
        let mantissa = high(mantissa, DIVISOR) << 1;
        // As many bits up as a bounded feature leaves free, then all down at once.
        let bits = (i32::BITS - farthest.raw().leading_zeros()).min(31);
        let up = 31 - bits;
        let down = (exponent + up + shift).saturating_sub(32).min(31);
        let half = (1 << down) >> 1;
        room.fill(values.len(), shift, |filled| {
            let (scaled, rest) = filled.split_at_mut(values.len().saturating_sub(last.len()));
            for (value, feature) in scaled.iter_mut().zip(features) {
                let bounded = feature.at_most(farthest).at_least(least).raw();
                *value = (high_rounded(bounded << up, mantissa).wrapping_add(half) >> down) as i16;
            }
            for (value, last) in rest.iter_mut().zip(last) {
                *value = limit.nearest(last, shift);
            }
        });
    }

    /// `contract` lies as matrices of `[D_MODEL][D_MODEL]` one after the other, each for the next hidden units, the last
    /// one for those that are left; they have their rows' multipliers in common. So many hidden units at a time as the
    /// token is wide: both layers' next weights.
    #[inline]
    fn feed_forward<const D_MODEL: usize>(
        expand: &Linear<'_, Self>,
        contract: &Linear<'_, Self>,
        normed: &[Self; D_MODEL],
        x: &mut [Self; D_MODEL],
    ) {
        let (mut room, mut hidden_room) = (Fixed::<D_MODEL>::ZERO, Fixed::<D_MODEL>::ZERO);
        for (x, bias) in x.iter_mut().zip(contract.bias) {
            *x += Self::from_raw(*bias);
        }
        room.set(normed, expand.weight.shifts);
        let input = room.view(D_MODEL);
        let words = Layout::Pairs.words(D_MODEL, D_MODEL).max(1);
        let layers = expand.weight.weights.chunks(words).zip(contract.weight.weights.chunks(words));
        let outputs = expand.weight.multipliers.chunks(D_MODEL).zip(expand.bias.chunks(D_MODEL));
        for ((expanding, contracting), (multipliers, bias)) in layers.zip(outputs) {
            let mut hidden = [Self::ZERO; D_MODEL];
            let units = hidden.get_mut(..bias.len()).unwrap_or_default();
            let weight = Scaled { weights: expanding, multipliers, ..expand.weight };
            Linear { weight, bias }.apply(input, units);
            for unit in &mut *units {
                *unit = unit.at_least(Self::ZERO);
            }
            hidden_room.set(units, contract.weight.shifts);
            let weight = Scaled { weights: contracting, ..contract.weight };
            Self::add_product(&weight, hidden_room.view(units.len()), x);
        }
    }

    /// Differences are squared in steps of 2⁻¹⁷: even 64 squares of 2048 deviations sum to 2⁶² of those steps' squares. A normed number
    /// is at most √D_MODEL, and kept in steps of 2⁻²⁴.
    #[inline]
    fn normalize<const D_MODEL: usize>(x: &[Self; D_MODEL], gain: &[i32], bias: &[i32]) -> [Self; D_MODEL] {
        const { assert!(D_MODEL <= 127, "squares sum within 64 bits, a normed number within 32") };
        let count = D_MODEL as i64;
        let sum = x.iter().fold(0_i64, |sum, x| sum + i64::from(x.raw()));
        let mean = Self::from_raw((sum / count) as i32);
        let square = x.iter().fold(0_i64, |square, x| {
            let difference = (*x - mean).raw() >> 3;
            square + product(difference, difference)
        });
        let (mantissa, up, down) = inverse_root((square / count) as u64 + NORM_EPSILON_STEPS);
        let mut y = [Self::ZERO; D_MODEL];
        for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(gain).zip(bias) {
            // |x − mean| ≤ √D_MODEL deviations: what moves out at the top is sign only.
            let normed = high_rounded((*x - mean).raw().wrapping_shl(up) >> down, mantissa);
            *y = Self::from_raw(narrow_by::<24>(product(normed, *gain))) + Self::from_raw(*bias);
        }
        y
    }
}

/// ε of the layer norm in steps of 2⁻³⁴.
const NORM_EPSILON_STEPS: u64 = (NORM_EPSILON as f64 * (1_u64 << 34) as f64) as u64;

/// Of a variance v in steps of 2⁻³⁴, at least [`NORM_EPSILON_STEPS`]: a mantissa and bits up or down with which
/// `(difference << up >> down) · mantissa / 2³²` is the difference, in steps of 2⁻²⁰, over √v, in steps of 2⁻²⁴.
/// At most 2e-7 of it away.
#[inline]
fn inverse_root(variance: u64) -> (i32, u32, u32) {
    let zeros = variance.leading_zeros() & !1;
    // u in [¼, 1) in steps of 2⁻³¹; y ≈ 1/√u in (1, 2] in steps of 2⁻²⁹: a line, and three of Newton's steps.
    let u = (variance << zeros >> 33) as i32;
    let mut y = 1_127_428_915 - high(u, 1_288_490_189);
    for _ in 0..3 {
        let root = high(u, y); // 2⁻²⁸
        let one = high(root << 1, y); // 2⁻²⁶
        let correction = (3 << 25) - (one >> 1);
        y = high(y, correction << 4) << 2;
    }
    let mantissa = y.min(i32::MAX >> 1) << 1;
    let shift = zeros as i32 / 2 - 9;
    (mantissa, shift.max(0) as u32, (-shift).max(0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::q20::FRACTION_BITS;
    use std::vec;
    use std::vec::Vec;

    /// Words of a matrix in a layout.
    fn words(layout: Layout, values: &[i8], columns: usize) -> Vec<u32> {
        let mut bytes = vec![0_u8; layout.bytes(values.len() / columns, columns)];
        for (index, value) in values.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            bytes[layout.place(columns, row, column)] = layout.byte(row, *value);
        }
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    fn random(seed: &mut u32) -> i32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed ^ *seed >> 15) as i32
    }

    /// A big-integer reference of the rule in the file's head, on the edges of every range.
    #[test]
    fn requantisation_is_its_rule() {
        let mut seed = 3;
        let mut worst = 0;
        for columns in [4, 16, 32, 64, 124, 1024] {
            for shift in 0..=17 {
                for exponent in -2..60 {
                    let requantize = Requantize::new(columns, exponent, shift);
                    let most = (127 * columns as i32) << LARGEST_BITS;
                    for sum in [0, 1, -1, most, -most, random(&mut seed) % (most + 1)] {
                        for multiplier in [0, 1, 1 << 30, i32::MAX, random(&mut seed) & i32::MAX] {
                            let wide = (i128::from(sum) * i128::from(multiplier)) << 64;
                            let power = 64 + exponent - shift as i32;
                            let expected = ((wide >> (power - 1)) + 1) >> 1;
                            let expected = expected.clamp(i32::MIN.into(), i32::MAX.into()) as i64;
                            let found = i64::from(requantize.apply(sum, multiplier).raw());
                            // Two roundings of one step; where the product moves up, what it had lost moves with it.
                            let lost = 1_i64 << (-requantize.down).clamp(0, 32);
                            assert!((found - expected).abs() <= lost, "{sum} · {multiplier} e {exponent} s {shift}");
                            worst = worst.max(if requantize.down >= 0 { (found - expected).abs() } else { 0 });
                        }
                    }
                }
            }
        }
        assert!(worst <= 1);
    }

    #[test]
    fn a_layer_is_the_sum_of_its_products() {
        const COLUMNS: usize = 5;
        let values: [i8; 3 * COLUMNS] = core::array::from_fn(|i| (i as i8 - 7) * 16);
        let scales = [0.5, 2.0, 0.25];
        let pairs = words(Layout::Pairs, &values, COLUMNS);
        let multipliers = scales.map(|scale| (scale * f64::from(1 << 29)) as i32);
        let weight = Scaled { weights: &pairs, multipliers: &multipliers, exponent: 29, shifts: Shifts::ALL };
        let x = [1.0, -2.0, 4.0, 0.5, 8.0];
        let mut y = [Q20::ONE; 3];
        Linear { weight, bias: &[0, 0, 0] }.apply_once::<8>(&x.map(Q20::of), &mut y);
        for (row, y) in y.iter().enumerate() {
            let weights = &values[row * COLUMNS..][..COLUMNS];
            let sum: f64 = weights.iter().zip(x).map(|(weight, x)| f64::from(*weight) * f64::from(x)).sum();
            assert_eq!(f64::from(y.to_f32()), sum * scales[row], "row {row}");
        }

        // A row in two parts, each filled up by itself.
        let (left, right) = (2, COLUMNS - 2);
        let parts: Vec<u32> = values
            .chunks(COLUMNS)
            .flat_map(|row| {
                let (a, b) = row.split_at(left);
                [words(Layout::Rows, a, left), words(Layout::Rows, b, right)].concat()
            })
            .collect();
        let rows = Scaled { weights: &parts, multipliers: &multipliers, exponent: 29, shifts: Shifts::ALL };
        let prepared = |x: &[f32]| {
            let numbers: Vec<Q20> = x.iter().map(|x| Q20::of(*x)).collect();
            let mut room = Fixed::<4>::ZERO;
            room.set(&numbers, Shifts::ALL);
            room
        };
        let (rooms, lengths) = ([prepared(&x[..left]), prepared(&x[left..])], [left, right]);
        for (index, expected) in y.iter().enumerate() {
            let [a, b] = Q20::row(&rows, index, left, right);
            let found = Q20::dot(&a, rooms[0].view(lengths[0])) + Q20::dot(&b, rooms[1].view(lengths[1]));
            assert_eq!(found, *expected, "row {index}");
        }
        let [beyond, _] = Q20::row(&rows, 3, left, right);
        assert_eq!(Q20::dot(&beyond, rooms[0].view(left)), Q20::ZERO);
    }

    #[test]
    fn a_norm_is_within_its_bound_whatever_the_token() {
        const D: usize = 32;
        let mut seed = 11;
        let one = [1 << FRACTION_BITS; D];
        let tokens = (0..200).map(|index| {
            let most = 1_i64 << (index % 31);
            core::array::from_fn(|_| Q20::from_raw((i64::from(random(&mut seed)) % most) as i32))
        });
        let mut spike = [Q20::ZERO; D];
        spike[3] = Q20::MAX;
        let alternating = core::array::from_fn(|i| if i % 2 == 0 { Q20::MAX } else { Q20::MIN });
        for x in tokens.chain([spike, alternating, [Q20::MAX; D], [Q20::MIN; D], [Q20::ZERO; D]]) {
            let exact = x.map(|x| f64::from(x.raw()) / f64::from(1 << FRACTION_BITS));
            let mean = exact.iter().sum::<f64>() / D as f64;
            let variance = exact.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / D as f64;
            let y = Q20::normalize(&x, &one, &[0; D]);
            for (found, x) in y.iter().zip(exact) {
                let expected = (x - mean) / libm::sqrt(variance + f64::from(NORM_EPSILON));
                let error = (f64::from(found.raw()) / f64::from(1 << FRACTION_BITS) - expected).abs();
                // A step of x is ε^−½ steps of y where x hardly varies.
                let step = 2e-6 + 1e-6 / libm::sqrt(variance + f64::from(NORM_EPSILON)) + 3e-7 * expected.abs();
                assert!(error <= 2.0 * step + if variance > 1e5 { 1e-3 } else { 0.0 }, "{found:?}: {expected}");
            }
        }
    }
}
