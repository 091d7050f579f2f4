//! The firmware on emulated boards, through the same code as `flowcast emulate`: equal to the host to the bit,
//! the same instructions for each sample, and not to be disturbed by a bad line or a bad model.
//!
//! Needs `qemu-system-arm` and the firmware's Rust targets; `cargo verify` gets both.

use flowcast::emulate::image;
use flowcast::emulate::machine::{Board, MACHINES, Machine};
use flowcast::emulate::session::{MARKS, Options};
use flowcast::file::AlignedBytes;
use flowcast::forecaster;
use flowcast::inspect::cost::state_bytes;
use flowcast::link::LinkError;
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::Numeric;
use flowcast_core::presets::{PRESETS, Preset};
use flowcast_core::wire::{FRAME_BYTES, ModelFault, Refusal, Reply, Request, Stats, encode};
use flowcast_tests::{Random, random_model, random_model_as, random_model_with};

const MACHINE: Machine = MACHINES[0];

fn preset(name: &str) -> Preset {
    Preset::named(name).expect("a preset's name")
}

fn aligned(bytes: &[u8]) -> AlignedBytes {
    AlignedBytes::from(bytes)
}

/// A board with the firmware for f32 models of `preset` and these bytes where its model belongs.
fn board(preset: &str, model: &[u8]) -> Board {
    board_as(Numeric::F32, preset, model)
}

/// The same, for models of either form.
fn board_as(numeric: Numeric, preset: &str, model: &[u8]) -> Board {
    let firmware = image::build(&MACHINE, preset, numeric).expect("the firmware builds");
    Board::start(&MACHINE, &firmware, model, std::io::sink()).expect("the board starts")
}

/// A wave with noise: `[rows][channels]`.
fn wave(rows: usize, channels: usize, period: u32, random: &mut Random) -> Vec<Vec<f32>> {
    (0..rows)
        .map(|row| {
            let phase = row as f32 / period as f32 * core::f32::consts::TAU;
            (0..channels).map(|channel| 20.0 + 6.0 * (phase + channel as f32).sin() + random.symmetric()).collect()
        })
        .collect()
}

/// Takes values away: single ones, whole samples, and gaps of many lengths; puts in what sensors say when they fail.
fn spoil(rows: &mut [Vec<f32>], random: &mut Random) {
    let mut row = 0;
    while row < rows.len() {
        let channel = random.below(rows[row].len());
        match random.below(40) {
            0 => rows[row].fill(f32::NAN),
            1 => rows[row][channel] = f32::NAN,
            2 => rows[row][channel] = f32::INFINITY,
            3 => rows[row][channel] = 1e30,
            4 => rows[row][channel] = -0.0,
            5 => rows[row][channel] = f32::MIN_POSITIVE / 4.0,
            6 => {
                let end = (row + random.below(90)).min(rows.len());
                let nothing = vec![f32::NAN; rows[row].len()];
                rows[row..end].fill(nothing);
                row = end;
            }
            7 => {
                // Stuck for longer than the model allows.
                let (end, value) = ((row + random.below(80)).min(rows.len()), rows[row][channel]);
                rows[row..end].iter_mut().for_each(|sample| sample[channel] = value);
                row = end;
            }
            _ => {}
        }
        row += 1;
    }
}

/// Bytes as a bad line adds them: garbage, a cut frame, a frame without an end, a frame with a flipped bit.
fn noise(number: usize, random: &mut Random) -> (Vec<u8>, u32) {
    let mut buffer = [0; FRAME_BYTES];
    let frame = |buffer: &mut [u8; FRAME_BYTES]| {
        let request =
            Request::Samples { index: number as u32, forecast: true, values: [20.0; 3].into_iter().collect() };
        encode(&request, buffer).to_vec()
    };
    match random.below(12) {
        0 => ((0..1 + random.below(40)).map(|_| 1 + random.below(255) as u8).chain([0]).collect(), 1),
        1 => {
            let mut cut = frame(&mut buffer);
            cut.truncate(2 + random.below(cut.len() - 4));
            (cut, 1)
        }
        2 => (vec![0x55; 300 + random.below(2_000)], 1),
        3 => {
            let mut flipped = frame(&mut buffer);
            // Not a delimiter, and never to a zero, which would make two bad frames of it.
            let place = 1 + random.below(flipped.len() - 2);
            flipped[place] = if flipped[place] == 0x80 { 0x81 } else { flipped[place] ^ 0x80 };
            (flipped, 1)
        }
        4 => (vec![0; 1 + random.below(20)], 0),
        _ => (vec![], 0),
    }
}

#[test]
fn every_forecast_is_equal_to_the_hosts_whatever_the_samples() {
    let forms = [Numeric::F32, Numeric::I8];
    for ((seed, preset), numeric) in PRESETS.iter().enumerate().flat_map(|preset| forms.map(|form| (preset, form))) {
        let (channels, period) = [(1, 24), (3, 48), (2, 300)][seed];
        let mut random = Random::new(seed as u64);
        let model = aligned(&random_model_as(numeric, preset, channels, period, 30, seed as u64));
        let mut rows = wave(2_000 + 400 * seed, channels, period, &mut random);
        // The first period is whole, so that most samples have a forecast.
        spoil(&mut rows[period as usize..], &mut random);
        let mut host = forecaster::open(&model).unwrap();
        let mut board = board_as(numeric, preset.name, &model);
        let outcome = board.stream(host.as_mut(), &rows, Options::default()).unwrap();
        assert_eq!(outcome.difference, None, "{} {}", preset.name, numeric.name());
        assert_eq!(outcome.samples as usize, rows.len());
        assert_eq!(outcome.forecasts as usize, rows.len() + 1 - period as usize, "{}", preset.name);
        assert_eq!(outcome.values, u64::from(outcome.forecasts) * channels as u64 * 30 * 3);
        assert_eq!(outcome.stats.samples as usize, rows.len());
        let missing = rows.iter().filter(|sample| sample.iter().all(|value| !value.is_finite())).count();
        assert_eq!(outcome.stats.missing as usize, missing);
        assert_eq!(outcome.stats.bad_frames, 0);
        println!("{}: {:?}, {:.0} samples/s", preset.name, outcome.stats, rows.len() as f64 / outcome.seconds);
    }
}

/// In integers, with and without the DSP extension, with and without floating point in hardware.
#[test]
fn every_board_says_what_the_host_says() {
    for machine in MACHINES {
        // As large as the smallest board has room for: 96 slots, the seasonal attention's among them.
        let period = 8;
        let mut random = Random::new(17);
        let model = aligned(&random_model_as(Numeric::I8, &preset("tiny"), 1, period, 6, 17));
        let mut rows = wave(10_000, 1, period, &mut random);
        spoil(&mut rows[2 * period as usize..], &mut random);
        let mut host = forecaster::open(&model).unwrap();
        let firmware = image::build(&machine, "tiny", Numeric::I8).expect("the firmware builds");
        let mut board = Board::start(&machine, &firmware, &model, std::io::sink()).expect("the board starts");
        let outcome = board.stream(host.as_mut(), &rows, Options::default()).unwrap();
        println!("{}: {:?}, {:.0} samples/s", machine.name, outcome.stats, rows.len() as f64 / outcome.seconds);
        assert_eq!(outcome.difference, None, "{}", machine.name);
        assert_eq!(outcome.forecasts as usize, rows.len() + 1 - period as usize, "{}", machine.name);
        let used = outcome.stats.ram_bytes + outcome.stats.stack_bytes;
        assert!((used as usize) < machine.ram_bytes, "{}: {used} bytes of RAM", machine.name);
        assert!(outcome.stats.instructions_max.is_some(), "{} counts instructions", machine.name);
        let told = state_bytes(&preset("tiny"), Numeric::I8, machine.channels, machine.slots, true);
        assert_eq!(outcome.stats.state_bytes as usize, told, "{}: as `flowcast inspect` counts", machine.name);
    }
}

#[test]
fn sparse_forecasts_and_gaps_are_equal_too() {
    let mut random = Random::new(7);
    let mut rows = wave(6_000, 4, 144, &mut random);
    spoil(&mut rows[144..], &mut random);
    rows[2_000..3_500].fill(vec![f32::NAN; 4]);
    // A firmware that has room for an attention runs a model without one, too.
    for attention in [true, false] {
        let model = aligned(&random_model_with(attention, Numeric::F32, &preset("small"), 4, 144, 50, 7));
        let mut host = forecaster::open(&model).unwrap();
        let options = Options { every: 37, ..Options::default() };
        let outcome = board("small", &model).stream(host.as_mut(), &rows, options).unwrap();
        assert_eq!(outcome.difference, None);
        assert_eq!(outcome.forecasts as usize, 6_000 / 37 - 143 / 37);
    }
}

#[test]
fn a_difference_of_one_bit_is_found() {
    let model = random_model(&preset("tiny"), 1, 24, 5, 1);
    let mut rows = wave(200, 1, 24, &mut Random::new(1));
    let mut board = board("tiny", &model);
    let model = aligned(&model);
    // A host that sees one sample a bit off stands for a board that computes one a bit off.
    struct Off<'h>(Box<dyn Streaming + 'h>, u32);
    impl Streaming for Off<'_> {
        fn header(&self) -> &flowcast_core::format::Header {
            self.0.header()
        }
        fn observe(&mut self, sample: &[f32]) {
            self.1 += 1;
            let bit = u32::from(self.1 == 151);
            self.0.observe(&sample.iter().map(|value| f32::from_bits(value.to_bits() ^ bit)).collect::<Vec<_>>());
        }
        fn observe_gap(&mut self, samples: u32) {
            self.0.observe_gap(samples);
        }
        fn reset(&mut self) {
            self.0.reset();
        }
        fn is_ready(&self) -> bool {
            self.0.is_ready()
        }
        fn missing(&self, channel: usize) -> u32 {
            self.0.missing(channel)
        }
        fn state_bytes(&self) -> usize {
            self.0.state_bytes()
        }
        fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize {
            self.0.forecast_into(channel, out)
        }
        fn for_each_step(&self, channel: usize, each: &mut dyn FnMut(usize, &[f32])) -> bool {
            self.0.for_each_step(channel, each)
        }
    }
    rows[150][0] = 23.0;
    let mut host = Off(forecaster::open(&model).unwrap(), 0);
    let difference = board.stream(&mut host, &rows, Options::default()).unwrap().difference.expect("it differs");
    assert!((150..155).contains(&difference.sample), "{difference}");
}

#[test]
fn a_bad_line_costs_nothing_but_the_bad_frames() {
    let mut random = Random::new(3);
    let model = aligned(&random_model(&preset("tiny"), 3, 24, 12, 3));
    let rows = wave(2_000, 3, 24, &mut random);
    let mut host = forecaster::open(&model).unwrap();
    let mut board = board("tiny", &model);
    let mut bad = 0;
    let mut interfere = |number: usize| {
        let (bytes, count) = noise(number, &mut random);
        bad += count;
        bytes
    };
    let options = Options { noise: Some(&mut interfere), ..Options::default() };
    let outcome = board.stream(host.as_mut(), &rows, options).unwrap();
    assert_eq!(outcome.difference, None);
    assert_eq!(outcome.forecasts, 2_000 - 23);
    assert!(bad > 400, "{bad}");
    assert_eq!(outcome.stats.bad_frames, bad);
    assert_eq!(board.link().reported(), bad);
}

/// Two samples differ by less than this share of a sample's instructions: which probe is due, and whether one is; in integers
/// also what saturates.
const fn least_share(numeric: Numeric) -> u32 {
    match numeric {
        Numeric::F32 => 150,
        Numeric::I8 => 50,
    }
}

#[test]
fn a_sample_costs_the_same_at_every_age() {
    for numeric in [Numeric::F32, Numeric::I8] {
        costs_the_same_at_every_age(numeric);
    }
}

fn costs_the_same_at_every_age(numeric: Numeric) {
    let model = aligned(&random_model_as(numeric, &preset("tiny"), 1, 24, 4, 5));
    let rows = wave(100_000, 1, 24, &mut Random::new(5));
    let mut host = forecaster::open(&model).unwrap();
    let options = Options { every: 5_000, ..Options::default() };
    let outcome = board_as(numeric, "tiny", &model).stream(host.as_mut(), &rows, options).unwrap();
    assert_eq!(outcome.difference, None);
    println!("{:?} {:?} {:.0} samples/s", outcome.marks, outcome.stats, rows.len() as f64 / outcome.seconds);
    assert_eq!(outcome.marks.keys().copied().collect::<Vec<_>>(), MARKS);
    let first = outcome.marks[&MARKS[0]];
    let spread = first / least_share(numeric);
    assert!(outcome.marks.values().all(|count| count.abs_diff(first) <= spread), "{:?}", outcome.marks);
    let Stats { instructions_min: Some(least), instructions_max: Some(most), .. } = outcome.stats else { panic!() };
    assert!(most - least <= spread, "{least} to {most}");
}

/// What the board says to a greeting.
fn refusal(board: &mut Board) -> Refusal {
    match board.link().hello() {
        Err(LinkError::Refused(refusal)) => *refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn a_model_that_cannot_run_is_refused_with_the_reason_and_the_board_keeps_answering() {
    let good = random_model(&preset("tiny"), 2, 24, 4, 9);

    let mut other = board("tiny", &random_model(&preset("small"), 1, 24, 4, 9));
    let Refusal::Model(fault) = refusal(&mut other) else { panic!("not for its model") };
    assert!(matches!(fault, ModelFault::Backbone { found: 32, expected: 16, .. }), "{fault:?}");
    assert_eq!(fault.to_string(), "model has d_model 32, this board's firmware was built for 16");
    // Still there, and still refusing.
    assert_eq!(other.link().stats().unwrap().samples, 0);
    other.link().send(&Request::Samples { index: 0, forecast: true, values: [1.0].into_iter().collect() }).unwrap();
    assert!(matches!(other.link().receive().unwrap(), Reply::Refused(Refusal::Model(_))));

    let eight_bit = random_model_as(Numeric::I8, &preset("tiny"), 1, 24, 4, 9);
    let fault = refusal(&mut board("tiny", &eight_bit));
    assert_eq!(fault.to_string(), "model computes in int8, this board's firmware in f32");

    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(refusal(&mut board("tiny", &flipped)), Refusal::Model(ModelFault::Checksum { .. })));
    let cut = &good[..good.len() - 100];
    assert!(matches!(refusal(&mut board("tiny", cut)), Refusal::Model(ModelFault::Checksum { .. })));
    let mut version = good.clone();
    version[4] = 0xFE;
    let fault = refusal(&mut board("tiny", &version)).to_string();
    assert!(fault.contains("version 254"), "{fault}");
    assert!(matches!(refusal(&mut board("tiny", &[])), Refusal::Model(ModelFault::NotAModel { found: [0, 0, 0, 0] })));
    let wide = random_model(&preset("tiny"), 9, 24, 4, 9);
    assert!(matches!(refusal(&mut board("tiny", &wide)), Refusal::Model(ModelFault::Capacity { found: 9, .. })));
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let model = random_model(&preset("tiny"), 2, 24, 4, 11);
    let mut board = board("tiny", &model);
    let link = board.link();
    assert_eq!(link.hello().unwrap().channels, 2);
    link.send(&Request::Hello { protocol: 999 }).unwrap();
    let reply = link.receive().unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::Protocol { found: 999, expected: flowcast_core::wire::PROTOCOL }));
    for (index, values, refusal) in [
        (0, vec![1.0], Refusal::Channels { found: 1, expected: 2 }),
        (0, vec![], Refusal::Channels { found: 0, expected: 2 }),
        (0, vec![1.0; 3], Refusal::Channels { found: 3, expected: 2 }),
        (1, vec![1.0; 2], Refusal::Order { found: 1, expected: 0 }),
    ] {
        link.send(&Request::Samples { index, forecast: false, values: values.into_iter().collect() }).unwrap();
        assert_eq!(link.receive().unwrap(), Reply::Refused(refusal));
    }
    link.send(&Request::Gap { index: 5, samples: 5 }).unwrap();
    assert_eq!(link.receive().unwrap(), Reply::Refused(Refusal::Order { found: 5, expected: 0 }));
    assert_eq!(link.stats().unwrap().samples, 0);
}

#[test]
fn the_command_reads_files_and_fails_with_one_clear_line() {
    use flowcast::emulate::report::Data;
    use flowcast::emulate::{Args, run};
    use flowcast::measurements::{Measurements, Streamed};
    use flowcast::output::Output;

    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.flow");
    std::fs::write(&model, random_model(&preset("small"), 2, 144, 24, 13)).unwrap();
    let data = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mast_10min.csv.gz")];
    let measurements = Measurements { data, time: None, interval: None };
    let streamed = Streamed { model: model.clone(), measurements, columns: vec!["T2m".into(), "RH2m".into()] };
    let data = Data { streamed: streamed.clone(), samples: 300, every: 10 };
    let args = Args { data: data.clone(), machine: MACHINE, firmware: None, log: false };
    run(&args, &Output::new(false)).unwrap();

    let line = |args: Args| format!("{:#}", run(&args, &Output::new(false)).unwrap_err());
    let short = line(Args { data: Data { samples: 100, ..data.clone() }, ..args.clone() });
    assert!(short.starts_with("nothing to compare: no forecast within 100 samples, one period (144"), "{short}");
    let named = |columns| Data { streamed: Streamed { columns, ..streamed.clone() }, ..data.clone() };
    let missing = line(Args { data: named(vec![]), ..args.clone() });
    assert!(missing.contains("c0"), "{missing}");
    let count = line(Args { data: named(vec!["T2m".into()]), ..args.clone() });
    assert_eq!(count, "--column names 1 column, the model has 2 channels");
    let firmware = line(Args { firmware: Some(folder.path().join("no.elf")), ..args.clone() });
    assert!(firmware.contains("no.elf"), "{firmware}");
    std::fs::write(&model, b"FLOW").unwrap();
    let truncated = line(args);
    assert!(truncated.contains("model.flow") && truncated.contains("truncated"), "{truncated}");
}
