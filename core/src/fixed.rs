//! Sixteen-bit vectors under one power of two: what numbers become before they meet eight-bit weights.
//!
//! ```text
//! x_i ≈ 2^shift · v_i steps      |v_i| ≤ 2¹⁴      shift = what the largest |x_i| needs, within a layer's [`Shifts`]
//! ```
//!
//! The shift follows the vector, so nothing has to be calibrated: an error is at most half of 2^shift steps, 2⁻¹⁴ of the
//! largest number or 2⁻¹⁵. Numbers larger than a layer can bear saturate here, so that no sum behind does. With |w| ≤ 128, sums of [`MAX_COLUMNS`] products stay within 32 bits.

use crate::kernel::portable::{bounded, nearest};
use crate::kernel::{self, Halves};
use crate::q20::Q20;

/// The largest magnitude of a number: 2¹⁴.
pub const LARGEST: i32 = 1 << LARGEST_BITS;
/// The most columns whose products an `i32` sums without overflow: 1020 · 2¹⁴ · 128 < 2³¹.
pub const MAX_COLUMNS: usize = 1020;
/// Bits of [`LARGEST`].
pub(crate) const LARGEST_BITS: u32 = 14;

const _: () = assert!(MAX_COLUMNS as i64 * LARGEST as i64 * 128 <= i32::MAX as i64);

/// Up to `N` numbers and their shift. Where `N` is no multiple of 4, the last ones cannot be filled up and have no view; a
/// model of eight bits has no such sizes ([`crate::format`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fixed<const N: usize> {
    values: Halves<N>,
    shift: u32,
    /// Of all numbers.
    sum: i32,
}

/// The shifts that a layer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shifts {
    /// What smaller vectors have, 2 or more: the kernels' rounding needs as much.
    pub least: u32,
    /// What larger vectors have.
    pub most: u32,
}

impl Shifts {
    /// All that there are.
    pub const ALL: Self = Self { least: 2, most: i32::BITS - 1 - LARGEST_BITS };

    /// Those of two layers.
    #[inline]
    pub fn both(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.min(other.most) }
    }

    /// The shift of a vector.
    #[inline]
    pub(crate) fn of(self, x: &[Q20]) -> u32 {
        // As many bits as the largest magnitude has, or that of the largest negative number's neighbour.
        let bits = x.iter().fold(0, |bits, x| bits | x.raw() ^ x.raw() >> 31);
        (i32::BITS - LARGEST_BITS).saturating_sub(bits.leading_zeros()).max(self.least).min(self.most)
    }

    /// The nearest multiple of 2^`shift` steps, halves up. With the largest shift, it saturates at 2¹⁴ − 1.
    #[inline]
    pub(crate) fn nearest(self, x: Q20, shift: u32) -> i16 {
        let nearest = nearest(x, shift);
        (if shift < self.most { nearest } else { bounded(nearest) }) as i16
    }
}

impl Default for Shifts {
    fn default() -> Self {
        Self::ALL
    }
}

/// A [`Fixed`] of any length, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'x> {
    /// Two numbers a word, the first in the low half; an even count of words, zeros behind the last number.
    pub(crate) pairs: &'x [u32],
    /// 1 means 2^shift steps.
    pub(crate) shift: u32,
    /// −128 Σ v: what sums of a pair's upper row begin with ([`crate::kernel`]).
    pub(crate) start: i32,
}

impl<const N: usize> Fixed<N> {
    /// Zeros.
    pub const ZERO: Self = {
        assert!(N <= MAX_COLUMNS, "kernels take up to 1020 columns");
        Self { values: Halves([0; N]), shift: Shifts::ALL.least, sum: 0 }
    };

    /// Takes a vector, `[up to N]`, for layers that take such shifts.
    #[inline]
    pub fn set(&mut self, x: &[Q20], shifts: Shifts) {
        (self.sum, self.shift) = kernel::shorten(x, &mut self.values, shifts);
    }

    /// Has `write` write the first `count` numbers, for who knows their shift.
    #[inline]
    pub(crate) fn fill(&mut self, count: usize, shift: u32, write: impl FnOnce(&mut [i16])) {
        self.shift = shift;
        let values = self.values.0.get_mut(..count).unwrap_or_default();
        write(values);
        self.sum = values.iter().map(|value| i32::from(*value)).sum();
    }

    /// The first `count` numbers, filled up with zeros to a multiple of 4 columns; `set` has taken no more than `count`.
    #[inline]
    pub fn view(&self, count: usize) -> View<'_> {
        // Aligned, so that there is nothing to fail.
        let pairs: &[u32] = bytemuck::try_cast_slice(&self.values.0).unwrap_or_default();
        let pairs = pairs.get(..count.div_ceil(4) * 2).unwrap_or_default();
        View { pairs, shift: self.shift, start: self.sum.wrapping_mul(-kernel::OFFSET) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Real as _;

    #[test]
    fn a_vector_keeps_fourteen_bits_of_its_largest_number() {
        for largest in (16..31).flat_map(|bits| [(1_i32 << bits) - 1, 1 << bits, (1 << bits) + 1]).chain([i32::MAX]) {
            let x: [i32; 10] = core::array::from_fn(|i| (i64::from(largest) * (2 * i as i64 - 9) / 9) as i32);
            let mut fixed = Fixed::<12>::ZERO;
            fixed.set(&x.map(Q20::from_raw), Shifts::ALL);
            let View { pairs, shift, start } = fixed.view(x.len());
            assert_eq!(pairs.len(), 6);
            let values = bytemuck::cast_slice::<u32, i16>(pairs);
            for (x, value) in x.iter().zip(values) {
                assert!(i32::from(*value).abs() <= LARGEST);
                let error = (i64::from(*x) - (i64::from(*value) << shift)).abs();
                assert!(2 * error <= 1 << shift || shift == 17 && error <= 1 << shift, "{x}: {value}");
                assert!((1 << shift) <= largest / LARGEST * 2 + 1, "{x}: {value}");
            }
            assert_eq!(values[10..], [0, 0]);
            assert_eq!(start, values.iter().map(|value| -128 * i32::from(*value)).sum::<i32>());
        }
    }

    #[test]
    fn the_ends_of_the_range_are_taken_too() {
        let mut fixed = Fixed::<4>::ZERO;
        let ends = [Q20::MIN, Q20::MAX, Q20::from_raw(0), Q20::from_raw(-1)];
        fixed.set(&ends, Shifts::ALL);
        let View { pairs, shift, .. } = fixed.view(4);
        assert_eq!(shift, 17);
        assert_eq!(bytemuck::cast_slice::<u32, i16>(pairs), [-16384, 16383, 0, 0]);
        fixed.set(&[Q20::from_raw(0), Q20::from_raw(-3 << 2)], Shifts::ALL);
        assert_eq!(bytemuck::cast_slice::<u32, i16>(fixed.view(2).pairs)[..2], [0, -3]);
    }

    #[test]
    fn what_a_layer_cannot_bear_saturates() {
        let mut fixed = Fixed::<4>::ZERO;
        fixed.set(&[Q20::of(100.0), Q20::of(-100.0), Q20::of(1.0), Q20::of(-0.25)], Shifts { least: 6, most: 9 });
        let View { pairs, shift, .. } = fixed.view(4);
        assert_eq!(shift, 9);
        assert_eq!(bytemuck::cast_slice::<u32, i16>(pairs), [16383, -16384, 2048, -512]);
    }
}
