//! Experts: simple forecasts of the same step, each believed as far as it has lately been right where the model was not.
//!
//! What training made of one season need not hold in the next, and no validation before it can know. So beside the model's
//! point forecast f₀ the device keeps an eye on [`EXPERTS`] others, made of what it reads anyway:
//!
//! ```text
//! y₀ = the linear path alone: readouts not gated, without the head             (nothing that the network learned)
//! y₁ = the last sample
//! y₂ = B_1 of the slot where the step falls + T_0                              (`seasonal`: the last few periods, moved to it)
//! ```
//!
//! One after the other they draw the forecast towards them: f_{e+1} = f_e + β_e (y_e − f_e). A share β is learned for each
//! group g of steps ahead (`probe`) by least squares with exponential forgetting, with gain γ (`guard`) and the
//! group's share w of the probe, each error in units of √h, h being the interval's half width. A forecast is a median, judged
//! by absolute errors |e|; least squares of e/√|e| are the same (iteratively reweighted least squares), and h is how large |e|
//! is expected to be. In units of h, calm nights would say what is believed of the rush hour; in units of one, one storm what
//! is of all nights.
//!
//! ```text
//! z = clip((y − f)/√h, ±REACH)   ρ = clip((x − f)/√h, ±CLIP)     Z += γw(z² − Z)    C += γw(zρ − C), then clamped to 0..(1+κ)Z
//! s_g = clamp((C + κ Z s_{g−1}) / ((1+κ) Z), 0, 1)                β = gate · s
//! ```
//!
//! C is clamped because a season in which the model was right says nothing of the next: what speaks against an expert is not
//! saved up, so it is believed soon after it has begun to be right, as in online gradient descent by its projection (Zinkevich,
//! "Online convex programming and generalized infinitesimal gradient ascent", ICML 2003). Where few probes have come, a group's
//! share is that of the steps before (s₋₁ = 0), which see many more.
//!
//! κ, the gate and when a group forgets all of an expert are `guard`'s, B and A being the errors without and with s. A
//! share is interpolated over log step like all that groups learn.
//!
//! It is prediction with expert advice (Cesa-Bianchi & Lugosi, "Prediction, Learning, and Games", 2006, ch. 2) for squared
//! error, the combination of forecasts of Bates & Granger ("The Combination of Forecasts", 1969) with forgetting. The shares
//! move the median, and the whole band with it.

use core::hint::select_unpredictable;

use crate::guard::{LEAST_WIDTH, Pace, TINY, gate, is_worse, score, within};
use crate::math::Real;
use crate::probe::{GROUPS, LIMIT, Place, Resolved};

/// Experts.
pub const EXPERTS: usize = 3;
/// √h that the way to an expert and a residual count for, at most.
const REACH: f32 = 8.0;
const CLIP: f32 = 3.0;

/// Who is right about the next steps changes with the weather and the time of day, and their probes come often.
const PACE: Pace =
    Pace { forgetting: [1.0 / 32.0, 1.0 / 64.0, 1.0 / 255.0, 1.0 / 255.0], prior: [4.0, 4.0, 48.0, 80.0] };

/// One expert's means in one group.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Means<R> {
    /// Z.
    square: R,
    /// C.
    product: R,
    /// B.
    before: R,
    /// A.
    after: R,
    /// s.
    fitted: R,
}

/// What one channel knows of its experts: 300 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts<R> {
    means: [[Means<R>; GROUPS]; EXPERTS],
    /// n, up to 255.
    count: [[u8; GROUPS]; EXPERTS],
    /// β: a share of the way towards each expert.
    shares: [[R; GROUPS]; EXPERTS],
}

crate::persist::persist!(impl [R: crate::persist::Persist] Means<R> { square, product, before, after, fitted });
crate::persist::persist!(impl [R: crate::persist::Persist] Experts<R> { means, count, shares });

impl<R: Real> Means<R> {
    const ZERO: Self = Self { square: R::ZERO, product: R::ZERO, before: R::ZERO, after: R::ZERO, fitted: R::ZERO };
}

impl<R: Real> Experts<R> {
    /// Nothing learned; all zeros.
    pub const fn new() -> Self {
        Self {
            means: [[Means::ZERO; GROUPS]; EXPERTS],
            count: [[0; GROUPS]; EXPERTS],
            shares: [[R::ZERO; GROUPS]; EXPERTS],
        }
    }

    /// β of each expert in each group.
    pub fn shares(&self) -> &[[R; GROUPS]; EXPERTS] {
        &self.shares
    }

    /// How far the forecast of a step moves, in deviations; `toward` is how far each expert's lies from the model's median.
    #[inline]
    pub fn shift(&self, place: &Place<R>, toward: &[R; EXPERTS]) -> R {
        let mut shift = R::ZERO;
        for (shares, toward) in self.shares.iter().zip(toward) {
            // Bounded whatever a snapshot said.
            let share = within(place.interpolate(*shares), R::ONE);
            shift += share * within(*toward - shift, R::of(2.0 * LIMIT));
        }
        shift
    }

    /// Learns from a resolved probe. Returns it as it would have been, had the forecast been the one that was believed.
    #[inline(never)]
    pub fn observe(&mut self, resolved: &Resolved<R>) -> Resolved<R> {
        let Resolved { place, known, residual, below, above, displacement, toward, .. } = *resolved;
        let half_width = (R::of(0.5) * (below + above)).at_least(R::of(LEAST_WIDTH));
        let inverse = (R::of(-0.5) * half_width.ln()).exp();
        // Other groups learn nothing of it.
        let window = place.window();
        let weights = place.weight.get(window.clone()).unwrap_or_default();
        let mut shift = R::ZERO;
        for (((means, counts), shares), toward) in
            self.means.iter_mut().zip(&mut self.count).zip(&mut self.shares).zip(&toward)
        {
            let believed = within(place.interpolate(*shares), R::ONE);
            // s of the group before.
            let mut before_it =
                window.start.checked_sub(1).and_then(|group| means.get(group)).map_or(R::ZERO, |means| means.fitted);
            let groups = means.get_mut(window.clone()).unwrap_or_default();
            let counts = counts.get_mut(window.clone()).unwrap_or_default();
            let shares = shares.get_mut(window.clone()).unwrap_or_default();
            let way = *toward - shift;
            let rest = residual - shift;
            let mut fitted = R::ZERO;
            for (means, weight) in groups.iter().zip(weights) {
                fitted += *weight * means.fitted;
            }
            let reach = within(way * inverse, R::of(REACH));
            let updates = [
                reach * reach,
                reach * within(rest * inverse, R::of(CLIP)),
                score(rest * inverse),
                score((rest - fitted * way) * inverse),
            ];
            let learned = groups.iter_mut().zip(counts).zip(shares).zip(weights).zip(window.clone());
            for ((((means, count), share), weight), group) in learned {
                *count = count.saturating_add(u8::from(known & (place.group == group)));
                let gain = PACE.gain(*count, group);
                let Means { square, product, before, after, .. } = means;
                for (mean, value) in [square, product, before, after].into_iter().zip(updates) {
                    mean.approach(value, *weight * gain);
                }
                let worse = is_worse(*count, means.before, means.after);
                *means = select_unpredictable(worse, Means::ZERO, *means);
                *count = select_unpredictable(worse, 0, *count);
                let Means { square, product, before, after, fitted } = means;
                let ridge = PACE.ridge::<R>(*count, group);
                let least = (ridge * *square).at_least(R::of(TINY));
                *product = product.at_least(R::ZERO).at_most(least);
                let pull = (ridge - R::ONE) * *square * before_it;
                *fitted = ((*product + pull) / least).at_most(R::ONE).at_least(R::ZERO);
                before_it = *fitted;
                *share = gate(*count, *before, *after) * *fitted;
            }
            shift += believed * way;
        }
        Resolved { residual: residual - shift, displacement: displacement + shift, ..*resolved }
    }
}

impl<R: Real> Default for Experts<R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Real;
    use crate::probe::{Band, Groups, Probes, Schedule};
    use crate::q20::Q20;

    const SAMPLES: usize = 6_000;

    /// Even in ±1 (xorshift64*).
    fn noise(state: &mut u64) -> f32 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// A series of noise about what `truth` says at a time, forecast as 0 by the model and as `says` by the experts. Returns
    /// the mean squared errors without and with what is believed, over the last half.
    fn stream<R: Real>(horizon: u16, truth: impl Fn(usize) -> f32, says: impl Fn(usize) -> [f32; EXPERTS]) -> [f64; 2] {
        let groups = Groups::<R>::new(horizon);
        let (mut schedule, mut probes, mut experts) = (Schedule::new(), Probes::<R>::new(), Experts::<R>::new());
        let mut state = 1;
        let mut errors = [0.0_f64; 2];
        for now in 0..SAMPLES {
            let sample = Some(R::of(truth(now) + 0.3 * noise(&mut state)));
            for resolved in [probes.resolve_next(sample), probes.resolve(&schedule.advance(&groups), sample)] {
                let left = experts.observe(&resolved);
                assert!(!resolved.known || left.residual.to_f32().is_finite());
            }
            let launch = schedule.launch(&groups);
            let band = |lead: u16| {
                let toward = says(now + usize::from(lead)).map(R::of);
                Some(Band { lower: R::of(-0.5), upper: R::of(0.5), toward, ..Band::NONE })
            };
            probes.record_next(band(1));
            probes.record(&launch, band(launch.lead));
            for lead in [1, horizon.div_ceil(4), horizon] {
                let due = now + usize::from(lead);
                if now >= SAMPLES / 2 {
                    let shift = experts.shift(&groups.place(lead), &says(due).map(R::of)).to_f32();
                    errors[0] += f64::from(truth(due)).powi(2);
                    errors[1] += f64::from(truth(due) - shift).powi(2);
                }
            }
        }
        errors
    }

    fn wave(now: usize) -> f32 {
        (now as f32 * 0.2618).sin()
    }

    #[test]
    fn whichever_expert_is_right_is_believed() {
        for horizon in [1, 24, 96] {
            for right in 0..EXPERTS {
                let says = |now: usize| {
                    let mut says = [wave(now + 5), -wave(now), wave(2 * now)];
                    says[right] = wave(now);
                    says
                };
                let [plain, advised] = stream::<f32>(horizon, wave, says);
                assert!(advised < 0.05 * plain, "f32, {right} of {horizon}: {plain} {advised}");
                let [plain, advised] = stream::<Q20>(horizon, wave, says);
                assert!(advised < 0.05 * plain, "Q20, {right} of {horizon}: {plain} {advised}");
            }
        }
    }

    #[test]
    fn experts_who_know_nothing_do_no_harm() {
        for horizon in [1, 24, 96] {
            // 0.03 is the variance of what the forecast cannot know.
            let [plain, advised] = stream::<f32>(horizon, |_| 0.0, |now| [wave(now), 1.0, wave(now * now % 97)]);
            assert!(plain == 0.0 && advised < 0.01 * 0.03 * (3 * SAMPLES / 2) as f64, "{horizon}: {advised}");
        }
    }

    #[test]
    fn an_expert_who_turns_wrong_is_left() {
        for horizon in [1, 24] {
            let turn = SAMPLES / 2;
            let truth = |now: usize| if now < turn { wave(now) } else { -wave(now) };
            let [plain, advised] = stream::<f32>(horizon, truth, |now| [wave(now); EXPERTS]);
            // Believed on, it would cost four times as much.
            assert!(advised < 1.3 * plain, "{horizon}: {plain} {advised}");
        }
    }

    #[test]
    fn what_spoke_against_an_expert_is_not_saved_up() {
        for horizon in [1, 24, 96] {
            let turn = SAMPLES / 2;
            let truth = |now: usize| if now < turn { -wave(now) } else { wave(now) };
            let [plain, advised] = stream::<f32>(horizon, truth, |now| [wave(now), 0.0, 0.0]);
            assert!(advised < 0.2 * plain, "{horizon}: {plain} {advised}");
        }
    }

    fn is_bounded_on_hostile_streams<R: Real>() {
        let hostile = [0.0, f32::MAX, f32::MIN, 1e9, f32::NAN, f32::INFINITY, -5.0, 1e-30];
        let (groups, mut state) = (Groups::<R>::new(24), 7);
        let (mut schedule, mut probes, mut experts) = (Schedule::new(), Probes::<R>::new(), Experts::<R>::new());
        let mut any = || R::of(hostile[(noise(&mut state).abs() * 7.99) as usize]);
        for _ in 0..20_000 {
            let due = schedule.advance(&groups);
            for sample in [probes.resolve_next(Some(any())), probes.resolve(&due, Some(any()))] {
                experts.observe(&sample);
            }
            let fitted = experts.means.as_flattened().iter().map(|means| &means.fitted);
            for share in fitted.chain(experts.shares.as_flattened()) {
                assert!((0.0..=1.0).contains(&share.to_f32()), "{experts:?}");
            }
            let launch = schedule.launch(&groups);
            let toward = [any(), any(), any()];
            assert!(experts.shift(&groups.place(launch.lead), &toward).to_f32().is_finite());
            let band = Band { lower: any(), median: any(), upper: any(), shift: any(), location: any(), toward };
            probes.record_next(Some(band));
            probes.record(&launch, Some(band));
        }
    }

    #[test]
    fn shares_are_bounded_on_hostile_streams() {
        is_bounded_on_hostile_streams::<f32>();
        is_bounded_on_hostile_streams::<Q20>();
        assert_eq!(size_of::<Experts<f32>>(), 300);
    }
}
