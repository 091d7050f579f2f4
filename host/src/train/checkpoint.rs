//! What an interrupted training needs to go on as if it had not been: weights, best weights, moments, step.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::EPOCH_STEPS;
use super::rows::Learnt;
use super::validation::Validation;
use crate::checksum;
use crate::file::{self, write_atomic};
use crate::model::Network;
use crate::optimizer::AdamW;

const METADATA: &str = "flowcast-training";

/// What the file's metadata hold.
#[derive(Serialize)]
struct Metadata<'a> {
    /// First: [`checksum::seal`] finds it there.
    checksum: &'static str,
    #[serde(flatten)]
    progress: &'a Progress,
}

/// Where a training stands, beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What the training was asked for and the data it read: another training is not gone on with.
    pub identity: String,
    /// Steps done.
    pub step: usize,
    /// Networks that have learnt in the first epoch, until it ends.
    pub members: usize,
    /// Epochs without a gain.
    pub stale: usize,
    /// Seconds spent.
    pub seconds: f64,
    /// The best validation so far.
    pub best: Validation,
    /// The best whose attention said nothing.
    pub silent: Validation,
    /// Validation of every epoch.
    pub history: Vec<Validation>,
    /// Loss of every step's batch.
    pub losses: Vec<f32>,
}

/// Weights that may be kept or taught by, in the order of [`Header::tensors`](flowcast_core::format::Header::tensors).
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// The best.
    pub best: Vec<f32>,
    /// The best whose attention says nothing: the closed form, or the first epoch.
    pub silent: Vec<f32>,
    /// Networks that have learnt in the first epoch, until it ends.
    pub members: Vec<Learnt>,
}

/// The checkpoint of a model file: beside it.
pub fn path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

/// Writes a checkpoint; an older one stays until the new one is complete.
///
/// # Errors
/// The file cannot be written.
pub fn save(
    path: &Path,
    progress: &Progress,
    network: &Network,
    candidates: &Candidates,
    optimizer: &AdamW,
) -> Result<()> {
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    let mut put = |name: String, tensor: &Tensor| -> Result<()> {
        tensors.insert(name, (tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?));
        Ok(())
    };
    for (name, var) in network.vars() {
        put(format!("weight/{name}"), var)?;
        if let Some([first, second]) = optimizer.moments.get(name) {
            put(format!("first/{name}"), first)?;
            put(format!("second/{name}"), second)?;
        }
    }
    let mut put = |name: String, weights: &[f32]| tensors.insert(name, (vec![weights.len()], weights.to_vec()));
    put("best".to_owned(), &candidates.best);
    put("silent".to_owned(), &candidates.silent);
    for (index, Learnt { gain, whole, kept }) in candidates.members.iter().enumerate() {
        put(format!("member/{index}/gain"), &[*gain]);
        put(format!("member/{index}/whole"), whole);
        put(format!("member/{index}/kept"), kept);
    }
    let views = tensors
        .iter()
        .map(|(name, (shape, values))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = serde_json::to_string(&Metadata { checksum: checksum::OPEN, progress })?;
    let mut bytes = serialize(views, Some(HashMap::from([(METADATA.to_owned(), metadata)])))?;
    checksum::seal(&mut bytes)?;
    write_atomic(path, &bytes)
}

/// Reads a checkpoint into a network and an optimizer; returns where it stood, and what may be kept.
///
/// # Errors
/// The file is none, was altered, or is one of another training.
pub fn load(path: &Path, identity: &str, network: &Network, optimizer: &mut AdamW) -> Result<(Progress, Candidates)> {
    let bytes = file::read(path)?;
    let not_ours = || format!("{} is no checkpoint of `flowcast train`", path.display());
    let (_, metadata) = SafeTensors::read_metadata(&bytes).with_context(not_ours)?;
    let progress = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA)).with_context(not_ours)?;
    checksum::check(&bytes).with_context(|| path.display().to_string())?;
    let progress: Progress = serde_json::from_str(progress).with_context(not_ours)?;
    ensure!(
        progress.identity == identity,
        "{} is of another training: found {}, expected {identity}, of this program, device, command and data; remove it to train anew",
        path.display(),
        progress.identity
    );
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    let mut take =
        |name: String| tensors.remove(&name).with_context(|| format!("{}: tensor {name} is missing", path.display()));
    for (name, var) in network.vars() {
        var.set(&take(format!("weight/{name}"))?.to_device(network.device())?)?;
        if let (Ok(first), Ok(second)) = (take(format!("first/{name}")), take(format!("second/{name}"))) {
            let moments = [first.to_device(network.device())?, second.to_device(network.device())?];
            optimizer.moments.insert(name.clone(), moments);
        }
    }
    // The first epoch has an optimizer of its own.
    optimizer.step = progress.step.saturating_sub(EPOCH_STEPS);
    let mut numbers = |name: String| -> Result<Vec<f32>> { Ok(take(name)?.to_vec1()?) };
    let (best, silent) = (numbers("best".to_owned())?, numbers("silent".to_owned())?);
    let members = (0..progress.members)
        .map(|index| {
            let gain = numbers(format!("member/{index}/gain"))?;
            let gain =
                gain.first().copied().with_context(|| format!("{}: a member's gain is missing", path.display()))?;
            let (whole, kept) = (numbers(format!("member/{index}/whole"))?, numbers(format!("member/{index}/kept"))?);
            Ok(Learnt { gain, whole, kept })
        })
        .collect::<Result<_>>()?;
    Ok((progress, Candidates { best, silent, members }))
}
