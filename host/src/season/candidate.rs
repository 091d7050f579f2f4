//! Periods worth a look: the calendar's, and the peaks of the spectrum and of the autocorrelation.

use std::cmp::Ordering;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

use super::LEAST_SAMPLES;
use super::evidence::Detrended;
use crate::duration::show_ms;

/// Minute, hour, day, week. A year is no season of a sensor's memory: no data set holds enough of them.
const CALENDAR_MS: [(u64, &str); 4] =
    [(60_000, "a minute"), (3_600_000, "an hour"), (86_400_000, "a day"), (604_800_000, "a week")];
/// Peaks of the spectrum, and of the autocorrelation, that are looked at.
const PEAKS: usize = 10;
/// A peak may be a harmonic: up to so many times its period is looked at.
const MULTIPLES: usize = 4;
/// A peak stands so far above the spectrum around it.
const LEAST_HEIGHT: f32 = 6.0;
/// The spectrum around a frequency: from a half less to a half more.
const AROUND: f64 = 0.5;

/// The calendar's periods in samples, ascending.
pub fn calendar(interval_ms: u64) -> impl Iterator<Item = usize> {
    let samples = move |(length_ms, _): &(u64, _)| (*length_ms as f64 / interval_ms.max(1) as f64).round() as usize;
    CALENDAR_MS.iter().map(samples).filter(|period| *period >= LEAST_SAMPLES)
}

/// A period in words.
pub fn name(period: u32, interval_ms: u64) -> String {
    let length_ms = u64::from(period) * interval_ms;
    let known = CALENDAR_MS.iter().find(|(known, _)| known.abs_diff(length_ms) <= interval_ms / 2);
    known.map_or_else(|| show_ms(length_ms), |(_, name)| (*name).to_owned())
}

/// The periods of the peaks of the channels' mean spectrum and autocorrelation, up to `longest`, and small multiples of them.
pub fn spectral(channels: &[Detrended], longest: usize) -> Vec<usize> {
    let rows = channels[0].values.len();
    // As much again of zeros, or the end would run into the start.
    let length = (2 * rows).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let forwards = planner.plan_fft_forward(length);
    let mut power = vec![0.0_f32; length / 2 + 1];
    let mut spectrum = forwards.make_output_vec();
    for channel in channels {
        let mut around = forwards.make_input_vec();
        // Slow changes are no season, and would bury all others.
        channel.each(longest, |row, value| around[row] = value);
        let energy: f32 = around.iter().map(|value| value * value).sum();
        if energy == 0.0 || forwards.process(&mut around, &mut spectrum).is_err() {
            continue;
        }
        for (power, bin) in power.iter_mut().zip(&spectrum) {
            *power += bin.norm_sqr() / energy;
        }
    }
    let mut periods: Vec<f64> = spectral_peaks(&power, length, longest);
    let mut correlation = vec![0.0_f32; length];
    let mut bins: Vec<Complex32> = power.iter().map(|power| Complex32::new(*power, 0.0)).collect();
    if planner.plan_fft_inverse(length).process(&mut bins, &mut correlation).is_ok() {
        periods.extend(correlation_peaks(&correlation, rows, longest));
    }
    let multiples = periods.iter().flat_map(|period| (1..=MULTIPLES).map(move |times| times as f64 * period));
    multiples
        .map(|period| period.round() as usize)
        .filter(|period| (LEAST_SAMPLES..=longest).contains(period))
        .collect()
}

/// The highest local maxima above their surroundings, as periods in samples.
fn spectral_peaks(power: &[f32], length: usize, longest: usize) -> Vec<f64> {
    let mut before = vec![0.0_f64];
    for value in power {
        before.push(before[before.len() - 1] + f64::from(*value));
    }
    let first = (length / longest).max(2);
    let mut peaks: Vec<(f32, f64)> = (first..power.len() - 1)
        .filter(|&bin| power[bin] > power[bin - 1] && power[bin] >= power[bin + 1])
        .filter_map(|bin| {
            let reach = ((bin as f64 * AROUND) as usize).max(8);
            let (from, to) = (bin.saturating_sub(reach).max(1), (bin + reach + 1).min(power.len()));
            let height = power[bin] / ((before[to] - before[from]) / (to - from) as f64) as f32;
            // The top of a parabola through three bins.
            let (left, middle, right) = (power[bin - 1], power[bin], power[bin + 1]);
            let shift = 0.5 * (left - right) / (left - 2.0 * middle + right);
            (height > LEAST_HEIGHT).then(|| (middle, length as f64 / (bin as f64 + f64::from(shift))))
        })
        .collect();
    highest(&mut peaks)
}

/// The highest local maxima of the autocorrelation, as lags in samples.
fn correlation_peaks(correlation: &[f32], rows: usize, longest: usize) -> Vec<f64> {
    // Fewer pairs lie far apart than close together.
    let at = |lag: usize| correlation[lag] / (rows - lag) as f32;
    let mut peaks: Vec<(f32, f64)> = (LEAST_SAMPLES..longest)
        .filter(|&lag| at(lag) > 0.0 && at(lag) > at(lag - 1) && at(lag) >= at(lag + 1))
        .map(|lag| (at(lag), lag as f64))
        .collect();
    highest(&mut peaks)
}

fn highest(peaks: &mut Vec<(f32, f64)>) -> Vec<f64> {
    peaks.sort_by(|left, right| right.0.partial_cmp(&left.0).unwrap_or(Ordering::Equal));
    peaks.truncate(PEAKS);
    peaks.iter().map(|peak| peak.1).collect()
}
