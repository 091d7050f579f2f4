//! Which of a board's slots takes a model: by what lies in them.

use anyhow::Result;
use flowcast_core::format::Header;
use flowcast_core::slot::{self, RECORD_BYTES, Record};

use super::layout;
use crate::hardware::Region;

/// What lies in a slot, as far as it says anything: a model and its record.
pub struct Content(Vec<u32>);

impl Content {
    /// Reads a slot, its record and as much of it as its model says; no more, since a probe is slow.
    ///
    /// # Errors
    /// What `read` says.
    pub fn read(slot: Region, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<Self> {
        let mut words = vec![u32::MAX; (slot.bytes / 4) as usize];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let record = layout::record(slot);
        let end = bytes.len() - RECORD_BYTES;
        read(record.start, &mut bytes[end..])?;
        // The header says the length: see FORMAT.md.
        read(slot.start, &mut bytes[..12])?;
        let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        if bytes.starts_with(b"FLOW") && (12..=end).contains(&length) {
            read(slot.start, &mut bytes[..length])?;
        }
        Ok(Self(words))
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// The slot for a new model and its record: the one that the board does not run, or the one that is asked for.
pub fn pick([a, b]: &[Content; 2], wanted: Option<usize>, length: u32, model: u32) -> (usize, Record) {
    let slots = [a.bytes(), b.bytes()];
    let in_use = slot::choose(slots, |bytes| Header::parse(bytes).map(drop)).ok().map(|choice| choice.slot);
    match wanted {
        Some(wanted) => (wanted, slot::record(slots, length, model)),
        None => slot::install(slots, in_use, length, model),
    }
}
