//! What the device remembers at the end of the series: the seasonal memories, the intervals' corrections, whom it believes.

use anyhow::Result;

use super::axis;
use super::calibration::span;
use super::canvas::{ACCENT, Anchor, Frame, GREEN, INK, LABEL, LINES, MUTED, OTHERS, RAMP, WARM, WIDTH, picture};
use super::collect::Diagnostics;
use super::figure::channel_title;
use super::shown;
use crate::backtest::BacktestReport;
use crate::duration::show_ms;

const LEFT: f64 = 52.0;
const GAP: f64 = 46.0;

/// Each season's means by phase: a row a channel, a column a season, a line a memory.
///
/// # Errors
/// Whatever drawing refuses.
pub fn memories(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEAD: f64 = 34.0;
    const ROW: f64 = 188.0;
    let height = HEAD + ROW * shown(found).len() as f64 + 6.0;
    let columns = found.seasons.len() as f64;
    let width = (WIDTH - LEFT - 12.0 - GAP * (columns - 1.0)) / columns;
    picture(WIDTH as u32, height as u32, "The seasonal memories by phase", |canvas| {
        let names = found.reach.map(|periods| match periods.round() as u32 {
            0 | 1 => "last period".to_owned(),
            periods => format!("last {periods} periods or so"),
        });
        canvas.legend((LEFT, 16.0), &names.into_iter().zip(RAMP).collect::<Vec<_>>())?;
        for (row, index) in shown(found).enumerate() {
            for (column, season) in found.seasons.iter().enumerate() {
                let slots = &found.channels[index].means[column];
                let x = LEFT + (width + GAP) * column as f64;
                let top = HEAD + ROW * row as f64;
                let period_ms = u64::from(season.period) * report.interval_ms;
                let frame = Frame {
                    x: (x, x + width),
                    y: (top + 30.0, top + ROW - 28.0),
                    over: (0.0, period_ms as f64),
                    up: super::room(slots.iter().flatten().flatten().copied()),
                };
                let title = format!("{}, over a period of {}", channel_title(report, index), show_ms(period_ms));
                canvas.text(&title, (x, top + 14.0), 13.0, INK, Anchor::Start, true)?;
                canvas.scale(&frame, 5, true)?;
                let (begin, marks) = axis::phases(period_ms, found.start);
                canvas.base(&frame, &marks, true)?;
                // From the period's natural beginning on: the stream may have begun anywhere in it.
                let slot_ms = u64::from(season.slot_samples) * report.interval_ms;
                let mut places: Vec<(u64, usize)> =
                    (0..slots.len()).map(|slot| ((slot as u64 * slot_ms + begin) % period_ms, slot)).collect();
                places.sort_unstable();
                for (memory, color) in RAMP.into_iter().enumerate().rev() {
                    let points = places.iter().map(|&(phase, slot)| {
                        frame.at(phase as f64, slots[slot].map_or(f64::NAN, |means| means[memory]))
                    });
                    canvas.line(points, color, if memory == 0 { 1.2 } else { 1.8 })?;
                }
            }
        }
        Ok(())
    })
}

/// The factors by which the device widens or narrows its intervals: a panel a channel.
///
/// # Errors
/// Whatever drawing refuses.
pub fn factors(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEIGHT: f64 = 264.0;
    let groups = found.groups.len();
    let all = found.channels[shown(found)].iter().flat_map(|channel| &channel.factors);
    let farthest = all.flat_map(|factors| [factors.lower, factors.upper]).map(|factor| f64::from(factor.log2().abs()));
    let end = farthest.fold(1.0, f64::max).ceil();
    picture(WIDTH as u32, HEIGHT as u32, "Factors of the intervals' half widths", |canvas| {
        let y = 16.0;
        canvas.dot((LEFT + 6.0, y), 4.0, INK)?;
        canvas.text("of the half above the median", (LEFT + 18.0, y), 12.0, INK, Anchor::Start, false)?;
        canvas.circle((LEFT + 232.0, y), 4.0, INK)?;
        canvas.text("of the half below", (LEFT + 244.0, y), 12.0, INK, Anchor::Start, false)?;
        let frame = Frame {
            x: (LEFT, WIDTH - 12.0),
            y: (64.0, HEIGHT - 32.0),
            over: (0.0, groups as f64),
            up: (-end * 1.08, end * 1.08),
        };
        let marks: Vec<(f64, String)> = (-end as i32..=end as i32)
            .map(|power| {
                let label = if power < 0 { format!("1/{}", 1 << -power) } else { format!("{}", 1 << power) };
                (f64::from(power), format!("×{label}"))
            })
            .collect();
        canvas.rules(&frame, &marks, true)?;
        canvas.line([frame.at(0.0, 0.0), frame.at(groups as f64, 0.0)], MUTED, 1.0)?;
        canvas.base(&frame, &[], false)?;
        let channels = shown(found).len() as f64;
        let names: Vec<_> =
            shown(found).zip(LINES).map(|(index, color)| (report.columns[index].clone(), color)).collect();
        canvas.legend((LEFT, 42.0), &names)?;
        for (group, &(first, last)) in found.groups.iter().enumerate() {
            let (middle, _) = frame.at(group as f64 + 0.5, 0.0);
            canvas.text(&span(report, first, last), (middle, HEIGHT - 14.0), 12.0, MUTED, Anchor::Middle, false)?;
            for ((place, channel), color) in found.channels[shown(found)].iter().enumerate().zip(LINES) {
                let Some(factors) = channel.factors.get(group) else { continue };
                let over = group as f64 + 0.5 + (place as f64 - (channels - 1.0) / 2.0) * 0.55 / channels.max(3.0);
                let [lower, upper] = [factors.lower, factors.upper].map(|factor| f64::from(factor.log2()));
                canvas.line([frame.at(over, lower), frame.at(over, upper)], color, 1.6)?;
                canvas.circle(frame.at(over, lower), 4.0, color)?;
                canvas.dot(frame.at(over, upper), 4.0, color)?;
            }
        }
        Ok(())
    })
}

/// What the forecasts are made of: a panel a channel, two beside each other, a bar a group of steps ahead.
///
/// # Errors
/// Whatever drawing refuses.
pub fn experts(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEAD: f64 = 34.0;
    const ROW: f64 = 210.0;
    let columns = shown(found).len().clamp(1, 2);
    let rows = shown(found).len().div_ceil(columns);
    let width = (WIDTH - LEFT - 12.0 - GAP * (columns as f64 - 1.0)) / columns as f64;
    let height = HEAD + ROW * rows as f64;
    let names = ["the model", "the linear path", "the last sample", "the last few periods"].map(str::to_owned);
    let colors = [OTHERS[0], ACCENT, WARM, GREEN];
    picture(WIDTH as u32, height as u32, "What the forecasts are made of", |canvas| {
        canvas.legend((LEFT, 16.0), &names.into_iter().zip(colors).collect::<Vec<_>>())?;
        for (place, index) in shown(found).enumerate() {
            let (row, column) = (place / columns, place % columns);
            let (left, top) = (LEFT + (width + GAP) * column as f64, HEAD + ROW * row as f64);
            let parts = &found.channels[index].made_of;
            let bottom = top + ROW - 32.0;
            let over = (0.0, parts.len() as f64);
            let frame = Frame { x: (left, left + width), y: (top + 30.0, bottom), over, up: (0.0, 100.0) };
            canvas.text(&channel_title(report, index), (left, top + 14.0), 13.0, INK, Anchor::Start, true)?;
            let marks = [0.0, 50.0, 100.0].map(|share| (share, format!("{share:.0} %")));
            canvas.rules(&frame, &marks, column == 0)?;
            for ((group, shares), &(first, last)) in parts.iter().enumerate().zip(&found.groups) {
                let mut below = 0.0;
                for (share, color) in shares.iter().zip(colors) {
                    let above = below + 100.0 * share;
                    let at = |x: f64, share: f64| frame.at(group as f64 + x, share);
                    canvas.tile(at(0.14, above), at(0.86, below), color, 1.0)?;
                    below = above;
                }
                let (middle, _) = frame.at(group as f64 + 0.5, 0.0);
                let label = rough(last as u64 * report.interval_ms);
                let label = if first < last { format!("up to {label}") } else { label };
                canvas.text(&label, (middle, bottom + 18.0), LABEL, MUTED, Anchor::Middle, false)?;
            }
            canvas.base(&frame, &[], false)?;
        }
        Ok(())
    })
}

/// A duration in its largest unit, with one decimal where that is less than ten: what has room under a bar.
fn rough(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| ms >= *unit).unwrap_or((1, "ms"));
    let count = (ms as f64 / unit as f64 * 10.0).round() / 10.0;
    if count < 10.0 { format!("{count} {name}") } else { format!("{count:.0} {name}") }
}

#[cfg(test)]
mod tests {
    use super::rough;

    #[test]
    fn a_label_says_the_largest_unit() {
        let said = [600_000, 16_200_000, 86_400_000, 4_669_000, 291_479_000, 59_960, 0].map(rough);
        assert_eq!(said, ["10 min", "4.5 h", "1 d", "1.3 h", "3.4 d", "60 s", "0 ms"]);
    }
}
