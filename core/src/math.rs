//! Elementary functions whose cost does not depend on their argument.
//!
//! `libm`'s functions branch on the argument's range, so a sample's cost would depend on its value. These f32 forms are
//! straight-line code (select, never branch) of IEEE additions, multiplications and divisions only, so that every
//! machine gives the same bits. Range reductions and coefficients follow Cephes (S. Moshier, `expf.c`, `logf.c`).
//! The f64 forms, used by tests and tools on the host, are `libm`'s.

use nalgebra::Scalar;

/// A scalar: `f32`, or [`crate::q20::Q20`] for a model with eight-bit weights; `f64` where a test asks for exactness.
pub trait Real:
    Scalar
    + Copy
    + Default
    + PartialOrd
    + core::ops::Add<Output = Self>
    + core::ops::Sub<Output = Self>
    + core::ops::Mul<Output = Self>
    + core::ops::Div<Output = Self>
    + core::ops::Neg<Output = Self>
    + core::ops::AddAssign
    + core::ops::SubAssign
    + core::ops::MulAssign
{
    /// A sum of ever so many numbers.
    type Sum: Copy + Default;
    /// What divides by a count.
    type Share: Copy;

    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The paper's ε, added to capacities so that no sum of them is zero: 1e-6.
    const EPSILON: Self;

    /// The nearest number.
    fn of(value: f32) -> Self;
    /// The nearest `f32`.
    fn to_f32(self) -> f32;
    /// A count of samples: the nearest number, or the largest.
    fn from_count(count: u32) -> Self;
    /// 1 / `count` (1 for none), above 0.
    #[inline(always)]
    fn one_over(count: u32) -> Self {
        Self::ONE / Self::from_count(count.max(1))
    }
    /// 1 / self of what is above 0.
    #[inline(always)]
    fn recip(self) -> Self {
        Self::ONE / self
    }
    /// What divides by `count`, by 1 if that is 0.
    fn shares(count: u32) -> Self::Share;
    /// One of so many equal shares of this.
    fn share(self, shares: Self::Share) -> Self;
    /// Adds this to a sum.
    fn add_to(self, sum: &mut Self::Sum);
    /// The mean of `count` numbers (of one, if it is 0) from their sum.
    fn mean(sum: Self::Sum, count: u32) -> Self;
    /// `part` / `whole`, of which the latter is not 0; at most 2048.
    #[inline(always)]
    fn ratio(part: u32, whole: u32) -> Self {
        Self::from_count(part) / Self::from_count(whole)
    }
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// |self|.
    fn abs(self) -> Self;
    /// e^self.
    fn exp(self) -> Self;
    /// Natural logarithm of a positive number.
    fn ln(self) -> Self;
    /// Natural logarithm of a count (of 1, if it is 0).
    fn ln_count(count: u32) -> Self;
    /// The logistic function 1 / (1 + e^−self). Of `f32`: at most 3 ULP from the exact value for |self| ≤ 86.
    #[inline]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
    /// tanh self as 2σ(2 self) − 1. Of `f32`: at most 2.4e-7 from the exact value (absolute, not relative: it serves as a
    /// gate).
    #[inline]
    fn tanh(self) -> Self {
        let sigmoid = (self + self).sigmoid();
        sigmoid + sigmoid - Self::ONE
    }
    /// The smaller of two numbers; `other` if `self` is NaN.
    #[inline(always)]
    fn at_most(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    /// The larger of two numbers; `other` if `self` is NaN.
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    /// A running mean takes a sample: self += gain (x − self), gain in 0..=1.
    #[inline(always)]
    fn approach(&mut self, x: Self, gain: Self) {
        *self += gain * (x - *self);
    }
    /// Sixteen bits for a number that is within ±2e6: at most 0.4 % from it, and 0 for 0.
    fn shorten(self) -> u16;
    /// The number that [`Real::shorten`] made sixteen bits of.
    fn lengthen(short: u16) -> Self;
    /// Each mean takes a sample times `scale`: `mean += gain (scale x − mean)`. In the attention: x of 0 to 1.
    #[inline(always)]
    fn approach_all(means: &mut [Self], x: &[Self], scale: Self, gain: Self) {
        for (mean, x) in means.iter_mut().zip(x) {
            *mean += gain * (*x * scale - *mean);
        }
    }
    /// Σ (φ + ε)(mean + smallest): the capacity between one token, φ of 0 to 1, and the mean of the other side.
    #[inline(always)]
    fn flow(capacity: &[Self], mean: &[Self], smallest: Self) -> Self {
        let mut sum = Self::ZERO;
        for (capacity, mean) in capacity.iter().zip(mean) {
            sum += (*capacity + Self::EPSILON) * (*mean + smallest);
        }
        sum
    }
    /// Takes values under a key, `mean += gain (key value − mean)`, and returns what a query receives of each, Σ query mean;
    /// key and query of 0 to 1. `means` is `[value][key]`.
    #[inline(always)]
    fn remember<const N: usize>(
        means: &mut [[Self; N]; N],
        key: &[Self; N],
        values: &[Self; N],
        gain: Self,
        query: &[Self; N],
    ) -> [Self; N] {
        let mut received = [Self::ZERO; N];
        for ((means, value), sum) in means.iter_mut().zip(values).zip(&mut received) {
            for ((mean, key), query) in means.iter_mut().zip(key).zip(query) {
                *mean += gain * (*key * *value - *mean);
                *sum += *query * *mean;
            }
        }
        received
    }
    /// The same as [`Real::approach`] for gains so small that a step of the scalar is too coarse; `carry`, at first 0, is the mean's own.
    #[inline(always)]
    fn approach_slowly(&mut self, carry: &mut Self, x: Self, gain: Self) {
        let _ = carry;
        self.approach(x, gain);
    }
}

/// Sums and shares of a scalar that is wide enough for them itself.
macro_rules! float_sums {
    () => {
        type Sum = Self;
        type Share = Self;

        #[inline(always)]
        fn shares(count: u32) -> Self {
            1.0 / Self::from_count(count.max(1))
        }

        #[inline(always)]
        fn share(self, shares: Self) -> Self {
            self * shares
        }

        #[inline(always)]
        fn add_to(self, sum: &mut Self) {
            *sum += self;
        }

        #[inline(always)]
        fn mean(sum: Self, count: u32) -> Self {
            sum * Self::shares(count)
        }
    };
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const EPSILON: Self = 1e-6;

    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_count(count: u32) -> Self {
        count as f32
    }

    float_sums!();

    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }

    #[inline]
    fn exp(self) -> Self {
        exp(self)
    }

    /// The upper half of a float, rounded: a bfloat16.
    #[inline]
    fn shorten(self) -> u16 {
        (self.to_bits().wrapping_add(0x8000) >> 16) as u16
    }

    #[inline]
    fn lengthen(short: u16) -> Self {
        Self::from_bits(u32::from(short) << 16)
    }

    #[inline]
    fn ln(self) -> Self {
        ln(self)
    }

    #[inline]
    fn ln_count(count: u32) -> Self {
        ln(count.max(1) as f32)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const EPSILON: Self = 1e-6;

    fn of(value: f32) -> Self {
        value.into()
    }

    fn to_f32(self) -> f32 {
        self as f32
    }

    fn from_count(count: u32) -> Self {
        f64::from(count)
    }

    float_sums!();

    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }

    fn abs(self) -> Self {
        f64::abs(self)
    }

    fn exp(self) -> Self {
        libm::exp(self)
    }

    fn shorten(self) -> u16 {
        (self as f32).shorten()
    }

    fn lengthen(short: u16) -> Self {
        f32::lengthen(short).into()
    }

    fn ln(self) -> Self {
        libm::log(self)
    }

    fn ln_count(count: u32) -> Self {
        libm::log(count.max(1).into())
    }
}

/// Adding and subtracting 1.5·2²³ rounds to the nearest integer and leaves it in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// The nearest integer, halves to even, for |x| ≤ 2²².
#[inline]
pub fn round(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

/// e^x, at most 2 ULP from the exact value for −86 ≤ x ≤ 88; beyond, the value at the nearer end (4.5e-38, 1.7e38).
#[inline]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.at_least(-86.0).at_most(88.0);
    let shifted = x * core::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_3e-1;
    let fraction = (p * (r * r) + r) + 1.0;
    f32::from_bits(fraction.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// ln x for positive normal x, at most 2 ULP from the exact value, or 1e-7 absolute near 1.
#[inline]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // The mantissa in [√½, √2), the exponent to match.
    let exponent = (x.to_bits().wrapping_sub(SQRT_HALF_BITS) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((exponent as u32) << 23)) - 1.0;
    let e = exponent as f32;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_7e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let y = p * m * z + e * LN2_LOW - 0.5 * z;
    m + y + e * LN2_HIGH
}

/// 1/√x for positive normal x, at most 3 ULP from the exact value: a first guess from the bits, then Newton's steps.
/// (A target without a square root instruction would call a loop here.)
#[inline]
pub fn rsqrt(x: f32) -> f32 {
    let half = 0.5 * x;
    let mut y = f32::from_bits(0x5f37_59df_u32.wrapping_sub(x.to_bits() >> 1));
    for _ in 0..4 {
        y *= 1.5 - half * y * y;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(found: f32, exact: f64) -> f64 {
        let unit = f64::from(f32::from_bits((exact as f32).abs().to_bits() + 1)) - f64::from((exact as f32).abs());
        (f64::from(found) - exact).abs() / unit
    }

    /// Every `stride`-th float of a range of bit patterns.
    fn floats(from: f32, to: f32, stride: usize) -> impl Iterator<Item = f32> {
        (from.to_bits()..=to.to_bits()).step_by(stride).map(f32::from_bits)
    }

    #[test]
    fn exp_is_within_two_ulps() {
        let mut worst: f64 = 0.0;
        for x in floats(1e-6, 88.0, 199) {
            worst = worst.max(ulps(exp(x), libm::exp(f64::from(x))));
            if x < 86.0 {
                worst = worst.max(ulps(exp(-x), libm::exp(f64::from(-x))));
            }
        }
        assert!(worst <= 2.0, "{worst} ULP");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 5e-38 && exp(f32::INFINITY).is_finite() && exp(f32::NAN).is_finite());
    }

    #[test]
    fn round_takes_the_nearest_integer() {
        for x in floats(1e-3, 4_194_304.0, 997) {
            for x in [x, -x] {
                assert_eq!(round(x), libm::rintf(x), "{x}");
            }
        }
    }

    #[test]
    fn sigmoid_is_within_three_ulps_and_tanh_within_its_bound() {
        let (mut worst, mut worst_tanh): (f64, f64) = (0.0, 0.0);
        for x in floats(1e-6, 86.0, 199) {
            for x in [x, -x] {
                worst = worst.max(ulps(Real::sigmoid(x), 1.0 / (1.0 + libm::exp(-f64::from(x)))));
                worst_tanh = worst_tanh.max((f64::from(Real::tanh(x)) - libm::tanh(f64::from(x))).abs());
            }
        }
        assert!(worst <= 3.0, "{worst} ULP");
        assert!(worst_tanh <= 2.4e-7, "{worst_tanh}");
    }

    #[test]
    fn ln_and_rsqrt_are_within_their_bounds() {
        let (mut worst_ln, mut worst_rsqrt): (f64, f64) = (0.0, 0.0);
        for x in floats(1e-30, 1e30, 997) {
            let exact = libm::log(f64::from(x));
            let error = (f64::from(ln(x)) - exact).abs();
            if error > 1e-7 {
                worst_ln = worst_ln.max(ulps(ln(x), exact));
            }
            worst_rsqrt = worst_rsqrt.max(ulps(rsqrt(x), 1.0 / libm::sqrt(f64::from(x))));
        }
        assert!(worst_ln <= 2.0, "ln: {worst_ln} ULP");
        assert!(worst_rsqrt <= 3.0, "rsqrt: {worst_rsqrt} ULP");
    }
}
