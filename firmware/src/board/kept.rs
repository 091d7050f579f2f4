//! Memory that the board keeps over a reset: a counter, and bytes that take the place of a flash. Nothing else is in this file.

#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes in the place of a flash.
pub const BYTES: usize = 64 << 10;

/// What is kept.
#[derive(Debug)]
#[repr(C)]
pub struct Kept {
    /// [`WRITTEN`] once the rest has a value.
    mark: u32,
    /// Resets since the power came.
    pub resets: u32,
    /// As an erased flash has them at first.
    pub bytes: [u8; BYTES],
}

const WRITTEN: u32 = 0x4B45_5054;

// SAFETY: start-up neither copies nor zeroes what is in `.uninit`, and nothing there has an initial value.
#[unsafe(link_section = ".uninit.kept")]
static mut KEPT: MaybeUninit<Kept> = MaybeUninit::uninit();

/// What is kept, the first time after a reset; `None` ever after.
pub fn take() -> Option<&'static mut Kept> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.load(Ordering::Relaxed) {
        return None;
    }
    TAKEN.store(true, Ordering::Relaxed);
    let kept = addr_of_mut!(KEPT).cast::<Kept>();
    // SAFETY: the memory is there, aligned, and `TAKEN` lets nobody else have it (one core, no interrupts). A volatile read
    // of a word that nobody wrote sees some value; where it is the mark, all was written before the reset, and else it is
    // written now, before there is a reference. Every bit pattern is a valid `Kept`.
    unsafe {
        if addr_of!((*kept).mark).read_volatile() == WRITTEN {
            (*kept).resets += 1;
        } else {
            addr_of_mut!((*kept).resets).write(0);
            addr_of_mut!((*kept).bytes).write_bytes(0xFF, 1);
            addr_of_mut!((*kept).mark).write_volatile(WRITTEN);
        }
        Some(&mut *kept)
    }
}
