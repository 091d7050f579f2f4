//! Seasons, and where the next sample falls in them.

use core::hint::select_unpredictable;

use heapless::Vec;

use super::{BIN_SLOTS, MAX_BINS, MAX_SEASONS, MEMORIES, RING, TRENDS};
use crate::math::Real;
use crate::retrieval::RETRIEVALS;

/// A season's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Season {
    /// m: samples of one period, at least 2.
    pub period: u32,
    /// Samples that share a slot, at least 1.
    pub slot_samples: u32,
    /// ⌈period / slot_samples⌉, at least 2.
    pub slots: usize,
}

/// A model's seasons, the same for every channel, and the memories' constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Seasons {
    /// One to three; the first sets location, scale and tokens.
    pub list: Vec<Season, MAX_SEASONS>,
    /// g_k, the smallest gain of each memory, in (0, 1].
    pub memory_gain: [f32; MEMORIES],
    /// The smallest scale, in deviations of the training data, above 0.
    pub scale_floor: f32,
    /// 1/N_h of each memory of the seasonal Flow-Attention ([`crate::retrieval`]), in periods of the first season, in
    /// (0, 1]; `None` for a model without it.
    pub retrieval: Option<[f32; RETRIEVALS]>,
}

impl Seasons {
    /// Of no model.
    pub(crate) const NONE: Self =
        Self { list: Vec::new(), memory_gain: [0.0; MEMORIES], scale_floor: 0.0, retrieval: None };

    /// The season that sets location, scale and tokens.
    pub fn first(&self) -> Season {
        self.list.first().copied().unwrap_or_default()
    }

    /// Samples of the first season's period.
    pub fn period(&self) -> u32 {
        self.first().period
    }

    /// Slots of all seasons together.
    pub fn slots(&self) -> usize {
        self.list.iter().map(|season| season.slots).sum()
    }

    /// What a channel's memory must hold: the slots, and behind them as many as the seasonal Flow-Attention takes.
    pub fn capacity(&self) -> usize {
        self.slots() + if self.retrieval.is_some() { self.bins() * BIN_SLOTS } else { 0 }
    }

    /// Bins that each memory of the first season is pooled to: 24, or a bin a slot where there are fewer.
    pub fn bins(&self) -> usize {
        self.first().slots.min(MAX_BINS)
    }

    /// Seasonal features of a token: `MEMORIES * bins + RING`.
    pub fn features(&self) -> usize {
        MEMORIES * self.bins() + RING
    }

    /// Features that a step ahead reads where it will fall: `seasons * MEMORIES`, and what is retrieved.
    pub fn aligned(&self) -> usize {
        self.list.len() * MEMORIES + if self.retrieval.is_some() { RETRIEVALS } else { 0 }
    }

    /// Features of a channel that are the same for every step, without or with the ring of last samples.
    pub fn standing(&self, ring: bool) -> usize {
        (self.list.len() * MEMORIES + TRENDS).saturating_sub(1) + if ring { RING } else { 0 }
    }

    /// The bin of the seasonal Flow-Attention that a phase of the first season falls into.
    pub fn bin_of_phase(&self, phase: u32) -> usize {
        self.bin((phase / self.first().slot_samples.max(1)) as usize)
    }

    /// The bin of a slot of the first season.
    #[inline]
    pub(super) fn bin(&self, slot: usize) -> usize {
        slot * self.bins() / self.first().slots.max(1)
    }

    /// The slow mean of the deviation remembers a week of days.
    pub(super) fn scale_gain<R: Real>(&self) -> R {
        R::one_over(self.period().saturating_mul(7))
    }
}

/// Where the next sample falls in one season: its phase and slot, and how many slots have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    pub(super) phase: u32,
    within_slot: u32,
    pub(super) slot: u32,
    /// Slots begun since the start, wrapping: tells one visit of a slot from the next.
    pub(super) pass: u32,
}

crate::persist::persist!(Clock { phase, within_slot, slot, pass });

impl Clock {
    /// At the first sample.
    pub const fn new() -> Self {
        Self { phase: 0, within_slot: 0, slot: 0, pass: 0 }
    }

    /// One sample on; constant cost, no division.
    #[inline]
    pub fn advance(&mut self, season: &Season) {
        let phase = self.phase + 1;
        let within_slot = self.within_slot + 1;
        let new_period = phase == season.period;
        let new_slot = new_period | (within_slot == season.slot_samples);
        // Selected, not branched: every sample takes the same instructions.
        self.phase = select_unpredictable(new_period, 0, phase);
        self.within_slot = select_unpredictable(new_slot, 0, within_slot);
        self.slot = select_unpredictable(new_period, 0, self.slot + u32::from(new_slot));
        self.pass = self.pass.wrapping_add(u32::from(new_slot));
    }

    /// `samples` samples on, as many calls of [`Clock::advance`] would; constant cost.
    pub fn skip(&mut self, season: &Season, samples: u32) {
        let period = season.period.max(1);
        let slot_samples = season.slot_samples.max(1);
        let total = u64::from(self.phase) + u64::from(samples);
        let periods = (total / u64::from(period)) as u32;
        self.phase = (total % u64::from(period)) as u32;
        let slot = self.phase / slot_samples;
        self.within_slot = self.phase % slot_samples;
        let begun = periods.wrapping_mul(season.slots as u32).wrapping_add(slot);
        self.pass = self.pass.wrapping_add(begun).wrapping_sub(self.slot);
        self.slot = slot;
    }

    /// Phase of the next sample, in `0..period`.
    pub fn phase(&self) -> u32 {
        self.phase
    }

    /// The slot of the sample `steps_ahead` samples on; 1 is the next sample.
    #[inline]
    pub(super) fn slot_ahead(&self, season: &Season, steps_ahead: u32) -> usize {
        let phase = self.phase.wrapping_add(steps_ahead.wrapping_sub(1)) % season.period.max(1);
        (phase / season.slot_samples.max(1)) as usize
    }

    /// Where the sample `steps_ahead` samples on lies among the slots' middles.
    #[inline]
    pub(super) fn place_ahead<R: Real>(&self, season: &Season, steps_ahead: u32) -> SlotPlace<R> {
        let phase = self.phase.wrapping_add(steps_ahead.wrapping_sub(1)) % season.period.max(1);
        let width = season.slot_samples.max(1);
        let slot = (phase / width) as usize;
        // Twice the way from the slot's middle, in samples.
        let twice = (2 * (phase % width) + 1) as i32 - width as i32;
        let after = select_unpredictable(slot + 1 == season.slots, 0, slot + 1);
        let before = select_unpredictable(slot == 0, season.slots, slot).saturating_sub(1);
        let neighbour = select_unpredictable(twice < 0, before, after);
        SlotPlace { slot, neighbour, fraction: R::ratio(twice.unsigned_abs(), 2 * width) }
    }
}

/// A sample between two slots' middles: in a slot, and so far on the way to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotPlace<R> {
    pub(super) slot: usize,
    pub(super) neighbour: usize,
    /// 0 where a slot is one sample, below 1/2 in any.
    pub(super) fraction: R,
}

/// A clock for each season.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    pub(super) clocks: [Clock; MAX_SEASONS],
}

crate::persist::persist!(Clocks { clocks });

impl Clocks {
    /// At the first sample.
    pub const fn new() -> Self {
        Self { clocks: [Clock::new(); MAX_SEASONS] }
    }

    /// One sample on.
    #[inline]
    pub fn advance(&mut self, seasons: &Seasons) {
        for (clock, season) in self.clocks.iter_mut().zip(&seasons.list) {
            clock.advance(season);
        }
    }

    /// `samples` samples on, as many calls of [`Clocks::advance`] would; constant cost.
    pub fn skip(&mut self, seasons: &Seasons, samples: u32) {
        for (clock, season) in self.clocks.iter_mut().zip(&seasons.list) {
            clock.skip(season, samples);
        }
    }

    /// Where the sample `steps_ahead` samples on (1 is the next) falls in the first season.
    pub fn place_ahead<R: Real>(&self, seasons: &Seasons, steps_ahead: u32) -> SlotPlace<R> {
        self.first().place_ahead(&seasons.first(), steps_ahead)
    }

    /// Whether they can be clocks of these seasons: a snapshot's are checked by it.
    pub(crate) fn belong_to(&self, seasons: &Seasons) -> bool {
        self.clocks.iter().zip(&seasons.list).all(|(clock, season)| {
            let Clock { phase, within_slot, slot, pass: _ } = *clock;
            phase < season.period && within_slot < season.slot_samples && (slot as usize) < season.slots
        })
    }

    /// The first season's clock.
    pub fn first(&self) -> &Clock {
        let [first, ..] = &self.clocks;
        first
    }
}
