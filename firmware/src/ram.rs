//! RAM as a flash, for a board that keeps it over a reset and has nothing better.

use core::convert::Infallible;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// Bytes that are erased at once.
pub const PAGE: usize = 4 << 10;

/// Some bytes of it, whole pages.
#[derive(Debug)]
pub struct Ram<'r>(pub &'r mut [u8]);

impl ErrorType for Ram<'_> {
    type Error = Infallible;
}

impl Ram<'_> {
    fn range(&mut self, from: u32, bytes: usize) -> &mut [u8] {
        let from = from as usize;
        self.0.get_mut(from..from.saturating_add(bytes)).unwrap_or_default()
    }
}

impl ReadNorFlash for Ram<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        let found = self.range(offset, bytes.len());
        bytes.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Ram<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.range(from, to.saturating_sub(from) as usize).fill(0xFF);
        Ok(())
    }

    /// As in a flash, bits only become zeros.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.range(offset, bytes.len()).iter_mut().zip(bytes).for_each(|(to, from)| *to &= from);
        Ok(())
    }
}
