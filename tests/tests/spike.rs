//! What one wrong reading within the range costs the forecasts after it: the same model, taking every sample as it is and holding
//! spikes back, over the bundled air temperature's held-out rows.

use flowcast::config::TrainedModel;
use flowcast::data::{ReadOptions, Series};
use flowcast::forecaster;
use flowcast::output::Output;
use flowcast::protocol::{Protocol, TEST_FRACTION};
use flowcast::train::setup::{Adapt, Wishes};
use flowcast::train::{Options, train};
use flowcast_core::format::Numeric;
use flowcast_core::presets::PRESETS;
use flowcast_tests::Random;

/// Hours between two glitches.
const EVERY: usize = 100;
const HORIZON: usize = 24;
/// Forecasts are looked at up to so many steps ahead.
const AHEAD: [usize; 3] = [1, 6, HORIZON];

fn model(series: &Series) -> TrainedModel {
    let wishes = Wishes {
        periods: vec![24],
        horizon: Some(HORIZON),
        preset: PRESETS[0],
        targets: 1,
        known: 0,
        adapt: Adapt::On,
        protocol: Protocol::Tail { test_fraction: TEST_FRACTION },
    };
    train(series, &Options::closed_form(wishes), &Output::default()).unwrap().0
}

/// Mean absolute error up to each of `AHEAD`, against what would have been measured.
fn errors(model: &TrainedModel, measured: &[f32], clean: &[f32], from: usize) -> [f64; 3] {
    let file = model.to_flow_as(Numeric::I8).unwrap();
    let mut forecaster = forecaster::open(&file).unwrap();
    let mut sums = [0.0; HORIZON];
    let mut origins = 0.0;
    for (row, reading) in measured.iter().enumerate() {
        forecaster.observe(&[*reading]);
        let ahead = clean.get(row + 1..=row + HORIZON);
        let Some(ahead) = ahead.filter(|ahead| row >= from && ahead.iter().all(|value| value.is_finite())) else {
            continue;
        };
        origins += 1.0;
        forecaster.for_each_step(0, &mut |step, quantiles| {
            sums[step - 1] += f64::from((quantiles[1] - ahead[step - 1]).abs());
        });
    }
    AHEAD.map(|steps| sums[..steps].iter().sum::<f64>() / steps as f64 / origins)
}

#[test]
fn a_wrong_reading_within_the_range_costs_little() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/il-tempF.csv.gz");
    let read = ReadOptions { columns: vec!["tempF".into()], ..ReadOptions::default() };
    let mut series = Series::read(&[path.into()], &read).unwrap();
    // Eleven months, of which two are held out.
    series.values[0].truncate(8_000);
    let holding = model(&series);
    assert!(holding.config.channels[0].spike_limit > 0.0, "validation loses nothing by it");
    let mut taking = holding.clone();
    taking.config.channels[0].spike_limit = 0.0;

    let clean = &series.values[0];
    let from = clean.len() - clean.len() / 5;
    let present = || clean.iter().copied().filter(|value| value.is_finite());
    let extremes = [present().fold(f32::INFINITY, f32::min), present().fold(f32::NEG_INFINITY, f32::max)];
    let mut glitching = clean.clone();
    let mut random = Random::new(3);
    for row in (from..clean.len()).step_by(EVERY) {
        glitching[row + (random.uniform() * 20.0) as usize] = extremes[usize::from(random.symmetric() > 0.0)];
    }

    let quiet = errors(&taking, clean, clean, from);
    let taken = errors(&taking, &glitching, clean, from);
    let held = errors(&holding, &glitching, clean, from);
    println!("mean absolute error in °F, one reading in {EVERY} at an end of the range:");
    for (index, steps) in AHEAD.into_iter().enumerate() {
        println!(
            "  up to {steps:2} h: {:.2} without glitches, {:.2} taking them, {:.2} holding them back",
            quiet[index], taken[index], held[index]
        );
        assert!(taken[index] > quiet[index] && held[index] - quiet[index] < 0.6 * (taken[index] - quiet[index]));
    }
    // Nor does it cost anything where there is none.
    let spared = errors(&holding, clean, clean, from);
    assert!(spared.iter().zip(quiet).all(|(spared, quiet)| *spared < 1.005 * quiet), "{spared:?} {quiet:?}");
}
