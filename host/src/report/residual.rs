//! Residuals over time beside the half widths of the band.

use anyhow::Result;

use super::axis;
use super::canvas::{ACCENT, Anchor, Frame, INK, LABEL, MUTED, WARM, WIDTH, picture};
use super::collect::{Diagnostics, Spread};
use super::figure::channel_title;
use super::shown;
use crate::backtest::BacktestReport;

/// A row a channel, a column for the next step and one for the last.
///
/// # Errors
/// Whatever drawing refuses.
pub fn residuals(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEAD: f64 = 34.0;
    const ROW: f64 = 176.0;
    const LEFT: f64 = 56.0;
    const GAP: f64 = 60.0;
    let height = HEAD + ROW * shown(found).len() as f64 + 6.0;
    let columns = found.leads.len() as f64;
    let width = (WIDTH - LEFT - 12.0 - GAP * (columns - 1.0)) / columns;
    picture(WIDTH as u32, height as u32, "Residuals over time and the band's half widths", |canvas| {
        let y = 16.0;
        let promised = axis::share(found.promised());
        canvas.tile((LEFT, y - 6.0), (LEFT + 18.0, y + 6.0), ACCENT, 0.45)?;
        canvas.text(&format!("inner {promised} of residuals"), (LEFT + 24.0, y), LABEL, INK, Anchor::Start, false)?;
        canvas.tile((LEFT + 190.0, y - 6.0), (LEFT + 208.0, y + 6.0), ACCENT, 0.16)?;
        canvas.text("all residuals", (LEFT + 214.0, y), LABEL, INK, Anchor::Start, false)?;
        canvas.line([(LEFT + 320.0, y), (LEFT + 338.0, y)], WARM, 2.0)?;
        canvas.text("the band's half widths as forecast", (LEFT + 344.0, y), LABEL, INK, Anchor::Start, false)?;
        for (row, index) in shown(found).enumerate() {
            for (column, &lead) in found.leads.iter().enumerate() {
                let parts = &found.channels[index].residuals[column];
                let x = LEFT + (width + GAP) * column as f64;
                let top = HEAD + ROW * row as f64;
                let frame = Frame {
                    x: (x, x + width),
                    y: (top + 30.0, top + ROW - 26.0),
                    over: (0.0, parts.len() as f64),
                    up: range(parts),
                };
                let title = format!("{}, {} ahead", channel_title(report, index), report.ahead(lead));
                canvas.text(&title, (x, top + 14.0), 13.0, INK, Anchor::Start, true)?;
                canvas.scale(&frame, 5, true)?;
                let rows = Frame { over: (found.test.start as f64, found.test.end as f64), ..frame };
                canvas.base(&rows, &axis::rows(report, found, &found.test, 7), true)?;
                for (part, spread) in parts.iter().enumerate() {
                    let Some(spread) = spread else { continue };
                    for ((low, high), opacity) in [(spread.extremes, 0.16), (spread.quantiles, 0.45)] {
                        let (left, bottom) = frame.at(part as f64, low.clamp(frame.up.0, frame.up.1));
                        let (right, top) = frame.at(part as f64 + 1.0, high.clamp(frame.up.0, frame.up.1));
                        canvas.tile((left, top), (right, bottom.max(top + 0.5)), ACCENT, opacity)?;
                    }
                }
                canvas.line([frame.at(0.0, 0.0), frame.at(parts.len() as f64, 0.0)], MUTED, 0.8)?;
                for end in [|spread: &Spread| spread.band.0, |spread: &Spread| spread.band.1] {
                    let points = parts.iter().enumerate().map(|(part, spread)| {
                        let value = spread.as_ref().map_or(f64::NAN, end).clamp(frame.up.0, frame.up.1);
                        frame.at(part as f64 + 0.5, value)
                    });
                    canvas.line(points, WARM, 1.6)?;
                }
            }
        }
        Ok(())
    })
}

/// Room for the band and nearly all extremes: a few outliers must not flatten the rest.
fn range(parts: &[Option<Spread>]) -> (f64, f64) {
    let known = || parts.iter().flatten();
    let mut sizes: Vec<f64> = known().map(|spread| spread.extremes.0.abs().max(spread.extremes.1.abs())).collect();
    sizes.sort_by(f64::total_cmp);
    let most = sizes.get(sizes.len().saturating_sub(1) * 19 / 20).copied().unwrap_or(1.0);
    let band = known().map(|spread| spread.band.0.abs().max(spread.band.1.abs())).fold(0.0, f64::max);
    let end = (1.06 * most.max(band)).max(1e-9);
    (-end, end)
}
