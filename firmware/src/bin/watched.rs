//! The station on an emulated board that hangs, panics and overflows its stack by a schedule (`flowcast_firmware::drill`):
//! the board's watchdog resets it, and it goes on from the snapshot that memory kept. Its clock runs as fast as it can.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!(
        "built for the wrong target: cargo build -p flowcast-firmware --bin watched --target thumbv7em-none-eabihf --profile firmware"
    );
}

#[cfg(target_os = "none")]
use defmt_semihosting as _;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    use core::cell::Cell;

    use flowcast_core::forecaster::Streaming as _;
    use flowcast_core::wire::{Reply, Stats};
    use flowcast_firmware::{
        board::{kept, memory, take, trust, watchdog::Dog},
        calendar::NoCalendar,
        drill::{self, Lapse, Mishap, Scheduled},
        logger::{Logger, Plan},
        meter::Meter as _,
        ram::Ram,
        sampler::Sampler,
        state::Forecaster,
        station::{Ear, Keeping, Station},
        store::Store,
        telemetry::Frames,
    };
    use static_cell::ConstStaticCell;

    static FORECASTER: ConstStaticCell<Forecaster> = ConstStaticCell::new(Forecaster::unbound());
    static BUFFER: ConstStaticCell<[u8; size_of::<Forecaster>()]> = ConstStaticCell::new([0; _]);

    let (Some((port, _, meter)), Some(kept), Some(dog)) = (take(), kept::take(), Dog::start()) else {
        defmt::panic!("the board's devices are taken once, here");
    };
    let forecaster = FORECASTER.take();
    let model = memory::model();
    if trust::bind(forecaster, model).is_err() {
        defmt::panic!("no model that this firmware runs");
    }
    let (resets, sample) = (kept.resets, Cell::new(0));
    let mut sensor = Scheduled { resets, sample: &sample };
    let Ok(logger) = Logger::new(forecaster, model, Sampler::new([&mut sensor]), Plan::DEFAULT) else {
        defmt::panic!("the sensor is not what the model was trained on");
    };
    let bytes = kept.bytes.len() as u32;
    let store = Store::new(Ram(&mut kept.bytes), 0..bytes);
    let keeping = Keeping { store, buffer: BUFFER.take(), samples_per_snapshot: drill::SAMPLES_PER_SNAPSHOT };
    let clocks = (Lapse::default(), NoCalendar);
    let (mut station, _) = Station::new(logger, Frames(port), Ear::deaf(), clocks, dog, keeping);
    loop {
        sample.set(station.logger().account().samples);
        match drill::at(resets, sample.get()) {
            Some(Mishap::Loop) => drill::hang(),
            Some(Mishap::Panic) => defmt::panic!("as the schedule says"),
            Some(Mishap::Stack) => {
                drill::overflow(0);
            }
            Some(Mishap::Bus) | None => {}
        }
        if drill::at_once(station.step()).is_some_and(|event| event.index == drill::LAST) {
            let state_bytes = station.logger().forecaster().state_bytes() as u32;
            let account = station.logger().account();
            let stats = Stats {
                samples: account.samples,
                missing: account.missing,
                bad_frames: 0,
                clock_faults: account.clock_faults,
                ram_bytes: meter.ram_bytes(),
                state_bytes,
                stack_bytes: meter.stack_bytes(),
                instructions_min: None,
                instructions_max: None,
            };
            // A line that fails is found out by whoever waits for this.
            let _ = station.telemetry().send(&Reply::Stats(stats));
        }
    }
}
