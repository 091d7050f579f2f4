//! Two slots for models in a board's flash: a new one is written beside the one in use, and counts only when all of it is
//! there.
//!
//! ```text
//! slot     model file | anything | record, in the slot's last RECORD_BYTES
//! record   "FSLT" | version u16 | 0 u16 | sequence u32 | length u32 | model u32 | 0 u64 | CRC-32 of everything before
//! ```
//!
//! Whoever installs a model takes the slot that is not in use: first its record is erased, then its model, then the new model
//! is written, and last the new record, with a sequence number above the other one's. A record counts where its checksum is
//! right and it names the model that lies there, by length and CRC-32. So whenever the power goes, the slot in use is as it
//! was, and the other one has no record that counts.
//!
//! A board takes the slot of the higher number, if its model is one that it runs, and else the other. A slot without a record
//! counts as number 0, below any installed one: a model that some other tool wrote runs too, slot A's before slot B's.

/// Bytes of a record; whole words of any flash.
pub const RECORD_BYTES: usize = 32;
/// The version of the record.
const VERSION: u16 = 1;
/// What a record starts with.
const MAGIC: [u8; 4] = *b"FSLT";

const CRC: crc::Crc<u32, crc::Table<1>> = crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);

/// What a slot says of its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Models installed on this board up to this one.
    pub sequence: u32,
    /// Bytes of the model file.
    pub length: u32,
    /// The model file's CRC-32.
    pub model: u32,
}

impl Record {
    /// As it lies in flash.
    pub fn write(&self) -> [u8; RECORD_BYTES] {
        let [v0, v1] = VERSION.to_le_bytes();
        let head = MAGIC.into_iter().chain([v0, v1, 0, 0]);
        let fields = [self.sequence, self.length, self.model].into_iter().flat_map(u32::to_le_bytes);
        let mut bytes = [0; RECORD_BYTES];
        bytes.iter_mut().zip(head.chain(fields)).for_each(|(place, byte)| *place = byte);
        if let Some((content, checksum)) = bytes.split_last_chunk_mut::<4>() {
            *checksum = CRC.checksum(content).to_le_bytes();
        }
        bytes
    }

    /// A record at the end of a slot; `None` where there is none.
    pub fn read(slot: &[u8]) -> Option<Self> {
        let bytes = slot.last_chunk::<RECORD_BYTES>()?;
        let number = |place: usize| bytes.get(place..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        let record = Self { sequence: number(8)?, length: number(12)?, model: number(16)? };
        (*bytes == record.write()).then_some(record)
    }

    /// Whether the model that it names lies in its slot: by the checksum that the file has at its end. (Whether that is
    /// right, whoever binds the model finds out.)
    fn belongs_to(&self, slot: &[u8]) -> bool {
        let file = slot.get(..self.length as usize).filter(|_| self.length as usize + RECORD_BYTES <= slot.len());
        file.and_then(<[u8]>::last_chunk::<4>).is_some_and(|bytes| u32::from_le_bytes(*bytes) == self.model)
    }
}

/// Number of the model in a slot, 0 without a record that counts.
pub fn sequence(slot: &[u8]) -> u32 {
    Record::read(slot).filter(|record| record.belongs_to(slot)).map_or(0, |record| record.sequence)
}

/// The slots, 0 for A and 1 for B, in the order in which a board tries them.
pub fn order([a, b]: [&[u8]; 2]) -> [usize; 2] {
    if sequence(b) > sequence(a) { [1, 0] } else { [0, 1] }
}

/// What a board runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'m, E> {
    /// The slot: 0 is A, 1 is B.
    pub slot: usize,
    /// All of it, the model at its start.
    pub bytes: &'m [u8],
    /// Why the other one, which is newer, does not run.
    pub refused: Option<E>,
}

/// The newest model that `runs` takes.
///
/// # Errors
/// It takes neither: why, first of the newer one.
pub fn choose<'m, E>(
    slots: [&'m [u8]; 2],
    mut runs: impl FnMut(&'m [u8]) -> Result<(), E>,
) -> Result<Choice<'m, E>, [E; 2]> {
    let [a, b] = slots;
    let [newer, older] = order(slots);
    let bytes = |slot| if slot == 0 { a } else { b };
    let refused = match runs(bytes(newer)) {
        Ok(()) => return Ok(Choice { slot: newer, bytes: bytes(newer), refused: None }),
        Err(refused) => refused,
    };
    match runs(bytes(older)) {
        Ok(()) => Ok(Choice { slot: older, bytes: bytes(older), refused: Some(refused) }),
        Err(other) => Err([refused, other]),
    }
}

/// The slot that a new model goes to, and the record that is written after it; `in_use`: the slot that the board runs, if
/// it runs any.
pub fn install(slots: [&[u8]; 2], in_use: Option<usize>, length: u32, model: u32) -> (usize, Record) {
    let slot = match in_use {
        Some(0) => 1,
        Some(_) => 0,
        // Nothing is lost with the older one.
        None => order(slots)[1],
    };
    (slot, record(slots, length, model))
}

/// The record of a model that is to be the newest.
pub fn record(slots: [&[u8]; 2], length: u32, model: u32) -> Record {
    let newest = slots.into_iter().map(sequence).fold(0, u32::max);
    Record { sequence: newest.saturating_add(1), length, model }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot with a "model" whose last four bytes are its checksum, and perhaps a record.
    fn slot(model: u32, sequence: Option<u32>) -> [u8; 128] {
        let mut slot = [0xFF; 128];
        slot[..40].fill(7);
        slot[36..40].copy_from_slice(&model.to_le_bytes());
        if let Some(sequence) = sequence {
            slot[96..].copy_from_slice(&Record { sequence, length: 40, model }.write());
        }
        slot
    }

    #[test]
    fn the_newest_that_runs_is_chosen() {
        let (a, b) = (slot(1, Some(4)), slot(2, Some(5)));
        let chosen = |slots: [&[u8]; 2], good: &[u32]| {
            let runs = |slot: &[u8]| {
                let model = u32::from_le_bytes(slot[36..40].try_into().unwrap());
                if good.contains(&model) { Ok(()) } else { Err(model) }
            };
            choose(slots, runs).map(|choice| (choice.slot, choice.refused))
        };
        assert_eq!(chosen([&a, &b], &[1, 2]), Ok((1, None)));
        assert_eq!(chosen([&b, &a], &[1, 2]), Ok((0, None)));
        assert_eq!(chosen([&a, &b], &[1]), Ok((0, Some(2))));
        assert_eq!(chosen([&a, &b], &[]), Err([2, 1]));
        // Without records, slot A first.
        assert_eq!(chosen([&slot(1, None), &slot(2, None)], &[1, 2]), Ok((0, None)));
        assert_eq!(chosen([&slot(1, None), &b], &[1, 2]), Ok((1, None)));
    }

    #[test]
    fn a_record_counts_only_where_it_is_whole_and_names_the_model_there() {
        let whole = slot(9, Some(3));
        assert_eq!((sequence(&whole), Record::read(&whole).unwrap().sequence), (3, 3));
        for place in 96..128 {
            for bit in 0..8 {
                let mut torn = whole;
                torn[place] ^= 1 << bit;
                assert_eq!(sequence(&torn), 0, "byte {place}, bit {bit}");
            }
        }
        let mut other = whole;
        other[36] ^= 1;
        assert_eq!(sequence(&other), 0, "the record is of another model");
        let mut beyond = whole;
        beyond[96..].copy_from_slice(&Record { sequence: 3, length: 97, model: 0xFFFF_FFFF }.write());
        assert_eq!(sequence(&beyond), 0, "the model ends before the record");
        assert_eq!([sequence(&[]), sequence(&whole[..20])], [0, 0]);
    }

    #[test]
    fn a_new_model_goes_beside_the_one_in_use() {
        let (a, b) = (slot(1, Some(4)), slot(2, Some(5)));
        let record = Record { sequence: 6, length: 40, model: 3 };
        assert_eq!(install([&a, &b], Some(1), 40, 3), (0, record));
        assert_eq!(install([&a, &b], Some(0), 40, 3), (1, record));
        assert_eq!(install([&a, &b], None, 40, 3), (0, record));
    }
}
