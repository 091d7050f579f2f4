//! A gated board's samples, those that it sent and those that this end filled in (`crate::gate::gateway`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use flowcast_core::format::Header;
use flowcast_core::gate::SILENCE;
use jiff::Timestamp;

use super::event::Row;
use super::fan::{Expected, Fan, Forecasts, Levels};
use super::watch::KEPT;
use crate::forecaster;
use crate::gate::gateway::{Ask, Gateway, Report};

/// Samples after which a board that could not be asked keeps its reports no more: 16 of them.
const FORGOTTEN: u32 = 16 * SILENCE as u32;

const _: () = assert!(FORGOTTEN as usize <= KEPT, "what is not told yet is kept");

/// The gateway and what it has told.
pub struct Filled<'m> {
    model: &'m [u8],
    gateway: Gateway<'m>,
    /// The last report, and when it came.
    last: Option<(u32, Timestamp)>,
    /// Reports that came: when, and what was expected of them then.
    came: BTreeMap<u32, (Timestamp, Vec<Option<Expected>>)>,
    /// The next sample to be told.
    told: Option<u32>,
}

impl<'m> Filled<'m> {
    /// Before the first report.
    ///
    /// # Errors
    /// The bytes are no model.
    pub fn new(model: &'m [u8]) -> Result<Self> {
        let gateway = Gateway::new(forecaster::open(model)?);
        Ok(Self { model, gateway, last: None, came: BTreeMap::new(), told: None })
    }

    /// Whether a report can be built on: it starts anew, or follows what is there.
    pub fn follows(&self, report: &Report) -> bool {
        report.silent.is_none() || self.gateway.settled().is_some()
    }

    /// Whether a report says that the board has started again.
    pub fn restarts(&self, report: &Report) -> bool {
        report.silent.is_none() && self.gateway.settled().is_some_and(|settled| report.index <= settled)
    }

    /// Forgets all.
    ///
    /// # Errors
    /// As [`Filled::new`].
    pub fn restart(&mut self) -> Result<()> {
        *self = Self::new(self.model)?;
        Ok(())
    }

    /// Takes a report of which this was expected; says what the board is to be asked for.
    ///
    /// # Errors
    /// As [`Gateway::receive`].
    pub fn receive(&mut self, report: &Report, expected: Vec<Option<Expected>>, now: Timestamp) -> Result<Option<Ask>> {
        let ask = self.gateway.receive(report)?;
        self.came.entry(report.index).or_insert((now, expected));
        self.told.get_or_insert(report.index);
        if self.last.is_none_or(|(last, _)| report.index > last) {
            self.last = Some((report.index, now));
        }
        Ok(ask)
    }

    /// Fills in the samples whose time has passed, by a live board's clock; true if there were any.
    pub fn pass(&mut self, interval: Duration, now: Timestamp) -> bool {
        let Some((last, came)) = self.last else { return false };
        let passed = Duration::try_from(now.duration_since(came)).unwrap_or_default();
        // Half an interval is for a report that is on its way.
        let samples = (passed + interval / 2).as_millis() / interval.as_millis().max(1);
        let silent = (samples.saturating_sub(1) as u32).min(SILENCE as u32 - 1);
        let before = self.gateway.index();
        while self.gateway.index() < last.saturating_add(1).saturating_add(silent) {
            self.gateway.fill();
        }
        self.gateway.index() > before
    }

    /// The last samples, as far as they are known.
    pub fn rows(&self, most: usize, channels: usize) -> impl Iterator<Item = Row> + '_ {
        let values = self.gateway.values();
        let first = self.gateway.index().saturating_sub(values.len() as u32);
        let skipped = values.len().saturating_sub(most);
        (skipped..values.len()).map(move |place| self.row(first + place as u32, &values[place][..channels]))
    }

    fn row(&self, index: u32, values: &[f32]) -> Row {
        let came = self.came.get(&index);
        let expected = came.map_or_else(|| vec![None; values.len()], |(_, expected)| expected.clone());
        Row { index, came: came.map(|(came, _)| *came), values: values.to_vec(), expected }
    }

    /// Samples that will not change any more and were not told before: whoever keeps them, keeps them for good.
    pub fn settled(&mut self, channels: usize) -> Vec<Row> {
        let (Some(told), values) = (self.told, self.gateway.values()) else { return Vec::new() };
        let first = self.gateway.index().saturating_sub(values.len() as u32);
        let settled = self.gateway.settled().map_or(0, |last| last.saturating_add(1));
        let end = settled.max(self.gateway.index().saturating_sub(FORGOTTEN));
        let start = told.max(first);
        let rows = (start..end).filter_map(|index| {
            let values = values.get((index - first) as usize)?;
            Some(self.row(index, &values[..channels]))
        });
        let rows: Vec<Row> = rows.collect();
        self.told = Some(told.max(end));
        self.came = self.came.split_off(&end.saturating_sub(FORGOTTEN * 8));
        self.gateway.forget_all_but(KEPT);
        rows
    }

    /// Has the gateway's own forecaster say what comes, where it knows all that the board does.
    pub fn forecast(&self, header: &Header, levels: Levels, forecasts: &mut Forecasts) {
        let forecaster = self.gateway.forecaster();
        if !self.gateway.is_whole() || !forecaster.is_ready() {
            return;
        }
        let index = self.gateway.index().saturating_sub(1);
        for channel in 0..header.channels.into() {
            let mut fan = Fan { index, steps: Vec::new() };
            forecaster.for_each_step(channel, &mut |_, step| fan.steps.extend(levels.band(step)));
            if !fan.steps.is_empty() {
                forecasts.put(channel, fan);
            }
        }
    }
}
