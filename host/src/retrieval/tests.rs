use flowcast_core::seasonal::{MAX_ALIGNED, MAX_FEATURES};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::config::{Config, RETRIEVAL_GAIN};
use crate::data::Series;
use crate::features::{After, Features};
use crate::train::setup::{self, Split, Wishes};

const PERIOD: usize = 48;

/// Days of two kinds, five of one after two of the other, which a daily memory cannot tell apart.
fn series(days: usize) -> Series {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let value = |row: usize| {
        let (day, phase) = (row / PERIOD, (row % PERIOD) as f32 / PERIOD as f32);
        let wave = (std::f32::consts::TAU * phase).sin();
        20.0 + if day % 7 < 5 { 5.0 * wave } else { 1.0 - 2.0 * wave }
    };
    let values = (0..days * PERIOD).map(|row| value(row) + rng.random_range(-0.5..0.5_f32)).collect();
    Series { columns: vec!["x".into()], interval_ms: 1_800_000, start: None, values: vec![values] }
}

fn prepared(days: usize) -> (Config, Split, Series) {
    let series = series(days);
    let wishes = Wishes::example(PERIOD as u32, PERIOD);
    let (config, split) = setup::prepare(&series, &wishes).unwrap();
    (config, split, series)
}

fn trained(config: &Config, split: &Split, series: &Series) -> (Days, Trained) {
    let features = Features::new(config, series, None);
    let days = Days::new(&features, 1, split.validation.end).unwrap();
    let trained = train(&days, ATTENTION, RETRIEVAL_GAIN, &split.training, &split.validation, 1).unwrap().unwrap();
    (days, trained)
}

#[test]
fn keys_tell_kinds_of_days_apart() {
    let (config, split, series) = prepared(140);
    let first = trained(&config, &split, &series).1;
    // Of what memory 1 leaves, a plain mean foretells little: days of the other kind are in it.
    assert!(first.validation < 0.3, "{}", first.validation);
    let again = trained(&config, &split, &series).1;
    assert_eq!((again.keys().unwrap(), again.validation), (first.keys().unwrap(), first.validation));
}

#[test]
fn too_few_days_train_no_keys() {
    let (config, split, series) = prepared(60);
    assert!(Days::new(&Features::new(&config, &series, None), 1, split.validation.end).is_none());
}

/// The sequence form and the device's are one function.
#[test]
fn what_the_device_retrieves_is_what_training_saw() {
    let (mut config, split, series) = prepared(140);
    let (days, trained) = trained(&config, &split, &series);
    config.retrieval = true;
    let features = Features::new(&config, &series, trained.keys().unwrap().as_ref());
    let rows = days.days() * PERIOD;
    let foretold = trained.foretold(days).unwrap();
    let seasons = features.seasons();
    let memories = seasons.aligned() - RETRIEVALS;
    let bins = seasons.bins();
    let width = PERIOD / bins;
    let mut compared = 0;
    let mut largest = 0.0_f32;
    features.visit(0, 0, rows, |&After { row, state, clocks, .. }| {
        let day = row / PERIOD;
        if row % width == width - 1 && day > 0 {
            let level = state.features(seasons, clocks, &mut [0.0; MAX_FEATURES]);
            let mut read = [0.0; MAX_ALIGNED];
            state.memories().aligned(seasons, clocks, &level, PERIOD as u32, &mut read);
            let sequence = foretold.read(0, row, PERIOD);
            for (device, sequence) in read[memories..memories + RETRIEVALS].iter().zip(sequence) {
                largest = largest.max((device / level.scale - sequence).abs());
                compared += 1;
            }
        }
        true
    });
    assert!(compared > 5000 && largest < 1e-4, "{largest} over {compared}");
}
