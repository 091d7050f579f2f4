//! Every mixer against the plainest form of its equations, in f64: values, causality and gradients.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::rnn::{GRUConfig, RNN};
use candle_nn::{VarBuilder, rnn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const BATCH: usize = 2;
const HEADS: usize = 3;
const LENGTH: usize = 21;
const HEAD_DIM: usize = 4;
/// Infinite, short, and longer than the sequence.
const FLOORS: [f64; HEADS] = [0.0, 0.25, 0.02];
const BOUNDS: Bounds = Bounds { source_clamp: 1.0, flow_limit: 64.0 };

const ATTENTIONS: [Attention; 8] = [
    Attention::Flow(Switches::ALL),
    Attention::Flow(Switches { competition: false, allocation: true }),
    Attention::Flow(Switches { competition: true, allocation: false }),
    Attention::Flow(Switches { competition: false, allocation: false }),
    Attention::Linear,
    Attention::Cosformer,
    Attention::Softmax { window: 5 },
    Attention::Softmax { window: 100 },
];

fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn inputs() -> [Tensor; 3] {
    [1, 2, 3].map(|seed| noise(seed, &[BATCH, HEADS, LENGTH, HEAD_DIM]))
}

fn memories(form: Form) -> Memories {
    Memories::new(&FLOORS, LENGTH, form, DType::F64, &Device::Cpu).unwrap()
}

fn run(attention: Attention, [q, k, v]: &[Tensor; 3]) -> Tensor {
    attention.causal([q, k, v], &memories(Form::Scan), BOUNDS).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Not `>`: a NaN must fail too.
        let near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
        assert!(near, "{what}: element {index} is {found}, expected {expected}");
    }
}

fn sigma(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// One head's tokens, `[length][HEAD_DIM]`.
type Rows = Vec<Vec<f64>>;

/// Σ_i W[t,i] x_i at every t, from the definition of W.
fn mean_at(floor: f64, t: usize, x: impl Fn(usize) -> f64) -> f64 {
    let gain = |i: usize| (1.0 / (i as f64 + 1.0)).max(floor);
    (0..=t).map(|i| gain(i) * (i + 1..=t).map(|j| 1.0 - gain(j)).product::<f64>() * x(i)).sum()
}

/// Σ_i w_i v_i over Σ_i w_i.
fn ratio(weights: &[f64], v: &[Vec<f64>], least: f64, epsilon: f64) -> Vec<f64> {
    let total = weights.iter().sum::<f64>().max(least) + epsilon;
    (0..HEAD_DIM).map(|d| weights.iter().zip(v).map(|(w, v)| w * v[d]).sum::<f64>() / total).collect()
}

fn plain_flow(switches: Switches, floor: f64, q: &Rows, k: &Rows, v: &Rows) -> Rows {
    let squash = |rows: &Rows| rows.iter().map(|row| row.iter().map(|x| sigma(*x)).collect()).collect::<Rows>();
    let (q, k) = (squash(q), squash(k));
    let gain = |t: usize| (1.0 / (t as f64 + 1.0)).max(floor);
    // Σ_d (a_d + ε)(mean over i of w_i x_id + ε g)
    let through = |a: &[f64], t: usize, x: &Rows, w: &dyn Fn(usize) -> f64| -> f64 {
        let mean = |d: usize| mean_at(floor, t, |i| w(i) * x[i][d]);
        (0..HEAD_DIM).map(|d| (a[d] + 1e-6) * (mean(d) + 1e-6 * gain(t))).sum()
    };
    let one = |_: usize| 1.0;
    let steps = 0..q.len();
    let incoming: Vec<f64> = steps.clone().map(|t| (1.0 / through(&q[t], t, &k, &one)).min(64.0)).collect();
    let outgoing: Vec<f64> = steps.clone().map(|t| (1.0 / through(&k[t], t, &q, &one)).min(64.0)).collect();
    let exp: Vec<f64> = steps.clone().map(|t| through(&k[t], t, &q, &|i| incoming[i]).clamp(-1.0, 1.0).exp()).collect();
    let competition = |t: usize| if switches.competition { exp[t] / mean_at(floor, t, |i| exp[i]) } else { 1.0 };
    let competition: Vec<f64> = steps.clone().map(competition).collect();
    steps
        .map(|t| {
            let conserved_sink = through(&q[t], t, &k, &|i| outgoing[i]);
            let allocation = if switches.allocation { sigma(conserved_sink) } else { 1.0 };
            let received = |d: usize| mean_at(floor, t, |i| dot(&q[t], &k[i]) * competition[i] * v[i][d]);
            (0..HEAD_DIM).map(|d| allocation * incoming[t] * received(d)).collect()
        })
        .collect()
}

fn plain(attention: Attention, floor: f64, q: &Rows, k: &Rows, v: &Rows) -> Rows {
    let gain = |t: usize| (1.0 / (t as f64 + 1.0)).max(floor);
    // W[t,i] for every i ≤ t.
    let weights = |t: usize| -> Vec<f64> {
        (0..=t).map(|source| mean_at(floor, t, |i| if i == source { 1.0 } else { 0.0 })).collect()
    };
    let squash = |rows: &Rows, f: fn(f64) -> f64| -> Rows {
        rows.iter().map(|row| row.iter().map(|x| f(*x)).collect()).collect()
    };
    let steps = 0..q.len();
    match attention {
        Attention::Flow(switches) => plain_flow(switches, floor, q, k, v),
        Attention::Linear => {
            let elu = |x: f64| if x > 0.0 { x + 1.0 } else { x.exp() };
            let (q, k) = (squash(q, elu), squash(k, elu));
            let of = |t: usize| {
                let weighed: Vec<f64> = weights(t).iter().zip(&k).map(|(w, k)| w * dot(&q[t], k)).collect();
                ratio(&weighed, v, 0.0, 1e-6 * gain(t))
            };
            steps.map(of).collect()
        }
        Attention::Cosformer => {
            let (q, k) = (squash(q, |x| x.max(0.0)), squash(k, |x| x.max(0.0)));
            let reach = if floor > 0.0 { 4.0 / floor } else { q.len() as f64 };
            let of = |t: usize| {
                let flat: Vec<f64> = weights(t).iter().zip(&k).map(|(w, k)| w * dot(&q[t], k)).collect();
                let age = |i: usize| (std::f64::consts::FRAC_PI_2 * (t - i) as f64 / reach).cos();
                let weighed: Vec<f64> = flat.iter().enumerate().map(|(i, w)| w * age(i)).collect();
                ratio(&weighed, v, 0.1 * flat.iter().sum::<f64>(), 1e-6)
            };
            steps.map(of).collect()
        }
        Attention::Softmax { window } => {
            let of = |t: usize| {
                let near = |i: usize| t - i < window;
                let exp = |i: usize| (dot(&q[t], &k[i]) / (HEAD_DIM as f64).sqrt()).exp();
                let weighed: Vec<f64> = (0..=t).map(|i| if near(i) { exp(i) } else { 0.0 }).collect();
                ratio(&weighed, v, 0.0, 0.0)
            };
            steps.map(of).collect()
        }
    }
}

#[test]
fn every_attention_is_its_equation() {
    let all = inputs();
    let [q, k, v] = all.each_ref().map(|x| x.reshape((BATCH * HEADS, LENGTH, HEAD_DIM)).unwrap().to_vec3().unwrap());
    for attention in ATTENTIONS {
        let expected: Vec<f64> = (0..BATCH * HEADS)
            .flat_map(|row| plain(attention, FLOORS[row % HEADS], &q[row], &k[row], &v[row]).concat())
            .collect();
        close(&format!("{attention:?}"), &numbers(&run(attention, &all)), &expected, 1e-11);
        let matrix = attention.causal(all.each_ref(), &memories(Form::Matrix), BOUNDS).unwrap();
        close(&format!("{attention:?}, matrix"), &numbers(&matrix), &expected, 1e-11);
    }
}

#[test]
fn a_state_in_steps_is_a_little_off_and_its_gradient_nearly_the_same() {
    let all = inputs();
    let mut rounding = memories(Form::Scan);
    rounding.keep_in_steps();
    let run = |memories: &Memories| {
        let vars = all.each_ref().map(|x| Var::from_tensor(x).unwrap());
        let [q, k, v] = vars.each_ref().map(|var| var.as_tensor());
        let y = Attention::Flow(Switches::ALL).causal([q, k, v], memories, BOUNDS).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let gradients: Vec<f64> = vars.iter().flat_map(|var| numbers(gradients.get(var).unwrap())).collect();
        (numbers(&y), gradients)
    };
    let ((exact, exact_gradient), (found, gradient)) = (run(&memories(Form::Scan)), run(&rounding));
    assert_ne!(found, exact);
    close("outputs", &found, &exact, 1e-4);
    close("gradients", &gradient, &exact_gradient, 1e-4);
}

#[test]
fn the_future_changes_no_past_output() {
    let all = inputs();
    let changed = all.each_ref().map(|x| {
        let (known, later) = (x.narrow(2, 0, 13).unwrap(), x.narrow(2, 13, LENGTH - 13).unwrap());
        Tensor::cat(&[known, (later * -3.0).unwrap()], 2).unwrap()
    });
    let past = |x: Tensor| numbers(&x.narrow(2, 0, 13).unwrap());
    for attention in ATTENTIONS {
        let (before, after) = (run(attention, &all), run(attention, &changed));
        assert_ne!(numbers(&before), numbers(&after), "{attention:?}");
        assert_eq!(past(before), past(after), "{attention:?}");
    }
    let x = noise(4, &[1, 9, 6]);
    let later = (x.narrow(1, 5, 4).unwrap() * 2.0).unwrap();
    let changed = Tensor::cat(&[x.narrow(1, 0, 5).unwrap(), later], 1).unwrap();
    let [before, after] = [x, changed].map(|x| gru(&x, &noise(5, &[6, 2]), &noise(6, &[6])).unwrap());
    let past = |x: &Tensor| numbers(&x.narrow(1, 0, 5).unwrap());
    assert_eq!(past(&before), past(&after));
    assert_ne!(numbers(&before), numbers(&after));
}

/// The gradient of Σ weight · f(inputs) for each input against differences, at every `stride`-th number.
fn check_gradients(what: &str, inputs: &[Tensor], stride: usize, f: impl Fn(&[Tensor]) -> Tensor) {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let weight = noise(7, f(&tracked).dims());
    let loss = |x: &[Tensor]| (f(x) * &weight).unwrap().sum_all().unwrap();
    let gradients = loss(&tracked).backward().unwrap();
    let step = 1e-5;
    for (which, (var, x)) in vars.iter().zip(inputs).enumerate() {
        let gradient = numbers(gradients.get(var).unwrap());
        let values = numbers(x);
        for index in (which..values.len()).step_by(stride) {
            let at = |offset: f64| {
                let mut moved = values.clone();
                moved[index] += offset;
                let mut all = inputs.to_vec();
                all[which] = Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap();
                loss(&all).to_scalar::<f64>().unwrap()
            };
            let expected = (at(step) - at(-step)) / (2.0 * step);
            close(&format!("{what}, input {which}, number {index}"), &[gradient[index]], &[expected], 1e-6);
        }
    }
}

#[test]
fn gradients_are_those_of_differences() {
    let all = inputs();
    for attention in ATTENTIONS {
        let f = |x: &[Tensor]| attention.causal([&x[0], &x[1], &x[2]], &memories(Form::Scan), BOUNDS).unwrap();
        check_gradients(&format!("{attention:?}"), &all, 17, f);
    }
    let all = [noise(1, &[2, 7, 9]), noise(2, &[9, 3]), noise(3, &[9])];
    check_gradients("GRU", &all, 4, |x| gru(&x[0], &x[1], &x[2]).unwrap());
}

#[test]
fn a_gru_is_candles() {
    let (width, units, length) = (5, 3, 11);
    let tensors = [
        ("weight_ih_l0", noise(1, &[3 * units, width])),
        ("weight_hh_l0", noise(2, &[3 * units, units])),
        ("bias_ih_l0", noise(3, &[3 * units])),
        ("bias_hh_l0", noise(4, &[3 * units])),
    ];
    let [input, weight, input_bias, bias] = tensors.each_ref().map(|(_, tensor)| tensor);
    let x = noise(5, &[BATCH, length, width]);
    let flat = x.reshape((BATCH * length, width)).unwrap();
    let projected = flat.matmul(&input.t().unwrap()).unwrap().broadcast_add(input_bias).unwrap();
    let found = gru(&projected.reshape((BATCH, length, 3 * units)).unwrap(), weight, bias).unwrap();

    let named = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    let builder = VarBuilder::from_tensors(named, DType::F64, &Device::Cpu);
    let candle = rnn::gru(width, units, GRUConfig::default(), builder).unwrap();
    let states = candle.seq(&x).unwrap();
    let expected = Tensor::stack(&states.iter().map(|state| state.h().clone()).collect::<Vec<_>>(), 1).unwrap();
    close("GRU", &numbers(&found), &numbers(&expected), 1e-12);
}
