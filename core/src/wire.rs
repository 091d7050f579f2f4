//! The messages between a board and a host, reader and writer in one file.
//!
//! ```text
//! frame = 00 | COBS( postcard(message) | CRC-32 of it, little-endian ) | 00
//! ```
//!
//! [Postcard](https://postcard.jamesmunns.com/wire-format) packs a message,
//! CRC-32/ISO-HDLC protects it, [COBS](https://doi.org/10.1109/90.769765) takes every zero out of it, so that a zero
//! always is the end of a frame: whatever noise came before, the next frame is read again. A frame also starts with a
//! zero, so that noise is closed off before it and costs no message.
//!
//! Every [`Request`] is answered by exactly one closing [`Reply`], in order; [`Reply::Forecast`] chunks come before the
//! reply that closes theirs. A [`Reply::BadFrame`] answers no request: it tells the host that something it sent was
//! not understood. A host may have several requests in flight, as many as the board's receiver holds.
//!
//! A board that samples its own sensors sends [`Reply::Hello`] when it starts and [`Reply::Sampled`] for each sample by itself, and
//! with it what else there is to say: [`Reply::Sensor`] before it, [`Reply::Alert`], [`Reply::Warning`], [`Reply::Forecast`] (a
//! whole one or its first step) and [`Reply::Clock`] after it.
//!
//! All buffers are bounded: a frame has at most [`FRAME_BYTES`] bytes, so a forecast travels in chunks of at most
//! [`FRAME_VALUES`] values.

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use heapless::Vec;
use postcard::ser_flavors::{Cobs, Slice, crc::CrcModifier};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::format::{FormatError, MAX_CHANNELS, MAX_QUANTILES};
use crate::gate::Report;
use crate::model::ModelError;
use crate::warning::Warning;

/// Version of these messages. Board and host tell theirs in `Hello`, which therefore never changes its first field.
pub const PROTOCOL: u16 = 4;

/// Longest frame with its delimiters, in bytes; the receiver needs that much RAM.
pub const FRAME_BYTES: usize = 256;

/// Most values in one [`Request::Samples`] or [`Reply::Forecast`].
pub const FRAME_VALUES: usize = 56;

// The longest message: tag, varints of 5, 3 and 3 bytes, a length and the values; a CRC; COBS's one byte in 254; two
// zeros. And a sample of a model with the most channels fits into one frame.
const _: () = assert!(1 + 5 + 3 + 3 + 1 + 4 * FRAME_VALUES + 4 + 2 + 2 <= FRAME_BYTES);
const _: () = assert!(MAX_CHANNELS <= FRAME_VALUES && MAX_QUANTILES <= FRAME_VALUES);

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// From the host to the board.
#[allow(clippy::large_enum_variant, reason = "there is no heap to put the large one on")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you? Answered by [`Reply::Hello`] or, where there is nothing to run, by [`Reply::Refused`].
    Hello {
        /// The host's [`PROTOCOL`].
        protocol: u16,
    },
    /// One sample, or several in a row. Answered by the forecast after the last of them where one is asked for and
    /// ready, then by [`Reply::Observed`].
    Samples {
        /// Samples before the first of these since the last reset, missing ones included; the board refuses any but the
        /// one it expects.
        index: u32,
        /// Whether a forecast of every channel, step and quantile shall follow.
        forecast: bool,
        /// `[samples][CHANNELS]`, each in its channel's unit; NaN is a missing value.
        values: Vec<f32, FRAME_VALUES>,
    },
    /// So many samples in a row were not taken at all. Answered by [`Reply::Observed`].
    Gap {
        /// Index of the first that is missing.
        index: u32,
        /// How many are missing.
        samples: u32,
    },
    /// Forget all that was observed; the next index is 0. Answered by [`Reply::Reset`].
    Reset,
    /// Answered by [`Reply::Stats`].
    Stats,
    /// Take a sample from your own sensors now: for a board whose clock is the host. Answered by what such a sample sends,
    /// then by [`Reply::Observed`].
    Sample {
        /// Whether a forecast of every channel, step and quantile shall follow.
        forecast: bool,
    },
    /// Send what you have reported after that sample again, [`Reply::Gated`] each: one of them was lost. `None`, or where the
    /// board keeps them no more: start anew with the next sample. Answered by those, then by [`Reply::Observed`].
    Reports {
        /// The last report that came.
        after: Option<u32>,
    },
}

/// From the board to the host.
#[allow(clippy::large_enum_variant, reason = "there is no heap to put the large one on")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Answers [`Request::Hello`].
    Hello(Hello),
    /// Closes [`Request::Samples`] and [`Request::Gap`].
    Observed(Observed),
    /// A part of a forecast.
    Forecast(Chunk),
    /// Answers [`Request::Reset`].
    Reset,
    /// Answers [`Request::Stats`].
    Stats(Stats),
    /// The request was understood and not followed; nothing changed.
    Refused(Refusal),
    /// Something that is no frame came in and was dropped.
    BadFrame {
        /// Why.
        error: FrameError,
        /// Bad frames since the board started, this one included.
        count: u32,
    },
    /// The board has sampled its own sensors.
    Sampled(Sampled),
    /// A sample came unexpectedly.
    Alert(Alert),
    /// A sensor fails, or works again.
    Sensor(SensorNotice),
    /// A limit is about to be crossed, or is crossed.
    Warning(Warning),
    /// The board has sampled its own sensors, and the other end would not have expected what came.
    Gated(Gated),
    /// A clock with a battery fails, is not believed, or is believed again.
    Clock(ClockNotice),
}

/// What a board is and carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The board's [`PROTOCOL`].
    pub protocol: u16,
    /// Version of the firmware: major, minor, patch.
    pub firmware: [u16; 3],
    /// The model file's CRC-32.
    pub model: u32,
    /// Channels of a sample.
    pub channels: u16,
    /// Longest forecast, in steps.
    pub horizon: u16,
    /// Quantiles of each forecast step.
    pub quantiles: u8,
    /// The forecaster's whole state, in bytes.
    pub state_bytes: u32,
}

/// Samples, or a gap, have entered the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Index as it came.
    pub index: u32,
    /// Processor instructions of the last `observe`, nothing around it counted; `None` where the board cannot tell.
    pub instructions: Option<u32>,
    /// Whether a forecast is to be had from now on.
    pub ready: bool,
}

/// A part of the forecast made after one sample. A channel that is not ready yet has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Index of the request that asked for it.
    pub index: u32,
    /// The channel.
    pub channel: u16,
    /// Steps ahead of the first of these; 1 is the next sample.
    pub steps_ahead: u16,
    /// `[steps][QUANTILES]`, ascending, in the channel's unit, to the bit as the board computed them.
    pub values: Vec<f32, FRAME_VALUES>,
}

/// One sample of a board's own sensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// Samples before it since the start, missing ones included.
    pub index: u32,
    /// `[CHANNELS]`, each in its channel's unit, to the bit as they entered; NaN is a missing value.
    pub values: Vec<f32, MAX_CHANNELS>,
}

/// A [`Report`]: see [`crate::gate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of `Report`")]
pub struct Gated {
    pub index: u32,
    pub silent: Option<u16>,
    pub missed: u32,
    pub follow: u32,
    /// `[CHANNELS]`, those that the model has.
    pub values: Vec<f32, MAX_CHANNELS>,
}

impl Gated {
    /// Of a model with so many channels.
    pub fn new<const CHANNELS: usize>(report: &Report<CHANNELS>, channels: u16) -> Self {
        let Report { index, silent, missed, follow, values } = *report;
        let values = values.into_iter().take(MAX_CHANNELS.min(channels.into())).collect();
        Self { index, silent, missed, follow, values }
    }

    /// The report; channels that it lacks are missing.
    pub fn report<const CHANNELS: usize>(&self) -> Report<CHANNELS> {
        let Self { index, silent, missed, follow, .. } = *self;
        let values = core::array::from_fn(|channel| self.values.get(channel).copied().unwrap_or(f32::NAN));
        Report { index, silent, missed, follow, values }
    }
}

/// A sample that calls for attention: see [`crate::anomaly`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The sample.
    pub index: u32,
    /// The channel.
    pub channel: u16,
    /// Its value.
    pub value: f32,
    /// −ln p, p the share of the channel's samples that are as strange.
    pub surprise: f32,
}

/// How a sensor does. Sent when it begins to fail, at the 2nd, 4th, 8th, … failure in a row, and when it works again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorNotice {
    /// The sample that it failed at, or was there again.
    pub index: u32,
    /// Which of the board's sensors, counted from 0.
    pub sensor: u8,
    /// What is wrong; `None`: nothing any more.
    pub fault: Option<SensorFault>,
    /// Samples in a row that it failed at, this one included; where it works again, those before.
    pub run: u32,
    /// Samples that it failed at since the board started.
    pub count: u32,
}

/// Why a sensor gave no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorFault {
    /// Nobody answers at the sensor's address: unplugged, without power, or at another address.
    NoAnswer,
    /// The bus does not work: a line held low, an arbitration lost, a time-out.
    Bus,
    /// What came does not match its checksum.
    Checksum,
    /// Something else than the sensor answers at its address.
    OtherDevice,
    /// The reading is NaN or infinite.
    NotANumber,
    /// The sensor cannot have measured this.
    OutOfRange,
}

impl core::fmt::Display for SensorFault {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::NoAnswer => "no answer",
            Self::Bus => "bus out of order",
            Self::Checksum => "wrong checksum",
            Self::OtherDevice => "another device in its place",
            Self::NotANumber => "not a number",
            Self::OutOfRange => "out of range",
        })
    }
}

/// How a board's clock with a battery does. Sent as a [`SensorNotice`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockNotice {
    /// The sample that it was asked after, or is asked before, where the board goes on from what it kept.
    pub index: u32,
    /// What is wrong; `None`: nothing any more.
    pub fault: Option<ClockFault>,
    /// Times in a row, this one included; where it is believed again, those before.
    pub run: u32,
    /// Times since the board started.
    pub count: u32,
}

/// What is wrong with what a clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockFault {
    /// It does not answer, or not with a time.
    NoAnswer,
    /// It stood still, for its battery is empty; it was set anew.
    Stopped,
    /// It says so many seconds less than it should.
    Back(u32),
    /// It says so many seconds more.
    Ahead(u32),
}

impl core::fmt::Display for ClockFault {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoAnswer => formatter.write_str("no answer"),
            Self::Stopped => formatter.write_str("stood still, and was set anew"),
            Self::Back(seconds) => write!(formatter, "went back by {seconds} s"),
            Self::Ahead(seconds) => write!(formatter, "went ahead by {seconds} s"),
        }
    }
}

/// What a board has seen and used since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Samples since the last reset, missing ones included.
    pub samples: u32,
    /// Samples since the last reset that had no value in any channel, those of gaps included.
    pub missing: u32,
    /// Frames that were no frames, since the start.
    pub bad_frames: u32,
    /// Times that a clock with a battery failed or was not believed, since the start.
    pub clock_faults: u32,
    /// Static RAM: initialised and zeroed data of the whole firmware, the forecaster's state in it.
    pub ram_bytes: u32,
    /// The forecaster's whole state.
    pub state_bytes: u32,
    /// The deepest that the stack ever was.
    pub stack_bytes: u32,
    /// Fewest instructions of an `observe` that took the value of every channel, since the last reset.
    pub instructions_min: Option<u32>,
    /// Most instructions of such an `observe`.
    pub instructions_max: Option<u32>,
}

/// Why a board did not do what a request says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// Board and host speak different versions of these messages.
    Protocol {
        /// The host's.
        found: u16,
        /// The board's.
        expected: u16,
    },
    /// The board has no model that it can run.
    Model(ModelFault),
    /// Another number of values than one or more whole samples have.
    Channels {
        /// Values in the request.
        found: u16,
        /// Channels of the model.
        expected: u16,
    },
    /// A sample out of its order: one before it was lost, or it came twice.
    Order {
        /// The sample's index.
        found: u32,
        /// The index of the next sample.
        expected: u32,
    },
    /// The board has no sensors of its own.
    NoSensors,
    /// The board takes samples from its own sensors only.
    OwnSensors,
    /// The board's sensors are others than the model's channels.
    Unfit(Unfit),
    /// The board tells every sample.
    NoGate,
}

/// How a board's sensors and a model's channels differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfit {
    /// In their number.
    Count {
        /// Quantities that the sensors measure.
        found: u16,
        /// Channels of the model.
        expected: u16,
    },
    /// In a unit.
    Unit {
        /// The first channel that differs.
        channel: u16,
        /// The sensor's.
        found: Words,
        /// The model's.
        expected: Words,
    },
}

impl core::fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Count { found, expected } => {
                write!(formatter, "the board's sensors measure {found} quantities, its model has {expected} channels")
            }
            Self::Unit { channel, found, expected } => {
                write!(formatter, "the board measures channel {channel} in {found}, its model has it in {expected}")
            }
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Protocol { found, expected } => {
                write!(formatter, "protocol version {found} from the host, the board speaks {expected}")
            }
            Self::Model(fault) => fault.fmt(formatter),
            Self::Channels { found, expected } => {
                write!(formatter, "request with {found} values, samples of the board's model have {expected}")
            }
            Self::Order { found, expected } => {
                write!(formatter, "sample {found} out of order, the board expects sample {expected}")
            }
            Self::NoSensors => formatter.write_str("the board has no sensors of its own"),
            Self::OwnSensors => formatter.write_str("the board takes samples from its own sensors only"),
            Self::Unfit(unfit) => unfit.fmt(formatter),
            Self::NoGate => formatter.write_str("the board tells every sample and keeps no reports"),
        }
    }
}

/// A name or an expectation, in words; cut where it is longer.
pub type Words = heapless::String<56>;

/// [`ModelError`] as it travels: its words are copied, since the other side has no `'static` ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "variants and fields are those of `FormatError` and `ModelError`")]
pub enum ModelFault {
    Truncated {
        found: u32,
        expected: u32,
    },
    NotAModel {
        found: [u8; 4],
    },
    Version {
        found: u16,
    },
    Checksum {
        found: u32,
        expected: u32,
    },
    Field {
        name: Words,
        found: f32,
        expected: Words,
    },
    Text {
        channel: u16,
    },
    Weight {
        index: u32,
    },
    Misaligned,
    Size {
        name: Words,
        found: u32,
        expected: u32,
    },
    Backbone {
        name: Words,
        found: u16,
        expected: u16,
    },
    Capacity {
        name: Words,
        found: u16,
        capacity: u16,
    },
    Numeric {
        found: Words,
        expected: Words,
    },
    Heavy,
    /// The board runs signed models alone, and this one has no signature.
    Unsigned {
        found: [u8; 8],
    },
    /// The signature does not match the model and the board's key.
    Foreign,
    /// One that this version has no form for.
    Other,
}

#[cfg(feature = "signed")]
impl From<crate::signature::SignatureError> for ModelFault {
    fn from(error: crate::signature::SignatureError) -> Self {
        use crate::signature::SignatureError;
        match error {
            SignatureError::Model(error) => ModelError::Format(error).into(),
            SignatureError::Unsigned { found } => Self::Unsigned { found },
            SignatureError::Foreign => Self::Foreign,
        }
    }
}

impl From<ModelError> for ModelFault {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Backbone { name, found, expected } => Self::Backbone { name: words(name), found, expected },
            ModelError::Capacity { name, found, capacity } => Self::Capacity { name: words(name), found, capacity },
            ModelError::Numeric { found, expected } => {
                Self::Numeric { found: words(found.name()), expected: words(expected.name()) }
            }
            ModelError::Format(error) => match error {
                FormatError::Truncated { found, expected } => {
                    Self::Truncated { found: saturated(found), expected: saturated(expected) }
                }
                FormatError::NotAModel { found } => Self::NotAModel { found },
                FormatError::Version { found } => Self::Version { found },
                FormatError::Checksum { found, expected } => Self::Checksum { found, expected },
                FormatError::Field { name, found, expected } => {
                    Self::Field { name: words(name), found, expected: words(expected) }
                }
                FormatError::Heavy => Self::Heavy,
                FormatError::Text { channel } => Self::Text { channel: saturated(channel) as u16 },
                FormatError::Weight { index } => Self::Weight { index: saturated(index) },
                FormatError::Misaligned => Self::Misaligned,
                FormatError::Size { name, found, expected } => {
                    Self::Size { name: words(name), found: saturated(found), expected: saturated(expected) }
                }
            },
        }
    }
}

impl core::fmt::Display for ModelFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let format = |error: FormatError, f: &mut core::fmt::Formatter<'_>| error.fmt(f);
        match *self {
            Self::Truncated { found, expected } => {
                format(FormatError::Truncated { found: found as usize, expected: expected as usize }, f)
            }
            Self::NotAModel { found } => format(FormatError::NotAModel { found }, f),
            Self::Version { found } => format(FormatError::Version { found }, f),
            Self::Checksum { found, expected } => format(FormatError::Checksum { found, expected }, f),
            Self::Text { channel } => format(FormatError::Text { channel: channel.into() }, f),
            Self::Weight { index } => format(FormatError::Weight { index: index as usize }, f),
            Self::Heavy => format(FormatError::Heavy, f),
            Self::Misaligned => format(FormatError::Misaligned, f),
            Self::Field { ref name, found, ref expected } => write!(f, "model has {name} {found}, expected {expected}"),
            Self::Size { ref name, found, expected } => write!(f, "{name}: found {found}, expected {expected}"),
            Self::Backbone { ref name, found, expected } => {
                write!(f, "model has {name} {found}, this board's firmware was built for {expected}")
            }
            Self::Capacity { ref name, found, capacity } => {
                write!(f, "model needs {found} {name}, this board's firmware holds {capacity}")
            }
            Self::Numeric { ref found, ref expected } => {
                write!(f, "model computes in {found}, this board's firmware in {expected}")
            }
            Self::Unsigned { found } => {
                write!(f, "model is not signed, and the board runs signed ones alone: found {found:02x?} behind it")
            }
            Self::Foreign => f.write_str(
                "signature does not match model and board's key: another key signed it, or model or signature was altered",
            ),
            Self::Other => f.write_str("the board cannot run its model, for a reason newer than this program"),
        }
    }
}

/// A text's first 56 bytes or fewer, whole characters.
pub fn words(text: &str) -> Words {
    let mut words = Words::new();
    for character in text.chars() {
        if words.push(character).is_err() {
            break;
        }
    }
    words
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Why bytes between two zeros are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameError {
    /// More than [`FRAME_BYTES`] bytes without an end.
    TooLong,
    /// Not a COBS encoding, or too short for a checksum.
    Framing,
    /// The checksum does not match the bytes.
    Checksum,
    /// The checksum matches, but the bytes are no message of this version.
    Message,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "frame too long",
            Self::Framing => "not a frame",
            Self::Checksum => "wrong checksum",
            Self::Message => "unknown message",
        })
    }
}

/// Writes `message` as one frame with both delimiters into `buffer` and returns the used part.
///
/// ```
/// use flowcast_core::wire::{Deframer, FRAME_BYTES, Request, encode};
///
/// let mut buffer = [0; FRAME_BYTES];
/// let frame = encode(&Request::Stats, &mut buffer);
/// let mut deframer = Deframer::new();
/// let decoded = frame.iter().find_map(|&byte| deframer.push::<Request>(byte));
/// assert_eq!(decoded, Some(Ok(Request::Stats)));
/// ```
pub fn encode<'b>(message: &impl Serialize, buffer: &'b mut [u8; FRAME_BYTES]) -> &'b [u8] {
    buffer[0] = 0;
    let length = Cobs::try_new(Slice::new(&mut buffer[1..]))
        .and_then(|cobs| postcard::serialize_with_flavor(message, CrcModifier::new(cobs, CRC.digest())))
        // Every message fits: see the constants above. A lone delimiter would be an empty frame, which nobody counts.
        .map_or(0, |frame| frame.len());
    buffer.get(..=length).unwrap_or(&[])
}

/// Finds frames in a stream of bytes, in bounded memory; survives anything.
#[derive(Clone, Debug)]
pub struct Deframer {
    /// The frame so far, without delimiters, still encoded.
    buffer: [u8; FRAME_BYTES],
    /// Bytes of it, or more than fit once it is too long.
    length: usize,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// Between two frames.
    pub const fn new() -> Self {
        Self { buffer: [0; FRAME_BYTES], length: 0 }
    }

    /// Takes the next byte; returns the message or the error that it completes, if any.
    ///
    /// # Errors
    /// A [`FrameError`] once for each run of bytes between two zeros that is no message `M`.
    pub fn push<M: DeserializeOwned>(&mut self, byte: u8) -> Option<Result<M, FrameError>> {
        if byte != 0 {
            if let Some(place) = self.buffer.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            } else {
                // Stays there until the end of the frame.
                self.length = FRAME_BYTES + 1;
            }
            return None;
        }
        match core::mem::take(&mut self.length) {
            // Two zeros in a row: the end of one frame and the start of the next.
            0 => None,
            length => Some(self.buffer.get_mut(..length).ok_or(FrameError::TooLong).and_then(decode)),
        }
    }
}

/// Decodes one frame without its delimiters in place.
fn decode<M: DeserializeOwned>(frame: &mut [u8]) -> Result<M, FrameError> {
    let length = cobs::decode_in_place(frame).map_err(|_| FrameError::Framing)?;
    let (message, checksum) = frame.get(..length).and_then(<[u8]>::split_last_chunk::<4>).ok_or(FrameError::Framing)?;
    if CRC.checksum(message) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Checksum);
    }
    match postcard::take_from_bytes(message) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Message),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn the_longest_messages_fit() {
        let mut buffer = [0; FRAME_BYTES];
        let request = Request::Samples { index: u32::MAX, forecast: true, values: [f32::MIN; FRAME_VALUES].into() };
        assert!(encode(&request, &mut buffer).len() > 4 * FRAME_VALUES);
        let (channel, steps_ahead) = (u16::MAX, u16::MAX);
        let chunk = Chunk { index: u32::MAX, channel, steps_ahead, values: [f32::MIN; FRAME_VALUES].into() };
        assert!(encode(&Reply::Forecast(chunk), &mut buffer).len() > 4 * FRAME_VALUES);
        let long = || words(&"x".repeat(100));
        let fault = ModelFault::Field { name: long(), found: f32::MIN, expected: long() };
        assert!(encode(&Reply::Refused(Refusal::Model(fault)), &mut buffer).len() > 2 * 56);
    }

    #[test]
    fn a_frame_is_these_bytes() {
        // Tag 0, version 1 as a varint, CRC-32 of [0, 1] = 36DE2269 (zlib's crc32), a COBS code before and after the 0.
        let mut buffer = [0; FRAME_BYTES];
        assert_eq!(encode(&Request::Hello { protocol: 1 }, &mut buffer), [0, 1, 6, 1, 0x69, 0x22, 0xDE, 0x36, 0]);
    }
}
