//! Telemetry with a log: what a board tells over its port is logged by defmt too, for whoever has a probe on it.

use flowcast_core::forecaster::Streaming;
use flowcast_core::warning::Warning;
use flowcast_core::wire::{Alert, ClockFault, ClockNotice, Gated, Reply, SensorFault};

use crate::sampler::Notice;
use crate::telemetry::Telemetry;

/// Another listener, with a log.
#[derive(Debug)]
pub struct Journal<T>(pub T);

/// In words that need no formatting.
fn words(fault: SensorFault) -> &'static str {
    match fault {
        SensorFault::NoAnswer => "no answer",
        SensorFault::Bus => "bus out of order",
        SensorFault::Checksum => "wrong checksum",
        SensorFault::OtherDevice => "another device in its place",
        SensorFault::NotANumber => "not a number",
        SensorFault::OutOfRange => "out of range",
    }
}

impl<T: Telemetry> Telemetry for Journal<T> {
    type Error = T::Error;

    fn sample(&mut self, index: u32, values: &[f32]) -> Result<(), T::Error> {
        defmt::debug!("sample {=u32}: {}", index, values);
        self.0.sample(index, values)
    }

    fn gated(&mut self, report: &Gated) -> Result<(), T::Error> {
        defmt::debug!("sample {=u32} reported", report.index);
        self.0.gated(report)
    }

    fn alert(&mut self, alert: &Alert) -> Result<(), T::Error> {
        let Alert { index, channel, value, surprise } = *alert;
        defmt::warn!("alert: sample {=u32}, channel {=u16}, {=f32}, -ln p {=f32}", index, channel, value, surprise);
        self.0.alert(alert)
    }

    fn warning(&mut self, warning: &Warning) -> Result<(), T::Error> {
        let Warning { index, channel, steps_ahead, threshold, value, .. } = *warning;
        defmt::warn!(
            "warning: sample {=u32}, channel {=u16}, {=f32} in {=u16} samples, limit {=f32}",
            index,
            channel,
            value,
            steps_ahead,
            threshold
        );
        self.0.warning(warning)
    }

    fn sensor(&mut self, index: u32, notice: Notice) -> Result<(), T::Error> {
        let Notice { sensor, fault, run, count } = notice;
        match fault {
            Some(fault) => defmt::warn!(
                "sensor {=u8}: {=str}, {=u32} samples in a row, {=u32} in all",
                sensor,
                words(fault),
                run,
                count
            ),
            None => defmt::info!("sensor {=u8} works again after {=u32} samples", sensor, run),
        }
        self.0.sensor(index, notice)
    }

    fn clock(&mut self, notice: &ClockNotice) -> Result<(), T::Error> {
        let ClockNotice { index, fault, run, .. } = *notice;
        match fault {
            Some(ClockFault::NoAnswer) => defmt::warn!("sample {=u32}: the clock does not answer", index),
            Some(ClockFault::Stopped) => defmt::warn!("sample {=u32}: the clock stood still, and was set anew", index),
            Some(ClockFault::Back(seconds)) => {
                defmt::warn!("sample {=u32}: the clock went back by {=u32} s", index, seconds)
            }
            Some(ClockFault::Ahead(seconds)) => {
                defmt::warn!("sample {=u32}: the clock went ahead by {=u32} s", index, seconds)
            }
            None => defmt::info!("sample {=u32}: the clock is believed again after {=u32} times", index, run),
        }
        self.0.clock(notice)
    }

    fn forecast(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), T::Error> {
        self.0.forecast(index, forecaster)
    }

    fn next(&mut self, index: u32, forecaster: &dyn Streaming) -> Result<(), T::Error> {
        self.0.next(index, forecaster)
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), T::Error> {
        self.0.reply(reply)
    }
}
