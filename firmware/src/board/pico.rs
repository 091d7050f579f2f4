//! Raspberry Pi Pico (RP2040: Cortex-M0+ at 125 MHz, 264 KiB of RAM) and Pico 2 (RP2350: Cortex-M33 at 150 MHz, 512 KiB).
//!
//! SDA GP4, SCL GP5, with the pull-ups of the sensor's breakout; the port is UART0 on GP0, 115,200 baud. Both boot from
//! flash: the RP2040's second stage and the RP2350's image definition come from embassy-rp, `memory/*.x` put them in place.

use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::i2c::{self, I2c};
use embassy_rp::peripherals::{FLASH, I2C0};
use embassy_rp::uart::{self, UartTx};
use embassy_rp::watchdog;
use embassy_time::Duration;

use super::memory;
use crate::station::Watchdog;
use crate::store::Store;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 4;
/// See [`CHANNELS`].
pub const SLOTS: usize = 480;

/// Where flash is seen, and how much of it there is.
const ORIGIN: u32 = 0x1000_0000;
const FLASH_BYTES: usize = if cfg!(pico2) { 4 << 20 } else { 2 << 20 };

type Memory = Flash<'static, FLASH, Blocking, FLASH_BYTES>;

/// The devices; once, as whoever starts first.
pub fn take() -> (I2c<'static, I2C0, i2c::Blocking>, UartTx<'static, uart::Blocking>, Dog, Store<Memory>) {
    let devices = embassy_rp::init(embassy_rp::config::Config::default());
    let bus = I2c::new_blocking(devices.I2C0, devices.PIN_5, devices.PIN_4, i2c::Config::default());
    let port = UartTx::new_blocking(devices.UART0, devices.PIN_0, uart::Config::default());
    let mut dog = watchdog::Watchdog::new(devices.WATCHDOG);
    dog.pause_on_debug(true);
    dog.start(PATIENCE);
    (bus, port, Dog(dog), Store::new(Flash::new_blocking(devices.FLASH), memory::state(ORIGIN)))
}

/// The watchdog, whose counter holds 8.3 s of microseconds.
pub struct Dog(watchdog::Watchdog);

const PATIENCE: Duration = Duration::from_millis(Dog::PATIENCE_MS);

impl Watchdog for Dog {
    const PATIENCE_MS: u64 = 8_000;

    fn feed(&mut self) {
        self.0.feed(PATIENCE);
    }
}
