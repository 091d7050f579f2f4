//! The logger: sensors in, forecasts, alerts and warnings out, one sample at a time, whatever fails.
//!
//! Somebody's clock calls [`Logger::sample`] when a sample is due and [`Logger::skip`] for those that were not taken:
//! a timer on a board (`station`), a host at an emulated one (`paced`). A dead sensor is a missing value, a dead line is
//! counted; neither stops the stream.

use flowcast_core::forecaster::Streaming;
use flowcast_core::format::MAX_CHANNELS;
use flowcast_core::gate;
use flowcast_core::known::nothing;
use flowcast_core::warning::{self, Watch};
use flowcast_core::wire::{Alert, ClockFault, ClockNotice, Gated, Unfit};

use crate::sampler::Sampler;
use crate::telemetry::Telemetry;

/// What is told, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// A whole forecast after each so many samples; 0 for none.
    pub forecast_every: u32,
    /// What is expected of the next sample, after each that is told and has no whole forecast.
    pub next: bool,
    /// An alert for what comes as rarely as this on its channel, in (0, 1).
    pub alert_probability: f32,
}

impl Plan {
    /// A forecast for each sample, an alert for one in a thousand.
    pub const DEFAULT: Self = Self { forecast_every: 1, next: false, alert_probability: 1e-3 };
}

/// A forecaster and its sensors.
pub struct Logger<'l, F, const SENSORS: usize> {
    forecaster: &'l mut F,
    sampler: Sampler<'l, SENSORS>,
    plan: Plan,
    watches: &'l mut [Watch],
    gate: Option<&'l mut Gate>,
    /// Times in a row that a clock was not believed.
    clock_run: u32,
    account: Account,
}

/// What decides whether a sample is worth a message; it keeps the last 16 reports.
pub type Gate = gate::Gate<8, { gate::SILENCE }, 16>;

/// What has passed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Samples, missing and skipped ones included.
    pub samples: u32,
    /// Samples without a value in any channel, those skipped included.
    pub missing: u32,
    /// Reports that did not go out.
    pub undelivered: u32,
    /// Alerts.
    pub alerts: u32,
    /// Warnings that a limit is about to be crossed, or is.
    pub warnings: u32,
    /// Times that a clock failed or was not believed.
    pub clock_faults: u32,
}

impl<'l, F: Streaming, const SENSORS: usize> Logger<'l, F, SENSORS> {
    /// A logger that has seen nothing. `model` is the file that `forecaster` runs.
    ///
    /// # Errors
    /// The sensors are not what the model was trained on.
    pub fn new(forecaster: &'l mut F, model: &[u8], sampler: Sampler<'l, SENSORS>, plan: Plan) -> Result<Self, Unfit> {
        sampler.check(forecaster.header(), model)?;
        Ok(Self { forecaster, sampler, plan, watches: &mut [], gate: None, clock_run: 0, account: Account::default() })
    }

    /// The same with limits, which cost each sample a forecast of their channels.
    pub fn watching(self, watches: &'l mut [Watch]) -> Self {
        Self { watches, ..self }
    }

    /// The same, telling a sample only where a gateway that runs the same model would be wrong by more than it may; a model
    /// of up to eight channels.
    pub fn gated(self, gate: &'l mut Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// The gate, if there is one.
    pub fn gate(&mut self) -> Option<&mut Gate> {
        self.gate.as_deref_mut()
    }

    /// Takes a sample, tells of it, and returns its index.
    pub fn sample<T: Telemetry>(&mut self, telemetry: &mut T) -> u32 {
        let due = self.plan.forecast_every > 0 && (self.account.samples + 1).is_multiple_of(self.plan.forecast_every);
        self.sample_telling(telemetry, due)
    }

    /// The same; whether with a forecast is the caller's to say.
    pub fn sample_telling<T: Telemetry>(&mut self, telemetry: &mut T, forecast: bool) -> u32 {
        let Self { forecaster, sampler, plan, watches, gate, account, .. } = self;
        let Account { samples, missing, undelivered, alerts, warnings, .. } = account;
        let index = *samples;
        let mut tell = |sent: Result<(), T::Error>| *undelivered = undelivered.saturating_add(u32::from(sent.is_err()));

        let mut values = [f32::NAN; MAX_CHANNELS];
        let channels = sampler.sample(&mut values, |notice| tell(telemetry.sensor(index, notice)));
        let values = values.get(..channels).unwrap_or_default();
        let report = match gate {
            Some(gate) => gate.sample(&mut **forecaster, values),
            None => {
                forecaster.observe(values);
                None
            }
        };
        *samples = samples.saturating_add(1);
        *missing = missing.saturating_add(u32::from(values.iter().all(|value| value.is_nan())));

        let told = gate.is_none() || report.is_some();
        match (gate, report) {
            (None, _) => tell(telemetry.sample(index, values)),
            (Some(_), Some(report)) => tell(telemetry.gated(&Gated::new(&report, channels as u16))),
            (Some(_), None) => {}
        }
        for (channel, value) in values.iter().enumerate() {
            let Some(strangeness) = forecaster.anomaly(channel) else { continue };
            if strangeness.alert(plan.alert_probability) {
                *alerts = alerts.saturating_add(1);
                let surprise = strangeness.surprise;
                tell(telemetry.alert(&Alert { index, channel: channel as u16, value: *value, surprise }));
            }
        }
        warning::observe(&**forecaster, &nothing, (index, values), watches, |warning| {
            *warnings = warnings.saturating_add(1);
            tell(telemetry.warning(&warning));
        });
        match forecaster.is_ready() {
            true if forecast => tell(telemetry.forecast(index, &**forecaster)),
            true if plan.next && told => tell(telemetry.next(index, &**forecaster)),
            _ => {}
        }
        index
    }

    /// Counts what is wrong with a clock that was asked after a sample, or that nothing is, and tells it as a sensor's faults
    /// are told.
    pub fn clock<T: Telemetry>(&mut self, telemetry: &mut T, index: u32, fault: Option<ClockFault>) {
        let Self { clock_run: run, account, .. } = self;
        if fault.is_none() && *run == 0 {
            return;
        }
        if fault.is_some() {
            *run = run.saturating_add(1);
            account.clock_faults = account.clock_faults.saturating_add(1);
        }
        let notice = ClockNotice { index, fault, run: *run, count: account.clock_faults };
        match fault {
            Some(_) if !run.is_power_of_two() => return,
            Some(_) => {}
            None => *run = 0,
        }
        let lost = telemetry.clock(&notice).is_err();
        account.undelivered = account.undelivered.saturating_add(lost.into());
    }

    /// Notes that `samples` samples were not taken.
    pub fn skip(&mut self, samples: u32) {
        match &mut self.gate {
            Some(gate) => gate.skip(&mut *self.forecaster, samples),
            None => self.forecaster.observe_gap(samples),
        }
        self.watches.iter_mut().for_each(|watch| watch.skip(samples));
        self.account.samples = self.account.samples.saturating_add(samples);
        self.account.missing = self.account.missing.saturating_add(samples);
    }

    /// Counts on from so many samples, which the forecaster's state has in it.
    pub fn resume(&mut self, samples: u32) {
        if let Some(gate) = &mut self.gate {
            gate.resume(samples);
        }
        self.account.samples = samples;
    }

    /// Forgets all that was observed; the account of the sensors stays.
    pub fn reset(&mut self) {
        self.forecaster.reset();
        if let Some(gate) = &mut self.gate {
            gate.restart();
        }
        self.watches.iter_mut().for_each(Watch::reset);
        self.account = Account::default();
    }

    /// What has passed.
    pub fn account(&self) -> Account {
        self.account
    }

    /// The forecaster, to be asked or kept.
    pub fn forecaster(&mut self) -> &mut F {
        self.forecaster
    }

    /// The sensors and how they do.
    pub fn sampler(&self) -> &Sampler<'l, SENSORS> {
        &self.sampler
    }
}
