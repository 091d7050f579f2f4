//! A sensor on an emulated board: QEMU's TMP105 on the board's I²C wires, read by the firmware's logger, several days of
//! a met mast's temperature, and everything that happens to wires.
//!
//! Needs `qemu-system-arm` and the firmware's Rust target; `cargo verify` gets both.

use flowcast::data::{ReadOptions, Series};
use flowcast::emulate::image::{self, With};
use flowcast::emulate::machine::{Board, MACHINES, Machine};
use flowcast::emulate::monitor::Monitor;
use flowcast::file::AlignedBytes;
use flowcast::forecaster;
use flowcast::link::LinkError;
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::Numeric;
use flowcast_core::presets::Preset;
use flowcast_core::wire::{Alert, Refusal, Reply, Request, SensorFault, SensorNotice};
use flowcast_firmware::wiring::{self, Wires};
use flowcast_tests::random_model;

const MACHINE: Machine = MACHINES[0];
/// Samples of a day of the mast's.
const DAY: u32 = 144;
const SENSOR: &str = "tmp105,id=t0,address=0x48";

fn model(channels: usize) -> AlignedBytes {
    AlignedBytes::from(&*random_model(&Preset::named("small").unwrap(), channels, DAY, 24, 3))
}

fn board(model: &[u8], device: &str) -> (Board, Monitor) {
    let firmware =
        image::build_program(&MACHINE, "sensor", "small", Numeric::F32, With::default()).expect("the firmware builds");
    Board::start_with(&MACHINE, &firmware, model, std::io::sink(), &[device]).expect("the board starts")
}

/// The mast's temperature in thousandths of a degree, a gap filled with what was before it.
fn mast(samples: usize) -> Vec<i32> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mast_10min.csv.gz");
    let options = ReadOptions { time: None, columns: vec!["T2m".into()], interval: None };
    let series = Series::read(&[file], &options).unwrap();
    let mut last = 0.0;
    (0..samples)
        .map(|row| {
            let mut sample = [0.0];
            series.row(row, &mut sample);
            last = if sample[0].is_nan() { last } else { sample[0] };
            (last * 1_000.0).round() as i32
        })
        .collect()
}

/// What an LM75's driver reads of a TMP105: 1/256 °C, and of those the steps of 0.5 °C that nine bits tell.
fn quantised(milli_celsius: i32) -> f32 {
    let register = (i64::from(milli_celsius) * 0x8000 / 128_000) as i16;
    f32::from(register >> 7) * 0.5
}

/// What a board says of one sample.
#[derive(Debug, Default)]
struct Said {
    values: Vec<f32>,
    forecast: Vec<Vec<u32>>,
    notices: Vec<SensorNotice>,
    alerts: Vec<Alert>,
}

fn sample(board: &mut Board, index: u32) -> Said {
    let mut said = Said { forecast: vec![Vec::new()], ..Said::default() };
    let link = board.link();
    link.send(&Request::Sample { forecast: true }).unwrap();
    loop {
        match link.receive().unwrap() {
            Reply::Sampled(sampled) => {
                assert_eq!(sampled.index, index);
                said.values = sampled.values.to_vec();
            }
            Reply::Forecast(chunk) => {
                assert_eq!(chunk.index, index);
                said.forecast[usize::from(chunk.channel)].extend(chunk.values.iter().map(|value| value.to_bits()));
            }
            Reply::Sensor(notice) => said.notices.push(notice),
            Reply::Alert(alert) => said.alerts.push(alert),
            Reply::Observed(observed) => {
                assert_eq!(observed.index, index);
                return said;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn forecast(host: &dyn Streaming) -> Vec<u32> {
    let mut bits = Vec::new();
    host.for_each_step(0, &mut |_, step| bits.extend(step.iter().map(|value| value.to_bits())));
    bits
}

#[test]
fn days_of_a_real_sensor_come_out_as_the_hosts_whatever_happens_to_its_wires() {
    let model = model(1);
    let mut truth = mast(5 * DAY as usize);
    // Stuck for longer than the model allows, and two values that no sensor of this kind measures.
    let stuck = truth[400];
    truth[400..470].fill(stuck);
    truth[500..503].copy_from_slice(&[126_000, 127_900, -60_000]);
    let (mut board, mut monitor) = board(&model, SENSOR);
    let mut host = forecaster::open(&model).unwrap();
    let hello = board.link().hello().unwrap();
    assert_eq!((hello.channels, hello.model), (1, host.header().identity));
    let (mut notices, mut forecasts, mut readings) = (Vec::new(), 0, std::collections::BTreeSet::new());
    for (index, milli_celsius) in (0..).zip(&truth) {
        monitor.set_temperature("t0", *milli_celsius).unwrap();
        let said = sample(&mut board, index);
        let sound = wiring::at(index) == Wires::Sound && (-55_000..=125_000).contains(milli_celsius);
        let expected = if sound { quantised(*milli_celsius) } else { f32::NAN };
        assert_eq!(said.values.len(), 1);
        assert_eq!(said.values[0].to_bits(), expected.to_bits(), "sample {index}: {} {expected}", said.values[0]);
        host.observe(&[expected]);
        let own = forecast(host.as_ref());
        assert_eq!(said.forecast[0], own, "forecast after sample {index}");
        forecasts += u32::from(!own.is_empty());
        let anomaly = host.anomaly(0).unwrap();
        let alerts = said.alerts.iter().map(|alert| alert.surprise.to_bits()).collect::<Vec<_>>();
        assert_eq!(alerts, anomaly.alert(1e-3).then(|| anomaly.surprise.to_bits()).into_iter().collect::<Vec<_>>());
        notices.extend(said.notices);
        readings.extend(expected.is_finite().then_some((2.0 * expected) as i32));
    }
    assert_eq!(forecasts, 5 * DAY + 1 - DAY);
    assert!(readings.len() > 10, "the data move: {readings:?}");
    assert!(host.missing(0) > 21 + 41 + 3, "the stuck sensor is missing too: {}", host.missing(0));
    let stats = board.link().stats().unwrap();
    assert_eq!((stats.samples, stats.missing), (5 * DAY, 21 + 1 + 40 + 3));

    let told: Vec<_> = notices.iter().map(|notice| (notice.index, notice.fault, notice.run)).collect();
    let failing = |first: u32, fault, count: u32| {
        let runs = (0..6).map(|power| 1 << power).filter(move |run| *run <= count);
        runs.map(move |run| (first + run - 1, Some(fault), run)).chain([(first + count, None, count)])
    };
    let expected: Vec<_> = failing(180, SensorFault::NoAnswer, 21)
        .chain(failing(250, SensorFault::Bus, 1))
        .chain(failing(300, SensorFault::Bus, 40))
        .chain(failing(500, SensorFault::OutOfRange, 3))
        .collect();
    assert_eq!(told, expected);
    println!("{stats:?}");
}

#[test]
fn a_sensor_that_was_never_there_stops_nothing() {
    let model = model(1);
    let (mut board, _monitor) = board(&model, "tmp105,id=t0,address=0x49");
    let mut host = forecaster::open(&model).unwrap();
    let mut told = Vec::new();
    for index in 0..150 {
        let said = sample(&mut board, index);
        assert!(said.values.len() == 1 && said.values[0].is_nan());
        host.observe(&[f32::NAN]);
        assert_eq!(said.forecast[0], forecast(host.as_ref()));
        told.extend(said.notices.iter().map(|notice| (notice.fault, notice.run)));
    }
    assert_eq!(told, (0..8).map(|power| (Some(SensorFault::NoAnswer), 1 << power)).collect::<Vec<_>>());
}

#[test]
fn a_board_with_its_own_sensor_refuses_what_is_not_for_it() {
    let (mut unfit, _monitor) = board(&model(2), SENSOR);
    let Err(LinkError::Refused(refusal)) = unfit.link().hello() else { panic!("not with two channels") };
    assert_eq!(refusal.to_string(), "the board's sensors measure 1 quantities, its model has 2 channels");
    let (mut fit, _monitor) = board(&model(1), SENSOR);
    let link = fit.link();
    link.send(&Request::Samples { index: 0, forecast: true, values: [20.0].into_iter().collect() }).unwrap();
    assert_eq!(link.receive().unwrap(), Reply::Refused(Refusal::OwnSensors));
    link.send_bytes(&[0x55, 0x55, 0]).unwrap();
    sample(&mut fit, 0);
    assert_eq!((fit.link().reported(), fit.link().stats().unwrap().samples), (1, 1));
    fit.link().reset().unwrap();
    sample(&mut fit, 0);

    let firmware = image::build(&MACHINE, "tiny", Numeric::F32).unwrap();
    let tiny = random_model(&Preset::named("tiny").unwrap(), 1, 24, 4, 1);
    let mut without = Board::start(&MACHINE, &firmware, &tiny, std::io::sink()).unwrap();
    without.link().send(&Request::Sample { forecast: false }).unwrap();
    assert_eq!(without.link().receive().unwrap(), Reply::Refused(Refusal::NoSensors));
}
