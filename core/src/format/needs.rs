//! What a program must be to run a model, read when it is compiled.

use super::{FLAG_ATTENTION, FLAG_RETRIEVAL, MAGIC, Numeric, VERSION, field};
use crate::seasonal::{BIN_SLOTS, MAX_BINS, MAX_SEASONS};

/// What a model file asks of a program, as its header says it. Whether the file is whole and sound, [`super::Header::parse`]
/// finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// How it computes.
    pub numeric: Numeric,
    /// `d_model`, `heads`, `head_dim` and `layers`.
    pub backbone: [u16; 4],
    /// Channels of a sample.
    pub channels: u16,
    /// Slots that a channel's memory must hold.
    pub slots: usize,
    /// Blocks that have an attention, whose state a channel must hold.
    pub flows: u16,
}

impl Needs {
    /// Of a file of this version; none of other bytes.
    pub const fn of(model: &[u8]) -> Option<Self> {
        let is_ours = model.len() >= field::TABLES && u32_in(model, 0) == u32::from_le_bytes(MAGIC);
        if !is_ours || u16_in(model, field::VERSION) != VERSION {
            return None;
        }
        let numeric = match model[field::NUMERIC] {
            0 => Numeric::F32,
            1 => Numeric::I8,
            _ => return None,
        };
        let (mut slots, mut first, mut season) = (0, 0, 0);
        while season < MAX_SEASONS {
            let at = field::SEASONS + season * field::SEASON_BYTES;
            let (period, samples) = (u32_in(model, at), u32_in(model, at + 4));
            if period == 0 || samples == 0 {
                break;
            }
            let of_season = period.div_ceil(samples) as usize;
            slots += of_season;
            if season == 0 {
                first = of_season;
            }
            season += 1;
        }
        if model[field::FLAGS] & FLAG_RETRIEVAL != 0 {
            slots += if first < MAX_BINS { first } else { MAX_BINS } * BIN_SLOTS;
        }
        let backbone = [
            u16_in(model, field::D_MODEL),
            u16_in(model, field::HEADS),
            u16_in(model, field::HEAD_DIM),
            u16_in(model, field::LAYERS),
        ];
        let flows = if model[field::FLAGS] & FLAG_ATTENTION != 0 { backbone[3] } else { 0 };
        Some(Self { numeric, backbone, channels: u16_in(model, field::CHANNELS), slots, flows })
    }
}

/// `at` is within the header.
const fn u16_in(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

const fn u32_in(bytes: &[u8], at: usize) -> u32 {
    u16_in(bytes, at) as u32 | (u16_in(bytes, at + 2) as u32) << 16
}
