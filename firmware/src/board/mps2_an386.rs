//! ARM MPS2 with the AN386 image, a Cortex-M4F, as `qemu-system-arm -machine mps2-an386` emulates it.

use core::convert::Infallible;

use cortex_m::peripheral::{SYST, syst::SystClkSource};
use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};
use embedded_io::{ErrorType, Read, Write};

use super::{memory, register::mps2};
use crate::meter::Meter;

/// UART0, a CMSDK APB UART: one byte in each direction and no queue, polled.
#[derive(Debug)]
pub struct Uart(mps2::Uart);

// Word offsets and bits of the CMSDK APB UART (ARM DDI 0479, table 4-2).
const DATA: usize = 0;
const STATE: usize = 1;
const CONTROL: usize = 2;
const DIVIDER: usize = 4;
const TRANSMIT_FULL: u32 = 1 << 0;
const RECEIVE_FULL: u32 = 1 << 1;
const TRANSMIT_ENABLE: u32 = 1 << 0;
const RECEIVE_ENABLE: u32 = 1 << 1;

impl Uart {
    /// Switches the UART on at 25 MHz / 16, the fastest it goes; the emulator does not pace it.
    pub fn new(mut registers: mps2::Uart) -> Self {
        registers.write::<DIVIDER>(16);
        registers.write::<CONTROL>(TRANSMIT_ENABLE | RECEIVE_ENABLE);
        Self(registers)
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else {
            return Ok(0);
        };
        while self.0.read::<STATE>() & RECEIVE_FULL == 0 {}
        *first = self.0.read::<DATA>() as u8;
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while self.0.read::<STATE>() & TRANSMIT_FULL != 0 {}
            self.0.write::<DATA>(byte.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.0.read::<STATE>() & TRANSMIT_FULL != 0 {}
        Ok(())
    }
}

/// The board's first user LED.
#[derive(Debug)]
pub struct Led(mps2::FpgaIo);

impl Led {
    /// Off.
    pub fn new(mut registers: mps2::FpgaIo) -> Self {
        registers.write::<0>(0);
        Self(registers)
    }
}

impl PinErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.write::<0>(0);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.write::<0>(1);
        Ok(())
    }
}

/// Counts instructions exactly, on the emulator only.
///
/// Under `-icount shift=7` QEMU lets 2⁷ = 128 ns of the board's time pass for each instruction. SysTick counts this
/// board's 25 MHz, one tick in 40 ns, so an instruction is 3.2 ticks. Two readings with n instructions between them
/// differ by 3.2·n less than one tick up or down, and rounding to whole instructions is exact. 24 bits of ticks hold
/// 5.2 million instructions; beyond that, or with another clock (real hardware counts cycles), there is no count.
pub struct Counter {
    systick: SYST,
    /// Instructions that the two readings take by themselves; `None`: the clock is not the one described.
    overhead: Option<u32>,
}

/// SysTick's 24 bits.
const RELOAD: u32 = 0x00FF_FFFF;
const TICK_NS: u32 = 40;
const INSTRUCTION_NS: u32 = 128;

impl Counter {
    /// Starts SysTick, measures what measuring takes, and checks the clock on loops of known length.
    pub fn new(mut systick: SYST) -> Self {
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(RELOAD);
        systick.clear_current();
        systick.enable_counter();
        let mut counter = Self { systick, overhead: Some(0) };
        let overhead = counter.instructions(|| {});
        let (short, long) = (counter.spin(1_000), counter.spin(51_000));
        let as_described = matches!((short, long), (Some(short), Some(long)) if long.wrapping_sub(short) == 100_000);
        counter.overhead = overhead.filter(|_| as_described);
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

impl Meter for Counter {
    #[inline(always)]
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32> {
        self.systick.clear_current();
        // The first tick loads the counter; then it counts down, and reading COUNTFLAG clears it.
        while SYST::get_current() == 0 {}
        let _ = self.systick.has_wrapped();
        let before = SYST::get_current();
        work();
        let after = SYST::get_current();
        if self.systick.has_wrapped() {
            return None;
        }
        let ticks = before.wrapping_sub(after) & RELOAD;
        let nanoseconds = u64::from(ticks) * u64::from(TICK_NS);
        let instructions = (nanoseconds + u64::from(INSTRUCTION_NS / 2)) / u64::from(INSTRUCTION_NS);
        (instructions as u32).checked_sub(self.overhead?)
    }

    fn ram_bytes(&self) -> u32 {
        memory::static_bytes()
    }

    fn stack_bytes(&self) -> u32 {
        memory::stack_bytes()
    }
}
