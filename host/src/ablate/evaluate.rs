//! Errors of a network over a whole stream: from the first row on, as a device would see it, whatever its mixer.
//!
//! The device's own code runs Flow-Attention alone, so every variant is measured by the network that trained, in its
//! sequence form; for Flow-Attention both agree (see the test). An origin is a sample that is there. What counts are the
//! steps with weights of their own, the knots: each of the first 24, then ever fewer.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::Tensor;
use flowcast_core::format::Header;

use crate::features::{Features, Parts};
use crate::model::{Network, Positions};
use crate::ridge::Aim;
use crate::train::batch::Seen;
use crate::train::loss::importance;
use crate::train::validation::{Errors, Validation};

/// Numbers that are forecast at once, about.
const FORECASTS: usize = 4_000_000;

/// A channel's stream up to the last origin.
struct Stream {
    /// The origins' rows.
    origins: Vec<usize>,
    /// What the readout sees there, and at least once.
    seen: Seen,
    /// After each origin, `[origins][d_model]`, and at least one.
    hidden: Tensor,
}

/// The origins of `rows`, at most about `most` of each channel, their futures within `rows`.
fn streams(
    network: &Network,
    header: &Header,
    features: &Features,
    rows: &Range<usize>,
    most: usize,
) -> Result<Vec<Stream>> {
    let horizon = usize::from(header.horizon);
    ensure!(rows.len() > horizon, "found {} rows, expected more than the horizon's {horizon}", rows.len());
    let last = rows.end - horizon;
    // Odd, that no phase of an even period is left out.
    let stride = ((last - rows.start) / most).max(1) | 1;
    let stream = |channel: usize| -> Result<Stream> {
        let parts = Parts { ring: header.ring, mixed: header.mixed, ..features.every_part() };
        let (mut tokens, mut length) = (Vec::new(), 0);
        let (mut origins, mut wanted, mut seen) = (Vec::new(), Vec::new(), Seen::default());
        let mut first = None;
        features.visit(channel, 0, last, |after| {
            let row = after.row;
            let (vector, level) = features.token(after);
            Network::token(header, &vector, &level, &mut tokens);
            if row >= rows.start && (row - rows.start).is_multiple_of(stride) {
                origins.push(row);
                wanted.push(length as u32);
                seen.push(&features.readout(channel, after, parts));
            } else if length == 0 {
                first = Some(features.readout(channel, after, parts));
            }
            length += 1;
            true
        });
        // A channel without any origin lends its first sample, of which `evaluate` counts nothing.
        if let (0, Some(first)) = (seen.len(), first) {
            wanted.push(0);
            seen.push(&first);
        }
        ensure!(seen.len() > 0, "channel {channel} has no sample before row {last}");
        let tokens = Tensor::from_vec(tokens, (1, length, header.token_features()), network.device())?;
        let hidden = network.for_length(length)?.hidden(&tokens)?;
        let wanted = Tensor::new(wanted, network.device())?;
        Ok(Stream { origins, seen, hidden: hidden.index_select(&wanted, 0)?.detach() })
    };
    (0..header.targets.into()).map(stream).collect()
}

/// Where the network forecasts from: origins `part` of every channel, the last one again for a channel that has fewer.
fn positions(network: &Network, streams: &[Stream], part: &Range<usize>, knots: usize) -> Result<(Tensor, Positions)> {
    let (mut seen, mut hidden, mut offset) = (Seen::default(), Vec::new(), 0);
    for stream in streams {
        for origin in part.clone() {
            let origin = origin.min(stream.seen.len() - 1);
            seen.push_from(&stream.seen, origin);
            hidden.push((offset + origin) as u32);
        }
        offset += stream.seen.len();
    }
    let states: Vec<&Tensor> = streams.iter().map(|stream| &stream.hidden).collect();
    Ok((Tensor::cat(&states, 0)?, seen.into_positions(hidden, knots, network.device())?))
}

/// Errors over `rows`, all targets and knots alike, and each target's mean absolute error, in deviations.
///
/// `error` is the linear path's, `[targets][knots]`; about `most` origins of each channel count.
///
/// # Errors
/// `rows` are no more than the horizon, or a channel has no sample.
pub fn evaluate(
    network: &Network,
    header: &Header,
    features: &Features,
    error: &[Vec<f32>],
    rows: &Range<usize>,
    most: usize,
) -> Result<(Validation, Vec<f64>)> {
    let streams = streams(network, header, features, rows, most)?;
    let knots = features.knots();
    let quantiles = header.quantiles.len();
    let longest = streams.iter().map(|stream| stream.origins.len()).max().unwrap_or(0);
    let chunk = (FORECASTS / (streams.len() * knots.len() * quantiles)).max(1);
    let importance = importance(Aim::Median, knots);
    let mut errors = Errors::new(&header.quantiles, streams.len());
    for start in (0..longest).step_by(chunk) {
        let part = start..longest.min(start + chunk);
        let (hidden, positions) = positions(network, &streams, &part, knots.len())?;
        let forecasts = network.forecast(&hidden, &positions)?.flatten_all()?.to_vec1::<f32>()?;
        let mut of_position = forecasts.chunks_exact(knots.len() * quantiles);
        for (channel, stream) in streams.iter().enumerate() {
            let samples = features.samples(channel);
            for (origin, forecast) in part.clone().zip(&mut of_position) {
                let Some(row) = stream.origins.get(origin) else { continue };
                let measures = error[channel].iter().copied().zip(importance.iter().copied());
                for ((knot, values), measure) in knots.iter().zip(forecast.chunks_exact(quantiles)).zip(measures) {
                    let came = samples[row + usize::from(*knot)];
                    if came.is_nan() {
                        continue;
                    }
                    // As the device: sorted, that they never cross.
                    let mut values = values.to_vec();
                    values.sort_by(f32::total_cmp);
                    errors.add(channel, &values, came, measure);
                }
            }
        }
    }
    Ok(errors.mean())
}
