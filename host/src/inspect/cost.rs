//! What a model costs to run: arithmetic counted from its header, memory from the sizes of core's own types.

use flowcast_core::forecaster::Forecaster;
use flowcast_core::format::{Header, Numeric};
use flowcast_core::linear::Element;
use flowcast_core::presets::Preset;
use flowcast_core::q20::Q20;
use flowcast_core::retrieval::{HIDDEN, KEY, RETRIEVALS, SUMMARY};
use flowcast_core::seasonal::{MEMORIES, TRENDS};
use serde::Serialize;

/// Multiply-accumulates, counted from the header.
///
/// Counted as one each: a product of a weight and an input (embedding, projections, feed-forward, readouts); in the
/// attention, an element of a running mean that moves (four vectors and the matrix of each head), of a dot product with
/// one (four vectors) and of the matrix that is read; an element of the seasonal memories that moves or is pooled.
/// Not counted: norms, sigmoids, exponentials, divisions, residual additions, sorting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// One sample of every channel.
    pub macs_per_observe: usize,
    /// Of these, the attention's in the blocks, projections and all.
    pub macs_of_block_attention: usize,
    /// What a forecast of one channel costs before its first step: features and their gates.
    pub macs_per_forecast_start: usize,
    /// One step ahead of one channel, all quantiles, between two knots.
    pub macs_per_forecast_step: usize,
    /// Every step of every channel.
    pub macs_per_forecast: usize,
    /// Targets whose forecasts the board adapts, which takes hardly a product, but divisions.
    pub adapted_targets: usize,
    /// Steps of their forecasts.
    pub adapted_steps: usize,
}

impl Cost {
    /// Of a model.
    pub fn of(header: &Header) -> Cost {
        let [d_model, heads, head_dim] = [header.d_model, header.heads, header.head_dim].map(usize::from);
        let [layers, attending, d_ff] = [header.layers, header.attending_layers(), header.d_ff].map(usize::from);
        let [channels, targets] = [header.channels, header.targets].map(usize::from);
        let [horizon, knots] = [header.horizon, header.knots].map(usize::from);
        let quantiles = header.quantiles.len();
        let aligned = header.step_features();
        let pooling = MEMORIES * header.seasons.slots();
        // Keys and queries; what is written, and as much that a step reads.
        let (keys, memory) = match header.seasons.retrieval {
            Some(_) => (SUMMARY * HIDDEN + 2 * HIDDEN * KEY, 2 * RETRIEVALS * KEY),
            None => (0, 0),
        };
        let embedding = d_model * header.token_features();
        let projections = 4 * d_model * d_model;
        let attention = heads * ((4 + 4) * head_dim + 2 * head_dim * head_dim);
        let feed_forward = 2 * d_model * d_ff;
        let observe = header.seasons.aligned() + TRENDS + memory;
        // A target's alone: nothing is forecast of a covariate.
        let token = pooling + keys + embedding + layers * feed_forward + attending * (projections + attention);
        let start = header.readout_features() * (d_model + 1);
        let knot = header.readout_features() - aligned + quantiles * d_model;
        let step = 3 * aligned + memory + quantiles + 1;
        Cost {
            // Each sample of a target is forecast one step ahead, and one more step as a probe.
            macs_per_observe: channels * observe + targets * (token + start + 2 * (2 * knot + step)),
            macs_of_block_attention: targets * attending * (projections + attention),
            macs_per_forecast_start: start,
            macs_per_forecast_step: 2 * knot + step,
            macs_per_forecast: targets * (start + knots * knot + horizon * step),
            adapted_targets: if header.adapted { targets } else { 0 },
            adapted_steps: if header.adapted { targets * horizon } else { 0 },
        }
    }
}

/// Bytes of a forecaster for just `channels` channels and `slots` slots on a 32-bit microcontroller, with or without room
/// for the blocks' attention: all of its state, the model's header and the addresses of its weights (not the weights, which
/// stay in flash).
///
/// A forecaster is its model and, for each channel of its capacity, intake and state. Those hold numbers of 1 and 4
/// bytes only and are the same everywhere: the difference of two real forecasters' sizes tells them. The model's
/// addresses and lengths take 4 bytes there and 8 here.
pub fn state_bytes(preset: &Preset, numeric: Numeric, channels: usize, slots: usize, attention: bool) -> usize {
    match numeric {
        Numeric::F32 => bytes_in::<f32>(preset, channels, slots, attention),
        Numeric::I8 => bytes_in::<Q20>(preset, channels, slots, attention),
    }
}

fn bytes_in<R: Element>(preset: &Preset, channels: usize, slots: usize, attention: bool) -> usize {
    match (preset.name, attention) {
        ("tiny", true) => bytes_padded::<R, 16, 2, 8, 1, 1>(channels, slots),
        ("tiny", false) => bytes_padded::<R, 16, 2, 8, 1, 0>(channels, slots),
        ("small", true) => bytes_padded::<R, 32, 4, 8, 1, 1>(channels, slots),
        ("small", false) => bytes_padded::<R, 32, 4, 8, 1, 0>(channels, slots),
        (_, true) => bytes_padded::<R, 64, 8, 8, 2, 2>(channels, slots),
        (_, false) => bytes_padded::<R, 64, 8, 8, 2, 0>(channels, slots),
    }
}

/// A channel with readings in 64 bits is padded to 8 bytes: what is measured must be padded alike.
fn bytes_padded<
    R: Element,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
>(
    channels: usize,
    slots: usize,
) -> usize {
    if seasonal(slots) % 8 == seasonal(4) % 8 {
        bytes_of::<R, 4, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>(channels, slots)
    } else {
        bytes_of::<R, 8, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>(channels, slots)
    }
}

/// Bytes of a channel's slots: means, and a byte that counts visits.
const fn seasonal(slots: usize) -> usize {
    4 * MEMORIES * slots + slots.next_multiple_of(4)
}

fn bytes_of<
    R: Element,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
>(
    channels: usize,
    slots: usize,
) -> usize {
    // Forecasters for 2 and for 4 channels of few slots: half of what lies between them is one channel.
    let two = size_of::<Forecaster<'_, R, 2, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>>();
    let four = size_of::<Forecaster<'_, R, 4, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>>();
    let measured = (four - two) / 2;
    let model = two - 2 * measured;
    let channel = measured + seasonal(slots) - seasonal(SLOTS);
    let words = words::<R>(LAYERS);
    let narrowed = size_of::<usize>().saturating_sub(4) * words;
    (model - narrowed + channels * channel).next_multiple_of(8)
}

/// Words of an address's size in a bound model, a slice has two: the file's bytes (2); each linear layer and norm (4), in and
/// outside the blocks, the seasonal attention's three layers among them; readout and head; knots, spread, the head's biases
/// and the intervals' factors (2 each); the header's counts of seasons, of slots in three and of quantiles (5); and what
/// words of 8 bytes pad with (halves). The test `emulated` holds the sum to what boards say.
fn words<R: Element>(layers: usize) -> usize {
    // A matrix is a slice, or two of them and an exponent that is padded; what lies beside is padded by itself or not.
    let (matrix, padding) = match R::NUMERIC {
        Numeric::F32 => (2, 2),
        Numeric::I8 => (5, 0),
    };
    let linear = matrix + 2;
    2 + 5 * linear + 4 + layers * (6 * linear + 2 * 4) + 2 * matrix + 4 * 2 + 5 + padding
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowcast_core::presets::{Base, PRESETS, Small, Tiny};

    /// Where an address takes 8 bytes, the real types are larger by the model's addresses and lengths alone.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn state_bytes_are_those_of_the_real_types() {
        fn narrowed(bytes: usize, layers: usize) -> usize {
            (bytes - 4 * words::<f32>(layers)).next_multiple_of(8)
        }
        let [tiny, small, base] = PRESETS;
        let bytes = |preset, channels, slots, attention| state_bytes(preset, Numeric::F32, channels, slots, attention);
        for (found, real, layers) in [
            (bytes(&tiny, 1, 2, true), size_of::<Tiny<'_, 1, 2>>(), 1),
            (bytes(&tiny, 5, 145, true), size_of::<Tiny<'_, 5, 145>>(), 1),
            (bytes(&tiny, 5, 145, false), size_of::<Tiny<'_, 5, 145, f32, 0>>(), 1),
            (bytes(&small, 3, 144, true), size_of::<Small<'_, 3, 144>>(), 1),
            (bytes(&small, 8, 288, true), size_of::<Small<'_, 8, 288>>(), 1),
            (bytes(&small, 4, 24, false), size_of::<Small<'_, 4, 24, f32, 0>>(), 1),
            (bytes(&base, 32, 287, true), size_of::<Base<'_, 32, 287>>(), 2),
            (bytes(&base, 32, 287, false), size_of::<Base<'_, 32, 287, f32, 0>>(), 2),
        ] {
            // The end of either may be padded to 8.
            let expected = narrowed(real, layers);
            assert!(found.abs_diff(expected) <= 8, "{found} and {expected}");
        }
    }
}
