//! Real boards: what there is firmware for, and where it, the models and the state lie in flash.
//!
//! Every region begins and ends with a sector that the chip erases as a whole, so that writing one leaves the others alone.
//! Models have two slots: a new one is written beside the one that the board runs (`flowcast_core::slot`).
//!
//! ```text
//! nrf52840dk   firmware 512K, model A 224K, model B 224K, state 64K
//! rp2040       firmware 1M, model A 480K, model B 480K, state 64K
//! rp2350       firmware 2M, model A 992K, model B 992K, state 64K
//! stm32f411    vectors 16K, state 48K, firmware 192K, model A 128K, model B 128K (sectors of 4 × 16K, 64K, 3 × 128K)
//! ```

use flowcast_core::slot::RECORD_BYTES;

use crate::emulate::machine::Machine;

/// Addresses in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first.
    pub start: u64,
    /// How many.
    pub bytes: u64,
}

impl Region {
    const fn new(start: u64, bytes: u64) -> Self {
        Self { start, bytes }
    }

    /// The first address beyond.
    pub const fn end(self) -> u64 {
        self.start + self.bytes
    }

    /// Whether all of `other` is in it.
    pub const fn holds(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Whether they have an address in common.
    pub const fn meets(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#010x} to {:#010x}", self.start, self.end())
    }
}

/// A board with a chip that `probe-rs` writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hardware {
    /// What its firmware holds memory for; the model's region is the first slot's.
    pub machine: Machine,
    /// The firmware's feature is `board-` and this.
    pub feature: &'static str,
    /// The chip, as probe-rs names it.
    pub chip: &'static str,
    /// The board's flash; where it is a part of its own, probe-rs knows only how far its addresses go.
    pub flash: Region,
    /// The vectors, where they do not lie at the program's start.
    pub vectors: Option<Region>,
    /// The program.
    pub firmware: Region,
    /// Slots for models.
    pub models: [Region; 2],
    /// What the board remembers across resets.
    pub state: Region,
}

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;

/// A Raspberry Pi Pico: flash of its own at 0x10000000.
const RP2040: Hardware = Hardware {
    machine: Machine {
        name: "rp2040",
        processor: "Cortex-M0+",
        target: "thumbv6m-none-eabi",
        model_address: 0x1010_0000,
        model_bytes: (480 << 10) - RECORD_BYTES,
        ram_bytes: 264 << 10,
        channels: 4,
        slots: 480,
        presets: &["tiny", "small"],
        floating_point: false,
    },
    feature: "pico",
    chip: "RP2040",
    flash: Region::new(0x1000_0000, 2 * M),
    vectors: None,
    firmware: Region::new(0x1000_0000, M),
    models: [Region::new(0x1010_0000, 480 * K), Region::new(0x1017_8000, 480 * K)],
    state: Region::new(0x101F_0000, 64 * K),
};

/// All of them.
pub const HARDWARE: [Hardware; 4] = [
    Hardware {
        machine: Machine {
            name: "nrf52840dk",
            processor: "Cortex-M4F",
            target: "thumbv7em-none-eabihf",
            model_address: 0x0008_0000,
            model_bytes: (224 << 10) - RECORD_BYTES,
            ram_bytes: 256 << 10,
            channels: 4,
            slots: 480,
            presets: &["tiny", "small", "base"],
            floating_point: true,
        },
        feature: "nrf52840dk",
        chip: "nRF52840_xxAA",
        flash: Region::new(0, M),
        vectors: None,
        firmware: Region::new(0, 512 * K),
        models: [Region::new(0x0008_0000, 224 * K), Region::new(0x000B_8000, 224 * K)],
        state: Region::new(0x000F_0000, 64 * K),
    },
    RP2040,
    Hardware {
        machine: Machine {
            name: "rp2350",
            processor: "Cortex-M33",
            target: "thumbv8m.main-none-eabihf",
            model_address: 0x1020_0000,
            model_bytes: (992 << 10) - RECORD_BYTES,
            ram_bytes: 512 << 10,
            presets: &["tiny", "small", "base"],
            floating_point: true,
            ..RP2040.machine
        },
        feature: "pico2",
        chip: "RP235x",
        flash: Region::new(0x1000_0000, 4 * M),
        firmware: Region::new(0x1000_0000, 2 * M),
        models: [Region::new(0x1020_0000, 992 * K), Region::new(0x102F_8000, 992 * K)],
        state: Region::new(0x103F_0000, 64 * K),
        ..RP2040
    },
    Hardware {
        machine: Machine {
            name: "stm32f411",
            processor: "Cortex-M4F",
            target: "thumbv7em-none-eabihf",
            model_address: 0x0804_0000,
            model_bytes: (128 << 10) - RECORD_BYTES,
            ram_bytes: 128 << 10,
            channels: 2,
            slots: 480,
            presets: &["tiny", "small", "base"],
            floating_point: true,
        },
        feature: "stm32f411",
        chip: "STM32F411CEUx",
        flash: Region::new(0x0800_0000, 512 * K),
        vectors: Some(Region::new(0x0800_0000, 16 * K)),
        firmware: Region::new(0x0801_0000, 192 * K),
        models: [Region::new(0x0804_0000, 128 * K), Region::new(0x0806_0000, 128 * K)],
        state: Region::new(0x0800_4000, 48 * K),
    },
];

// A model's region is said once for what runs it and once for what writes it.
const _: () = {
    let mut index = 0;
    while index < HARDWARE.len() {
        let Hardware { machine, models: [a, b], .. } = HARDWARE[index];
        assert!(
            a.start == machine.model_address as u64
                && a.bytes == (machine.model_bytes + RECORD_BYTES) as u64
                && a.bytes == b.bytes
        );
        index += 1;
    }
};

impl Hardware {
    /// The board of that name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn named(name: &str) -> Result<Hardware, String> {
        HARDWARE.into_iter().find(|board| board.machine.name == name).ok_or_else(|| {
            let names = HARDWARE.map(|board| board.machine.name).join(", ");
            format!("no such board, expected one of: {names}")
        })
    }

    /// What is in its flash, by name, in the order of addresses.
    pub fn regions(&self) -> Vec<(&'static str, Region)> {
        let [a, b] = self.models;
        let vectors = self.vectors.map(|region| ("vectors", region));
        let others = [("firmware", self.firmware), ("model A", a), ("model B", b), ("state", self.state)];
        let mut regions: Vec<_> = vectors.into_iter().chain(others).collect();
        regions.sort_by_key(|(_, region)| region.start);
        regions
    }

    /// Where parts of its firmware may lie.
    pub fn of_firmware(&self) -> impl Iterator<Item = Region> + '_ {
        self.vectors.into_iter().chain([self.firmware])
    }
}
