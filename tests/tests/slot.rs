//! A model swap under power cuts: at every single operation of it, with torn words and half-erased pages, the board goes on
//! with the model that it had, or with the new one once all of it is there; and it takes another try.

use flowcast::flash::slot::{Content, pick};
use flowcast::hardware::Region;
use flowcast_core::forecaster::Streaming as _;
use flowcast_core::model::ModelError;
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::slot::{self, RECORD_BYTES, Record, choose};
use flowcast_firmware::install::{InstallError, install};
use flowcast_tests::flash::{Fault, Flash, PAGE};
use flowcast_tests::{Random, random_model};

use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};

const SLOT_PAGES: usize = 26;
const SLOT: usize = SLOT_PAGES * PAGE;

fn model(preset: &str, seed: u64) -> Vec<u8> {
    random_model(&Preset::named(preset).unwrap(), 1, 24, 6, seed)
}

fn identity(model: &[u8]) -> u32 {
    u32::from_le_bytes(*model.last_chunk().unwrap())
}

/// The flash as a processor sees it: words, so that a model can be bound where it lies.
fn seen(flash: &mut Flash) -> Vec<u32> {
    let mut bytes = vec![0; 2 * SLOT];
    flash.read(0, &mut bytes).unwrap();
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn slots(words: &[u32]) -> [&[u8]; 2] {
    let (a, b) = bytemuck::cast_slice::<_, u8>(words).split_at(SLOT);
    [a, b]
}

/// What a board starts with: the slot, its model's identity, and why the newer one does not run.
fn boot(flash: &mut Flash) -> Result<(usize, u32, Option<ModelError>), [ModelError; 2]> {
    let words = seen(flash);
    let mut forecaster = Tiny::<1, 256>::unbound();
    let choice = choose(slots(&words), |bytes| forecaster.bind(bytes))?;
    Ok((choice.slot, forecaster.header().identity, choice.refused))
}

/// Installs a model beside what runs.
fn swap(flash: &mut Flash, model: &[u8]) -> Result<usize, InstallError<Fault>> {
    let words = seen(flash);
    let mut forecaster = Tiny::<1, 256>::unbound();
    let in_use = choose(slots(&words), |bytes| forecaster.bind(bytes)).ok().map(|choice| choice.slot);
    let (slot, record) = slot::install(slots(&words), in_use, model.len() as u32, identity(model));
    install(flash, (slot * SLOT) as u32..((slot + 1) * SLOT) as u32, model, &record).map(|()| slot)
}

#[test]
fn models_take_turns_in_the_slots() {
    let mut flash = Flash::new(2 * SLOT_PAGES);
    assert!(matches!(boot(&mut flash), Err([ModelError::Format(_), ModelError::Format(_)])));
    let mut found = Vec::new();
    for seed in 1..=5 {
        let model = model("tiny", seed);
        assert!(model.len() + RECORD_BYTES < SLOT);
        let slot = swap(&mut flash, &model).unwrap();
        assert_eq!(boot(&mut flash).unwrap(), (slot, identity(&model), None));
        found.push(slot);
    }
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
}

#[test]
fn the_power_is_cut_at_every_single_operation_of_a_swap() {
    let [old, new, next] = [1, 2, 3].map(|seed| model("tiny", seed));
    let mut before = Flash::new(2 * SLOT_PAGES);
    swap(&mut before, &model("tiny", 9)).unwrap();
    let old_slot = swap(&mut before, &old).unwrap();
    let begun = before.operations;
    let mut whole = before.clone();
    let new_slot = swap(&mut whole, &new).unwrap();
    let operations = whole.operations - begun;
    assert!(operations as usize > new.len() / 4 && new_slot != old_slot);
    let mut finished = 0;
    for cut in 0..operations {
        let mut flash = before.clone();
        flash.cut_after(cut, cut);
        assert!(matches!(swap(&mut flash, &new), Err(InstallError::Flash(Fault::Power))), "cut at {cut}");
        flash.power();
        let (slot, model, _) = boot(&mut flash).expect("a board that ran still runs");
        // A torn word may hold all its bits: then the new model is there.
        let is_new = (slot, model) == (new_slot, identity(&new));
        assert!(
            (slot, model) == (old_slot, identity(&old)) || (is_new && cut + 1 == operations),
            "cut at {cut}: {slot}"
        );
        finished += u32::from(is_new);
        // The next try goes to the same slot, or beside the new one, and is whole.
        if cut % 7 == 0 || cut + 3 > operations {
            let slot = swap(&mut flash, &next).unwrap();
            assert_eq!(boot(&mut flash).unwrap(), (slot, identity(&next), None), "after the cut at {cut}");
        }
    }
    println!("{operations} cuts: {finished} found the new model, complete");
}

#[test]
fn a_newer_model_that_is_damaged_or_does_not_fit_leaves_the_older_one_in_use() {
    let (old, new) = (model("tiny", 1), model("tiny", 2));
    let mut flash = Flash::new(2 * SLOT_PAGES);
    let old_slot = swap(&mut flash, &old).unwrap();
    swap(&mut flash, &new).unwrap();
    // Cells lose their charge one by one, anywhere in the model.
    let mut random = Random::new(3);
    for _ in 0..200 {
        let words = seen(&mut flash);
        let mut words = words;
        let at = (1 - old_slot) * SLOT / 4 + random.below(new.len() / 4);
        words[at] ^= 1 << random.below(32);
        let mut forecaster = Tiny::<1, 256>::unbound();
        let choice = choose(slots(&words), |bytes| forecaster.bind(bytes)).unwrap();
        let damaged_end = choice.refused.is_none(); // Its record names another checksum: then it is not the newer one.
        assert_eq!((choice.slot, forecaster.header().identity), (old_slot, identity(&old)));
        assert!(damaged_end == (at == (1 - old_slot) * SLOT / 4 + new.len() / 4 - 1), "word {at}");
    }
    // Whole, and of another backbone.
    let mut flash = Flash::new(2 * 64);
    let wide = 64 * PAGE;
    let large = model("small", 1);
    let record = |sequence, model: &[u8]| Record { sequence, length: model.len() as u32, model: identity(model) };
    install(&mut flash, 0..wide as u32, &old, &record(1, &old)).unwrap();
    install(&mut flash, wide as u32..2 * wide as u32, &large, &record(2, &large)).unwrap();
    let mut bytes = vec![0; 2 * wide];
    flash.read(0, &mut bytes).unwrap();
    let words: Vec<u32> = bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let (a, b) = bytemuck::cast_slice::<_, u8>(&words).split_at(wide);
    let mut forecaster = Tiny::<1, 256>::unbound();
    let choice = choose([a, b], |bytes| forecaster.bind(bytes)).unwrap();
    assert!(choice.slot == 0 && matches!(choice.refused, Some(ModelError::Backbone { .. })), "{choice:?}");
}

#[test]
fn flash_writes_the_slot_that_the_board_does_not_run() {
    let regions = [0x1000, 0x1000 + SLOT as u64].map(|start| Region { start, bytes: SLOT as u64 });
    let mut flash = Flash::new(2 * SLOT_PAGES);
    let picked = |flash: &mut Flash, wanted| {
        let mut read = 0;
        let contents = regions.map(|region| {
            Content::read(region, |address, bytes| {
                read += bytes.len();
                flash.read((address - 0x1000) as u32, bytes).expect("there is power");
                Ok(())
            })
            .unwrap()
        });
        (pick(&contents, wanted, 40, 7), read)
    };
    let record = |sequence| Record { sequence, length: 40, model: 7 };
    // A board that runs nothing: both are free.
    assert_eq!(picked(&mut flash, None).0, (1, record(1)));
    let model = model("tiny", 1);
    for sequence in 1..4 {
        let used = swap(&mut flash, &model).unwrap();
        let (found, read) = picked(&mut flash, None);
        assert_eq!(found, (1 - used, record(sequence + 1)));
        assert!(read < 2 * (model.len() + 100), "a probe reads no more than there is: {read}");
        assert_eq!(picked(&mut flash, Some(used)).0, (used, record(sequence + 1)));
    }
}

#[test]
fn what_does_not_fit_or_does_not_read_back_is_refused() {
    let model = model("tiny", 1);
    let record = Record { sequence: 1, length: model.len() as u32, model: identity(&model) };
    let mut flash = Flash::new(2 * SLOT_PAGES);
    let found = model.len() + RECORD_BYTES;
    let expected = 3 * PAGE;
    assert_eq!(
        install(&mut flash, 0..expected as u32, &model, &record),
        Err(InstallError::Room { found, expected }),
        "nothing is erased for it"
    );
    assert_eq!(flash.operations, 0);
    flash.write(0, &[0; 4]).unwrap();
    assert_eq!(install(&mut flash, 0..SLOT as u32, &model, &record), Ok(()), "an erase comes first");
}
