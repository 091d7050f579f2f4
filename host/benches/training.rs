//! What a training step costs on this machine, part by part, on the bundled measurements:
//! `cargo bench --profile dev -p flowcast --bench training` (that profile's candle is built already).

use std::path::Path;
use std::time::Duration;

use candle_core::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowcast::data::{ReadOptions, Series};
use flowcast::features::Features;
use flowcast::model::{Network, StepUnits};
use flowcast::optimizer::{AdamW, Group};
use flowcast::protocol::Protocol;
use flowcast::ridge::Aim;
use flowcast::train::batch::{Shape, batch};
use flowcast::train::loss::{RowLosses, importance};
use flowcast::train::setup::{Adapt, Wishes, prepare};
use flowcast_core::presets::PRESETS;

/// As `flowcast train --target T2m,RH2m,P2m --horizon 1d` makes its steps, on the CPU. The cost of a step does not depend
/// on what the weights are, so the closed form is left out.
fn training(criterion: &mut Criterion) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/mast_10min.csv.gz");
    let columns = ["T2m", "RH2m", "P2m"].map(str::to_owned).to_vec();
    let series = Series::read(&[data], &ReadOptions { columns, ..ReadOptions::default() }).expect("the bundled data");
    for preset in PRESETS {
        let wishes = Wishes {
            periods: Vec::new(),
            horizon: Some(144),
            preset,
            targets: 3,
            known: 0,
            adapt: Adapt::Off,
            protocol: Protocol::Tail { test_fraction: 0.2 },
        };
        let (config, split) = prepare(&series, &wishes).expect("the bundled data trains");
        let header = config.header().expect("a valid header");
        let features = Features::new(&config, &series, None);
        let shape = Shape::new(3, config.knots.len(), split.training.len() - 144);
        let error = vec![vec![1.0; config.knots.len()]; 3];
        let importance = importance(Aim::Median, &config.knots);
        let device = Device::Cpu;
        let units = StepUnits::new(&header, &error);
        let network =
            Network::new(header.clone(), &config.head_gains(), units, shape.length, 1, &device).expect("a network");
        let make = || batch(&header, &features, &error, &split.training, shape, (1, 0), &device).expect("a batch");
        let one = make();
        let forward = || {
            let hidden = network.hidden(&one.tokens).expect("hidden states");
            let quantiles = network.forecast(&hidden, &one.positions).expect("quantiles");
            let came = (&one.future, &one.weight);
            let losses = RowLosses::new(&config.quantiles, &quantiles, came, &importance).expect("losses");
            losses.mean(&one.known, &importance).expect("a loss")
        };
        let mut optimizer = AdamW::default();

        let mut group = criterion.benchmark_group(format!("training step, {}", preset.name));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        // Tokens, of every channel and window.
        group.throughput(Throughput::Elements((3 * shape.windows * shape.length) as u64));
        group.bench_function("batch", |bencher| bencher.iter(make));
        group.bench_function("forward", |bencher| bencher.iter(|| forward().to_scalar::<f32>().expect("a number")));
        group.bench_function("forward and backward", |bencher| {
            bencher.iter(|| forward().backward().expect("gradients"))
        });
        group.bench_function("whole step", |bencher| {
            bencher.iter(|| {
                make();
                let gradients = forward().backward().expect("gradients");
                let group = |_: &str| Group { rate: 1e-6, decay: 0.0 };
                optimizer.step(network.vars(), &gradients, 1.0, 1.0, group).expect("a step");
            });
        });
        group.finish();
    }
}

criterion_group!(benches, training);
criterion_main!(benches);
