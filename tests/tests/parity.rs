//! The attention cell's two forms are one function: core's streaming recurrence against candle's sequence form, with
//! every combination of memories, forwards and through the gradient.

use candle_core::{DType, Device, Tensor, Var, WithDType};
use flowcast::attention::{Bounds, Form, Memories, causal};
use flowcast_core::attention::{FlowParameters, FlowState};
use flowcast_core::math::Real;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const HEADS: usize = 3;
const HEAD_DIM: usize = 4;

/// Deterministic numbers about N(0, 1)-like in spread, without a dependency.
fn noise(seed: u64, count: usize, scale: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count).map(|_| (0..4).map(|_| uniform() - 0.5).sum::<f64>() * 1.7 * scale).collect()
}

struct Input {
    length: usize,
    /// 1/N of each head.
    floors: [f64; HEADS],
    /// q, k, v: `[length][HEADS][HEAD_DIM]`.
    tokens: [Vec<f64>; 3],
    bounds: Bounds,
}

fn streaming<T: Real + WithDType>(input: &Input) -> Vec<f64> {
    let parameters = FlowParameters {
        memory_gain: input.floors.map(T::from_f64),
        source_clamp: T::from_f64(input.bounds.source_clamp),
        flow_limit: T::from_f64(input.bounds.flow_limit),
    };
    let mut state = FlowState::<T, HEADS, HEAD_DIM>::new();
    let mut out = Vec::new();
    for t in 0..input.length {
        let token = |x: &Vec<f64>| -> [[T; HEAD_DIM]; HEADS] {
            std::array::from_fn(|h| std::array::from_fn(|d| T::from_f64(x[(t * HEADS + h) * HEAD_DIM + d])))
        };
        let [q, k, v] = &input.tokens;
        let mut received = [[T::ZERO; HEAD_DIM]; HEADS];
        state.step(&parameters, [&token(q), &token(k), &token(v)], &mut received);
        out.extend(received.as_flattened().iter().map(|x| x.to_f64()));
    }
    out
}

fn sequence(input: &Input, form: Form, dtype: DType) -> Vec<f64> {
    let device = Device::Cpu;
    let [q, k, v] = input.tokens.each_ref().map(|x| {
        let x = Tensor::from_slice(x, (1, input.length, HEADS, HEAD_DIM), &device).unwrap();
        x.transpose(1, 2).unwrap().contiguous().unwrap().to_dtype(dtype).unwrap()
    });
    let memories = Memories::new(&input.floors, input.length, form, dtype, &device).unwrap();
    let out = causal(&q, &k, &v, &memories, input.bounds).unwrap();
    let out = out.transpose(1, 2).unwrap().to_dtype(DType::F64).unwrap();
    out.flatten_all().unwrap().to_vec1().unwrap()
}

fn check(input: &Input, form: Form) {
    for (dtype, tolerance, streamed) in
        [(DType::F32, 1e-5, streaming::<f32>(input)), (DType::F64, 1e-10, streaming::<f64>(input))]
    {
        let whole = sequence(input, form, dtype);
        let largest = streamed.iter().fold(1e-3_f64, |largest, x| largest.max(x.abs()));
        assert_eq!(whole.len(), streamed.len());
        for (index, (whole, streamed)) in whole.iter().zip(&streamed).enumerate() {
            let error = (whole - streamed).abs() / largest;
            assert!(
                error <= tolerance,
                "{form:?} {dtype:?}, length {}, memories {:?}, element {index}: {whole} and {streamed}, {error:e} apart",
                input.length,
                input.floors
            );
        }
    }
}

fn input(length: usize, floors: [f64; HEADS], seed: u64, scale: f64) -> Input {
    let count = length * HEADS * HEAD_DIM;
    let tokens = [0, 1, 2].map(|part| noise(3 * seed + part, count, scale));
    Input { length, floors, tokens, bounds: Bounds { source_clamp: 1.0, flow_limit: 64.0 } }
}

#[test]
fn every_combination_of_memories_agrees() {
    // Infinite, shorter than a sequence, longer than it, and of one sample.
    let memories = [0.0, 1.0 / 4.0, 1.0 / 700.0, 1.0];
    let mut seed = 0;
    for a in memories {
        for b in memories {
            for c in memories {
                seed += 1;
                for length in [1, 2, 7, 65] {
                    check(&input(length, [a, b, c], seed, 2.0), Form::Scan);
                    check(&input(length, [a, b, c], seed, 2.0), Form::Matrix);
                }
            }
        }
    }
}

#[test]
fn long_sequences_agree() {
    for (seed, floors) in
        [[0.0; 3], [1.0 / 24.0, 1.0 / 168.0, 1.0 / 720.0], [0.0, 1.0 / 24.0, 0.1]].into_iter().enumerate()
    {
        for length in [512, 2048] {
            check(&input(length, floors, seed as u64, 1.0), Form::Scan);
            check(&input(length, floors, seed as u64, 1.0), Form::Matrix);
        }
    }
}

#[test]
fn any_sequence_agrees() {
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let memory = prop_oneof![Just(0.0), (1.0_f64..3000.0).prop_map(|samples| 1.0 / samples)];
    let strategy = (1_usize..2049, [memory.clone(), memory.clone(), memory], any::<u64>(), 0.1_f64..8.0);
    runner
        .run(&strategy, |(length, floors, seed, scale)| {
            check(&input(length, floors, seed >> 8, scale), Form::Scan);
            if length < 400 {
                check(&input(length, floors, seed >> 8, scale), Form::Matrix);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn both_forms_have_the_same_gradient() {
    let input = input(40, [0.0, 0.25, 0.02], 5, 1.0);
    let gradients = [Form::Scan, Form::Matrix].map(|form| {
        let device = Device::Cpu;
        let [q, k, v] = input.tokens.each_ref().map(|x| {
            let x = Tensor::from_slice(x, (1, 40, HEADS, HEAD_DIM), &device).unwrap();
            Var::from_tensor(&x.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap()
        });
        let memories = Memories::new(&input.floors, 40, form, DType::F64, &device).unwrap();
        let out = causal(&q, &k, &v, &memories, input.bounds).unwrap();
        let weights = Tensor::from_slice(&noise(9, 40 * HEADS * HEAD_DIM, 1.0), out.shape(), &device).unwrap();
        let loss = (out * weights).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        [q, k, v].map(|x| gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap())
    });
    let [scan, matrix] = gradients;
    for (scan, matrix) in scan.iter().flatten().zip(matrix.iter().flatten()) {
        assert!((scan - matrix).abs() <= 1e-12 * (1.0 + matrix.abs()), "{scan} and {matrix}");
    }
}
