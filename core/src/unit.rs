//! Between a channel's unit and a model's scalar: sample = (reading − offset) / scale.
//!
//! For [`Q20`] all of it is in integers. A reading is taken in steps of 2⁻³⁰ of the scale's power of two, up to 2³¹ of that
//! power (beyond, neighbours among `f32` are hundreds of scales apart), and a sample within ±512 deviations.

use core::fmt::Debug;
use core::hint::select_unpredictable;

use crate::bits::{exponent, float, scaled_wide};
use crate::format::{Channel, UNIT_BITS};
use crate::math::round;
use crate::q20::{Q20, narrow, reciprocal};
use crate::wide::{high_rounded, product};

/// A channel's unit, for the scalar `R`.
pub trait Unit<R>: Copy + Debug + PartialEq {
    /// Of no channel: all zeros.
    const NONE: Self;
    /// From a channel's record in the model file.
    fn new(channel: &Channel<'_>) -> Self;
    /// The sample of a finite reading.
    fn sample(&self, reading: f32) -> R;
    /// A sample as a reading: in the channel's unit and, for a sensor of coarse steps, one of its steps.
    fn reading(&self, sample: R) -> f32;
    /// Half a step of a coarse sensor, as a sample; 0 for a fine one.
    fn half_step(&self) -> R;
}

/// In `f32`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatUnit {
    offset: f32,
    scale: f32,
    inverse_scale: f32,
    resolution: f32,
    inverse_resolution: f32,
}

/// Steps of a sensor that readings are rounded to, at most: [`round`]'s range.
const MOST_STEPS: f32 = 4_194_304.0;

impl Unit<f32> for FloatUnit {
    const NONE: Self = Self { offset: 0.0, scale: 0.0, inverse_scale: 0.0, resolution: 0.0, inverse_resolution: 0.0 };

    fn new(channel: &Channel<'_>) -> Self {
        Self {
            offset: channel.offset,
            scale: channel.scale,
            inverse_scale: 1.0 / channel.scale,
            resolution: channel.resolution,
            inverse_resolution: if channel.resolution > 0.0 { 1.0 / channel.resolution } else { 0.0 },
        }
    }

    #[inline]
    fn sample(&self, reading: f32) -> f32 {
        (reading - self.offset) * self.inverse_scale
    }

    #[inline]
    fn reading(&self, sample: f32) -> f32 {
        let reading = sample * self.scale + self.offset;
        let steps = reading * self.inverse_resolution;
        // Beyond, a reading is coarser than half a step itself.
        let coarse = (self.resolution > 0.0) & (steps.abs() < MOST_STEPS);
        select_unpredictable(coarse, round(steps) * self.resolution, reading)
    }

    fn half_step(&self) -> f32 {
        0.5 * self.resolution * self.inverse_scale
    }
}

/// In integers. A *unit* here is 2⁻³⁰ of the scale's power of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntegerUnit {
    /// Of the scale: 2^exponent ≤ scale < 2^(exponent + 1).
    exponent: i32,
    /// The scale's mantissa, 2²³ to 2²⁴.
    mantissa: i32,
    /// 2⁶¹ over the scale in units: 2³⁰ to 2³¹.
    inverse: i32,
    /// In units.
    offset: i64,
    /// In units; 0 for a fine sensor.
    resolution: i64,
    /// 2^(30 + its bits) over the resolution.
    inverse_resolution: i32,
}

/// A resolution of fewer bits, in units, is none.
const LEAST_RESOLUTION_BITS: u32 = 10;

impl IntegerUnit {
    fn units(&self, reading: f32) -> i64 {
        scaled_wide(reading, UNIT_BITS - self.exponent)
    }

    /// A difference in units, as a sample; within ±512 deviations at the least.
    #[inline]
    fn deviations(&self, units: i64) -> Q20 {
        // Steps of 2⁻²¹ of the scale's power of two.
        let cut = (units >> (UNIT_BITS - 21)).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        Q20::from_raw(high_rounded(cut, self.inverse))
    }

    /// To a whole number of steps of the sensor.
    #[inline]
    fn rounded(&self, units: i64) -> i64 {
        let bits = (u64::BITS - self.resolution.leading_zeros()).max(LEAST_RESOLUTION_BITS);
        let cut = units >> (bits - 9);
        // Beyond 2²² steps a reading is coarser than half a step itself.
        let coarse = (self.resolution > 0) & (cut == i64::from(cut as i32));
        let steps = narrow(product(cut as i32, self.inverse_resolution), 39);
        select_unpredictable(coarse, i64::from(steps).wrapping_mul(self.resolution), units)
    }
}

impl Unit<Q20> for IntegerUnit {
    const NONE: Self = Self { exponent: 0, mantissa: 0, inverse: 0, offset: 0, resolution: 0, inverse_resolution: 0 };

    fn new(channel: &Channel<'_>) -> Self {
        let exponent = exponent(channel.scale);
        let mantissa = scaled_wide(channel.scale, 23 - exponent) as i32;
        let half = |m: u32| (reciprocal(m) >> 1) as i32;
        let mut unit = Self { exponent, mantissa, inverse: half((mantissa as u32) << 8), ..Self::NONE };
        unit.offset = unit.units(channel.offset);
        let resolution = unit.units(channel.resolution);
        let zeros = resolution.leading_zeros();
        if resolution > 0 && u64::BITS - zeros >= LEAST_RESOLUTION_BITS {
            unit.resolution = resolution;
            unit.inverse_resolution = half((resolution << zeros >> 32) as u32);
        }
        unit
    }

    #[inline]
    fn sample(&self, reading: f32) -> Q20 {
        self.deviations(self.units(reading).wrapping_sub(self.offset))
    }

    #[inline]
    fn reading(&self, sample: Q20) -> f32 {
        // Steps of 2⁻⁴³ become units.
        let units = (product(sample.raw(), self.mantissa) + (1 << 12)) >> 13;
        let units = self.rounded(units.wrapping_add(self.offset));
        float(units, self.exponent - UNIT_BITS)
    }

    fn half_step(&self) -> Q20 {
        self.deviations(self.resolution >> 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Real;

    fn channel(offset: f32, scale: f32, resolution: f32) -> Channel<'static> {
        let (valid_min, valid_max) = (offset - 100.0 * scale, offset + 100.0 * scale);
        Channel {
            name: "x",
            unit: "",
            offset,
            scale,
            valid_min,
            valid_max,
            stuck_limit: 0,
            spike_limit: 0.0,
            spike_least: 0.0,
            resolution,
            lowest: valid_min,
            highest: valid_max,
        }
    }

    #[test]
    fn integers_say_what_exact_numbers_say() {
        for (offset, scale) in [(0.0, 1.0), (20.5, 3.7), (101_325.0, 512.0), (-4e-9, 1e-9), (7e11, 9e11), (1e6, 0.01)] {
            for resolution in [0.0, 0.01 * scale, 0.3 * scale, 3.0 * scale] {
                let channel = channel(offset, scale, resolution);
                let unit = IntegerUnit::new(&channel);
                let [offset, scale, resolution] = [offset, scale, resolution].map(f64::from);
                for index in -5_000..5_000 {
                    let deviations = f64::from(index) * 0.012_345;
                    let reading = (offset + deviations * scale) as f32;
                    let expected = (f64::from(reading) - offset) / scale;
                    let sample = f64::from(unit.sample(reading).to_f32());
                    assert!((sample - expected).abs() < 2e-6 + 1e-7 * expected.abs(), "{reading}: {sample} {expected}");

                    let raw = Q20::of(deviations as f32);
                    let exact = offset + f64::from(raw.raw()) / f64::from(1 << 20) * scale;
                    let exact = if resolution > 0.0 { libm::round(exact / resolution) * resolution } else { exact };
                    let found = f64::from(unit.reading(raw));
                    let off = (found - exact).abs();
                    let tolerance = 1e-7 * exact.abs() + 2e-9 * scale;
                    // Within 2⁻⁸ steps of the middle between two, the other one may be taken.
                    let middle = (exact / resolution.max(1e-30) * 2.0).abs() < 1e18 && off > resolution * 0.99;
                    assert!(off <= tolerance || middle && off < resolution * 1.01, "{found} {exact} {resolution}");
                }
                let half = f64::from(unit.half_step().to_f32());
                assert!((half - 0.5 * resolution / scale).abs() < 2e-6);
            }
        }
    }

    #[test]
    fn what_is_far_away_is_taken_as_far() {
        let unit = IntegerUnit::new(&channel(10.0, 2.0, 0.0));
        for reading in [1e6, 1e30, f32::MAX, f32::INFINITY] {
            assert!(unit.sample(reading) >= Q20::of(511.0) && unit.sample(-reading) <= Q20::of(-511.0), "{reading}");
        }
        assert_eq!(unit.reading(Q20::MAX), 4_106.0);
        assert_eq!(unit.sample(10.0), Q20::ZERO);
    }
}
