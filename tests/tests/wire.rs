//! The messages between board and host under everything that a line can do to them.

use flowcast_core::format::MAX_CHANNELS;
use flowcast_core::warning::Warning;
use flowcast_core::wire::{
    Alert, Chunk, ClockFault, ClockNotice, Deframer, FRAME_BYTES, FRAME_VALUES, FrameError, Gated, Hello, ModelFault,
    Observed, Refusal, Reply, Request, Sampled, SensorFault, SensorNotice, Stats, Unfit, encode, words,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u16>().prop_map(|protocol| Request::Hello { protocol }),
        (any::<u32>(), any::<bool>(), vec(any::<u32>(), 0..=FRAME_VALUES)).prop_map(|(index, forecast, bits)| {
            Request::Samples { index, forecast, values: bits.into_iter().map(f32::from_bits).collect() }
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(index, samples)| Request::Gap { index, samples }),
        Just(Request::Reset),
        Just(Request::Stats),
        any::<bool>().prop_map(|forecast| Request::Sample { forecast }),
        any::<Option<u32>>().prop_map(|after| Request::Reports { after }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let chunk = (any::<u32>(), any::<u16>(), any::<u16>(), vec(any::<u32>(), 0..=FRAME_VALUES));
    prop_oneof![
        any::<([u16; 3], u32, u16, u8)>().prop_map(|(firmware, model, channels, quantiles)| {
            let (protocol, horizon, state_bytes) = (1, channels, model);
            Reply::Hello(Hello { protocol, firmware, model, channels, horizon, quantiles, state_bytes })
        }),
        any::<(u32, Option<u32>, bool)>().prop_map(|(index, instructions, ready)| Reply::Observed(Observed {
            index,
            instructions,
            ready
        })),
        chunk.prop_map(|(index, channel, steps_ahead, bits)| {
            let values = bits.into_iter().map(f32::from_bits).collect();
            Reply::Forecast(Chunk { index, channel, steps_ahead, values })
        }),
        any::<([u32; 7], Option<u32>)>().prop_map(
            |([samples, missing, bad_frames, clock_faults, ram_bytes, state_bytes, stack_bytes], count)| {
                let (instructions_min, instructions_max) = (count, count);
                let stats = Stats {
                    samples,
                    missing,
                    bad_frames,
                    clock_faults,
                    ram_bytes,
                    state_bytes,
                    stack_bytes,
                    instructions_min,
                    instructions_max,
                };
                Reply::Stats(stats)
            }
        ),
        any::<(u16, u16)>().prop_map(|(found, expected)| Reply::Refused(Refusal::Channels { found, expected })),
        any::<u32>().prop_map(|found| Reply::Refused(Refusal::Model(ModelFault::Checksum { found, expected: 0 }))),
        (any::<u32>(), vec(any::<u32>(), 0..=MAX_CHANNELS)).prop_map(|(index, bits)| {
            Reply::Sampled(Sampled { index, values: bits.into_iter().map(f32::from_bits).collect() })
        }),
        any::<(u32, u16, u32, u32)>().prop_map(|(index, channel, value, surprise)| {
            let [value, surprise] = [value, surprise].map(f32::from_bits);
            Reply::Alert(Alert { index, channel, value, surprise })
        }),
        (any::<(u32, Option<u16>, u32, u32)>(), vec(any::<u32>(), 0..=MAX_CHANNELS)).prop_map(
            |((index, silent, missed, follow), bits)| {
                let values = bits.into_iter().map(f32::from_bits).collect();
                Reply::Gated(Gated { index, silent, missed, follow, values })
            }
        ),
        any::<(u32, u16, u8, u16, [u32; 2])>().prop_map(|(index, channel, limit, steps_ahead, bits)| {
            let [threshold, value] = bits.map(f32::from_bits);
            Reply::Warning(Warning { index, channel, limit, steps_ahead, threshold, value })
        }),
        any::<(u32, u8, Option<bool>, u32, u32)>().prop_map(|(index, sensor, fault, run, count)| {
            let fault = fault.map(|bus| if bus { SensorFault::Bus } else { SensorFault::OutOfRange });
            Reply::Sensor(SensorNotice { index, sensor, fault, run, count })
        }),
        any::<(u32, Option<u32>, u32, u32)>().prop_map(|(index, fault, run, count)| {
            let fault = fault.map(|seconds| match seconds % 4 {
                0 => ClockFault::NoAnswer,
                1 => ClockFault::Stopped,
                2 => ClockFault::Back(seconds),
                _ => ClockFault::Ahead(seconds),
            });
            Reply::Clock(ClockNotice { index, fault, run, count })
        }),
        any::<(u16, String)>().prop_map(|(channel, unit)| {
            let unfit = Unfit::Unit { channel, found: words(&unit), expected: words("°C") };
            Reply::Refused(Refusal::Unfit(unfit))
        }),
    ]
}

/// Everything that a deframer makes of these bytes.
fn decode<M: serde::de::DeserializeOwned>(bytes: &[u8]) -> Vec<Result<M, FrameError>> {
    let mut deframer = Deframer::new();
    bytes.iter().filter_map(|byte| deframer.push(*byte)).collect()
}

fn frame(message: &impl serde::Serialize) -> Vec<u8> {
    encode(message, &mut [0; FRAME_BYTES]).to_vec()
}

/// NaN is not equal to itself, so messages are compared by their bytes.
fn good<M: serde::de::DeserializeOwned + serde::Serialize>(bytes: &[u8]) -> Vec<Vec<u8>> {
    decode::<M>(bytes).into_iter().flatten().map(|message| frame(&message)).collect()
}

proptest! {
    #[test]
    fn requests_come_back_to_the_bit(request in request()) {
        prop_assert_eq!(good::<Request>(&frame(&request)), vec![frame(&request)]);
    }

    #[test]
    fn replies_come_back_to_the_bit(reply in reply()) {
        prop_assert_eq!(good::<Reply>(&frame(&reply)), vec![frame(&reply)]);
    }

    #[test]
    fn noise_is_one_bad_frame_and_costs_no_message(
        parts in vec((request(), vec(1u8.., 0..600)), 1..8)
    ) {
        let stream: Vec<u8> = parts.iter().flat_map(|(request, noise)| [noise.clone(), frame(request)].concat()).collect();
        let expected: Vec<Vec<u8>> = parts.iter().map(|(request, _)| frame(request)).collect();
        prop_assert_eq!(good::<Request>(&stream), expected);
        let bad = decode::<Request>(&stream).iter().filter(|message| message.is_err()).count();
        prop_assert_eq!(bad, parts.iter().filter(|(_, noise)| !noise.is_empty()).count());
    }

    #[test]
    fn a_flipped_bit_never_makes_another_message(request in request(), place in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = frame(&request);
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        for message in good::<Request>(&bytes) {
            // Only a delimiter's flip can leave the message whole.
            prop_assert_eq!(message, frame(&request));
        }
    }

    #[test]
    fn a_cut_frame_is_counted_and_the_next_is_read(request in request(), cut in any::<prop::sample::Index>(), next in request()) {
        let whole = frame(&request);
        let stream = [&whole[..cut.index(whole.len() - 1)], &frame(&next)].concat();
        prop_assert_eq!(good::<Request>(&stream).last().cloned(), Some(frame(&next)));
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..2_000)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Reply>(&bytes);
        // And the next message is read.
        let stream = [bytes, frame(&Request::Reset)].concat();
        prop_assert_eq!(good::<Request>(&stream).last().cloned(), Some(frame(&Request::Reset)));
    }
}

#[test]
fn a_frame_too_long_is_told_from_one_that_is_none() {
    assert_eq!(decode::<Request>(&[&[1; 300][..], &[0]].concat()), [Err(FrameError::TooLong)]);
    assert_eq!(decode::<Request>(&[9, 1, 1, 0]), [Err(FrameError::Framing)]);
    let mut wrong = frame(&Request::Reset);
    wrong[3] ^= 2;
    assert!(matches!(decode::<Request>(&wrong)[..], [Err(FrameError::Checksum)]));
    // A message of a later version: its bytes are right, its meaning is not known.
    assert_eq!(decode::<Request>(&frame(&200u8)), [Err(FrameError::Message)]);
}
