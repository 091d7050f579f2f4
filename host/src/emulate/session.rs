//! One conversation with a board: samples go out, forecasts come back, and this machine's own core, fed the same,
//! must say the same to the bit.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use flowcast_core::forecaster::Streaming;
use flowcast_core::wire::{Chunk, FRAME_VALUES, Hello, Observed, Reply, Request, Stats};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::link::{Link, LinkError, unexpected};

/// The samples after which the instructions of one `observe` are noted, counted from 1.
pub const MARKS: [u32; 3] = [10, 1_000, 100_000];

/// How to hold the conversation.
pub struct Options<'o> {
    /// A forecast after each so many samples; 0 = none.
    pub every: usize,
    /// Requests in flight, at least 1; as many as the line holds.
    pub window: usize,
    /// The sample, counted from 0, whose forecast is kept to be shown.
    pub keep: Option<usize>,
    /// Bytes to send before the request of this number: what a bad line would add.
    pub noise: Option<&'o mut dyn FnMut(usize) -> Vec<u8>>,
    /// Moves with each sample.
    pub progress: ProgressBar,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { every: 1, window: 32, keep: None, noise: None, progress: ProgressBar::hidden() }
    }
}

/// The first value that a board and this machine do not agree on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The sample after which the forecast was made, counted from 0.
    pub sample: u32,
    /// The channel.
    pub channel: usize,
    /// 1 is the next sample.
    pub steps_ahead: usize,
    /// Which of the model's levels.
    pub quantile: usize,
    /// The board's value; `None` where it sent none.
    pub board: Option<f32>,
    /// This machine's.
    pub host: Option<f32>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = |value: Option<f32>| match value {
            Some(value) => format!("{value} ({:08x})", value.to_bits()),
            None => "nothing".to_owned(),
        };
        let Self { sample, channel, steps_ahead, quantile, board, host } = self;
        write!(
            f,
            "forecast after sample {sample}, channel {channel}, {steps_ahead} ahead, quantile {quantile}: \
             the board says {}, this machine {}",
            value(*board),
            value(*host)
        )
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the board is.
    pub hello: Hello,
    /// Samples streamed, missing ones included.
    pub samples: u32,
    /// Forecasts compared.
    pub forecasts: u32,
    /// Values compared.
    pub values: u64,
    /// Where board and host first differ, if they do.
    pub difference: Option<Difference>,
    /// Instructions of `observe` at [`MARKS`].
    pub marks: BTreeMap<u32, u32>,
    /// The board's account at the end.
    pub stats: Stats,
    /// The forecast that was to be kept: `[channel][step][quantile]`, a channel without a forecast empty.
    pub kept: Vec<Vec<f32>>,
    /// Wall time of the stream.
    pub seconds: f64,
}

/// One request and the rows that it stands for.
enum Part {
    Samples { start: usize, count: usize, forecast: bool },
    Gap { start: usize, count: usize },
}

impl Part {
    fn rows(&self) -> std::ops::Range<usize> {
        match *self {
            Part::Samples { start, count, .. } | Part::Gap { start, count } => start..start + count,
        }
    }
}

/// Cuts rows into requests: as many samples in one as fit, cut at marks and forecasts; runs of rows without any value
/// become gaps.
fn parts(rows: &[Vec<f32>], channels: usize, every: usize, keep: Option<usize>) -> Vec<Part> {
    let fit = (FRAME_VALUES / channels).max(1);
    let mut parts: Vec<Part> = Vec::new();
    for (row, sample) in rows.iter().enumerate() {
        let forecast = (every > 0 && (row + 1).is_multiple_of(every)) || keep == Some(row);
        let alone = MARKS.contains(&(row as u32 + 1));
        let missing = !forecast && !alone && sample.iter().all(|value| value.is_nan());
        match parts.last_mut() {
            Some(Part::Gap { count, .. }) if missing => *count += 1,
            Some(Part::Samples { start, count, forecast: false })
                if !missing && *count < fit && !MARKS.contains(&((*start + *count) as u32)) =>
            {
                *count += 1;
                if forecast || alone {
                    let (start, count) = (*start, *count);
                    parts.pop();
                    parts.push(Part::Samples { start, count, forecast });
                }
            }
            _ if missing => parts.push(Part::Gap { start: row, count: 1 }),
            _ => parts.push(Part::Samples { start: row, count: 1, forecast }),
        }
    }
    parts
}

/// Streams `rows`, each `[channels]` with NaN for a missing value, to a board that runs the model of `host`, and
/// compares every value of every forecast with `host`'s. Both start from nothing.
///
/// # Errors
/// The line fails, the board refuses, or it runs another model than `host`.
pub fn stream<LINE: Read + Write>(
    link: &mut Link<LINE>,
    host: &mut dyn Streaming,
    rows: &[Vec<f32>],
    options: Options<'_>,
) -> Result<Outcome, SessionError> {
    let hello = link.hello()?;
    let header = host.header();
    let channels = usize::from(header.channels);
    if hello.model != header.identity {
        return Err(SessionError::OtherModel { found: hello.model, expected: header.identity });
    }
    let Options { every, window, keep, mut noise, progress } = options;
    link.reset()?;
    host.reset();

    let parts = parts(rows, channels, every, keep);
    let mut comparison = Comparison::new(host);
    let mut marks = BTreeMap::new();
    let mut kept = Vec::new();
    let mut flying: VecDeque<&Part> = VecDeque::new();
    let mut waiting = parts.iter().enumerate();
    let started = Instant::now();
    loop {
        if crate::interrupt::requested() {
            return Err(SessionError::Interrupted);
        }
        while flying.len() < window.max(1) {
            let Some((number, part)) = waiting.next() else { break };
            if let Some(noise) = &mut noise {
                link.send_bytes(&noise(number))?;
            }
            link.send(&request(part, rows))?;
            flying.push_back(part);
        }
        let Some(part) = flying.pop_front() else { break };
        let (received, observed) = receive(link, part, channels, comparison.quantiles)?;
        let end = part.rows().end as u32;
        match part {
            Part::Samples { forecast, .. } => {
                rows[part.rows()].iter().for_each(|sample| comparison.host.observe(sample));
                if *forecast {
                    comparison.compare(end - 1, &received);
                }
            }
            Part::Gap { count, .. } => comparison.host.observe_gap(*count as u32),
        }
        if observed.ready != comparison.host.is_ready() {
            return Err(SessionError::Readiness { sample: end - 1, board: observed.ready });
        }
        if let (Some(instructions), true) = (observed.instructions, MARKS.contains(&end)) {
            marks.insert(end, instructions);
        }
        if keep.is_some_and(|keep| keep as u32 + 1 == end) {
            kept = received;
        }
        progress.set_position(end.into());
    }
    let seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    let stats = link.stats()?;
    let Comparison { forecasts, values, difference, .. } = comparison;
    Ok(Outcome { hello, samples: rows.len() as u32, forecasts, values, difference, marks, stats, kept, seconds })
}

fn request(part: &Part, rows: &[Vec<f32>]) -> Request {
    match *part {
        Part::Samples { start, forecast, .. } => Request::Samples {
            index: start as u32,
            forecast,
            // `parts` takes no more than fit.
            values: rows[part.rows()].iter().flatten().copied().take(FRAME_VALUES).collect(),
        },
        Part::Gap { start, count } => Request::Gap { index: start as u32, samples: count as u32 },
    }
}

/// The forecast's chunks, put together for each channel, and the reply that closes them.
fn receive<LINE: Read + Write>(
    link: &mut Link<LINE>,
    part: &Part,
    channels: usize,
    quantiles: usize,
) -> Result<(Vec<Vec<f32>>, Observed), LinkError> {
    let index = part.rows().start as u32;
    let mut received = vec![Vec::new(); channels];
    loop {
        match link.receive()? {
            Reply::Observed(observed) if observed.index == index => return Ok((received, observed)),
            Reply::Forecast(chunk) => {
                let (step, channel) = (usize::from(chunk.steps_ahead), usize::from(chunk.channel));
                match received.get_mut(channel) {
                    Some(values) if chunk.index == index && step == values.len() / quantiles + 1 => {
                        values.extend_from_slice(&chunk.values);
                    }
                    _ => return Err(out_of_place(chunk)),
                }
            }
            other => return Err(unexpected(other, "Observed")),
        }
    }
}

fn out_of_place(chunk: Chunk) -> LinkError {
    unexpected(Reply::Forecast(chunk), "the forecast's next steps")
}

/// This machine's forecaster beside the board's forecasts.
struct Comparison<'h> {
    host: &'h mut dyn Streaming,
    quantiles: usize,
    /// One channel's forecast, `[horizon][quantiles]`.
    expected: Vec<f32>,
    forecasts: u32,
    values: u64,
    difference: Option<Difference>,
}

impl<'h> Comparison<'h> {
    fn new(host: &'h mut dyn Streaming) -> Self {
        let quantiles = host.header().quantiles.len();
        let expected = vec![0.0; usize::from(host.header().horizon) * quantiles];
        Self { host, quantiles, expected, forecasts: 0, values: 0, difference: None }
    }

    /// Every value to the bit, and as many of them.
    fn compare(&mut self, sample: u32, received: &[Vec<f32>]) {
        for (channel, board) in received.iter().enumerate() {
            let count = self.host.forecast_into(channel, &mut self.expected);
            let host = &self.expected[..count];
            self.values += count as u64;
            let bits = |values: &[f32], index: usize| values.get(index).map(|value| value.to_bits());
            let differs = |index: &usize| bits(board, *index) != bits(host, *index);
            if self.difference.is_none()
                && let Some(index) = (0..board.len().max(count)).find(differs)
            {
                self.difference = Some(Difference {
                    sample,
                    channel,
                    steps_ahead: index / self.quantiles + 1,
                    quantile: index % self.quantiles,
                    board: board.get(index).copied(),
                    host: host.get(index).copied(),
                });
            }
        }
        self.forecasts += u32::from(received.iter().any(|values| !values.is_empty()));
    }
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The line or the board.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The board runs another model.
    #[error("the board runs model {found:08x}, expected {expected:08x}")]
    OtherModel {
        /// The board's.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The program was asked to end.
    #[error("interrupted")]
    Interrupted,
    /// One of the two has a forecast and the other has none.
    #[error("after sample {sample} the board is {}ready, this machine's core is {}", if *board { "" } else { "not " }, if *board { "not" } else { "ready" })]
    Readiness {
        /// The sample, counted from 0.
        sample: u32,
        /// Whether the board is ready.
        board: bool,
    },
}

/// The last `count` rows of a series, as samples.
///
/// # Errors
/// There are none.
pub fn last_rows(series: &crate::data::Series, count: usize) -> Result<Vec<Vec<f32>>> {
    let rows = series.rows();
    if rows == 0 {
        bail!("no rows to stream");
    }
    Ok((rows - count.min(rows)..rows)
        .map(|row| {
            let mut sample = vec![0.0; series.values.len()];
            series.row(row, &mut sample);
            sample
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_row_once_and_stop_at_marks() {
        let mut rows = vec![vec![1.0, 2.0]; 1_200];
        rows[700..750].fill(vec![f32::NAN; 2]);
        rows[3][0] = f32::NAN;
        for every in [0, 1, 7] {
            let parts = parts(&rows, 2, every, Some(600));
            let mut next = 0;
            for part in &parts {
                assert_eq!(part.rows().start, next);
                next = part.rows().end;
                if let Part::Samples { count, forecast, .. } = part {
                    assert!(count * 2 <= FRAME_VALUES);
                    assert_eq!(*forecast, every > 0 && next % every == 0 || next == 601);
                }
            }
            assert_eq!(next, rows.len());
            assert!(MARKS[..2].iter().all(|mark| parts.iter().any(|part| part.rows().end == *mark as usize)));
            let gaps = parts.iter().filter(|part| matches!(part, Part::Gap { .. })).count();
            assert_eq!(gaps, [1, 0, 8][[0, 1, 7].iter().position(|e| *e == every).unwrap()]);
        }
    }
}
