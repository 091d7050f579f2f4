//! A firmware image as it lies in flash: the parts of an ELF file that are loaded.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use object::elf::{EM_ARM, FileHeader32, PT_LOAD};
use object::read::elf::{ElfFile32, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _};

use crate::file;
use crate::hardware::Region;

/// What is written for a firmware.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Where each part goes, and its bytes.
    pub parts: Vec<(u64, Vec<u8>)>,
    /// Where the firmware looks for its first model, if it says so.
    pub model: Option<Region>,
}

impl Image {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// It is no ELF file for ARM, or nothing in it is loaded.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read(path)?;
        Self::parse(&bytes).with_context(|| path.display().to_string())
    }

    /// Reads the bytes of an ELF file.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let elf: ElfFile32<'_, Endianness> = ElfFile32::parse(bytes).context("expected a 32-bit ELF file")?;
        let endian = elf.endian();
        let header: &FileHeader32<_> = elf.elf_header();
        if header.e_machine(endian) != EM_ARM {
            bail!("found a program for machine {}, expected ARM ({})", header.e_machine(endian).0, EM_ARM.0);
        }
        let mut parts = Vec::new();
        for segment in elf.elf_program_headers() {
            let Ok(data) = segment.data(endian, bytes) else { bail!("a segment reaches beyond the end of the file") };
            // What is initialised in RAM lies in flash first: the physical address.
            if segment.p_type(endian) == PT_LOAD && !data.is_empty() {
                parts.push((u64::from(segment.p_paddr(endian)), data.to_vec()));
            }
        }
        if parts.is_empty() {
            bail!("found nothing to load in the ELF file");
        }
        parts.sort();
        let symbol = |name: &str| elf.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
        let model = symbol("_model_start").zip(symbol("_model_end"));
        let model = model.map(|(start, end)| Region { start, bytes: end.saturating_sub(start) });
        Ok(Self { parts, model })
    }

    /// Where its parts lie.
    pub fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        self.parts.iter().map(|(start, bytes)| Region { start: *start, bytes: bytes.len() as u64 })
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.regions().map(|region| region.bytes).sum()
    }
}
