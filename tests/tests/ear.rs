//! A station that is asked: it answers between samples and while it listens, and whatever comes over the line changes neither
//! when it samples nor what it learns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use flowcast::file::AlignedBytes;
use flowcast::forecaster;
use flowcast::gate::gateway::{Ask, Gateway, Report};
use flowcast_core::forecaster::Streaming;
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::wire::{Deframer, FRAME_BYTES, PROTOCOL, Refusal, Reply, Request, encode};
use flowcast_firmware::calendar::NoCalendar;
use flowcast_firmware::logger::{Gate, Logger, Plan};
use flowcast_firmware::meter::Meter;
use flowcast_firmware::sampler::Sampler;
use flowcast_firmware::sensor::{Fault, MAX_QUANTITIES, Quantity, Sensor};
use flowcast_firmware::station::{Clock, Ear, Event, Keeping, Station, Watchdog};
use flowcast_firmware::store::Store;
use flowcast_firmware::telemetry::Frames;
use flowcast_tests::flash::{Flash, PAGE};
use flowcast_tests::{Random, random_model};

type Forecaster<'m> = Tiny<'m, 1, 256>;

/// The random model's.
const INTERVAL_MS: u64 = 600_000;
const WINDOW_MS: u64 = 2_000;
/// What passes while the board looks once.
const TICK_MS: u64 = 7;
const PAGES: usize = 40;
/// A byte's time at 115,200 baud is 0.087 ms.
const BYTES_PER_TICK: usize = 80;

fn model() -> AlignedBytes {
    AlignedBytes::from(&random_model(&Preset::named("tiny").unwrap(), 1, 24, 6, 1)[..])
}

/// What the sensor measures at the n-th sample.
fn value(sample: u64) -> f32 {
    20.0 + 6.0 * (sample as f32 * 0.26).sin() + Random::new(sample).symmetric()
}

/// The world outside the board.
#[derive(Default)]
struct World {
    now_ms: Cell<u64>,
    /// Bytes on their way to the board, by the time from which on they come.
    bytes: RefCell<VecDeque<(u64, Vec<u8>)>>,
    /// What the board said.
    said: RefCell<Vec<u8>>,
    /// Time during which the receiver was on.
    on_ms: Cell<u64>,
    /// Reads that were begun.
    reads: Cell<u64>,
    /// Whether the receiver is broken.
    broken: Cell<bool>,
}

impl World {
    fn send(&self, at_ms: u64, request: &Request) {
        self.send_bytes(at_ms, encode(request, &mut [0; FRAME_BYTES]));
    }

    fn send_bytes(&self, at_ms: u64, bytes: &[u8]) {
        self.bytes.borrow_mut().push_back((at_ms, bytes.to_vec()));
    }

    /// What the board has said since the last time.
    fn heard(&self) -> Vec<Reply> {
        let mut deframer = Deframer::new();
        let said = std::mem::take(&mut *self.said.borrow_mut());
        said.iter().filter_map(|byte| deframer.push(*byte)).map(Result::unwrap).collect()
    }
}

/// The clock moves while somebody waits for it, and only then.
struct Wall<'w>(&'w World);

impl Clock for Wall<'_> {
    fn now_ms(&mut self) -> u64 {
        self.0.now_ms.get()
    }

    async fn until(&mut self, ms: u64) {
        poll_fn(|_| {
            let now = self.0.now_ms.get() + TICK_MS;
            self.0.now_ms.set(now);
            if now >= ms { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

struct Receiver<'w>(&'w World);

impl embedded_io::ErrorType for Receiver<'_> {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io_async::Read for Receiver<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, embedded_io::ErrorKind> {
        let Self(world) = self;
        world.reads.set(world.reads.get() + 1);
        poll_fn(|_| {
            if world.broken.get() {
                return Poll::Ready(Err(embedded_io::ErrorKind::Other));
            }
            let now = world.now_ms.get();
            world.on_ms.set(world.on_ms.get() + TICK_MS);
            let mut waiting = world.bytes.borrow_mut();
            // What came while nobody listened is gone.
            while waiting
                .front()
                .is_some_and(|(at, bytes)| at + TICK_MS + (bytes.len() / BYTES_PER_TICK) as u64 * TICK_MS < now)
            {
                waiting.pop_front();
            }
            let Some((_, bytes)) = waiting.front_mut().filter(|(at, _)| *at <= now) else { return Poll::Pending };
            let length = bytes.len().min(buffer.len()).min(BYTES_PER_TICK);
            buffer[..length].copy_from_slice(&bytes[..length]);
            bytes.drain(..length);
            if bytes.is_empty() {
                waiting.pop_front();
            }
            Poll::Ready(Ok(length))
        })
        .await
    }
}

/// Sending takes its time.
struct Port<'w>(&'w World);

impl embedded_io::ErrorType for Port<'_> {
    type Error = Infallible;
}

impl embedded_io::Write for Port<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.said.borrow_mut().extend_from_slice(bytes);
        self.0.now_ms.set(self.0.now_ms.get() + bytes.len() as u64 / 12);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Dog<'w> {
    world: &'w World,
    fed_ms: u64,
}

impl Watchdog for Dog<'_> {
    const PATIENCE_MS: u64 = 8_000;

    fn feed(&mut self) {
        let now = self.world.now_ms.get();
        assert!(now - self.fed_ms <= Self::PATIENCE_MS, "fed at {} and not before {now}", self.fed_ms);
        self.fed_ms = now;
    }
}

struct Sun<'w>(&'w World);

const QUANTITY: [Quantity; 1] = [Quantity::new("°C", [-40.0, 85.0])];

impl Sensor for Sun<'_> {
    fn quantities(&self) -> &[Quantity] {
        &QUANTITY
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        readings[0] = value(self.0.now_ms.get() / INTERVAL_MS);
        Ok(())
    }
}

struct Gauge;

impl Meter for Gauge {
    fn instructions(&mut self, _: impl FnOnce()) -> Option<u32> {
        None
    }

    fn ram_bytes(&self) -> u32 {
        1_234
    }

    fn stack_bytes(&self) -> u32 {
        567
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// A station in a world, for so many samples; `before` acts before each, and hears what came since the one before. Returns
/// the events and the bits of the last forecast.
fn live(
    world: &World,
    model: &[u8],
    samples: u32,
    window_ms: u64,
    gate: Option<&mut Gate>,
    mut before: impl FnMut(u32, Vec<Reply>),
) -> (Vec<Event>, Vec<u32>) {
    let (mut sensor, mut forecaster) = (Sun(world), Forecaster::new(model).unwrap());
    let mut buffer = vec![0; size_of::<Forecaster<'_>>()];
    let mut flash = Flash::new(PAGES);
    let plan = Plan { forecast_every: 12, next: true, ..Plan::DEFAULT };
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let mut logger = Logger::new(&mut forecaster, model, sampler, plan).unwrap();
    if let Some(gate) = gate {
        logger = logger.gated(gate);
    }
    let store = Store::new(&mut flash, 0..(PAGES * PAGE) as u32);
    let keeping = Keeping { store, buffer: &mut buffer, samples_per_snapshot: 36 };
    let ear = Ear::new(Receiver(world), Gauge, window_ms);
    let dog = Dog { world, fed_ms: 0 };
    let (mut station, _) = Station::new(logger, Frames(Port(world)), ear, (Wall(world), NoCalendar), dog, keeping);
    let events = (0..samples).map(|sample| {
        before(sample, world.heard());
        run(station.step())
    });
    let events: Vec<Event> = events.collect();
    before(samples, world.heard());
    let mut says = Vec::new();
    station
        .logger()
        .forecaster()
        .for_each_step(0, &mut |_, step| says.extend(step.iter().map(|value| value.to_bits())));
    (events, says)
}

/// What nobody disturbed.
fn undisturbed(model: &[u8], samples: u32) -> Vec<u32> {
    let mut host = Forecaster::new(model).unwrap();
    (0..samples).for_each(|sample| host.observe(&[value(sample.into())]));
    let mut says = Vec::new();
    host.for_each_step(0, &mut |_, step| says.extend(step.iter().map(|value| value.to_bits())));
    says
}

fn on_the_grid(events: &[Event], world: &World) {
    assert!(
        events
            .iter()
            .enumerate()
            .all(|(index, event)| event.index as usize == index && event.missed == 0 && event.stored)
    );
    let last = (events.len() as u64 - 1) * INTERVAL_MS;
    assert!((last..last + 500).contains(&world.now_ms.get()), "no drift: {}", world.now_ms.get() - last);
}

#[test]
fn a_station_says_who_it_is_and_answers_between_samples() {
    let (model, world) = (model(), World::default());
    // Half a second after the 50th sample, one request after the other; all of them but three are for other boards.
    let values = [30.0].into_iter().collect();
    let refused = [
        Request::Samples { index: 50, forecast: true, values },
        Request::Gap { index: 50, samples: 9 },
        Request::Reset,
        Request::Sample { forecast: true },
        Request::Reports { after: None },
        Request::Hello { protocol: PROTOCOL + 1 },
    ];
    let asked = [Request::Hello { protocol: PROTOCOL }, Request::Stats];
    for (place, request) in asked.iter().chain(&refused).enumerate() {
        world.send(50 * INTERVAL_MS + 500 + 100 * place as u64, request);
    }
    let mut answers = Vec::new();
    let (events, says) = live(&world, &model, 120, WINDOW_MS, None, |sample, replies| match sample {
        0 => assert!(
            matches!(&replies[..], [Reply::Hello(hello)] if hello.channels == 1 && hello.horizon == 6),
            "{replies:?}"
        ),
        51 => {}
        52 => answers = replies,
        _ => assert!(
            replies.iter().all(|reply| matches!(reply, Reply::Sampled(_) | Reply::Forecast(_) | Reply::Alert(_)))
        ),
    });
    on_the_grid(&events, &world);
    assert_eq!(says, undisturbed(&model, 120));
    let closing: Vec<&Reply> = answers
        .iter()
        .filter(|reply| !matches!(reply, Reply::Sampled(_) | Reply::Forecast(_) | Reply::Alert(_)))
        .collect();
    assert_eq!(closing.len(), asked.len() + refused.len(), "{closing:?}");
    assert!(matches!(closing[0], Reply::Hello(_)));
    let Reply::Stats(stats) = closing[1] else { panic!("{closing:?}") };
    assert_eq!((stats.samples, stats.ram_bytes, stats.stack_bytes, stats.bad_frames), (51, 1_234, 567, 0));
    let refusals = [
        Refusal::OwnSensors,
        Refusal::OwnSensors,
        Refusal::OwnSensors,
        Refusal::OwnSensors,
        Refusal::NoGate,
        Refusal::Protocol { found: PROTOCOL + 1, expected: PROTOCOL },
    ];
    assert!(closing[2..].iter().zip(&refusals).all(|(reply, refusal)| **reply == Reply::Refused(refusal.clone())));
}

#[test]
fn each_sample_comes_with_what_is_expected_of_the_next() {
    let (model, world) = (model(), World::default());
    let (mut steps, mut whole) = (0, 0);
    live(&world, &model, 60, 0, None, |_, replies| {
        for reply in replies {
            match reply {
                Reply::Forecast(chunk) if chunk.values.len() == 3 => {
                    assert_eq!((chunk.steps_ahead, chunk.channel), (1, 0));
                    steps += 1;
                }
                Reply::Forecast(chunk) => {
                    assert_eq!(chunk.values.len(), 6 * 3);
                    whole += 1;
                }
                _ => {}
            }
        }
    });
    // From the 24th sample on, every twelfth of them as a whole.
    assert_eq!((whole, steps), (4, 60 + 1 - 24 - 4));
    assert_eq!((world.reads.get(), world.on_ms.get()), (0, 0), "without a window nobody listens");
}

#[test]
fn the_receiver_is_on_for_a_while_after_each_sample_and_longer_while_it_is_asked() {
    let (model, world) = (model(), World::default());
    // Too late: it sleeps.
    world.send(10 * INTERVAL_MS + WINDOW_MS + 500, &Request::Stats);
    // In time, and the second in the time that the first has given.
    world.send(20 * INTERVAL_MS + WINDOW_MS - 500, &Request::Stats);
    world.send(20 * INTERVAL_MS + 2 * WINDOW_MS - 1_000, &Request::Stats);
    let mut answers = [0; 30];
    live(&world, &model, 30, WINDOW_MS, None, |sample, replies| {
        if let Some(before) = (sample as usize).checked_sub(1) {
            answers[before] = replies.iter().filter(|reply| matches!(reply, Reply::Stats(_))).count();
        }
    });
    // A sample's step ends with it; what is asked after it is answered in the next.
    assert_eq!(answers.iter().enumerate().filter(|(_, count)| **count > 0).collect::<Vec<_>>(), [(21, &2)]);
    let share = world.on_ms.get() as f64 / (29.0 * INTERVAL_MS as f64);
    assert!((0.003..0.006).contains(&share), "{share}");
}

#[test]
fn noise_a_flood_and_a_broken_receiver_stop_nothing() {
    let model = model();
    // Bytes without an end, with and without frames in them, all the time.
    let world = World::default();
    let mut random = Random::new(1);
    for tick in 0..40 * INTERVAL_MS / 1_000 {
        let mut bytes: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
        if random.below(4) == 0 {
            bytes.extend_from_slice(encode(&Request::Stats, &mut [0; FRAME_BYTES]));
        }
        world.send_bytes(tick * 1_000, &bytes);
    }
    let (mut bad, mut stats) = (0, 0);
    let (events, says) = live(&world, &model, 40, u64::MAX, None, |_, replies| {
        for reply in replies {
            match reply {
                Reply::BadFrame { count, .. } => bad = count,
                Reply::Stats(_) => stats += 1,
                _ => {}
            }
        }
    });
    on_the_grid(&events, &world);
    assert_eq!(says, undisturbed(&model, 40));
    assert!(bad > 1_000 && stats > 1_000, "{bad} bad frames, {stats} answers");

    // A receiver that fails at once is not asked at once again.
    let world = World::default();
    world.broken.set(true);
    let (events, says) = live(&world, &model, 40, u64::MAX, None, |_, _| {});
    on_the_grid(&events, &world);
    assert_eq!(says, undisturbed(&model, 40));
    assert!(world.reads.get() < 40 * INTERVAL_MS / 100, "{}", world.reads.get());
}

#[test]
fn reports_that_were_lost_are_sent_again() {
    let (model, world) = (model(), World::default());
    let mut gate = Gate::new([2.0; 8]);
    let mut gateway = Gateway::new(forecaster::open(&model).unwrap());
    let (mut reports, mut lost, mut asked) = (0, 0, 0);
    live(&world, &model, 400, WINDOW_MS, Some(&mut gate), |sample, replies| {
        let mut ask = None;
        for reply in replies {
            let Reply::Gated(gated) = reply else { continue };
            let report: Report = gated.report();
            reports += 1;
            // What is sent again is not lost again here: `gate` tests that.
            if report.index + 1 == sample && report.silent.is_some() && sample < 380 && reports % 5 == 2 {
                lost += 1;
                continue;
            }
            ask = gateway.receive(&report).unwrap();
        }
        if let Some(Ask::After(after)) = ask {
            asked += 1;
            // The sample's own window is still open.
            world.send(world.now_ms.get() + 50, &Request::Reports { after: Some(after) });
        }
    });
    assert!(lost > 10 && asked >= lost / 2, "{lost} of {reports} lost, asked {asked} times");
    assert!(gateway.is_whole());
    let settled = gateway.settled().unwrap();
    assert!(settled > 360, "{settled}");
    for (sample, values) in gateway.values().iter().enumerate().take(settled as usize) {
        assert!((values[0] - value(sample as u64)).abs() <= 2.0, "sample {sample}");
    }
}
