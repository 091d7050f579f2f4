//! What probe-rs knows of a chip: where its flash is, and in which sectors it is erased.

use anyhow::{Context as _, Result, bail};
use probe_rs::config::{MemoryRegion, Registry};
use probe_rs::flashing::FlashAlgorithm;

use crate::hardware::Region;

/// A chip's flash.
#[derive(Debug)]
pub struct Chip {
    /// As probe-rs names it.
    pub name: String,
    /// The flash that it starts from.
    pub flash: Region,
    algorithm: FlashAlgorithm,
}

impl Chip {
    /// The chip of that name, from the descriptions that probe-rs carries.
    ///
    /// # Errors
    /// It has none, or none of flash.
    pub fn named(name: &str) -> Result<Self> {
        let target = Registry::from_builtin_families().get_target_by_name(name)?;
        let region = target.memory_map.iter().find_map(|region| match region {
            MemoryRegion::Nvm(region) if region.is_boot_memory() && !region.is_alias => Some(region),
            _ => None,
        });
        let region = region.with_context(|| format!("probe-rs knows no flash of {name}"))?;
        let flash = Region { start: region.range.start, bytes: region.range.end - region.range.start };
        let core = region.cores.first().with_context(|| format!("probe-rs knows no core of {name}"))?;
        for algorithm in target.flash_algorithms.iter().filter(|algorithm| algorithm.default) {
            let algorithm = FlashAlgorithm::assemble_from_raw_with_core(algorithm, core, &target)?;
            if algorithm.flash_properties.address_range.contains(&flash.start) {
                return Ok(Self { name: name.to_owned(), flash, algorithm });
            }
        }
        bail!("probe-rs knows no way to write the flash of {name}")
    }

    /// The sector that an address is in; `None` outside the flash.
    pub fn sector(&self, address: u64) -> Option<Region> {
        let sector = self.algorithm.sector_info(address)?;
        Some(Region { start: sector.base_address, bytes: sector.size })
    }

    /// Sectors from the one that holds the region's first byte to the one that holds its last.
    pub fn sectors(&self, region: Region) -> Vec<Region> {
        let first = self.sector(region.start);
        std::iter::successors(first, |sector| self.sector(sector.end()))
            .take_while(|sector| sector.start < region.end())
            .collect()
    }
}
