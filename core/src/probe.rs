//! Probes: forecasts of single steps that are kept until their sample comes, so that the board can score itself.
//!
//! The steps ahead 1..=H are cut into [`GROUPS`] groups of about equal width in log step: {1}, up to ∛H, up to ∛H²,
//! up to H. What is learned of a group (`conformal`, `experts`, `adaptation`) stands at its geometric middle; between two middles
//! it is interpolated linearly over log step, so that a fan has no jumps:
//!
//! ```text
//! anchor_g = ½ (ln first_g + ln last_g)           p = Σ_g clamp((ln step − anchor_g) / (anchor_{g+1} − anchor_g), 0, 1)
//! weight_g = max(0, 1 − |p − g|), which sum to 1
//! ```
//!
//! The next sample is forecast after each sample anyway, and so step 1 is probed by every one. Beside it one more probe is
//! launched: of the group whose turn it is, or else of the longest group with a place free, at a lead from the group's
//! range. Turns and leads follow the golden ratio's sequence (wrapping multiples of 2³²/φ), which fills a range evenly and
//! never falls in step with the season. At each sample at most one of these is resolved, the longest that is due. So a
//! sample's cost is constant, and what is probed depends on the count of samples alone, never on their values. Each channel
//! has a [`Schedule`] of its own: it rests while the channel is missing, and no channel hears of another's gaps.

use core::hint::select_unpredictable;
use core::ops::Range;

use crate::experts::EXPERTS;
use crate::math::Real;

/// Groups of steps ahead.
pub const GROUPS: usize = 4;
/// Probes under way, of each group: long ones take longer. Of step 1 there is one at a time, which needs no schedule.
pub(crate) const SLOTS_OF: [usize; GROUPS] = [1, 2, 3, 9];
/// Probes under way that a [`Schedule`] keeps.
pub const SLOTS: usize = SLOTS_OF[1] + SLOTS_OF[2] + SLOTS_OF[3];
/// With one more place, where what is not kept goes: it costs what a kept one costs.
const PLACES: usize = SLOTS + 1;
/// The group of each place, longest last.
const GROUP_OF: [usize; SLOTS] = [1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3];
/// 2³²/φ.
const GOLDEN: u32 = 0x9e37_79b9;
/// Which group is served first, by turns; the longest one with a free place if it has none. The longest steps are most of a
/// forecast.
const TURN_OF: [usize; 8] = [1, 3, 2, 3, 1, 3, 2, 3];
/// No sample and no forecast is farther from zero, in deviations of the training data.
pub const LIMIT: f32 = 1e6;

/// How the steps ahead are cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Groups<R> {
    /// The last step of each group, ascending; groups that a short horizon leaves empty are the last ones.
    last: [u16; GROUPS],
    /// ln of each group's geometric middle.
    anchor: [R; GROUPS],
    /// 1 / (anchor_{g+1} − anchor_g); 0 where group g + 1 is empty.
    inverse_gap: [R; GROUPS - 1],
}

/// Where a step stands among the groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place<R> {
    /// Each group's share; they sum to 1.
    pub weight: [R; GROUPS],
    /// The group that holds the step.
    pub group: usize,
    /// The first of the groups, one after the other, that have all the weight, and how many: two, or one of step 1.
    first: usize,
    groups: usize,
}

/// A band as it was issued, corrections and all, beside the model's own point forecast; in deviations of the training
/// data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band<R> {
    /// The lowest quantile, issued.
    pub lower: R,
    /// The point forecast before any correction.
    pub median: R,
    /// The highest quantile, issued.
    pub upper: R,
    /// By how much the point forecast was moved (`adaptation`): issued, it was `median + shift`.
    pub shift: R,
    /// The level that the forecast was made relative to.
    pub location: R,
    /// How far each expert's forecast (`experts`) lies from `median`.
    pub toward: [R; EXPERTS],
}

/// A band under way: 20 bytes. What need not be exact takes 16 bits ([`Real::shorten`]).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Probe<R> {
    median: R,
    /// median − lower; negative where a correction has moved the band over the median.
    below: u16,
    /// upper − median; negative likewise.
    above: u16,
    /// By how much the point forecast was moved.
    shift: u16,
    /// median − location.
    displacement: u16,
    toward: [u16; EXPERTS],
    /// 0: none.
    known: u16,
}

/// A band beside the sample that came; everything is finite and within ±2 [`LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolved<R> {
    /// Where the probe's lead stands; no weight at all if there is nothing to learn: nothing was due, or it was not
    /// forecast, or the sample is missing.
    pub place: Place<R>,
    /// Whether there is something to learn.
    pub known: bool,
    /// Sample − median.
    pub residual: R,
    /// median − lower; negative where a correction has moved the band over the median.
    pub below: R,
    /// upper − median; negative likewise.
    pub above: R,
    /// By how much the median was moved (`adaptation`) before the band was issued.
    pub shift: R,
    /// median − location.
    pub displacement: R,
    /// How far each expert's forecast lies from the median.
    pub toward: [R; EXPERTS],
}

/// When which step of a channel is probed; 76 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Samples until a probe is due; 0: the place is free.
    remaining: [u16; PLACES],
    lead: [u16; PLACES],
    /// Multiples of 2³²/φ, wrapping: where in a group's range the next lead lies; the first one counts samples.
    turn: [u32; GROUPS],
}

/// The probe that a sample resolves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Due<R> {
    slot: usize,
    place: Place<R>,
    due: bool,
}

/// The probe to launch now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// [`SLOTS`]: nowhere, the forecast is not kept.
    slot: usize,
    /// The step ahead to forecast, 1 to the horizon.
    pub lead: u16,
}

/// One channel's probes under way: 320 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probes<R> {
    /// Of step 1.
    next: Probe<R>,
    slots: [Probe<R>; PLACES],
}

crate::persist::persist!(impl [R: crate::persist::Persist] Probe<R> { median, below, above, shift, displacement, toward, known });
crate::persist::persist!(Schedule { remaining, lead, turn });
crate::persist::persist!(impl [R: crate::persist::Persist] Probes<R> { next, slots });

/// The largest e with e³ ≤ cube, for cubes up to 2³⁰.
const fn cube_root(cube: u32) -> u32 {
    let mut root = 0;
    let mut bit = 512;
    while bit > 0 {
        let trial: u32 = root + bit;
        if trial.pow(3) <= cube {
            root = trial;
        }
        bit /= 2;
    }
    root
}

impl<R: Real> Groups<R> {
    /// Of a horizon of 1 to 16,384 steps.
    pub fn new(horizon: u16) -> Self {
        let horizon = horizon.clamp(1, 16_384);
        let wide = u32::from(horizon);
        let second = (cube_root(wide) as u16).max(2).min(horizon);
        let third = (cube_root(wide * wide) as u16).max(second.saturating_add(1)).min(horizon);
        let last = [1, second, third, horizon];
        let mut before = 0;
        let anchor = last.map(|last| {
            let first = (before + 1).min(last);
            before = last;
            R::of(0.5) * (R::ln_count(first.into()) + R::ln_count(last.into()))
        });
        let [a, b, c, d] = anchor;
        // Below the gap between steps 16,383 and 16,384 a group is empty: its anchor is the one before.
        let inverse = |gap: R| if gap > R::of(1e-5) { gap.recip() } else { R::ZERO };
        Self { last, anchor, inverse_gap: [inverse(b - a), inverse(c - b), inverse(d - c)] }
    }

    /// The group of a step; steps beyond the horizon belong to the last one.
    #[inline]
    pub fn group(&self, step: u16) -> usize {
        let [first, second, third, _] = self.last;
        usize::from(step > first) + usize::from(step > second) + usize::from(step > third)
    }

    /// The steps of a group, first and last; empty (first > last) where the horizon does not reach.
    pub fn steps(&self, group: usize) -> (u16, u16) {
        let last = |group: usize| self.last.get(group).copied().unwrap_or(0);
        (group.checked_sub(1).map_or(0, last).saturating_add(1), last(group))
    }

    /// Where a step, at least 1, stands.
    #[inline(never)]
    pub fn place(&self, step: u16) -> Place<R> {
        let step_log = R::ln_count(step.into());
        let mut position = R::ZERO;
        for (anchor, inverse_gap) in self.anchor.iter().zip(&self.inverse_gap) {
            position += ((step_log - *anchor) * *inverse_gap).at_least(R::ZERO).at_most(R::ONE);
        }
        let mut center = R::ZERO;
        let weight = [(); GROUPS].map(|()| {
            let distance = position - center;
            center += R::ONE;
            (R::ONE - distance.abs()).at_least(R::ZERO)
        });
        let first = usize::from(position >= R::ONE) + usize::from(position >= R::of(2.0));
        Place { weight, group: self.group(step), first, groups: 2 }
    }
}

impl<R: Real> Band<R> {
    /// Of no forecast; the experts agree.
    pub const NONE: Self = Self {
        lower: R::ZERO,
        median: R::ZERO,
        upper: R::ZERO,
        shift: R::ZERO,
        location: R::ZERO,
        toward: [R::ZERO; EXPERTS],
    };
}

impl<R: Real> Place<R> {
    /// Of step 1.
    const NEXT: Self = Self { weight: [R::ONE, R::ZERO, R::ZERO, R::ZERO], group: 0, first: 0, groups: 1 };

    /// The groups that have all the weight; the step's own is one of them.
    #[inline]
    pub fn window(&self) -> Range<usize> {
        self.first..self.first + self.groups
    }

    /// What a quantity that each group has is here.
    #[inline]
    pub fn interpolate(&self, values: [R; GROUPS]) -> R {
        let mut sum = R::ZERO;
        for (weight, value) in self.weight.iter().zip(values) {
            sum += *weight * value;
        }
        sum
    }
}

impl Schedule {
    /// Nothing under way.
    pub const fn new() -> Self {
        Self { remaining: [0; PLACES], lead: [0; PLACES], turn: [0; GROUPS] }
    }

    /// A sample has come, or was missed: what is due now. Before the sample enters any state.
    #[inline]
    pub fn advance<R: Real>(&mut self, groups: &Groups<R>) -> Due<R> {
        let (mut slot, mut lead, mut due) = (0, 1, false);
        for (index, (remaining, its)) in self.remaining.iter_mut().zip(&self.lead).enumerate() {
            let now = (*remaining == 1) & (index < SLOTS);
            slot = select_unpredictable(now, index, slot);
            lead = select_unpredictable(now, *its, lead);
            due |= now;
            *remaining = remaining.saturating_sub(1);
        }
        Due { slot, place: groups.place(lead), due }
    }

    /// `samples` samples were missed on every channel: as many calls of [`Schedule::advance`] would do.
    pub fn skip(&mut self, samples: u32) {
        let samples = samples.min(u16::MAX.into()) as u16;
        for remaining in &mut self.remaining {
            *remaining = remaining.saturating_sub(samples);
        }
    }

    /// What to forecast now, after [`Schedule::advance`], beside the next sample.
    #[inline(never)]
    pub fn launch<R: Real>(&mut self, groups: &Groups<R>) -> Launch {
        let sample = self.turn[0].wrapping_add(GOLDEN);
        self.turn[0] = sample;
        let turn_of = TURN_OF.get((sample >> 29) as usize).copied().unwrap_or(0);
        let (mut longest, mut preferred) = (SLOTS, SLOTS);
        for (index, (remaining, group)) in self.remaining.iter().zip(GROUP_OF).enumerate() {
            let (first, last) = groups.steps(group);
            let free = (*remaining == 0) & (first <= last);
            longest = select_unpredictable(free, index, longest);
            preferred = select_unpredictable(free & (group == turn_of), index, preferred);
        }
        let slot = select_unpredictable(preferred < SLOTS, preferred, longest);
        let group = GROUP_OF.get(slot).copied().unwrap_or(0);
        let (first, last) = groups.steps(group);
        // Without a place free it is step 1 again, kept nowhere: the first turn counts samples and is not moved.
        let turn = self.turn.get(group).unwrap_or(&0).wrapping_add(select_unpredictable(group == 0, 0, GOLDEN));
        if let Some(kept) = self.turn.get_mut(group) {
            *kept = turn;
        }
        let width = u64::from(last.saturating_sub(first)) + 1;
        let lead = first + ((u64::from(turn) * width) >> 32) as u16;
        if let (Some(remaining), Some(its)) = (self.remaining.get_mut(slot), self.lead.get_mut(slot)) {
            (*remaining, *its) = (lead, lead);
        }
        Launch { slot, lead }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Real> Probes<R> {
    /// Nothing under way; all zeros.
    pub const fn new() -> Self {
        Self { next: Probe::NONE, slots: [Probe::NONE; PLACES] }
    }

    /// Keeps what was forecast of the next sample; see [`Probes::record`].
    #[inline]
    pub fn record_next(&mut self, band: Option<Band<R>>) {
        self.next = Probe::of(band);
    }

    /// Keeps what was forecast for a launch; `None` or a number that is not finite: there was no forecast.
    #[inline]
    pub fn record(&mut self, launch: &Launch, band: Option<Band<R>>) {
        if let Some(probe) = self.slots.get_mut(launch.slot) {
            *probe = Probe::of(band);
        }
    }

    /// Puts what was forecast of this sample after the last one beside it; see [`Probes::resolve`].
    #[inline]
    pub fn resolve_next(&self, sample: Option<R>) -> Resolved<R> {
        self.next.beside(true, &Place::NEXT, sample)
    }

    /// Puts what is due beside the sample that came, in deviations of the training data; `None` or infinite: it is
    /// missing.
    #[inline]
    pub fn resolve(&self, due: &Due<R>, sample: Option<R>) -> Resolved<R> {
        self.slots.get(due.slot).unwrap_or(&Probe::NONE).beside(due.due, &due.place, sample)
    }
}

impl<R: Real> Probe<R> {
    const NONE: Self =
        Self { median: R::ZERO, below: 0, above: 0, shift: 0, displacement: 0, toward: [0; EXPERTS], known: 0 };

    #[inline]
    fn of(band: Option<Band<R>>) -> Self {
        let forecast = band.is_some();
        let Band { lower, median, upper, shift, location, toward } = band.unwrap_or(Band::NONE);
        let sum = toward.iter().fold(lower + median + upper + shift + location, |sum, toward| sum + *toward);
        let known = forecast & sum.is_finite();
        let median = within(median);
        Self {
            median,
            below: (median - within(lower)).shorten(),
            above: (within(upper) - median).shorten(),
            shift: within(shift).shorten(),
            displacement: (median - within(location)).shorten(),
            toward: toward.map(|toward| within(toward).shorten()),
            known: u16::from(known),
        }
    }

    #[inline]
    fn beside(&self, due: bool, place: &Place<R>, sample: Option<R>) -> Resolved<R> {
        let present = sample.is_some();
        let sample = sample.unwrap_or(R::ZERO);
        let known = due & (self.known != 0) & present & sample.is_finite();
        // What a snapshot said is no safer than a sample.
        let median = within(self.median);
        let kept = |short| {
            let most = R::of(2.0 * LIMIT);
            R::lengthen(short).at_most(most).at_least(-most)
        };
        let sample = select_unpredictable(known, within(sample), median);
        let weight = place.weight.map(|weight| select_unpredictable(known, weight, R::ZERO));
        let group = select_unpredictable(known, place.group, 0);
        let place = Place { weight, group, first: select_unpredictable(known, place.first, 0), ..*place };
        Resolved {
            place,
            known,
            residual: sample - median,
            below: kept(self.below),
            above: kept(self.above),
            shift: kept(self.shift),
            displacement: kept(self.displacement),
            toward: self.toward.map(kept),
        }
    }
}

impl<R: Real> Default for Probes<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// Within ±[`LIMIT`]; NaN becomes the upper end.
#[inline]
fn within<R: Real>(x: R) -> R {
    x.at_most(R::of(LIMIT)).at_least(R::of(-LIMIT))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_step_has_one_group_and_weights_that_sum_to_one_without_jumps() {
        for horizon in (1..600).chain([1_000, 4_096, 16_384]) {
            let groups = Groups::new(horizon);
            let mut counted = 0;
            for group in 0..GROUPS {
                let (first, last) = groups.steps(group);
                counted += (i32::from(last) - i32::from(first) + 1).max(0);
                for step in first..=last {
                    assert_eq!(groups.group(step), group, "step {step} of {horizon}");
                }
            }
            assert_eq!(counted, i32::from(horizon));
            let mut before = groups.place(1);
            assert_eq!(before.weight, [1.0, 0.0, 0.0, 0.0]);
            for step in 2..=horizon {
                let place = groups.place(step);
                assert!((place.weight.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{place:?}");
                assert!((place.weight[place.window()].iter().sum::<f32>() - 1.0).abs() < 1e-5, "{place:?}");
                assert!(place.window().contains(&place.group), "{place:?}");
                let jump = |g: usize| (place.weight[g] - before.weight[g]).abs();
                // No farther than the log step moved over the narrowest gap.
                let gap = groups.inverse_gap.iter().copied().fold(0.0, f32::max);
                let moved = (f32::from(step) / f32::from(step - 1)).ln() * gap + 1e-4;
                assert!((0..GROUPS).all(|g| jump(g) <= moved), "step {step} of {horizon}");
                before = place;
            }
            let (_, last) = groups.steps(before.group);
            assert_eq!(last, horizon);
        }
    }

    #[test]
    fn groups_of_a_day_of_ten_minutes() {
        let groups = Groups::<f32>::new(144);
        assert_eq!([0, 1, 2, 3].map(|group| groups.steps(group)), [(1, 1), (2, 5), (6, 27), (28, 144)]);
    }

    /// A series that says when it was: each probe must come back at its own sample, with its own forecast.
    #[test]
    fn a_probe_comes_back_exactly_when_it_is_due_and_every_group_is_probed() {
        for horizon in [1, 2, 5, 24, 144, 720, 16_384] {
            let groups = Groups::new(horizon);
            let (mut schedule, mut probes) = (Schedule::new(), Probes::new());
            let (mut resolved, mut leads) = ([0; GROUPS], Vec::new());
            let mut pending = Vec::new();
            for now in 0_u32..60_000 {
                let due = schedule.advance(&groups);
                let outcome = probes.resolve(&due, Some(now as f32));
                let next = probes.resolve_next(Some(now as f32));
                assert!(next.known == (now > 0) && next.place.weight == groups.place(1).weight || now == 0, "{next:?}");
                for outcome in [outcome, next].iter().filter(|outcome| outcome.known) {
                    // It forecast its own due time.
                    assert_eq!(outcome.residual, 0.0, "at {now} of {horizon}");
                    resolved[outcome.place.group] += 1;
                }
                assert_eq!(outcome.known, pending.contains(&now), "at {now} of {horizon}");
                let launch = schedule.launch(&groups);
                assert!((1..=horizon).contains(&launch.lead));
                leads.push(launch.lead);
                if launch.slot < SLOTS {
                    pending.push(now + u32::from(launch.lead));
                }
                let band =
                    |at: f32| Band { lower: at - 1.0, median: at, upper: at + 2.0, location: at - 3.0, ..Band::NONE };
                probes.record(&launch, Some(band((now + u32::from(launch.lead)) as f32)));
                probes.record_next(Some(band((now + 1) as f32)));
                pending.retain(|due| *due > now);
            }
            for (group, count) in resolved.into_iter().enumerate() {
                let (first, last) = groups.steps(group);
                // As if it had one place (the longest three), and resolved two thirds of what it launched.
                let places = if group == 3 { 3.0 } else { 1.0 };
                let mean = 8.0_f32.max((1.0 + f32::from(first + last) / 2.0) / places);
                let expected = if first > last { 0 } else { (60_000.0 / mean / 1.5) as i32 };
                assert!(count >= expected, "{horizon}: group {group} was probed {count} times, expected {expected}");
            }
        }
    }

    #[test]
    fn gaps_and_missing_samples_drop_what_they_cover() {
        let groups = Groups::<f32>::new(144);
        let run = |jump: u32, by_skip: bool| {
            let (mut schedule, mut probes) = (Schedule::new(), Probes::new());
            for now in 0..500 {
                schedule.advance(&groups);
                let launch = schedule.launch(&groups);
                let at = (now + u32::from(launch.lead)) as f32;
                probes.record(&launch, Some(Band { lower: at, median: at, upper: at, location: at, ..Band::NONE }));
            }
            if by_skip {
                schedule.skip(jump);
            } else {
                for _ in 0..jump {
                    let due = schedule.advance(&groups);
                    assert!(!probes.resolve(&due, None).known);
                }
            }
            let mut known = 0;
            for now in 500 + jump..500 + jump + 144 {
                let due = schedule.advance(&groups);
                let outcome = probes.resolve(&due, Some(now as f32));
                assert_eq!(outcome.residual, 0.0);
                known += u32::from(outcome.known);
            }
            (schedule, known)
        };
        for jump in [0, 1, 5, 50, 143, 144, 70_000] {
            assert_eq!(run(jump, true), run(jump, false), "{jump}");
        }
        assert!(run(0, true).1 > 3);
        assert_eq!(run(144, true).1, 0);
        assert_eq!(run(u32::MAX - 1_000, true).1, 0);
    }

    #[test]
    fn what_is_kept_is_finite_and_near_whatever_it_was() {
        let mut probes = Probes::new();
        assert!(!probes.resolve_next(Some(0.0)).known, "nothing was forecast");
        for value in [0.0, 1e-30, -0.3, 17.0, -1e6, f32::MAX, f32::MIN, f32::NAN, f32::INFINITY] {
            for sample in [0.0, 1.0, f32::MAX, f32::MIN, f32::NAN, f32::NEG_INFINITY] {
                let band = Band {
                    lower: -value.abs(),
                    median: value / 2.0,
                    upper: value.abs(),
                    shift: value,
                    location: -value,
                    toward: [value, -value, 0.0],
                };
                probes.record_next(Some(band));
                let outcome = probes.resolve_next(Some(sample));
                let Resolved { residual, below, above, shift, displacement, toward: [near, far, _], .. } = outcome;
                let all = [residual, below, above, shift, displacement, near, far];
                assert!(all.iter().all(|x| x.abs() <= 4.0 * LIMIT), "{outcome:?} of {value} {sample}");
                if value.abs() <= 1e6 {
                    assert!((displacement - 1.5 * value).abs() <= 0.004 * 1.5 * value.abs());
                    assert_eq!(outcome.known, sample.is_finite());
                }
            }
        }
        probes.record_next(None);
        assert!(!probes.resolve_next(Some(0.0)).known, "nothing was forecast");
        // A forged snapshot's bits of infinity and of no number.
        for short in [0x7f80, 0xff80, 0x7fc0, 0xffff] {
            let forged = Probe {
                median: f32::MAX,
                below: short,
                above: short,
                shift: short,
                displacement: short,
                toward: [short; 3],
                known: 1,
            };
            let Resolved { residual, below, above, shift, displacement, toward: [near, ..], .. } =
                forged.beside(true, &Place::NEXT, Some(1.0));
            let all = [residual, below, above, shift, displacement, near];
            assert!(all.iter().all(|x| x.abs() <= 2.0 * LIMIT), "{all:?}");
        }
    }

    #[test]
    fn sizes_are_as_stated() {
        assert_eq!(size_of::<Probes<f32>>(), 320);
        assert_eq!(size_of::<Schedule>(), 76);
    }
}
