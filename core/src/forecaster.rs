//! Placeholder.
use crate::format::Header;
use crate::model::ModelError;
/// Streaming.
pub trait Streaming {
    /// Header.
    fn header(&self) -> &Header;
    /// Sample.
    fn observe(&mut self, sample: &[f32]);
    /// Gap.
    fn observe_gap(&mut self, samples: u32);
    /// Reset.
    fn reset(&mut self);
    /// Bytes.
    fn state_bytes(&self) -> usize;
    /// Quantiles.
    fn quantiles_at(&self, channel: usize, steps_ahead: usize, out: &mut [f32]) -> bool;
    /// All.
    fn forecast_into(&self, channel: usize, out: &mut [f32]) -> bool;
}
/// Running mean.
pub struct Forecaster<'m, const CHANNELS: usize> {
    header: Header,
    mean: [f32; CHANNELS],
    count: u32,
    model: core::marker::PhantomData<&'m ()>,
}
impl<'m, const CHANNELS: usize> Forecaster<'m, CHANNELS> {
    /// New.
    pub fn new(model: &'m [u8]) -> Result<Self, ModelError> {
        let word = |i: usize| {
            model.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        if word(0) != 0x574f_4c46 {
            return Err(ModelError::Magic { found: word(0) });
        }
        Ok(Self {
            header: Header {
                channels: word(1) as u16,
                horizon: word(2) as u16,
                period: 24,
                quantiles: [0.1, 0.5, 0.9].into_iter().collect(),
                identity: word(3),
                length: 16,
            },
            mean: [0.0; CHANNELS],
            count: 0,
            model: core::marker::PhantomData,
        })
    }
}
impl<const CHANNELS: usize> Streaming for Forecaster<'_, CHANNELS> {
    fn header(&self) -> &Header {
        &self.header
    }
    fn observe(&mut self, sample: &[f32]) {
        self.count = self.count.saturating_add(1);
        for (mean, x) in self.mean.iter_mut().zip(sample) {
            if x.is_finite() {
                *mean += (x - *mean) * (1.0f32 / 16.0).max(1.0 / self.count as f32);
            }
        }
    }
    fn observe_gap(&mut self, samples: u32) {
        self.count = self.count.saturating_add(samples);
    }
    fn reset(&mut self) {
        self.count = 0;
        self.mean = [0.0; CHANNELS];
    }
    fn state_bytes(&self) -> usize {
        size_of::<Self>()
    }
    fn quantiles_at(&self, channel: usize, steps_ahead: usize, out: &mut [f32]) -> bool {
        if self.count < 24 {
            return false;
        }
        for (i, o) in out.iter_mut().enumerate() {
            *o = self.mean[channel % CHANNELS] + i as f32 / 7.0 * steps_ahead as f32;
        }
        true
    }
    fn forecast_into(&self, channel: usize, out: &mut [f32]) -> bool {
        let q = self.header.quantiles.len();
        out.chunks_mut(q).enumerate().all(|(i, o)| self.quantiles_at(channel, i + 1, o))
    }
}
