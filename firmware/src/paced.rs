//! A logger whose clock is a host: it samples its own sensors whenever it is asked to.
//!
//! For emulated boards, whose time is not the sensors': a host sets what a sensor measures, asks for a sample, and knows
//! which one it was.

use embedded_io::{Read, Write};
use flowcast_core::forecaster::Streaming;
use flowcast_core::wire::{Deframer, Gated, Observed, PROTOCOL, Refusal, Reply, Request, Stats};

use crate::application::hello;
use crate::logger::Logger;
use crate::meter::Meter;
use crate::telemetry::Frames;

/// A logger and the line to its host.
pub struct Paced<'l, F, PORT, METER, const SENSORS: usize> {
    logger: Result<Logger<'l, F, SENSORS>, Refusal>,
    line: Frames<PORT>,
    meter: METER,
    deframer: Deframer,
    bad_frames: u32,
}

impl<'l, F: Streaming, PORT: Read + Write, METER: Meter, const SENSORS: usize> Paced<'l, F, PORT, METER, SENSORS> {
    /// `logger` may be the reason why there is none.
    pub fn new(logger: Result<Logger<'l, F, SENSORS>, Refusal>, port: PORT, meter: METER) -> Self {
        Self { logger, line: Frames(port), meter, deframer: Deframer::new(), bad_frames: 0 }
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
        let reply = match self.deframer.push::<Request>(byte[0]) {
            None => return Ok(()),
            Some(Err(error)) => {
                self.bad_frames = self.bad_frames.saturating_add(1);
                Reply::BadFrame { error, count: self.bad_frames }
            }
            Some(Ok(request)) => self.follow(&request).unwrap_or_else(Reply::Refused),
        };
        self.line.send(&reply)
    }

    /// Does what `request` says and returns its closing reply, or why not.
    fn follow(&mut self, request: &Request) -> Result<Reply, Refusal> {
        if *request == Request::Stats {
            return Ok(Reply::Stats(self.stats()));
        }
        if let Request::Hello { protocol } = *request
            && protocol != PROTOCOL
        {
            return Err(Refusal::Protocol { found: protocol, expected: PROTOCOL });
        }
        let logger = self.logger.as_mut().map_err(|refusal| refusal.clone())?;
        match request {
            Request::Hello { .. } => Ok(Reply::Hello(hello(logger.forecaster()))),
            Request::Sample { forecast } => {
                let index = logger.sample_telling(&mut self.line, *forecast);
                // A sample here is a transfer, an `observe` and a report, and nobody asks how long all that takes.
                Ok(Reply::Observed(Observed { index, instructions: None, ready: logger.forecaster().is_ready() }))
            }
            Request::Reports { after } => {
                let channels = logger.forecaster().header().channels;
                let index = logger.account().samples;
                let gate = logger.gate().ok_or(Refusal::NoGate)?;
                let known = match after.and_then(|after| gate.after(after)) {
                    Some(reports) => {
                        for report in reports {
                            // A line that fails is found out by whoever asked.
                            let _ = self.line.send(&Reply::Gated(Gated::new(report, channels)));
                        }
                        true
                    }
                    None => false,
                };
                if !known {
                    gate.restart();
                }
                Ok(Reply::Observed(Observed { index, instructions: None, ready: logger.forecaster().is_ready() }))
            }
            Request::Reset => {
                logger.reset();
                Ok(Reply::Reset)
            }
            _ => Err(Refusal::OwnSensors),
        }
    }

    fn stats(&mut self) -> Stats {
        let logger = self.logger.as_mut().ok();
        let (account, state) =
            logger.map(|logger| (logger.account(), logger.forecaster().state_bytes())).unwrap_or_default();
        Stats {
            samples: account.samples,
            missing: account.missing,
            bad_frames: self.bad_frames,
            ram_bytes: self.meter.ram_bytes(),
            state_bytes: u32::try_from(state).unwrap_or(u32::MAX),
            stack_bytes: self.meter.stack_bytes(),
            instructions_min: None,
            instructions_max: None,
        }
    }
}
