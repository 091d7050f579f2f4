//! The boards that there is firmware for, and whether one holds a model.

use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::Preset;
use serde::Serialize;

use super::cost::{Cost, state_bytes};
use crate::emulate::machine::{MACHINES, Machine};
use crate::hardware::{HARDWARE, Hardware};

/// A board that there is firmware for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    machine: Machine,
    /// Bytes for the stack and everything static that is no forecaster; `flowcast emulate` prints what is in use.
    other_bytes: usize,
    /// As `flowcast emulate MODEL.flow DATA.csv --json` measured them: `instructions_per_observe.max`, one channel of
    /// 10-minute samples. A preset that was not measured has none.
    instructions_per_mac: &'static Ratios,
}

/// Every board, as [`MACHINES`] and [`HARDWARE`] have them.
const BOARDS: [Board; MACHINES.len() + HARDWARE.len()] = [
    Board::new(MACHINES[0], &ARMV7EM),
    Board::new(MACHINES[1], &CORTEX_M3),
    Board::new(MACHINES[2], &ARMV7EM),
    Board::new(MACHINES[3], &CORTEX_M33),
    Board { other_bytes: 10 << 10, ..Board::new(MACHINES[4], &CORTEX_M0) },
    Board::new(HARDWARE[0].machine, &ARMV7EM),
    // Cortex-M0+ has the instructions of Cortex-M0.
    Board::new(HARDWARE[1].machine, &CORTEX_M0),
    Board::new(HARDWARE[2].machine, &CORTEX_M33),
    Board::new(HARDWARE[3].machine, &ARMV7EM),
];

/// Instructions of one `observe` for each multiply-accumulate that [`Cost`] counts, by preset and form of the weights.
type Ratios = [(&'static str, Numeric, f64)];

/// Cortex-M4F and M7 run the same instructions.
const ARMV7EM: [(&str, Numeric, f64); 6] = [
    ("tiny", Numeric::I8, 8.155),
    ("tiny", Numeric::F32, 7.708),
    ("small", Numeric::I8, 4.654),
    ("small", Numeric::F32, 5.634),
    ("base", Numeric::I8, 2.646),
    ("base", Numeric::F32, 4.242),
];
const CORTEX_M3: [(&str, Numeric, f64); 3] =
    [("tiny", Numeric::I8, 11.512), ("small", Numeric::I8, 7.548), ("base", Numeric::I8, 5.266)];
const CORTEX_M33: [(&str, Numeric, f64); 6] = [
    ("tiny", Numeric::I8, 9.075),
    ("tiny", Numeric::F32, 7.368),
    ("small", Numeric::I8, 5.177),
    ("small", Numeric::F32, 5.542),
    ("base", Numeric::I8, 2.915),
    ("base", Numeric::F32, 4.183),
];
const CORTEX_M0: [(&str, Numeric, f64); 1] = [("tiny", Numeric::I8, 25.685)];

impl Board {
    const fn new(machine: Machine, instructions_per_mac: &'static Ratios) -> Self {
        Self { machine, other_bytes: 16 << 10, instructions_per_mac }
    }

    /// A real one.
    pub fn of(hardware: &Hardware) -> Board {
        let named = BOARDS.into_iter().find(|board| board.machine.name == hardware.machine.name);
        named.unwrap_or(Board::new(hardware.machine, &[]))
    }

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
        let ram_bytes = state_bytes(preset, header.numeric, channels, slots) + self.other_bytes;
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
