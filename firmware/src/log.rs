//! Records in a ring of flash pages, which a power cut at any moment leaves readable.
//!
//! Pages are filled and erased in turn, so they wear alike. Nothing but checksums says what is there: a page counts if its
//! header's is right, a record if its own is, and a torn one costs no more than its bytes.
//!
//! ```text
//! page    sequence u32 | CRC-32 | records, each at a word | erased bytes
//! record  length u8 | payload | CRC-32 of both | up to a word
//! ```
//!
//! The crate `sequential-storage` was tried first: it marks a page's state at its two ends and takes an erase to clear the
//! first of them first. Cells that are on their way to ones are in no order, and a page that was erased half-way could look
//! open, after which nothing could be stored any more (the test `store` cuts the power there).

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

/// The longest payload.
pub const MAX_PAYLOAD: usize = 252;
const CRC_BYTES: usize = 4;
const OVERHEAD: usize = 1 + CRC_BYTES;
const PAGE_HEADER: usize = 8;
/// An erased byte, and the length of no record.
const ERASED: u8 = 0xFF;
/// Room for a record, whole words of any flash.
const BUFFER: usize = 288;
/// The longest word.
const MAX_WORD: usize = 32;

const CRC: crc::Crc<u32, crc::Table<1>> = crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);

/// The part of a flash that a log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Bytes.
    pub bytes: usize,
    /// Bytes that are erased at once.
    pub page_bytes: usize,
    /// Bytes that are written at once.
    pub word_bytes: usize,
    /// How often a page may be erased.
    pub endurance: u32,
}

impl Ring {
    /// Bytes that a record takes.
    pub const fn record(&self, payload: usize) -> usize {
        (OVERHEAD + payload).next_multiple_of(self.word_bytes)
    }

    /// Bytes of a page that are filled at least: a record that does not fit into the rest goes to the next page.
    pub const fn filled(&self) -> usize {
        self.page_bytes.saturating_sub(PAGE_HEADER.next_multiple_of(self.word_bytes) + self.record(MAX_PAYLOAD))
    }
}

/// Why a record is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError<E> {
    /// The flash failed.
    Flash(E),
    /// The page that would have to go is one to stay.
    Full,
}

impl<E> From<E> for LogError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

/// A log in a flash.
#[derive(Debug)]
pub struct Log<FLASH> {
    flash: FLASH,
    range: Range<u32>,
    /// The oldest page that must stay.
    guard: Option<u32>,
    place: Place,
    buffer: Buffer,
}

/// Some flashes want words of RAM.
#[derive(Debug)]
#[repr(align(8))]
struct Buffer([u8; BUFFER]);

/// Where the next record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// To be found out.
    Unknown,
    /// The youngest page and the offset within it; no page at all before the first.
    Page { index: u32, sequence: u32, offset: u32 },
}

impl<FLASH: NorFlash> Log<FLASH> {
    const PAGE: u32 = FLASH::ERASE_SIZE as u32;
    const WORD: u32 = FLASH::WRITE_SIZE as u32;
    const FIRST: u32 = PAGE_HEADER.next_multiple_of(FLASH::WRITE_SIZE) as u32;

    /// In this range of a flash, at least two whole pages.
    pub const fn new(flash: FLASH, range: Range<u32>) -> Self {
        const {
            assert!(FLASH::READ_SIZE == 1 && FLASH::WRITE_SIZE <= MAX_WORD, "a flash that reads bytes");
            assert!(FLASH::ERASE_SIZE >= 2 * BUFFER, "a page holds records");
        }
        Self { flash, range, guard: None, place: Place::Unknown, buffer: Buffer([ERASED; BUFFER]) }
    }

    /// The pages that it has; how often they may be erased it does not know.
    pub const fn ring(&self) -> Ring {
        let bytes = (self.range.end - self.range.start) as usize;
        Ring { bytes, page_bytes: FLASH::ERASE_SIZE, word_bytes: FLASH::WRITE_SIZE, endurance: 0 }
    }

    fn pages(&self) -> u32 {
        (self.range.end - self.range.start) / Self::PAGE
    }

    fn address(&self, index: u32) -> u32 {
        self.range.start + index * Self::PAGE
    }

    /// A page's sequence number; `None` where the page does not count.
    fn sequence(&mut self, index: u32) -> Result<Option<u32>, FLASH::Error> {
        let mut header = [0; PAGE_HEADER];
        self.flash.read(self.address(index), &mut header)?;
        let [a, b, c, d, checksum @ ..] = header;
        let sequence = [a, b, c, d];
        // The checksum of four erased bytes is four erased bytes.
        let sound = CRC.checksum(&sequence) == u32::from_le_bytes(checksum) && sequence != [ERASED; 4];
        Ok(sound.then_some(u32::from_le_bytes(sequence)))
    }

    /// Finds the youngest page and the end of what was ever written to it.
    fn find(&mut self) -> Result<(u32, u32, u32), FLASH::Error> {
        if let Place::Page { index, sequence, offset } = self.place {
            return Ok((index, sequence, offset));
        }
        let mut youngest = None;
        for index in 0..self.pages() {
            if let Some(sequence) = self.sequence(index)?
                && youngest.is_none_or(|(_, most)| sequence > most)
            {
                youngest = Some((index, sequence));
            }
        }
        // Before the first page stands the last one, full.
        let (index, sequence) = youngest.unwrap_or((self.pages().saturating_sub(1), 0));
        let mut end = if youngest.is_some() { Self::FIRST } else { Self::PAGE };
        let mut offset = end;
        while offset < Self::PAGE {
            let mut word = [ERASED; MAX_WORD];
            let word = word.get_mut(..Self::WORD as usize).unwrap_or_default();
            self.flash.read(self.address(index) + offset, word)?;
            offset += Self::WORD;
            if word.iter().any(|byte| *byte != ERASED) {
                end = offset;
            }
        }
        self.place = Place::Page { index, sequence, offset: end };
        Ok((index, sequence, end))
    }

    /// Writes the buffer's first bytes, which are whole words.
    fn write(&mut self, address: u32, bytes: usize) -> Result<(), FLASH::Error> {
        self.flash.write(address, self.buffer.0.get(..bytes).unwrap_or_default())
    }

    /// Has the page of this number and all younger ones stay.
    pub const fn guard(&mut self, sequence: u32) {
        self.guard = Some(sequence);
    }

    /// Appends a record of up to [`MAX_PAYLOAD`] bytes and returns its page's number; the oldest page goes where there is no
    /// room. After an error the log is as it was, without the record.
    ///
    /// # Errors
    /// The flash's, or there is no page that may go.
    pub fn push(&mut self, payload: &[u8]) -> Result<u32, LogError<FLASH::Error>> {
        let (mut index, mut sequence, mut offset) = self.find()?;
        // Whatever fails, the next one looks again.
        self.place = Place::Unknown;
        let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
        let length = (OVERHEAD + payload.len()).next_multiple_of(FLASH::WRITE_SIZE);
        if offset + length as u32 > Self::PAGE {
            index = (index + 1) % self.pages().max(1);
            sequence = sequence.wrapping_add(1);
            if self.guard.is_some_and(|guard| guard.saturating_add(self.pages()) <= sequence) {
                return Err(LogError::Full);
            }
            let address = self.address(index);
            self.flash.erase(address, address + Self::PAGE)?;
            self.fill(&sequence.to_le_bytes(), &[]);
            self.write(address, Self::FIRST as usize)?;
            offset = Self::FIRST;
        }
        self.fill(&[payload.len() as u8], payload);
        self.write(self.address(index) + offset, length)?;
        self.place = Place::Page { index, sequence, offset: offset + length as u32 };
        Ok(sequence)
    }

    /// Erases every page that is younger than this one, the youngest first.
    ///
    /// # Errors
    /// The flash's.
    pub fn rewind(&mut self, last: u32) -> Result<(), FLASH::Error> {
        let (mut index, mut sequence, _) = self.find()?;
        self.place = Place::Unknown;
        while sequence > last {
            let address = self.address(index);
            self.flash.erase(address, address + Self::PAGE)?;
            index = index.checked_sub(1).unwrap_or(self.pages().saturating_sub(1));
            sequence -= 1;
        }
        Ok(())
    }

    /// Fills the buffer with two parts, their checksum, and erased bytes.
    fn fill(&mut self, head: &[u8], body: &[u8]) {
        let mut digest = CRC.digest();
        digest.update(head);
        digest.update(body);
        let content = head.iter().chain(body).copied().chain(digest.finalize().to_le_bytes());
        for (place, byte) in self.buffer.0.iter_mut().zip(content.chain(core::iter::repeat(ERASED))) {
            *place = byte;
        }
    }

    /// Shows every record and its page's number to `each`, oldest first, until that says no.
    ///
    /// # Errors
    /// The flash's.
    pub fn for_each(&mut self, mut each: impl FnMut(u32, &[u8]) -> bool) -> Result<(), FLASH::Error> {
        let (youngest, last, _) = self.find()?;
        for step in 1..=self.pages() {
            let index = (youngest + step) % self.pages();
            // One that does not stand in line was left behind by a cut.
            let sequence = last.wrapping_sub(self.pages() - step);
            if self.sequence(index)? != Some(sequence) {
                continue;
            }
            let mut offset = Self::FIRST;
            while offset < Self::PAGE {
                let Some(length) = self.read_record(self.address(index) + offset, Self::PAGE - offset)? else {
                    offset += Self::WORD;
                    continue;
                };
                if !each(sequence, self.buffer.0.get(1..=length).unwrap_or_default()) {
                    return Ok(());
                }
                offset += ((OVERHEAD + length) as u32).next_multiple_of(Self::WORD);
            }
        }
        Ok(())
    }

    /// Reads a record into the buffer and returns its payload's length; `None` where there is none.
    fn read_record(&mut self, address: u32, room: u32) -> Result<Option<usize>, FLASH::Error> {
        let mut length = [ERASED];
        self.flash.read(address, &mut length)?;
        let length = usize::from(length[0]);
        if length > MAX_PAYLOAD || OVERHEAD + length > room as usize {
            return Ok(None);
        }
        let record = self.buffer.0.get_mut(..OVERHEAD + length).unwrap_or_default();
        self.flash.read(address, record)?;
        let Some((content, checksum)) = record.split_last_chunk::<CRC_BYTES>() else { return Ok(None) };
        let sound = CRC.checksum(content) == u32::from_le_bytes(*checksum);
        Ok(sound.then_some(length))
    }
}
