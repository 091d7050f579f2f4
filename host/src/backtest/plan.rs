//! What is decided before the first sample: which rows are forecast from where, how far, and what errors are divided by.

use std::ops::Range;

use anyhow::{Result, bail};
use flowcast_core::format::Header;

use super::{Options, check_interval};
use crate::baseline::{self, BASELINES, Baseline, Seasons};
use crate::data::Series;
use crate::duration::show_ms;
use crate::metrics::{Levels, mase_scale};
use crate::plural::counted;
use crate::protocol::{self, ETT_HORIZONS, Protocol};
use crate::stride::stride;

/// Origins when the user does not say: with seven baselines and 10-minute data a channel's origin takes about 0.15 s, so that four
/// channels take a minute on two cores.
pub const DEFAULT_ORIGINS: usize = 200;

/// A back-test that is about to start.
pub struct Plan {
    /// How the rows are divided and errors are scaled.
    pub protocol: protocol::Name,
    /// Steps ahead of the model.
    pub horizon: usize,
    /// What repeats.
    pub seasons: Seasons,
    /// The model's quantiles.
    pub levels: Levels,
    /// Horizons to report, ascending.
    pub horizons: Vec<usize>,
    /// The held-out rows.
    pub held_out: Range<usize>,
    /// Rows between two origins.
    pub stride: usize,
    /// Ascending rows, each the first that its forecast covers.
    pub origins: Vec<usize>,
    /// What MASE divides by. `[channel]`
    pub scales: Vec<Option<f64>>,
    /// What errors are divided by before channels are averaged; `None` leaves them in each channel's unit. `[channel]`
    pub deviations: Option<Vec<f64>>,
    /// The methods to compare with, simplest first.
    pub baselines: Vec<Baseline>,
}

impl Plan {
    /// For a model and a series.
    ///
    /// # Errors
    /// The series is none of the model's, its held-out rows are too few, or a wanted horizon is out of the model's reach.
    pub fn new(header: &Header, series: &Series, options: &Options) -> Result<Plan> {
        let channels = usize::from(header.channels);
        if series.values.len() != channels {
            let found = counted(series.values.len(), "channel");
            bail!("found a series of {found}, expected {channels} as in the model");
        }
        check_interval(header, series)?;
        let horizon = usize::from(header.horizon);
        let period = header.seasons.period() as usize;
        let mut horizons = match (options.horizons.as_slice(), options.protocol) {
            ([], Protocol::Tail { .. }) => default_horizons(series.interval_ms, horizon),
            ([], Protocol::Ett) => ett_horizons(horizon),
            (wanted, _) => wanted.to_vec(),
        };
        horizons.sort_unstable();
        horizons.dedup();
        if let Some(&steps) = horizons.iter().find(|&&steps| steps > horizon) {
            bail!(
                "found a horizon of {steps} steps ({}), expected at most the model's {horizon} ({})",
                show_ms(steps as u64 * series.interval_ms),
                show_ms(horizon as u64 * series.interval_ms)
            );
        }
        let borders = options.protocol.borders(series, 0);
        // The first row cannot be forecast: nothing came before it.
        let held_out = borders.test.max(1)..borders.end;
        if held_out.len() < horizon {
            let needed = options.protocol.least_rows(series.interval_ms, 0, |borders| {
                borders.end - borders.test.max(1).min(borders.end) >= horizon
            });
            bail!(
                "found {} held-out rows (of {}), expected at least the model's horizon of {horizon}{}",
                held_out.len(),
                series.rows(),
                needed.map_or_else(String::new, |rows| format!(": a series of {rows} rows"))
            );
        }
        // Under `ett` each horizon has its own windows: all that end within the held-out rows.
        let (shortest, stride) = match options.protocol {
            Protocol::Tail { .. } => {
                let places = held_out.len() + 1 - horizon;
                let most = options.origins.unwrap_or(DEFAULT_ORIGINS).max(1);
                (horizon, stride(places.div_ceil(most), period))
            }
            Protocol::Ett if options.origins.is_some() => {
                bail!("found --origins with --protocol ett, expected one of them: that protocol scores every window")
            }
            Protocol::Ett => (horizons[0], 1),
        };
        let training = options.protocol.normalised_rows(&borders);
        let seasons = Seasons::new(period, series.interval_ms, held_out.start);
        let baselines = options.baselines.clone().unwrap_or_else(|| {
            // Too many windows to fit a model for each.
            if options.protocol == Protocol::Ett { baseline::naive() } else { BASELINES.to_vec() }
        });
        Ok(Plan {
            protocol: options.protocol.name(),
            horizon,
            seasons,
            levels: Levels::new(&header.quantiles),
            horizons,
            stride,
            origins: (held_out.start..=held_out.end - shortest).step_by(stride).collect(),
            held_out,
            scales: series.values.iter().map(|values| mase_scale(&values[..training], period)).collect(),
            deviations: (options.protocol == Protocol::Ett)
                .then(|| series.values.iter().map(|values| protocol::deviation(&values[..training])).collect()),
            baselines: baselines.into_iter().filter(|baseline| baseline.applies(seasons)).collect(),
        })
    }

    /// The horizons that errors are summed for: those to report and the model's own.
    pub fn counted(&self) -> Vec<usize> {
        let mut counted = self.horizons.clone();
        if counted.last() != Some(&self.horizon) {
            counted.push(self.horizon);
        }
        counted
    }

    /// What came from `origin` on, to the end of the model's horizon or of the held-out rows.
    pub fn actual<'v>(&self, values: &'v [f32], origin: usize) -> &'v [f32] {
        &values[origin..(origin + self.horizon).min(self.held_out.end)]
    }
}

/// One hour, six hours and a day, as far as the model's horizon reaches; one step, a quarter and all of the horizon where those do not
/// fit the interval.
pub fn default_horizons(interval_ms: u64, horizon: usize) -> Vec<usize> {
    const HOUR_MS: u64 = 3_600_000;
    let mut steps: Vec<usize> = [HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS]
        .into_iter()
        .filter(|ahead_ms| ahead_ms % interval_ms == 0)
        .map(|ahead_ms| usize::try_from(ahead_ms / interval_ms).unwrap_or(usize::MAX))
        .filter(|&steps| steps >= 1 && steps <= horizon)
        .collect();
    if steps.len() < 2 {
        steps = vec![1, horizon.div_ceil(4), horizon];
    }
    steps.dedup();
    steps
}

/// The literature's horizons that the model reaches, and its own.
fn ett_horizons(horizon: usize) -> Vec<usize> {
    ETT_HORIZONS.into_iter().filter(|&steps| steps < horizon).chain([horizon]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn horizons_fit_the_model() {
        assert_eq!(default_horizons(600_000, 144), [6, 36, 144]);
        assert_eq!(default_horizons(600_000, 100), [6, 36]);
        assert_eq!(default_horizons(3_600_000, 24), [1, 6, 24]);
        assert_eq!(default_horizons(86_400_000, 28), [1, 7, 28]);
        assert_eq!(default_horizons(20, 50), [1, 13, 50]);
    }

    #[test]
    fn the_literatures_horizons_and_the_models_own() {
        assert_eq!(ett_horizons(720), [96, 192, 336, 720]);
        assert_eq!(ett_horizons(144), [96, 144]);
        assert_eq!(ett_horizons(24), [24]);
    }
}
