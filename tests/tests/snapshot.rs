//! Snapshots: a forecaster that goes on from one says, bit for bit, what one says that was never interrupted; and what is
//! no snapshot of its model is refused with the reason.

#![allow(clippy::boxed_local, reason = "a forecaster is too large to lie on a test's stack")]

use flowcast::file::AlignedBytes;
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::Numeric;
use flowcast_core::model::ModelError;
use flowcast_core::presets::{Base, PRESETS, Preset, Small, Tiny};
use flowcast_core::q20::Q20;
use flowcast_core::snapshot::{HEADER_BYTES, Snapshot, SnapshotError};
use flowcast_tests::{Random, random_model_as, random_model_with};
use proptest::prelude::*;

fn model(preset: &str, channels: usize, period: u32, seed: u64) -> Vec<u32> {
    model_as(Numeric::F32, preset, channels, period, seed)
}

fn model_as(numeric: Numeric, preset: &str, channels: usize, period: u32, seed: u64) -> Vec<u32> {
    let bytes = random_model_as(numeric, &Preset::named(preset).unwrap(), channels, period, 30, seed);
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Samples of a sensor's life: waves, noise, missing ones, stuck ones, nonsense, levels out of range.
fn samples(count: usize, channels: usize, period: u32, random: &mut Random) -> Vec<Vec<f32>> {
    let (mut stuck, mut level) = (0, 0);
    (0..count)
        .map(|row| {
            level = if level == 0 && random.below(200) == 0 { 90 } else { usize::saturating_sub(level, 1) };
            stuck = if stuck == 0 && random.below(90) == 0 { 60 } else { usize::saturating_sub(stuck, 1) };
            let phase = row as f32 / period as f32 * core::f32::consts::TAU;
            (0..channels)
                .map(|channel| match random.below(30) {
                    0 => f32::NAN,
                    1 => 1e30,
                    2 => -900.0,
                    _ if stuck > 0 => 20.5,
                    _ if level > 0 => 1200.0 + 40.0 * random.symmetric(),
                    _ => 20.0 + 6.0 * (phase + channel as f32).sin() + random.symmetric(),
                })
                .collect()
        })
        .collect()
}

/// Everything that a forecaster says: forecasts, alerts' scores, counts.
fn says(forecaster: &dyn Streaming) -> Vec<u32> {
    let mut bits = vec![u32::from(forecaster.is_ready())];
    for channel in 0..usize::from(forecaster.header().channels) {
        forecaster.for_each_step(channel, &mut |_, step| bits.extend(step.iter().map(|value| value.to_bits())));
        bits.extend(forecaster.anomaly(channel).map(|anomaly| anomaly.surprise.to_bits()));
        bits.push(forecaster.missing(channel));
    }
    bits
}

fn bytes(forecaster: &impl Snapshot) -> Vec<u8> {
    let mut buffer = vec![0xAA; forecaster.snapshot_bytes() + 7];
    let length = forecaster.snapshot(&mut buffer).unwrap();
    assert_eq!((length, &buffer[length..]), (forecaster.snapshot_bytes(), &[0xAA; 7][..]));
    buffer.truncate(length);
    buffer
}

/// A forecaster on the heap, for it is large.
fn open<F>(forecaster: Result<F, ModelError>) -> Box<F> {
    Box::new(forecaster.unwrap())
}

/// `resumed` is of other capacities than `whole`.
fn check<W: Streaming + Snapshot, R: Streaming + Snapshot>(
    mut whole: Box<W>,
    mut resumed: Box<R>,
    rows: &[Vec<f32>],
    cut: usize,
    gap: u32,
) {
    for row in &rows[..cut] {
        whole.observe(row);
    }
    // What it held before does not matter.
    for row in rows.iter().rev().take(40) {
        resumed.observe(row);
    }
    resumed.restore(&bytes(&*whole)).unwrap();
    assert!(bytes(&*whole) == bytes(&*resumed), "the same bytes");
    assert_eq!(says(&*whole), says(&*resumed));
    whole.observe_gap(gap);
    resumed.observe_gap(gap);
    for row in &rows[cut..] {
        whole.observe(row);
        resumed.observe(row);
        assert_eq!(says(&*whole), says(&*resumed));
    }
    assert!(bytes(&*whole) == bytes(&*resumed), "the same bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_came_and_whenever_it_was_cut_it_goes_on_to_the_bit(
        seed in any::<u64>(), preset in 0..PRESETS.len(), channels in 1_usize..=3, cut in 0_usize..500,
        gap in prop_oneof![Just(0_u32), 1_u32..40, Just(100_000)],
        numeric in prop_oneof![Just(Numeric::F32), Just(Numeric::I8)],
    ) {
        let period = 24;
        let rows = samples(560, channels, period, &mut Random::new(seed));
        let name = PRESETS[preset].name;
        let model = model_as(numeric, name, channels, period, seed);
        let model = bytemuck::cast_slice(&model);
        macro_rules! check_form {
            ($scalar:ty) => {
                match name {
                    "tiny" => check(open(Tiny::<3, 256, $scalar>::new(model)), open(Tiny::<4, 300, $scalar>::new(model)), &rows, cut, gap),
                    "small" => check(open(Small::<3, 256, $scalar>::new(model)), open(Small::<4, 300, $scalar>::new(model)), &rows, cut, gap),
                    _ => check(open(Base::<3, 256, $scalar>::new(model)), open(Base::<4, 300, $scalar>::new(model)), &rows, cut, gap),
                }
            };
        }
        match numeric {
            Numeric::F32 => check_form!(f32),
            Numeric::I8 => check_form!(Q20),
        }
    }

    /// Whatever the bytes, checksum and all: no panic, then or later.
    #[test]
    fn nonsense_with_a_right_checksum_harms_nothing(seed in any::<u64>(), changes in 1_usize..40) {
        let model = model("tiny", 2, 24, 1);
        alter(open(Tiny::<2, 256>::new(bytemuck::cast_slice(&model))), seed, changes);
        let model = model_as(Numeric::I8, "tiny", 2, 24, 1);
        alter(open(Tiny::<2, 256, Q20>::new(bytemuck::cast_slice(&model))), seed, changes);
    }
}

fn alter<F: Streaming + Snapshot>(mut forecaster: Box<F>, seed: u64, changes: usize) {
    let mut random = Random::new(seed);
    let rows = samples(120, 2, 24, &mut random);
    rows.iter().for_each(|row| forecaster.observe(row));
    let mut snapshot = bytes(&*forecaster);
    let end = snapshot.len() - 4;
    for _ in 0..changes {
        let place = HEADER_BYTES + random.below(end - HEADER_BYTES);
        // Numbers at their ends, too.
        snapshot[place] = [random.bits() as u8, 0x7F, 0x80, 0xFF][random.below(4)];
    }
    seal(&mut snapshot);
    if let Err(error) = forecaster.restore(&snapshot) {
        assert_eq!(error, SnapshotError::Field);
        assert!(!forecaster.is_ready());
    }
    rows.iter().for_each(|row| forecaster.observe(row));
    forecaster.observe_gap(u32::MAX);
    says(&*forecaster);
}

/// Each word of a snapshot in turn at the ends of what it can hold, wherever a field begins.
#[test]
fn no_field_at_its_ends_harms_anything() {
    fn stretch<F: Streaming + Snapshot>(mut forecaster: Box<F>, age: usize) -> (u32, u32) {
        let rows = samples(100, 1, 24, &mut Random::new(1));
        rows.iter().take(age).for_each(|row| forecaster.observe(row));
        let good = bytes(&*forecaster);
        let (mut refused, mut taken) = (0, 0);
        for place in HEADER_BYTES..good.len() - 8 {
            for word in [u32::MAX, i32::MAX as u32, i32::MIN as u32] {
                let mut snapshot = good.clone();
                snapshot[place..place + 4].copy_from_slice(&word.to_le_bytes());
                seal(&mut snapshot);
                match forecaster.restore(&snapshot) {
                    Ok(()) => taken += 1,
                    Err(error) => {
                        assert_eq!(error, SnapshotError::Field);
                        refused += 1;
                    }
                }
                rows.iter().take(3).for_each(|row| forecaster.observe(row));
                says(&*forecaster);
            }
        }
        (refused, taken)
    }
    let (integer, float) = (model_as(Numeric::I8, "tiny", 1, 24, 1), model("tiny", 1, 24, 1));
    // Within its first day, and after it.
    for age in [20, 100] {
        for found in [
            stretch(open(Tiny::<1, 256, Q20>::new(bytemuck::cast_slice(&integer))), age),
            stretch(open(Tiny::<1, 256>::new(bytemuck::cast_slice(&float))), age),
        ] {
            assert!(found.0 > 0 && found.1 > 0, "{found:?} refused and taken");
        }
    }
}

/// Makes the checksum right.
fn seal(snapshot: &mut [u8]) {
    let (content, checksum) = snapshot.split_last_chunk_mut::<4>().unwrap();
    *checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(content).to_le_bytes();
}

#[test]
fn what_is_no_snapshot_of_this_model_is_refused_and_changes_nothing() {
    let (model_a, model_b) = (model("tiny", 1, 24, 1), model("tiny", 1, 24, 2));
    let [a, b]: [&[u8]; 2] = [bytemuck::cast_slice(&model_a), bytemuck::cast_slice(&model_b)];
    let rows = samples(100, 1, 24, &mut Random::new(1));
    let mut forecaster = Tiny::<1, 256>::new(a).unwrap();
    rows.iter().for_each(|row| forecaster.observe(row));
    let good = bytes(&forecaster);
    let before = says(&forecaster);
    let identity = |model: &[u8]| Tiny::<1, 256>::new(model).unwrap().header().identity;
    let altered = |place: usize, value: u8| {
        let mut snapshot = good.clone();
        snapshot[place] = value;
        snapshot
    };
    let length = good.len();
    let mut refused = |bytes: &[u8]| {
        let error = forecaster.restore(bytes).expect_err("it is refused");
        assert_eq!(says(&forecaster), before, "{error}");
        error
    };
    assert_eq!(refused(&altered(0, b'X')), SnapshotError::NotASnapshot { found: *b"XSNP" });
    assert_eq!(refused(&altered(4, 9)), SnapshotError::Version { found: 9 });
    assert_eq!(refused(&altered(6, 3)), SnapshotError::Form { found: 3, expected: 0 });
    assert_eq!(refused(&good[..10]), SnapshotError::Length { found: 10, expected: length });
    assert_eq!(refused(&good[..length - 1]), SnapshotError::Length { found: length - 1, expected: length });
    let other = bytes(&Tiny::<1, 256>::new(b).unwrap());
    let error = refused(&other);
    assert_eq!(error, SnapshotError::Model { found: identity(b), expected: identity(a) });
    assert_eq!(
        error.to_string(),
        format!("snapshot is of model {:08x}, this forecaster runs {:08x}", identity(b), identity(a))
    );
    for place in (HEADER_BYTES..length).step_by(97) {
        assert!(matches!(refused(&altered(place, !good[place])), SnapshotError::Checksum { .. }));
    }
    // A phase beyond the season: the clocks follow the count of samples.
    let mut beyond = altered(HEADER_BYTES + 4, 200);
    seal(&mut beyond);
    assert_eq!(forecaster.restore(&beyond), Err(SnapshotError::Field));
    assert!(!forecaster.is_ready());
    forecaster.restore(&[&good[..], &[0xFF; 9]].concat()).unwrap();
    assert_eq!(says(&forecaster), before);

    let mut none = Tiny::<1, 256>::unbound();
    assert_eq!(none.snapshot_bytes(), 0);
    assert_eq!(none.snapshot(&mut [0; 9]), Err(SnapshotError::NoModel));
    assert_eq!(none.restore(&good), Err(SnapshotError::NoModel));
    assert_eq!(forecaster.snapshot(&mut [0; 9]), Err(SnapshotError::Room { found: 9, expected: length }));
}

/// The table of `core/SNAPSHOT.md`, added up.
#[test]
fn a_snapshot_has_the_length_that_the_document_says() {
    let document = include_str!("../../core/SNAPSHOT.md");
    let (d_model, heads, head_dim, channels, slots) = (32, 4, 8, 2, 24 + 28 + 24 * 7);
    let of_table = |heading: &str| -> Vec<usize> {
        let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("a section {heading}"));
        let section = section.split("\n## ").next().unwrap();
        section.lines().filter_map(|line| line.split('|').nth(3)?.trim().parse().ok()).collect()
    };
    let sum = |heading| of_table(heading).iter().sum::<usize>();
    let fixed = sum("## Channel");
    // Of blocks that have an attention.
    for layers in [1, 0] {
        let channel =
            fixed + slots * 17 + layers * (4 + heads * (4 * 4 * head_dim + 4 + 4 * head_dim * head_dim)) + 4 * d_model;
        let expected = sum("## Header") + sum("## Clocks") + channels * channel + 4;
        let small = Preset::named("small").unwrap();
        let model = AlignedBytes::from(&*random_model_with(layers > 0, Numeric::F32, &small, channels, 24, 30, 1));
        let forecaster = Small::<2, 300>::new(&model).unwrap();
        assert_eq!(forecaster.header().seasons.capacity(), slots);
        println!("small, 2 channels, {slots} slots, {layers} of attention: {} bytes", forecaster.snapshot_bytes());
        assert_eq!(forecaster.snapshot_bytes(), expected);
    }
}

/// One without room for an attention goes on from a snapshot of one with it, and refuses a model that needs it.
#[test]
fn a_forecaster_without_an_attention_needs_no_room_for_one() {
    let tiny = Preset::named("tiny").unwrap();
    let model = |attention, numeric| AlignedBytes::from(&*random_model_with(attention, numeric, &tiny, 2, 24, 30, 4));
    let rows = samples(560, 2, 24, &mut Random::new(4));
    let (float, integer) = (model(false, Numeric::F32), model(false, Numeric::I8));
    check(open(Tiny::<2, 256>::new(&float)), open(Tiny::<2, 256, f32, 0>::new(&float)), &rows, 300, 7);
    check(open(Tiny::<2, 256, Q20, 0>::new(&integer)), open(Tiny::<2, 256, Q20>::new(&integer)), &rows, 300, 7);
    assert!(size_of::<Tiny<'_, 2, 256, Q20, 0>>() + 2 * 700 < size_of::<Tiny<'_, 2, 256, Q20>>());
    let error = Tiny::<2, 256, f32, 0>::new(&model(true, Numeric::F32)).expect_err("there is no room");
    assert_eq!(error.to_string(), "model needs 1 layers of attention, this program holds 0");
}
