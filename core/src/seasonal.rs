//! The seasonal memories: what each phase of a season has been lately, and the features that the readout sees.
//!
//! A model has one to three seasons (a day, a week). A season of m samples is cut into slots of `slot_samples` (one,
//! unless the season is long). Each slot keeps K = 4 running means with gains floor g_k (1, 1/3, 1/10, 1/30: the last
//! period, the last few, …, the last month of days), where v counts the slot's visits. Beside them run the means of what
//! the first season left unexplained, over 1, 2, 4, …, 128 samples:
//!
//! ```text
//! B_k[slot] += max(1/v, g_k) (x − B_k[slot])            L_k = mean over slots of B_k
//! T_i       += max(1/n, 2⁻ⁱ) (x − B_1[slot] − T_i)
//! location   = L_0 of the first season                  scale = max(floor, slow mean of |x − B_1[slot]|)
//! token      = [B_k of the first season pooled to 24 bins, next slot first] − location, [last 24 samples] − location
//! readout    = [B_k[slot of the step ahead] − L_k of every season], [P_h[bin of the step ahead]],
//!              [L_k − location], [T_i], [last 24 samples − location]
//! ```
//!
//! It is causal Flow-Attention's running mean with hard phase routing and constant keys: a step ahead reads the memory
//! where it will fall, between the middles of two slots interpolated. P, the same with keys that speak of the day's
//! content, is [`crate::retrieval`]'s. A missing sample updates no mean; the ring of last samples takes what memory 1 and
//! the present offset from it expect. A gap moves the phase by its length and leaves the memories as they were.

mod clock;

pub use clock::{Clock, Clocks, Season, Seasons, SlotPlace};

use core::hint::select_unpredictable;
use core::ops::Range;

use crate::linear::Element;
use crate::math::Real;
use crate::persist::{Persist, Reader, Writer};
use crate::retrieval::{Arrival, BIN, Encoder, KEY, RETRIEVALS, SUMMARY, Today, day_key, retrieve};
use crate::spike::{Envelope, Limit, Spikes};

/// K: running means for each slot.
pub const MEMORIES: usize = 4;
/// The most seasons of a model.
pub const MAX_SEASONS: usize = 3;
/// The last raw samples that the features hold.
pub const RING: usize = 24;
/// The most bins that a memory is pooled to.
pub const MAX_BINS: usize = 24;
/// The most features of a token: every memory's bins and the ring.
pub const MAX_FEATURES: usize = MEMORIES * MAX_BINS + RING;
/// Running means of what the first season leaves unexplained, the i-th over 2ⁱ samples.
pub const TRENDS: usize = 8;
/// The most features that a step ahead reads where it will fall: every memory of every season, and what is retrieved.
pub const MAX_ALIGNED: usize = MAX_SEASONS * MEMORIES + RETRIEVALS;
/// The most features of a channel that are the same for every step: levels but the location, trends, ring.
pub const MAX_STANDING: usize = MAX_SEASONS * MEMORIES - 1 + TRENDS + RING;

/// Slots that a bin of the seasonal Flow-Attention takes.
pub(crate) const BIN_SLOTS: usize = BIN / MEMORIES;
/// The trend that stands for the level's offset from the seasonal mean, which fills missing samples.
const OFFSET_TREND: usize = 3;
/// The trends that other channels see of one: the last sample's, and the mean over 16.
pub const MIXED_TRENDS: [usize; 2] = [0, 4];
/// The deviation before any is known, in deviations of the training data, worth one sample.
const FIRST_DEVIATION: f32 = 0.5;
/// Spikes are judged once so many periods of samples had one of the period before beside them.
const RIPE: u32 = 2;
/// Slots whose means are summed as one number.
const SUMMED: usize = 32;

const _: () = assert!(BIN.is_multiple_of(MEMORIES));

/// Where a channel stands: what the features are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level<R> {
    /// Mean of the first season's last period.
    pub location: R,
    /// Typical deviation from the seasonal mean, at least the floor.
    pub scale: R,
    /// L_k of each season, less the location. `[MAX_SEASONS][MEMORIES]`; 0 where there is none.
    pub memories: [[R; MEMORIES]; MAX_SEASONS],
}

crate::persist::persist!(impl [R: crate::persist::Persist] Level<R> { location, scale, memories });

impl<R: Real> Level<R> {
    /// Before the first sample.
    pub(crate) const ZERO: Self =
        Self { location: R::ZERO, scale: R::ZERO, memories: [[R::ZERO; MEMORIES]; MAX_SEASONS] };
}

/// What the first season says of a sample before it comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected<R> {
    /// Memory 1 where it falls.
    mean: R,
    /// Whether its slot was ever visited.
    known: bool,
}

/// One channel's memories, borrowed for a forecast.
#[derive(Debug, Clone, Copy)]
pub struct Memories<'s, R> {
    means: &'s [[R; MEMORIES]],
    visits: &'s [u8],
}

impl<R: Real> Memories<'_, R> {
    /// What each memory holds for a slot, seasons one after the other; `None` where it was never visited.
    pub fn slot(&self, slot: usize) -> Option<&[R; MEMORIES]> {
        self.visits.get(slot).filter(|visits| **visits != 0)?;
        self.means.get(slot)
    }

    /// What each memory of the first season holds for a place, and whether its slot was ever visited.
    #[inline]
    pub fn of_first_season(&self, place: &SlotPlace<R>) -> (bool, [R; MEMORIES]) {
        self.at(place, 0)
    }

    /// The same in the season whose slots begin at `start`.
    #[inline]
    fn at(&self, place: &SlotPlace<R>, start: usize) -> (bool, [R; MEMORIES]) {
        let [slot, neighbour] = [place.slot, place.neighbour].map(|slot| start + slot);
        let [known, next_known] =
            [slot, neighbour].map(|slot| self.visits.get(slot).is_some_and(|visits| *visits != 0));
        let [mut means, next] = [slot, neighbour].map(|slot| self.means.get(slot).copied().unwrap_or_default());
        let fraction = select_unpredictable(next_known, place.fraction, R::ZERO);
        for (mean, next) in means.iter_mut().zip(&next) {
            *mean += fraction * (*next - *mean);
        }
        (known, means)
    }

    /// Writes what every memory of every season holds for the sample `steps_ahead` samples on, less its level:
    /// `[seasons][MEMORIES]`, 0 where the slot was never visited; then what is retrieved, `[RETRIEVALS]`. Between the
    /// middles of two slots of several samples, what they hold is interpolated.
    #[inline]
    pub fn aligned(&self, seasons: &Seasons, clocks: &Clocks, level: &Level<R>, steps_ahead: u32, out: &mut [R]) {
        let mut start = 0;
        let places = out.as_chunks_mut::<MEMORIES>().0.iter_mut();
        for (((season, clock), levels), place) in
            seasons.list.iter().zip(&clocks.clocks).zip(&level.memories).zip(places)
        {
            let (known, means) = self.at(&clock.place_ahead(season, steps_ahead), start);
            start += season.slots;
            for ((place, mean), relative) in place.iter_mut().zip(&means).zip(levels) {
                *place = select_unpredictable(known, *mean - (level.location + *relative), R::ZERO);
            }
        }
        if seasons.retrieval.is_some() {
            let memory = self.means.get(seasons.slots()..).unwrap_or_default().as_flattened();
            let bin = seasons.bin(clocks.first().slot_ahead(&seasons.first(), steps_ahead));
            let places = out.iter_mut().skip(seasons.list.len() * MEMORIES);
            for (place, received) in places.zip(retrieve(memory, bin)) {
                *place = level.scale * received;
            }
        }
    }
}

/// One channel's seasonal memories, in deviations of the training data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeasonalState<const SLOTS: usize, R = f32> {
    /// B_k, season after season; zero where a slot was never visited. Behind them the bins of the seasonal
    /// Flow-Attention. `[SLOTS][MEMORIES]`
    means: [[R; MEMORIES]; SLOTS],
    /// How often a slot was visited, up to 255.
    visits: [u8; SLOTS],
    /// One more than the pass of the last sample that entered (0: none did), and how many entered in it; by season.
    after_pass: [u32; MAX_SEASONS],
    pass_samples: [u32; MAX_SEASONS],
    /// B_0 of that pass's slot before the pass, by season.
    before_pass: [R; MAX_SEASONS],
    /// Slots of the first season visited at least once.
    visited: u32,
    /// The last samples, oldest first, missing ones filled in.
    ring: [R; RING],
    /// How many entries of `ring` are known.
    ring_count: u32,
    /// The last sample that was there, as it entered: fills what the season cannot. (The ring's last entry may be a fill
    /// itself, and a gap that is jumped over never sees those.)
    last: R,
    /// T_i, running means of x − B_1[slot] over `deviations` samples.
    trends: [R; TRENDS],
    /// Running mean of |x − B_1[slot]| over `deviations` samples and the first guess, less that guess.
    deviation: R,
    /// What rounding would lose of it.
    deviation_carry: R,
    deviations: u32,
    spikes: Spikes<R>,
    today: Today<R>,
}

impl<const SLOTS: usize, R: Persist> SeasonalState<SLOTS, R> {
    /// Writes every field, of the memory the first `slots`.
    pub(crate) fn save(&self, slots: usize, writer: &mut Writer<'_>) {
        let Self {
            means,
            visits,
            after_pass,
            pass_samples,
            before_pass,
            visited,
            ring,
            ring_count,
            last,
            trends,
            deviation,
            deviation_carry,
            deviations,
            spikes,
            today,
        } = self;
        means.get(..slots).unwrap_or_default().save(writer);
        visits.get(..slots).unwrap_or_default().save(writer);
        after_pass.save(writer);
        pass_samples.save(writer);
        before_pass.save(writer);
        visited.save(writer);
        ring.save(writer);
        ring_count.save(writer);
        last.save(writer);
        trends.save(writer);
        deviation.save(writer);
        deviation_carry.save(writer);
        deviations.save(writer);
        spikes.save(writer);
        today.save(writer);
    }

    /// Reads them.
    pub(crate) fn load(&mut self, slots: usize, reader: &mut Reader<'_>) {
        let Self {
            means,
            visits,
            after_pass,
            pass_samples,
            before_pass,
            visited,
            ring,
            ring_count,
            last,
            trends,
            deviation,
            deviation_carry,
            deviations,
            spikes,
            today,
        } = self;
        means.get_mut(..slots).unwrap_or_default().load(reader);
        visits.get_mut(..slots).unwrap_or_default().load(reader);
        after_pass.load(reader);
        pass_samples.load(reader);
        before_pass.load(reader);
        visited.load(reader);
        ring.load(reader);
        ring_count.load(reader);
        if *ring_count > RING as u32 || *visited as usize > slots {
            reader.refuse();
        }
        last.load(reader);
        trends.load(reader);
        deviation.load(reader);
        deviation_carry.load(reader);
        deviations.load(reader);
        spikes.load(reader);
        today.load(reader);
    }
}

impl<const SLOTS: usize, R: Element> SeasonalState<SLOTS, R> {
    /// The state before the first sample: zeros throughout, so that a static one takes no flash.
    pub const fn new() -> Self {
        Self {
            means: [[R::ZERO; MEMORIES]; SLOTS],
            visits: [0; SLOTS],
            after_pass: [0; MAX_SEASONS],
            pass_samples: [0; MAX_SEASONS],
            before_pass: [R::ZERO; MAX_SEASONS],
            visited: 0,
            ring: [R::ZERO; RING],
            ring_count: 0,
            last: R::ZERO,
            trends: [R::ZERO; TRENDS],
            deviation: R::ZERO,
            deviation_carry: R::ZERO,
            deviations: 0,
            spikes: Spikes::NEW,
            today: Today::NEW,
        }
    }

    /// Forgets every sample, where it stands.
    pub fn reset(&mut self) {
        let Self {
            means,
            visits,
            after_pass,
            pass_samples,
            before_pass,
            visited,
            ring,
            ring_count,
            last,
            trends,
            deviation,
            deviation_carry,
            deviations,
            spikes,
            today,
        } = self;
        *today = Today::NEW;
        *spikes = Spikes::NEW;
        means.as_flattened_mut().fill(R::ZERO);
        visits.fill(0);
        ring.fill(R::ZERO);
        trends.fill(R::ZERO);
        after_pass.fill(0);
        pass_samples.fill(0);
        before_pass.fill(R::ZERO);
        for count in [visited, ring_count, deviations] {
            *count = 0;
        }
        for mean in [last, deviation, deviation_carry] {
            *mean = R::ZERO;
        }
    }

    /// Slots of the first season that have a mean.
    pub fn visited(&self) -> usize {
        self.visited as usize
    }

    /// The last sample that came, as it entered.
    pub fn last(&self) -> R {
        self.last
    }

    /// T_i. `[TRENDS]`
    pub fn trends(&self) -> &[R; TRENDS] {
        &self.trends
    }

    /// What a forecast reads.
    pub fn memories(&self) -> Memories<'_, R> {
        Memories { means: &self.means, visits: &self.visits }
    }

    /// Takes the sample that `clocks` expect, of which this was [`expected`](Self::expected); `x` is finite, and enters as far
    /// as it is no spike by `spike_limit` ([`crate::spike`]).
    #[inline]
    pub fn observe(
        &mut self,
        seasons: &Seasons,
        clocks: &Clocks,
        expected: &Expected<R>,
        spike_limit: &Limit<R>,
        x: R,
    ) {
        let envelope = self.envelope(seasons, clocks, expected);
        let ripe = expected.known & (self.deviations >= seasons.period().saturating_mul(RIPE));
        let raw = x;
        let x = self.spikes.hold(&envelope, spike_limit, ripe, x);
        self.push(x);
        self.last = x;
        let first_slot = clocks.first().slot as usize;
        let Expected { mean: expected, known } = *expected;
        // A factor, not a choice: every sample takes the same instructions.
        let counts = select_unpredictable(known, R::ONE, R::ZERO);
        let residual = counts * (x - expected);
        self.deviations = self.deviations.saturating_add(u32::from(known));
        let deviation_gain = counts * R::one_over(self.deviations.saturating_add(1)).at_least(seasons.scale_gain());
        self.spikes.learn(x - envelope.nearest, deviation_gain);
        let beyond_first = residual.abs() - R::of(FIRST_DEVIATION);
        self.deviation.approach_slowly(&mut self.deviation_carry, beyond_first, deviation_gain);
        let growing = R::one_over(self.deviations.max(1));
        let mut floor = R::ONE;
        for trend in &mut self.trends {
            trend.approach(residual, counts * growing.at_least(floor));
            floor *= R::of(0.5);
        }
        self.visited += u32::from(!known);
        if let Some(gains) = &seasons.retrieval {
            let arrival = Arrival {
                bin: seasons.bin(first_slot) as u32,
                phase: clocks.first().phase,
                width: R::ratio(seasons.period(), seasons.bins().max(1) as u32),
                residual: residual / self.scale(seasons),
                x,
            };
            let memory = self.means.get_mut(seasons.slots()..).unwrap_or_default().as_flattened_mut();
            self.today.observe(memory, &gains.map(R::of), &arrival);
        }

        let memory_gain = seasons.memory_gain.map(R::of);
        let mut start = 0;
        let passes = self.after_pass.iter_mut().zip(&mut self.pass_samples).zip(&mut self.before_pass);
        for ((season, clock), ((last_pass, pass_samples), before)) in
            seasons.list.iter().zip(&clocks.clocks).zip(passes)
        {
            let slot = start + clock.slot as usize;
            start += season.slots;
            let (Some(means), Some(visits)) = (self.means.get_mut(slot), self.visits.get_mut(slot)) else { continue };
            let after_pass = clock.pass.wrapping_add(1);
            let new_pass = after_pass != *last_pass;
            *last_pass = after_pass;
            *pass_samples = select_unpredictable(new_pass, 1, pass_samples.saturating_add(1));
            *before = select_unpredictable(new_pass, means[0], *before);
            *visits = visits.saturating_add(u8::from(new_pass));
            // A pass of b samples must weigh as one sample of gain g would: the old mean weighs b (1 − g)/g samples.
            let samples = R::from_count(*pass_samples);
            let width = R::from_count(season.slot_samples);
            let visit_gain = R::one_over((*visits).max(1).into());
            // The last period's memory takes a spike as it is: in the same slot of the next one it is none.
            let samples_of = [raw, x, x, x];
            for ((mean, floor), x) in means.iter_mut().zip(&memory_gain).zip(samples_of) {
                let gain = visit_gain.at_least(*floor);
                mean.approach(x, gain / (width * (R::ONE - gain) + gain * samples));
            }
        }
    }

    /// Notes that a sample is missing of which this was [`foreseen`](Self::foreseen).
    #[inline]
    pub fn miss(&mut self, foreseen: R) {
        // Before the first sample there is nothing to fill from.
        if self.ring_count > 0 {
            self.push(foreseen);
        }
    }

    /// What memory 1 expects of the sample that `clocks` expect.
    #[inline]
    pub fn expected(&self, seasons: &Seasons, clocks: &Clocks) -> Expected<R> {
        let SlotPlace { slot, neighbour, fraction } = clocks.first().place_ahead(&seasons.first(), 1);
        let [known, next_known] =
            [slot, neighbour].map(|slot| self.visits.get(slot).is_some_and(|visits| *visits != 0));
        let [mean, next] =
            [slot, neighbour].map(|slot| self.means.get(slot).map_or(R::ZERO, |[_, memory, ..]| *memory));
        Expected { mean: mean + select_unpredictable(next_known, fraction, R::ZERO) * (next - mean), known }
    }

    /// What that and the present offset from it say of the sample; the last one where the memory was never there, 0 before
    /// the first.
    #[inline]
    pub fn foreseen(&self, expected: &Expected<R>) -> R {
        select_unpredictable(expected.known, expected.mean + self.trends[OFFSET_TREND], self.last)
    }

    /// What the memories know of the sample that `clocks` expect.
    #[inline]
    fn envelope(&self, seasons: &Seasons, clocks: &Clocks, expected: &Expected<R>) -> Envelope<R> {
        let [surprise, ..] = self.trends;
        let mut envelope = Envelope::new(select_unpredictable(expected.known, expected.mean + surprise, self.last));
        envelope.widen(self.last);
        envelope.widen(self.foreseen(expected));
        let mut start = 0;
        let passes = self.after_pass.iter().zip(&self.before_pass);
        for ((season, clock), (after_pass, before)) in seasons.list.iter().zip(&clocks.clocks).zip(passes) {
            // B_0 forgets the last period when the pass through the slot begins.
            let before = (*after_pass == clock.pass.wrapping_add(1)).then_some(*before);
            self.widen(&mut envelope, start..start + season.slots, clock.slot as usize, season.slot_samples, before);
            start += season.slots;
        }
        envelope
    }

    /// By what a slot of a season, whose slots are `slots`, and the two beside it hold. (One copy serves every season, flash is
    /// dearer than a call.)
    #[inline(never)]
    fn widen(&self, envelope: &mut Envelope<R>, slots: Range<usize>, slot: usize, samples: u32, before: Option<R>) {
        let previous = select_unpredictable(slot == 0, slots.len(), slot).saturating_sub(1);
        let next = select_unpredictable(slot + 1 == slots.len(), 0, slot + 1);
        for (slot, before) in [(previous, None), (slot, before), (next, None)] {
            let slot = slots.start + slot;
            let known = self.visits.get(slot).is_some_and(|visits| *visits != 0);
            let mut means = self.means.get(slot).copied().unwrap_or_default();
            // One of the slot's samples may have been all that moved its last mean.
            let [last, few, ..] = means;
            means[0] = few + R::from_count(samples) * (before.unwrap_or(last) - few);
            envelope.widen_by(&means.map(|mean| select_unpredictable(known, mean, self.last)));
        }
    }

    /// u of the seasonal Flow-Attention, after a sample at `level`.
    #[inline]
    pub fn summary(&self, seasons: &Seasons, level: &Level<R>) -> [R; SUMMARY] {
        let memory = self.means.get(seasons.slots()..).unwrap_or_default().as_flattened();
        // L_0 of the first season is the location.
        let [[.., slowest], ..] = level.memories;
        self.today.summary(memory, seasons.bins(), -slowest, level.scale)
    }

    /// Makes the key under which the sample that just came will be remembered; `level` is what [`Self::features`]
    /// returned.
    #[inline]
    pub fn encode(&mut self, seasons: &Seasons, level: &Level<R>, encoder: &Encoder<'_, R>) {
        let summary = self.summary(seasons, level);
        self.today.encode(encoder, &summary);
    }

    /// The bin of the last sample, and the mean of what memory 1 left unexplained over the pass through it, in scales.
    pub fn bin_residual(&self, seasons: &Seasons) -> (usize, R) {
        let memory = self.means.get(seasons.slots()..).unwrap_or_default().as_flattened();
        (self.today.bin() as usize, self.today.mean_residual(memory))
    }

    /// k and q that the last pass through a bin left there; `None` before the first, and without a seasonal
    /// Flow-Attention.
    pub fn day_key(&self, seasons: &Seasons, bin: usize) -> Option<[[R; KEY]; 2]> {
        seasons.retrieval.filter(|_| bin < seasons.bins())?;
        day_key(self.means.get(seasons.slots()..)?.as_flattened(), bin)
    }

    /// Notes where the next sample falls, whether the last one came or not: `next` expect it.
    #[inline]
    pub fn leave(&mut self, seasons: &Seasons, next: &Clocks) {
        if seasons.retrieval.is_some() {
            let memory = self.means.get_mut(seasons.slots()..).unwrap_or_default().as_flattened_mut();
            self.today.leave(memory, seasons.bin(next.first().slot as usize) as u32);
        }
    }

    #[inline]
    fn scale(&self, seasons: &Seasons) -> R {
        (self.deviation + R::of(FIRST_DEVIATION)).at_least(R::of(seasons.scale_floor))
    }

    #[inline]
    fn push(&mut self, x: R) {
        self.ring.copy_within(1.., 0);
        self.ring[RING - 1] = x;
        self.ring_count += u32::from(self.ring_count < RING as u32);
    }

    /// Writes a token's features, `[MEMORIES][bins]` then `[RING]` oldest first, seen from just before the sample that
    /// `clocks` expect, and returns what they are relative to. Unknown entries are 0. `features` is
    /// `[Seasons::features]`; the cost does not depend on the state.
    #[inline]
    pub fn features(&self, seasons: &Seasons, clocks: &Clocks, features: &mut [R; MAX_FEATURES]) -> Level<R> {
        let bins = seasons.bins();
        let first = seasons.first();
        let mut slot = clocks.first().slot as usize;
        let mut counts = [0_u32; MAX_BINS];
        let mut totals = [R::Sum::default(); MEMORIES];
        let mut total_count = 0;
        let mut end = 0;
        for (bin, count) in counts.iter_mut().enumerate().take(bins) {
            let begin = end;
            end = (bin + 1) * first.slots / bins;
            let mut sums = [R::ZERO; MEMORIES];
            let mut known = 0_u32;
            for _ in begin..end {
                if let (Some(means), Some(visits)) = (self.means.get(slot), self.visits.get(slot)) {
                    for (sum, mean) in sums.iter_mut().zip(means) {
                        *sum += *mean;
                    }
                    known += u32::from(*visits != 0);
                }
                slot += 1;
                slot = select_unpredictable(slot == first.slots, 0, slot);
            }
            *count = known;
            for (total, sum) in totals.iter_mut().zip(&sums) {
                sum.add_to(total);
            }
            total_count += *count;
            let inverse = R::shares(*count);
            for (feature, sum) in features.iter_mut().skip(bin).step_by(bins.max(1)).zip(&sums) {
                *feature = sum.share(inverse);
            }
        }
        let means = totals.map(|total| R::mean(total, total_count));
        let [location, ..] = means;
        let mut memories = [[R::ZERO; MEMORIES]; MAX_SEASONS];
        memories[0] = means.map(|mean| mean - location);
        let mut begin = first.slots;
        for (season, levels) in seasons.list.iter().zip(&mut memories).skip(1) {
            *levels = self.levels(begin, season.slots, location);
            begin += season.slots;
        }
        for memory in features.chunks_exact_mut(bins.max(1)).take(MEMORIES) {
            for (feature, count) in memory.iter_mut().zip(&counts) {
                *feature = select_unpredictable(*count > 0, *feature - location, R::ZERO);
            }
        }
        self.write_ring(location, features.get_mut(MEMORIES * bins..).unwrap_or_default());
        Level { location, scale: self.scale(seasons), memories }
    }

    /// Mean over the visited ones of `slots` slots from `begin` on, less the location: `[MEMORIES]`.
    #[inline]
    fn levels(&self, begin: usize, slots: usize, location: R) -> [R; MEMORIES] {
        let mut totals = [R::Sum::default(); MEMORIES];
        let slots = begin..begin + slots;
        // A few slots at a time: a sum of all may be wider than a number.
        for means in self.means.get(slots.clone()).unwrap_or_default().chunks(SUMMED) {
            let mut sums = [R::ZERO; MEMORIES];
            for means in means {
                for (sum, mean) in sums.iter_mut().zip(means) {
                    *sum += *mean;
                }
            }
            for (total, sum) in totals.iter_mut().zip(sums) {
                sum.add_to(total);
            }
        }
        let visits = self.visits.get(slots).unwrap_or_default();
        let known: u32 = visits.iter().map(|visits| u32::from(*visits != 0)).sum();
        totals.map(|total| select_unpredictable(known > 0, R::mean(total, known) - location, R::ZERO))
    }

    /// The last samples less the location, 0 where unknown. `[RING]`
    #[inline]
    fn write_ring(&self, location: R, out: &mut [R]) {
        let unknown = RING - self.ring_count as usize;
        for (i, (feature, x)) in out.iter_mut().zip(&self.ring).enumerate() {
            *feature = select_unpredictable(i >= unknown, *x - location, R::ZERO);
        }
    }

    /// Writes the readout's features that are the same for every step, `[Seasons::standing]`: levels of every memory
    /// but the location, trends and, if there is place for it, the ring.
    #[inline]
    pub fn standing(&self, seasons: &Seasons, level: &Level<R>, out: &mut [R]) {
        let memories = seasons.list.len() * MEMORIES;
        let levels = level.memories.as_flattened().iter().take(memories).skip(1);
        for (out, value) in out.iter_mut().zip(levels.chain(&self.trends)) {
            *out = *value;
        }
        self.write_ring(level.location, out.get_mut(seasons.standing(false)..).unwrap_or_default());
    }
}

impl<const SLOTS: usize, R: Element> Default for SeasonalState<SLOTS, R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::q20::Q20;

    fn seasons(shapes: &[(u32, u32)]) -> Seasons {
        let season = |(period, slot_samples): &(u32, u32)| Season {
            period: *period,
            slot_samples: *slot_samples,
            slots: period.div_ceil(*slot_samples) as usize,
        };
        Seasons {
            list: shapes.iter().map(season).collect(),
            memory_gain: [1.0, 1.0 / 3.0, 0.1, 1.0 / 30.0],
            scale_floor: 0.05,
            retrieval: None,
        }
    }

    fn observe<const SLOTS: usize, R: Element>(
        state: &mut SeasonalState<SLOTS, R>,
        seasons: &Seasons,
        clocks: &Clocks,
        x: R,
    ) {
        let expected = state.expected(seasons, clocks);
        state.observe(seasons, clocks, &expected, &Limit::NONE, x);
    }

    fn miss<const SLOTS: usize, R: Element>(state: &mut SeasonalState<SLOTS, R>, seasons: &Seasons, clocks: &Clocks) {
        state.miss(state.foreseen(&state.expected(seasons, clocks)));
    }

    /// As BOUNDS.md says.
    #[test]
    fn integers_stay_within_their_bounds() {
        let seasons = seasons(&[(12, 1), (84, 7)]);
        let most = Q20::of(1024.0);
        let kinds: [fn(u32) -> f32; 5] = [
            |_| 1024.0,
            |_| -1024.0,
            |sample| if sample.is_multiple_of(2) { 1024.0 } else { -1024.0 },
            |sample| if sample.is_multiple_of(97) { 1024.0 } else { 0.25 },
            |sample| (sample.wrapping_mul(0x9e37_79b9) >> 8) as f32 / 8192.0 - 1024.0,
        ];
        let (mut state, mut clocks) = (SeasonalState::<24, Q20>::new(), Clocks::default());
        for sample in 0..40_000_u32 {
            match sample % 11 {
                0 => miss(&mut state, &seasons, &clocks),
                _ => observe(&mut state, &seasons, &clocks, Q20::of(kinds[(sample / 500 % 5) as usize](sample))),
            }
            clocks.advance(&seasons);
            let bounded = |numbers: &[Q20], most: Q20| {
                assert!(numbers.iter().all(|number| number.abs() <= most), "{numbers:?} at sample {sample}");
            };
            bounded(state.means.as_flattened(), most);
            bounded(&[state.last], most);
            bounded(&state.trends, Q20::MAX);
            // A fill is a memory and a trend.
            bounded(&state.ring, Q20::MAX);
            assert!((Q20::of(-0.5)..=Q20::MAX).contains(&state.deviation));
            assert!((Q20::ZERO..Q20::ONE).contains(&state.deviation_carry));
            let mut features = [Q20::ZERO; MAX_FEATURES];
            let level = state.features(&seasons, &clocks, &mut features);
            bounded(&[level.location], most);
            assert!(level.scale >= Q20::of(seasons.scale_floor));
        }
        // All of it is forgotten, but for what rounding to the nearest leaves of the smallest gain, 1/210: half of 210 steps.
        for _ in 0..84 * 800 {
            observe(&mut state, &seasons, &clocks, Q20::of(0.25));
            clocks.advance(&seasons);
        }
        for mean in state.means.as_flattened().iter().chain(&state.ring).filter(|mean| **mean != Q20::ZERO) {
            assert!((mean.to_f32() - 0.25).abs() < 107.0 * Q20::EPSILON.to_f32(), "{mean:?}");
        }
    }

    #[test]
    fn skipping_equals_advancing() {
        for slot_samples in [1, 5] {
            let seasons = seasons(&[(12, slot_samples), (84, 7)]);
            for samples in [0_u32, 1, 4, 11, 12, 13, 100] {
                let (mut walked, mut jumped) = (Clocks::default(), Clocks::default());
                walked.advance(&seasons);
                jumped.advance(&seasons);
                for _ in 0..samples {
                    walked.advance(&seasons);
                }
                jumped.skip(&seasons, samples);
                assert_eq!(walked, jumped, "{samples} samples, {slot_samples} a slot");
            }
        }
    }

    #[test]
    fn memories_are_the_last_period_and_means_of_the_past() {
        let seasons = seasons(&[(12, 1)]);
        let (mut state, mut clocks) = (SeasonalState::<12>::new(), Clocks::default());
        for period in 0..3 {
            for phase in 0..12 {
                observe(&mut state, &seasons, &clocks, (period * 100 + phase) as f32);
                clocks.advance(&seasons);
            }
        }
        assert_eq!(state.visited(), 12);
        for (phase, means) in state.means.iter().enumerate() {
            assert_eq!(means[0], 200.0 + phase as f32);
            assert!((means[2] - (100.0 + phase as f32)).abs() < 1e-4, "{means:?}");
        }
        let mut features = [0.0; MAX_FEATURES];
        let level = state.features(&seasons, &clocks, &mut features);
        assert!((level.location - 205.5).abs() < 1e-4);
        assert!((level.memories[0][2] + 100.0).abs() < 1e-4);
        // The next phase comes first, in the memories; the newest sample comes last, in the ring.
        assert!((features[0] - (200.0 - level.location)).abs() < 1e-4);
        assert!((features[seasons.features() - 1] - (211.0 - level.location)).abs() < 1e-4);
    }

    #[test]
    fn a_step_ahead_reads_where_it_will_fall() {
        // Two seasons at once: a fast one of 6 samples and a slow one of 30, whose slots hold 2.
        let seasons = seasons(&[(6, 1), (30, 2)]);
        let value = |row: u32| (row % 6) as f32 + 10.0 * ((row % 30) / 2) as f32;
        let (mut state, mut clocks) = (SeasonalState::<21>::new(), Clocks::default());
        for row in 0..400 {
            observe(&mut state, &seasons, &clocks, value(row));
            clocks.advance(&seasons);
        }
        let mut features = [0.0; MAX_FEATURES];
        let level = state.features(&seasons, &clocks, &mut features);
        for steps_ahead in [1, 2, 7, 100] {
            let mut aligned = [0.0; MAX_ALIGNED];
            state.memories().aligned(&seasons, &clocks, &level, steps_ahead, &mut aligned);
            let row = 399 + steps_ahead;
            let slow = aligned[MEMORIES] + level.memories[1][0] + level.location;
            // A slot of two samples holds their mean; a quarter of the way to the nearer neighbour, a quarter of its.
            let of_slot = |slot: u32| (value(2 * (slot % 15)) + value(2 * (slot % 15) + 1)) / 2.0;
            let slot = row % 30 / 2;
            let neighbour = if row % 2 == 0 { slot + 14 } else { slot + 1 };
            let expected = 0.75 * of_slot(slot) + 0.25 * of_slot(neighbour);
            assert!((slow - expected).abs() < 1e-3, "{slow} and {expected}, {steps_ahead} ahead");
            assert_eq!(aligned[2 * MEMORIES], 0.0);
        }
        // What stands for every step is the same with a seasonal Flow-Attention.
        for retrieval in [None, Some([0.2; RETRIEVALS])] {
            let seasons = Seasons { retrieval, ..seasons.clone() };
            let mut standing = [9.0; MAX_STANDING];
            state.standing(&seasons, &level, &mut standing[..seasons.standing(true)]);
            assert_eq!(standing[0], level.memories[0][1]);
            assert_eq!(standing[7], state.trends[0]);
            assert!((standing[seasons.standing(true) - 1] - (value(399) - level.location)).abs() < 1e-4);
            assert_eq!(standing[seasons.standing(true)], 9.0);
        }
    }

    /// Days alike, then one that is off by `then`, as the ring holds it.
    fn after_days<R: Element>(limit: f32, then: &[f32; 12]) -> [f32; 12] {
        let seasons = seasons(&[(12, 1)]);
        let (mut state, mut clocks) = (SeasonalState::<12, R>::new(), Clocks::default());
        let day = |sample: usize| [0.0, 0.0, 0.5, 1.0, 2.0, 1.5, 1.0, 0.5, 0.0, 0.0, 8.0, 0.0][sample % 12];
        for sample in 0..12 * 9 + then.len() {
            let noise = [0.0625, -0.0625, 0.0, 0.03125, -0.03125][sample % 5];
            let off = sample.checked_sub(12 * 9).map_or(0.0, |after| then[after]);
            let expected = state.expected(&seasons, &clocks);
            let limit = Limit { steps: R::of(limit), least: R::ZERO };
            state.observe(&seasons, &clocks, &expected, &limit, R::of(day(sample) + noise + off));
            clocks.advance(&seasons);
        }
        core::array::from_fn(|at| state.ring[RING - then.len() + at].to_f32())
    }

    #[test]
    fn what_comes_at_the_same_time_of_the_next_day_is_no_glitch() {
        for samples in [1, 3] {
            let seasons = seasons(&[(24, samples)]);
            let (mut state, mut clocks) = (SeasonalState::<24>::new(), Clocks::default());
            let limit = Limit { steps: 5.0, least: 0.0 };
            let mut entered = std::vec::Vec::new();
            for sample in 0..24 * 12 {
                let noise = [0.0625, -0.0625, 0.0, 0.03125, -0.03125][sample % 5];
                let pulse = if sample >= 24 * 9 && sample % 24 == 13 { 5.0 } else { 0.0 };
                let expected = state.expected(&seasons, &clocks);
                state.observe(&seasons, &clocks, &expected, &limit, noise + pulse);
                clocks.advance(&seasons);
                if pulse > 0.0 {
                    entered.push(state.last());
                }
            }
            assert!(entered[0] < 1.0 && entered[1] > 4.5 && entered[2] > 4.5, "{samples} a slot: {entered:?}");
        }
    }

    #[test]
    fn a_glitch_does_not_enter_and_what_a_day_repeats_or_lasts_does() {
        fn holds<R: Element>() {
            let quiet = after_days::<R>(5.0, &[0.0; 12]);
            assert_eq!(quiet, after_days::<R>(0.0, &[0.0; 12]), "a spike that each day has is none");
            let mut glitch = [0.0; 12];
            glitch[6] = 5.0;
            let [taken, held] = [0.0, 5.0].map(|limit| after_days::<R>(limit, &glitch));
            assert_eq!(taken[6], quiet[6] + 5.0);
            assert!(held[6] < quiet[6] + 1.5, "{held:?}");
            assert_eq!((&held[..6], &held[7..]), (&quiet[..6], &quiet[7..]));
            let mut step = [5.0; 12];
            step[..6].fill(0.0);
            let stepped = after_days::<R>(5.0, &step);
            assert!(stepped[6] < quiet[6] + 1.5 && stepped[7..].iter().zip(&quiet[7..]).all(|(a, b)| *a == b + 5.0));
        }
        holds::<f32>();
        holds::<Q20>();
    }

    #[test]
    fn a_slot_of_several_samples_weighs_a_pass_like_one_sample() {
        let seasons = seasons(&[(12, 4)]);
        let (mut state, mut clocks) = (SeasonalState::<3>::new(), Clocks::default());
        for sample in 0..12 * 40 {
            let x = if sample < 12 * 39 { 1.0 } else { 2.0 + (sample % 4) as f32 };
            observe(&mut state, &seasons, &clocks, x);
            clocks.advance(&seasons);
        }
        for means in &state.means {
            for (mean, gain) in means.iter().zip(&seasons.memory_gain) {
                assert!((mean - (1.0 + gain * 2.5)).abs() < 1e-4, "{means:?}");
            }
        }
    }

    #[test]
    fn missing_samples_fill_the_ring_and_leave_the_memory() {
        let seasons = seasons(&[(12, 1)]);
        let (mut state, mut clocks) = (SeasonalState::<12>::new(), Clocks::default());
        for sample in 0..36 {
            observe(&mut state, &seasons, &clocks, (sample % 12) as f32);
            clocks.advance(&seasons);
        }
        let means = state.means;
        for _ in 0..5 {
            miss(&mut state, &seasons, &clocks);
            clocks.advance(&seasons);
        }
        assert_eq!(state.means, means);
        assert_eq!(&state.ring[RING - 5..], &[0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}
