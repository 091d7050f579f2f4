//! A trained model: what it was trained for, its weights, and the two files that hold them.
//!
//! `MODEL.safetensors` holds one tensor for each of [`Header::tensors`], under the same name, and everything else as
//! JSON in its metadata. `MODEL.flow` is what the device runs (`flowcast_core::format`).

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flowcast_core::format::{Channel, Header, MAGIC, Numeric};
use flowcast_core::presets::Preset;
use flowcast_core::retrieval::RETRIEVALS;
use flowcast_core::seasonal::{MEMORIES, Season, Seasons};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::data::Series;
use crate::file::{self, AlignedBytes, write_atomic};
use crate::forecaster::slot_samples;
use crate::ridge::LinearPath;
use crate::train::learning::Learning;

/// Key of the configuration in a safetensors file's metadata.
const METADATA: &str = "flowcast";
/// Gains floor of the seasonal memories: the last period, the last few, ten, thirty.
const MEMORY_GAIN: [f32; MEMORIES] = [1.0, 1.0 / 3.0, 1.0 / 10.0, 1.0 / 30.0];
/// Gains floor of the seasonal Flow-Attention's memories: a working week, a month.
pub const RETRIEVAL_GAIN: [f32; RETRIEVALS] = [1.0 / 5.0, 1.0 / 30.0];
/// The smallest scale, in deviations of the training data.
const SCALE_FLOOR: f32 = 0.05;
/// κ: the released code's value at its root.
const SOURCE_CLAMP: f32 = 1.0;
/// The largest sink_incoming and source_outgoing: capacities of N(0, 1) inputs give about 1/2, so it binds on none of
/// them, and it fits a fixed-point form.
const FLOW_LIMIT: f32 = 64.0;
/// Features enter a token within ± this many scales.
const FEATURE_CLAMP: f32 = 12.0;

/// One channel, as training found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelConfig {
    /// The column's name.
    pub name: String,
    /// Its unit, may be empty.
    pub unit: String,
    /// Mean of the training rows.
    pub offset: f32,
    /// Deviation of the training rows.
    pub scale: f32,
    /// Samples below are taken as missing.
    pub valid_min: f32,
    /// Samples above are taken as missing.
    pub valid_max: f32,
    /// More equal samples in a row are taken as missing; 0 for never.
    pub stuck_limit: u32,
    /// A sample is held back until another says the same where it lies beyond what the memories know, by so many times
    /// what samples are commonly off; 0 for never, and in configurations of before there was a limit.
    #[serde(default)]
    pub spike_limit: f32,
    /// That is at least so far, in deviations.
    #[serde(default)]
    pub spike_least: f32,
    /// The sensor's step that forecasts are rounded to; 0 for none.
    pub resolution: f32,
    /// No forecast is told below it; `valid_min` for a sensor that does not end there.
    pub lowest: f32,
    /// No forecast is told above it; `valid_max` for a sensor that does not end there.
    pub highest: f32,
}

/// Everything that shapes a model beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Name of the backbone ([`flowcast_core::presets`]).
    pub preset: String,
    /// Milliseconds between samples.
    pub interval_ms: u64,
    /// Samples of each season; the first sets location, scale and tokens.
    pub periods: Vec<u32>,
    /// Steps ahead.
    pub horizon: u16,
    /// Steps ahead that have weights of their own, from 1 to the horizon ([`knots`]).
    pub knots: Vec<u16>,
    /// Quantile levels, ascending, 0.5 among them.
    pub quantiles: Vec<f32>,
    /// Whether each target has a readout of its own.
    pub own_readouts: bool,
    /// Whether the model has a seasonal Flow-Attention.
    pub retrieval: bool,
    /// Whether the readout sees the ring of last samples.
    pub ring: bool,
    /// Whether the readout sees the other channels' trends.
    pub mixed: bool,
    /// Whether intervals are corrected on the device (`flowcast_core::conformal`).
    pub corrected: bool,
    /// Whether the point forecast is adapted on the device (`flowcast_core::adaptation`).
    pub adapted: bool,
    /// The first so many channels are forecast, the others are covariates.
    pub targets: u16,
    /// The last so many channels are known in advance.
    #[serde(default, skip_serializing_if = "is_none")]
    pub known: u16,
    /// Time of the first row that training did not read, in milliseconds since 1970; 0 where the data told no times.
    pub seen_until_ms: u64,
    /// Memory of each head in samples, `[layers][heads]`; `None` is infinite. Empty where the blocks have no attention.
    pub memories: Vec<Vec<Option<f32>>>,
    /// The channels, in the order of a sample.
    pub channels: Vec<ChannelConfig>,
}

impl ChannelConfig {
    fn record(&self) -> Channel<'_> {
        Channel {
            name: &self.name,
            unit: &self.unit,
            offset: self.offset,
            scale: self.scale,
            valid_min: self.valid_min,
            valid_max: self.valid_max,
            stuck_limit: self.stuck_limit,
            spike_limit: self.spike_limit,
            spike_least: self.spike_least,
            resolution: self.resolution,
            lowest: self.lowest,
            highest: self.highest,
        }
    }
}

impl Config {
    /// The backbone.
    ///
    /// # Errors
    /// No preset has that name.
    pub fn preset(&self) -> Result<Preset> {
        Preset::named(&self.preset)
            .with_context(|| format!("found preset {:?}, expected tiny, small or base", self.preset))
    }

    /// Takes over what the closed form chose; seasons and columns that it left out are left out of the state too.
    pub fn take_parts(&mut self, linear: &LinearPath) {
        self.own_readouts = linear.own_readouts;
        self.retrieval = linear.parts.retrieval;
        self.ring = linear.parts.ring;
        self.mixed = linear.parts.mixed;
        self.periods.truncate(linear.parts.seasons);
        let first = self.channels.len() - usize::from(self.known);
        let pays = |index: usize| index < first || linear.parts.known & 1 << (index - first) != 0;
        self.channels = std::mem::take(&mut self.channels)
            .into_iter()
            .enumerate()
            .filter_map(|(index, channel)| pays(index).then_some(channel))
            .collect();
        self.known = linear.parts.known.count_ones() as u16;
    }

    /// The channels that are known in advance.
    pub fn known(&self) -> &[ChannelConfig] {
        &self.channels[self.channels.len() - usize::from(self.known)..]
    }

    /// The columns of a series that are the model's channels.
    ///
    /// # Errors
    /// One is missing.
    pub fn columns_of(&self, series: &Series) -> Result<Series> {
        let names: Vec<String> = self.channels.iter().map(|channel| channel.name.clone()).collect();
        series.select(&names).map_err(|name| anyhow::anyhow!("column `{name}` is missing"))
    }

    /// The seasons of the periods, and the memories' constants.
    pub fn seasons(&self) -> Seasons {
        let season = |(index, period): (usize, &u32)| {
            let slot_samples = slot_samples(*period, index);
            Season { period: *period, slot_samples, slots: period.div_ceil(slot_samples) as usize }
        };
        Seasons {
            list: self.periods.iter().enumerate().map(season).collect(),
            memory_gain: MEMORY_GAIN,
            scale_floor: SCALE_FLOOR,
            retrieval: self.retrieval.then_some(RETRIEVAL_GAIN),
        }
    }

    /// Samples of the first season's period.
    pub fn period(&self) -> u32 {
        self.periods.first().copied().unwrap_or(2)
    }

    /// The model file's header.
    ///
    /// # Errors
    /// The preset is unknown, or there are more quantiles than the format holds.
    pub fn header(&self) -> Result<Header> {
        let preset = self.preset()?;
        let channels = self.channels.len() as u16;
        let attention = !self.memories.is_empty();
        Ok(Header {
            d_model: preset.d_model as u16,
            heads: preset.heads as u16,
            head_dim: preset.head_dim as u16,
            layers: preset.layers as u16,
            attention,
            d_ff: preset.d_ff as u16,
            numeric: Numeric::F32,
            channels,
            targets: self.targets,
            known: self.known,
            readouts: if self.own_readouts { self.targets } else { 1 },
            horizon: self.horizon,
            knots: self.knots.len() as u16,
            ring: self.ring,
            mixed: self.mixed,
            corrected: self.corrected,
            adapted: self.adapted,
            seasons: self.seasons(),
            interval_ms: self.interval_ms,
            source_clamp: if attention { SOURCE_CLAMP } else { 0.0 },
            flow_limit: if attention { FLOW_LIMIT } else { 0.0 },
            feature_clamp: FEATURE_CLAMP,
            quantiles: heapless_levels(&self.quantiles)?,
            seen_until_ms: self.seen_until_ms,
            identity: 0,
        })
    }

    /// 1/N of each head, `[layers][heads]`; 0 for an infinite memory. Empty without an attention.
    pub fn head_gains(&self) -> Vec<Vec<f32>> {
        let gain = |memory: &Option<f32>| memory.map_or(0.0, |samples| 1.0 / samples.max(1.0));
        self.memories.iter().map(|heads| heads.iter().map(gain).collect()).collect()
    }

    /// The channels, as the format takes them.
    pub fn records(&self) -> Vec<Channel<'_>> {
        self.channels.iter().map(ChannelConfig::record).collect()
    }

    /// Heads' memories for a season: from a sixth of it to thirty of it, evenly in the logarithm, in every layer.
    pub fn spread_memories(preset: &Preset, period: u32) -> Vec<Vec<Option<f32>>> {
        let (shortest, longest) = (f64::from(period) / 6.0, f64::from(period) * 30.0);
        let head = |index: usize| {
            let position = index as f64 / (preset.heads - 1).max(1) as f64;
            Some((shortest * (longest / shortest).powf(position)).round().max(2.0) as f32)
        };
        vec![(0..preset.heads).map(head).collect(); preset.layers]
    }
}

/// Steps ahead with weights of their own: each of the first 24, then ever fewer, a tenth apart, and the horizon.
pub fn knots(horizon: u16) -> Vec<u16> {
    const EXACT: u16 = 24;
    const APART: f64 = 1.1;
    let mut knots: Vec<u16> = (1..=horizon.min(EXACT)).collect();
    let mut last = f64::from(EXACT);
    while let Some(before) = knots.last().copied().filter(|last| *last < horizon) {
        last *= APART;
        knots.push((last.round() as u16).clamp(before + 1, horizon));
    }
    knots
}

/// What stands at the knots, for every step from 1 to the horizon: linear between two knots.
pub fn between_knots(knots: &[u16], values: &[f32]) -> Vec<f32> {
    let mut steps = Vec::new();
    for (ends, values) in knots.windows(2).zip(values.windows(2)) {
        let width = f32::from(ends[1] - ends[0]);
        steps.extend((0..ends[1] - ends[0]).map(|i| values[0] + f32::from(i) / width * (values[1] - values[0])));
    }
    steps.extend(values.last());
    steps
}

fn heapless_levels<const N: usize>(levels: &[f32]) -> Result<heapless::Vec<f32, N>> {
    heapless::Vec::from_slice(levels)
        .ok()
        .with_context(|| format!("found {} quantiles, expected at most {N}", levels.len()))
}

/// For serde: the file of a model without known columns does not speak of them.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(count: &u16) -> bool {
    *count == 0
}

/// What the file's metadata hold.
#[derive(Serialize)]
struct Metadata<'a> {
    /// First: [`checksum::seal`] finds it there.
    checksum: &'static str,
    #[serde(flatten)]
    config: &'a Config,
    learning: &'a Learning,
}

/// A configuration and its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    /// What it was trained for.
    pub config: Config,
    /// Every tensor in the order of [`Header::tensors`].
    pub weights: Vec<f32>,
}

impl TrainedModel {
    /// The same model without what its blocks' attention needs: it forecasts as one whose attention puts out zeros.
    ///
    /// # Errors
    /// The configuration is no model's.
    pub fn without_attention(&self) -> Result<Self> {
        let config = Config { memories: Vec::new(), ..self.config.clone() };
        let (from, to) = (self.config.header()?, config.header()?);
        let kept: Vec<String> = to.tensors().map(|tensor| tensor.to_string()).collect();
        let of_kept = from.tensors().filter(|tensor| kept.contains(&tensor.to_string()));
        let weights = of_kept.flat_map(|tensor| &self.weights[tensor.start..][..tensor.len()]).copied().collect();
        Ok(Self { config, weights })
    }

    /// Writes `MODEL.safetensors`; the same model and training give the same bytes.
    ///
    /// # Errors
    /// The file cannot be written; the old one is kept.
    pub fn save(&self, path: &Path, learning: &Learning) -> Result<()> {
        let header = self.config.header()?;
        let mut views = Vec::new();
        for tensor in header.tensors() {
            let weights = &self.weights[tensor.start..tensor.start + tensor.len()];
            views.push((
                tensor.to_string(),
                TensorView::new(Dtype::F32, tensor.shape.to_vec(), bytemuck::cast_slice(weights))?,
            ));
        }
        // One entry: the order of several would not be the same twice.
        let metadata = serde_json::to_string(&Metadata { checksum: checksum::OPEN, config: &self.config, learning })?;
        let metadata = HashMap::from([(METADATA.to_owned(), metadata)]);
        let mut bytes = serialize(views, Some(metadata))?;
        checksum::seal(&mut bytes)?;
        write_atomic(path, &bytes)
    }

    /// How the training of `MODEL.safetensors` went; `None` where the file does not tell.
    ///
    /// # Errors
    /// The file cannot be read or is no safetensors file.
    pub fn load_learning(path: &Path) -> Result<Option<Learning>> {
        let bytes = file::read(path)?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).with_context(|| path.display().to_string())?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let value = text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        Ok(value.and_then(|mut value| serde_json::from_value(value.get_mut("learning")?.take()).ok()))
    }

    /// Reads `MODEL.safetensors`.
    ///
    /// # Errors
    /// The file is not one of Flowcast's, was altered, or a tensor is missing, of another shape or not finite.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = file::read(path)?;
        Self::parse(&bytes).with_context(|| path.display().to_string())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let exported = bytes.starts_with(&MAGIC);
        ensure!(!exported, "exported already: expected the MODEL.safetensors that `flowcast train` wrote");
        let not_ours = "not a trained model: expected a safetensors file that `flowcast train` wrote";
        let (_, metadata) = SafeTensors::read_metadata(bytes).context(not_ours)?;
        let config = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA)).context(not_ours)?;
        checksum::check(bytes)?;
        let config: Config = serde_json::from_str(config).context(not_ours)?;
        let tensors = SafeTensors::deserialize(bytes).context(not_ours)?;
        let header = config.header()?;
        let mut weights = Vec::with_capacity(header.weight_count());
        for expected in header.tensors() {
            let name = expected.to_string();
            let found = tensors.tensor(&name).with_context(|| format!("tensor {name} is missing"))?;
            ensure!(
                found.shape() == expected.shape && found.dtype() == Dtype::F32,
                "tensor {name} is {:?} {:?}, expected F32 {:?}",
                found.dtype(),
                found.shape(),
                expected.shape
            );
            weights.extend(
                found.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            );
        }
        if let Some(index) = weights.iter().position(|weight| !weight.is_finite()) {
            bail!("weight {index} is {}, expected a finite number", weights[index]);
        }
        Ok(Self { config, weights })
    }

    /// The bytes of `MODEL.flow` with weights as they were trained.
    ///
    /// # Errors
    /// The configuration or a weight is out of the format's range.
    pub fn to_flow(&self) -> Result<AlignedBytes> {
        self.to_flow_as(Numeric::F32)
    }

    /// The bytes of `MODEL.flow`.
    ///
    /// # Errors
    /// The configuration or a weight is out of the format's range.
    pub fn to_flow_as(&self, numeric: Numeric) -> Result<AlignedBytes> {
        let header = Header { numeric, ..self.config.header()? };
        let mut bytes = AlignedBytes::from(vec![0; header.length()].as_slice());
        let Config { knots, .. } = &self.config;
        header.write(&self.config.head_gains().concat(), knots, &self.config.records(), &self.weights, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
impl Config {
    /// An hourly channel, a season of so many samples and a horizon as long, and no part that training may choose.
    pub(crate) fn example(preset: &Preset, period: u32) -> Self {
        let channel = ChannelConfig {
            name: "x".to_owned(),
            unit: String::new(),
            offset: 0.0,
            scale: 1.0,
            valid_min: -9.0,
            valid_max: 9.0,
            stuck_limit: 0,
            spike_limit: 0.0,
            spike_least: 0.0,
            resolution: 0.0,
            lowest: -9.0,
            highest: 9.0,
        };
        Self {
            preset: preset.name.to_owned(),
            interval_ms: 3_600_000,
            periods: vec![period],
            horizon: period as u16,
            knots: knots(period as u16),
            quantiles: vec![0.1, 0.5, 0.9],
            own_readouts: false,
            retrieval: false,
            ring: false,
            mixed: false,
            corrected: true,
            adapted: false,
            targets: 1,
            known: 0,
            seen_until_ms: 0,
            memories: Self::spread_memories(preset, period),
            channels: vec![channel],
        }
    }
}

#[cfg(test)]
mod tests {
    use flowcast_core::presets::PRESETS;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::forecaster::open;

    /// Whatever its other weights, an attention that puts out zeros is the same as none, to the bit.
    #[test]
    fn an_attention_that_says_nothing_can_be_left_out() {
        for preset in PRESETS {
            let config = Config { ring: true, ..Config::example(&preset, 24) };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let header = config.header().unwrap();
            let weights = header.tensors().flat_map(|tensor| {
                let most = if tensor.name.starts_with("output.") { 0.0 } else { 0.3 };
                (0..tensor.len()).map(|_| most * rng.random_range(-1.0..1.0_f32)).collect::<Vec<_>>()
            });
            let whole = TrainedModel { weights: weights.collect(), config };
            let without = whole.without_attention().unwrap();
            assert!(without.weights.len() + 4 * preset.layers * preset.d_model.pow(2) < whole.weights.len());
            for numeric in [Numeric::F32, Numeric::I8] {
                let (whole, without) = (whole.to_flow_as(numeric).unwrap(), without.to_flow_as(numeric).unwrap());
                let (mut whole, mut without) = (open(&whole).unwrap(), open(&without).unwrap());
                assert!(without.snapshot_bytes() < whole.snapshot_bytes());
                for row in 0..200 {
                    let sample = [(row as f32 * 0.26).sin() + rng.random_range(-0.5..0.5_f32)];
                    whole.observe(&sample);
                    without.observe(&sample);
                    let (mut expected, mut found) = ([0.0; 72], [0.0; 72]);
                    let written = whole.forecast_into(0, &mut expected);
                    assert_eq!(without.forecast_into(0, &mut found), written);
                    assert_eq!(expected.map(f32::to_bits), found.map(f32::to_bits), "{} {numeric:?}", preset.name);
                }
                assert!(whole.is_ready());
            }
        }
    }
}
