//! Which past days the seasonal attention reads: the competition of days, row by row of days that were forecast.

use std::ops::Range;

use anyhow::Result;

use super::axis;
use super::canvas::{Anchor, Canvas, Frame, INK, LABEL, MUTED, RULE, WIDTH, picture};
use super::collect::{Channel, Diagnostics};
use super::figure::channel_title;
use super::flow::{CHANNELS, high, scale, shade};
use super::{room, shown};
use crate::backtest::BacktestReport;
use crate::duration::show_ms;

const LEFT: f64 = 64.0;
const SERIES: f64 = 64.0;
/// Days that were forecast, at most: the last ones.
const FORECAST: usize = 28;
/// Days before each of them.
const READ: usize = 56;
/// Pixels of a day, at most.
const SIDE: f64 = 14.0;

/// Days, that is periods of the first season, from where one naturally begins; day 0 is the first row's.
struct Days {
    begin_ms: u64,
    period_ms: u64,
    interval_ms: u64,
    forecast: Range<usize>,
    read: Range<usize>,
}

impl Days {
    fn new(report: &BacktestReport, found: &Diagnostics) -> Self {
        let period_ms = period_ms(report, found);
        let (begin_ms, _) = axis::phases(period_ms, found.start);
        let mut days = Self { begin_ms, period_ms, interval_ms: report.interval_ms, forecast: 0..0, read: 0..0 };
        let end = days.of(found.test.end.saturating_sub(1)) + 1;
        let begin = days.of(found.test.start).max(end.saturating_sub(FORECAST));
        days.forecast = begin..end;
        days.read = begin.saturating_sub(READ)..end;
        days
    }

    /// A row's day.
    fn of(&self, row: usize) -> usize {
        ((self.begin_ms + row as u64 * self.interval_ms) / self.period_ms) as usize
    }

    /// The row that a day begins at, which may be none.
    fn row(&self, day: usize) -> f64 {
        (day as f64 * self.period_ms as f64 - self.begin_ms as f64) / self.interval_ms as f64
    }

    /// The rows of some days, as far as there are any.
    fn rows(&self, days: &Range<usize>) -> Range<usize> {
        self.row(days.start).max(0.0).ceil() as usize..self.row(days.end).ceil() as usize
    }
}

fn period_ms(report: &BacktestReport, found: &Diagnostics) -> u64 {
    u64::from(found.seasons.first().map_or(1, |season| season.period)) * report.interval_ms
}

/// How to read the figure.
pub fn reading(report: &BacktestReport, found: &Diagnostics) -> String {
    let reading = "A row for each of the last days that were forecast, a column for each day before it: the forecast reads more of \
                   the orange days than a plain mean of the past would, and less of the blue ones. Rows that differ show that \
                   it tells kinds of days apart; the line above is what was measured.";
    match period_ms(report, found) {
        86_400_000 => reading.to_owned(),
        period_ms => format!("{reading} A day is the season here, {}.", show_ms(period_ms)),
    }
}

/// A map for each channel, under the series: a row a day that was forecast, a column a day that was read.
///
/// # Errors
/// Whatever drawing refuses.
pub fn days(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEAD: f64 = 40.0;
    let days = Days::new(report, found);
    let channels: Vec<usize> =
        shown(found).filter(|index| found.channels[*index].passes.is_some()).take(CHANNELS).collect();
    let side = ((WIDTH - LEFT - 12.0) / days.read.len() as f64).floor().clamp(1.0, SIDE);
    let map = side * days.forecast.len() as f64;
    let block = 24.0 + SERIES + 8.0 + map + 44.0;
    let height = HEAD + block * channels.len() as f64;
    let logs: Vec<Vec<Vec<f64>>> = channels
        .iter()
        .filter_map(|index| found.channels[*index].passes.as_ref())
        .map(|passes| passes.by_day(|row| days.of(row), days.forecast.clone(), days.read.clone()))
        .collect();
    let farthest = f64::from(high(logs.iter().flatten().flatten().map(|log| log.abs() as f32), 0.95).max(0.01));
    let title = "How much of each past day the seasonal attention reads for each forecast day";
    picture(WIDTH as u32, height as u32, title, |canvas| {
        scale(canvas, (LEFT, 14.0), "against an even share", farthest)?;
        for (place, (index, logs)) in channels.iter().zip(&logs).enumerate() {
            let top = HEAD + block * place as f64;
            canvas.text(&channel_title(report, *index), (LEFT, top + 10.0), 13.0, INK, Anchor::Start, true)?;
            let over = (days.row(days.read.start), days.row(days.read.end));
            let x = (LEFT, LEFT + side * days.read.len() as f64);
            measured(canvas, &found.channels[*index], (x, (top + 24.0, top + 24.0 + SERIES), over))?;
            let y = top + 24.0 + SERIES + 8.0;
            // The first day on top.
            let up = (days.forecast.end as f64, days.forecast.start as f64);
            let frame = Frame { x, y: (y, y + map), over, up };
            for (day, logs) in days.forecast.clone().zip(logs) {
                let y = frame.at(over.0, day as f64).1;
                canvas.line([(x.0, y + side - 0.5), (x.1, y + side - 0.5)], RULE, 1.0)?;
                row(canvas, (x.0, y, side), logs, farthest)?;
            }
            for (mark, label) in axis::rows(report, found, &days.rows(&days.forecast), 7) {
                let (_, y) = frame.at(over.0, days.of(mark.round() as usize) as f64 + 0.5);
                canvas.text(&label, (LEFT - 8.0, y), LABEL, MUTED, Anchor::End, false)?;
            }
            canvas.base(&frame, &axis::rows(report, found, &days.rows(&days.read), 14), true)?;
        }
        Ok(())
    })
}

type Edges = (f64, f64);

/// What the days were like: the mean of each pass.
fn measured(canvas: &Canvas, channel: &Channel, (x, y, over): (Edges, Edges, Edges)) -> Result<()> {
    let passes = channel.passes.iter().flat_map(|passes| passes.bins().iter().flatten());
    let mut means: Vec<(usize, f64)> = passes.map(|pass| (pass.row, pass.mean)).collect();
    means.retain(|(row, _)| (over.0..over.1).contains(&(*row as f64)));
    means.sort_unstable_by_key(|(row, _)| *row);
    let frame = Frame { x, y, over, up: room(means.iter().map(|(_, mean)| *mean)) };
    canvas.scale(&frame, 3, true)?;
    canvas.line(means.into_iter().map(|(row, mean)| frame.at(row as f64, mean)), INK, 0.8)
}

/// A row of days as tiles; equal neighbours are one.
fn row(canvas: &Canvas, (left, top, side): (f64, f64, f64), logs: &[f64], farthest: f64) -> Result<()> {
    let shade_of = |log: &f64| log.is_finite().then(|| shade(*log, farthest));
    let mut x = left;
    for run in logs.chunk_by(|a, b| shade_of(a) == shade_of(b)) {
        let end = x + side * run.len() as f64;
        if let Some((color, opacity)) = shade_of(&run[0]).filter(|shade| shade.1 > 0.0) {
            canvas.tile((x, top), (end, top + side - 1.0), color, opacity)?;
        }
        x = end;
    }
    Ok(())
}
