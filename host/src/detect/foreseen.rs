//! What warnings of a limit are worth: how many crossings they foresaw, how early, and how many came for nothing.
//!
//! Each limit is held against the median and both edges of the forecast's band by the board's own code, and, as a rival,
//! against what came a season before. A crossing is foreseen if a warning was standing when it came; a warning that was
//! taken back, or whose time passed, was false.

use std::fmt::Write as _;

use flowcast_core::forecaster::Streaming;
use flowcast_core::warning::{self, Limit, Line, Watch};
use serde::Serialize;

use crate::data::Series;
use crate::duration::show_ms;
use crate::plural::counted;

/// The lines of a forecast, and what they are called.
const LINES: [(Line, &str); 3] =
    [(Line::Near, "near edge of the band"), (Line::Median, "median"), (Line::Far, "far edge of the band")];

/// One limit, and what each way to foresee it is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Foreseen {
    /// As it was asked for.
    pub limit: String,
    /// Samples ahead that are looked at.
    pub within: u16,
    /// In the channel's unit.
    pub margin: f32,
    /// Rows that are judged.
    pub rows: usize,
    /// Times that it was crossed in them.
    pub crossings: usize,
    /// By each way.
    pub ways: Vec<Way>,
}

/// A way to foresee a crossing.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// What is held against the limit.
    pub by: &'static str,
    /// Crossings with a warning standing when they came.
    pub foreseen: usize,
    /// Warnings after which none came.
    pub false_warnings: usize,
    /// Samples between warning and crossing: what a quarter, half and three quarters of those foreseen have at most.
    pub lead: Option<[usize; 3]>,
    /// Half of them came within so many samples of the time that the warning said.
    pub off: Option<usize>,
}

/// One way under way.
struct Tally {
    watch: Watch,
    /// The warning that stands: its row and the steps ahead that it said.
    standing: Option<(usize, usize)>,
    crossings: usize,
    false_warnings: usize,
    leads: Vec<usize>,
    off: Vec<usize>,
}

impl Tally {
    fn new(limit: Limit) -> Self {
        let (leads, off) = (Vec::new(), Vec::new());
        Self { watch: Watch::new(limit), standing: None, crossings: 0, false_warnings: 0, leads, off }
    }

    /// Holds the limit against the last row, and against what came a season before those to come.
    fn repeat(&mut self, values: &[f32], row: usize, period: usize) -> Option<usize> {
        let past = (row + 1).checked_sub(period);
        for step in 1..=usize::from(self.watch.limit().within) {
            // Beyond a season ahead, the last one comes again.
            let value = past.map_or(f32::NAN, |past| values[past + (step - 1) % period]);
            self.watch.look(step as u16, value);
        }
        self.watch.observe(values[row], past.is_some()).map(|(steps, _)| steps.into())
    }

    /// Takes what was told at a row; what came before `from` is not judged.
    fn take(&mut self, row: usize, from: usize, told: Option<usize>) {
        match (told, self.standing) {
            (Some(0), standing) => {
                self.standing = None;
                if row < from {
                    return;
                }
                self.crossings += 1;
                if let Some((warned, said)) = standing {
                    self.leads.push(row - warned);
                    self.off.push(row.abs_diff(warned + said));
                }
            }
            (None, Some((warned, _))) if !self.watch.is_foreseen() => {
                self.standing = None;
                self.false_warnings += usize::from(warned >= from);
            }
            (Some(ahead), _) => self.standing = Some((row, ahead)),
            (None, _) => {}
        }
    }

    fn way(mut self, by: &'static str) -> Way {
        self.leads.sort_unstable();
        self.off.sort_unstable();
        let at = |sorted: &[usize], quarters: usize| {
            sorted.get((sorted.len() * quarters / 4).min(sorted.len().max(1) - 1)).copied()
        };
        let lead = at(&self.leads, 1).zip(at(&self.leads, 2)).zip(at(&self.leads, 3));
        Way {
            by,
            foreseen: self.leads.len(),
            false_warnings: self.false_warnings,
            lead: lead.map(|((quarter, half), three)| [quarter, half, three]),
            off: at(&self.off, 2),
        }
    }
}

/// Every limit in every way.
pub struct Judges {
    /// What they are called.
    names: Vec<String>,
    /// `[limit][line]`
    lines: Vec<[Tally; LINES.len()]>,
    /// `[limit]`
    rivals: Vec<Tally>,
    /// What was measured of each channel so far, NaN where a reading was taken as missing: what rivals repeat.
    measured: Vec<Vec<f32>>,
    /// The first season, in samples.
    period: usize,
    /// The first row that is judged.
    from: usize,
}

impl Judges {
    /// Of these limits, from a row on.
    pub fn new(limits: &[(String, Limit)], period: usize, from: usize) -> Self {
        let names = limits.iter().map(|(name, _)| name.clone()).collect();
        let lines = limits.iter().map(|(_, limit)| LINES.map(|(line, _)| Tally::new(Limit { line, ..*limit })));
        let rivals = limits.iter().map(|(_, limit)| Tally::new(*limit)).collect();
        Self { names, lines: lines.collect(), rivals, measured: Vec::new(), period, from }
    }

    /// Takes the row that the forecaster has just observed.
    pub fn observe(&mut self, forecaster: &dyn Streaming, series: &Series, row: usize, sample: &[f32]) {
        let Self { lines, rivals, measured, period, from, .. } = self;
        measured.resize(sample.len(), Vec::new());
        for (channel, (measured, value)) in measured.iter_mut().zip(sample).enumerate() {
            measured.push(if forecaster.missing_run(channel) == 0 { *value } else { f32::NAN });
        }
        let mut watches: Vec<Watch> = lines.iter().flatten().map(|tally| tally.watch).collect();
        let mut told = vec![None; watches.len()];
        warning::observe(forecaster, &series.to_come(row + 1), (row as u32, sample), &mut watches, |warning| {
            told[usize::from(warning.limit)] = Some(usize::from(warning.steps_ahead));
        });
        for ((tally, watch), told) in lines.iter_mut().flatten().zip(watches).zip(told) {
            tally.watch = watch;
            tally.take(row, *from, told);
        }
        for tally in rivals {
            let told = tally.repeat(&measured[usize::from(tally.watch.limit().channel)], row, *period);
            tally.take(row, *from, told);
        }
    }

    /// What came of it, after so many rows.
    pub fn finish(self, rows: usize) -> Vec<Foreseen> {
        let Self { names, lines, rivals, from, .. } = self;
        let rows = rows.saturating_sub(from);
        let all = names.into_iter().zip(lines).zip(rivals);
        let judge = |((limit, lines), rival): ((String, [Tally; LINES.len()]), Tally)| {
            let Limit { within, margin, .. } = *rival.watch.limit();
            let crossings = rival.crossings;
            let ways = lines.into_iter().zip(LINES).map(|(tally, (_, by))| tally.way(by));
            let ways = ways.chain([rival.way("what came a season before")]).collect();
            Foreseen { limit, within, margin, rows, crossings, ways }
        };
        all.map(judge).collect()
    }
}

impl Foreseen {
    /// A table.
    pub fn text(&self, interval_ms: u64) -> String {
        let Self { limit, within, margin, rows, crossings, ways } = self;
        let time = |samples: usize| show_ms(samples as u64 * interval_ms);
        let mut text = format!(
            "\n{limit}, looked for {} ahead, clear by {margin}: crossed {} in the {rows} rows that are judged\n",
            time((*within).into()),
            counted(crossings, "time")
        );
        let _ = writeln!(
            text,
            "{:<26} {:>10} {:>8} {:>8}   {:<28} {:>12}",
            "warned by", "foreseen", "missed", "false", "lead: quarter, half, 3/4", "off by, half"
        );
        for Way { by, foreseen, false_warnings, lead, off } in ways {
            let lead = lead.map_or("-".to_owned(), |lead| lead.map(time).join(", "));
            let off = off.map_or("-".to_owned(), time);
            let missed = crossings - foreseen;
            let _ = writeln!(text, "{by:<26} {foreseen:>10} {missed:>8} {false_warnings:>8}   {lead:<28} {off:>12}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowcast_core::warning::Side;

    #[test]
    fn the_rival_foresees_what_repeats_and_is_wrong_where_it_does_not() {
        // Steps of 0 and 10, ten samples each.
        let mut values: Vec<f32> = (0..200).map(|row| if row % 20 < 10 { 0.0 } else { 10.0 }).collect();
        // One wave does not come, and one comes that nobody foresees.
        values[110..120].fill(0.0);
        values[145] = 10.0;
        let limit = Limit { channel: 0, side: Side::Above, value: 5.0, margin: 1.0, line: Line::Median, within: 4 };
        let mut tally = Tally::new(limit);
        for row in 0..200 {
            let told = tally.repeat(&values, row, 20);
            tally.take(row, 40, told);
        }
        // From row 40 on: at 50, 70, 90, 130, 145, 150, 170 and 190; a season after 145, at 165, none comes.
        assert_eq!(tally.crossings, 8);
        let way = tally.way("");
        // At 130 what came a season before did not cross; 145 repeats nothing. At 165 it did in vain, and at 110 three times:
        // it is told anew when its time is over.
        assert_eq!((way.foreseen, way.false_warnings), (6, 4));
        assert_eq!((way.lead, way.off), (Some([4, 4, 4]), Some(0)));
    }
}
