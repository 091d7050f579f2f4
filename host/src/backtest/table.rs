//! A back-test as text for the terminal.

use std::fmt::Write as _;

use super::MODEL;
use super::result::BacktestReport;
use crate::metrics::Scores;
use crate::plural::counted;
use crate::protocol::Name;

/// Room for a method's name.
const NAME: usize = 20;

impl BacktestReport {
    /// The result for people: one row a method, one column a horizon, the best of each column marked.
    pub fn table(&self) -> String {
        // Of a covariate nothing is forecast.
        let scored = || self.channels.iter().filter(|(_, scores)| scores.overall.count > 0);
        let names: Vec<&str> = scored().map(|(name, _)| name.as_str()).collect();
        let mut text = format!(
            "{} of {} over the last {} of {} rows, one every {}",
            counted(self.origins, "forecast"),
            names.join(", "),
            self.rows - self.test_start,
            self.rows,
            self.ahead(self.stride),
        );
        if self.warming_up > 0 {
            let _ = write!(text, "; {} more left out while the model was warming up", self.warming_up);
        }
        text.push_str("\n\n");
        match self.protocol {
            Name::Tail => {
                self.write_measure(
                    &mut text,
                    "MASE, mean over the steps up to (below 1: better than last season's values were in training)",
                    |scores| scores.mase,
                );
                text.push('\n');
                self.write_measure(
                    &mut text,
                    "WQL, mean over the steps up to (a point forecast counts as all its quantiles)",
                    |scores| scores.wql,
                );
            }
            Name::Ett => {
                let known = |scores: &Scores, error: f64| (scores.count > 0).then_some(error);
                self.write_measure(
                    &mut text,
                    "MSE of standardised values, mean over every window of so many steps",
                    |scores| known(scores, scores.mse),
                );
                text.push('\n');
                self.write_measure(&mut text, "MAE of standardised values, likewise", |scores| {
                    known(scores, scores.mae)
                });
            }
        }
        if self.overall.coverage80.is_some() {
            self.write_band(&mut text);
        }
        let known = |scores: &Scores| (scores.count > 0).then_some(scores.mae);
        text.push_str("\nMAE of each channel, in its unit, and of the baseline that is best at that horizon\n");
        self.write_heads(&mut text);
        let width = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(NAME);
        for (name, channel) in scored() {
            let _ = write!(text, "  {name:<width$}");
            for horizon in &channel.horizons {
                let _ = write!(text, "{:>10}", show(known(&horizon.up_to)));
            }
            let _ = write!(text, "\n  {:<width$}", "  best baseline");
            for (index, _) in channel.horizons.iter().enumerate() {
                let errors = channel.baselines.iter().filter_map(|(_, method)| known(&method.horizons[index].up_to));
                let _ = write!(text, "{:>10}", show(errors.min_by(f64::total_cmp)));
            }
            text.push('\n');
        }
        for (name, method) in self.baselines.iter().filter(|(_, method)| method.fallbacks > 0) {
            let _ = writeln!(
                text,
                "\n{name}: {} of {} fits failed, a simpler method stepped in",
                method.fallbacks,
                self.origins * self.columns.len()
            );
        }
        text
    }

    fn write_heads(&self, text: &mut String) {
        let _ = write!(text, "  {:NAME$}", "");
        for horizon in &self.horizons {
            let head = match self.protocol {
                Name::Tail => self.ahead(horizon.steps),
                Name::Ett => horizon.steps.to_string(),
            };
            let _ = write!(text, "{head:>10}");
        }
        text.push('\n');
    }

    fn write_band(&self, text: &mut String) {
        text.push_str("\n80 % band: share of values within it, mean over the steps up to\n");
        let mut row = |name: &str, measure: &dyn Fn(&Scores) -> Option<f64>| {
            let _ = write!(text, "  {name:<NAME$}");
            for horizon in &self.horizons {
                let _ = write!(text, "{:>10}", show(measure(&horizon.up_to)));
            }
            text.push('\n');
        };
        row(MODEL, &|scores| scores.coverage80);
        for (quarter, name) in ["in the first quarter", "the second", "the third", "the last"].iter().enumerate() {
            row(name, &|scores| scores.coverage80_quarters?[quarter]);
        }
    }

    /// As people compare it: the literature's tables have three decimals.
    fn digits(&self, value: Option<f64>) -> String {
        match (self.protocol, value) {
            (Name::Ett, Some(value)) => format!("{value:.3}"),
            _ => show(value),
        }
    }

    fn write_measure(&self, text: &mut String, title: &str, measure: impl Fn(&Scores) -> Option<f64>) {
        let _ = writeln!(text, "{title}");
        self.write_heads(text);
        let best: Vec<Option<f64>> = (0..self.horizons.len())
            .map(|column| {
                self.methods().filter_map(|(_, horizons, _)| measure(&horizons[column].up_to)).min_by(f64::total_cmp)
            })
            .collect();
        for (name, horizons, _) in self.methods() {
            let mut line = format!("  {name:<NAME$}");
            for (horizon, best) in horizons.iter().zip(&best) {
                let value = measure(&horizon.up_to);
                let mark = if value.is_some() && value == *best { "*" } else { " " };
                let _ = write!(line, "{:>9}{mark}", self.digits(value));
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push_str("  * best\n");
    }
}

/// Three significant digits, or a dash.
pub fn show(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value != 0.0 && !(1e-4..1e7).contains(&value.abs()) => format!("{value:.2e}"),
        Some(value) => {
            let digits = if value == 0.0 { 3 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize };
            format!("{value:.digits$}")
        }
    }
}
