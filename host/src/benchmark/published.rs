//! The best published test MSE for each data set and horizon: the least of SparseTSF, PatchTST, iTransformer and DLinear, each with its
//! best look-back, in the literature's protocol ([`crate::protocol`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::ETT_HORIZONS;

/// At each of [`ETT_HORIZONS`].
const PUBLISHED: [(&str, [f64; 4]); 4] = [
    ("ETTh1", [0.359, 0.397, 0.404, 0.417]),
    ("ETTh2", [0.274, 0.339, 0.329, 0.379]),
    ("ETTm1", [0.290, 0.332, 0.366, 0.416]),
    ("weather", [0.149, 0.194, 0.245, 0.314]),
];

/// The data sets that have a published error.
pub fn datasets() -> impl Iterator<Item = &'static str> {
    PUBLISHED.iter().map(|(name, _)| *name)
}

/// The best published MSE.
pub fn mse(dataset: &str, horizon: usize) -> Option<f64> {
    let (_, errors) = PUBLISHED.iter().find(|(name, _)| *name == dataset)?;
    Some(errors[ETT_HORIZONS.iter().position(|&steps| steps == horizon)?])
}

/// How an error compares with another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is less.
    Win,
    /// It is the same, as far as it was published or is printed.
    Tie,
    /// It is more.
    Loss,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Win => "win",
            Outcome::Tie => "tie",
            Outcome::Loss => "",
        })
    }
}

impl Outcome {
    /// At the three decimals that were published: a smaller difference is none that is known.
    pub fn new(mse: f64, published: f64) -> Outcome {
        Outcome::in_units_of(1e-3, mse, published)
    }

    /// At multiples of `unit`.
    pub fn in_units_of(unit: f64, own: f64, other: f64) -> Outcome {
        let rounded = |error: f64| (error / unit).round();
        match rounded(own).total_cmp(&rounded(other)) {
            std::cmp::Ordering::Less => Outcome::Win,
            std::cmp::Ordering::Equal => Outcome::Tie,
            std::cmp::Ordering::Greater => Outcome::Loss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_compared_as_published() {
        assert_eq!((mse("ETTm1", 336), mse("ETTm1", 100), mse("toy", 96)), (Some(0.366), None, None));
        assert_eq!(Outcome::new(0.3584, 0.359), Outcome::Win);
        assert_eq!(Outcome::new(0.35949, 0.359), Outcome::Tie);
        assert_eq!(Outcome::new(0.3596, 0.359), Outcome::Loss);
        assert_eq!(Outcome::new(f64::NAN, 0.359), Outcome::Loss);
    }
}
