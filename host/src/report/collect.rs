//! What the figures need beyond scores: the series streamed once more through the device's code, every held-out row as an
//! origin of a one-step forecast and evenly spaced ones of a whole forecast, and the forecaster's inside at the end.

use std::ops::Range;

use anyhow::Result;
use flowcast_core::conformal::Factors;
use flowcast_core::experts::EXPERTS;
use flowcast_core::forecaster::Inside;
use flowcast_core::probe::{GROUPS, Groups};
use flowcast_core::seasonal::{MEMORIES, Season};
use jiff::{SignedDuration, Timestamp};

use super::passes::Passes;
use crate::backtest::BacktestReport;
use crate::data::Series;
use crate::metrics::Levels;
use crate::output::Output;
use crate::train::learning::Learning;

/// Whole forecasts that calibration is read off, at most.
const FORECASTS: usize = 1_000;
/// Parts of the held-out time.
const PARTS: usize = 150;
/// Parts that a rolling share is taken over.
const ROLLING: usize = PARTS / 10;
/// Periods whose attention is shown, and the most samples of them.
const FLOW_PERIODS: usize = 7;
const FLOW_SAMPLES: usize = 2_016;

/// What was collected.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    /// Time of the first row.
    pub start: Option<Timestamp>,
    /// Held-out rows.
    pub test: Range<usize>,
    /// Quantile levels, ascending.
    pub levels: Vec<f32>,
    /// Steps ahead of each group, first and last: those that the horizon reaches.
    pub groups: Vec<(usize, usize)>,
    /// Steps ahead whose residuals are shown: the next one and the last.
    pub leads: Vec<usize>,
    /// The model's seasons.
    pub seasons: Vec<Season>,
    /// Periods that each seasonal memory reaches back, shortest first.
    pub reach: [f32; MEMORIES],
    /// 1/N of each head, layer after layer; none without an attention in the blocks.
    pub memory_gains: Vec<f32>,
    /// Rows whose attention is kept: the last ones.
    pub flow_rows: Range<usize>,
    /// Every channel that is forecast.
    pub channels: Vec<Channel>,
    /// How the training went, where that is known.
    pub learning: Option<Learning>,
}

/// One channel's part.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Share of values below each quantile, ties on the side nearer to the level. `[groups][levels]`, NaN where unknown.
    pub below: Vec<Vec<f64>>,
    /// Rolling share of values within the lowest and the highest quantile. `[groups][PARTS]`, NaN where unknown.
    pub coverage: Vec<Vec<f64>>,
    /// Residuals by the time that the value came. `[leads][PARTS]`
    pub residuals: Vec<Vec<Option<Spread>>>,
    /// What the seasonal memories hold at the end, in the channel's unit. `[seasons][slots]`
    pub means: Vec<Vec<Option<[f64; MEMORIES]>>>,
    /// The intervals' correction at the end. `[groups]`
    pub factors: Vec<Factors<f32>>,
    /// What each forecast is made of at the end: shares of the model's own and of each expert's, which sum to 1; none where the
    /// device does not adapt it. `[groups]`
    pub made_of: Vec<[f64; EXPERTS + 1]>,
    /// What was measured at `flow_rows`.
    pub measured: Vec<f32>,
    /// Competition's weight of each sample. `[layers · heads][flow_rows]`, NaN where a sample is missing.
    pub competition: Vec<Vec<f32>>,
    /// Share that the sink takes, likewise.
    pub allocation: Vec<Vec<f32>>,
    /// What the seasonal attention kept, where there is one.
    pub passes: Option<Passes>,
}

/// Residuals within a part of the time, in the channel's unit, value − median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Smallest and largest.
    pub extremes: (f64, f64),
    /// The quantiles at the levels of the band.
    pub quantiles: (f64, f64),
    /// Mean of lowest quantile − median and of highest quantile − median, as forecast.
    pub band: (f64, f64),
}

/// A channel's counts while the series streams by.
struct Counts {
    /// Values below and at most each quantile, `[groups][levels]`, and how many were compared.
    below: Vec<Vec<(u64, u64)>>,
    compared: Vec<u64>,
    /// Values within the band, and all. `[groups][PARTS]`
    within: Vec<Vec<(u64, u64)>>,
    /// (residual, low − median, high − median). `[leads][PARTS]`
    residuals: Vec<Vec<Vec<(f64, f64, f64)>>>,
}

/// Streams the series through the model, which is reset first.
///
/// `scaling` is each channel's offset and scale in the model file.
///
/// # Errors
/// An interruption.
pub fn collect(
    model: &mut dyn Inside,
    series: &Series,
    report: &BacktestReport,
    scaling: &[(f32, f32)],
    output: &Output,
) -> Result<Diagnostics> {
    let header = model.header().clone();
    let (rows, horizon) = (series.rows(), usize::from(header.horizon));
    let cut = Groups::<f32>::new(header.horizon);
    let groups: Vec<(usize, usize)> = (0..GROUPS)
        .map(|group| cut.steps(group))
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| (first.into(), last.into()))
        .collect();
    let group_of: Vec<usize> =
        (1..=horizon).map(|step| groups.iter().position(|(_, last)| step <= *last).unwrap_or(0)).collect();
    let levels = Levels::new(&header.quantiles);
    let count = levels.count();
    let leads = if horizon > 1 { vec![1, horizon] } else { vec![1] };
    let test = report.test_start..rows;
    let flow_samples = (FLOW_PERIODS * header.seasons.period() as usize).min(FLOW_SAMPLES).min(rows);
    let flow_rows = rows - flow_samples..rows;
    let layers = usize::from(header.attending_layers());
    let heads = usize::from(header.heads);
    let targets = usize::from(header.targets);
    // As the back-test's origins: no common divisor with the period, so that every phase has its turn.
    let stride = (test.len().div_ceil(FORECASTS)..)
        .find(|stride| divisor(*stride, header.seasons.period() as usize) == 1)
        .unwrap_or(1);
    let part = |row: usize| ((row - test.start) * PARTS / test.len().max(1)).min(PARTS - 1);

    let mut counts: Vec<Counts> = (0..targets)
        .map(|_| Counts {
            below: vec![vec![(0, 0); count]; groups.len()],
            compared: vec![0; groups.len()],
            within: vec![vec![(0, 0); PARTS]; groups.len()],
            residuals: vec![vec![Vec::new(); PARTS]; leads.len()],
        })
        .collect();
    let unknown = vec![vec![f32::NAN; flow_samples]; layers * heads];
    let mut flows = vec![(unknown.clone(), unknown); targets];
    let mut passes = vec![Passes::new(&header.seasons); targets];
    let mut missing = vec![0; targets];
    let mut fan = vec![0.0_f32; horizon * count];
    let mut sample = vec![0.0; series.columns.len()];

    model.reset();
    let bar = output.progress(rows as u64, "report");
    for row in 0..rows {
        if row % 1_024 == 0 {
            crate::interrupt::check()?;
            bar.set_position(row as u64);
        }
        series.row(row, &mut sample);
        match row.checked_sub(flow_rows.start) {
            None => model.observe_knowing(&sample, &series.to_come(row + 1)),
            Some(place) => {
                model.observe_traced(&sample, &series.to_come(row + 1), &mut |channel, layer, heads_flows| {
                    let Some((competition, allocation)) = flows.get_mut(channel) else { return };
                    for (head, flow) in heads_flows.iter().enumerate() {
                        competition[layer * heads + head][place] = flow.source_competition;
                        allocation[layer * heads + head][place] = flow.sink_allocation;
                    }
                })
            }
        }
        for (channel, (passes, missing)) in passes.iter_mut().zip(&mut missing).enumerate() {
            let before = std::mem::replace(missing, model.missing(channel));
            if let Some(passes) = passes {
                let came = (*missing == before).then(|| sample[channel]);
                passes.observe(row, came, |bin| model.day_key(channel, bin));
            }
        }
        let origin = row + 1;
        if !test.contains(&origin) {
            continue;
        }
        // Every origin tells the next step, some the whole horizon.
        let steps = if (origin - test.start).is_multiple_of(stride) { horizon } else { 1 };
        for (channel, counts) in counts.iter_mut().enumerate() {
            let known =
                model.forecast_into_knowing(channel, &series.to_come(origin), &mut fan[..steps * count]) / count;
            for (step, quantiles) in (1..=known).zip(fan.chunks_exact(count)) {
                let target = origin + step - 1;
                let Some(value) = series.values[channel].get(target).filter(|value| value.is_finite()) else {
                    continue;
                };
                counts.take(part(target), group_of[step - 1], *value, quantiles);
                if let Some(lead) = leads.iter().position(|lead| *lead == step) {
                    let median = f64::from(quantiles[levels.median()]);
                    let [low, high] = [quantiles[0], quantiles[count - 1]].map(|end| f64::from(end) - median);
                    counts.residuals[lead][part(target)].push((f64::from(*value) - median, low, high));
                }
            }
        }
    }
    bar.finish_and_clear();

    let ends = (header.quantiles.first().copied().unwrap_or(0.0), header.quantiles.last().copied().unwrap_or(1.0));
    let channels = counts
        .into_iter()
        .zip(flows)
        .zip(passes)
        .enumerate()
        .map(|(channel, ((counts, (competition, allocation)), passes))| Channel {
            below: counts.shares(&header.quantiles),
            coverage: counts.within.iter().map(|parts| rolling(parts)).collect(),
            residuals: counts
                .residuals
                .iter()
                .map(|parts| parts.iter().map(|part| spread(part, ends)).collect())
                .collect(),
            means: means(model, channel, &header.seasons.list, scaling[channel]),
            factors: model.interval_factors(channel).into_iter().take(groups.len()).collect(),
            made_of: made_of(model.expert_shares(channel), groups.len()),
            measured: series.values[channel][flow_rows.clone()].to_vec(),
            competition,
            allocation,
            passes,
        })
        .collect();
    let heads = (0..layers).flat_map(|layer| (0..header.heads.into()).map(move |head| (layer, head)));
    let memory_gains = heads.filter_map(|(layer, head)| model.memory_gain(layer, head)).collect();
    Ok(Diagnostics {
        start: series.start,
        test,
        levels: header.quantiles.to_vec(),
        groups,
        leads,
        seasons: header.seasons.list.to_vec(),
        reach: header.seasons.memory_gain.map(|gain| 1.0 / gain),
        memory_gains,
        flow_rows,
        channels,
        learning: None,
    })
}

impl Diagnostics {
    /// The time of a row, where the data told one.
    pub fn time(&self, row: usize, interval_ms: u64) -> Option<Timestamp> {
        let since = SignedDuration::from_millis(i64::try_from(row as u64 * interval_ms).ok()?);
        self.start?.checked_add(since).ok()
    }

    /// Share of values that the band promises to hold.
    pub fn promised(&self) -> f64 {
        let [low, high] =
            [self.levels.first(), self.levels.last()].map(|level| f64::from(level.copied().unwrap_or(0.0)));
        ((high - low) * 1e6).round() / 1e6
    }
}

impl Counts {
    fn take(&mut self, part: usize, group: usize, value: f32, quantiles: &[f32]) {
        self.compared[group] += 1;
        for ((below, at_most), quantile) in self.below[group].iter_mut().zip(quantiles) {
            *below += u64::from(value < *quantile);
            *at_most += u64::from(value <= *quantile);
        }
        let (within, all) = &mut self.within[group][part];
        *within += u64::from(quantiles[0] <= value && value <= quantiles[quantiles.len() - 1]);
        *all += 1;
    }

    /// A coarse sensor often reads the very quantile: such values count on the side that is nearer to the level.
    fn shares(&self, levels: &[f32]) -> Vec<Vec<f64>> {
        let groups = self.below.iter().zip(&self.compared);
        let share = |((below, at_most), level): (&(u64, u64), &f32), all: u64| {
            // Nothing of nothing is unknown.
            if all == 0 {
                f64::NAN
            } else {
                (f64::from(*level) * all as f64).clamp(*below as f64, *at_most as f64) / all as f64
            }
        };
        groups.map(|(counts, all)| counts.iter().zip(levels).map(|count| share(count, *all)).collect()).collect()
    }
}

/// Share over each part and those before it; NaN until there are enough, or where nothing came.
fn rolling(parts: &[(u64, u64)]) -> Vec<f64> {
    (1..=parts.len())
        .map(|end| {
            let Some(begin) = end.checked_sub(ROLLING) else { return f64::NAN };
            let [within, all] = parts[begin..end].iter().fold([0, 0], |[w, a], part| [w + part.0, a + part.1]);
            if all > 0 { within as f64 / all as f64 } else { f64::NAN }
        })
        .collect()
}

fn spread(residuals: &[(f64, f64, f64)], ends: (f32, f32)) -> Option<Spread> {
    let mut sorted: Vec<f64> = residuals.iter().map(|residual| residual.0).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |level: f32| sorted[((sorted.len() - 1) as f64 * f64::from(level)).round() as usize];
    let mean = |of: &dyn Fn(&(f64, f64, f64)) -> f64| residuals.iter().map(of).sum::<f64>() / residuals.len() as f64;
    Some(Spread {
        extremes: (*sorted.first()?, *sorted.last()?),
        quantiles: (at(ends.0), at(ends.1)),
        band: (mean(&|residual| residual.1), mean(&|residual| residual.2)),
    })
}

/// `[seasons][slots]`, in the channel's unit.
fn means(
    model: &dyn Inside,
    channel: usize,
    seasons: &[Season],
    (offset, scale): (f32, f32),
) -> Vec<Vec<Option<[f64; MEMORIES]>>> {
    let restore = |mean: f32| f64::from(mean) * f64::from(scale) + f64::from(offset);
    let slots = |(season, shape): (usize, &Season)| {
        (0..shape.slots).map(|slot| Some(model.seasonal_means(channel, season, slot)?.map(restore))).collect()
    };
    seasons.iter().enumerate().map(slots).collect()
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}
/// Shares of a forecast that experts draw towards them one after the other: each leaves the rest to those before it.
fn made_of(shares: Option<[[f32; GROUPS]; EXPERTS]>, groups: usize) -> Vec<[f64; EXPERTS + 1]> {
    let Some(shares) = shares else { return Vec::new() };
    (0..groups)
        .map(|group| {
            let mut made_of = [0.0; EXPERTS + 1];
            made_of[0] = 1.0;
            for (expert, shares) in shares.iter().enumerate() {
                let share = f64::from(shares[group]);
                made_of[..=expert].iter_mut().for_each(|part| *part *= 1.0 - share);
                made_of[expert + 1] = share;
            }
            made_of
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_forecast_is_made_of_sums_to_one() {
        let shares = [[0.5, 0.0, 1.0, 0.25], [0.5, 0.0, 0.25, 0.0], [0.0, 0.0, 0.5, 1.0]];
        let expected = [[0.25, 0.25, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.375, 0.125, 0.5], [0.0, 0.0, 0.0, 1.0]];
        assert_eq!(made_of(Some(shares), GROUPS), expected);
        assert_eq!(made_of(Some(shares), 2), expected[..2]);
        assert!(made_of(None, GROUPS).is_empty());
    }
}
