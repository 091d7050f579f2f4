//! The model over whole sequences, in candle: the form that training runs.
//!
//! Its equations stand in `flowcast_core::model`; its weights are the tensors of a `.flow` header, by the same names and
//! shapes, so that exporting is copying, but for one thing: while weights move, the rows of the readout are in units of the
//! closed form's error at their step ([`StepUnits`]), as the head's are by the model's own spread. The error grows
//! fiftyfold over a horizon, and an optimizer whose steps are of one size for every weight would otherwise shake the next
//! sample's forecast to pieces. (Training leaves the readout as it is, fine-tuning moves it.)

mod eight_bits;
mod mixing;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::sigmoid;
use flowcast_core::format::{Header, LEVEL_FEATURES, Tensor as Stored};
use flowcast_core::model::TOKEN_DIVISOR;
use flowcast_core::norm::NORM_EPSILON;
use flowcast_core::seasonal::Level;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::attention::{Form, Memories, Mixer};

/// Spread of the first query and key projections over that of the others: sharper capacities from the start.
const SHARPNESS: f32 = 4.0;

/// What a weight of 1 in the rows of the readout means, in deviations.
#[derive(Debug, Clone, PartialEq)]
pub struct StepUnits {
    /// `[readouts][knots]`
    readout: Vec<f32>,
}

impl StepUnits {
    /// From an error of each target and knot, `[targets][knots]`.
    pub fn new(header: &Header, error: &[Vec<f32>]) -> Self {
        let log_mean = |knot: usize| error.iter().map(|knots| knots[knot].ln()).sum::<f32>() / error.len() as f32;
        let shared = || (0..usize::from(header.knots)).map(|knot| log_mean(knot).exp()).collect();
        Self { readout: if header.readouts == 1 { shared() } else { error.concat() } }
    }

    /// Units of a tensor's rows, one for each run of `len / units.len()` numbers; `None` for 1 throughout.
    fn of(&self, name: &str) -> Option<&[f32]> {
        (name == "readout.weight").then_some(&self.readout)
    }

    /// Applies `change` to every number of a tensor and its unit.
    fn each(&self, name: &str, values: &mut [f32], change: impl Fn(&mut f32, f32)) {
        let Some(units) = self.of(name) else { return };
        let row = values.len() / units.len();
        for (values, unit) in values.chunks_exact_mut(row).zip(units) {
            values.iter_mut().for_each(|value| change(value, *unit));
        }
    }
}

/// Weights of a network by name, in the units that they are trained in.
pub type Weights = BTreeMap<String, Tensor>;

/// A network whose weights can be trained. A clone shares them.
#[derive(Clone)]
pub struct Network {
    header: Header,
    units: StepUnits,
    /// `[readouts][1][knots]`
    unit_tensor: Tensor,
    vars: BTreeMap<String, Var>,
    mixer: Mixer,
    /// Whether it computes as an eight-bit file does.
    rounded: bool,
    /// One a layer; none without an attention.
    memories: Vec<Memories>,
    device: Device,
}

/// Positions at which a network forecasts.
pub struct Positions {
    /// Index into the flattened hidden states, `[targets * positions]`, target by target.
    pub hidden: Tensor,
    /// What the readout sees where each knot falls, `[targets * positions][knots][aligned]`.
    pub aligned: Tensor,
    /// What it sees for every step, `[targets * positions][standing]`.
    pub standing: Tensor,
    /// `[targets * positions][1]`
    pub location: Tensor,
    /// `[targets * positions][1]`
    pub scale: Tensor,
}

/// First weights of a tensor.
fn initial(tensor: &Stored, rng: &mut impl Rng) -> Vec<f32> {
    let name = tensor.to_string();
    let (spread, value) = match name.as_str() {
        name if name.ends_with("norm_attention.gain") || name.ends_with("norm_feed_forward.gain") => (0.0, 1.0),
        "norm.gain" | "head.spread" | "interval.factors" => (0.0, 1.0),
        name if name.ends_with("query.weight") || name.ends_with("key.weight") => (SHARPNESS, 0.0),
        // The attention starts as nothing, and so do gate and head: the linear path speaks alone.
        name if name.ends_with("output.weight") || name.starts_with("gate") || name.starts_with("head") => (0.0, 0.0),
        name if name.ends_with("bias") || name.starts_with("readout") => (0.0, 0.0),
        _ => (1.0, 0.0),
    };
    let inputs = if tensor.name == "contract.weight" { tensor.shape[1] } else { tensor.shape[2] };
    let bound = spread / (inputs as f32).sqrt();
    (0..tensor.len()).map(|_| if bound > 0.0 { rng.random_range(-bound..bound) } else { value }).collect()
}

impl Network {
    /// A network with its first weights; the same seed gives the same ones. `head_gains` is `[layers][heads]`, empty without
    /// an attention, `length` the length of the sequences that it will see.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn new(
        header: Header,
        head_gains: &[Vec<f32>],
        units: StepUnits,
        length: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = Vec::with_capacity(header.weight_count());
        for tensor in header.tensors() {
            weights.extend(initial(&tensor, &mut rng));
        }
        Self::with_weights(header, head_gains, units, length, &weights, device)
    }

    /// A network with given weights, in the order of [`Header::tensors`].
    ///
    /// # Errors
    /// There are not as many weights as the header asks for.
    pub fn with_weights(
        header: Header,
        head_gains: &[Vec<f32>],
        units: StepUnits,
        length: usize,
        weights: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let var = |tensor: Stored| Ok((tensor.to_string(), Var::zeros(&tensor.shape[..], DType::F32, device)?));
        let vars = header.tensors().map(var).collect::<candle_core::Result<_>>()?;
        let memories = head_gains
            .iter()
            .map(|gains| {
                let floors: Vec<f64> = gains.iter().map(|gain| f64::from(*gain)).collect();
                Memories::new(&floors, length, Form::of(device), DType::F32, device)
            })
            .collect::<candle_core::Result<_>>()?;
        let (readouts, knots) = (usize::from(header.readouts), usize::from(header.knots));
        let unit_tensor = Tensor::from_slice(&units.readout, (readouts, 1, knots), device)?;
        let network = Self {
            header,
            units,
            unit_tensor,
            vars,
            mixer: Mixer::FLOW,
            rounded: false,
            memories,
            device: device.clone(),
        };
        network.load(weights)?;
        Ok(network)
    }

    /// The same network, its weights shared, computing with matrices of eight bits and an attention's state in steps of the
    /// integers' as the device will; gradients are those of the weights that are rounded. (Vectors between layers keep 15
    /// bits there, and all of them here.)
    pub fn rounded(mut self) -> Self {
        self.rounded = true;
        self.memories.iter_mut().for_each(Memories::keep_in_steps);
        self
    }

    /// Every weight by name, in the order of the names.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Where the network lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sets a tensor from numbers, row-major.
    ///
    /// # Errors
    /// There is no such tensor, or it has another size.
    pub fn set(&self, name: &str, values: &[f32]) -> Result<()> {
        let var = self.var(name)?;
        let mut values = values.to_vec();
        self.units.each(name, &mut values, |value, unit| *value /= unit);
        let tensor = Tensor::from_vec(values, var.shape(), &self.device).with_context(|| name.to_owned())?;
        Ok(var.set(&tensor)?)
    }

    /// Every weight as it is now.
    ///
    /// # Errors
    /// The device fails.
    pub fn copy(&self) -> Result<Weights> {
        let copied = self.vars.iter().map(|(name, var)| Ok((name.clone(), var.copy()?)));
        Ok(copied.collect::<candle_core::Result<_>>()?)
    }

    /// Makes every weight what it was when [`Network::copy`] took it.
    ///
    /// # Errors
    /// The copy is of another network.
    pub fn restore(&self, copy: &Weights) -> Result<()> {
        for (name, var) in &self.vars {
            var.set(copy.get(name).with_context(|| format!("the copy has no tensor {name}"))?)?;
        }
        Ok(())
    }

    /// Sets every weight, in the order of [`Header::tensors`].
    ///
    /// # Errors
    /// There are not as many as the header asks for.
    pub fn load(&self, weights: &[f32]) -> Result<()> {
        let (found, expected) = (weights.len(), self.header.weight_count());
        ensure!(found == expected, "found {found} weights, expected {expected}");
        for tensor in self.header.tensors() {
            self.set(&tensor.to_string(), &weights[tensor.start..][..tensor.len()])?;
        }
        Ok(())
    }

    /// Gives the blocks, and what leads into them, other first weights: another network to begin with, though one that
    /// forecasts the same.
    ///
    /// # Errors
    /// The device fails.
    pub fn redraw(&self, rng: &mut impl Rng) -> Result<()> {
        for tensor in self.header.tensors().filter(|tensor| tensor.layer.is_some() || tensor.name.starts_with("embed"))
        {
            self.set(&tensor.to_string(), &initial(&tensor, rng))?;
        }
        Ok(())
    }

    /// Every weight in the order of [`Header::tensors`].
    ///
    /// # Errors
    /// The device fails.
    pub fn weights(&self) -> Result<Vec<f32>> {
        let mut weights = Vec::with_capacity(self.header.weight_count());
        for tensor in self.header.tensors() {
            let name = tensor.to_string();
            let mut values = self.var(&name)?.flatten_all()?.to_vec1::<f32>()?;
            self.units.each(&name, &mut values, |value, unit| *value *= unit);
            weights.extend(values);
        }
        Ok(weights)
    }

    fn var(&self, name: &str) -> Result<&Var> {
        self.vars.get(name).with_context(|| format!("the model has no tensor {name}"))
    }

    /// A matrix, `[outer][rows][columns]`.
    fn weight(&self, name: &str) -> Result<Tensor> {
        let weight = self.var(name)?.as_tensor();
        // Of a transposed one the columns are outputs.
        let inputs = if name.ends_with("contract.weight") { 1 } else { 2 };
        Ok(if self.rounded { eight_bits::rounded(weight, inputs)? } else { weight.clone() })
    }

    /// One without its leading dimension of 1.
    fn matrix(&self, name: &str) -> Result<Tensor> {
        Ok(self.weight(name)?.squeeze(0)?)
    }

    fn vector(&self, name: &str) -> Result<Tensor> {
        Ok(self.var(name)?.flatten_all()?)
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.matrix(&format!("{name}.weight"))?.t()?)?;
        Ok(y.broadcast_add(&self.vector(&format!("{name}.bias"))?)?)
    }

    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = centered.broadcast_div(&(variance + f64::from(NORM_EPSILON))?.sqrt()?)?;
        let scaled = normed.broadcast_mul(&self.vector(&format!("{name}.gain"))?)?;
        Ok(scaled.broadcast_add(&self.vector(&format!("{name}.bias"))?)?)
    }

    /// One token's input, as the device makes it: `[features]` relative to the location, and the level, to
    /// `[token_features]`.
    pub fn token(header: &Header, features: &[f32], level: &Level<f32>, token: &mut Vec<f32>) {
        let clamp = header.feature_clamp;
        token.extend(features.iter().map(|x| (x / level.scale).clamp(-clamp, clamp) / TOKEN_DIVISOR));
        let level: [f32; LEVEL_FEATURES] = [level.scale.ln(), level.location];
        token.extend(level);
    }

    /// Hidden states h of tokens: `[batch][length][token_features]` to `[batch * length][d_model]`.
    ///
    /// # Errors
    /// The sequences are not of the length that the network was made for.
    pub fn hidden(&self, tokens: &Tensor) -> Result<Tensor> {
        self.blocks(tokens, self.header.attention)
    }

    /// The same of tokens one by one, as if nothing were received from the others: what a network says as long as its
    /// attention's output is 0. `[batch][1][token_features]` to `[batch][d_model]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn hidden_alone(&self, tokens: &Tensor) -> Result<Tensor> {
        self.blocks(tokens, false)
    }

    fn blocks(&self, tokens: &Tensor, mixing: bool) -> Result<Tensor> {
        let (batch, length, width) = tokens.dims3()?;
        if self.mixer == Mixer::None {
            let d_model = usize::from(self.header.d_model);
            return Ok(Tensor::zeros((batch * length, d_model), DType::F32, &self.device)?);
        }
        // Rows of one matrix wherever sequences do not matter: candle multiplies those fastest.
        let mut x = self.linear("embed", &tokens.reshape((batch * length, width))?)?;
        for layer in 0..usize::from(self.header.layers) {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            if mixing && self.mixer != Mixer::Alone {
                let normed = self.norm(&name("norm_attention"), &x)?;
                let received = self.mix(layer, &normed, (batch, length))?;
                x = (x + self.linear(&name("output"), &received)?)?;
            }

            let normed = self.norm(&name("norm_feed_forward"), &x)?;
            let units = self.linear(&name("expand"), &normed)?.relu()?;
            // Its weights lie transposed, `[d_ff][d_model]`.
            let contracted = units.matmul(&self.matrix(&name("contract.weight"))?)?;
            x = (x + contracted.broadcast_add(&self.vector(&name("contract.bias"))?)?)?;
        }
        self.norm("norm", &x)
    }

    /// Quantiles at positions and knots, unsorted: `[targets * positions][knots][quantiles]`, in deviations.
    ///
    /// # Errors
    /// The device fails.
    pub fn forecast(&self, hidden: &Tensor, positions: &Positions) -> Result<Tensor> {
        let header = &self.header;
        let (readouts, quantiles) = (usize::from(header.readouts), header.quantiles.len());
        let hidden = hidden.index_select(&positions.hidden, 0)?;
        let (count, knots, aligned) = positions.aligned.dims3()?;
        let standing = positions.standing.dim(1)?;
        // 1 + tanh x = 2 σ(2 x)
        let gate = (sigmoid(&(self.linear("gate", &hidden)? * 2.0)?)? * 2.0)?;
        let weight = self.weight("readout.weight")?;
        let positioned = (readouts, count / readouts);

        let gated = (&positions.standing * gate.narrow(1, aligned, standing)?)?;
        let gated = gated.reshape((positioned.0, positioned.1, standing))?;
        let center = gated.matmul(&weight.narrow(2, aligned, standing)?.transpose(1, 2)?.contiguous()?)?;
        let gated = positions.aligned.broadcast_mul(&gate.narrow(1, 0, aligned)?.unsqueeze(1)?)?;
        let gated = gated.reshape((positioned.0, positioned.1, knots, aligned))?;
        let read = gated.broadcast_mul(&weight.narrow(2, 0, aligned)?.unsqueeze(1)?)?.sum(3)?;
        let center = (center + read)?.broadcast_mul(&self.unit_tensor)?.reshape((count, knots))?;
        let center = center.broadcast_add(&positions.location)?;

        let head = self.weight("head.weight")?.reshape((knots * quantiles, hidden.dim(1)?))?;
        let residual = hidden.matmul(&head.t()?)?.broadcast_add(&self.vector("head.bias")?)?;
        let residual = residual.broadcast_mul(&positions.scale)?;
        let targets = usize::from(header.targets);
        let residual = residual.reshape((targets, count / targets, knots, quantiles))?;
        let spread = self.var("head.spread")?.reshape((targets, 1, knots, 1))?;
        let residual = residual.broadcast_mul(&spread)?.reshape((count, knots, quantiles))?;
        Ok(residual.broadcast_add(&center.unsqueeze(2)?)?)
    }
}
