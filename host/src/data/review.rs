//! What a user should know about data before trusting what a model makes of them, a line each.

use std::ops::Range;

use flowcast_core::format::{Channel, Header};

use super::fault::{Bounds, Fate};
use super::unit_change::{self, Change};
use super::{Series, fault, time};

/// From this share of the rows on, missing readings are worth a line.
const MUCH_MISSING: f64 = 0.5;

/// ... and from this one on, of a column that should be known in advance.
const LITTLE_KNOWN: f64 = 0.05;

impl Series {
    /// A row's time, or its number from 1, for people.
    pub fn when(&self, row: usize) -> String {
        match self.time(row) {
            Some(at) => time::show(at.as_millisecond()),
            None => format!("row {}", row + 1),
        }
    }

    /// Each of these channels' faults, silences and changes of unit in some of the rows, as the device will take them.
    ///
    /// `channels` are the series' columns; the first `targets` of them are forecast, the main season has `period` samples.
    pub fn review(&self, rows: Range<usize>, channels: &[Channel<'_>], targets: usize, period: usize) -> Vec<String> {
        let mut notes = Vec::new();
        for (index, (channel, values)) in channels.iter().zip(&self.values).enumerate() {
            let (name, values) = (channel.name, &values[rows.clone()]);
            let present = values.iter().filter(|value| value.is_finite()).count();
            let (low, high) = (channel.valid_min, channel.valid_max);
            if low == high && index >= targets {
                let what = if present == 0 { "has no reading" } else { "never changes" };
                notes.push(format!("column `{name}` {what}: it tells the model nothing, leave it out"));
                continue;
            }
            if present == 0 {
                let what =
                    if index < targets { "no forecast of it can be made" } else { "the forecasts do without it" };
                notes.push(format!("column `{name}` has no reading at all in these data: {what}"));
                continue;
            }
            if present as f64 <= (1.0 - MUCH_MISSING) * values.len() as f64 {
                let first = values.iter().position(|value| value.is_finite()).unwrap_or(0);
                notes.push(format!(
                    "column `{name}`: {:.0} % of its readings are missing, the first one is of {}",
                    100.0 * (1.0 - present as f64 / values.len() as f64),
                    self.when(rows.start + first)
                ));
            }
            let fates = fault::fates(channel, values);
            notes.extend(fault::note(channel, values, &fates));
            notes.extend(fault::suspect(values).map(|(value, share)| {
                format!(
                    "column `{name}` reads exactly {} in {:.0} % of its readings, far from all others, and that often it is taken for a \
                     measurement: if it is a fault's code, leave those cells empty",
                    fault::show(value),
                    100.0 * share
                )
            }));
            // What never counts as dead may stand still: a plan does.
            if channel.stuck_limit > 0 {
                notes.extend(self.stuck(rows.start, channel, values, &fates, period));
            }
            if let Some(change) = unit_change_of(values, period) {
                notes.push(self.tell(
                    &Change { row: rows.start + change.row, ..change },
                    name,
                    "the two parts do not compare",
                ));
            }
        }
        notes
    }

    /// [`Series::review`] of all rows, by a model file's channels.
    pub fn review_for(&self, header: &Header, model: &[u8]) -> Vec<String> {
        let channels: Vec<Channel<'_>> =
            (0..usize::from(header.channels)).filter_map(|index| header.channel(model, index)).collect();
        let mut notes = self.review(0..self.rows(), &channels, header.targets.into(), header.seasons.period() as usize);
        for index in header.known_channels() {
            let (Some(channel), Some(values)) = (channels.get(index), self.values.get(index)) else { break };
            let missing = values.iter().filter(|value| value.is_nan()).count() as f64 / values.len().max(1) as f64;
            if (LITTLE_KNOWN..MUCH_MISSING).contains(&missing) {
                notes.push(format!(
                    "column `{}`, which the model was trained to know in advance, is missing in {:.0} % of the rows: forecasts that are \
                     not told of it can be worse than those of a model without it",
                    channel.name,
                    100.0 * missing
                ));
            }
        }
        notes
    }

    /// The first column with a certain change of unit in some rows, in words.
    pub fn changed_unit(&self, rows: Range<usize>, period: usize) -> Option<String> {
        let found = self.columns.iter().zip(&self.values).find_map(|(name, values)| {
            let change = unit_change_of(&values[rows.clone()], period).filter(|change| change.certain)?;
            Some((name, change))
        });
        found.map(|(name, change)| {
            self.tell(
                &Change { row: rows.start + change.row, ..change },
                name,
                "convert one part, or give only the rows of one unit",
            )
        })
    }

    fn tell(&self, change: &Change, name: &str, advice: &str) -> String {
        format!("from {} on, column `{name}` {}: {advice}", self.when(change.row), change.kind)
    }

    /// Where a channel stands still for longer than its limit: a line on the longest such stretch.
    fn stuck(
        &self,
        first: usize,
        channel: &Channel<'_>,
        values: &[f32],
        fates: &[Fate],
        period: usize,
    ) -> Option<String> {
        let (mut missing, mut since, mut stretches) = (0, 0, Vec::<(usize, usize)>::new());
        let mut last = f32::NAN;
        for (row, (value, fate)) in values.iter().zip(fates).enumerate() {
            if *fate == Fate::Refused && value.is_finite() {
                last = f32::NAN;
            }
            let inside = (channel.valid_min..=channel.valid_max).contains(value);
            if !inside {
                continue;
            }
            if *value != last {
                (since, last) = (row, *value);
            }
            if *fate == Fate::Stuck {
                missing += 1;
                match stretches.last_mut().filter(|stretch| stretch.0 == since) {
                    Some(stretch) => stretch.1 = row + 1,
                    None => stretches.push((since, row + 1)),
                }
            }
        }
        if let Some(&(start, end)) = stretches.iter().max_by_key(|(start, end)| end - start) {
            let more =
                if stretches.len() > 1 { format!(" ({} such stretches)", stretches.len()) } else { String::new() };
            return Some(format!(
                "column `{}` stands still at {} from {} to {}{more}: {missing} readings taken as missing, is the sensor dead?",
                channel.name,
                fault::show(values[start]),
                self.when(first + start),
                self.when(first + end - 1)
            ));
        }
        // A model that was trained on a dead sensor takes its standing still for readings.
        let measured: Vec<f32> = values
            .iter()
            .map(|value| if (channel.valid_min..=channel.valid_max).contains(value) { *value } else { f32::NAN })
            .collect();
        let found = super::still::Stillness::of(&measured, period);
        found.dead.last().map(|run| {
            format!(
                "column `{}` stands still at {} from {} to {}: is the sensor dead?",
                channel.name,
                fault::show(values[run.rows.start]),
                self.when(first + run.rows.start),
                self.when(first + run.rows.end - 1)
            )
        })
    }
}

/// By what the rows themselves commonly read: a model's bounds may leave out all that came in the other unit.
fn unit_change_of(values: &[f32], period: usize) -> Option<Change> {
    unit_change::find(&Bounds::of(values)?.masked(values), period)
}
