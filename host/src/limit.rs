//! Limits on the command line, `T2m>25`: for `flowcast detect`, which says what their warnings are worth, and for `flowcast
//! flash`, which puts them into a firmware.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use flowcast_core::format::{Channel, Header};
use flowcast_core::warning::{Limit, Line, Side};

use crate::duration::Steps;

/// Part of the command line.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Limits {
    /// Warn when the forecast crosses this: CHANNEL>VALUE or CHANNEL<VALUE, in the channel's unit
    #[arg(long = "limit", value_name = "CHANNEL>VALUE")]
    pub limits: Vec<Wanted>,
    /// Look so far ahead for it [default: the model's horizon]
    #[arg(long, value_name = "N|DURATION", requires = "limits")]
    pub within: Option<Steps>,
    /// Take it for crossed no longer once everything is so far on the other side, in the channel's unit [default: a tenth of the
    /// channel's deviation]
    #[arg(long, value_name = "VALUE", requires = "limits", value_parser = margin, allow_negative_numbers = true)]
    pub margin: Option<f32>,
}

/// `--margin`.
fn margin(text: &str) -> Result<f32, String> {
    let margin = text.parse::<f32>().ok().filter(|margin| margin.is_finite() && *margin >= 0.0);
    margin.ok_or_else(|| format!("found `{text}`, expected a number from 0 on"))
}

/// A limit as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    channel: String,
    side: Side,
    value: f32,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("found `{text}`, expected a channel, > or <, and a number, such as T2m>25");
        let place = text.rfind(['>', '<']).ok_or_else(expected)?;
        let (channel, rest) = text.split_at(place);
        let (side, value) = rest.split_at(1);
        let value = value.trim().parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(expected)?;
        let side = if side == ">" { Side::Above } else { Side::Below };
        match channel.trim() {
            "" => Err(expected()),
            channel => Ok(Self { channel: channel.to_owned(), side, value }),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Above { '>' } else { '<' };
        write!(f, "{} {side} {}", self.channel, self.value)
    }
}

impl Limits {
    /// The limits for a model, each with its median.
    ///
    /// # Errors
    /// The model has no such channel or does not forecast it, or the reach is longer than its horizon.
    pub fn of(&self, header: &Header, model: &[u8]) -> Result<Vec<Limit>> {
        let channels = (0..usize::from(header.targets)).filter_map(|index| header.channel(model, index));
        let channels: Vec<Channel<'_>> = channels.collect();
        let within = match self.within {
            Some(steps) => steps.of_option("within", header.interval_ms)?,
            None => header.horizon.into(),
        };
        ensure!(
            (1..=usize::from(header.horizon)).contains(&within),
            "--within: found {within} steps, expected 1 to the model's horizon, {}",
            header.horizon
        );
        ensure!(u8::try_from(self.limits.len()).is_ok(), "found {} limits, expected at most 255", self.limits.len());
        let limit = |wanted: &Wanted| {
            let index = channels.iter().position(|channel| channel.name == wanted.channel).with_context(|| {
                let names: Vec<&str> = channels.iter().map(|channel| channel.name).collect();
                format!(
                    "--limit {wanted}: found the channel {}, expected one that the model forecasts: {}",
                    wanted.channel,
                    names.join(", ")
                )
            })?;
            let Channel { scale, valid_min, valid_max, .. } = channels[index];
            ensure!(
                (valid_min..=valid_max).contains(&wanted.value),
                "--limit {wanted}: readings beyond {valid_min} to {valid_max} count as missing until they are a new level, expected a limit between \
                 them"
            );
            let margin = self.margin.unwrap_or(0.1 * scale);
            let (side, value, within) = (wanted.side, wanted.value, within as u16);
            Ok(Limit { channel: index as u16, side, value, margin, line: Line::Median, within })
        };
        self.limits.iter().map(limit).collect()
    }
}

/// Limits as the firmware's `build.rs` reads them.
pub fn variable(limits: &[Limit]) -> String {
    let one = |limit: &Limit| {
        let Limit { channel, side, value, margin, line, within } = limit;
        let side = if *side == Side::Above { "above" } else { "below" };
        let line = match line {
            Line::Near => "near",
            Line::Median => "median",
            Line::Far => "far",
        };
        format!("{channel} {side} {value} {margin} {line} {within}")
    };
    limits.iter().map(one).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_nonsense_is_refused() {
        for (text, shown) in [("T2m>25", "T2m > 25"), ("a > b < -1.5", "a > b < -1.5"), ("x<1e3", "x < 1000")] {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), shown);
        }
        for text in ["T2m", ">25", "T2m>", "T2m>warm", "T2m>inf", "T2m=25"] {
            assert!(text.parse::<Wanted>().unwrap_err().contains(text), "{text}");
        }
        assert_eq!((margin("0"), margin("1.5")), (Ok(0.0), Ok(1.5)));
        for text in ["-1", "NaN", "inf", "wide"] {
            assert!(margin(text).unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn the_firmware_is_told_in_fields() {
        let limit = Limit { channel: 0, side: Side::Above, value: 25.0, margin: 0.5, line: Line::Median, within: 36 };
        let below = Limit { channel: 2, side: Side::Below, value: -0.25, line: Line::Far, ..limit };
        assert_eq!(variable(&[limit, below]), "0 above 25 0.5 median 36;2 below -0.25 0.5 far 36");
        assert_eq!(variable(&[]), "");
    }
}
