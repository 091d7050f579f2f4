//! What a board's instructions go into: layers by themselves, then `observe` and `forecast` of the model in its region.
//!
//! The program says where each piece begins (`mark!`) and nothing else: `flowcast bench` has the emulator log every
//! instruction. It warms the model up, says so (`Reply::Reset`), waits for a byte, runs each piece, and ends.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!("built for the wrong target: `flowcast bench --board NAME` builds it for the board's");
}

#[cfg(target_os = "none")]
use defmt_semihosting as _;

#[cfg(all(target_os = "none", feature = "preset-base"))]
use flowcast_core::presets::Base as Preset;
#[cfg(all(target_os = "none", feature = "preset-small", not(feature = "preset-base")))]
use flowcast_core::presets::Small as Preset;
#[cfg(all(target_os = "none", not(any(feature = "preset-small", feature = "preset-base"))))]
use flowcast_core::presets::Tiny as Preset;

#[cfg(all(target_os = "none", feature = "numeric-int8"))]
type Scalar = flowcast_core::q20::Q20;
#[cfg(all(target_os = "none", not(feature = "numeric-int8")))]
type Scalar = f32;

/// Dense layers over weights in flash, as the forecaster runs them.
#[cfg(target_os = "none")]
mod layers {
    use core::hint::black_box;

    use flowcast_core::format::Numeric;
    use flowcast_core::linear::{Element as _, Linear, Source};
    use flowcast_firmware::mark;

    use super::Scalar;

    /// The widest.
    const WIDTH: usize = 64;

    /// Words of a file: of `f32`, the weights; of eight bits, an exponent, multipliers, and the weights.
    static WEIGHTS: [u32; 1 + WIDTH + WIDTH * WIDTH] = words(1);
    static BIAS: [u32; WIDTH] = words(2);

    /// Numbers of a small generator (Numerical Recipes), as words of moderate numbers in either form: between 0.5 and 2 as
    /// `f32`, between 1000 and 1016 in steps of 2⁻²⁰.
    const fn words<const N: usize>(mut seed: u32) -> [u32; N] {
        let mut words = [0; N];
        let mut index = 0;
        while index < N {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            words[index] = 0x3F00_0000 | seed >> 8;
            index += 1;
        }
        words
    }

    macro_rules! run {
        ($form:literal; $(($inputs:literal, $outputs:literal)),*) => { $(
            let words = WEIGHTS.split_at(1 + $outputs);
            let (numbers, matrices) = match Scalar::NUMERIC {
                Numeric::F32 => (&WEIGHTS[..], &[][..]),
                Numeric::I8 => words,
            };
            let mut source = Source::new(numbers, matrices);
            let weight = Scalar::matrix(&mut source, $outputs, $inputs, $inputs * $outputs);
            let numbers = Source::new(&BIAS, &[]).numbers(WIDTH);
            let bias = &numbers[..$outputs];
            let layer: Linear<'_, Scalar> = black_box(Linear { weight, bias });
            let x: [Scalar; $inputs] = core::array::from_fn(|index| Scalar::number(numbers[index]));
            let x = black_box(&x[..]);
            let mut y = [Scalar::default(); $outputs];
            mark!(concat!("layer ", $form, " ", $inputs, " ", $outputs));
            layer.apply_once::<$inputs>(x, &mut y);
            mark!("");
            black_box(&y);
        )* };
    }

    /// Runs each of them once.
    #[inline(never)]
    pub fn run() {
        #[cfg(feature = "numeric-int8")]
        run!("int8"; (16, 16), (32, 32), (32, 64), (64, 32), (64, 64));
        #[cfg(not(feature = "numeric-int8"))]
        run!("f32"; (16, 16), (32, 32), (32, 64), (64, 32), (64, 64));
    }
}

#[cfg(target_os = "none")]
mod parts {
    use flowcast_core::part::{Marks, Part};
    use flowcast_firmware::mark;

    /// A mark for each part.
    pub struct Marked;

    macro_rules! marks {
        ($part:expr; $($name:ident),*) => { match $part { $(Part::$name => mark!(concat!("part ", stringify!($name)))),* } };
    }

    impl Marks for Marked {
        #[inline(always)]
        fn begin(part: Part) {
            marks!(
                part; Anomaly, Intake, Intervals, Memories, Features, Keys, Embedding, Norm, Projections, Attention, Output,
                FeedForward, Readout, NextStep, Probe
            );
        }
    }
}

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    use core::hint::black_box;

    use embedded_io::{Read as _, Write as _};
    use flowcast_core::forecaster::Streaming as _;
    use flowcast_core::format::MAX_CHANNELS;
    use flowcast_core::known::nothing;
    use flowcast_core::wire::{FRAME_BYTES, Reply, encode};
    use flowcast_firmware::board::{CHANNELS, SLOTS, memory, take};
    use flowcast_firmware::mark;
    use static_cell::ConstStaticCell;

    type Forecaster = Preset<'static, CHANNELS, SLOTS, Scalar>;
    static FORECASTER: ConstStaticCell<Forecaster> = ConstStaticCell::new(Forecaster::unbound());
    /// Runs of each piece.
    const RUNS: u32 = 4;

    let Some((mut port, ..)) = take() else {
        defmt::panic!("the board's devices are taken once, here");
    };
    let forecaster = FORECASTER.take();
    if forecaster.bind(memory::model()).is_err() {
        defmt::panic!("no model that this firmware runs");
    }
    let (channels, period) = (usize::from(forecaster.header().channels), forecaster.header().seasons.period());
    let mut ranges = [(0.0, 1.0); MAX_CHANNELS];
    for (channel, range) in ranges.iter_mut().enumerate() {
        if let Some(channel) = forecaster.model().and_then(|model| model.channel(channel)) {
            *range = (channel.offset, channel.scale);
        }
    }
    // A sawtooth of the season and noise, in the range that training found common.
    let (mut seed, mut count) = (1_u32, 0);
    let mut sample = || {
        let mut values = [0.0; MAX_CHANNELS];
        let phase = (count % period) as f32 / period as f32;
        count += 1;
        for (value, (offset, scale)) in values.iter_mut().zip(ranges) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = offset + scale * (phase - 0.5 + seed as i32 as f32 / 8e9);
        }
        values
    };
    for _ in 0..2 * period {
        forecaster.observe(sample().get(..channels).unwrap_or_default());
    }

    let Ok(()) = port.write_all(encode(&Reply::Reset, &mut [0; FRAME_BYTES]));
    let mut byte = [0];
    let Ok(_) = port.read(&mut byte);
    layers::run();
    for _ in 0..RUNS {
        let sample = black_box(sample());
        let sample = sample.get(..channels).unwrap_or_default();
        mark!("observe");
        forecaster.observe(sample);
        mark!("");
    }
    for _ in 0..RUNS {
        let sample = black_box(sample());
        let sample = sample.get(..channels).unwrap_or_default();
        mark!("parts");
        forecaster.observe_marked::<parts::Marked>(sample, &nothing, |_, _, _| ());
        mark!("");
    }
    for channel in 0..channels {
        mark!("forecast");
        forecaster.for_each_step(channel, &mut |_, quantiles| {
            black_box(quantiles);
        });
        mark!("");
    }
    semihosting::process::exit(0)
}
