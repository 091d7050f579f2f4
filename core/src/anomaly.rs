//! How rare what came is: a tail probability for each sample, from the residual of the forecast made before it came.
//!
//! With z = (x − median) / (half of the 80 % band) of the one-step-ahead forecast, three statistics look for what one
//! alone cannot see:
//!
//! ```text
//! spike       |z|                                                   one sample far from its forecast
//! bias        |mean of the last z|                                  small residuals on one side: a wrong phase, a drift
//! spread      |ln(mean of the last |z|) − long mean of that|        a variance that rose, or a sensor that lies flat
//! ```
//!
//! Each, as s, is calibrated against its own past on this channel: peaks over a threshold (Pickands 1975; Siffer et al.,
//! "Anomaly detection in streams with extreme value theory", KDD 2017) in the logarithm, whose moments exist however
//! heavy the tail is, with running means in the place of a buffer of peaks:
//!
//! ```text
//! w = ln(1 + s/(mean of s))        t: the quantile of w that q = 5 % exceed, followed in its logarithm
//! y = w/t − 1 where w > t          m, v: mean and variance of y      ξ = ½ (1 − m²/v) in [−0.2, 0.45]    σ = m (1 − ξ)
//! P(s or more) = q (1 + ξ y/σ)^(−1/ξ) beyond t, q^(w/t) before it
//! ```
//!
//! Before a channel has a past, means and threshold are those of the normal residual that the forecast's own interval
//! promises. The score is 1 − p, where p = min(1, 3 × the least of the three probabilities) bounds the share of samples
//! that score as high (Bonferroni): about one in 100 of whatever noise scores 0.99 and more, one in 1000 0.999. What
//! enters a mean is clipped, so that a fault does not become the norm at once; a change that stays is learned within
//! some hundred samples. And p is never below n^−1.5 after n samples, so that a channel just begun raises no alarm that
//! only a long past could justify.
//!
//! A long event is part of the past that later samples are held against: after a hundred strange samples among some
//! thousand, as strange a one is no longer rare, and scores so.
//!
//! The cost is the same for every sample: no branch depends on the data. All zeros is the state before the first sample.

use core::hint::select_unpredictable;

use crate::conformal::USUAL;
use crate::math::Real;

/// q: the share of samples beyond the threshold.
const BEYOND: f32 = 0.05;
/// 1/q.
const BEYOND_ONE_IN: u32 = 20;
/// −ln q.
const BEYOND_SURPRISE: f32 = 2.995_732_3;
/// Statistics that the least probability is taken of, and its logarithm.
const STATISTICS: usize = 3;
const STATISTICS_LN: f32 = 1.098_612_3;
/// |z| at most: beyond, a residual says nothing more.
const MOST_Z: f32 = 1e4;
/// Of a half-normal s: 5 % lie beyond t = ln(1 + 1.960/0.798), here as ln t; the mean of y is 0.099, its mean square
/// 0.0167, a little more here.
const FIRST_THRESHOLD_LN: f32 = 0.215_7;
const FIRST_EXCESS: f32 = 0.1;
const FIRST_EXCESS_SQUARE: f32 = 0.018;
/// The mean deviation of the short means of a normal residual: see [`SHORT_GAIN`].
const NORMAL_BIAS: f32 = 0.112;
const NORMAL_SPREAD: f32 = 0.11;
/// Gain of the short means: about the last 16 samples.
const SHORT_GAIN: f32 = 1.0 / 16.0;
/// So many values of a short mean are worth one: neighbours share most of their samples.
const SHORT_NEIGHBOURS: u32 = 8;
/// Added to the short mean of |z|, in long means, before its logarithm: a flat line is 20 times less, not infinitely.
const SPREAD_FLOOR: f32 = 0.05;
/// Samples that the expectation before the first one is worth.
const PRIOR: u32 = 32;
/// The smallest gain of the long means.
const LONG_GAIN: f32 = 1.0 / 1024.0;
/// The smallest gain of the excess's means, which few samples enter and long events many in a row: the shape of a tail
/// is learned more slowly than its scale.
const TAIL_GAIN: f32 = 1.0 / 256.0;
/// Step of the threshold's logarithm: 2/n, at least this.
const THRESHOLD_GAIN: f32 = 0.005;
/// A statistic enters its mean as at most so many means, an excess its mean as at most so many of it.
const MOST_OF_MEAN: f32 = 6.0;
const MOST_OF_EXCESS: f32 = 8.0;
/// n samples witness no p below n^−1.5: beyond, the tail's shape is no more than a guess.
const EXTRAPOLATION: f32 = 1.5;
/// Bounds of ξ.
const LEAST_SHAPE: f32 = -0.2;
const MOST_SHAPE: f32 = 0.45;
/// ξ this near to 0 counts as this: (1 + ξ y)^(1/ξ) is nearly the exponential that it goes to.
const FLAT_SHAPE: f32 = 0.01;
/// 1 + ξ y/σ at least, for a bounded tail (ξ < 0) beyond its end: nothing is impossible.
const LEAST_BASE: f32 = 1e-3;

/// −ln p from which on a sample is part of an event: p = 0.001.
const EVENT_SURPRISE: f32 = 6.907_755;
/// What an event has told is forgotten by half in 64 samples, once it is over.
const TOLD_DECAY: f32 = 0.989_228;
/// What is news within an event: so many times the surprise that it has told.
const ESCALATION: f32 = 1.5;

/// One statistic's past. Every field is less its value before the first sample, so that all zeros begins.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tail<R> {
    /// Mean of s, in its value before the first sample, less 1.
    mean: R,
    /// ln t less [`FIRST_THRESHOLD_LN`].
    threshold_ln: R,
    /// m less [`FIRST_EXCESS`].
    excess: R,
    /// Mean of y² less [`FIRST_EXCESS_SQUARE`].
    excess_square: R,
}

crate::persist::persist!(impl [R: crate::persist::Persist] Tail<R> { mean, threshold_ln, excess, excess_square });

impl<R: Real> Tail<R> {
    const ZERO: Self = Self { mean: R::ZERO, threshold_ln: R::ZERO, excess: R::ZERO, excess_square: R::ZERO };

    /// Takes s ≥ 0 as the `count`-th sample and returns −ln P(s or more) as it was before.
    ///
    /// `normal` is the mean of s before the first sample; of so many `neighbours` one tells what the others do not.
    #[inline]
    fn observe(&mut self, s: R, normal: f32, count: u32, neighbours: u32) -> R {
        let mean = (R::ONE + self.mean).at_least(R::of(1e-6));
        let ratio = s / (R::of(normal) * mean);
        let w = (R::ONE + ratio).ln() / (R::of(FIRST_THRESHOLD_LN) + self.threshold_ln).exp();
        let beyond = w > R::ONE;
        let y = (w - R::ONE).at_least(R::ZERO);

        let m = R::of(FIRST_EXCESS) + self.excess;
        let square = R::of(FIRST_EXCESS_SQUARE) + self.excess_square;
        let m_square = m * m;
        let variance = (square - m_square).at_least(R::of(1e-3) * m_square);
        let shape = R::of(0.5) * (R::ONE - m_square / variance);
        let shape = shape.at_least(R::of(LEAST_SHAPE)).at_most(R::of(MOST_SHAPE));
        let shape = select_unpredictable(shape.abs() < R::of(FLAT_SHAPE), R::of(FLAT_SHAPE), shape);
        let base = (R::ONE + shape * y / (m * (R::ONE - shape))).at_least(R::of(LEAST_BASE));
        let tail = R::of(BEYOND_SURPRISE) + base.ln() / shape;
        let surprise = select_unpredictable(beyond, tail, R::of(BEYOND_SURPRISE) * w);

        self.mean += gain::<R>(count, LONG_GAIN) * mean * (ratio.at_most(R::of(MOST_OF_MEAN)) - R::ONE);
        let hit = select_unpredictable(beyond, R::ONE, R::ZERO);
        // Of `alone` = 1 / neighbours: alone · 2 / (alone · count + PRIOR), at least alone · THRESHOLD_GAIN.
        let alone = R::one_over(neighbours);
        let decayed = R::of(2.0) * R::one_over((count / neighbours).saturating_add(PRIOR));
        let step = alone * decayed.at_least(R::of(THRESHOLD_GAIN));
        self.threshold_ln += step * (hit - R::of(BEYOND));
        let gain = hit * alone * gain::<R>(count / (neighbours * BEYOND_ONE_IN), TAIL_GAIN);
        let y = y.at_most(R::of(MOST_OF_EXCESS) * m);
        self.excess.approach(y - R::of(FIRST_EXCESS), gain);
        self.excess_square.approach(y * y - R::of(FIRST_EXCESS_SQUARE), gain);
        surprise
    }
}

/// Gain of the `count`-th sample: 1/n after [`PRIOR`] samples of expectation, at least `least`.
#[inline]
fn gain<R: Real>(count: u32, least: f32) -> R {
    R::one_over(count.saturating_add(PRIOR)).at_least(R::of(least))
}

/// What a detector tells of a sample, whatever its scalar.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Strangeness {
    /// As [`Anomaly::surprise`].
    pub surprise: f32,
    /// As [`Anomaly::news`].
    pub news: f32,
}

impl Strangeness {
    /// Whether the sample calls for an alert: it is news with p at most `probability`. One event gives one alert, and
    /// another only if it gets much stranger.
    pub fn alert(&self, probability: f32) -> bool {
        self.news > 0.0 && self.news >= -crate::math::ln(probability.clamp(f32::MIN_POSITIVE, 1.0))
    }
}

/// One channel's detector: 19 words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anomaly<R> {
    /// Of |z|, of the bias, of the spread.
    tails: [Tail<R>; STATISTICS],
    /// Mean of the last z.
    bias: R,
    /// Mean of the last |z|, in long means, less 1.
    short: R,
    /// Long mean of that one's logarithm.
    center: R,
    /// Samples scored, up to `u32::MAX`.
    count: u32,
    /// −ln p of the last sample.
    surprise: R,
    /// The last sample's surprise, or 0 if it was no news.
    news: R,
    /// The greatest news of the event that is under way; fading once it is over.
    told: R,
}

crate::persist::persist!(impl [R: crate::persist::Persist] Anomaly<R> { tails, bias, short, center, count, surprise, news, told });

impl<R: Real> Anomaly<R> {
    /// Before the first sample: all zeros.
    pub const ZERO: Self = Self {
        tails: [Tail::ZERO; STATISTICS],
        bias: R::ZERO,
        short: R::ZERO,
        center: R::ZERO,
        count: 0,
        surprise: R::ZERO,
        news: R::ZERO,
        told: R::ZERO,
    };

    /// Takes a reading and the forecast that was made of it: the 80 % band's ends and the median, all as samples.
    ///
    /// `floor` is the smallest half of a band that the sensor's resolution allows, above 0. `None`, and what is not finite,
    /// is missing and changes nothing (but is no news), nor does anything while `known` is false (there was no forecast). Of
    /// what does not count as `measured`, nothing is learnt: a broken wire is strange for as long as it is broken.
    #[inline]
    pub fn observe(
        &mut self,
        known: bool,
        reading: Option<R>,
        measured: bool,
        [lower, median, upper]: [R; 3],
        floor: R,
    ) {
        let half = (R::of(0.5) * (upper - lower)).at_least(floor);
        let present = reading.is_some();
        let reading = reading.unwrap_or(R::ZERO);
        let most = R::of(MOST_Z);
        let z = ((reading - median) / half).at_least(-most).at_most(most);
        let next = self.after(z);
        // Not `if`: a missing sample costs what any other does.
        let take = known & present & (reading - median).is_finite() & half.is_finite();
        let Self { surprise, news, told, .. } = next;
        let next = select_unpredictable(measured, next, Self { surprise, news, told, ..*self });
        *self = select_unpredictable(take, next, Self { news: R::ZERO, ..*self });
    }

    fn after(mut self, z: R) -> Self {
        let magnitude = z.abs();
        let count = self.count;

        let [spike, bias, spread] = &mut self.tails;
        // The short means take no more of one sample than is common: a spike is not a spread.
        let common = (R::of(USUAL) * (R::ONE + spike.mean)).at_least(R::of(1e-6));
        let most = R::of(MOST_OF_MEAN) * common;
        self.bias.approach(z.at_most(most).at_least(-most), R::of(SHORT_GAIN));
        self.short.approach(magnitude.at_most(most) / common - R::ONE, R::of(SHORT_GAIN));
        let short_ln = ((R::ONE + self.short).at_least(R::ZERO) + R::of(SPREAD_FLOOR)).ln();
        let surprises = [
            spike.observe(magnitude, USUAL, count, 1),
            bias.observe(self.bias.abs(), NORMAL_BIAS, count, SHORT_NEIGHBOURS),
            spread.observe((short_ln - self.center).abs(), NORMAL_SPREAD, count, SHORT_NEIGHBOURS),
        ];
        self.center.approach(short_ln, gain(count, LONG_GAIN));
        let most = surprises.into_iter().fold(R::ZERO, R::at_least);
        let witnessed = R::of(EXTRAPOLATION) * R::ln_count(count.saturating_add(PRIOR));
        self.surprise = (most - R::of(STATISTICS_LN)).at_least(R::ZERO).at_most(witnessed);
        let event = self.surprise >= R::of(EVENT_SURPRISE);
        // What an event has told stays told while it lasts.
        self.told *= select_unpredictable(event, R::ONE, R::of(TOLD_DECAY));
        self.news = select_unpredictable(self.surprise >= R::of(ESCALATION) * self.told, self.surprise, R::ZERO);
        self.told = select_unpredictable(event, self.told.at_least(self.news), self.told);
        self.count = self.count.saturating_add(1);
        self
    }

    /// p of the last sample: the probability, on this channel, of a sample at least as strange. 1 before the first.
    pub fn probability(&self) -> f32 {
        (-self.surprise).exp().to_f32()
    }

    /// 1 − p of the last sample, in [0, 1]: 0.999 is a sample as one in a thousand is.
    ///
    /// An f32 cannot tell scores above 1 − 6e-8 apart; [`Self::surprise`] can.
    pub fn score(&self) -> f32 {
        (R::ONE - (-self.surprise).exp()).to_f32()
    }

    /// What is told of the last sample, in one piece.
    pub fn strangeness(&self) -> Strangeness {
        Strangeness { surprise: self.surprise(), news: self.news() }
    }

    /// −ln p of the last sample: 0 and up.
    pub fn surprise(&self) -> f32 {
        self.surprise.to_f32()
    }

    /// The last sample's surprise if it is news, else 0.
    ///
    /// An event (samples with p < 0.001) makes news once, and again only when it is half as surprising again. Once it is
    /// over, that is forgotten by half in 64 samples.
    pub fn news(&self) -> f32 {
        self.news.to_f32()
    }
}

impl<R: Real> Default for Anomaly<R> {
    fn default() -> Self {
        Self::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform numbers in (0, 1) from a linear congruential generator (Knuth's MMIX constants).
    struct Random(u64);

    impl Random {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f32 {
            let (radius, angle) = (libm::sqrt(-2.0 * libm::log(self.uniform())), self.uniform());
            (radius * libm::cos(core::f64::consts::TAU * angle)) as f32
        }

        /// Student's t with three degrees of freedom.
        fn heavy(&mut self) -> f32 {
            let squares: f32 = (0..3).map(|_| self.normal()).map(|x| x * x).sum();
            self.normal() / libm::sqrtf(squares / 3.0)
        }
    }

    /// A forecast of N(0, 1), and the detector's view of a reading.
    const BAND: [f32; 3] = [-1.2816, 0.0, 1.2816];

    fn take(anomaly: &mut Anomaly<f32>, reading: f32) {
        anomaly.observe(true, Some(reading), true, BAND, 1e-3);
    }

    /// Shares of the samples with p below 0.01, 0.001 and 0.0001, and of alerts at 0.001.
    fn rates(mut noise: impl FnMut(usize, &mut Random) -> f32) -> [f64; 4] {
        const SAMPLES: usize = 300_000;
        let mut random = Random(7);
        let mut anomaly = Anomaly::ZERO;
        let mut counts = [0.0; 4];
        for index in 0..SAMPLES {
            take(&mut anomaly, noise(index, &mut random));
            let p = anomaly.probability();
            for (count, hit) in counts.iter_mut().zip([p < 1e-2, p < 1e-3, p < 1e-4, anomaly.strangeness().alert(1e-3)])
            {
                *count += f64::from(u8::from(hit)) / SAMPLES as f64;
            }
        }
        counts
    }

    #[test]
    fn false_alarms_are_as_rare_as_the_score_says() {
        let white = rates(|_, random| random.normal());
        let heavy = rates(|_, random| random.heavy());
        // Its scale goes up and down by 9 within 20,000 samples.
        let drifting = rates(|index, random| {
            random.normal() * libm::expf(1.1 * libm::sinf(index as f32 / 20_000.0 * core::f32::consts::TAU))
        });
        // A forecaster that leaves half of the last residual in the next, and promises bands too narrow by 3.
        let mut last = 0.0;
        let coloured = rates(|_, random| {
            last = 0.5 * last + random.normal();
            3.0 * last
        });
        for [percent, permille, ten_thousandth, alerts] in [white, heavy, drifting, coloured] {
            assert!((0.007..=0.0105).contains(&percent), "{percent}");
            assert!((0.0006..=0.0013).contains(&permille), "{permille}");
            assert!((0.00004..=0.0003).contains(&ten_thousandth), "{ten_thousandth}");
            assert!(alerts <= 0.8 * permille, "{alerts} alerts, {permille} beyond");
        }
    }

    /// A detector that has seen white noise, and the noise.
    fn settled() -> (Anomaly<f32>, Random) {
        let (mut random, mut anomaly) = (Random(3), Anomaly::ZERO);
        for _ in 0..3000 {
            take(&mut anomaly, random.normal());
        }
        (anomaly, random)
    }

    /// Alerts at p = 0.001 among some samples, as their places.
    fn alerts(anomaly: &mut Anomaly<f32>, samples: usize, mut next: impl FnMut(usize) -> f32) -> std::vec::Vec<usize> {
        let mut places = std::vec::Vec::new();
        for index in 0..samples {
            take(anomaly, next(index));
            if anomaly.strangeness().alert(1e-3) {
                places.push(index);
            }
        }
        places
    }

    #[test]
    fn a_spike_is_one_alert_and_changes_little() {
        let (mut anomaly, mut random) = settled();
        let calm = anomaly;
        let places = alerts(&mut anomaly, 1000, |index| random.normal() + if index == 100 { 12.0 } else { 0.0 });
        assert_eq!(places, [100]);
        for (before, after) in calm.tails.iter().zip(&anomaly.tails) {
            assert!((before.mean - after.mean).abs() < 0.2, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_shift_of_level_raises_the_score_and_is_learned() {
        let (mut anomaly, mut random) = settled();
        let places = alerts(&mut anomaly, 1, |_| 8.0 + random.normal());
        assert_eq!(places, [0]);
        let again = alerts(&mut anomaly, 2999, |_| 8.0 + random.normal());
        assert!(again.len() <= 1 && again.iter().all(|place| *place < 64), "{again:?}");
        let mut high = 0;
        for _ in 0..1000 {
            take(&mut anomaly, 8.0 + random.normal());
            high += usize::from(anomaly.score() > 0.99);
        }
        assert!(high <= 20, "{high} of 1000 above 0.99 once it is learned");
    }

    #[test]
    fn small_residuals_on_one_side_are_a_bias() {
        let (mut anomaly, mut random) = settled();
        // No single one is beyond 0.999; together they are.
        let places = alerts(&mut anomaly, 60, |_| 1.5 + 0.5 * random.normal());
        assert!(matches!(places[..], [2..=20]), "{places:?}");
    }

    #[test]
    fn a_flat_line_and_a_wider_noise_are_a_spread() {
        let (mut anomaly, _) = settled();
        let places = alerts(&mut anomaly, 100, |_| 0.0);
        assert!(matches!(places[..], [4..=40]), "{places:?}");
        let (mut anomaly, mut random) = settled();
        // ±2.2 by turns: nothing much once, and no bias.
        let places = alerts(&mut anomaly, 60, |index| if index % 2 == 0 { 2.2 } else { -2.2 } + 0.1 * random.normal());
        assert!(matches!(places[..], [2..=20, ..]), "{places:?}");
    }

    #[test]
    fn what_is_not_measured_is_strange_however_often_it_comes() {
        let (mut learning, _) = settled();
        let mut scores = [[0.0; 2]; 3];
        let (mut not, mut random) = settled();
        for episode in &mut scores {
            for row in 0..40 {
                take(&mut learning, 60.0 + row as f32);
                not.observe(true, Some(60.0 + row as f32), false, BAND, 1e-3);
                *episode = [&learning, &not].map(Anomaly::score);
            }
            for _ in 0..500 {
                let reading = random.normal();
                take(&mut learning, reading);
                take(&mut not, reading);
            }
        }
        assert!(scores.iter().all(|[_, not]| *not > 0.9999), "{scores:?}");
        assert!(scores[2][0] < 0.999, "what is measured is learnt: {scores:?}");
    }

    #[test]
    fn what_is_missing_changes_nothing_and_nothing_breaks_it() {
        let (mut anomaly, mut random) = settled();
        let before = anomaly;
        for reading in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            take(&mut anomaly, reading);
        }
        anomaly.observe(false, Some(1.0), true, BAND, 1e-3);
        anomaly.observe(true, Some(1.0), true, [f32::NAN; 3], 1e-3);
        assert_eq!(anomaly, Anomaly { news: 0.0, ..before });
        assert!(!anomaly.strangeness().alert(1.0));
        for reading in [f32::MAX, -f32::MAX, 0.0, f32::MIN_POSITIVE] {
            for band in [BAND, [0.0; 3], [-f32::MAX, 0.0, f32::MAX], [5.0, 3.0, 1.0]] {
                anomaly.observe(true, Some(reading), true, band, 1e-3);
                assert!((0.0..=1.0).contains(&anomaly.score()) && anomaly.surprise().is_finite(), "{anomaly:?}");
            }
        }
        // It finds its way back.
        for _ in 0..5000 {
            take(&mut anomaly, random.normal());
        }
        take(&mut anomaly, 8.0);
        assert!(anomaly.score() > 0.999, "{anomaly:?}");
    }

    #[test]
    fn all_zeros_is_the_state_before_the_first_sample() {
        let anomaly = Anomaly::<f32>::ZERO;
        assert_eq!((anomaly.probability(), anomaly.score(), anomaly.news()), (1.0, 0.0, 0.0));
        assert!(!anomaly.strangeness().alert(1.0));
        assert_eq!(size_of::<Anomaly<f32>>(), 19 * 4);
    }
}
