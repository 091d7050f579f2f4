//! The report's two figures: forecasts beside what came, and error against time ahead.

use anyhow::{Result, bail};

use super::axis;
use super::canvas::{ACCENT, Anchor, Canvas, Frame, INK, LABEL, MUTED, OTHERS, WIDTH, picture};
use crate::backtest::{BacktestReport, Example, MODEL};

/// Forecasts of some channels beside what came: a row a channel, a column an origin (at most three).
///
/// # Errors
/// When the report holds no example of a channel.
pub fn forecasts(report: &BacktestReport, channels: &[usize]) -> Result<String> {
    const HEAD: f64 = 58.0;
    const ROW: f64 = 224.0;
    const COLUMNS: usize = 3;
    let height = HEAD + ROW * channels.len() as f64 + 6.0;
    let names: Vec<&str> = channels.iter().filter_map(|&index| report.columns.get(index)).map(String::as_str).collect();
    let title = format!("Forecasts of {} beside what was measured", names.join(", "));
    picture(WIDTH as u32, height as u32, &title, |canvas| {
        legend(canvas, report)?;
        for (row, &channel) in channels.iter().enumerate() {
            let examples: Vec<&Example> = report.examples.iter().filter(|example| example.channel == channel).collect();
            if examples.is_empty() {
                bail!("no forecast of channel {channel} to draw");
            }
            // Evenly from those kept.
            let columns = examples.len().min(COLUMNS);
            let chosen: Vec<&Example> =
                (0..columns).map(|column| examples[(2 * column + 1) * examples.len() / (2 * columns)]).collect();
            let up = value_range(&chosen, report.period);
            let top = HEAD + ROW * row as f64;
            let left = 52.0;
            let gap = 22.0;
            let width = (WIDTH - left - 10.0 - gap * (columns as f64 - 1.0)) / columns as f64;
            for (column, example) in chosen.into_iter().enumerate() {
                let x = left + (width + gap) * column as f64;
                let frame = Frame {
                    x: (x, x + width),
                    y: (top + 40.0, top + ROW - 30.0),
                    over: (-(shown_past(example, report.period) as f64), example.actual.len() as f64),
                    up,
                };
                if column == 0 {
                    canvas.text(&channel_title(report, channel), (left, top + 10.0), 13.5, INK, Anchor::Start, true)?;
                }
                panel(canvas, report, example, &frame, column == 0)?;
            }
        }
        Ok(())
    })
}

/// A channel's name and unit.
pub(super) fn channel_title(report: &BacktestReport, channel: usize) -> String {
    let name = report.columns.get(channel).map_or("", String::as_str);
    match report.units.get(channel).filter(|unit| !unit.is_empty()) {
        Some(unit) => format!("{name}, {unit}"),
        None => name.to_owned(),
    }
}

fn legend(canvas: &Canvas, report: &BacktestReport) -> Result<()> {
    let y = 22.0;
    let mut x = 52.0;
    let has_band = report.examples.iter().any(|example| example.band.is_some());
    canvas.line([(x, y), (x + 22.0, y)], INK, 1.6)?;
    canvas.text("measured", (x + 29.0, y), LABEL, INK, Anchor::Start, false)?;
    x += 108.0;
    canvas.line([(x, y), (x + 22.0, y)], ACCENT, 2.2)?;
    canvas.text("forecast (median)", (x + 29.0, y), LABEL, ACCENT, Anchor::Start, false)?;
    x += 158.0;
    if has_band {
        canvas.band(&[(x, y - 6.0, y + 6.0), (x + 22.0, y - 6.0, y + 6.0)], ACCENT, 0.18)?;
        canvas.text("80 % band", (x + 29.0, y), LABEL, ACCENT, Anchor::Start, false)?;
    }
    Ok(())
}

/// One season of the past beside the forecast, and never more than twice the forecast.
fn shown_past(example: &Example, period: usize) -> usize {
    example.past.len().min(period).min(2 * example.actual.len()).max(1).min(example.past.len())
}

fn value_range(examples: &[&Example], period: usize) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut take = |value: f32| {
        if value.is_finite() {
            low = low.min(f64::from(value));
            high = high.max(f64::from(value));
        }
    };
    for example in examples {
        example.past[example.past.len() - shown_past(example, period)..].iter().copied().for_each(&mut take);
        example.actual.iter().chain(&example.median).copied().for_each(&mut take);
        for &(from, to) in example.band.iter().flatten() {
            take(from);
            take(to);
        }
    }
    let room = ((high - low) * 0.06).max(1e-6 * high.abs()).max(1e-9);
    if low.is_finite() { (low - room, high + room) } else { (0.0, 1.0) }
}

fn panel(canvas: &Canvas, report: &BacktestReport, example: &Example, frame: &Frame, labelled: bool) -> Result<()> {
    let at = |step: usize, value: f32| frame.at(step as f64, f64::from(value));
    canvas.scale(frame, 6, labelled)?;
    let interval = report.interval_ms as i64;
    let span = (frame.over.0 as i64 * interval, frame.over.1 as i64 * interval);
    for (mark, label) in axis::times(span.0, span.1, example.time, 5) {
        let (x, _) = frame.at(mark as f64 / interval as f64, frame.up.0);
        canvas.line([(x, frame.y.1), (x, frame.y.1 + 4.0)], MUTED, 1.0)?;
        // A label that would run out of its panel is left out.
        if x > frame.x.0 + 14.0 && x < frame.x.1 - 12.0 {
            canvas.text(&label, (x, frame.y.1 + 15.0), LABEL, MUTED, Anchor::Middle, false)?;
        }
    }
    canvas.line([(frame.x.0, frame.y.1), (frame.x.1, frame.y.1)], MUTED, 1.0)?;

    // The forecast's first value is for the row of the origin, one step after the last that was seen.
    let (now, _) = frame.at(-1.0, frame.up.0);
    canvas.dashes((now, frame.y.0), (now, frame.y.1), MUTED)?;
    if let Some(time) = example.time {
        canvas.text(&axis::moment(time), (now + 5.0, frame.y.0 - 8.0), LABEL, MUTED, Anchor::Start, false)?;
    }
    if let Some(band) = &example.band {
        let outline: Vec<(f64, f64, f64)> = band
            .iter()
            .enumerate()
            .map(|(step, &(low, high))| {
                let (x, low) = at(step, low);
                (x, low, at(step, high).1)
            })
            .collect();
        canvas.band(&outline, ACCENT, 0.18)?;
    }
    let shown = shown_past(example, report.period);
    let past = example.past[example.past.len() - shown..]
        .iter()
        .enumerate()
        .map(|(row, &value)| frame.at(row as f64 - shown as f64, f64::from(value)));
    let came = example.actual.iter().enumerate().map(|(step, &value)| at(step, value));
    canvas.line(past.chain(came), INK, 1.4)?;
    canvas.line(example.median.iter().enumerate().map(|(step, &value)| at(step, value)), ACCENT, 2.2)
}

/// MASE at each step ahead, for the model and every baseline, over the logarithm of the time ahead.
///
/// # Errors
/// Whatever drawing refuses.
pub fn error_curves(report: &BacktestReport) -> Result<String> {
    const HEIGHT: f64 = 380.0;
    let horizon = report.curves.first().map_or(1, |(_, curve)| curve.len()).max(1);
    let values = report.curves.iter().flat_map(|(_, curve)| curve.iter().copied()).filter(|value| value.is_finite());
    let highest = values.fold(0.1, f64::max);
    let frame = Frame {
        x: (52.0, WIDTH - 172.0),
        y: (46.0, HEIGHT - 56.0),
        over: (0.0, (horizon as f64).ln().max(1e-9)),
        up: (0.0, highest * 1.04),
    };
    picture(WIDTH as u32, HEIGHT as u32, "Error by time ahead, for Flowcast and every baseline", |canvas| {
        canvas.text("MASE, lower is better", (frame.x.0, 20.0), 13.5, INK, Anchor::Start, true)?;
        canvas.scale(&frame, 5, true)?;
        for (steps, label) in axis::ahead(horizon, report.interval_ms, 1.7) {
            let (x, y) = frame.at((steps as f64).ln(), 0.0);
            canvas.line([(x, y), (x, y + 4.0)], MUTED, 1.0)?;
            canvas.text(&label, (x, y + 16.0), LABEL, MUTED, Anchor::Middle, false)?;
        }
        canvas.line([(frame.x.0, frame.y.1), (frame.x.1, frame.y.1)], MUTED, 1.0)?;
        let middle = (frame.x.0 + frame.x.1) / 2.0;
        canvas.text("time ahead", (middle, HEIGHT - 16.0), LABEL, MUTED, Anchor::Middle, false)?;

        // The model last, over the others.
        let mut ends = Vec::new();
        for (index, (name, curve)) in report.curves.iter().enumerate().rev() {
            let (color, width) = if name == MODEL { (ACCENT, 2.8) } else { (OTHERS[(index - 1) % OTHERS.len()], 1.6) };
            let points: Vec<(f64, f64)> =
                curve.iter().enumerate().map(|(step, &value)| frame.at(((step + 1) as f64).ln(), value)).collect();
            if let Some(&end) = points.last().filter(|point| point.1.is_finite()) {
                canvas.dot(end, if name == MODEL { 3.5 } else { 2.5 }, color)?;
                ends.push((end.1, name.clone(), color));
            }
            canvas.line(points, color, width)?;
        }
        ends.sort_by(|left, right| left.0.total_cmp(&right.0));
        let places = apart(&ends.iter().map(|end| end.0).collect::<Vec<_>>(), 16.0, frame.y);
        for ((y, name, color), place) in ends.into_iter().zip(places) {
            let x = frame.x.1;
            canvas.line([(x + 5.0, y), (x + 16.0, place)], color, 0.8)?;
            canvas.text(&name.replace('_', " "), (x + 20.0, place), LABEL, color, Anchor::Start, name == MODEL)?;
        }
        Ok(())
    })
}

/// Ascending places moved as little as it takes to be `distance` apart, within `limits` as far as there is room.
fn apart(wanted: &[f64], distance: f64, limits: (f64, f64)) -> Vec<f64> {
    let mut places: Vec<f64> = wanted.to_vec();
    for _ in 0..100 {
        for index in 1..places.len() {
            let overlap = distance - (places[index] - places[index - 1]);
            if overlap > 0.0 {
                places[index - 1] -= overlap / 2.0;
                places[index] += overlap / 2.0;
            }
        }
        if let Some(first) = places.first_mut() {
            *first = first.max(limits.0);
        }
        if let Some(last) = places.last_mut() {
            *last = last.min(limits.1);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_order() {
        let places = apart(&[100.0, 101.0, 102.0, 300.0], 16.0, (0.0, 400.0));
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 15.9), "{places:?}");
        assert_eq!(places[3], 300.0);
        assert!((places[1] - 101.0).abs() < 0.1);
    }
}
