//! The forecaster: a model, the state of every channel, and the verbs of its user.
//!
//! `observe` takes one sample of every channel: constant cost, no allocation, never fails. `forecast` gives a view that
//! computes a step when it is asked for one, so a long horizon costs no memory. `observe_knowing` and `forecast_knowing`
//! are the same with what is known of the samples to come ([`crate::known`]).

mod include;
mod inside;
mod snapshot;
mod told;

pub use inside::{Inside, Trace};

use core::hint::select_unpredictable;

use heapless::Vec;

use crate::adaptation::Adaptation;
use crate::anomaly::{Anomaly, Strangeness};
use crate::attention::{FlowState, FlowTrace};
use crate::bits::is_finite;
use crate::conformal::{Conformal, Factors};
use crate::ends::Ends;
use crate::experts::EXPERTS;
use crate::format::{Header, MAX_CHANNELS, MAX_QUANTILES, MAX_READOUT, MAX_STEP_FEATURES, NO_MODEL};
use crate::intake::{Intake, Watch};
use crate::kernel::COLUMNS;
use crate::known::{KNOWN_FEATURES, Known, nothing};
use crate::linear::{Element, Vector};
use crate::math::Real;
use crate::model::{KnotForecast, Model, ModelError};
use crate::part::{Marks, Part, Unmarked};
use crate::probe::{Band, GROUPS, Probes, Schedule};
use crate::seasonal::{Clocks, Level, MAX_FEATURES, MIXED_TRENDS, Memories, SeasonalState, Seasons};
use told::{Column, Columns, Told};

/// The most features of a readout that are the same for every step, filled up to whole kernel steps.
const STANDING: usize = (MAX_READOUT - MAX_STEP_FEATURES).next_multiple_of(COLUMNS);

/// One channel's state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ChannelState<
    R: Element,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const FLOWS: usize,
> {
    intake: Intake<R>,
    ends: Ends,
    seasonal: SeasonalState<SLOTS, R>,
    /// One a block, where the blocks have an attention.
    flow: [FlowState<R, HEADS, HEAD_DIM>; FLOWS],
    /// h, the last block's output after its norm.
    hidden: [R; D_MODEL],
    /// After the last sample.
    level: Level<R>,
    next: NextSample<R>,
    schedule: Schedule,
    probes: Probes<R>,
    conformal: Conformal<R>,
    adaptation: Adaptation<R>,
    watch: Watch<R>,
    anomaly: Anomaly<R>,
    /// Samples taken as missing since the start, and in a row.
    missing: u32,
    missing_run: u32,
}

/// What the next sample is expected to be, as a user would be told it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct NextSample<R> {
    /// Whether there is a forecast.
    known: bool,
    /// Lowest quantile, median, highest quantile.
    band: [R; 3],
}

crate::persist::persist!(impl [R: crate::persist::Persist] NextSample<R> { known, band });

impl<R: Element> NextSample<R> {
    const NONE: Self = Self { known: false, band: [R::ZERO; 3] };
}

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
/// season and the seasonal attention's bins (see [`Seasons::capacity`]). `FLOWS` are blocks whose attention has room for its
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

/// What comes next, seen from the last sample: a view that computes when asked.
#[derive(Debug, Clone, Copy)]
pub struct Forecast<
    'f,
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
    forecaster: &'f Forecaster<'m, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>,
    model: &'f Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
    told: Told<'f, R>,
}

/// One channel's forecast.
#[derive(Debug, Clone)]
pub struct ChannelForecast<
    'f,
    'm,
    R: Element,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
> {
    model: &'f Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
    channel: usize,
    intake: Intake<R>,
    ends: Ends,
    shift: R,
    clocks: Clocks,
    memories: Memories<'f, R>,
    level: Level<R>,
    /// 1 + tanh(G h + b) of what is read where a step will fall.
    gates: [R; MAX_STEP_FEATURES],
    /// The other features of the readout, gated.
    standing: Vector<R, STANDING>,
    told: Told<'f, R>,
    hidden: Vector<R, D_MODEL>,
    conformal: &'f Conformal<R>,
    advised: Option<Advised<'f, R>>,
}

/// What a forecast takes of simple experts, and of its errors, where it is adapted.
#[derive(Debug, Clone)]
struct Advised<'f, R: Element> {
    adaptation: &'f Adaptation<R>,
    /// The readout's features that are the same for every step, not gated: what the linear path alone reads.
    ungated: Vector<R, STANDING>,
    /// Relative to the location, the last sample, and the mean that what the last few periods had at a step is relative to, moved
    /// by what the last sample was above it.
    last: R,
    moved: R,
}

/// One step, in deviations of the training data.
struct Step<R> {
    /// Ascending, corrections and all.
    quantiles: Vec<R, MAX_QUANTILES>,
    /// The model's own.
    median: R,
    /// What adaptation adds to it.
    shift: R,
    /// How far each expert's forecast lies from it.
    toward: [R; EXPERTS],
}

impl<R: Real> Step<R> {
    /// What is kept of it, seen from a location.
    #[inline]
    fn band(&self, location: R) -> Band<R> {
        let [lower, upper] = [self.quantiles.first(), self.quantiles.last()].map(|end| end.copied().unwrap_or(R::ZERO));
        Band { lower, median: self.median, upper, shift: self.shift, location, toward: self.toward }
    }
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
            state.seasonal.observe(seasons, &present, &expected, x);
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

impl<
    R: Element,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const FLOWS: usize,
> ChannelState<R, SLOTS, D_MODEL, HEADS, HEAD_DIM, FLOWS>
{
    const fn new() -> Self {
        Self {
            intake: Intake::NONE,
            ends: Ends::NONE,
            seasonal: SeasonalState::new(),
            flow: [const { FlowState::<R, HEADS, HEAD_DIM>::ZERO }; FLOWS],
            hidden: [R::ZERO; D_MODEL],
            level: Level::ZERO,
            next: NextSample::NONE,
            schedule: Schedule::new(),
            probes: Probes::new(),
            conformal: Conformal::unlearned(),
            adaptation: Adaptation::new(),
            watch: Watch::new(),
            anomaly: Anomaly::ZERO,
            missing: 0,
            missing_run: 0,
        }
    }

    /// Forgets every sample, part by part, so that no second state lies on the stack meanwhile.
    fn reset(&mut self) {
        let Self {
            intake: _,
            ends,
            seasonal,
            flow,
            hidden,
            level,
            next,
            schedule,
            probes,
            conformal,
            adaptation,
            watch,
            anomaly,
            missing,
            missing_run,
        } = self;
        seasonal.reset();
        *level = Level::ZERO;
        *next = NextSample::NONE;
        *schedule = Schedule::new();
        *probes = Probes::new();
        *ends = Ends::NONE;
        *conformal = Conformal::unlearned();
        *adaptation = Adaptation::new();
        flow.iter_mut().for_each(|flow| *flow = FlowState::ZERO);
        *hidden = [R::ZERO; D_MODEL];
        *watch = Watch::new();
        *anomaly = Anomaly::ZERO;
        *missing = 0;
        *missing_run = 0;
    }

    /// What a channel of a model starts with.
    fn start<const LAYERS: usize>(&mut self, model: &Model<'_, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>, channel: usize) {
        self.ends = model.channel(channel).map_or(Ends::NONE, |channel| Ends::new(&channel));
        self.conformal = Conformal::new(model.factors(channel));
    }

    /// Whether most slots of the first season have been seen.
    fn is_ready(&self, seasons: &Seasons) -> bool {
        2 * self.seasonal.visited() >= seasons.first().slots
    }

    /// Compares what was forecast for now with the sample that came, `None` if none did.
    #[inline]
    fn learn<const LAYERS: usize>(
        &mut self,
        model: &Model<'_, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
        sample: Option<R>,
    ) {
        let due = self.schedule.advance(model.groups());
        for resolved in [self.probes.resolve_next(sample), self.probes.resolve(&due, sample)] {
            if model.header().corrected {
                self.conformal.observe(&resolved, model.tails(), self.intake.half_step());
            }
            if model.header().adapted {
                self.adaptation.observe(&resolved);
            }
        }
    }
}

impl<
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const FLOWS: usize,
> Columns<R> for [ChannelState<R, SLOTS, D_MODEL, HEADS, HEAD_DIM, FLOWS>; CHANNELS]
{
    fn column(&self, channel: usize) -> Option<Column<'_, R>> {
        let state = self.get(channel)?;
        let [surprise, ..] = *state.seasonal.trends();
        Some(Column { intake: &state.intake, watch: &state.watch, memories: state.seasonal.memories(), surprise })
    }
}

impl<'f, 'm, R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    ChannelForecast<'f, 'm, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// What a channel's forecast starts from; [`Self::prepare`] computes the rest. (In two, so that it is made where it
    /// stands: it is dear to move.)
    #[inline(always)]
    fn of<const SLOTS: usize, const FLOWS: usize>(
        model: &'f Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
        state: &'f ChannelState<R, SLOTS, D_MODEL, HEADS, HEAD_DIM, FLOWS>,
        clocks: &Clocks,
        channel: usize,
        told: Told<'f, R>,
    ) -> Self {
        let [surprise, ..] = *state.seasonal.trends();
        let [[_, level, ..], ..] = state.level.memories;
        Self {
            model,
            channel,
            intake: state.intake,
            ends: state.watch.ends(&state.ends),
            shift: state.watch.shift(),
            clocks: *clocks,
            memories: state.seasonal.memories(),
            level: state.level,
            gates: [R::ZERO; MAX_STEP_FEATURES],
            standing: Vector::empty(),
            told,
            hidden: Vector::empty(),
            conformal: &state.conformal,
            advised: model.header().adapted.then(|| Advised {
                adaptation: &state.adaptation,
                ungated: Vector::empty(),
                last: state.seasonal.last() - state.level.location,
                moved: level + surprise,
            }),
        }
    }

    /// Computes what every step has in common, from the state of all channels.
    #[inline(never)]
    fn prepare<const SLOTS: usize, const FLOWS: usize>(
        &mut self,
        channels: &[ChannelState<R, SLOTS, D_MODEL, HEADS, HEAD_DIM, FLOWS>],
    ) {
        let header = self.model.header();
        let seasons = &header.seasons;
        let Some(state) = channels.get(self.channel) else { return };
        self.hidden.fill(self.model.hidden_limit(), |hidden| {
            *hidden = state.hidden;
            D_MODEL
        });
        let mut gates = [R::ZERO; MAX_READOUT];
        let features = header.readout_features();
        self.model.gates(self.hidden.input(), gates.get_mut(..features).unwrap_or_default());
        let (aligned_gates, standing_gates) = gates.split_at_checked(header.step_features()).unwrap_or_default();
        let count = features.saturating_sub(header.step_features());
        let Self { standing, advised, .. } = self;
        let read = |features: &mut [R; STANDING]| {
            let own = seasons.standing(header.ring);
            state.seasonal.standing(seasons, &state.level, features.get_mut(..own).unwrap_or_default());
            if header.mixed {
                let all = channels.iter().take(header.known_channels().start).enumerate();
                let others = all.filter(|(other, _)| *other != self.channel);
                let trends = others.flat_map(|(_, other)| MIXED_TRENDS.map(|trend| other.seasonal.trends()[trend]));
                for (place, trend) in features.iter_mut().skip(own).zip(trends) {
                    *place = trend;
                }
            }
        };
        if let Some(Advised { ungated, .. }) = advised {
            ungated.fill(R::no_limit(), |features| {
                read(features);
                count
            });
        }
        standing.fill(R::no_limit(), |standing| {
            read(standing);
            for (standing, gate) in standing.iter_mut().zip(standing_gates) {
                *standing *= *gate;
            }
            count
        });
        for (gate, aligned) in self.gates.iter_mut().zip(aligned_gates) {
            *gate = *aligned;
        }
    }
}

impl<
    'f,
    'm,
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Forecast<'f, 'm, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    /// Steps ahead that the forecast reaches.
    pub fn horizon(&self) -> usize {
        self.model.header().horizon.into()
    }

    /// One channel's forecast; `None` for a channel that the model does not forecast, or that was missing for most of
    /// its first period and ever since.
    pub fn channel(&self, index: usize) -> Option<ChannelForecast<'f, 'm, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>> {
        let Self { forecaster: Forecaster { channels, clocks, .. }, model, told } = self;
        let header = model.header();
        let state =
            channels.get(index).filter(|state| index < header.targets.into() && state.is_ready(&header.seasons))?;
        let mut forecast = ChannelForecast::of(model, state, clocks, index, *told);
        forecast.prepare(channels);
        Some(forecast)
    }
}

impl<'m, R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    ChannelForecast<'_, 'm, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// The forecast `steps_ahead` samples ahead: 1 is the next sample; `None` for 0 and beyond the horizon.
    pub fn at(&self, steps_ahead: usize) -> Option<Quantiles> {
        let step = u16::try_from(steps_ahead).ok().filter(|step| (1..=self.model.header().horizon).contains(step))?;
        Some(self.restore(self.step(step)))
    }

    /// Every step, from the next sample to the horizon.
    pub fn steps(&self) -> impl Iterator<Item = Quantiles> + '_ {
        // What the knots around a step say serves every step between them.
        let mut known: Option<(usize, [KnotForecast<'m, R>; 2])> = None;
        (1..=self.model.header().horizon).map(move |step| {
            let place = self.model.place(step);
            let ends = match known {
                Some((knot, ends)) if knot == place.knot => ends,
                Some((knot, [_, end])) if knot + 1 == place.knot => [end, self.knot(place.knot + 1)],
                _ => [place.knot, place.knot + 1].map(|knot| self.knot(knot)),
            };
            known = Some((place.knot, ends));
            self.restore(self.between(step, place.fraction, &ends))
        })
    }

    /// One step of 1 to the horizon.
    #[inline]
    fn step(&self, step: u16) -> Step<R> {
        let place = self.model.place(step);
        let ends = [place.knot, place.knot + 1].map(|knot| self.knot(knot));
        self.between(step, place.fraction, &ends)
    }

    #[inline(never)]
    fn knot(&self, knot: usize) -> KnotForecast<'m, R> {
        let ungated = self.advised.as_ref().map(|advised| &advised.ungated);
        self.model.at_knot(self.channel, knot, &self.standing, ungated, &self.hidden)
    }

    /// A step between two knots. (One copy serves samples and forecasts: flash is dearer than a call.)
    #[inline(never)]
    fn between(&self, step: u16, fraction: R, [begin, end]: &[KnotForecast<'m, R>; 2]) -> Step<R> {
        let header = self.model.header();
        let mut aligned = [R::ZERO; MAX_STEP_FEATURES];
        let (of_memories, of_known) = aligned.split_at_mut_checked(header.seasons.aligned()).unwrap_or_default();
        self.memories.aligned(&header.seasons, &self.clocks, &self.level, step.into(), of_memories);
        if header.known > 0 {
            let place = self.clocks.place_ahead(&header.seasons, step.into());
            for (channel, features) in header.known_channels().zip(of_known.as_chunks_mut::<KNOWN_FEATURES>().0) {
                *features = self.told.features(channel, &place, step);
            }
        }
        let mix = |a: R, b: R| a + fraction * (b - a);
        let read = |aligned: &[R; MAX_STEP_FEATURES], standing: [R; 2]| {
            let aligned = aligned.get(..header.step_features()).unwrap_or_default();
            let mut room = R::room::<{ MAX_STEP_FEATURES.next_multiple_of(COLUMNS) }>();
            R::prepare(aligned, R::no_limit(), &mut room);
            let aligned = R::input(aligned, &room);
            let [a, b] = [begin, end].map(|knot| R::dot(&knot.aligned, aligned));
            let [standing_a, standing_b] = standing;
            mix(standing_a + a, standing_b + b)
        };
        let linear = self.advised.as_ref().map(|_| read(&aligned, [begin.ungated, end.ungated]));
        let [_, recent, ..] = aligned;
        for (aligned, gate) in aligned.iter_mut().zip(&self.gates).take(header.step_features()) {
            *aligned *= *gate;
        }
        let displacement = read(&aligned, [begin.standing, end.standing]);
        let center = self.level.location + displacement;
        let mut quantiles: Vec<R, MAX_QUANTILES> = Vec::new();
        for (a, b) in begin.residual.iter().zip(&end.residual).take(header.quantiles.len()) {
            // A header has at most MAX_QUANTILES levels.
            let _ = quantiles.push(center + self.level.scale * mix(*a, *b));
        }
        sort(&mut quantiles);
        let median = quantiles.get(self.median()).copied().unwrap_or(center);
        let place = self.model.groups().place(step);
        if header.corrected {
            self.conformal.factors(&place).apply(median, &mut quantiles);
        }
        let (mut toward, mut shift) = ([R::ZERO; EXPERTS], R::ZERO);
        if let (Some(Advised { adaptation, last, moved, .. }), Some(linear)) = (&self.advised, linear) {
            let displaced = median - self.level.location;
            // As `experts` lists them, relative to the location.
            toward = [linear, *last, recent + *moved].map(|expert| expert - displaced);
            shift = adaptation.shift(&place, displaced, &toward);
            quantiles.iter_mut().for_each(|quantile| *quantile += shift);
        }
        Step { quantiles, median, shift, toward }
    }

    /// Index of the median among the quantiles.
    fn median(&self) -> usize {
        self.model.header().quantiles.iter().position(|level| level.to_bits() == 0.5_f32.to_bits()).unwrap_or(0)
    }

    /// A step in the channel's unit, none of it beyond where the channel ends.
    fn restore(&self, step: Step<R>) -> Quantiles {
        let values =
            step.quantiles.iter().map(|value| self.ends.within(self.intake.restore(self.shift, *value))).collect();
        Quantiles { values, median: self.median() as u8 }
    }
}

/// Ascending, so that quantiles never cross: a fixed network of selects.
fn sort<R: Real>(values: &mut [R]) {
    for _ in 0..values.len() {
        for i in 1..values.len() {
            if let Some([a, b]) = values.get_mut(i - 1..=i) {
                let swapped = *b < *a;
                (*a, *b) = (select_unpredictable(swapped, *b, *a), select_unpredictable(swapped, *a, *b));
            }
        }
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
