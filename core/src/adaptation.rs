//! Recursive adaptation of the point forecast: a bias and a scale for each group of steps ahead, with a guard.
//!
//! The adapted forecast is x ≈ location + a (median − location) + b, so with the displacement d = median − location and
//! the residual r = x − median it is the regression r ≈ c d + b, c = a − 1. Its least squares with exponential
//! forgetting (recursive least squares; Ljung & Söderström, "Theory and Practice of Recursive Identification", 1983,
//! ch. 2) is kept in the information form, as means and not as an inverse: a 2×2 matrix of means is positive definite
//! by construction, cannot wind up while nothing excites it, and the ridge never fades. Each group g (`probe`), with
//! gain γ = max(1/n, FORGETTING) and its share w of the probe:
//!
//! ```text
//! D += γw(d − D)    Q += γw(d² − Q)    R += γw(r − R)    S += γw(d r − S)               r clipped to ±CLIP half widths
//! ridge κ = PRIOR_g γ:    c = ((1+κ)S − D R) / ((1+κ)² Q − D²), |c| ≤ ½       b = (R − c D) / (1+κ), |b| ≤ 1
//! ```
//!
//! **Guard.** Before a probe is learned, the forecast with and the one without the correction are scored on it: P and A
//! are running means of their squared errors, in half widths. The correction counts in proportion to what it has gained:
//! gate = clamp((1 − A/P − MARGIN) / SPAN, 0, 1), so none below the margin, all a span above it and no jump between. If
//! A > WORSE · P, the regime has changed: the group forgets everything and starts anew.
//!
//! The shift moves the median, and the whole band with it.

use core::hint::select_unpredictable;

use crate::math::Real;
use crate::probe::{GROUPS, LIMIT, Place, Resolved};

/// |a − 1| at most.
pub const MAX_SCALE_CHANGE: f32 = 0.5;
/// |b| at most, in deviations of the training data.
pub const MAX_BIAS: f32 = 1.0;
/// γ's floor: a memory of so many probes.
const FORGETTING: f32 = 1.0 / 255.0;
/// Probes that the belief in no correction is worth, more where they overlap (`probe`) and say the same thing.
const PRIOR: [f32; GROUPS] = [16.0, 16.0, 48.0, 80.0];
/// A residual counts for at most so many half widths.
const CLIP: f32 = 3.0;
/// What a correction must gain before it counts, and how much more until it counts in full; shares of the squared error.
const MARGIN: f32 = 0.005;
const SPAN: f32 = 0.02;
/// What it may lose before it is forgotten.
const WORSE: f32 = 1.1;
/// Probes before the guard says anything.
const LEAST_PROBES: u8 = 16;
/// The least half width and the least variance, in deviations: keep quotients finite.
const TINY: f32 = 1e-12;

/// One group's means.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Means<R> {
    /// D.
    displacement: R,
    /// Q.
    displacement_square: R,
    /// R.
    residual: R,
    /// S.
    product: R,
    /// P.
    plain_error: R,
    /// A.
    adapted_error: R,
}

/// One channel's adaptation: 100 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptation<R> {
    groups: [Means<R>; GROUPS],
    /// n, up to 255.
    count: [u8; GROUPS],
}

/// What each group's means say: computed once a sample, used for every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction<R> {
    /// a − 1, within ±[`MAX_SCALE_CHANGE`].
    scale_change: [R; GROUPS],
    /// b, within ±[`MAX_BIAS`].
    bias: [R; GROUPS],
    /// How much of it counts, 0 to 1.
    gate: [R; GROUPS],
}

crate::persist::persist!(impl [R: crate::persist::Persist] Means<R> { displacement, displacement_square, residual, product, plain_error, adapted_error });
crate::persist::persist!(impl [R: crate::persist::Persist] Adaptation<R> { groups, count });

impl<R: Real> Means<R> {
    const ZERO: Self = Self {
        displacement: R::ZERO,
        displacement_square: R::ZERO,
        residual: R::ZERO,
        product: R::ZERO,
        plain_error: R::ZERO,
        adapted_error: R::ZERO,
    };
}

impl<R: Real> Correction<R> {
    /// What to add to every quantile of a step whose median is so far from the location, in deviations.
    #[inline]
    pub fn shift(&self, place: &Place<R>, displacement: R) -> R {
        let most = R::of(2.0 * LIMIT);
        let displacement = displacement.at_most(most).at_least(-most);
        let terms = self.scale_change.iter().zip(&self.bias).zip(&self.gate).zip(&place.weight);
        let mut shift = R::ZERO;
        for (((change, bias), gate), weight) in terms {
            shift += *weight * *gate * (*change * displacement + *bias);
        }
        shift
    }
}

impl<R: Real> Adaptation<R> {
    /// Nothing learned; all zeros.
    pub const fn new() -> Self {
        Self { groups: [Means::ZERO; GROUPS], count: [0; GROUPS] }
    }

    /// What is known now.
    #[inline]
    pub fn correction(&self) -> Correction<R> {
        let mut correction =
            Correction { scale_change: [R::ZERO; GROUPS], bias: [R::ZERO; GROUPS], gate: [R::ZERO; GROUPS] };
        let Correction { scale_change, bias, gate } = &mut correction;
        let outputs = scale_change.iter_mut().zip(bias).zip(gate);
        for (((means, count), prior), ((scale_change, bias), gate)) in
            self.groups.iter().zip(&self.count).zip(PRIOR).zip(outputs)
        {
            let ridge = R::ONE + R::of(prior) * gain(*count);
            let Means { displacement, displacement_square, residual, product, plain_error, adapted_error } = *means;
            let determinant = ridge * ridge * displacement_square - displacement * displacement;
            *scale_change = ((ridge * product - displacement * residual) / determinant.at_least(R::of(TINY)))
                .at_most(R::of(MAX_SCALE_CHANGE))
                .at_least(R::of(-MAX_SCALE_CHANGE));
            *bias =
                ((residual - *scale_change * displacement) / ridge).at_most(R::of(MAX_BIAS)).at_least(R::of(-MAX_BIAS));
            let gained = R::ONE - adapted_error / plain_error.at_least(R::of(TINY));
            let trusted = select_unpredictable(*count >= LEAST_PROBES, gained, R::ZERO);
            *gate = ((trusted - R::of(MARGIN)) * R::of(1.0 / SPAN)).at_least(R::ZERO).at_most(R::ONE);
        }
        correction
    }

    /// Learns from a resolved probe. `correction` is what [`Adaptation::correction`] gives before the sample that resolves it.
    #[inline]
    pub fn observe(&mut self, correction: &Correction<R>, resolved: &Resolved<R>) {
        let Resolved { place, known, residual, below, above, displacement } = *resolved;
        let half_width = (R::of(0.5) * (below + above)).at_least(R::of(1e-6));
        let most = R::of(CLIP) * half_width;
        let clip = |error: R| error.at_most(most).at_least(-most);
        let square = |error: R| (clip(error) / half_width) * (clip(error) / half_width);
        let candidate = Correction { gate: [R::ONE; GROUPS], ..*correction };
        let plain = square(residual);
        let adapted = square(residual - candidate.shift(&place, displacement));
        let residual = clip(residual);
        for (index, ((means, count), weight)) in
            self.groups.iter_mut().zip(&mut self.count).zip(&place.weight).enumerate()
        {
            *count = count.saturating_add(u8::from(known & (place.group == index)));
            let gain = *weight * gain(*count);
            let updates = [
                (&mut means.displacement, displacement),
                (&mut means.displacement_square, displacement * displacement),
                (&mut means.residual, residual),
                (&mut means.product, displacement * residual),
                (&mut means.plain_error, plain),
                (&mut means.adapted_error, adapted),
            ];
            for (mean, value) in updates {
                mean.approach(value, gain);
            }
            let worse = (*count >= LEAST_PROBES) & (means.adapted_error > R::of(WORSE) * means.plain_error);
            *means = select_unpredictable(worse, Means::ZERO, *means);
            *count = select_unpredictable(worse, 0, *count);
        }
    }
}

impl<R: Real> Default for Adaptation<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// γ after so many probes.
#[inline]
fn gain<R: Real>(count: u8) -> R {
    R::one_over(count.max(1).into()).at_least(R::of(FORGETTING))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::probe::{Band, Groups, Probes, Schedule};

    const SAMPLES: usize = 20_000;

    /// Even in ±√3, so of deviation 1 (xorshift64*).
    fn noise(state: &mut u64) -> f32 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / 8_388_608.0 - 1.0) * 1.732_050_8
    }

    /// A seasonal series forecast as it is, but for what `series` makes of (time, displacement of the forecast, noise).
    /// Returns the mean squared errors of plain and adapted forecasts over the last half, at a few leads.
    fn stream(horizon: u16, mut series: impl FnMut(usize, f32, f32) -> f32) -> [f64; 2] {
        let groups = Groups::new(horizon);
        let (mut schedule, mut probes, mut adaptation) = (Schedule::new(), Probes::new(), Adaptation::new());
        let displacement = |now: usize| (now as f32 * core::f32::consts::TAU / 24.0).sin();
        let mut state = 1;
        let x: std::vec::Vec<f32> = (0..SAMPLES).map(|now| series(now, displacement(now), noise(&mut state))).collect();
        let mut errors = [0.0_f64; 2];
        for now in 0..SAMPLES {
            for outcome in [probes.resolve_next(Some(x[now])), probes.resolve(&schedule.advance(&groups), Some(x[now]))]
            {
                let correction = adaptation.correction();
                adaptation.observe(&correction, &outcome);
            }
            let correction = adaptation.correction();
            check(&correction);
            let launch = schedule.launch(&groups);
            let band = |lead: u16| {
                let median = displacement(now + usize::from(lead));
                Some(Band { lower: median - 1.3, median, upper: median + 1.3, location: 0.0 })
            };
            probes.record_next(band(1));
            probes.record(&launch, band(launch.lead));
            for lead in [1, horizon.div_ceil(4), horizon.div_ceil(2), horizon] {
                let due = now + usize::from(lead);
                if now >= SAMPLES / 2 && due < SAMPLES {
                    let median = displacement(due);
                    let shift = correction.shift(&groups.place(lead), median);
                    errors[0] += f64::from(x[due] - median).powi(2);
                    errors[1] += f64::from(x[due] - median - shift).powi(2);
                }
            }
        }
        errors
    }

    fn check(correction: &Correction<f32>) {
        let Correction { scale_change, bias, gate } = correction;
        assert!(scale_change.iter().all(|change| change.abs() <= MAX_SCALE_CHANGE), "{correction:?}");
        assert!(bias.iter().all(|bias| bias.abs() <= MAX_BIAS), "{correction:?}");
        assert!(gate.iter().all(|gate| (0.0..=1.0).contains(gate)), "{correction:?}");
    }

    #[test]
    fn a_lasting_bias_or_scale_is_learned() {
        for horizon in [1, 24, 96] {
            // What is left of a bias of 0.8 and a variance of 1 is at least 1 of 1.64.
            let [plain, adapted] = stream(horizon, |_, displacement, noise| displacement + 0.8 + noise);
            assert!(adapted < 0.68 * plain, "bias, horizon {horizon}: {plain} {adapted}");
            let [plain, adapted] = stream(horizon, |_, displacement, noise| 0.6 * displacement + 0.2 * noise);
            assert!(adapted < 0.45 * plain, "scale, horizon {horizon}: {plain} {adapted}");
        }
    }

    #[test]
    fn it_does_no_harm_where_there_is_nothing_to_learn() {
        for horizon in [1, 24, 96] {
            let [plain, adapted] = stream(horizon, |_, displacement, noise| displacement + noise);
            assert!(adapted < 1.01 * plain, "white, horizon {horizon}: {plain} {adapted}");
        }
    }

    #[test]
    fn the_guard_recovers_when_the_regime_flips() {
        for horizon in [1, 24] {
            let flip = SAMPLES / 2;
            let [plain, adapted] = stream(horizon, |now, displacement, noise| {
                displacement + if now < flip { 0.8 } else { -0.8 } + 0.5 * noise
            });
            // Counted from the flip on: what was learned before it is wrong by 1.6.
            assert!(adapted < 0.6 * plain, "horizon {horizon}: {plain} {adapted}");
        }
    }

    #[test]
    fn corrections_are_bounded_on_hostile_streams() {
        let hostile: [fn(usize) -> f32; 6] = [
            |_| 0.0,
            |_| f32::MAX,
            |now| if now % 2 == 0 { f32::MAX } else { f32::MIN },
            |now| if now % 97 == 0 { 1e9 } else { 0.0 },
            |_| f32::NAN,
            |now| if now % 2 == 0 { f32::INFINITY } else { -5.0 },
        ];
        for (medians, series) in hostile.iter().flat_map(|median| hostile.iter().map(move |series| (median, series))) {
            let groups = Groups::new(24);
            let (mut schedule, mut probes, mut adaptation) = (Schedule::new(), Probes::new(), Adaptation::new());
            for now in 0..5_000 {
                let due = schedule.advance(&groups);
                for outcome in [probes.resolve_next(Some(series(now))), probes.resolve(&due, Some(series(now)))] {
                    let correction = adaptation.correction();
                    adaptation.observe(&correction, &outcome);
                }
                check(&adaptation.correction());
                let launch = schedule.launch(&groups);
                let median = medians(now);
                let correction = adaptation.correction();
                assert!(correction.shift(&groups.place(launch.lead), median).is_finite());
                let band = Band { lower: median, median, upper: median, location: medians(now / 2) };
                probes.record_next(Some(band));
                probes.record(&launch, Some(band));
            }
        }
        assert_eq!(size_of::<Adaptation<f32>>(), 100);
    }
}
