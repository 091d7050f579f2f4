//! The seasonal Flow-Attention over whole sequences, in candle, and what `flowcast ablate` puts in its place.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use flowcast_core::retrieval::{HIDDEN, KEY, RETRIEVALS, SUMMARY};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::days::Days;
use super::{Keys, TENSORS};
use crate::attention::{Bounds, Form, Memories, Mixer, gru};

/// Spread of the first keys' logits: constant keys would give queries no gradient.
const SHARPNESS: f32 = 2.0;
const SHAPES: [(usize, usize); 6] = [(HIDDEN, SUMMARY), (1, HIDDEN), (KEY, HIDDEN), (1, KEY), (KEY, HIDDEN), (1, KEY)];
/// a, `[1][RETRIEVALS][1]`, and C, `[SUMMARY][1]`, which serve training alone.
const MIX: &str = "mix";
const DIRECT: &str = "direct";

/// A mixer between the days of a bin, and its weights.
pub struct Network {
    mixer: Mixer,
    /// 1/N of each memory, in days; 0 for an infinite one.
    gains: [f32; RETRIEVALS],
    vars: BTreeMap<String, Var>,
}

/// Days as a network sees them.
pub struct Sequences {
    /// `[sequences][days][SUMMARY]`
    summaries: Tensor,
    /// r, `[sequences][days]`.
    residuals: Tensor,
}

/// Uniform numbers of a given deviation.
fn uniform(count: usize, deviation: f32, rng: &mut impl Rng) -> Vec<f32> {
    let bound = deviation * 3.0_f32.sqrt();
    (0..count).map(|_| if bound > 0.0 { rng.random_range(-bound..bound) } else { 0.0 }).collect()
}

impl Sequences {
    /// Of all channels and bins.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(days: &Days) -> Result<Self> {
        let device = Device::Cpu;
        let shape = (days.sequences(), days.days());
        Ok(Self {
            summaries: Tensor::from_slice(days.summaries(), (shape.0, shape.1, SUMMARY), &device)?,
            residuals: Tensor::from_slice(days.residuals(), shape, &device)?,
        })
    }

    /// What is to be foretold: r of the days from the third on, `[sequences][days − 2]`.
    ///
    /// # Errors
    /// There are fewer than three days.
    pub fn target(&self) -> Result<Tensor> {
        let (_, days) = self.residuals.dims2()?;
        Ok(self.residuals.narrow(1, 2, days - 2)?)
    }
}

impl Network {
    /// With its first weights.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(mixer: Mixer, gains: [f32; RETRIEVALS], seed: u64) -> Result<Self> {
        let device = Device::Cpu;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut vars = BTreeMap::new();
        let mut add = |name: &str, (rows, columns): (usize, usize), deviation: f32| -> Result<()> {
            let first = uniform(rows * columns, deviation, &mut rng);
            vars.insert(name.to_owned(), Var::from_vec(first, (rows, columns), &device)?);
            Ok(())
        };
        match mixer {
            Mixer::Attention(_) => {
                for (name, shape) in TENSORS.into_iter().zip(SHAPES) {
                    let spread = match name {
                        "retrieval.expand.weight" => 1.0,
                        name if name.ends_with("weight") => SHARPNESS,
                        _ => 0.0,
                    };
                    add(name, shape, spread / (shape.1 as f32).sqrt())?;
                }
            }
            Mixer::Gru { units } => {
                let deviation = 1.0 / (3.0 * units as f32).sqrt();
                add("input.weight", (3 * units, SUMMARY + 1), deviation)?;
                add("input.bias", (1, 3 * units), deviation)?;
                add("recurrent.weight", (3 * units, units), deviation)?;
                add("recurrent.bias", (1, 3 * units), deviation)?;
                add("output.weight", (RETRIEVALS, units), deviation)?;
            }
            Mixer::None | Mixer::Alone => {}
        }
        vars.insert(
            MIX.to_owned(),
            Var::from_slice(&[1.0 / RETRIEVALS as f32; RETRIEVALS], (1, RETRIEVALS, 1), &device)?,
        );
        vars.insert(DIRECT.to_owned(), Var::zeros((SUMMARY, 1), DType::F32, &device)?);
        Ok(Self { mixer, gains, vars })
    }

    /// Every weight.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Weights that a model would carry.
    pub fn parameters(&self) -> usize {
        let carried = |(name, _): &(&String, &Var)| ![MIX, DIRECT].contains(&name.as_str());
        self.vars.iter().filter(carried).map(|(_, var)| var.elem_count()).sum()
    }

    /// The weights of keys and queries; none for a mixer without.
    ///
    /// # Errors
    /// The device fails.
    pub fn keys(&self) -> Result<Option<Keys>> {
        let mut tensors: [Vec<f32>; 6] = Default::default();
        for (tensor, name) in tensors.iter_mut().zip(TENSORS) {
            let Some(var) = self.vars.get(name) else { return Ok(None) };
            *tensor = var.flatten_all()?.to_vec1()?;
        }
        Ok(Some(Keys::new(tensors)))
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let var = |part: &str| self.vars[&format!("{name}.{part}")].as_tensor();
        Ok(x.matmul(&var("weight").t()?)?.broadcast_add(var("bias"))?)
    }

    /// P_h after each day from the second on, of the day that follows: `[sequences][RETRIEVALS][days − 1]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn foretold(&self, of: &Sequences) -> Result<Tensor> {
        let (sequences, days, _) = of.summaries.dims3()?;
        let flat = of.summaries.reshape((sequences * days, SUMMARY))?;
        let came = of.residuals.narrow(1, 1, days - 1)?;
        match self.mixer {
            Mixer::None | Mixer::Alone => {
                Ok(Tensor::zeros((sequences, RETRIEVALS, days - 1), DType::F32, &Device::Cpu)?)
            }
            Mixer::Gru { units } => {
                let residuals = of.residuals.reshape((sequences * days, 1))?;
                let projected = self.linear("input", &Tensor::cat(&[&flat, &residuals], 1)?)?;
                let projected = projected.reshape((sequences, days, 3 * units))?;
                let [weight, bias] = ["weight", "bias"].map(|part| self.vars[&format!("recurrent.{part}")].as_tensor());
                let states = gru(&projected, weight, &bias.flatten_all()?)?.reshape((sequences * days, units))?;
                let read = states.matmul(&self.vars["output.weight"].t()?)?.reshape((sequences, days, RETRIEVALS))?;
                Ok(read.transpose(1, 2)?.narrow(2, 1, days - 1)?.contiguous()?)
            }
            Mixer::Attention(attention) => {
                let hidden = self.linear("retrieval.expand", &flat)?.relu()?;
                let heads = (sequences, RETRIEVALS, days - 1, KEY);
                let capacity = |name: &str, from: usize| -> Result<Tensor> {
                    let all = self.linear(name, &hidden)?.reshape((sequences, 1, days, KEY))?;
                    Ok(all.narrow(2, from, days - 1)?.broadcast_as(heads)?.contiguous()?)
                };
                // What came on day d lies under day d − 1's key; day d asks for day d + 1.
                let (key, query) = (capacity("retrieval.key", 0)?, capacity("retrieval.query", 1)?);
                let value = came.reshape((sequences, 1, days - 1, 1))?.broadcast_as(heads)?.contiguous()?;
                let floors = self.gains.map(f64::from);
                let memories = Memories::new(&floors, days - 1, Form::of(&Device::Cpu), DType::F32, &Device::Cpu)?;
                let bounds = Bounds { source_clamp: 1.0, flow_limit: f64::INFINITY };
                let received = attention.causal([&query, &key, &value], &memories, bounds)?;
                Ok(received.narrow(3, 0, 1)?.squeeze(3)?)
            }
        }
    }

    /// r̂ of the days from the third on, `[sequences][days − 2]`, from what [`Self::foretold`] returned.
    ///
    /// # Errors
    /// The device fails.
    pub fn predict(&self, of: &Sequences, foretold: &Tensor) -> Result<Tensor> {
        let (sequences, days, _) = of.summaries.dims3()?;
        let mixed = foretold.narrow(2, 0, days - 2)?.broadcast_mul(self.vars[MIX].as_tensor())?.sum(1)?;
        let seen = of.summaries.narrow(1, 1, days - 2)?.reshape((sequences * (days - 2), SUMMARY))?;
        Ok((mixed + seen.matmul(self.vars[DIRECT].as_tensor())?.reshape((sequences, days - 2))?)?)
    }
}
