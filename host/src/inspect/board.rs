//! The boards that there is firmware for, and whether one holds a model.

use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::Preset;
use serde::Serialize;

use super::cost::{Cost, state_bytes};
use super::power::{Power, Work};
use crate::emulate::machine::{MACHINES, Machine};
use crate::hardware::{HARDWARE, Hardware};

/// A board that there is firmware for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    machine: Machine,
    /// How often it holds the forecaster's state: a station has room for a snapshot.
    states: usize,
    /// Bytes for the stack and everything static that is no forecaster; `flowcast emulate` prints what is in use.
    other_bytes: usize,
    /// What its processor takes; a preset that was not measured has nothing.
    taken: &'static [Taken],
}

/// Every board, as [`MACHINES`] and [`HARDWARE`] have them.
const BOARDS: [Board; MACHINES.len() + HARDWARE.len()] = [
    Board::new(MACHINES[0], &ARMV7EM),
    Board::new(MACHINES[1], &CORTEX_M3),
    Board::new(MACHINES[2], &ARMV7EM),
    Board::new(MACHINES[3], &CORTEX_M33),
    // 11 KiB of stack, and a little.
    Board { other_bytes: 11_520, ..Board::new(MACHINES[4], &CORTEX_M0) },
    Board::station(HARDWARE[0].machine, &ARMV7EM),
    // Cortex-M0+ has the instructions of Cortex-M0.
    Board::station(HARDWARE[1].machine, &CORTEX_M0),
    Board::station(HARDWARE[2].machine, &CORTEX_M33),
    Board::station(HARDWARE[3].machine, &ARMV7EM),
];

/// What one preset takes in one form, as `flowcast bench --board NAME --preset PRESET --numeric FORM` prints it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Taken {
    preset: &'static str,
    numeric: Numeric,
    /// Instructions of one `observe` for each multiply-accumulate that [`Cost`] counts, the blocks' attention aside.
    observe: f64,
    /// The same of that attention: its norm, its projections and its state.
    attention: f64,
    /// The same of every target's whole forecast.
    forecast: f64,
    /// Instructions more, of an `observe` for each target and of each step of its forecast, where the board adapts forecasts
    /// (`flowcast bench --adapted`, less the same without).
    adaptation: [f64; 2],
    /// Cycles of an instruction, at least and at most, where there is a table (`crate::bench::cycles`).
    cycles: Option<[f64; 2]>,
}

impl Taken {
    const fn new(
        preset: &'static str,
        numeric: Numeric,
        observe: f64,
        attention: f64,
        forecast: f64,
        adaptation: [f64; 2],
        cycles: Option<[f64; 2]>,
    ) -> Self {
        Self { preset, numeric, observe, attention, forecast, adaptation, cycles }
    }

    /// Instructions of one `observe`.
    fn of_observe(&self, cost: &Cost) -> f64 {
        let attention = cost.macs_of_block_attention as f64;
        self.observe * (cost.macs_per_observe as f64 - attention)
            + self.attention * attention
            + self.adaptation[0] * cost.adapted_targets as f64
    }

    /// Instructions of a whole forecast of every target.
    fn of_forecast(&self, cost: &Cost) -> f64 {
        self.forecast * cost.macs_per_forecast as f64 + self.adaptation[1] * cost.adapted_steps as f64
    }
}

/// Cortex-M4F; the M7 runs the same instructions.
const ARMV7EM: [Taken; 6] = [
    Taken::new("tiny", Numeric::I8, 8.757, 5.520, 25.991, [11963.0, 1004.4], Some([1.351, 1.551])),
    Taken::new("tiny", Numeric::F32, 8.619, 6.415, 17.941, [6059.0, 615.1], Some([1.665, 2.222])),
    Taken::new("small", Numeric::I8, 4.709, 3.593, 17.817, [11961.0, 1004.3], Some([1.391, 1.572])),
    Taken::new("small", Numeric::F32, 6.151, 5.140, 13.137, [6059.0, 615.1], Some([1.721, 2.321])),
    Taken::new("base", Numeric::I8, 2.105, 2.307, 11.308, [11957.0, 1004.3], Some([1.472, 1.606])),
    Taken::new("base", Numeric::F32, 4.220, 4.266, 9.436, [6078.0, 620.3], Some([1.813, 2.457])),
];
const CORTEX_M3: [Taken; 3] = [
    Taken::new("tiny", Numeric::I8, 11.930, 8.849, 29.619, [13588.0, 1293.0], Some([1.404, 1.664])),
    Taken::new("small", Numeric::I8, 7.354, 6.257, 20.902, [13594.0, 1293.3], Some([1.447, 1.667])),
    Taken::new("base", Numeric::I8, 4.407, 4.633, 13.963, [13605.0, 1294.0], Some([1.509, 1.665])),
];
/// By the Cortex-M4's table, as `flowcast bench` has it (`crate::bench::cycles`).
const CORTEX_M33: [Taken; 6] = [
    Taken::new("tiny", Numeric::I8, 9.372, 5.691, 27.086, [12974.0, 1126.2], Some([1.312, 1.520])),
    Taken::new("tiny", Numeric::F32, 8.158, 6.192, 17.344, [5147.0, 469.1], Some([1.721, 2.241])),
    Taken::new("small", Numeric::I8, 5.023, 3.694, 18.565, [12974.0, 1126.1], Some([1.354, 1.545])),
    Taken::new("small", Numeric::F32, 5.911, 5.009, 12.739, [5147.0, 469.1], Some([1.764, 2.338])),
    Taken::new("base", Numeric::I8, 2.223, 2.368, 11.753, [12975.0, 1126.2], Some([1.447, 1.590])),
    Taken::new("base", Numeric::F32, 4.152, 4.195, 9.203, [5166.0, 474.3], Some([1.833, 2.468])),
];
/// What a micro:bit has no room for by `--board mps2-an385 --cortex-m0`; cycles of a Cortex-M0+ at least, of an M0 at most.
const CORTEX_M0: [Taken; 3] = [
    Taken::new("tiny", Numeric::I8, 28.438, 24.052, 56.824, [35958.0, 2267.3], Some([1.334, 1.398])),
    Taken::new("small", Numeric::I8, 15.181, 15.844, 44.279, [35899.0, 2183.4], Some([1.300, 1.354])),
    Taken::new("base", Numeric::I8, 8.171, 10.679, 28.780, [35925.0, 2183.2], Some([1.244, 1.282])),
];

impl Board {
    const fn new(machine: Machine, taken: &'static [Taken]) -> Self {
        Self { machine, states: 1, other_bytes: STACK_BYTES + (4 << 10), taken }
    }

    const fn station(machine: Machine, taken: &'static [Taken]) -> Self {
        Self { states: 2, ..Self::new(machine, taken) }
    }

    /// Bytes of RAM that its firmware for a preset takes at most, stack and all.
    pub fn ram_bytes(&self, preset: &Preset, numeric: Numeric) -> usize {
        let Machine { channels, slots, .. } = self.machine;
        self.states * state_bytes(preset, numeric, channels, slots, true) + self.other_bytes
    }

    /// A real one.
    pub fn of(hardware: &Hardware) -> Board {
        let named = BOARDS.into_iter().find(|board| board.machine.name == hardware.machine.name);
        named.unwrap_or(Board::station(hardware.machine, &[]))
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
    /// Of these, the forecaster's; the rest is for the stack, on real boards a snapshot, and all else.
    pub state_bytes: usize,
    /// Bytes of flash that the firmware takes at most, beside the model's region.
    pub program_bytes: usize,
    /// Estimated from the multiply-accumulates; none where nothing was measured.
    pub instructions_per_observe: Option<u64>,
    /// The same for a whole forecast of every target.
    pub instructions_per_forecast: Option<u64>,
    /// Cycles of one observe with memory that never waits, at least and at most; none where they were not counted.
    pub cycles_per_observe: Option<[u64; 2]>,
    /// What it takes of a battery; none for an emulated board.
    pub power: Option<Power>,
}

/// Bytes of flash that no image for an emulated board exceeds (the test `footprint` holds them to it).
pub const fn program_bytes(numeric: Numeric) -> usize {
    match numeric {
        Numeric::F32 => 122 << 10,
        Numeric::I8 => 126 << 10,
    }
}

/// Bytes of flash that no image for a real board exceeds, signatures aside (the test `images` holds them to it).
pub const STATION_BYTES: usize = 196 << 10;

/// Bytes that an image for any board but the micro:bit reserves for its stack (`firmware/memory/*.x`); the test `watchdog`
/// holds what it takes of them below half.
pub const STACK_BYTES: usize = 32 << 10;

impl Board {
    /// Whether it holds a model, and what that costs it with so many milliseconds between samples.
    pub fn report(&self, header: &Header, preset: &Preset, cost: &Cost, interval_ms: u64) -> BoardReport {
        let Machine { channels, slots, ram_bytes: ram_available_bytes, .. } = self.machine;
        let state_bytes = state_bytes(preset, header.numeric, channels, slots, true);
        let ram_bytes = self.ram_bytes(preset, header.numeric);
        let mut refused = self.machine.refuses(header, preset);
        if ram_bytes > ram_available_bytes {
            refused.push(format!("found {ram_bytes} bytes of RAM, expected at most {ram_available_bytes}"));
        }
        let taken = self.taken.iter().find(|taken| taken.preset == preset.name && taken.numeric == header.numeric);
        let counted = |instructions: f64| instructions.round() as u64;
        let observe = taken.map(|taken| counted(taken.of_observe(cost)));
        let most_cycles = |instructions: fn(&Taken, &Cost) -> f64| {
            taken.and_then(|taken| taken.cycles.map(|[_, most]| most * instructions(taken, cost)))
        };
        let work = Work {
            observe_cycles: most_cycles(Taken::of_observe),
            forecast_cycles: most_cycles(Taken::of_forecast),
            channels: header.channels.into(),
            targets: header.targets.into(),
            values: usize::from(header.horizon) * header.quantiles.len(),
            quantiles: header.quantiles.len(),
            interval_ms,
        };
        BoardReport {
            name: self.machine.name,
            fits: refused.is_empty(),
            refused,
            flash_bytes: header.length(),
            flash_available_bytes: self.machine.model_bytes,
            ram_bytes,
            ram_available_bytes,
            state_bytes,
            program_bytes: if HARDWARE.iter().any(|hardware| hardware.machine.name == self.machine.name) {
                STATION_BYTES
            } else {
                program_bytes(header.numeric)
            },
            instructions_per_observe: observe,
            instructions_per_forecast: taken.map(|taken| counted(taken.of_forecast(cost))),
            cycles_per_observe: observe
                .zip(taken.and_then(|taken| taken.cycles))
                .map(|(observe, cycles)| cycles.map(|cycles| (cycles * observe as f64).round() as u64)),
            power: Power::of(self.machine.name, &work),
        }
    }
}
