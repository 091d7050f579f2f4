//! `f32` by its bits: order and conversions in integers only, for cores without floating point.

/// `value` · 2^`bits`, rounded to the nearest, halves away from zero, within 32 bits; in integers only.
pub(crate) const fn scaled(value: f32, bits: u32) -> i32 {
    let word = value.to_bits();
    let exponent = (word >> 23 & 0xFF) as i32;
    // Numbers below the normal ones are far below a step.
    let mantissa = if exponent == 0 { 0 } else { word & 0x7F_FFFF | 0x80_0000 };
    let shift = exponent - 150 + bits as i32;
    let magnitude = if shift >= 8 && mantissa != 0 {
        i32::MAX as u32
    } else if shift >= 0 {
        mantissa << (shift & 7)
    } else if shift > -26 {
        (mantissa + (1 << (-shift - 1))) >> -shift
    } else {
        0
    };
    let magnitude = magnitude as i32;
    if word >> 31 == 1 { -magnitude } else { magnitude }
}

/// The `f32` nearest to `value` · 2^`exponent`, halves to even; in integers only. The result is a normal number or 0.
pub(crate) const fn float(value: i64, exponent: i32) -> f32 {
    let magnitude = value.unsigned_abs();
    if magnitude == 0 {
        return 0.0;
    }
    let zeros = magnitude.leading_zeros();
    let normal = magnitude << zeros;
    let (mantissa, rest) = ((normal >> 40) as u32, normal & 0xFF_FFFF_FFFF);
    const HALF: u64 = 1 << 39;
    let up = rest > HALF || rest == HALF && mantissa & 1 == 1;
    // A mantissa that rounds up to 2²⁴ carries into the exponent, as it should.
    let biased = (126 + 64 + exponent - zeros as i32) as u32;
    let word = ((biased - 1) << 23) + mantissa + up as u32;
    f32::from_bits(word | if value < 0 { 1 << 31 } else { 0 })
}

/// `value` · 2^`bits`, rounded towards zero, within ±2⁶¹; in integers only.
pub(crate) const fn scaled_wide(value: f32, bits: i32) -> i64 {
    const MOST: i64 = 1 << 61;
    let word = value.to_bits();
    let exponent = (word >> 23 & 0xFF) as i32;
    let mantissa = if exponent == 0 { 0 } else { (word & 0x7F_FFFF | 0x80_0000) as i64 };
    let shift = exponent - 150 + bits;
    let magnitude = match shift {
        38.. => {
            if mantissa == 0 {
                0
            } else {
                MOST
            }
        }
        0.. => mantissa << shift,
        -24..0 => mantissa >> -shift,
        _ => 0,
    };
    let magnitude = if magnitude > MOST { MOST } else { magnitude };
    if word >> 31 == 1 { -magnitude } else { magnitude }
}

/// A number that orders as `value` does, −0 as 0; NaN is beyond the infinity of its sign.
pub(crate) const fn order(value: f32) -> i32 {
    let word = value.to_bits();
    let magnitude = (word & 0x7FFF_FFFF) as i32;
    if word >> 31 == 1 { -magnitude } else { magnitude }
}

/// Whether `value` is neither infinite nor NaN.
pub const fn is_finite(value: f32) -> bool {
    value.to_bits() & 0x7F80_0000 != 0x7F80_0000
}

/// ⌊log₂ |value|⌋ of a normal number.
pub(crate) const fn exponent(value: f32) -> i32 {
    (value.to_bits() >> 23 & 0xFF) as i32 - 127
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = f32> {
        (0..=u32::MAX).step_by(65_521).map(f32::from_bits)
    }

    #[test]
    fn order_is_that_of_floats() {
        let numbers: std::vec::Vec<f32> =
            all().step_by(131).chain([0.0, -0.0, f32::INFINITY, -f32::INFINITY]).collect();
        for a in &numbers {
            assert_eq!(is_finite(*a), a.is_finite());
            for b in numbers.iter().filter(|b| !a.is_nan() && !b.is_nan()) {
                assert_eq!(order(*a).cmp(&order(*b)), a.partial_cmp(b).unwrap(), "{a} {b}");
            }
        }
        assert!(order(f32::NAN) > order(f32::INFINITY));
    }

    #[test]
    fn wide_numbers_are_cut_towards_zero() {
        for value in all().filter(|value| value.is_normal()) {
            for bits in [-20, 0, 36, 60] {
                let exact = libm::trunc(f64::from(value) * libm::exp2(bits.into()));
                let most = (1_u64 << 61) as f64;
                assert_eq!(scaled_wide(value, bits) as f64, exact.clamp(-most, most), "{value} {bits}");
            }
        }
        assert_eq!(exponent(-5.5), 2);
    }
}
