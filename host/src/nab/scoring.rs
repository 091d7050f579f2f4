//! NAB's scoring rules: what a detector's scores over a labelled corpus are worth.
//!
//! A row is a detection where its score reaches the threshold. The first rows of a series, its probation, do not count.
//! With σ(x) = 2/(1 + e^{5x}) − 1 and windows of w rows that end at row e,
//!
//! ```text
//! in a window       A_tp σ(−(e − i + 1)/w) / σ(−1), of which the best detection counts; none: −A_fn
//! after a window    A_fp σ((i − e)/(w − 1)), −A_fp from three widths on and before any: every detection counts
//! score             100 (sum − null)/(perfect − null)     null: no detection; perfect: A_tp for every window
//! ```
//!
//! One threshold for the whole corpus, the best for the profile. From A. Lavin and S. Ahmad, "Evaluating real-time
//! anomaly detection algorithms: the Numenta Anomaly Benchmark" (ICMLA 2015), as the public code has it (numenta/NAB:
//! `nab/sweeper.py`, `nab/runner.py`, `config/profiles.json`), which differs from the paper in the end of the window.

use std::ops::RangeInclusive;

use serde::Serialize;

/// What detections and misses weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// NAB's name of it.
    pub name: &'static str,
    /// A_tp.
    pub found: f64,
    /// A_fp.
    pub false_alarm: f64,
    /// A_fn.
    pub missed: f64,
}

/// NAB's profiles.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", found: 1.0, false_alarm: 0.11, missed: 1.0 },
    Profile { name: "reward_low_FP_rate", found: 1.0, false_alarm: 0.22, missed: 1.0 },
    Profile { name: "reward_low_FN_rate", found: 1.0, false_alarm: 0.11, missed: 2.0 },
];

/// A share of the rows, and of at most so many of them.
const PROBATION: f64 = 0.15;
const PROBATION_OF_ROWS: f64 = 5000.0;

/// One series as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The detector's score of each row.
    pub scores: &'a [f64],
    /// Labelled windows in order, as rows.
    pub windows: &'a [RangeInclusive<usize>],
}

/// A row that counts.
struct Row {
    score: f64,
    /// What a detection there is worth.
    worth: f64,
    /// Series and window that it lies in.
    window: Option<(usize, usize)>,
}

/// A corpus at one threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Result {
    /// 0 for no detection at all, 100 for the first row of every window and nothing else.
    pub score: f64,
    /// The same before it is normalised.
    pub raw: f64,
    /// Rows with a score of at least this are detections; above every score where none should be.
    pub threshold: f64,
    /// Windows with a detection.
    pub windows_found: usize,
    /// Windows.
    pub windows: usize,
    /// Detections outside windows.
    pub false_alarms: usize,
}

/// Rows of a series that do not count.
pub fn probation(rows: usize) -> usize {
    (PROBATION * rows as f64).floor().min(PROBATION * PROBATION_OF_ROWS) as usize
}

fn scaled_sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// What a detection at each row is worth, and the window that the row lies in.
fn worth(series: &Scored<'_>, profile: &Profile) -> Vec<(f64, Option<usize>)> {
    let mut ended: Option<&RangeInclusive<usize>> = None;
    let mut next = 0;
    (0..series.scores.len())
        .map(|row| {
            while let Some(window) = series.windows.get(next).filter(|window| *window.end() < row) {
                ended = Some(window);
                next += 1;
            }
            let width = |window: &RangeInclusive<usize>| (window.end() - window.start() + 1) as f64;
            match series.windows.get(next).filter(|window| window.contains(&row)) {
                Some(window) => {
                    let position = -((window.end() - row + 1) as f64) / width(window);
                    (profile.found * scaled_sigmoid(position) / scaled_sigmoid(-1.0), Some(next))
                }
                None => {
                    let after = |window| (row - *RangeInclusive::end(window)) as f64 / (width(window) - 1.0).max(1.0);
                    (profile.false_alarm * ended.map_or(-1.0, |window| scaled_sigmoid(after(window))), None)
                }
            }
        })
        .collect()
}

/// Scores a corpus at the threshold that is best for it, the highest of them.
pub fn best(corpus: &[Scored<'_>], profile: &Profile) -> Result {
    let mut all = sweep(corpus, profile).into_iter();
    let first = all.next().expect("a threshold above every score");
    all.fold(first, |best, next| if next.raw > best.raw { next } else { best })
}

/// Scores a corpus at every threshold that makes a difference, from above every score downwards.
pub fn sweep(corpus: &[Scored<'_>], profile: &Profile) -> Vec<Result> {
    // Rows that count, and what each window has brought so far.
    let mut rows: Vec<Row> = Vec::new();
    let mut brought: Vec<Vec<f64>> = Vec::new();
    let mut seen: Vec<Vec<bool>> = Vec::new();
    for (index, series) in corpus.iter().enumerate() {
        brought.push(vec![-profile.missed; series.windows.len()]);
        seen.push(vec![false; series.windows.len()]);
        let counted = probation(series.scores.len());
        for (row, (worth, window)) in worth(series, profile).into_iter().enumerate().skip(counted) {
            if let Some(window) = window {
                seen[index][window] = true;
            }
            rows.push(Row { score: series.scores[row], worth, window: window.map(|window| (index, window)) });
        }
    }
    let windows: usize = corpus.iter().map(|series| series.windows.len()).sum();
    let counted = seen.iter().flatten().filter(|seen| **seen).count();
    let null = -profile.missed * counted as f64;
    let perfect = profile.found * windows as f64;
    rows.sort_by(|a, b| b.score.total_cmp(&a.score));

    let mut now = Result { score: 0.0, raw: null, threshold: 1.1, windows_found: 0, windows, false_alarms: 0 };
    let mut all = vec![now.clone()];
    for (index, Row { score, worth, window }) in rows.iter().enumerate() {
        match window {
            None => {
                now.raw += worth;
                now.false_alarms += 1;
            }
            Some((series, window)) => {
                let brought = &mut brought[*series][*window];
                now.windows_found += usize::from(*brought == -profile.missed);
                now.raw += (worth - *brought).max(0.0);
                *brought = brought.max(*worth);
            }
        }
        // A threshold takes all rows of one score.
        if rows.get(index + 1).is_none_or(|next| next.score != *score) {
            now.threshold = *score;
            now.score = 100.0 * (now.raw - null) / (perfect - null);
            all.push(now.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Profile = PROFILES[0];

    /// 1000 rows, 150 of them on probation, with windows 300..=399 and 700..=749, and detections at some rows.
    fn score_of(detections: &[(usize, f64)], profile: &Profile) -> Result {
        let mut scores = vec![0.0; 1000];
        detections.iter().for_each(|(row, score)| scores[*row] = *score);
        best(&[Scored { scores: &scores, windows: &[300..=399, 700..=749] }], profile)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn probation_is_fifteen_percent_of_at_most_5000_rows() {
        assert_eq!([probation(100), probation(4032), probation(5000), probation(22_695)], [15, 604, 750, 750]);
    }

    #[test]
    fn nothing_scores_0_and_everything_at_once_100() {
        for profile in &PROFILES {
            let nothing = score_of(&[], profile);
            assert_eq!((nothing.score, nothing.raw), (0.0, -2.0 * profile.missed));
            let perfect = score_of(&[(300, 1.0), (700, 1.0)], profile);
            assert!(close(perfect.score, 100.0) && close(perfect.raw, 2.0), "{perfect:?}");
            assert_eq!((perfect.windows_found, perfect.false_alarms, perfect.threshold), (2, 0, 1.0));
        }
    }

    #[test]
    fn a_late_detection_is_worth_less_and_only_the_first_counts() {
        // NAB's published values of the sigmoid: 0.98661 at −1, 0.84828 at −0.5.
        let middle = score_of(&[(350, 0.9), (380, 0.9), (399, 0.9)], &STANDARD);
        assert!((middle.raw - (0.848_28 / 0.986_61 - 1.0)).abs() < 1e-4, "{middle:?}");
        let last = score_of(&[(399, 0.9)], &STANDARD);
        // The end of a window is a row short of 0: 2/(1 + e^−0.05) − 1.
        assert!((last.raw - (0.024_995 / 0.986_614 - 1.0)).abs() < 1e-5, "{last:?}");
    }

    #[test]
    fn false_alarms_cost_by_their_distance_from_the_window_before() {
        let found = [(300, 1.0), (700, 1.0)];
        let with = |row: usize, profile: &Profile| {
            let all = [found[0], found[1], (row, 1.0)];
            score_of(&all, profile).raw - 2.0
        };
        // Before any window, far behind one, a half and a whole width (of w − 1 rows) behind one.
        assert!(close(with(200, &STANDARD), -0.11) && close(with(200, &PROFILES[1]), -0.22));
        assert!(close(with(699, &STANDARD), -0.11));
        assert!((with(399 + 99, &STANDARD) + 0.11 * 0.986_614).abs() < 1e-6);
        assert!(with(400, &STANDARD) > -0.11 * 0.03 && with(400, &STANDARD) < 0.0);
        assert_eq!(with(149, &STANDARD), with(0, &STANDARD), "on probation nothing counts");
        assert!(close(with(149, &STANDARD), 0.0));
    }

    #[test]
    fn one_threshold_serves_the_whole_corpus() {
        let windows = [300..=399];
        let series = |high: f64, noise: f64| {
            let mut scores = vec![noise; 1000];
            scores[300] = high;
            scores
        };
        let (first, second) = (series(0.9, 0.1), series(0.4, 0.3));
        let both = best(&[&first, &second].map(|scores| Scored { scores, windows: &windows }), &STANDARD);
        assert_eq!((both.threshold, both.windows_found, both.false_alarms), (0.4, 2, 0));
        // The second's window lies below the first's noise: to find it costs more than it brings.
        let loud = series(0.9, 0.5);
        let both = best(&[&loud, &second].map(|scores| Scored { scores, windows: &windows }), &STANDARD);
        assert_eq!((both.threshold, both.windows_found, both.false_alarms), (0.9, 1, 0));
        assert!(close(both.score, 50.0));
    }
}
