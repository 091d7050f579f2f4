//! What a forecast is told of the columns that are known in advance, and what each column's own memory makes of it.

use core::fmt;

use crate::intake::{Intake, Watch};
use crate::known::{KNOWN_FEATURES, Known, features};
use crate::linear::Element;
use crate::seasonal::{Memories, SlotPlace};

/// One column that is known in advance.
pub(super) struct Column<'f, R: Element> {
    pub intake: &'f Intake<R>,
    pub watch: &'f Watch<R>,
    pub memories: Memories<'f, R>,
    /// T_0.
    pub surprise: R,
}

/// A forecaster's columns, whatever its sizes.
pub(super) trait Columns<R: Element> {
    /// A channel's; `None` beyond the last.
    fn column(&self, channel: usize) -> Option<Column<'_, R>>;
}

/// Who tells, and whose memories judge what is new of it.
#[derive(Clone, Copy)]
pub(super) struct Told<'f, R: Element> {
    pub known: &'f Known<'f>,
    pub columns: &'f dyn Columns<R>,
}

impl<R: Element> Told<'_, R> {
    /// What the readout sees of a channel at a step `steps_ahead` samples on that falls on `place`.
    pub fn features(&self, channel: usize, place: &SlotPlace<R>, steps_ahead: u16) -> [R; KNOWN_FEATURES] {
        let Some(column) = self.columns.column(channel) else { return [R::ZERO; KNOWN_FEATURES] };
        let sample = column.intake.told(column.watch, (self.known)(channel, steps_ahead.into()));
        features(&column.memories, place, column.surprise, sample)
    }
}

impl<R: Element> fmt::Debug for Told<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use core::cell::RefCell;
    use std::vec;
    use std::vec::Vec;

    use crate::conformal::Factors;
    use crate::forecaster::{Forecaster, Streaming};
    use crate::format::{Channel, Header, Numeric};
    use crate::known::{Known, nothing};
    use crate::seasonal::{Season, Seasons};

    const HORIZON: u16 = 4;
    /// What the plan's channel commonly reads: 0, 1, 0, 2 deviations.
    const PLAN: [f32; 4] = [10.0, 12.0, 10.0, 14.0];
    type Small<'m> = Forecaster<'m, f32, 2, 4, 1, 1, 1, 1>;

    /// A target that rests at 0 and a plan, of which the readout sees the first two features: at the first step with
    /// weights 0.5 and 0.25, at the last one with twice those. Every other weight is 0, but for a band of ± 0.1.
    fn model() -> Vec<u32> {
        let header = Header {
            d_model: 1,
            heads: 1,
            head_dim: 1,
            layers: 1,
            attention: true,
            d_ff: 1,
            numeric: Numeric::F32,
            channels: 2,
            targets: 1,
            known: 1,
            readouts: 1,
            horizon: HORIZON,
            knots: 2,
            ring: false,
            mixed: true,
            corrected: true,
            adapted: false,
            seasons: Seasons {
                list: [Season { period: 4, slot_samples: 1, slots: 4 }].into_iter().collect(),
                memory_gain: [1.0, 0.3, 0.1, 0.03],
                scale_floor: 1.0,
                retrieval: None,
            },
            interval_ms: 1000,
            source_clamp: 1.0,
            flow_limit: 64.0,
            feature_clamp: 12.0,
            quantiles: [0.1, 0.5, 0.9].into_iter().collect(),
            seen_until_ms: 0,
            identity: 0,
        };
        let channel = |name, offset, scale| Channel {
            name,
            unit: "",
            offset,
            scale,
            valid_min: -100.0,
            valid_max: 100.0,
            stuck_limit: 0,
            spike_limit: 0.0,
            spike_least: 0.0,
            resolution: 0.0,
            lowest: -100.0,
            highest: 100.0,
        };
        let channels = [channel("target", 0.0, 1.0), channel("plan", 10.0, 2.0)];
        let mut weights = vec![0.0; header.weight_count()];
        for tensor in header.tensors() {
            let weights = &mut weights[tensor.start..tensor.start + tensor.len()];
            match tensor.name {
                "head.spread" | "interval.factors" => weights.fill(1.0),
                "head.bias" => weights.copy_from_slice(&[-0.1, 0.0, 0.1, -0.1, 0.0, 0.1]),
                "readout.weight" => {
                    let first = header.seasons.aligned();
                    let width = header.readout_features();
                    weights[first..first + 2].copy_from_slice(&[0.5, 0.25]);
                    weights[width + first..width + first + 2].copy_from_slice(&[1.0, 0.5]);
                }
                _ => {}
            }
        }
        let mut words = vec![0_u32; header.length() / 4];
        let bytes = bytemuck::cast_slice_mut(&mut words);
        header.write(&[0.1], &[1, HORIZON], &channels, &weights, bytes).unwrap();
        words
    }

    /// Ten seasons of a plan that repeats itself, ending before the first phase.
    fn settled(model: &[u32]) -> Small<'_> {
        let mut forecaster = Small::new(bytemuck::cast_slice(model)).unwrap();
        for row in 0..40 {
            forecaster.observe(&[0.0, PLAN[row % 4]]);
        }
        forecaster
    }

    fn medians(forecaster: &Small<'_>, known: &Known<'_>) -> Vec<f32> {
        let mut medians = Vec::new();
        assert!(forecaster.for_each_step_knowing(0, known, &mut |_, quantiles| medians.push(quantiles[1])));
        medians
    }

    #[test]
    fn what_is_told_moves_each_step_as_its_weights_say() {
        let model = model();
        let forecaster = settled(&model);
        let asked = RefCell::new(Vec::new());
        // Three deviations throughout.
        let plan = |channel: usize, steps_ahead: usize| {
            asked.borrow_mut().push((channel, steps_ahead));
            16.0
        };
        let told = medians(&forecaster, &plan);
        for (index, (told, expected)) in told.iter().zip([0.0, 1.0, 0.0, 2.0]).enumerate() {
            let weight = 0.75 * (1.0 + index as f32 / 3.0);
            assert!((told - weight * (3.0 - expected)).abs() < 1e-5, "step {}: {told}", index + 1);
        }
        assert_eq!(asked.into_inner(), [(1, 1), (1, 2), (1, 3), (1, 4)]);
        let same = medians(&forecaster, &|_, steps_ahead| PLAN[steps_ahead - 1]);
        assert!(same.iter().all(|median| median.abs() < 1e-5), "nothing is new in {same:?}");
    }

    #[test]
    fn what_is_not_known_or_out_of_range_is_what_the_memory_expects() {
        let model = model();
        let forecaster = settled(&model);
        let plain = medians(&forecaster, &nothing);
        for told in [f32::NAN, f32::INFINITY, 100.1, -1e9] {
            assert_eq!(medians(&forecaster, &|_, _| told), plain);
        }
        let partly = medians(&forecaster, &|_, ahead| if ahead == 2 { 16.0 } else { f32::NAN });
        assert!(partly[1] > plain[1] + 1.0);
        assert_eq!([partly[0], partly[2], partly[3]], [plain[0], plain[2], plain[3]]);
    }

    #[test]
    fn to_know_nothing_is_the_plain_call_to_the_bit() {
        let model = model();
        let (mut plain, mut knowing) = (settled(&model), settled(&model));
        for row in 0..50 {
            let sample = [(row as f32).sin(), PLAN[(3 * row) % 4]];
            plain.observe(&sample);
            knowing.observe_knowing(&sample, &nothing);
            let (mut a, mut b) = ([0.0; 12], [0.0; 12]);
            assert_eq!(plain.forecast_into(0, &mut a), 12);
            assert_eq!(knowing.forecast_into_knowing(0, &nothing, &mut b), 12);
            assert_eq!(a.map(f32::to_bits), b.map(f32::to_bits), "row {row}");
        }
    }

    #[test]
    fn the_board_scores_the_forecasts_that_it_knew_the_plan_for() {
        let model = model();
        // A plan that no season knows, and a target that follows it by the readout's own weights.
        let plan = |row: usize| if (row * row / 7).is_multiple_of(3) { 18.0 } else { 10.0 };
        let widest = |tells: bool| -> f32 {
            let mut forecaster = settled(&model);
            let mut target = 0.0;
            for row in 40..1_000 {
                let ahead = |_: usize, steps_ahead: usize| plan(row + steps_ahead);
                forecaster.observe_knowing(&[target, plan(row)], if tells { &ahead } else { &nothing });
                target = medians(&forecaster, &ahead)[0];
            }
            let [Factors { lower, upper }, ..] = forecaster.interval_factors(0);
            lower.max(upper)
        };
        let (knowing, blind) = (widest(true), widest(false));
        assert!(knowing <= 1.0 && blind > 2.0, "{knowing} with the plan, {blind} without");
    }
}
