//! The attention's state over a very long stream: `f32` and integers beside `f64`, whatever comes.
//!
//! `cargo bench -p flowcast-core --bench endurance [-- SAMPLES]` (1e7 samples unless told; 1e8 take ten times as long). Each
//! decade of samples has a line for each scalar: the largest difference of an output from the one in `f64`, and the largest
//! output. Queries, keys and values change their kind every 65,536 samples: noise, all at their largest, all at their
//! smallest, alternating, rare spikes, constant and then a step.
//!
//! Exits with 1 if an error grows: if the last decade's is more than four times the second one's, or an output of the
//! integers leaves ±512.

use std::env;
use std::process::ExitCode;

use flowcast_core::attention::{FlowParameters, FlowState};
use flowcast_core::math::Real;
use flowcast_core::q20::Q20;

const HEADS: usize = 5;
const HEAD_DIM: usize = 8;
const WIDTH: usize = HEADS * HEAD_DIM;
/// Samples that each head remembers; the last one forgets nothing.
const MEMORY_GAIN: [f32; HEADS] = [1.0 / 4.0, 1.0 / 24.0, 1.0 / 168.0, 1.0 / 720.0, 0.0];
/// Heads whose errors are held to a bound: in an infinite memory's mean what is new weighs less than a step in the end.
const FINITE: usize = HEADS - 1;
const REGIME: u64 = 1 << 16;

/// A scalar's cell.
struct Cell<R: Real> {
    state: FlowState<R, HEADS, HEAD_DIM>,
    parameters: FlowParameters<R, HEADS>,
}

impl<R: Real> Cell<R> {
    fn new() -> Self {
        let parameters =
            FlowParameters { memory_gain: MEMORY_GAIN.map(R::of), source_clamp: R::ONE, flow_limit: R::of(64.0) };
        Self { state: FlowState::new(), parameters }
    }

    fn step(&mut self, token: &[[f32; WIDTH]; 3]) -> [[R; HEAD_DIM]; HEADS] {
        let [query, key, value] = token.map(|numbers| {
            let mut heads = [[R::ZERO; HEAD_DIM]; HEADS];
            heads.as_flattened_mut().iter_mut().zip(numbers).for_each(|(place, number)| *place = R::of(number));
            heads
        });
        let mut output = [[R::ZERO; HEAD_DIM]; HEADS];
        self.state.step(&self.parameters, [&query, &key, &value], &mut output);
        output
    }
}

/// xorshift64*, to numbers even in [-1, 1).
struct Random(u64);

impl Random {
    fn symmetric(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// Queries, keys and values of a sample.
fn token(sample: u64, random: &mut Random) -> [[f32; WIDTH]; 3] {
    // On the grid of 2⁻²⁰ that every scalar here holds exactly.
    let grid = |x: f32| (x * 1_048_576.0).round() / 1_048_576.0;
    let mut numbers = |most: f32, of: &mut dyn FnMut(f32) -> f32| -> [f32; WIDTH] {
        core::array::from_fn(|_| grid(most * of(random.symmetric())))
    };
    let alternating = if sample.is_multiple_of(2) { 1.0 } else { -1.0 };
    let spike = if sample.is_multiple_of(997) { 1.0 } else { 0.0 };
    let half = if sample % REGIME < REGIME / 2 { 0.25 } else { 0.75 };
    let mut of = |noise: f32| match sample / REGIME % 6 {
        0 => noise,
        1 => 1.0,
        2 => -1.0,
        3 => alternating,
        4 => spike,
        _ => half,
    };
    [numbers(8.0, &mut of), numbers(8.0, &mut of), numbers(16.0, &mut of)]
}

/// Largest error and largest output of a decade, over the finite memories and over the infinite one.
#[derive(Clone, Copy, Default)]
struct Decade {
    error: [f64; 2],
    most: [f64; 2],
}

impl Decade {
    fn note<R: Real>(&mut self, found: &[[R; HEAD_DIM]; HEADS], exact: &[[f64; HEAD_DIM]; HEADS]) {
        for (head, (found, exact)) in found.iter().zip(exact).enumerate() {
            let kind = usize::from(head >= FINITE);
            for (found, exact) in found.iter().zip(exact) {
                let found = f64::from(found.to_f32());
                self.error[kind] = self.error[kind].max((found - exact).abs());
                self.most[kind] = self.most[kind].max(found.abs());
            }
        }
    }
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let samples = env::args().skip(1).find_map(|text| text.parse::<f64>().ok()).unwrap_or(1e7) as u64;
    let mut random = Random(20_221_205);
    let (mut exact, mut float, mut integer) = (Cell::<f64>::new(), Cell::<f32>::new(), Cell::<Q20>::new());
    let mut decades: Vec<[Decade; 2]> = vec![];
    let mut next = 10;
    println!("{:>10}  {:>34}  {:>34}", "samples", "f32: error, finite / infinite", "integers: the same");
    let mut decade = [Decade::default(); 2];
    for sample in 1..=samples {
        let token = token(sample, &mut random);
        let expected = exact.step(&token);
        decade[0].note(&float.step(&token), &expected);
        decade[1].note(&integer.step(&token), &expected);
        if sample == next || sample == samples {
            let shown = |decade: &Decade| {
                let ([finite, infinite], [most, _]) = (decade.error, decade.most);
                format!("{finite:.1e} / {infinite:.1e} of {most:>6.1}")
            };
            println!("{sample:>10}  {:>34}  {:>34}", shown(&decade[0]), shown(&decade[1]));
            decades.push(std::mem::take(&mut decade));
            next *= 10;
        }
    }
    let (Some(second), Some(last)) = (decades.get(5), decades.last()) else { return ExitCode::SUCCESS };
    let grew = (0..2).any(|scalar| last[scalar].error[0] > 4.0 * second[scalar].error[0]);
    let left = decades.iter().any(|decade| decade[1].most.iter().any(|most| *most > 512.0));
    if grew || left {
        eprintln!("an error grows with the stream, or an output left its range");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
