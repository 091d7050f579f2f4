//! What guards a correction that a board learns from its own errors (`experts`, `adaptation`).
//!
//! Each group g of steps ahead (`probe`) has means of what it needs, with gain γ = max(1/n, FORGETTING_g), n its probes. A ridge
//! κ = PRIOR_g γ holds a correction back that few probes speak for; as a share of the mean square it never fades. Both are
//! the correction's own ([`Pace`]).
//!
//! Before a probe is learned, it is scored without the correction and with what the correction is by now, not with what it
//! was when the probe was launched: B and A are running means of the absolute errors, for a forecast is a median, in the
//! correction's own units (half widths of the interval, or their square roots) and clipped. The correction counts in
//! proportion to what it has gained:
//! gate = clamp((1 − A/B − MARGIN) / SPAN, 0, 1), so none below the margin, all a span above it and no jump between. If
//! A > WORSE · B, the regime has changed: the group forgets everything of it and starts anew.

use core::hint::select_unpredictable;

use crate::math::Real;
use crate::probe::GROUPS;

/// What a correction must gain before it counts, and how much more until it counts in full; shares of the error.
const MARGIN: f32 = 0.003;
const SPAN: f32 = 0.02;
/// What it may lose before it is forgotten.
const WORSE: f32 = 1.1;
/// Probes before the guard says anything.
const LEAST_PROBES: u8 = 16;
/// An error counts for at most so many units.
const CLIP: f32 = 3.0;
/// The least half width and the least mean square, in deviations: keep quotients finite.
pub(crate) const LEAST_WIDTH: f32 = 1e-6;
pub(crate) const TINY: f32 = 1e-12;

/// How fast the groups of a correction learn and forget.
pub(crate) struct Pace {
    /// γ's floor: a memory of so many probes, at most 255 (a count is a byte).
    pub forgetting: [f32; GROUPS],
    /// Probes that the belief in no correction is worth, more where they overlap (`probe`) and say the same thing.
    pub prior: [f32; GROUPS],
}

impl Pace {
    /// γ of a group after so many probes.
    #[inline]
    pub fn gain<R: Real>(&self, count: u8, group: usize) -> R {
        R::one_over(count.max(1).into()).at_least(R::of(self.forgetting.get(group).copied().unwrap_or(1.0)))
    }

    /// 1 + κ of a group after so many probes.
    #[inline]
    pub fn ridge<R: Real>(&self, count: u8, group: usize) -> R {
        R::ONE + R::of(self.prior.get(group).copied().unwrap_or(0.0)) * self.gain(count, group)
    }
}

/// What an error of so many units scores.
#[inline]
pub(crate) fn score<R: Real>(error: R) -> R {
    error.abs().at_most(R::of(CLIP))
}

/// How much of a correction counts, 0 to 1.
#[inline]
pub(crate) fn gate<R: Real>(count: u8, before: R, after: R) -> R {
    let gained = R::ONE - after / before.at_least(R::of(TINY));
    let trusted = select_unpredictable(count >= LEAST_PROBES, gained, R::ZERO);
    ((trusted - R::of(MARGIN)) * R::of(1.0 / SPAN)).at_least(R::ZERO).at_most(R::ONE)
}

/// Whether a correction is to be forgotten.
#[inline]
pub(crate) fn is_worse<R: Real>(count: u8, before: R, after: R) -> bool {
    (count >= LEAST_PROBES) & (after > R::of(WORSE) * before)
}

/// Within ±`most`.
#[inline]
pub(crate) fn within<R: Real>(value: R, most: R) -> R {
    value.at_most(most).at_least(-most)
}
