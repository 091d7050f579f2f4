//! STM32F411: Nucleo-F411RE and Black Pill (F411CE). Cortex-M4F at 16 MHz from its internal oscillator, 128 KiB of RAM.
//!
//! SCL PB8, SDA PB9, with the pull-ups of the sensor's breakout; the port is USART2 on PA2 (the Nucleo's debugger shows it as
//! a serial line), 115,200 baud.

use embassy_stm32::flash::{Bank1Region1, Blocking, Flash};
use embassy_stm32::i2c::{self, I2c, Master};
use embassy_stm32::mode;
use embassy_stm32::peripherals::IWDG;
use embassy_stm32::usart::{self, UartTx};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_time::Duration;

use super::memory;
use crate::station::Watchdog;
use crate::store::Store;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 2;
/// See [`CHANNELS`].
pub const SLOTS: usize = 480;

/// The part of the flash with sectors of 16 KiB.
type Sectors = Bank1Region1<'static, Blocking>;

const FLASH: u32 = 0x0800_0000;
/// After which a transfer is given up.
const PATIENCE: Duration = Duration::from_millis(50);

/// The devices; once, as whoever starts first.
pub fn take() -> (I2c<'static, mode::Blocking, Master>, Port, Dog, Store<Sectors>) {
    let devices = embassy_stm32::init(embassy_stm32::Config::default());
    let mut bus = i2c::Config::default();
    bus.timeout = PATIENCE;
    let bus = I2c::new_blocking(devices.I2C1, devices.PB8, devices.PB9, bus);
    // Without a line there is still a log and a forecast.
    let port = UartTx::new_blocking(devices.USART2, devices.PA2, usart::Config::default()).ok();
    let mut dog = IndependentWatchdog::new(devices.IWDG, (Dog::PATIENCE_MS * 1_000) as u32);
    dog.unleash();
    let sectors = Flash::new_blocking(devices.FLASH).into_blocking_regions().bank1_region1;
    (bus, Port(port), Dog(dog), Store::new(sectors, memory::state(FLASH)))
}

/// The serial line, out only; silent where there is none.
pub struct Port(Option<UartTx<'static, mode::Blocking>>);

impl embedded_io::ErrorType for Port {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, embedded_io::ErrorKind> {
        let port = self.0.as_mut().ok_or(embedded_io::ErrorKind::NotConnected)?;
        port.blocking_write(bytes).map_err(|_| embedded_io::ErrorKind::Other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), embedded_io::ErrorKind> {
        Ok(())
    }
}

/// The independent watchdog.
pub struct Dog(IndependentWatchdog<'static, IWDG>);

impl Watchdog for Dog {
    const PATIENCE_MS: u64 = 20_000;

    fn feed(&mut self) {
        self.0.pet();
    }
}
