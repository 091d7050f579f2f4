//! Named backbone sizes. A firmware image is built for one of them; a model file says which it needs.

use crate::forecaster::Forecaster;

/// A backbone's sizes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// As `--preset` takes it.
    pub name: &'static str,
    /// Width of a token.
    pub d_model: usize,
    /// Attention heads of `head_dim`; `heads * head_dim == d_model`.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Hidden units of the feed-forward layer.
    pub d_ff: usize,
}

/// Every preset, smallest first.
pub const PRESETS: [Preset; 3] = [
    Preset { name: "tiny", d_model: 16, heads: 2, head_dim: 8, layers: 1, d_ff: 32 },
    Preset { name: "small", d_model: 32, heads: 4, head_dim: 8, layers: 1, d_ff: 64 },
    Preset { name: "base", d_model: 64, heads: 8, head_dim: 8, layers: 2, d_ff: 128 },
];

/// The smallest: a Cortex-M0+ at a sample a second. `FLOWS` of 0 has no room for an attention in the blocks.
pub type Tiny<'m, const CHANNELS: usize, const SLOTS: usize, R = f32, const FLOWS: usize = 1> =
    Forecaster<'m, R, CHANNELS, SLOTS, 16, 2, 8, 1, FLOWS>;
/// The default.
pub type Small<'m, const CHANNELS: usize, const SLOTS: usize, R = f32, const FLOWS: usize = 1> =
    Forecaster<'m, R, CHANNELS, SLOTS, 32, 4, 8, 1, FLOWS>;
/// For large boards and long histories.
pub type Base<'m, const CHANNELS: usize, const SLOTS: usize, R = f32, const FLOWS: usize = 2> =
    Forecaster<'m, R, CHANNELS, SLOTS, 64, 8, 8, 2, FLOWS>;

impl Preset {
    /// The preset of that name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }
}
