//! What a period predicts: the running mean by phase against the moving mean alone, tested over whole periods.

/// The slowest gains of the running means: seasons that drift, and seasons in noise. The better one counts.
const GAINS: [f32; 2] = [1.0 / 4.0, 1.0 / 20.0];
/// Readings beyond the middle 90 % by more than this part of its width are cut off there.
const MARGIN: f32 = 0.5;
/// Whole periods are put together until there are no more than so many blocks.
const MOST_BLOCKS: usize = 200;
/// Blocks that a t-test needs at least.
const LEAST_BLOCKS: usize = 3;
/// One in 3,000 by chance with very many blocks: dozens of candidates are tested.
const LEAST_T: f64 = 3.5;
/// One in 100 likewise, for a period of the calendar of which there are fewer blocks than this: nobody waits three months to
/// be believed that weeks matter.
const LEAST_EXPECTED_T: f64 = 2.33;
const FEW_BLOCKS: usize = 12;

/// One channel, standardised and with its outliers cut; NaN = missing.
#[derive(Debug, Clone)]
pub struct Detrended {
    /// The readings.
    pub values: Vec<f32>,
    /// Sum and count of the readings before each row.
    before: Vec<(f64, u32)>,
}

impl Detrended {
    /// `None` for a channel without two different readings.
    pub fn new(values: &[f32]) -> Option<Detrended> {
        let mut ascending: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        ascending.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| ascending.get(((ascending.len() - 1) as f64 * share).round() as usize).copied();
        let last = ascending.len().checked_sub(1)?;
        let (mut low, mut high) = (at(0.05)?, at(0.95)?);
        if low == high {
            // A rain gauge mostly reads 0.
            (low, high) = (at(0.001)?, at(0.999)?);
        }
        if low == high {
            (low, high) = (ascending[0], ascending[last]);
        }
        let width = high - low;
        if !width.is_finite() || width <= 0.0 {
            return None;
        }
        let middle = low + 0.5 * width;
        let cut = |value: f32| ((value - middle) / width).clamp(-0.5 - MARGIN, 0.5 + MARGIN);
        // Clamping keeps NaN, and makes bounds of infinities.
        let values = values.iter().map(|value| if value.is_finite() { cut(*value) } else { f32::NAN }).collect();
        let mut detrended = Detrended { values, before: Vec::new() };
        detrended.sum();
        Some(detrended)
    }

    fn sum(&mut self) {
        let mut total = (0.0, 0);
        self.before.clear();
        self.before.push(total);
        for value in &self.values {
            if !value.is_nan() {
                total = (total.0 + f64::from(*value), total.1 + 1);
            }
            self.before.push(total);
        }
    }

    /// Calls `take(row, value)` with each reading less the mean of the `period` rows around it; at the ends, of the first or the
    /// last `period` rows. Rows whose surroundings are half missing are left out.
    pub fn each(&self, period: usize, mut take: impl FnMut(usize, f32)) {
        let rows = self.values.len();
        for (row, value) in self.values.iter().enumerate() {
            let from = row.saturating_sub(period / 2).min(rows - period);
            let (before, after) = (self.before[from], self.before[from + period]);
            let count = after.1 - before.1;
            if !value.is_nan() && 2 * count as usize >= period {
                take(row, value - ((after.0 - before.0) / f64::from(count)) as f32);
            }
        }
    }

    /// Takes a season off: the slow running mean by phase, forwards and backwards, so that it lags nothing.
    pub fn remove(&mut self, period: usize) {
        let slow = GAINS[GAINS.len() - 1];
        let mut around = vec![f32::NAN; self.values.len()];
        self.each(period, |row, value| around[row] = value);
        let pass = |rows: &mut dyn Iterator<Item = usize>| {
            let mut profile = vec![(0.0_f32, 0_u32); period];
            let mut season = vec![(0.0, 0); around.len()];
            for row in rows {
                let slot = &mut profile[row % period];
                if !around[row].is_nan() {
                    slot.1 += 1;
                    slot.0 += (1.0 / slot.1 as f32).max(slow) * (around[row] - slot.0);
                }
                season[row] = *slot;
            }
            season
        };
        let forwards = pass(&mut (0..around.len()));
        let backwards = pass(&mut (0..around.len()).rev());
        for ((value, forwards), backwards) in self.values.iter_mut().zip(forwards).zip(backwards) {
            // By the visits behind each: at the ends, one of them has seen almost nothing.
            let visits = |pass: (f32, u32)| pass.1.min((1.0 / slow) as u32) as f32;
            let both = visits(forwards) + visits(backwards);
            if both > 0.0 {
                *value -= (forwards.0 * visits(forwards) + backwards.0 * visits(backwards)) / both;
            }
        }
        self.sum();
    }
}

/// How much less the error is with the running mean by phase.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// Share of the variation within a period that is explained.
    gain: f64,
    /// Whether that is no chance.
    proven: bool,
}

impl Evidence {
    /// Of one period in one channel, which is `expected` if it is the calendar's.
    pub fn of(channel: &Detrended, period: usize, expected: bool) -> Evidence {
        let rows = channel.values.len();
        let block_rows = period * (rows / period).div_ceil(MOST_BLOCKS);
        let mut saved = vec![[0.0_f64; GAINS.len()]; rows.div_ceil(block_rows)];
        let mut scored = vec![0_u32; saved.len()];
        let mut profile = vec![([0.0_f32; GAINS.len()], 0_u32); period];
        let mut variation = 0.0;
        let (mut slot, mut block, mut slot_row, mut block_end) = (0, 0, 0, block_rows);
        channel.each(period, |row, value| {
            // Rows come in order, most of them one after the other: no division for each.
            slot += row - slot_row;
            slot_row = row;
            while slot >= period {
                slot -= period;
            }
            while row >= block_end {
                block += 1;
                block_end += block_rows;
            }
            let (means, visits) = &mut profile[slot];
            if *visits > 0 {
                let square = value * value;
                variation += f64::from(square);
                scored[block] += 1;
                for (saved, mean) in saved[block].iter_mut().zip(means.iter()) {
                    *saved += f64::from(square - (value - mean) * (value - mean));
                }
            }
            *visits += 1;
            let newest = 1.0 / *visits as f32;
            for (mean, slowest) in means.iter_mut().zip(GAINS) {
                *mean += newest.max(slowest) * (value - *mean);
            }
        });
        let blocks: Vec<[f64; GAINS.len()]> =
            saved.into_iter().zip(scored).filter(|(_, scored)| *scored > 0).map(|(saved, _)| saved).collect();
        (0..GAINS.len())
            .map(|gain| {
                let saved: Vec<f64> = blocks.iter().map(|block| block[gain]).collect();
                Evidence {
                    gain: saved.iter().sum::<f64>() / variation.max(1e-12),
                    proven: is_positive(&saved, expected),
                }
            })
            .fold(Evidence { gain: 0.0, proven: false }, |best, next| if next.gain > best.gain { next } else { best })
    }

    /// The gain if it is proven, else 0.
    pub fn proven(&self) -> f64 {
        if self.proven { self.gain } else { 0.0 }
    }
}

/// Student's test that the mean is above 0.
fn is_positive(items: &[f64], expected: bool) -> bool {
    if items.len() < LEAST_BLOCKS {
        return false;
    }
    let count = items.len() as f64;
    let mean = items.iter().sum::<f64>() / count;
    let variance = items.iter().map(|item| (item - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let freedom = count - 1.0;
    // Close to Student's quantiles at 1 in 100 and at 1 in 3,000 for 2 and more degrees of freedom.
    let least = if expected && items.len() < FEW_BLOCKS {
        LEAST_EXPECTED_T * (1.0 + 1.6 / freedom + 4.0 / (freedom * freedom))
    } else {
        LEAST_T * (1.0 + 4.0 / freedom + 10.0 / (freedom * freedom))
    };
    mean > least * (variance / count).sqrt()
}
