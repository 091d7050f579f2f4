//! Flowcast as NAB's detector: trained on a series's probation, then the whole series through the device's code.
//!
//! The model is the closed form of the smallest preset, one step ahead, with the period that the probation holds enough
//! of (an hour, mostly: a probation of 600 rows at 5 minutes is two days). Nothing is chosen by series and no label is
//! read.

use anyhow::Result;
use flowcast_core::presets::PRESETS;

use super::corpus::Labelled;
use super::scoring::probation;
use crate::config::ChannelConfig;
use crate::data::Series;
use crate::forecaster;
use crate::output::Output;
use crate::protocol::Protocol;
use crate::train::setup::{Adapt, Wishes, default_period, prepare};
use crate::train::{Options, train};

/// Periods to fall back on, where the probation is too short for a season.
const SHORTER_PERIODS: [u32; 3] = [12, 6, 2];
/// What counts as a faulty reading lies so many widths of the probation's readings outside them: a probation is too
/// short to know a channel's range.
const MARGIN: f32 = 10.0;

/// What the detector made of a series.
#[derive(Debug, Clone)]
pub struct Detection {
    /// Samples of the season; none where the probation stands still and no model can be trained.
    pub period: Option<u32>,
    /// 1 − p of each row that is news (see [`flowcast_core::anomaly::Anomaly::news`]), else 0.
    pub scores: Vec<f64>,
}

/// Trains on the probation and streams the series.
///
/// # Errors
/// The model cannot be trained or exported.
pub fn detect(labelled: &Labelled) -> Result<Detection> {
    let values: Vec<f32> = labelled.values.iter().map(|value| *value as f32).collect();
    let seen = probation(values.len());
    let known = Series {
        columns: vec!["value".to_owned()],
        interval_ms: labelled.interval_ms,
        start: None,
        values: vec![values[..seen].to_vec()],
    };
    let wishes = |period| Wishes {
        periods: vec![period],
        horizon: Some(1),
        preset: PRESETS[0],
        targets: 1,
        known: 0,
        adapt: Adapt::Off,
        protocol: Protocol::Tail { test_fraction: 0.0 },
    };
    let periods = [default_period(known.interval_ms, seen)].into_iter().chain(SHORTER_PERIODS);
    let Some(wishes) = periods.map(wishes).find(|wishes| prepare(&known, wishes).is_ok()) else {
        return Ok(Detection { period: None, scores: vec![0.0; values.len()] });
    };
    let period = wishes.periods.first().copied();
    let options = Options::closed_form(wishes);
    let (mut model, _) = train(&known, &options, &Output::default())?;
    model.config.channels.iter_mut().for_each(widen);
    let bytes = model.to_flow()?;
    let mut forecaster = forecaster::open(&bytes)?;
    let scores = values.iter().map(|value| {
        forecaster.observe(&[*value]);
        forecaster.anomaly(0).map_or(0.0, |anomaly| 1.0 - (-f64::from(anomaly.news)).exp())
    });
    Ok(Detection { period, scores: scores.collect() })
}

/// Takes what a short past has not shown for a reading all the same.
fn widen(channel: &mut ChannelConfig) {
    let margin = MARGIN * (channel.valid_max - channel.valid_min);
    channel.valid_min -= margin;
    channel.valid_max += margin;
    channel.lowest = channel.valid_min;
    channel.highest = channel.valid_max;
    channel.stuck_limit = 0;
}
