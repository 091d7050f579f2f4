//! The firmware for a real board that a host feeds: `flowcast replay` streams data into it and compares its forecasts.
//!
//! A program of its own, so that nothing that comes over a station's line can put itself in the place of its sensors. It keeps
//! nothing in flash: a station that is written over it goes on from what it had kept.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(clippy::result_large_err, reason = "there is no heap to put a refusal's words on")]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!(
        "built for the wrong target: cargo build -p flowcast-firmware --bin replay --target thumbv6m-none-eabi --profile firmware --no-default-features --features board-pico,preset-tiny,numeric-int8 (or another board's target)"
    );
}

#[cfg(target_os = "none")]
use defmt_rtt as _;
#[cfg(target_os = "none")]
use panic_probe as _;

#[cfg(target_os = "none")]
#[embassy_executor::main]
async fn main(_spawner: embassy_executor::Spawner) {
    use embassy_futures::select::{Either, select};
    use embassy_time::{Duration, Timer};
    use embedded_io_async::Read as _;
    use flowcast_core::slot::{self, Choice};
    use flowcast_core::wire::ModelFault;
    use flowcast_firmware::{
        application::{Application, Event, VERSION},
        board::{self, NAME, gauge::Gauge, memory, trust},
        pin::NoPin,
        state::Forecaster,
        station::Watchdog,
    };
    use static_cell::ConstStaticCell;

    static FORECASTER: ConstStaticCell<Forecaster> = ConstStaticCell::new(Forecaster::unbound());

    /// Half of what a watchdog allows.
    const fn rest<DOG: Watchdog>(_: &DOG) -> Duration {
        Duration::from_millis(DOG::PATIENCE_MS / 2)
    }

    let (_, port, mut receiver, mut watchdog, _) = board::take();
    defmt::info!("flowcast replay {} for {}", VERSION, NAME);
    let forecaster = FORECASTER.take();
    let choice = slot::choose(memory::slots(), |model| trust::bind(forecaster, model));
    let forecaster: Result<&mut Forecaster, ModelFault> = match choice {
        Ok(Choice { slot, .. }) => {
            defmt::info!("slot {=usize}", slot);
            Ok(forecaster)
        }
        Err([newer, _]) => {
            defmt::error!("no model that this firmware runs; the reason goes to every host that asks");
            Err(newer)
        }
    };
    let mut application = Application::new(forecaster, port, NoPin, Gauge);
    let rest = rest(&watchdog);
    loop {
        watchdog.feed();
        let mut bytes = [0; 64];
        let length = match select(receiver.read(&mut bytes), Timer::after(rest)).await {
            Either::First(Ok(length)) => length,
            // A line that is pulled low would fail again at once.
            Either::First(Err(_)) => {
                Timer::after_millis(100).await;
                0
            }
            Either::Second(()) => 0,
        };
        for byte in bytes.iter().take(length) {
            match application.take(*byte) {
                Ok(Event::Reset) => defmt::info!("reset"),
                Ok(_) => {}
                Err(_) => defmt::warn!("a reply did not go out"),
            }
        }
    }
}
