//! How much of what was learnt to keep: weights on the way from the closed form's to those that training led to.
//!
//! Few rows choose, and from many candidates, so what looks best on them is somewhat less good elsewhere; where they show
//! little gain, most of it may be chance. A share of the way forecasts a share of the residual.
//!
//! How wide the band is, days that choose tell of days to come; where its middle should be moved to, they tell less of a
//! season that is not like theirs. So each has a share of its own.

use flowcast_core::format::Header;

/// Shares to choose from, beside none and all of it.
pub(crate) const SHARES: [f32; 3] = [0.25, 0.5, 0.75];

/// A share of what was learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    /// Of what moves the median: gate and the median's rows of the head.
    pub point: f32,
    /// Of what moves the other quantiles away from it or towards it.
    pub band: f32,
}

impl Share {
    /// The same of both.
    pub fn of_both(share: f32) -> Self {
        Self { point: share, band: share }
    }
}

/// Weights a share of the way from `first` to `learnt`, in the order of [`Header::tensors`]: those of gate and head, which say
/// what is made of the hidden state; the others are as learnt.
pub(crate) fn between(header: &Header, first: &[f32], learnt: &[f32], share: Share) -> Vec<f32> {
    let quantiles = header.quantiles.len();
    let median = header.median();
    let mut between = learnt.to_vec();
    for tensor in header.tensors() {
        let place = tensor.start..tensor.start + tensor.len();
        let (first, learnt) = (&first[place.clone()], &learnt[place.clone()]);
        let moved = |index: usize| learnt[index] - first[index];
        let weights = between[place].iter_mut().zip(first).enumerate();
        // Of a row of the head, `[knots][quantiles]`, so many weights.
        let width = match tensor.to_string().as_str() {
            "head.weight" => usize::from(header.d_model),
            "head.bias" => 1,
            name if name.starts_with("gate.") => {
                weights.for_each(|(index, (weight, first))| *weight = first + share.point * moved(index));
                continue;
            }
            _ => continue,
        };
        for (index, (weight, first)) in weights {
            let middle = index - (index / width % quantiles) * width + median * width;
            let (point, band) = (moved(middle), moved(index) - moved(middle));
            *weight = first + share.point * point + share.band * band;
        }
    }
    between
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use flowcast_core::presets::PRESETS;

    #[test]
    fn no_share_is_the_closed_form_and_all_of_it_what_was_learnt() {
        let header = Config::example(&PRESETS[0], 24).header().unwrap();
        let (first, learnt) = (vec![1.0; header.weight_count()], vec![3.0; header.weight_count()]);
        let at = |share: f32| between(&header, &first, &learnt, Share::of_both(share));
        assert_eq!(at(1.0), learnt);
        for tensor in header.tensors() {
            let name = tensor.to_string();
            let expected = match name.as_str() {
                "gate.weight" | "gate.bias" | "head.weight" | "head.bias" => (1.0, 2.0),
                _ => (3.0, 3.0),
            };
            assert_eq!((at(0.0)[tensor.start], at(0.5)[tensor.start]), expected, "{name}");
        }
    }

    #[test]
    fn the_median_and_the_band_about_it_go_their_own_ways() {
        let header = Config::example(&PRESETS[0], 24).header().unwrap();
        let first = vec![0.0; header.weight_count()];
        // Any numbers.
        let learnt: Vec<f32> = (0..header.weight_count()).map(|index| (index * 7 % 31) as f32).collect();
        let share = Share { point: 0.25, band: 0.5 };
        let between = between(&header, &first, &learnt, share);
        let (quantiles, median) = (header.quantiles.len(), 1);
        for tensor in header.tensors().filter(|tensor| ["head.weight", "head.bias"].contains(&tensor.name)) {
            let rows = usize::from(header.knots) * quantiles;
            let width = tensor.len() / rows;
            let at = |weights: &[f32], knot: usize, quantile: usize, column: usize| {
                weights[tensor.start + (knot * quantiles + quantile) * width + column]
            };
            for (knot, column) in [(0, 0), (usize::from(header.knots) - 1, width - 1)] {
                let learnt = |quantile: usize| at(&learnt, knot, quantile, column);
                let middle = at(&between, knot, median, column);
                assert_eq!(middle, 0.25 * learnt(median), "{}", tensor.name);
                for quantile in [0, 2] {
                    let apart = 0.5 * (learnt(quantile) - learnt(median));
                    assert_eq!(at(&between, knot, quantile, column), middle + apart, "{}", tensor.name);
                }
            }
        }
    }
}
