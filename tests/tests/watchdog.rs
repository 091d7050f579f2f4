//! A board that hangs, panics and overflows its stack: its watchdog resets it, and it goes on from its snapshot to the bit.
//! And a stack that overflows is a fault on every board, before anything else is overwritten.
//!
//! Needs `qemu-system-arm` and the firmware's Rust targets; `cargo verify` gets both.

use std::time::Duration;

use flowcast::emulate::image::{self, With};
use flowcast::emulate::machine::{Board, MACHINES, Machine};
use flowcast::file::AlignedBytes;
use flowcast::inspect::board::STACK_BYTES;
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::Numeric;
use flowcast_core::presets::{PRESETS, Preset, Small};
use flowcast_core::q20::Q20;
use flowcast_core::snapshot::Snapshot as _;
use flowcast_core::wire::{Reply, Stats};
use flowcast_firmware::drill::{LAST, SAMPLES_PER_SNAPSHOT, SCHEDULE, reading};
use flowcast_tests::random_model_as;

const MACHINE: Machine = MACHINES[0];

type Forecaster<'m> = Small<'m, 1, 256, Q20>;

fn model() -> AlignedBytes {
    AlignedBytes::from(&*random_model_as(Numeric::I8, &Preset::named("small").unwrap(), 1, 24, 6, 1))
}

fn says(forecaster: &dyn Streaming) -> Vec<u32> {
    let mut bits = Vec::new();
    if forecaster.is_ready() {
        forecaster.for_each_step(0, &mut |_, step| bits.extend(step.iter().map(|value| value.to_bits())));
    }
    bits
}

/// What the board tells of each sample: its value, and the forecast after it.
fn told(board: &mut Board) -> (Vec<(f32, Vec<u32>)>, Stats) {
    let mut samples: Vec<(f32, Vec<u32>)> = Vec::new();
    loop {
        match board.link().receive().unwrap() {
            Reply::Sampled(sampled) => {
                assert_eq!(sampled.index as usize, samples.len(), "each sample once, none left out");
                samples.push((sampled.values[0], Vec::new()));
            }
            Reply::Forecast(chunk) => {
                let (_, said) = samples.last_mut().unwrap();
                said.extend(chunk.values.iter().map(|value| value.to_bits()));
            }
            Reply::Stats(stats) => return (samples, stats),
            // It says who it is each time that it starts.
            Reply::Alert(_) | Reply::Hello(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_watchdog_resets_whatever_hangs_and_the_station_goes_on() {
    let model = model();
    let firmware =
        image::build_program(&MACHINE, "watched", "small", Numeric::I8, With::default()).expect("the firmware builds");
    let mut board = Board::start(&MACHINE, &firmware, &model, std::io::sink()).unwrap();
    let (samples, stats) = told(&mut board);
    assert_eq!(samples.len() as u32, LAST + 1);

    let mut host = Forecaster::new(&model).unwrap();
    let mut undisturbed = Forecaster::new(&model).unwrap();
    let mut snapshot = vec![0; size_of::<Forecaster<'_>>()];
    let (mut kept, mut differ) = (0, 0);
    for (sample, (value, said)) in (0..).zip(&samples) {
        if SCHEDULE.iter().any(|(when, _)| *when == sample) {
            // What came after the snapshot is lost, and known to be.
            host.restore(&snapshot[..kept]).unwrap();
            host.observe_gap(sample % SAMPLES_PER_SNAPSHOT);
        }
        assert_eq!(value.to_bits(), reading(sample).to_bits(), "sample {sample}");
        host.observe(&[*value]);
        undisturbed.observe(&[*value]);
        assert_eq!(*said, says(&host), "forecast after sample {sample}");
        differ += u32::from(*said != says(&undisturbed));
        if (sample + 1) % SAMPLES_PER_SNAPSHOT == 0 {
            kept = host.snapshot(&mut snapshot).unwrap();
        }
    }
    assert!(differ > 20, "a reset leaves a trace: {differ}");
    assert_eq!(stats.samples, LAST + 1);
}

/// What a station of each preset takes of its stack, with snapshots and forecasts: for README, and within what
/// `firmware/memory/*.x` reserve.
#[test]
fn no_station_takes_half_of_its_stack() {
    for preset in PRESETS {
        for numeric in [Numeric::I8, Numeric::F32] {
            let firmware = image::build_program(&MACHINE, "watched", preset.name, numeric, With::default())
                .expect("the firmware builds");
            let model = random_model_as(numeric, &preset, 1, 24, 6, 1);
            let mut board = Board::start(&MACHINE, &firmware, &model, std::io::sink()).unwrap();
            let (_, Stats { stack_bytes, .. }) = told(&mut board);
            println!(
                "station, {:5} {:4} on {}: {stack_bytes} bytes of stack",
                preset.name,
                numeric.name(),
                MACHINE.name
            );
            assert!(stack_bytes < STACK_BYTES as u32 / 2, "{} {}: {stack_bytes}", preset.name, numeric.name());
        }
    }
}

#[test]
fn a_stack_that_overflows_is_a_fault_on_every_board() {
    for machine in MACHINES {
        let firmware = image::build_program(&machine, "overflow", "tiny", Numeric::I8, With::default())
            .expect("the firmware builds");
        let board = Board::start(&machine, &firmware, &[], std::io::sink()).unwrap();
        let end = board.finish(Duration::from_secs(60)).unwrap_err().to_string();
        assert!(end.contains("the firmware's stack overflowed"), "{}: {end}", machine.name);
    }
}
