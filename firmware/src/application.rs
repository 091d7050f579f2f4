//! The loop: take a byte, answer the request that it completes, never stop.
//!
//! Whatever comes in, the application goes on: noise and cut frames are counted and reported, requests that make no
//! sense are refused with their reason, and a board without a model that it can run says so to everyone who asks.

use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use flowcast_core::{
    bits::is_finite,
    forecaster::Streaming,
    wire::{Deframer, FrameError, Hello, ModelFault, Observed, PROTOCOL, Refusal, Reply, Request, Stats},
};

use crate::meter::Meter;
use crate::telemetry::{Frames, Telemetry as _};

/// What a step did, for the board's log.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Nothing that a log needs.
    Quiet,
    /// A host said hello, speaking this version of the protocol.
    Hello(u16),
    /// All that was observed is forgotten.
    Reset,
    /// A request was refused.
    Refused(Refusal),
    /// Something that is no frame came in; so many did up to now.
    BadFrame(FrameError, u32),
}

/// A forecaster, what it is connected to, and the account of what passed through.
#[derive(Debug)]
pub struct Application<'f, F, PORT, BUSY, METER> {
    forecaster: Result<&'f mut F, ModelFault>,
    line: Frames<PORT>,
    busy: BUSY,
    meter: METER,
    deframer: Deframer,
    samples: u32,
    missing: u32,
    bad_frames: u32,
    /// Fewest and most instructions of an `observe` that took the value of every channel.
    instructions: Option<(u32, u32)>,
}

impl<'f, F: Streaming, PORT: Write, BUSY: OutputPin, METER: Meter> Application<'f, F, PORT, BUSY, METER> {
    /// An application that has seen nothing yet.
    ///
    /// `forecaster` may be the reason why there is none. `busy` is high while a request is worked on: a scope on that
    /// pin shows real time on real hardware.
    pub fn new(forecaster: Result<&'f mut F, ModelFault>, port: PORT, busy: BUSY, meter: METER) -> Self {
        Self {
            forecaster,
            line: Frames(port),
            busy,
            meter,
            deframer: Deframer::new(),
            samples: 0,
            missing: 0,
            bad_frames: 0,
            instructions: None,
        }
    }

    /// Waits for one byte and answers the request that it completes, if any.
    ///
    /// # Errors
    /// The port's own error; the application is as sound after it as before.
    pub fn step(&mut self) -> Result<Event, PORT::Error>
    where
        PORT: Read,
    {
        let mut byte = [0];
        if self.line.0.read(&mut byte)? == 0 {
            return Ok(Event::Quiet);
        }
        self.take(byte[0])
    }

    /// Answers the request that a byte completes, if any: for a board whose receiver is not its port.
    ///
    /// # Errors
    /// As [`Application::step`].
    pub fn take(&mut self, byte: u8) -> Result<Event, PORT::Error> {
        let Some(received) = self.deframer.push::<Request>(byte) else {
            return Ok(Event::Quiet);
        };
        // A board whose pin fails still forecasts.
        let _ = self.busy.set_high();
        let event = match received {
            Ok(request) => self.answer(&request),
            Err(error) => {
                self.bad_frames = self.bad_frames.saturating_add(1);
                let count = self.bad_frames;
                self.line.send(&Reply::BadFrame { error, count }).map(|()| Event::BadFrame(error, count))
            }
        };
        let _ = self.busy.set_low();
        event
    }

    /// Gives back the port, for whoever wants to look at what was written.
    pub fn into_port(self) -> PORT {
        self.line.0
    }

    fn answer(&mut self, request: &Request) -> Result<Event, PORT::Error> {
        match self.follow(request) {
            Ok(sent) => sent,
            Err(refusal) => {
                self.line.send(&Reply::Refused(refusal.clone()))?;
                Ok(Event::Refused(refusal))
            }
        }
    }

    /// Does what `request` says and sends its closing reply, or says why not.
    fn follow(&mut self, request: &Request) -> Result<Result<Event, PORT::Error>, Refusal> {
        let (reply, event) = match request {
            Request::Hello { protocol } => {
                if *protocol != PROTOCOL {
                    return Err(Refusal::Protocol { found: *protocol, expected: PROTOCOL });
                }
                (Reply::Hello(self.hello()?), Event::Hello(*protocol))
            }
            Request::Samples { index, forecast, values } => {
                let observed = self.observe(*index, values)?;
                if *forecast
                    && let Self { forecaster: Ok(forecaster), line, .. } = self
                    && let Err(error) = line.forecast(*index, &**forecaster)
                {
                    return Ok(Err(error));
                }
                (Reply::Observed(observed), Event::Quiet)
            }
            Request::Gap { index, samples } => (Reply::Observed(self.observe_gap(*index, *samples)?), Event::Quiet),
            Request::Reset => {
                self.running()?.reset();
                self.samples = 0;
                self.missing = 0;
                self.instructions = None;
                (Reply::Reset, Event::Reset)
            }
            Request::Stats => (Reply::Stats(self.stats()), Event::Quiet),
            Request::Sample { .. } => return Err(Refusal::NoSensors),
            Request::Reports { .. } => return Err(Refusal::NoGate),
        };
        Ok(self.line.send(&reply).map(|()| event))
    }

    fn running(&mut self) -> Result<&mut F, Refusal> {
        match &mut self.forecaster {
            Ok(forecaster) => Ok(forecaster),
            Err(fault) => Err(Refusal::Model(fault.clone())),
        }
    }

    fn hello(&mut self) -> Result<Hello, Refusal> {
        self.running().map(|forecaster| hello(forecaster))
    }

    fn expect(&self, index: u32) -> Result<(), Refusal> {
        if index == self.samples { Ok(()) } else { Err(Refusal::Order { found: index, expected: self.samples }) }
    }

    fn observe(&mut self, index: u32, values: &[f32]) -> Result<Observed, Refusal> {
        let channels = self.running()?.header().channels;
        self.expect(index)?;
        let samples = values.chunks_exact(channels.into());
        if values.is_empty() || !samples.remainder().is_empty() {
            return Err(Refusal::Channels { found: values.len() as u16, expected: channels }); // at most FRAME_VALUES
        }
        let mut instructions = None;
        for sample in samples {
            let Self { forecaster: Ok(forecaster), meter, .. } = self else { break };
            let before = rejected(*forecaster);
            instructions = meter.instructions(|| forecaster.observe(sample));
            let whole = rejected(*forecaster) == before;
            self.samples = self.samples.saturating_add(1);
            if sample.iter().all(|value| !is_finite(*value)) {
                self.missing = self.missing.saturating_add(1);
            }
            if let (Some(count), true) = (instructions, whole) {
                let (min, max) = self.instructions.unwrap_or((count, count));
                self.instructions = Some((min.min(count), max.max(count)));
            }
        }
        Ok(Observed { index, instructions, ready: self.running()?.is_ready() })
    }

    fn observe_gap(&mut self, index: u32, samples: u32) -> Result<Observed, Refusal> {
        self.running()?;
        self.expect(index)?;
        let mut instructions = None;
        if let Self { forecaster: Ok(forecaster), meter, .. } = self {
            instructions = meter.instructions(|| forecaster.observe_gap(samples));
        }
        self.samples = self.samples.saturating_add(samples);
        self.missing = self.missing.saturating_add(samples);
        Ok(Observed { index, instructions, ready: self.running()?.is_ready() })
    }

    fn stats(&self) -> Stats {
        Stats {
            samples: self.samples,
            missing: self.missing,
            bad_frames: self.bad_frames,
            clock_faults: 0,
            ram_bytes: self.meter.ram_bytes(),
            state_bytes: match &self.forecaster {
                Ok(forecaster) => saturated(forecaster.state_bytes()),
                Err(_) => 0,
            },
            stack_bytes: self.meter.stack_bytes(),
            instructions_min: self.instructions.map(|(min, _)| min),
            instructions_max: self.instructions.map(|(_, max)| max),
        }
    }
}

/// What a board with this forecaster answers to a greeting.
pub fn hello(forecaster: &impl Streaming) -> Hello {
    let header = forecaster.header();
    Hello {
        protocol: PROTOCOL,
        firmware: VERSION,
        model: header.identity,
        channels: header.channels,
        horizon: header.horizon,
        quantiles: header.quantiles.len() as u8, // at most MAX_QUANTILES
        state_bytes: saturated(forecaster.state_bytes()),
    }
}

/// Readings that were taken as missing, on all channels.
fn rejected(forecaster: &impl Streaming) -> u32 {
    (0..forecaster.header().channels).fold(0, |sum, channel| sum.wrapping_add(forecaster.missing(channel.into())))
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// This firmware's version: major, minor, patch.
pub const VERSION: [u16; 3] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
];

const fn number(decimal: &str) -> u16 {
    match u16::from_str_radix(decimal, 10) {
        Ok(number) => number,
        Err(_) => panic!("cargo's version numbers are decimal"),
    }
}
