//! Takes more stack than there is: for the test that this is a fault, and nothing else is overwritten.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!(
        "built for the wrong target: cargo build -p flowcast-firmware --bin overflow --target thumbv7em-none-eabihf --profile firmware"
    );
}

#[cfg(target_os = "none")]
use defmt_semihosting as _;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    use flowcast_firmware::{board, drill};

    let Some(_devices) = board::take() else {
        defmt::panic!("the board's devices are taken once, here");
    };
    defmt::info!("until the stack of {} is full", board::NAME);
    drill::overflow(0);
    defmt::panic!("the stack has no end");
}
