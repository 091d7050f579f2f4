//! What a back-test found, from the errors of every method on every channel.

use serde::{Serialize, Serializer};

use super::MODEL;
use super::plan::Plan;
use super::rivals::Rival;
use super::rolling::{Example, Rolled};
use crate::data::Series;
use crate::duration::show_ms;
use crate::metrics::{Accumulator, Scores};
use crate::protocol;

/// What a back-test found.
#[derive(Debug, Serialize)]
pub struct BacktestReport {
    /// How the rows were divided. Under `ett` the means over channels are of standardised values, as in the literature.
    pub protocol: protocol::Name,
    /// Names of the channels, as the model knows them.
    pub columns: Vec<String>,
    /// Their units; [`super::score`] does not know them and leaves this empty.
    pub units: Vec<String>,
    /// The sampling interval in milliseconds.
    pub interval_ms: u64,
    /// Samples of a season.
    pub period: usize,
    /// Rows of the series, to the last that is held out.
    pub rows: usize,
    /// The first held-out row.
    pub test_start: usize,
    /// Forecasts that were scored, each of all channels.
    pub origins: usize,
    /// Rows between two origins.
    pub stride: usize,
    /// Origins left out because the model was still warming up, for the baselines as well.
    pub warming_up: usize,
    /// The model: mean over channels at each horizon.
    pub horizons: Vec<HorizonScores>,
    /// The model: mean over channels, over every step of its horizon.
    pub overall: Scores,
    /// Each baseline, simplest first.
    #[serde(serialize_with = "as_map")]
    pub baselines: Vec<(String, MethodScores)>,
    /// Each channel apart, in its unit under every protocol.
    #[serde(serialize_with = "as_map")]
    pub channels: Vec<(String, ChannelScores)>,
    /// MASE at each single step ahead, mean over channels, for the model and each baseline.
    #[serde(skip)]
    pub curves: Vec<(String, Vec<f64>)>,
    /// Some forecasts beside what came.
    #[serde(skip)]
    pub examples: Vec<Example>,
}

/// The scores of steps 1 to `steps`, and at exactly `steps`.
#[derive(Clone, Debug, Serialize)]
pub struct HorizonScores {
    /// Steps ahead.
    pub steps: usize,
    /// Steps 1 to `steps` together.
    #[serde(flatten)]
    pub up_to: Scores,
    /// Exactly `steps` ahead.
    pub at_step: Scores,
}

/// A method's scores.
#[derive(Clone, Debug, Serialize)]
pub struct MethodScores {
    /// At each horizon.
    pub horizons: Vec<HorizonScores>,
    /// Over every step of the model's horizon.
    pub overall: Scores,
    /// Forecasts where the method's fit failed and a simpler one stepped in.
    pub fallbacks: usize,
}

/// One channel's scores, in its unit.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelScores {
    /// What MASE divides by, in the channel's unit.
    pub mase_scale: Option<f64>,
    /// What `ett` divides by, in the channel's unit: the training rows' deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The model at each horizon.
    pub horizons: Vec<HorizonScores>,
    /// The model over every step.
    pub overall: Scores,
    /// Each baseline.
    #[serde(serialize_with = "as_map")]
    pub baselines: Vec<(String, MethodScores)>,
}

fn as_map<T: Serialize, S: Serializer>(entries: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(name, value)| (name, value)))
}

impl BacktestReport {
    /// Puts together what the model and the plan's baselines, `[baseline][channel]`, did.
    pub(super) fn new(plan: &Plan, series: &Series, rolled: Rolled, rivals: &[Vec<Rival>]) -> BacktestReport {
        let own: Vec<MethodScores> =
            rolled.errors.iter().zip(&plan.scales).map(|(errors, &scale)| method(plan, errors, scale, 0)).collect();
        // [baseline][channel]
        let theirs: Vec<Vec<MethodScores>> = rivals
            .iter()
            .map(|channels| {
                let scales = plan.scales.iter();
                channels
                    .iter()
                    .zip(scales)
                    .map(|(rival, &scale)| method(plan, &rival.errors, scale, rival.fallbacks))
                    .collect()
            })
            .collect();
        let names = || plan.baselines.iter().map(|baseline| baseline.name().to_owned());
        let channels = series.columns.iter().enumerate().map(|(channel, name)| {
            let MethodScores { horizons, overall, .. } = own[channel].clone();
            let scores = ChannelScores {
                mase_scale: plan.scales[channel],
                deviation: plan.deviations.as_ref().map(|deviations| deviations[channel]),
                horizons,
                overall,
                baselines: names().zip(theirs.iter().map(|channels| channels[channel].clone())).collect(),
            };
            (name.clone(), scores)
        });
        let channels = channels.collect();
        let errors_of = |rivals: &Vec<Rival>| rivals.iter().map(|rival| rival.errors.clone()).collect::<Vec<_>>();
        let mut curves = vec![(MODEL.to_owned(), curve(plan, &rolled.errors))];
        curves.extend(names().zip(rivals.iter().map(|rivals| curve(plan, &errors_of(rivals)))));
        let model = over_channels(plan, &own);
        BacktestReport {
            protocol: plan.protocol,
            columns: series.columns.clone(),
            units: Vec::new(),
            interval_ms: series.interval_ms,
            period: plan.seasons.period,
            rows: plan.held_out.end,
            test_start: plan.held_out.start,
            origins: rolled.origins.len(),
            stride: plan.stride,
            warming_up: plan.origins.len() - rolled.origins.len(),
            horizons: model.horizons,
            overall: model.overall,
            baselines: names().zip(theirs.iter().map(|channels| over_channels(plan, channels))).collect(),
            channels,
            curves,
            examples: rolled.examples,
        }
    }

    /// The methods, the model first: name and scores.
    pub fn methods(&self) -> impl Iterator<Item = (&str, &[HorizonScores], &Scores)> {
        std::iter::once((MODEL, self.horizons.as_slice(), &self.overall)).chain(
            self.baselines.iter().map(|(name, method)| (name.as_str(), method.horizons.as_slice(), &method.overall)),
        )
    }

    /// A line for each of the first so many channels of which no forecast could be scored.
    pub fn unscored(&self, targets: usize) -> impl Iterator<Item = String> {
        self.channels.iter().take(targets).filter(|(_, scores)| scores.overall.count == 0).map(|(name, _)| {
            format!("column `{name}`: no forecast of it was scored, for want of readings; it is left out of every mean")
        })
    }

    /// Why no error can be scaled, in the words of each target or of all: MASE divides by what last season's values were wrong by
    /// before the held-out rows.
    pub fn unscaled(&self, targets: usize) -> Vec<String> {
        let found = self.test_start;
        if self.protocol == protocol::Name::Tail && found <= self.period {
            return vec![format!(
                "no MASE: found {found} rows before those held out, expected more than a season ({} rows), whose errors it \
                 divides by; a smaller --test-fraction leaves more",
                self.period
            )];
        }
        let scaled = |scores: &ChannelScores| scores.overall.count == 0 || scores.mase_scale.is_some();
        let unscaled = self.channels.iter().take(targets).filter(|(_, scores)| !scaled(scores));
        unscaled
            .map(|(name, _)| {
                format!(
                    "column `{name}`: no MASE: found no two readings a season apart that differ in the first {found} rows; it is \
                     left out of that mean"
                )
            })
            .collect()
    }

    /// How far ahead so many steps are, for people.
    pub fn ahead(&self, steps: usize) -> String {
        show_ms(steps as u64 * self.interval_ms)
    }
}

/// The scores of one method on one channel, in its unit.
fn method(plan: &Plan, errors: &Accumulator, scale: Option<f64>, fallbacks: usize) -> MethodScores {
    let horizon =
        |&steps: &usize| HorizonScores { steps, up_to: errors.up_to(steps, scale), at_step: errors.at(steps, scale) };
    MethodScores {
        horizons: plan.horizons.iter().map(horizon).collect(),
        overall: errors.up_to(plan.horizon, scale),
        fallbacks,
    }
}

/// MASE at each single step, mean over channels. `[horizon]`
fn curve(plan: &Plan, channels: &[Accumulator]) -> Vec<f64> {
    (1..=plan.horizon)
        .map(|step| {
            let each: Vec<Scores> =
                channels.iter().zip(&plan.scales).map(|(errors, &scale)| errors.at(step, scale)).collect();
            Scores::mean(&each).and_then(|scores| scores.mase).unwrap_or(f64::NAN)
        })
        .collect()
}

/// The mean over channels, of standardised errors where the plan has deviations.
fn over_channels(plan: &Plan, channels: &[MethodScores]) -> MethodScores {
    let mean = |of: &dyn Fn(&MethodScores) -> Scores| {
        let each = channels.iter().enumerate().map(|(channel, method)| match &plan.deviations {
            Some(deviations) => of(method).standardised(deviations[channel]),
            None => of(method),
        });
        Scores::mean(&each.collect::<Vec<_>>()).unwrap_or_default()
    };
    let horizons = plan.horizons.iter().enumerate().map(|(index, &steps)| HorizonScores {
        steps,
        up_to: mean(&|method| method.horizons[index].up_to),
        at_step: mean(&|method| method.horizons[index].at_step),
    });
    MethodScores {
        horizons: horizons.collect(),
        overall: mean(&|method| method.overall),
        fallbacks: channels.iter().map(|method| method.fallbacks).sum(),
    }
}
