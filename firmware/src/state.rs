//! The forecaster that an image is built for: its board's capacities, its preset's sizes and its models' form. Where
//! several presets are chosen, the largest is built, and where both forms are, int8.

#[cfg(feature = "preset-base")]
use flowcast_core::presets::Base as Preset;
#[cfg(all(feature = "preset-small", not(feature = "preset-base")))]
use flowcast_core::presets::Small as Preset;
#[cfg(not(any(feature = "preset-small", feature = "preset-base")))]
use flowcast_core::presets::Tiny as Preset;

use crate::board::{CHANNELS, SLOTS};

#[cfg(feature = "numeric-int8")]
type Scalar = flowcast_core::q20::Q20;
#[cfg(not(feature = "numeric-int8"))]
type Scalar = f32;

/// Unbound, it is all zeros: a static one takes no flash and never crosses the stack.
pub type Forecaster = Preset<'static, CHANNELS, SLOTS, Scalar>;
