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
    /// Bytes of RAM that the firmware's memory map has.
    ram_bytes: usize,
    /// Bytes for the stack and everything static that is no forecaster; `flowcast emulate` prints what is in use.
    other_bytes: usize,
    /// The firmware's capacities (`firmware/src/bin/emulator.rs`).
    channels: usize,
    slots: usize,
    /// Instructions of one `observe` for each multiply-accumulate that [`Cost`] counts, by preset and form of the
    /// weights, as `flowcast emulate MODEL.flow DATA.csv --json` measured them: `instructions_per_observe.max`, one
    /// channel of 10-minute samples. A preset that was not measured has none.
    instructions_per_mac: &'static [(&'static str, Numeric, f64)],
}

/// Every board; the machines are those of `flowcast emulate`.
const BOARDS: [Board; 1] = [Board {
    machine: MACHINES[0],
    ram_bytes: 256 << 10,
    other_bytes: 16 << 10,
    channels: 8,
    slots: 704,
    instructions_per_mac: &[
        ("tiny", Numeric::F32, 7.864),
        ("small", Numeric::F32, 5.720),
        ("base", Numeric::F32, 4.432),
        ("tiny", Numeric::I8, 9.791),
        ("small", Numeric::I8, 7.698),
        ("base", Numeric::I8, 6.492),
    ],
}];

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
        let flash_bytes = header.length();
        let ram_bytes = state_bytes(preset, self.channels, self.slots) + self.other_bytes;
        let refused = [
            (flash_bytes, self.machine.model_bytes, "bytes of model"),
            (ram_bytes, self.ram_bytes, "bytes of RAM"),
            (header.channels.into(), self.channels, "channels"),
            (header.seasons.capacity(), self.slots, "slots of the seasonal memory"),
        ]
        .into_iter()
        .filter(|(found, most, _)| found > most)
        .map(|(found, most, what)| format!("found {found} {what}, expected at most {most}"))
        .collect::<Vec<_>>();
        let ratio = self
            .instructions_per_mac
            .iter()
            .find(|(name, numeric, _)| *name == preset.name && *numeric == header.numeric);
        BoardReport {
            name: self.machine.name,
            fits: refused.is_empty(),
            refused,
            flash_bytes,
            flash_available_bytes: self.machine.model_bytes,
            ram_bytes,
            ram_available_bytes: self.ram_bytes,
            instructions_per_observe: ratio.map(|(_, _, ratio)| (ratio * cost.macs_per_observe as f64).round() as u64),
        }
    }
}
