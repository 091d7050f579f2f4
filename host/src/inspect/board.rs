//! The boards that there is firmware for, and whether one holds a model.

use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::Preset;
use serde::Serialize;

use super::cost::{Cost, state_bytes};
use crate::emulate::machine::{MACHINES, Machine};

/// A board that there is firmware for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    machine: Machine,
    /// Bytes for the stack and everything static that is no forecaster; `flowcast emulate` prints what is in use.
    other_bytes: usize,
    /// Instructions of one `observe` for each multiply-accumulate that [`Cost`] counts, by preset and form of the
    /// weights, as `flowcast emulate MODEL.flow DATA.csv --json` measured them: `instructions_per_observe.max`, one
    /// channel of 10-minute samples. A preset that was not measured has none.
    instructions_per_mac: &'static [(&'static str, Numeric, f64)],
}

/// What `flowcast emulate` measured on each of [`MACHINES`], in their order.
const BOARDS: [Board; MACHINES.len()] = [
    Board {
        machine: MACHINES[0],
        other_bytes: 16 << 10,
        instructions_per_mac: &[
            ("tiny", Numeric::I8, 6.573),
            ("tiny", Numeric::F32, 8.160),
            ("small", Numeric::I8, 3.833),
            ("small", Numeric::F32, 5.914),
            ("base", Numeric::I8, 2.257),
            ("base", Numeric::F32, 4.440),
        ],
    },
    Board {
        machine: MACHINES[1],
        other_bytes: 16 << 10,
        instructions_per_mac: &[
            ("tiny", Numeric::I8, 83.647),
            ("tiny", Numeric::F32, 174.621),
            ("small", Numeric::I8, 48.347),
            ("small", Numeric::F32, 149.713),
            ("base", Numeric::I8, 26.979),
        ],
    },
    Board {
        machine: MACHINES[2],
        other_bytes: 16 << 10,
        instructions_per_mac: &[
            ("tiny", Numeric::I8, 6.573),
            ("tiny", Numeric::F32, 8.160),
            ("small", Numeric::I8, 3.833),
            ("small", Numeric::F32, 5.914),
            ("base", Numeric::I8, 2.257),
            ("base", Numeric::F32, 4.440),
        ],
    },
    Board {
        machine: MACHINES[3],
        other_bytes: 16 << 10,
        instructions_per_mac: &[
            ("tiny", Numeric::I8, 6.217),
            ("tiny", Numeric::F32, 7.809),
            ("small", Numeric::I8, 3.675),
            ("small", Numeric::F32, 5.832),
            ("base", Numeric::I8, 2.193),
            ("base", Numeric::F32, 4.403),
        ],
    },
    Board {
        machine: MACHINES[4],
        other_bytes: 12 << 10,
        instructions_per_mac: &[("tiny", Numeric::I8, 135.007), ("tiny", Numeric::F32, 283.215)],
    },
];

impl Board {
    /// The board of that name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn named(name: &str) -> Result<Board, String> {
        let names = BOARDS.map(|board| board.machine.name).join(", ");
        BOARDS
            .into_iter()
            .find(|board| board.machine.name == name)
            .ok_or_else(|| format!("found {name:?}, expected one of {names}"))
    }
}

/// Whether a board holds a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BoardReport {
    /// The board.
    pub name: &'static str,
    /// Whether it does.
    pub fits: bool,
    /// Why not, one sentence each.
    pub refused: Vec<String>,
    /// Bytes of the model in its region of flash.
    pub flash_bytes: usize,
    /// Bytes of that region.
    pub flash_available_bytes: usize,
    /// Bytes of RAM that the board's firmware takes at most, stack and all: its forecaster has room for as many channels
    /// and slots as it was built for, whatever the model has.
    pub ram_bytes: usize,
    /// Bytes of RAM that it may take.
    pub ram_available_bytes: usize,
    /// Estimated from the multiply-accumulates; none where nothing was measured.
    pub instructions_per_observe: Option<u64>,
}

impl Board {
    /// Whether it holds a model.
    pub fn report(&self, header: &Header, preset: &Preset, cost: &Cost) -> BoardReport {
        let Machine { channels, slots, ram_bytes: ram_available_bytes, .. } = self.machine;
        let ram_bytes = state_bytes(preset, channels, slots) + self.other_bytes;
        let mut refused = self.machine.refuses(header, preset);
        if ram_bytes > ram_available_bytes {
            refused.push(format!("found {ram_bytes} bytes of RAM, expected at most {ram_available_bytes}"));
        }
        let ratio = self
            .instructions_per_mac
            .iter()
            .find(|(name, numeric, _)| *name == preset.name && *numeric == header.numeric);
        BoardReport {
            name: self.machine.name,
            fits: refused.is_empty(),
            refused,
            flash_bytes: header.length(),
            flash_available_bytes: self.machine.model_bytes,
            ram_bytes,
            ram_available_bytes,
            instructions_per_observe: ratio.map(|(_, _, ratio)| (ratio * cost.macs_per_observe as f64).round() as u64),
        }
    }
}
