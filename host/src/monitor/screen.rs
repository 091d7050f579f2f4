//! The screen: who the board is, its channels, its health, what happened. A function of the state alone, so that tests see
//! what people see.

use jiff::{Timestamp, tz::TimeZone};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::chart::Chart;
use super::watch::Watch;
use crate::plural::counted;

/// The least that a channel is drawn in.
const LEAST: [u16; 2] = [60, 9];
/// Lines of news, in a low and in a high terminal.
const NEWS: [u16; 2] = [3, 8];

/// What is drawn.
pub struct Screen<'w> {
    /// The board.
    pub watch: &'w Watch<'w>,
    /// Where it is.
    pub line: &'w str,
    /// Why the line is gone, if it is, or that what was recorded has ended.
    pub gone: Option<&'w str>,
    /// The first channel that is shown.
    pub channel: usize,
    /// Now.
    pub now: Timestamp,
    /// Where times are told.
    pub zone: &'w TimeZone,
}

impl Widget for Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let news = NEWS[usize::from(area.height >= 40)];
        let [head, charts, health, told, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(4),
            Constraint::Length(2),
            Constraint::Length(news),
            Constraint::Length(1),
        ])
        .areas(area);
        self.head(head, buffer);
        self.charts(charts, buffer);
        self.health(health, buffer);
        self.news(told, buffer);
        self.keys(keys, buffer);
    }
}

impl Screen<'_> {
    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let mut words = vec![Span::styled(" flowcast ", Style::new().add_modifier(Modifier::REVERSED))];
        words.push(Span::raw(format!(" {}", self.line)));
        if let Some(board) = self.watch.board() {
            words.push(Span::raw(format!("  model {:08x}", board.model)));
        }
        if let Some(row) = self.watch.rows().back() {
            words.push(Span::raw(format!("  sample {}", row.index)));
        }
        let (age, style) = self.age();
        words.push(Span::styled(format!("  {age}"), style));
        Line::from(words).render(area, buffer);
    }

    /// How long ago the last sample came, and whether that is too long.
    fn age(&self) -> (String, Style) {
        let late = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        if let Some(gone) = self.gone {
            return (gone.to_owned(), late);
        }
        let Some(last) = self.watch.last() else {
            return ("listening".to_owned(), Style::new().fg(Color::Yellow));
        };
        let seconds = self.now.duration_since(last).as_secs().max(0);
        let text = match seconds {
            0..120 => format!("{seconds} s ago"),
            120..7_200 => format!("{} min ago", seconds / 60),
            _ => format!("{} h ago", seconds / 3_600),
        };
        match self.watch.interval() {
            Some(interval) if seconds as f64 > 2.0 * interval.as_secs_f64() => (format!("{text}, OVERDUE"), late),
            _ => (text, Style::new().fg(Color::Green)),
        }
    }

    /// As many channels as there is room for, from the one that is chosen on.
    fn charts(&self, area: Rect, buffer: &mut Buffer) {
        let channels = self.watch.channels().len().max(1);
        let columns = (area.width / LEAST[0]).clamp(1, 3).min(channels as u16);
        let rows = (area.height / LEAST[1]).max(1).min(channels.div_ceil(columns.into()) as u16);
        let mut next = self.channel.min(channels - 1);
        for row in Layout::vertical(vec![Constraint::Fill(1); rows.into()]).split(area).iter() {
            for place in Layout::horizontal(vec![Constraint::Fill(1); columns.into()]).split(*row).iter() {
                Chart { watch: self.watch, channel: next % channels }.render(*place, buffer);
                next += 1;
                if next - self.channel >= channels {
                    return;
                }
            }
        }
    }

    fn health(&self, area: Rect, buffer: &mut Buffer) {
        let health = self.watch.health();
        let count = |name: &str, count: u64, colour: Color| {
            let style = if count > 0 { Style::new().fg(colour) } else { Style::new().fg(Color::DarkGray) };
            Span::styled(format!("{name} {count}   "), style)
        };
        let first = vec![
            Span::raw(format!(" samples {}   ", health.samples)),
            count("missing values", health.missing, Color::Yellow),
            count("did not come", health.absent, Color::Yellow),
            count("alerts", health.alerts, Color::Red),
            count("warnings", health.warnings, Color::Red),
        ];
        // What is wrong now comes before what was.
        let mut second = vec![Span::raw(" ")];
        let wrong = |text: String| Span::styled(text, Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        for (sensor, notice) in self.watch.failing() {
            if let Some(fault) = notice.fault {
                second.push(wrong(format!("sensor {sensor}: {fault} ({} in a row)   ", notice.run)));
            }
        }
        if let Some(notice) = self.watch.clock()
            && let Some(fault) = notice.fault
        {
            second.push(wrong(format!("clock: {fault} ({} in a row)   ", notice.run)));
        }
        second.extend([
            count("sensor faults", health.faults, Color::Yellow),
            count("clock faults", health.clock_faults, Color::Yellow),
            count("restarts", health.restarts, Color::Yellow),
            count("line lost", health.lost, Color::Yellow),
            count("noise", health.noise, Color::Yellow),
        ]);
        if let Some(stats) = self.watch.stats() {
            let text = format!("board: {}, stack {} B", counted(stats.bad_frames, "bad frame"), stats.stack_bytes);
            second.push(Span::styled(text, Style::new().fg(Color::DarkGray)));
        }
        let [one, two] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
        Line::from(first).render(one, buffer);
        Line::from(second).render(two, buffer);
    }

    fn news(&self, area: Rect, buffer: &mut Buffer) {
        let news = self.watch.news();
        let first = news.len().saturating_sub(area.height.into());
        for ((time, text), y) in news.iter().skip(first).zip(area.top()..) {
            let time = time.to_zoned_datetime(self.zone.clone()).strftime("%H:%M:%S").to_string();
            let loud = ["ALERT", "WARNING", "SENSOR", "CLOCK"].iter().any(|word| text.starts_with(word));
            let style = if loud { Style::new().fg(Color::Red) } else { Style::new() };
            let line = Line::from(vec![
                Span::styled(format!(" {time}  "), Style::new().fg(Color::DarkGray)),
                Span::styled(text.clone(), style),
            ]);
            line.render(Rect { y, height: 1, ..area }, buffer);
        }
    }

    fn keys(&self, area: Rect, buffer: &mut Buffer) {
        let more = if self.watch.channels().len() > 1 { "   ← → other channels" } else { "" };
        Line::styled(format!(" q quit{more}"), Style::new().fg(Color::DarkGray)).render(area, buffer);
    }
}
