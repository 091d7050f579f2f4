//! A board left alone, on this machine: its clock, its flash and its sensor misbehave, its power goes, and it goes on.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use flowcast_core::forecaster::Streaming;
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::snapshot::Snapshot as _;
use flowcast_core::warning::Warning;
use flowcast_core::wire::{Alert, Gated};
use flowcast_firmware::logger::{Logger, Plan};
use flowcast_firmware::sampler::{Notice, Sampler};
use flowcast_firmware::sensor::{Fault, MAX_QUANTITIES, Quantity, Sensor};
use flowcast_firmware::station::{Clock, Event, Start, Station, Watchdog};
use flowcast_firmware::store::Store;
use flowcast_firmware::telemetry::Telemetry;
use flowcast_tests::flash::{Flash, PAGE};
use flowcast_tests::{Random, random_model};

const PAGES: usize = 40;
/// The random model's.
const INTERVAL_MS: u64 = 600_000;
const EVERY: u32 = 12;

type Forecaster<'m> = Tiny<'m, 1, 256>;

fn model() -> Vec<u32> {
    let bytes = random_model(&Preset::named("tiny").unwrap(), 1, 24, 6, 1);
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// What the sensor measures at a time.
fn value(ms: u64) -> f32 {
    let sample = (ms / INTERVAL_MS) as f32;
    20.0 + 6.0 * (sample * 0.26).sin() + Random::new(ms / INTERVAL_MS).symmetric()
}

/// Nobody waits here: time jumps to where somebody sleeps until.
struct Wall<'t> {
    now_ms: &'t Cell<u64>,
    /// The longest sleep.
    longest_ms: &'t Cell<u64>,
}

impl Clock for Wall<'_> {
    fn now_ms(&mut self) -> u64 {
        self.now_ms.get()
    }

    async fn until(&mut self, ms: u64) {
        self.longest_ms.set(self.longest_ms.get().max(ms - self.now_ms.get()));
        // Timers are late, never early.
        self.now_ms.set(ms + 3);
    }
}

/// Bites where it was not fed in time.
struct Dog<'t> {
    now_ms: &'t Cell<u64>,
    fed_ms: u64,
}

impl Watchdog for Dog<'_> {
    const PATIENCE_MS: u64 = 8_000;

    fn feed(&mut self) {
        let now = self.now_ms.get();
        assert!(now - self.fed_ms <= Self::PATIENCE_MS, "fed at {} and not before {now}", self.fed_ms);
        self.fed_ms = now;
    }
}

/// A sensor that takes its time when it is told to.
struct Slow<'t> {
    now_ms: &'t Cell<u64>,
    slow_at: Option<u64>,
    takes_ms: u64,
}

const QUANTITY: [Quantity; 1] = [Quantity::new("°C", [-40.0, 85.0])];

impl Sensor for Slow<'_> {
    fn quantities(&self) -> &[Quantity] {
        &QUANTITY
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        let now = self.now_ms.get();
        readings[0] = value(now);
        if self.slow_at.is_some_and(|at| now / INTERVAL_MS == at) {
            self.now_ms.set(now + self.takes_ms);
        }
        Ok(())
    }
}

struct Nobody;

impl Telemetry for Nobody {
    type Error = Infallible;

    fn sample(&mut self, _: u32, _: &[f32]) -> Result<(), Infallible> {
        Ok(())
    }

    fn gated(&mut self, _: &Gated) -> Result<(), Infallible> {
        Ok(())
    }

    fn alert(&mut self, _: &Alert) -> Result<(), Infallible> {
        Ok(())
    }

    fn warning(&mut self, _: &Warning) -> Result<(), Infallible> {
        Ok(())
    }

    fn sensor(&mut self, _: u32, _: Notice) -> Result<(), Infallible> {
        Ok(())
    }

    fn forecast(&mut self, _: u32, _: &dyn Streaming) -> Result<(), Infallible> {
        Ok(())
    }
}

fn says(forecaster: &dyn Streaming) -> Vec<u32> {
    let mut bits = Vec::new();
    forecaster.for_each_step(0, &mut |_, step| bits.extend(step.iter().map(|value| value.to_bits())));
    bits
}

/// What a board did between two resets.
struct Life {
    start: Start,
    events: Vec<Event>,
    says: Vec<u32>,
    longest_ms: u64,
}

/// A board from its reset at `now_ms` on, for so many samples.
fn live(model: &[u8], flash: &RefCell<Flash>, now_ms: &Cell<u64>, samples: usize, slow_at: Option<u64>) -> Life {
    let takes_ms = if slow_at.is_some() { 7_000 } else { 0 };
    let longest_ms = Cell::new(0);
    let mut sensor = Slow { now_ms, slow_at, takes_ms };
    let mut forecaster = Forecaster::new(model).unwrap();
    let mut buffer = vec![0; size_of::<Forecaster<'_>>()];
    assert!(forecaster.snapshot_bytes() <= buffer.len());
    let mut flash = flash.borrow_mut();
    let logger =
        Logger::new(&mut forecaster, model, Sampler::new([&mut sensor as &mut dyn Sensor]), Plan::DEFAULT).unwrap();
    let clock = Wall { now_ms, longest_ms: &longest_ms };
    let dog = Dog { now_ms, fed_ms: now_ms.get() };
    let store = Store::new(&mut *flash, 0..(PAGES * PAGE) as u32);
    let (mut station, start) = Station::new(logger, Nobody, clock, dog, store, &mut buffer, EVERY);
    let events = (0..samples).map(|_| now(station.step())).collect();
    let says = says(station.logger().forecaster());
    Life { start, events, says, longest_ms: longest_ms.get() }
}

/// Runs what never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing waits here"),
    }
}

#[test]
fn samples_fall_on_a_grid_and_the_watchdog_is_fed() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let (flash, clock) = (RefCell::new(Flash::new(PAGES)), Cell::new(0));
    let life = live(model, &flash, &clock, 100, None);
    assert_eq!(life.start, Start::Anew);
    assert!(life.events.iter().enumerate().all(|(index, event)| event.index as usize == index
        && event.missed == 0
        && event.stored
        && event.kept == (index % 12 == 11).then_some(true)));
    assert!((99 * INTERVAL_MS..99 * INTERVAL_MS + 10).contains(&clock.get()), "no drift: {}", clock.get());
    assert!(life.longest_ms <= Dog::PATIENCE_MS / 2);
    let mut host = Forecaster::new(model).unwrap();
    (0..100).for_each(|sample| host.observe(&[value(sample * INTERVAL_MS)]));
    assert_eq!(life.says, says(&host));
}

#[test]
fn after_a_reset_it_goes_on_at_the_right_phase() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let (flash, clock) = (RefCell::new(Flash::new(PAGES)), Cell::new(0));
    live(model, &flash, &clock, 100, None);
    // A watchdog's reset: the time until the next sample passes, the clock begins at 0, the sensor's world goes on.
    let reset = Cell::new(100 * INTERVAL_MS);
    let life = live(model, &flash, &reset, 50, None);
    assert_eq!(life.start, Start::From { samples: 96, lost: 4 });
    assert_eq!(life.events[0].index, 100);
    let mut host = Forecaster::new(model).unwrap();
    for sample in 0..150 {
        match sample {
            96..100 => host.observe_gap(1),
            _ => host.observe(&[value(sample * INTERVAL_MS)]),
        }
    }
    assert_eq!(life.says, says(&host));
    // Another model's snapshot is not gone on from.
    let other = random_model(&Preset::named("tiny").unwrap(), 1, 24, 6, 2);
    let other: Vec<u32> = other.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let life = live(bytemuck::cast_slice(&other), &flash, &reset, 1, None);
    assert_eq!((life.start, life.events[0].index), (Start::Anew, 0));
}

#[test]
fn a_flash_that_fails_stops_nothing() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let (flash, clock) = (RefCell::new(Flash::new(PAGES)), Cell::new(0));
    flash.borrow_mut().cut_after(1_000, 1);
    let life = live(model, &flash, &clock, 60, None);
    assert!(life.events[0].stored && !life.events[59].stored && life.events[59].kept == Some(false));
    let mut host = Forecaster::new(model).unwrap();
    (0..60).for_each(|sample| host.observe(&[value(sample * INTERVAL_MS)]));
    assert_eq!(life.says, says(&host));
}

#[test]
fn samples_that_something_slow_took_are_a_gap() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let (flash, clock) = (RefCell::new(Flash::new(PAGES)), Cell::new(0));
    let life = live(model, &flash, &clock, 40, Some(20));
    assert!(life.events.iter().all(|event| event.missed == 0), "7 s are within an interval");
    // Whoever stops the world between two samples (a debugger) costs as many as passed.
    clock.set(clock.get() + 3 * INTERVAL_MS + INTERVAL_MS / 2);
    let mut sensor = Slow { now_ms: &clock, slow_at: None, takes_ms: 0 };
    let mut forecaster = Forecaster::new(model).unwrap();
    let mut buffer = vec![0; size_of::<Forecaster<'_>>()];
    let logger =
        Logger::new(&mut forecaster, model, Sampler::new([&mut sensor as &mut dyn Sensor]), Plan::DEFAULT).unwrap();
    let longest_ms = Cell::new(0);
    let (wall, dog) = (Wall { now_ms: &clock, longest_ms: &longest_ms }, Patient);
    let mut memory = Flash::new(PAGES);
    let store = Store::new(&mut memory, 0..(PAGES * PAGE) as u32);
    let (mut station, _) = Station::new(logger, Nobody, wall, dog, store, &mut buffer, 0);
    now(station.step());
    clock.set(clock.get() + 4 * INTERVAL_MS + INTERVAL_MS / 2);
    let event = now(station.step());
    assert_eq!((event.missed, event.index, event.kept), (3, 4, None));
    assert_eq!(station.logger().account().samples, 5);
}

/// One that never bites.
struct Patient;

impl Watchdog for Patient {
    const PATIENCE_MS: u64 = 8_000;

    fn feed(&mut self) {}
}
