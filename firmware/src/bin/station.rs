//! The firmware for a real board with a sensor: it samples by a timer, sleeps in between, forecasts, tells, answers, keeps its
//! state in flash, and starts again by a watchdog where anything hangs.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(clippy::result_large_err, reason = "there is no heap to put a refusal's words on")]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!(
        "built for the wrong target: cargo build -p flowcast-firmware --bin station --target thumbv6m-none-eabi --profile firmware --no-default-features --features board-pico,preset-tiny,numeric-int8 (or another board's target)"
    );
}

#[cfg(target_os = "none")]
use defmt_rtt as _;
#[cfg(target_os = "none")]
use panic_probe as _;

#[cfg(target_os = "none")]
#[embassy_executor::main]
async fn main(_spawner: embassy_executor::Spawner) {
    use flowcast_core::{
        forecaster::Streaming,
        slot::{self, Choice},
        warning::Watch,
        wire::{Refusal, Reply},
    };
    use flowcast_firmware::{
        application::VERSION,
        board::{self, LISTENS_MS, NAME, gauge::Gauge, journal::Journal, limits::WATCHES, memory, timer::Timer, trust},
        logger::{Logger, Plan},
        sampler::Sampler,
        state::Forecaster,
        station::{Ear, Event, Keeping, SAMPLES_PER_SNAPSHOT, Start, Station},
        telemetry::Frames,
    };
    use static_cell::ConstStaticCell;

    static FORECASTER: ConstStaticCell<Forecaster> = ConstStaticCell::new(Forecaster::unbound());
    static LIMITS: ConstStaticCell<[Watch; WATCHES.len()]> = ConstStaticCell::new(WATCHES);
    // No snapshot is larger than the state that it is of.
    static BUFFER: ConstStaticCell<[u8; size_of::<Forecaster>()]> = ConstStaticCell::new([0; _]);

    let (bus, port, receiver, watchdog, store) = board::take();
    defmt::info!("flowcast station {} for {}", VERSION, NAME);
    let forecaster = FORECASTER.take();

    #[cfg(feature = "clock-ds3231")]
    let shared = core::cell::RefCell::new(bus);
    #[cfg(feature = "clock-ds3231")]
    let (bus, calendar) = {
        use embedded_hal_bus::i2c::RefCellDevice;
        (RefCellDevice::new(&shared), flowcast_firmware::calendar::Ds3231::new(RefCellDevice::new(&shared)))
    };
    #[cfg(not(feature = "clock-ds3231"))]
    let calendar = flowcast_firmware::calendar::NoCalendar;

    #[cfg(feature = "sensor-sht4x")]
    let mut sensor = flowcast_firmware::sensor::sht4x::Sht4x::new(bus, embassy_time::Delay);
    #[cfg(feature = "sensor-lis2dh12")]
    let mut sensor = flowcast_firmware::sensor::lis2dh12::Lis2dh12::new(bus, false);
    #[cfg(not(any(feature = "sensor-sht4x", feature = "sensor-lis2dh12")))]
    let mut sensor = flowcast_firmware::sensor::lm75::Lm75::new(bus, 0x48);

    let sampler = Sampler::new([&mut sensor]);
    let mut frames = Frames(port);
    let choice = slot::choose(memory::slots(), |model| {
        trust::bind(forecaster, model).map_err(Refusal::Model)?;
        sampler.check(forecaster.header(), model).map_err(Refusal::Unfit)
    });
    let refused = match &choice {
        Ok(choice) => choice.refused.as_ref(),
        Err([newer, _]) => Some(newer),
    };
    if let Some(refusal) = refused {
        defmt::warn!("the newer model does not run here; the reason goes over the line");
        // Nobody may be there.
        let _ = frames.send(&Reply::Refused(refusal.clone()));
        let _ = embedded_io::Write::flush(&mut frames.0);
    }
    let Ok(Choice { slot, bytes: model, .. }) = choice else {
        // The watchdog starts it again, with whatever models lie there then.
        defmt::panic!("no model that this firmware runs");
    };
    defmt::info!(
        "slot {=usize}, model {=u32:08x}: {} channels, a sample every {} ms",
        slot,
        forecaster.header().identity,
        forecaster.header().channels,
        forecaster.header().interval_ms
    );

    let plan = Plan { forecast_every: SAMPLES_PER_SNAPSHOT, next: true, ..Plan::DEFAULT };
    let Ok(logger) = Logger::new(forecaster, model, sampler, plan) else {
        defmt::panic!("the sensor is not what the model was trained on");
    };
    let logger = logger.watching(LIMITS.take());
    #[cfg(gated)]
    let logger = {
        use flowcast_firmware::{board::errors::ERRORS, logger::Gate};
        static GATE: ConstStaticCell<Gate> = ConstStaticCell::new(Gate::new(ERRORS));
        defmt::info!("tells what a gateway would not expect");
        logger.gated(GATE.take())
    };
    let ear = Ear::new(receiver, Gauge, LISTENS_MS);
    let keeping = Keeping { store, buffer: BUFFER.take(), samples_per_snapshot: SAMPLES_PER_SNAPSHOT };
    let (mut station, start) = Station::new(logger, Journal(frames), ear, (Timer, calendar), watchdog, keeping);
    match start {
        Start::Anew => defmt::info!("starting anew"),
        Start::From { samples, lost, dated } => {
            defmt::info!("going on after {=u32} samples, {=u32} of which are lost", samples + lost, lost);
            match dated {
                Ok(true) => {}
                Ok(false) => defmt::info!("how long it was without power, no clock says"),
                Err(_) => defmt::warn!("how long it was without power, the clock does not say"),
            }
        }
    }
    loop {
        // What is wrong with the clock is told already.
        let Event { index, missed, kept, stored, .. } = station.step().await;
        if missed > 0 {
            defmt::warn!("{=u32} samples missed before sample {=u32}", missed, index);
        }
        if kept == Some(false) || !stored {
            defmt::warn!("sample {=u32}: the flash took nothing", index);
        }
    }
}
