//! What happens on a board, one event for each line of `flowcast monitor --json`, and its words for people.

use flowcast_core::wire::{Hello, Stats};
use jiff::Timestamp;
use serde::Serialize;

use super::fan::{Band, Expected};
use crate::plural::counted;

/// A sample as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Samples before it.
    pub index: u32,
    /// When it came; `None`: it did not, a gateway filled it in.
    pub came: Option<Timestamp>,
    /// `[CHANNELS]`; NaN is a missing value.
    pub values: Vec<f32>,
    /// What the newest forecast before it said. `[CHANNELS]`
    pub expected: Vec<Option<Expected>>,
}

impl Row {
    /// How far a channel's value is above what was expected.
    pub fn residual(&self, channel: usize) -> Option<f32> {
        let (value, expected) = (self.values.get(channel)?, (*self.expected.get(channel)?)?);
        Some(value - expected.band.median).filter(|residual| residual.is_finite())
    }
}

/// A channel, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Its unit, or nothing.
    pub unit: String,
}

impl Channel {
    /// A number with its unit.
    pub fn value(&self, value: f32) -> String {
        let value = if value.is_nan() { "missing".to_owned() } else { figures(value) };
        if self.unit.is_empty() { value } else { format!("{value} {}", self.unit) }
    }
}

/// Enough of a number to tell it from its neighbours on a screen.
pub fn figures(value: f32) -> String {
    match value.abs() {
        size if size >= 1e6 || size > 0.0 && size < 1e-3 => format!("{value:.2e}"),
        size if size >= 1e3 => format!("{value:.0}"),
        size if size >= 1e2 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A sample came, or was filled in.
    Sample(Row),
    /// Samples did not come: they were not taken, or were lost on the way.
    Gap {
        /// The first of them.
        index: u32,
        /// How many.
        samples: u32,
    },
    /// The board counts from somewhere before: it started again.
    Restart {
        /// The sample that came.
        index: u32,
        /// The one that was next.
        expected: u32,
    },
    /// A whole forecast.
    Forecast {
        /// The sample after which it was made.
        index: u32,
        /// Of this channel.
        channel: u16,
        /// Step by step; the first is the next sample.
        steps: Vec<Band>,
    },
    /// A sample came unexpectedly.
    Alert {
        /// The sample.
        index: u32,
        /// The channel.
        channel: u16,
        /// Its value.
        value: f32,
        /// As a board tells it: −ln p, p the share of samples that are as strange.
        surprise: f32,
    },
    /// A limit is about to be crossed, or is.
    Warning {
        /// The sample after which it is told.
        index: u32,
        /// The channel.
        channel: u16,
        /// The limit.
        threshold: f32,
        /// What is forecast for then, or has come.
        value: f32,
        /// Steps until then; 0: it is crossed.
        steps_ahead: u16,
    },
    /// A sensor fails, or works again.
    Sensor {
        /// The sample.
        index: u32,
        /// Which sensor.
        sensor: u8,
        /// What is wrong; `None`: nothing any more.
        fault: Option<String>,
        /// Samples in a row.
        run: u32,
    },
    /// A clock with a battery fails or is not believed, or is believed again.
    Clock {
        /// The sample.
        index: u32,
        /// What is wrong; `None`: nothing any more.
        fault: Option<String>,
        /// Times in a row.
        run: u32,
    },
    /// A board said who it is.
    Board {
        /// The model that it runs.
        model: String,
        /// Its firmware's version.
        firmware: String,
        /// Channels of a sample.
        channels: u16,
        /// Steps of a forecast.
        horizon: u16,
    },
    /// A board's account of itself.
    Stats {
        /// Samples without a value.
        missing: u32,
        /// Frames that it did not understand.
        bad_frames: u32,
        /// Times that its clock was not believed.
        clock_faults: u32,
        /// Bytes of static RAM.
        ram_bytes: u32,
        /// Bytes of stack.
        stack_bytes: u32,
    },
    /// The board would not do what was asked, or has nothing to run.
    Refused {
        /// Why.
        reason: String,
    },
    /// Something that the user should know.
    Note {
        /// What.
        note: String,
    },
    /// The line is gone; it is opened again as soon as it is there.
    Lost {
        /// Why.
        reason: String,
    },
    /// The line is there again.
    Back,
}

impl From<&Hello> for Event {
    fn from(hello: &Hello) -> Self {
        let [major, minor, patch] = hello.firmware;
        Self::Board {
            model: format!("{:08x}", hello.model),
            firmware: format!("{major}.{minor}.{patch}"),
            channels: hello.channels,
            horizon: hello.horizon,
        }
    }
}

impl From<&Stats> for Event {
    fn from(stats: &Stats) -> Self {
        let Stats { missing, bad_frames, clock_faults, ram_bytes, stack_bytes, .. } = *stats;
        Self::Stats { missing, bad_frames, clock_faults, ram_bytes, stack_bytes }
    }
}

impl Event {
    /// Whether it is news, and not the stream itself.
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::Sample(_) | Self::Forecast { .. } | Self::Stats { .. })
    }

    /// The event in words.
    pub fn words(&self, channels: &[Channel]) -> String {
        let of = |channel: u16| channels.get(usize::from(channel)).cloned().unwrap_or_default();
        match self {
            Self::Sample(row) => {
                let values = row.values.iter().enumerate().map(|(index, value)| {
                    let channel = channels.get(index).cloned().unwrap_or_default();
                    let expected = row.expected.get(index).copied().flatten().map(|Expected { ahead, band }| {
                        let Band { lower, median, upper } = band;
                        let before = if ahead == 1 { String::new() } else { format!(", {ahead} before") };
                        let [lower, median, upper] = [lower, median, upper].map(figures);
                        format!(" (expected {median}, {lower} to {upper}{before})")
                    });
                    format!("{} {}{}", channel.name, channel.value(*value), expected.unwrap_or_default())
                });
                let filled = if row.came.is_none() { "filled in: " } else { "" };
                format!("sample {}: {filled}{}", row.index, values.collect::<Vec<_>>().join(", "))
            }
            Self::Gap { index, samples: 1 } => format!("sample {index} did not come"),
            Self::Gap { index, samples } => format!("{samples} samples from {index} on did not come"),
            Self::Restart { index, expected } => {
                format!("the board started again: sample {index}, expected {expected}")
            }
            Self::Forecast { index, channel, steps } => {
                format!("forecast after sample {index} of {}, {}", of(*channel).name, counted(steps.len(), "step"))
            }
            Self::Alert { index, channel, value, surprise } => {
                let Channel { name, .. } = of(*channel);
                let one_in = figures(surprise.exp());
                format!("ALERT sample {index}: {name} {}, one in {one_in} is as strange", of(*channel).value(*value))
            }
            Self::Warning { index, channel, threshold, value, steps_ahead } => {
                let (channel, limit) = (of(*channel), of(*channel).value(*threshold));
                let value = channel.value(*value);
                match steps_ahead {
                    0 => format!("WARNING sample {index}: {} {value} is beyond {limit}", channel.name),
                    steps => {
                        format!(
                            "WARNING sample {index}: {} will be beyond {limit} in {} ({value})",
                            channel.name,
                            counted(steps, "sample")
                        )
                    }
                }
            }
            Self::Sensor { index, sensor, fault: Some(fault), run } => {
                format!("SENSOR {sensor} at sample {index}: {fault}, {run} in a row")
            }
            Self::Sensor { index, sensor, fault: None, run } => {
                format!("sensor {sensor} works again at sample {index}, after {run}")
            }
            Self::Clock { index, fault: Some(fault), run } => {
                format!("CLOCK at sample {index}: {fault}, {run} in a row")
            }
            Self::Clock { index, fault: None, run } => {
                format!("the clock is believed again at sample {index}, after {run}")
            }
            Self::Board { model, firmware, channels, horizon } => {
                let (channels, horizon) = (counted(channels, "channel"), counted(horizon, "step"));
                format!("board with firmware {firmware}, model {model}: {channels}, {horizon} ahead")
            }
            Self::Stats { missing, bad_frames, clock_faults, ram_bytes, stack_bytes } => format!(
                "board: {} missing, {}, {}, {ram_bytes} bytes of RAM, {stack_bytes} of stack",
                counted(missing, "sample"),
                counted(bad_frames, "bad frame"),
                counted(clock_faults, "clock fault")
            ),
            Self::Refused { reason } => format!("the board refuses: {reason}"),
            Self::Note { note } => note.clone(),
            Self::Lost { reason } => format!("{reason}; waiting for the line"),
            Self::Back => "the line is there again".to_owned(),
        }
    }
}
