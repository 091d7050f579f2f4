//! Snapshots: a forecaster's state as bytes, to be kept over a reset. `SNAPSHOT.md` beside this crate says the same in
//! prose.
//!
//! ```text
//! "FSNP" | version u16 | form u16 | model u32 | length u32 | state | CRC-32 of everything before
//! ```
//!
//! The model's identity says how many channels, slots and layers the state has, so a snapshot is for one model, whatever
//! the capacities of the forecaster that took it. Nothing is restored before the checksum, the version and the model are
//! found right; a forecaster that goes on from a snapshot says, bit for bit, what one says that was never interrupted.

use core::fmt;

use crate::format::Numeric;
use crate::persist::Writer;

/// The version of the format that this crate reads and writes.
pub const VERSION: u16 = 7;
/// What a snapshot starts with.
pub const MAGIC: [u8; 4] = *b"FSNP";
/// Bytes before the state.
pub const HEADER_BYTES: usize = 16;
/// Bytes behind it.
pub const CRC_BYTES: usize = 4;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Why there is no snapshot, or why one is not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The forecaster has no model, so there is no state.
    NoModel,
    /// The buffer is too small for the snapshot.
    Room {
        /// Bytes of the buffer.
        found: usize,
        /// Bytes of the snapshot.
        expected: usize,
    },
    /// The first four bytes are not `FSNP`.
    NotASnapshot {
        /// The bytes found.
        found: [u8; 4],
    },
    /// A version that this crate does not read.
    Version {
        /// The version found.
        found: u16,
    },
    /// Numbers of another form than this forecaster's.
    Form {
        /// The form found.
        found: u16,
        /// This forecaster's.
        expected: u16,
    },
    /// The snapshot is of another model.
    Model {
        /// Its model.
        found: u32,
        /// The forecaster's.
        expected: u32,
    },
    /// Another length than this model's snapshots have.
    Length {
        /// Bytes that the snapshot says it has, or that there are of it.
        found: usize,
        /// Bytes that it must have.
        expected: usize,
    },
    /// The CRC-32 does not match.
    Checksum {
        /// Computed from the bytes.
        found: u32,
        /// Stored in the snapshot.
        expected: u32,
    },
    /// The checksum matches, but a field holds what it cannot. The forecaster has forgotten every sample.
    Field,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoModel => write!(f, "no model is bound, so there is no state"),
            Self::Room { found, expected } => {
                write!(f, "room for {found} bytes of a snapshot, expected {expected}")
            }
            Self::NotASnapshot { found } => write!(f, "not a snapshot: starts with {found:02x?}, expected \"FSNP\""),
            Self::Version { found } => write!(f, "snapshot has format version {found}, this build reads {VERSION}"),
            Self::Form { found, expected } => {
                write!(f, "snapshot has numbers of form {found}, this forecaster's have form {expected}")
            }
            Self::Model { found, expected } => {
                write!(f, "snapshot is of model {found:08x}, this forecaster runs {expected:08x}")
            }
            Self::Length { found, expected } => write!(f, "snapshot has {found} bytes, expected {expected}"),
            Self::Checksum { found, expected } => {
                write!(f, "snapshot is corrupt: CRC-32 is {found:08x}, it says {expected:08x}")
            }
            Self::Field => write!(f, "snapshot holds a number that no state has"),
        }
    }
}

impl core::error::Error for SnapshotError {}

/// What has a state that can be kept.
pub trait Snapshot {
    /// Bytes of a snapshot, the same at every age; 0 without a model.
    fn snapshot_bytes(&self) -> usize;

    /// Writes the state into `buffer` and returns how many bytes that is.
    ///
    /// # Errors
    /// There is no model, or no room.
    fn snapshot(&self, buffer: &mut [u8]) -> Result<usize, SnapshotError>;

    /// Goes on from a snapshot. Bytes behind its end are no part of it. Refused, the state stays as it was, but for
    /// [`SnapshotError::Field`].
    ///
    /// # Errors
    /// The bytes are no snapshot, or one of another version or model, or an altered one.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError>;
}

/// The form of the state's numbers: 0 is f32, 1 is steps of 2⁻²⁰ in an i32.
const fn form(numeric: Numeric) -> u16 {
    match numeric {
        Numeric::F32 => 0,
        Numeric::I8 => 1,
    }
}

/// Writes a snapshot of a model around the state that `save` writes.
pub(crate) fn write(
    model: u32,
    numeric: Numeric,
    length: usize,
    buffer: &mut [u8],
    save: impl FnOnce(&mut Writer<'_>),
) -> Result<usize, SnapshotError> {
    let found = buffer.len();
    let Some(buffer) = buffer.get_mut(..length) else { return Err(SnapshotError::Room { found, expected: length }) };
    let mut writer = Writer::new(buffer);
    writer.bytes(&MAGIC);
    writer.bytes(&VERSION.to_le_bytes());
    writer.bytes(&form(numeric).to_le_bytes());
    writer.bytes(&model.to_le_bytes());
    writer.bytes(&(length as u32).to_le_bytes());
    save(&mut writer);
    let end = writer.length();
    let checksum = CRC.checksum(buffer.get(..end).unwrap_or_default());
    if let Some(place) = buffer.get_mut(end..) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    Ok(length)
}

/// The state within a snapshot of this model and length, checked.
pub(crate) fn check(bytes: &[u8], model: u32, numeric: Numeric, length: usize) -> Result<&[u8], SnapshotError> {
    let (header, _) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(SnapshotError::Length { found: bytes.len(), expected: length })?;
    let [m0, m1, m2, m3, v0, v1, f0, f1, i0, i1, i2, i3, l0, l1, l2, l3] = *header;
    let (magic, version, found_form) = ([m0, m1, m2, m3], u16::from_le_bytes([v0, v1]), u16::from_le_bytes([f0, f1]));
    let (found_model, found_length) = (u32::from_le_bytes([i0, i1, i2, i3]), u32::from_le_bytes([l0, l1, l2, l3]));
    if magic != MAGIC {
        return Err(SnapshotError::NotASnapshot { found: magic });
    }
    if version != VERSION {
        return Err(SnapshotError::Version { found: version });
    }
    if found_form != form(numeric) {
        return Err(SnapshotError::Form { found: found_form, expected: form(numeric) });
    }
    if found_model != model {
        return Err(SnapshotError::Model { found: found_model, expected: model });
    }
    if found_length as usize != length {
        return Err(SnapshotError::Length { found: found_length as usize, expected: length });
    }
    let whole = bytes.get(..length).ok_or(SnapshotError::Length { found: bytes.len(), expected: length })?;
    let (content, checksum) =
        whole.split_last_chunk::<CRC_BYTES>().ok_or(SnapshotError::Length { found: bytes.len(), expected: length })?;
    let (found, expected) = (CRC.checksum(content), u32::from_le_bytes(*checksum));
    if found != expected {
        return Err(SnapshotError::Checksum { found, expected });
    }
    Ok(content.get(HEADER_BYTES..).unwrap_or_default())
}
