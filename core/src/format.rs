//! Placeholder.
/// Capacity.
pub const MAX_CHANNELS: usize = 32;
/// Capacity.
pub const MAX_QUANTILES: usize = 9;
/// What a model file says of itself.
#[derive(Clone, Debug)]
pub struct Header {
    /// Channels.
    pub channels: u16,
    /// Steps ahead.
    pub horizon: u16,
    /// Samples of one season.
    pub period: u32,
    /// Quantile levels.
    pub quantiles: heapless::Vec<f32, MAX_QUANTILES>,
    /// The file's CRC-32.
    pub identity: u32,
    /// Bytes.
    pub length: u32,
}
