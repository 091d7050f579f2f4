//! The forecaster over streams: nothing that a sensor sends makes it say nonsense, and nothing that comes later changes
//! what it has said.

use flowcast_core::forecaster::Streaming;
use flowcast_core::format::{Header, Numeric};
use flowcast_core::linear::Element;
use flowcast_core::presets::{Base, PRESETS, Small, Tiny};
use flowcast_core::q20::Q20;
use flowcast_tests::{random_model, random_model_as};
use proptest::prelude::*;

use crate::runner;

const CHANNELS: usize = 2;
const HORIZON: usize = 5;
/// Capacity of the forecasters here.
const SLOTS: usize = 248;

/// What reaches a forecaster at once.
#[derive(Debug, Clone)]
enum Event {
    /// Readings of the first channels; the others are missing.
    Sample(Vec<f32>),
    /// So many samples are missing on every channel.
    Gap(u32),
}

fn reading() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => 0.0_f32..40.0,
        1 => any::<f32>(),
        1 => any::<u32>().prop_map(f32::from_bits),
        1 => proptest::sample::select(vec![
            f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -1e-45, f32::MIN_POSITIVE, 0.0, -0.0,
        ]),
        // The ends of the valid range, and the spikes between them.
        2 => proptest::sample::select(vec![-1000.0_f32, 1000.0, 1000.001, 20.0, 20.0, 20.0]),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => proptest::collection::vec(reading(), 0..=CHANNELS + 1).prop_map(Event::Sample),
        1 => (0_u32..200).prop_map(Event::Gap),
        1 => any::<u32>().prop_map(Event::Gap),
    ]
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 0..most)
}

/// A period and a seed of the weights.
fn model() -> impl Strategy<Value = (u32, u64)> {
    (proptest::sample::select(vec![2_u32, 7, 12, 24, 48]), any::<u64>())
}

fn feed(forecaster: &mut dyn Streaming, event: &Event) {
    match event {
        Event::Sample(sample) => forecaster.observe(sample),
        Event::Gap(samples) => forecaster.observe_gap(*samples),
    }
}

/// Bits of everything that a forecaster says: every quantile of every step of every channel, and what is missing.
fn said(forecaster: &dyn Streaming) -> Vec<u32> {
    let mut said = vec![u32::from(forecaster.is_ready())];
    for channel in 0..CHANNELS {
        said.push(forecaster.missing(channel));
        forecaster.for_each_step(channel, &mut |_, quantiles| said.extend(quantiles.iter().map(|x| x.to_bits())));
    }
    said
}

fn tiny(bytes: &flowcast::file::AlignedBytes) -> Tiny<'_, CHANNELS, SLOTS> {
    Tiny::new(bytes).expect("a valid model of two channels")
}

fn bytes(period: u32, seed: u64) -> flowcast::file::AlignedBytes {
    flowcast::file::AlignedBytes::from(&random_model(&PRESETS[0], CHANNELS, period, HORIZON, seed)[..])
}

/// Puts numbers at these bytes of every channel's record (`core/FORMAT.md`).
fn with_channels(mut model: Vec<u8>, fields: &[(usize, f32)]) -> Vec<u8> {
    let weights = u32::from_le_bytes(model[12..16].try_into().unwrap()) as usize;
    for channel in 1..=CHANNELS {
        let record = weights - 80 * channel;
        for (at, value) in fields {
            model[record + at..][..4].copy_from_slice(&value.to_le_bytes());
        }
    }
    reseal(model)
}

/// Offset, scale, first and last valid reading of every channel, which ends nowhere else.
fn with_range(model: Vec<u8>, [offset, scale, valid_min, valid_max]: [f32; 4]) -> Vec<u8> {
    let fields = [(0, offset), (4, scale), (8, valid_min), (12, valid_max), (24, valid_min), (28, valid_max)];
    with_channels(model, &fields)
}

/// What a sensor's ends cut off is cut off of what is told alone: all else goes on as without them, to the bit.
fn is_the_same_up_to_its_ends<R: Element>(numeric: Numeric) {
    let model = random_model_as(numeric, &PRESETS[0], CHANNELS, 24, HORIZON, 3);
    let free = flowcast::file::AlignedBytes::from(&model[..]);
    let ended = flowcast::file::AlignedBytes::from(&with_channels(model, &[(24, 18.0), (28, 22.0)])[..]);
    let mut free: Tiny<'_, CHANNELS, SLOTS, R> = Tiny::new(&free).expect("a valid model");
    let mut ended: Tiny<'_, CHANNELS, SLOTS, R> = Tiny::new(&ended).expect("a valid model");
    let (mut highest, mut cut) = (22.0_f32, 0);
    for row in 0..400 {
        // At the ends for a third of the time; once beyond one of them.
        let reading = if row == 300 { 23.0 } else { (20.0 + 3.0 * (row as f32 * 0.26).sin()).clamp(18.0, 22.0) };
        highest = highest.max(reading);
        free.observe(&[reading; CHANNELS]);
        ended.observe(&[reading; CHANNELS]);
        for channel in 0..CHANNELS {
            let (mut whole, mut told) = ([0.0; 3 * HORIZON], [0.0; 3 * HORIZON]);
            assert_eq!(free.forecast_into(channel, &mut whole), ended.forecast_into(channel, &mut told));
            assert_eq!(told, whole.map(|value| if row < 24 { value } else { value.clamp(18.0, highest) }), "row {row}");
            cut += usize::from(told != whole);
        }
    }
    assert!(cut > 100, "{cut} forecasts went beyond an end");
}

#[test]
fn a_channel_that_ends_is_the_same_up_to_its_ends() {
    is_the_same_up_to_its_ends::<f32>(Numeric::F32);
    is_the_same_up_to_its_ends::<Q20>(Numeric::I8);
}

/// Every weight at the largest that the format allows, of either sign; those of eight bits under this exponent.
fn with_largest_weights(mut model: Vec<u8>, exponent: i32) -> Vec<u8> {
    let header = Header::parse(&flowcast::file::AlignedBytes::from(&model[..])).expect("a valid model");
    let mut at = u32::from_le_bytes(model[12..16].try_into().unwrap()) as usize;
    let mut put = |number: [u8; 4]| {
        model[at..at + 4].copy_from_slice(&number);
        at += 4;
    };
    for tensor in header.tensors() {
        let sign = |index: usize| if index.is_multiple_of(3) { -1 } else { 1 };
        match (header.numeric, tensor.outputs()) {
            (Numeric::F32, _) => {
                (0..tensor.len()).for_each(|index| put((1e3 * sign(index) as f32).to_le_bytes()));
            }
            (Numeric::I8, 0) => {
                (0..tensor.len()).for_each(|index| put((1000 * sign(index) * (1_i32 << 20)).to_le_bytes()))
            }
            (Numeric::I8, outputs) => {
                put(exponent.to_le_bytes());
                (0..outputs).for_each(|_| put(i32::MAX.to_le_bytes()));
            }
        }
    }
    reseal(model)
}

fn reseal(mut model: Vec<u8>) -> Vec<u8> {
    let end = model.len() - 4;
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&model[..end]);
    model[end..].copy_from_slice(&checksum.to_le_bytes());
    model
}

fn check_finite(forecaster: &mut dyn Streaming, events: &[Event]) -> Result<(), TestCaseError> {
    for event in events {
        feed(forecaster, event);
        for channel in 0..CHANNELS {
            let mut steps = 0;
            let spoke = forecaster.for_each_step(channel, &mut |step, quantiles| {
                steps += 1;
                assert_eq!((step, quantiles.len()), (steps, 3));
                assert!(quantiles.iter().all(|value| value.is_finite()), "{quantiles:?} after {event:?}");
                assert!(quantiles.is_sorted(), "{quantiles:?} after {event:?}");
            });
            prop_assert!(!spoke || (forecaster.is_ready() && steps == HORIZON));
        }
    }
    Ok(())
}

#[test]
fn whatever_comes_forecasts_are_finite_and_ascending() {
    runner(200)
        .run(&(model(), events(300)), |((period, seed), events)| {
            check_finite(&mut tiny(&bytes(period, seed)), &events)?;
            let model = random_model_as(Numeric::I8, &PRESETS[0], CHANNELS, period, HORIZON, seed);
            let bytes = flowcast::file::AlignedBytes::from(&model[..]);
            check_finite(&mut Tiny::<CHANNELS, SLOTS, Q20>::new(&bytes).unwrap(), &events)
        })
        .unwrap();
}

/// The worst model that the format allows, on channels of the widest range: weights of ±1000 everywhere.
#[test]
fn the_largest_weights_keep_every_forecast_finite() {
    let channels = proptest::sample::select(vec![
        [20.0_f32, 5.0, -1000.0, 1000.0],
        [0.0, 1.0, -1e6, 1e6],
        [-1e15, 1e15, -9.9e20, 9.9e20],
        [0.0, 1e-15, -9.9e-10, 9.9e-10],
    ]);
    runner(60)
        .run(&(model(), channels, 0..3_usize, events(120)), |((period, seed), channels, preset, events)| {
            let numeric = if seed % 2 == 0 { Numeric::F32 } else { Numeric::I8 };
            let model = random_model_as(numeric, &PRESETS[preset], CHANNELS, period, HORIZON, seed);
            let model = with_range(model, channels);
            // Integers refuse what leaves their range whatever comes: the largest weights are those that they take.
            let largest =
                |exponent| flowcast::file::AlignedBytes::from(&with_largest_weights(model.clone(), exponent)[..]);
            let bytes = (21..=38).map(largest).find(|bytes| flowcast::forecaster::open(bytes).is_ok()).unwrap();
            if numeric == Numeric::I8 {
                let refused = flowcast::forecaster::open(&largest(21)).map(|_| ()).unwrap_err();
                assert!(refused.to_string().contains("too heavy for integers"), "{refused}");
            }
            // Spread over the channel's range, whatever its unit.
            let [_, _, low, high] = channels;
            let events: Vec<Event> = events
                .into_iter()
                .map(|event| match event {
                    Event::Sample(sample) => {
                        let spread =
                            |x: &f32| if x.abs() <= 1000.0 { low + (high - low) * (x + 1000.0) / 2000.0 } else { *x };
                        Event::Sample(sample.iter().map(spread).collect())
                    }
                    gap => gap,
                })
                .collect();
            match (preset, numeric) {
                (0, Numeric::F32) => check_finite(&mut Tiny::<CHANNELS, SLOTS>::new(&bytes).unwrap(), &events),
                (1, Numeric::F32) => check_finite(&mut Small::<CHANNELS, SLOTS>::new(&bytes).unwrap(), &events),
                (_, Numeric::F32) => check_finite(&mut Base::<CHANNELS, SLOTS>::new(&bytes).unwrap(), &events),
                (0, Numeric::I8) => check_finite(&mut Tiny::<CHANNELS, SLOTS, Q20>::new(&bytes).unwrap(), &events),
                (1, Numeric::I8) => check_finite(&mut Small::<CHANNELS, SLOTS, Q20>::new(&bytes).unwrap(), &events),
                (_, Numeric::I8) => check_finite(&mut Base::<CHANNELS, SLOTS, Q20>::new(&bytes).unwrap(), &events),
            }
        })
        .unwrap();
}

/// Two streams with a common past are forecast alike, bit for bit, as long as the past is common.
#[test]
fn future_samples_change_no_past_forecast() {
    runner(100)
        .run(&(model(), events(200), events(60), events(60)), |((period, seed), past, one, other)| {
            let bytes = bytes(period, seed);
            let run = |future: &[Event]| {
                let mut forecaster = tiny(&bytes);
                let mut spoken = Vec::new();
                for event in past.iter().chain(future) {
                    feed(&mut forecaster, event);
                    spoken.push(said(&forecaster));
                }
                spoken
            };
            let (one, other) = (run(&one), run(&other));
            prop_assert_eq!(&one[..past.len()], &other[..past.len()]);
            Ok(())
        })
        .unwrap();
}

#[test]
fn asking_changes_nothing_and_reset_forgets_everything() {
    runner(100)
        .run(&(model(), events(150), events(150)), |((period, seed), first, second)| {
            let bytes = bytes(period, seed);
            let (mut asked, mut silent, mut new) = (tiny(&bytes), tiny(&bytes), tiny(&bytes));
            for event in &first {
                feed(&mut asked, event);
                feed(&mut silent, event);
                said(&asked);
            }
            prop_assert_eq!(said(&asked), said(&silent));
            asked.reset();
            for event in &second {
                feed(&mut asked, event);
                feed(&mut new, event);
                prop_assert_eq!(said(&asked), said(&new));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_gap_is_that_many_missing_samples() {
    runner(200)
        .run(&(model(), events(120), 0_u32..300, events(60)), |((period, seed), before, gap, after)| {
            let bytes = bytes(period, seed);
            let (mut jumped, mut walked) = (tiny(&bytes), tiny(&bytes));
            for event in &before {
                feed(&mut jumped, event);
                feed(&mut walked, event);
            }
            jumped.observe_gap(gap);
            for _ in 0..gap {
                walked.observe(&[]);
            }
            prop_assert_eq!(said(&jumped), said(&walked), "right after a gap of {}", gap);
            for event in &after {
                feed(&mut jumped, event);
                feed(&mut walked, event);
                prop_assert_eq!(said(&jumped), said(&walked));
            }
            Ok(())
        })
        .unwrap();
}

/// Readings out of range, infinite ones and those of a sensor that stands still for longer than the model allows
/// (`random_model`: 50 samples) are as if they had not come.
#[test]
fn impossible_and_stuck_readings_are_missing_ones() {
    const STUCK_LIMIT: usize = 50;
    let bad = || proptest::sample::select(vec![1000.5_f32, -1000.5, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::MAX]);
    let good = || proptest::collection::vec(0.0_f32..40.0, 60..120);
    runner(100)
        .run(
            &(model(), good(), good(), 0_usize..80, proptest::collection::vec(bad(), 1..60)),
            |((period, seed), before, after, stuck, bad)| {
                let bytes = bytes(period, seed);
                let (mut real, mut blanked) = (tiny(&bytes), tiny(&bytes));
                let mut both = |reading: f32, blank: bool| {
                    real.observe(&[reading, 1.0]);
                    blanked.observe(&[if blank { f32::NAN } else { reading }, 1.0]);
                    (said(&real), said(&blanked))
                };
                for reading in &before {
                    both(*reading, false);
                }
                for run in 0..STUCK_LIMIT + stuck {
                    let (real, blanked) = both(41.0, run >= STUCK_LIMIT);
                    prop_assert_eq!(real, blanked, "reading {} of a stuck sensor", run);
                }
                for reading in &bad {
                    let (real, blanked) = both(*reading, true);
                    prop_assert_eq!(real, blanked, "{}", reading);
                }
                for reading in &after {
                    let (real, blanked) = both(*reading, false);
                    prop_assert_eq!(real, blanked);
                }
                Ok(())
            },
        )
        .unwrap();
}

/// A level beyond the bounds (−1000 to 1000; stuck after 50) is taken after 50 readings, and forecasts stay what they must be.
fn takes_a_level<R: Element>(numeric: Numeric, level: f32) -> Result<(), TestCaseError> {
    let model = random_model_as(numeric, &PRESETS[0], CHANNELS, 24, HORIZON, 5);
    let model = flowcast::file::AlignedBytes::from(&model[..]);
    let mut forecaster: Tiny<'_, CHANNELS, SLOTS, R> = Tiny::new(&model).expect("a valid model");
    let samples = |rows: std::ops::Range<u32>, level: f32| -> Vec<Event> {
        rows.map(|row| Event::Sample(vec![level + 10.0 * (row as f32 * 0.26).sin() + (row % 2) as f32 * 20.0, 20.5]))
            .collect()
    };
    check_finite(&mut forecaster, &samples(0..100, 20.0))?;
    prop_assert_eq!(forecaster.missing(0), 0);
    check_finite(&mut forecaster, &samples(100..400, level))?;
    prop_assert_eq!(forecaster.missing(0), 50);
    // The other channel stands still.
    prop_assert_eq!(forecaster.missing(1), 350);
    // Back, and there again: both are known.
    check_finite(&mut forecaster, &samples(400..500, 20.0))?;
    prop_assert_eq!(forecaster.missing(0), 51);
    check_finite(&mut forecaster, &samples(500..600, level))?;
    prop_assert_eq!(forecaster.missing(0), 52);
    Ok(())
}

#[test]
fn a_level_beyond_the_bounds_is_taken_once_it_lasts() {
    for level in [1500.0, -2500.0] {
        takes_a_level::<f32>(Numeric::F32, level).unwrap();
        takes_a_level::<Q20>(Numeric::I8, level).unwrap();
    }
}

#[test]
fn a_channel_never_hears_of_another() {
    let pair = (reading(), reading(), reading());
    runner(100)
        .run(&(model(), proptest::collection::vec(pair, 1..200)), |((period, seed), readings)| {
            let bytes = bytes(period, seed);
            let (mut one, mut other) = (tiny(&bytes), tiny(&bytes));
            for (same, here, there) in readings {
                one.observe(&[same, here]);
                other.observe(&[same, there]);
                let said = [&one, &other].map(|forecaster| {
                    let mut out = [0.0; 3 * HORIZON];
                    let count = forecaster.forecast_into(0, &mut out);
                    (count, out.map(f32::to_bits), forecaster.missing(0))
                });
                prop_assert_eq!(&said[0], &said[1]);
            }
            Ok(())
        })
        .unwrap();
}
