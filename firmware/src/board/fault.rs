//! What happens when nothing else can: a panic or a fault is logged and ends the program, without any formatting.

#![allow(unsafe_code)]

use cortex_m_rt::{ExceptionFrame, exception};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("panicked");
    semihosting::process::exit(101)
}

// SAFETY: the attribute asks for `unsafe` because a HardFault may interrupt anything; this one only logs and ends.
#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    defmt::error!("hard fault");
    semihosting::process::exit(102)
}
