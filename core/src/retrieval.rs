//! Seasonal Flow-Attention: what this phase of the season held on days like the last one.
//!
//! The seasonal memories are Flow-Attention's running means with hard phase routing and constant keys. Here keys speak
//! of the day's content, so that each phase keeps several kinds of days apart: working days and holidays, wind from here
//! and from there. A season is cut into up to 24 bins; r is what memory 1 left unexplained, over the scale. Where a day
//! is one period of the first season:
//!
//! ```text
//! u_t    = [r of the last eight eighths of a day], (L_0 − L_3)/scale, ln scale, [means of the last eight days]
//! hid    = ReLU(E u_t + b)          k_t = σ(W_k hid + b_k)          q_t = σ(W_q hid + b_q)
//! write  bin p, g = max(1/n_p, 1/N_h):   key_value[p] += g (k_{t−day} r_t − key_value[p])
//!                                         key_mean[p] += g (k_{t−day} − key_mean[p])
//! read   a step ahead in bin p:           P_h = scale · q_s·key_value[p] / Σ (q_s + ε)(key_mean[p] + ε)
//! ```
//!
//! with s the last sample known of bin p: one day before the step, or the least number of days before it. The division
//! is the sink's conservation: what a step receives sums to one over the days that it receives from. A constant key gives
//! the plain mean of r, that is a seasonal memory. Paper: "Flowformer" (ICML 2022), equations 4 and 8.

use core::hint::select_unpredictable;

use crate::kernel::COLUMNS;
use crate::linear::{Element, Linear, Vector};
use crate::math::Real;

/// Memories of a bin, of different lengths: the heads, which share keys and queries.
pub const RETRIEVALS: usize = 2;
/// Width of a key and of a query.
pub const KEY: usize = 4;
/// Units between summary and keys.
pub const HIDDEN: usize = 16;
/// Parts of the last day, and days, in a summary.
const PARTS: usize = 8;
const DAYS: usize = 8;
/// Numbers of a summary: residuals of the day's parts, level shift, ln scale, days' means.
pub const SUMMARY: usize = PARTS + 2 + DAYS;
/// r enters within ± this many scales, and a summary's numbers within ± that.
const LARGEST_RESIDUAL: f32 = 8.0;
const LARGEST_SUMMARY: f32 = 6.0;
/// Numbers of a bin's memory: key_value and key_mean of each retrieval, key, query, the last pass's mean r, writes, and
/// whether there is a key.
pub const BIN: usize = 2 * RETRIEVALS * KEY + 2 * KEY + 4;
/// A bin's memory, taken apart.
struct Bin<'s, R> {
    key_value: &'s mut [[R; KEY]; RETRIEVALS],
    key_mean: &'s mut [[R; KEY]; RETRIEVALS],
    key: &'s mut [R; KEY],
    query: &'s mut [R; KEY],
    rest: &'s mut [R; 4],
}

/// As [`Bin`], to read.
struct BinView<'s, R> {
    key_value: &'s [[R; KEY]; RETRIEVALS],
    key_mean: &'s [[R; KEY]; RETRIEVALS],
    key: &'s [R; KEY],
    query: &'s [R; KEY],
    rest: &'s [R; 4],
}

impl<'s, R> Bin<'s, R> {
    fn of(memory: &'s mut [R], index: usize) -> Option<Self> {
        let bin = memory.as_chunks_mut::<BIN>().0.get_mut(index)?;
        let (keyed, rest) = bin.split_first_chunk_mut::<{ BIN - 4 }>()?;
        let ([key_value @ .., key, query], _) = keyed.as_chunks_mut::<KEY>() else { return None };
        let (key_value, key_mean) = key_value.split_first_chunk_mut::<RETRIEVALS>()?;
        Some(Self { key_value, key_mean: key_mean.first_chunk_mut()?, key, query, rest: rest.first_chunk_mut()? })
    }
}

impl<'s, R> BinView<'s, R> {
    fn of(memory: &'s [R], index: usize) -> Option<Self> {
        let bin = memory.as_chunks::<BIN>().0.get(index)?;
        let (keyed, rest) = bin.split_first_chunk::<{ BIN - 4 }>()?;
        let ([key_value @ .., key, query], _) = keyed.as_chunks::<KEY>() else { return None };
        let (key_value, key_mean) = key_value.split_first_chunk::<RETRIEVALS>()?;
        Some(Self { key_value, key_mean: key_mean.first_chunk()?, key, query, rest: rest.first_chunk()? })
    }
}

/// The layers that make keys and queries of a summary.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'m, R: Element> {
    /// `[HIDDEN][SUMMARY]`
    pub expand: Linear<'m, R>,
    /// `[KEY][HIDDEN]`
    pub key: Linear<'m, R>,
    /// `[KEY][HIDDEN]`
    pub query: Linear<'m, R>,
}

impl<R: Element> Encoder<'_, R> {
    /// k and q of a summary.
    #[inline]
    fn encode(&self, summary: &[R; SUMMARY]) -> [[R; KEY]; 2] {
        let mut hidden = Vector::<R, HIDDEN>::empty();
        hidden.fill(R::tighter(self.key.limit(), self.query.limit()), |hidden| {
            self.expand.apply_once::<{ SUMMARY.next_multiple_of(COLUMNS) }>(summary, hidden);
            for unit in &mut *hidden {
                *unit = unit.at_least(R::ZERO);
            }
            HIDDEN
        });
        [self.key, self.query].map(|layer| {
            let mut capacity = [R::ZERO; KEY];
            layer.apply(hidden.input(), &mut capacity);
            capacity.map(R::sigmoid)
        })
    }
}

/// What a sample brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<R> {
    /// The bin that it falls into.
    pub bin: u32,
    /// Its phase in the first season.
    pub phase: u32,
    /// Samples of a bin.
    pub width: R,
    /// r before its bounds: the residual of memory 1 over the scale.
    pub residual: R,
    /// The sample itself.
    pub x: R,
}

/// The part of a channel's state that does not lie with its bins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Today<R> {
    /// The bin of the last sample, how many samples of this pass entered it, and whether the next sample's is another.
    bin: u32,
    bin_samples: u32,
    /// k and q after the last sample.
    key: [R; KEY],
    query: [R; KEY],
    /// Means of the last whole days, the latest first, and how many are known.
    days: [R; DAYS],
    known_days: u32,
    /// Of the present day: mean and count of samples, phase of the last.
    mean: R,
    count: u32,
    phase: u32,
}

crate::persist::persist!(impl [R: crate::persist::Persist] Today<R> {
    bin,
    bin_samples,
    key,
    query,
    days,
    known_days,
    mean,
    count,
    phase
});

impl<R: Element> Today<R> {
    /// Before the first sample: zeros.
    pub const NEW: Self = Self {
        bin: 0,
        bin_samples: 0,
        key: [R::ZERO; KEY],
        query: [R::ZERO; KEY],
        days: [R::ZERO; DAYS],
        known_days: 0,
        mean: R::ZERO,
        count: 0,
        phase: 0,
    };

    /// Takes a sample into its bin's memory, under the key that the day before left there.
    #[inline]
    pub fn observe(&mut self, memory: &mut [R], gains: &[R; RETRIEVALS], arrival: &Arrival<R>) {
        self.keep_day(arrival);
        let most = R::of(LARGEST_RESIDUAL);
        let residual = arrival.residual.at_most(most).at_least(-most);
        let new_pass = (arrival.bin != self.bin) | (self.bin_samples == 0);
        self.bin = arrival.bin;
        self.bin_samples = select_unpredictable(new_pass, 1, self.bin_samples.saturating_add(1));
        let Some(bin) = Bin::of(memory, arrival.bin as usize) else { return };
        let [mean, writes, keyed, _] = bin.rest;
        // A factor, not a choice: every sample takes the same instructions.
        let written = select_unpredictable(new_pass, *keyed, R::ZERO);
        *writes = (*writes + written).at_most(R::of(255.0));
        let samples = R::from_count(self.bin_samples);
        let moved = *mean + R::one_over(self.bin_samples) * (residual - *mean);
        *mean = select_unpredictable(new_pass, residual, moved);
        let writing = select_unpredictable(*writes > R::ZERO, R::ONE, R::ZERO);
        let write_gain = writes.at_least(R::ONE).recip();
        for ((key_value, key_mean), floor) in bin.key_value.iter_mut().zip(bin.key_mean).zip(gains) {
            // As the seasonal memories': a pass of b samples weighs as one of gain g.
            let gain = write_gain.at_least(*floor);
            let gain = writing * gain / (arrival.width * (R::ONE - gain) + gain * samples);
            for ((key_value, key_mean), key) in key_value.iter_mut().zip(key_mean).zip(&*bin.key) {
                key_value.approach(*key * residual, gain);
                key_mean.approach(*key, gain);
            }
        }
    }

    /// The present day's mean, and the last one's when a new day begins.
    #[inline]
    fn keep_day(&mut self, arrival: &Arrival<R>) {
        let new_day = (arrival.phase <= self.phase) & (self.count > 0);
        let mut later = self.mean;
        for day in &mut self.days {
            let this = *day;
            *day = select_unpredictable(new_day, later, this);
            later = this;
        }
        self.known_days += u32::from(new_day & (self.known_days < DAYS as u32));
        self.count = select_unpredictable(new_day, 0, self.count).saturating_add(1);
        let mean = select_unpredictable(new_day, R::ZERO, self.mean);
        self.mean = mean + R::one_over(self.count) * (arrival.x - mean);
        self.phase = arrival.phase;
    }

    /// u, after the last sample. `memory` holds `bins` bins; `shift` is L_0 − L_3, over which `scale` stands.
    #[inline]
    pub fn summary(&self, memory: &[R], bins: usize, shift: R, scale: R) -> [R; SUMMARY] {
        let mut summary = [R::ZERO; SUMMARY];
        let (parts, rest) = summary.split_at_mut(PARTS);
        let mut bin = self.bin as usize;
        let mut end = 0;
        for (part, place) in parts.iter_mut().enumerate() {
            let begin = end;
            end = (part + 1) * bins / PARTS;
            let mut sum = R::ZERO;
            for _ in begin..end {
                sum += BinView::of(memory, bin).map_or(R::ZERO, |bin| bin.rest[0]);
                bin = select_unpredictable(bin == 0, bins, bin).saturating_sub(1);
            }
            *place = sum.share(R::shares((end - begin) as u32));
        }
        let mut sum = R::ZERO;
        for day in &self.days {
            sum += *day;
        }
        let mean = sum.share(R::shares(self.known_days));
        if let Some(([level_shift, spread], days)) = rest.split_first_chunk_mut::<2>() {
            *level_shift = shift / scale;
            *spread = scale.ln();
            for (index, (place, day)) in days.iter_mut().zip(&self.days).enumerate() {
                *place = select_unpredictable(index < self.known_days as usize, (*day - mean) / scale, R::ZERO);
            }
        }
        let most = R::of(LARGEST_SUMMARY);
        summary.map(|number| number.at_most(most).at_least(-most))
    }

    /// Makes k and q of a summary. They enter the bin's memory when the last sample of the bin has come, so that the
    /// samples of one pass are all written under the key of the day before.
    #[inline]
    pub fn encode(&mut self, encoder: &Encoder<'_, R>, summary: &[R; SUMMARY]) {
        [self.key, self.query] = encoder.encode(summary);
    }

    /// Notes which bin the next sample falls into.
    #[inline]
    pub fn leave(&mut self, memory: &mut [R], next_bin: u32) {
        let left = (next_bin != self.bin) & (self.bin_samples > 0);
        let Some(bin) = Bin::of(memory, self.bin as usize) else { return };
        for (place, key) in bin.key.iter_mut().zip(&self.key).chain(bin.query.iter_mut().zip(&self.query)) {
            *place = select_unpredictable(left, *key, *place);
        }
        let [_, _, keyed, _] = bin.rest;
        *keyed = select_unpredictable(left, R::ONE, *keyed);
        self.bin_samples = select_unpredictable(left, 0, self.bin_samples);
    }

    /// Mean r of the last pass through the bin of the last sample.
    pub fn mean_residual(&self, memory: &[R]) -> R {
        BinView::of(memory, self.bin as usize).map_or(R::ZERO, |bin| bin.rest[0])
    }

    /// The bin of the last sample.
    pub fn bin(&self) -> u32 {
        self.bin
    }
}

/// P_h of a step in a bin, over the scale.
#[inline]
pub(crate) fn retrieve<R: Real>(memory: &[R], bin: usize) -> [R; RETRIEVALS] {
    let mut received = [R::ZERO; RETRIEVALS];
    let Some(bin) = BinView::of(memory, bin) else { return received };
    for ((received, key_value), key_mean) in received.iter_mut().zip(bin.key_value).zip(bin.key_mean) {
        let (mut value, mut flow) = (R::ZERO, R::ZERO);
        for ((query, key_value), key_mean) in bin.query.iter().zip(key_value).zip(key_mean) {
            value += *query * *key_value;
            flow += (*query + R::EPSILON) * (*key_mean + R::EPSILON);
        }
        *received = value / flow;
    }
    received
}

/// k and q that the last pass through a bin left there; `None` before the first.
pub(crate) fn day_key<R: Real>(memory: &[R], bin: usize) -> Option<[[R; KEY]; 2]> {
    let BinView { key, query, rest: [_, _, keyed, _], .. } = BinView::of(memory, bin)?;
    (*keyed > R::ZERO).then_some([*key, *query])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const BINS: usize = 6;
    const GAINS: [f32; RETRIEVALS] = [1.0 / 5.0, 1.0 / 30.0];

    /// Numbers of the layers, and what makes an encoder of them.
    struct Weights([Vec<f32>; 6]);

    impl Weights {
        fn new(mut number: impl FnMut() -> f32) -> Self {
            let sizes = [HIDDEN * SUMMARY, HIDDEN, KEY * HIDDEN, KEY, KEY * HIDDEN, KEY];
            Self(sizes.map(|size| (0..size).map(|_| number()).collect()))
        }

        fn encoder(&self) -> Encoder<'_, f32> {
            let layer = |index: usize| Linear { weight: self.0[index].as_slice(), bias: &self.0[index + 1] };
            Encoder { expand: layer(0), key: layer(2), query: layer(4) }
        }
    }

    /// Streams residuals, two samples a bin, none where NaN, and returns the memory and the state.
    fn stream(weights: &Weights, residuals: &[f32]) -> (Vec<f32>, Today<f32>) {
        let mut memory = vec![0.0; BINS * BIN];
        let mut today = Today::NEW;
        for (row, residual) in residuals.iter().enumerate() {
            let phase = (row % (2 * BINS)) as u32;
            if !residual.is_nan() {
                let arrival = Arrival { bin: phase / 2, phase, width: 2.0, residual: *residual, x: 0.0 };
                today.observe(&mut memory, &GAINS, &arrival);
                let summary = today.summary(&memory, BINS, 0.0, 1.0);
                today.encode(&weights.encoder(), &summary);
            }
            today.leave(&mut memory, (row + 1) as u32 % (2 * BINS as u32) / 2);
        }
        (memory, today)
    }

    #[test]
    fn constant_keys_retrieve_the_running_mean_of_the_phase() {
        let residuals: Vec<f32> = (0..40 * 2 * BINS).map(|row| ((row * 7919) % 101) as f32 / 50.0 - 1.0).collect();
        let (memory, _) = stream(&Weights::new(|| 0.0), &residuals);
        for bin in 0..BINS {
            for (retrieved, gain) in retrieve(&memory, bin).into_iter().zip(GAINS) {
                let mut mean = 0.0;
                // The first day has no key of a day before.
                for day in 1..40 {
                    let of_bin = residuals[day * 2 * BINS + 2 * bin..][..2].iter().sum::<f32>() / 2.0;
                    mean += (1.0 / day as f32).max(gain) * (of_bin - mean);
                }
                assert!((retrieved - mean).abs() < 1e-4, "bin {bin}: {retrieved}, expected {mean}");
            }
        }
    }

    #[test]
    fn alike_days_are_told_by_their_content() {
        // A low day follows a high one, and a high day a low one: their mean says nothing.
        let high = |row: usize| if (row / (2 * BINS)).is_multiple_of(2) { 1.0 } else { -1.0 };
        let residuals: Vec<f32> = (0..101 * 2 * BINS).map(high).collect();
        let mut weights = Weights::new(|| 0.0);
        // Of the last bin, one unit tells that it was high and one that it was low; each opens components of key and query.
        for (unit, sign) in [1.0, -1.0].into_iter().enumerate() {
            weights.0[0][unit * SUMMARY..unit * SUMMARY + 2].fill(sign);
        }
        for layer in [2, 4] {
            for component in 0..KEY {
                weights.0[layer][component * HIDDEN + component % 2] = 8.0;
                weights.0[layer + 1][component] = -4.0;
            }
        }
        let (memory, _) = stream(&weights, &residuals);
        let (plain, _) = stream(&Weights::new(|| 0.0), &residuals);
        for bin in 0..BINS {
            // The last day was high.
            assert!(retrieve(&memory, bin).iter().all(|retrieved| *retrieved < -0.9), "{:?}", retrieve(&memory, bin));
            assert!(retrieve(&plain, bin)[1].abs() < 0.1);
        }
    }

    #[test]
    fn whatever_comes_is_bounded() {
        let mut seed = 1_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / 8_388_608.0 - 1.0
        };
        let weights = Weights::new(|| 1000.0 * random());
        let wild = [0.0, f32::MAX, -f32::MAX, 1e9, f32::NAN, -3.0, f32::MIN_POSITIVE];
        let residuals: Vec<f32> = (0..3000).map(|row| wild[row * 31 % 7]).collect();
        let (memory, today) = stream(&weights, &residuals);
        assert!(memory.iter().all(|number| number.is_finite() && number.abs() <= 255.0));
        assert!(today.summary(&memory, BINS, 0.0, 1.0).iter().all(|number| number.abs() <= LARGEST_SUMMARY));
        for bin in 0..BINS + 1 {
            assert!(retrieve(&memory, bin).iter().all(|number| number.abs() <= 1.01 * LARGEST_RESIDUAL));
        }
    }

    #[test]
    fn a_missing_sample_moves_no_memory() {
        let weights = Weights::new(|| 0.1);
        let mut residuals = vec![0.5; 10 * 2 * BINS + 3];
        let (before, _) = stream(&weights, &residuals);
        residuals.push(f32::NAN);
        let (after, _) = stream(&weights, &residuals);
        // But for the key of the bin that has ended.
        let values = |memory: &[f32]| -> Vec<f32> {
            (0..BINS).flat_map(|bin| memory[bin * BIN..bin * BIN + 2 * RETRIEVALS * KEY].to_vec()).collect()
        };
        assert_eq!(values(&before), values(&after));
    }

    #[test]
    fn a_bin_tells_its_key_once_it_was_left() {
        let weights = Weights::new(|| 0.1);
        let (memory, today) = stream(&weights, &[0.5; 5]);
        let keyed: Vec<bool> = (0..BINS + 1).map(|bin| day_key(&memory, bin).is_some()).collect();
        assert_eq!(keyed, [true, true, false, false, false, false, false]);
        let (memory, left) = stream(&weights, &[0.5; 6]);
        assert_eq!(day_key(&memory, 2), Some([left.key, left.query]));
        assert_ne!(today, left);
    }
}
