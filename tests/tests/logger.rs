//! The firmware's logger on this machine, with sensors that fail in every way: the stream goes on, what is missing is
//! missing and counted, and what is there comes out to the bit.

use std::convert::Infallible;

use embedded_hal::delay::DelayNs;
use flowcast_core::forecaster::Streaming;
use flowcast_core::gate::{Filler, SILENCE};
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::warning::{Limit, Line, Side, Warning, Watch};
use flowcast_core::wire::{Alert, ClockFault, ClockNotice, Deframer, Gated, Reply, SensorNotice, Unfit};
use flowcast_firmware::calendar::{Calendar as _, Ds3231};
use flowcast_firmware::logger::{Gate, Logger, Plan};
use flowcast_firmware::sampler::{Notice, Sampler};
use flowcast_firmware::sensor::analog::Analog;
use flowcast_firmware::sensor::lis2dh12::Lis2dh12;
use flowcast_firmware::sensor::lm75::Lm75;
use flowcast_firmware::sensor::sht4x::Sht4x;
use flowcast_firmware::sensor::{Fault, MAX_QUANTITIES, Quantity, Sensor};
use flowcast_firmware::telemetry::{Frames, Telemetry};
use flowcast_tests::bus::{Bus, LM75, Wrong};
use flowcast_tests::{Random, random_model};

type Forecaster<'m> = Tiny<'m, 2, 256>;
const PERIOD: u32 = 24;

fn model(channels: usize) -> Vec<u32> {
    let bytes = random_model(&Preset::named("tiny").unwrap(), channels, PERIOD, 6, 1);
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// No wall passes here.
struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

/// A sensor that does what a script says.
struct Scripted<'s> {
    quantities: Vec<Quantity>,
    script: Box<dyn FnMut(u32) -> Result<[f32; MAX_QUANTITIES], Fault> + 's>,
    reads: u32,
    starts: u32,
}

impl<'s> Scripted<'s> {
    fn new(script: impl FnMut(u32) -> Result<[f32; MAX_QUANTITIES], Fault> + 's) -> Self {
        Self { quantities: vec![Quantity::new("°C", [-40.0, 85.0])], script: Box::new(script), reads: 0, starts: 0 }
    }
}

impl Sensor for Scripted<'_> {
    fn quantities(&self) -> &[Quantity] {
        &self.quantities
    }

    fn start(&mut self) -> Result<(), Fault> {
        self.starts += 1;
        Ok(())
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        self.reads += 1;
        *readings = (self.script)(self.reads - 1)?;
        Ok(())
    }
}

/// Remembers everything.
#[derive(Default)]
struct Heard {
    samples: Vec<(u32, Vec<f32>)>,
    alerts: Vec<Alert>,
    warnings: Vec<Warning>,
    reports: Vec<Gated>,
    notices: Vec<(u32, Notice)>,
    forecasts: Vec<(u32, Vec<u32>)>,
}

impl Telemetry for Heard {
    type Error = Infallible;

    fn sample(&mut self, index: u32, values: &[f32]) -> Result<(), Infallible> {
        self.samples.push((index, values.to_vec()));
        Ok(())
    }

    fn gated(&mut self, report: &Gated) -> Result<(), Infallible> {
        self.reports.push(report.clone());
        Ok(())
    }

    fn alert(&mut self, alert: &Alert) -> Result<(), Infallible> {
        self.alerts.push(alert.clone());
        Ok(())
    }

    fn warning(&mut self, warning: &Warning) -> Result<(), Infallible> {
        self.warnings.push(*warning);
        Ok(())
    }

    fn sensor(&mut self, index: u32, notice: Notice) -> Result<(), Infallible> {
        self.notices.push((index, notice));
        Ok(())
    }

    fn clock(&mut self, notice: &ClockNotice) -> Result<(), Infallible> {
        panic!("{notice:?}: there is no clock")
    }

    fn forecast(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), Infallible> {
        self.forecasts.push((index, forecast(forecaster)));
        Ok(())
    }

    fn next(&mut self, index: u32, _: &dyn Streaming) -> Result<(), Infallible> {
        panic!("sample {index}: nobody asked for it")
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), Infallible> {
        panic!("{reply:?}: nobody asked for it")
    }
}

/// Every value of every channel's forecast, its bits.
fn forecast(forecaster: &dyn Streaming) -> Vec<u32> {
    let mut all = Vec::new();
    for channel in 0..forecaster.header().channels {
        forecaster.for_each_step(channel.into(), &mut |_, step| all.extend(step.iter().map(|value| value.to_bits())));
    }
    all
}

fn wave(index: u32, random: &mut Random) -> f32 {
    20.0 + 6.0 * (index as f32 / PERIOD as f32 * core::f32::consts::TAU).sin() + random.symmetric()
}

#[test]
fn a_sensor_that_fails_is_missing_and_the_stream_goes_on_to_the_bit() {
    let model = model(2);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let mut random = Random::new(1);
    let mut truth = Vec::new();
    let mut flaky = Scripted::new(|index| {
        let value = wave(index, &mut random);
        let outcome = match index {
            60..65 => Err(Fault::NoAnswer),
            80 => Err(Fault::Checksum),
            90..92 => Ok([f32::NAN; 4]),
            100..103 => Ok([900.0; 4]),
            110 => Ok([f32::INFINITY; 4]),
            120.. => Err(Fault::Bus),
            _ => Ok([value; 4]),
        };
        truth.push(
            outcome.map_or(f32::NAN, |[value, ..]| if (-40.0..=85.0).contains(&value) { value } else { f32::NAN }),
        );
        outcome
    });
    let mut steady = Scripted::new(|index| Ok([index as f32 % 17.0; 4]));
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut flaky as &mut dyn Sensor, &mut steady]);
    let mut logger = Logger::new(&mut forecaster, model, sampler, Plan::DEFAULT).unwrap();
    let mut heard = Heard::default();
    for _ in 0..400 {
        logger.sample(&mut heard);
    }
    let account = logger.account();
    assert_eq!((account.samples, account.missing, account.undelivered), (400, 0, 0));
    assert_eq!([0, 1].map(|sensor| logger.sampler().failures(sensor)), [5 + 1 + 2 + 3 + 1 + 280, 0]);
    // Set up at first, and for each sample after a failure; none comes after the last.
    assert_eq!((flaky.starts, steady.starts), (1 + 291, 1));
    drop(flaky);

    let mut host = Forecaster::new(model).unwrap();
    let mut forecasts = heard.forecasts.iter();
    for (index, (value, sample)) in truth.iter().zip(&heard.samples).enumerate() {
        let expected = [*value, index as f32 % 17.0];
        assert_eq!(sample.0 as usize, index);
        assert_eq!(sample.1.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected.map(f32::to_bits), "{index}");
        host.observe(&expected);
        if host.is_ready() {
            assert_eq!(forecasts.next(), Some(&(index as u32, forecast(&host))));
        }
    }
    assert!(forecasts.next().is_none() && heard.forecasts.len() == 400 + 1 - PERIOD as usize);

    // Told at the 1st, 2nd, 4th, … failure in a row and at the return.
    let told: Vec<_> = heard.notices.iter().map(|(index, notice)| (*index, notice.fault, notice.run)).collect();
    let fault = |index, fault, run| (index, Some(fault), run);
    let mut expected = vec![
        fault(60, Fault::NoAnswer, 1),
        fault(61, Fault::NoAnswer, 2),
        fault(63, Fault::NoAnswer, 4),
        (65, None, 5),
        fault(80, Fault::Checksum, 1),
        (81, None, 1),
        fault(90, Fault::NotANumber, 1),
        fault(91, Fault::NotANumber, 2),
        (92, None, 2),
        fault(100, Fault::OutOfRange, 1),
        fault(101, Fault::OutOfRange, 2),
        (103, None, 3),
        fault(110, Fault::NotANumber, 1),
        (111, None, 1),
    ];
    expected.extend((0..9).map(|power| fault(120 + (1 << power) - 1, Fault::Bus, 1 << power)));
    assert_eq!(told, expected);
}

#[test]
fn a_strange_sample_makes_an_alert() {
    let model = model(1);
    let model: &[u8] = bytemuck::cast_slice(&model);
    // The forecast of a random model is nonsense, but the same nonsense: what is far from it is strange.
    let mut sensor = Scripted::new(|index| Ok([if index == 700 { 900.0 } else { 20.0 + (index % 2) as f32 }; 4]));
    sensor.quantities = vec![Quantity::new("°C", [-1_000.0, 1_000.0])];
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let plan = Plan { forecast_every: 0, alert_probability: 0.01, ..Plan::DEFAULT };
    let mut logger = Logger::new(&mut forecaster, model, sampler, plan).unwrap();
    let mut heard = Heard::default();
    (0..705).for_each(|_| _ = logger.sample(&mut heard));
    let Heard { alerts, forecasts, .. } = heard;
    assert!(forecasts.is_empty());
    let strange: Vec<_> = alerts.iter().filter(|alert| alert.index >= 600).collect();
    assert!(
        strange.iter().any(|alert| alert.index == 700 && alert.value == 900.0 && alert.surprise > 4.6),
        "{alerts:?}"
    );
    assert_eq!(logger.account().alerts as usize, alerts.len());
}

#[test]
fn a_limit_is_told_when_the_forecast_crosses_it_and_when_the_sensor_does() {
    let model = model(2);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let reading = |index: u32| wave(index, &mut Random::new(index.into()));
    let mut sensor = Scripted::new(|index| Ok([reading(index); 4]));
    let mut other = Scripted::new(|_| Ok([20.0; 4]));
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor, &mut other]);
    let limit = Limit { channel: 0, side: Side::Above, value: 24.0, margin: 1.0, line: Line::Near, within: 5 };
    let mut watches = [Watch::new(limit), Watch::new(Limit { side: Side::Below, value: -90.0, ..limit })];
    let plan = Plan { forecast_every: 0, ..Plan::DEFAULT };
    let mut logger = Logger::new(&mut forecaster, model, sampler, plan).unwrap().watching(&mut watches);
    let mut heard = Heard::default();
    (0..400).for_each(|_| _ = logger.sample(&mut heard));
    assert_eq!(logger.account().warnings as usize, heard.warnings.len());

    let mut host = Forecaster::new(model).unwrap();
    let mut warnings = heard.warnings.iter();
    let (mut ahead, mut reached) = (0, 0);
    let mut next = warnings.next();
    for index in 0..400 {
        host.observe(&[reading(index), 20.0]);
        let Some(warning) = next.filter(|warning| warning.index == index) else { continue };
        next = warnings.next();
        assert_eq!((warning.channel, warning.limit, warning.threshold), (0, 0, 24.0));
        if warning.steps_ahead == 0 {
            reached += 1;
            assert_eq!(warning.value, reading(index));
            assert!(warning.value > 24.0 && reading(index - 1) <= 24.0, "told as it crosses: {warning:?}");
            continue;
        }
        ahead += 1;
        let mut forecast = [0.0; 18];
        assert_eq!(host.forecast_into(0, &mut forecast), 18);
        // The highest of three quantiles is above the limit for the first time.
        let upper: Vec<f32> = forecast.chunks(3).map(|step| step[2]).collect();
        let first = upper.iter().position(|value| *value > 24.0).unwrap();
        assert_eq!((usize::from(warning.steps_ahead), warning.value), (first + 1, upper[first]));
        assert!(first < 5 && reading(index) <= 24.0);
    }
    assert!(next.is_none() && ahead > 3 && reached > 10, "{ahead} ahead, {reached} reached");
}

#[test]
fn what_is_no_measurement_crosses_no_limit() {
    let model = model(1);
    let model: &[u8] = bytemuck::cast_slice(&model);
    // The model believes up to 1,000.
    let mut sensor = Scripted::new(|index| Ok([if index % 97 == 96 { 5_000.0 } else { 20.0 + (index % 2) as f32 }; 4]));
    sensor.quantities = vec![Quantity::new("°C", [-10_000.0, 10_000.0])];
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let limit = Limit { channel: 0, side: Side::Above, value: 900.0, margin: 1.0, line: Line::Far, within: 5 };
    let mut watches = [Watch::new(limit)];
    let plan = Plan { forecast_every: 0, alert_probability: 0.01, ..Plan::DEFAULT };
    let mut logger = Logger::new(&mut forecaster, model, sampler, plan).unwrap().watching(&mut watches);
    let mut heard = Heard::default();
    (0..600).for_each(|_| _ = logger.sample(&mut heard));
    assert!(heard.warnings.is_empty(), "{:?}", heard.warnings);
    assert!(heard.alerts.iter().any(|alert| alert.value == 5_000.0), "an alert tells of it");
}

#[test]
fn a_gated_logger_tells_what_a_filler_does_not_expect() {
    let model = model(2);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let reading = |index: u32| wave(index, &mut Random::new(index.into()));
    let mut sensor = Scripted::new(|index| if index == 200 { Err(Fault::NoAnswer) } else { Ok([reading(index); 4]) });
    let mut other = Scripted::new(|_| Ok([20.0; 4]));
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor, &mut other]);
    let mut gate = Gate::new([2.0; 8]);
    let plan = Plan { forecast_every: 0, ..Plan::DEFAULT };
    let mut logger = Logger::new(&mut forecaster, model, sampler, plan).unwrap().gated(&mut gate);
    let mut heard = Heard::default();
    (0..300).for_each(|_| _ = logger.sample(&mut heard));
    logger.skip(10);
    (0..90).for_each(|_| _ = logger.sample(&mut heard));
    assert!(heard.samples.is_empty() && heard.reports.len() > 400 / SILENCE && heard.reports.len() < 390);

    let mut host = Forecaster::new(model).unwrap();
    let mut filler: Filler<8, SILENCE> = Filler::new();
    let mut reports = heard.reports.iter().map(Gated::report).peekable();
    for sample in 0..400 {
        if (300..310).contains(&sample) {
            filler.skip(&mut host, 1);
            continue;
        }
        let index = if sample < 300 { sample } else { sample - 10 };
        let measured = if index == 200 { f32::NAN } else { reading(index) };
        let value = match reports.next_if(|report| report.index == sample) {
            Some(report) => {
                assert_eq!((report.silent.is_none(), report.missed), (sample == 0, if sample == 310 { 10 } else { 0 }));
                filler.take(&mut host, &report);
                assert_eq!(report.values[0].to_bits(), measured.to_bits());
                measured
            }
            None => filler.fill(&mut host)[0],
        };
        let near = (value - measured).abs() <= 2.0 || value.is_nan() && measured.is_nan();
        assert!(near, "sample {sample}");
    }
    assert!(reports.next().is_none());
    assert_eq!(forecast(&host), forecast(&forecaster));

    // A board that goes on from a snapshot counts on, and has both ends start anew.
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor, &mut other]);
    let mut logger = Logger::new(&mut forecaster, model, sampler, plan).unwrap().gated(&mut gate);
    logger.resume(500);
    logger.skip(3);
    let mut heard = Heard::default();
    assert_eq!(logger.sample(&mut heard), 503);
    let report = &heard.reports[0];
    assert_eq!((report.index, report.missed, report.silent), (503, 3, None));
}

#[test]
fn a_line_that_fails_is_counted_and_costs_the_forecaster_nothing() {
    /// A port that takes some bytes and then no more.
    struct Cut(usize);
    impl embedded_io::ErrorType for Cut {
        type Error = embedded_io::ErrorKind;
    }
    impl embedded_io::Write for Cut {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, embedded_io::ErrorKind> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(embedded_io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> Result<(), embedded_io::ErrorKind> {
            Ok(())
        }
    }
    let model = model(1);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let run = |port: Cut| {
        let mut random = Random::new(5);
        let mut sensor = Scripted::new(|index| Ok([wave(index, &mut random); 4]));
        let mut forecaster = Forecaster::new(model).unwrap();
        let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
        let mut logger = Logger::new(&mut forecaster, model, sampler, Plan::DEFAULT).unwrap();
        let mut frames = Frames(port);
        (0..100).for_each(|_| _ = logger.sample(&mut frames));
        let undelivered = logger.account().undelivered;
        (undelivered, forecast(&forecaster))
    };
    let (none, whole) = run(Cut(usize::MAX));
    let (some, cut) = run(Cut(1_000));
    assert_eq!(none, 0);
    assert!(some > 100, "{some}");
    assert!(!whole.is_empty());
    assert_eq!(whole, cut);
}

#[test]
fn samples_that_were_not_taken_are_a_gap() {
    let model = model(1);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let mut sensor = Scripted::new(|index| Ok([wave(index, &mut Random::new(index.into())); 4]));
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let mut logger = Logger::new(&mut forecaster, model, sampler, Plan::DEFAULT).unwrap();
    let (mut host, mut heard) = (Forecaster::new(model).unwrap(), Heard::default());
    for index in 0..90_u32 {
        if index == 50 {
            logger.skip(7);
            host.observe_gap(7);
        }
        logger.sample(&mut heard);
        host.observe(&[wave(index, &mut Random::new(index.into()))]);
    }
    assert_eq!((logger.account().samples, logger.account().missing), (97, 7));
    assert_eq!(forecast(&forecaster), forecast(&host));
}

#[test]
fn sensors_of_another_number_or_unit_are_refused() {
    let model = model(2);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let refused = |sampler: Sampler<'_, 1>| {
        let forecaster = Forecaster::new(model).unwrap();
        sampler.check(forecaster.header(), model).expect_err("it is refused")
    };
    let unfit = refused(Sampler::new([&mut Lm75::new(Bus::default(), LM75)]));
    assert_eq!(unfit, Unfit::Count { found: 1, expected: 2 });
    assert_eq!(unfit.to_string(), "the board's sensors measure 1 quantities, its model has 2 channels");
    let unfit = refused(Sampler::new([&mut Sht4x::new(Bus::default(), NoDelay)]));
    assert_eq!(unfit.to_string(), "the board measures channel 1 in %, its model has it in °C");
    let mut forecaster = Forecaster::new(model).unwrap();
    let mut lm75 = Lm75::new(Bus::default(), LM75);
    let sampler = Sampler::new([&mut lm75 as &mut dyn Sensor]);
    let logger = Logger::new(&mut forecaster, model, sampler, Plan::DEFAULT);
    assert_eq!(logger.err(), Some(Unfit::Count { found: 1, expected: 2 }));
}

/// What a sensor says once, values and fault.
fn once(sensor: &mut dyn Sensor) -> (Vec<f32>, Option<Fault>) {
    let mut values = [0.0; 32];
    let mut fault = None;
    let mut sampler = Sampler::new([sensor]);
    let count = sampler.sample(&mut values, |notice| fault = notice.fault);
    (values[..count].to_vec(), fault)
}

#[test]
fn drivers_read_what_is_there_and_say_what_is_wrong() {
    let bus = Bus::default();
    {
        let mut world = bus.0.borrow_mut();
        world.lm75 = -328; // -20.5 °C
        world.sht40 = [0x6666, 0x8000];
        world.acceleration = [0, -1_000, 250];
    }
    let wrongs = [
        (Wrong::Unplugged, [Fault::NoAnswer; 3]),
        (Wrong::Held, [Fault::Bus; 3]),
        (Wrong::Impostor, [Fault::NotANumber, Fault::Checksum, Fault::OtherDevice]),
    ];
    let mut sensors: [Box<dyn Sensor>; 3] = [
        Box::new(Lm75::new(bus.clone(), LM75)),
        Box::new(Sht4x::new(bus.clone(), NoDelay)),
        Box::new(Lis2dh12::new(bus.clone(), false)),
    ];
    let expected = [vec![-20.5], vec![25.0, 56.5], vec![0.0, -1.0, 0.25]];
    for (index, (sensor, expected)) in sensors.iter_mut().zip(expected).enumerate() {
        let close = |found: &[f32]| found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 2e-3);
        let (values, fault) = once(sensor.as_mut());
        assert!(values.len() == expected.len() && close(&values) && fault.is_none(), "{values:?} {fault:?}");
        for (wrong, faults) in wrongs {
            bus.0.borrow_mut().wrong = wrong;
            let (values, fault) = once(sensor.as_mut());
            bus.0.borrow_mut().wrong = Wrong::Nothing;
            // An LM75 has no checksum and no name: what answers in its place reads 85 °C.
            if (index, wrong) == (0, Wrong::Impostor) {
                assert_eq!((values, fault), (vec![85.0], None));
                continue;
            }
            assert!(values.iter().all(|value| value.is_nan()), "{wrong:?} {values:?}");
            assert_eq!(fault, Some(faults[index]), "sensor {index}");
        }
        // Plugged in again, it works again: the accelerometer has forgotten its settings meanwhile.
        assert!(close(&once(sensor.as_mut()).0));
    }
    bus.0.borrow_mut().wrong = Wrong::Flipped;
    assert_eq!(once(sensors[1].as_mut()).1, Some(Fault::Checksum));
}

#[test]
fn a_converter_at_its_end_says_nothing() {
    let reading = std::cell::Cell::new(Ok(2_048));
    let volts = || Analog::new(|| reading.get(), 4_095, 3.3);
    let (values, fault) = once(&mut volts());
    assert!((values[0] - 1.6504).abs() < 1e-3 && fault.is_none());
    // A probe of 10 mV/K with 0.5 V at 0 °C, and one that falls.
    assert!((once(&mut volts().of("°C", 100.0, -50.0)).0[0] - 115.04).abs() < 0.01);
    assert!((once(&mut volts().of("%", -50.0, 120.0)).0[0] - 37.48).abs() < 0.01);
    for end in [0, 4_095] {
        reading.set(Ok(end));
        assert_eq!(once(&mut volts()).1, Some(Fault::OutOfRange));
        assert_eq!(once(&mut volts().of("%", -50.0, 120.0)).1, Some(Fault::OutOfRange));
    }
    reading.set(Err(Fault::Bus));
    assert_eq!(once(&mut volts()).1, Some(Fault::Bus));
}

#[test]
fn frames_carry_what_was_told() {
    let model = model(1);
    let model: &[u8] = bytemuck::cast_slice(&model);
    let mut sensor = Scripted::new(|index| if index < 30 { Ok([20.5; 4]) } else { Err(Fault::NoAnswer) });
    let mut forecaster = Forecaster::new(model).unwrap();
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let mut logger = Logger::new(&mut forecaster, model, sampler, Plan::DEFAULT).unwrap();
    let mut frames = Frames(Vec::new());
    (0..31).for_each(|_| _ = logger.sample(&mut frames));
    let gone = Some(ClockFault::Back(7));
    [None, gone, gone, gone, None, None].into_iter().for_each(|fault| logger.clock(&mut frames, 30, fault));
    assert_eq!((logger.account().missing, logger.account().clock_faults), (1, 3));
    let bytes = frames.0;
    let mut deframer = Deframer::new();
    let replies: Vec<Reply> =
        bytes.iter().filter_map(|byte| deframer.push(*byte)).map(|reply| reply.expect("a frame")).collect();
    let sampled = replies.iter().filter_map(|reply| match reply {
        Reply::Sampled(sampled) => Some(sampled),
        _ => None,
    });
    assert!(
        sampled
            .enumerate()
            .all(|(index, sampled)| sampled.index as usize == index && (sampled.values[0] == 20.5) == (index < 30))
    );
    let notice = SensorNotice { index: 30, sensor: 0, fault: Some(Fault::NoAnswer), run: 1, count: 1 };
    assert!(replies.contains(&Reply::Sensor(notice)));
    // At the first and the second of three in a row, and once when it is over.
    let clock = [(gone, 1, 1), (gone, 2, 2), (None, 3, 3)];
    let clock = clock.map(|(fault, run, count)| Reply::Clock(ClockNotice { index: 30, fault, run, count }));
    let told: Vec<_> = replies.iter().filter(|reply| matches!(reply, Reply::Clock(_))).collect();
    assert_eq!(told, clock.iter().collect::<Vec<_>>());
    let chunks: Vec<u32> = replies
        .iter()
        .filter_map(|reply| match reply {
            Reply::Forecast(chunk) if chunk.index == 30 => Some(chunk.values.iter().map(|value| value.to_bits())),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(chunks, forecast(&forecaster));
}

#[test]
fn a_clock_says_the_time_or_what_is_wrong() {
    let bus = Bus::default();
    let mut clock = Ds3231::new(bus.clone());
    // As it comes from the factory: it stood still (the state's highest bit). It is set, and goes on.
    bus.0.borrow_mut().clock[0x0F] = 0x80;
    assert_eq!(clock.now_s(), Err(ClockFault::Stopped));
    assert_eq!(clock.now_s(), Ok(Some(0)));
    assert_eq!(bus.0.borrow().clock[0x0F] & 0x80, 0);
    // 2024-02-29 23:59:58, a Thursday.
    bus.0.borrow_mut().clock[..7].copy_from_slice(&[0x58, 0x59, 0x23, 0x05, 0x29, 0x02, 0x24]);
    assert_eq!(clock.now_s(), Ok(Some(762_566_398)));
    // No date; and nobody there.
    bus.0.borrow_mut().clock[4] = 0x31;
    assert_eq!(clock.now_s(), Err(ClockFault::NoAnswer));
    for wrong in [Wrong::Unplugged, Wrong::Held] {
        bus.0.borrow_mut().wrong = wrong;
        assert_eq!(clock.now_s(), Err(ClockFault::NoAnswer), "{wrong:?}");
    }
}
