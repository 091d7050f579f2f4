//! Products of eight-bit weights and sixteen-bit vectors: the layouts of the weights, the portable kernels, and the
//! choice between them and the target's own.
//!
//! All kernels sum the same integers without overflow ([`crate::fixed`]), so they agree to the bit whatever their order.
//! Two layouts, in words of four weights, least significant byte first, columns filled up with zeros to a multiple of 4:
//!
//! ```text
//! blocks   four rows r..r+3 at a time (filled up with rows of zeros), and for each two columns c, c+1 two words:
//!          [r,c  r+1,c  r,c+1  r+1,c+1]  [r+2,c  r+3,c  r+2,c+1  r+3,c+1]
//! rows     one row at a time, and for each four columns a word:
//!          [c  c+2  c+1  c+3]
//! ```
//!
//! In both, bytes 0 and 2 of a word meet two neighbours of the vector, and so do bytes 1 and 3: what the DSP extension's
//! `SXTB16` and `SMLAD` take apart and multiply in two instructions each.

#[cfg(flowcast_dsp)]
mod dsp;
pub mod portable;

#[cfg(flowcast_dsp)]
pub use dsp::{block, row};
#[cfg(not(flowcast_dsp))]
pub use portable::{block, row};

/// Rows of a block.
pub const BLOCK_ROWS: usize = 4;
/// Columns are filled up to a multiple of this.
pub const COLUMNS: usize = 4;

/// Which kernels this build runs, as benchmarks name them.
pub const NAME: &str = if cfg!(flowcast_dsp) { "dsp" } else { "portable" };

/// How the weights of a matrix lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// For products with the whole matrix.
    Blocks,
    /// For products with single rows.
    Rows,
}

impl Layout {
    /// Bytes of a matrix.
    pub const fn bytes(self, rows: usize, columns: usize) -> usize {
        let columns = columns.next_multiple_of(COLUMNS);
        match self {
            Self::Blocks => rows.next_multiple_of(BLOCK_ROWS) * columns,
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
            Self::Blocks => {
                let (block, row) = (row / BLOCK_ROWS, row % BLOCK_ROWS);
                let word = (block * columns / 2 + column / 2) * 2 + row / 2;
                4 * word + row % 2 + 2 * (column % 2)
            }
            Self::Rows => {
                let word = (row * columns + column) / 4;
                4 * word + [0, 2, 1, 3][column % 4]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::{LARGEST, MAX_COLUMNS};
    use std::vec;
    use std::vec::Vec;

    /// Numbers of a small generator (Numerical Recipes), and edge values among them.
    fn random(seed: &mut u32) -> u32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *seed >> 8
    }

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for layout in [Layout::Blocks, Layout::Rows] {
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

    #[test]
    fn kernels_sum_what_the_plain_sum_is_edges_too() {
        let mut seed = 7;
        for columns in [1, 2, 3, 4, 5, 16, 18, 33, 64, 122, MAX_COLUMNS] {
            for edge in [false, true] {
                let rows = 6;
                let weights: Vec<i8> =
                    (0..rows * columns).map(|_| if edge { 127 } else { (random(&mut seed) % 255) as i8 }).collect();
                let mut x: Vec<i16> = (0..columns)
                    .map(|_| if edge { LARGEST as i16 } else { (random(&mut seed) % 32_769) as i16 - 16_384 })
                    .collect();
                let plain = |row: usize| -> i64 {
                    (0..columns).map(|column| i64::from(weights[row * columns + column]) * i64::from(x[column])).sum()
                };
                let expected: Vec<i64> = (0..rows).map(plain).collect();
                x.resize(columns.next_multiple_of(COLUMNS), 0);
                let pairs: Vec<u32> =
                    x.chunks(2).map(|pair| u32::from(pair[0] as u16) | u32::from(pair[1] as u16) << 16).collect();
                for layout in [Layout::Blocks, Layout::Rows] {
                    let mut bytes = vec![0_u8; layout.bytes(rows, columns)];
                    for (index, weight) in weights.iter().enumerate() {
                        bytes[layout.place(columns, index / columns, index % columns)] = *weight as u8;
                    }
                    let words: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
                    let found: Vec<i32> = match layout {
                        Layout::Blocks => {
                            words.chunks(x.len()).flat_map(|words| block(words, &pairs)).take(rows).collect()
                        }
                        Layout::Rows => words.chunks(x.len() / 4).map(|words| row(words, &pairs)).collect(),
                    };
                    assert!(
                        found.iter().map(|sum| i64::from(*sum)).eq(expected.iter().copied()),
                        "{layout:?} {columns}"
                    );
                }
            }
        }
    }
}
