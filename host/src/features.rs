//! What the model sees of a series: core's own intake and seasonal memory, run over the training data.
//!
//! Training never recomputes a feature in another way: the numbers are those that the device will have. A series of any
//! length costs little memory, for the memory's state is kept once in a while and rerun from there.

use flowcast_core::intake::{Intake, Stillness};
use flowcast_core::seasonal::{Clock, Level, MAX_FEATURES, Season, SeasonalState};

use crate::config::Config;
use crate::data::Series;
use crate::forecaster::SLOTS;

/// Rows between two kept states.
const KEEP: usize = 256;

/// Every channel's samples and features.
pub struct Features {
    season: Season,
    channels: Vec<Channel>,
}

struct Channel {
    /// In deviations of the training data, NaN where the device would take the reading as missing. `[rows]`
    samples: Vec<f32>,
    /// The memory before row `KEEP * i`.
    kept: Vec<SeasonalState<SLOTS>>,
}

/// Features of consecutive samples of one channel; a missing one has no place here.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// The samples' rows.
    pub rows: Vec<usize>,
    /// `[rows.len()][Season::features]`, relative to the location.
    pub features: Vec<f32>,
    /// `[rows.len()]`
    pub levels: Vec<Level>,
}

impl Features {
    /// Runs the intake and the seasonal memory over a series whose columns are the configuration's channels.
    pub fn new(config: &Config, series: &Series) -> Self {
        let season = Config::season(config.period);
        let channels = config.records().into_iter().zip(&series.values).map(|(record, values)| {
            let intake = Intake::new(&record);
            let mut stillness = Stillness::new();
            let samples: Vec<f32> =
                values.iter().map(|value| intake.take(&mut stillness, *value).unwrap_or(f32::NAN)).collect();
            let (mut state, mut clock) = (SeasonalState::new(), Clock::default());
            let mut kept = Vec::with_capacity(samples.len() / KEEP + 1);
            for (row, sample) in samples.iter().enumerate() {
                if row % KEEP == 0 {
                    kept.push(state);
                }
                step(&mut state, &mut clock, &season, *sample);
            }
            Channel { samples, kept }
        });
        Self { season, channels: channels.collect() }
    }

    /// Samples of a channel in deviations, NaN where missing; one a row of the series.
    pub fn samples(&self, channel: usize) -> &[f32] {
        &self.channels[channel].samples
    }

    /// Numbers a feature vector.
    pub fn width(&self) -> usize {
        self.season.features()
    }

    /// Features after each of the first `length` samples that are there from row `start` on, up to row `end`.
    pub fn window(&self, channel: usize, start: usize, end: usize, length: usize) -> Window {
        let Channel { samples, kept } = &self.channels[channel];
        let first = start / KEEP * KEEP;
        let mut window = Window::default();
        let Some(mut state) = kept.get(start / KEEP).copied() else { return window };
        let mut clock = Clock::default();
        clock.skip(&self.season, first as u32);
        let mut features = [0.0; MAX_FEATURES];
        for (row, sample) in samples.iter().enumerate().take(end).skip(first) {
            step(&mut state, &mut clock, &self.season, *sample);
            if row < start || sample.is_nan() {
                continue;
            }
            window.levels.push(state.features(&self.season, &clock, &mut features));
            window.features.extend_from_slice(&features[..self.width()]);
            window.rows.push(row);
            if window.rows.len() == length {
                break;
            }
        }
        window
    }
}

/// As `Forecaster::observe` does.
fn step(state: &mut SeasonalState<SLOTS>, clock: &mut Clock, season: &Season, sample: f32) {
    if sample.is_nan() {
        state.miss(clock);
    } else {
        state.observe(season, clock, sample);
    }
    clock.advance(season);
}
