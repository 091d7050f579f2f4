//! The images for real boards: each one builds, boots by its chip's rules, keeps off the regions of the model and of what
//! survives a reset, and holds no formatting and no allocator, and has
//! its stack below its data. Their sizes: `cargo test -p flowcast-tests --test images --
//! --nocapture`.

use flowcast::emulate::image::{self, With};
use flowcast::emulate::machine::{MACHINES, Machine};
use flowcast::hardware::{HARDWARE, Hardware};
use flowcast::inspect::board::{Board, STACK_BYTES, STATION_BYTES};
use flowcast_core::format::Numeric;
use flowcast_core::presets::Preset;
use flowcast_tests::BOARDS;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags};

/// Symbols that must not be linked, by a part of their name. Panics are not among them: they format nothing.
const FORBIDDEN: [&str; 6] = ["core::fmt", "4core3fmt", "__rust_alloc", "5alloc5alloc", "__aeabi_d", "__adddf3"];

/// A section's address, bytes and contents; the last is empty for what is no part of the file.
struct Section {
    name: String,
    address: u64,
    bytes: u64,
    data: Vec<u8>,
    loaded: bool,
}

struct Image {
    sections: Vec<Section>,
    symbols: Vec<(String, u64)>,
}

impl Image {
    fn build(hardware: &Hardware, program: &str, preset: &str, features: &[&str]) -> Self {
        let machine = Machine { name: hardware.feature, ..hardware.machine };
        let with = With { features, ..With::default() };
        let path = image::build_program(&machine, program, preset, Numeric::I8, with).expect("the firmware builds");
        let file = std::fs::read(path).unwrap();
        let elf = object::File::parse(&*file).unwrap();
        let allocated = |flags| match flags {
            SectionFlags::Elf { sh_flags, .. } => sh_flags.0 & object::elf::SHF_ALLOC.0 != 0,
            _ => false,
        };
        let sections = elf.sections().filter(|section| allocated(section.flags()) && section.size() > 0);
        Self {
            sections: sections
                .map(|section| Section {
                    name: section.name().unwrap().to_owned(),
                    address: section.address(),
                    bytes: section.size(),
                    data: section.data().unwrap_or_default().to_vec(),
                    loaded: section.file_range().is_some(),
                })
                .collect(),
            symbols: elf
                .symbols()
                .map(|symbol| {
                    (format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or(""))), symbol.address())
                })
                .collect(),
        }
    }

    fn section(&self, name: &str) -> &Section {
        self.sections.iter().find(|section| section.name == name).unwrap_or_else(|| panic!("a section {name}"))
    }

    fn symbol(&self, name: &str) -> u64 {
        self.symbols.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("a symbol {name}")).1
    }

    /// No formatting, no allocator, no double precision, and no place in a source file, which is what panics would format.
    fn holds_what_a_board_may(&self, board: &str) {
        let forbidden = |name: &str| FORBIDDEN.iter().any(|part| name.contains(part));
        let found: Vec<_> = self.symbols.iter().filter(|(name, _)| forbidden(name)).collect();
        assert!(found.is_empty(), "{board}: {found:?}");
        for section in self.sections.iter().filter(|section| section.loaded) {
            let place = section.data.windows(3).position(|bytes| bytes == b".rs");
            let around =
                |place: usize| String::from_utf8_lossy(&section.data[place.saturating_sub(60)..][..63]).into_owned();
            assert!(place.is_none(), "{board}: {} holds {:?}", section.name, place.map(around));
        }
    }

    /// What overflows the stack leaves RAM, and overwrites nothing.
    fn has_a_stack_below_its_data(&self, board: &str) {
        const RAM: u64 = 0x2000_0000;
        let [end, start] = ["_stack_end", "_stack_start"].map(|name| self.symbol(name));
        assert_eq!((end, start - end), (RAM, STACK_BYTES as u64), "{board}");
        let lowest = self.sections.iter().map(|section| section.address).filter(|address| *address >= RAM).min();
        assert!(lowest.is_some_and(|lowest| lowest >= start), "{board}: {lowest:x?}");
    }

    /// Bytes of flash and of RAM that the program takes.
    fn footprint(&self) -> (u64, u64) {
        let sum = |kept: &dyn Fn(&Section) -> bool| self.sections.iter().filter(|s| kept(s)).map(|s| s.bytes).sum();
        (sum(&|section| section.loaded), sum(&|section| section.address >= 0x2000_0000))
    }
}

/// The RP2040's boot ROM checks its second stage by this: CRC-32/MPEG-2 of 252 bytes (datasheet, 2.8.1.3.1).
const BOOT2_CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_MPEG_2);

#[test]
fn every_image_builds_boots_by_its_chips_rules_and_keeps_off_model_and_state() {
    for (hardware, program) in HARDWARE.iter().flat_map(|hardware| [(hardware, "station"), (hardware, "replay")]) {
        let board = hardware.feature;
        let image = Image::build(hardware, program, "small", &[]);
        let (flash, ram) = image.footprint();
        assert!(flash <= STATION_BYTES as u64, "{board}: {flash} bytes of flash, at most {STATION_BYTES} expected");
        println!(
            "{board:12} {program:8} small: {flash:>6} bytes of flash, {ram:>6} of RAM, what survives and the stack aside"
        );
        image.holds_what_a_board_may(board);
        image.has_a_stack_below_its_data(board);

        // The vectors: a stack in RAM, a start in flash, and the HardFault's.
        let vectors = image.section(".vector_table");
        let word = |index: usize| u32::from_le_bytes(vectors.data[4 * index..4 * index + 4].try_into().unwrap());
        assert_eq!(word(0) >> 28, 2, "{board}: the stack is in RAM");
        let text = image.section(".text");
        for vector in [1, 3] {
            let handler = u64::from(word(vector) & !1);
            assert!((text.address..text.address + text.bytes).contains(&handler), "{board}: vector {vector}");
        }
        let expected = match board {
            "nrf52840dk" => 0,
            "stm32f411" => 0x0800_0000,
            "pico" => 0x1000_0100,
            _ => 0x1000_0000,
        };
        assert_eq!(vectors.address, expected, "{board}");

        for (start, end) in [("_model_start", "_model_end"), ("_state_start", "_state_end")] {
            let region = image.symbol(start)..image.symbol(end);
            let inside = image.sections.iter().find(|s| s.address < region.end && s.address + s.bytes > region.start);
            assert!(inside.is_none(), "{board}: {} lies in {start}", inside.unwrap().name);
            assert!(!region.is_empty() && region.start % 4_096 == 0 && region.end % 4_096 == 0, "{board}: {region:x?}");
        }
        // Where `flowcast flash` puts a model, and what it keeps off.
        let [first, second] = hardware.models;
        let addresses = ["_model_start", "_model_end", "_state_start", "_state_end"].map(|name| image.symbol(name));
        assert_eq!(addresses, [first.start, second.end(), hardware.state.start, hardware.state.end()], "{board}");
        let ring = flowcast_firmware::store::RINGS.into_iter().find(|(name, _)| *name == board).unwrap().1;
        let state = image.symbol("_state_end") - image.symbol("_state_start");
        assert_eq!(state, ring.bytes as u64, "{board}: as `store` counts with");
        assert_eq!(state % ring.page_bytes as u64, 0);

        if board == "pico" {
            let boot2 = image.section(".boot2");
            assert_eq!((boot2.address, boot2.data.len()), (0x1000_0000, 256));
            let (stage, checksum) = boot2.data.split_last_chunk::<4>().unwrap();
            assert_eq!(BOOT2_CRC.checksum(stage), u32::from_le_bytes(*checksum));
        }
        if board == "pico2" {
            // Within the first 4 KiB, from its first marker (datasheet, 5.9.5) to its last.
            let block = image.section(".start_block");
            assert!(block.address + block.bytes <= 0x1000_1000);
            assert_eq!(block.data[..4], 0xFFFF_DED3_u32.to_le_bytes());
            assert_eq!(block.data[block.data.len() - 4..], 0xAB12_3579_u32.to_le_bytes());
        }
    }
}

/// The largest of what a sensor and a clock add, on the board with the largest program; and the largest state.
#[test]
fn sensors_clocks_and_presets_fit_too() {
    let [nrf52840dk, pico, _, stm32f411] = HARDWARE;
    for sensor in ["sensor-sht4x", "sensor-lis2dh12"] {
        let image = Image::build(&pico, "station", "small", &[sensor, "clock-ds3231"]);
        let (flash, _) = image.footprint();
        println!("pico, {sensor}, clock-ds3231: {flash} bytes of flash");
        assert!(flash <= STATION_BYTES as u64, "{sensor}: {flash}");
        image.holds_what_a_board_may(sensor);
    }
    let small = Preset::named("small").unwrap();
    let base = Preset::named("base").unwrap();
    for (hardware, preset) in [(nrf52840dk, base), (stm32f411, base), (nrf52840dk, small)] {
        let (_, ram) = Image::build(&hardware, "station", preset.name, &[]).footprint();
        let board = Board::of(&hardware);
        let said = board.ram_bytes(&preset, Numeric::I8);
        println!(
            "{}, {}: {} of RAM with its stack, `inspect` says {said}",
            hardware.feature,
            preset.name,
            ram as usize + STACK_BYTES
        );
        let found = ram as usize + STACK_BYTES;
        assert!((found..found + 4_096).contains(&said), "{}: found {found}, `inspect` says {said}", preset.name);
    }
}

#[test]
fn what_inspect_says_of_a_battery_is_what_stations_do() {
    use flowcast::inspect::power::{SAMPLES_PER_FORECAST, SUPPLIES};
    assert_eq!(SAMPLES_PER_FORECAST, flowcast_firmware::station::SAMPLES_PER_SNAPSHOT);
    assert_eq!(SUPPLIES.map(|supply| supply.board), HARDWARE.map(|hardware| hardware.machine.name));
}

#[test]
fn every_board_is_verified_for_its_target() {
    let emulated = MACHINES.map(|machine| (machine.name, machine.target));
    let real = HARDWARE.map(|board| (board.feature, board.machine.target));
    assert_eq!(BOARDS[..], [&emulated[..], &real[..]].concat());
}
