//! The `.flow` model file: reader and writer. `FORMAT.md` beside this crate says the same in prose.
//!
//! Little-endian, every field at a multiple of its size, weights at a multiple of 16, so that a model is used where it
//! lies. Nothing is trusted: length, CRC-32, every dimension and every number is checked before a model exists, and
//! reading never passes the end.

mod error;
mod needs;
mod number;
mod tensor;

pub use error::FormatError;
pub use needs::Needs;
pub use tensor::{Form, LARGEST_I8, Tensor};

use core::ops::Range;

use heapless::Vec;

use crate::bits::{self, exponent, order, scaled, scaled_wide};
use crate::fixed::MAX_COLUMNS;
use crate::kernel::COLUMNS;
use crate::known::{KNOWN_FEATURES, MAX_KNOWN};
use crate::linear::{Element, Source};
pub use crate::linear::{LEVEL_FEATURES, Numeric};
use crate::probe::GROUPS;
use crate::q20::FRACTION_BITS;
use crate::retrieval::{HIDDEN, KEY, RETRIEVALS, SUMMARY};
use crate::seasonal::{
    MAX_ALIGNED, MAX_BINS, MAX_SEASONS, MAX_STANDING, MEMORIES, MIXED_TRENDS, RING, Season, Seasons,
};
use crate::spike::MAX_LIMIT;

use number::{array, as_float, expect, f32_at, put, size, text, u16_at, u32_at, within, zero};
use tensor::{output_scale, quantize};

/// The version of the format that this crate reads and writes.
pub const VERSION: u16 = 9;
/// The most quantile levels of a model.
pub const MAX_QUANTILES: usize = 9;
/// The most channels of a model.
pub const MAX_CHANNELS: usize = 32;
/// The most steps ahead that a forecast reaches.
pub const MAX_HORIZON: u16 = 16_384;
/// The most knots of the readout: steps ahead that have weights of their own.
pub const MAX_KNOTS: usize = 256;
/// The most features that a step ahead reads where it will fall.
pub const MAX_STEP_FEATURES: usize = MAX_ALIGNED + MAX_KNOWN * KNOWN_FEATURES;
/// The most features of the readout.
pub const MAX_READOUT: usize = MAX_STEP_FEATURES + MAX_STANDING + (MAX_CHANNELS - 1) * MIXED_TRENDS.len();
/// The largest weight: with every input bounded too, no sample makes the state infinite.
pub const MAX_WEIGHT: f32 = 1e3;
/// The valid range of a channel reaches at most this many scales from its offset.
pub const MAX_DEVIATIONS: i64 = 1_000_000;
/// Readings are compared in steps of 2⁻³⁰ of the power of two in their channel's scale.
pub(crate) const UNIT_BITS: i32 = 30;
/// Where weights may start, and what the file's first byte must be aligned to for use in place, is a multiple of this
/// for the former and of 4 for the latter.
pub const ALIGNMENT: usize = 16;

/// Which of some quantile levels is the median; by bits, for cores without floating point.
pub fn median(levels: &[f32]) -> Option<usize> {
    levels.iter().position(|level| level.to_bits() == 0.5_f32.to_bits())
}

/// What a model file starts with.
pub const MAGIC: [u8; 4] = *b"FLOW";
/// The exponents of multipliers: with the least one, the largest multiplier is worth 1024; with the largest one, sums of
/// products move up and never down ([`crate::linear`]).
const EXPONENTS: core::ops::RangeInclusive<i32> = 21..=38;
/// Bits of the header's flags.
const FLAG_RING: u8 = 1;
const FLAG_MIXED: u8 = 2;
const FLAG_CORRECTED: u8 = 4;
const FLAG_ADAPTED: u8 = 8;
const FLAG_RETRIEVAL: u8 = 16;
const FLAG_ATTENTION: u8 = 32;
const FLAGS: u8 = FLAG_RING | FLAG_MIXED | FLAG_CORRECTED | FLAG_ADAPTED | FLAG_RETRIEVAL | FLAG_ATTENTION;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
const CRC_BYTES: usize = 4;
const NAME_BYTES: usize = 32;
const UNIT_BYTES: usize = 8;

/// Byte offsets of the header's fields.
mod field {
    use super::{NAME_BYTES, Range, UNIT_BYTES};

    pub const MAGIC: Range<usize> = 0..4;
    pub const VERSION: usize = 4;
    pub const NUMERIC: usize = 6;
    pub const FLAGS: usize = 7;
    pub const LENGTH: usize = 8;
    pub const WEIGHTS: usize = 12;
    pub const D_MODEL: usize = 16;
    pub const HEADS: usize = 18;
    pub const HEAD_DIM: usize = 20;
    pub const LAYERS: usize = 22;
    pub const D_FF: usize = 24;
    pub const KNOTS: usize = 26;
    pub const CHANNELS: usize = 28;
    pub const TARGETS: usize = 30;
    pub const READOUTS: usize = 32;
    pub const HORIZON: usize = 34;
    pub const MEMORIES: usize = 36;
    pub const RING: usize = 37;
    pub const BINS: usize = 38;
    pub const QUANTILES: usize = 39;
    pub const INTERVAL_MS: usize = 40;
    pub const SOURCE_CLAMP: usize = 48;
    pub const FLOW_LIMIT: usize = 52;
    pub const FEATURE_CLAMP: usize = 56;
    pub const SCALE_FLOOR: usize = 60;
    pub const MEMORY_GAIN: usize = 64;
    /// A period and the samples of a slot, for each season.
    pub const SEASONS: usize = 80;
    pub const SEASON_BYTES: usize = 8;
    pub const SEEN_UNTIL_MS: usize = 104;
    /// One for each of the seasonal Flow-Attention's memories.
    pub const RETRIEVAL_GAIN: usize = 112;
    pub const KNOWN: usize = 120;
    pub const RESERVED: Range<usize> = 121..128;
    /// The quantile levels, then the memory gains of the heads that there are, then the knots, then (aligned) the channels.
    pub const TABLES: usize = 128;

    pub mod channel {
        use super::{NAME_BYTES, Range, UNIT_BYTES};

        pub const OFFSET: usize = 0;
        pub const SCALE: usize = 4;
        pub const VALID_MIN: usize = 8;
        pub const VALID_MAX: usize = 12;
        pub const STUCK_LIMIT: usize = 16;
        pub const RESOLUTION: usize = 20;
        pub const LOWEST: usize = 24;
        pub const HIGHEST: usize = 28;
        pub const NAME: Range<usize> = 32..32 + NAME_BYTES;
        pub const UNIT: Range<usize> = NAME.end..NAME.end + UNIT_BYTES;
        pub const SPIKE_LIMIT: usize = UNIT.end;
        pub const SPIKE_LEAST: usize = SPIKE_LIMIT + 4;
        pub const BYTES: usize = 80;
    }
}

/// Everything a model file says before its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Width of a token.
    pub d_model: u16,
    /// Attention heads.
    pub heads: u16,
    /// Width of a head; `heads * head_dim == d_model`.
    pub head_dim: u16,
    /// Blocks.
    pub layers: u16,
    /// Whether the blocks have a Flow-Attention; without one, a token receives nothing from those before it.
    pub attention: bool,
    /// Hidden units of a feed-forward layer.
    pub d_ff: u16,
    /// How the weights lie.
    pub numeric: Numeric,
    /// Channels of a sample, at most [`MAX_CHANNELS`].
    pub channels: u16,
    /// The first so many channels are forecast; the others are covariates.
    pub targets: u16,
    /// The last so many channels are known in advance, at most [`MAX_KNOWN`]; covariates before them are seen only.
    pub known: u16,
    /// Readouts of the linear path: 1, or one a target.
    pub readouts: u16,
    /// Steps ahead that a forecast reaches.
    pub horizon: u16,
    /// Steps ahead that have weights of their own, at most [`MAX_KNOTS`]; steps between two knots lie between them.
    pub knots: u16,
    /// Whether the readout sees the ring of last samples.
    pub ring: bool,
    /// Whether the readout sees the other channels' trends.
    pub mixed: bool,
    /// Whether intervals are corrected online ([`crate::conformal`]).
    pub corrected: bool,
    /// Whether the point forecast is adapted online ([`crate::adaptation`]).
    pub adapted: bool,
    /// The seasons and the constants of their memories.
    pub seasons: Seasons,
    /// Milliseconds between samples.
    pub interval_ms: u64,
    /// κ of the attention's conserved source; 0 without one.
    pub source_clamp: f32,
    /// The largest sink_incoming and source_outgoing; 0 without an attention.
    pub flow_limit: f32,
    /// Seasonal features enter a token within ± this many scales.
    pub feature_clamp: f32,
    /// Quantile levels, ascending, 0.5 among them.
    pub quantiles: Vec<f32, MAX_QUANTILES>,
    /// Time of the first row that training did not read, in milliseconds since 1970; 0 where the data told no times.
    pub seen_until_ms: u64,
    /// The file's CRC-32, which names the model.
    pub identity: u32,
}

/// What a forecaster without a model answers with.
pub(crate) static NO_MODEL: Header = Header::NONE;

/// One channel, as the file describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel<'m> {
    /// The column that it was trained on; 1 to 32 bytes.
    pub name: &'m str,
    /// Its unit, up to 8 bytes, may be empty.
    pub unit: &'m str,
    /// Mean of the training data, in the unit.
    pub offset: f32,
    /// Deviation of the training data, in the unit, above 0.
    pub scale: f32,
    /// Samples below are taken as missing.
    pub valid_min: f32,
    /// Samples above are taken as missing.
    pub valid_max: f32,
    /// More equal samples in a row than this are taken as missing; 0 for never.
    pub stuck_limit: u32,
    /// A sample is held back until another says the same where it lies beyond what the memories know, by so many times
    /// what samples are commonly off ([`crate::spike`]); 0 for never.
    pub spike_limit: f32,
    /// That is at least so far, in deviations.
    pub spike_least: f32,
    /// The sensor's step, in the unit: forecasts are multiples of it, as readings are. 0 for a fine sensor.
    pub resolution: f32,
    /// No forecast that a user is told is lower, unless a reading was; above `valid_min`, which is no end.
    pub lowest: f32,
    /// No forecast that a user is told is higher, unless a reading was; below `valid_max`, which is no end.
    pub highest: f32,
}

/// Tensors before, in and after the blocks.
const TENSORS_BEFORE: usize = 8;
const TENSORS_IN_BLOCK: usize = 16;
const TENSORS_AFTER: usize = 9;

impl Header {
    /// Of no model: no channels, no horizon.
    const NONE: Self = Self {
        d_model: 0,
        heads: 0,
        head_dim: 0,
        layers: 0,
        attention: false,
        d_ff: 0,
        numeric: Numeric::F32,
        channels: 0,
        targets: 0,
        known: 0,
        readouts: 0,
        horizon: 0,
        knots: 0,
        ring: false,
        mixed: false,
        corrected: false,
        adapted: false,
        seasons: Seasons::NONE,
        interval_ms: 0,
        source_clamp: 0.0,
        flow_limit: 0.0,
        feature_clamp: 0.0,
        quantiles: Vec::new(),
        seen_until_ms: 0,
        identity: 0,
    };

    /// Checks a whole model file and reads its header. Bytes after the model's length are ignored (a flash region is
    /// larger than the model in it).
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let found = bytes.len();
        if found >= 4 && bytes.get(field::MAGIC) != Some(&MAGIC) {
            return Err(FormatError::NotAModel { found: array(bytes, 0) });
        }
        let smallest = field::TABLES + CRC_BYTES;
        if found < smallest {
            return Err(FormatError::Truncated { found, expected: smallest });
        }
        let version = u16_at(bytes, field::VERSION);
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        let length = u32_at(bytes, field::LENGTH) as usize;
        let Some(bytes) = bytes.get(..length) else {
            return Err(FormatError::Truncated { found, expected: length });
        };
        let Some((body, stored)) = bytes.split_last_chunk::<CRC_BYTES>() else {
            return Err(FormatError::Truncated { found: length, expected: smallest });
        };
        let (found, expected) = (CRC.checksum(body), u32::from_le_bytes(*stored));
        if found != expected {
            return Err(FormatError::Checksum { found, expected });
        }
        let header = Self::read(body, expected)?;
        header.check(body)?;
        Ok(header)
    }

    fn read(body: &[u8], identity: u32) -> Result<Self, FormatError> {
        let byte = |at: usize| body.get(at).copied().unwrap_or(0);
        let numeric = match byte(field::NUMERIC) {
            0 => Numeric::F32,
            1 => Numeric::I8,
            other => {
                return Err(FormatError::Field {
                    name: "numeric form",
                    found: as_float(other.into()),
                    expected: "0 (f32) or 1 (int8)",
                });
            }
        };
        let flags = byte(field::FLAGS);
        within("flags", flags, 0..=FLAGS, "0 to 63: bits 6 and 7 mean nothing yet")?;
        expect("seasonal memories", byte(field::MEMORIES), MEMORIES as u8, "4")?;
        expect("ring of samples", byte(field::RING), RING as u8, "24")?;
        zero(body, field::RESERVED)?;
        let mut list = Vec::new();
        let mut more = true;
        for index in 0..MAX_SEASONS {
            let at = field::SEASONS + index * field::SEASON_BYTES;
            let (period, slot_samples) = (u32_at(body, at), u32_at(body, at + 4));
            more &= period != 0;
            if more {
                let slots = period.div_ceil(slot_samples.max(1)) as usize;
                // There are no more seasons than the list holds.
                let _ = list.push(Season { period, slot_samples, slots });
            } else {
                expect("season after the last one", period | slot_samples, 0, "0")?;
            }
        }
        let retrieval = core::array::from_fn(|h| f32_at(body, field::RETRIEVAL_GAIN + 4 * h));
        let seasons = Seasons {
            list,
            retrieval: (flags & FLAG_RETRIEVAL != 0).then_some(retrieval),
            memory_gain: core::array::from_fn(|k| f32_at(body, field::MEMORY_GAIN + 4 * k)),
            scale_floor: f32_at(body, field::SCALE_FLOOR),
        };
        if seasons.retrieval.is_none() {
            zero(body, field::RETRIEVAL_GAIN..field::KNOWN)?;
        }
        let attention = flags & FLAG_ATTENTION != 0;
        if !attention {
            // Every zero byte: a file has one form only, and a float has two zeros.
            zero(body, field::SOURCE_CLAMP..field::FEATURE_CLAMP)?;
        }
        expect("bins", byte(field::BINS), seasons.bins() as u8, "24, or one a slot where there are fewer")?;
        let quantiles = usize::from(byte(field::QUANTILES));
        within("quantiles", quantiles, 1..=MAX_QUANTILES, "1 to 9")?;
        Ok(Self {
            d_model: u16_at(body, field::D_MODEL),
            heads: u16_at(body, field::HEADS),
            head_dim: u16_at(body, field::HEAD_DIM),
            layers: u16_at(body, field::LAYERS),
            attention,
            d_ff: u16_at(body, field::D_FF),
            numeric,
            channels: u16_at(body, field::CHANNELS),
            targets: u16_at(body, field::TARGETS),
            known: byte(field::KNOWN).into(),
            readouts: u16_at(body, field::READOUTS),
            horizon: u16_at(body, field::HORIZON),
            knots: u16_at(body, field::KNOTS),
            ring: flags & FLAG_RING != 0,
            mixed: flags & FLAG_MIXED != 0,
            corrected: flags & FLAG_CORRECTED != 0,
            adapted: flags & FLAG_ADAPTED != 0,
            seasons,
            interval_ms: u64::from_le_bytes(array(body, field::INTERVAL_MS)),
            source_clamp: f32_at(body, field::SOURCE_CLAMP),
            flow_limit: f32_at(body, field::FLOW_LIMIT),
            feature_clamp: f32_at(body, field::FEATURE_CLAMP),
            quantiles: (0..quantiles).map(|i| f32_at(body, field::TABLES + 4 * i)).collect(),
            seen_until_ms: u64::from_le_bytes(array(body, field::SEEN_UNTIL_MS)),
            identity,
        })
    }

    /// The dimensions alone; no bytes are needed.
    fn check_fields(&self) -> Result<(), FormatError> {
        let seasons = &self.seasons;
        within("d_model", self.d_model, 1..=MAX_COLUMNS as u16, "1 to 1020")?;
        let width = u32::from(self.heads) * u32::from(self.head_dim);
        expect("heads times head_dim", width, u32::from(self.d_model), "d_model")?;
        within("layers", self.layers, 1..=16, "1 to 16")?;
        within("d_ff", self.d_ff, 1..=4096, "1 to 4096")?;
        within("channels", self.channels, 1..=MAX_CHANNELS as u16, "1 to 32")?;
        within("targets", self.targets, 1..=self.channels, "1 to the channels")?;
        let most = self.channels.saturating_sub(self.targets).min(MAX_KNOWN as u16);
        let expected = "at most the channels that are not forecast, and 8";
        within("channels known in advance", self.known, 0..=most, expected)?;
        if self.readouts != 1 {
            expect("readouts", self.readouts, self.targets, "1 or one a target")?;
        }
        if self.numeric == Numeric::I8 {
            let rest = usize::from(self.d_model) % COLUMNS;
            expect("eight-bit weights and d_model modulo 4", rest, 0, "0")?;
        }
        within("horizon", self.horizon, 1..=MAX_HORIZON, "1 to 16384")?;
        let most = self.horizon.min(MAX_KNOTS as u16);
        let least = self.horizon.min(2);
        within("knots", self.knots, least..=most, "2 (1 for one step) to the horizon, at most 256")?;
        within("seasons", seasons.list.len(), 1..=MAX_SEASONS, "1 to 3")?;
        for season in &seasons.list {
            within("period", season.period, 2..=16_777_216, "2 to 16777216 samples")?;
            within("samples a slot", season.slot_samples, 1..=season.period, "1 to the period")?;
            let slots = season.period.div_ceil(season.slot_samples.max(1)) as usize;
            expect("slots", season.slots, slots, "the period over the samples a slot, rounded up")?;
            within("slots", season.slots, 2..=65535, "2 to 65535")?;
        }
        within("slots of all seasons", seasons.capacity(), 2..=65535, "2 to 65535")?;
        within("interval", self.interval_ms, 1..=10_000_000_000_000, "1 ms to 300 years")?;
        if self.attention {
            within("source clamp", self.source_clamp, 0.0..=10.0, "0 to 10")?;
            within("flow limit", self.flow_limit, 1.0..=1e4, "1 to 1e4")?;
        } else {
            expect("source clamp", self.source_clamp, 0.0, "0 without an attention")?;
            expect("flow limit", self.flow_limit, 0.0, "0 without an attention")?;
        }
        within("feature clamp", self.feature_clamp, 1.0..=1e4, "1 to 1e4")?;
        within("scale floor", seasons.scale_floor, 1e-6..=1e6, "1e-6 to 1e6")?;
        for gain in seasons.memory_gain {
            within("seasonal memory gain", gain, 1e-6..=1.0, "1e-6 to 1")?;
        }
        for gain in seasons.retrieval.into_iter().flatten() {
            within("retrieval's memory gain", gain, 1e-6..=1.0, "1e-6 to 1")?;
        }
        let mut last = 0.0;
        for level in &self.quantiles {
            if order(*level) <= order(last) || order(*level) >= order(1.0) {
                return Err(FormatError::Field {
                    name: "quantile level",
                    found: *level,
                    expected: "ascending levels between 0 and 1",
                });
            }
            last = *level;
        }
        if median(&self.quantiles).is_none() {
            return Err(FormatError::Field { name: "median", found: 0.0, expected: "0.5 among the quantile levels" });
        }
        Ok(())
    }

    fn check(&self, body: &[u8]) -> Result<(), FormatError> {
        self.check_fields()?;
        let found = body.len() + CRC_BYTES;
        if found != self.length() {
            return Err(FormatError::Size { name: "model's length", found, expected: self.length() });
        }
        size("start of weights", u32_at(body, field::WEIGHTS) as usize, self.weights_start())?;
        zero(body, self.tables_end()..self.channels_start())?;
        let mut least = 1;
        for index in 0..self.knots.into() {
            let knot = self.knot(body, index);
            let range = match index {
                0 => 1..=1,
                _ if index + 1 == usize::from(self.knots) => self.horizon.max(least)..=self.horizon,
                _ => least..=self.horizon,
            };
            within("knot", knot, range, "ascending steps from 1 to the horizon")?;
            least = knot.saturating_add(1);
        }
        for layer in 0..self.layers.into() {
            for gain in self.head_gains(body, layer) {
                within("head's memory gain", gain, 0.0..=1.0, "0 to 1")?;
            }
        }
        for index in 0..self.channels.into() {
            let channel = self.channel(body, index).ok_or(FormatError::Text { channel: index })?;
            channel.check(index)?;
        }
        self.check_weights(body)
    }

    /// Every number is within its bounds, no eight-bit weight is -128, and no multiplier is negative. (What fills a tensor
    /// up meets zeros and is not looked at.)
    fn check_weights(&self, body: &[u8]) -> Result<(), FormatError> {
        const MOST: i32 = scaled(MAX_WEIGHT, FRACTION_BITS);
        let mut start = self.weights_start();
        let matrices = start + 4 * self.number_count();
        let mut index = 0;
        for tensor in self.tensors() {
            let count = tensor.numbers(self.numeric);
            let begin = start;
            start += 4 * count;
            let mut words = (0..count).map(|number| u32_at(body, begin + 4 * number));
            if self.numeric == Numeric::I8 && tensor.form != Form::Vector {
                within("multipliers' exponent", words.next().unwrap_or(0) as i32, EXPONENTS, "21 to 38")?;
                let least = words.map(|word| word as i32).min().unwrap_or(0);
                within("output's multiplier", least, 0..=i32::MAX, "0 to 2147483647")?;
            } else {
                let fits = |word: u32| match self.numeric {
                    Numeric::F32 => order(f32::from_bits(word)).unsigned_abs() <= order(MAX_WEIGHT).unsigned_abs(),
                    Numeric::I8 => (-MOST..=MOST).contains(&(word as i32)),
                };
                if let Some(wrong) = words.position(|word| !fits(word)) {
                    return Err(FormatError::Weight { index: index + wrong });
                }
            }
            index += count;
        }
        if self.numeric == Numeric::F32 {
            return Ok(());
        }
        let mut bytes = body.get(matrices..).unwrap_or_default();
        for tensor in self.tensors() {
            let (part, rest) = bytes.split_at_checked(tensor.eight_bit_bytes()).unwrap_or_default();
            bytes = rest;
            let offset = tensor.form.offset();
            let weights = part.as_chunks().0.iter().flat_map(|word| (u32::from_le_bytes(*word) ^ offset).to_le_bytes());
            let lowest = weights.map(|byte| byte as i8).min().unwrap_or(0);
            within("eight-bit weight", lowest, -127..=127, "-127 to 127")?;
        }
        Ok(())
    }

    /// The `index`-th step ahead that has weights of its own, 1 to the horizon. `bytes` is the file that this header
    /// was read from.
    pub fn knot(&self, bytes: &[u8], index: usize) -> u16 {
        u16_at(bytes, self.knots_start() + 2 * index)
    }

    /// Every knot, where they lie; see [`Header::knot`].
    ///
    /// # Errors
    /// The bytes do not start at a multiple of 4, or are not the file's.
    pub fn knots<'m>(&self, bytes: &'m [u8]) -> Result<&'m [u16], FormatError> {
        let start = self.knots_start();
        let range = start..start + 2 * usize::from(self.knots);
        let found = bytes.len();
        let knots = bytes.get(range).ok_or(FormatError::Truncated { found, expected: self.length() })?;
        bytemuck::try_cast_slice(knots).map_err(|_| FormatError::Misaligned)
    }

    /// The 1/N of each head of a block, 0 for an infinite memory; none without an attention. `bytes` is the file that this
    /// header was read from.
    pub fn head_gains<'m>(&self, bytes: &'m [u8], layer: usize) -> impl Iterator<Item = f32> + 'm {
        let heads = self.attending_heads();
        let start = field::TABLES + 4 * (self.quantiles.len() + layer * heads);
        (0..heads).map(move |head| f32_at(bytes, start + 4 * head))
    }

    /// A channel's record; `None` beyond the last, or where its texts are none. `bytes` is the file that this header
    /// was read from.
    pub fn channel<'m>(&self, bytes: &'m [u8], index: usize) -> Option<Channel<'m>> {
        if index >= self.channels.into() {
            return None;
        }
        let start = self.channels_start() + index * field::channel::BYTES;
        let record = bytes.get(start..start + field::channel::BYTES)?;
        Some(Channel {
            name: text(record.get(field::channel::NAME)?)?,
            unit: text(record.get(field::channel::UNIT)?)?,
            offset: f32_at(record, field::channel::OFFSET),
            scale: f32_at(record, field::channel::SCALE),
            valid_min: f32_at(record, field::channel::VALID_MIN),
            valid_max: f32_at(record, field::channel::VALID_MAX),
            stuck_limit: u32_at(record, field::channel::STUCK_LIMIT),
            spike_limit: f32_at(record, field::channel::SPIKE_LIMIT),
            spike_least: f32_at(record, field::channel::SPIKE_LEAST),
            resolution: f32_at(record, field::channel::RESOLUTION),
            lowest: f32_at(record, field::channel::LOWEST),
            highest: f32_at(record, field::channel::HIGHEST),
        })
    }

    /// The weights, where they lie: every number (exponent and multipliers of eight-bit matrices among them), a word each,
    /// in the order of [`Header::tensors`], and every eight-bit matrix, four weights a word. `bytes` is the file that this
    /// header was read from.
    ///
    /// # Errors
    /// The bytes do not start at a multiple of 4, or are not the file's.
    pub fn weights<'m>(&self, bytes: &'m [u8]) -> Result<(&'m [u32], &'m [u32]), FormatError> {
        let middle = self.weights_start() + 4 * self.number_count();
        let found = bytes.len();
        let truncated = FormatError::Truncated { found, expected: self.length() };
        let numbers = bytes.get(self.weights_start()..middle).ok_or(truncated)?;
        let matrices = bytes.get(middle..middle + self.matrix_bytes()).ok_or(truncated)?;
        let numbers = bytemuck::try_cast_slice(numbers).map_err(|_| FormatError::Misaligned)?;
        let matrices = bytemuck::try_cast_slice(matrices).map_err(|_| FormatError::Misaligned)?;
        Ok((numbers, matrices))
    }

    /// Heads of a block that attend: all or none.
    fn attending_heads(&self) -> usize {
        if self.attention { self.heads.into() } else { 0 }
    }

    /// Blocks that attend: all or none.
    pub fn attending_layers(&self) -> u16 {
        if self.attention { self.layers } else { 0 }
    }

    fn knots_start(&self) -> usize {
        field::TABLES + 4 * (self.quantiles.len() + usize::from(self.layers) * self.attending_heads())
    }

    fn tables_end(&self) -> usize {
        self.knots_start() + 2 * usize::from(self.knots)
    }

    fn channels_start(&self) -> usize {
        self.tables_end().next_multiple_of(ALIGNMENT)
    }

    /// Where the weights begin, in bytes from the file's start.
    pub fn weights_start(&self) -> usize {
        self.channels_start() + usize::from(self.channels) * field::channel::BYTES
    }

    /// Which of the quantiles is the point forecast: every file has one.
    pub fn median(&self) -> usize {
        median(&self.quantiles).unwrap_or(0)
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> usize {
        self.weights_start() + 4 * self.number_count() + self.matrix_bytes() + CRC_BYTES
    }

    /// Numbers of four bytes among the weights.
    fn number_count(&self) -> usize {
        self.tensors().map(|tensor| tensor.numbers(self.numeric)).sum()
    }

    /// Bytes of the eight-bit matrices.
    fn matrix_bytes(&self) -> usize {
        match self.numeric {
            Numeric::F32 => 0,
            Numeric::I8 => self.tensors().map(|tensor| tensor.eight_bit_bytes()).sum(),
        }
    }

    /// Weights of the model.
    pub fn weight_count(&self) -> usize {
        self.tensors().map(|tensor| tensor.len()).sum()
    }

    /// Length of a token's input: the seasonal features, ln scale and location.
    pub fn token_features(&self) -> usize {
        self.seasons.features() + LEVEL_FEATURES
    }

    /// Features that a step ahead reads where it will fall: the memories', and those of what is known in advance.
    pub fn step_features(&self) -> usize {
        self.seasons.aligned() + usize::from(self.known) * KNOWN_FEATURES
    }

    /// Length of the readout's input: what a step reads where it will fall, what stands for every step, and of each
    /// other channel (those that are known in advance aside) its trends.
    pub fn readout_features(&self) -> usize {
        let others = if self.mixed { usize::from(self.channels.saturating_sub(self.known + 1)) } else { 0 };
        self.step_features() + self.seasons.standing(self.ring) + others * MIXED_TRENDS.len()
    }

    /// The channels that are known in advance.
    pub fn known_channels(&self) -> Range<usize> {
        self.channels.saturating_sub(self.known).into()..self.channels.into()
    }

    /// The two parts of the readout's input: what a step reads where it will fall, and the rest.
    pub fn readout_parts(&self) -> [usize; 2] {
        let of_step = self.step_features();
        [of_step, self.readout_features() - of_step]
    }

    /// Every tensor, in the order in which the weights lie.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> + '_ {
        let count = TENSORS_BEFORE + TENSORS_IN_BLOCK * usize::from(self.layers) + TENSORS_AFTER;
        let mut start = 0;
        let tensors = (0..count).map(move |index| {
            let (layer, name, shape) = self.tensor(index);
            let form = match name {
                "contract.weight" => Form::Transposed,
                "readout.weight" => Form::Rows(self.readout_parts()),
                "head.weight" => Form::Rows([0, self.d_model.into()]),
                _ if name.ends_with("weight") => Form::Matrix,
                _ => Form::Vector,
            };
            let tensor = Tensor { layer, name, shape, form, start };
            start += tensor.len();
            tensor
        });
        // Tensors of a part that a model does not carry.
        tensors.filter(|tensor| !tensor.is_empty())
    }

    fn tensor(&self, index: usize) -> (Option<usize>, &'static str, [usize; 3]) {
        let d = usize::from(self.d_model);
        let ff = usize::from(self.d_ff);
        let features = self.readout_features();
        let knots = usize::from(self.knots);
        let quantiles = self.quantiles.len();
        let in_blocks = TENSORS_IN_BLOCK * usize::from(self.layers);
        let a = if self.attention { d } else { 0 };
        let (hidden, key) = if self.seasons.retrieval.is_some() { (HIDDEN, KEY) } else { (0, 0) };
        match index {
            0 => (None, "retrieval.expand.weight", [1, hidden, SUMMARY]),
            1 => (None, "retrieval.expand.bias", [1, 1, hidden]),
            2 => (None, "retrieval.key.weight", [1, key, HIDDEN]),
            3 => (None, "retrieval.key.bias", [1, 1, key]),
            4 => (None, "retrieval.query.weight", [1, key, HIDDEN]),
            5 => (None, "retrieval.query.bias", [1, 1, key]),
            6 => (None, "embed.weight", [1, d, self.token_features()]),
            7 => (None, "embed.bias", [1, 1, d]),
            _ if index - TENSORS_BEFORE < in_blocks => {
                let (name, shape) = match (index - TENSORS_BEFORE) % TENSORS_IN_BLOCK {
                    0 => ("norm_attention.gain", [1, 1, a]),
                    1 => ("norm_attention.bias", [1, 1, a]),
                    2 => ("query.weight", [1, a, d]),
                    3 => ("query.bias", [1, 1, a]),
                    4 => ("key.weight", [1, a, d]),
                    5 => ("key.bias", [1, 1, a]),
                    6 => ("value.weight", [1, a, d]),
                    7 => ("value.bias", [1, 1, a]),
                    8 => ("output.weight", [1, a, d]),
                    9 => ("output.bias", [1, 1, a]),
                    10 => ("norm_feed_forward.gain", [1, 1, d]),
                    11 => ("norm_feed_forward.bias", [1, 1, d]),
                    12 => ("expand.weight", [1, ff, d]),
                    13 => ("expand.bias", [1, 1, ff]),
                    14 => ("contract.weight", [1, ff, d]),
                    _ => ("contract.bias", [1, 1, d]),
                };
                (Some((index - TENSORS_BEFORE) / TENSORS_IN_BLOCK), name, shape)
            }
            _ => {
                let (name, shape) = match index - TENSORS_BEFORE - in_blocks {
                    0 => ("norm.gain", [1, 1, d]),
                    1 => ("norm.bias", [1, 1, d]),
                    2 => ("gate.weight", [1, features, d]),
                    3 => ("gate.bias", [1, 1, features]),
                    4 => ("readout.weight", [self.readouts.into(), knots, features]),
                    5 => ("head.spread", [1, self.targets.into(), knots]),
                    6 => ("head.weight", [knots, quantiles, d]),
                    7 => ("head.bias", [1, knots, quantiles]),
                    // Below and above the median.
                    _ => ("interval.factors", [self.targets.into(), GROUPS, 2]),
                };
                (None, name, shape)
            }
        }
    }

    /// Writes a model into `out`, which is [`Header::length`] bytes, and returns its identity.
    ///
    /// `head_gains` is `[layers][heads]`, empty without an attention; `knots` ascends from 1 to the horizon; `weights` holds every tensor in the
    /// order of [`Header::tensors`]: for an eight-bit model each row of a matrix is divided by its largest magnitude
    /// over 127 and rounded. What was written has been parsed again: a file that this returns for is a file that boards
    /// accept.
    ///
    /// # Errors
    /// A field or weight out of its range, a slice of another length than the header asks for.
    pub fn write(
        &self,
        head_gains: &[f32],
        knots: &[u16],
        channels: &[Channel<'_>],
        weights: &[f32],
        out: &mut [u8],
    ) -> Result<u32, FormatError> {
        self.check_fields()?;
        size("head gains", head_gains.len(), usize::from(self.layers) * self.attending_heads())?;
        size("knots", knots.len(), self.knots.into())?;
        size("channels", channels.len(), self.channels.into())?;
        size("weights", weights.len(), self.weight_count())?;
        size("buffer", out.len(), self.length())?;
        out.fill(0);

        let seasons = &self.seasons;
        put(out, field::MAGIC.start, &MAGIC);
        put(out, field::VERSION, &VERSION.to_le_bytes());
        let numeric = match self.numeric {
            Numeric::F32 => 0,
            Numeric::I8 => 1,
        };
        let flags = [
            (self.ring, FLAG_RING),
            (self.mixed, FLAG_MIXED),
            (self.corrected, FLAG_CORRECTED),
            (self.adapted, FLAG_ADAPTED),
            (seasons.retrieval.is_some(), FLAG_RETRIEVAL),
            (self.attention, FLAG_ATTENTION),
        ];
        let flags = flags.into_iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag);
        put(out, field::NUMERIC, &[numeric, flags]);
        put(out, field::LENGTH, &(self.length() as u32).to_le_bytes());
        put(out, field::WEIGHTS, &(self.weights_start() as u32).to_le_bytes());
        for (at, value) in [
            (field::D_MODEL, self.d_model),
            (field::HEADS, self.heads),
            (field::HEAD_DIM, self.head_dim),
            (field::LAYERS, self.layers),
            (field::D_FF, self.d_ff),
            (field::KNOTS, self.knots),
            (field::CHANNELS, self.channels),
            (field::TARGETS, self.targets),
            (field::READOUTS, self.readouts),
            (field::HORIZON, self.horizon),
        ] {
            put(out, at, &value.to_le_bytes());
        }
        put(out, field::MEMORIES, &[MEMORIES as u8, RING as u8, seasons.bins() as u8, self.quantiles.len() as u8]);
        put(out, field::INTERVAL_MS, &self.interval_ms.to_le_bytes());
        put(out, field::SOURCE_CLAMP, &self.source_clamp.to_le_bytes());
        put(out, field::FLOW_LIMIT, &self.flow_limit.to_le_bytes());
        put(out, field::FEATURE_CLAMP, &self.feature_clamp.to_le_bytes());
        put(out, field::SCALE_FLOOR, &seasons.scale_floor.to_le_bytes());
        put(out, field::MEMORY_GAIN, bytemuck::cast_slice(&seasons.memory_gain));
        if let Some(gains) = &seasons.retrieval {
            put(out, field::RETRIEVAL_GAIN, bytemuck::cast_slice(gains));
        }
        for (index, season) in seasons.list.iter().enumerate() {
            let at = field::SEASONS + index * field::SEASON_BYTES;
            put(out, at, &season.period.to_le_bytes());
            put(out, at + 4, &season.slot_samples.to_le_bytes());
        }
        // `check_fields` has bounded it.
        put(out, field::KNOWN, &[self.known as u8]);
        put(out, field::SEEN_UNTIL_MS, &self.seen_until_ms.to_le_bytes());
        put(out, field::TABLES, bytemuck::cast_slice(&self.quantiles));
        put(out, field::TABLES + 4 * self.quantiles.len(), bytemuck::cast_slice(head_gains));
        put(out, self.knots_start(), bytemuck::cast_slice(knots));
        for (index, channel) in channels.iter().enumerate() {
            channel.check(index)?;
            let start = self.channels_start() + index * field::channel::BYTES;
            for (at, value) in [
                (field::channel::OFFSET, channel.offset),
                (field::channel::SCALE, channel.scale),
                (field::channel::VALID_MIN, channel.valid_min),
                (field::channel::VALID_MAX, channel.valid_max),
                (field::channel::RESOLUTION, channel.resolution),
                (field::channel::LOWEST, channel.lowest),
                (field::channel::HIGHEST, channel.highest),
                (field::channel::SPIKE_LIMIT, channel.spike_limit),
                (field::channel::SPIKE_LEAST, channel.spike_least),
            ] {
                put(out, start + at, &value.to_le_bytes());
            }
            put(out, start + field::channel::STUCK_LIMIT, &channel.stuck_limit.to_le_bytes());
            put(out, start + field::channel::NAME.start, channel.name.as_bytes());
            put(out, start + field::channel::UNIT.start, channel.unit.as_bytes());
        }
        self.put_weights(weights, out);
        let end = out.len() - CRC_BYTES;
        let identity = CRC.checksum(out.get(..end).unwrap_or_default());
        put(out, end, &identity.to_le_bytes());
        Self::parse(out).map(|header| header.identity)
    }

    fn put_weights(&self, weights: &[f32], out: &mut [u8]) {
        let mut number_at = self.weights_start();
        let mut matrix_at = number_at + 4 * self.number_count();
        let mut put_number = |out: &mut [u8], number: u32| {
            put(out, number_at, &number.to_le_bytes());
            number_at += 4;
        };
        for tensor in self.tensors() {
            let values = weights.get(tensor.start..tensor.start + tensor.len()).unwrap_or_default();
            if self.numeric == Numeric::F32 || tensor.form == Form::Vector {
                for value in values {
                    let number = match self.numeric {
                        Numeric::F32 => value.to_bits(),
                        // What is no number stays none, to be refused.
                        Numeric::I8 if !bits::is_finite(*value) => i32::MIN as u32,
                        Numeric::I8 => scaled(*value, FRACTION_BITS) as u32,
                    };
                    put_number(out, number);
                }
                continue;
            }
            let of = |output: usize, input: usize| values.get(tensor.index(output, input)).copied().unwrap_or(0.0);
            let scale = |output: usize| output_scale((0..tensor.inputs()).map(|input| of(output, input)));
            // As bits, of which no number's are more than an infinity's or NaN's.
            let largest = (0..tensor.outputs()).fold(0, |largest, output| scale(output).to_bits().max(largest));
            // The largest multiplier takes 31 bits; too large a weight makes an exponent that is refused.
            let shared = (30 - exponent(f32::from_bits(largest))).min(*EXPONENTS.end());
            put_number(out, shared as u32);
            // What stands for no weight is a zero.
            let zero = tensor.form.offset().to_le_bytes();
            for start in (0..tensor.eight_bit_bytes()).step_by(zero.len()) {
                put(out, matrix_at + start, &zero);
            }
            for output in 0..tensor.outputs() {
                let scale = scale(output);
                put_number(out, scaled(scale, shared as u32) as u32);
                for input in 0..tensor.inputs() {
                    let place = tensor.form.place([output, tensor.outputs()], [input, tensor.inputs()]);
                    put(out, matrix_at + place, &[tensor.form.byte(output, quantize(of(output, input), scale))]);
                }
            }
            matrix_at += tensor.eight_bit_bytes();
        }
    }
}

/// Hands out a model's tensors in the order in which they lie, for the scalar of its form.
pub(crate) struct Tensors<'m> {
    source: Source<'m>,
}

impl<'m> Tensors<'m> {
    /// Of a checked file.
    pub(crate) fn new(header: &Header, bytes: &'m [u8]) -> Result<Self, FormatError> {
        let (numbers, matrices) = header.weights(bytes)?;
        Ok(Self { source: Source::new(numbers, matrices) })
    }

    /// The next `count` numbers that are no matrix.
    pub(crate) fn vector<R: Element>(&mut self, count: usize) -> &'m [R::Number] {
        // `Header::check` has checked the length of the whole.
        self.source.numbers(count)
    }

    /// The next matrix.
    pub(crate) fn matrix<R: Element>(&mut self, rows: usize, columns: usize) -> R::Matrix<'m> {
        R::matrix(&mut self.source, rows, columns, columns)
    }

    /// The next matrix, which lies transposed: `[inputs][outputs]`.
    pub(crate) fn transposed<R: Element>(&mut self, inputs: usize, outputs: usize) -> R::Matrix<'m> {
        R::matrix(&mut self.source, outputs, inputs, outputs)
    }

    /// Nothing that was taken must be refused.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        if self.source.refused() { Err(FormatError::Heavy) } else { Ok(()) }
    }

    /// The next matrix that is taken row by row, each in two parts.
    pub(crate) fn rows<R: Element>(&mut self, rows: usize, parts: [usize; 2]) -> R::Rows<'m> {
        R::rows(&mut self.source, rows, parts)
    }
}

impl Channel<'_> {
    fn check(&self, index: usize) -> Result<(), FormatError> {
        let fits = |text: &str, bytes: usize| text.len() <= bytes && !text.contains('\0');
        if self.name.is_empty() || !fits(self.name, NAME_BYTES) || !fits(self.unit, UNIT_BYTES) {
            return Err(FormatError::Text { channel: index });
        }
        within("channel's offset", self.offset, -1e15..=1e15, "-1e15 to 1e15")?;
        within("channel's scale", self.scale, 1e-15..=1e15, "1e-15 to 1e15")?;
        let steps = |value: f32| scaled_wide(value, UNIT_BITS - exponent(self.scale));
        let (offset, farthest) = (steps(self.offset), MAX_DEVIATIONS.saturating_mul(steps(self.scale)));
        let [least, most] = [self.valid_min, self.valid_max];
        let far = |value: f32| !bits::is_finite(value) || (steps(value) - offset).abs() > farthest;
        let wrong = |name, found, expected| Err(FormatError::Field { name, found, expected });
        // There `steps` ends, and an `f32` is coarser than the scale long before.
        if offset.abs() >= steps(f32::MAX) {
            return wrong("channel's offset", self.offset, "within 2^31 scales of 0");
        }
        if far(least) {
            return wrong("channel's smallest sample", least, "within 1e6 scales of the offset");
        }
        if far(most) || order(most) < order(least) {
            let expected = "the smallest sample or more, within 1e6 scales of the offset";
            return wrong("channel's largest sample", most, expected);
        }
        let resolution = self.resolution;
        if !bits::is_finite(resolution) || !(0..=farthest).contains(&steps(resolution)) {
            return wrong("channel's resolution", resolution, "0 to 1e6 scales");
        }
        within("channel's spike limit", self.spike_limit, 0.0..=MAX_LIMIT, "0 to 1000")?;
        within("channel's least spike", self.spike_least, 0.0..=MAX_LIMIT, "0 to 1000 deviations")?;
        let inside = |value: f32, from: f32| (order(from)..=order(most)).contains(&order(value));
        if !inside(self.lowest, least) {
            return wrong("channel's lowest forecast", self.lowest, "the smallest sample to the largest");
        }
        if !inside(self.highest, self.lowest) {
            return wrong("channel's highest forecast", self.highest, "the lowest forecast to the largest sample");
        }
        Ok(())
    }
}

const _: () = assert!(field::channel::BYTES.is_multiple_of(ALIGNMENT) && MAX_BINS <= u8::MAX as usize);
const _: () = assert!(field::RETRIEVAL_GAIN + 4 * RETRIEVALS == field::KNOWN);
