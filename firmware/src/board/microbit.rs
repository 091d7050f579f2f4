//! BBC micro:bit, an nRF51822 (Cortex-M0, 16 KiB of RAM), as `qemu-system-arm -machine microbit` emulates it.
//!
//! Registers by the nRF51 Series Reference Manual 3.0: TIMER (chapter 18), UART (29), GPIO (13).

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};

use super::counter::{self, Timer};
use super::polled::{Polled, Serial};
use super::register::nrf51;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 1;
/// See [`CHANNELS`].
pub const SLOTS: usize = 96;

/// The port, the pin and the counter, the first time; `None` ever after.
pub fn take() -> Option<(Polled<Uart>, Led, Counter)> {
    let (uart, gpio, timer) = nrf51::take()?;
    Some((Polled(Uart::new(uart)), Led::new(gpio), Counter::new(Timer0::new(timer))))
}

/// The UART, polled.
#[derive(Debug)]
pub struct Uart(nrf51::Peripheral);

// Word offsets.
const START_RX: usize = 0;
const START_TX: usize = 0x008 / 4;
const RX_READY: usize = 0x108 / 4;
const TX_READY: usize = 0x11C / 4;
const UART_ENABLE: usize = 0x500 / 4;
const PIN_TX: usize = 0x50C / 4;
const PIN_RX: usize = 0x514 / 4;
const RX_DATA: usize = 0x518 / 4;
const TX_DATA: usize = 0x51C / 4;
const BAUD_RATE: usize = 0x524 / 4;
const UART_ENABLED: u32 = 4;
/// 115,200 baud.
const BAUD_115200: u32 = 0x01D7_E000;

impl Uart {
    /// Switches the UART on, on the pins that lead to the board's USB interface; the emulator does not pace it.
    pub fn new(mut registers: nrf51::Peripheral) -> Self {
        registers.write::<PIN_TX>(24);
        registers.write::<PIN_RX>(25);
        registers.write::<BAUD_RATE>(BAUD_115200);
        registers.write::<UART_ENABLE>(UART_ENABLED);
        registers.write::<START_RX>(1);
        registers.write::<START_TX>(1);
        Self(registers)
    }
}

impl Serial for Uart {
    fn receive(&mut self) -> u8 {
        while self.0.read::<RX_READY>() == 0 {}
        self.0.write::<RX_READY>(0);
        self.0.read::<RX_DATA>() as u8
    }

    fn send(&mut self, byte: u8) {
        self.0.write::<TX_READY>(0);
        self.0.write::<TX_DATA>(byte.into());
        while self.0.read::<TX_READY>() == 0 {}
    }

    fn drain(&mut self) {
        // `send` has waited for every byte.
    }
}

/// A LED of the matrix: its row's pin; the columns are left at their ground.
#[derive(Debug)]
pub struct Led(nrf51::Peripheral);

const OUT_SET: usize = 0x508 / 4;
const OUT_CLEAR: usize = 0x50C / 4;
const DIRECTION_SET: usize = 0x518 / 4;
/// P0.13, the first row.
const ROW: u32 = 1 << 13;

impl Led {
    /// Off.
    pub fn new(mut registers: nrf51::Peripheral) -> Self {
        registers.write::<OUT_CLEAR>(ROW);
        registers.write::<DIRECTION_SET>(ROW);
        Self(registers)
    }
}

impl PinErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.write::<OUT_CLEAR>(ROW);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.write::<OUT_SET>(ROW);
        Ok(())
    }
}

/// Counts instructions.
pub type Counter = counter::Counter<Timer0>;

/// TIMER0, which counts 16 MHz in 32 bits: a minute and a half of instructions. (This core has no SysTick.)
#[derive(Debug)]
pub struct Timer0(nrf51::Peripheral);

const START: usize = 0;
const CAPTURE_0: usize = 0x040 / 4;
const BIT_MODE: usize = 0x508 / 4;
const PRESCALER: usize = 0x510 / 4;
const CAPTURED_0: usize = 0x540 / 4;
const BITS_32: u32 = 3;

impl Timer0 {
    fn new(mut registers: nrf51::Peripheral) -> Self {
        registers.write::<BIT_MODE>(BITS_32);
        registers.write::<PRESCALER>(0);
        registers.write::<START>(1);
        Self(registers)
    }

    #[inline(always)]
    fn now(&mut self) -> u32 {
        self.0.write::<CAPTURE_0>(1);
        self.0.read::<CAPTURED_0>()
    }
}

impl Timer for Timer0 {
    const TICK_PS: u32 = 62_500;

    #[inline(always)]
    fn start(&mut self) -> u32 {
        self.now()
    }

    #[inline(always)]
    fn since(&mut self, before: u32) -> Option<u32> {
        Some(self.now().wrapping_sub(before))
    }
}
