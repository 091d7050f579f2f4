//! Registers of a device at a fixed address, the one place that reads and writes them.

#![allow(unsafe_code)]

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

/// The devices of an MPS2 board that this firmware uses; each can be taken once.
pub mod mps2 {
    use super::Registers;
    use core::sync::atomic::{AtomicBool, Ordering};

    static TAKEN: AtomicBool = AtomicBool::new(false);

    /// UART0: data, state, control, interrupts, baud-rate divider.
    pub type Uart = Registers<5>;
    /// FPGA system registers: LEDs first.
    pub type FpgaIo = Registers<1>;

    /// All of them, the first time; `None` ever after.
    pub fn take() -> Option<(Uart, FpgaIo)> {
        // One core and no interrupts: load and store need not be one.
        if TAKEN.load(Ordering::Relaxed) {
            return None;
        }
        TAKEN.store(true, Ordering::Relaxed);
        // SAFETY: AN386's memory map (ARM DAI 0386) puts a CMSDK UART at 0x4000_4000 and the FPGA's system registers at
        // 0x4002_8000; `TAKEN` lets nobody hold them twice.
        Some(unsafe { (Registers::at(0x4000_4000), Registers::at(0x4002_8000)) })
    }
}
