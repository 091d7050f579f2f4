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
use crate::linear::{Linear, Vector};
use crate::math::{Real, ln, sigmoid};

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
const EPSILON: f32 = <f32 as Real>::EPSILON;
/// r enters within ± this many scales, and a summary's numbers within ± that.
const LARGEST_RESIDUAL: f32 = 8.0;
const LARGEST_SUMMARY: f32 = 6.0;
/// Numbers of a bin's memory: key_value and key_mean of each retrieval, key, query, the last pass's mean r, writes, and
/// whether there is a key.
pub const BIN: usize = 2 * RETRIEVALS * KEY + 2 * KEY + 4;
/// A bin's memory, taken apart.
struct Bin<'s> {
    key_value: &'s mut [[f32; KEY]; RETRIEVALS],
    key_mean: &'s mut [[f32; KEY]; RETRIEVALS],
    key: &'s mut [f32; KEY],
    query: &'s mut [f32; KEY],
    rest: &'s mut [f32; 4],
}

/// As [`Bin`], to read.
struct BinView<'s> {
    key_value: &'s [[f32; KEY]; RETRIEVALS],
    key_mean: &'s [[f32; KEY]; RETRIEVALS],
    query: &'s [f32; KEY],
    rest: &'s [f32; 4],
}

impl<'s> Bin<'s> {
    fn of(memory: &'s mut [f32], index: usize) -> Option<Self> {
        let bin = memory.as_chunks_mut::<BIN>().0.get_mut(index)?;
        let (keyed, rest) = bin.split_first_chunk_mut::<{ BIN - 4 }>()?;
        let ([key_value @ .., key, query], _) = keyed.as_chunks_mut::<KEY>() else { return None };
        let (key_value, key_mean) = key_value.split_first_chunk_mut::<RETRIEVALS>()?;
        Some(Self { key_value, key_mean: key_mean.first_chunk_mut()?, key, query, rest: rest.first_chunk_mut()? })
    }
}

impl<'s> BinView<'s> {
    fn of(memory: &'s [f32], index: usize) -> Option<Self> {
        let bin = memory.as_chunks::<BIN>().0.get(index)?;
        let (keyed, rest) = bin.split_first_chunk::<{ BIN - 4 }>()?;
        let ([key_value @ .., _, query], _) = keyed.as_chunks::<KEY>() else { return None };
        let (key_value, key_mean) = key_value.split_first_chunk::<RETRIEVALS>()?;
        Some(Self { key_value, key_mean: key_mean.first_chunk()?, query, rest: rest.first_chunk()? })
    }
}

/// The layers that make keys and queries of a summary.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'m> {
    /// `[HIDDEN][SUMMARY]`
    pub expand: Linear<'m>,
    /// `[KEY][HIDDEN]`
    pub key: Linear<'m>,
    /// `[KEY][HIDDEN]`
    pub query: Linear<'m>,
}

impl Encoder<'_> {
    /// k and q of a summary.
    #[inline]
    fn encode(&self, summary: &[f32; SUMMARY]) -> [[f32; KEY]; 2] {
        let mut hidden = Vector::<HIDDEN>::EMPTY;
        hidden.fill(self.key.weight.is_eight_bit(), |hidden| {
            self.expand.apply_once::<{ SUMMARY.next_multiple_of(COLUMNS) }>(summary, hidden);
            for unit in &mut *hidden {
                *unit = unit.at_least(0.0);
            }
            HIDDEN
        });
        [self.key, self.query].map(|layer| {
            let mut capacity = [0.0; KEY];
            layer.apply(&hidden.input(), &mut capacity);
            capacity.map(sigmoid)
        })
    }
}

/// What a sample brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// The bin that it falls into.
    pub bin: u32,
    /// Its phase in the first season.
    pub phase: u32,
    /// Samples of a bin.
    pub width: f32,
    /// r before its bounds: the residual of memory 1 over the scale.
    pub residual: f32,
    /// The sample itself.
    pub x: f32,
}

/// The part of a channel's state that does not lie with its bins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Today {
    /// The bin of the last sample, how many samples of this pass entered it, and whether the next sample's is another.
    bin: u32,
    bin_samples: u32,
    /// k and q after the last sample.
    key: [f32; KEY],
    query: [f32; KEY],
    /// Means of the last whole days, the latest first, and how many are known.
    days: [f32; DAYS],
    known_days: u32,
    /// Of the present day: sum and count of samples, phase of the last.
    sum: f32,
    count: u32,
    phase: u32,
}

impl Today {
    /// Before the first sample: zeros.
    pub const NEW: Self = Self {
        bin: 0,
        bin_samples: 0,
        key: [0.0; KEY],
        query: [0.0; KEY],
        days: [0.0; DAYS],
        known_days: 0,
        sum: 0.0,
        count: 0,
        phase: 0,
    };

    /// Takes a sample into its bin's memory, under the key that the day before left there.
    #[inline]
    pub fn observe(&mut self, memory: &mut [f32], gains: &[f32; RETRIEVALS], arrival: &Arrival) {
        self.keep_day(arrival);
        let residual = arrival.residual.at_most(LARGEST_RESIDUAL).at_least(-LARGEST_RESIDUAL);
        let new_pass = (arrival.bin != self.bin) | (self.bin_samples == 0);
        self.bin = arrival.bin;
        self.bin_samples = select_unpredictable(new_pass, 1, self.bin_samples.saturating_add(1));
        let Some(bin) = Bin::of(memory, arrival.bin as usize) else { return };
        let [mean, writes, keyed, _] = bin.rest;
        // A factor, not a choice: every sample takes the same instructions.
        *writes = (*writes + *keyed * f32::from(u8::from(new_pass))).at_most(255.0);
        let samples = self.bin_samples as f32;
        *mean = select_unpredictable(new_pass, residual, *mean + (residual - *mean) / samples);
        let writing = select_unpredictable(*writes > 0.0, 1.0, 0.0);
        let write_gain = 1.0 / writes.at_least(1.0);
        for ((key_value, key_mean), floor) in bin.key_value.iter_mut().zip(bin.key_mean).zip(gains) {
            // As the seasonal memories': a pass of b samples weighs as one of gain g.
            let gain = write_gain.at_least(*floor);
            let gain = writing * gain / (arrival.width * (1.0 - gain) + gain * samples);
            for ((key_value, key_mean), key) in key_value.iter_mut().zip(key_mean).zip(&*bin.key) {
                *key_value += gain * (key * residual - *key_value);
                *key_mean += gain * (key - *key_mean);
            }
        }
    }

    /// The present day's mean, and the last one's when a new day begins.
    #[inline]
    fn keep_day(&mut self, arrival: &Arrival) {
        let new_day = (arrival.phase <= self.phase) & (self.count > 0);
        let mut later = self.sum / (self.count as f32).at_least(1.0);
        for day in &mut self.days {
            let this = *day;
            *day = select_unpredictable(new_day, later, this);
            later = this;
        }
        self.known_days += u32::from(new_day & (self.known_days < DAYS as u32));
        self.sum = select_unpredictable(new_day, 0.0, self.sum) + arrival.x;
        self.count = select_unpredictable(new_day, 0, self.count) + 1;
        self.phase = arrival.phase;
    }

    /// u, after the last sample. `memory` holds `bins` bins; `shift` is L_0 − L_3, over which `scale` stands.
    #[inline]
    pub fn summary(&self, memory: &[f32], bins: usize, shift: f32, scale: f32) -> [f32; SUMMARY] {
        let mut summary = [0.0; SUMMARY];
        let inverse = 1.0 / scale;
        let (parts, rest) = summary.split_at_mut(PARTS);
        let mut bin = self.bin as usize;
        let mut end = 0;
        for (part, place) in parts.iter_mut().enumerate() {
            let begin = end;
            end = (part + 1) * bins / PARTS;
            let mut sum = 0.0;
            for _ in begin..end {
                sum += BinView::of(memory, bin).map_or(0.0, |bin| bin.rest[0]);
                bin = select_unpredictable(bin == 0, bins, bin).saturating_sub(1);
            }
            *place = sum / ((end - begin) as f32).at_least(1.0);
        }
        let known = self.known_days as f32;
        let mean = self.days.iter().sum::<f32>() / known.at_least(1.0);
        if let Some(([level_shift, spread], days)) = rest.split_first_chunk_mut::<2>() {
            *level_shift = shift * inverse;
            *spread = ln(scale);
            for (index, (place, day)) in days.iter_mut().zip(&self.days).enumerate() {
                *place = select_unpredictable((index as f32) < known, (day - mean) * inverse, 0.0);
            }
        }
        summary.map(|number| number.at_most(LARGEST_SUMMARY).at_least(-LARGEST_SUMMARY))
    }

    /// Makes k and q of a summary. They enter the bin's memory when the last sample of the bin has come, so that the
    /// samples of one pass are all written under the key of the day before.
    #[inline]
    pub fn encode(&mut self, encoder: &Encoder<'_>, summary: &[f32; SUMMARY]) {
        [self.key, self.query] = encoder.encode(summary);
    }

    /// Notes which bin the next sample falls into.
    #[inline]
    pub fn leave(&mut self, memory: &mut [f32], next_bin: u32) {
        let left = (next_bin != self.bin) & (self.bin_samples > 0);
        let Some(bin) = Bin::of(memory, self.bin as usize) else { return };
        for (place, key) in bin.key.iter_mut().zip(&self.key).chain(bin.query.iter_mut().zip(&self.query)) {
            *place = select_unpredictable(left, *key, *place);
        }
        let [_, _, keyed, _] = bin.rest;
        *keyed = select_unpredictable(left, 1.0, *keyed);
        self.bin_samples = select_unpredictable(left, 0, self.bin_samples);
    }

    /// Mean r of the last pass through the bin of the last sample.
    pub fn mean_residual(&self, memory: &[f32]) -> f32 {
        BinView::of(memory, self.bin as usize).map_or(0.0, |bin| bin.rest[0])
    }

    /// The bin of the last sample.
    pub fn bin(&self) -> u32 {
        self.bin
    }
}

/// P_h of a step in a bin, over the scale.
#[inline]
pub(crate) fn retrieve(memory: &[f32], bin: usize) -> [f32; RETRIEVALS] {
    let mut received = [0.0; RETRIEVALS];
    let Some(bin) = BinView::of(memory, bin) else { return received };
    for ((received, key_value), key_mean) in received.iter_mut().zip(bin.key_value).zip(bin.key_mean) {
        let (mut value, mut flow) = (0.0, 0.0);
        for ((query, key_value), key_mean) in bin.query.iter().zip(key_value).zip(key_mean) {
            value += query * key_value;
            flow += (query + EPSILON) * (key_mean + EPSILON);
        }
        *received = value / flow;
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Matrix;
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

        fn encoder(&self) -> Encoder<'_> {
            let layer = |index: usize| Linear { weight: Matrix::F32(&self.0[index]), bias: &self.0[index + 1] };
            Encoder { expand: layer(0), key: layer(2), query: layer(4) }
        }
    }

    /// Streams residuals, two samples a bin, none where NaN, and returns the memory and the state.
    fn stream(weights: &Weights, residuals: &[f32]) -> (Vec<f32>, Today) {
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
}
