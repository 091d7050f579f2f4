//! Nordic nRF52840-DK (PCA10056): Cortex-M4F, 64 MHz, 256 KiB of RAM.
//!
//! SDA P0.26, SCL P0.27 (Arduino header), with the pull-ups of the sensor's breakout; the port is UARTE0, out on P0.06 and
//! in on P0.08, which the debugger on the board shows as a serial line, 115,200 baud.

use core::ops::Range;

use embassy_nrf::config::LfclkSource;
use embassy_nrf::nvmc::Nvmc;
use embassy_nrf::twim::{self, Twim};
use embassy_nrf::uarte::{self, Uarte, UarteRxWithIdle, UarteTx};
use embassy_nrf::wdt::{self, HaltConfig, SleepConfig, WatchdogHandle};
use embassy_nrf::{bind_interrupts, peripherals};
use embassy_time::Duration;
use embedded_hal::i2c::{ErrorType, I2c, Operation};
use flowcast_core::wire::FRAME_BYTES;
use static_cell::ConstStaticCell;

use super::memory;
use crate::station::Watchdog;
use crate::store::Store;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 4;
/// See [`CHANNELS`].
pub const SLOTS: usize = 480;
/// How long a station hears a host after a sample: a receiver that is on keeps the fast clock on, which costs more than the rest
/// of a board that sleeps.
pub const LISTENS_MS: u64 = 250;

bind_interrupts!(struct Interrupts {
    TWISPI0 => twim::InterruptHandler<peripherals::TWISPI0>;
    UARTE0 => uarte::InterruptHandler<peripherals::UARTE0>;
});

/// What flash holds on its way to the bus, and a whole command of a sensor's.
const BUS_BYTES: usize = 16;
const FLASH: u32 = 0;

/// The devices; once, as whoever starts first.
pub fn take() -> (Bus, Port, Receiver, Dog, Store<Nvmc<'static>>) {
    static BYTES: ConstStaticCell<[u8; BUS_BYTES]> = ConstStaticCell::new([0; BUS_BYTES]);
    static HEARD: ConstStaticCell<[u8; FRAME_BYTES]> = ConstStaticCell::new([0; FRAME_BYTES]);
    let mut chip = embassy_nrf::config::Config::default();
    // The board's crystal: the chip's own oscillator strays by minutes a day, and with it the phase of the season.
    chip.lfclk_source = LfclkSource::ExternalXtal;
    // The board has the coil for it: half the current while the processor runs.
    chip.dcdc.reg1 = true;
    let devices = embassy_nrf::init(chip);
    let mut bus = twim::Config::default();
    bus.frequency = twim::Frequency::K100;
    let bus = Twim::new(devices.TWISPI0, Interrupts, devices.P0_26, devices.P0_27, bus, BYTES.take());
    let port = Uarte::new(devices.UARTE0, devices.P0_08, devices.P0_06, Interrupts, uarte::Config::default());
    let (port, receiver) = port.split_with_idle(devices.TIMER1, devices.PPI_CH0, devices.PPI_CH1);
    let receiver = Receiver { uart: receiver, heard: HEARD.take(), next: 0..0 };
    let mut dog = wdt::Config::default();
    dog.timeout_ticks = (Dog::PATIENCE_MS * TICKS_PER_S / 1_000) as u32;
    dog.action_during_sleep = SleepConfig::Run;
    dog.action_during_debug_halt = HaltConfig::Pause;
    // A boot loader may have started it with other settings: then it is that one's to feed.
    let dog = wdt::Watchdog::try_new(devices.WDT, dog).ok().map(|(_, [dog])| dog);
    (Bus(bus), Port(port), receiver, Dog(dog), Store::new(Nvmc::new(devices.NVMC), memory::state(FLASH)))
}

/// The bus, which gives up on a line that is held.
pub struct Bus(Twim<'static>);

const PATIENCE: Duration = Duration::from_millis(50);

impl ErrorType for Bus {
    type Error = twim::Error;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), twim::Error> {
        self.0.blocking_transaction_timeout(address, operations, PATIENCE)
    }
}

/// The serial line's way out.
pub struct Port(UarteTx<'static>);

impl embedded_io::ErrorType for Port {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, embedded_io::ErrorKind> {
        self.0.blocking_write(bytes).map_err(|_| embedded_io::ErrorKind::Other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), embedded_io::ErrorKind> {
        Ok(())
    }
}

/// The serial line's way in: on while somebody waits for a byte, and off as soon as nobody does.
pub struct Receiver {
    uart: UarteRxWithIdle<'static>,
    heard: &'static mut [u8; FRAME_BYTES],
    /// What of it is yet to be handed over.
    next: Range<usize>,
}

impl embedded_io::ErrorType for Receiver {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io_async::Read for Receiver {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, embedded_io::ErrorKind> {
        let Self { uart, heard, next } = self;
        if next.start == next.end {
            // A frame comes as a whole, or ends where the line falls silent.
            let heard = uart.read_until_idle(&mut **heard).await;
            *next = 0..heard.map_err(|_| embedded_io::ErrorKind::Other)?;
        }
        let mut length = 0;
        for (place, byte) in buffer.iter_mut().zip(heard.get(next.clone()).unwrap_or_default()) {
            *place = *byte;
            length += 1;
        }
        next.start += length;
        Ok(length)
    }
}

/// The watchdog, on the low-frequency clock.
pub struct Dog(Option<WatchdogHandle>);

const TICKS_PER_S: u64 = 32_768;

impl Watchdog for Dog {
    const PATIENCE_MS: u64 = 60_000;

    fn feed(&mut self) {
        if let Some(dog) = &mut self.0 {
            dog.pet();
        }
    }
}
