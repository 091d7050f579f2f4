//! Why a model file is refused.

use core::fmt;

use super::{MAX_WEIGHT, VERSION};

/// Why bytes are no model.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum FormatError {
    /// Fewer bytes than the header, or than its length field, says.
    Truncated {
        /// Bytes there are.
        found: usize,
        /// Bytes there must be.
        expected: usize,
    },
    /// The first four bytes are not `FLOW`.
    NotAModel {
        /// The bytes found.
        found: [u8; 4],
    },
    /// A version that this crate does not read.
    Version {
        /// The version found.
        found: u16,
    },
    /// The CRC-32 does not match.
    Checksum {
        /// Computed from the bytes.
        found: u32,
        /// Stored in the file.
        expected: u32,
    },
    /// A field outside its range.
    Field {
        /// The field.
        name: &'static str,
        /// What it holds.
        found: f32,
        /// What it may hold.
        expected: &'static str,
    },
    /// A channel's name or unit that is no NUL-padded UTF-8, or an empty name.
    Text {
        /// Index of the channel.
        channel: usize,
    },
    /// The weights of an output sum so high that no input meets them without leaving the range of integers.
    Heavy,
    /// A weight that is not finite or beyond ±[`MAX_WEIGHT`].
    Weight {
        /// Index into the weights.
        index: usize,
    },
    /// The bytes do not start at a multiple of 4.
    Misaligned,
    /// The buffer or the weights given to the writer have another length than the header asks for.
    Size {
        /// What has the wrong length.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length that it must have.
        expected: usize,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { found, expected } => {
                write!(f, "model is truncated: found {found} bytes, expected {expected}")
            }
            Self::NotAModel { found } => write!(f, "not a Flowcast model: starts with {found:02x?}, expected \"FLOW\""),
            Self::Version { found } => write!(f, "model has format version {found}, this build reads {VERSION}"),
            Self::Checksum { found, expected } => {
                write!(f, "model is corrupt: CRC-32 is {found:08x}, the file says {expected:08x}")
            }
            Self::Field { name, found, expected } => write!(f, "model has {name} {found}, expected {expected}"),
            Self::Text { channel } => {
                write!(f, "model's channel {channel} has a name or unit that is empty, too long or not UTF-8")
            }
            Self::Heavy => {
                f.write_str("model has a layer too heavy for integers: its outputs would leave ±2048 deviations")
            }
            Self::Weight { index } => write!(f, "model's weight {index} is not within ±{MAX_WEIGHT}"),
            Self::Misaligned => write!(f, "model does not start at a multiple of 4 bytes"),
            Self::Size { name, found, expected } => write!(f, "{name}: found {found}, expected {expected}"),
        }
    }
}

impl core::error::Error for FormatError {}
