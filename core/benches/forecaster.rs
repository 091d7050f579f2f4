//! What a sample and a whole forecast cost on this machine, for every preset: `cargo bench -p flowcast-core`.
//!
//! One channel of 10-minute samples, a season of a day, a forecast of a day. Samples each second; for a board, count
//! instructions with `flowcast emulate`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowcast_core::forecaster::{Forecaster, Streaming};
use flowcast_core::format::{Channel, Header, Numeric};
use flowcast_core::linear::Element;
use flowcast_core::presets::{PRESETS, Preset};
use flowcast_core::q20::Q20;
use flowcast_core::seasonal::{Season, Seasons};

const PERIOD: usize = 144;
const KNOTS: [u16; 12] = [1, 2, 3, 4, 6, 9, 14, 22, 35, 56, 90, PERIOD as u16];

/// A model file of small, different weights. `Vec<u128>` starts where weights may be used in place.
fn model(preset: &Preset, numeric: Numeric) -> Vec<u128> {
    let header = Header {
        d_model: preset.d_model as u16,
        heads: preset.heads as u16,
        head_dim: preset.head_dim as u16,
        layers: preset.layers as u16,
        attention: true,
        d_ff: preset.d_ff as u16,
        numeric,
        channels: 1,
        targets: 1,
        known: 0,
        readouts: 1,
        horizon: PERIOD as u16,
        knots: KNOTS.len() as u16,
        ring: true,
        mixed: false,
        corrected: true,
        adapted: false,
        seasons: Seasons {
            list: [Season { period: PERIOD as u32, slot_samples: 1, slots: PERIOD }].into_iter().collect(),
            memory_gain: [1.0, 1.0 / 3.0, 1.0 / 10.0, 1.0 / 30.0],
            scale_floor: 0.05,
            retrieval: None,
        },
        interval_ms: 600_000,
        source_clamp: 1.0,
        flow_limit: 64.0,
        feature_clamp: 12.0,
        quantiles: [0.1, 0.5, 0.9].into_iter().collect(),
        seen_until_ms: 0,
        identity: 0,
    };
    let weights: Vec<f32> = (0..header.weight_count()).map(|index| 0.1 * (index as f32).sin()).collect();
    let gains: Vec<f32> = (0..preset.layers * preset.heads).map(|head| 1.0 / (24.0 + head as f32)).collect();
    let channel = Channel {
        name: "t",
        unit: "",
        offset: 20.0,
        scale: 5.0,
        valid_min: -100.0,
        valid_max: 100.0,
        stuck_limit: 0,
        spike_limit: 5.0,
        spike_least: 0.125,
        resolution: 0.0,
        lowest: -100.0,
        highest: 100.0,
    };
    let mut blocks = vec![0_u128; header.length().div_ceil(16)];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut blocks);
    header.write(&gains, &KNOTS, &[channel], &weights, &mut bytes[..header.length()]).expect("a valid model");
    blocks
}

fn samples() -> Vec<[f32; 1]> {
    (0..7 * PERIOD).map(|row| [20.0 + 5.0 * (row as f32 * 0.0436).sin() + (row as f32 * 1.7).sin()]).collect()
}

/// Benches one preset in one scalar: a sample, then all steps of a forecast.
fn bench<R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>(
    criterion: &mut Criterion,
    preset: &Preset,
) {
    let blocks = model(preset, R::NUMERIC);
    let mut forecaster =
        Forecaster::<R, 1, PERIOD, D_MODEL, HEADS, HEAD_DIM, LAYERS>::new(bytemuck::cast_slice(&blocks))
            .expect("a model");
    let samples = samples();
    for sample in &samples {
        forecaster.observe(sample);
    }

    let mut group = criterion.benchmark_group(format!("{} {}", preset.name, R::NUMERIC.name()));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let mut next = samples.iter().cycle();
    group.throughput(Throughput::Elements(1));
    group.bench_function("observe", |bencher| {
        bencher.iter(|| forecaster.observe(black_box(next.next().expect("a cycle has no end"))));
    });
    let mut out = [0.0; 3 * PERIOD];
    group.throughput(Throughput::Elements(PERIOD as u64));
    group.bench_function("forecast, all steps", |bencher| {
        bencher.iter(|| forecaster.forecast_into(0, black_box(&mut out)));
    });
    group.finish();
}

fn presets(criterion: &mut Criterion) {
    let [tiny, small, base] = &PRESETS;
    bench::<f32, 16, 2, 8, 1>(criterion, tiny);
    bench::<Q20, 16, 2, 8, 1>(criterion, tiny);
    bench::<f32, 32, 4, 8, 1>(criterion, small);
    bench::<Q20, 32, 4, 8, 1>(criterion, small);
    bench::<f32, 64, 8, 8, 2>(criterion, base);
    bench::<Q20, 64, 8, 8, 2>(criterion, base);
}

criterion_group!(benches, presets);
criterion_main!(benches);
