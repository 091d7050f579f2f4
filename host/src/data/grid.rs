//! From rows with times to a regular grid: the sampling interval is the most common difference between rows, the grid's phase the
//! most common remainder, and every grid place without a row is missing.

use std::collections::HashMap;
use std::hash::Hash;

/// A row this far off its grid place, in intervals, or two rows this far from a whole number of intervals apart, is a stray.
const TOLERANCE: f64 = 0.1;
/// One row in so many may be a stray, and one in so many may repeat an earlier time; more are an error.
const FEW: usize = 100;
/// Steps this near to the most common one, in parts of it, are the same step on a clock that jitters.
const SAME_STEP: f64 = 0.25;
/// An interval so near to a round one is meant to be it.
const ROUND: f64 = 0.02;
/// Round intervals: those that a second, a minute, an hour or a day holds a whole number of times.
const ROUND_MS: [i64; 41] = [
    1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 10_000,
    12_000, 15_000, 20_000, 30_000, 60_000, 120_000, 180_000, 300_000, 600_000, 720_000, 900_000, 1_200_000, 1_800_000,
    3_600_000, 7_200_000, 10_800_000, 14_400_000, 21_600_000, 86_400_000,
];
const HOUR_MS: i64 = 3_600_000;
/// A local clock is set back once a year; a file may begin and end in autumn.
const SET_BACK_EVERY_MS: i64 = 180 * 24 * HOUR_MS;

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
    /// Each row's place, strictly ascending from 0; `None` for a row that is left out.
    pub places: Vec<Option<usize>>,
    /// The rows left out because an earlier one has their place.
    pub repeats: Vec<usize>,
    /// The rows at which a local clock was set back an hour, and how many were left out from there on.
    pub set_back: Vec<(usize, usize)>,
    /// Rows beside their place, and by how much at most.
    pub jitter: (usize, u64),
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
    /// Lays rows with these times (milliseconds) onto a regular grid, each at the nearest place.
    ///
    /// # Errors
    /// [`GridError`] at the first row that does not fit.
    pub fn new(times: &[i64]) -> Result<Grid, GridError> {
        if times.len() < 2 {
            return Err(GridError::OneRow);
        }
        let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0).collect();
        let Some(interval) = interval(&steps) else { return Err(backwards(times, 1, None)) };
        let phase = phase(times, interval);
        let place_of = |time: i64| (time - phase + interval / 2).div_euclid(interval);
        let off = |time: i64| (time - phase - place_of(time) * interval).unsigned_abs();
        let tolerance = (TOLERANCE * interval as f64) as u64;

        let mut grid = Grid {
            interval_ms: interval as u64,
            start_ms: place_of(times[0]) * interval + phase,
            places: Vec::with_capacity(times.len()),
            repeats: Vec::new(),
            set_back: Vec::new(),
            jitter: (0, 0),
        };
        // The rows kept, and the first repeat's error, for when there are too many.
        let mut kept: Vec<usize> = Vec::with_capacity(times.len());
        let mut first_repeat = None;
        let mut in_set_back = false;
        for (row, &time) in times.iter().enumerate() {
            let place = place_of(time) - place_of(times[0]);
            let Some(&last) = kept.last() else {
                kept.push(row);
                grid.places.push(Some(0));
                continue;
            };
            let last_place = grid.places[last].unwrap_or(0);
            if place > last_place as i64 {
                let missing = place as u64 - last_place as u64 - 1;
                if missing > GAP_ALWAYS_ALLOWED && missing > GAP_FACTOR * times.len() as u64 {
                    return Err(GridError::Gap { row, rows: missing });
                }
                kept.push(row);
                grid.places.push(Some(place as usize));
                in_set_back = false;
                continue;
            }
            grid.places.push(None);
            let set_back_here = row - 1 == last && is_set_back(times[last] - time, interval, tolerance);
            if set_back_here {
                grid.set_back.push((row, 1));
                in_set_back = true;
            } else if in_set_back && time > times[row - 1] {
                if let Some((_, rows)) = grid.set_back.last_mut() {
                    *rows += 1;
                }
            } else {
                in_set_back = false;
                let holder =
                    kept.iter().rev().find(|&&earlier| grid.places[earlier].map(|at| at as i64) <= Some(place));
                let same = holder.filter(|&&earlier| time.abs_diff(times[earlier]) <= tolerance || time > times[last]);
                let Some(&earlier) = same else { return Err(backwards(times, row, None)) };
                first_repeat.get_or_insert((row, earlier));
                grid.repeats.push(row);
            }
        }
        let span_ms = times[kept[kept.len() - 1]] - times[0];
        if let Some(&(row, _)) = grid.set_back.first()
            && (grid.set_back.len() as i64 > 1 + span_ms / SET_BACK_EVERY_MS || kept.len() < 2)
        {
            return Err(backwards(times, row, None));
        }

        let stray = |step: &&i64| {
            let whole = ((**step as f64 / interval as f64).round() as i64).max(1) * interval;
            (**step - whole).unsigned_abs() > tolerance
        };
        if steps.iter().filter(stray).count() * FEW > steps.len() {
            let row = times.iter().position(|time| off(*time) > tolerance).unwrap_or(0);
            let expected_ms = place_of(times[row]) * interval + phase;
            return Err(GridError::OffGrid { row, expected_ms, interval_ms: grid.interval_ms });
        }
        if let Some((row, earlier)) = first_repeat.filter(|_| grid.repeats.len() * FEW > times.len()) {
            // Two rows that share a place are no time that came twice: their steps are uneven.
            if times[row] > times[row - 1] && times[row].abs_diff(times[earlier]) > tolerance {
                let expected_ms = place_of(times[row]) * interval + phase;
                return Err(GridError::OffGrid { row, expected_ms, interval_ms: grid.interval_ms });
            }
            return Err(backwards(times, row, Some(earlier)));
        }
        let beside = kept.iter().map(|&row| off(times[row])).filter(|off| *off > 0);
        grid.jitter = beside.fold((0, 0), |(count, most), off| (count + 1, most.max(off)));
        Ok(grid)
    }

    /// The longest run of places without a row: its first place and its length.
    pub fn longest_gap(&self) -> (usize, usize) {
        let mut places = self.places.iter().flatten();
        let mut before = places.next().copied().unwrap_or(0);
        let mut longest = (0, 0);
        for &place in places {
            if place - before - 1 > longest.1 {
                longest = (before + 1, place - before - 1);
            }
            before = place;
        }
        longest
    }

    /// Places without a row.
    pub fn missing(&self) -> usize {
        self.rows() - self.places.iter().flatten().count()
    }

    /// Rows on the grid, missing ones included.
    pub fn rows(&self) -> usize {
        self.places.iter().rev().flatten().next().map_or(0, |last| last + 1)
    }

    /// One column on the grid; places without a row are NaN.
    pub fn lay(&self, cells: &[f32]) -> Vec<f32> {
        let mut values = vec![f32::NAN; self.rows()];
        for (place, &value) in self.places.iter().zip(cells) {
            if let Some(place) = *place {
                values[place] = value;
            }
        }
        values
    }
}

/// The error of a row whose time is not later than all before.
fn backwards(times: &[i64], row: usize, earlier: Option<usize>) -> GridError {
    let back_ms = times[row - 1] - times[row];
    let local_clock = row > 1 && back_ms >= 0 && back_ms + (times[row - 1] - times[row - 2]) == HOUR_MS;
    match earlier.or_else(|| times[..row].iter().rposition(|&time| time == times[row])) {
        Some(earlier) => GridError::Duplicate { row, earlier, local_clock },
        None => GridError::Unordered { row, local_clock },
    }
}

/// Whether a clock that should have gone on by one interval went back so far because an hour was taken off it.
fn is_set_back(back_ms: i64, interval: i64, tolerance: u64) -> bool {
    interval < HOUR_MS && (back_ms + interval - HOUR_MS).unsigned_abs() <= tolerance
}

/// The sampling interval: the most common step, or, where no step is (the clock jitters), the mean of those near it, rounded.
fn interval(steps: &[i64]) -> Option<i64> {
    let common = most_common(steps.iter().copied())?;
    if 2 * steps.iter().filter(|step| **step == common).count() >= steps.len() {
        return Some(common);
    }
    let near = || steps.iter().filter(|step| (**step - common).abs() as f64 <= SAME_STEP * common as f64);
    let mean = near().sum::<i64>() as f64 / near().count() as f64;
    let round = ROUND_MS.iter().find(|round| (mean - **round as f64).abs() <= ROUND * **round as f64);
    Some(round.copied().unwrap_or(mean.round() as i64))
}

/// Where in the interval the rows lie: the most common remainder, or, where none is, the mean around the circle.
fn phase(times: &[i64], interval: i64) -> i64 {
    let remainders = || times.iter().map(|time| time.rem_euclid(interval));
    let common = most_common(remainders()).unwrap_or(0);
    if 2 * remainders().filter(|remainder| *remainder == common).count() >= times.len() {
        return common;
    }
    let turn = std::f64::consts::TAU / interval as f64;
    let (sine, cosine) = remainders()
        .map(|remainder| (remainder as f64 * turn).sin_cos())
        .fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    let mean = sine.atan2(cosine) / turn;
    // Meant to be on the full hour.
    if mean.abs() <= TOLERANCE * interval as f64 { 0 } else { (mean.round() as i64).rem_euclid(interval) }
}

/// The most frequent item, the smallest among equals.
pub fn most_common<T: Copy + Eq + Hash + Ord>(items: impl Iterator<Item = T>) -> Option<T> {
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
        assert_eq!(grid.places, [0, 1, 2, 5, 6].map(Some));
        assert_eq!((grid.missing(), grid.longest_gap()), (2, (3, 2)));
        let values = grid.lay(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(values[2], 3.0);
        assert!(values[3].is_nan() && values[4].is_nan());
        assert_eq!(values[5], 4.0);
    }

    #[test]
    fn jitter_is_forgiven_and_strays_are_not() {
        let grid = Grid::new(&[0, 101, 200, 299, 400, 500]).unwrap();
        assert_eq!(grid.places, [0, 1, 2, 3, 4, 5].map(Some));
        assert_eq!((grid.interval_ms, grid.jitter), (100, (2, 1)));
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
    }

    #[test]
    fn an_hour_that_autumn_repeats_counts_once() {
        // 02:00 02:10 ... 02:50 02:00 ... 02:50 03:00.
        let times: Vec<i64> = (0..18).chain(12..30).map(|ten| ten * 600_000).collect();
        let grid = Grid::new(&times).unwrap();
        assert_eq!((grid.rows(), &grid.set_back[..]), (30, &[(18, 6)][..]));
        assert_eq!(grid.places[24], Some(18));
        // Every second hour twice is no summer time.
        let often: Vec<i64> = (0..18).chain(12..24).chain(18..30).map(|ten| ten * 600_000).collect();
        assert_eq!(Grid::new(&often), Err(GridError::Duplicate { row: 18, earlier: 12, local_clock: true }));
    }

    #[test]
    fn a_few_repeats_are_left_out_and_many_are_not() {
        let mut times: Vec<i64> = (0..300).map(|row| row * 1_000).collect();
        times.insert(100, 99_000);
        times.insert(200, 50_000);
        let grid = Grid::new(&times).unwrap();
        assert_eq!((grid.places[101], grid.places.len()), (Some(100), 302));
        assert_eq!(grid.repeats, [100, 200]);
        for row in [20, 40, 60] {
            times.insert(row, times[row - 1]);
        }
        assert_eq!(Grid::new(&times), Err(GridError::Duplicate { row: 20, earlier: 19, local_clock: false }));
    }

    #[test]
    fn steps_of_other_lengths_are_no_time_that_came_twice() {
        const DAY_MS: i64 = 24 * HOUR_MS;
        let months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().cycle();
        let times: Vec<i64> = months
            .take(240)
            .scan(0, |time, days| {
                *time += days * DAY_MS;
                Some(*time)
            })
            .collect();
        assert!(matches!(Grid::new(&times), Err(GridError::OffGrid { .. })), "{:?}", Grid::new(&times));
    }

    #[test]
    fn a_clock_that_jitters_or_runs_slow() {
        // 56 min 59 s, 60 min 2 s, ...: about an hour, never the same.
        let jittered: Vec<i64> = (0..500).map(|row| row * HOUR_MS + (row * row * 31 % 360 - 180) * 1_000).collect();
        let grid = Grid::new(&jittered).unwrap();
        assert_eq!((grid.interval_ms, grid.rows(), grid.missing(), grid.start_ms), (3_600_000, 500, 0, 0));
        assert!(grid.jitter.0 > 400 && (170_000..=180_000).contains(&grid.jitter.1), "{:?}", grid.jitter);
        // Two seconds slow on average: now and then a place is passed over.
        let slow: Vec<i64> = (0..4_000).map(|row| row * (HOUR_MS + 2_000) + row * row * 31 % 7 * 1_000).collect();
        let grid = Grid::new(&slow).unwrap();
        assert_eq!((grid.interval_ms, grid.missing(), grid.repeats.len()), (3_600_000, 2, 0));
        // No clock at all.
        let events: Vec<i64> = (0..500_i64).map(|row| row * HOUR_MS + row * row * 31 % 3_600 * 1_000).collect();
        assert!(Grid::new(&events).is_err());
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
