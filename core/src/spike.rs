//! Samples that stick out: held back until the next one says the same.
//!
//! A glitch, a burst, a door that stands open for a moment: one sample far from all that a channel's memories know. If it
//! entered them as it is, the forecasts of the next hours would start from it, and tomorrow's would expect it again. So what
//! enters is, of every memory but the last period's,
//!
//! ```text
//! low, high = the least and the most of: what entered last, B_1 + T_0, B_1 + T_3, and every B_k that any season's slot or one
//!             beside it holds (of slots of n samples B_1 + n (B_0 − B_1) for B_0: one of them may be all that moved it)
//! x*        = clamp(x, low − r, high + r), or x where the sample before was beyond on the same side
//! r         = max(limit · s, two steps of a coarse sensor)
//! s        += max(1/(n+1), g) (|x* − B_1 − T_0| − s)         s: by how much a sample is commonly off
//! ```
//!
//! with the memories B, the trends T and their count n as in [`crate::seasonal`], g the gain of the scale there. It is the
//! cleaning of robust exponential smoothing (Gelper, Fried & Croux, "Robust forecasting with exponential and Holt–Winters
//! smoothing", Journal of Forecasting, 2010), but that what a day or a week repeats is no spike, and that what is new is
//! believed at its second sample: the next one, if it lasts, or, as B_0 takes x itself, that of the same time of the next
//! period. What forecasts are compared with (`anomaly`, `conformal`, `adaptation`) is x, too.

use core::hint::select_unpredictable;

use crate::math::Real;
use crate::seasonal::MEMORIES;

/// The largest limit of a model file.
pub const MAX_LIMIT: f32 = 1000.0;

/// From when on a sample sticks out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit<R> {
    /// In multiples of s; 0: never.
    pub steps: R,
    /// At the least, as a difference of samples: two steps of a coarse sensor are none of its glitches.
    pub least: R,
}

/// What a channel's memories know of a sample before it comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Envelope<R> {
    /// The least of it.
    pub low: R,
    /// The most of it.
    pub high: R,
    /// The one that is commonly nearest: memory 1, moved to the last sample.
    pub nearest: R,
}

/// What a channel knows of its spikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spikes<R> {
    /// s.
    size: R,
    /// What rounding would lose of it.
    carry: R,
    /// On which side the last sample was beyond: 1 above, −1 below, 0 within.
    side: i32,
}

crate::persist::persist!(impl [R: crate::persist::Persist] Spikes<R> { size, carry, side });

impl<R: Real> Envelope<R> {
    /// Of one forecast.
    #[inline]
    pub fn new(nearest: R) -> Self {
        Self { low: nearest, high: nearest, nearest }
    }

    /// Takes in another.
    #[inline]
    pub fn widen(&mut self, value: R) {
        self.low = self.low.at_most(value);
        self.high = self.high.at_least(value);
    }

    /// Takes in what a slot holds. (One copy serves every slot.)
    #[inline(never)]
    pub fn widen_by(&mut self, means: &[R; MEMORIES]) {
        means.iter().for_each(|mean| self.widen(*mean));
    }
}

impl<R: Real> Limit<R> {
    /// Every sample enters as it is.
    pub const NONE: Self = Self { steps: R::ZERO, least: R::ZERO };
}

impl<R: Real> Spikes<R> {
    /// Before the first sample.
    pub const NEW: Self = Self { size: R::ZERO, carry: R::ZERO, side: 0 };

    /// What enters of a sample `x`; `ripe` is whether enough has come to judge by.
    #[inline]
    pub fn hold(&mut self, envelope: &Envelope<R>, limit: &Limit<R>, ripe: bool, x: R) -> R {
        let reach = (limit.steps * self.size).at_least(limit.least);
        let (low, high) = (envelope.low - reach, envelope.high + reach);
        let judged = ripe & (limit.steps > R::ZERO);
        let side = i32::from(judged & (x > high)) - i32::from(judged & (x < low));
        let held = (side != 0) & (side != self.side);
        self.side = side;
        select_unpredictable(held, x.at_most(high).at_least(low), x)
    }

    /// Learns by how much a sample that entered was off, with a gain of `gain`.
    #[inline]
    pub fn learn(&mut self, off: R, gain: R) {
        self.size.approach_slowly(&mut self.carry, off.abs(), gain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::q20::Q20;

    fn holds<R: Real>() {
        let of = |spikes: &mut Spikes<R>, x: f32| {
            let mut envelope = Envelope::new(R::of(1.0));
            envelope.widen(R::of(2.0));
            envelope.widen(R::of(1.5));
            let limit = Limit { steps: R::of(4.0), least: R::of(0.5) };
            spikes.hold(&envelope, &limit, true, R::of(x)).to_f32()
        };
        let mut spikes = Spikes::<R>::NEW;
        spikes.learn(R::of(-0.25), R::ONE);
        // Within 0 to 3, and at its ends.
        for x in [0.0, 1.0, 2.5, 3.0] {
            assert_eq!(of(&mut spikes, x), x);
        }
        // A spike is held, the sample after it is as it is, and the next spike is held again.
        assert_eq!(of(&mut spikes, 9.0), 3.0);
        assert_eq!(of(&mut spikes, 2.0), 2.0);
        assert_eq!(of(&mut spikes, 8.0), 3.0);
        // The second one on the same side is a fact, and so are those after it; the other side's first is none.
        assert_eq!(of(&mut spikes, 8.5), 8.5);
        assert_eq!(of(&mut spikes, 9.5), 9.5);
        assert_eq!(of(&mut spikes, -7.0), 0.0);
        assert_eq!(of(&mut spikes, -6.0), -6.0);
        // Without a limit, or before anything is known, everything enters.
        let envelope = Envelope::new(R::ZERO);
        let limit = |steps: f32| Limit { steps: R::of(steps), least: R::of(2.0) };
        for (steps, ripe) in [(0.0, true), (4.0, false)] {
            let mut spikes = Spikes::<R>::NEW;
            assert_eq!(spikes.hold(&envelope, &limit(steps), ripe, R::of(100.0)).to_f32(), 100.0);
            assert_eq!(spikes, Spikes::NEW);
        }
        // Where nothing ever moved, two steps of the sensor are no spike.
        let mut spikes = Spikes::<R>::NEW;
        assert_eq!(spikes.hold(&envelope, &limit(4.0), true, R::of(2.0)).to_f32(), 2.0);
        assert_eq!(spikes.hold(&envelope, &limit(4.0), true, R::of(9.0)).to_f32(), 2.0);
    }

    #[test]
    fn a_spike_is_held_and_what_lasts_is_believed() {
        holds::<f32>();
        holds::<Q20>();
    }
}
