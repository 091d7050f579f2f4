//! A logger whose clock is a host: it samples its own sensors whenever it is asked to.
//!
//! For emulated boards, whose time is not the sensors': a host sets what a sensor measures, asks for a sample, and knows
//! which one it was.

use embedded_io::{Read, Write};
use flowcast_core::forecaster::Streaming;
use flowcast_core::wire::{Observed, Refusal, Reply, Request};

use crate::answer::Desk;
use crate::logger::Logger;
use crate::meter::Meter;
use crate::telemetry::Frames;

/// A logger and the line to its host.
pub struct Paced<'l, F, PORT, METER, const SENSORS: usize> {
    logger: Result<Logger<'l, F, SENSORS>, Refusal>,
    line: Frames<PORT>,
    meter: METER,
    desk: Desk,
}

impl<'l, F: Streaming, PORT: Read + Write, METER: Meter, const SENSORS: usize> Paced<'l, F, PORT, METER, SENSORS> {
    /// `logger` may be the reason why there is none.
    pub fn new(logger: Result<Logger<'l, F, SENSORS>, Refusal>, port: PORT, meter: METER) -> Self {
        Self { logger, line: Frames(port), meter, desk: Desk::new() }
    }

    /// Samples up to now.
    pub fn samples(&self) -> u32 {
        self.logger.as_ref().map_or(0, |logger| logger.account().samples)
    }

    /// Waits for one byte and does what the request that it completes says, if any.
    ///
    /// # Errors
    /// The port's own error; the logger is as sound after it as before.
    pub fn step(&mut self) -> Result<(), PORT::Error> {
        let mut byte = [0];
        if self.line.0.read(&mut byte)? == 0 {
            return Ok(());
        }
        let reply = match self.desk.take(byte[0]) {
            None => return Ok(()),
            Some(Err(reply)) => reply,
            Some(Ok(request)) => self.follow(&request).unwrap_or_else(Reply::Refused),
        };
        self.line.send(&reply)
    }

    /// Does what `request` says and returns its closing reply, or why not.
    fn follow(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let Self { logger, line, meter, desk } = self;
        let logger = match logger {
            Ok(logger) => logger,
            Err(_) if *request == Request::Stats => {
                return Ok(Reply::Stats(desk.stats(None::<&mut Logger<'l, F, SENSORS>>, meter)));
            }
            Err(refusal) => return Err(refusal.clone()),
        };
        match request {
            Request::Sample { forecast } => {
                let index = logger.sample_telling(line, *forecast);
                // A sample here is a transfer, an `observe` and a report, and nobody asks how long all that takes.
                Ok(Reply::Observed(Observed { index, instructions: None, ready: logger.forecaster().is_ready() }))
            }
            Request::Reset => {
                logger.reset();
                Ok(Reply::Reset)
            }
            _ => desk.answer(request, logger, line, meter),
        }
    }
}
