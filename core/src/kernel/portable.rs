//! The kernels in plain Rust: what other kernels are tested against, and what runs where there are none.

/// Σ_c w_rc x_c of the four rows of a block. `weights` are its words, one for each column; `x` has two columns a word, the
/// first in the low half, and an even count of words. What one of the two is longer than the other is left out.
#[inline]
pub fn block(weights: &[u32], x: &[u32]) -> [i32; 4] {
    let mut sums = [0_i32; 4];
    let [s0, s1, s2, s3] = &mut sums;
    for ([first, second], pair) in weights.as_chunks::<2>().0.iter().zip(x) {
        let [x0, x1] = halves(*pair);
        let [a, b, c, d] = signed(*first);
        *s0 = s0.wrapping_add(a * x0).wrapping_add(c * x1);
        *s1 = s1.wrapping_add(b * x0).wrapping_add(d * x1);
        let [a, b, c, d] = signed(*second);
        *s2 = s2.wrapping_add(a * x0).wrapping_add(c * x1);
        *s3 = s3.wrapping_add(b * x0).wrapping_add(d * x1);
    }
    sums
}

/// Σ_c w_c x_c of one row; `weights` are its words, one for each four columns, `x` as for [`block`].
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
