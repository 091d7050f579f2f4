//! Online conformal correction: the band's two half widths, scaled until each tail is missed as often as it says.
//!
//! Each group of steps ahead (`probe`) has two factors, f = e^λ, of the forecast's own half widths: how far below the
//! median the lower quantile lies, and how far above it the upper one. A resolved probe moves them by quantile
//! tracking, which is adaptive conformal inference (Gibbs & Candès, "Adaptive conformal inference under distribution
//! shift", NeurIPS 2021, eq. 2) on the score itself (Angelopoulos, Candès & Tibshirani, "Conformal PID control for time
//! series prediction", NeurIPS 2023, eq. 4). A factor at a step is interpolated over log step, so an update is the
//! subgradient of the pinball loss by each group's λ, its share w_g:
//!
//! ```text
//! lower  λ_g += η_g w_g (1{x < lower, as issued} − τ + V ψ)              τ: the tail's share, 0.1 of a band of 80 %
//! upper  λ_g += η_g w_g (1{x > upper, as issued} − τ + V ψ)
//! ψ      = u − c_g                        u = min(|x − median| / half width as issued, CAP), c_g: its usual size
//! c_g    += κ w_g ψ − c_g · (what the misses, ψ aside, moved λ_g by, mean of both sides)
//! η_g    = max(FLOOR, FIRST · 8 / (8 + n_g)) / √crowd_g                        n_g: probes of the group so far
//! ```
//!
//! - Steps are relative (λ is a logarithm): they are right for every unit and every width.
//! - Whether a tail was missed says little: one bit, mostly the same one. How large an error was beside its band tells
//!   several probes earlier that errors grow or shrink altogether (a holiday, a storm), so ψ moves both sides at once.
//!   It cannot bias them: c follows u, so the sum of all ψ stays within CAP/κ and what the misses themselves moved,
//!   which has their sign; the tails' own terms take back what it moves for good. This is the scorecaster of conformal
//!   PID control in its simplest form, exponential smoothing of the score's scale.
//! - η falls as the Robbins–Monro step of a quantile does (Angelopoulos, Barber & Bates, "Online conformal prediction
//!   with decaying step sizes", ICML 2024), down to a floor that keeps up with a drifting sensor.
//! - Probes of a group overlap, and so do their errors: of k under way at once each gets 1/√k of a step. Step 1's do not,
//!   but come with every sample: they count as if four were under way.
//! - What counts is the band as it was issued, a lead ago, not as it would be now: λ follows the errors' regime, and the
//!   band that λ would draw now covers a sample that belongs to that regime more often than the band that was issued.
//!   The delay is as many updates as probes overlap: too few to make λ swing.
//! - λ is within ln ⅛ and ln 16, so every band is finite; and however wrong the model, over N probes the mean miss
//!   rate is within (range of λ)/(η N) + V · CAP/(κ N) of τ while λ is inside.

use core::hint::select_unpredictable;

use crate::math::Real;
use crate::probe::{GROUPS, Place, Resolved, SLOTS_OF};

/// The narrowest factor.
pub const MIN_FACTOR: f32 = 1.0 / 8.0;
/// The widest factor.
pub const MAX_FACTOR: f32 = 16.0;
/// ln [`MIN_FACTOR`].
const MIN_LOG: f32 = -2.079_441_5;
/// ln [`MAX_FACTOR`].
const MAX_LOG: f32 = 2.772_588_7;
/// η of the first probe.
const FIRST_STEP: f32 = 0.3;
/// η at the end. The tail's miss rate moves by about 0.22 for a λ of 1 and ψ by 0.62 (normal errors), so a change is
/// followed in about 1 / (0.22 η + 0.62 V η) probes.
const STEP_FLOOR: f32 = 0.1;
/// Probes after which η is half the first one.
const STEP_DECAY: u32 = 8;
/// V: what ψ counts for beside a miss.
const VOLATILITY: f32 = 2.0;
/// Probes until ψ counts: λ and c have come near by then.
const SETTLED: u8 = 32;
/// The largest u: one wild sample moves λ no farther.
const CAP: f32 = 3.0;
/// E u of normal errors in a band of 80 %: √(2/π) / 1.2816. What c starts from.
pub(crate) const USUAL: f32 = 0.622_6;
/// κ at the end; before, c is the mean of what came, and [`USUAL`] counts for so many.
const USUAL_STEP: f32 = 0.03;
const USUAL_COUNT: u32 = 4;
/// No half width is less, in deviations: a still sensor's band may have none.
const LEAST_HALF: f32 = 1e-6;
/// Probes that factors from a model file count for.
const LEARNED: u8 = 16;

/// One channel's correction: 52 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conformal<R> {
    /// λ below the median. `[GROUPS]`
    lower: [R; GROUPS],
    /// λ above the median. `[GROUPS]`
    upper: [R; GROUPS],
    /// c less [`USUAL`]. `[GROUPS]`
    unusual: [R; GROUPS],
    /// n, up to 255.
    count: [u8; GROUPS],
}

/// The widening at one step: factors of the half widths below and above the median, in [`MIN_FACTOR`]..=[`MAX_FACTOR`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors<R> {
    /// Of median − lower.
    pub lower: R,
    /// Of upper − median.
    pub upper: R,
}

impl<R: Real> Factors<R> {
    /// No correction.
    pub const ONE: Self = Self { lower: R::ONE, upper: R::ONE };

    /// The same in `f32`.
    pub fn to_f32(&self) -> Factors<f32> {
        Factors { lower: self.lower.to_f32(), upper: self.upper.to_f32() }
    }

    /// Moves quantiles away from the median or towards it: order stays, whatever their number.
    #[inline]
    pub fn apply(&self, median: R, quantiles: &mut [R]) {
        for quantile in quantiles {
            let offset = *quantile - median;
            *quantile = median + offset * select_unpredictable(offset < R::ZERO, self.lower, self.upper);
        }
    }
}

crate::persist::persist!(impl [R: crate::persist::Persist] Conformal<R> { lower, upper, unusual, count });

impl<R: Real> Conformal<R> {
    /// No correction, nothing learned; all zeros.
    pub const fn unlearned() -> Self {
        Self { lower: [R::ZERO; GROUPS], upper: [R::ZERO; GROUPS], unusual: [R::ZERO; GROUPS], count: [0; GROUPS] }
    }

    /// From each group's factors in a model file: of its training, by this same code. What is no positive number
    /// counts as 1, what is out of bounds as the nearer bound.
    pub fn new(factors: [Factors<R>; GROUPS]) -> Self {
        let log = |factor: R| {
            let factor = select_unpredictable(factor > R::ZERO, factor, R::ONE);
            bounded(factor.at_most(R::of(MAX_FACTOR)).at_least(R::of(MIN_FACTOR)).ln())
        };
        Self {
            lower: factors.map(|factors| log(factors.lower)),
            upper: factors.map(|factors| log(factors.upper)),
            unusual: [R::ZERO; GROUPS],
            count: [LEARNED; GROUPS],
        }
    }

    /// Each group's factors: what a model file keeps.
    pub fn learned(&self) -> [Factors<R>; GROUPS] {
        let mut upper = self.upper.iter();
        self.lower.map(|lower| Factors { lower: lower.exp(), upper: upper.next().map_or(R::ONE, |upper| upper.exp()) })
    }

    /// The correction at a step.
    #[inline(never)]
    pub fn factors(&self, place: &Place<R>) -> Factors<R> {
        Factors { lower: place.interpolate(self.lower).exp(), upper: place.interpolate(self.upper).exp() }
    }

    /// Learns from a resolved probe. `tails`: the share of samples below the lowest quantile and above the highest, as
    /// the model promises them. `tolerance`, at least 0, in deviations: what lies so little outside counts as inside
    /// (half a step of a sensor whose forecasts are rounded to its steps, see `Intake::restore`).
    #[inline]
    pub fn observe(&mut self, resolved: &Resolved<R>, tails: [R; 2], tolerance: R) {
        let Resolved { place, known, residual, below, above, shift, .. } = *resolved;
        let [lower_tail, upper_tail] = tails;
        let missed = |missed: bool| select_unpredictable(missed, R::ONE, R::ZERO);
        let too_low = missed(-residual > below + tolerance) - lower_tail;
        let too_high = missed(residual > above + tolerance) - upper_tail;
        let error = residual - shift;
        let half = select_unpredictable(error < R::ZERO, below + shift, above - shift) + tolerance;
        let size = (error.abs() / half.at_least(R::of(LEAST_HALF))).at_most(R::of(CAP));
        let groups = self.lower.iter_mut().zip(&mut self.upper).zip(self.unusual.iter_mut().zip(&mut self.count));
        for (group, (((lower, upper), (unusual, count)), weight)) in groups.zip(&place.weight).enumerate() {
            let usual = R::of(USUAL) + *unusual;
            let surprise = size - usual;
            let step = *weight * step(*count, group);
            let common = select_unpredictable(*count >= SETTLED, R::of(VOLATILITY), R::ZERO) * surprise;
            *lower = bounded(*lower + step * (too_low + common));
            *upper = bounded(*upper + step * (too_high + common));
            let gain = R::one_over(USUAL_COUNT + u32::from(*count)).at_least(R::of(USUAL_STEP));
            let moved = *weight * gain * surprise - R::of(0.5) * usual * step * (too_low + too_high);
            *unusual = (*unusual + moved).at_least(R::of(-USUAL)).at_most(R::of(CAP - USUAL));
            *count = count.saturating_add(u8::from(known & (place.group == group)));
        }
    }
}

impl<R: Real> Default for Conformal<R> {
    fn default() -> Self {
        Self::unlearned()
    }
}

/// λ within its bounds.
#[inline]
fn bounded<R: Real>(log: R) -> R {
    log.at_least(R::of(MIN_LOG)).at_most(R::of(MAX_LOG))
}

/// η of a group after so many of its probes.
#[inline]
fn step<R: Real>(count: u8, group: usize) -> R {
    /// 1/√crowd.
    const SHARE: [f32; GROUPS] = [0.5, core::f32::consts::FRAC_1_SQRT_2, 0.577_350_3, 1.0 / 3.0];
    const { assert!(SLOTS_OF[1] == 2 && SLOTS_OF[2] == 3 && SLOTS_OF[3] == 9, "SHARE follows the probes under way") };
    let decayed = R::of(FIRST_STEP * STEP_DECAY as f32) * R::one_over(STEP_DECAY + u32::from(count));
    decayed.at_least(R::of(STEP_FLOOR)) * SHARE.get(group).copied().map_or(R::ZERO, R::of)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::probe::{Band, Groups, Probes, Schedule};

    const TAILS: [f32; 2] = [0.1, 0.1];
    const SAMPLES: usize = 20_000;

    /// xorshift64*, to numbers even in (0, 1).
    struct Noise(u64);

    impl Noise {
        fn even(&mut self) -> f32 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 + 0.5) / 16_777_216.0
        }

        fn normal(&mut self) -> f32 {
            (-2.0 * self.even().ln()).sqrt() * (core::f32::consts::TAU * self.even()).cos()
        }
    }

    /// Streams a series whose h-step error is the sum of the innovations in between: errors overlap, grow with the lead
    /// and are forecast by a band that is right for innovations of deviation 1 and normal. Returns, for each of a few
    /// leads, coverage of the bands as issued by quarter of the span, and the correction at the end.
    fn stream(
        horizon: u16,
        conformal: Conformal<f32>,
        mut innovation: impl FnMut(usize) -> f32,
    ) -> (Vec<[f64; 4]>, Conformal<f32>) {
        let groups = Groups::new(horizon);
        let (mut schedule, mut probes, mut conformal) = (Schedule::new(), Probes::new(), conformal);
        let leads: Vec<u16> = (1..=8).map(|eighth| (horizon * eighth).div_ceil(8)).chain([1]).collect();
        let walk: Vec<f32> = (0..SAMPLES)
            .scan(0.0_f64, |sum, now| {
                *sum += f64::from(innovation(now));
                Some(*sum as f32)
            })
            .collect();
        let mut covered = std::vec![[[0.0_f64; 2]; 4]; leads.len()];
        for now in 0..SAMPLES {
            let due = schedule.advance(&groups);
            conformal.observe(&probes.resolve_next(Some(walk[now])), TAILS, 0.0);
            conformal.observe(&probes.resolve(&due, Some(walk[now])), TAILS, 0.0);
            let issue = |conformal: &Conformal<f32>, lead: u16| {
                let half = 1.281_551_6 * f32::from(lead).sqrt();
                let mut band = [walk[now] - half, walk[now], walk[now] + half];
                conformal.factors(&groups.place(lead)).apply(walk[now], &mut band);
                band
            };
            let launch = schedule.launch(&groups);
            let band = |lead: u16| {
                let [lower, median, upper] = issue(&conformal, lead);
                Some(Band { lower, median, upper, location: median, ..Band::NONE })
            };
            probes.record_next(band(1));
            probes.record(&launch, band(launch.lead));
            for (lead, covered) in leads.iter().zip(&mut covered) {
                if let Some(x) = walk.get(now + usize::from(*lead)) {
                    let [lower, median, upper] = issue(&conformal, *lead);
                    assert!(lower <= median && median <= upper && upper.is_finite() && lower.is_finite());
                    let [inside, all] = &mut covered[now * 4 / SAMPLES];
                    *inside += f64::from(u8::from((lower..=upper).contains(x)));
                    *all += 1.0;
                }
            }
        }
        (covered.iter().map(|quarters| quarters.map(|[inside, all]| inside / all)).collect(), conformal)
    }

    /// 78 to 82 % over all leads and the whole span, 72 to 88 % over all leads in each quarter.
    fn check(name: &str, coverage: &[[f64; 4]]) {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let quarters: Vec<f64> =
            (0..4).map(|q| mean(&coverage.iter().map(|quarters| quarters[q]).collect::<Vec<_>>())).collect();
        let overall = mean(&quarters);
        std::println!("{name}: {overall:.3} {quarters:.3?}");
        assert!((0.78..=0.82).contains(&overall), "{name}: {overall} {quarters:?}");
        assert!(quarters.iter().all(|quarter| (0.72..=0.88).contains(quarter)), "{name}: {quarters:?}");
    }

    #[test]
    fn coverage_holds_whatever_the_errors() {
        let span = SAMPLES as f32;
        for horizon in [1, 24, 96] {
            type Errors = (&'static str, fn(&mut Noise, f32) -> f32);
            let errors: [Errors; 5] = [
                ("as forecast", |noise, _| noise.normal()),
                ("doubling slowly", |noise, part| noise.normal() * (1.0 + part)),
                ("doubling at once", |noise, part| noise.normal() * if part < 0.5 { 1.0 } else { 2.0 }),
                // Student's t of 3 degrees of freedom.
                ("heavy tails", |noise, _| {
                    let chi: f32 = (0..3).map(|_| noise.normal().powi(2)).sum();
                    noise.normal() / (chi / 3.0).sqrt()
                }),
                // Exponential about its mean: a sum of them does not drift.
                ("skewed", |noise, _| -noise.even().ln() - 1.0),
            ];
            for (name, error) in errors {
                let mut noise = Noise(20_221_205);
                let (coverage, _) = stream(horizon, Conformal::unlearned(), |now| error(&mut noise, now as f32 / span));
                check(&std::format!("{name}, horizon {horizon}"), &coverage);
            }
        }
    }

    #[test]
    fn a_band_far_too_wide_or_narrow_is_right_after_the_first_quarter() {
        for (horizon, factor) in [(24, 0.4), (24, 4.0), (96, 0.4), (96, 4.0)] {
            let mut noise = Noise(11);
            let (mut coverage, _) = stream(horizon, Conformal::unlearned(), |_| factor * noise.normal());
            for quarters in &mut coverage {
                quarters[0] = quarters[1];
            }
            check(&std::format!("{factor} times, horizon {horizon}"), &coverage);
        }
    }

    /// Errors that treble for a while: coverage within that while, and right after it.
    #[test]
    fn a_storm_and_its_end_are_followed() {
        let mut noise = Noise(5);
        let stormy = |now: usize| now / 250 % 2 == 1;
        let (mut probes, mut conformal) = (Probes::new(), Conformal::<f32>::unlearned());
        let groups = Groups::new(1);
        let mut covered = [[0.0_f32; 2]; 2];
        for now in 0..SAMPLES {
            let x = noise.normal() * if stormy(now) { 3.0 } else { 1.0 };
            let Factors { lower, upper } = conformal.factors(&groups.place(1));
            let [inside, all] = &mut covered[usize::from(stormy(now))];
            *inside += f32::from(u8::from((-lower * 1.281_551_6..=upper * 1.281_551_6).contains(&x)));
            *all += 1.0;
            conformal.observe(&probes.resolve_next(Some(x)), TAILS, 0.0);
            let band = Band { lower: -lower * 1.281_551_6, upper: upper * 1.281_551_6, ..Band::NONE };
            probes.record_next(Some(band));
        }
        let [calm, storm] = covered.map(|[inside, all]| inside / all);
        assert!((0.72..=0.82).contains(&storm) && (0.78..=0.88).contains(&calm), "{calm} {storm}");
    }

    /// Where the model's own median lies says nothing: what counts is the median as it was issued.
    #[test]
    fn what_moves_a_forecast_moves_no_band() {
        let mut noise = Noise(13);
        let (mut probes, mut conformal) = ([Probes::new(); 2], [Conformal::<f32>::unlearned(); 2]);
        for now in 0..4_000 {
            let x = noise.normal() * if now / 500 % 2 == 1 { 3.0 } else { 1.0 };
            for ((probes, conformal), shift) in probes.iter_mut().zip(&mut conformal).zip([0.0, 2.0]) {
                conformal.observe(&probes.resolve_next(Some(x)), TAILS, 0.0);
                let Factors { lower, upper } = conformal.factors(&Groups::new(1).place(1));
                let (lower, upper) = (-lower * 1.281_551_6, upper * 1.281_551_6);
                probes.record_next(Some(Band { lower, median: -shift, upper, shift, ..Band::NONE }));
            }
        }
        let [plain, moved] = conformal.map(|conformal| conformal.learned()[0]);
        let near = |a: f32, b: f32| (a / b).ln().abs() < 0.2;
        assert!(near(plain.lower, moved.lower) && near(plain.upper, moved.upper), "{plain:?} {moved:?}");
    }

    #[test]
    fn the_factors_that_a_stream_ends_with_fit_it_from_the_start() {
        let mut noise = Noise(7);
        let (_, learned) = stream(24, Conformal::unlearned(), |_| 2.0 * noise.normal());
        for Factors { lower, upper } in learned.learned() {
            assert!((1.4..=2.8).contains(&lower) && (1.4..=2.8).contains(&upper), "{lower} {upper}");
        }
        let (again, _) = stream(24, Conformal::new(learned.learned()), |_| 2.0 * noise.normal());
        check("learned", &again);
    }

    #[test]
    fn a_skewed_error_widens_one_side_and_narrows_the_other() {
        // One stream's last factors jitter: the mean over some.
        let (mut lower, mut upper) = (0.0, 0.0);
        for seed in 3..11 {
            let mut noise = Noise(seed);
            let (_, conformal) = stream(1, Conformal::unlearned(), |_| -noise.even().ln() - core::f32::consts::LN_2);
            let factors = conformal.factors(&Groups::new(1).place(1));
            (lower, upper) = (lower + factors.lower / 8.0, upper + factors.upper / 8.0);
        }
        // Exact: ln 1.8 = 0.588 below and ln 5 = 1.609 above, of 1.282.
        assert!((lower - 0.459).abs() < 0.12 && (upper - 1.256).abs() < 0.4, "{lower} {upper}");
    }

    #[test]
    fn factors_stay_within_their_bounds_and_quantiles_in_order_on_hostile_streams() {
        let hostile: [fn(usize) -> f32; 7] = [
            |_| 0.0,
            |_| f32::MAX,
            |now| if now % 2 == 0 { f32::MAX } else { f32::MIN },
            |now| if now % 97 == 0 { 1e9 } else { 0.0 },
            |_| f32::NAN,
            |now| if now % 2 == 0 { f32::NAN } else { -5.0 },
            |_| f32::NEG_INFINITY,
        ];
        for horizon in [1, 24, 16_384] {
            let groups = Groups::new(horizon);
            for series in hostile {
                let (mut schedule, mut probes, mut conformal) =
                    (Schedule::new(), Probes::new(), Conformal::<f32>::unlearned());
                for now in 0..30_000 {
                    let due = schedule.advance(&groups);
                    conformal.observe(&probes.resolve_next(Some(series(now))), TAILS, 0.0);
                    conformal.observe(&probes.resolve(&due, Some(series(now))), TAILS, 0.0);
                    let launch = schedule.launch(&groups);
                    let mut quantiles = [-1.0, -0.5, 0.0, 0.25, 2.0];
                    let factors = conformal.factors(&groups.place(launch.lead));
                    factors.apply(0.0, &mut quantiles);
                    assert!(quantiles.is_sorted() && quantiles[2] == 0.0, "{quantiles:?}");
                    for factor in [factors.lower, factors.upper] {
                        assert!((0.999 * MIN_FACTOR..=1.001 * MAX_FACTOR).contains(&factor), "{factor}");
                    }
                    let [lower, .., upper] = quantiles;
                    let band = Band { lower, upper, ..Band::NONE };
                    probes.record_next(Some(band));
                    probes.record(&launch, Some(band));
                }
            }
        }
    }

    #[test]
    fn missing_samples_teach_nothing() {
        let groups = Groups::new(24);
        let (mut schedule, mut probes) = (Schedule::new(), Probes::new());
        let mut conformal = Conformal::new([Factors { lower: 2.0, upper: 0.5 }; GROUPS]);
        let before = conformal;
        for _ in 0..1_000 {
            conformal.observe(&probes.resolve_next(None), TAILS, 0.0);
            conformal.observe(&probes.resolve(&schedule.advance(&groups), None), TAILS, 0.0);
            let launch = schedule.launch(&groups);
            let band = Band { lower: -1.0, upper: 1.0, ..Band::NONE };
            probes.record_next(Some(band));
            probes.record(&launch, Some(band));
        }
        assert_eq!(conformal, before);
    }

    #[test]
    fn factors_from_a_file_are_bounded() {
        for (found, expected) in
            [(1.0, 1.0), (3.0, 3.0), (0.0, 1.0), (-2.0, 1.0), (f32::NAN, 1.0), (f32::INFINITY, 16.0), (1e-20, 0.125)]
        {
            for Factors { lower, upper } in Conformal::new([Factors { lower: found, upper: found }; GROUPS]).learned() {
                assert!((lower / expected - 1.0).abs() < 1e-5 && lower == upper, "{found} became {lower}");
            }
        }
        assert_eq!(size_of::<Conformal<f32>>(), 52);
    }
}
