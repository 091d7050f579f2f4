//! Which rows stand for all: every so many, such that each phase of a season has its turn.

/// The smallest stride of at least `least` rows that has no divisor in common with a period.
pub(crate) fn stride(least: usize, period: usize) -> usize {
    (least.max(1)..).find(|stride| common_divisor(*stride, period) == 1).unwrap_or(1)
}

/// The greatest.
fn common_divisor(left: usize, right: usize) -> usize {
    if right == 0 { left } else { common_divisor(right, left % right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_turn() {
        for period in [1, 2, 15, 24, 48, 144, 288, 10_080] {
            for least in 0..50 {
                let stride = stride(least, period);
                assert!(stride >= least.max(1));
                let mut seen = vec![false; period];
                (0..period).for_each(|turn| seen[turn * stride % period] = true);
                assert!(seen.into_iter().all(|seen| seen), "{stride} of {period}");
            }
        }
    }
}
