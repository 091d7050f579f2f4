//! When samples are due: a grid from the start on, which a calendar holds where there is one.
//!
//! The board's timer decides; it strays. The calendar says how far since the two last agreed, and the timer's time is moved
//! by that. What would move it by more than half an interval is the calendar's fault: it is told, and the two agree anew.

use flowcast_core::wire::ClockFault;

use crate::calendar::MOST_S;

/// Less is not the timer's fault: the calendar tells whole seconds.
const LEAST_MS: i64 = 2_000;
/// A timer that is read seldom may stray by more than half of a short interval.
const MOST_MS: i64 = 30_000;

/// A grid of samples, in milliseconds of the station.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval_ms: u64,
    /// When the next sample is due.
    due_ms: u64,
    /// What the station's time is ahead of its timer's.
    ahead_ms: i64,
    /// The calendar's seconds and the station's milliseconds when they agreed.
    agreed: Option<(u32, u64)>,
}

/// How a sample fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Samples that were missed before it.
    pub missed: u32,
    /// When it was due.
    pub due_ms: u64,
}

impl Pace {
    /// A grid that begins now.
    pub const fn new(interval_ms: u64, timer_ms: u64) -> Self {
        let interval_ms = if interval_ms == 0 { 1 } else { interval_ms };
        Self { interval_ms, due_ms: timer_ms, ahead_ms: 0, agreed: None }
    }

    /// Goes on with an earlier grid, one of whose samples was due when the calendar said `then_s`, and its last one so many
    /// intervals later; the calendar says `now_s`.
    ///
    /// # Errors
    /// Time has not passed, or more than a board is without power: then the grid begins now.
    pub fn go_on(&mut self, timer_ms: u64, then_s: u32, intervals: u32, now_s: u32) -> Result<(), ClockFault> {
        self.agreed = Some((now_s, self.now_ms(timer_ms)));
        let passed_s = now_s.checked_sub(then_s).ok_or(ClockFault::Back(then_s.saturating_sub(now_s)))?;
        if passed_s > MOST_S {
            return Err(ClockFault::Ahead(passed_s));
        }
        // Time of the station begins with that last sample.
        let last_ms = u64::from(intervals).saturating_mul(self.interval_ms);
        let now_ms = (u64::from(passed_s) * 1_000).saturating_sub(last_ms);
        self.ahead_ms = signed(now_ms).saturating_sub(signed(timer_ms));
        self.due_ms = self.interval_ms;
        self.agreed = Some((now_s, now_ms));
        Ok(())
    }

    /// The station's time.
    pub fn now_ms(&self, timer_ms: u64) -> u64 {
        timer_ms.saturating_add_signed(self.ahead_ms)
    }

    /// The timer's, at a time of the station.
    pub fn timer_ms(&self, ms: u64) -> u64 {
        ms.saturating_add_signed(self.ahead_ms.saturating_neg())
    }

    /// When the next sample is due, by the station's time.
    pub const fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// It is taken now.
    pub fn take(&mut self, timer_ms: u64) -> Due {
        let late = self.now_ms(timer_ms).saturating_sub(self.due_ms) / self.interval_ms;
        let due_ms = self.due_ms.saturating_add(late.saturating_mul(self.interval_ms));
        self.due_ms = due_ms.saturating_add(self.interval_ms);
        Due { missed: u32::try_from(late).unwrap_or(u32::MAX), due_ms }
    }

    /// Holds the timer to the calendar; returns what that would have said when a sample was due. Where it jumped, the grid
    /// stays as it is.
    pub fn agree(&mut self, timer_ms: u64, calendar: Result<Option<u32>, ClockFault>, due_ms: u64) -> Dated {
        let now_s = match calendar {
            Ok(Some(now_s)) => now_s,
            Ok(None) => return Dated { date_s: None, fault: None },
            Err(fault) => {
                if fault == ClockFault::Stopped {
                    self.agreed = None;
                }
                return Dated { date_s: None, fault: Some(fault) };
            }
        };
        let now_ms = self.now_ms(timer_ms);
        let mut fault = None;
        if let Some((then_s, then_ms)) = self.agreed {
            let told_ms = (i64::from(now_s) - i64::from(then_s)) * 1_000;
            let strayed_ms = told_ms.saturating_sub(signed(now_ms.saturating_sub(then_ms)));
            let seconds = u32::try_from(strayed_ms.unsigned_abs().saturating_add(500) / 1_000).unwrap_or(u32::MAX);
            if strayed_ms.abs() > MOST_MS.max(signed(self.interval_ms / 2)) {
                fault = Some(if strayed_ms < 0 { ClockFault::Back(seconds) } else { ClockFault::Ahead(seconds) });
                self.agreed = None;
            } else if strayed_ms.abs() >= LEAST_MS {
                self.ahead_ms = self.ahead_ms.saturating_add(strayed_ms);
                self.agreed = None;
            }
        }
        let now_ms = self.now_ms(timer_ms);
        self.agreed.get_or_insert((now_s, now_ms));
        let since_s = u32::try_from(now_ms.saturating_sub(due_ms) / 1_000).unwrap_or(u32::MAX);
        Dated { date_s: now_s.checked_sub(since_s), fault }
    }
}

/// What the calendar says of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    /// Its seconds when the sample was due.
    pub date_s: Option<u32>,
    /// What is wrong with it.
    pub fault: Option<ClockFault>,
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
