//! The attention cell: what its equations promise, by a second way of computing them.

use flowcast_core::attention::{FlowParameters, FlowState, FlowTrace};
use proptest::prelude::*;

use crate::runner;

const HEAD_DIM: usize = 4;
const EPSILON: f64 = 1e-6;

type Token = [[f64; HEAD_DIM]; 3];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn parameters(floor: f64) -> FlowParameters<f64, 1> {
    FlowParameters { memory_gain: [floor], source_clamp: 1.0, flow_limit: f64::INFINITY }
}

/// Every output and flow of one head.
fn stream(parameters: &FlowParameters<f64, 1>, tokens: &[Token]) -> Vec<([f64; HEAD_DIM], FlowTrace<f64>)> {
    let mut state = FlowState::<f64, 1, HEAD_DIM>::new();
    tokens
        .iter()
        .map(|[query, key, value]| {
            let mut output = [[0.0; HEAD_DIM]];
            let [trace] = state.step(parameters, [&[*query], &[*key], &[*value]], &mut output);
            (output[0], trace)
        })
        .collect()
}

fn token(scale: f64) -> impl Strategy<Value = Token> {
    proptest::array::uniform3(proptest::array::uniform4(-scale..scale))
}

fn memory_floor() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), (1.0_f64..40.0).prop_map(|samples| 1.0 / samples)]
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}

/// W[t][i] = g_i Π_{i<j≤t} (1 − g_j): what sample i weighs in the mean at t. `gains` is g.
fn share(gains: &[f64], i: usize, t: usize) -> f64 {
    gains[i] * gains[i + 1..=t].iter().map(|gain| 1.0 - gain).product::<f64>()
}

/// The recurrence against its definition, sums over all pairs of a sink and a source. Conservation is the definition's:
/// with I each sink takes in 1 from its sources, with O each source gives 1 to its sinks, and the competition of the
/// sources is measured against their mean.
#[test]
fn flows_are_conserved_over_every_pair() {
    let tokens = proptest::collection::vec(token(4.0), 1..40);
    runner(128)
        .run(&(tokens, memory_floor()), |(tokens, floor)| {
            let gains: Vec<f64> = (0..tokens.len()).map(|t| (1.0 / (t + 1) as f64).max(floor)).collect();
            let [query, key] =
                [0, 1].map(|part| tokens.iter().map(|token| token[part].map(sigmoid)).collect::<Vec<_>>());
            // The capacity from a source's mean to a sink; ε enters it as the released code's does.
            let capacity = |a: &[f64; HEAD_DIM], b: &[f64; HEAD_DIM], gain: f64| -> f64 {
                a.iter().zip(b).map(|(a, b)| (a + EPSILON) * (b + EPSILON * gain)).sum()
            };
            let found = stream(&parameters(floor), &tokens);
            let flows: Vec<FlowTrace<f64>> = found.iter().map(|(_, trace)| *trace).collect();
            let mut exp_means = Vec::new();
            for t in 0..tokens.len() {
                let mean = |x: &dyn Fn(usize) -> [f64; HEAD_DIM]| -> [f64; HEAD_DIM] {
                    let mut mean = [0.0; HEAD_DIM];
                    for i in 0..=t {
                        for (mean, x) in mean.iter_mut().zip(x(i)) {
                            *mean += share(&gains, i, t) * x;
                        }
                    }
                    mean
                };
                let scaled = |x: [f64; HEAD_DIM], scale: f64| x.map(|x| x * scale);
                let flow = flows[t];
                let incoming = flow.sink_incoming * capacity(&query[t], &mean(&|i| key[i]), gains[t]);
                let outgoing = flow.source_outgoing * capacity(&key[t], &mean(&|i| query[i]), gains[t]);
                prop_assert!(close(incoming, 1.0, 1e-12), "sink {t} takes in {incoming}");
                prop_assert!(close(outgoing, 1.0, 1e-12), "source {t} gives {outgoing}");

                let sink = capacity(&query[t], &mean(&|i| scaled(key[i], flows[i].source_outgoing)), gains[t]);
                let source = capacity(&key[t], &mean(&|i| scaled(query[i], flows[i].sink_incoming)), gains[t]);
                prop_assert!(close(flow.conserved_sink, sink, 1e-12));
                prop_assert!(close(flow.conserved_source, source.clamp(-1.0, 1.0), 1e-12));
                prop_assert!(close(flow.sink_allocation, sigmoid(sink), 1e-12));

                let exp_mean: f64 = (0..=t).map(|i| share(&gains, i, t) * flows[i].conserved_source.exp()).sum();
                exp_means.push(exp_mean);
                prop_assert!(close(flow.source_competition * exp_mean, flow.conserved_source.exp(), 1e-12));

                for (d, output) in found[t].0.iter().enumerate() {
                    let received: f64 = (0..=t)
                        .map(|i| {
                            let affinity: f64 = query[t].iter().zip(&key[i]).map(|(q, k)| q * k).sum();
                            let weight = flows[i].conserved_source.exp() / exp_means[i];
                            share(&gains, i, t) * affinity * weight * tokens[i][2][d]
                        })
                        .sum();
                    let expected = sigmoid(sink) * flow.sink_incoming * received;
                    prop_assert!(close(*output, expected, 1e-12), "output {d} at {t}");
                }
            }
            Ok(())
        })
        .unwrap();
}

/// With one token there is nothing to compete with and nothing to allocate between: y = σ(r) I Σ φq φk v, which is
/// σ(1) v but for ε.
#[test]
fn the_first_output_is_the_value_times_sigmoid_of_one() {
    runner(256)
        .run(&(token(4.0), memory_floor()), |(first, floor)| {
            let [(output, trace)] = stream(&parameters(floor), &[first])[..] else { panic!("one token, one output") };
            let [query, key] = [0, 1].map(|part| first[part].map(sigmoid));
            let pairs = || query.iter().zip(&key);
            let flow: f64 = pairs().map(|(q, k)| (q + EPSILON) * (k + EPSILON)).sum();
            let conserved: f64 = pairs().map(|(q, k)| (q + EPSILON) * (k / flow + EPSILON)).sum();
            let affinity: f64 = pairs().map(|(q, k)| q * k).sum();
            prop_assert!(close(trace.source_competition, 1.0, 1e-15));
            for (output, value) in output.iter().zip(&first[2]) {
                prop_assert!(close(*output, sigmoid(conserved) / flow * affinity * value, 1e-13));
                prop_assert!(close(*output, sigmoid(1.0) * value, 1e-3));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn constant_input_gives_constant_output() {
    runner(64)
        .run(&(token(4.0), memory_floor()), |(token, floor)| {
            let found = stream(&parameters(floor), &[token; 300]);
            for (output, _) in &found {
                // ε g is what is left of the count.
                for (output, first) in output.iter().zip(&found[0].0) {
                    prop_assert!(close(*output, *first, 2e-3), "{output} after {first}");
                }
            }
            // Beyond the first steps nothing moves.
            for (output, last) in found[200].0.iter().zip(&found[299].0) {
                prop_assert!(close(*output, *last, 1e-5), "{output} then {last}");
            }
            Ok(())
        })
        .unwrap();
}

/// A regime that has lasted forever ends: a head of memory N keeps (1 − 1/N)^t of it after t samples of the next, an
/// infinite one n/(n + t).
#[test]
fn a_head_forgets_at_the_rate_of_its_memory() {
    const BEFORE: usize = 400;
    let samples = prop_oneof![Just(f64::INFINITY), 2.0_f64..20.0];
    runner(64)
        .run(&(token(3.0), token(3.0), samples), |(old, other, samples)| {
            // Only the value changes, so every flow stays and the output follows the mean of the values alone.
            let new = [old[0], old[1], other[2]];
            let mut tokens = vec![old; BEFORE];
            tokens.extend([new; 60]);
            let found = stream(&parameters(1.0 / samples), &tokens);
            // What a head that had never seen the old regime puts out.
            let settled = stream(&parameters(1.0 / samples), &[new; BEFORE + 60]);
            for t in [1, 2, 5, 20, 60] {
                let at = BEFORE + t - 1;
                let kept = if samples.is_finite() {
                    (1.0 - 1.0 / samples).powi(t as i32)
                } else {
                    BEFORE as f64 / (BEFORE + t) as f64
                };
                for d in 0..HEAD_DIM {
                    let [after, before] = [settled[at].0[d], found[BEFORE - 1].0[d]];
                    let expected = after + kept * (before - after);
                    prop_assert!(close(found[at].0[d], expected, 1e-5), "{t}: {} {expected}", found[at].0[d]);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Any f32 for queries and keys, and values up to where the largest flow times the largest competition overflows.
#[test]
fn every_finite_input_gives_a_finite_output() {
    const HEADS: usize = 2;
    let number = || {
        prop_oneof![
            any::<f32>().prop_filter("finite", |x| x.is_finite()),
            Just(f32::MAX),
            Just(f32::MIN),
            Just(1e-45_f32),
            Just(-90.0),
            Just(90.0),
            -5.0_f32..5.0,
        ]
    };
    let token = move || proptest::array::uniform4(number());
    let steps = proptest::collection::vec((token(), token(), token()), 1..60);
    let clamp = prop_oneof![Just(0.0_f32), Just(1.0), Just(10.0)];
    runner(400)
        .run(&(steps, clamp, prop_oneof![Just(64.0_f32), Just(1e4)]), |(steps, source_clamp, flow_limit)| {
            let parameters = FlowParameters { memory_gain: [0.0, 0.25], source_clamp, flow_limit };
            let most = f32::MAX / (8.0 * HEAD_DIM as f32 * flow_limit * (2.0 * source_clamp).exp());
            let mut state = FlowState::<f32, HEADS, HEAD_DIM>::new();
            for (query, key, value) in steps {
                let value = value.map(|x| x.clamp(-most, most));
                let mut output = [[0.0; HEAD_DIM]; HEADS];
                let traces = state.step(&parameters, [&[query; HEADS], &[key; HEADS], &[value; HEADS]], &mut output);
                prop_assert!(output.as_flattened().iter().all(|x| x.is_finite()), "{output:?} {traces:?}");
                for trace in traces {
                    prop_assert!(trace.sink_incoming <= flow_limit && trace.source_outgoing <= flow_limit);
                    prop_assert!(trace.conserved_source.abs() <= source_clamp);
                    prop_assert!((0.0..=1.0).contains(&trace.sink_allocation));
                    prop_assert!(trace.source_competition.is_finite() && trace.conserved_sink.is_finite());
                }
            }
            Ok(())
        })
        .unwrap();
}
