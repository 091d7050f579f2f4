//! The head's first spread and quantiles, from what the closed form misses.

use flowcast_core::format::Header;

use super::setup::Split;
use crate::features::Features;
use crate::ridge::LinearPath;

/// Bounds of the spread: far within the model file's range.
const MOST_SPREAD: f32 = 100.0;
const LEAST_SPREAD: f32 = 1e-3;
/// Origins of the closed form's residuals that set the head's first quantiles.
const RESIDUAL_ORIGINS: usize = 2000;

/// The head's spread, `[targets][knots]`, and first bias, `[knots][quantiles]`: quantiles of the closed form's residual
/// over scale and spread.
///
/// The head is shared, so what is a channel's own goes into its spread: each knot's is set to the width of that
/// channel's residuals, and only their shapes are pooled. Otherwise one channel that mostly stands still, whose scale is
/// at its floor, would widen every other's intervals.
pub(crate) fn residual_quantiles(
    header: &Header,
    features: &Features,
    linear: &LinearPath,
    split: &Split,
) -> (Vec<f32>, Vec<f32>) {
    let (horizon, targets) = (usize::from(header.horizon), usize::from(header.targets));
    let (knots, width, aligned) = (features.knots(), header.readout_features(), header.step_features());
    // The validation rows too: what the fit has seen, it misses by less.
    let rows = split.training.start..split.validation.end - horizon;
    let stride = (rows.len() * targets / RESIDUAL_ORIGINS).max(1);
    // Where no residual is known, the error itself.
    let mut spread: Vec<f32> =
        linear.error.concat().iter().map(|error| error.clamp(LEAST_SPREAD, MOST_SPREAD)).collect();
    let mut pooled: Vec<Vec<f32>> = vec![Vec::new(); knots.len()];
    for channel in 0..targets {
        let samples = features.samples(channel);
        let own = if linear.own_readouts { channel * knots.len() * width } else { 0 };
        let weights = &linear.readout[own..own + knots.len() * width];
        let mut residuals: Vec<Vec<f32>> = vec![Vec::new(); knots.len()];
        for row in rows.clone().step_by(stride) {
            features.visit(channel, row, row + 1, |after| {
                let readout = features.readout(channel, after, linear.parts);
                let Some(level) = readout.level else { return false };
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                let reads = readout.aligned.chunks_exact(aligned).zip(weights.chunks_exact(width));
                for ((residuals, knot), (read, weights)) in residuals.iter_mut().zip(knots).zip(reads) {
                    let sample = samples[row + usize::from(*knot)];
                    let forecast = dot(read, weights) + dot(&readout.standing, &weights[aligned..]);
                    if !sample.is_nan() {
                        residuals.push((sample - level.location - forecast) / level.scale);
                    }
                }
                false
            });
        }
        let spread = &mut spread[channel * knots.len()..(channel + 1) * knots.len()];
        for ((residuals, spread), pooled) in residuals.iter_mut().zip(spread).zip(&mut pooled) {
            residuals.sort_by(f32::total_cmp);
            if let (Some(low), Some(high)) = (quantile(residuals, 0.1), quantile(residuals, 0.9)) {
                // A normal error's 10 % and 90 % quantiles lie 2.56 deviations apart.
                *spread = ((high - low) / 2.56).clamp(LEAST_SPREAD, MOST_SPREAD);
            }
            pooled.extend(residuals.iter().map(|residual| residual / *spread));
        }
    }
    let mut bias = Vec::with_capacity(knots.len() * header.quantiles.len());
    for residuals in &mut pooled {
        residuals.sort_by(f32::total_cmp);
        for level in &header.quantiles {
            // The median stays the closed form's own forecast.
            let value = if *level == 0.5 { None } else { quantile(residuals, *level) };
            bias.push(value.unwrap_or(0.0));
        }
    }
    (spread, bias)
}

/// A quantile of ascending values.
fn quantile(ascending: &[f32], level: f32) -> Option<f32> {
    ascending.get((ascending.len().saturating_sub(1) as f32 * level).round() as usize).copied()
}
