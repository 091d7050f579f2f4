//! Golden vectors: the recurrence and candle's sequence forms against the outputs of the method's published code.
//!
//! `tests/data/README.md` says what the file holds; `FLOWCAST_GOLDEN` names another file of the same layout to run.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use flowcast::attention::{Bounds, Form, Memories, causal, normal};
use flowcast_core::attention::{FlowParameters, FlowState, FlowTrace};
use flowcast_core::math::Real;

const F32_TOLERANCE: f64 = 2e-6;
const F64_TOLERANCE: f64 = 1e-12;

struct Case {
    name: String,
    causal: bool,
    heads: usize,
    /// Sinks and sources.
    sinks: usize,
    sources: usize,
    head_dim: usize,
    clamp: f64,
    tensors: HashMap<String, Tensor>,
}

impl Case {
    fn tensor(&self, name: &str, dtype: DType) -> Tensor {
        let key = format!("{}/{name}", self.name);
        let tensor = self.tensors.get(&key).unwrap_or_else(|| panic!("the golden file has no {key}"));
        tensor.to_dtype(dtype).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(&format!("{}/{name}", self.name))
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.tensor(name, DType::F64).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Queries, keys and values, `[length][H][D]`; of a whole layer, its projections of x.
    fn projections(&self, dtype: DType) -> [Tensor; 3] {
        if self.has("q") {
            return ["q", "k", "v"].map(|name| self.tensor(name, dtype));
        }
        let x = self.tensor("x", dtype);
        ["query", "key", "value"].map(|name| {
            let weight = self.tensor(&format!("{name}_projection_weight"), dtype);
            let bias = self.tensor(&format!("{name}_projection_bias"), dtype);
            let y = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
            y.reshape((self.sinks, self.heads, self.head_dim)).unwrap()
        })
    }

    /// What the layer returns: the attention's output, or its projection.
    fn output(&self, attended: &Tensor) -> Vec<f64> {
        let dtype = attended.dtype();
        let out = if self.has("out_projection_weight") {
            let flat = attended.reshape((self.sinks, self.heads * self.head_dim)).unwrap();
            let projected = flat.matmul(&self.tensor("out_projection_weight", dtype).t().unwrap()).unwrap();
            projected.broadcast_add(&self.tensor("out_projection_bias", dtype)).unwrap()
        } else {
            attended.clone()
        };
        out.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn check(&self, form: &str, found: &[f64], expected: &str, tolerance: f64) {
        let mut expected = self.numbers(expected);
        if form == "conserved_source" {
            // The file's trace of it was taken before the clamp.
            expected.iter_mut().for_each(|c| *c = c.clamp(-self.clamp, self.clamp));
        }
        assert_eq!(found.len(), expected.len(), "{}: {form}: length", self.name);
        let largest = expected.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = (found - expected).abs();
            // Not `>`: a NaN must fail too.
            assert!(
                error <= tolerance * largest,
                "{}: {form}: element {index} is {found}, expected {expected}: off by {error:e}",
                self.name
            );
        }
    }
}

fn cases() -> Vec<Case> {
    let path = std::env::var_os("FLOWCAST_GOLDEN").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/flow_attention.safetensors"),
        PathBuf::from,
    );
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let headers = metadata.metadata().clone().expect("the golden file has metadata");
    let mut cases: Vec<_> = headers
        .into_iter()
        .filter(|(name, _)| tensors.keys().any(|key| key.starts_with(&format!("{name}/"))))
        .map(|(name, header)| {
            let header: serde_json::Value = serde_json::from_str(&header).unwrap();
            let number = |key: &str| header[key].as_f64();
            let count = |key: &str| number(key).map(|x| x as usize);
            assert_eq!(number("eps"), Some(1e-6), "{name}: another ε");
            let heads = count("H").expect("H");
            let sinks = count("L").expect("L");
            Case {
                causal: header["kind"] == "causal",
                heads,
                sinks,
                sources: count("S").unwrap_or(sinks),
                head_dim: count("D").unwrap_or_else(|| count("d_model").expect("D or d_model") / heads),
                clamp: number("clamp").expect("clamp"),
                tensors: tensors.clone(),
                name,
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!cases.is_empty(), "{}: no cases", path.display());
    cases
}

/// Runs core's recurrence over a causal case; head by head, for heads are independent of each other.
fn recurrence<T: Real + candle_core::WithDType, const D: usize>(case: &Case) -> (Tensor, Vec<FlowTrace<T>>) {
    let [q, k, v] = case.projections(T::DTYPE).map(|tensor| tensor.flatten_all().unwrap().to_vec1::<T>().unwrap());
    let mut out = q.clone();
    let mut traces = Vec::new();
    let parameters = FlowParameters {
        memory_gain: [T::ZERO],
        source_clamp: T::from_f64(case.clamp),
        flow_limit: T::from_f64(f64::INFINITY),
    };
    let mut states = vec![FlowState::<T, 1, D>::new(); case.heads];
    for t in 0..case.sinks {
        for (head, state) in states.iter_mut().enumerate() {
            let start = (t * case.heads + head) * D;
            let token = |x: &[T]| [<[T; D]>::try_from(&x[start..start + D]).unwrap()];
            let mut received = [[T::ZERO; D]];
            let [trace] = state.step(&parameters, [&token(&q), &token(&k), &token(&v)], &mut received);
            out[start..start + D].copy_from_slice(&received[0]);
            traces.push(trace);
        }
    }
    (Tensor::from_vec(out, (case.sinks, case.heads, D), &Device::Cpu).unwrap(), traces)
}

macro_rules! with_head_dim {
    ($case:expr, $T:ty, [$($d:literal)*]) => {
        match $case.head_dim {
            $($d => recurrence::<$T, $d>($case),)*
            other => panic!("{}: head dimension {other} is none of the test's", $case.name),
        }
    };
}

#[test]
fn recurrence_equals_the_published_causal_code() {
    let mut traced = 0;
    for case in cases().iter().filter(|case| case.causal) {
        let (out, traces) = with_head_dim!(case, f64, [1 2 3 4 5 6 7 8 10 12 16 20 24 32 48 64]);
        case.check("recurrence, f64", &case.output(&out), "out_f64", F64_TOLERANCE);
        let (out, _) = with_head_dim!(case, f32, [1 2 3 4 5 6 7 8 10 12 16 20 24 32 48 64]);
        case.check("recurrence, f32", &case.output(&out), "out", F32_TOLERANCE);

        if case.has("trace_I") {
            traced += 1;
            // The published I and O are over means too: the released code multiplies by the position.
            let flows = |flow: fn(&FlowTrace<f64>) -> f64| traces.iter().map(flow).collect::<Vec<_>>();
            case.check("sink_incoming", &flows(|t| t.sink_incoming), "trace_I", F64_TOLERANCE);
            case.check("source_outgoing", &flows(|t| t.source_outgoing), "trace_O", F64_TOLERANCE);
            case.check("conserved_sink", &flows(|t| t.conserved_sink), "trace_r", F64_TOLERANCE);
            case.check("conserved_source", &flows(|t| t.conserved_source), "trace_c", F64_TOLERANCE);
            case.check("sink_allocation", &flows(|t| t.sink_allocation), "trace_alloc", F64_TOLERANCE);
            case.check("source_competition", &flows(|t| t.source_competition), "trace_w", F64_TOLERANCE);
        }
    }
    assert!(traced > 0 || std::env::var_os("FLOWCAST_GOLDEN").is_some(), "no case has state traces");
}

#[test]
fn candle_equals_the_published_code() {
    for case in &cases() {
        for dtype in [DType::F32, DType::F64] {
            let (expected, tolerance) =
                if dtype == DType::F32 { ("out", F32_TOLERANCE) } else { ("out_f64", F64_TOLERANCE) };
            // `[length][H][D]` to `[1][H][length][D]`.
            let [q, k, v] =
                case.projections(dtype).map(|x| x.transpose(0, 1).unwrap().unsqueeze(0).unwrap().contiguous().unwrap());
            let back = |out: Tensor| out.squeeze(0).unwrap().transpose(0, 1).unwrap().contiguous().unwrap();
            if !case.causal {
                assert_eq!(k.dim(2).unwrap(), case.sources);
                let out = normal(&q, &k, &v, case.clamp).unwrap();
                case.check(&format!("candle, normal, {dtype:?}"), &case.output(&back(out)), expected, tolerance);
                continue;
            }
            // In f32 the matrix rounds each weight of a mean as well: `parity` holds it to 1e-5.
            let forms = if dtype == DType::F32 { &[Form::Scan][..] } else { &[Form::Scan, Form::Matrix] };
            for &form in forms {
                let floors = vec![0.0; case.heads];
                let memories = Memories::new(&floors, case.sinks, form, dtype, &Device::Cpu).unwrap();
                let bounds = Bounds { source_clamp: case.clamp, flow_limit: f64::INFINITY };
                let out = causal(&q, &k, &v, &memories, bounds).unwrap();
                let name = format!("candle, causal, {form:?}, {dtype:?}");
                case.check(&name, &case.output(&back(out)), expected, tolerance);
            }
        }
    }
}
