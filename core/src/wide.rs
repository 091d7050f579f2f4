//! Products of 32-bit integers in 64 bits.
//!
//! A Cortex-M3 and its successors multiply so in one instruction. An Armv6-M core multiplies to 32 bits only and would
//! call the compiler's routine for 64-bit factors; four products of halves are less than half of its work.

/// a · b.
#[inline(always)]
pub fn product(a: i32, b: i32) -> i64 {
    if cfg!(flowcast_short_multiply) { product_of_halves(a, b) } else { i64::from(a) * i64::from(b) }
}

/// a · b of numbers without a sign.
#[inline(always)]
pub fn product_unsigned(a: u32, b: u32) -> u64 {
    if cfg!(flowcast_short_multiply) {
        // Of a signed product: what the signs' weights took away comes back.
        let signed = product_of_halves(a as i32, b as i32) as u64;
        let signs = (b & (a as i32 >> 31) as u32).wrapping_add(a & (b as i32 >> 31) as u32);
        signed.wrapping_add(u64::from(signs) << 32)
    } else {
        u64::from(a) * u64::from(b)
    }
}

/// The upper half of a · b: ⌊a b / 2³²⌋.
#[inline(always)]
pub fn high(a: i32, b: i32) -> i32 {
    (product(a, b) >> 32) as i32
}

/// The upper half of a · b, rounded to the nearest, halves up.
#[inline(always)]
pub fn high_rounded(a: i32, b: i32) -> i32 {
    (product(a, b).wrapping_add(1 << 31) >> 32) as i32
}

/// a · b of four products of halves, none of which needs more than 32 bits.
#[inline]
fn product_of_halves(a: i32, b: i32) -> i64 {
    let (a_high, a_low) = (a >> 16, a as u32 & 0xFFFF);
    let (b_high, b_low) = (b >> 16, b as u32 & 0xFFFF);
    let low = a_low.wrapping_mul(b_low);
    // Neither sum leaves 32 bits: |a_high b_low| ≤ 2³¹ − 2¹⁵ and the carry is below 2¹⁶.
    let middle = a_high.wrapping_mul(b_low as i32).wrapping_add((low >> 16) as i32);
    let other = (a_low as i32).wrapping_mul(b_high).wrapping_add((middle as u32 & 0xFFFF) as i32);
    let high = a_high.wrapping_mul(b_high).wrapping_add(middle >> 16).wrapping_add(other >> 16);
    let low = low & 0xFFFF | (other as u32) << 16;
    i64::from(high) << 32 | i64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_halves_are_products() {
        let edges = [0, 1, -1, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, -0x8000, -0x1_0000, -0x1_0001, i32::MAX, i32::MIN];
        let mut seed = 1_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed ^ seed >> 15) as i32
        };
        let pairs = edges.into_iter().flat_map(|a| edges.map(|b| (a, b)));
        for (a, b) in pairs.chain((0..100_000).map(|_| (random(), random()))) {
            assert_eq!(product_of_halves(a, b), i64::from(a) * i64::from(b), "{a} {b}");
        }
    }
}
