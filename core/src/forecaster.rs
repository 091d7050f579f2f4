//! The forecaster: a model, the state of every channel, and the verbs of its user.
//!
//! `observe` takes one sample of every channel: constant cost, no allocation, never fails. `forecast` gives a view that
//! computes a step when it is asked for one, so a long horizon costs no memory. `observe_knowing` and `forecast_knowing`
//! are the same with what is known of the samples to come ([`crate::known`]).

mod channel;
mod forecast;
mod include;
mod inside;
mod snapshot;
mod streaming;
mod told;

pub use forecast::{ChannelForecast, Forecast, Quantiles};
pub use inside::{Inside, Trace};
pub use streaming::Streaming;

use crate::anomaly::Anomaly;
use crate::attention::FlowTrace;
use crate::bits::is_finite;
use crate::format::MAX_CHANNELS;
use crate::intake::Intake;
use crate::known::{Known, nothing};
use crate::linear::Element;
use crate::model::{Model, ModelError};
use crate::part::{Marks, Part, Unmarked};
use crate::seasonal::{Clocks, MAX_FEATURES};
use channel::{ChannelState, NextSample};
use told::Told;

/// A model or none. Not an `Option`: the compiler would mark its `None` by some impossible value of a field, and a
/// forecaster without a model would no longer be all zeros.
#[derive(Debug, Clone)]
#[repr(u8)]
enum Bound<M> {
    Nothing,
    Model(M),
}

impl<M> Bound<M> {
    const fn get(&self) -> Option<&M> {
        match self {
            Self::Nothing => None,
            Self::Model(model) => Some(model),
        }
    }
}

/// A model and the state of its channels.
///
/// Without a model it takes samples and says nothing. It is all zeros then, so a static one costs no flash, and
/// [`Forecaster::bind`] gives it a model where it stands: nothing large ever crosses the stack.
///
/// ```
/// use flowcast_core::presets::Small;
///
/// static FORECASTER: std::sync::Mutex<Small<'static, 2, 24>> = std::sync::Mutex::new(Small::unbound());
///
/// let mut forecaster = FORECASTER.lock().unwrap();
/// let refused = forecaster.bind(b"FLOW, but not much of it").unwrap_err();
/// assert_eq!(refused.to_string(), "model is truncated: found 24 bytes, expected 132");
/// ```
///
/// `CHANNELS`, `SLOTS` and `FLOWS` are capacities: the file says how many of them are used. `SLOTS` holds one period of every
/// season and the seasonal attention's bins (see [`crate::seasonal::Seasons::capacity`]). `FLOWS` are blocks whose attention has room for its
/// state: `LAYERS`, or 0 for models whose blocks have none, which takes a third less RAM. The other sizes are the backbone's
/// and must be the file's: take a type of [`crate::presets`].
#[derive(Debug, Clone)]
pub struct Forecaster<
    'm,
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize = LAYERS,
> {
    model: Bound<Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>>,
    /// The first ones are the model's channels.
    channels: [ChannelState<R, SLOTS, D_MODEL, HEADS, HEAD_DIM, FLOWS>; CHANNELS],
    clocks: Clocks,
    /// Samples since the start, missing ones too, up to `u32::MAX`.
    samples: u32,
}

impl<
    'm,
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Forecaster<'m, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    /// A forecaster without a model.
    pub const fn unbound() -> Self {
        const { assert!(CHANNELS >= 1 && CHANNELS <= MAX_CHANNELS, "a model has 1 to 32 channels") };
        const { assert!(SLOTS >= 2, "a season has at least 2 slots") };
        const { assert!(FLOWS == LAYERS || FLOWS == 0, "every block's attention has room for its state, or none") };
        Self {
            model: Bound::Nothing,
            channels: [const { ChannelState::new() }; CHANNELS],
            clocks: Clocks::new(),
            samples: 0,
        }
    }

    /// A forecaster of a model that has seen nothing; see [`Forecaster::bind`].
    ///
    /// # Errors
    /// As [`Forecaster::bind`].
    pub fn new(model: &'m [u8]) -> Result<Self, ModelError> {
        let mut forecaster = Self::unbound();
        forecaster.bind(model)?;
        Ok(forecaster)
    }

    /// Checks a model file and starts anew with it. `model` starts at a multiple of 4. Refused, the forecaster has no
    /// model.
    ///
    /// # Errors
    /// The bytes are no model, or one of another backbone, or one that needs more channels, slots or attention than there is.
    pub fn bind(&mut self, model: &'m [u8]) -> Result<(), ModelError> {
        self.model = Bound::Nothing;
        self.reset();
        let model = Model::parse(model)?;
        let header = model.header();
        for (name, found, capacity) in [
            ("slots", header.seasons.capacity() as u16, SLOTS),
            ("channels", header.channels, CHANNELS),
            ("layers of attention", header.attending_layers(), FLOWS),
        ] {
            if usize::from(found) > capacity {
                return Err(ModelError::Capacity { name, found, capacity: capacity as u16 });
            }
        }
        for (index, state) in self.channels.iter_mut().enumerate().take(header.channels.into()) {
            state.intake = model.channel(index).map_or(Intake::NONE, |channel| Intake::new(&channel));
            state.start(&model, index);
        }
        self.model = Bound::Model(model);
        Ok(())
    }

    /// The model that runs here, if there is one.
    pub fn model(&self) -> Option<&Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>> {
        self.model.get()
    }

    /// Takes one sample of every channel, in the channel's unit.
    ///
    /// NaN, infinity, a value outside the channel's valid range (unless such values last, see [`crate::intake`]), one that has
    /// not changed for longer than the channel's limit, and a value that `sample` is too short for, are missing: they update
    /// no state but the phase, and the ring of last samples takes what the season expects instead.
    #[inline]
    pub fn observe(&mut self, sample: &[f32]) {
        self.observe_traced(sample, &nothing, |_, _, _| ());
    }

    /// As [`Self::observe`]; `known` tells of the channels that are known in advance what they will be, seen from this
    /// sample. The board scores itself by forecasts that it makes here: give it what [`Self::forecast_knowing`] is given,
    /// or its intervals are those of another forecast.
    #[inline]
    pub fn observe_knowing(&mut self, sample: &[f32], known: &Known<'_>) {
        self.observe_traced(sample, known, |_, _, _| ());
    }

    /// As [`Self::observe_knowing`]; `trace(channel, layer, flows)` sees the flows of each head at a target's sample that entered.
    /// A `trace` that ignores them costs nothing.
    #[inline]
    pub fn observe_traced(
        &mut self,
        sample: &[f32],
        known: &Known<'_>,
        trace: impl FnMut(usize, usize, &[FlowTrace<R>; HEADS]),
    ) {
        self.observe_marked::<Unmarked>(sample, known, trace);
    }

    /// As [`Self::observe_traced`]; `M` is told where each part of the work begins.
    #[inline]
    pub fn observe_marked<M: Marks>(
        &mut self,
        sample: &[f32],
        known: &Known<'_>,
        mut trace: impl FnMut(usize, usize, &[FlowTrace<R>; HEADS]),
    ) {
        let Some(model) = self.model.get() else { return };
        let header = model.header();
        let seasons = &header.seasons;
        let present = self.clocks;
        self.clocks.advance(seasons);
        self.samples = self.samples.saturating_add(1);
        let mut readings = sample.iter();
        for (channel, state) in self.channels.iter_mut().enumerate().take(header.channels.into()) {
            let reading = readings.next().copied().unwrap_or(f32::NAN);
            M::begin(Part::Intake);
            let expected = state.seasonal.expected(seasons, &present);
            let foreseen = state.seasonal.foreseen(&expected);
            let entering = state.intake.take(&mut state.watch, &mut state.ends, foreseen, reading);
            // Readings that the state takes as missing, because they are out of bounds or stuck, are scored too: they
            // are what an alert is for. What is strange is not learnt from them.
            M::begin(Part::Anomaly);
            let scored = is_finite(reading).then(|| state.intake.sample(state.watch.shift(), reading));
            let finest = state.intake.finest();
            state.anomaly.observe(state.next.known, scored, entering.is_some(), state.next.band, finest);
            M::begin(Part::Intervals);
            state.learn(model, entering);
            let Some(x) = entering else {
                state.missing = state.missing.saturating_add(1);
                state.missing_run = state.missing_run.saturating_add(1);
                state.seasonal.miss(foreseen);
                state.seasonal.leave(seasons, &self.clocks);
                continue;
            };
            state.missing_run = 0;
            M::begin(Part::Memories);
            state.seasonal.observe(seasons, &present, &expected, state.intake.spike_limit(), x);
            // Nothing is forecast of a covariate: its memories and trends are all that others read of it.
            if channel >= header.targets.into() {
                continue;
            }
            M::begin(Part::Features);
            let mut features = [R::ZERO; MAX_FEATURES];
            state.level = state.seasonal.features(seasons, &self.clocks, &mut features);
            M::begin(Part::Keys);
            if let Some(encoder) = model.encoder() {
                state.seasonal.encode(seasons, &state.level, encoder);
                state.seasonal.leave(seasons, &self.clocks);
            }
            M::begin(Part::Embedding);
            let mut token = model.embed(&features, &state.level);
            let mut flows = state.flow.iter_mut();
            for (layer, block) in model.blocks().iter().enumerate() {
                block.step::<D_MODEL, HEAD_DIM, M>(flows.next(), &mut token, |flows| trace(channel, layer, flows));
            }
            M::begin(Part::Norm);
            state.hidden = model.norm(&token);
        }
        self.probe::<M>(known);
    }

    /// Forecasts, of each channel, what will be compared with what comes: the next sample, and the one step that its
    /// schedule asks for.
    #[inline]
    fn probe<M: Marks>(&mut self, known: &Known<'_>) {
        let Some(model) = self.model.get() else { return };
        let header = model.header();
        let warm = self.samples >= header.seasons.period();
        for index in 0..header.targets.into() {
            M::begin(Part::Readout);
            let Some(state) = self.channels.get_mut(index) else { break };
            // While nothing is measured, nothing is probed: a gap leaves the schedule's turns as they were.
            let probing = (header.corrected || header.adapted) && state.missing_run == 0;
            let launch = probing.then(|| state.schedule.launch(model.groups()));
            // Computed from the first sample on, that each costs the same.
            let Some(state) = self.channels.get(index) else { break };
            let told = Told { known, columns: &self.channels };
            let mut forecast = ChannelForecast::of(model, state, &self.clocks, index, told);
            forecast.prepare(&self.channels);
            M::begin(Part::NextStep);
            let step = forecast.step(1);
            let next = step.band(forecast.level.location);
            let told = forecast.restore(step);
            let band =
                [told.lower(), told.median(), told.upper()].map(|value| forecast.intake.sample(forecast.shift, value));
            M::begin(Part::Probe);
            let probed = launch.map(|launch| (launch, forecast.step(launch.lead).band(forecast.level.location)));
            let Some(state) = self.channels.get_mut(index) else { break };
            let ready = warm & state.is_ready(&header.seasons);
            state.next = NextSample { known: ready, band };
            state.probes.record_next((ready & probing).then_some(next));
            let Some((launch, band)) = probed else { continue };
            state.probes.record(&launch, ready.then_some(band));
        }
    }

    /// How rare a channel's last sample was; `None` for a channel that the model does not forecast.
    pub fn anomaly(&self, channel: usize) -> Option<&Anomaly<R>> {
        let channels = self.model.get()?.header().targets.into();
        self.channels.iter().take(channels).nth(channel).map(|state| &state.anomaly)
    }

    /// Notes that `samples` samples are missing on every channel: as that many calls of [`Self::observe`] with NaN, at
    /// a constant cost.
    ///
    /// The phase moves by the gap's length; seasonal memory and attention stay as they were before the gap. Nothing is known
    /// in advance here: where that matters to the next sample's anomaly score, leave the gap's last sample to
    /// [`Self::observe_knowing`].
    pub fn observe_gap(&mut self, samples: u32) {
        let Some(model) = self.model.get() else { return };
        // Whatever lies before the last RING samples of the gap leaves no trace but the phase.
        let filled = samples.min(crate::seasonal::RING as u32);
        let skipped = samples - filled;
        self.clocks.skip(&model.header().seasons, skipped);

        self.samples = self.samples.saturating_add(skipped);
        for state in &mut self.channels {
            state.missing = state.missing.saturating_add(skipped);
            state.missing_run = state.missing_run.saturating_add(skipped);
            state.schedule.skip(skipped);
        }
        for _ in 0..filled {
            self.observe(&[]);
        }
    }

    /// What comes next; `None` until one period has passed.
    pub fn forecast(&self) -> Option<Forecast<'_, 'm, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>> {
        self.forecast_knowing(&nothing)
    }

    /// As [`Self::forecast`]; `known` tells of the channels that are known in advance what they will be.
    pub fn forecast_knowing<'f>(
        &'f self,
        known: &'f Known<'f>,
    ) -> Option<Forecast<'f, 'm, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>> {
        let model = self.model.get()?;
        let forecast = Forecast { forecaster: self, model, told: Told { known, columns: &self.channels } };
        (self.samples >= model.header().seasons.period()).then_some(forecast)
    }

    /// Samples of a channel in a row, up to the last, that were missing.
    pub fn missing_run(&self, channel: usize) -> u32 {
        self.channels.get(channel).map_or(0, |state| state.missing_run)
    }

    /// Forgets every sample.
    pub fn reset(&mut self) {
        for (index, state) in self.channels.iter_mut().enumerate() {
            state.reset();
            if let Some(model) = self.model.get() {
                state.start(model, index);
            }
        }
        self.clocks = Clocks::new();
        self.samples = 0;
    }
}
