//! One channel's state: what enters it, what it learns of its own forecasts, and how it starts.

use crate::adaptation::Adaptation;
use crate::anomaly::Anomaly;
use crate::attention::FlowState;
use crate::conformal::Conformal;
use crate::ends::Ends;
use crate::intake::{Intake, Watch};
use crate::linear::Element;
use crate::model::Model;
use crate::probe::{Probes, Schedule};
use crate::seasonal::{Level, SeasonalState, Seasons};

use super::told::{Column, Columns};

/// One channel's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ChannelState<
    R: Element,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const FLOWS: usize,
> {
    pub intake: Intake<R>,
    pub ends: Ends,
    pub seasonal: SeasonalState<SLOTS, R>,
    /// One a block, where the blocks have an attention.
    pub flow: [FlowState<R, HEADS, HEAD_DIM>; FLOWS],
    /// h, the last block's output after its norm.
    pub hidden: [R; D_MODEL],
    /// After the last sample.
    pub level: Level<R>,
    pub next: NextSample<R>,
    pub schedule: Schedule,
    pub probes: Probes<R>,
    pub conformal: Conformal<R>,
    pub adaptation: Adaptation<R>,
    pub watch: Watch<R>,
    pub anomaly: Anomaly<R>,
    /// Samples taken as missing since the start, and in a row.
    pub missing: u32,
    pub missing_run: u32,
}

/// What the next sample is expected to be, as a user would be told it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NextSample<R> {
    /// Whether there is a forecast.
    pub known: bool,
    /// Lowest quantile, median, highest quantile.
    pub band: [R; 3],
}

crate::persist::persist!(impl [R: crate::persist::Persist] NextSample<R> { known, band });

impl<R: Element> NextSample<R> {
    pub const NONE: Self = Self { known: false, band: [R::ZERO; 3] };
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
    pub const fn new() -> Self {
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
    pub fn reset(&mut self) {
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
    pub fn start<const LAYERS: usize>(
        &mut self,
        model: &Model<'_, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
        channel: usize,
    ) {
        self.ends = model.channel(channel).map_or(Ends::NONE, |channel| Ends::new(&channel));
        self.conformal = Conformal::new(model.factors(channel));
    }

    /// Whether most slots of the first season have been seen.
    pub fn is_ready(&self, seasons: &Seasons) -> bool {
        2 * self.seasonal.visited() >= seasons.first().slots
    }

    /// Compares what was forecast for now with the sample that came, `None` if none did.
    #[inline]
    pub fn learn<const LAYERS: usize>(
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
