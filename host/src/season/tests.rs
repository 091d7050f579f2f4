//! Synthetic series of known truth.

use std::f32::consts::TAU;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;

const HOUR: u64 = 3_600_000;
const TEN_MINUTES: u64 = 600_000;

/// About normal, deviation 1.
fn noise(random: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0
}

/// `shape(row)` with normal noise of this deviation.
fn series(rows: usize, deviation: f32, seed: u64, shape: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..rows).map(|row| shape(row) + deviation * noise(&mut random)).collect()
}

/// One sine in `period` samples, which need not be whole.
fn wave(row: usize, period: f64) -> f32 {
    (row as f64 / period).fract() as f32 * TAU
}

fn day(row: usize) -> f32 {
    wave(row, 24.0).sin() + 0.5 * wave(row, 12.0).cos()
}

/// Work on five days of seven.
fn work(row: usize) -> f32 {
    if row / 24 % 7 < 5 { 1.0 + day(row) } else { 0.2 * day(row) }
}

#[test]
fn a_day_at_several_levels_of_noise() {
    for (deviation, seed) in [(0.0, 1), (0.5, 2), (1.0, 3), (2.0, 4)] {
        let values = series(4_000, deviation, seed, |row| day(row) + 0.002 * row as f32);
        assert_eq!(find(&[values], HOUR), [24], "deviation {deviation}");
    }
}

#[test]
fn a_week_beside_the_day_only_where_it_explains_more() {
    assert_eq!(find(&[series(3_000, 0.3, 1, work)], HOUR), [24, 168]);
    assert_eq!(find(&[series(3_000, 0.3, 1, day)], HOUR), [24]);
    // Seven weeks with two holidays: few, but a week is what everybody expects.
    let holidays = |row: usize| if [15, 30].contains(&(row / 24)) { 0.2 * day(row) } else { work(row) };
    let few = |seed: u64| series(1_200, 0.3, seed, holidays);
    for seed in 1..6 {
        assert_eq!(find(&[few(seed)], HOUR), [24, 168]);
        assert_eq!(find(&[series(1_200, 0.3, seed, day)], HOUR), [24]);
    }
    let unexpected = |seed: u64| {
        let mut rest = Detrended::new(&few(seed)).unwrap();
        rest.remove(24);
        Evidence::of(&rest, 168, false).proven()
    };
    assert!((1..6).any(|seed| unexpected(seed) == 0.0), "else the milder test would be of no use");
    let every_ten_minutes = series(20_000, 0.5, 2, |row| work(row / 6));
    assert_eq!(find(&[every_ten_minutes], TEN_MINUTES), [144, 1_008]);
    let daily = series(400, 0.3, 3, |row| work(24 * row + 12));
    assert_eq!(find(&[daily], 24 * HOUR), [7]);
}

#[test]
fn periods_that_no_calendar_knows() {
    let rotation = series(5_000, 0.5, 1, |row| wave(row, 25.0).sin().powi(3));
    assert_eq!(find(&[rotation], 20), [25]);
    // 12 h 25 min 14 s: 74.54 samples, so that two tides are nearer to a whole number than one.
    let tide = series(20_000, 0.3, 2, |row| wave(row, 74.537).sin());
    let found = find(&[tide], TEN_MINUTES);
    assert!(matches!(found[..], [74 | 75 | 149]), "{found:?}");
}

#[test]
fn gaps_outliers_missing_days_and_a_drifting_phase() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut values = series(6_000, 0.5, 1, work);
    for (row, value) in values.iter_mut().enumerate() {
        let chance: f32 = random.random();
        if chance < 0.2 || row / 24 % 31 == 4 || (2_000..2_200).contains(&row) {
            *value = f32::NAN;
        } else if chance < 0.21 {
            *value = if chance < 0.205 { 1e9 } else { -9999.0 };
        }
    }
    assert_eq!(find(&[values], HOUR), [24, 168]);
    let drifting = series(6_000, 0.3, 2, |row| day(row + row / 1_000));
    assert_eq!(find(&[drifting], HOUR), [24]);
}

#[test]
fn one_channel_of_several_is_enough() {
    let channels: Vec<Vec<f32>> =
        (0..4).map(|channel| series(4_000, 1.0, channel, |row| if channel == 2 { day(row) } else { 0.0 })).collect();
    assert_eq!(find(&channels, HOUR), [24]);
}

#[test]
fn noise_and_random_walks_have_no_season() {
    for seed in 0..20 {
        let white = series(3_000, 1.0, seed, |_| 0.0);
        let mut level = 0.0;
        let walk: Vec<f32> = white
            .iter()
            .map(|step| {
                level += step;
                level
            })
            .collect();
        let mut memory = 0.0;
        let red: Vec<f32> = white
            .iter()
            .map(|step| {
                memory = 0.95 * memory + step;
                memory
            })
            .collect();
        for (what, values) in [("white", white), ("walk", walk), ("red", red)] {
            assert_eq!(find(&[values], HOUR), [0_u32; 0], "{what} {seed}");
        }
    }
}

#[test]
fn what_is_too_short_or_dead() {
    assert!(find(&[], HOUR).is_empty());
    assert!(find(&[vec![]], HOUR).is_empty());
    assert!(find(&[vec![1.0; 500]], HOUR).is_empty());
    assert!(find(&[vec![f32::NAN; 500]], HOUR).is_empty());
    assert!(find(&[series(90, 0.0, 1, day)], HOUR).is_empty(), "less than four days");
    assert_eq!(find(&[series(120, 0.1, 1, day), vec![f32::NAN; 120]], HOUR), [24]);
}

#[test]
fn in_words() {
    assert_eq!(describe(&[], HOUR), "no season");
    assert_eq!(describe(&[24], HOUR), "a day (24 samples)");
    assert_eq!(describe(&[75, 144, 1_008], TEN_MINUTES), "12 h 30 min (75 samples), a day (144) and a week (1008)");
}
