//! ARM MPS2 with the AN385 (Cortex-M3), AN386 (M4F), AN500 (M7) or AN505 (M33) image, as `qemu-system-arm` emulates them.

use core::convert::Infallible;

use cortex_m::peripheral::{SYST, syst::SystClkSource};
use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};

use super::counter::{self, Timer};
use super::polled::{Polled, Serial};
use super::register::mps2;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 8;
/// See [`CHANNELS`].
pub const SLOTS: usize = 704;

/// The port, the pin and the counter, the first time; `None` ever after.
pub fn take() -> Option<(Polled<Uart>, Led, Counter)> {
    #[cfg_attr(not(mps2), allow(unused_mut, reason = "its processor has a limit for the stack"))]
    let (mut core, (uart, leds)) = (cortex_m::Peripherals::take()?, mps2::take()?);
    #[cfg(mps2)]
    super::guard::below_the_stack(&mut core.MPU);
    Some((Polled(Uart::new(uart)), Led::new(leds), Counter::new(SysTick::new(core.SYST))))
}

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
    /// Switches the UART on at the clock over 16, the fastest it goes; the emulator does not pace it.
    pub fn new(mut registers: mps2::Uart) -> Self {
        registers.write::<DIVIDER>(16);
        registers.write::<CONTROL>(TRANSMIT_ENABLE | RECEIVE_ENABLE);
        Self(registers)
    }
}

impl Serial for Uart {
    fn receive(&mut self) -> u8 {
        while self.0.read::<STATE>() & RECEIVE_FULL == 0 {}
        self.0.read::<DATA>() as u8
    }

    fn send(&mut self, byte: u8) {
        self.drain();
        self.0.write::<DATA>(byte.into());
    }

    fn drain(&mut self) {
        while self.0.read::<STATE>() & TRANSMIT_FULL != 0 {}
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

/// Counts instructions.
pub type Counter = counter::Counter<SysTick>;

/// SysTick, which counts down 24 bits of the board's clock: 25 MHz, 20 MHz on AN505. They hold more than five million
/// instructions.
pub struct SysTick(SYST);

/// SysTick's 24 bits.
const RELOAD: u32 = 0x00FF_FFFF;

impl SysTick {
    fn new(mut systick: SYST) -> Self {
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(RELOAD);
        systick.clear_current();
        systick.enable_counter();
        Self(systick)
    }
}

impl Timer for SysTick {
    const TICK_PS: u32 = if cfg!(mps2_an505) { 50_000 } else { 40_000 };

    #[inline(always)]
    fn start(&mut self) -> u32 {
        self.0.clear_current();
        // The first tick loads the counter; then it counts down, and reading COUNTFLAG clears it.
        while SYST::get_current() == 0 {}
        let _ = self.0.has_wrapped();
        SYST::get_current()
    }

    #[inline(always)]
    fn since(&mut self, before: u32) -> Option<u32> {
        let after = SYST::get_current();
        (!self.0.has_wrapped()).then_some(before.wrapping_sub(after) & RELOAD)
    }
}
