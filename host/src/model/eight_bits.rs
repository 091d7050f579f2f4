//! Weights as an eight-bit file has them, with the gradient of those that they are rounded from (the straight-through
//! estimator: Bengio et al., arXiv 1308.3432).

use candle_core::{Result, Tensor};
use flowcast_core::format::LARGEST_I8;

/// The largest eight-bit weight.
const LARGEST: f64 = LARGEST_I8 as f64;
/// Rows of zeros have a scale, too.
const LEAST_SCALE: f64 = 1e-30;

/// A matrix `[..][rows][columns]`, each output rounded to 127 steps of its largest weight as
/// `flowcast_core::format::Tensor::round_to_eight_bits` does; an output's weights lie along `inputs`, a dimension.
pub(super) fn rounded(weight: &Tensor, inputs: usize) -> Result<Tensor> {
    let exact = weight.detach();
    let scale = (exact.abs()?.max_keepdim(inputs)? / LARGEST)?.maximum(LEAST_SCALE)?;
    let rounded = exact.broadcast_div(&scale)?.round()?.broadcast_mul(&scale)?;
    weight + (rounded - exact)?
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use flowcast_core::format::{Form, Tensor as Stored};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn it_is_what_the_file_holds_and_its_gradient_that_of_the_exact_weights() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let shape = [2, 3, 7];
        // Rows of very different sizes, one of zeros.
        let exact: Vec<f32> = (0..42)
            .map(|place| 10.0_f32.powi(place / 7 - 3) * if place / 7 == 2 { 0.0 } else { rng.random_range(-1.0..1.0) })
            .collect();
        for (form, inputs) in [(Form::Matrix, 2), (Form::Transposed, 1)] {
            // A transposed matrix has one outer dimension.
            let shape = if inputs == 1 { [1, 6, 7] } else { shape };
            let mut stored = exact.clone();
            Stored { name: "weight", layer: None, shape, start: 0, form }.round_to_eight_bits(&mut stored);
            let var = Var::from_slice(&exact, &shape[..], &Device::Cpu).unwrap();
            let found = rounded(&var, inputs).unwrap();
            for (found, stored) in found.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().zip(&stored) {
                assert!((found - stored).abs() <= 1e-6 * stored.abs(), "{found} and {stored}");
            }
            let gradients = (found * 3.0).unwrap().sum_all().unwrap().backward().unwrap();
            let gradient = gradients.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(gradient.iter().all(|gradient| *gradient == 3.0));
        }
    }
}
