//! Opens a model file with the backbone that it was trained for.

use anyhow::{Result, bail};
use flowcast_core::forecaster::Streaming;
use flowcast_core::format::{Header, MAX_CHANNELS};
use flowcast_core::presets::{Base, PRESETS, Preset, Small, Tiny};

/// Slots of the seasonal memory that the host holds; longer periods share slots ([`slot_samples`]).
pub const SLOTS: usize = 288;

/// Samples that share a slot, so that a period fits into [`SLOTS`].
pub fn slot_samples(period: u32) -> u32 {
    period.div_ceil(SLOTS as u32).max(1)
}

/// The preset that a model was trained for.
///
/// # Errors
/// No preset has the model's sizes.
pub fn preset(header: &Header) -> Result<Preset> {
    let sizes = [header.d_model, header.heads, header.head_dim, header.layers].map(usize::from);
    let found =
        PRESETS.into_iter().find(|preset| sizes == [preset.d_model, preset.heads, preset.head_dim, preset.layers]);
    let Some(preset) = found else {
        let [d_model, heads, head_dim, layers] = sizes;
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        bail!(
            "model has d_model {d_model}, {heads} heads of {head_dim}, {layers} layers: none of the presets {}",
            names.join(", ")
        );
    };
    Ok(preset)
}

/// Checks a model and makes a forecaster of the preset that fits; `model` starts at a multiple of 4.
///
/// # Errors
/// The bytes are no model, or no preset fits.
pub fn open<'m>(model: &'m [u8]) -> Result<Box<dyn Streaming + Send + 'm>> {
    Ok(match preset(&Header::parse(model)?)?.name {
        "tiny" => Box::new(Tiny::<MAX_CHANNELS, SLOTS>::new(model)?),
        "small" => Box::new(Small::<MAX_CHANNELS, SLOTS>::new(model)?),
        _ => Box::new(Base::<MAX_CHANNELS, SLOTS>::new(model)?),
    })
}
