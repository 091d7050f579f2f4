//! What goes wrong on a board that has a watchdog, by a schedule: for the image that is there to be tested (`watched`, on an
//! emulated board). Each reset is followed by the next line of it.

use core::cell::Cell;
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use crate::sensor::{Fault, MAX_QUANTITIES, Quantity, Sensor};
use crate::station::Clock;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The sensor's driver waits for its bus for ever.
    Bus,
    /// The program runs in circles.
    Loop,
    /// It panics.
    Panic,
    /// It takes more stack than there is.
    Stack,
}

/// The samples, counted from the start, before which something goes wrong.
pub const SCHEDULE: [(u32, Mishap); 4] =
    [(30, Mishap::Bus), (55, Mishap::Loop), (70, Mishap::Panic), (85, Mishap::Stack)];

/// Samples between snapshots.
pub const SAMPLES_PER_SNAPSHOT: u32 = 12;

/// The last sample; after it the board says how much memory it took.
pub const LAST: u32 = 119;

/// What goes wrong at a sample, after so many resets.
pub fn at(resets: u32, sample: u32) -> Option<Mishap> {
    SCHEDULE.get(resets as usize).filter(|(when, _)| *when == sample).map(|(_, what)| *what)
}

/// What the sensor measures: days of 24 samples, in half degrees.
pub fn reading(sample: u32) -> f32 {
    let away = (sample % 24).abs_diff(14) as f32;
    let weather = (sample / 5 % 7) as f32;
    26.0 - 0.5 * away + 0.5 * weather
}

/// A sensor that measures [`reading`], and hangs where the schedule says so.
#[derive(Debug)]
pub struct Scheduled<'s> {
    /// Resets up to now.
    pub resets: u32,
    /// The next sample.
    pub sample: &'s Cell<u32>,
}

const QUANTITY: [Quantity; 1] = [Quantity::new("°C", [-40.0, 85.0])];

impl Sensor for Scheduled<'_> {
    fn quantities(&self) -> &[Quantity] {
        &QUANTITY
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        if at(self.resets, self.sample.get()) == Some(Mishap::Bus) {
            hang();
        }
        readings[0] = reading(self.sample.get());
        Ok(())
    }
}

/// Never ends.
pub fn hang() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Takes ever more stack.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is what it is for")]
pub fn overflow(depth: u32) -> u32 {
    let mut frame = [depth; 64];
    black_box(&mut frame);
    overflow(depth + 1).wrapping_add(frame[0])
}

/// A clock whose waits take no time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lapse {
    now_ms: u64,
}

impl Clock for Lapse {
    fn now_ms(&mut self) -> u64 {
        self.now_ms
    }

    async fn until(&mut self, ms: u64) {
        self.now_ms = self.now_ms.max(ms);
    }
}

/// Runs what such a clock makes wait; `None` where something else does.
pub fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
