//! Sixteen-bit vectors under one power of two: what a vector of `f32` becomes before it meets eight-bit weights.
//!
//! ```text
//! x_i ≈ unit · v_i      |v_i| ≤ 2¹⁴      unit = 2^(e − 13), 2^e ≤ max |x_i| < 2^(e + 1)
//! ```
//!
//! The unit follows the vector, so nothing has to be calibrated and nothing saturates; an error is at most half a unit,
//! 2⁻¹⁴ of the largest number. With |v| ≤ 2¹⁴ and |w| ≤ 127, sums of [`MAX_COLUMNS`] products stay within 32 bits.

use crate::math::ROUND;

/// The largest magnitude of a number: 2¹⁴.
pub const LARGEST: i32 = 1 << LARGEST_BITS;
/// The most columns whose products an `i32` sums without overflow: 1024 · 2¹⁴ · 127 < 2³¹.
pub const MAX_COLUMNS: usize = 1024;

const LARGEST_BITS: u32 = 14;
const MANTISSA_BITS: u32 = 23;
const EXPONENT_BIAS: u32 = 127;
/// Of smaller numbers 2^-100 is taken for the largest, so that every unit and its inverse are normal numbers.
const LEAST_EXPONENT: u32 = EXPONENT_BIAS - 100;
const MOST_EXPONENT: u32 = 2 * EXPONENT_BIAS;

const _: () = assert!(MAX_COLUMNS as i64 * LARGEST as i64 * 127 <= i32::MAX as i64);

/// Up to `N` numbers and their unit. Where `N` is no multiple of 4, the last ones cannot be filled up and have no view; a
/// model of eight bits has no such sizes ([`crate::format`]). Aligned to words, for kernels read two numbers at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(4))]
pub struct Fixed<const N: usize> {
    values: [i16; N],
    unit: f32,
}

/// A [`Fixed`] of any length, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'x> {
    /// Two numbers a word, the first in the low half; an even count of words, zeros behind the last number.
    pub(crate) pairs: &'x [u32],
    /// What 1 means.
    pub(crate) unit: f32,
}

impl View<'_> {
    /// Of nothing.
    pub(crate) const EMPTY: View<'static> = View { pairs: &[], unit: 0.0 };
}

impl<const N: usize> Fixed<N> {
    /// Zeros.
    pub const ZERO: Self = {
        assert!(N <= MAX_COLUMNS, "kernels take up to 1024 columns");
        Self { values: [0; N], unit: 0.0 }
    };

    /// Takes a vector, `[up to N]`. Of NaN and infinities it makes some numbers; the forecaster has none.
    #[inline]
    pub fn set(&mut self, x: &[f32]) {
        // The bits of magnitudes order as the magnitudes do, without a comparison of floats.
        let largest = x.iter().fold(0, |largest, x| x.abs().to_bits().max(largest));
        let exponent = (largest >> MANTISSA_BITS).clamp(LEAST_EXPONENT, MOST_EXPONENT);
        let shift = LARGEST_BITS - 1;
        self.unit = f32::from_bits((exponent - shift) << MANTISSA_BITS);
        let inverse = f32::from_bits((2 * EXPONENT_BIAS + shift - exponent) << MANTISSA_BITS);
        for (value, x) in self.values.iter_mut().zip(x) {
            *value = (x * inverse + ROUND).to_bits() as i16;
        }
    }

    /// The first `count` numbers, filled up with zeros to a multiple of 4 columns; `set` has taken no more than `count`.
    #[inline]
    pub fn view(&self, count: usize) -> View<'_> {
        let values = self.values.get(..count.next_multiple_of(4)).unwrap_or_default();
        // Aligned and even, so that there is nothing to fail.
        View { pairs: bytemuck::try_cast_slice(values).unwrap_or_default(), unit: self.unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_vector_keeps_fourteen_bits_of_its_largest_number() {
        for scale in [1e-30, 1e-3, 0.999, 1.0, 1.5, 3e7, 1e30] {
            let x: Vec<f32> = (0..10).map(|i| scale * (i as f32 - 4.5) / 5.0).collect();
            let mut fixed = Fixed::<12>::ZERO;
            fixed.set(&x);
            let View { pairs, unit } = fixed.view(x.len());
            assert_eq!(pairs.len(), 6);
            let values = bytemuck::cast_slice::<u32, i16>(pairs);
            let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            for (x, value) in x.iter().zip(values) {
                assert!(i32::from(*value).abs() <= LARGEST);
                assert!((x - unit * f32::from(*value)).abs() <= largest / LARGEST as f32, "{x}: {value} of {unit}");
            }
            assert_eq!(values[10..], [0, 0]);
        }
    }

    #[test]
    fn zeros_and_what_a_forecaster_never_has_are_taken_too() {
        let mut fixed = Fixed::<4>::ZERO;
        for x in
            [[0.0, -0.0, 0.0, 0.0], [f32::MIN_POSITIVE, 1e-45, 0.0, 0.0], [f32::NAN, f32::INFINITY, f32::MAX, -1.0]]
        {
            fixed.set(&x);
            let View { unit, pairs } = fixed.view(4);
            assert!(unit.is_normal());
            let values = bytemuck::cast_slice::<u32, i16>(pairs);
            assert!(values.iter().all(|value| i32::from(*value).abs() <= LARGEST));
        }
        fixed.set(&[0.0, 0.0]);
        assert_eq!(fixed.view(2).pairs[0], 0);
    }
}
