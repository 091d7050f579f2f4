//! The seasons of a series, from its training rows.
//!
//! **Candidates** are the calendar's periods (minute, hour, day, week: never a year) and the peaks of the spectrum and of the
//! autocorrelation, the latter by Wiener and Khinchin from the same transform.
//!
//! **Evidence** is a gain in prediction, not the height of a peak. With a candidate's moving mean over one period taken off, each
//! value is predicted by the running mean of the values at its phase in earlier periods, x̂ = B\[p\], then B\[p\] += max(1/n, g)(x − B\[p\]),
//! which is what the device's seasonal memory does. The gain is 1 − Σ(x − x̂)²/Σx²: negative for noise and for random walks,
//! whose successive periods are uncorrelated, at most 1. It must be positive by a t-test over whole periods (a milder one for a
//! calendar's period that has come only a few times), and large enough to pay for a memory. A period that is found is taken off, and the search goes on in what is left: a week counts only for what
//! it explains beyond the day.

mod candidate;
mod evidence;

use std::cmp::Ordering;

use rayon::prelude::*;

use evidence::{Detrended, Evidence};

/// Most seasons that are found.
pub const MOST_SEASONS: usize = 3;
/// A season has at least so many samples.
pub const LEAST_SAMPLES: usize = 3;
/// The rows must hold so many whole periods.
const LEAST_PERIODS: usize = 4;
/// Share of the variation within a period that a season must explain, mean over the channels.
const LEAST_GAIN: f64 = 0.01;
/// ... and of at least one channel.
const LEAST_CHANNEL_GAIN: f64 = 0.02;
/// A divisor takes the place of a longer period if it explains this share of what the longer one does: twelve hours are no season
/// of a day with two unlike halves,
const HARMONIC_SHARE: f64 = 0.9;
/// ... but a day is one of a week of unlike days.
const NESTED_SHARE: f64 = 0.4;
/// From this ratio on, the shorter period repeats often enough within the longer to be a season of its own.
const NESTED_RATIO: usize = 5;
/// A calendar's period takes the place of one nearby that predicts hardly better.
const CALENDAR_SHARE: f64 = 0.97;
/// Periods that differ by less than this part are one.
const SAME: f64 = 0.03;
/// More rows than this say nothing new; the last ones count.
const MOST_ROWS: usize = 600_000;

/// The periods in samples, most important first, at most [`MOST_SEASONS`]; none for noise, random walks and series too short.
///
/// `values` is `[channel][row]`, NaN = missing; give the training rows only.
pub fn find(values: &[Vec<f32>], interval_ms: u64) -> Vec<u32> {
    let rows = values.iter().map(Vec::len).min().unwrap_or(0);
    let from = rows.saturating_sub(MOST_ROWS);
    let longest = (rows - from) / LEAST_PERIODS;
    if longest < LEAST_SAMPLES {
        return Vec::new();
    }
    let mut channels: Vec<Detrended> =
        values.par_iter().filter_map(|values| Detrended::new(&values[from..rows])).collect();
    if channels.is_empty() {
        return Vec::new();
    }
    let calendar: Vec<usize> = candidate::calendar(interval_ms).filter(|period| *period <= longest).collect();
    let mut found: Vec<Found> = Vec::new();
    // One more pass than seasons: a multiple may take a found one's place.
    for _ in 0..=MOST_SEASONS {
        let mut candidates = calendar.clone();
        candidates.extend(candidate::spectral(&channels, longest));
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|period| !found.iter().any(|season| season.covers(*period)));
        let Some(next) = best(&channels, &candidates, &calendar, longest, &found) else { break };
        channels.par_iter_mut().for_each(|channel| channel.remove(next.period));
        let replaced =
            found.iter().position(|season| ratio(next.period, season.period).is_some_and(|ratio| ratio < NESTED_RATIO));
        match replaced {
            // The longer repeats all that the shorter does: the shorter was a harmonic.
            Some(index) => found[index].period = next.period,
            None if found.len() == MOST_SEASONS => break,
            None => found.push(next),
        }
    }
    found.into_iter().map(|season| season.period as u32).collect()
}

/// What was found, in words: `a day (144 samples) and a week (1008)`; `no season` for none.
///
/// ```
/// assert_eq!(flowcast::season::describe(&[144, 1008], 600_000), "a day (144 samples) and a week (1008)");
/// ```
pub fn describe(periods: &[u32], interval_ms: u64) -> String {
    let parts: Vec<String> = periods
        .iter()
        .enumerate()
        .map(|(order, &period)| {
            let length = candidate::name(period, interval_ms);
            if order == 0 { format!("{length} ({period} samples)") } else { format!("{length} ({period})") }
        })
        .collect();
    match parts.split_last() {
        None => "no season".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// A season and what it explains.
#[derive(Debug, Clone, Copy)]
struct Found {
    period: usize,
    gain: f64,
}

impl Found {
    /// Whether this season already repeats what `period` would: the same, or one of its harmonics.
    fn covers(&self, period: usize) -> bool {
        same(period, self.period) || ratio(self.period, period).is_some()
    }
}

fn same(left: usize, right: usize) -> bool {
    left.abs_diff(right) as f64 <= (SAME * left.max(right) as f64).max(1.0)
}

/// How often `short` goes into `long`, if it does so (nearly) a whole number of times, twice or more.
fn ratio(long: usize, short: usize) -> Option<usize> {
    let times = (long as f64 / short as f64).round() as usize;
    // Half a sample's error in the shorter, and no drift beyond what counts as the same.
    let drift = (times * short).abs_diff(long) as f64;
    (times >= 2 && drift <= (SAME * long as f64).min(0.5 * times as f64)).then_some(times)
}

/// The most telling period among the candidates, as its fundamental and refined to the best neighbour.
fn best(
    channels: &[Detrended],
    candidates: &[usize],
    calendar: &[usize],
    longest: usize,
    found: &[Found],
) -> Option<Found> {
    let judge = |period: usize| Found { period, gain: evidence(channels, period, calendar.contains(&period)) };
    let mut judged: Vec<Found> = candidates.par_iter().map(|&period| judge(period)).collect();
    judged.retain(|season| season.gain >= LEAST_GAIN);
    // Among equals the shorter: it is learned sooner.
    let more = |left: &&Found, right: &&Found| {
        left.gain.partial_cmp(&right.gain).unwrap_or(Ordering::Equal).then(right.period.cmp(&left.period))
    };
    let top = *judged.iter().max_by(more)?;
    let fundamental = |season: &&Found| {
        ratio(top.period, season.period).is_some_and(|times| {
            season.gain >= top.gain * if times < NESTED_RATIO { HARMONIC_SHARE } else { NESTED_SHARE }
        })
    };
    // The candidates ascend, so the first is the shortest.
    let start = judged.iter().find(fundamental).copied().unwrap_or(top);
    let refined = refine(start, longest, judge);
    let near = calendar
        .iter()
        .filter(|period| same(**period, refined.period))
        .map(|&period| judge(period))
        .max_by(|left, right| left.gain.partial_cmp(&right.gain).unwrap_or(Ordering::Equal));
    let chosen = match near {
        Some(near) if near.gain >= CALENDAR_SHARE * refined.gain => near,
        _ => refined,
    };
    (!found.iter().any(|season| season.covers(chosen.period))).then_some(chosen)
}

/// Walks to the neighbouring period that predicts best, in ever smaller steps.
fn refine(start: Found, longest: usize, judge: impl Fn(usize) -> Found) -> Found {
    let mut best = start;
    let mut step = (start.period / 64).max(1);
    loop {
        for period in [best.period.saturating_sub(step), best.period + step] {
            if (LEAST_SAMPLES..=longest).contains(&period) {
                let judged = judge(period);
                if judged.gain > best.gain {
                    best = judged;
                }
            }
        }
        if step == 1 {
            return best;
        }
        step /= 2;
    }
}

/// The share of the variation within a period that this period predicts, mean over the channels; 0 where no channel proves it.
fn evidence(channels: &[Detrended], period: usize, expected: bool) -> f64 {
    let gains = channels.iter().map(|channel| Evidence::of(channel, period, expected).proven());
    let (sum, most) = gains.fold((0.0, 0.0_f64), |(sum, most), gain| (sum + gain, most.max(gain)));
    if most >= LEAST_CHANNEL_GAIN { sum / channels.len() as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests;
