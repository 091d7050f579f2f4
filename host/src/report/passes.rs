//! What a read of the seasonal Flow-Attention takes from each past pass through its bin.
//!
//! `flowcast_core::retrieval` keeps running means only; what each write still weighs in them follows from its gain and its
//! key. The i-th pass through a bin of b samples, of which m_i came, is written under the key that the pass before left
//! there (so the first writes nothing), and read by the query that the last left:
//!
//! ```text
//! g_i = max(1/i, 1/N)      G_i = m_i / (b (1 − g_i)/g_i + m_i)      e_i = G_i Π_{j>i} (1 − G_j)
//! share_i = e_i q·k_{i−1} / Σ_j e_j q·k_{j−1}
//! ```
//!
//! Constant keys, that is a seasonal memory as long, give the shares e.

use std::ops::Range;

use flowcast_core::retrieval::KEY;
use flowcast_core::seasonal::Seasons;

/// A pass through a bin that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pass {
    /// The bin's last row.
    pub row: usize,
    /// Mean of the values that came.
    pub mean: f64,
    /// How many.
    samples: u32,
    /// What it left in the bin.
    key: [f32; KEY],
    query: [f32; KEY],
}

/// What a read takes from a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// The pass's row.
    pub row: usize,
    /// Its share.
    pub share: f64,
    /// Its share under constant keys.
    pub even: f64,
}

/// One channel's passes.
#[derive(Debug, Clone)]
pub struct Passes {
    seasons: Seasons,
    /// Samples of a bin.
    width: f64,
    /// Of the pass that goes on: how many values came, and their sum.
    samples: u32,
    sum: f64,
    /// `[bins][passes]`
    bins: Vec<Vec<Pass>>,
}

impl Passes {
    /// Before the first row; `None` for a model without a seasonal Flow-Attention.
    pub fn new(seasons: &Seasons) -> Option<Self> {
        seasons.retrieval?;
        let bins = seasons.bins();
        let width = f64::from(seasons.period()) / bins.max(1) as f64;
        Some(Self { seasons: seasons.clone(), width, samples: 0, sum: 0.0, bins: vec![Vec::new(); bins] })
    }

    /// Takes the next row after the device has taken it: its value, `None` where the device took it as missing, and how
    /// to read the key and the query that a bin holds.
    pub fn observe(&mut self, row: usize, value: Option<f32>, day_key: impl FnOnce(usize) -> Option<[[f32; KEY]; 2]>) {
        let bin_of = |row: usize| self.seasons.bin_of_phase((row % self.seasons.period() as usize) as u32);
        let (bin, next) = (bin_of(row), bin_of(row + 1));
        self.samples += u32::from(value.is_some());
        self.sum += value.map_or(0.0, f64::from);
        if bin == next {
            return;
        }
        let (samples, sum) = (std::mem::take(&mut self.samples), std::mem::take(&mut self.sum));
        // A pass of nothing leaves the bin as it was.
        if samples > 0
            && let Some([key, query]) = day_key(bin)
        {
            self.bins[bin].push(Pass { row, mean: sum / f64::from(samples), samples, key, query });
        }
    }

    /// `[bins][passes]`
    pub fn bins(&self) -> &[Vec<Pass>] {
        &self.bins
    }

    /// What a read of a bin takes from each pass through it, after its first so many passes, by the memory of this gain.
    pub fn read(&self, bin: usize, passes: usize, floor: f32) -> Vec<Taken> {
        let known = &self.bins[bin][..passes];
        let Some(last) = known.last() else { return Vec::new() };
        let mut left = 1.0;
        let writes = known.windows(2).enumerate().rev();
        let mut taken: Vec<Taken> = writes
            .map(|(index, pair)| {
                let gain = (1.0 / (index + 1) as f64).max(f64::from(floor));
                let samples = f64::from(pair[1].samples);
                let gain = samples / (self.width * (1.0 - gain) / gain + samples);
                let even = left * gain;
                left *= 1.0 - gain;
                let capacity: f64 =
                    last.query.iter().zip(pair[0].key).map(|(query, key)| f64::from(*query) * f64::from(key)).sum();
                Taken { row: pair[1].row, share: even * capacity, even }
            })
            .collect();
        taken.reverse();
        let whole: f64 = taken.iter().map(|taken| taken.share).sum();
        taken.iter_mut().for_each(|taken| taken.share /= whole);
        taken
    }

    /// How much more than under constant keys the forecast of each day takes from each earlier day, as a logarithm, over
    /// all bins: `[forecast][read]`, NaN where nothing is taken. `day` is a row's.
    ///
    /// A step in a bin reads what the bin holds after the day before: by the memory that reaches furthest.
    pub fn by_day(&self, day: impl Fn(usize) -> usize, forecast: Range<usize>, read: Range<usize>) -> Vec<Vec<f64>> {
        let floor = self.seasons.retrieval.map_or(1.0, |gains| gains.into_iter().fold(1.0, f32::min));
        let of_day = |target: usize| {
            let mut sums = vec![(0.0, 0.0); read.len()];
            for bin in 0..self.bins.len() {
                let passes = self.bins[bin].partition_point(|pass| day(pass.row) < target);
                for taken in self.read(bin, passes, floor) {
                    let place = day(taken.row).checked_sub(read.start).and_then(|place| sums.get_mut(place));
                    if let Some((share, even)) = place {
                        *share += taken.share;
                        *even += taken.even;
                    }
                }
            }
            sums.into_iter().map(|(share, even): (f64, f64)| (share / even).ln()).collect()
        };
        forecast.map(of_day).collect()
    }
}

#[cfg(test)]
mod tests {
    use flowcast_core::linear::Linear;
    use flowcast_core::retrieval::{Encoder, HIDDEN, RETRIEVALS, SUMMARY};
    use flowcast_core::seasonal::{Clocks, MAX_FEATURES, MEMORIES, Season, SeasonalState};
    use flowcast_core::spike::Limit;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const DAYS: usize = 50;
    const GAINS: [f32; RETRIEVALS] = [1.0 / 5.0, 1.0 / 30.0];
    /// Samples a day: 24 bins of two, three at times.
    const PERIOD: usize = 58;

    fn seasons() -> Seasons {
        let day = Season { period: PERIOD as u32, slot_samples: 1, slots: PERIOD };
        Seasons {
            list: [day].into_iter().collect(),
            memory_gain: [1.0, 0.3, 0.1, 0.03],
            scale_floor: 0.05,
            retrieval: Some(GAINS),
        }
    }

    /// What a channel's passes were, and of each bin the mean residual of each and what the device retrieves at last.
    struct Streamed {
        passes: Passes,
        residuals: Vec<Vec<f64>>,
        retrieved: Vec<[f32; RETRIEVALS]>,
    }

    /// Streams days of two kinds, some samples missing, some passes whole, under random keys of so large weights.
    fn stream(size: f32) -> Streamed {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut numbers = |count: usize| (0..count).map(|_| size * rng.random_range(-1.0..1.0_f32)).collect::<Vec<_>>();
        let tensors = [HIDDEN * SUMMARY, HIDDEN, KEY * HIDDEN, KEY, KEY * HIDDEN, KEY].map(&mut numbers);
        let layer = |index: usize| Linear { weight: tensors[index].as_slice(), bias: tensors[index + 1].as_slice() };
        let encoder = Encoder { expand: layer(0), key: layer(2), query: layer(4) };

        let seasons = seasons();
        let (mut state, mut clocks) = (SeasonalState::<1_024>::new(), Clocks::default());
        let mut passes = Passes::new(&seasons).unwrap();
        let mut residuals = vec![Vec::new(); seasons.bins()];
        let mut retrieved = vec![[0.0; RETRIEVALS]; seasons.bins()];
        for row in 0..DAYS * PERIOD {
            let high = (row / PERIOD).is_multiple_of(3);
            let x = f32::from(u8::from(high)) + rng.random_range(-0.3..0.3);
            let came = row / PERIOD != 20 && !(200..230).contains(&row) && rng.random_range(0..9) > 0;
            let expected = state.expected(&seasons, &clocks);
            if came {
                state.observe(&seasons, &clocks, &expected, &Limit::NONE, x);
            } else {
                state.miss(state.foreseen(&expected));
            }
            clocks.advance(&seasons);
            if came {
                let level = state.features(&seasons, &clocks, &mut [0.0; MAX_FEATURES]);
                state.encode(&seasons, &level, &encoder);
            }
            state.leave(&seasons, &clocks);
            let known: usize = passes.bins().iter().map(Vec::len).sum();
            passes.observe(row, came.then_some(x), |bin| state.day_key(&seasons, bin));
            if passes.bins().iter().map(Vec::len).sum::<usize>() > known {
                let (bin, residual) = state.bin_residual(&seasons);
                residuals[bin].push(f64::from(residual));
            }
        }
        let level = state.features(&seasons, &clocks, &mut [0.0; MAX_FEATURES]);
        for ahead in 1..=PERIOD {
            let mut aligned = [0.0; MEMORIES + RETRIEVALS];
            state.memories().aligned(&seasons, &clocks, &level, ahead as u32, &mut aligned);
            let received: [f32; RETRIEVALS] = aligned[MEMORIES..].try_into().unwrap();
            retrieved[seasons.bin_of_phase(ahead as u32 - 1)] = received.map(|received| received / level.scale);
        }
        Streamed { passes, residuals, retrieved }
    }

    #[test]
    fn what_the_device_retrieves_is_made_of_these_shares() {
        let Streamed { passes, residuals, retrieved } = stream(1.0);
        let mut farthest = 0.0_f64;
        for (bin, residuals) in residuals.iter().enumerate() {
            let count = passes.bins()[bin].len();
            assert!((DAYS - 12..DAYS).contains(&count), "{count}");
            for (gain, retrieved) in GAINS.into_iter().zip(retrieved[bin]) {
                let taken = passes.read(bin, count, gain);
                // The first pass found no key.
                let value: f64 = taken.iter().zip(&residuals[1..]).map(|(taken, r)| taken.share * r).sum();
                assert!((value - f64::from(retrieved)).abs() < 1e-4, "bin {bin}: {value}, expected {retrieved}");
                let even: f64 = taken.iter().zip(&residuals[1..]).map(|(taken, r)| taken.even * r).sum();
                farthest = farthest.max((value - even).abs());
            }
        }
        assert!(farthest > 0.1, "keys that say nothing: {farthest}");
    }

    #[test]
    fn shares_are_of_a_whole_and_even_under_constant_keys() {
        for size in [0.0, 1.0] {
            let Streamed { passes, .. } = stream(size);
            for bin in 0..passes.bins().len() {
                for count in 2..=passes.bins()[bin].len() {
                    let taken = passes.read(bin, count, GAINS[1]);
                    assert_eq!(taken.len(), count - 1);
                    for sum in [taken.iter().map(|taken| taken.share).sum::<f64>(), taken.iter().map(|t| t.even).sum()]
                    {
                        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
                    }
                }
                assert!(passes.read(bin, 1, GAINS[1]).is_empty() && passes.read(bin, 0, GAINS[1]).is_empty());
            }
            let by_day = passes.by_day(|row| row / PERIOD, 30..DAYS, 10..DAYS);
            for (day, taken) in (30..DAYS).zip(&by_day) {
                for (read, log) in (10..DAYS).zip(taken) {
                    // Nothing came on day 20, and nothing is read of days to come.
                    assert_eq!(log.is_nan(), read == 20 || read >= day, "{day} of {read}: {log}");
                    assert!(log.is_nan() || (log.abs() < 1e-6) == (size == 0.0), "{day} of {read}: {log}");
                }
            }
        }
    }
}
