//! The scalar of a model with eight-bit weights: a number of 2⁻²⁰ steps in 32 bits, and functions of it, all in integers.
//!
//! ```text
//! x = raw / 2²⁰        −2048 ≤ x < 2048        a step is 9.5e-7
//! ```
//!
//! In deviations of the training data a step is a millionth of one, and nothing that a sensor says is 2048 of them away.
//! Sums and products saturate at the ends and products round to the nearest step, halves up: one rule, the same on
//! every machine. No function branches on its argument. `BOUNDS.md` says of every number of state what holds it in range.

use core::hint::select_unpredictable;
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::bits::{float, scaled};
use crate::kernel;
use crate::math::Real;
use crate::wide::{high, high_rounded, product, product_unsigned};

/// Bits behind the point.
pub const FRACTION_BITS: u32 = 20;
const ONE: i32 = 1 << FRACTION_BITS;

/// What [`Real::approach_all`] and [`Real::remember`] take beyond ± this is taken as it. Then means are within ±256, for each
/// is between the mean before and the sample, so their differences are below 512, and no sum or product of them leaves
/// 32 bits: nothing there need saturate.
const MOST_PART: Q20 = Q20((256 << FRACTION_BITS) - 1);

/// A number in steps of 2⁻²⁰.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
#[repr(transparent)]
pub struct Q20(i32);

/// One over a number, to multiply by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inverse {
    /// Half of 2⁶³ over the normalised magnitude, with the number's sign: 2³⁰ to 2³¹.
    mantissa: i32,
    /// x/b = x · mantissa · 2^−shift, 11 to 42.
    shift: u32,
}

impl Inverse {
    /// m and e of x/b = x m / 2^e.
    pub(crate) fn parts(self) -> (i32, u32) {
        (self.mantissa, self.shift)
    }
}

impl crate::persist::Persist for Q20 {
    fn save(&self, writer: &mut crate::persist::Writer<'_>) {
        self.0.save(writer);
    }

    /// Any number is one. What a checksum let through that no forecaster wrote makes sums wrap, and no more.
    fn load(&mut self, reader: &mut crate::persist::Reader<'_>) {
        self.0.load(reader);
    }
}

impl Q20 {
    /// The largest number, 2048 − 2⁻²⁰.
    pub const MAX: Self = Self(i32::MAX);
    /// The smallest number, −2048.
    pub const MIN: Self = Self(i32::MIN);

    /// Of so many steps.
    #[inline(always)]
    pub const fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// In steps.
    #[inline(always)]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The nearest number, halves away from zero; what is beyond the ends is at them, NaN at one.
    pub const fn from_f32(value: f32) -> Self {
        Self(scaled(value, FRACTION_BITS))
    }

    /// The nearest `f32`, halves to even.
    pub const fn to_f32(self) -> f32 {
        float(self.0 as i64, -(FRACTION_BITS as i32))
    }

    /// One over this; of 0, one over the smallest step.
    #[inline]
    pub fn inverse(self) -> Inverse {
        let magnitude = self.0.unsigned_abs().max(1);
        let zeros = magnitude.leading_zeros();
        let mantissa = (reciprocal(magnitude << zeros) >> 1) as i32;
        let mantissa = select_unpredictable(self.0 < 0, mantissa.wrapping_neg(), mantissa);
        Inverse { mantissa, shift: 42 - zeros }
    }

    /// This over the number that `inverse` is of.
    #[inline]
    pub fn over(self, inverse: Inverse) -> Self {
        // All bits that the number leaves free, so that the upper half of the product holds 28 of them or more.
        let free = (self.0 ^ self.0 >> 31).leading_zeros() - 1;
        let high = high_rounded(self.0.wrapping_shl(free), inverse.mantissa);
        // 2^(shift + free − 32): below −3 every quotient is beyond the ends.
        let down = inverse.shift as i32 + free as i32 - 32;
        let right = down.clamp(1, 31) as u32;
        let left = (1 - down).clamp(0, 5) as u32;
        let near = (high.wrapping_shr(right - 1) + i32::from(down > 0)) >> i32::from(down > 0);
        let left = left.saturating_sub(1);
        let moved = near.wrapping_shl(left);
        Self(select_unpredictable(moved >> left == near, moved, near >> 31 ^ i32::MAX))
    }
}

/// `wide` / 2^`shift` (1 to 61) rounded to the nearest, halves up, within 32 bits; |`wide`| is at most 2⁶².
#[inline(always)]
pub(crate) fn narrow(wide: i64, shift: u32) -> i32 {
    let rounded = wide.wrapping_add(1 << (shift - 1)) >> shift;
    let (low, high) = (rounded as i32, (rounded >> 32) as i32);
    select_unpredictable(high == low >> 31, low, high >> 31 ^ i32::MAX)
}

/// The same for a shift of 1 to 32 that is known when compiled: half the instructions.
#[inline(always)]
pub(crate) fn narrow_by<const SHIFT: u32>(wide: i64) -> i32 {
    const { assert!(SHIFT >= 1 && SHIFT <= 32) };
    let rounded = wide.wrapping_add(1 << (SHIFT - 1));
    let high = (rounded >> 32) as i32;
    select_unpredictable(high >> (SHIFT - 1) == high >> 31, (rounded >> SHIFT) as i32, high >> 31 ^ i32::MAX)
}

/// 2⁶³ / `m` for `m` of 2³¹ and more, at most 3e-9 of it away: a quotient of 16 bits, and one of Newton's steps.
#[inline]
pub(crate) fn reciprocal(m: u32) -> u32 {
    // 2⁴⁸/m and up to 2⁻¹⁵ of it more: 2¹⁶ to 2¹⁷.
    let guess = u32::MAX / (m >> 16 | 1 << 15);
    // Of 2⁴⁸ − m · guess only the low 36 bits are not zero.
    let rest = (1_i64 << 48).wrapping_sub(product_unsigned(m, guess) as i64) >> 4;
    let correction = product(guess as i32, rest as i32) >> 29;
    (guess << 15).wrapping_add(correction as u32)
}

/// 2^f in steps of 2⁻³⁰ for f of 0 to 1 in steps of 2⁻³¹, at most 6e-9 away. (Chebyshev's fit.)
#[inline]
fn exp2_fraction(f: i32) -> u32 {
    const COEFFICIENTS: [i32; 6] = [234_908, 1_330_132, 10_398_739, 59_571_654, 257_945_537, 744_260_848];
    let mut sum = 0;
    for coefficient in COEFFICIENTS {
        sum = (high(sum, f) << 1) + coefficient;
    }
    ((high(sum, f) << 1) as u32).wrapping_add(1 << 30)
}

/// e^x as mantissa · 2^(n − 30), mantissa 2³⁰ to 2³¹. |x| is at most 32.
#[inline]
fn exp_parts(x: i32) -> (u32, i32) {
    /// log₂ e in steps of 2⁻³⁰.
    const LOG2_E: i32 = 1_549_082_005;
    let power = product(x, LOG2_E); // in steps of 2⁻⁵⁰
    let fraction = (power >> 19) as i32 & i32::MAX;
    (exp2_fraction(fraction), (power >> 50) as i32)
}

/// 1/`count` as mantissa · 2^−shift, 31 to 62; of 0 as of 1.
#[inline]
fn inverse_count(count: u32) -> (i32, u32) {
    let zeros = count.max(1).leading_zeros();
    ((reciprocal(count.max(1) << zeros) >> 1) as i32, 62 - zeros)
}

/// Places of the sigmoid's table are 2⁻⁶ apart, up to 16: beyond, it is 1 but for a step.
const SIGMOID_SHIFT: u32 = FRACTION_BITS - 6;
const SIGMOID_END: i32 = 16 << FRACTION_BITS;
const SIGMOID_PLACES: usize = (SIGMOID_END >> SIGMOID_SHIFT) as usize + 1;

/// σ(i/64) in steps, moved up by half of what a line between two places lies too low.
static SIGMOID: [i32; SIGMOID_PLACES] = {
    let mut table = [0; SIGMOID_PLACES];
    let mut place = 0;
    while place < SIGMOID_PLACES {
        let x = place as f64 / 64.0;
        let s = 1.0 / (1.0 + exp_of_minus(x));
        // A chord is below the curve by up to h²/8 · |σ″|, σ″ = σ(1 − σ)(1 − 2σ).
        let bend = s * (1.0 - s) * (2.0 * s - 1.0) / (64.0 * 64.0 * 16.0);
        table[place] = ((s + bend) * ONE as f64 + 0.5) as i32;
        place += 1;
    }
    table
};

/// e^−x for 0 ≤ x ≤ 16, computed when compiled: (e^(−x/1024))^1024 by a short series.
const fn exp_of_minus(x: f64) -> f64 {
    let y = -x / 1024.0;
    let mut power = 1.0 + y * (1.0 + y / 2.0 * (1.0 + y / 3.0 * (1.0 + y / 4.0 * (1.0 + y / 5.0))));
    let mut doublings = 0;
    while doublings < 10 {
        power *= power;
        doublings += 1;
    }
    power
}

/// ln(x / 2^bits) of an x that is not 0. (One copy: it is long.)
#[inline(never)]
fn ln_scaled(x: u32, bits: i32) -> Q20 {
    /// Chebyshev's fit of ln(1 + t) for −0.293 ≤ t ≤ 0.414, in steps of 2⁻²⁸: at most 4e-8 away.
    const COEFFICIENTS: [i32; 8] =
        [-26_420_367, 43_931_824, -46_723_639, 53_372_492, -66_980_360, 89_484_864, -134_220_265, 268_435_418];
    /// ln 2 in steps of 2⁻²⁶.
    const LN_2: i32 = 46_516_320;
    const SQRT_2: u32 = 3_037_000_500;
    let zeros = x.leading_zeros();
    let m = x << zeros;
    // The mantissa in [√½, √2), the exponent to match.
    let above = m >= SQRT_2;
    let t = select_unpredictable(above, m >> 1, m).wrapping_sub(1 << 31) as i32;
    let exponent = 31 - bits - zeros as i32 + i32::from(above);
    let mut sum = 0;
    for coefficient in COEFFICIENTS {
        sum = (high(sum, t) << 1) + coefficient;
    }
    let fraction = (high(sum, t) << 1) + 8;
    Q20(((fraction >> 2) + exponent * LN_2 + (1 << 5)) >> 6)
}

impl Real for Q20 {
    type Sum = i64;
    type Share = i32;

    const ZERO: Self = Self(0);
    const ONE: Self = Self(ONE);
    /// One step, 0.95e-6.
    const EPSILON: Self = Self(1);

    #[inline(always)]
    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn from_count(count: u32) -> Self {
        Self((count.min(2047) << FRACTION_BITS) as i32)
    }

    #[inline(always)]
    fn one_over(count: u32) -> Self {
        let count = count.max(1);
        // One step at the least: a mean that has ever so many samples still moves.
        Self(((ONE as u32).saturating_add(count / 2) / count).max(1) as i32)
    }

    /// 2³¹ / `count`.
    #[inline(always)]
    fn shares(count: u32) -> i32 {
        ((1_u32 << 31).checked_div(count).unwrap_or(1 << 31)).min(i32::MAX as u32) as i32
    }

    /// At most two steps from the quotient, for counts below 2¹¹.
    #[inline(always)]
    fn share(self, shares: i32) -> Self {
        Self(high_rounded(self.0, shares) << 1)
    }

    #[inline(always)]
    fn add_to(self, sum: &mut i64) {
        *sum = sum.wrapping_add(self.0.into());
    }

    /// At most two steps from the mean.
    #[inline]
    fn mean(sum: i64, count: u32) -> Self {
        let (mantissa, shift) = inverse_count(count);
        // So many bits as the count has: what is left of the sum is within 32.
        let bits = shift - 30;
        Self(narrow_by::<30>(product((sum >> bits) as i32, mantissa)))
    }

    /// At most a step from the quotient, for parts of up to 2³¹.
    #[inline(always)]
    fn ratio(part: u32, whole: u32) -> Self {
        let (mantissa, shift) = inverse_count(whole);
        Self(narrow(product((part & i32::MAX as u32) as i32, mantissa), shift - FRACTION_BITS))
    }

    #[inline(always)]
    fn is_finite(self) -> bool {
        true
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// At most 1.5 steps, or 1e-8 of it, from the exact value for −14 ≤ x ≤ 7.62; beyond, the value at the nearer end.
    #[inline]
    fn exp(self) -> Self {
        const LEAST: Q20 = Q20::from_f32(-14.0);
        const MOST: Q20 = Q20::from_f32(7.624);
        let (mantissa, power) = exp_parts(self.at_least(LEAST).at_most(MOST).0);
        let shift = (10 - power) as u32 & 31;
        Self(((mantissa + ((1_u32 << shift) >> 1)) >> shift) as i32)
    }

    /// At most 4 steps from the exact value: a line between two places of a table.
    #[inline]
    fn sigmoid(self) -> Self {
        let bounded = self.0.clamp(-SIGMOID_END, SIGMOID_END - 1);
        // Of the lowest number the neighbour, so that every place is in the table.
        let magnitude = bounded ^ bounded >> 31;
        let place = (magnitude >> SIGMOID_SHIFT) as usize & (SIGMOID_PLACES - 2);
        let [begin, end] = [SIGMOID[place], SIGMOID[place + 1]];
        let way = magnitude & ((1 << SIGMOID_SHIFT) - 1);
        // Neighbours are less than 2¹³ steps apart.
        let upper = begin + (((end - begin) * way + (1 << (SIGMOID_SHIFT - 1))) >> SIGMOID_SHIFT);
        Self(select_unpredictable(self.0 < 0, ONE - upper, upper))
    }

    /// At most 9 steps from the exact value.
    #[inline]
    fn tanh(self) -> Self {
        let sigmoid = self.0.saturating_mul(2);
        Self((Self(sigmoid).sigmoid().0 << 1) - ONE)
    }

    /// At most 1 step from the exact value; of what is not positive, ln of the smallest step.
    #[inline]
    fn ln(self) -> Self {
        ln_scaled(self.0.max(1) as u32, FRACTION_BITS as i32)
    }

    #[inline]
    fn ln_count(count: u32) -> Self {
        ln_scaled(count.max(1), 0)
    }

    /// At most a step and 3e-9 of it away.
    #[inline]
    fn recip(self) -> Self {
        let x = self.0.max(1) as u32;
        let zeros = x.leading_zeros();
        let quotient = reciprocal(x << zeros); // 2⁶³ / (x 2^zeros)
        let rounded = (quotient.wrapping_shr(22_u32.wrapping_sub(zeros)) >> 1).min(i32::MAX as u32);
        Self(select_unpredictable(zeros > 22, i32::MAX, rounded as i32))
    }

    #[inline(always)]
    fn approach(&mut self, x: Self, gain: Self) {
        *self += gain * (x - *self);
    }

    /// Twelve bits, and four of the even power of two that they are to be multiplied by: at most 0.2 % away.
    #[inline]
    fn shorten(self) -> u16 {
        let bits = 32 - (self.0 ^ self.0 >> 31).leading_zeros();
        let half_power = bits.saturating_sub(9) / 2;
        let rounded = self.0.saturating_add((1 << (2 * half_power)) >> 1) >> (2 * half_power);
        (rounded << 4) as u16 | half_power as u16
    }

    #[inline]
    fn lengthen(short: u16) -> Self {
        Self(i32::from(short as i16 >> 4) << (2 * (short & 15)))
    }

    /// `scale` is taken within 0 to 256.
    #[inline(always)]
    fn approach_all(means: &mut [Self], x: &[Self], scale: Self, gain: Self) {
        let scale = scale.at_most(MOST_PART).at_least(Self::ZERO);
        kernel::approach(means, x, scale.0.wrapping_shl(2), gain.0.wrapping_shl(10));
    }

    #[inline(always)]
    fn flow(capacity: &[Self], mean: &[Self], smallest: Self) -> Self {
        let mut sum = 0_i64;
        for (capacity, mean) in capacity.iter().zip(mean) {
            sum = sum.wrapping_add(product(capacity.0.wrapping_add(1), mean.0.wrapping_add(smallest.0)));
        }
        Self(narrow_by::<FRACTION_BITS>(sum))
    }

    /// Values are taken within ±256.
    #[inline(always)]
    fn remember<const N: usize>(
        means: &mut [[Self; N]; N],
        key: &[Self; N],
        values: &[Self; N],
        gain: Self,
        query: &[Self; N],
    ) -> [Self; N] {
        let values = values.map(|value| value.at_most(MOST_PART).at_least(-MOST_PART).0.wrapping_shl(2));
        let key = key.map(|key| key.0.wrapping_shl(10));
        let sums = kernel::remember(means, &key, &values, gain.0.wrapping_shl(10), query);
        sums.map(|sum| Self(narrow_by::<FRACTION_BITS>(sum)))
    }

    /// With what rounding would lose carried on: however small the gain, the mean arrives.
    #[inline]
    fn approach_slowly(&mut self, carry: &mut Self, x: Self, gain: Self) {
        let moved = product((x - *self).0, gain.0).wrapping_add(i64::from(carry.0));
        carry.0 = (moved as i32) & (ONE - 1);
        // |gain| ≤ 1: what is added is no more than the difference.
        self.0 = self.0.wrapping_add((moved >> FRACTION_BITS) as i32);
    }
}

impl Add for Q20 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Q20 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul for Q20 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(narrow_by::<FRACTION_BITS>(product(self.0, other.0)))
    }
}

impl Div for Q20 {
    type Output = Self;

    /// The quotient, less than 1e-8 of it and a step away; over 0 it is as over the smallest step.
    #[inline]
    fn div(self, other: Self) -> Self {
        self.over(other.inverse())
    }
}

impl Neg for Q20 {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(0_i32.saturating_sub(self.0))
    }
}

impl AddAssign for Q20 {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Q20 {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl MulAssign for Q20 {
    #[inline(always)]
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: f64 = 1.0 / ONE as f64;

    fn exact(x: Q20) -> f64 {
        f64::from(x.raw()) * STEP
    }

    /// Raw numbers of every size and both signs, edges among them.
    fn numbers() -> impl Iterator<Item = Q20> {
        let spread = (0..31).flat_map(|bits| {
            (0..200_i64).map(move |part| ((1_i64 << bits) + ((part * 0x9E37_79B9) & ((1 << bits) - 1))) as i32)
        });
        spread.flat_map(|raw| [raw, -raw]).chain([0, i32::MAX, i32::MIN, i32::MIN + 1]).map(Q20::from_raw)
    }

    /// A big-integer reference: a · b / 2²⁰ rounded to the nearest, halves up, saturated.
    #[test]
    fn products_round_and_saturate_by_one_rule() {
        for a in numbers() {
            for b in numbers().step_by(37) {
                let wide = i128::from(a.raw()) * i128::from(b.raw());
                let expected = ((wide + (1 << 19)) >> 20).clamp(i32::MIN.into(), i32::MAX.into());
                assert_eq!(i128::from((a * b).raw()), expected, "{a:?} {b:?}");
                assert_eq!((a + b).raw(), a.raw().saturating_add(b.raw()));
            }
        }
    }

    #[test]
    fn quotients_are_within_their_bound() {
        for a in numbers() {
            for b in numbers().step_by(37).filter(|b| b.raw() != 0) {
                let expected = (exact(a) / exact(b)).clamp(-2048.0, 2048.0 - STEP);
                let error = (exact(a / b) - expected).abs();
                assert!(error <= STEP + 1e-8 * expected.abs(), "{a:?} / {b:?}: {error}");
            }
            assert_eq!(a / Q20::ZERO, a / Q20::from_raw(1));
        }
        for b in numbers().filter(|b| b.raw() > 0) {
            let expected = (1.0 / exact(b)).min(2048.0 - STEP);
            let error = (exact(b.recip()) - expected).abs();
            assert!(error <= STEP + 3e-9 * expected, "1 / {b:?}: {error}");
        }
        assert_eq!(Q20::ZERO.recip(), Q20::MAX);
    }

    #[test]
    fn reciprocals_are_within_their_bound() {
        let mut worst = 0.0_f64;
        for m in (1_u64 << 31..1 << 32).step_by(99_991).chain([1 << 31, u64::from(u32::MAX)]) {
            let expected = (1_u64 << 63) as f64 / m as f64;
            worst = worst.max((f64::from(reciprocal(m as u32)) / expected - 1.0).abs());
        }
        assert!(worst <= 3e-9, "{worst}");
    }

    #[test]
    fn functions_are_within_their_bounds() {
        let [mut exp, mut sigmoid, mut tanh, mut ln] = [0.0_f64; 4];
        for x in (-22 * ONE..22 * ONE).step_by(997).map(Q20::from_raw).chain(numbers()) {
            let value = exact(x);
            let of_exp = libm::exp(value.clamp(-14.0, exact(Q20::from_f32(7.624))));
            exp = exp.max((exact(x.exp()) - of_exp).abs() - 1e-8 * of_exp);
            sigmoid = sigmoid.max((exact(x.sigmoid()) - 1.0 / (1.0 + libm::exp(-value))).abs());
            tanh = tanh.max((exact(x.tanh()) - libm::tanh(value)).abs());
            if x.raw() > 0 {
                ln = ln.max((exact(x.ln()) - libm::log(value)).abs());
            }
        }
        std::println!("steps: exp {} sigmoid {} tanh {} ln {}", exp / STEP, sigmoid / STEP, tanh / STEP, ln / STEP);
        assert!(exp <= 1.5 * STEP && sigmoid <= 4.0 * STEP && tanh <= 9.0 * STEP && ln <= STEP);
        assert_eq!(Q20::ZERO.sigmoid(), Q20::of(0.5));
        assert_eq!(Q20::ZERO.exp(), Q20::ONE);
        assert_eq!(Q20::ZERO.ln(), Q20::from_raw(1).ln());
    }

    #[test]
    fn floats_become_numbers_and_numbers_floats() {
        for x in numbers() {
            let expected = (f64::from(x.raw()) * STEP) as f32;
            assert_eq!(x.to_f32().to_bits(), expected.to_bits(), "{x:?}");
            if x.raw().unsigned_abs() < 1 << 24 {
                assert_eq!(Q20::from_f32(expected), x);
            }
        }
        for bits in (0..=u32::MAX).step_by(65_521) {
            let value = f32::from_bits(bits);
            let expected = libm::round(f64::from(value) * f64::from(ONE)).clamp(-2147483647.0, 2147483647.0);
            if value.is_finite() {
                assert_eq!(f64::from(Q20::from_f32(value).raw()), expected, "{value}");
            }
        }
        for (value, exponent) in [(1_i64 << 62, -60), (i64::MIN, -20), (-3, 0), (0x1_0000_0100_0000, -24)] {
            let expected = (value as f64) * libm::exp2(f64::from(exponent));
            assert_eq!(float(value, exponent), expected as f32);
        }
    }

    #[test]
    fn sixteen_bits_keep_what_is_promised() {
        for x in numbers() {
            let found = exact(Q20::lengthen(x.shorten()));
            assert!((found - exact(x)).abs() <= 0.002 * exact(x).abs(), "{x:?}: {found}");
        }
        assert_eq!(Q20::ZERO.shorten(), 0);
    }

    #[test]
    fn shares_ratios_and_means_are_within_their_bounds() {
        for count in (1..5_000).chain([65_535, 1 << 24, (1 << 24) + 1]) {
            for x in numbers().step_by(97) {
                let mut sum = i64::from(x.raw()) * i64::from(count - 1);
                x.add_to(&mut sum);
                let shared = exact(x.share(Q20::shares(count)));
                let most = 2.0 * STEP + if count < 2048 { 0.0 } else { exact(x).abs() / f64::from(1 << 30) };
                assert!((shared - exact(x) / f64::from(count)).abs() <= most, "{x:?} / {count}");
                let mean = exact(Q20::mean(sum, count));
                assert!((mean - exact(x)).abs() <= 2.0 * STEP + 1e-8 * mean.abs(), "{x:?} {count}: {mean}");
            }
            for whole in [1, 2, 3, 7, 144, 4_095, 1 << 20] {
                let expected = (f64::from(count) / f64::from(whole)).min(2048.0);
                assert!(
                    (exact(Q20::ratio(count, whole)) - expected).abs() <= STEP + 1e-8 * expected,
                    "{count} / {whole}"
                );
            }
            assert!((exact(Q20::one_over(count)) - 1.0 / f64::from(count)).abs() <= STEP);
        }
    }

    /// A gain of 1/20,000 over 40 memories' length: without the carry it would stop 0.005 before the end.
    #[test]
    fn a_slow_mean_arrives() {
        let (mut mean, mut carry) = (Q20::ZERO, Q20::ZERO);
        let target = Q20::of(0.7);
        for _ in 0..800_000 {
            mean.approach_slowly(&mut carry, target, Q20::of(1.0 / 20_000.0));
        }
        assert!((exact(mean) - 0.7).abs() < 2.0 * STEP, "{mean:?}");
    }
}
