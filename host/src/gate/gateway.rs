//! The gateway's end of a gated line: it fills in what the board did not send, and mends what a lost report made wrong.
//!
//! ```text
//! every report says which one came before it
//! it is the last that came   go back to the state after that one, fill in the silence, take the report
//! another                    one was lost: ask for what came after the last, go on with what there is, remember the rest
//! ```

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use flowcast_core::format::MAX_CHANNELS;
use flowcast_core::gate::{self, SILENCE};

use crate::forecaster::Kept;

/// Reports and what is filled in, wide enough for any model.
pub type Report = gate::Report<MAX_CHANNELS>;
type Filler = gate::Filler<MAX_CHANNELS, SILENCE>;

/// What the board is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The reports after that of this sample.
    After(u32),
    /// To start anew: nothing that came can be built on.
    Anew,
}

/// The state after a report that nothing is missing before.
struct Mark {
    snapshot: Vec<u8>,
    filler: Filler,
    /// The report's sample.
    index: u32,
}

/// The gateway.
pub struct Gateway<'f> {
    forecaster: Box<dyn Kept + Send + 'f>,
    filler: Filler,
    mark: Option<Mark>,
    /// Reports after one that was lost, by their samples.
    waiting: BTreeMap<u32, Report>,
    /// The first sample that it has a value of still.
    first: u32,
    /// Every sample, as far as it is known. `[sample][CHANNELS]`
    values: Vec<[f32; MAX_CHANNELS]>,
}

impl<'f> Gateway<'f> {
    /// A gateway that waits for a board to start anew.
    pub fn new(forecaster: Box<dyn Kept + Send + 'f>) -> Self {
        let (filler, waiting) = (Filler::new(), BTreeMap::new());
        Self { forecaster, filler, mark: None, waiting, first: 0, values: Vec::new() }
    }

    /// A gateway whose forecaster has seen so many samples, the same as the board's.
    ///
    /// # Errors
    /// The forecaster has no model.
    pub fn after(forecaster: Box<dyn Kept + Send + 'f>, samples: u32) -> Result<Self> {
        let mut gateway = Self { filler: Filler::after(samples), first: samples, ..Self::new(forecaster) };
        if let Some(last) = samples.checked_sub(1) {
            gateway.keep(last)?;
        }
        Ok(gateway)
    }

    /// The next sample.
    pub fn index(&self) -> u32 {
        self.filler.index()
    }

    /// Every sample that is not forgotten, as far as it is known, up to the last; what was filled in after a lost report is mended once that has
    /// come. `[sample][CHANNELS]`
    pub fn values(&self) -> &[[f32; MAX_CHANNELS]] {
        &self.values
    }

    /// Forgets what will not change any more but the last samples, at least so many.
    pub fn forget_all_but(&mut self, last: usize) {
        let settled = self.settled().map_or(0, |settled| settled.saturating_sub(self.first) as usize);
        let old = self.values.len().saturating_sub(last).min(settled);
        // Half of them at a time, that a sample costs little.
        if old > last {
            self.values.drain(..old);
            self.first += old as u32;
        }
    }

    /// Whether nothing is missing before what came last, as far as anybody can know.
    pub fn is_whole(&self) -> bool {
        self.mark.is_some() && self.waiting.is_empty()
    }

    /// The last sample that nothing is missing before: what is known up to it stays as it is.
    pub fn settled(&self) -> Option<u32> {
        self.mark.as_ref().map(|mark| mark.index)
    }

    /// The forecaster, to be asked.
    pub fn forecaster(&self) -> &(dyn Kept + Send + 'f) {
        self.forecaster.as_ref()
    }

    /// A sample's time has passed, and nothing came.
    pub fn fill(&mut self) {
        let filled = self.filler.fill(self.forecaster.as_mut());
        self.values.push(filled);
    }

    /// Takes a report, in whatever order they come; says what the board is to be asked for.
    ///
    /// # Errors
    /// What was kept does not go back into the forecaster.
    pub fn receive(&mut self, report: &Report) -> Result<Option<Ask>> {
        let now = self.index().max(report.index.saturating_add(1));
        let last = self.mark.as_ref().map(|mark| mark.index);
        let anew = report.silent.is_none();
        if last.is_some_and(|last| report.index <= last) {
            return Ok(None); // It came before.
        }
        if !anew && (last.is_none() || report.before() != last) {
            self.waiting.insert(report.index, *report);
            if report.index >= self.index() {
                self.apply(report);
            }
            return Ok(Some(last.map_or(Ask::Anew, Ask::After)));
        }
        let mut next = Some(*report);
        while let Some(report) = next {
            self.go_back()?;
            self.apply(&report);
            self.keep(report.index)?;
            self.waiting = self.waiting.split_off(&(report.index.saturating_add(1)));
            next = self.waiting.values().next().filter(|next| next.before() == Some(report.index)).copied();
        }
        // What waits still is applied as far as it goes.
        let rest: Vec<Report> = self.waiting.values().copied().collect();
        rest.iter().for_each(|report| self.apply(report));
        while self.index() < now {
            self.fill();
        }
        Ok((!rest.is_empty()).then(|| Ask::After(self.mark.as_ref().map_or(0, |mark| mark.index))))
    }

    /// Fills in what came before a report, and takes it.
    fn apply(&mut self, report: &Report) {
        if self.mark.is_none() && report.silent.is_none() {
            // Nothing before it means anything.
            if self.values.is_empty() {
                self.first = report.index;
            }
            self.values.truncate(report.index.saturating_sub(self.first) as usize);
            self.filler = Filler::after(self.first + self.values.len() as u32);
        }
        let missed = report.index.saturating_sub(report.missed);
        while self.index() < missed {
            self.fill();
        }
        let skipped = report.index.saturating_sub(self.index());
        if skipped > 0 {
            self.filler.skip(self.forecaster.as_mut(), skipped);
            self.values.extend((0..skipped).map(|_| [f32::NAN; MAX_CHANNELS]));
        }
        self.filler.take(self.forecaster.as_mut(), report);
        self.values.push(report.values);
    }

    /// To the state after the last report that nothing is missing before.
    fn go_back(&mut self) -> Result<()> {
        let Some(Mark { snapshot, filler, index }) = &self.mark else { return Ok(()) };
        if self.filler == *filler {
            return Ok(());
        }
        self.forecaster.restore(snapshot).context("a snapshot that was kept")?;
        self.filler = filler.clone();
        self.values.truncate((index + 1).saturating_sub(self.first) as usize);
        Ok(())
    }

    fn keep(&mut self, index: u32) -> Result<()> {
        let mut snapshot = self.mark.take().map(|mark| mark.snapshot).unwrap_or_default();
        snapshot.resize(self.forecaster.snapshot_bytes(), 0);
        self.forecaster.snapshot(&mut snapshot).context("the forecaster's state")?;
        self.mark = Some(Mark { snapshot, filler: self.filler.clone(), index });
        Ok(())
    }
}
