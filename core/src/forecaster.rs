//! The forecaster: a model, the state of every channel, and the verbs of its user.
//!
//! `observe` takes one sample of every channel: constant cost, no allocation, never fails. `forecast` gives a view that
//! computes a step when it is asked for one, so a long horizon costs no memory.

use heapless::Vec;

use crate::attention::FlowState;
use crate::format::{Header, MAX_CHANNELS, MAX_QUANTILES, MAX_RANK, NO_MODEL};
use crate::intake::{Intake, Stillness};
use crate::linear::dot;
use crate::model::{Model, ModelError};
use crate::seasonal::{Clock, Level, MAX_FEATURES, SeasonalState};

/// One channel's state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ChannelState<
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> {
    intake: Intake,
    seasonal: SeasonalState<SLOTS>,
    flow: [FlowState<f32, HEADS, HEAD_DIM>; LAYERS],
    /// h, the last block's output after its norm.
    hidden: [f32; D_MODEL],
    stillness: Stillness,
    /// Samples taken as missing since the start, and in a row.
    missing: u32,
    missing_run: u32,
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
/// assert_eq!(refused.to_string(), "model is truncated: found 24 bytes, expected 100");
/// ```
///
/// `CHANNELS` and `SLOTS` are capacities: the file says how many of them are used. `SLOTS` holds one period of the
/// season (see [`Header::season`]). The other sizes are the backbone's and must be the file's: take a type of
/// [`crate::presets`].
#[derive(Debug, Clone)]
pub struct Forecaster<
    'm,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> {
    model: Option<Model<'m, D_MODEL, HEADS, HEAD_DIM, LAYERS>>,
    /// The first ones are the model's channels.
    channels: [ChannelState<SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>; CHANNELS],
    clock: Clock,
    /// Samples since the start, missing ones too, up to `u32::MAX`.
    samples: u32,
}

/// What comes next, seen from the last sample: a view that computes when asked.
#[derive(Debug, Clone, Copy)]
pub struct Forecast<
    'f,
    'm,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> {
    forecaster: &'f Forecaster<'m, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
    model: &'f Model<'m, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
}

/// One channel's forecast.
#[derive(Debug, Clone)]
pub struct ChannelForecast<'f, 'm, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
{
    model: &'f Model<'m, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
    channel: usize,
    intake: Intake,
    level: Level,
    /// z ⊙ (1 + tanh(G h)), `[rank]`.
    reduced: [f32; MAX_RANK],
    hidden: [f32; D_MODEL],
}

/// Quantiles of one channel at one step, ascending, in the channel's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles {
    values: Vec<f32, MAX_QUANTILES>,
    median: u8,
}

impl Quantiles {
    /// One value for each of the model's levels ([`Header::quantiles`]), ascending.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The point forecast.
    pub fn median(&self) -> f32 {
        self.values.get(usize::from(self.median)).copied().unwrap_or(f32::NAN)
    }

    /// The lowest level's value.
    pub fn lower(&self) -> f32 {
        self.values.first().copied().unwrap_or(f32::NAN)
    }

    /// The highest level's value.
    pub fn upper(&self) -> f32 {
        self.values.last().copied().unwrap_or(f32::NAN)
    }
}

/// What the firmware's loop and the host's tools need of a forecaster, whatever its sizes.
pub trait Streaming {
    /// What the file says of the model; without one, zeros.
    fn header(&self) -> &Header;
    /// Takes one sample of every channel; see [`Forecaster::observe`].
    fn observe(&mut self, sample: &[f32]);
    /// Notes that this many samples are missing; see [`Forecaster::observe_gap`].
    fn observe_gap(&mut self, samples: u32);
    /// Forgets every sample.
    fn reset(&mut self);
    /// Whether [`Forecaster::forecast`] has something to say.
    fn is_ready(&self) -> bool;
    /// Samples of a channel that were taken as missing, gaps aside.
    fn missing(&self, channel: usize) -> u32;
    /// Bytes of the whole forecaster in memory: state, and the model's header and slices.
    fn state_bytes(&self) -> usize;
    /// Writes a channel's whole forecast, `[horizon][quantiles]`, in its unit, and returns how many numbers that is: 0
    /// while there is no forecast. Stops where `out` ends.
    fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize;
    /// Calls `each(step, quantiles)` for every step ahead, 1 to the horizon; false while there is no forecast.
    fn for_each_step(&self, channel: usize, each: &mut dyn FnMut(usize, &[f32])) -> bool;
}

impl<
    'm,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> Forecaster<'m, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// A forecaster without a model.
    pub const fn unbound() -> Self {
        const { assert!(CHANNELS >= 1 && CHANNELS <= MAX_CHANNELS, "a model has 1 to 32 channels") };
        const { assert!(SLOTS >= 2, "a season has at least 2 slots") };
        Self { model: None, channels: [const { ChannelState::new() }; CHANNELS], clock: Clock::new(), samples: 0 }
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
    /// The bytes are no model, or one of another backbone, or one that needs more channels or slots than there are.
    pub fn bind(&mut self, model: &'m [u8]) -> Result<(), ModelError> {
        self.model = None;
        self.reset();
        let model = Model::parse(model)?;
        let header = model.header();
        for (name, found, capacity) in
            [("slots", header.season.slots as u16, SLOTS), ("channels", header.channels, CHANNELS)]
        {
            if usize::from(found) > capacity {
                return Err(ModelError::Capacity { name, found, capacity: capacity as u16 });
            }
        }
        for (index, state) in self.channels.iter_mut().enumerate().take(header.channels.into()) {
            state.intake = model.channel(index).map_or(Intake::NONE, |channel| Intake::new(&channel));
        }
        self.model = Some(model);
        Ok(())
    }

    /// The model that runs here, if there is one.
    pub fn model(&self) -> Option<&Model<'m, D_MODEL, HEADS, HEAD_DIM, LAYERS>> {
        self.model.as_ref()
    }

    /// Takes one sample of every channel, in the channel's unit.
    ///
    /// NaN, infinity, a value outside the channel's valid range, one that has not changed for longer than the channel's
    /// limit, and a value that `sample` is too short for, are missing: they update no state but
    /// the phase, and the ring of last samples takes what the season expects instead.
    #[inline]
    pub fn observe(&mut self, sample: &[f32]) {
        let Some(model) = &self.model else { return };
        let season = &model.header().season;
        let present = self.clock;
        self.clock.advance(season);
        self.samples = self.samples.saturating_add(1);
        let mut readings = sample.iter();
        for state in self.channels.iter_mut().take(model.header().channels.into()) {
            let reading = readings.next().copied().unwrap_or(f32::NAN);
            let Some(x) = state.intake.take(&mut state.stillness, reading) else {
                state.missing = state.missing.saturating_add(1);
                state.missing_run = state.missing_run.saturating_add(1);
                state.seasonal.miss(&present);
                continue;
            };
            state.missing_run = 0;
            state.seasonal.observe(season, &present, x);
            let mut features = [0.0; MAX_FEATURES];
            let level = state.seasonal.features(season, &self.clock, &mut features);
            let mut token = model.embed(&features, &level);
            for (block, flow) in model.blocks().iter().zip(&mut state.flow) {
                block.step(flow, &mut token);
            }
            state.hidden = model.norm(&token);
        }
    }

    /// Notes that `samples` samples are missing on every channel: as that many calls of [`Self::observe`] with NaN, at
    /// a constant cost.
    ///
    /// The phase moves by the gap's length; seasonal memory and attention stay as they were before the gap.
    pub fn observe_gap(&mut self, samples: u32) {
        let Some(model) = &self.model else { return };
        // Whatever lies before the last RING samples of the gap leaves no trace but the phase.
        let filled = samples.min(crate::seasonal::RING as u32);
        let skipped = samples - filled;
        self.clock.skip(&model.header().season, skipped);
        self.samples = self.samples.saturating_add(skipped);
        for state in &mut self.channels {
            state.missing = state.missing.saturating_add(skipped);
            state.missing_run = state.missing_run.saturating_add(skipped);
        }
        for _ in 0..filled {
            self.observe(&[]);
        }
    }

    /// What comes next; `None` until one period has passed.
    pub fn forecast(&self) -> Option<Forecast<'_, 'm, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>> {
        let model = self.model.as_ref()?;
        (self.samples >= model.header().season.period).then_some(Forecast { forecaster: self, model })
    }

    /// Samples of a channel in a row, up to the last, that were missing.
    pub fn missing_run(&self, channel: usize) -> u32 {
        self.channels.get(channel).map_or(0, |state| state.missing_run)
    }

    /// Forgets every sample.
    pub fn reset(&mut self) {
        for state in &mut self.channels {
            state.reset();
        }
        self.clock = Clock::new();
        self.samples = 0;
    }
}

impl<const SLOTS: usize, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    ChannelState<SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    const fn new() -> Self {
        Self {
            intake: Intake::NONE,
            seasonal: SeasonalState::new(),
            flow: [const { FlowState::<f32, HEADS, HEAD_DIM>::ZERO }; LAYERS],
            hidden: [0.0; D_MODEL],
            stillness: Stillness::new(),
            missing: 0,
            missing_run: 0,
        }
    }

    /// Forgets every sample, part by part, so that no second state lies on the stack meanwhile.
    fn reset(&mut self) {
        let Self { intake: _, seasonal, flow, hidden, stillness, missing, missing_run } = self;
        seasonal.reset();
        flow.iter_mut().for_each(|flow| *flow = FlowState::ZERO);
        *hidden = [0.0; D_MODEL];
        *stillness = Stillness::new();
        *missing = 0;
        *missing_run = 0;
    }
}

impl<
    'f,
    'm,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> Forecast<'f, 'm, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// Steps ahead that the forecast reaches.
    pub fn horizon(&self) -> usize {
        self.model.header().horizon.into()
    }

    /// One channel's forecast; `None` for a channel that the model has not, or that was missing for most of its first
    /// period and ever since.
    pub fn channel(&self, index: usize) -> Option<ChannelForecast<'f, 'm, D_MODEL, HEADS, HEAD_DIM, LAYERS>> {
        let Self { forecaster: Forecaster { channels, clock, .. }, model } = self;
        let state = channels.get(index).filter(|_| index < model.header().channels.into())?;
        let season = &model.header().season;
        if 2 * state.seasonal.visited() < season.slots {
            return None;
        }
        let mut features = [0.0; MAX_FEATURES];
        let level = state.seasonal.features(season, clock, &mut features);
        let mut reduced = [0.0; MAX_RANK];
        model.reduce(&features, &state.hidden, &mut reduced);
        Some(ChannelForecast { model, channel: index, intake: state.intake, level, reduced, hidden: state.hidden })
    }
}

impl<const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    ChannelForecast<'_, '_, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// The forecast `steps_ahead` samples ahead: 1 is the next sample; `None` for 0 and beyond the horizon.
    pub fn at(&self, steps_ahead: usize) -> Option<Quantiles> {
        let header = self.model.header();
        let step = steps_ahead.checked_sub(1)?;
        if step >= header.horizon.into() {
            return None;
        }
        let center = self.level.location + dot(self.model.readout(self.channel, step), &self.reduced);
        let spread = self.level.scale * self.model.spread(self.channel, step);
        let (weight, bias) = self.model.head(step);
        let mut values = Vec::new();
        for (row, bias) in weight.chunks_exact(D_MODEL).zip(bias) {
            let residual = dot(row, &self.hidden) + bias;
            // A header has at most MAX_QUANTILES levels.
            let _ = values.push(self.intake.restore(center + spread * residual));
        }
        sort(&mut values);
        let median = header.quantiles.iter().position(|level| *level == 0.5).unwrap_or(0) as u8;
        Some(Quantiles { values, median })
    }

    /// Every step, from the next sample to the horizon.
    pub fn steps(&self) -> impl Iterator<Item = Quantiles> + '_ {
        (1..=usize::from(self.model.header().horizon)).filter_map(|step| self.at(step))
    }
}

/// Ascending, so that quantiles never cross: a fixed network of selects.
fn sort(values: &mut [f32]) {
    for _ in 0..values.len() {
        for i in 1..values.len() {
            if let Some([a, b]) = values.get_mut(i - 1..=i) {
                let (low, high) = if *b < *a { (*b, *a) } else { (*a, *b) };
                (*a, *b) = (low, high);
            }
        }
    }
}

impl<
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> Streaming for Forecaster<'_, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    fn header(&self) -> &Header {
        self.model.as_ref().map_or(&NO_MODEL, |model| model.header())
    }

    fn observe(&mut self, sample: &[f32]) {
        Forecaster::observe(self, sample);
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

    fn state_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize {
        let mut written = 0;
        let Some(forecast) = self.forecast().and_then(|forecast| forecast.channel(channel)) else { return 0 };
        for step in forecast.steps() {
            for value in step.values() {
                let Some(place) = out.get_mut(written) else { return written };
                *place = *value;
                written += 1;
            }
        }
        written
    }

    fn for_each_step(&self, channel: usize, each: &mut dyn FnMut(usize, &[f32])) -> bool {
        let Some(forecast) = self.forecast().and_then(|forecast| forecast.channel(channel)) else { return false };
        for (index, step) in forecast.steps().enumerate() {
            each(index + 1, step.values());
        }
        true
    }
}
