//! Sixteen-bit vectors under one power of two: what numbers become before they meet eight-bit weights.
//!
//! ```text
//! x_i ≈ 2^shift · v_i steps      |v_i| ≤ 2¹⁴      shift ≥ 0, no larger than the largest |x_i| needs
//! ```
//!
//! The shift follows the vector, so nothing has to be calibrated and nothing saturates; an error is at most half of 2^shift
//! steps (all of it at the end of the range), 2⁻¹⁴ of the largest number. With |v| ≤ 2¹⁴ and |w| ≤ 127, sums of [`MAX_COLUMNS`] products stay within 32 bits.

use crate::q20::Q20;

/// The largest magnitude of a number: 2¹⁴.
pub const LARGEST: i32 = 1 << LARGEST_BITS;
/// The most columns whose products an `i32` sums without overflow: 1024 · 2¹⁴ · 127 < 2³¹.
pub const MAX_COLUMNS: usize = 1024;

/// Bits of [`LARGEST`].
pub(crate) const LARGEST_BITS: u32 = 14;

const _: () = assert!(MAX_COLUMNS as i64 * LARGEST as i64 * 127 <= i32::MAX as i64);

/// Up to `N` numbers and their shift. Where `N` is no multiple of 4, the last ones cannot be filled up and have no view; a
/// model of eight bits has no such sizes ([`crate::format`]). Aligned to words, for kernels read two numbers at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(4))]
pub struct Fixed<const N: usize> {
    values: [i16; N],
    shift: u32,
}

/// A [`Fixed`] of any length, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'x> {
    /// Two numbers a word, the first in the low half; an even count of words, zeros behind the last number.
    pub(crate) pairs: &'x [u32],
    /// 1 means 2^shift steps.
    pub(crate) shift: u32,
}

impl<const N: usize> Fixed<N> {
    /// Zeros.
    pub const ZERO: Self = {
        assert!(N <= MAX_COLUMNS, "kernels take up to 1024 columns");
        Self { values: [0; N], shift: 0 }
    };

    /// Takes a vector, `[up to N]`.
    #[inline]
    pub fn set(&mut self, x: &[Q20]) {
        self.shift = Self::shift_of(x);
        let half = (1 << self.shift) >> 1;
        for (value, x) in self.values.iter_mut().zip(x) {
            *value = (x.raw().saturating_add(half) >> self.shift) as i16;
        }
    }

    /// The shift that a vector needs.
    #[inline]
    pub(crate) fn shift_of(x: &[Q20]) -> u32 {
        // As many bits as the largest magnitude has, or that of the largest negative number's neighbour.
        let bits = x.iter().fold(0, |bits, x| bits | x.raw() ^ x.raw() >> 31);
        (i32::BITS - LARGEST_BITS).saturating_sub(bits.leading_zeros())
    }

    /// The first `count` numbers, for who knows their shift and writes them.
    #[inline]
    pub(crate) fn filled(&mut self, count: usize, shift: u32) -> &mut [i16] {
        self.shift = shift;
        self.values.get_mut(..count).unwrap_or_default()
    }

    /// The first `count` numbers, filled up with zeros to a multiple of 4 columns; `set` has taken no more than `count`.
    #[inline]
    pub fn view(&self, count: usize) -> View<'_> {
        let values = self.values.get(..count.next_multiple_of(4)).unwrap_or_default();
        // Aligned and even, so that there is nothing to fail.
        View { pairs: bytemuck::try_cast_slice(values).unwrap_or_default(), shift: self.shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_keeps_fourteen_bits_of_its_largest_number() {
        for largest in (0..31).flat_map(|bits| [(1_i32 << bits) - 1, 1 << bits, (1 << bits) + 1]).chain([i32::MAX]) {
            let x: [i32; 10] = core::array::from_fn(|i| (i64::from(largest) * (2 * i as i64 - 9) / 9) as i32);
            let mut fixed = Fixed::<12>::ZERO;
            fixed.set(&x.map(Q20::from_raw));
            let View { pairs, shift } = fixed.view(x.len());
            assert_eq!(pairs.len(), 6);
            let values = bytemuck::cast_slice::<u32, i16>(pairs);
            for (x, value) in x.iter().zip(values) {
                assert!(i32::from(*value).abs() <= LARGEST);
                let error = (i64::from(*x) - (i64::from(*value) << shift)).abs();
                assert!(
                    2 * error <= 1 << shift || x.unsigned_abs() > 0x7FFF_0000 && error <= 1 << shift,
                    "{x}: {value}"
                );
                assert!((1 << shift) <= largest / LARGEST * 2 + 1, "{x}: {value}");
            }
            assert_eq!(values[10..], [0, 0]);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_taken_too() {
        let mut fixed = Fixed::<4>::ZERO;
        fixed.set(&[Q20::MIN, Q20::MAX, Q20::from_raw(0), Q20::from_raw(-1)]);
        let View { pairs, shift } = fixed.view(4);
        assert_eq!(shift, 17);
        assert_eq!(bytemuck::cast_slice::<u32, i16>(pairs), [-16384, 16383, 0, 0]);
        fixed.set(&[Q20::from_raw(0), Q20::from_raw(-3)]);
        assert_eq!(bytemuck::cast_slice::<u32, i16>(fixed.view(2).pairs)[..2], [0, -3]);
    }
}
