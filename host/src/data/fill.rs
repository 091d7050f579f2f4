//! Gaps filled from the past alone, for what cannot leave them out: a target at a step ahead, a baseline's look-back.

/// Each missing value is that of a season earlier, or else the one before; NaN before the first.
pub fn filled(values: &[f32], period: usize) -> Vec<f32> {
    let mut filled: Vec<f32> = Vec::with_capacity(values.len());
    for (row, &value) in values.iter().enumerate() {
        let season_before = row.checked_sub(period).map_or(f32::NAN, |earlier| filled[earlier]);
        let fill = if season_before.is_nan() { filled.last().copied().unwrap_or(f32::NAN) } else { season_before };
        filled.push(if value.is_nan() { fill } else { value });
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_filled_from_the_past() {
        let nan = f32::NAN;
        let values = [nan, 1.0, nan, 3.0, nan, nan, 7.0];
        let filled_values = filled(&values, 2);
        assert!(filled_values[0].is_nan());
        assert_eq!(filled_values[1..], [1.0, 1.0, 3.0, 1.0, 3.0, 7.0]);
        // Nothing that comes later changes what was filled.
        for length in 1..values.len() {
            assert_eq!(filled(&values[..length], 2)[1..], filled_values[1..length]);
        }
    }
}
