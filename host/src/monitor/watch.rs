//! What is known of a board, from the messages that came: past samples, what was expected of them, what comes next, and how
//! the board does. It draws nothing, reads no clock and opens no line.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, ensure};
use flowcast_core::format::{Header, MAX_CHANNELS};
use flowcast_core::wire::{Alert, Chunk, ClockNotice, Gated, Hello, Reply, Request, Sampled, SensorNotice, Stats};
use jiff::Timestamp;

use super::event::{Channel, Event, Row};
use super::fan::{Expected, Forecasts, Levels};
use super::filled::Filled;
use crate::backtest::{channel_names, channel_units};
use crate::gate::gateway;
use crate::plural::counted;

/// Samples that are kept to be drawn.
pub(super) const KEPT: usize = 4_096;
/// Samples that are filled in at once, at most; after a longer time without a report there is nothing to build on.
const MOST_FILLED: u32 = 1 << 16;
/// News that are kept to be shown.
const NEWS: usize = 64;

/// A model's file, for names, units, the interval and a gateway.
pub struct Model<'m> {
    /// Its header.
    pub header: Header,
    /// All of it.
    pub bytes: &'m [u8],
}

/// Counts since the monitor started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Samples that came or were filled in.
    pub samples: u64,
    /// Values among them that were missing.
    pub missing: u64,
    /// Samples that did not come.
    pub absent: u64,
    /// Alerts.
    pub alerts: u64,
    /// Warnings.
    pub warnings: u64,
    /// What sensors had to say, the good news aside.
    pub faults: u64,
    /// What a clock had to say, the good news aside.
    pub clock_faults: u64,
    /// Times that the board started again.
    pub restarts: u64,
    /// Times that the line was lost.
    pub lost: u64,
    /// Bytes between two frames that were none; the link counts them.
    pub noise: u64,
}

/// The state.
pub struct Watch<'m> {
    model: Option<Model<'m>>,
    channels: Vec<Channel>,
    levels: Option<Levels>,
    rows: VecDeque<Row>,
    forecasts: Forecasts,
    filled: Option<Filled<'m>>,
    /// Whether a gated board may be made to start anew.
    anew: bool,
    next: Option<u32>,
    last: Option<Timestamp>,
    health: Health,
    failing: BTreeMap<u8, SensorNotice>,
    clock: Option<ClockNotice>,
    hello: Option<Hello>,
    stats: Option<Stats>,
    news: VecDeque<(Timestamp, String)>,
    /// Things that are said once.
    said: Vec<&'static str>,
}

const NO_LEVELS: &str =
    "forecasts come and cannot be read: the board does not say how many quantiles they have, --model does";
const NO_MODEL: &str = "a gated board: with --model, samples that it did not send are filled in";
const UNSOUND: &str = "a frame says what its board cannot: another count of channels, or a sample beyond all; such frames are passed over";
const NO_START: &str =
    "reports follow others that did not come: nothing is filled in until the board starts anew (--anew has it do so)";

impl<'m> Watch<'m> {
    /// Before anything came. `anew`: a gated board may be asked to start anew, which costs it all that it has learnt.
    pub fn new(model: Option<Model<'m>>, anew: bool) -> Self {
        let mut watch = Self {
            model,
            channels: Vec::new(),
            levels: None,
            rows: VecDeque::new(),
            forecasts: Forecasts::default(),
            filled: None,
            anew,
            next: None,
            last: None,
            health: Health::default(),
            failing: BTreeMap::new(),
            clock: None,
            hello: None,
            stats: None,
            news: VecDeque::new(),
            said: Vec::new(),
        };
        if let Some(Model { header, bytes }) = &watch.model {
            let names = channel_names(header, bytes).into_iter().zip(channel_units(header, bytes));
            watch.channels = names.map(|(name, unit)| Channel { name, unit }).collect();
            watch.levels = Some(Levels { count: header.quantiles.len(), median: header.median() });
        }
        watch
    }

    /// Takes a message and returns what it means, and what the board is to be asked for.
    ///
    /// # Errors
    /// The board runs another model than the one given.
    pub fn take(&mut self, reply: Reply, now: Timestamp) -> Result<(Vec<Event>, Option<Request>)> {
        let mut events = Vec::new();
        let mut request = None;
        if !self.is_sound(&reply) {
            self.once(UNSOUND, &mut events);
            self.note(&events, now);
            return Ok((events, request));
        }
        match reply {
            Reply::Sampled(sampled) => self.sampled(sampled, now, &mut events),
            Reply::Gated(gated) => request = self.gated(&gated, now, &mut events)?,
            Reply::Forecast(chunk) => self.forecast(&chunk, &mut events),
            Reply::Alert(Alert { index, channel, value, surprise }) => {
                self.health.alerts += 1;
                events.push(Event::Alert { index, channel, value, surprise });
            }
            Reply::Warning(warning) => {
                self.health.warnings += 1;
                events.push(Event::Warning {
                    index: warning.index,
                    channel: warning.channel,
                    threshold: warning.threshold,
                    value: warning.value,
                    steps_ahead: warning.steps_ahead,
                });
            }
            Reply::Sensor(notice) => {
                let SensorNotice { index, sensor, fault, run, .. } = notice;
                match fault {
                    Some(_) => {
                        self.health.faults += 1;
                        self.failing.insert(sensor, notice);
                    }
                    None => drop(self.failing.remove(&sensor)),
                }
                events.push(Event::Sensor { index, sensor, fault: fault.map(|fault| fault.to_string()), run });
            }
            Reply::Clock(notice) => {
                let ClockNotice { index, fault, run, .. } = notice;
                self.health.clock_faults += u64::from(fault.is_some());
                self.clock = fault.is_some().then_some(notice);
                events.push(Event::Clock { index, fault: fault.map(|fault| fault.to_string()), run });
            }
            Reply::Hello(hello) => self.hello(hello, &mut events)?,
            Reply::Stats(stats) => {
                events.push(Event::from(&stats));
                self.stats = Some(stats);
            }
            Reply::Refused(refusal) => events.push(Event::Refused { reason: refusal.to_string() }),
            Reply::Observed(_) | Reply::Reset | Reply::BadFrame { .. } => {}
        }
        self.note(&events, now);
        Ok((events, request))
    }

    /// Values of a sample, where it is known how many there are: of a model what is known in advance may come too or not.
    fn width(&self) -> Option<RangeInclusive<usize>> {
        let exactly = |count: usize| count..=count;
        let model = self.model.as_ref().map(|model| {
            let channels = usize::from(model.header.channels);
            channels.saturating_sub(model.header.known.into())..=channels
        });
        let told = || self.hello.as_ref().map(|hello| exactly(hello.channels.into()));
        model.or_else(told).or_else(|| self.rows.back().map(|row| exactly(row.values.len())))
    }

    /// Whether a frame can be what the board at the line has to say: its checksum is right, but it may be from another one, or
    /// from somebody who wishes ill.
    fn is_sound(&self, reply: &Reply) -> bool {
        let width = self.width().unwrap_or(1..=MAX_CHANNELS);
        let is_one = |channel: u16| usize::from(channel) < *width.end();
        let is_sample = |index: u32| index < u32::MAX;
        match reply {
            Reply::Hello(hello) => (1..=MAX_CHANNELS).contains(&usize::from(hello.channels)),
            Reply::Sampled(Sampled { index, values }) => is_sample(*index) && width.contains(&values.len()),
            Reply::Gated(gated) => {
                is_sample(gated.index) && gated.missed <= gated.index && width.contains(&gated.values.len())
            }
            Reply::Forecast(chunk) => is_sample(chunk.index) && is_one(chunk.channel),
            Reply::Alert(alert) => is_one(alert.channel),
            Reply::Warning(warning) => is_one(warning.channel),
            _ => true,
        }
    }

    /// Time passes on a live line: a gated board's silence is filled in.
    pub fn pass(&mut self, now: Timestamp) {
        let interval = self.interval();
        let (Some(filled), Some(interval)) = (&mut self.filled, interval) else { return };
        if filled.pass(interval, now) {
            self.redraw();
        }
    }

    /// The line was lost, or is there again, or something else is to be said.
    pub fn tell(&mut self, event: Event, now: Timestamp) -> Event {
        if matches!(event, Event::Lost { .. }) {
            self.health.lost += 1;
        }
        self.note(std::slice::from_ref(&event), now);
        event
    }

    /// The link's count of what was no frame.
    pub const fn noise(&mut self, noise: u64) {
        self.health.noise = noise;
    }

    fn note(&mut self, events: &[Event], now: Timestamp) {
        for event in events.iter().filter(|event| event.is_news()) {
            self.news.push_back((now, event.words(&self.channels)));
        }
        while self.news.len() > NEWS {
            self.news.pop_front();
        }
    }

    fn once(&mut self, what: &'static str, events: &mut Vec<Event>) {
        if !self.said.contains(&what) {
            self.said.push(what);
            events.push(Event::Note { note: what.to_owned() });
        }
    }

    fn hello(&mut self, hello: Hello, events: &mut Vec<Event>) -> Result<()> {
        if let Some(model) = &self.model {
            let (found, expected) = (hello.model, model.header.identity);
            ensure!(found == expected, "the board runs model {found:08x}, --model is {expected:08x}");
            let (found, expected) = (hello.channels, model.header.channels);
            ensure!(found == expected, "the board has {}, --model {expected}", counted(found, "channel"));
        } else {
            let (found, before) = (usize::from(hello.channels), self.channels.len());
            ensure!(
                before == 0 || found == before,
                "the board has {}, there were {before} before: another board is at the line",
                counted(found, "channel")
            );
            self.levels = Levels::around_the_median(hello.quantiles.into());
            self.widen(hello.channels.into());
        }
        if self.hello.as_ref() != Some(&hello) {
            events.push(Event::from(&hello));
        }
        self.hello = Some(hello);
        Ok(())
    }

    /// Channels that nobody named have numbers.
    fn widen(&mut self, channels: usize) {
        for index in self.channels.len()..channels {
            self.channels.push(Channel { name: format!("channel {index}"), unit: String::new() });
        }
    }

    fn expected(&self, index: u32, channels: usize) -> Vec<Option<Expected>> {
        (0..channels).map(|channel| self.forecasts.expected(channel, index)).collect()
    }

    fn restart(&mut self, index: u32, expected: u32, events: &mut Vec<Event>) {
        self.health.restarts += 1;
        self.next = None;
        self.rows.clear();
        self.forecasts = Forecasts::default();
        self.failing.clear();
        self.clock = None;
        events.push(Event::Restart { index, expected });
    }

    fn absent(&mut self, index: u32, samples: u32, events: &mut Vec<Event>) {
        if samples > 0 {
            self.health.absent += u64::from(samples);
            events.push(Event::Gap { index, samples });
        }
    }

    fn count(&mut self, row: &Row) {
        self.health.samples += 1;
        self.health.missing += row.values.iter().filter(|value| value.is_nan()).count() as u64;
    }

    fn push(&mut self, row: Row, events: &mut Vec<Event>) {
        self.count(&row);
        self.rows.push_back(row.clone());
        while self.rows.len() > KEPT {
            self.rows.pop_front();
        }
        events.push(Event::Sample(row));
    }

    fn sampled(&mut self, Sampled { index, values }: Sampled, now: Timestamp, events: &mut Vec<Event>) {
        self.widen(values.len());
        self.last = Some(now);
        match self.next {
            Some(next) if index < next => self.restart(index, next, events),
            Some(next) => self.absent(next, index - next, events),
            None => {}
        }
        self.next = Some(index.saturating_add(1));
        let expected = self.expected(index, values.len());
        let mut values = values.to_vec();
        values.resize(self.channels.len().max(values.len()), f32::NAN);
        self.push(Row { index, came: Some(now), values, expected }, events);
    }

    fn gated(&mut self, gated: &Gated, now: Timestamp, events: &mut Vec<Event>) -> Result<Option<Request>> {
        self.widen(gated.values.len());
        self.last = Some(now);
        let report: gateway::Report = gated.report();
        if self.next.is_some_and(|next| report.index.saturating_sub(next) > MOST_FILLED) {
            self.filled = None;
        }
        if self.filled.is_none()
            && let Some(Model { bytes, .. }) = &self.model
        {
            self.filled = Some(Filled::new(bytes)?);
        }
        let follows = self.filled.as_ref().is_some_and(|filled| filled.follows(&report));
        if !follows {
            self.alone(gated, now, events);
            self.once(if self.filled.is_some() { NO_START } else { NO_MODEL }, events);
            let anew = self.anew && self.filled.is_some();
            return Ok(anew.then_some(Request::Reports { after: None }));
        }
        let Some(mut filled) = self.filled.take() else { return Ok(None) };
        if filled.restarts(&report) {
            self.restart(report.index, self.next.unwrap_or(0), events);
            filled.restart()?;
        }
        let channels = self.channels.len();
        let expected = self.expected(report.index, channels);
        let ask = filled.receive(&report, expected, now)?;
        self.absent(report.index.saturating_sub(report.missed), report.missed, events);
        let settled = filled.settled(channels);
        settled.iter().for_each(|row| self.count(row));
        events.extend(settled.into_iter().map(Event::Sample));
        self.filled = Some(filled);
        self.next = Some(self.next.unwrap_or(0).max(report.index.saturating_add(1)));
        self.redraw();
        Ok(match ask {
            Some(gateway::Ask::After(index)) => Some(Request::Reports { after: Some(index) }),
            // What cannot be built on was kept away above.
            Some(gateway::Ask::Anew) | None => None,
        })
    }

    /// A report as it came, where nothing can be filled in.
    fn alone(&mut self, gated: &Gated, now: Timestamp, events: &mut Vec<Event>) {
        let index = gated.index;
        match self.next {
            Some(next) if index < next && gated.silent.is_none() => self.restart(index, next, events),
            // It was sent again.
            Some(next) if index < next => return,
            _ => {}
        }
        self.absent(index.saturating_sub(gated.missed), gated.missed, events);
        self.next = Some(index.saturating_add(1));
        let expected = self.expected(index, gated.values.len());
        self.push(Row { index, came: Some(now), values: gated.values.to_vec(), expected }, events);
    }

    /// What a gateway knows, as it knows it now.
    fn redraw(&mut self) {
        let (Some(filled), Some(Model { header, .. }), Some(levels)) = (&self.filled, &self.model, self.levels) else {
            return;
        };
        self.rows = filled.rows(KEPT, self.channels.len()).collect();
        filled.forecast(header, levels, &mut self.forecasts);
    }

    fn forecast(&mut self, chunk: &Chunk, events: &mut Vec<Event>) {
        let Some(levels) = self.levels else { return self.once(NO_LEVELS, events) };
        self.widen(usize::from(chunk.channel) + 1);
        let Some(steps) = self.forecasts.take(chunk, levels) else { return };
        if self.horizon() != Some(steps) {
            return;
        }
        if let Some(fan) = self.forecasts.newest(chunk.channel.into()) {
            let (index, channel, steps) = (chunk.index, chunk.channel, fan.steps.clone());
            events.push(Event::Forecast { index, channel, steps });
        }
    }

    fn horizon(&self) -> Option<usize> {
        let model = self.model.as_ref().map(|model| model.header.horizon);
        model.or(self.hello.as_ref().map(|hello| hello.horizon)).map(usize::from)
    }

    /// The time between two samples, where it is known.
    pub fn interval(&self) -> Option<Duration> {
        let interval_ms = self.model.as_ref().map(|model| model.header.interval_ms)?;
        (interval_ms > 0).then(|| Duration::from_millis(interval_ms))
    }

    /// The channels that there are.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The last samples.
    pub const fn rows(&self) -> &VecDeque<Row> {
        &self.rows
    }

    /// What comes next.
    pub const fn forecasts(&self) -> &Forecasts {
        &self.forecasts
    }

    /// The counts.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Sensors that fail.
    pub const fn failing(&self) -> &BTreeMap<u8, SensorNotice> {
        &self.failing
    }

    /// The clock, where it is not believed.
    pub const fn clock(&self) -> Option<&ClockNotice> {
        self.clock.as_ref()
    }

    /// When a sample came last.
    pub const fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Who the board is, where it said so.
    pub const fn board(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// What the board counts.
    pub const fn stats(&self) -> Option<&Stats> {
        self.stats.as_ref()
    }

    /// What happened, the last at the end.
    pub const fn news(&self) -> &VecDeque<(Timestamp, String)> {
        &self.news
    }
}
