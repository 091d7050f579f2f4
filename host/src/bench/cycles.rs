//! Cycles of an instruction by the processor's own reference manual, with memory that never makes it wait.
//!
//! | | Cortex-M0 | M0+ | M3 | M4 |
//! |---|---|---|---|---|
//! | ARM's manual | DDI 0432C, table 3-1 | DDI 0484C, table 3-1 | DDI 0337I, table 3-1 | 100166, tables 3-1 and 7-1 |
//! | one register loaded, stored | 2 | 2 | 2; 1 right after another | the same |
//! | N registers | 1 + N | 1 + N | 1 + N | 1 + N |
//! | product; with a sum | 1 | 1 | 1; 2 | 1 |
//! | 64-bit product; with a sum | | | 3 to 5; 4 to 7 | 1 |
//! | division | | | 2 to 12 | 2 to 12 |
//! | branch taken, not taken | 3, 1 | 2, 1 | 1 + P, 1 | 1 + P, 1 |
//! | call | 4, by register 3 | 3, by register 2 | 1 + P | 1 + P |
//! | return by POP | 4 + N | 3 + N | 1 + N + P | 1 + N + P |
//! | IT | | | 0 to 1 | 0 to 1 |
//! | float: sum or product; both; division, root | | | | 1; 3; 14 |
//!
//! P, the refill of the pipeline, takes 1 to 3. A float that the next instruction waits for takes one more; the high end
//! counts that for each. N counts the program counter. M0 and M0+ are taken with the multiplier of one cycle.
//!
//! For Cortex-M33 and M7 ARM publishes no such table, and the M4's stands in. The M33's pipeline has three stages too, and its
//! products and sums of products take a cycle; the M7 issues up to two instructions at once and predicts branches, so that it takes
//! fewer.

use serde::Serialize;

use super::thumb::{Instruction, Kind};

/// A processor with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// Cortex-M0.
    M0,
    /// Cortex-M0+.
    M0Plus,
    /// Cortex-M3.
    M3,
    /// Cortex-M4, with its floating-point unit.
    M4,
    /// Cortex-M7, by the M4's table.
    M7,
    /// Cortex-M33, by the M4's table.
    M33,
}

/// Cycles, at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cycles {
    /// Fewest.
    pub low: u64,
    /// Most.
    pub high: u64,
}

impl std::ops::AddAssign for Cycles {
    fn add_assign(&mut self, other: Self) {
        self.low += other.low;
        self.high += other.high;
    }
}

/// An instruction as it ran.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which.
    pub instruction: Instruction,
    /// Whether another than the next one followed.
    pub jumped: bool,
    /// Whether the one before loaded or stored one register.
    pub after_access: bool,
}

impl Core {
    /// The tables that there are for the processor of a machine.
    pub fn of(processor: &str) -> &'static [Core] {
        match processor {
            // The same instructions on both.
            "Cortex-M0" => &[Core::M0, Core::M0Plus],
            "Cortex-M3" => &[Core::M3],
            "Cortex-M4F" => &[Core::M4],
            "Cortex-M7" => &[Core::M7],
            "Cortex-M33" => &[Core::M33],
            _ => &[],
        }
    }

    /// As ARM names it.
    pub fn name(self) -> &'static str {
        match self {
            Core::M0 => "Cortex-M0",
            Core::M0Plus => "Cortex-M0+",
            Core::M3 => "Cortex-M3",
            Core::M4 => "Cortex-M4F",
            Core::M7 => "M7 as an M4",
            Core::M33 => "M33 as an M4",
        }
    }

    /// Cycles of one instruction.
    pub fn cycles(self, step: Step) -> Cycles {
        match self {
            Core::M0 => exactly(self.small(step, 3, 4)),
            Core::M0Plus => exactly(self.small(step, 2, 3)),
            Core::M3 | Core::M4 | Core::M7 | Core::M33 => self.large(step),
        }
    }

    /// `branch` taken and `call` by an offset.
    fn small(self, Step { instruction, jumped, .. }: Step, branch: u64, call: u64) -> u64 {
        match instruction.kind {
            Kind::Load | Kind::Store => 2,
            Kind::LoadMany(registers) if jumped => call + u64::from(registers),
            Kind::LoadMany(registers) | Kind::StoreMany(registers) => 1 + u64::from(registers),
            Kind::Branch if jumped => branch,
            Kind::Call if instruction.bytes == 4 => call,
            Kind::Call => branch,
            Kind::System => call,
            _ => 1,
        }
    }

    fn large(self, Step { instruction, jumped, after_access }: Step) -> Cycles {
        let m3 = self == Core::M3;
        let mut cycles = match instruction.kind {
            Kind::Load | Kind::Store => between(if after_access { 1 } else { 2 }, 2),
            Kind::LoadMany(registers) | Kind::StoreMany(registers) => exactly(1 + u64::from(registers)),
            Kind::Multiply { sum: true } if m3 => exactly(2),
            Kind::Long { sum: false } if m3 => between(3, 5),
            Kind::Long { sum: true } if m3 => between(4, 7),
            Kind::Divide => between(2, 12),
            Kind::Table => exactly(2),
            Kind::Condition => between(0, 1),
            Kind::System => between(1, 2),
            Kind::Float => between(1, 2),
            Kind::FloatSum => between(3, 4),
            Kind::FloatDivide => exactly(14),
            Kind::FloatMovePair => exactly(2),
            _ => exactly(1),
        };
        if jumped {
            cycles += between(1, 3);
        }
        cycles
    }
}

const fn between(low: u64, high: u64) -> Cycles {
    Cycles { low, high }
}

const fn exactly(cycles: u64) -> Cycles {
    between(cycles, cycles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(first: u16, second: u16, jumped: bool) -> Step {
        Step { instruction: Instruction::read(first, second), jumped, after_access: false }
    }

    #[test]
    fn cycles_are_those_of_the_manuals() {
        for (first, second, jumped, [m0, m0_plus]) in [
            (0x4348, 0, false, [1, 1]),        // muls
            (0x6801, 0, false, [2, 2]),        // ldr
            (0xB5F0, 0, false, [6, 6]),        // push of 5
            (0xBDF0, 0, true, [4 + 5, 3 + 5]), // pop of 4 and the return
            (0xD1FE, 0, true, [3, 2]),         // bne
            (0xD1FE, 0, false, [1, 1]),
            (0xF000, 0xF800, true, [4, 3]), // bl
            (0x4788, 0, true, [3, 2]),      // blx
        ] {
            let step = step(first, second, jumped);
            assert_eq!(
                [Core::M0, Core::M0Plus].map(|core| core.cycles(step)),
                [m0, m0_plus].map(exactly),
                "{first:04x}"
            );
        }
        assert_eq!(Core::M4.cycles(step(0xFB2E, 0x8804, false)), exactly(1)); // smlad
        assert_eq!(Core::M4.cycles(step(0xD1FE, 0, true)), between(2, 4));
        assert_eq!(Core::M4.cycles(step(0xE8B1, 0x10C8, false)), exactly(5)); // ldm of 4
        assert_eq!(Core::M4.cycles(Step { after_access: true, ..step(0x6801, 0, false) }), between(1, 2));
        assert_eq!(Core::of("Cortex-M33")[0].cycles(step(0xFB2E, 0x8804, false)), exactly(1));
        assert_eq!(Core::M3.cycles(step(0xFB80, 0x2301, false)), between(3, 5)); // smull
    }
}
