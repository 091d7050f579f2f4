//! The baselines over a series: each forecasts from the same origins as the model, of the same channels, and is scored on the same rows.

use indicatif::ProgressBar;
use rayon::prelude::*;

use super::plan::Plan;
use crate::baseline::Fit;
use crate::data::{Series, filled};
use crate::metrics::Accumulator;

/// Parts of a channel's origins that are worked on at a time. Their sums are added in order, and their number is no machine's: so are
/// the results.
const SHARDS: usize = 16;

/// What a baseline did on one channel.
#[derive(Clone)]
pub struct Rival {
    /// Its errors.
    pub errors: Accumulator,
    /// Forecasts that a simpler method made.
    pub fallbacks: usize,
}

/// Scores the plan's baselines at these origins, `[channel][..]`: `[baseline][channel]`. An interruption cuts it short.
pub fn score(series: &Series, plan: &Plan, origins: &[Vec<usize>], bar: &ProgressBar) -> Vec<Vec<Rival>> {
    let mut rivals = vec![Vec::with_capacity(origins.len()); plan.baselines.len()];
    for (values, origins) in series.values.iter().zip(origins) {
        let past = filled(values, plan.seasons.period);
        // Missing values before the first one cannot be filled.
        let first = past.iter().position(|value| !value.is_nan()).unwrap_or(past.len());
        let shards: Vec<Vec<Rival>> = origins
            .par_chunks(origins.len().div_ceil(SHARDS).max(1))
            .map(|origins| shard(values, &past, first, plan, origins, bar))
            .collect();
        let mut shards = shards.into_iter();
        let mut whole = shards.next().unwrap_or_else(|| nothing(plan));
        for part in shards {
            for (whole, part) in whole.iter_mut().zip(part) {
                whole.errors.merge(&part.errors);
                whole.fallbacks += part.fallbacks;
            }
        }
        for (rivals, rival) in rivals.iter_mut().zip(whole) {
            rivals.push(rival);
        }
    }
    rivals
}

fn nothing(plan: &Plan) -> Vec<Rival> {
    let errors = Accumulator::point(&plan.counted(), &plan.levels, plan.held_out.clone());
    vec![Rival { errors, fallbacks: 0 }; plan.baselines.len()]
}

/// Every baseline at some origins of one channel.
fn shard(values: &[f32], past: &[f32], first: usize, plan: &Plan, origins: &[usize], bar: &ProgressBar) -> Vec<Rival> {
    let mut rivals = nothing(plan);
    let mut forecast = vec![0.0; plan.horizon];
    for &origin in origins {
        if crate::interrupt::requested() {
            break;
        }
        let actual = plan.actual(values, origin);
        let forecast = &mut forecast[..actual.len()];
        for (baseline, rival) in plan.baselines.iter().zip(&mut rivals) {
            let fit = match past.get(first..origin) {
                Some(known) if !known.is_empty() => baseline.forecast(known, plan.seasons, forecast),
                _ => {
                    forecast.fill(0.0);
                    Fit::Fallback
                }
            };
            rival.errors.push_point(origin, forecast, actual);
            rival.fallbacks += usize::from(fit == Fit::Fallback);
        }
        bar.inc(1);
    }
    rivals
}
