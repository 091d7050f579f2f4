//! Counts in sentences: `1 epoch`, `2 epochs`.

use std::fmt::Display;

/// A count and what is counted, by its singular; the plural takes an s.
pub fn counted(count: impl Display, singular: &str) -> String {
    let count = count.to_string();
    let ending = if count == "1" { "" } else { "s" };
    format!("{count} {singular}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(
            [0, 1, 2, 11].map(|count| counted(count, "epoch")),
            ["0 epochs", "1 epoch", "2 epochs", "11 epochs"]
        );
        assert_eq!(
            [1.0, 1.4, 21.0].map(|count: f32| counted(format_args!("{count:.0}"), "sample")),
            ["1 sample", "1 sample", "21 samples"]
        );
    }
}
