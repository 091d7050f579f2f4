//! A real board's time: embassy's timer, during whose waits the core sleeps.

use embassy_time::{Instant, Timer as Alarm};

use crate::station::Clock;

/// It.
#[derive(Clone, Copy, Debug)]
pub struct Timer;

impl Clock for Timer {
    fn now_ms(&mut self) -> u64 {
        Instant::now().as_millis()
    }

    async fn until(&mut self, ms: u64) {
        Alarm::at(Instant::from_millis(ms)).await;
    }
}
