//! What survives a reset: a forecaster's snapshots and the count of samples, in a [`Log`].
//!
//! A snapshot is larger than a record, so it goes in pieces, and counts when all of them are there; until then the one
//! before does:
//!
//! ```text
//! piece  1 | part u16 | parts u16 | samples u32 | up to PIECE bytes of the snapshot
//! beat   2 | samples u32 | seconds u32, where the board has a calendar
//! ```
//!
//! A beat is one sample's: after a reset a board knows how many samples came after its snapshot, and goes on at the right
//! phase of the season. Beats are small beside a snapshot; how long the flash lasts says [`Ring::years`].

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::log::{Log, LogError, MAX_PAYLOAD, Ring};

/// Bytes of a snapshot in a piece.
const PIECE: usize = MAX_PAYLOAD - PIECE_HEADER;
const PIECE_HEADER: usize = 9;
const BEAT_BYTES: usize = 5;
/// With its date.
const DATED_BYTES: usize = 9;
const PIECE_TAG: u8 = 1;
const BEAT_TAG: u8 = 2;

/// The rings of the boards that there are images for; `memory/*.x` and the boards' files say the same.
pub const RINGS: [(&str, Ring); 4] = [
    ("nrf52840dk", Ring { bytes: 64 << 10, page_bytes: 4 << 10, word_bytes: 4, endurance: 10_000 }),
    // Three of the four small sectors; the first holds the vectors.
    ("stm32f411", Ring { bytes: 48 << 10, page_bytes: 16 << 10, word_bytes: 4, endurance: 10_000 }),
    ("pico", Ring { bytes: 64 << 10, page_bytes: 4 << 10, word_bytes: 1, endurance: 100_000 }),
    ("pico2", Ring { bytes: 64 << 10, page_bytes: 4 << 10, word_bytes: 1, endurance: 100_000 }),
];

/// What is written, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes of a snapshot.
    pub snapshot_bytes: usize,
    /// Samples from one to the next.
    pub samples_per_snapshot: u32,
    /// Seconds from one sample to the next.
    pub interval_s: u32,
}

impl Ring {
    /// Bytes of a snapshot and the beats until the next one, as records, at most.
    const fn cycle(&self, snapshot_bytes: usize, beats: u32) -> usize {
        let whole = snapshot_bytes / PIECE;
        let rest = match snapshot_bytes % PIECE {
            0 => 0,
            rest => self.record(PIECE_HEADER + rest),
        };
        (whole * self.record(PIECE_HEADER + PIECE)).saturating_add(rest + (beats as usize) * self.record(DATED_BYTES))
    }

    /// Whether the last whole snapshot is always still there when the next one is: room for two with their beats, and the
    /// page that they begin in.
    pub const fn holds(&self, snapshot_bytes: usize, beats: u32) -> bool {
        let filled = self.filled();
        filled > 0 && (2 * self.cycle(snapshot_bytes, beats)).div_ceil(filled) < self.bytes / self.page_bytes
    }

    /// Bytes of flash written in a day.
    pub fn bytes_per_day(&self, rate: &Rate) -> f32 {
        self.cycle(rate.snapshot_bytes, rate.samples_per_snapshot) as f32 * rate.snapshots_per_day()
    }

    /// Years until the pages, which wear alike, have been erased as often as they may be; at least so many.
    pub fn years(&self, rate: &Rate) -> f32 {
        const DAYS_PER_YEAR: f32 = 365.25;
        let pages = (self.bytes / self.page_bytes) as f32;
        let erased_per_day = self.bytes_per_day(rate) / self.filled().max(1) as f32;
        pages * self.endurance as f32 / (erased_per_day * DAYS_PER_YEAR)
    }
}

impl Rate {
    fn snapshots_per_day(&self) -> f32 {
        const DAY_S: f32 = 86_400.0;
        DAY_S / (self.samples_per_snapshot as f32 * self.interval_s as f32)
    }
}

/// What a store has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of the snapshot.
    pub bytes: usize,
    /// Samples when it was taken.
    pub samples: u32,
    /// Samples when the last beat came, at least as many.
    pub last: u32,
    /// Samples at the last beat with a date, and the calendar's seconds when that sample was due.
    pub dated: Option<(u32, u32)>,
}

/// A place for snapshots in a flash.
#[derive(Debug)]
pub struct Store<FLASH> {
    log: Log<FLASH>,
    /// The page that the last whole snapshot ends in, once it was looked for.
    end: Option<u32>,
}

impl<FLASH: NorFlash> Store<FLASH> {
    /// In this range of a flash, whole pages.
    pub const fn new(flash: FLASH, range: Range<u32>) -> Self {
        Self { log: Log::new(flash, range), end: None }
    }

    /// Keeps a snapshot that was taken after so many samples. Until it is whole, the last one counts, and stays.
    ///
    /// # Errors
    /// The flash's; or the ring holds no two snapshots.
    pub fn keep(&mut self, snapshot: &[u8], samples: u32) -> Result<(), LogError<FLASH::Error>> {
        self.look()?;
        // It would write over its own beginning.
        let ring = self.log.ring();
        if ring.cycle(snapshot.len(), 0) > ring.bytes / ring.page_bytes.max(1) * ring.filled() {
            return Err(LogError::Full);
        }
        match self.write(snapshot, samples) {
            // Snapshots that never became whole, cut after cut, have filled the ring: they go.
            Err(LogError::Full) => {
                self.log.rewind(self.end.unwrap_or(0))?;
                self.write(snapshot, samples)
            }
            done => done,
        }
    }

    fn write(&mut self, snapshot: &[u8], samples: u32) -> Result<(), LogError<FLASH::Error>> {
        let parts = snapshot.len().div_ceil(PIECE) as u16;
        let mut first = None;
        for (part, bytes) in (0..).zip(snapshot.chunks(PIECE)) {
            let piece = Piece { part, parts, samples };
            let mut record = [0; PIECE_HEADER + PIECE];
            let page = self.log.push(piece.write(bytes, &mut record))?;
            let begin = *first.get_or_insert(page);
            if part + 1 == parts {
                self.end = Some(page);
                self.log.guard(begin);
            }
        }
        Ok(())
    }

    /// Notes that so many samples have come, and when the last one was due, where a calendar says so.
    ///
    /// # Errors
    /// The flash's; or the ring is full of beats and of a snapshot that must stay.
    pub fn beat(&mut self, samples: u32, date_s: Option<u32>) -> Result<(), LogError<FLASH::Error>> {
        self.look()?;
        let mut record = [BEAT_TAG; DATED_BYTES];
        let fields = samples.to_le_bytes().into_iter().chain(date_s.unwrap_or(0).to_le_bytes());
        record.iter_mut().skip(1).zip(fields).for_each(|(place, byte)| *place = byte);
        let bytes = if date_s.is_some() { DATED_BYTES } else { BEAT_BYTES };
        self.log.push(record.get(..bytes).unwrap_or_default()).map(drop)
    }

    /// Looks for the last whole snapshot, the first time.
    fn look(&mut self) -> Result<(), FLASH::Error> {
        if self.end.is_none() {
            self.survey()?;
        }
        Ok(())
    }

    /// Reads the last whole snapshot into `room`; `None` where there is none, or no room for it.
    ///
    /// # Errors
    /// The flash's.
    pub fn recover(&mut self, room: &mut [u8]) -> Result<Option<Kept>, FLASH::Error> {
        let Some((kept, which)) = self.survey()? else { return Ok(None) };
        let (mut assembly, mut whole, mut filled) = (Assembly::NONE, 0, 0);
        let mut found = None;
        self.log.for_each(|_, record| {
            let Some((piece, bytes)) = Piece::read(record) else { return true };
            if piece.part == 0 {
                filled = 0;
            }
            // Pieces of the wanted one: those after which as many were whole as before it.
            if whole + 1 == which {
                let Some(place) = room.get_mut(filled..filled + bytes.len()) else { return false };
                place.copy_from_slice(bytes);
            }
            filled += bytes.len();
            if assembly.take(&piece) {
                whole += 1;
                found = (whole == which).then_some(Kept { bytes: filled, ..kept });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// The last whole snapshot, and which of the whole ones it is, counted from 1.
    fn survey(&mut self) -> Result<Option<(Kept, u32)>, FLASH::Error> {
        let mut assembly = Assembly::NONE;
        let mut found: Option<(Kept, u32)> = None;
        let (mut begin, mut pages) = (0, None);
        self.log.for_each(|page, record| {
            if let Some((piece, _)) = Piece::read(record) {
                if piece.part == 0 {
                    begin = page;
                }
                if assembly.take(&piece) {
                    let which = found.map_or(0, |(_, which)| which) + 1;
                    let dated = found.and_then(|(kept, _)| kept.dated);
                    let (samples, last) = (piece.samples, piece.samples);
                    found = Some((Kept { bytes: 0, samples, last, dated }, which));
                    pages = Some((begin, page));
                }
            } else if let (Some((kept, _)), [BEAT_TAG, a, b, c, d, date @ ..]) = (&mut found, record) {
                let samples = u32::from_le_bytes([*a, *b, *c, *d]);
                kept.last = kept.last.max(samples);
                if let Ok(date) = date.try_into() {
                    kept.dated = Some((samples, u32::from_le_bytes(date)));
                }
            }
            true
        })?;
        if let Some((begin, end)) = pages {
            self.log.guard(begin);
            self.end = Some(end);
        }
        Ok(found)
    }
}

/// The pieces of one snapshot as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Assembly {
    /// The piece that is due.
    next: Piece,
    /// Whether it began with its first piece and lacks none.
    whole: bool,
}

impl Assembly {
    const NONE: Self = Self { next: Piece { part: 0, parts: 0, samples: 0 }, whole: false };

    /// Takes a piece; true when it completes a snapshot.
    fn take(&mut self, piece: &Piece) -> bool {
        self.whole = piece.part == 0 || (self.whole && *piece == self.next);
        self.next = Piece { part: piece.part.wrapping_add(1), ..*piece };
        self.whole && self.next.part == piece.parts
    }
}

/// What a piece says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    part: u16,
    parts: u16,
    samples: u32,
}

impl Piece {
    fn write<'b>(&self, bytes: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
        let header = [self.part.to_le_bytes(), self.parts.to_le_bytes()];
        let fields = [PIECE_TAG].into_iter().chain(header.into_iter().flatten()).chain(self.samples.to_le_bytes());
        let mut length = 0;
        for (place, byte) in buffer.iter_mut().zip(fields.chain(bytes.iter().copied())) {
            *place = byte;
            length += 1;
        }
        buffer.get(..length).unwrap_or_default()
    }

    fn read(item: &[u8]) -> Option<(Self, &[u8])> {
        let (header, bytes) = item.split_first_chunk::<PIECE_HEADER>()?;
        let [tag, p0, p1, n0, n1, s0, s1, s2, s3] = *header;
        let piece = Self {
            part: u16::from_le_bytes([p0, p1]),
            parts: u16::from_le_bytes([n0, n1]),
            samples: u32::from_le_bytes([s0, s1, s2, s3]),
        };
        (tag == PIECE_TAG).then_some((piece, bytes))
    }
}
