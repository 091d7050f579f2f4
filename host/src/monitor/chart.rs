//! One channel, drawn: what came as a line, what was and is expected as a shaded band with its median, and below it how far
//! samples were from what was expected.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::canvas::{Canvas, Line};
use ratatui::widgets::{Block, BorderType, Widget};

use super::event::{Row, figures};
use super::fan::{Band, Fan};
use super::watch::Watch;

const PAST: Color = Color::Cyan;
const AHEAD: Color = Color::Yellow;
const SHADE: Color = Color::DarkGray;
const INSIDE: Color = Color::Green;
const OUTSIDE: Color = Color::Red;
/// Columns for the numbers of the vertical axis.
const GUTTER: u16 = 8;
/// Lines of the picture of residuals.
const RESIDUAL: u16 = 4;
/// Samples of the past, at least.
const LEAST: usize = 24;

/// A channel of a watched board.
pub struct Chart<'w> {
    /// The board.
    pub watch: &'w Watch<'w>,
    /// The channel.
    pub channel: usize,
}

/// The samples that are shown: from the first to the last, which may be a forecast's.
struct Window {
    first: f64,
    now: f64,
    last: f64,
}

impl Widget for Chart<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(Style::new().fg(SHADE))
            .title(self.title())
            .title_top(Text::from(self.right()).right_aligned());
        let inside = block.inner(area);
        block.render(area, buffer);
        if inside.width <= GUTTER + 8 || inside.height < 4 {
            return;
        }
        let residual = if inside.height >= 11 { RESIDUAL } else { 0 };
        let [values, times, residuals] =
            Layout::vertical([Constraint::Min(3), Constraint::Length(1), Constraint::Length(residual)]).areas(inside);
        let Some(window) = self.window(values.width - GUTTER) else {
            Text::styled("waiting for a sample", Style::new().fg(SHADE)).centered().render(values, buffer);
            return;
        };
        self.values(&window, values, buffer);
        self.times(&window, times, buffer);
        if residual > 0 {
            self.residuals(&window, residuals, buffer);
        }
    }
}

impl Chart<'_> {
    fn title(&self) -> Text<'static> {
        let Some(channel) = self.watch.channels().get(self.channel) else { return Text::default() };
        let last = self.watch.rows().back();
        let value = last.and_then(|row| row.values.get(self.channel)).map(|value| channel.value(*value));
        Text::from(vec![
            Span::styled(format!(" {} ", channel.name), Style::new().add_modifier(Modifier::BOLD)),
            Span::styled(value.map_or(String::new(), |value| format!("{value} ")), Style::new().fg(PAST)),
        ])
    }

    /// What comes next.
    fn right(&self) -> Span<'static> {
        let next = self
            .watch
            .rows()
            .back()
            .and_then(|row| self.watch.forecasts().expected(self.channel, row.index.saturating_add(1)));
        let text = next.map(|expected| {
            let Band { lower, median, upper } = expected.band;
            format!(" next {}, {} to {} ", figures(median), figures(lower), figures(upper))
        });
        Span::styled(text.unwrap_or_default(), Style::new().fg(AHEAD))
    }

    fn fan(&self) -> Option<&Fan> {
        self.watch.forecasts().far(self.channel)
    }

    /// As much of the past as there is to see, and all of what comes.
    fn window(&self, width: u16) -> Option<Window> {
        let now = self.watch.rows().back()?.index;
        let end = self.fan().map_or(now, |fan| fan.index.saturating_add(fan.steps.len() as u32)).max(now);
        let ahead = (end - now) as usize;
        let past = (ahead + ahead / 4).max(2 * usize::from(width) / 3).max(LEAST);
        Some(Window { first: f64::from(now) - past as f64, now: now.into(), last: f64::from(end) + 0.5 })
    }

    /// The rows that are shown.
    fn rows<'r>(&'r self, window: &Window) -> impl Iterator<Item = &'r Row> {
        let first = window.first;
        self.watch.rows().iter().filter(move |row| f64::from(row.index) >= first)
    }

    fn value(&self, row: &Row) -> Option<f64> {
        row.values.get(self.channel).map(|value| f64::from(*value)).filter(|value| value.is_finite())
    }

    /// What a forecast said of samples: of those that came by the newest before each, then by the one that reaches farthest.
    fn bands(&self, window: &Window) -> Vec<(f64, Band)> {
        let came = self.rows(window).filter_map(|row| {
            let expected = row.expected.get(self.channel).copied().flatten()?;
            Some((f64::from(row.index), expected.band))
        });
        let ahead = self.fan().into_iter().flat_map(|fan| {
            let index = move |step: usize| f64::from(fan.index) + 1.0 + step as f64;
            fan.steps.iter().enumerate().map(move |(step, band)| (index(step), *band))
        });
        came.chain(ahead.filter(|(index, _)| *index > window.now))
            .filter(|(_, band)| [band.lower, band.median, band.upper].iter().all(|value| value.is_finite()))
            .collect()
    }

    /// The least and the greatest value that is shown, with some room.
    fn bounds(&self, window: &Window, bands: &[(f64, Band)]) -> [f64; 2] {
        let values = self.rows(window).filter_map(|row| self.value(row));
        // What lies ahead is seen whole; of what was expected, the medians must not leave the picture.
        let medians = bands.iter().flat_map(|(index, band)| {
            let edges = [band.lower, band.upper].map(f64::from);
            let median = f64::from(band.median);
            if *index > window.now { edges } else { [median; 2] }
        });
        let [low, high] = values
            .chain(medians)
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)]);
        if low > high {
            return [0.0, 1.0];
        }
        let room = (0.06 * (high - low)).max(1e-3 * high.abs().max(1e-3));
        [low - room, high + room]
    }

    fn values(&self, window: &Window, area: Rect, buffer: &mut Buffer) {
        let bands = self.bands(window);
        let [low, high] = self.bounds(window, &bands);
        let plot = Rect { x: area.x + GUTTER, width: area.width - GUTTER, ..area };
        shade(window, [low, high], &bands, plot, buffer);
        if window.last - window.now >= 1.0 {
            let now = column(window, window.now, plot);
            (plot.top()..plot.bottom()).for_each(|y| buffer.set_string(now, y, "┊", Style::new().fg(SHADE)));
        }
        let past: Vec<(f64, Option<f64>)> = self.rows(window).map(|row| (row.index.into(), self.value(row))).collect();
        let ahead: Vec<(f64, f64)> = bands
            .iter()
            .filter(|(index, _)| *index > window.now)
            .map(|(index, band)| (*index, f64::from(band.median)))
            .collect();
        Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([window.first, window.last])
            .y_bounds([low, high])
            .paint(|context| {
                for pair in ahead.windows(2) {
                    context.draw(&Line::new(pair[0].0, pair[0].1, pair[1].0, pair[1].1, AHEAD));
                }
                if let [(index, value)] = ahead[..] {
                    context.draw(&Line::new(index, value, index, value, AHEAD));
                }
                context.layer();
                for pair in past.windows(2) {
                    let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
                    // A line ends where something is missing.
                    match (y1, y2) {
                        (Some(y1), Some(y2)) if x2 - x1 < 1.5 => context.draw(&Line::new(x1, y1, x2, y2, PAST)),
                        (_, Some(y)) => context.draw(&Line::new(x2, y, x2, y, PAST)),
                        _ => {}
                    }
                }
                if let Some((x, Some(y))) = past.last() {
                    context.draw(&Line::new(*x, *y, *x, *y, PAST));
                }
            })
            .render(plot, buffer);
        numbers(&[high, (low + high) / 2.0, low], area, buffer);
    }

    /// Times from now, where the interval is known, or samples.
    fn times(&self, window: &Window, area: Rect, buffer: &mut Buffer) {
        let plot = Rect { x: area.x + GUTTER, width: area.width - GUTTER, ..area };
        let interval = self.watch.interval();
        let style = Style::new().fg(SHADE);
        let mut write = |index: f64, text: &str| {
            let at = column(window, index, plot).saturating_sub(text.chars().count() as u16 / 2);
            let end = plot.right().saturating_sub(text.chars().count() as u16);
            buffer.set_string(at.clamp(plot.x, end.max(plot.x)), plot.y, text, style);
        };
        let label = |samples: f64| time(samples, interval);
        let past = window.now - window.first;
        write(window.first, &label(-past));
        if column(window, window.now, plot) > plot.x + 30 {
            write(window.now - (past / 2.0).round(), &label(-(past / 2.0).round()));
        }
        let ahead = (window.last - window.now).floor();
        if ahead > 0.0 {
            write(window.last, &label(ahead));
        }
        write(window.now, "now");
    }

    fn residuals(&self, window: &Window, area: Rect, buffer: &mut Buffer) {
        let plot = Rect { x: area.x + GUTTER, y: area.y + 1, width: area.width - GUTTER, height: area.height - 1 };
        let rows = self.rows(window).filter_map(|row| {
            let residual = row.residual(self.channel)?;
            let expected = row.expected.get(self.channel).copied().flatten()?;
            let value = *row.values.get(self.channel)?;
            let inside = (expected.band.lower..=expected.band.upper).contains(&value);
            Some((f64::from(row.index), f64::from(residual), inside))
        });
        let rows: Vec<(f64, f64, bool)> = rows.collect();
        let (count, inside) = (rows.len(), rows.iter().filter(|(.., inside)| *inside).count());
        let mean = rows.iter().map(|(_, residual, _)| residual.abs()).sum::<f64>() / count.max(1) as f64;
        let title = match count {
            0 => "residual: nothing was expected of these samples".to_owned(),
            _ => {
                format!("residual: mean {}, {} % in the band", figures(mean as f32), (100 * inside + count / 2) / count)
            }
        };
        buffer.set_stringn(area.x + 1, area.y, title, usize::from(area.width) - 1, Style::new().fg(Color::Gray));
        let size = rows.iter().fold(1e-6_f64, |size, (_, residual, _)| size.max(residual.abs()));
        Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([window.first, window.last])
            .y_bounds([-size, size])
            .paint(|context| {
                context.draw(&Line::new(window.first, 0.0, window.now, 0.0, SHADE));
                for (index, residual, inside) in &rows {
                    let colour = if *inside { INSIDE } else { OUTSIDE };
                    context.draw(&Line::new(*index, 0.0, *index, *residual, colour));
                }
            })
            .render(plot, buffer);
        numbers(&[size, 0.0, -size], Rect { x: area.x, ..plot }, buffer);
    }
}

/// Cells that the band covers; a line that is drawn later takes their place.
fn shade(window: &Window, [low, high]: [f64; 2], bands: &[(f64, Band)], plot: Rect, buffer: &mut Buffer) {
    let row = |value: f32| {
        let part = (high - f64::from(value)) / (high - low);
        (part * f64::from(plot.height)).floor().clamp(0.0, f64::from(plot.height) - 1.0) as u16
    };
    for x in plot.left()..plot.right() {
        // The band of the sample that is nearest to the column's middle, unless there is none near.
        let step = (window.last - window.first) / f64::from(plot.width);
        let middle = window.first + step * (f64::from(x - plot.x) + 0.5);
        let place = bands.partition_point(|(index, _)| *index < middle);
        let near = bands[place.saturating_sub(1)..bands.len().min(place + 1)].iter();
        let nearest = near.min_by(|a, b| (a.0 - middle).abs().total_cmp(&(b.0 - middle).abs()));
        let Some((index, band)) = nearest.filter(|(index, _)| (index - middle).abs() <= step.max(1.0) * 0.51) else {
            continue;
        };
        let style = Style::new().fg(if *index > window.now { AHEAD } else { SHADE }).add_modifier(Modifier::DIM);
        for y in row(band.upper)..=row(band.lower) {
            buffer.set_string(x, plot.y + y, "░", style);
        }
    }
}

fn column(window: &Window, index: f64, plot: Rect) -> u16 {
    let part = (index - window.first) / (window.last - window.first);
    plot.x + (part * f64::from(plot.width)).floor().clamp(0.0, f64::from(plot.width) - 1.0) as u16
}

/// The numbers of a vertical axis, from its top to its bottom.
fn numbers(values: &[f64; 3], area: Rect, buffer: &mut Buffer) {
    let style = Style::new().fg(Color::Gray);
    let places = [area.y, area.y + area.height / 2, area.bottom().saturating_sub(1)];
    for (value, y) in values.iter().zip(places) {
        let text = format!("{:>width$}", figures(*value as f32), width = usize::from(GUTTER) - 1);
        buffer.set_stringn(area.x, y, text, usize::from(GUTTER), style);
    }
}

/// So many samples from now, as a time where that is known.
fn time(samples: f64, interval: Option<Duration>) -> String {
    let sign = if samples < 0.0 { '−' } else { '+' };
    let Some(interval) = interval else { return format!("{sign}{}", samples.abs()) };
    let seconds = samples.abs() * interval.as_secs_f64();
    let (number, unit) = match seconds {
        s if s < 120.0 => (s, "s"),
        s if s < 7_200.0 => (s / 60.0, "min"),
        s if s < 172_800.0 => (s / 3_600.0, "h"),
        s => (s / 86_400.0, "d"),
    };
    let number = (10.0 * number).round() / 10.0;
    format!("{sign}{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_reads_best() {
        let of = |samples| time(samples, Some(Duration::from_secs(600)));
        assert_eq!([-6.0, 36.0, -144.0, 1_008.0].map(of), ["−60 min", "+6 h", "−24 h", "+7 d"]);
        assert_eq!(time(-5.0, None), "−5");
    }
}
