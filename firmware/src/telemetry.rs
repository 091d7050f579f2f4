//! What a board tells of each sample, and the two ways that it does: as frames over a port, or not at all.

use embedded_io::Write;
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::{MAX_CHANNELS, MAX_QUANTILES};
use flowcast_core::warning::Warning;
use flowcast_core::wire::{
    Alert, Chunk, ClockNotice, FRAME_BYTES, FRAME_VALUES, Gated, Reply, Sampled, SensorNotice, encode,
};

use crate::sampler::Notice;

/// Who listens. Whether anybody does must not matter to the board: a failed report is counted and forgotten.
pub trait Telemetry {
    /// Why a report did not go out.
    type Error;

    /// The values of a sample, as they entered.
    ///
    /// # Errors
    /// The line's.
    fn sample(&mut self, index: u32, values: &[f32]) -> Result<(), Self::Error>;

    /// A sample that the other end would not have expected.
    ///
    /// # Errors
    /// The line's.
    fn gated(&mut self, report: &Gated) -> Result<(), Self::Error>;

    /// A sample that came unexpectedly.
    ///
    /// # Errors
    /// The line's.
    fn alert(&mut self, alert: &Alert) -> Result<(), Self::Error>;

    /// A limit that is about to be crossed, or is.
    ///
    /// # Errors
    /// The line's.
    fn warning(&mut self, warning: &Warning) -> Result<(), Self::Error>;

    /// What is new of a sensor.
    ///
    /// # Errors
    /// The line's.
    fn sensor(&mut self, index: u32, notice: Notice) -> Result<(), Self::Error>;

    /// What is new of a clock with a battery.
    ///
    /// # Errors
    /// The line's.
    fn clock(&mut self, notice: &ClockNotice) -> Result<(), Self::Error>;

    /// What comes next, seen from the sample before.
    ///
    /// # Errors
    /// The line's.
    fn forecast(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), Self::Error>;

    /// The first step of that alone.
    ///
    /// # Errors
    /// The line's.
    fn next(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), Self::Error>;

    /// What a host asked for, or ought to know.
    ///
    /// # Errors
    /// The line's.
    fn reply(&mut self, reply: &Reply) -> Result<(), Self::Error>;
}

/// Frames of `flowcast_core::wire` over a port.
#[derive(Debug)]
pub struct Frames<PORT>(pub PORT);

impl<PORT: Write> Frames<PORT> {
    /// Sends a message as one frame.
    ///
    /// # Errors
    /// The port's.
    pub fn send(&mut self, reply: &Reply) -> Result<(), PORT::Error> {
        self.0.write_all(encode(reply, &mut [0; FRAME_BYTES]))
    }

    /// Sends `chunk` and empties it for the steps from `next` on.
    fn send_chunk(&mut self, chunk: &mut Chunk, next: u16) -> Result<(), PORT::Error> {
        let empty =
            Chunk { index: chunk.index, channel: chunk.channel, steps_ahead: next, values: heapless::Vec::new() };
        let full = core::mem::replace(chunk, empty);
        self.send(&Reply::Forecast(full))
    }
}

impl<PORT: Write> Telemetry for Frames<PORT> {
    type Error = PORT::Error;

    fn sample(&mut self, index: u32, values: &[f32]) -> Result<(), PORT::Error> {
        let values = values.iter().copied().take(MAX_CHANNELS).collect();
        self.send(&Reply::Sampled(Sampled { index, values }))
    }

    fn gated(&mut self, report: &Gated) -> Result<(), PORT::Error> {
        self.send(&Reply::Gated(report.clone()))
    }

    fn alert(&mut self, alert: &Alert) -> Result<(), PORT::Error> {
        self.send(&Reply::Alert(alert.clone()))
    }

    fn warning(&mut self, warning: &Warning) -> Result<(), PORT::Error> {
        self.send(&Reply::Warning(*warning))
    }

    fn sensor(&mut self, index: u32, notice: Notice) -> Result<(), PORT::Error> {
        let Notice { sensor, fault, run, count } = notice;
        self.send(&Reply::Sensor(SensorNotice { index, sensor, fault, run, count }))
    }

    fn clock(&mut self, notice: &ClockNotice) -> Result<(), PORT::Error> {
        self.send(&Reply::Clock(notice.clone()))
    }

    /// Every channel, step by step as it is computed, so that a long horizon takes no memory.
    fn forecast(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), PORT::Error> {
        for channel in 0..forecaster.header().channels {
            let mut chunk = Chunk { index, channel, steps_ahead: 1, values: heapless::Vec::new() };
            let mut sent = Ok(());
            forecaster.for_each_step(channel.into(), &mut |steps_ahead, step| {
                if sent.is_err() {
                    return;
                }
                if chunk.values.len() + step.len() > FRAME_VALUES {
                    sent = self.send_chunk(&mut chunk, steps_ahead as u16); // a model's horizon is a `u16`
                }
                // There is room for it now: see FRAME_VALUES.
                let _ = chunk.values.extend_from_slice(step);
            });
            sent?;
            if !chunk.values.is_empty() {
                self.send_chunk(&mut chunk, 0)?;
            }
        }
        Ok(())
    }

    fn next(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), PORT::Error> {
        let quantiles = forecaster.header().quantiles.len();
        for channel in 0..forecaster.header().channels {
            let mut step = [0.0; MAX_QUANTILES];
            let length = forecaster.forecast_into(channel.into(), step.get_mut(..quantiles).unwrap_or_default());
            if length > 0 {
                let values = step.into_iter().take(length).collect();
                self.send(&Reply::Forecast(Chunk { index, channel, steps_ahead: 1, values }))?;
            }
        }
        Ok(())
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), PORT::Error> {
        self.send(reply)
    }
}
