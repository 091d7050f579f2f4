//! What a logger with sensors of its own answers a host: who it is, how it does, and reports that were lost.
//!
//! None of that changes a sample or what was learnt from them, but for a gate's start anew, which the host has to want. What
//! would put a host's samples in the place of the sensors' is refused: a line may be noisy, or somebody else's.

use flowcast_core::forecaster::Streaming;
use flowcast_core::wire::{Deframer, Gated, Observed, PROTOCOL, Refusal, Reply, Request, Stats};

use crate::application::hello;
use crate::logger::Logger;
use crate::meter::Meter;
use crate::telemetry::Telemetry;

/// The end of a line at which hosts ask.
#[derive(Debug, Default)]
pub struct Desk {
    deframer: Deframer,
    bad_frames: u32,
}

impl Desk {
    /// Nothing came yet.
    pub const fn new() -> Self {
        Self { deframer: Deframer::new(), bad_frames: 0 }
    }

    /// Takes a byte; returns the request that it completes, or what is to be replied to something that is none.
    pub fn take(&mut self, byte: u8) -> Option<Result<Request, Reply>> {
        let received = self.deframer.push::<Request>(byte)?;
        Some(received.map_err(|error| {
            self.bad_frames = self.bad_frames.saturating_add(1);
            Reply::BadFrame { error, count: self.bad_frames }
        }))
    }

    /// The account of a board, with its logger or without.
    pub fn stats<F: Streaming, const SENSORS: usize>(
        &self,
        logger: Option<&mut Logger<'_, F, SENSORS>>,
        meter: &impl Meter,
    ) -> Stats {
        let (account, state) =
            logger.map(|logger| (logger.account(), logger.forecaster().state_bytes())).unwrap_or_default();
        Stats {
            samples: account.samples,
            missing: account.missing,
            bad_frames: self.bad_frames,
            clock_faults: account.clock_faults,
            ram_bytes: meter.ram_bytes(),
            state_bytes: u32::try_from(state).unwrap_or(u32::MAX),
            stack_bytes: meter.stack_bytes(),
            instructions_min: None,
            instructions_max: None,
        }
    }

    /// Does what a request asks of a logger and returns its closing reply, or why not.
    ///
    /// # Errors
    /// The host speaks another version, the logger has no gate, or the request is for a board without sensors.
    pub fn answer<F: Streaming, const SENSORS: usize>(
        &self,
        request: &Request,
        logger: &mut Logger<'_, F, SENSORS>,
        telemetry: &mut impl Telemetry,
        meter: &impl Meter,
    ) -> Result<Reply, Refusal> {
        match *request {
            Request::Hello { protocol } if protocol != PROTOCOL => {
                Err(Refusal::Protocol { found: protocol, expected: PROTOCOL })
            }
            Request::Hello { .. } => Ok(Reply::Hello(hello(logger.forecaster()))),
            Request::Stats => Ok(Reply::Stats(self.stats(Some(logger), meter))),
            Request::Reports { after } => reports(after, logger, telemetry),
            Request::Samples { .. } | Request::Gap { .. } | Request::Reset | Request::Sample { .. } => {
                Err(Refusal::OwnSensors)
            }
        }
    }
}

/// Sends again what was reported after a sample, or has both ends start anew where that is kept no more.
fn reports<F: Streaming, const SENSORS: usize>(
    after: Option<u32>,
    logger: &mut Logger<'_, F, SENSORS>,
    telemetry: &mut impl Telemetry,
) -> Result<Reply, Refusal> {
    let channels = logger.forecaster().header().channels;
    let index = logger.account().samples;
    let gate = logger.gate().ok_or(Refusal::NoGate)?;
    let known = match after.and_then(|after| gate.after(after)) {
        Some(reports) => {
            for report in reports {
                // A line that fails is found out by whoever asked.
                let _ = telemetry.reply(&Reply::Gated(Gated::new(report, channels)));
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
