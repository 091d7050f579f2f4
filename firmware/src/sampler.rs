//! One sample of every sensor, whatever the sensors do.
//!
//! A sensor that fails leaves its channels missing and is started anew for each further sample, so that it comes back by
//! itself once it is plugged in again. What is wrong is counted, and told at the 1st, 2nd, 4th, 8th, … failure in a row: a
//! sensor that is dead for a year says so 16 times.

use flowcast_core::format::{Header, MAX_CHANNELS};
use flowcast_core::wire::{Unfit, words};

use crate::sensor::{Fault, MAX_QUANTITIES, Sensor};

/// A sensor and how it has done.
struct Place<'s> {
    sensor: &'s mut dyn Sensor,
    /// Whether it is set up.
    started: bool,
    /// Samples in a row that it failed at.
    run: u32,
    /// Samples that it failed at.
    count: u32,
}

/// The sensors of a board, in the order of the model's channels.
pub struct Sampler<'s, const SENSORS: usize> {
    places: [Place<'s>; SENSORS],
}

/// What a log and a listener are told of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which, counted from 0.
    pub sensor: u8,
    /// What is wrong; `None`: it works again.
    pub fault: Option<Fault>,
    /// Samples in a row that it failed at, this one included; where it works again, those before.
    pub run: u32,
    /// Samples that it ever failed at.
    pub count: u32,
}

impl<'s, const SENSORS: usize> Sampler<'s, SENSORS> {
    /// Of these sensors, none of them read yet.
    pub fn new(sensors: [&'s mut dyn Sensor; SENSORS]) -> Self {
        const { assert!(SENSORS <= u8::MAX as usize, "a notice counts sensors in a byte") };
        Self { places: sensors.map(|sensor| Place { sensor, started: false, run: 0, count: 0 }) }
    }

    /// Quantities of all sensors together.
    pub fn channels(&self) -> usize {
        self.places.iter().map(|place| place.sensor.quantities().len()).sum()
    }

    /// Whether the sensors are what a model was trained on: as many channels, in the same units (a channel without a unit
    /// takes any). `model` is the file that `header` was read from.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, header: &Header, model: &[u8]) -> Result<(), Unfit> {
        let (found, expected) = (self.channels(), header.channels);
        if found != usize::from(expected) {
            return Err(Unfit::Count { found: u16::try_from(found).unwrap_or(u16::MAX), expected });
        }
        let units = self.places.iter().flat_map(|place| place.sensor.quantities()).map(|quantity| quantity.unit);
        for (channel, found) in units.enumerate() {
            let expected = header.channel(model, channel).map_or("", |channel| channel.unit);
            if !expected.is_empty() && expected != found {
                let channel = channel as u16; // a model has at most 32
                return Err(Unfit::Unit { channel, found: words(found), expected: words(expected) });
            }
        }
        Ok(())
    }

    /// Samples that a sensor ever failed at.
    pub fn failures(&self, sensor: usize) -> u32 {
        self.places.get(sensor).map_or(0, |place| place.count)
    }

    /// Reads every sensor. Writes the values that there are, NaN for those that there are not, and returns how many
    /// channels that is; `tell` hears what is new of the sensors.
    pub fn sample(&mut self, values: &mut [f32; MAX_CHANNELS], mut tell: impl FnMut(Notice)) -> usize {
        let mut filled = 0;
        for (index, place) in self.places.iter_mut().enumerate() {
            let rest = values.get_mut(filled..).unwrap_or_default();
            let width = place.sensor.quantities().len().min(MAX_QUANTITIES).min(rest.len());
            filled += width;
            let outcome = place.read(rest.get_mut(..width).unwrap_or_default());
            place.judge(index as u8, outcome, &mut tell);
        }
        filled
    }
}

impl Place<'_> {
    /// Values of the sensor's quantities; the first fault where one of them is missing.
    fn read(&mut self, values: &mut [f32]) -> Result<(), Fault> {
        values.fill(f32::NAN);
        if !self.started {
            self.sensor.start()?;
            self.started = true;
        }
        let mut readings = [f32::NAN; MAX_QUANTITIES];
        self.sensor.read(&mut readings)?;
        let mut outcome = Ok(());
        for ((value, reading), quantity) in values.iter_mut().zip(readings).zip(self.sensor.quantities()) {
            match quantity.value(reading) {
                Ok(sound) => *value = sound,
                Err(fault) => outcome = outcome.and(Err(fault)),
            }
        }
        outcome
    }

    fn judge(&mut self, sensor: u8, outcome: Result<(), Fault>, tell: &mut impl FnMut(Notice)) {
        let Self { run, count, started, .. } = self;
        match outcome {
            Ok(()) => {
                if *run > 0 {
                    tell(Notice { sensor, fault: None, run: *run, count: *count });
                }
                *run = 0;
            }
            Err(fault) => {
                *started = false;
                *run = run.saturating_add(1);
                *count = count.saturating_add(1);
                if run.is_power_of_two() {
                    tell(Notice { sensor, fault: Some(fault), run: *run, count: *count });
                }
            }
        }
    }
}
