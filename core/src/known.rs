//! What is known in advance: a plan, a tariff, a holiday, a forecast of the weather that a gateway sends.
//!
//! The last channels of a model may be such columns. They are seen as any channel is, and beside that their user can tell
//! what they will be ([`Known`]). With x the told sample of a step ahead and B_k, T_i the column's own seasonal memory of
//! the first season and its trends ([`crate::seasonal`]), the readout sees of each column
//!
//! ```text
//! x − B_1[slot of the step]      x − B_3[slot of the step]      T_0
//! ```
//!
//! The target's own memories, short and long, hold what the column did to it at the times that they remember: only what is
//! new beside those tells anything. T_0 is what the present sample surprised by, whose effect the target's last samples
//! show. What is not told is taken to be `B_1[slot]`, the memory's expectation: then the first of them is 0.
//!
//! ```
//! use flowcast_core::presets::Small;
//!
//! /// Takes a reading of `load` and says what the next one will be; `plan` begins with the present.
//! fn next(forecaster: &mut Small<'_, 2, 24>, load: f32, plan: &[f32]) -> Option<f32> {
//!     // Channel 1 is the only one that is known in advance.
//!     let known = |_channel: usize, steps_ahead: usize| plan.get(steps_ahead).copied().unwrap_or(f32::NAN);
//!     forecaster.observe_knowing(&[load, known(1, 0)], &known);
//!     Some(forecaster.forecast_knowing(&known)?.channel(0)?.at(1)?.median())
//! }
//! ```

use core::hint::select_unpredictable;

use crate::math::Real;
use crate::seasonal::{Memories, SlotPlace};

/// The most columns of a model that are known in advance.
pub const MAX_KNOWN: usize = 8;
/// Features that a step ahead reads of each.
pub const KNOWN_FEATURES: usize = 3;

/// What a channel will be, in its unit, so many samples after the last one (1 is the next): `known(channel, steps_ahead)`,
/// asked of the channels that are known in advance only. NaN, or a value outside the channel's valid range: it is not
/// known.
pub type Known<'k> = dyn Fn(usize, usize) -> f32 + 'k;

/// Nothing is known in advance.
pub fn nothing(_channel: usize, _steps_ahead: usize) -> f32 {
    f32::NAN
}

/// What the readout sees of a column whose sample at `place` in the first season is told, in deviations of the training
/// data; `None` for one that is not known. `surprise` is T_0, `memories` are the column's own.
#[inline]
pub fn features<R: Real>(
    memories: &Memories<'_, R>,
    place: &SlotPlace<R>,
    surprise: R,
    sample: Option<R>,
) -> [R; KNOWN_FEATURES] {
    let (seen, [_, expected, .., slowest]) = memories.of_first_season(place);
    let sample = sample.unwrap_or(expected);
    // A slot that was never visited says nothing.
    let [new, unusual] = [expected, slowest].map(|mean| select_unpredictable(seen, sample - mean, R::ZERO));
    [new, unusual, surprise]
}
