//! Raspberry Pi Pico (RP2040: Cortex-M0+ at 48 MHz, 264 KiB of RAM) and Pico 2 (RP2350: Cortex-M33 at 150 MHz, 512 KiB).
//!
//! SDA GP4, SCL GP5, with the pull-ups of the sensor's breakout; the port is UART0, out on GP0 and in on GP1, 115,200 baud. Both
//! boot from flash: the RP2040's second stage and the RP2350's image definition come from embassy-rp, `memory/*.x` put them in
//! place.

use embassy_futures::block_on;
use embassy_rp::clocks::ClockConfig;
#[cfg(not(pico2))]
use embassy_rp::clocks::PllConfig;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::i2c::{self, AbortReason, I2c};
use embassy_rp::peripherals::{FLASH, I2C0, PIN_4, PIN_5, UART0};
use embassy_rp::uart::{self, BufferedUart, BufferedUartRx, BufferedUartTx};
use embassy_rp::{Peri, bind_interrupts, watchdog};
use embassy_time::{Duration, with_timeout};
use embedded_hal::i2c::{ErrorType, Operation};
use flowcast_core::wire::FRAME_BYTES;
use static_cell::ConstStaticCell;

use super::memory;
use crate::station::Watchdog;
use crate::store::Store;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 4;
/// See [`CHANNELS`].
pub const SLOTS: usize = 480;
/// How long a station hears a host after a sample: always, for the receiver's clock runs anyway.
pub const LISTENS_MS: u64 = u64::MAX;

/// The boards' crystal.
const CRYSTAL_HZ: u32 = 12_000_000;
/// Where flash is seen, and how much of it there is.
const ORIGIN: u32 = 0x1000_0000;
const FLASH_BYTES: usize = if cfg!(pico2) { 4 << 20 } else { 2 << 20 };

type Memory = Flash<'static, FLASH, Blocking, FLASH_BYTES>;

bind_interrupts!(struct Interrupts {
    I2C0_IRQ => i2c::InterruptHandler<I2C0>;
    UART0_IRQ => uart::BufferedInterruptHandler<UART0>;
});

/// The devices; once, as whoever starts first.
pub fn take() -> (Bus, BufferedUartTx, BufferedUartRx, Dog, Store<Memory>) {
    static OUT: ConstStaticCell<[u8; FRAME_BYTES]> = ConstStaticCell::new([0; FRAME_BYTES]);
    static IN: ConstStaticCell<[u8; 2 * FRAME_BYTES]> = ConstStaticCell::new([0; 2 * FRAME_BYTES]);
    let devices = embassy_rp::init(embassy_rp::config::Config::new(clocks()));
    let bus = Bus { controller: devices.I2C0, clock: devices.PIN_5, data: devices.PIN_4 };
    let line = uart::Config::default();
    let (pins, buffers) = ((devices.PIN_0, devices.PIN_1), (OUT.take(), IN.take()));
    let port = BufferedUart::new(devices.UART0, pins.0, pins.1, Interrupts, buffers.0, buffers.1, line);
    let (port, receiver) = port.split();
    // A line that ends nowhere is quiet. (The driver leaves the pad without a pull.)
    embassy_rp::pac::PADS_BANK0.gpio(1).modify(|pad| {
        pad.set_pde(false);
        pad.set_pue(true);
    });
    let mut dog = watchdog::Watchdog::new(devices.WATCHDOG);
    dog.pause_on_debug(true);
    dog.start(DOG_PATIENCE);
    (bus, port, receiver, Dog(dog), Store::new(Flash::new_blocking(devices.FLASH), memory::state(ORIGIN)))
}

/// Clocks run on while the core waits, and what they draw goes with their frequency; a sample is done with long before the next
/// one all the same. So the RP2040 runs as fast as its own boot program does, for which its maker says what it draws
/// (`host/src/inspect/power.rs`).
#[cfg(not(pico2))]
fn clocks() -> ClockConfig {
    let mut clocks = ClockConfig::crystal(CRYSTAL_HZ);
    if let Some(crystal) = &mut clocks.xosc {
        // 12 MHz · 100 / (5 · 5).
        crystal.sys_pll = Some(PllConfig { refdiv: 1, fbdiv: 100, post_div1: 5, post_div2: 5 });
    }
    clocks
}

/// Nobody vouches for an RP2350 at another frequency than its own.
#[cfg(pico2)]
fn clocks() -> ClockConfig {
    ClockConfig::crystal(CRYSTAL_HZ)
}

/// The bus, which gives up on a line that is held. Its controller is reset before each transfer: nothing is left of one that
/// was given up.
pub struct Bus {
    controller: Peri<'static, I2C0>,
    clock: Peri<'static, PIN_5>,
    data: Peri<'static, PIN_4>,
}

const PATIENCE: Duration = Duration::from_millis(50);

impl ErrorType for Bus {
    type Error = i2c::Error;
}

impl embedded_hal::i2c::I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), i2c::Error> {
        let Self { controller, clock, data } = self;
        let (controller, clock, data) = (controller.reborrow(), clock.reborrow(), data.reborrow());
        let mut bus = I2c::new_async(controller, clock, data, Interrupts, i2c::Config::default());
        // The blocking driver waits for ever; this one can be left.
        let transfer = embedded_hal_async::i2c::I2c::transaction(&mut bus, address, operations);
        block_on(with_timeout(PATIENCE, transfer)).unwrap_or(Err(i2c::Error::Abort(AbortReason::Other(0))))
    }
}

/// The watchdog, whose counter holds 8.3 s of microseconds.
pub struct Dog(watchdog::Watchdog);

const DOG_PATIENCE: Duration = Duration::from_millis(Dog::PATIENCE_MS);

impl Watchdog for Dog {
    const PATIENCE_MS: u64 = 8_000;

    fn feed(&mut self) {
        self.0.feed(DOG_PATIENCE);
    }
}
