//! `flowcast bench` on an emulated Cortex-M4F: what it counts is what the board counts, adds up, and does not grow.
//!
//! Needs what `emulated` needs.

use flowcast::bench::{Args, Kernel, Report, bench, model};
use flowcast::emulate::image;
use flowcast::emulate::machine::{Board, MACHINES, Machine};
use flowcast::emulate::session::Options;
use flowcast::forecaster;
use flowcast::inspect;
use flowcast::inspect::cost::Cost;
use flowcast::output::Output;
use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::Preset;

const MACHINE: Machine = MACHINES[0];

/// The most instructions for each multiply-accumulate, by shape: eight-bit weights, `f32`.
const MOST: [([u64; 2], [f64; 2]); 5] = [
    ([16, 16], [2.45, 5.15]),
    ([32, 32], [1.605, 4.20]),
    ([32, 64], [1.43, 4.15]),
    ([64, 32], [1.38, 3.80]),
    ([64, 64], [1.23, 3.75]),
];
/// The most instructions of an `observe` of the model with random weights, `small` and int8, and of its whole forecast.
const MOST_OBSERVE: u64 = 68_000;
const MOST_FORECAST: u64 = 97_100;
/// What it takes more where the board adapts its forecasts.
const MOST_ADAPTATION: u64 = 12_100;
/// The most instructions of an `observe` for each multiply-accumulate, of the same with preset `base`.
const MOST_OF_BASE: f64 = 2.25;
/// The most instructions for each multiply-accumulate of layers of 32 inputs and outputs or more on a Cortex-M0.
const MOST_ON_M0: f64 = 7.0;

fn args() -> Args {
    let numeric = "int8".to_owned();
    Args {
        board: MACHINE,
        model: None,
        preset: None,
        numeric,
        seed: 1,
        adapted: false,
        portable: false,
        cortex_m0: false,
    }
}

#[test]
fn counts_add_up_agree_with_the_boards_own_and_do_not_grow() {
    let args = args();
    let report = bench(&args, &Output::default()).unwrap();
    let Report { kernel, preset, numeric, kernels, observe, parts, forecast, cores, .. } = &report;
    assert_eq!((*kernel, *preset, *numeric), ("dsp", "small", "int8"));
    assert_eq!(cores, &["Cortex-M4F"]);

    let float = Args { numeric: "f32".to_owned(), ..args.clone() };
    let float = bench(&float, &Output::default()).unwrap();
    assert_eq!(float.numeric, "f32");
    for (weights, kernels) in [kernels, &float.kernels].into_iter().enumerate() {
        assert_eq!(kernels.len(), MOST.len());
        for (Kernel { shape, instructions, instructions_per_mac, cycles, weights: form }, (expected, most)) in
            kernels.iter().zip(MOST)
        {
            assert_eq!((*shape, form.as_str()), (expected, ["int8", "f32"][weights]));
            assert!(*instructions_per_mac <= most[weights], "{shape:?} {form}: {instructions_per_mac}");
            let [cycles] = cycles[..] else { panic!("{cycles:?}") };
            assert!(cycles.low > *instructions && cycles.high >= cycles.low, "{shape:?} {form}: {cycles:?}");
        }
    }
    assert!(observe.instructions <= MOST_OBSERVE, "{}", observe.instructions);
    assert!(forecast.instructions <= MOST_FORECAST, "{}", forecast.instructions);

    // Every part is there, and nearly nothing is no part's.
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    for name in ["Anomaly", "Memories", "Keys", "Embedding", "Projections", "Attention", "FeedForward", "Probe", "rest"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let whole: i64 = parts.iter().map(|part| part.instructions).sum();
    assert_eq!(whole, observe.instructions as i64);
    let rest = parts.last().unwrap().instructions;
    assert!(100 * rest.abs() <= whole, "{rest} of {whole}");

    // The board counts its own by its timer, in another program.
    let preset = Preset::named("small").unwrap();
    let model = model::random(&MACHINE, &preset, Numeric::I8, false, 1).unwrap();
    let rows: Vec<_> = (0..100).map(|row| vec![20.0 + (row % 24) as f32 / 5.0]).collect();
    let firmware = image::build(&MACHINE, preset.name, Numeric::I8).unwrap();
    let mut board = Board::start(&MACHINE, &firmware, &model, std::io::sink()).unwrap();
    let outcome = board.stream(forecaster::open(&model).unwrap().as_mut(), &rows, Options::default()).unwrap();
    let counted = u64::from(outcome.stats.instructions_max.unwrap());
    assert!(counted.abs_diff(observe.instructions) <= counted / 50, "{counted} and {}", observe.instructions);
}

#[test]
fn the_largest_preset_and_the_smallest_core_are_within_their_bounds() {
    let args = args();
    let base = bench(&Args { preset: Some("base".to_owned()), ..args.clone() }, &Output::default()).unwrap();
    let for_each = base.observe.instructions as f64 / base.observe.macs as f64;
    assert!(for_each <= MOST_OF_BASE, "{for_each}");
    foretold(&base, &MACHINE, "base", false, MACHINE.name);
    let adapted = bench(&Args { adapted: true, ..args.clone() }, &Output::default()).unwrap();
    assert!(adapted.observe.instructions <= MOST_OBSERVE + MOST_ADAPTATION, "{}", adapted.observe.instructions);
    foretold(&adapted, &MACHINE, "small", true, MACHINE.name);

    let microbit = Machine::named("microbit").unwrap();
    let small = bench(&Args { board: microbit, ..args.clone() }, &Output::default()).unwrap();
    let wide = small.kernels.iter().filter(|kernel| kernel.shape[0] >= 32);
    for Kernel { shape, instructions_per_mac, .. } in wide {
        assert!(*instructions_per_mac <= MOST_ON_M0, "{shape:?}: {instructions_per_mac}");
    }
    foretold(&small, &microbit, "tiny", false, "rp2040");
    // A Pico's processor runs what a micro:bit has no room for.
    let m3 = Machine::named("mps2-an385").unwrap();
    let roomy = bench(&Args { board: m3, cortex_m0: true, ..args }, &Output::default()).unwrap();
    assert_eq!((roomy.preset, roomy.kernel, &roomy.cores[..]), ("small", "thumb", &["Cortex-M0", "Cortex-M0+"][..]));
    foretold(&roomy, &m3, "small", false, "rp2040");
}

/// `flowcast inspect --board` foretells of a board of that processor what was counted, within 3 %.
fn foretold(report: &Report, machine: &Machine, preset: &str, adapted: bool, board: &str) {
    let preset = Preset::named(preset).unwrap();
    let model = model::random(machine, &preset, Numeric::I8, adapted, 1).unwrap();
    let header = Header::parse(&model).unwrap();
    let board =
        inspect::board::Board::named(board).unwrap().report(&header, &preset, &Cost::of(&header), header.interval_ms);
    for (foretold, counted) in [
        (board.instructions_per_observe, report.observe.instructions),
        (board.instructions_per_forecast, report.forecast.instructions),
    ] {
        let foretold = foretold.unwrap();
        assert!(foretold.abs_diff(counted) <= counted * 3 / 100, "{}: {foretold} of {counted}", machine.name);
    }
}
