//! The forecaster as a trait object: whatever its sizes.

use crate::anomaly::{Anomaly, Strangeness};
use crate::conformal::Factors;
use crate::format::{Header, NO_MODEL};
use crate::known::{Known, nothing};
use crate::linear::Element;
use crate::probe::GROUPS;

use super::Forecaster;

/// What the firmware's loop and the host's tools need of a forecaster, whatever its sizes.
pub trait Streaming {
    /// What the file says of the model; without one, zeros.
    fn header(&self) -> &Header;
    /// Takes one sample of every channel; see [`Forecaster::observe`].
    fn observe(&mut self, sample: &[f32]);
    /// The same, with what is known of those to come; see [`Forecaster::observe_knowing`].
    fn observe_knowing(&mut self, sample: &[f32], _known: &Known<'_>) {
        self.observe(sample);
    }
    /// Notes that this many samples are missing; see [`Forecaster::observe_gap`].
    fn observe_gap(&mut self, samples: u32);
    /// Forgets every sample.
    fn reset(&mut self);
    /// Whether [`Forecaster::forecast`] has something to say.
    fn is_ready(&self) -> bool;
    /// Samples of a channel that were missing or taken as missing since the start, gaps among them.
    fn missing(&self, channel: usize) -> u32;
    /// How many of them in a row, up to the last sample.
    fn missing_run(&self, _channel: usize) -> u32 {
        0
    }
    /// A channel's correction of its intervals, by group of steps ahead, as it stands now.
    fn interval_factors(&self, channel: usize) -> [Factors<f32>; GROUPS] {
        let _ = channel;
        [Factors::ONE; GROUPS]
    }
    /// Bytes of the whole forecaster in memory: state, and the model's header and slices.
    fn state_bytes(&self) -> usize;
    /// How rare a channel's last sample was; see [`Forecaster::anomaly`].
    fn anomaly(&self, _channel: usize) -> Option<Strangeness> {
        None
    }
    /// Writes a channel's whole forecast, `[horizon][quantiles]`, in its unit, and returns how many numbers that is: 0
    /// while there is no forecast. Stops where `out` ends.
    fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize;
    /// The same, with what is known of the samples to come; see [`Forecaster::forecast_knowing`].
    fn forecast_into_knowing(&self, channel: usize, _known: &Known<'_>, out: &mut [f32]) -> usize {
        self.forecast_into(channel, out)
    }
    /// Calls `each(step, quantiles)` for every step ahead, 1 to the horizon; false while there is no forecast.
    fn for_each_step(&self, channel: usize, each: &mut dyn FnMut(usize, &[f32])) -> bool;
    /// The same, with what is known of the samples to come.
    fn for_each_step_knowing(&self, channel: usize, _known: &Known<'_>, each: &mut dyn FnMut(usize, &[f32])) -> bool {
        self.for_each_step(channel, each)
    }
}

impl<
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Streaming for Forecaster<'_, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    fn header(&self) -> &Header {
        self.model.get().map_or(&NO_MODEL, |model| model.header())
    }

    fn observe(&mut self, sample: &[f32]) {
        Forecaster::observe(self, sample);
    }

    fn observe_knowing(&mut self, sample: &[f32], known: &Known<'_>) {
        Forecaster::observe_knowing(self, sample, known);
    }

    fn observe_gap(&mut self, samples: u32) {
        Forecaster::observe_gap(self, samples);
    }

    fn reset(&mut self) {
        Forecaster::reset(self);
    }

    fn is_ready(&self) -> bool {
        self.forecast().is_some()
    }

    fn missing(&self, channel: usize) -> u32 {
        self.channels.get(channel).map_or(0, |state| state.missing)
    }

    fn missing_run(&self, channel: usize) -> u32 {
        Forecaster::missing_run(self, channel)
    }

    fn interval_factors(&self, channel: usize) -> [Factors<f32>; GROUPS] {
        let learned = self.channels.get(channel).map(|state| state.conformal.learned());
        learned.map_or([Factors::ONE; GROUPS], |learned| learned.map(|factors| factors.to_f32()))
    }

    fn anomaly(&self, channel: usize) -> Option<Strangeness> {
        Forecaster::anomaly(self, channel).map(Anomaly::strangeness)
    }

    fn state_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize {
        self.forecast_into_knowing(channel, &nothing, out)
    }

    fn forecast_into_knowing(&self, channel: usize, known: &Known<'_>, out: &mut [f32]) -> usize {
        let forecast = self.forecast_knowing(known);
        let Some(forecast) = forecast.and_then(|forecast| forecast.channel(channel)) else { return 0 };
        let steps = out.len().div_ceil(Streaming::header(self).quantiles.len().max(1));
        let mut places = out.iter_mut();
        let mut written = 0;
        // A step that has no place is not computed.
        for step in forecast.steps().take(steps) {
            for (value, place) in step.values().iter().zip(places.by_ref()) {
                *place = *value;
                written += 1;
            }
        }
        written
    }

    fn for_each_step(&self, channel: usize, each: &mut dyn FnMut(usize, &[f32])) -> bool {
        self.for_each_step_knowing(channel, &nothing, each)
    }

    fn for_each_step_knowing(&self, channel: usize, known: &Known<'_>, each: &mut dyn FnMut(usize, &[f32])) -> bool {
        let forecast = self.forecast_knowing(known);
        let Some(forecast) = forecast.and_then(|forecast| forecast.channel(channel)) else { return false };
        for (index, step) in forecast.steps().enumerate() {
            each(index + 1, step.values());
        }
        true
    }
}
