//! Products of eight-bit weights and sixteen-bit vectors: the layouts of the weights, the portable kernels, and the
//! choice between them and the target's own.
//!
//! ```text
//! y_r = from_r + round(Σ_c w_rc v_c · m_r / 2³²) · 2^up        halves up
//! ```
//!
//! All kernels sum the same integers without overflow ([`crate::fixed`]), so they agree to the bit whatever their order.
//! Two layouts, in words of four bytes, least significant first, columns filled up to a multiple of 4:
//!
//! ```text
//! pairs    two rows r, r+1 at a time, and for each two columns c, c+1 a word:
//!          [r,c  r+1,c  r,c+1  r+1,c+1]     the upper row's weights as w + 128
//! rows     one row at a time, and for each four columns a word:
//!          [c  c+2  c+1  c+3]
//! ```
//!
//! In both, bytes 0 and 2 of a word meet two neighbours of the vector, and so do bytes 1 and 3. A half of a word of a pair
//! is a number of its own, 256 w_{r+1} + w_r + 128: the DSP extension sums its products in one instruction (`SMLALD`) and
//! those of w_r + 128 in two (`UXTB16`, `SMLAD`). What is 128 Σ v_c too much, sums start with the less.

/// The processor for the assembler.
#[cfg(all(flowcast_dsp, flowcast_v8m))]
macro_rules! cpu {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(all(flowcast_dsp, not(flowcast_v8m)))]
macro_rules! cpu {
    () => {
        ".cpu cortex-m4"
    };
}

/// Instructions that take a step r2 times, four to a turn while there are as many.
#[cfg(any(flowcast_dsp, all(flowcast_thumb, not(flowcast_short_multiply))))]
macro_rules! repeated {
    ($step:ident) => {
        concat!(
            "subs r2, r2, #4\n",
            "blo 2f\n",
            "1:\n",
            $step!(),
            $step!(),
            $step!(),
            $step!(),
            "subs r2, r2, #4\n",
            "bhs 1b\n",
            "2:\n",
            "adds r2, r2, #4\n",
            "beq 4f\n",
            "3:\n",
            $step!(),
            "subs r2, r2, #1\n",
            "bne 3b\n",
            "4:",
        )
    };
}

#[cfg(flowcast_dsp)]
mod dsp;
pub mod portable;
#[cfg(flowcast_dsp)]
mod recurrence;
#[cfg(flowcast_thumb)]
mod thumb;

#[cfg(flowcast_dsp)]
use dsp::pairs;
#[cfg(flowcast_dsp)]
pub use dsp::{row, shorten};
#[cfg(not(any(flowcast_dsp, flowcast_thumb)))]
use portable::pairs;
#[cfg(not(any(flowcast_dsp, flowcast_thumb)))]
pub use portable::row;
#[cfg(not(flowcast_dsp))]
pub use portable::{approach, remember, shorten};
#[cfg(flowcast_dsp)]
pub use recurrence::{approach, remember};
#[cfg(flowcast_thumb)]
use thumb::pairs;
#[cfg(flowcast_thumb)]
pub use thumb::row;

use crate::fixed::View;
use crate::q20::Q20;

/// Rows that lie together.
pub const PAIR: usize = 2;
/// Columns are filled up to a multiple of this.
pub const COLUMNS: usize = 4;
/// What the upper row of a pair has added to its weights.
pub const OFFSET: i32 = 128;
/// The same in the bytes of a word.
pub const OFFSET_BITS: u32 = 0x0080_0080;

/// Which kernels this build runs, as benchmarks name them.
pub const NAME: &str = if cfg!(flowcast_dsp) {
    "dsp"
} else if cfg!(flowcast_thumb) {
    "thumb"
} else {
    "portable"
};

/// How the weights of a matrix lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// For products with the whole matrix.
    Pairs,
    /// For products with single rows.
    Rows,
}

impl Layout {
    /// Bytes of a matrix.
    pub const fn bytes(self, rows: usize, columns: usize) -> usize {
        let columns = columns.next_multiple_of(COLUMNS);
        match self {
            Self::Pairs => rows.next_multiple_of(PAIR) * columns,
            Self::Rows => rows * columns,
        }
    }

    /// Words of a matrix.
    pub const fn words(self, rows: usize, columns: usize) -> usize {
        self.bytes(rows, columns) / size_of::<u32>()
    }

    /// Where a weight lies, in bytes from the matrix's start.
    pub const fn place(self, columns: usize, row: usize, column: usize) -> usize {
        let columns = columns.next_multiple_of(COLUMNS);
        match self {
            Self::Pairs => {
                let word = (row / PAIR * columns + column) / 2;
                4 * word + row % PAIR + 2 * (column % 2)
            }
            Self::Rows => {
                let word = (row * columns + column) / 4;
                4 * word + [0, 2, 1, 3][column % 4]
            }
        }
    }

    /// The byte of a weight in a row.
    pub const fn byte(self, row: usize, weight: i8) -> u8 {
        match self {
            Self::Pairs if row.is_multiple_of(PAIR) => weight as u8 ^ OFFSET as u8,
            _ => weight as u8,
        }
    }
}

/// Numbers of sixteen bits, aligned to words, for kernels read two at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(4))]
pub struct Halves<const N: usize>(pub [i16; N]);

/// y = from + W x over a matrix that lies as [`Layout::Pairs`]; `from` is y itself where there is none. As many rows as
/// `y`; nothing happens where weights, `multipliers` or `from` have fewer. `up` is at most what [`crate::linear::Scaled`]
/// has room for.
pub fn product(weights: &[u32], multipliers: &[i32], x: View<'_>, up: u32, from: Option<&[i32]>, y: &mut [Q20]) {
    if !y.len().is_multiple_of(PAIR) {
        last(weights, multipliers, x, up, from, y);
    }
    pairs(weights, multipliers, x, up, from, y);
}

/// The last row of an odd count.
#[cold]
fn last(weights: &[u32], multipliers: &[i32], x: View<'_>, up: u32, from: Option<&[i32]>, y: &mut [Q20]) {
    let Some(index) = y.len().checked_sub(1) else { return };
    let weights = weights.get(index / PAIR * x.pairs.len()..).unwrap_or_default();
    let from = match from {
        Some(from) => from.get(index).copied(),
        None => y.get(index).map(|y| y.raw()),
    };
    if let (Some(y), Some(multiplier), Some(from)) = (y.get_mut(index), multipliers.get(index), from) {
        let mut both = [Q20::from_raw(from), Q20::from_raw(0)];
        pairs(weights, &[*multiplier, 0], x, up, None, &mut both);
        [*y, _] = both;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::{LARGEST, MAX_COLUMNS, Shifts};
    use crate::wide::high_rounded;
    use std::vec;
    use std::vec::Vec;

    /// Numbers of a small generator (Numerical Recipes), and edge values among them.
    fn random(seed: &mut u32) -> u32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *seed >> 8
    }

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for layout in [Layout::Pairs, Layout::Rows] {
            for (rows, columns) in [(1, 1), (4, 4), (5, 7), (3, 18), (8, 2)] {
                let mut places: Vec<usize> =
                    (0..rows * columns).map(|i| layout.place(columns, i / columns, i % columns)).collect();
                places.sort_unstable();
                places.dedup();
                assert_eq!(places.len(), rows * columns);
                assert!(places.iter().all(|place| *place < layout.bytes(rows, columns)));
            }
        }
    }

    /// Words of a matrix.
    fn words(layout: Layout, weights: &[i8], columns: usize) -> Vec<u32> {
        let mut bytes = vec![0_u8; layout.bytes(weights.len() / columns, columns)];
        for (index, weight) in weights.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            bytes[layout.place(columns, row, column)] = layout.byte(row, *weight);
        }
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    #[test]
    fn kernels_sum_what_the_plain_sum_is_edges_too() {
        let mut seed = 7;
        for columns in [1, 2, 3, 4, 5, 16, 18, 33, 64, 122, MAX_COLUMNS] {
            for (rows, edge) in [(6, false), (5, false), (1, false), (6, true)] {
                let weights: Vec<i8> =
                    (0..rows * columns).map(|_| if edge { i8::MIN } else { (random(&mut seed) % 256) as i8 }).collect();
                let mut x: Vec<i16> = (0..columns)
                    .map(|_| if edge { 1 - LARGEST as i16 } else { (random(&mut seed) % 32_768) as i16 - 16_384 })
                    .collect();
                let plain = |row: usize| -> i64 {
                    (0..columns).map(|column| i64::from(weights[row * columns + column]) * i64::from(x[column])).sum()
                };
                let sums: Vec<i64> = (0..rows).map(plain).collect();
                x.resize(columns.next_multiple_of(COLUMNS), 0);
                let halves: Vec<u32> =
                    x.chunks(2).map(|pair| u32::from(pair[0] as u16) | u32::from(pair[1] as u16) << 16).collect();
                let start = x.iter().map(|x| -OFFSET * i32::from(*x)).sum();
                let view = View { pairs: &halves, shift: 0, start };

                let multipliers: Vec<i32> = (0..rows).map(|_| random(&mut seed) as i32 & i32::MAX).collect();
                let from: Vec<i32> = (0..rows).map(|_| random(&mut seed) as i32 - (1 << 23)).collect();
                let expected = sums.iter().zip(&multipliers).zip(&from).map(|((sum, multiplier), from)| {
                    Q20::from_raw(from + (high_rounded(i32::try_from(*sum).unwrap(), *multiplier) << 1))
                });
                let expected: Vec<Q20> = expected.collect();
                let pairs = words(Layout::Pairs, &weights, columns);
                let mut found = vec![Q20::from_raw(9); rows];
                product(&pairs, &multipliers, view, 1, Some(&from), &mut found);
                assert_eq!(found, expected, "{rows} rows of {columns}");
                let mut found: Vec<Q20> = from.iter().map(|from| Q20::from_raw(*from)).collect();
                product(&pairs, &multipliers, view, 1, None, &mut found);
                assert_eq!(found, expected, "{rows} rows of {columns}, in place");

                let rows = words(Layout::Rows, &weights, columns);
                let found = rows.chunks(x.len() / 4).map(|words| row(words, &halves));
                assert!(found.map(i64::from).eq(sums.iter().copied()), "rows of {columns}");
            }
        }
    }

    #[test]
    fn a_vector_is_shortened_to_the_nearest_and_bounded() {
        let x = [0, 1, -1, 95, 96, -96, -97, i32::MAX, i32::MIN, 7 << 20, -7 << 20];
        for (shift, most) in (2..=17).map(|shift| (shift, shift)).chain([(17, 18)]) {
            for count in 0..=x.len() {
                let expected: Vec<i16> = x[..count]
                    .iter()
                    .map(|x| {
                        ((i64::from(*x) + (1 << (shift - 1))) >> shift)
                            .clamp(-16_384, if most > shift { 16_384 } else { 16_383 }) as i16
                    })
                    .collect();
                let mut found = Halves([7; 12]);
                let shifts = Shifts { least: shift, most };
                let sum = expected.iter().map(|value| i32::from(*value)).sum();
                assert_eq!(shorten(&x.map(Q20::from_raw)[..count], &mut found, shifts), (sum, shift));
                assert_eq!(found.0[..count], expected);
                assert!(found.0[count..].iter().all(|value| *value == 7));
            }
        }
        for (count, shift) in [(0, 2), (7, 2), (8, 17)] {
            assert_eq!(shorten(&x.map(Q20::from_raw)[..count], &mut Halves([0; 12]), Shifts::ALL).1, shift);
        }
        assert_eq!(shorten(&[Q20::from_raw(7 << 20)], &mut Halves([0]), Shifts::ALL).1, 9);
    }
}
