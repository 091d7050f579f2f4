//! The table: a line for each channel and horizon, and how many of them hold what is asked.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::Args;
use super::super::published::Outcome;
use super::{Cell, Channel, Contest};
use crate::backtest::show;
use crate::duration::show_ms;
use crate::plural::counted;

/// Where the share of values within the 80 % band shall lie over the held-out span, and in each of its quarters.
const BAND: (f64, f64) = (0.78, 0.82);
const BAND_OF_QUARTER: (f64, f64) = (0.72, 0.88);

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The program that made it.
    pub program: String,
    /// The backbone.
    pub preset: &'static str,
    /// One for each `--series`.
    pub rows: Vec<Row>,
    /// Channels and horizons at which MASE is less than the best baseline's.
    pub mase: Count,
    /// WQL likewise.
    pub wql: Count,
    /// Channels of whose values 78 to 82 % lie within the 80 % band.
    pub covered: Count,
    /// Channels of whose values 72 to 88 % do in every quarter.
    pub covered_quarters: Count,
}

/// A `--series`.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its file's name.
    pub file: String,
    /// What was measured.
    #[serde(flatten)]
    pub cell: Cell,
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// That hold.
    pub hold: usize,
    /// In all.
    pub of: usize,
}

impl Count {
    fn of(held: impl Iterator<Item = bool>) -> Count {
        held.fold(Count::default(), |count, held| Count { hold: count.hold + usize::from(held), of: count.of + 1 })
    }
}

impl Table {
    pub(super) fn new(program: String, args: &Args, rows: Vec<Row>) -> Table {
        let channels = || rows.iter().flat_map(|row| &row.cell.channels);
        let groups = || channels().flat_map(|channel| &channel.horizons);
        let won = |contest: &Contest| contest.outcome == Outcome::Win;
        let mase = Count::of(groups().filter_map(|group| group.mase.as_ref()).map(won));
        let wql = Count::of(groups().filter_map(|group| group.wql.as_ref()).map(won));
        let covered = Count::of(channels().filter_map(|channel| channel.coverage80).map(|share| within(share, BAND)));
        let covered_quarters = Count::of(
            channels()
                .filter_map(Channel::quarters)
                .map(|(least, most)| within(least, BAND_OF_QUARTER) && within(most, BAND_OF_QUARTER)),
        );
        Table { program, preset: args.preset.name, rows, mase, wql, covered, covered_quarters }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "Mean over the steps up to a horizon, on the held-out last rows; eight-bit weights; beside each error the best baseline's; \
             preset {}\n",
            self.preset
        );
        let names = self.rows.iter().flat_map(|row| &row.cell.channels).map(|channel| channel.column.chars().count());
        let width = names.max().unwrap_or(0).max(8);
        for Row { file, cell } in &self.rows {
            let seasons = cell.periods.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ");
            let _ = writeln!(
                text,
                "\n{file}: {}, seasons of {seasons} samples, {} bytes\n  {:<width$}{:>10}{:>8}  {:<26}{:>8}  {:<26}{:>7}{:>11}",
                counted(cell.origins, "forecast"),
                cell.bytes,
                "column",
                "up to",
                "MASE",
                "best baseline",
                "WQL",
                "best baseline",
                "80 %",
                "quarters",
            );
            for channel in &cell.channels {
                write_channel(&mut text, channel, width);
            }
        }
        let _ = writeln!(
            text,
            "\nbetter than every baseline: MASE {} of {}, WQL {} of {}\n\
             80 % band: 78 to 82 % of the values in {} of {}, 72 to 88 % in every quarter in {} of {}",
            self.mase.hold,
            self.mase.of,
            self.wql.hold,
            self.wql.of,
            self.covered.hold,
            counted(self.covered.of, "column"),
            self.covered_quarters.hold,
            self.covered_quarters.of,
        );
        text
    }
}

fn within(share: f64, (least, most): (f64, f64)) -> bool {
    (least..=most).contains(&share)
}

fn write_channel(text: &mut String, channel: &Channel, width: usize) {
    let percent = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", 100.0 * share));
    let error = |contest: &Option<Contest>| show(contest.as_ref().map(|contest| contest.own));
    let rival = |contest: &Option<Contest>| {
        contest.as_ref().map_or_else(
            || "–".to_owned(),
            |Contest { best, baseline, outcome, .. }| format!("{outcome:<4} {} {baseline}", show(Some(*best))),
        )
    };
    for group in &channel.horizons {
        let _ = writeln!(
            text,
            "  {:<width$}{:>10}{:>8}  {:<26}{:>8}  {:<26}{:>7}",
            channel.column,
            show_ms(group.ahead_ms),
            error(&group.mase),
            rival(&group.mase),
            error(&group.wql),
            rival(&group.wql),
            percent(group.coverage80),
        );
    }
    let quarters = channel.quarters().map(|(least, most)| format!("{:.0} to {:.0}", 100.0 * least, 100.0 * most));
    let _ = writeln!(
        text,
        "  {:<width$}{:>10}{:>8}  {:<26}{:>8}  {:<26}{:>7}{:>11}",
        channel.column,
        "all steps",
        "",
        "",
        "",
        "",
        percent(channel.coverage80),
        quarters.unwrap_or_else(|| "–".to_owned()),
    );
}
