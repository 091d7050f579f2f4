//! The firmware for an emulated board: a model in its own region, samples and forecasts over UART0, logs by defmt.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!(
        "built for the wrong target: cargo build -p flowcast-firmware --target thumbv7em-none-eabihf --profile firmware (or another board's target)"
    );
}

#[cfg(target_os = "none")]
use defmt_semihosting as _;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    use flowcast_core::forecaster::Streaming;
    use flowcast_firmware::{
        application::{Application, Event, VERSION},
        board::{NAME, memory, take, trust},
        state::Forecaster,
    };
    use static_cell::ConstStaticCell;

    // The whole state is static: it is in the link map, takes no flash, and never crosses the stack.
    static FORECASTER: ConstStaticCell<Forecaster> = ConstStaticCell::new(Forecaster::unbound());

    let Some((port, busy, meter)) = take() else {
        defmt::panic!("the board's devices are taken once, here");
    };
    defmt::info!("flowcast firmware {} for {}", VERSION, NAME);
    let forecaster = FORECASTER.take();
    let forecaster = trust::bind(forecaster, memory::model()).map(|()| forecaster);
    match &forecaster {
        Ok(forecaster) => defmt::info!(
            "model {=u32:08x}: {} channels, {} steps ahead",
            forecaster.header().identity,
            forecaster.header().channels,
            forecaster.header().horizon
        ),
        Err(_) => defmt::error!("no model that this firmware runs; the reason goes to every host that asks"),
    }
    let mut application = Application::new(forecaster, port, busy, meter);
    loop {
        match application.step() {
            Ok(Event::Quiet) => {}
            Ok(Event::Hello(protocol)) => defmt::info!("host connected, protocol {}", protocol),
            Ok(Event::Reset) => defmt::info!("reset"),
            Ok(Event::Refused(_)) => defmt::warn!("request refused"),
            Ok(Event::BadFrame(_, count)) => defmt::warn!("bad frame, {} since the start", count),
            Err(never) => match never {},
        }
    }
}
