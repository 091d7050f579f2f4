//! Time that goes on while a board has no power: a clock with a battery of its own.
//!
//! A station asks it at each sample, and keeps the answer beside the count of samples. After a start it knows from both how
//! many samples fell into the time without power, and the phase of the season is right. What time it is does not matter, only
//! that it goes on.

use ds323x::ic::DS3231;
use ds323x::interface::I2cInterface;
use ds323x::{DateTimeAccess as _, Ds323x, NaiveDateTime};
use embedded_hal::i2c::I2c;
use flowcast_core::wire::ClockFault;

/// The longest that a board may have been without power, in seconds: a year. What says that it was longer is out of order.
pub const MOST_S: u32 = 366 * 24 * 60 * 60;

/// A clock with a battery.
pub trait Calendar {
    /// Seconds since whenever it was set; `None` where there is no such clock.
    ///
    /// # Errors
    /// Why it does not say.
    fn now_s(&mut self) -> Result<Option<u32>, ClockFault>;
}

/// None.
#[derive(Clone, Copy, Debug)]
pub struct NoCalendar;

impl Calendar for NoCalendar {
    fn now_s(&mut self) -> Result<Option<u32>, ClockFault> {
        Ok(None)
    }
}

/// A DS3231, at its only address.
pub struct Ds3231<BUS>(Ds323x<I2cInterface<BUS>, DS3231>);

/// Where it starts when it stood still: the year 2000.
const START: NaiveDateTime = NaiveDateTime::new(
    match ds323x::NaiveDate::from_ymd_opt(2000, 1, 1) {
        Some(date) => date,
        None => panic!("a date"),
    },
    ds323x::NaiveTime::MIN,
);

impl<BUS: I2c> Ds3231<BUS> {
    /// On a bus; nothing is sent yet.
    pub fn new(bus: BUS) -> Self {
        Self(Ds323x::new_ds3231(bus))
    }
}

impl<BUS: I2c> Calendar for Ds3231<BUS> {
    fn now_s(&mut self) -> Result<Option<u32>, ClockFault> {
        let Self(clock) = self;
        let silent = |_| ClockFault::NoAnswer;
        if clock.has_been_stopped().map_err(silent)? {
            clock.set_datetime(&START).map_err(silent)?;
            clock.enable().map_err(silent)?;
            clock.clear_has_been_stopped_flag().map_err(silent)?;
            return Err(ClockFault::Stopped);
        }
        let now = clock.datetime().map_err(silent)?;
        let seconds = now.signed_duration_since(START).num_seconds();
        u32::try_from(seconds).map(Some).map_err(|_| ClockFault::NoAnswer)
    }
}
