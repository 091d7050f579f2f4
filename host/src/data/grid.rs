//! From rows with times to a regular grid: the sampling interval is the most common difference between rows, the grid's phase the
//! most common remainder, and every grid place without a row is missing.

use std::collections::HashMap;
use std::hash::Hash;

/// A row may be off its grid place by this part of the interval (clocks jitter); beyond it, the row is an error.
const TOLERANCE: f64 = 0.1;

/// A gap longer than this many times the rows read so far is taken for a wrong time, not for a gap.
const GAP_FACTOR: u64 = 20;
/// ... unless it is shorter than this.
const GAP_ALWAYS_ALLOWED: u64 = 100_000;

/// The place of each row on a regular grid.
#[derive(Debug, PartialEq)]
pub struct Grid {
    /// The sampling interval.
    pub interval_ms: u64,
    /// The first row's grid time, in milliseconds since 1970 or since the start.
    pub start_ms: i64,
    /// Each row's place, strictly ascending from 0.
    pub places: Vec<usize>,
}

/// Why rows make no grid; `row` counts from 0.
#[derive(Debug, PartialEq)]
pub enum GridError {
    /// The time of `row` stood in `earlier` before.
    Duplicate { row: usize, earlier: usize, local_clock: bool },
    /// The time of `row` lies before that of the row above.
    Unordered { row: usize, local_clock: bool },
    /// The time of `row` lies between two places of the grid.
    OffGrid { row: usize, expected_ms: i64, interval_ms: u64 },
    /// The gap before `row` is implausibly long.
    Gap { row: usize, rows: u64 },
    /// Fewer than two rows.
    OneRow,
}

impl Grid {
    /// Lays rows with these times (milliseconds) onto a regular grid.
    ///
    /// # Errors
    /// [`GridError`] at the first row that does not fit.
    pub fn new(times: &[i64]) -> Result<Grid, GridError> {
        if times.len() < 2 {
            return Err(GridError::OneRow);
        }
        for row in 1..times.len() {
            let back_ms = times[row - 1] - times[row];
            if back_ms < 0 {
                continue;
            }
            // A clock set back by an hour between two samples.
            let local_clock = row > 1 && back_ms + (times[row - 1] - times[row - 2]) == 3_600_000;
            let earlier = times[..row].iter().rposition(|&time| time == times[row]);
            return Err(match earlier {
                Some(earlier) => GridError::Duplicate { row, earlier, local_clock },
                None => GridError::Unordered { row, local_clock },
            });
        }
        let Some(interval) = most_common(times.windows(2).map(|pair| pair[1] - pair[0])) else {
            return Err(GridError::OneRow);
        };
        let phase = most_common(times.iter().map(|time| time.rem_euclid(interval))).unwrap_or(0);
        let place_of = |time: i64| (time - phase + interval / 2).div_euclid(interval);
        let first = place_of(times[0]);
        let mut places: Vec<usize> = Vec::with_capacity(times.len());
        for (row, &time) in times.iter().enumerate() {
            let place = place_of(time);
            let expected_ms = place * interval + phase;
            if (time - expected_ms).abs() as f64 > TOLERANCE * interval as f64 {
                let interval_ms = interval as u64;
                return Err(GridError::OffGrid { row, expected_ms, interval_ms });
            }
            let place = (place - first) as u64;
            if let Some(&previous) = places.last() {
                let missing = place.saturating_sub(previous as u64 + 1);
                if place <= previous as u64 {
                    return Err(GridError::Duplicate { row, earlier: row - 1, local_clock: false });
                }
                if missing > GAP_ALWAYS_ALLOWED && missing > GAP_FACTOR * times.len() as u64 {
                    return Err(GridError::Gap { row, rows: missing });
                }
            }
            places.push(place as usize);
        }
        Ok(Grid { interval_ms: interval as u64, start_ms: first * interval + phase, places })
    }

    /// Rows on the grid, missing ones included.
    pub fn rows(&self) -> usize {
        self.places.last().map_or(0, |last| last + 1)
    }

    /// One column on the grid; places without a row are NaN.
    pub fn lay(&self, cells: &[f32]) -> Vec<f32> {
        let mut values = vec![f32::NAN; self.rows()];
        for (&place, &value) in self.places.iter().zip(cells) {
            values[place] = value;
        }
        values
    }
}

/// The most frequent item, the smallest among equals.
fn most_common<T: Copy + Eq + Hash + Ord>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: HashMap<T, usize> = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by(|(left, left_count), (right, right_count)| left_count.cmp(right_count).then(right.cmp(left)))
        .map(|(item, _)| item)
}

impl GridError {
    /// What may be behind a time that comes twice, for the end of an error line.
    pub fn hint(local_clock: bool) -> &'static str {
        if local_clock { " (a clock set back from summer time? write times in UTC or with their offset)" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rows_become_nan() {
        let grid = Grid::new(&[0, 10, 20, 50, 60]).unwrap();
        assert_eq!(grid.interval_ms, 10);
        assert_eq!(grid.places, [0, 1, 2, 5, 6]);
        let values = grid.lay(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(values[2], 3.0);
        assert!(values[3].is_nan() && values[4].is_nan());
        assert_eq!(values[5], 4.0);
    }

    #[test]
    fn jitter_is_forgiven_and_strays_are_not() {
        let grid = Grid::new(&[0, 101, 200, 299, 400, 500]).unwrap();
        assert_eq!(grid.places, [0, 1, 2, 3, 4, 5]);
        assert_eq!(
            Grid::new(&[0, 100, 200, 240, 300, 400]),
            Err(GridError::OffGrid { row: 3, expected_ms: 200, interval_ms: 100 })
        );
        // The odd one out is named even when it comes first.
        assert_eq!(
            Grid::new(&[30, 100, 200, 300]),
            Err(GridError::OffGrid { row: 0, expected_ms: 0, interval_ms: 100 })
        );
    }

    #[test]
    fn time_must_run_forwards() {
        assert_eq!(Grid::new(&[0, 10, 10, 20]), Err(GridError::Duplicate { row: 2, earlier: 1, local_clock: false }));
        assert_eq!(Grid::new(&[0, 3_600_000 * 5, 3_600_000]), Err(GridError::Unordered { row: 2, local_clock: false }));
        let hour = 3_600_000;
        // 02:00 02:10 ... 02:50 02:00: the hour that autumn repeats.
        let times: Vec<i64> = (0..6).chain(0..6).map(|ten| hour * 2 + ten * 600_000).collect();
        assert_eq!(Grid::new(&times), Err(GridError::Duplicate { row: 6, earlier: 0, local_clock: true }));
    }

    #[test]
    fn a_wild_time_is_no_gap() {
        let mut times: Vec<i64> = (0..100).map(|row| row * 1_000).collect();
        times.push(4_000_000_000_000);
        assert!(matches!(Grid::new(&times), Err(GridError::Gap { row: 100, .. })));
        assert_eq!(Grid::new(&[5]), Err(GridError::OneRow));
        assert_eq!(Grid::new(&[5, 5]), Err(GridError::Duplicate { row: 1, earlier: 0, local_clock: false }));
    }
}
