//! The model over a series: it streams every row, and what it forecasts at the origins is scored. Of what comes it is told
//! the columns that are known in advance alone.

use anyhow::{Result, bail, ensure};
use flowcast_core::forecaster::Streaming;
use indicatif::ProgressBar;

use super::plan::Plan;
use crate::data::Series;
use crate::metrics::Accumulator;
use crate::protocol::Name;

/// Origins that are kept whole for the report's figures.
const EXAMPLES: usize = 6;

/// Seasons of the past that an example shows.
const EXAMPLE_SEASONS: usize = 2;

/// One forecast beside what came.
#[derive(Clone, Debug)]
pub struct Example {
    /// The channel's index.
    pub channel: usize,
    /// The first row that was forecast.
    pub origin: usize,
    /// Its time, where the data told it.
    pub time: Option<jiff::Timestamp>,
    /// What the model had seen last, up to the row before `origin`.
    pub past: Vec<f32>,
    /// What came, `[horizon]`.
    pub actual: Vec<f32>,
    /// The median, `[horizon]`.
    pub median: Vec<f32>,
    /// The 80 % band, `[horizon]` of low and high, if the model has one.
    pub band: Option<Vec<(f32, f32)>>,
}

/// What the model forecast.
pub struct Rolled {
    /// Its errors. `[channel]`
    pub errors: Vec<Accumulator>,
    /// Origins at which it forecast any channel.
    pub origins: Vec<usize>,
    /// Origins at which it forecast each channel: what every other method is scored on. `[channel][..]`
    pub of_channel: Vec<Vec<usize>>,
    /// Some forecasts, whole.
    pub examples: Vec<Example>,
}

/// Streams every row; at each origin that the model is ready for, scores its forecast.
///
/// # Errors
/// An interruption; no origin at which the model was ready, or under `ett` one at which it was not.
pub fn roll(model: &mut dyn Streaming, series: &Series, plan: &Plan, bar: &ProgressBar) -> Result<Rolled> {
    let channels = series.values.len();
    let levels = plan.levels.count();
    let mut rolled = Rolled {
        errors: vec![Accumulator::new(&plan.counted(), &plan.levels, plan.held_out.clone()); channels],
        origins: Vec::with_capacity(plan.origins.len()),
        of_channel: vec![Vec::with_capacity(plan.origins.len()); channels],
        examples: Vec::new(),
    };
    let mut sample = vec![0.0; channels];
    let mut forecast = vec![0.0; plan.horizon * levels]; // [horizon][levels]
    let whole = plan.origins.iter().take_while(|&&origin| origin + plan.horizon <= plan.held_out.end).count();
    let example_every = whole.div_ceil(EXAMPLES).max(1);
    let mut next = plan.origins.iter().enumerate().peekable();
    model.reset();
    for row in 0..plan.held_out.end {
        if let Some((index, _)) = next.next_if(|&(_, &origin)| origin == row)
            && model.is_ready()
        {
            for (channel, values) in series.values.iter().enumerate() {
                let actual = plan.actual(values, row);
                let forecast = &mut forecast[..actual.len() * levels];
                // A channel of which most readings were no measurements has no forecast: nobody is scored on it.
                if model.forecast_into_knowing(channel, &series.to_come(row), forecast) < forecast.len() {
                    continue;
                }
                rolled.errors[channel].push(row, forecast, actual);
                rolled.of_channel[channel].push(row);
                // From the middle of each stretch, so that the first day of the test is not over-represented.
                if index < whole && index % example_every == example_every / 2 {
                    rolled.examples.push(plan.example(series, channel, row, forecast));
                }
            }
            rolled.origins.push(row);
        }
        if next.peek().is_none() {
            break;
        }
        series.row(row, &mut sample);
        model.observe_knowing(&sample, &series.to_come(row + 1));
        if row % 1_024 == 0 {
            crate::interrupt::check()?;
            bar.set_position(row as u64);
        }
    }
    if rolled.origins.is_empty() {
        bail!(
            "the model was still warming up at every one of {} origins, expected data of at least a period ({} rows) before them",
            plan.origins.len(),
            plan.seasons.period
        );
    }
    if plan.protocol == Name::Ett {
        for (name, origins) in series.columns.iter().zip(&rolled.of_channel) {
            ensure!(
                origins.len() == plan.origins.len(),
                "column `{name}`: found forecasts at {} of {} windows, expected one at each, as the protocol scores them all",
                origins.len(),
                plan.origins.len()
            );
        }
    }
    Ok(rolled)
}

impl Plan {
    fn example(&self, series: &Series, channel: usize, origin: usize, forecast: &[f32]) -> Example {
        let values = &series.values[channel];
        let past = (EXAMPLE_SEASONS * self.seasons.period).max(self.horizon).min(origin);
        let steps = || forecast.chunks_exact(self.levels.count());
        Example {
            channel,
            origin,
            time: series.time(origin),
            past: values[origin - past..origin].to_vec(),
            actual: values[origin..origin + self.horizon].to_vec(),
            median: steps().map(|quantiles| quantiles[self.levels.median()]).collect(),
            band: self
                .levels
                .band()
                .map(|(low, high)| steps().map(|quantiles| (quantiles[low], quantiles[high])).collect()),
        }
    }
}
