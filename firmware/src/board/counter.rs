//! Counts instructions exactly, on the emulator only.
//!
//! Under `-icount shift=7` QEMU lets 2⁷ = 128 ns of the board's time pass for each instruction. A timer of at least 16 MHz
//! has a tick in at most 62.5 ns, less than half of that: two readings with n instructions between them differ by 128 n ns
//! less than one tick up or down, and rounding to whole instructions is exact. With another clock (real hardware counts
//! cycles) there is no count.

use super::memory;
use crate::meter::Meter;

/// A timer that the board has.
pub trait Timer {
    /// Picoseconds of a tick, at most 62,500.
    const TICK_PS: u32;

    /// Starts anew and returns the first reading.
    fn start(&mut self) -> u32;

    /// Ticks since a reading; `None` if there were more than the timer holds.
    fn since(&mut self, before: u32) -> Option<u32>;
}

const INSTRUCTION_PS: u64 = 128_000;

/// A [`Meter`] over a timer.
#[derive(Debug)]
pub struct Counter<TIMER> {
    timer: TIMER,
    /// Instructions that the two readings take by themselves; `None`: the clock is not the one described.
    overhead: Option<u32>,
}

impl<TIMER: Timer> Counter<TIMER> {
    /// Measures what measuring takes, and checks the clock on loops of known length.
    pub fn new(timer: TIMER) -> Self {
        const { assert!(2 * TIMER::TICK_PS as u64 <= INSTRUCTION_PS) };
        let mut counter = Self { timer, overhead: Some(0) };
        let overhead = counter.instructions(|| {});
        let (short, long) = (counter.spin(1_000), counter.spin(51_000));
        let turns = match (short, long) {
            (Some(short), Some(long)) => long.wrapping_sub(short),
            _ => 0,
        };
        counter.overhead = overhead.filter(|_| turns == 100_000);
        counter
    }

    /// Instructions of a loop of two for each turn, and of a few around it that are the same for any number of turns:
    /// for that it is one piece of code.
    #[inline(never)]
    fn spin(&mut self, turns: u32) -> Option<u32> {
        // See `cortex_m::asm::delay`: what it takes for cycles are turns.
        self.instructions(|| cortex_m::asm::delay(turns))
    }
}

impl<TIMER: Timer> Meter for Counter<TIMER> {
    #[inline(always)]
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32> {
        let before = self.timer.start();
        work();
        let ticks = self.timer.since(before)?;
        let picoseconds = u64::from(ticks) * u64::from(TIMER::TICK_PS);
        let instructions = (picoseconds + INSTRUCTION_PS / 2) / INSTRUCTION_PS;
        (instructions as u32).checked_sub(self.overhead?)
    }

    fn ram_bytes(&self) -> u32 {
        memory::static_bytes()
    }

    fn stack_bytes(&self) -> u32 {
        memory::stack_bytes()
    }
}
