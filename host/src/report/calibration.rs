//! Whether forecasts say how sure they are: shares below each quantile, and coverage of the band over time.

use anyhow::Result;

use super::axis;
use super::canvas::{Anchor, Frame, INK, LABEL, LINES, MUTED, RULE, WIDTH, picture};
use super::collect::Diagnostics;
use super::shown;
use crate::backtest::BacktestReport;

const LEFT: f64 = 52.0;

/// Share of values below each quantile against its level: a panel for each group of steps ahead, a line for each channel.
///
/// # Errors
/// Whatever drawing refuses.
pub fn reliability(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEIGHT: f64 = 306.0;
    const GAP: f64 = 26.0;
    let panels = found.groups.len() as f64;
    let width = ((WIDTH - LEFT - 12.0 - GAP * (panels - 1.0)) / panels).min(220.0);
    picture(WIDTH as u32, HEIGHT as u32, "Share of values below each quantile against its level", |canvas| {
        let channels = shown(found);
        let names: Vec<_> = channels.zip(LINES).map(|(index, color)| (report.columns[index].clone(), color)).collect();
        canvas.legend((LEFT, 16.0), &names)?;
        for (group, &(first, last)) in found.groups.iter().enumerate() {
            let x = LEFT + (width + GAP) * group as f64;
            let frame = Frame { x: (x, x + width), y: (62.0, HEIGHT - 44.0), over: (0.0, 1.0), up: (0.0, 1.0) };
            canvas.text(&span(report, first, last), (x, 46.0), 13.0, INK, Anchor::Start, true)?;
            canvas.rules(&frame, &axis::shares(0.0, 1.0, 0.2), group == 0)?;
            let levels: Vec<(f64, String)> =
                found.levels.iter().map(|&level| (f64::from(level), axis::share(f64::from(level)))).collect();
            for (level, _) in &levels {
                canvas.line([frame.at(*level, 0.0), frame.at(*level, 1.0)], RULE, 1.0)?;
            }
            canvas.base(&frame, &levels, true)?;
            canvas.dashes(frame.at(0.0, 0.0), frame.at(1.0, 1.0), MUTED)?;
            for (channel, color) in found.channels[shown(found)].iter().zip(LINES) {
                let points = || {
                    let shares = found.levels.iter().zip(&channel.below[group]);
                    shares.map(|(level, share)| frame.at(f64::from(*level), *share))
                };
                canvas.line(points(), color, 1.8)?;
                for point in points().filter(|point| point.1.is_finite()) {
                    canvas.dot(point, 3.0, color)?;
                }
            }
        }
        let middle = LEFT + (panels * (width + GAP) - GAP) / 2.0;
        canvas.text("the quantile's level", (middle, HEIGHT - 10.0), LABEL, MUTED, Anchor::Middle, false)
    })
}

/// Rolling coverage of the band over the held-out time: a panel for each group of steps ahead, a line for each channel.
///
/// # Errors
/// Whatever drawing refuses.
pub fn coverage(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEAD: f64 = 30.0;
    const ROW: f64 = 118.0;
    let height = HEAD + ROW * found.groups.len() as f64 + 26.0;
    let promised = found.promised();
    picture(WIDTH as u32, height as u32, "Share of values within the band over time", |canvas| {
        let names: Vec<_> =
            shown(found).zip(LINES).map(|(index, color)| (report.columns[index].clone(), color)).collect();
        canvas.legend((LEFT, 16.0), &names)?;
        // From the least that was seen, that a steady band does not look like noise, nor an unsteady one steady.
        let all = found.channels[shown(found)].iter().flat_map(|channel| channel.coverage.iter().flatten());
        let least = all.copied().filter(|share| share.is_finite()).fold(2.0 * promised - 1.0, f64::min);
        let low = ((least * 10.0).floor() / 10.0).max(0.0);
        for (group, &(first, last)) in found.groups.iter().enumerate() {
            let top = HEAD + ROW * group as f64;
            let frame = Frame {
                x: (LEFT, WIDTH - 12.0),
                y: (top + 26.0, top + ROW - 8.0),
                over: (found.test.start as f64, found.test.end as f64),
                up: (low, 1.0),
            };
            canvas.text(&span(report, first, last), (LEFT, top + 12.0), 13.0, INK, Anchor::Start, true)?;
            canvas.rules(&frame, &axis::shares(low, 1.0, if low < 0.5 { 0.25 } else { 0.1 }), true)?;
            canvas.dashes(frame.at(frame.over.0, promised), frame.at(frame.over.1, promised), INK)?;
            canvas.base(&frame, &axis::rows(report, found, &found.test, 7), group + 1 == found.groups.len())?;
            for (channel, color) in found.channels[shown(found)].iter().zip(LINES) {
                let shares = &channel.coverage[group];
                let wide = found.test.len() as f64 / shares.len() as f64;
                let points = shares
                    .iter()
                    .enumerate()
                    .map(|(part, share)| frame.at(frame.over.0 + (part + 1) as f64 * wide, *share));
                canvas.line(points, color, 1.6)?;
            }
        }
        Ok(())
    })
}

/// A group's steps ahead.
pub(super) fn span(report: &BacktestReport, first: usize, last: usize) -> String {
    if first == last {
        format!("{} ahead", report.ahead(first))
    } else {
        format!("{} to {} ahead", report.ahead(first), report.ahead(last))
    }
}
