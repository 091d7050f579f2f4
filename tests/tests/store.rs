//! What is kept in flash under power cuts: at every single operation of several cycles, with torn words and half-erased
//! pages, the state found afterwards is the last or the last but one, whole, and the store goes on working.

use flowcast_core::forecaster::Streaming;
use flowcast_core::presets::{Preset, Small, Tiny};
use flowcast_core::snapshot::Snapshot;
use flowcast_firmware::log::{LogError, Ring};
use flowcast_firmware::store::{Kept, Rate, Store};
use flowcast_tests::flash::{Fault, Flash, PAGE, WORD};
use flowcast_tests::{Random, random_model};

const PAGES: usize = 13;
const RING: Ring = Ring { bytes: PAGES * PAGE, page_bytes: PAGE, word_bytes: WORD, endurance: 10_000 };
/// Of a snapshot here: more than two pages.
const BYTES: usize = 2_500;
const BEATS: u32 = 3;
const CYCLES: u32 = 12;

/// The snapshot that is taken after so many samples.
fn snapshot(samples: u32) -> Vec<u8> {
    let mut random = Random::new(samples.into());
    (0..BYTES).map(|_| random.bits() as u8).collect()
}

fn store(flash: &mut Flash) -> Store<&mut Flash> {
    Store::new(flash, 0..(PAGES * PAGE) as u32)
}

/// A board's life from a count of samples on, until its cycles are over or its power goes: how many samples had been kept
/// at its end, and how many it was about to keep.
fn live(flash: &mut Flash, from: u32, cycles: u32) -> Result<(), (u32, u32)> {
    let mut store = store(flash);
    let mut kept = from;
    for samples in from + 1..=from + cycles * (BEATS + 1) {
        let end = |error| match error {
            LogError::Flash(Fault::Power) => (kept, samples),
            other => panic!("after {samples} samples: {other:?}"),
        };
        if samples % (BEATS + 1) == 0 {
            store.keep(&snapshot(samples), samples).map_err(end)?;
            kept = samples;
        } else {
            // With a date, the longest there is.
            store.beat(samples, Some(date(samples))).map_err(end)?;
        }
    }
    Ok(())
}

/// What the calendar says of a sample.
const fn date(sample: u32) -> u32 {
    1_000_000 + 600 * sample
}

/// What is found: checked to be a snapshot that was kept, to the last byte.
fn found(flash: &mut Flash) -> Result<Option<Kept>, Fault> {
    let mut room = vec![0; BYTES + 10];
    let kept = store(flash).recover(&mut room)?;
    if let Some(Kept { bytes, samples, last, dated }) = kept {
        // A date is of a sample that came, and its own.
        assert!(dated.is_none_or(|(when, seconds)| when <= last && seconds == date(when)));
        assert_eq!(&room[..bytes], &*snapshot(samples), "what is found after {samples} samples is what was kept then");
        assert!(last >= samples);
    }
    Ok(kept)
}

#[test]
fn the_power_is_cut_at_every_single_operation() {
    assert!(RING.holds(BYTES, BEATS));
    let mut whole = Flash::new(PAGES);
    live(&mut whole, 0, CYCLES).unwrap();
    let operations = whole.operations;
    assert!(whole.erases.iter().all(|erases| *erases >= 2), "every page is in use: {:?}", whole.erases);
    let (mut last_one, mut in_progress) = (0, 0);
    for cut in 0..operations {
        let mut flash = Flash::new(PAGES);
        flash.cut_after(cut, cut);
        let (kept, coming) = live(&mut flash, 0, CYCLES).expect_err("the power goes before the end");
        flash.power();
        let samples = found(&mut flash).unwrap().map_or(0, |kept| kept.samples);
        // The one that was being written counts where all of it was there.
        assert!(samples == kept || samples == coming, "cut at {cut}: {samples}, kept {kept}, coming {coming}");
        last_one += u32::from(samples == kept);
        in_progress += u32::from(samples != kept);
        // Life goes on, and the next reset finds what it should.
        live(&mut flash, samples, 2).unwrap_or_else(|_| unreachable!("there is power"));
        assert_eq!(found(&mut flash).unwrap().unwrap().samples, samples / 4 * 4 + 8, "cut at {cut}");
    }
    println!("{operations} cuts: {last_one} found the last snapshot, {in_progress} the one under way, complete");
    assert!(last_one > 0 && operations > 5_000);
}

#[test]
fn the_power_is_cut_again_and_again() {
    let mut random = Random::new(7);
    for round in 0..1_500 {
        let mut flash = Flash::new(PAGES);
        let (mut kept, mut coming) = (0, 0);
        for _ in 0..6 {
            let cut = random.below(900) as u64;
            flash.cut_after(cut, random.bits());
            let samples = found(&mut flash).unwrap().map_or(0, |kept| kept.samples);
            assert!(samples == kept || samples == coming, "round {round}: {samples} {kept} {coming}");
            (kept, coming) = live(&mut flash, samples, 5).err().unwrap_or_else(|| {
                let end = samples / 4 * 4 + 20;
                (end, end)
            });
            flash.power();
        }
        let samples = found(&mut flash).unwrap().map_or(0, |kept| kept.samples);
        assert!(samples == kept || samples == coming, "round {round}: {samples} {kept} {coming}");
    }
}

#[test]
fn beats_tell_how_many_samples_came_after_the_snapshot() {
    let mut flash = Flash::new(PAGES);
    assert_eq!(found(&mut flash).unwrap(), None);
    {
        let mut store = store(&mut flash);
        store.beat(3, Some(date(3))).unwrap();
        store.keep(&snapshot(4), 4).unwrap();
        for samples in 5..=7 {
            store.beat(samples, (samples < 7).then_some(date(samples))).unwrap();
        }
    }
    assert_eq!(found(&mut flash).unwrap(), Some(Kept { bytes: BYTES, samples: 4, last: 7, dated: Some((6, date(6))) }));
    let mut small = [0; BYTES - 1];
    assert_eq!(store(&mut flash).recover(&mut small).unwrap(), None);
}

/// A forecaster, its snapshots in flash, and a cut at every thirtieth operation: it goes on to the bit.
#[test]
fn a_forecaster_goes_on_from_flash_as_if_there_had_been_no_cut() {
    let model = random_model(&Preset::named("tiny").unwrap(), 1, 24, 6, 1);
    let model: Vec<u32> = model.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let model: &[u8] = bytemuck::cast_slice(&model);
    let value = |sample: u32| 20.0 + (sample as f32 * 0.26).sin() * 6.0 + Random::new(sample.into()).symmetric();
    let says = |forecaster: &dyn Streaming| {
        let mut bits = Vec::new();
        forecaster.for_each_step(0, &mut |_, step| bits.extend(step.iter().map(|value| value.to_bits())));
        bits
    };
    const PAGES: usize = 60;
    const EVERY: u32 = 10;
    let run = |flash: &mut Flash, forecaster: &mut Tiny<'_, 1, 256>, from: u32, to: u32| {
        let mut store = Store::new(flash, 0..(PAGES * PAGE) as u32);
        for sample in from..to {
            forecaster.observe(&[value(sample)]);
            let outcome = if (sample + 1) % EVERY == 0 {
                let mut buffer = vec![0; forecaster.snapshot_bytes()];
                forecaster.snapshot(&mut buffer).unwrap();
                store.keep(&buffer, sample + 1)
            } else {
                store.beat(sample + 1, None)
            };
            match outcome {
                Ok(()) => {}
                Err(LogError::Flash(Fault::Power)) => return,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let mut flash = Flash::new(PAGES);
    let mut reference = Tiny::<1, 256>::new(model).unwrap();
    run(&mut flash, &mut reference, 0, 60);
    let (operations, expected) = (flash.operations, says(&reference));
    assert!(!expected.is_empty());
    let mut restored = 0;
    for cut in (0..operations).step_by(30) {
        let mut flash = Flash::new(PAGES);
        flash.cut_after(cut, cut);
        run(&mut flash, &mut Tiny::<1, 256>::new(model).unwrap(), 0, 60);
        flash.power();
        let mut forecaster = Tiny::<1, 256>::new(model).unwrap();
        let mut room = vec![0; forecaster.snapshot_bytes()];
        let kept = Store::new(&mut flash, 0..(PAGES * PAGE) as u32).recover(&mut room).unwrap();
        let from = kept.map_or(0, |kept| {
            forecaster.restore(&room[..kept.bytes]).expect("what is found is whole");
            restored += 1;
            kept.samples
        });
        // The samples after the snapshot are taken again here; a board that cannot knows how many they were.
        run(&mut flash, &mut forecaster, from, 60);
        assert_eq!(says(&forecaster), expected, "cut at {cut}");
    }
    assert!(restored > 100, "{restored}");
}

/// Pages wear alike, as fast as is computed.
#[test]
fn the_flash_lasts_as_long_as_is_computed() {
    let mut flash = Flash::new(PAGES);
    const LONG: u32 = 400;
    live(&mut flash, 0, LONG).unwrap();
    let erased: u32 = flash.erases.iter().sum();
    let (least, most) = (flash.erases.iter().min().unwrap(), flash.erases.iter().max().unwrap());
    assert!(most - least <= 1, "{:?}", flash.erases);
    // A snapshot each day: as many days as the ring lasts.
    let rate = Rate { snapshot_bytes: BYTES, samples_per_snapshot: BEATS + 1, interval_s: 86_400 / (BEATS + 1) };
    let measured = f64::from(RING.endurance) * PAGES as f64 * f64::from(LONG) / f64::from(erased) / 365.25;
    let computed = f64::from(RING.years(&rate));
    println!("{computed:.0} years computed, {measured:.0} measured");
    assert!((0.95..=1.4).contains(&(measured / computed)), "computed {computed}, measured {measured}");
    let written = flash.operations * WORD as u64 / u64::from(LONG);
    let told = f64::from(RING.bytes_per_day(&rate));
    assert!((0.9..=1.1).contains(&(told / written as f64)), "{told} told, {written} measured");
}

/// The table of the README.
#[test]
fn boards_keep_their_state_for_years() {
    const SHARE: u32 = flowcast_firmware::station::SAMPLES_PER_SNAPSHOT; // six hours of 10 minutes
    let model = random_model(&Preset::named("small").unwrap(), 1, 144, 144, 1);
    let words: Vec<u32> = model.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let forecaster = Small::<1, 480>::new(bytemuck::cast_slice(&words)).unwrap();
    let rate = Rate { snapshot_bytes: forecaster.snapshot_bytes(), samples_per_snapshot: SHARE, interval_s: 600 };
    println!("small, a channel, a day's and a week's season, {} bytes, kept every 6 hours", rate.snapshot_bytes);
    for (name, ring) in flowcast_firmware::store::RINGS {
        let (years, bytes) = (ring.years(&rate), ring.bytes_per_day(&rate));
        println!(
            "{name:12} {:>3} KiB of {:>2} KiB pages: {bytes:.0} bytes a day, {years:.0} years",
            ring.bytes >> 10,
            ring.page_bytes >> 10
        );
        assert!(ring.holds(rate.snapshot_bytes, SHARE), "{name}");
        assert!(years > 10.0, "{name}: {years}");
    }
}
