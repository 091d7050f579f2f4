//! The table: means and spreads over seeds, and which differences to Flow-Attention exceed them.

use std::fmt::Write as _;

use serde::Serialize;

use super::experiment::{Cell, Scores};
use super::variant::Variant;

/// A mean over seeds and their spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// Sample standard deviation; none of a single seed.
    pub spread: Option<f64>,
}

/// Scores over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Mean squared error, in squared deviations.
    pub mse: Spread,
    /// Mean absolute error, in deviations.
    pub mae: Spread,
    /// Mean absolute scaled error.
    pub mase: Option<Spread>,
}

/// A variant against Flow-Attention, on the held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Its mean MSE less Flow-Attention's: above 0, Flow-Attention is ahead.
    pub mse: f64,
    /// Spread of such a difference: the root of the sum of both variances.
    pub spread: Option<f64>,
    /// Whether the difference exceeds the spread; none of a single seed.
    pub beyond_spread: Option<bool>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What stood in the place of the attention.
    pub variant: Variant,
    /// In words.
    pub description: String,
    /// Weights that take part in a forecast.
    pub parameters: usize,
    /// Multiply-accumulates of one sample of one channel.
    pub macs: usize,
    /// Numbers that the blocks carry for one channel.
    pub state: usize,
    /// On the validation rows.
    pub validation: Summary,
    /// On the held-out rows.
    pub test: Summary,
    /// Against `flow`, where that is in the table.
    pub difference: Option<Difference>,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Self { mean, spread: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()) }
    }
}

impl Summary {
    /// Of one score for each seed, at least one.
    pub fn of(scores: &[Scores]) -> Self {
        let spread = |measure: fn(&Scores) -> f64| Spread::of(&scores.iter().map(measure).collect::<Vec<_>>());
        let mase: Option<Vec<f64>> = scores.iter().map(|scores| scores.mase).collect();
        Self { mse: spread(|s| s.mse), mae: spread(|s| s.mae), mase: mase.map(|mase| Spread::of(&mase)) }
    }
}

impl Row {
    /// From the cells of a variant, one for each seed.
    pub fn new(variant: Variant, cells: &[&Cell], macs: usize, state: usize) -> Self {
        let summary = |of: fn(&Cell) -> Scores| Summary::of(&cells.iter().map(|cell| of(cell)).collect::<Vec<_>>());
        Self {
            variant,
            description: variant.describe(),
            parameters: cells.first().map_or(0, |cell| cell.parameters),
            macs,
            state,
            validation: summary(|cell| cell.validation),
            test: summary(|cell| cell.test),
            difference: None,
        }
    }
}

/// Fills in the differences to Flow-Attention.
pub fn compare(rows: &mut [Row]) {
    let Some(flow) = rows.iter().find(|row| row.variant == Variant::Flow).map(|row| row.test.mse) else { return };
    for row in rows.iter_mut().filter(|row| row.variant != Variant::Flow) {
        let mse = row.test.mse.mean - flow.mean;
        let spread = row.test.mse.spread.zip(flow.spread).map(|(a, b)| a.hypot(b));
        row.difference = Some(Difference { mse, spread, beyond_spread: spread.map(|spread| mse.abs() > spread) });
    }
}

/// The table for people.
pub fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16}{:>8}{:>8}{:>7}  {:>14}  {:>16}  {:>8}  {:>8}  {}\n",
        "", "weights", "MACs", "state", "validation MSE", "test MSE", "MAE", "MASE", "against flow"
    );
    for row in rows {
        let spread = row.test.mse.spread.map_or(String::new(), |spread| format!(" ± {spread:.4}"));
        let mase = row.test.mase.map_or("-".to_owned(), |mase| format!("{:.4}", mase.mean));
        let against = row.difference.map_or(String::new(), |difference| {
            let percent = 100.0 * difference.mse / (row.test.mse.mean - difference.mse);
            let verdict = match difference.beyond_spread {
                None => "",
                Some(true) => ", beyond the spread",
                Some(false) => ", within the spread",
            };
            format!("{percent:+.2} %{verdict}")
        });
        let _ = writeln!(
            text,
            "{:<16}{:>8}{:>8}{:>7}  {:>14.4}  {:>16}  {:>8.4}  {:>8}  {against}",
            row.variant.name(),
            row.parameters,
            row.macs,
            row.state,
            row.validation.mse.mean,
            format!("{:.4}{spread}", row.test.mse.mean),
            row.test.mae.mean,
            mase,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(variant: Variant, mses: &[f64]) -> Row {
        let cells: Vec<Cell> = mses
            .iter()
            .zip(1..)
            .map(|(mse, seed)| {
                let scores = Scores { mse: *mse, mae: 0.5, mase: Some(0.9) };
                let identity = String::new();
                Cell {
                    identity,
                    variant,
                    seed,
                    parameters: 10,
                    epoch: 1,
                    validation: scores,
                    test: scores,
                    step_ms: 0.0,
                }
            })
            .collect();
        Row::new(variant, &cells.iter().collect::<Vec<_>>(), 100, 5)
    }

    #[test]
    fn a_difference_counts_beyond_the_spread_of_both() {
        // Spreads 0.01 and 0.01: a difference spreads by 0.0141.
        let mut rows = vec![
            row(Variant::Flow, &[0.39, 0.40, 0.41]),
            row(Variant::Gru, &[0.40, 0.41, 0.42]),
            row(Variant::None, &[0.43, 0.44, 0.45]),
            row(Variant::Linear, &[0.37, 0.38, 0.39]),
        ];
        compare(&mut rows);
        let found: Vec<_> = rows.iter().map(|row| row.difference.map(|d| (d.mse > 0.0, d.beyond_spread))).collect();
        let expected = [None, Some((true, Some(false))), Some((true, Some(true))), Some((false, Some(true)))];
        assert_eq!(found, expected);
        assert!((rows[1].difference.unwrap().spread.unwrap() - 0.01 * 2.0_f64.sqrt()).abs() < 1e-9);
        let text = text(&rows);
        assert!(text.contains("0.4400 ± 0.0100") && text.contains("+10.00 %, beyond the spread"), "{text}");
    }

    #[test]
    fn one_seed_decides_nothing() {
        let mut rows = vec![row(Variant::Flow, &[0.4]), row(Variant::Gru, &[0.8])];
        compare(&mut rows);
        assert_eq!(rows[1].difference.unwrap().beyond_spread, None);
        assert_eq!(rows[0].test.mse, Spread { mean: 0.4, spread: None });
    }
}
