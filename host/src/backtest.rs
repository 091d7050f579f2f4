//! Rolling-origin back-test: what the device would have forecast over the held-out end of a series, by the device's own code.
//!
//! The model streams every row from the first, and is asked for a forecast at the origins: so no forecast can know what comes after
//! it, by construction. An origin is a row; the forecast made there has seen all rows before it and starts with it. Origins are evenly
//! spaced over the held-out end by a stride that has no common divisor with the period, so that every phase of the season has its turn,
//! and every baseline is scored on the same ones.

use std::fmt::Write as _;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::Header;
use indicatif::ProgressBar;
use serde::{Serialize, Serializer};

use crate::baseline::{self, BASELINES, Fit};
use crate::data::{ReadOptions, Series};
use crate::duration::{Steps, parse_duration, show_ms};
use crate::file::{AlignedBytes, refuse_overwriting, write_atomic};
use crate::forecaster;
use crate::metrics::{Accumulator, Levels, Scores, mase_scale};
use crate::output::Output;

/// The model's name among the methods.
pub const MODEL: &str = "flowcast";

/// Origins when the user does not say: exponential smoothing takes about 80 ms an origin and channel at 10-minute data, so that four
/// channels take half a minute on two cores.
const DEFAULT_ORIGINS: usize = 200;

/// Origins that are kept whole for the report's figures.
const EXAMPLES: usize = 6;

/// Seasons of the past that an example shows.
const EXAMPLE_SEASONS: usize = 2;

/// Origins whose baselines are fitted before their forecasts are scored, in order: bounds the memory of a dense back-test.
const BATCH: usize = 64;

/// Back-test a model with the device's own code, against honest baselines
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL.flow")]
    pub model: PathBuf,
    /// Measurements: .csv, .csv.gz or .csv.xz files of one layout
    #[arg(required = true, value_name = "DATA")]
    pub data: Vec<PathBuf>,
    /// The column of times, if it is not found by itself
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// Read the rows as evenly spaced, whatever times they carry
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// The part of the rows, at their end, that is held out
    #[arg(long, default_value_t = 0.2, value_name = "FRACTION", value_parser = fraction)]
    pub test_fraction: f64,
    /// Horizons to report, as durations or steps [default: 1h,6h,1d within the model's horizon]
    #[arg(long, value_delimiter = ',', value_name = "N|DURATION")]
    pub horizons: Vec<Steps>,
    /// At most this many origins
    #[arg(long, default_value_t = DEFAULT_ORIGINS, value_name = "N", value_parser = positive)]
    pub origins: usize,
    /// Write the report, one self-contained HTML file
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write a picture of some forecasts beside what came
    #[arg(long, value_name = "FILE.svg")]
    pub figure: Option<PathBuf>,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(fraction),
        _ => Err(format!("found `{text}`, expected a number above 0 and below 1")),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("found `{text}`, expected a whole number above 0")),
    }
}

/// How to back-test.
#[derive(Clone, Debug)]
pub struct Options {
    /// The part of the rows, at their end, that is held out; in 0..1.
    pub test_fraction: f64,
    /// Horizons to report, ascending, in steps; empty = [`default_horizons`].
    pub horizons: Vec<usize>,
    /// At most this many origins.
    pub origins: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { test_fraction: 0.2, horizons: Vec::new(), origins: DEFAULT_ORIGINS }
    }
}

/// Runs the command.
///
/// # Errors
/// Unreadable model or data, a channel that the data lacks, another sampling interval, too few rows.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let inputs = [std::slice::from_ref(&args.model), args.data.as_slice()].concat();
    for output in args.report.iter().chain(&args.figure) {
        refuse_overwriting(&inputs, output)?;
    }
    let bytes = AlignedBytes::read(&args.model)?;
    let mut model = forecaster::open(&bytes).with_context(|| args.model.display().to_string())?;
    let names = channel_names(model.header(), &bytes);
    let read = ReadOptions { time: args.time.clone(), columns: names, interval: args.interval };
    let series = Series::read(&args.data, &read)
        .with_context(|| format!("{} wants the columns {}", args.model.display(), read.columns.join(", ")))?;
    check_interval(model.header(), &series)?;
    let interval_ms = series.interval_ms;
    let horizons = args
        .horizons
        .iter()
        .map(|steps| steps.count(interval_ms).map_err(|error| anyhow::anyhow!("--horizons: {error}")))
        .collect::<Result<Vec<usize>>>()?;
    let options = Options { test_fraction: args.test_fraction, horizons, origins: args.origins };
    let mut report = score(model.as_mut(), &series, &options, output)?;
    report.units = channel_units(model.header(), &bytes);
    if let Some(path) = &args.report {
        crate::report::write(path, &args.model.display().to_string(), &report)?;
    }
    if let Some(path) = &args.figure {
        // The first channels are enough for a picture.
        let channels: Vec<usize> = (0..report.columns.len().min(2)).collect();
        write_atomic(path, crate::report::figure::forecasts(&report, &channels)?.as_bytes())?;
    }
    output.result(|| report.table(), &report)
}

/// The names of a model's channels, in its order.
pub fn channel_names(header: &Header, model: &[u8]) -> Vec<String> {
    (0..usize::from(header.channels))
        .filter_map(|index| header.channel(model, index))
        .map(|channel| channel.name.to_owned())
        .collect()
}

/// The units of a model's channels, in its order; empty where the file tells none.
pub fn channel_units(header: &Header, model: &[u8]) -> Vec<String> {
    (0..usize::from(header.channels))
        .filter_map(|index| header.channel(model, index))
        .map(|channel| channel.unit.to_owned())
        .collect()
}

/// Whether data come at the model's pace.
///
/// # Errors
/// Both intervals, when they differ.
pub fn check_interval(header: &Header, series: &Series) -> Result<()> {
    if header.interval_ms != series.interval_ms {
        bail!(
            "found a sample every {} in the data, expected every {} as in the model",
            show_ms(series.interval_ms),
            show_ms(header.interval_ms)
        );
    }
    Ok(())
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

/// What a back-test found.
#[derive(Debug, Serialize)]
pub struct BacktestReport {
    /// Names of the channels, as the model knows them.
    pub columns: Vec<String>,
    /// Their units; [`score`] does not know them and leaves this empty.
    pub units: Vec<String>,
    /// The sampling interval in milliseconds.
    pub interval_ms: u64,
    /// Samples of a season.
    pub period: usize,
    /// Rows of the series.
    pub rows: usize,
    /// The first held-out row.
    pub test_start: usize,
    /// Forecasts that were scored, each of all channels.
    pub origins: usize,
    /// Rows between two origins.
    pub stride: usize,
    /// Origins left out because the model was still warming up, for the baselines as well.
    pub warming_up: usize,
    /// The model: mean over channels at each horizon.
    pub horizons: Vec<HorizonScores>,
    /// The model: mean over channels, over every step of its horizon.
    pub overall: Scores,
    /// Each baseline, in the order of [`BASELINES`].
    #[serde(serialize_with = "as_map")]
    pub baselines: Vec<(String, MethodScores)>,
    /// Each channel apart.
    #[serde(serialize_with = "as_map")]
    pub channels: Vec<(String, ChannelScores)>,
    /// MASE at each single step ahead, mean over channels, for the model and each baseline.
    #[serde(skip)]
    pub curves: Vec<(String, Vec<f64>)>,
    /// Some forecasts beside what came.
    #[serde(skip)]
    pub examples: Vec<Example>,
}

/// The scores of steps 1 to `steps`, and at exactly `steps`.
#[derive(Clone, Debug, Serialize)]
pub struct HorizonScores {
    /// Steps ahead.
    pub steps: usize,
    /// Steps 1 to `steps` together.
    #[serde(flatten)]
    pub up_to: Scores,
    /// Exactly `steps` ahead.
    pub at_step: Scores,
}

/// A method's scores.
#[derive(Clone, Debug, Serialize)]
pub struct MethodScores {
    /// At each horizon.
    pub horizons: Vec<HorizonScores>,
    /// Over every step of the model's horizon.
    pub overall: Scores,
    /// Forecasts where the method's fit failed and a simpler one stepped in.
    pub fallbacks: usize,
}

/// One channel's scores, in its unit.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelScores {
    /// What MASE divides by, in the channel's unit.
    pub mase_scale: Option<f64>,
    /// The model at each horizon.
    pub horizons: Vec<HorizonScores>,
    /// The model over every step.
    pub overall: Scores,
    /// Each baseline.
    #[serde(serialize_with = "as_map")]
    pub baselines: Vec<(String, MethodScores)>,
}

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

fn as_map<T: Serialize, S: Serializer>(entries: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(name, value)| (name, value)))
}

/// Streams a whole series through the model and scores what it forecast, and what the baselines did, at the held-out origins.
///
/// The channels of `series` are the model's, in its order. The model is reset first.
///
/// # Errors
/// When the held-out end is shorter than the horizon, a wanted horizon is out of the model's reach, or no origin could be scored.
pub fn score(model: &mut dyn Streaming, series: &Series, options: &Options, output: &Output) -> Result<BacktestReport> {
    let plan = Plan::new(model.header(), series, options)?;
    let channels = series.values.len();
    let mut examples = Vec::new();

    let bar = output.progress(series.rows() as u64, "stream");
    let mut own: Vec<Accumulator> = vec![Accumulator::new(plan.horizon, &plan.levels); channels];
    crate::interrupt::listen();
    let origins = stream(model, series, &plan, &mut own, &mut examples, &bar);
    crate::interrupt::check()?;
    bar.finish_and_clear();
    if origins.is_empty() {
        bail!(
            "the model was still warming up at every one of {} origins, expected data of at least a period ({} rows) before them",
            plan.origins.len(),
            plan.period
        );
    }

    let bar = output.progress((origins.len() * channels) as u64, "baselines");
    let (theirs, fallbacks) = score_baselines(series, &plan, &origins, &bar);
    bar.finish_and_clear();

    Ok(plan.report(series, &origins, &own, &theirs, &fallbacks, examples))
}

/// What is decided before the first sample.
struct Plan {
    horizon: usize,
    period: usize,
    levels: Levels,
    horizons: Vec<usize>,
    test_start: usize,
    stride: usize,
    /// Ascending rows, each the first that its forecast covers.
    origins: Vec<usize>,
    /// What MASE divides by. `[channel]`
    scales: Vec<Option<f64>>,
}

impl Plan {
    fn new(header: &Header, series: &Series, options: &Options) -> Result<Plan> {
        let channels = usize::from(header.channels);
        if series.values.len() != channels {
            bail!("found a series of {} channels, expected {channels} as in the model", series.values.len());
        }
        check_interval(header, series)?;
        let horizon = usize::from(header.horizon);
        let period = header.season.period as usize;
        let horizons = if options.horizons.is_empty() {
            default_horizons(series.interval_ms, horizon)
        } else {
            let mut horizons = options.horizons.clone();
            horizons.sort_unstable();
            horizons.dedup();
            horizons
        };
        if let Some(&steps) = horizons.iter().find(|&&steps| steps > horizon) {
            bail!(
                "found a horizon of {steps} steps ({}), expected at most the model's {horizon} ({})",
                show_ms(steps as u64 * series.interval_ms),
                show_ms(horizon as u64 * series.interval_ms)
            );
        }
        // The first row cannot be forecast: nothing came before it.
        let test_start = series.test_start(options.test_fraction).max(1);
        let Some(places) = (series.rows() + 1).checked_sub(test_start + horizon).filter(|&places| places > 0) else {
            bail!(
                "found {} held-out rows (of {}), expected at least the model's horizon of {horizon}",
                series.rows().saturating_sub(test_start),
                series.rows()
            );
        };
        let stride = stride(places, options.origins, period);
        Ok(Plan {
            horizon,
            period,
            levels: Levels::new(&header.quantiles),
            horizons,
            test_start,
            stride,
            origins: (test_start..test_start + places).step_by(stride).collect(),
            scales: series.values.iter().map(|values| mase_scale(&values[..test_start], period)).collect(),
        })
    }

    fn report(
        &self,
        series: &Series,
        origins: &[usize],
        own: &[Accumulator],
        theirs: &[Vec<Accumulator>],
        fallbacks: &[Vec<usize>],
        examples: Vec<Example>,
    ) -> BacktestReport {
        let channels: Vec<(String, ChannelScores)> = series
            .columns
            .iter()
            .enumerate()
            .map(|(channel, name)| {
                let scale = self.scales[channel];
                let baselines = BASELINES
                    .iter()
                    .enumerate()
                    .map(|(index, baseline)| {
                        let scores = self.method(&theirs[index][channel], scale, fallbacks[index][channel]);
                        (baseline.name().to_owned(), scores)
                    })
                    .collect();
                let MethodScores { horizons, overall, .. } = self.method(&own[channel], scale, 0);
                (name.clone(), ChannelScores { mase_scale: scale, horizons, overall, baselines })
            })
            .collect();
        let model: Vec<MethodScores> = channels
            .iter()
            .map(|(_, scores)| MethodScores {
                horizons: scores.horizons.clone(),
                overall: scores.overall,
                fallbacks: 0,
            })
            .collect();
        let model = over_channels(&model);
        let baselines: Vec<(String, MethodScores)> = BASELINES
            .iter()
            .enumerate()
            .map(|(index, baseline)| {
                let each: Vec<MethodScores> =
                    channels.iter().map(|(_, scores)| scores.baselines[index].1.clone()).collect();
                (baseline.name().to_owned(), over_channels(&each))
            })
            .collect();
        let curve = |accumulators: &[Accumulator]| -> Vec<f64> {
            (1..=self.horizon)
                .map(|step| {
                    let each: Vec<Scores> =
                        accumulators.iter().zip(&self.scales).map(|(errors, &scale)| errors.at(step, scale)).collect();
                    Scores::mean(&each).and_then(|scores| scores.mase).unwrap_or(f64::NAN)
                })
                .collect()
        };
        let mut curves = vec![(MODEL.to_owned(), curve(own))];
        for (baseline, accumulators) in BASELINES.iter().zip(theirs) {
            curves.push((baseline.name().to_owned(), curve(accumulators)));
        }
        BacktestReport {
            columns: series.columns.clone(),
            units: Vec::new(),
            interval_ms: series.interval_ms,
            period: self.period,
            rows: series.rows(),
            test_start: self.test_start,
            origins: origins.len(),
            stride: self.stride,
            warming_up: self.origins.len() - origins.len(),
            horizons: model.horizons,
            overall: model.overall,
            baselines,
            channels,
            curves,
            examples,
        }
    }

    fn method(&self, errors: &Accumulator, scale: Option<f64>, fallbacks: usize) -> MethodScores {
        MethodScores {
            horizons: self
                .horizons
                .iter()
                .map(|&steps| HorizonScores {
                    steps,
                    up_to: errors.up_to(steps, scale),
                    at_step: errors.at(steps, scale),
                })
                .collect(),
            overall: errors.up_to(self.horizon, scale),
            fallbacks,
        }
    }
}

/// The smallest stride that leaves at most `limit` origins among `places` and has no common divisor with the period.
fn stride(places: usize, limit: usize, period: usize) -> usize {
    let mut stride = places.div_ceil(limit.max(1)).max(1);
    while greatest_common_divisor(stride, period.max(1)) != 1 {
        stride += 1;
    }
    stride
}

fn greatest_common_divisor(left: usize, right: usize) -> usize {
    if right == 0 { left } else { greatest_common_divisor(right, left % right) }
}

fn over_channels(channels: &[MethodScores]) -> MethodScores {
    let mean = |of: &dyn Fn(&MethodScores) -> Scores| {
        Scores::mean(&channels.iter().map(of).collect::<Vec<_>>()).unwrap_or_default()
    };
    let horizons = channels.first().map(|first| first.horizons.as_slice()).unwrap_or_default();
    MethodScores {
        horizons: horizons
            .iter()
            .enumerate()
            .map(|(index, horizon)| HorizonScores {
                steps: horizon.steps,
                up_to: mean(&|method| method.horizons[index].up_to),
                at_step: mean(&|method| method.horizons[index].at_step),
            })
            .collect(),
        overall: mean(&|method| method.overall),
        fallbacks: channels.iter().map(|method| method.fallbacks).sum(),
    }
}

/// Streams every row; at each origin that the model is ready for, scores its forecast. Returns those origins.
fn stream(
    model: &mut dyn Streaming,
    series: &Series,
    plan: &Plan,
    errors: &mut [Accumulator],
    examples: &mut Vec<Example>,
    bar: &ProgressBar,
) -> Vec<usize> {
    let levels = plan.levels.count();
    let mut sample = vec![0.0; series.values.len()];
    let mut forecast = vec![0.0; plan.horizon * levels]; // [horizon][levels]
    let example_every = plan.origins.len().div_ceil(EXAMPLES).max(1);
    let mut scored = Vec::with_capacity(plan.origins.len());
    let mut next = plan.origins.iter().enumerate().peekable();
    model.reset();
    for row in 0..series.rows() {
        if let Some((index, _)) = next.next_if(|&(_, &origin)| origin == row)
            && model.is_ready()
        {
            for (channel, values) in series.values.iter().enumerate() {
                // A channel of which most readings were no measurements has no forecast: nobody is scored on it.
                if model.forecast_into(channel, &mut forecast) < forecast.len() {
                    continue;
                }
                let actual = &values[row..row + plan.horizon];
                for (step, (quantiles, &actual)) in forecast.chunks_exact(levels).zip(actual).enumerate() {
                    errors[channel].push(step + 1, quantiles, actual);
                }
                // From the middle of each stretch, so that the first day of the test is not over-represented.
                if index % example_every == example_every / 2 {
                    examples.push(plan.example(series, channel, row, &forecast));
                }
            }
            scored.push(row);
        }
        if next.peek().is_none() {
            break;
        }
        series.row(row, &mut sample);
        model.observe(&sample);
        if row % 1_024 == 0 {
            if crate::interrupt::requested() {
                break;
            }
            bar.set_position(row as u64);
        }
    }
    scored
}

impl Plan {
    fn example(&self, series: &Series, channel: usize, origin: usize, forecast: &[f32]) -> Example {
        let values = &series.values[channel];
        let past = (EXAMPLE_SEASONS * self.period).max(self.horizon).min(origin);
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

/// Scores every baseline: `[baseline][channel]` errors and fallbacks. Fits run on all cores; their forecasts are scored in order, so
/// that the sums are the same on every machine.
fn score_baselines(
    series: &Series,
    plan: &Plan,
    origins: &[usize],
    bar: &ProgressBar,
) -> (Vec<Vec<Accumulator>>, Vec<Vec<usize>>) {
    let channels = series.values.len();
    let past: Vec<Vec<f32>> = series.values.iter().map(|values| baseline::filled(values, plan.period)).collect();
    let mut errors = vec![vec![Accumulator::point(plan.horizon, &plan.levels); channels]; BASELINES.len()];
    let mut fallbacks = vec![vec![0; channels]; BASELINES.len()];
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs: Vec<(usize, usize)> =
        origins.iter().flat_map(|&origin| (0..channels).map(move |channel| (origin, channel))).collect();
    for batch in jobs.chunks(BATCH) {
        let share = batch.len().div_ceil(threads);
        // In the order of the batch.
        let forecasts: Vec<Vec<(Vec<f32>, Fit)>> = std::thread::scope(|scope| {
            let workers: Vec<_> = batch
                .chunks(share)
                .map(|jobs| {
                    let past = &past;
                    scope.spawn(move || {
                        jobs.iter()
                            .map(|&(origin, channel)| {
                                let forecasts = forecast_all(&past[channel][..origin], plan);
                                bar.inc(1);
                                forecasts
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for (&(origin, channel), forecasts) in batch.iter().zip(&forecasts) {
            let actual = &series.values[channel][origin..origin + plan.horizon];
            for (index, (forecast, fit)) in forecasts.iter().enumerate() {
                for (step, (&value, &actual)) in forecast.iter().zip(actual).enumerate() {
                    errors[index][channel].push_point(step + 1, value, actual);
                }
                fallbacks[index][channel] += usize::from(*fit == Fit::Fallback);
            }
        }
    }
    (errors, fallbacks)
}

/// One forecast of each baseline from a channel's filled past.
fn forecast_all(past: &[f32], plan: &Plan) -> Vec<(Vec<f32>, Fit)> {
    // Missing values before the first one cannot be filled.
    let known = past.iter().position(|value| !value.is_nan()).map_or(&[][..], |first| &past[first..]);
    BASELINES
        .iter()
        .map(|&baseline| {
            let mut forecast = vec![0.0; plan.horizon];
            let fit =
                if known.is_empty() { Fit::Fallback } else { baseline.forecast(known, plan.period, &mut forecast) };
            (forecast, fit)
        })
        .collect()
}

impl BacktestReport {
    /// The methods, the model first: name and scores.
    pub fn methods(&self) -> impl Iterator<Item = (&str, &[HorizonScores], &Scores)> {
        std::iter::once((MODEL, self.horizons.as_slice(), &self.overall)).chain(
            self.baselines.iter().map(|(name, method)| (name.as_str(), method.horizons.as_slice(), &method.overall)),
        )
    }

    /// How far ahead so many steps are, for people.
    pub fn ahead(&self, steps: usize) -> String {
        show_ms(steps as u64 * self.interval_ms)
    }

    /// The result for people: one row a method, one column a horizon, the best of each column marked.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} forecasts of {} over the last {} of {} rows, one every {}",
            self.origins,
            self.columns.join(", "),
            self.rows - self.test_start,
            self.rows,
            self.ahead(self.stride),
        );
        if self.warming_up > 0 {
            let _ = write!(text, "; {} more left out while the model was warming up", self.warming_up);
        }
        text.push_str("\n\n");
        self.write_measure(
            &mut text,
            "MASE, mean over the steps up to (below 1: better than last season's values were in training)",
            |scores| scores.mase,
        );
        text.push('\n');
        self.write_measure(
            &mut text,
            "WQL, mean over the steps up to (a point forecast counts as all its quantiles)",
            |scores| scores.wql,
        );
        if self.overall.coverage80.is_some() {
            text.push_str("\n80 % band: share of values within it, mean over the steps up to\n");
            let _ = write!(text, "  {MODEL:<16}");
            for horizon in &self.horizons {
                let _ = write!(text, "{:>10}", show(horizon.up_to.coverage80));
            }
            text.push('\n');
        }
        let known = |scores: &Scores| (scores.count > 0).then_some(scores.mae);
        text.push_str("\nMAE of each channel, in its unit, and of the baseline that is best at that horizon\n");
        self.write_heads(&mut text);
        let width = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(16);
        for (name, channel) in &self.channels {
            let _ = write!(text, "  {name:<width$}");
            for horizon in &channel.horizons {
                let _ = write!(text, "{:>10}", show(known(&horizon.up_to)));
            }
            let _ = write!(text, "\n  {:<width$}", "  best baseline");
            for (index, _) in channel.horizons.iter().enumerate() {
                let errors = channel.baselines.iter().filter_map(|(_, method)| known(&method.horizons[index].up_to));
                let _ = write!(text, "{:>10}", show(errors.min_by(f64::total_cmp)));
            }
            text.push('\n');
        }
        for (name, method) in self.baselines.iter().filter(|(_, method)| method.fallbacks > 0) {
            let _ = writeln!(
                text,
                "\n{name}: {} of {} fits failed, a simpler method stepped in",
                method.fallbacks,
                self.origins * self.columns.len()
            );
        }
        text
    }

    fn write_heads(&self, text: &mut String) {
        let _ = write!(text, "  {:16}", "");
        for horizon in &self.horizons {
            let _ = write!(text, "{:>10}", self.ahead(horizon.steps));
        }
        text.push('\n');
    }

    fn write_measure(&self, text: &mut String, title: &str, measure: impl Fn(&Scores) -> Option<f64>) {
        let _ = writeln!(text, "{title}");
        self.write_heads(text);
        let best: Vec<Option<f64>> = (0..self.horizons.len())
            .map(|column| {
                self.methods().filter_map(|(_, horizons, _)| measure(&horizons[column].up_to)).min_by(f64::total_cmp)
            })
            .collect();
        for (name, horizons, _) in self.methods() {
            let mut line = format!("  {name:<16}");
            for (horizon, best) in horizons.iter().zip(&best) {
                let value = measure(&horizon.up_to);
                let mark = if value.is_some() && value == *best { "*" } else { " " };
                let _ = write!(line, "{:>9}{mark}", show(value));
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push_str("  * best\n");
    }
}

/// Three significant digits, or a dash.
pub fn show(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) => {
            let digits = if value == 0.0 { 3 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize };
            format!("{value:.digits$}")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flowcast_core::seasonal::Season;

    /// Repeats the last season, with a band of ± 1; not ready before a whole season has passed.
    struct Repeater {
        header: Header,
        /// Filled like the baseline's past. `[channel][row]`
        past: Vec<Vec<f32>>,
    }

    impl Repeater {
        fn new(channels: u16, period: u32, horizon: u16) -> Repeater {
            let header = Header {
                d_model: 0,
                heads: 0,
                head_dim: 0,
                layers: 0,
                d_ff: 0,
                rank: 0,
                channels,
                readouts: 0,
                horizon,
                season: Season { period, slot_samples: 1, slots: 1, memory_gain: [1.0; 4], scale_floor: 0.0 },
                interval_ms: 600_000,
                source_clamp: 0.0,
                flow_limit: 0.0,
                feature_clamp: 0.0,
                quantiles: [0.1, 0.5, 0.9].into_iter().collect(),
                identity: 0,
            };
            Repeater { header, past: vec![Vec::new(); channels.into()] }
        }
    }

    impl Streaming for Repeater {
        fn header(&self) -> &Header {
            &self.header
        }
        fn observe(&mut self, sample: &[f32]) {
            let period = self.header.season.period as usize;
            for (past, &value) in self.past.iter_mut().zip(sample) {
                let before = past.len().checked_sub(period).map(|row| past[row]).filter(|value| !value.is_nan());
                let fill = before.or(past.last().copied()).unwrap_or(f32::NAN);
                past.push(if value.is_nan() { fill } else { value });
            }
        }
        fn observe_gap(&mut self, samples: u32) {
            for _ in 0..samples {
                self.observe(&vec![f32::NAN; self.past.len()]);
            }
        }
        fn reset(&mut self) {
            self.past.iter_mut().for_each(Vec::clear);
        }
        fn is_ready(&self) -> bool {
            self.past[0].len() >= self.header.season.period as usize
        }
        fn missing(&self, _channel: usize) -> u32 {
            0
        }
        fn state_bytes(&self) -> usize {
            0
        }
        fn forecast_into(&self, channel: usize, out: &mut [f32]) -> usize {
            let past = &self.past[channel];
            let season = &past[past.len() - self.header.season.period as usize..];
            for (quantiles, value) in out.chunks_exact_mut(3).zip(season.iter().cycle()) {
                quantiles.copy_from_slice(&[value - 1.0, *value, value + 1.0]);
            }
            out.len()
        }
        fn for_each_step(&self, _channel: usize, _each: &mut dyn FnMut(usize, &[f32])) -> bool {
            false
        }
    }

    /// Two channels with a season of 24, noise that repeats nowhere near it, and holes.
    fn series(rows: usize) -> Series {
        let wave = |row: usize, noise: usize, size: f32| {
            let phase = row as f32 / 24.0 * std::f32::consts::TAU;
            if row % 97 == 13 { f32::NAN } else { 10.0 + size * phase.sin() + ((row * noise) % 1_009) as f32 / 500.0 }
        };
        Series {
            columns: vec!["a".into(), "b".into()],
            interval_ms: 600_000,
            start: None,
            values: vec![
                (0..rows).map(|row| wave(row, 7_919, 3.0)).collect(),
                (0..rows).map(|row| wave(row, 104_729, 30.0)).collect(),
            ],
        }
    }

    pub(crate) fn report_of_a_repeater() -> BacktestReport {
        run_on(&series(600), &Options { origins: 9, ..Options::default() })
    }

    fn run_on(series: &Series, options: &Options) -> BacktestReport {
        score(&mut Repeater::new(2, 24, 36), series, options, &Output::default()).unwrap()
    }

    #[test]
    fn a_streaming_seasonal_naive_scores_as_the_baseline_does() {
        let report = run_on(&series(600), &Options { horizons: vec![6, 24, 36], ..Options::default() });
        let naive = &report.baselines[1];
        assert_eq!(naive.0, "seasonal_naive");
        for (own, theirs) in report.horizons.iter().zip(&naive.1.horizons) {
            for (own, theirs) in [(own.up_to, theirs.up_to), (own.at_step, theirs.at_step)] {
                assert!(own.mae > 0.0);
                assert_eq!((own.mae, own.mse, own.rmse), (theirs.mae, theirs.mse, theirs.rmse));
                assert_eq!((own.smape, own.mase, own.count), (theirs.smape, theirs.mase, theirs.count));
            }
        }
        assert_eq!(report.curves[0].1, report.curves[2].1);
        // 485 - 36 places in the last 120 rows, each scored, holes left out.
        assert_eq!((report.test_start, report.origins, report.stride), (480, 85, 1));
        assert!(report.overall.count < 85 * 36 * 2 && report.overall.count > 84 * 35 * 2);
        assert!(report.examples.len() >= 10, "{}", report.examples.len());
        assert!(report.overall.coverage80.unwrap() > 0.2);
        assert!(naive.1.overall.coverage80.is_none());
    }

    #[test]
    fn the_future_changes_no_forecast() {
        let whole = series(600);
        let mut changed = whole.clone();
        for values in &mut changed.values {
            values[540..].fill(1e6);
        }
        // Only the first origin: what it is scored on ends before row 540.
        let options = Options { origins: 1, horizons: vec![24], ..Options::default() };
        let (before, after) = (run_on(&whole, &options), run_on(&changed, &options));
        assert_eq!((before.origins, before.examples[0].origin), (1, 480));
        assert_eq!(
            serde_json::to_value(&before).unwrap(),
            serde_json::to_value(&after).unwrap(),
            "every method's scores at the origin before the change"
        );
    }

    #[test]
    fn json_has_the_fields_that_scripts_rely_on() {
        let report = run_on(&series(600), &Options { origins: 9, ..Options::default() });
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["horizons"][0]["steps"], 6);
        for field in ["mse", "mae", "rmse", "smape", "mase", "wql", "coverage80"] {
            for scores in [
                &json["horizons"][0],
                &json["horizons"][0]["at_step"],
                &json["overall"],
                &json["baselines"]["last_value"]["horizons"][0],
                &json["baselines"]["mstl_ets"]["overall"],
                &json["channels"]["b"]["horizons"][1],
                &json["channels"]["a"]["baselines"]["drift"]["overall"],
            ] {
                let value = &scores[field];
                assert!(value.is_number() || (field == "coverage80" && value.is_null()), "{field} in {scores}");
            }
        }
        let table = report.table();
        assert!(table.contains("seasonal_naive") && table.contains("1 h") && table.contains('*'), "{table}");
    }

    #[test]
    fn origins_visit_every_phase() {
        assert_eq!(stride(15_433, 200, 144), 79);
        assert_eq!(stride(85, 200, 24), 1);
        assert_eq!(stride(1_000, 500, 24), 5);
        let phases: std::collections::HashSet<usize> = (0..144).map(|index| index * 79 % 144).collect();
        assert_eq!(phases.len(), 144);
    }

    #[test]
    fn horizons_fit_the_model() {
        assert_eq!(default_horizons(600_000, 144), [6, 36, 144]);
        assert_eq!(default_horizons(600_000, 100), [6, 36]);
        assert_eq!(default_horizons(3_600_000, 24), [1, 6, 24]);
        assert_eq!(default_horizons(86_400_000, 28), [1, 7, 28]);
        assert_eq!(default_horizons(20, 50), [1, 13, 50]);
    }

    #[test]
    fn refusals_name_both_sides() {
        let error = |series: &Series, options: &Options| {
            score(&mut Repeater::new(2, 24, 36), series, options, &Output::default()).unwrap_err().to_string()
        };
        assert_eq!(
            error(&series(100), &Options::default()),
            "found 20 held-out rows (of 100), expected at least the model's horizon of 36"
        );
        assert_eq!(
            error(&series(600), &Options { horizons: vec![37], ..Options::default() }),
            "found a horizon of 37 steps (6 h 10 min), expected at most the model's 36 (6 h)"
        );
        let hourly = Series { interval_ms: 3_600_000, ..series(600) };
        assert_eq!(
            error(&hourly, &Options::default()),
            "found a sample every 1 h in the data, expected every 10 min as in the model"
        );
        let one = series(600).select(&["a".to_owned()]).unwrap();
        assert!(error(&one, &Options::default()).contains("1 channels, expected 2"));
    }

    #[test]
    fn origins_of_the_warm_up_are_left_out_for_all() {
        let options = Options { test_fraction: 0.99, origins: 1_000, horizons: vec![36] };
        let report = run_on(&series(100), &options);
        assert_eq!((report.test_start, report.warming_up, report.origins), (1, 23, 41));
        let short = Options { origins: 1, ..options };
        let error = score(&mut Repeater::new(2, 24, 36), &series(100), &short, &Output::default()).unwrap_err();
        assert!(error.to_string().contains("still warming up"), "{error}");
    }
}
