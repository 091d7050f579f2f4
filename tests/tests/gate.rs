//! Reporting by exception over the bundled measurements: a board and its gateway, with reports that are lost, late and
//! doubled, sensors that fail and samples that are not taken. Both ends are equal to the bit, and nothing that was filled in
//! is wrong by more than it may.

use flowcast::data::{ReadOptions, Series};
use flowcast::forecaster::{self, Kept};
use flowcast::gate::Replay;
use flowcast::gate::gateway::{Ask, Gateway, Report};
use flowcast_core::format::{MAX_CHANNELS, Numeric};
use flowcast_core::gate::{Gate, SILENCE};
use flowcast_core::presets::Preset;
use flowcast_core::wire::Gated;
use flowcast_tests::{Random, random_model_as};

const KEPT: usize = 16;
const ROWS: usize = 4_000;
type Board = Gate<MAX_CHANNELS, SILENCE, KEPT>;

fn model(numeric: Numeric) -> Vec<u32> {
    let bytes = random_model_as(numeric, &Preset::named("tiny").unwrap(), 2, 144, 40, 1);
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Temperature and humidity of the met mast, with a sensor that fails now and then.
fn samples() -> Vec<[f32; 2]> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mast_10min.csv.gz");
    let columns = vec!["T2m".into(), "RH2m".into()];
    let series = Series::read(&[path], &ReadOptions { columns, ..ReadOptions::default() }).unwrap();
    let sample = |row: usize| {
        let dead = row % 700 > 690;
        [if dead { f32::NAN } else { series.values[0][row] }, series.values[1][row]]
    };
    (0..ROWS).map(sample).collect()
}

fn errors(size: f32) -> [f32; MAX_CHANNELS] {
    let mut errors = [f32::MAX; MAX_CHANNELS];
    errors[..2].copy_from_slice(&[0.5 * size, 3.0 * size]);
    errors
}

fn state(forecaster: &(dyn Kept + Send)) -> Vec<u8> {
    let mut bytes = vec![0; forecaster.snapshot_bytes()];
    forecaster.snapshot(&mut bytes).unwrap();
    bytes
}

/// Checks that what the gateway has is what was measured, within the error.
fn check(values: &[[f32; MAX_CHANNELS]], samples: &[[f32; 2]], errors: &[f32; MAX_CHANNELS]) {
    assert_eq!(values.len(), samples.len());
    for (row, (values, sample)) in values.iter().zip(samples).enumerate() {
        for ((value, measured), error) in values.iter().zip(sample).zip(errors) {
            assert_eq!(value.is_nan(), measured.is_nan(), "sample {row}");
            assert!(value.is_nan() || (value - measured).abs() <= *error, "sample {row}: {value} for {measured}");
        }
    }
}

#[test]
fn both_ends_are_equal_to_the_bit_at_every_sample() {
    for numeric in [Numeric::F32, Numeric::I8] {
        let model = model(numeric);
        let model: &[u8] = bytemuck::cast_slice(&model);
        let samples = samples();
        for size in [0.5, 2.0] {
            let mut board = forecaster::open(model).unwrap();
            let mut gate = Board::new(errors(size));
            let mut gateway = Gateway::new(forecaster::open(model).unwrap());
            let mut forgetful = Gateway::new(forecaster::open(model).unwrap());
            let mut reports = 0;
            for (row, sample) in samples.iter().enumerate() {
                match gate.sample(board.as_mut(), sample) {
                    None => [&mut gateway, &mut forgetful].into_iter().for_each(Gateway::fill),
                    Some(report) => {
                        reports += 1;
                        // As it travels.
                        let report: Report = Gated::new(&report, 2).report();
                        assert_eq!(gateway.receive(&report).unwrap(), None);
                        assert_eq!(forgetful.receive(&report).unwrap(), None);
                        forgetful.forget_all_but(100);
                        assert!(forgetful.values().len() <= 200 + SILENCE);
                    }
                }
                if row % 97 == 0 || row + 1 == ROWS {
                    assert_eq!(state(board.as_ref()), state(gateway.forecaster()), "sample {row}");
                }
            }
            assert!(gateway.is_whole());
            check(gateway.values(), &samples, &errors(size));
            let last = forgetful.values();
            check(last, &samples[ROWS - last.len()..], &errors(size));
            assert!(last.len() >= 100 && forgetful.index() == gateway.index());
            assert!((ROWS / SILENCE..ROWS * 9 / 10).contains(&reports), "{reports} reports at {size}");
        }
    }
}

#[test]
fn what_is_lost_late_or_doubled_is_mended() {
    let model = model(Numeric::I8);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let samples = samples();
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let mut board = forecaster::open(model).unwrap();
        let mut gate = Board::new(errors(1.0));
        let mut gateway = Gateway::new(forecaster::open(model).unwrap());
        let mut late: Vec<Report> = Vec::new();
        let (mut asked, mut anew, mut broken) = (0, 0, 0);
        let mut ask = |gateway: &mut Gateway<'_>, gate: &mut Board, report: &Report| {
            let mut reply = gateway.receive(report).unwrap();
            // Half of what is asked for is lost too; then the next report leads to the same question.
            for _ in 0..2 {
                match reply {
                    Some(Ask::After(last)) => {
                        asked += 1;
                        let Some(again) = gate.after(last) else {
                            anew += 1;
                            gate.restart();
                            return;
                        };
                        for report in again.copied().collect::<Vec<_>>() {
                            if random.below(2) == 0 {
                                reply = gateway.receive(&report).unwrap();
                            }
                        }
                    }
                    Some(Ask::Anew) => return gate.restart(),
                    None => return,
                }
            }
        };
        let mut fate = Random::new(seed + 100);
        for (row, sample) in samples.iter().enumerate() {
            let report = gate.sample(board.as_mut(), sample);
            // The first sample and the last hundred have a line that works.
            let fate = if row == 0 || row + 100 > ROWS { 9 } else { fate.below(10) };
            match (report, fate) {
                (None, _) => gateway.fill(),
                (Some(_), 0) => gateway.fill(),
                (Some(report), 1) => {
                    late.push(report);
                    gateway.fill();
                }
                (Some(report), 2) => {
                    ask(&mut gateway, &mut gate, &report);
                    ask(&mut gateway, &mut gate, &report);
                }
                (Some(report), _) => ask(&mut gateway, &mut gate, &report),
            }
            if row % 5 == 0
                && let Some(report) = late.pop()
            {
                ask(&mut gateway, &mut gate, &report);
            }
            assert_eq!(gateway.index() as usize, row + 1);
            broken += usize::from(!gateway.is_whole());
        }
        assert!(gateway.is_whole() && asked > 100 && broken > 10, "{asked} {broken}");
        assert_eq!(state(board.as_ref()), state(gateway.forecaster()));
        // A gateway that gave up on reports has kept what it filled in; there was none here.
        assert_eq!(anew, 0);
        check(gateway.values(), &samples, &errors(1.0));
    }
}

#[test]
fn samples_that_were_not_taken_are_told_and_a_long_silence_starts_anew() {
    let model = model(Numeric::I8);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let samples = samples();
    let mut board = forecaster::open(model).unwrap();
    let mut gate = Board::new(errors(1.0));
    let mut gateway = Gateway::new(forecaster::open(model).unwrap());
    // Nothing can be built on before the board starts anew.
    let first = gate.sample(board.as_mut(), &samples[0]).unwrap();
    let second = Report { silent: Some(0), index: 1, ..first };
    assert_eq!(gateway.receive(&second).unwrap(), Some(Ask::Anew));
    // The first report is late: what was filled in without it was nothing.
    let mut gateway = Gateway::new(forecaster::open(model).unwrap());
    gateway.fill();
    assert!(!gateway.is_whole());
    assert_eq!(gateway.receive(&first).unwrap(), None);
    assert_eq!((gateway.index(), gateway.values().len()), (1, 1));
    assert_eq!(gateway.values()[0].map(f32::to_bits), first.values.map(f32::to_bits));
    for (row, sample) in samples.iter().enumerate().skip(1).take(999) {
        if (300..340).contains(&row) {
            gateway.fill(); // The gateway cannot know yet.
            gate.skip(board.as_mut(), 1);
            continue;
        }
        match gate.sample(board.as_mut(), sample) {
            None => gateway.fill(),
            Some(report) => assert_eq!(gateway.receive(&report).unwrap(), None, "sample {row}"),
        }
    }
    assert_eq!(state(board.as_ref()), state(gateway.forecaster()));
    let values = gateway.values();
    assert!(values[300..340].iter().flatten().all(|value| value.is_nan()) && values.len() == 1000);
    check(&values[..300], &samples[..300], &errors(1.0));
    check(&values[340..], &samples[340..1000], &errors(1.0));

    // A line that is dead for longer than the board keeps its reports.
    let before = gateway.index();
    for sample in &samples[1000..2000] {
        gate.sample(board.as_mut(), sample);
        gateway.fill();
    }
    assert!(gate.after(before - 1).is_none());
    gate.restart();
    for (row, sample) in samples.iter().enumerate().skip(2000) {
        match gate.sample(board.as_mut(), sample) {
            None => gateway.fill(),
            Some(report) => assert_eq!(gateway.receive(&report).unwrap(), None, "sample {row}"),
        }
    }
    assert_eq!(state(board.as_ref()), state(gateway.forecaster()));
    check(&gateway.values()[2000..], &samples[2000..], &errors(1.0));
}

/// Data that begin where nothing was seen yet, as a file of next month's does.
#[test]
fn a_replay_begins_with_the_first_sample() {
    let model = model(Numeric::I8);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mast_10min.csv.gz");
    let columns = vec!["T2m".into(), "RH2m".into()];
    let series = Series::read(&[path], &ReadOptions { columns, ..ReadOptions::default() }).unwrap().before(900);
    let start = state(forecaster::open(model).unwrap().as_ref());
    for lost in [0.0, 0.5] {
        let replay = Replay { model, series: &series, from: 0, start: &start, errors: &[0.5, 3.0] };
        let line = replay.run(lost, 1).unwrap();
        assert!(line.gate.messages > 0 && line.gate.largest_error <= 1.0, "{line:?}");
        assert_eq!(line.lost > 0, lost > 0.0);
    }
}
