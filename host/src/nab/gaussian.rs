//! NAB's windowed Gaussian, the simplest detector of its scoreboard that learns: 1 − Q(|x − mean|/deviation) over the
//! last 6,400 values, moved on by 100 at a time (numenta/NAB: `nab/detectors/gaussian`). Its published score checks
//! [`super::scoring`] on the whole corpus.

/// Values of the window.
const WINDOW: usize = 6400;
/// The full window moves on by so many values.
const STEP: usize = 100;
/// The deviation of a window without any.
const LEAST_DEVIATION: f64 = 1e-6;

/// The detector's score of each value.
pub fn scores(values: &[f64]) -> Vec<f64> {
    let mut start = 0;
    let mut end = 0;
    let (mut mean, mut deviation) = (0.0, 1.0);
    values
        .iter()
        .enumerate()
        .map(|(row, value)| {
            let z = (value - mean).abs() / deviation;
            let score = if row == 0 { 0.0 } else { 1.0 - 0.5 * libm::erfc(z / std::f64::consts::SQRT_2) };
            let full = end - start == WINDOW;
            if !full || row + 1 - end == STEP {
                start = if full { start + STEP } else { start };
                end = row + 1;
                (mean, deviation) = moments(&values[start..end]);
            }
            score
        })
        .collect()
}

fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    (mean, if deviation == 0.0 { LEAST_DEVIATION } else { deviation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_normal_tail_probabilities_of_the_values_before() {
        // Mean 1, deviation 1 before the third.
        let scores = scores(&[0.0, 2.0, 2.0, 1.0]);
        assert_eq!((scores[0], scores[1]), (0.0, 1.0));
        assert!((scores[2] - 0.841_345).abs() < 1e-6, "{scores:?}");
    }

    #[test]
    fn the_window_moves_on() {
        let mut values: Vec<f64> = (0..WINDOW).map(|row| (row % 2) as f64).collect();
        values.extend((0..WINDOW + STEP).map(|row| 100.0 + (row % 2) as f64));
        let scores = scores(&values);
        assert_eq!(scores[WINDOW], 1.0);
        // Nothing but the new level is left in the window.
        assert!((scores[2 * WINDOW + STEP - 1] - 0.841_345).abs() < 1e-6);
    }
}
