//! STM32F411: Nucleo-F411RE and Black Pill (F411CE). Cortex-M4F at 16 MHz from its internal oscillator, 128 KiB of RAM.
//!
//! SCL PB8, SDA PB9, with the pull-ups of the sensor's breakout; the port is USART2, out on PA2 and in on PA3 (the
//! Nucleo's debugger shows it as a serial line), 115,200 baud.

use cortex_m::peripheral::DCB;
use embassy_stm32::flash::{Bank1Region1, Blocking, Flash};
use embassy_stm32::i2c::{self, I2c, Master};
use embassy_stm32::peripherals::{self, IWDG};
use embassy_stm32::usart::{self, BufferedUart, BufferedUartRx, BufferedUartTx};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{bind_interrupts, gpio, mode};
use embassy_time::Duration;
use flowcast_core::wire::FRAME_BYTES;
use static_cell::ConstStaticCell;

use super::memory;
use crate::station::Watchdog;
use crate::store::Store;

/// Most channels and most slots of the seasonal memory that this board has RAM for.
pub const CHANNELS: usize = 2;
/// See [`CHANNELS`].
pub const SLOTS: usize = 480;
/// How long a station hears a host after a sample: always, for the receiver's clock runs anyway.
pub const LISTENS_MS: u64 = u64::MAX;

bind_interrupts!(struct Interrupts {
    USART2 => usart::BufferedInterruptHandler<peripherals::USART2>;
});

/// The part of the flash with sectors of 16 KiB.
type Sectors = Bank1Region1<'static, Blocking>;

const FLASH: u32 = 0x0800_0000;
/// After which a transfer is given up.
const PATIENCE: Duration = Duration::from_millis(50);

/// The devices; once, as whoever starts first.
pub fn take() -> (I2c<'static, mode::Blocking, Master>, Port, Receiver, Dog, Store<Sectors>) {
    static OUT: ConstStaticCell<[u8; FRAME_BYTES]> = ConstStaticCell::new([0; FRAME_BYTES]);
    static IN: ConstStaticCell<[u8; 2 * FRAME_BYTES]> = ConstStaticCell::new([0; 2 * FRAME_BYTES]);
    let mut chip = embassy_stm32::Config::default();
    // It keeps the core's clocks on in sleep. A probe that comes later turns it on by itself.
    chip.enable_debug_during_sleep = DCB::is_debugger_attached();
    let devices = embassy_stm32::init(chip);
    let mut bus = i2c::Config::default();
    bus.timeout = PATIENCE;
    let bus = I2c::new_blocking(devices.I2C1, devices.PB8, devices.PB9, bus);
    let mut line = usart::Config::default();
    // Where nothing is connected, nothing is heard.
    line.rx_pull = gpio::Pull::Up;
    // Without a line there is still a log and a forecast.
    let port = BufferedUart::new(devices.USART2, devices.PA3, devices.PA2, OUT.take(), IN.take(), Interrupts, line);
    let (port, receiver) = port.ok().map(BufferedUart::split).unzip();
    let mut dog = IndependentWatchdog::new(devices.IWDG, (Dog::PATIENCE_MS * 1_000) as u32);
    dog.unleash();
    let sectors = Flash::new_blocking(devices.FLASH).into_blocking_regions().bank1_region1;
    (bus, Port(port), Receiver(receiver), Dog(dog), Store::new(sectors, memory::state(FLASH)))
}

/// The serial line's way out; silent where there is none.
pub struct Port(Option<BufferedUartTx<'static>>);

impl embedded_io::ErrorType for Port {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, embedded_io::ErrorKind> {
        let port = self.0.as_mut().ok_or(embedded_io::ErrorKind::NotConnected)?;
        // It takes what there is room for.
        embedded_io::Write::write(port, bytes).map_err(|_| embedded_io::ErrorKind::Other)
    }

    fn flush(&mut self) -> Result<(), embedded_io::ErrorKind> {
        let port = self.0.as_mut().ok_or(embedded_io::ErrorKind::NotConnected)?;
        embedded_io::Write::flush(port).map_err(|_| embedded_io::ErrorKind::Other)
    }
}

/// The serial line's way in.
pub struct Receiver(Option<BufferedUartRx<'static>>);

impl embedded_io::ErrorType for Receiver {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io_async::Read for Receiver {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, embedded_io::ErrorKind> {
        match &mut self.0 {
            Some(receiver) => receiver.read(buffer).await.map_err(|_| embedded_io::ErrorKind::Other),
            None => core::future::pending().await,
        }
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
