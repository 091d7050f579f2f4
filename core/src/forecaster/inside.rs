//! What a forecaster holds and why it says what it says: for the host's pictures. A firmware that never asks carries none
//! of it.

use super::{Forecaster, Streaming};
use crate::attention::FlowTrace;
use crate::experts::EXPERTS;
use crate::known::Known;
use crate::linear::Element;
use crate::probe::GROUPS;
use crate::retrieval::KEY;
use crate::seasonal::MEMORIES;

/// Sees `(channel, layer, flows of each head)`.
pub type Trace<'t> = dyn FnMut(usize, usize, &[FlowTrace<f32>]) + 't;

/// Reads a forecaster's inside, whatever its sizes.
pub trait Inside: Streaming {
    /// As [`Streaming::observe_knowing`]; `trace` is called at targets' samples that enter.
    fn observe_traced(&mut self, sample: &[f32], known: &Known<'_>, trace: &mut Trace<'_>);
    /// 1/N of a head of a layer, N its memory in samples; 0 is infinite. `None` beyond those that there are,
    /// and where the blocks have no attention.
    fn memory_gain(&self, layer: usize, head: usize) -> Option<f32>;
    /// What the seasonal memories of a channel hold for a slot of a season, in deviations of the training data, shortest
    /// memory first; `None` where it was never visited.
    fn seasonal_means(&self, channel: usize, season: usize, slot: usize) -> Option<[f32; MEMORIES]>;
    /// β of each expert ([`crate::experts`]) in each group of steps ahead; `None` where the model's forecasts are not adapted, and
    /// for a channel without any.
    fn expert_shares(&self, channel: usize) -> Option<[[f32; GROUPS]; EXPERTS]>;
    /// The seasonal attention's key and query that the last pass through a bin left there; `None` before the first, and
    /// for a model without it.
    fn day_key(&self, channel: usize, bin: usize) -> Option<[[f32; KEY]; 2]>;
}

impl<
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Inside for Forecaster<'_, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    fn observe_traced(&mut self, sample: &[f32], known: &Known<'_>, trace: &mut Trace<'_>) {
        Forecaster::observe_traced(self, sample, known, |channel, layer, flows| {
            trace(channel, layer, &flows.map(|flows| flows.to_f32()));
        });
    }

    fn memory_gain(&self, layer: usize, head: usize) -> Option<f32> {
        let attention = self.model.get()?.blocks().get(layer)?.attention.as_ref()?;
        attention.flow.memory_gain.get(head).map(|gain| gain.to_f32())
    }

    fn seasonal_means(&self, channel: usize, season: usize, slot: usize) -> Option<[f32; MEMORIES]> {
        let seasons = &self.model.get()?.header().seasons.list;
        seasons.get(season).filter(|season| slot < season.slots)?;
        let before: usize = seasons.iter().take(season).map(|season| season.slots).sum();
        self.channels.get(channel)?.seasonal.memories().slot(before + slot).map(|means| means.map(R::to_f32))
    }

    fn expert_shares(&self, channel: usize) -> Option<[[f32; GROUPS]; EXPERTS]> {
        let header = self.model.get()?.header();
        let state = self.channels.get(channel).filter(|_| header.adapted && channel < header.targets.into())?;
        Some(state.adaptation.expert_shares().map(|shares| shares.map(R::to_f32)))
    }

    fn day_key(&self, channel: usize, bin: usize) -> Option<[[f32; KEY]; 2]> {
        let seasons = &self.model.get()?.header().seasons;
        let keyed = self.channels.get(channel)?.seasonal.day_key(seasons, bin)?;
        Some(keyed.map(|capacity| capacity.map(R::to_f32)))
    }
}
