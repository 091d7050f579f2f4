//! Opens a model file with the backbone that it was trained for.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use flowcast_core::forecaster::{Forecaster, Inside};
use flowcast_core::format::{Header, MAX_CHANNELS, Numeric};
use flowcast_core::linear::Element;
use flowcast_core::presets::{PRESETS, Preset};
use flowcast_core::q20::Q20;
use flowcast_core::seasonal::MAX_SEASONS;
use flowcast_core::snapshot::Snapshot;
use safetensors::SafeTensors;

use crate::file::AlignedBytes;
use crate::plural::counted;

/// Slots that the host holds: of the seasonal memories, all seasons together, and of the seasonal Flow-Attention.
pub const SLOTS: usize = 704;

/// Slots of each season, at most: longer periods share slots ([`slot_samples`]).
const SEASON_SLOTS: [u32; MAX_SEASONS] = [96, 168, 56];

/// Samples that share a slot, so that the period of a model's `index`-th season fits.
pub fn slot_samples(period: u32, index: usize) -> u32 {
    period.div_ceil(SEASON_SLOTS[index.min(MAX_SEASONS - 1)]).max(1)
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
            "model has d_model {d_model}, {} of {head_dim}, {}: none of the presets {}",
            counted(heads, "head"),
            counted(layers, "layer"),
            names.join(", ")
        );
    };
    Ok(preset)
}

/// The bytes of `MODEL.flow`, for [`open`].
///
/// # Errors
/// The file cannot be read, or is the `MODEL.safetensors` that it is yet to be exported from.
pub fn read(path: &Path) -> Result<AlignedBytes> {
    let bytes = AlignedBytes::read(path)?;
    ensure!(
        SafeTensors::read_metadata(&bytes).is_err(),
        "{} is a trained model, expected an exported one: `flowcast export {} --out {}` writes it",
        path.display(),
        path.display(),
        path.with_extension("flow").display()
    );
    Ok(bytes)
}

/// A forecaster that shows its inside and keeps its state.
pub trait Kept: Inside + Snapshot {}

impl<F: Inside + Snapshot> Kept for F {}

/// Checks a model and makes a forecaster of the preset that fits; `model` starts at a multiple of 4.
///
/// # Errors
/// The bytes are no model, or no preset fits.
pub fn open<'m>(model: &'m [u8]) -> Result<Box<dyn Kept + Send + 'm>> {
    let header = Header::parse(model)?;
    let name = preset(&header)?.name;
    match header.numeric {
        Numeric::F32 => sized::<f32>(name, model),
        Numeric::I8 => sized::<Q20>(name, model),
    }
}

/// A forecaster of the preset of that name.
fn sized<'m, R: Element + Send>(preset: &str, model: &'m [u8]) -> Result<Box<dyn Kept + Send + 'm>>
where
    Forecaster<'m, R, MAX_CHANNELS, SLOTS, 16, 2, 8, 1>: Send,
    Forecaster<'m, R, MAX_CHANNELS, SLOTS, 32, 4, 8, 1>: Send,
    Forecaster<'m, R, MAX_CHANNELS, SLOTS, 64, 8, 8, 2>: Send,
{
    Ok(match preset {
        "tiny" => bound::<R, 16, 2, 8, 1>(model)?,
        "small" => bound::<R, 32, 4, 8, 1>(model)?,
        _ => bound::<R, 64, 8, 8, 2>(model)?,
    })
}

/// A forecaster on the heap, bound where it stands. A function for each size, so that a thread's stack never has to hold
/// all of them.
#[inline(never)]
fn bound<'m, R: Element, const D_MODEL: usize, const HEADS: usize, const HEAD_DIM: usize, const LAYERS: usize>(
    model: &'m [u8],
) -> Result<Box<Forecaster<'m, R, MAX_CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS>>> {
    let mut forecaster = Box::new(Forecaster::unbound());
    forecaster.bind(model)?;
    Ok(forecaster)
}
