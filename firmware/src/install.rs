//! A model into a board's flash, beside the one in use: for whoever brings it by another way than a debug probe.
//!
//! The order is `flowcast_core::slot`'s: record erased, model erased, model written and read back, record written. Whenever
//! the power goes, the board runs what it ran before.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use flowcast_core::slot::{RECORD_BYTES, Record};

/// Bytes that are written, and read back, at once.
const CHUNK: usize = 256;

/// Why a model was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError<E> {
    /// The flash failed.
    Flash(E),
    /// The model and its record do not fit into the slot.
    Room {
        /// Bytes of both.
        found: usize,
        /// Bytes of the slot.
        expected: usize,
    },
    /// What was written does not read back, from here on.
    Different(u32),
}

impl<E> From<E> for InstallError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

/// Writes a model and its record into a slot, whole pages of `flash`.
///
/// # Errors
/// The flash's; the slot is too small; the flash holds something else than was written.
pub fn install<FLASH: NorFlash>(
    flash: &mut FLASH,
    slot: Range<u32>,
    model: &[u8],
    record: &Record,
) -> Result<(), InstallError<FLASH::Error>> {
    const { assert!(CHUNK.is_multiple_of(FLASH::WRITE_SIZE) && RECORD_BYTES.is_multiple_of(FLASH::WRITE_SIZE)) };
    let page = FLASH::ERASE_SIZE as u32;
    let bytes = slot.end.saturating_sub(slot.start) as usize;
    let found = model.len().next_multiple_of(FLASH::WRITE_SIZE) + RECORD_BYTES;
    if found > bytes || bytes < FLASH::ERASE_SIZE {
        return Err(InstallError::Room { found, expected: bytes });
    }
    // What the record says is true no more.
    flash.erase(slot.end - page, slot.end)?;
    let mut address = slot.start;
    while address < slot.end - page {
        flash.erase(address, address + page)?;
        address += page;
    }
    let mut address = slot.start;
    for chunk in model.chunks(CHUNK) {
        write(flash, address, chunk)?;
        address += CHUNK as u32;
    }
    write(flash, slot.end - RECORD_BYTES as u32, &record.write())
}

/// Writes up to [`CHUNK`] bytes, filled up to whole words, and reads them back.
fn write<FLASH: NorFlash>(flash: &mut FLASH, address: u32, bytes: &[u8]) -> Result<(), InstallError<FLASH::Error>> {
    let mut words = Words([0xFF; CHUNK]);
    words.0.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    let whole = bytes.len().next_multiple_of(FLASH::WRITE_SIZE);
    flash.write(address, words.0.get(..whole).unwrap_or_default())?;
    flash.read(address, words.0.get_mut(..bytes.len()).unwrap_or_default())?;
    match words.0.iter().zip(bytes).position(|(found, expected)| found != expected) {
        Some(place) => Err(InstallError::Different(address + place as u32)),
        None => Ok(()),
    }
}

/// Some flashes want words of RAM.
#[repr(align(8))]
struct Words([u8; CHUNK]);
