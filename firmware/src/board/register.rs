//! Registers of a device at a fixed address, the one place that reads and writes them.

#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

/// `WORDS` 32-bit registers in a row that belong to one owner.
#[derive(Debug)]
pub struct Registers<const WORDS: usize>(*mut u32);

impl<const WORDS: usize> Registers<WORDS> {
    /// The registers at `address`.
    ///
    /// # Safety
    /// There are `WORDS` device registers at this address, reading and writing which breaks nothing that Rust relies
    /// on, and nobody else holds them.
    const unsafe fn at(address: usize) -> Self {
        Self(address as *mut u32)
    }

    /// Register number `INDEX`.
    pub fn read<const INDEX: usize>(&self) -> u32 {
        const { assert!(INDEX < WORDS) };
        // SAFETY: in range as just asserted, and a device's register as whoever called `at` promised.
        unsafe { self.0.add(INDEX).read_volatile() }
    }

    /// Sets register number `INDEX`.
    pub fn write<const INDEX: usize>(&mut self, value: u32) {
        const { assert!(INDEX < WORDS) };
        // SAFETY: as for `read`; `&mut self` keeps others away.
        unsafe { self.0.add(INDEX).write_volatile(value) }
    }
}

/// Whether devices were taken. One core and no interrupts: load and store need not be one.
struct Taken(AtomicBool);

impl Taken {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// True the first time.
    fn first(&self) -> bool {
        let first = !self.0.load(Ordering::Relaxed);
        self.0.store(true, Ordering::Relaxed);
        first
    }
}

static DEVICES: Taken = Taken::new();

/// The devices of an MPS2 board that this firmware uses; they can be taken once.
#[cfg(any(mps2, mps2_an505))]
pub mod mps2 {
    use super::{DEVICES, Registers};

    /// UART0: data, state, control, interrupts, baud-rate divider.
    pub type Uart = Registers<5>;
    /// FPGA system registers: LEDs first.
    pub type FpgaIo = Registers<1>;

    /// A CMSDK UART and the FPGA's system registers: ARM DAI 0385, 0386 and 0500 (memory map), ARM DAI 0505 (the
    /// secure aliases).
    const ADDRESSES: (usize, usize) =
        if cfg!(mps2_an505) { (0x5020_0000, 0x5030_2000) } else { (0x4000_4000, 0x4002_8000) };

    /// All of them, the first time; `None` ever after.
    pub fn take() -> Option<(Uart, FpgaIo)> {
        let (uart, fpga_io) = ADDRESSES;
        // SAFETY: the board's memory map puts these devices there; `DEVICES` lets nobody hold them twice.
        DEVICES.first().then(|| unsafe { (Registers::at(uart), Registers::at(fpga_io)) })
    }

    /// The watchdog: load, value, control, interrupt.
    #[cfg(mps2)]
    pub type Watchdog = Registers<4>;

    /// The watchdog, the first time; `None` ever after.
    #[cfg(mps2)]
    pub fn take_watchdog() -> Option<Watchdog> {
        static WATCHDOG: super::Taken = super::Taken::new();
        // SAFETY: ARM DAI 0385, 0386 and 0500 put a CMSDK APB watchdog there; `WATCHDOG` lets nobody hold it twice.
        WATCHDOG.first().then(|| unsafe { Registers::at(0x4000_8000) })
    }

    /// Lines of the second shield's I²C bus: set, clear.
    #[cfg(mps2)]
    pub type Lines = Registers<2>;

    /// Those lines for two owners, the first time; `None` ever after.
    #[cfg(mps2)]
    pub fn take_lines() -> Option<(Lines, Lines)> {
        static LINES: super::Taken = super::Taken::new();
        const ADDRESS: usize = 0x4002_A000;
        // SAFETY: ARM DAI 0385, 0386 and 0500 put the bus there. Two may hold it: a write moves the lines whose bits it has
        // and leaves the others, and reading changes nothing.
        LINES.first().then(|| unsafe { (Registers::at(ADDRESS), Registers::at(ADDRESS)) })
    }
}

/// The devices of an nRF51 that this firmware uses; they can be taken once.
#[cfg(microbit)]
pub mod nrf51 {
    use super::{DEVICES, Registers};

    /// Any of them: tasks, events and settings within 4 KiB.
    pub type Peripheral = Registers<0x400>;

    /// UART, GPIO and TIMER0, the first time; `None` ever after.
    pub fn take() -> Option<(Peripheral, Peripheral, Peripheral)> {
        // SAFETY: the nRF51's memory map (reference manual 3.0, chapter 5) puts these devices there; `DEVICES` lets
        // nobody hold them twice.
        DEVICES
            .first()
            .then(|| unsafe { (Registers::at(0x4000_2000), Registers::at(0x5000_0000), Registers::at(0x4000_8000)) })
    }
}
