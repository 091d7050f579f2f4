//! What happens when nothing else can: a panic or a fault is logged, without any formatting. Then an emulated board's program
//! ends; where a watchdog runs, the board waits for it.

#![allow(unsafe_code)]

use core::arch::naked_asm;
#[cfg(emulated)]
use core::sync::atomic::{AtomicBool, Ordering};

use super::memory;

/// Exit codes of an emulated board; `host/src/emulate/machine.rs` has them in words.
#[cfg(emulated)]
mod code {
    pub const PANIC: i32 = 101;
    pub const FAULT: i32 = 102;
    pub const STACK: i32 = 103;
}

/// Whether a watchdog runs.
#[cfg(emulated)]
static WATCHED: AtomicBool = AtomicBool::new(false);

/// From here on a watchdog ends what went wrong.
#[cfg(emulated)]
pub fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

#[cfg(emulated)]
fn end(code: i32) -> ! {
    if !WATCHED.load(Ordering::Relaxed) {
        semihosting::process::exit(code);
    }
    loop {
        cortex_m::asm::nop();
    }
}

#[cfg(emulated)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("panicked");
    end(code::PANIC)
}

/// The vector of a hard fault. The stack may be what failed: it begins anew, for nothing returns to what is on it.
///
/// # Safety
/// For the vector table alone.
#[unsafe(naked)]
// SAFETY: cortex-m-rt's vector table looks for a function without arguments of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn HardFault() -> ! {
    naked_asm!(
        "mrs r0, MSP",
        "ldr r1, =_stack_start",
        "msr MSP, r1",
        "ldr r1, ={report}",
        "bx r1",
        ".ltorg",
        report = sym report,
    )
}

extern "C" fn report(stack: u32) -> ! {
    let over = memory::is_over_the_stack(stack);
    if over {
        defmt::error!("stack overflow");
    } else {
        defmt::error!("hard fault");
    }
    #[cfg(emulated)]
    end(if over { code::STACK } else { code::FAULT });
    // The watchdog resets.
    #[cfg(station)]
    loop {
        cortex_m::asm::nop();
    }
}
