//! AdamW (Loshchilov and Hutter, ICLR 2019) with a learning rate for each group of weights, cosine schedule and
//! clipping of the gradient's norm.
//!
//! candle-nn's AdamW keeps its moments to itself, so a training that was interrupted could not go on as if it had not
//! been; this one's state can be saved.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// A group's learning rate at its peak, and its decay of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Learning rate at the peak of the schedule.
    pub rate: f64,
    /// Share of a weight that a step of rate 1 would take away.
    pub decay: f64,
}

/// First and second moments of every weight's gradient, by name.
#[derive(Default)]
pub struct AdamW {
    /// Steps done.
    pub step: usize,
    /// First and second moment.
    pub moments: BTreeMap<String, [Tensor; 2]>,
}

/// Share of the peak rate at a step: up linearly over `warm_up` steps, then down as half a cosine to 0 at `steps`.
pub fn schedule(step: usize, warm_up: usize, steps: usize) -> f64 {
    if step < warm_up {
        return (step + 1) as f64 / warm_up as f64;
    }
    let done = (step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64;
    0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
}

/// √Σ g² over every weight's gradient.
///
/// # Errors
/// The device fails.
pub fn gradient_norm(vars: &BTreeMap<String, Var>, gradients: &GradStore) -> Result<f64> {
    let mut sum = 0.0;
    for var in vars.values() {
        if let Some(gradient) = gradients.get(var) {
            sum += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    Ok(sum.sqrt())
}

impl AdamW {
    /// One step with gradients times `gradient_scale` and rates times `rate_scale`; `group` tells each weight's.
    ///
    /// # Errors
    /// The device fails.
    pub fn step(
        &mut self,
        vars: &BTreeMap<String, Var>,
        gradients: &GradStore,
        gradient_scale: f64,
        rate_scale: f64,
        group: impl Fn(&str) -> Group,
    ) -> Result<()> {
        self.step += 1;
        let correction1 = 1.0 - BETA1.powi(self.step as i32);
        let correction2 = 1.0 - BETA2.powi(self.step as i32);
        for (name, var) in vars {
            let Some(gradient) = gradients.get(var) else { continue };
            let gradient = (gradient * gradient_scale)?;
            let Group { rate, decay } = group(name);
            let rate = rate * rate_scale;
            let [m, v] = match self.moments.get(name) {
                Some([m, v]) => [m.clone(), v.clone()],
                None => [gradient.zeros_like()?, gradient.zeros_like()?],
            };
            let m = ((m * BETA1)? + (&gradient * (1.0 - BETA1))?)?.detach();
            let v = ((v * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?.detach();
            let direction = ((&m / correction1)? / ((&v / correction2)?.sqrt()? + EPSILON)?)?;
            let kept = (var.as_tensor() * (1.0 - rate * decay))?;
            var.set(&(kept - (direction * rate)?)?)?;
            self.moments.insert(name.clone(), [m, v]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_schedule_rises_and_falls() {
        assert_eq!(schedule(0, 10, 100), 0.1);
        assert_eq!(schedule(9, 10, 100), 1.0);
        assert!((schedule(55, 10, 100) - 0.5).abs() < 1e-12);
        assert!(schedule(100, 10, 100) < 1e-12);
    }

    #[test]
    fn it_finds_the_least_of_a_bowl() {
        let target = Tensor::new(&[3.0_f32, -2.0], &Device::Cpu).unwrap();
        let vars = BTreeMap::from([("x".to_owned(), Var::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap())]);
        let mut optimizer = AdamW::default();
        for step in 0..400 {
            let loss = (vars["x"].as_tensor() - &target).unwrap().sqr().unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            let rate = schedule(step, 10, 400);
            optimizer.step(&vars, &gradients, 1.0, rate, |_| Group { rate: 0.1, decay: 0.0 }).unwrap();
        }
        let x = vars["x"].to_vec1::<f32>().unwrap();
        assert!((x[0] - 3.0).abs() < 1e-2 && (x[1] + 2.0).abs() < 1e-2, "{x:?}");
    }
}
