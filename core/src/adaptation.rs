//! Recursive adaptation of the point forecast: first towards what simple experts say (`experts`), then a bias and a scale
//! for each group of steps ahead, with a guard (`guard`).
//!
//! The adapted forecast is x ≈ location + a (median − location) + b, the median being where the experts left it; so with the
//! displacement d = median − location and the residual r = x − median it is the regression r ≈ c d + b, c = a − 1. Its least
//! squares with exponential forgetting (recursive least squares; Ljung & Söderström, "Theory and Practice of Recursive
//! Identification", 1983, ch. 2) is kept in the information form, as means and not as an inverse: a 2×2 matrix of means is
//! positive definite by construction, cannot wind up while nothing excites it, and the ridge never fades. Each group g
//! (`probe`), with gain γ and ridge κ (`guard`), and its share w of the probe:
//!
//! ```text
//! D += γw(d − D)    Q += γw(d² − Q)    R += γw(r − R)    S += γw(d r − S)
//! c = ((1+κ)S − D R) / ((1+κ)² Q − D²), |c| ≤ ½                  b = (R − c D) / (1+κ), |b| ≤ 1
//! ```
//!
//! Of r, what c d + b leaves of it is clipped first, to ±CLIP half widths of the interval (Huber, "Robust Estimation of a
//! Location Parameter", 1964): a spike moves neither. The shift moves the median, and the whole band with it.

use core::hint::select_unpredictable;

use crate::experts::{EXPERTS, Experts};
use crate::guard::{LEAST_WIDTH, Pace, TINY, gate, is_worse, score, within};
use crate::math::Real;
use crate::probe::{GROUPS, LIMIT, Place, Resolved};

/// |a − 1| at most.
pub const MAX_SCALE_CHANGE: f32 = 0.5;
/// |b| at most, in deviations of the training data.
pub const MAX_BIAS: f32 = 1.0;
/// What c and b leave of a residual counts for at most so many half widths: they are nearer a median's than a mean's.
const CLIP: f32 = 0.7;

/// A bias and a scale last.
const PACE: Pace = Pace { forgetting: [1.0 / 255.0; GROUPS], prior: [16.0, 16.0, 48.0, 80.0] };

/// One group: means, and what they say.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Group<R> {
    /// D.
    displacement: R,
    /// Q.
    displacement_square: R,
    /// R.
    residual: R,
    /// S.
    product: R,
    /// B of `guard`.
    before: R,
    /// A of `guard`.
    after: R,
    /// c = a − 1.
    scale_change: R,
    /// b.
    bias: R,
    /// How much of both counts.
    gate: R,
}

/// One channel's adaptation: 448 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptation<R> {
    experts: Experts<R>,
    groups: [Group<R>; GROUPS],
    /// n, up to 255.
    count: [u8; GROUPS],
}

crate::persist::persist!(impl [R: crate::persist::Persist] Group<R> { displacement, displacement_square, residual, product, before, after, scale_change, bias, gate });
crate::persist::persist!(impl [R: crate::persist::Persist] Adaptation<R> { experts, groups, count });

impl<R: Real> Group<R> {
    const ZERO: Self = Self {
        displacement: R::ZERO,
        displacement_square: R::ZERO,
        residual: R::ZERO,
        product: R::ZERO,
        before: R::ZERO,
        after: R::ZERO,
        scale_change: R::ZERO,
        bias: R::ZERO,
        gate: R::ZERO,
    };

    /// c d + b, were it to count in full; bounded whatever a snapshot said.
    #[inline]
    fn shift(&self, displacement: R) -> R {
        within(self.scale_change, R::of(MAX_SCALE_CHANGE)) * displacement + within(self.bias, R::of(MAX_BIAS))
    }

    /// Solves for c and b.
    #[inline]
    fn solve(&mut self, count: u8, group: usize) {
        let ridge = PACE.ridge::<R>(count, group);
        let Self { displacement, displacement_square, residual, product, .. } = *self;
        let determinant = ridge * ridge * displacement_square - displacement * displacement;
        let scale_change = (ridge * product - displacement * residual) / determinant.at_least(R::of(TINY));
        self.scale_change = within(scale_change, R::of(MAX_SCALE_CHANGE));
        self.bias = within((residual - self.scale_change * displacement) / ridge, R::of(MAX_BIAS));
        self.gate = gate(count, self.before, self.after);
    }
}

impl<R: Real> Adaptation<R> {
    /// Nothing learned; all zeros.
    pub const fn new() -> Self {
        Self { experts: Experts::new(), groups: [Group::ZERO; GROUPS], count: [0; GROUPS] }
    }

    /// What to add to every quantile of a step whose median is so far from the location, and so far from what each expert
    /// says, in deviations.
    #[inline]
    pub fn shift(&self, place: &Place<R>, displacement: R, toward: &[R; EXPERTS]) -> R {
        let drawn = self.experts.shift(place, toward);
        let displacement = within(displacement + drawn, R::of(2.0 * LIMIT));
        let mut shift = drawn;
        for (group, weight) in self.groups.iter().zip(&place.weight) {
            shift += *weight * within(group.gate, R::ONE) * group.shift(displacement);
        }
        shift
    }

    /// β of each expert in each group.
    pub fn expert_shares(&self) -> &[[R; GROUPS]; EXPERTS] {
        self.experts.shares()
    }

    /// Learns from a resolved probe.
    #[inline(never)]
    pub fn observe(&mut self, resolved: &Resolved<R>) {
        let resolved = self.experts.observe(resolved);
        let Resolved { place, known, residual, below, above, displacement, .. } = resolved;
        let half_width = (R::of(0.5) * (below + above)).at_least(R::of(LEAST_WIDTH));
        let inverse = half_width.recip();
        // Other groups learn nothing of it.
        let window = place.window();
        let groups = self.groups.get_mut(window.clone()).unwrap_or_default();
        let counts = self.count.get_mut(window.clone()).unwrap_or_default();
        let weights = place.weight.get(window.clone()).unwrap_or_default();
        let mut shift = R::ZERO;
        for (group, weight) in groups.iter().zip(weights) {
            shift += *weight * group.shift(displacement);
        }
        let (before, after) = (score(residual * inverse), score((residual - shift) * inverse));
        let residual = shift + within(residual - shift, R::of(CLIP) * half_width);
        for (((group, count), weight), index) in groups.iter_mut().zip(counts).zip(weights).zip(window) {
            *count = count.saturating_add(u8::from(known & (place.group == index)));
            let gain = *weight * PACE.gain(*count, index);
            let updates = [
                (&mut group.displacement, displacement),
                (&mut group.displacement_square, displacement * displacement),
                (&mut group.residual, residual),
                (&mut group.product, displacement * residual),
                (&mut group.before, before),
                (&mut group.after, after),
            ];
            for (mean, value) in updates {
                mean.approach(value, gain);
            }
            let worse = is_worse(*count, group.before, group.after);
            *group = select_unpredictable(worse, Group::ZERO, *group);
            *count = select_unpredictable(worse, 0, *count);
            group.solve(*count, index);
        }
    }
}

impl<R: Real> Default for Adaptation<R> {
    fn default() -> Self {
        Self::new()
    }
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
                adaptation.observe(&outcome);
            }
            check(&adaptation);
            let launch = schedule.launch(&groups);
            let band = |lead: u16| {
                let median = displacement(now + usize::from(lead));
                Some(Band { lower: median - 1.3, median, upper: median + 1.3, ..Band::NONE })
            };
            probes.record_next(band(1));
            probes.record(&launch, band(launch.lead));
            for lead in [1, horizon.div_ceil(4), horizon.div_ceil(2), horizon] {
                let due = now + usize::from(lead);
                if now >= SAMPLES / 2 && due < SAMPLES {
                    let median = displacement(due);
                    let shift = adaptation.shift(&groups.place(lead), median, &[0.0; EXPERTS]);
                    errors[0] += f64::from(x[due] - median).powi(2);
                    errors[1] += f64::from(x[due] - median - shift).powi(2);
                }
            }
        }
        errors
    }

    fn check(adaptation: &Adaptation<f32>) {
        for Group { scale_change, bias, gate, .. } in &adaptation.groups {
            assert!(scale_change.abs() <= MAX_SCALE_CHANGE, "{adaptation:?}");
            assert!(bias.abs() <= MAX_BIAS, "{adaptation:?}");
            assert!((0.0..=1.0).contains(gate), "{adaptation:?}");
        }
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
                    adaptation.observe(&outcome);
                }
                check(&adaptation);
                let launch = schedule.launch(&groups);
                let median = medians(now);
                let toward = [series(now), medians(now / 3), series(now / 2)];
                assert!(adaptation.shift(&groups.place(launch.lead), median, &toward).is_finite());
                let band =
                    Band { lower: median, median, upper: median, location: medians(now / 2), toward, ..Band::NONE };
                probes.record_next(Some(band));
                probes.record(&launch, Some(band));
            }
        }
        assert_eq!(size_of::<Adaptation<f32>>(), 448);
    }
}
