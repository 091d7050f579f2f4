//! A NOR flash that loses its power: a write stops within a word, an erase half-way.
//!
//! It holds users to the rules of such a flash: whole words at their places, each written once after an erase, or once
//! more where the power went within it. What a torn word or page holds is anything.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::Random;

/// Bytes that are written at once.
pub const WORD: usize = 4;
/// Bytes that are erased at once.
pub const PAGE: usize = 1024;

/// What a flash says when it could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no power any more.
    Power,
    /// The user broke a rule.
    Rule(&'static str),
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// A flash.
#[derive(Clone, Debug)]
pub struct Flash {
    bytes: Vec<u8>,
    /// Whether a word was written, wholly, since its last erase.
    written: Vec<bool>,
    /// Words written and pages erased until the power goes.
    left: Option<u64>,
    random: Random,
    /// Words written and pages erased.
    pub operations: u64,
    /// How often each page was erased.
    pub erases: Vec<u32>,
}

impl Flash {
    /// Of so many pages, erased.
    pub fn new(pages: usize) -> Self {
        Self {
            bytes: vec![0xFF; pages * PAGE],
            written: vec![false; pages * PAGE / WORD],
            left: None,
            random: Random::new(0),
            operations: 0,
            erases: vec![0; pages],
        }
    }

    /// The power goes after so many operations: within the next one. `seed` chooses what is left of that.
    pub fn cut_after(&mut self, operations: u64, seed: u64) {
        self.left = Some(operations);
        self.random = Random::new(seed);
    }

    /// The power is back.
    pub fn power(&mut self) {
        self.left = None;
    }

    /// Counts an operation; false when the power goes within it.
    fn proceed(&mut self) -> Result<bool, Fault> {
        match &mut self.left {
            Some(0) => {
                self.left = Some(u64::MAX);
                Ok(false)
            }
            Some(u64::MAX) => Err(Fault::Power),
            left => {
                if let Some(left) = left {
                    *left -= 1;
                }
                self.operations += 1;
                Ok(true)
            }
        }
    }

    fn range(&self, from: u32, to: u32, step: usize, rule: &'static str) -> Result<std::ops::Range<usize>, Fault> {
        let (from, to) = (from as usize, to as usize);
        let sound = from <= to && to <= self.bytes.len() && from.is_multiple_of(step) && to.is_multiple_of(step);
        if sound { Ok(from..to) } else { Err(Fault::Rule(rule)) }
    }
}

impl ErrorType for Flash {
    type Error = Fault;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let range = self.range(offset, offset + bytes.len() as u32, 1, "reads stay inside")?;
        if self.left == Some(u64::MAX) {
            return Err(Fault::Power);
        }
        bytes.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        for start in self.range(from, to, PAGE, "erases are of whole pages")?.step_by(PAGE) {
            let page = start..start + PAGE;
            if !self.proceed()? {
                // Cells on their way to ones, as far as each has come; none of them can be relied on.
                let mut bits = self.random.clone();
                self.bytes[page.clone()].iter_mut().for_each(|byte| *byte |= bits.bits() as u8);
                self.written[page.start / WORD..page.end / WORD].fill(true);
                return Err(Fault::Power);
            }
            self.bytes[page.clone()].fill(0xFF);
            self.written[page.start / WORD..page.end / WORD].fill(false);
            self.erases[start / PAGE] += 1;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let range = self.range(offset, offset + bytes.len() as u32, WORD, "writes are of whole words")?;
        for (start, word) in range.step_by(WORD).zip(bytes.chunks(WORD)) {
            if self.written[start / WORD] {
                return Err(Fault::Rule("a word is written once"));
            }
            let whole = self.proceed()?;
            for (place, byte) in self.bytes[start..].iter_mut().zip(word) {
                // Of a torn word some bits have become zeros, some have not yet.
                let kept = if whole { 0 } else { self.random.bits() as u8 };
                *place &= byte | kept;
            }
            self.written[start / WORD] = whole;
            if !whole {
                return Err(Fault::Power);
            }
        }
        Ok(())
    }
}
