//! What a board with a sensor (`--bin station`) takes of a battery: how long a sample keeps it awake, and, by what the
//! chip's maker says that it draws awake and asleep, the charge and energy of a day.
//!
//! ```text
//! awake  = (observe + forecast / SAMPLES_PER_FORECAST) / clock + bus + line        s for each sample
//! energy = volts · (awake · I_awake + (interval − awake) · I_asleep)               for each sample
//! ```
//!
//! A sample is told with what is expected of the next, and now and then with a whole forecast. The processor waits for its bus
//! and for its line, so that it is awake for both. Currents are typical values at 25 °C. Where a maker's figure is of a chip that
//! has more to do than a station, it bounds what a station takes.

use flowcast_core::wire::{Chunk, FRAME_BYTES, FRAME_VALUES, Reply, Sampled, encode};
use serde::Serialize;

use crate::duration::show_ms;

/// A station sends a whole forecast once in so many samples; `firmware/src/station.rs` says the same.
pub const SAMPLES_PER_FORECAST: u32 = 36;
/// A station's serial line.
const BAUD: f64 = 115_200.0;
/// A byte with its start and its stop.
const BITS_PER_BYTE: f64 = 10.0;
/// A station's I²C bus.
const BUS_HZ: f64 = 100_000.0;
/// An LM75's reading: two addresses, a register's number and two bytes with an acknowledgement each; start, start, stop.
const BUS_BITS: f64 = 5.0 * 9.0 + 3.0;
const DAY_MS: f64 = 86_400_000.0;

/// A real board's supply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Supply {
    /// The board, as [`crate::hardware`] has it.
    pub board: &'static str,
    /// Its processor's clock, as the firmware sets it.
    pub clock_hz: f64,
    /// What the chip draws.
    pub draw: Draw,
}

/// What a chip draws, by its maker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Draw {
    /// Volts of its supply.
    pub volts: f64,
    /// Milliamperes while it computes.
    pub awake_ma: f64,
    /// Microamperes while it waits for its timer.
    pub asleep_ua: f64,
    /// Whether the currents are of a chip with more to do: bounds, its serial port within them.
    pub at_most: bool,
    /// Where the maker says so.
    pub source: &'static str,
}

/// Where currents are from that somebody has measured.
const MEASURED: &str = "--draw";

/// Volts, and milliamperes awake and asleep, that somebody has measured at a board.
///
/// # Errors
/// Not three numbers within 0.5 to 60 V, and above 0 to 10 A.
pub fn measured(text: &str) -> Result<Draw, String> {
    let expected =
        || format!("found {text:?}, expected volts, milliamperes awake and milliamperes asleep, such as 3.3,24,7.5");
    let numbers: Vec<f64> =
        text.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>().map_err(|_| expected())?;
    match numbers[..] {
        [volts, awake_ma, asleep_ma]
            if (0.5..=60.0).contains(&volts)
                && [awake_ma, asleep_ma].iter().all(|current| *current > 0.0 && *current <= 1e4) =>
        {
            Ok(Draw { volts, awake_ma, asleep_ua: 1e3 * asleep_ma, at_most: false, source: MEASURED })
        }
        _ => Err(expected()),
    }
}

/// Every real board's.
pub const SUPPLIES: [Supply; 4] = [
    Supply {
        board: "nrf52840dk",
        clock_hz: 64e6,
        draw: Draw {
            volts: 3.0,
            awake_ma: 3.3,
            asleep_ua: 3.16,
            at_most: false,
            source: "nRF52840 Product Specification v1.11, current consumption: ICPU0 (CoreMark from flash, 64 MHz, DC/DC), \
                     ION_RAMON_RTC (System ON, all RAM kept, waking by RTC)",
        },
    },
    Supply {
        board: "rp2040",
        clock_hz: 48e6,
        // Awake, the core's supply of the media player, which keeps both cores and more at work, and the pins' of the boot program:
        // 10.9 + 1.2 mA. Asleep, all supplies of the boot program that waits for a host: 9.0 + 1.2 + 0.2 mA.
        draw: Draw {
            volts: 3.3,
            awake_ma: 12.1,
            asleep_ua: 10_400.0,
            at_most: true,
            source: "RP2040 datasheet, section 5.7.2, at 48 MHz as here: Popcorn (core's supply) and BOOTSEL mode, idle, whose USB \
                     never rests",
        },
    },
    Supply {
        board: "rp2350",
        clock_hz: 150e6,
        // All its supplies: 14,690 + 216 + 506 + 22 + 1 + 62 µA. CoreMark on one core takes 11,780.
        draw: Draw {
            volts: 3.3,
            awake_ma: 15.497,
            asleep_ua: 15_497.0,
            at_most: true,
            source: "RP2350 datasheet, section 14.9.7.3: hello_serial, whose core and UART never rest; none was found for a core \
                     that waits while its clocks run, as here",
        },
    },
    Supply {
        board: "stm32f411",
        clock_hz: 16e6,
        draw: Draw {
            volts: 3.6,
            awake_ma: 4.8,
            asleep_ua: 1_300.0,
            at_most: true,
            source: "STM32F411xC/xE datasheet DS10314 Rev 8, 16 MHz from HSI, all peripherals on: table 24 (Run mode, from flash, \
                     ART accelerator off), table 26 (Sleep mode)",
        },
    },
];

/// What no figure here has in it.
const LEFT_OUT: [&str; 5] = [
    "the board's regulator, debugger and LEDs",
    "the sensor and the pull-ups of its bus",
    "snapshots into flash",
    "the watchdog, and waking to feed it",
    "memory that makes the processor wait",
];
/// What bounds have, and typical values have not.
const PORT: &str = "a serial port that stays on, and its receiver, which listens after a sample";

/// What no measurement of a board awake and asleep has in it.
const BETWEEN_SAMPLES: [&str; 4] = [
    "snapshots into flash",
    "waking to feed the watchdog",
    "a receiver that listens after a sample, where it draws more than sleep",
    "memory that makes the processor wait",
];

/// What a model makes a board do.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Cycles of an `observe`, at most; none where they were not counted.
    pub observe_cycles: Option<f64>,
    /// The same of every channel's forecast.
    pub forecast_cycles: Option<f64>,
    /// Channels of a sample.
    pub channels: usize,
    /// Channels that are forecast.
    pub targets: usize,
    /// Values of a channel's forecast: steps times quantiles.
    pub values: usize,
    /// Quantiles of a step.
    pub quantiles: usize,
    /// Milliseconds between samples.
    pub interval_ms: u64,
}

/// How long a sample keeps a board awake, and what that takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Power {
    /// Milliseconds between samples.
    pub interval_ms: u64,
    /// Milliseconds of a sample that the processor computes, at most; none where its cycles were not counted.
    pub processor_ms: Option<f64>,
    /// Milliseconds that it waits for the sensor's bus.
    pub bus_ms: f64,
    /// Milliseconds that it waits for the serial line, a forecast's share too.
    pub line_ms: f64,
    /// The part of the time that it is awake.
    pub duty: Option<f64>,
    /// Whether a sample is done with before the next one is due; none where the processor's time is unknown and the rest is
    /// no longer than the interval.
    pub keeps_up: Option<bool>,
    /// What the chip draws.
    pub draw: Draw,
    /// Microjoules of a sample and of the sleep after it.
    pub microjoules_per_sample: Option<f64>,
    /// Millijoules of a day.
    pub millijoules_per_day: Option<f64>,
    /// Milliampere-hours of a day.
    pub milliampere_hours_per_day: Option<f64>,
    /// What is in none of these.
    pub left_out: Vec<&'static str>,
}

impl Power {
    /// Of a station; none for an emulated board.
    pub fn of(board: &str, work: &Work) -> Option<Power> {
        let Supply { clock_hz, draw, .. } = SUPPLIES.into_iter().find(|supply| supply.board == board)?;
        let share = f64::from(SAMPLES_PER_FORECAST);
        let processor_ms = work
            .observe_cycles
            .zip(work.forecast_cycles)
            .map(|(observe, forecast)| (observe + forecast / share) / clock_hz * 1e3);
        let bus_ms = BUS_BITS / BUS_HZ * 1e3;
        let bytes = (sample_bytes(work) + next_bytes(work)) as f64 + forecast_bytes(work) as f64 / share;
        let line_ms = bytes * BITS_PER_BYTE / BAUD * 1e3;
        let interval_ms = work.interval_ms as f64;
        let busy_ms = processor_ms.map(|processor| processor + bus_ms + line_ms);
        let awake_ms = busy_ms.map(|busy| busy.min(interval_ms));
        let too_long = bus_ms + line_ms > interval_ms;
        let power = Power {
            interval_ms: work.interval_ms,
            processor_ms,
            bus_ms,
            line_ms,
            duty: awake_ms.map(|awake| awake / interval_ms),
            keeps_up: busy_ms.map(|busy| busy <= interval_ms).or(too_long.then_some(false)),
            draw,
            microjoules_per_sample: None,
            millijoules_per_day: None,
            milliampere_hours_per_day: None,
            left_out: LEFT_OUT.into_iter().chain((!draw.at_most).then_some(PORT)).collect(),
        };
        Some(power.drawing(draw))
    }

    /// The same with these currents.
    pub fn drawing(self, draw: Draw) -> Power {
        let interval_ms = self.interval_ms as f64;
        // In microcoulombs. Of a board that cannot keep up, a sample's share is not what the interval says.
        let charge = self.duty.filter(|_| self.keeps_up == Some(true)).map(|duty| {
            let awake_ms = duty * interval_ms;
            awake_ms * draw.awake_ma + (interval_ms - awake_ms) * draw.asleep_ua / 1e3
        });
        let samples_per_day = DAY_MS / interval_ms;
        Power {
            draw,
            microjoules_per_sample: charge.map(|charge| draw.volts * charge),
            millijoules_per_day: charge.map(|charge| draw.volts * charge * samples_per_day / 1e3),
            milliampere_hours_per_day: charge.map(|charge| charge * samples_per_day / 3.6e6),
            ..self
        }
    }

    /// The same of a whole board that somebody has measured: nothing of it is left out but what it does between samples.
    pub fn measured(self, draw: Draw) -> Power {
        Power { left_out: BETWEEN_SAMPLES.to_vec(), ..self.drawing(draw) }
    }

    /// Why a sample is not done with when the next one is due; none where it is, or may be.
    pub fn late(&self) -> Option<String> {
        let busy = self.bus_ms + self.line_ms + self.processor_ms.unwrap_or(0.0);
        let bound = if self.processor_ms.is_some() { "up to" } else { "more than" };
        let interval = show_ms(self.interval_ms);
        (self.keeps_up == Some(false))
            .then(|| format!("a sample takes {bound} {busy:.2} ms, longer than the interval of {interval}"))
    }

    /// Lines for people.
    pub fn text(&self) -> Vec<String> {
        let processor = self.processor_ms.map_or_else(
            || "unknown (its cycles for such a model are not counted)".to_owned(),
            |processor| format!("at most {processor:.2} ms"),
        );
        let mut lines = vec![format!(
            "a sample every {}: processor {processor}, sensor's bus {:.2} ms, serial line {:.2} ms",
            show_ms(self.interval_ms),
            self.bus_ms,
            self.line_ms
        )];
        if let Some(late) = self.late() {
            lines.push(format!("cannot keep up: {late}"));
        } else if let Some(duty) = self.duty {
            lines.push(format!("awake {} of the time", show_share(duty)));
        }
        if let (Some(sample), Some(day), Some(charge)) =
            (self.microjoules_per_sample, self.millijoules_per_day, self.milliampere_hours_per_day)
        {
            let bound = if self.draw.at_most { "at most " } else { "" };
            lines.push(format!(
                "{bound}{} a sample with the sleep after it, {} and {charge:.3} mAh a day",
                show_energy(sample),
                show_energy(1e3 * day)
            ));
        }
        let Draw { volts, awake_ma, asleep_ua, at_most, source } = self.draw;
        let what = match (source == MEASURED, at_most) {
            (true, _) => "measured",
            (false, true) => "chip alone, at most",
            (false, false) => "chip alone",
        };
        lines.push(format!("{what}: {awake_ma} mA awake, {asleep_ua} µA asleep, {volts} V ({source})"));
        lines.push(format!("left out: {}", self.left_out.join("; ")));
        lines
    }
}

/// A share in percent with two digits that count, however small it is, and two decimals at least.
fn show_share(share: f64) -> String {
    let percent = 100.0 * share;
    let decimals = (1.0 - percent.log10().floor()).clamp(2.0, 12.0) as usize;
    format!("{percent:.decimals$} %")
}

/// Microjoules in a unit that leaves few digits.
fn show_energy(microjoules: f64) -> String {
    match microjoules {
        few if few < 1e5 => format!("{few:.0} µJ"),
        some if some < 1e7 => format!("{:.0} mJ", some / 1e3),
        many => format!("{:.1} J", many / 1e6),
    }
}

/// A message as bytes on the line; indices are those of a station that has run for months.
fn bytes_of(reply: &Reply) -> usize {
    encode(reply, &mut [0; FRAME_BYTES]).len()
}

const INDEX: u32 = 50_000;

fn sample_bytes(work: &Work) -> usize {
    bytes_of(&Reply::Sampled(Sampled { index: INDEX, values: (0..work.channels).map(|_| 20.0).collect() }))
}

/// What is expected of every channel next: the first step alone.
fn next_bytes(work: &Work) -> usize {
    work.targets * chunk_bytes(work.quantiles)
}

fn chunk_bytes(values: usize) -> usize {
    let values = (0..values).map(|_| 20.0).collect();
    bytes_of(&Reply::Forecast(Chunk { index: INDEX, channel: 0, steps_ahead: 1, values }))
}

/// Every channel's forecast, in chunks of whole steps as the station sends them.
fn forecast_bytes(work: &Work) -> usize {
    let step = work.quantiles.max(1);
    let chunk = FRAME_VALUES / step * step;
    let rest = work.values % chunk;
    work.targets * (work.values / chunk * chunk_bytes(chunk) + if rest > 0 { chunk_bytes(rest) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work = Work {
        observe_cycles: Some(64e3),
        forecast_cycles: Some(36.0 * 64e3),
        channels: 1,
        targets: 1,
        values: 3 * 24,
        quantiles: 3,
        interval_ms: 600_000,
    };

    #[test]
    fn a_day_is_what_its_parts_add_up_to() {
        let power = Power::of("nrf52840dk", &WORK).unwrap();
        // Two times a thousandth of a second at 64 MHz.
        assert!((power.processor_ms.unwrap() - 2.0).abs() < 1e-9);
        assert!((power.bus_ms - 0.48).abs() < 1e-9);
        // Two chunks of 18 and 6 steps, each value in 4 bytes, with a header and an end of about 15.
        let forecast = forecast_bytes(&WORK);
        assert!((4 * 72 + 20..4 * 72 + 40).contains(&forecast), "{forecast}");
        let awake = power.processor_ms.unwrap() + power.bus_ms + power.line_ms;
        let joules = 3.0 * (awake * 3.3e-6 + (600_000.0 - awake) * 3.16e-9) * 144.0;
        assert!((power.millijoules_per_day.unwrap() / 1e3 - joules).abs() < 1e-9);
        // A milliampere-hour at 3 V is 10.8 J.
        assert!((power.milliampere_hours_per_day.unwrap() * 10.8 - joules).abs() < 1e-9);
        let rare = Power::of("nrf52840dk", &Work { interval_ms: 3_600_000, ..WORK }).unwrap();
        assert!(rare.duty.unwrap() * 5.9 < power.duty.unwrap() && rare.millijoules_per_day < power.millijoules_per_day);
        // A sample that takes longer than the interval leaves no sleep.
        let late = Power::of("nrf52840dk", &Work { interval_ms: 1, ..WORK }).unwrap();
        assert_eq!((late.duty, late.keeps_up, late.microjoules_per_sample), (Some(1.0), Some(false), None));
        assert!(late.text()[1].starts_with("cannot keep up: a sample takes"), "{:?}", late.text());
        assert_eq!(power.keeps_up, Some(true));
    }

    #[test]
    fn a_small_share_of_the_time_is_not_none() {
        let shown = [1.0, 0.1234, 0.001_234, 7.1e-5, 7.12e-8].map(show_share);
        assert_eq!(shown, ["100.00 %", "12.34 %", "0.12 %", "0.0071 %", "0.0000071 %"]);
        let rare = Power::of("nrf52840dk", &Work { interval_ms: 86_400_000, ..WORK }).unwrap();
        let (text, percent) = (rare.text(), 100.0 * rare.duty.unwrap());
        let shown: f64 = text[1].split(' ').nth(1).unwrap().parse().unwrap();
        assert!((shown / percent - 1.0).abs() < 0.05, "{} for {percent}", text[1]);
    }

    #[test]
    fn bounds_are_called_so_and_measurements_take_their_place() {
        let bounded = Power::of("rp2040", &WORK).unwrap();
        let joules = |power: &Power, volts: f64, awake_ma: f64, asleep_ma: f64| {
            let awake = power.duty.unwrap() * 600_000.0;
            let expected = volts * (awake * awake_ma + (600_000.0 - awake) * asleep_ma) * 144.0 / 1e6;
            assert!((power.millijoules_per_day.unwrap() / 1e3 - expected).abs() < 1e-6);
        };
        joules(&bounded, 3.3, 12.1, 10.4);
        let told = bounded.clone().measured(measured("3.3, 24,7.5").unwrap());
        joules(&told, 3.3, 24.0, 7.5);
        assert!(bounded.text()[2].starts_with("at most ") && !told.text()[2].contains("at most"));
        for wrong in ["", "3.3", "3.3,24", "3.3,24,7,1", "3.3,-1,7", "nan,1,1", "3.3,inf,1", "300,1,1"] {
            assert!(measured(wrong).is_err(), "{wrong}");
        }
        // A bound is said to be one, and has the port within it.
        let bound = Power::of("rp2350", &WORK).unwrap();
        assert!((bound.millijoules_per_day.unwrap() - 15.497 * 3.3 * 86_400.0).abs() < 1.0);
        assert!(
            bound.text()[2].starts_with("at most 30.7 J a sample")
                && bound.text()[3].starts_with("chip alone, at most: ")
        );
        let typical = Power::of("nrf52840dk", &WORK).unwrap();
        assert!(!bound.left_out.contains(&PORT) && typical.left_out.contains(&PORT));
        let sleeps = Power::of("stm32f411", &WORK).unwrap();
        let share = sleeps.duty.unwrap();
        let joules = 3.6 * 86.4e3 * (share * 4.8e-3 + (1.0 - share) * 1.3e-3);
        assert!((sleeps.millijoules_per_day.unwrap() / 1e3 - joules).abs() < 1e-6);
        let typical = typical.text();
        assert!(typical[2].contains(" µJ a sample") && !typical[2].contains("at most"), "{}", typical[2]);
        assert!(typical[3].starts_with("chip alone: 3.3 mA awake"), "{}", typical[3]);
        let slow = Power::of("rp2350", &Work { observe_cycles: None, ..WORK }).unwrap();
        assert!(slow.duty.is_none() && slow.keeps_up.is_none() && slow.text()[0].contains("unknown"));
        assert!(Power::of("mps2-an386", &WORK).is_none());
        for board in crate::hardware::HARDWARE {
            assert!(Power::of(board.machine.name, &WORK).is_some(), "{}", board.machine.name);
        }
    }
}
