//! Real boards: what there is firmware for, and where it, the models and the state lie in flash.
//!
//! Every region begins and ends with a sector that the chip erases as a whole, so that writing one leaves the others alone.
//! Two slots for models: one can be written while the board still runs the other.
//!
//! ```text
//! nrf52840dk   firmware 512K        model A 128K   model B 128K   -         state 64K
//! rp2040       firmware 1M          model A 128K   model B 128K   -         state 64K at the end of 2M
//! rp2350       firmware 1M          model A 128K   model B 128K   -         state 64K at the end of 4M
//! stm32f411    firmware 128K        model A 128K   model B 128K   state 128K           (4 × 16K, 64K, 3 × 128K)
//! ```

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
    /// The chip, as probe-rs names it.
    pub chip: &'static str,
    /// The board's flash; where it is a part of its own, probe-rs knows only how far its addresses go.
    pub flash: Region,
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
        model_bytes: 128 << 10,
        ram_bytes: 264 << 10,
        channels: 8,
        slots: 704,
        presets: &["tiny", "small"],
        floating_point: false,
    },
    chip: "RP2040",
    flash: Region::new(0x1000_0000, 2 * M),
    firmware: Region::new(0x1000_0000, M),
    models: [Region::new(0x1010_0000, 128 * K), Region::new(0x1012_0000, 128 * K)],
    state: Region::new(0x1000_0000 + 2 * M - 64 * K, 64 * K),
};

/// All of them.
pub const HARDWARE: [Hardware; 4] = [
    Hardware {
        machine: Machine {
            name: "nrf52840dk",
            processor: "Cortex-M4F",
            target: "thumbv7em-none-eabihf",
            model_address: 0x0008_0000,
            model_bytes: 128 << 10,
            ram_bytes: 256 << 10,
            channels: 8,
            slots: 704,
            presets: &["tiny", "small", "base"],
            floating_point: true,
        },
        chip: "nRF52840_xxAA",
        flash: Region::new(0, M),
        firmware: Region::new(0, 512 * K),
        models: [Region::new(0x0008_0000, 128 * K), Region::new(0x000A_0000, 128 * K)],
        state: Region::new(M - 64 * K, 64 * K),
    },
    RP2040,
    Hardware {
        machine: Machine {
            name: "rp2350",
            processor: "Cortex-M33",
            target: "thumbv8m.main-none-eabihf",
            ram_bytes: 520 << 10,
            presets: &["tiny", "small", "base"],
            floating_point: true,
            ..RP2040.machine
        },
        chip: "RP235x",
        flash: Region::new(0x1000_0000, 4 * M),
        state: Region::new(0x1000_0000 + 4 * M - 64 * K, 64 * K),
        ..RP2040
    },
    Hardware {
        machine: Machine {
            name: "stm32f411",
            processor: "Cortex-M4F",
            target: "thumbv7em-none-eabihf",
            model_address: 0x0802_0000,
            model_bytes: 128 << 10,
            ram_bytes: 128 << 10,
            channels: 4,
            slots: 704,
            presets: &["tiny", "small", "base"],
            floating_point: true,
        },
        chip: "STM32F411CEUx",
        flash: Region::new(0x0800_0000, 512 * K),
        firmware: Region::new(0x0800_0000, 128 * K),
        models: [Region::new(0x0802_0000, 128 * K), Region::new(0x0804_0000, 128 * K)],
        state: Region::new(0x0806_0000, 128 * K),
    },
];

// A model's region is said once for what runs it and once for what writes it.
const _: () = {
    let mut index = 0;
    while index < HARDWARE.len() {
        let Hardware { machine, models: [a, b], .. } = HARDWARE[index];
        assert!(a.start == machine.model_address as u64 && a.bytes == machine.model_bytes as u64 && a.bytes == b.bytes);
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

    /// What is in its flash, by name.
    pub fn regions(&self) -> [(&'static str, Region); 4] {
        let [a, b] = self.models;
        [("firmware", self.firmware), ("model A", a), ("model B", b), ("state", self.state)]
    }
}
