//! Sensors that have died: the same reading again and again, far longer than the channel ever stood still before.
//!
//! Runs of equal readings of a living channel have all lengths (a rain gauge may read 0 for weeks); a dead stretch is longer than the
//! next shorter run by a factor of ten, and longer than two seasons.

use std::ops::Range;

/// A dead stretch is so many times as long as the longest of a living sensor,
const LONGER: usize = 10;
/// ... and so many seasons.
const LEAST_PERIODS: usize = 2;

/// A run of equal readings; missing ones between them do not end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// From the first reading's row to the one after the last reading's.
    pub rows: Range<usize>,
    /// Readings.
    pub length: usize,
}

/// How long a channel stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stillness {
    /// Readings of the longest run of the living channel.
    pub longest: usize,
    /// Dead stretches, in the order of their rows.
    pub dead: Vec<Run>,
}

impl Stillness {
    /// Of a channel's measurements (faults are NaN) with a season of so many samples.
    pub fn of(values: &[f32], period: usize) -> Stillness {
        let mut runs: Vec<Run> = Vec::new();
        let mut last = f32::NAN;
        for (row, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            match runs.last_mut().filter(|_| *value == last) {
                Some(run) => *run = Run { rows: run.rows.start..row + 1, length: run.length + 1 },
                None => runs.push(Run { rows: row..row + 1, length: 1 }),
            }
            last = *value;
        }
        let mut lengths: Vec<usize> = runs.iter().map(|run| run.length).collect();
        lengths.sort_unstable();
        let apart = |pair: &[usize]| pair[1] >= LONGER * pair[0] && pair[1] >= LEAST_PERIODS * period;
        let shortest_dead = lengths.windows(2).find(|pair| apart(pair)).map_or(usize::MAX, |pair| pair[1]);
        let longest = lengths.into_iter().rfind(|length| *length < shortest_dead).unwrap_or(0);
        runs.retain(|run| run.length >= shortest_dead);
        Stillness { longest, dead: runs }
    }

    /// Whether all of these rows lie in one dead stretch.
    pub fn is_dead_throughout(&self, rows: &Range<usize>) -> bool {
        self.dead.iter().any(|run| run.rows.start <= rows.start && run.rows.end >= rows.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_stretch_is_no_rest() {
        let wave = |row: usize| (row as f32 * 0.26).sin();
        let dead: Vec<f32> = (0..500).map(|row| if (200..300).contains(&row) { 0.5 } else { wave(row) }).collect();
        let found = Stillness::of(&dead, 24);
        assert_eq!((found.longest, found.dead), (1, vec![Run { rows: 200..300, length: 100 }]));
        // Dry spells of all lengths.
        let rain: Vec<f32> = (0..2000_u32).map(|row| f32::from(u8::from(row.isqrt().pow(2) == row))).collect();
        let found = Stillness::of(&rain, 24);
        assert_eq!((found.longest, found.dead), (86, vec![]));
        let gone: Vec<f32> = (0..100).map(|row| if row % 2 == 0 { f32::NAN } else { wave(row.min(20)) }).collect();
        let found = Stillness::of(&gone, 10);
        assert_eq!(found.dead, [Run { rows: 21..100, length: 40 }]);
        assert!(found.is_dead_throughout(&(60..100)) && !found.is_dead_throughout(&(10..100)));
    }
}
