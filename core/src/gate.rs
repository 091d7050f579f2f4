//! Reporting by exception: a board sends a sample only where the other end, which runs the same model, would be wrong by
//! more than a stated error; otherwise both take what that end expects for what was measured.
//!
//! ```text
//! expected   x̂ = the median, `silent` steps ahead, of the forecast made at the last report; or that report's value
//! silence    |x − x̂| ≤ error on every channel, and fewer than SILENCE samples since the last report
//! observe    both forecasters take x̂ in silence and x where it is reported
//! ```
//!
//! So both see the same samples, their states are equal to the bit, and the board knows to the bit what the other end
//! fills in. What was forecast goes into the state as if it had been measured: intervals that learn from it become too
//! narrow, which is why the gate holds to an error and not to the band.
//!
//! A slow sensor's next value is the last one, a daily wave's is the forecast's. The board sees both all the time, keeps
//! the mean error of each, at most twice the allowed one a sample, and says with each report, a bit a channel, by
//! which of them the other end shall go on. Silence tells that a sensor is as it was: one that fails, or works again,
//! is reported.
//!
//! A report says how long the board was silent before it, so whoever misses one knows it at the next, SILENCE samples
//! later at most, and asks for what came after the last it has ([`Gate::after`]). The state it had there must be kept for
//! that ([`crate::snapshot`]); where the board keeps the reports no more, both start anew.

use crate::bits::is_finite;
use crate::forecaster::Streaming;

/// Samples after which a board reports whatever they were: both ends must be built with the same.
pub const SILENCE: usize = 36;
/// Gain of the mean errors: about the last 64 samples.
const GAIN: f32 = 1.0 / 64.0;
/// An error counts as at most so many allowed ones.
const MOST_ERROR: f32 = 2.0;

/// A sample that is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report<const CHANNELS: usize> {
    /// The sample.
    pub index: u32,
    /// Samples of silence before it; `None`: both start anew with it.
    pub silent: Option<u16>,
    /// Samples that were not taken at all, between those and this one.
    pub missed: u32,
    /// Channels that follow the forecast from here on, a bit each; the others stay at their values.
    pub follow: u32,
    /// As measured; NaN is a missing value.
    pub values: [f32; CHANNELS],
}

impl<const CHANNELS: usize> Report<CHANNELS> {
    /// The report before it; `None` where it is the first.
    pub fn before(&self) -> Option<u32> {
        self.index.checked_sub(1)?.checked_sub(self.missed)?.checked_sub(self.silent?.into())
    }
}

/// What one end expects, and so does the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Filler<const CHANNELS: usize, const SILENCE: usize> {
    /// The next sample.
    index: u32,
    /// Samples since the last report, and those that were not taken after them.
    silent: u16,
    missed: u32,
    follow: u32,
    /// The last report's.
    values: [f32; CHANNELS],
    /// Medians of the forecast made then; NaN where there is none. `[CHANNELS][SILENCE]`
    forecast: [[f32; SILENCE]; CHANNELS],
}

impl<const CHANNELS: usize, const SILENCE: usize> Filler<CHANNELS, SILENCE> {
    /// Before the first report: expects nothing.
    pub const fn new() -> Self {
        const { assert!(CHANNELS >= 1 && CHANNELS <= 32, "a channel has a bit") };
        const { assert!(SILENCE >= 1 && SILENCE < u16::MAX as usize, "silence is counted") };
        let forecast = [[f32::NAN; SILENCE]; CHANNELS];
        Self { index: 0, silent: 0, missed: 0, follow: 0, values: [f32::NAN; CHANNELS], forecast }
    }

    /// The same where both ends have seen so many samples, the same ones.
    pub const fn after(samples: u32) -> Self {
        Self { index: samples, ..Self::new() }
    }

    /// The next sample.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Samples since the last report.
    pub const fn silent(&self) -> u16 {
        self.silent
    }

    /// What a channel's next sample is by its forecast, and by its last report.
    fn ways(&self, channel: usize) -> [f32; 2] {
        let stay = self.values.get(channel).copied().unwrap_or(f32::NAN);
        let step = self.forecast.get(channel).and_then(|steps| steps.get(usize::from(self.silent)));
        let forecast = step.copied().filter(|value| is_finite(*value) && is_finite(stay));
        [forecast.unwrap_or(stay), stay]
    }

    /// What is filled in for the next sample if nothing is reported. `[CHANNELS]`
    pub fn expected(&self) -> [f32; CHANNELS] {
        core::array::from_fn(|channel| {
            if self.missed > 0 {
                return f32::NAN;
            }
            let [forecast, stay] = self.ways(channel);
            if self.follow >> channel & 1 == 1 { forecast } else { stay }
        })
    }

    /// Nothing was reported: fills in the next sample and returns it.
    pub fn fill<F: Streaming + ?Sized>(&mut self, forecaster: &mut F) -> [f32; CHANNELS] {
        let filled = self.expected();
        forecaster.observe(sample(forecaster.header().channels, &filled));
        self.index = self.index.saturating_add(1);
        self.silent = self.silent.saturating_add(1);
        filled
    }

    /// Samples were not taken.
    pub fn skip<F: Streaming + ?Sized>(&mut self, forecaster: &mut F, samples: u32) {
        forecaster.observe_gap(samples);
        self.index = self.index.saturating_add(samples);
        self.missed = self.missed.saturating_add(samples);
    }

    /// Takes a report of the next sample.
    pub fn take<F: Streaming + ?Sized>(&mut self, forecaster: &mut F, report: &Report<CHANNELS>) {
        if report.silent.is_none() {
            forecaster.reset();
        }
        let channels = forecaster.header().channels;
        forecaster.observe(sample(channels, &report.values));
        self.index = report.index.saturating_add(1);
        (self.silent, self.missed) = (0, 0);
        (self.follow, self.values) = (report.follow, report.values);
        let median = forecaster.header().median();
        for (channel, steps) in self.forecast.iter_mut().enumerate() {
            steps.fill(f32::NAN);
            if channel < channels.into() {
                forecaster.for_each_step(channel, &mut |step, quantiles| {
                    let value = quantiles.get(median).copied();
                    if let (Some(place), Some(value)) = (steps.get_mut(step.saturating_sub(1)), value) {
                        *place = value;
                    }
                });
            }
        }
    }
}

impl<const CHANNELS: usize, const SILENCE: usize> Default for Filler<CHANNELS, SILENCE> {
    fn default() -> Self {
        Self::new()
    }
}

/// The channels that a model has.
fn sample(channels: u16, values: &[f32]) -> &[f32] {
    values.get(..channels.into()).unwrap_or(values)
}

/// The board's end. It keeps its last `KEPT` reports.
#[derive(Debug, Clone)]
pub struct Gate<const CHANNELS: usize, const SILENCE: usize, const KEPT: usize> {
    /// The largest error of each channel, in its unit.
    max_error: [f32; CHANNELS],
    filler: Filler<CHANNELS, SILENCE>,
    /// Mean errors of the forecast and of staying, in largest ones.
    errors: [[f32; 2]; CHANNELS],
    kept: heapless::Deque<Report<CHANNELS>, KEPT>,
    /// Whether the next report starts anew.
    anew: bool,
}

impl<const CHANNELS: usize, const SILENCE: usize, const KEPT: usize> Gate<CHANNELS, SILENCE, KEPT> {
    /// A gate that lets errors of up to `max_error` pass in silence, each in its channel's unit.
    pub const fn new(max_error: [f32; CHANNELS]) -> Self {
        let (filler, errors) = (Filler::new(), [[0.0; 2]; CHANNELS]);
        Self { max_error, filler, errors, kept: heapless::Deque::new(), anew: true }
    }

    /// What the other end expects.
    pub const fn filler(&self) -> &Filler<CHANNELS, SILENCE> {
        &self.filler
    }

    /// The same where both ends have seen so many samples, the same ones; after none, it starts anew.
    pub fn after_samples(self, samples: u32) -> Self {
        Self { filler: Filler::after(samples), anew: samples == 0, ..self }
    }

    /// Counts on from so many samples, of which the other end need not know: both start anew with the next.
    pub fn resume(&mut self, samples: u32) {
        self.filler = Filler::after(samples);
        self.anew = true;
    }

    /// Samples were not taken.
    pub fn skip<F: Streaming + ?Sized>(&mut self, forecaster: &mut F, samples: u32) {
        self.filler.skip(forecaster, samples);
    }

    /// Has both ends start anew with the next sample.
    pub const fn restart(&mut self) {
        self.anew = true;
    }

    /// Takes a sample, which `forecaster` observes as the other end's will, and returns the report of it unless there is
    /// nothing to say. Constant cost in silence; a report costs a forecast of each channel more.
    pub fn sample<F: Streaming + ?Sized>(&mut self, forecaster: &mut F, values: &[f32]) -> Option<Report<CHANNELS>> {
        let mut measured = [f32::NAN; CHANNELS];
        for (place, value) in measured.iter_mut().zip(values).filter(|(_, value)| is_finite(**value)) {
            *place = *value;
        }
        let expected = self.filler.expected();
        let mut speak = self.anew || self.filler.missed > 0 || usize::from(self.filler.silent) + 1 >= SILENCE;
        for (channel, (value, max_error)) in measured.iter().zip(self.max_error).enumerate() {
            let error = |expected: f32| (value - expected).abs();
            if let Some(expected) = expected.get(channel) {
                let same = value.is_nan() && expected.is_nan();
                speak |= !same && (error(*expected) > max_error || value.is_nan() || expected.is_nan());
            }
            let ways = self.filler.ways(channel).map(|way| error(way) / max_error);
            for (mean, error) in self.errors.get_mut(channel).into_iter().flatten().zip(ways) {
                if is_finite(error) {
                    *mean += GAIN * (error.min(MOST_ERROR) - *mean);
                }
            }
        }
        if !speak {
            self.filler.fill(forecaster);
            return None;
        }
        let channels = forecaster.header().channels;
        let better = |[forecast, stay]: [f32; 2]| u32::from(forecast <= stay);
        let follow = (0..channels).zip(self.errors).fold(0, |all, (channel, errors)| all | better(errors) << channel);
        let silent = (!core::mem::take(&mut self.anew)).then_some(self.filler.silent);
        let Filler { index, missed, .. } = self.filler;
        let report = Report { index, silent, missed, follow, values: measured };
        self.filler.take(forecaster, &report);
        if self.kept.is_full() {
            self.kept.pop_front();
        }
        // There is room now, unless nothing is to be kept.
        let _ = self.kept.push_back(report);
        Some(report)
    }

    /// The reports after that of sample `index`, for an end that has heard none since; `None` where they are kept no
    /// more, and both have to [start anew](Self::restart).
    pub fn after(&self, index: u32) -> Option<impl Iterator<Item = &Report<CHANNELS>>> {
        let anew = |report: &Report<CHANNELS>| report.silent.is_none() && report.index > index;
        let first = self.kept.iter().position(|report| report.before() == Some(index) || anew(report));
        let none_since = self.kept.back().is_some_and(|last| last.index == index);
        match first {
            Some(first) => Some(self.kept.iter().skip(first)),
            None => none_since.then(|| self.kept.iter().skip(self.kept.len())),
        }
    }
}
