//! What goes where in a board's flash, and why it may not: pure, so that it is settled before anything is written.

use flowcast_core::slot::RECORD_BYTES;
use serde::Serialize;

use super::chip::Chip;
use super::image::Image;
use crate::hardware::{Hardware, Region};

/// One region of the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `firmware` (`vectors` where they lie apart), `model A`, `model B` or `state`.
    pub name: &'static str,
    /// Its first address.
    pub start: u64,
    /// How much it holds.
    pub bytes_available: u64,
    /// What is to be written there; none where it is left as it is.
    pub bytes: Option<u64>,
    /// Sectors that are erased for it.
    pub sectors: usize,
}

/// A layout, and every reason against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The board's regions, in their order in flash.
    pub places: Vec<Place>,
    /// One sentence each; nothing may be written while there is one.
    pub refused: Vec<String>,
}

/// Where a slot's record lies ([`flowcast_core::slot`]).
pub fn record(slot: Region) -> Region {
    let bytes = RECORD_BYTES as u64;
    Region { start: slot.end() - bytes, bytes }
}

/// Lays a model of so many bytes into a slot, and a firmware beside it.
pub fn lay_out(board: &Hardware, chip: &Chip, image: Option<&Image>, (slot, bytes): (usize, u64)) -> Layout {
    let mut refused = against_chip(board, chip);
    let slot = board.models[slot.min(1)];
    let model = Region { start: slot.start, bytes };
    let record = record(slot);
    if model.end() > record.start {
        refused.push(format!("found {bytes} bytes of model, expected at most {}", slot.bytes - record.bytes));
    }
    if let Some(image) = image {
        refused.extend(against_image(board, image));
    }
    let places = board
        .regions()
        .into_iter()
        .map(|(name, region)| {
            let written: Vec<Region> = match name {
                "vectors" | "firmware" => {
                    let parts = image.iter().flat_map(|image| image.regions());
                    parts.filter(|part| region.meets(*part)).collect()
                }
                _ if region == slot => vec![model, record],
                _ => vec![],
            };
            let mut sectors: Vec<u64> =
                written.iter().flat_map(|part| chip.sectors(*part)).map(|one| one.start).collect();
            sectors.sort_unstable();
            sectors.dedup();
            let bytes = match name {
                _ if written.is_empty() => None,
                _ if region == slot => Some(model.bytes),
                _ => Some(written.iter().map(|part| part.bytes).sum()),
            };
            Place { name, start: region.start, bytes_available: region.bytes, bytes, sectors: sectors.len() }
        })
        .collect();
    Layout { places, refused }
}

/// What the board's table and the chip's description disagree about.
fn against_chip(board: &Hardware, chip: &Chip) -> Vec<String> {
    let mut refused = Vec::new();
    let regions = board.regions();
    for (index, (name, region)) in regions.iter().enumerate() {
        for flash in [chip.flash, board.flash] {
            if !flash.holds(*region) {
                refused.push(format!("{name} lies at {region}, expected within the flash of {}, {flash}", chip.name));
                break;
            }
        }
        for address in [region.start, region.end()] {
            if let Some(sector) = chip.sector(address).filter(|sector| sector.start != address) {
                refused.push(format!("{name} at {region} parts the sector {sector} of {}", chip.name));
            }
        }
        for (other_name, other) in regions.iter().skip(index + 1) {
            if region.meets(*other) {
                refused.push(format!("{name} at {region} overlaps {other_name} at {other}"));
            }
        }
    }
    refused
}

/// Where an image leaves its region, and what it then lies on; else, where it looks for a model that is not there. One reason is
/// enough: an image of another board has all of them.
fn against_image(board: &Hardware, image: &Image) -> Option<String> {
    let own = |part: &Region| board.of_firmware().any(|region| region.holds(*part));
    let strays: Vec<Region> = image.regions().filter(|part| !own(part)).collect();
    if let [first, .., last] | [first @ last] = strays[..] {
        let parts = match strays.len() {
            1 => "a part at".to_owned(),
            count => format!("{count} parts within"),
        };
        let around = Region { start: first.start, bytes: last.end() - first.start };
        let within = board.of_firmware().map(|region| region.to_string()).collect::<Vec<_>>().join(" or ");
        let others = board.regions().into_iter().filter(|(_, region)| {
            strays.iter().any(|part| region.meets(*part)) && !board.of_firmware().any(|own| own == *region)
        });
        let overlapped: String = others.map(|(name, region)| format!("; it overlaps {name} at {region}")).collect();
        return Some(format!("firmware has {parts} {around}, expected within {within}{overlapped}"));
    }
    // What it takes for the model's region may hold both slots.
    let wrong = |model: &Region| model.start != board.models[0].start || !model.holds(board.models[0]);
    let model = image.model.filter(wrong)?;
    Some(format!("firmware looks for its model at {model}, expected {}", board.models[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::HARDWARE;

    const K: u64 = 1 << 10;

    fn image(start: u64, bytes: u64) -> Image {
        Image { parts: vec![(start, vec![0; bytes as usize])], model: None }
    }

    #[test]
    fn the_table_agrees_with_the_chips_that_probe_rs_knows() {
        for board in HARDWARE {
            let chip = Chip::named(board.chip).unwrap();
            let parts =
                board.of_firmware().zip([K, 100 * K]).map(|(region, bytes)| (region.start, vec![0; bytes as usize]));
            let image = Image { parts: parts.collect(), model: Some(board.models[0]) };
            let layout = lay_out(&board, &chip, Some(&image), (1, 40 * K));
            assert_eq!(layout.refused, [""; 0], "{}", board.machine.name);
            let found: Vec<_> = layout.places.iter().map(|place| (place.name, place.bytes, place.sectors)).collect();
            // Sectors of 4 KiB, but four of 16, one of 64 and three of 128 KiB on the STM32.
            let expected = if board.chip.starts_with("STM32") {
                vec![
                    ("vectors", Some(K), 1),
                    ("state", None, 0),
                    ("firmware", Some(100 * K), 2),
                    ("model A", None, 0),
                    ("model B", Some(40 * K), 1),
                ]
            } else {
                vec![("firmware", Some(K), 1), ("model A", None, 0), ("model B", Some(40 * K), 11), ("state", None, 0)]
            };
            assert_eq!(found, expected, "{}", board.machine.name);
        }
    }

    #[test]
    fn what_overflows_or_overlaps_is_refused_with_what_would_fit() {
        let board = Hardware::named("nrf52840dk").unwrap();
        let chip = Chip::named(board.chip).unwrap();
        let refused = |image: &Image, model| lay_out(&board, &chip, Some(image), (0, model)).refused;
        // The slot's last 32 bytes are its record's.
        assert_eq!(refused(&image(0, K), 224 * K - 32), [""; 0]);
        assert_eq!(refused(&image(0, K), 224 * K - 31), ["found 229345 bytes of model, expected at most 229344"]);
        assert_eq!(
            refused(&image(0x0007_F000, 8 * K), K),
            ["firmware has a part at 0x0007f000 to 0x00081000, expected within 0x00000000 to 0x00080000; \
              it overlaps model A at 0x00080000 to 0x000b8000"]
        );
        let looking = |start, bytes| refused(&Image { model: Some(Region { start, bytes }), ..image(0, K) }, K);
        assert_eq!(looking(0x0008_0000, 448 * K), [""; 0]);
        assert_eq!(
            looking(0x000B_8000, 224 * K),
            ["firmware looks for its model at 0x000b8000 to 0x000f0000, expected 0x00080000 to 0x000b8000"]
        );
        // Another board's image is so for one reason, however many parts it has.
        let parts = vec![(0x1000_0000, vec![0; 16]), (0x1000_0400, vec![0; 32])];
        assert_eq!(
            refused(&Image { parts, model: Some(Region { start: 0x1010_0000, bytes: K }) }, K),
            ["firmware has 2 parts within 0x10000000 to 0x10000420, expected within 0x00000000 to 0x00080000"]
        );
        // The vectors of the STM32 lie apart, and what is remembered between them and the program.
        let board = Hardware::named("stm32f411").unwrap();
        let image = image(0x0800_0000, 20 * K);
        assert_eq!(
            lay_out(&board, &Chip::named(board.chip).unwrap(), Some(&image), (0, K)).refused,
            ["firmware has a part at 0x08000000 to 0x08005000, expected within 0x08000000 to 0x08004000 or \
              0x08010000 to 0x08040000; it overlaps state at 0x08004000 to 0x08010000"]
        );
    }

    #[test]
    fn a_table_that_does_not_fit_its_chip_is_refused() {
        let good = Hardware::named("stm32f411").unwrap();
        let chip = Chip::named(good.chip).unwrap();
        let refused = |board: Hardware| lay_out(&board, &chip, None, (0, K)).refused;
        assert_eq!(refused(good), [""; 0]);
        let beyond = Region { start: 0x0806_0000, bytes: 256 * K };
        let [a, b] = good.models;
        assert_eq!(
            refused(Hardware { models: [a, beyond], ..good }),
            [
                "model B lies at 0x08060000 to 0x080a0000, expected within the flash of STM32F411CEUx, 0x08000000 to 0x08080000"
            ]
        );
        let within = Region { start: b.start + 64 * K, bytes: 64 * K };
        assert_eq!(
            refused(Hardware { models: [a, within], ..good }),
            ["model B at 0x08070000 to 0x08080000 parts the sector 0x08060000 to 0x08080000 of STM32F411CEUx"]
        );
        assert_eq!(
            refused(Hardware { models: [a, a], ..good }),
            ["model A at 0x08040000 to 0x08060000 overlaps model B at 0x08040000 to 0x08060000"]
        );
        assert!(Chip::named("no such chip").is_err());
    }
}
