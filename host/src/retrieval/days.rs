//! What keys are trained on: the summary after each bin of each day, and what memory 1 left unexplained in it.

use std::ops::Range;

use flowcast_core::retrieval::{KEY, RETRIEVALS, SUMMARY};
use flowcast_core::seasonal::Seasons;

use crate::features::Features;

/// Fewer days than this to learn from are none.
const LEAST_DAYS: usize = 56;
/// The last days are taken, at most so many, and so many numbers of keys in all.
const MOST_DAYS: usize = 1500;
const MOST_NUMBERS: usize = 6_000_000;

/// Summaries and residuals of every bin of every day, as core computes them.
pub struct Days {
    /// Bins of a day.
    bins: usize,
    /// The row that the first day starts at, and rows of a day.
    start: usize,
    period: usize,
    bin_of_phase: Vec<usize>,
    channels: usize,
    days: usize,
    /// After each bin, `[channels][bins][days][SUMMARY]`.
    summaries: Vec<f32>,
    /// Mean r of each bin, `[channels][bins][days]`, and whether it had a sample.
    residuals: Vec<f32>,
    known: Vec<bool>,
}

impl Days {
    /// Of the first `targets` channels; `None` where the rows up to `end` hold too few days.
    pub fn new(features: &Features, targets: usize, end: usize) -> Option<Self> {
        let seasons = Seasons { retrieval: Some([1.0; RETRIEVALS]), ..features.seasons().clone() };
        let (bins, period) = (seasons.bins(), seasons.period() as usize);
        let most = (MOST_NUMBERS / (targets * bins * RETRIEVALS * KEY)).min(MOST_DAYS);
        let days = (end / period).min(most);
        if days < LEAST_DAYS {
            return None;
        }
        let start = (end / period - days) * period;
        let size = targets * bins * days;
        let mut all = Self {
            bins,
            start,
            period,
            bin_of_phase: (0..seasons.period()).map(|phase| seasons.bin_of_phase(phase)).collect(),
            channels: targets,
            days,
            summaries: vec![0.0; size * SUMMARY],
            residuals: vec![0.0; size],
            known: vec![false; size],
        };
        for channel in 0..targets {
            features.summarise(channel, start + days * period, &seasons, |row, bin, summary, residual| {
                let Some(day) = row.checked_sub(start).map(|row| row / period) else { return };
                let at = all.at(channel, bin, day);
                all.summaries[at * SUMMARY..(at + 1) * SUMMARY].copy_from_slice(summary);
                all.residuals[at] = residual;
                all.known[at] = true;
            });
        }
        all.fill();
        Some(all)
    }

    /// A bin without a sample keeps the key and the residual of the day before, as the device keeps its memory.
    fn fill(&mut self) {
        for at in 0..self.known.len() {
            if !self.known[at] && at % self.days > 0 {
                self.summaries.copy_within((at - 1) * SUMMARY..at * SUMMARY, at * SUMMARY);
                self.residuals[at] = self.residuals[at - 1];
            }
        }
    }

    /// Where a bin of a day stands among all, `[channels][bins][days]`.
    pub fn at(&self, channel: usize, bin: usize, day: usize) -> usize {
        (channel * self.bins + bin) * self.days + day
    }

    /// Sequences: one for each channel and bin.
    pub fn sequences(&self) -> usize {
        self.channels * self.bins
    }

    /// Days.
    pub fn days(&self) -> usize {
        self.days
    }

    /// After each bin, `[sequences][days][SUMMARY]`.
    pub fn summaries(&self) -> &[f32] {
        &self.summaries
    }

    /// r, `[sequences][days]`.
    pub fn residuals(&self) -> &[f32] {
        &self.residuals
    }

    /// Weights of squared errors, `[sequences][days − 2]` from the third day on: one over the sum of r² for the known
    /// bins of some days, 0 elsewhere; `None` where there is none.
    pub fn weights(&self, span: Range<usize>) -> Option<Vec<f32>> {
        let counts = |at: usize| self.known[at] && span.contains(&(at % self.days));
        let sum: f64 =
            (0..self.known.len()).filter(|at| counts(*at)).map(|at| f64::from(self.residuals[at]).powi(2)).sum();
        let all = (0..self.known.len()).filter(|at| at % self.days >= 2);
        (sum > 0.0).then(|| all.map(|at| if counts(at) { (1.0 / sum) as f32 } else { 0.0 }).collect())
    }

    /// Days that lie in some rows, whole.
    pub fn within(&self, rows: &Range<usize>) -> Range<usize> {
        let day = |row: usize| row.saturating_sub(self.start).div_ceil(self.period).min(self.days);
        day(rows.start)..rows.end.saturating_sub(self.start) / self.period
    }

    /// The last day whose pass through the bin of a row's phase ended at or before another row: `now`'s, `ahead` later
    /// falls into the bin. `None` before the first day.
    pub fn last_pass(&self, now: usize, ahead: usize) -> Option<(usize, usize)> {
        let bin_of = |row: usize| self.bin_of_phase[row % self.period];
        let bin = bin_of(now + ahead);
        let day = (now + 1).checked_sub(self.start)? / self.period;
        // The bins of the present day up to the one before the next row's have been passed.
        let passed = bin < bin_of(now + 1);
        let day = if passed { day } else { day.checked_sub(1)? };
        (day < self.days).then_some((bin, day))
    }
}
