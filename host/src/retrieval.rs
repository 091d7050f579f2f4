//! Keys and queries of the seasonal Flow-Attention, trained before the linear path: what must a day's summary say, that
//! the days alike to it foretell what memory 1 leaves unexplained a day ahead?
//!
//! `flowcast_core::retrieval` has the equations. Here stands their form over whole sequences: the bins of one phase, day
//! after day, are a sequence of causal attention whose key is the day before's, so that all phases and channels are
//! sequences of one batch. Summaries come from core's own state over the training rows ([`Days`]); they do not depend on
//! the weights, and neither does what is to be foretold. The loss is the squared error of
//!
//! ```text
//! r̂_{d+1} = Σ_h a_h P_h(d + 1) + C u_d
//! ```
//!
//! where a and C serve training alone: the closed form ([`crate::ridge`]) weighs P anew for every step ahead, and decides
//! whether the part is kept. C takes what a linear map of the summary could say without any memory.

mod days;
mod network;

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use flowcast_core::linear::Linear;
use flowcast_core::retrieval::{Encoder, RETRIEVALS};

use crate::attention::{Attention, Mixer, Switches};
use crate::config::TrainedModel;
use crate::interrupt;
use crate::optimizer::{AdamW, Group, schedule};
pub use days::Days;
use network::{Network, Sequences};

/// Steps of gradient descent, on all days at once.
const STEPS: usize = 120;
const WARM_UP_STEPS: usize = 5;
const WEIGHTS: Group = Group { rate: 1e-2, decay: 1e-3 };
const BIASES: Group = Group { rate: 1e-2, decay: 0.0 };
/// Days that the memories fill with before the loss counts.
const FILLING: usize = 14;

/// Weights of the layers that make keys and queries, in the order of the model file's tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    tensors: [Vec<f32>; 6],
}

/// Their names in the model file.
pub const TENSORS: [&str; 6] = [
    "retrieval.expand.weight",
    "retrieval.expand.bias",
    "retrieval.key.weight",
    "retrieval.key.bias",
    "retrieval.query.weight",
    "retrieval.query.bias",
];
impl Keys {
    /// As the device takes them.
    pub fn encoder(&self) -> Encoder<'_, f32> {
        let [expand, expand_bias, key, key_bias, query, query_bias] = &self.tensors;
        fn layer<'k>(weight: &'k [f32], bias: &'k [f32]) -> Linear<'k, f32> {
            Linear { weight, bias }
        }
        Encoder { expand: layer(expand, expand_bias), key: layer(key, key_bias), query: layer(query, query_bias) }
    }

    /// Each tensor and its name.
    pub fn tensors(&self) -> impl Iterator<Item = (&'static str, &[f32])> {
        TENSORS.into_iter().zip(self.tensors.iter().map(Vec::as_slice))
    }

    /// Those of a trained model, if it has any.
    ///
    /// # Errors
    /// The configuration is out of the format's range.
    pub fn of(model: &TrainedModel) -> Result<Option<Self>> {
        if !model.config.retrieval {
            return Ok(None);
        }
        let header = model.config.header()?;
        let tensors = TENSORS.map(|name| {
            let found = header.tensors().find(|tensor| tensor.to_string() == name);
            found.map_or_else(Vec::new, |tensor| model.weights[tensor.start..tensor.start + tensor.len()].to_vec())
        });
        Ok(Some(Self { tensors }))
    }

    fn new(tensors: [Vec<f32>; 6]) -> Self {
        Self { tensors }
    }
}

/// A trained mixer between days.
pub struct Trained {
    network: Network,
    /// Squared error on the validation days, as a share of r's own.
    pub validation: f64,
}

impl Trained {
    /// The weights of keys and queries; none for a mixer without.
    ///
    /// # Errors
    /// The device fails.
    pub fn keys(&self) -> Result<Option<Keys>> {
        self.network.keys()
    }

    /// Weights that a model would carry.
    pub fn parameters(&self) -> usize {
        self.network.parameters()
    }

    /// What is retrieved on some days.
    ///
    /// # Errors
    /// The device fails.
    pub fn foretold(&self, days: Days) -> Result<Foretold> {
        let foretold = self.network.foretold(&Sequences::new(&days)?)?;
        let nothing = Tensor::zeros((days.sequences(), 1, RETRIEVALS), DType::F32, &Device::Cpu)?;
        let foretold = Tensor::cat(&[&nothing, &foretold.transpose(1, 2)?.contiguous()?], 1)?;
        Ok(Foretold { received: foretold.flatten_all()?.to_vec1()?, days })
    }
}

/// What each bin of each day foretells of the same bin a day later, by the sequence form.
pub struct Foretold {
    days: Days,
    /// P_h over the scale, `[channels][bins][days][RETRIEVALS]`.
    received: Vec<f32>,
}

impl Foretold {
    /// P_h over the scale that a forecast made after row `now` reads for the row `ahead` later.
    pub fn read(&self, channel: usize, now: usize, ahead: usize) -> [f32; RETRIEVALS] {
        let Some((bin, day)) = self.days.last_pass(now, ahead) else { return [0.0; RETRIEVALS] };
        let at = self.days.at(channel, bin, day) * RETRIEVALS;
        std::array::from_fn(|h| self.received[at + h])
    }
}

/// The seasonal Flow-Attention as models have it: the sink's conservation alone. (`flowcast ablate --place season`
/// compares it with competition and allocation, as published.)
pub const ATTENTION: Mixer = Mixer::Attention(Attention::Flow(Switches { competition: false, allocation: false }));

/// Trains a mixer between days, for models that of keys and queries, on the days within `training`, keeping the best on
/// those within `validation`; `None` where there is nothing to learn from.
///
/// # Errors
/// An interruption.
pub fn train(
    days: &Days,
    mixer: Mixer,
    gains: [f32; RETRIEVALS],
    training: &Range<usize>,
    validation: &Range<usize>,
    seed: u64,
) -> Result<Option<Trained>> {
    let trained = days.within(training);
    let trained = trained.start.max(FILLING)..trained.end;
    let (Some(fit), Some(choose)) = (days.weights(trained), days.weights(days.within(validation))) else {
        return Ok(None);
    };
    let network = Network::new(mixer, gains, seed)?;
    let sequences = Sequences::new(days)?;
    let target = sequences.target()?;
    let fit = Tensor::from_vec(fit, target.shape(), &Device::Cpu)?;
    let choose = Tensor::from_vec(choose, target.shape(), &Device::Cpu)?;
    let copy = || network.vars().values().map(|var| var.copy()).collect::<candle_core::Result<Vec<_>>>();
    let mut optimizer = AdamW::default();
    let (mut least, mut best) = (f64::INFINITY, copy()?);
    for step in 0..=STEPS {
        interrupt::check()?;
        let foretold = network.foretold(&sequences)?;
        let error = (network.predict(&sequences, &foretold)? - &target)?.sqr()?;
        let held = f64::from((&error * &choose)?.sum_all()?.to_scalar::<f32>()?);
        ensure!(held.is_finite(), "the keys' error is {held} at step {step}, expected a finite number");
        if held < least {
            (least, best) = (held, copy()?);
        }
        if step < STEPS {
            let gradients = (&error * &fit)?.sum_all()?.backward()?;
            let group = |name: &str| if name.ends_with("weight") { WEIGHTS } else { BIASES };
            optimizer.step(network.vars(), &gradients, 1.0, schedule(step, WARM_UP_STEPS, STEPS), group)?;
        }
    }
    for (var, best) in network.vars().values().zip(&best) {
        var.set(best)?;
    }
    Ok(Some(Trained { network, validation: least }))
}

#[cfg(test)]
mod tests;
