//! A board that is left alone: it samples by a timer, sleeps in between, keeps its state in flash and goes on from it.
//!
//! Samples fall on a grid from the start on (`pace`); those that were missed because something took too long are a gap, and
//! where there is a clock with a battery (`calendar`), those that fell into a time without power too. The
//! watchdog is fed while the station waits, in steps that it allows, and only there and after each sample: whatever hangs
//! (a bus, a driver, this program) resets the board, which then goes on from its last snapshot.
//!
//! ```text
//! sample, tell ─ listen for a while, answer ─ sleep ──────────────────── sample, tell ─ …
//! ```
//!
//! A receiver that is on may cost more than the rest of a board that sleeps, so a station hears a host only for a while after each
//! sample, and for as long again after each answer; a board that gains nothing by that listens always. A sample that is due comes
//! before anything that a host may send.

use core::convert::Infallible;

use embassy_futures::select::{Either, select};
use embedded_io_async::{ErrorType, Read};
use embedded_storage::nor_flash::NorFlash;
use flowcast_core::forecaster::Streaming;
use flowcast_core::snapshot::Snapshot;
use flowcast_core::wire::{ClockFault, Reply};

use crate::answer::Desk;
use crate::application::hello;
use crate::calendar::Calendar;
use crate::logger::Logger;
use crate::meter::Meter;
use crate::pace::{Dated, Due, Pace};
use crate::store::Store;
use crate::telemetry::Telemetry;

/// How often an image keeps a snapshot and sends a whole forecast. Six hours of samples every ten minutes: 44 years of an
/// nRF52840's flash (the test `store` computes it).
pub const SAMPLES_PER_SNAPSHOT: u32 = 36;

/// Time on a board.
pub trait Clock {
    /// Milliseconds since the start.
    fn now_ms(&mut self) -> u64;

    /// Sleeps until then.
    fn until(&mut self, ms: u64) -> impl Future<Output = ()>;
}

/// What resets a board that hangs.
pub trait Watchdog {
    /// How long it may go without being fed; a station feeds it at half of that.
    const PATIENCE_MS: u64;

    /// Not yet.
    fn feed(&mut self);
}

/// What happened at one sample, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The sample.
    pub index: u32,
    /// Samples that were missed before it.
    pub missed: u32,
    /// Whether a snapshot was due, and whether it was kept.
    pub kept: Option<bool>,
    /// Whether the flash took what this sample had for it.
    pub stored: bool,
    /// What is wrong with the calendar.
    pub calendar: Option<ClockFault>,
}

/// What a station started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing was kept, or nothing of this model.
    Anew,
    /// A snapshot after so many samples, and as many more of which only the count is known.
    From {
        /// Samples of the snapshot.
        samples: u32,
        /// Samples after it.
        lost: u32,
        /// Whether a calendar says how long it was without power: those samples are missed before the next one. Where it is
        /// out of order, why.
        dated: Result<bool, ClockFault>,
    },
}

/// What a station hears with, and what it tells of itself.
#[derive(Debug)]
pub struct Ear<PORT, METER> {
    port: PORT,
    meter: METER,
    window_ms: u64,
    desk: Desk,
    /// It listens until then.
    until_ms: u64,
}

/// How long a receiver that fails is left alone.
const PAUSE_MS: u64 = 100;

impl<PORT, METER> Ear<PORT, METER> {
    /// Listens for so long after each sample; `u64::MAX`: always.
    pub const fn new(port: PORT, meter: METER, window_ms: u64) -> Self {
        Self { port, meter, window_ms, desk: Desk::new(), until_ms: 0 }
    }

    /// Listens from now on.
    const fn open(&mut self, now_ms: u64) {
        self.until_ms = now_ms.saturating_add(self.window_ms);
    }
}

/// No way back to a station, and nothing told of it.
#[derive(Clone, Copy, Debug)]
pub struct Deaf;

impl ErrorType for Deaf {
    type Error = Infallible;
}

impl Read for Deaf {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, Infallible> {
        core::future::pending().await
    }
}

impl Meter for Deaf {
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32> {
        work();
        None
    }

    fn ram_bytes(&self) -> u32 {
        0
    }

    fn stack_bytes(&self) -> u32 {
        0
    }
}

impl Ear<Deaf, Deaf> {
    /// Never listens.
    pub const fn deaf() -> Self {
        Self::new(Deaf, Deaf, 0)
    }
}

/// Where a station's state is kept.
pub struct Keeping<'l, FLASH> {
    /// The place.
    pub store: Store<FLASH>,
    /// Room for a snapshot.
    pub buffer: &'l mut [u8],
    /// How often; 0: never.
    pub samples_per_snapshot: u32,
}

/// A logger with a clock, a watchdog, a place for its state and an ear for a host.
pub struct Station<'l, F, T, EAR, CLOCK, CALENDAR, DOG, FLASH, const SENSORS: usize> {
    logger: Logger<'l, F, SENSORS>,
    telemetry: T,
    ear: EAR,
    clock: CLOCK,
    calendar: CALENDAR,
    pace: Pace,
    watchdog: DOG,
    keeping: Keeping<'l, FLASH>,
}

impl<'l, F, T, PORT, METER, CLOCK, CALENDAR, DOG, FLASH, const SENSORS: usize>
    Station<'l, F, T, Ear<PORT, METER>, CLOCK, CALENDAR, DOG, FLASH, SENSORS>
where
    F: Streaming + Snapshot,
    T: Telemetry,
    PORT: Read,
    METER: Meter,
    CLOCK: Clock,
    CALENDAR: Calendar,
    DOG: Watchdog,
    FLASH: NorFlash,
{
    /// A station that goes on from what its flash holds, and says who it is. The first sample is due at once, or, where a
    /// calendar says when the last one was, an interval after that.
    pub fn new(
        mut logger: Logger<'l, F, SENSORS>,
        mut telemetry: T,
        ear: Ear<PORT, METER>,
        (mut clock, mut calendar): (CLOCK, CALENDAR),
        watchdog: DOG,
        mut keeping: Keeping<'l, FLASH>,
    ) -> (Self, Start) {
        let mut pace = Pace::new(logger.forecaster().header().interval_ms, clock.now_ms());
        let mut start = Start::Anew;
        let Keeping { store, buffer, .. } = &mut keeping;
        if let Ok(Some(kept)) = store.recover(buffer)
            && logger.forecaster().restore(buffer.get(..kept.bytes).unwrap_or_default()).is_ok()
        {
            let lost = kept.last.saturating_sub(kept.samples);
            logger.resume(kept.samples);
            logger.skip(lost);
            let dated = match (kept.dated, calendar.now_s()) {
                (Some((samples, then_s)), Ok(Some(now_s))) => {
                    let intervals = kept.last.saturating_sub(samples);
                    pace.go_on(clock.now_ms(), then_s, intervals, now_s).map(|()| true)
                }
                (_, Ok(_)) => Ok(false),
                (_, Err(fault)) => Err(fault),
            };
            start = Start::From { samples: kept.samples, lost, dated };
        }
        // Nobody may be there.
        let _ = telemetry.reply(&Reply::Hello(hello(logger.forecaster())));
        if let Start::From { dated: Err(fault), .. } = start {
            let index = logger.account().samples;
            logger.clock(&mut telemetry, index, Some(fault));
        }
        (Self { logger, telemetry, ear, clock, calendar, pace, watchdog, keeping }, start)
    }

    /// Waits for the next sample, takes it, and keeps what is to be kept.
    pub async fn step(&mut self) -> Event {
        loop {
            self.watchdog.feed();
            let now = self.clock.now_ms();
            let due = self.pace.timer_ms(self.pace.due_ms());
            if now >= due {
                break;
            }
            self.wait(now, due.min(now + DOG::PATIENCE_MS / 2)).await;
        }
        let Due { missed, due_ms } = self.pace.take(self.clock.now_ms());
        if missed > 0 {
            self.logger.skip(missed);
        }
        let index = self.logger.sample(&mut self.telemetry);
        self.watchdog.feed();
        let Dated { date_s, fault } = self.pace.agree(self.clock.now_ms(), self.calendar.now_s(), due_ms);
        self.logger.clock(&mut self.telemetry, index, fault);
        let samples = self.logger.account().samples;
        let every = self.keeping.samples_per_snapshot;
        let due = every > 0 && samples.is_multiple_of(every);
        let kept = due.then(|| self.keep(samples));
        // A snapshot tells the count too, but no date.
        let stored = match (kept, date_s) {
            (Some(true), None) => true,
            _ => self.keeping.store.beat(samples, date_s).is_ok(),
        };
        self.ear.open(self.clock.now_ms());
        Event { index, missed, kept, stored, calendar: fault }
    }

    /// Sleeps until then, or until a host has said something.
    async fn wait(&mut self, now: u64, wake: u64) {
        let Self { ear, clock, .. } = self;
        if now >= ear.until_ms {
            return clock.until(wake).await;
        }
        let mut bytes = [0; 64];
        match select(ear.port.read(&mut bytes), clock.until(wake.min(ear.until_ms))).await {
            Either::First(Ok(length)) if length > 0 => {
                bytes.iter().take(length).for_each(|byte| self.hear(*byte));
            }
            // A line that is pulled low, or ends, would fail again at once.
            Either::First(_) => clock.until(wake.min(now + PAUSE_MS)).await,
            Either::Second(()) => {}
        }
    }

    /// Takes a byte and answers the request that it completes, if any.
    fn hear(&mut self, byte: u8) {
        let Self { logger, telemetry, ear, clock, .. } = self;
        let reply = match ear.desk.take(byte) {
            None => return,
            Some(Err(reply)) => reply,
            Some(Ok(request)) => {
                let reply = ear.desk.answer(&request, logger, telemetry, &ear.meter).unwrap_or_else(Reply::Refused);
                ear.open(clock.now_ms());
                reply
            }
        };
        // Whoever asked asks again.
        let _ = telemetry.reply(&reply);
    }

    fn keep(&mut self, samples: u32) -> bool {
        let Self { logger, keeping: Keeping { store, buffer, .. }, .. } = self;
        let Ok(bytes) = logger.forecaster().snapshot(buffer) else { return false };
        store.keep(buffer.get(..bytes).unwrap_or_default(), samples).is_ok()
    }

    /// Who listens.
    pub fn telemetry(&mut self) -> &mut T {
        &mut self.telemetry
    }

    /// The logger and its account.
    pub fn logger(&mut self) -> &mut Logger<'l, F, SENSORS> {
        &mut self.logger
    }
}
