//! A forecast: what comes after the last sample, computed step by step as it is asked for.

use core::hint::select_unpredictable;

use heapless::Vec;

use crate::adaptation::Adaptation;
use crate::conformal::Conformal;
use crate::ends::Ends;
use crate::experts::EXPERTS;
use crate::format::{MAX_QUANTILES, MAX_READOUT, MAX_STEP_FEATURES};
use crate::intake::Intake;
use crate::kernel::COLUMNS;
use crate::known::KNOWN_FEATURES;
use crate::linear::{Element, Vector};
use crate::math::Real;
use crate::model::{KnotForecast, Model};
use crate::probe::Band;
use crate::seasonal::{Clocks, Level, MIXED_TRENDS, Memories};

use super::Forecaster;
use super::channel::ChannelState;
use super::told::Told;

/// The most features of a readout that are the same for every step, filled up to whole kernel steps.
const STANDING: usize = (MAX_READOUT - MAX_STEP_FEATURES).next_multiple_of(COLUMNS);

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
    pub(super) forecaster: &'f Forecaster<'m, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>,
    pub(super) model: &'f Model<'m, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>,
    pub(super) told: Told<'f, R>,
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
    pub(super) intake: Intake<R>,
    ends: Ends,
    pub(super) shift: R,
    clocks: Clocks,
    memories: Memories<'f, R>,
    pub(super) level: Level<R>,
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
pub(super) struct Step<R> {
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
    pub(super) fn band(&self, location: R) -> Band<R> {
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
    /// One value for each of the model's levels ([`crate::format::Header::quantiles`]), ascending.
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

impl<'f, 'm, R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>
    ChannelForecast<'f, 'm, R, D_MODEL, HEADS, HEAD_DIM, LAYERS>
{
    /// What a channel's forecast starts from; [`Self::prepare`] computes the rest. (In two, so that it is made where it
    /// stands: it is dear to move.)
    #[inline(always)]
    pub(super) fn of<const SLOTS: usize, const FLOWS: usize>(
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
    pub(super) fn prepare<const SLOTS: usize, const FLOWS: usize>(
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
    pub(super) fn step(&self, step: u16) -> Step<R> {
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
        let median = quantiles.get(header.median()).copied().unwrap_or(center);
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

    /// A step in the channel's unit, none of it beyond where the channel ends.
    pub(super) fn restore(&self, step: Step<R>) -> Quantiles {
        let values =
            step.quantiles.iter().map(|value| self.ends.within(self.intake.restore(self.shift, *value))).collect();
        Quantiles { values, median: self.model.header().median() as u8 }
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
