//! A board left alone, on this machine: its clock, its flash and its sensor misbehave, its power goes, and it goes on.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use embedded_storage::nor_flash::ReadNorFlash as _;
use flowcast_core::forecaster::Streaming;
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::snapshot::Snapshot as _;
use flowcast_core::warning::Warning;
use flowcast_core::wire::{Alert, ClockFault, ClockNotice, Gated, Reply};
use flowcast_firmware::calendar::{Calendar, MOST_S, NoCalendar};
use flowcast_firmware::logger::{Logger, Plan};
use flowcast_firmware::sampler::{Notice, Sampler};
use flowcast_firmware::sensor::{Fault, MAX_QUANTITIES, Quantity, Sensor};
use flowcast_firmware::station::{Clock, Ear, Event, Keeping, Start, Station, Watchdog};
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
    /// When the board started, where its timer begins.
    from_ms: u64,
    /// Parts in a thousand that the timer is too fast.
    fast: u64,
}

impl Wall<'_> {
    fn timer_ms(&self) -> u64 {
        (self.now_ms.get() - self.from_ms) * (1_000 + self.fast) / 1_000
    }
}

impl Clock for Wall<'_> {
    fn now_ms(&mut self) -> u64 {
        self.timer_ms()
    }

    async fn until(&mut self, ms: u64) {
        self.longest_ms.set(self.longest_ms.get().max(ms - self.timer_ms()));
        // Timers are late, never early.
        self.now_ms.set(self.from_ms + (ms * 1_000).div_ceil(1_000 + self.fast) + 3);
    }
}

/// A clock with a battery, on the same wall.
#[derive(Clone)]
struct Battery<'t> {
    now_ms: &'t Cell<u64>,
    /// Seconds that it is ahead.
    ahead_s: Cell<i64>,
    /// At which sample's time somebody sets it an hour ahead.
    set_at: Option<u64>,
    fault: Option<ClockFault>,
}

/// What it says at the start of the world.
const YEAR_24_S: i64 = 757_382_400;

impl<'t> Battery<'t> {
    fn new(now_ms: &'t Cell<u64>) -> Self {
        Self { now_ms, ahead_s: Cell::new(YEAR_24_S), set_at: None, fault: None }
    }

    fn ahead(now_ms: &'t Cell<u64>, seconds: i64) -> Self {
        Self { ahead_s: Cell::new(YEAR_24_S + seconds), ..Self::new(now_ms) }
    }
}

impl Calendar for Battery<'_> {
    fn now_s(&mut self) -> Result<Option<u32>, ClockFault> {
        let now_ms = self.now_ms.get();
        if self.set_at.is_some_and(|at| now_ms / INTERVAL_MS >= at) {
            self.set_at = None;
            self.ahead_s.set(self.ahead_s.get() + 3_600);
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Some((self.ahead_s.get() + (now_ms / 1_000) as i64) as u32)),
        }
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

/// Remembers what the clock had to say.
#[derive(Default)]
struct Told(Vec<ClockNotice>);

impl Telemetry for Told {
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

    fn clock(&mut self, notice: &ClockNotice) -> Result<(), Infallible> {
        self.0.push(notice.clone());
        Ok(())
    }

    fn forecast(&mut self, _: u32, _: &dyn Streaming) -> Result<(), Infallible> {
        Ok(())
    }

    fn next(&mut self, _: u32, _: &dyn Streaming) -> Result<(), Infallible> {
        Ok(())
    }

    fn reply(&mut self, _: &Reply) -> Result<(), Infallible> {
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
    /// What was told of the clock.
    clock: Vec<ClockNotice>,
    clock_faults: u32,
    /// When each was taken, by the wall's clock.
    taken_ms: Vec<u64>,
    says: Vec<u32>,
    longest_ms: u64,
}

/// A board from its reset at `now_ms` on, for so many samples.
fn live(model: &[u8], flash: &RefCell<Flash>, now_ms: &Cell<u64>, samples: usize, slow_at: Option<u64>) -> Life {
    live_with(model, flash, now_ms, samples, slow_at, (NoCalendar, 0))
}

/// The same with a calendar and a timer that is so many parts in a thousand too fast.
fn live_with(
    model: &[u8],
    flash: &RefCell<Flash>,
    now_ms: &Cell<u64>,
    samples: usize,
    slow_at: Option<u64>,
    (calendar, fast): (impl Calendar, u64),
) -> Life {
    let takes_ms = if slow_at.is_some() { 7_000 } else { 0 };
    let longest_ms = Cell::new(0);
    let mut sensor = Slow { now_ms, slow_at, takes_ms };
    let mut forecaster = Forecaster::new(model).unwrap();
    let mut buffer = vec![0; size_of::<Forecaster<'_>>()];
    assert!(forecaster.snapshot_bytes() <= buffer.len());
    let mut flash = flash.borrow_mut();
    let logger =
        Logger::new(&mut forecaster, model, Sampler::new([&mut sensor as &mut dyn Sensor]), Plan::DEFAULT).unwrap();
    let clock = Wall { now_ms, longest_ms: &longest_ms, from_ms: now_ms.get(), fast };
    let dog = Dog { now_ms, fed_ms: now_ms.get() };
    let bytes = flash.capacity() as u32;
    let store = Store::new(&mut *flash, 0..bytes);
    let keeping = Keeping { store, buffer: &mut buffer, samples_per_snapshot: EVERY };
    let (mut station, start) = Station::new(logger, Told::default(), Ear::deaf(), (clock, calendar), dog, keeping);
    let (mut events, mut taken_ms) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        events.push(now(station.step()));
        taken_ms.push(now_ms.get());
    }
    let says = says(station.logger().forecaster());
    let clock = std::mem::take(&mut station.telemetry().0);
    let clock_faults = station.logger().account().clock_faults;
    Life { start, events, clock, clock_faults, taken_ms, says, longest_ms: longest_ms.get() }
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
    assert_eq!(life.start, Start::From { samples: 96, lost: 4, dated: Ok(false) });
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
fn a_flash_that_is_full_keeps_what_it_has_and_stops_nothing() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    // Room for no snapshot; and for one, but not for a second beside it.
    for (pages, kept) in [(2, None), (9, Some(EVERY))] {
        let (flash, clock) = (RefCell::new(Flash::new(pages)), Cell::new(0));
        let life = live(model, &flash, &clock, 60, None);
        for event in &life.events {
            let due = (event.index + 1).is_multiple_of(EVERY);
            assert_eq!(event.kept, due.then_some(Some(event.index + 1) == kept), "{pages} pages: {event:?}");
        }
        let mut host = Forecaster::new(model).unwrap();
        (0..60).for_each(|sample| host.observe(&[value(sample * INTERVAL_MS)]));
        assert_eq!(life.says, says(&host));
        // After a reset it goes on from what was kept, if anything was.
        let life = live(model, &flash, &Cell::new(60 * INTERVAL_MS), 1, None);
        match (life.start, kept) {
            (Start::Anew, None) => {}
            (Start::From { samples, .. }, Some(expected)) => assert_eq!(samples, expected),
            found => panic!("{pages} pages: {found:?}"),
        }
    }
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
    let (wall, dog) = (Wall { now_ms: &clock, longest_ms: &longest_ms, from_ms: 0, fast: 0 }, Patient);
    let mut memory = Flash::new(PAGES);
    let store = Store::new(&mut memory, 0..(PAGES * PAGE) as u32);
    let keeping = Keeping { store, buffer: &mut buffer, samples_per_snapshot: 0 };
    let (mut station, _) = Station::new(logger, Told::default(), Ear::deaf(), (wall, NoCalendar), dog, keeping);
    now(station.step());
    clock.set(clock.get() + 4 * INTERVAL_MS + INTERVAL_MS / 2);
    let event = now(station.step());
    assert_eq!((event.missed, event.index, event.kept), (3, 4, None));
    assert_eq!(station.logger().account().samples, 5);
}

/// 100 samples, a time without power, and 50 more with another calendar.
fn cut<'t>(now_ms: &'t Cell<u64>, model: &[u8], intervals: f64, then: Battery<'t>) -> Life {
    let flash = RefCell::new(Flash::new(PAGES));
    live_with(model, &flash, now_ms, 100, None, (Battery::new(now_ms), 0));
    now_ms.set(now_ms.get() + (intervals * INTERVAL_MS as f64) as u64);
    live_with(model, &flash, now_ms, 50, None, (then, 0))
}

#[test]
fn a_clock_with_a_battery_tells_how_long_the_power_was_gone() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    // Three days and a bit; and less than an interval, after which the next sample is waited for.
    for (gone, index, late) in [(460.4, 559, 0.4), (0.3, 100, 0.0)] {
        let now_ms = Cell::new(0);
        let life = cut(&now_ms, model, gone, Battery::new(&now_ms));
        assert_eq!(life.start, Start::From { samples: 96, lost: 4, dated: Ok(true) });
        let first = life.events[0];
        assert_eq!((first.index, first.missed, first.calendar), (index, index - 100, None));
        // The grid is what it was: the first one is late, the others come to the second.
        let taken = |sample: usize| life.taken_ms[sample] as f64 / INTERVAL_MS as f64;
        assert!((taken(0) - f64::from(index) - late).abs() < 0.01, "{}", taken(0));
        for (more, event) in life.events.iter().enumerate().skip(1) {
            assert_eq!((event.index, event.missed, event.calendar), (index + more as u32, 0, None));
            assert!((taken(more) - f64::from(event.index)).abs() < 0.003, "{} at {}", event.index, taken(more));
        }
        let mut host = Forecaster::new(model).unwrap();
        for sample in 0..u64::from(index) + 50 {
            match sample {
                96..100 => host.observe_gap(1),
                100.. if sample < u64::from(index) => host.observe_gap(1),
                _ => host.observe(&[value(sample * INTERVAL_MS)]),
            }
        }
        assert_eq!(life.says, says(&host));
    }
}

#[test]
fn a_clock_that_jumped_meanwhile_is_told_and_not_believed() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let fault = |now_ms, fault| Battery { fault: Some(fault), ..Battery::new(now_ms) };
    let now_ms = &Cell::new(0);
    // The power comes back 10.5 intervals after the last sample.
    let passed = 10 * 600 + 300;
    for (then, expected) in [
        (Battery::ahead(now_ms, -86_400), ClockFault::Back(86_400 - passed)),
        (Battery::ahead(now_ms, 3 * i64::from(MOST_S)), ClockFault::Ahead(3 * MOST_S + passed)),
        (fault(now_ms, ClockFault::NoAnswer), ClockFault::NoAnswer),
        (fault(now_ms, ClockFault::Stopped), ClockFault::Stopped),
    ] {
        now_ms.set(0);
        let life = cut(now_ms, model, 10.5, then.clone());
        assert_eq!(life.start, Start::From { samples: 96, lost: 4, dated: Err(expected) });
        // As without one: at once, and the next ones on a grid of their own.
        for (more, event) in life.events.iter().enumerate() {
            assert_eq!((event.index, event.missed), (100 + more as u32, 0));
            assert_eq!(event.calendar, then.fault, "what it says later fits");
        }
        // Before the first sample already, and then as a sensor that fails; one that only jumped is believed again.
        let told = |index, fault, run, count| ClockNotice { index, fault, run, count };
        let lasts = then.fault.is_some();
        let mut notices = vec![told(100, Some(expected), 1, 1)];
        let mut run = 2;
        while lasts && run <= 1 + life.events.len() as u32 {
            notices.push(told(98 + run, Some(expected), run, run));
            run *= 2;
        }
        if !lasts {
            notices.push(told(100, None, 1, 1));
        }
        assert_eq!(life.clock, notices);
        assert_eq!(life.clock_faults, if lasts { 1 + life.events.len() as u32 } else { 1 });
    }
}

#[test]
fn a_clock_that_jumps_while_the_board_runs_moves_no_sample() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let (flash, now_ms) = (RefCell::new(Flash::new(PAGES)), Cell::new(0));
    let set = Battery { set_at: Some(40), ..Battery::new(&now_ms) };
    let life = live_with(model, &flash, &now_ms, 100, None, (set, 0));
    for (index, event) in life.events.iter().enumerate() {
        let expected = (index == 40).then_some(ClockFault::Ahead(3_600));
        assert_eq!((event.index as usize, event.missed, event.calendar), (index, 0, expected));
    }
    let [jumped, believed] = [(40, Some(ClockFault::Ahead(3_600))), (41, None)];
    let told = [jumped, believed].map(|(index, fault)| ClockNotice { index, fault, run: 1, count: 1 });
    assert_eq!((&life.clock[..], life.clock_faults), (&told[..], 1));
    // The power goes for a while; the clock is what it was set to, and the grid goes on.
    now_ms.set(now_ms.get() + 20 * INTERVAL_MS + INTERVAL_MS / 2);
    let life = live_with(model, &flash, &now_ms, 5, None, (Battery::ahead(&now_ms, 3_600), 0));
    assert_eq!(life.start, Start::From { samples: 96, lost: 4, dated: Ok(true) });
    assert_eq!((life.events[0].index, life.events[0].missed, life.events[0].calendar), (119, 19, None));
}

#[test]
fn a_clock_holds_a_timer_that_strays() {
    let model = model();
    let model: &[u8] = bytemuck::cast_slice(&model);
    const SAMPLES: usize = 30 * 144;
    let last = |calendar: bool| {
        let (flash, now_ms) = (RefCell::new(Flash::new(PAGES)), Cell::new(0));
        let life = match calendar {
            true => live_with(model, &flash, &now_ms, SAMPLES, None, (Battery::new(&now_ms), 10)),
            false => live_with(model, &flash, &now_ms, SAMPLES, None, (NoCalendar, 10)),
        };
        assert!(life.events.iter().all(|event| event.missed == 0 && event.calendar.is_none()) && life.clock.is_empty());
        (SAMPLES as u64 - 1) * INTERVAL_MS - life.taken_ms[SAMPLES - 1]
    };
    let (held, strayed) = (last(true), last(false));
    // 1 % of 30 days is seven hours; with a clock, less than two samples' worth of that.
    assert!((6 * 3_600_000..8 * 3_600_000).contains(&strayed), "{strayed}");
    assert!(held < 15_000, "{held}");
}

/// One that never bites.
struct Patient;

impl Watchdog for Patient {
    const PATIENCE_MS: u64 = 8_000;

    fn feed(&mut self) {}
}
