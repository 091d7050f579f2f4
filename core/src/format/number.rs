//! A file's numbers: read and written without passing an end, and checked with what was found and expected.

use core::ops::Range;

use super::FormatError;
use crate::bits::{self, order};

/// What a field holds: ordered, and told to the user, without an instruction of floating point.
pub(super) trait Field: Copy {
    fn place(self) -> i64;
    fn float(self) -> f32;
}

impl Field for f32 {
    fn place(self) -> i64 {
        order(self).into()
    }

    fn float(self) -> f32 {
        self
    }
}

macro_rules! whole {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn place(self) -> i64 {
                i64::try_from(self).unwrap_or(i64::MAX)
            }

            fn float(self) -> f32 {
                as_float(self.place())
            }
        }
    )*};
}

whole!(u8, i8, u16, u32, i32, u64, usize);

pub(super) fn as_float(number: i64) -> f32 {
    bits::float(number, 0)
}

pub(super) fn within<F: Field>(
    name: &'static str,
    found: F,
    range: core::ops::RangeInclusive<F>,
    expected: &'static str,
) -> Result<(), FormatError> {
    let inside = (range.start().place()..=range.end().place()).contains(&found.place());
    if inside { Ok(()) } else { Err(FormatError::Field { name, found: found.float(), expected }) }
}

pub(super) fn expect<F: Field>(
    name: &'static str,
    found: F,
    wanted: F,
    expected: &'static str,
) -> Result<(), FormatError> {
    within(name, found, wanted..=wanted, expected)
}

/// Bytes that a later version may give a meaning to.
pub(super) fn zero(body: &[u8], range: Range<usize>) -> Result<(), FormatError> {
    let reserved = body.get(range).and_then(|bytes| bytes.iter().max()).copied().unwrap_or(0);
    expect("reserved bytes", reserved, 0, "0")
}

pub(super) fn size(name: &'static str, found: usize, expected: usize) -> Result<(), FormatError> {
    if found == expected { Ok(()) } else { Err(FormatError::Size { name, found, expected }) }
}

/// `N` bytes from `at`; zeros where there are none (every caller has checked the length).
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk::<N>()).copied().unwrap_or([0; N])
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(array(bytes, at))
}

/// NUL-padded UTF-8.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, padding) = bytes.split_at_checked(end)?;
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    core::str::from_utf8(text).ok()
}

pub(super) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
