//! A board that is left alone: it samples by a timer, sleeps in between, keeps its state in flash and goes on from it.
//!
//! Samples fall on a grid from the start on (`pace`); those that were missed because something took too long are a gap, and
//! where there is a clock with a battery (`calendar`), those that fell into a time without power too. The
//! watchdog is fed while the station waits, in steps that it allows, and only there and after each sample: whatever hangs
//! (a bus, a driver, this program) resets the board, which then goes on from its last snapshot.

use embedded_storage::nor_flash::NorFlash;
use flowcast_core::forecaster::Streaming;
use flowcast_core::snapshot::Snapshot;

use crate::calendar::{Calendar, CalendarFault};
use crate::logger::Logger;
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
    pub calendar: Option<CalendarFault>,
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
        dated: Result<bool, CalendarFault>,
    },
}

/// A logger with a clock, a watchdog and a place for its state.
pub struct Station<'l, F, T, CLOCK, CALENDAR, DOG, FLASH, const SENSORS: usize> {
    logger: Logger<'l, F, SENSORS>,
    telemetry: T,
    clock: CLOCK,
    calendar: CALENDAR,
    pace: Pace,
    watchdog: DOG,
    store: Store<FLASH>,
    /// Room for a snapshot.
    buffer: &'l mut [u8],
    samples_per_snapshot: u32,
}

impl<'l, F, T, CLOCK, CALENDAR, DOG, FLASH, const SENSORS: usize>
    Station<'l, F, T, CLOCK, CALENDAR, DOG, FLASH, SENSORS>
where
    F: Streaming + Snapshot,
    T: Telemetry,
    CLOCK: Clock,
    CALENDAR: Calendar,
    DOG: Watchdog,
    FLASH: NorFlash,
{
    /// A station that goes on from what its flash holds. The first sample is due at once, or, where a calendar says when the
    /// last one was, an interval after that.
    pub fn new(
        mut logger: Logger<'l, F, SENSORS>,
        telemetry: T,
        (mut clock, mut calendar): (CLOCK, CALENDAR),
        watchdog: DOG,
        mut store: Store<FLASH>,
        buffer: &'l mut [u8],
        samples_per_snapshot: u32,
    ) -> (Self, Start) {
        let mut pace = Pace::new(logger.forecaster().header().interval_ms, clock.now_ms());
        let mut start = Start::Anew;
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
        let station = Self { logger, telemetry, clock, calendar, pace, watchdog, store, buffer, samples_per_snapshot };
        (station, start)
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
            self.clock.until(due.min(now + DOG::PATIENCE_MS / 2)).await;
        }
        let Due { missed, due_ms } = self.pace.take(self.clock.now_ms());
        if missed > 0 {
            self.logger.skip(missed);
        }
        let index = self.logger.sample(&mut self.telemetry);
        self.watchdog.feed();
        let Dated { date_s, fault } = self.pace.agree(self.clock.now_ms(), self.calendar.now_s(), due_ms);
        let samples = self.logger.account().samples;
        let due = self.samples_per_snapshot > 0 && samples.is_multiple_of(self.samples_per_snapshot);
        let kept = due.then(|| self.keep(samples));
        // A snapshot tells the count too, but no date.
        let stored = match (kept, date_s) {
            (Some(true), None) => true,
            _ => self.store.beat(samples, date_s).is_ok(),
        };
        Event { index, missed, kept, stored, calendar: fault }
    }

    fn keep(&mut self, samples: u32) -> bool {
        let Self { logger, store, buffer, .. } = self;
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
