//! The seasonal memory: what each phase of a period has been lately, and the features that the readout sees.
//!
//! A period of m samples is cut into slots of `slot_samples` (one, unless the period is long). Each slot keeps
//! K = 4 running means with gains floor g_k (1, 1/3, 1/10, 1/30: the last period, the last few, …, the last month of
//! days), where v counts the slot's visits:
//!
//! ```text
//! B_k[slot] += max(1/v, g_k) (x − B_k[slot])
//! location   = mean over slots of B_0                      scale = max(floor, slow mean of |x − B_1[slot]|)
//! features   = [B_k pooled to 24 bins, next slot first] − location, [last 24 samples] − location
//! ```
//!
//! It is causal Flow-Attention's running mean with hard phase routing and constant keys. A missing sample updates no
//! mean; the ring of last samples takes what memory 1 and the level's present offset from it expect. A gap moves the
//! phase by its length and leaves the memory as it was.

use core::hint::select_unpredictable;

use crate::math::Real;

/// K: running means for each slot.
pub const MEMORIES: usize = 4;
/// The last raw samples that the features hold.
pub const RING: usize = 24;
/// The most bins that a memory is pooled to.
pub const MAX_BINS: usize = 24;
/// The most features: every memory's bins and the ring.
pub const MAX_FEATURES: usize = MEMORIES * MAX_BINS + RING;

/// Gain of the level's offset from the seasonal mean, which fills missing samples.
const LEVEL_GAIN: f32 = 1.0 / 8.0;
/// The deviation before any is known, in deviations of the training data, worth one sample.
const FIRST_DEVIATION: f32 = 0.5;

/// A season's shape and the memory's constants, the same for every channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Season {
    /// m: samples of one period, at least 2.
    pub period: u32,
    /// Samples that share a slot, at least 1.
    pub slot_samples: u32,
    /// ⌈period / slot_samples⌉, at least 2.
    pub slots: usize,
    /// g_k, the smallest gain of each memory, in (0, 1].
    pub memory_gain: [f32; MEMORIES],
    /// The smallest scale, in deviations of the training data, above 0.
    pub scale_floor: f32,
}

impl Season {
    /// Bins that each memory is pooled to: 24, or a bin a slot where there are fewer.
    pub const fn bins(&self) -> usize {
        if self.slots < MAX_BINS { self.slots } else { MAX_BINS }
    }

    /// Length of the feature vector: `MEMORIES * bins + RING`.
    pub const fn features(&self) -> usize {
        MEMORIES * self.bins() + RING
    }

    /// The slow mean of the deviation remembers a week of days.
    fn scale_gain(&self) -> f32 {
        1.0 / (7.0 * self.period as f32)
    }
}

/// Where the next sample falls: its phase and slot, and how many slots have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    phase: u32,
    within_slot: u32,
    slot: u32,
    /// Slots begun since the start, wrapping: tells one visit of a slot from the next.
    pass: u32,
}

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
}

/// Where a channel stands: what the features are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Mean of the last period.
    pub location: f32,
    /// Typical deviation from the seasonal mean, at least the floor.
    pub scale: f32,
}

/// One channel's seasonal memory, in deviations of the training data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeasonalState<const SLOTS: usize> {
    /// B_k. `[SLOTS][MEMORIES]`; zero where a slot was never visited.
    means: [[f32; MEMORIES]; SLOTS],
    /// How often a slot was visited, up to 255.
    visits: [u8; SLOTS],
    /// One more than the pass of the last sample that entered (0: none did), and how many entered in it.
    after_pass: u32,
    pass_samples: u32,
    /// Slots visited at least once.
    visited: u32,
    /// The last samples, oldest first, missing ones filled in.
    ring: [f32; RING],
    /// How many entries of `ring` are known.
    ring_count: u32,
    /// The last sample that was there: fills what the season cannot. (The ring's last entry may be a fill itself, and a
    /// gap that is jumped over never sees those.)
    last: f32,
    /// Running mean of x − B_1[slot].
    offset: f32,
    /// Running mean of |x − B_1[slot]| over `deviations` samples and the first guess, less that guess.
    deviation: f32,
    deviations: u32,
}

impl<const SLOTS: usize> SeasonalState<SLOTS> {
    /// The state before the first sample: zeros throughout, so that a static one takes no flash.
    pub const fn new() -> Self {
        Self {
            means: [[0.0; MEMORIES]; SLOTS],
            visits: [0; SLOTS],
            after_pass: 0,
            pass_samples: 0,
            visited: 0,
            ring: [0.0; RING],
            ring_count: 0,
            last: 0.0,
            offset: 0.0,
            deviation: 0.0,
            deviations: 0,
        }
    }

    /// Forgets every sample, where it stands.
    pub fn reset(&mut self) {
        let Self {
            means,
            visits,
            after_pass,
            pass_samples,
            visited,
            ring,
            ring_count,
            last,
            offset,
            deviation,
            deviations,
        } = self;
        means.as_flattened_mut().fill(0.0);
        visits.fill(0);
        ring.fill(0.0);
        for count in [after_pass, pass_samples, visited, ring_count, deviations] {
            *count = 0;
        }
        for mean in [last, offset, deviation] {
            *mean = 0.0;
        }
    }

    /// Slots that have a mean.
    pub fn visited(&self) -> usize {
        self.visited as usize
    }

    /// Takes the sample that `clock` expects; `x` is finite.
    #[inline]
    pub fn observe(&mut self, season: &Season, clock: &Clock, x: f32) {
        self.push(x);
        self.last = x;
        let slot = clock.slot as usize;
        let (Some(means), Some(visits)) = (self.means.get_mut(slot), self.visits.get_mut(slot)) else { return };
        let known = *visits != 0;

        let residual = select_unpredictable(known, x - means[1], 0.0);
        let deviation_gain = (1.0 / (self.deviations as f32 + 2.0)).at_least(season.scale_gain());
        let deviation_gain = select_unpredictable(known, deviation_gain, 0.0);
        self.deviation += deviation_gain * (residual.abs() - FIRST_DEVIATION - self.deviation);
        self.deviations = self.deviations.saturating_add(u32::from(known));
        self.offset += LEVEL_GAIN * (residual - self.offset);

        let after_pass = clock.pass.wrapping_add(1);
        let new_pass = after_pass != self.after_pass;
        self.after_pass = after_pass;
        self.pass_samples = select_unpredictable(new_pass, 1, self.pass_samples.saturating_add(1));
        *visits = visits.saturating_add(u8::from(new_pass));
        self.visited += u32::from(!known);
        // A pass of b samples must weigh as one sample of gain g would: the old mean weighs b (1 − g)/g samples.
        let samples = self.pass_samples as f32;
        let width = season.slot_samples as f32;
        let visit_gain = 1.0 / f32::from((*visits).max(1));
        for (mean, floor) in means.iter_mut().zip(&season.memory_gain) {
            let gain = visit_gain.at_least(*floor);
            let gain = gain / (width * (1.0 - gain) + gain * samples);
            *mean += gain * (x - *mean);
        }
    }

    /// Notes that the sample `clock` expects is missing.
    #[inline]
    pub fn miss(&mut self, clock: &Clock) {
        let slot = clock.slot as usize;
        let known = self.visits.get(slot).is_some_and(|visits| *visits != 0);
        let expected = self.means.get(slot).map_or(self.last, |means| means[1] + self.offset);
        // Before the first sample there is nothing to fill from.
        if self.ring_count > 0 {
            self.push(if known { expected } else { self.last });
        }
    }

    #[inline]
    fn push(&mut self, x: f32) {
        self.ring.copy_within(1.., 0);
        self.ring[RING - 1] = x;
        self.ring_count += u32::from(self.ring_count < RING as u32);
    }

    /// Writes the features, `[MEMORIES][bins]` then `[RING]` oldest first, seen from just before the sample that
    /// `clock` expects, and returns what they are relative to. Unknown entries are 0. `features` is
    /// `[Season::features]`; the cost does not depend on the state.
    #[inline]
    pub fn features(&self, season: &Season, clock: &Clock, features: &mut [f32; MAX_FEATURES]) -> Level {
        let bins = season.bins();
        let mut slot = clock.slot as usize;
        let mut counts = [0.0_f32; MAX_BINS];
        let mut totals = [0.0_f32; 2];
        let mut end = 0;
        for (bin, count) in counts.iter_mut().enumerate().take(bins) {
            let begin = end;
            end = (bin + 1) * season.slots / bins;
            let mut sums = [0.0_f32; MEMORIES];
            let mut known = 0_u32;
            for _ in begin..end {
                if let (Some(means), Some(visits)) = (self.means.get(slot), self.visits.get(slot)) {
                    for (sum, mean) in sums.iter_mut().zip(means) {
                        *sum += mean;
                    }
                    known += u32::from(*visits != 0);
                }
                slot += 1;
                slot = select_unpredictable(slot == season.slots, 0, slot);
            }
            *count = known as f32;
            totals[0] += sums[0];
            totals[1] += *count;
            let inverse = 1.0 / count.at_least(1.0);
            for (feature, sum) in features.iter_mut().skip(bin).step_by(bins.max(1)).zip(&sums) {
                *feature = sum * inverse;
            }
        }
        let location = totals[0] / totals[1].at_least(1.0);
        for memory in features.chunks_exact_mut(bins.max(1)).take(MEMORIES) {
            for (feature, count) in memory.iter_mut().zip(&counts) {
                *feature = if *count > 0.0 { *feature - location } else { 0.0 };
            }
        }
        let unknown = RING - self.ring_count as usize;
        for (i, (feature, x)) in features.iter_mut().skip(MEMORIES * bins).zip(&self.ring).enumerate() {
            *feature = if i >= unknown { *x - location } else { 0.0 };
        }
        Level { location, scale: (self.deviation + FIRST_DEVIATION).at_least(season.scale_floor) }
    }
}

impl<const SLOTS: usize> Default for SeasonalState<SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEASON: Season = Season {
        period: 12,
        slot_samples: 1,
        slots: 12,
        memory_gain: [1.0, 1.0 / 3.0, 0.1, 1.0 / 30.0],
        scale_floor: 0.05,
    };

    #[test]
    fn skipping_equals_advancing() {
        for slot_samples in [1, 5] {
            let season = Season { period: 12, slot_samples, slots: 12_usize.div_ceil(slot_samples as usize), ..SEASON };
            for samples in [0_u32, 1, 4, 11, 12, 13, 100] {
                let (mut walked, mut jumped) = (Clock::default(), Clock::default());
                walked.advance(&season);
                jumped.advance(&season);
                for _ in 0..samples {
                    walked.advance(&season);
                }
                jumped.skip(&season, samples);
                assert_eq!(walked, jumped, "{samples} samples, {slot_samples} a slot");
            }
        }
    }

    #[test]
    fn memories_are_the_last_period_and_means_of_the_past() {
        let (mut state, mut clock) = (SeasonalState::<12>::new(), Clock::default());
        for period in 0..3 {
            for phase in 0..12 {
                state.observe(&SEASON, &clock, (period * 100 + phase) as f32);
                clock.advance(&SEASON);
            }
        }
        assert_eq!(state.visited(), 12);
        for (phase, means) in state.means.iter().enumerate() {
            assert_eq!(means[0], 200.0 + phase as f32);
            assert!((means[2] - (100.0 + phase as f32)).abs() < 1e-4, "{means:?}");
        }
        let mut features = [0.0; MAX_FEATURES];
        let level = state.features(&SEASON, &clock, &mut features);
        assert!((level.location - 205.5).abs() < 1e-4);
        // The next phase comes first, in the memories; the newest sample comes last, in the ring.
        assert!((features[0] - (200.0 - level.location)).abs() < 1e-4);
        assert!((features[SEASON.features() - 1] - (211.0 - level.location)).abs() < 1e-4);
    }

    #[test]
    fn a_slot_of_several_samples_weighs_a_pass_like_one_sample() {
        let season = Season { period: 12, slot_samples: 4, slots: 3, ..SEASON };
        let (mut state, mut clock) = (SeasonalState::<3>::new(), Clock::default());
        for sample in 0..12 * 40 {
            let x = if sample < 12 * 39 { 1.0 } else { 2.0 + (sample % 4) as f32 };
            state.observe(&season, &clock, x);
            clock.advance(&season);
        }
        for means in &state.means {
            for (mean, gain) in means.iter().zip(&season.memory_gain) {
                assert!((mean - (1.0 + gain * 2.5)).abs() < 1e-4, "{means:?}");
            }
        }
    }

    #[test]
    fn missing_samples_fill_the_ring_and_leave_the_memory() {
        let (mut state, mut clock) = (SeasonalState::<12>::new(), Clock::default());
        for sample in 0..36 {
            state.observe(&SEASON, &clock, (sample % 12) as f32);
            clock.advance(&SEASON);
        }
        let means = state.means;
        for _ in 0..5 {
            state.miss(&clock);
            clock.advance(&SEASON);
        }
        assert_eq!(state.means, means);
        assert_eq!(&state.ring[RING - 5..], &[0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}
