//! The reader of model files: it never panics, and accepts only what the writer would have written.

use flowcast_core::forecaster::Streaming;
use flowcast_core::format::{FormatError, Header, VERSION};
use flowcast_core::presets::{Base, PRESETS, Small, Tiny};
use flowcast_core::q20::Q20;
use flowcast_tests::{Random, random_model};
use proptest::prelude::*;

use crate::runner;

/// Little as a model can be, so that each of its bytes can be tried.
fn smallest_model() -> Vec<u8> {
    random_model(&PRESETS[0], 2, 4, 2, 1)
}

/// Stores the checksum that the bytes have: a file that only its fields can be refused for.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
}

/// Bytes at a multiple of 16, as in flash.
fn aligned(bytes: &[u8]) -> flowcast::file::AlignedBytes {
    flowcast::file::AlignedBytes::from(bytes)
}

/// What every reader must do with bytes that nobody vouches for: refuse them, or find in them exactly what the writer
/// writes, and then run without ever giving a number that is not finite.
fn check_hostile(bytes: &[u8]) {
    let bytes = aligned(bytes);
    let header = match Header::parse(&bytes) {
        Ok(header) => header,
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            assert!(Tiny::<2, 8>::new(&bytes).is_err() && Small::<1, 2>::new(&bytes).is_err());
            return;
        }
    };
    let length = header.length();
    let gains: Vec<f32> =
        (0..header.layers.into()).flat_map(|layer| header.head_gains(&bytes, layer).collect::<Vec<_>>()).collect();
    let channels: Vec<_> =
        (0..header.channels.into()).map(|index| header.channel(&bytes, index).expect("a checked channel")).collect();
    let (weights, eight) = header.weights(&bytes).expect("checked weights");
    let knots = header.knots(&bytes).expect("checked knots");
    if eight.is_empty() {
        let mut written = vec![0; length];
        let weights = bytemuck::cast_slice(weights);
        let identity =
            header.write(&gains, knots, &channels, weights, &mut written).expect("what was read can be written");
        assert_eq!(identity, header.identity);
        let differs = written.iter().zip(&bytes[..length]).position(|(written, read)| written != read);
        assert_eq!(differs, None, "a byte that the writer would not write was accepted: {header:?}");
    }

    let refused = [Small::<2, 16>::new(&bytes).err(), Base::<2, 16>::new(&bytes).err()];
    assert!(refused.iter().flatten().all(|refused| !refused.to_string().is_empty()));
    if let Ok(mut forecaster) = Tiny::<2, 16>::new(&bytes) {
        run(&header, &mut forecaster);
    }
    if let Ok(mut forecaster) = Tiny::<2, 16, Q20>::new(&bytes) {
        run(&header, &mut forecaster);
    }
}

fn run(header: &Header, forecaster: &mut dyn Streaming) {
    for row in 0..2 * header.seasons.period().min(40) {
        forecaster.observe(&[row as f32, f32::MAX]);
    }
    for channel in 0..header.targets.into() {
        forecaster.for_each_step(channel, &mut |_, quantiles| {
            assert!(quantiles.iter().all(|value| value.is_finite()), "{header:?}");
        });
    }
}

#[test]
fn random_bytes_are_no_model() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    runner(2000)
        .run(&(bytes, any::<bool>(), any::<bool>()), |(mut bytes, named, sealed)| {
            if named && bytes.len() >= 12 {
                // Past the magic, the version and the length.
                let length = bytes.len() as u32;
                bytes[..4].copy_from_slice(b"FLOW");
                bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
                bytes[8..12].copy_from_slice(&length.to_le_bytes());
                if sealed {
                    seal(&mut bytes);
                }
            }
            prop_assert!(Header::parse(&bytes).is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_truncation_is_refused_with_both_lengths() {
    let model = smallest_model();
    for found in 0..model.len() {
        match Header::parse(&model[..found]) {
            Err(FormatError::Truncated { found: reported, expected }) => {
                assert!(reported == found && expected > found && expected <= model.len());
            }
            other => panic!("{found} bytes: {other:?}"),
        }
    }
    // A flash region is larger than the model in it.
    let mut longer = model.clone();
    longer.extend_from_slice(&[0xff; 100]);
    assert_eq!(Header::parse(&longer), Header::parse(&model));
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let model = smallest_model();
    let mut random = Random::new(2);
    for index in 0..model.len() {
        let mut flipped = model.clone();
        flipped[index] ^= 1 << random.below(8);
        assert!(Header::parse(&flipped).is_err(), "byte {index}");
    }
}

#[test]
fn another_version_is_refused_with_both_versions() {
    for version in [0, VERSION + 1, 0x0100, u16::MAX] {
        let mut model = smallest_model();
        model[4..6].copy_from_slice(&version.to_le_bytes());
        for sealed in [false, true] {
            if sealed {
                seal(&mut model);
            }
            let refused = Header::parse(&model).unwrap_err();
            assert_eq!(refused, FormatError::Version { found: version });
            assert_eq!(refused.to_string(), format!("model has format version {version}, this build reads {VERSION}"));
        }
    }
}

/// Numbers that break bounds, at every offset and width of the header, tables and channels, under a valid checksum.
#[test]
fn hostile_fields_are_refused_or_harmless() {
    let model = smallest_model();
    let weights_start = u32::from_le_bytes(model[12..16].try_into().unwrap()) as usize;
    let words = [0_u32, 1, 2, 3, 5, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    let numbers =
        [-0.0, 1e-45, 1e-30, 0.5, 1.0, -1.0, 1e4, 1e9, 1e30, f32::MAX, f32::INFINITY, f32::NAN].map(f32::to_bits);
    for at in 0..weights_start {
        for word in words.iter().chain(&numbers) {
            for width in [1, 2, 4] {
                let mut bytes = model.clone();
                bytes[at..at + width].copy_from_slice(&word.to_le_bytes()[..width]);
                seal(&mut bytes);
                check_hostile(&bytes);
            }
        }
    }
}

#[test]
fn hostile_weights_are_refused_or_harmless() {
    let model = smallest_model();
    let weights_start = u32::from_le_bytes(model[12..16].try_into().unwrap()) as usize;
    let count = (model.len() - 4 - weights_start) / 4;
    let weight =
        prop_oneof![any::<f32>(), any::<u32>().prop_map(f32::from_bits), Just(1e3), Just(-1e3), Just(1000.001)];
    runner(300)
        .run(&proptest::collection::vec((0..count, weight), 1..20), |weights| {
            let mut bytes = model.clone();
            for (index, weight) in &weights {
                bytes[weights_start + 4 * index..][..4].copy_from_slice(&weight.to_le_bytes());
            }
            seal(&mut bytes);
            // The last value at an index is the one that stays.
            let stored = |at: usize| f32::from_le_bytes(bytes[weights_start + 4 * at..][..4].try_into().unwrap());
            let bad =
                weights.iter().map(|(index, _)| *index).filter(|index| !(-1e3..=1e3).contains(&stored(*index))).min();
            let found = Header::parse(&bytes).err();
            prop_assert_eq!(found, bad.map(|index| FormatError::Weight { index }));
            check_hostile(&bytes);
            Ok(())
        })
        .unwrap();
}
