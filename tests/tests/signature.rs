//! Signed models: what the owner of a key signed is taken, to the last bit, and nothing else is; whoever asks for no
//! signature reads the same file.

use ed25519_compact::{KeyPair, Seed};
use flowcast::emulate::image::{self, With};
use flowcast::emulate::machine::{Board, MACHINES};
use flowcast::key::hexadecimal;
use flowcast::link::LinkError;
use flowcast_core::format::{FormatError, Header, Numeric};
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::signature::{SIGNATURE_BYTES, SignatureError, find_signature, trailer, verify};
use flowcast_core::wire::{ModelFault, Refusal};
use flowcast_tests::{Random, random_model, random_model_as};

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([seed; 32]))
}

fn signed(model: &[u8], pair: &KeyPair) -> Vec<u8> {
    [model, &trailer(&pair.sk.sign(model, None))].concat()
}

#[test]
fn what_was_signed_is_taken_and_nothing_else() {
    let model = random_model(&Preset::named("tiny").unwrap(), 1, 24, 6, 1);
    let (own, other) = (pair(1), pair(2));
    let whole = signed(&model, &own);
    assert_eq!(whole.len(), model.len() + SIGNATURE_BYTES);
    // As it lies in flash: more behind it.
    assert_eq!(verify(&[&whole[..], &[0xFF; 100]].concat(), &own.pk), Ok(()));
    assert_eq!(verify(&whole, &other.pk), Err(SignatureError::Foreign));
    let erased = [&model[..], &[0xFF; 100]].concat();
    assert_eq!(verify(&erased, &own.pk), Err(SignatureError::Unsigned { found: [0xFF; 8] }));
    assert_eq!(verify(&model, &own.pk), Err(SignatureError::Unsigned { found: [0; 8] }));
    assert!(matches!(verify(&whole[..whole.len() - 1], &own.pk), Err(SignatureError::Unsigned { .. })));
    assert!(matches!(verify(b"FLOW", &own.pk), Err(SignatureError::Model(FormatError::Truncated { .. }))));
    let behind = [&whole[model.len()..], &[0xFF; 100]].concat();
    assert_eq!(find_signature(&behind).map(|found| &found[..]), Some(&whole[model.len() + 8..]));
    assert_eq!(find_signature(&behind[..SIGNATURE_BYTES - 1]), None);
    // Another model of the same owner, with this one's signature.
    let next = random_model(&Preset::named("tiny").unwrap(), 1, 24, 6, 2);
    let swapped = [&next[..], &whole[model.len()..]].concat();
    assert_eq!(verify(&swapped, &own.pk), Err(SignatureError::Foreign));

    // Every bit of the signature, and bits of the model with its CRC-32 made right again.
    for place in model.len()..whole.len() {
        let mut altered = whole.clone();
        altered[place] ^= 1 << (place % 8);
        assert!(verify(&altered, &own.pk).is_err(), "byte {place}");
    }
    let mut random = Random::new(1);
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let weights = Header::parse(&model).unwrap().length() - 4 - 1000;
    for _ in 0..20 {
        let mut altered = whole.clone();
        altered[weights + random.below(1000) / 4 * 4] ^= 1;
        let end = model.len() - 4;
        let checksum = crc.checksum(&altered[..end]).to_le_bytes();
        altered[end..model.len()].copy_from_slice(&checksum);
        assert!(Header::parse(&altered).is_ok(), "whoever can write a model can write its CRC-32");
        assert_eq!(verify(&altered, &own.pk), Err(SignatureError::Foreign));
    }

    // Without a key, it is the model that it was.
    let words: Vec<u32> = whole.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    assert!(Tiny::<1, 256>::new(bytemuck::cast_slice(&words)).is_ok());
}

#[test]
fn a_board_with_a_key_runs_signed_models_alone() {
    let machine = &MACHINES[1];
    let own = pair(1);
    let variables = [("FLOWCAST_KEY", hexadecimal(&own.pk))];
    let with = With { features: &["signed"], variables: &variables };
    let firmware = image::build_program(machine, "emulator", "tiny", Numeric::I8, with).expect("the firmware builds");
    let model = random_model_as(Numeric::I8, &Preset::named("tiny").unwrap(), 1, 24, 6, 1);
    let hello = |model: &[u8]| {
        Board::start(machine, &firmware, model, std::io::sink()).expect("the board starts").link().hello()
    };
    assert_eq!(hello(&signed(&model, &own)).unwrap().model, Header::parse(&model).unwrap().identity);
    for (model, expected) in
        [(model.clone(), ModelFault::Unsigned { found: [0; 8] }), (signed(&model, &pair(2)), ModelFault::Foreign)]
    {
        match hello(&model) {
            Err(LinkError::Refused(refusal)) => assert_eq!(*refusal, Refusal::Model(expected)),
            other => panic!("expected a refusal, found {other:?}"),
        }
    }
}
