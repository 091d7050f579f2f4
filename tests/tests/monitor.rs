//! What `flowcast monitor` makes of a board's messages: this firmware's logger on one end, the monitor's state and its screen on
//! the other.

use std::convert::Infallible;
use std::path::Path;

use flowcast::data::{ReadOptions, Series};
use flowcast::file::AlignedBytes;
use flowcast::forecaster;
use flowcast::monitor::event::{Event, Row};
use flowcast::monitor::screen::Screen;
use flowcast::monitor::watch::{Model, Watch};
use flowcast_core::format::Header;
use flowcast_core::presets::{Preset, Tiny};
use flowcast_core::warning::{Limit, Line, Side, Watch as Limited};
use flowcast_core::wire::{self, Chunk, ClockFault, ClockNotice, Deframer, Hello, PROTOCOL, Reply, Request, Sampled};
use flowcast_firmware::logger::{Gate, Logger, Plan};
use flowcast_firmware::sampler::Sampler;
use flowcast_firmware::sensor::{Fault, MAX_QUANTITIES, Quantity, Sensor};
use flowcast_firmware::telemetry::{Frames, Telemetry as _};
use flowcast_tests::{Random, random_model};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

type Forecaster<'m> = Tiny<'m, 2, 256>;

const PERIOD: u32 = 24;
const HORIZON: usize = 12;

fn model() -> AlignedBytes {
    AlignedBytes::from(&random_model(&Preset::named("tiny").unwrap(), 2, PERIOD, HORIZON, 1)[..])
}

fn header(model: &[u8]) -> Header {
    Header::parse(model).unwrap()
}

/// What a board with the model answers to a greeting.
fn hello(model: &[u8]) -> Hello {
    Hello {
        protocol: PROTOCOL,
        firmware: [0, 1, 0],
        model: header(model).identity,
        channels: 2,
        horizon: HORIZON as u16,
        quantiles: 3,
        state_bytes: 1,
    }
}

fn watch(model: &[u8]) -> Watch<'_> {
    Watch::new(Some(Model { header: header(model), bytes: model }), false)
}

/// A wave on both channels; nothing answers at some samples.
struct Waves {
    sample: u32,
    silent: std::ops::Range<u32>,
}

const QUANTITIES: [Quantity; 2] = [Quantity::new("°C", [-40.0, 85.0]), Quantity::new("°C", [-40.0, 85.0])];

impl Sensor for Waves {
    fn quantities(&self) -> &[Quantity] {
        &QUANTITIES
    }

    fn read(&mut self, readings: &mut [f32; MAX_QUANTITIES]) -> Result<(), Fault> {
        let index = self.sample;
        self.sample += 1;
        if self.silent.contains(&index) {
            return Err(Fault::NoAnswer);
        }
        let mut random = Random::new(index.into());
        let wave = (index as f32 / PERIOD as f32 * std::f32::consts::TAU).sin();
        readings[0] = 20.0 + 6.0 * wave + random.symmetric();
        readings[1] = 24.0 - 3.0 * wave + 0.3 * random.symmetric();
        Ok(())
    }
}

/// A port that keeps what is written.
#[derive(Default)]
struct Tape(Vec<u8>);

impl embedded_io::ErrorType for Tape {
    type Error = Infallible;
}

impl embedded_io::Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn messages(bytes: &[u8]) -> Vec<Reply> {
    let mut deframer = Deframer::new();
    bytes.iter().filter_map(|byte| deframer.push::<Reply>(*byte)).map(Result::unwrap).collect()
}

/// What a board says, sample by sample; at some its sensor is silent.
fn board(model: &[u8], samples: u32, silent: std::ops::Range<u32>) -> Vec<Vec<Reply>> {
    let mut sensor = Waves { sample: 0, silent };
    let mut forecaster = Forecaster::new(model).unwrap();
    let limit = Limit { channel: 0, side: Side::Above, value: 25.0, margin: 1.0, line: Line::Median, within: 6 };
    let mut limits = [Limited::new(limit)];
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let mut logger = Logger::new(&mut forecaster, model, sampler, Plan::DEFAULT).unwrap().watching(&mut limits);
    let mut said = Vec::new();
    for _ in 0..samples {
        let mut frames = Frames(Tape::default());
        logger.sample(&mut frames);
        said.push(messages(&frames.0.0));
    }
    said
}

fn time(samples: u32) -> Timestamp {
    "2026-01-02T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(600 * i64::from(samples))
}

/// What the monitor makes of them, by the time of each.
fn feed(watch: &mut Watch<'_>, said: &[Vec<Reply>]) -> Vec<Event> {
    let mut events = Vec::new();
    for (sample, replies) in said.iter().enumerate() {
        for reply in replies {
            let (new, request) = watch.take(reply.clone(), time(sample as u32)).unwrap();
            assert_eq!(request, None);
            events.extend(new);
        }
    }
    events
}

fn rows(events: &[Event]) -> Vec<&Row> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Sample(row) => Some(row),
            _ => None,
        })
        .collect()
}

/// The screen as text, a line for each of its lines.
fn screen(watch: &Watch<'_>, width: u16, height: u16, now: Timestamp) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let zone = TimeZone::UTC;
    let screen = Screen { watch, line: "/dev/ttyACM0", gone: None, channel: 0, now, zone: &zone };
    terminal.draw(|frame| frame.render_widget(screen, frame.area())).unwrap();
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(usize::from(width));
    cells.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

#[test]
fn a_screen_shows_past_band_residual_and_health() {
    let model = model();
    let mut watch = watch(&model);
    assert!(screen(&watch, 80, 24, time(0)).contains("waiting for a sample"));
    feed(&mut watch, &board(&model, 120, 100..103));
    for (width, height) in [(80, 24), (160, 50)] {
        let shown = screen(&watch, width, height, time(119) + SignedDuration::from_secs(42));
        println!("{shown}");
        let has = |what: &str| assert!(shown.contains(what), "{what}:\n{shown}");
        has("/dev/ttyACM0");
        has("sample 119  42 s ago");
        has("c0");
        has("°C");
        has("now");
        has("−");
        has("+2 h");
        has("residual: mean");
        has("% in the band");
        has("samples 120   missing values 6   did not come 0   alerts");
        has("sensor 0 works again at sample 103, after 3");
        // The band of what comes next is right of now, and the past is a line of dots.
        let lines: Vec<&str> = shown.lines().collect();
        let ahead = |line: &str| line.rsplit_once('┊').is_some_and(|(_, ahead)| ahead.contains('░'));
        assert!(lines.iter().any(|line| ahead(line)), "{shown}");
        let dots = shown.chars().filter(|c| ('\u{2801}'..='\u{28FF}').contains(c)).count();
        assert!(dots > usize::from(width), "{dots} cells of lines:\n{shown}");
        assert!(lines.iter().all(|line| line.chars().count() == usize::from(width)));
    }
    // Both channels and more of the news fit into the larger one.
    let large = screen(&watch, 160, 50, time(119));
    assert!(large.contains("c1") && large.contains("WARNING sample"), "{large}");
    assert!(screen(&watch, 80, 24, time(123)).contains("40 min ago, OVERDUE"));
    // No terminal is too small to be drawn on.
    for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 5)] {
        screen(&watch, width, height, time(119));
    }
}

/// The last days of the bundled met mast as a board with a model would tell them. `FLOWCAST_MODEL=mast.flow`, the demo's, makes
/// README's picture.
#[test]
fn measurements_are_drawn_as_a_board_would_tell_them() {
    let random = || AlignedBytes::from(&random_model(&Preset::named("tiny").unwrap(), 4, 144, 144, 1)[..]);
    let named = std::env::var_os("FLOWCAST_MODEL").map(|path| forecaster::read(Path::new(&path)).expect("a model"));
    let model = named.unwrap_or_else(random);
    let columns = ["T2m", "RH2m", "P2m", "BattMin"].map(str::to_owned).to_vec();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mast_10min.csv.gz");
    let series = Series::read(&[path], &ReadOptions { columns, ..ReadOptions::default() }).unwrap();
    let mut forecaster = forecaster::open(&model).unwrap();
    let mut watch = watch(&model);
    let mut sample = [0.0; 4];
    for row in 0..series.rows() {
        series.row(row, &mut sample);
        forecaster.observe(&sample);
        if row + 300 < series.rows() {
            continue;
        }
        let mut frames = Frames(Tape::default());
        frames.sample(row as u32, &sample).unwrap();
        frames.forecast(row as u32, forecaster.as_ref()).unwrap();
        for reply in messages(&frames.0.0) {
            watch.take(reply, time(row as u32)).unwrap();
        }
    }
    let now = watch.last().unwrap() + SignedDuration::from_secs(42);
    for (width, height) in [(80, 24), (160, 50)] {
        let shown = screen(&watch, width, height, now);
        println!("{shown}");
        assert!(
            shown.contains("+24 h") && shown.contains("% in the band") && shown.contains("samples 300 "),
            "{shown}"
        );
    }
}

#[test]
fn what_was_expected_of_a_sample_is_what_the_board_said_before_it() {
    let model = model();
    let mut watch = watch(&model);
    let said = board(&model, 60, 40..41);
    let events = feed(&mut watch, &said);
    let rows = rows(&events);
    assert_eq!(rows.len(), 60);
    let mut compared = 0;
    for (row, before) in rows[1..].iter().zip(&said) {
        for channel in 0..2_u16 {
            let first = before.iter().find_map(|reply| match reply {
                Reply::Forecast(chunk) if chunk.channel == channel && chunk.steps_ahead == 1 => {
                    Some(chunk.values[..3].to_vec())
                }
                _ => None,
            });
            let expected = row.expected[usize::from(channel)];
            assert_eq!(
                expected.map(|e| vec![e.band.lower, e.band.median, e.band.upper]),
                first,
                "sample {}",
                row.index
            );
            assert!(expected.is_none_or(|expected| expected.ahead == 1));
            let residual = row.residual(channel.into());
            assert_eq!(residual.is_some(), expected.is_some() && row.index != 40);
            compared += usize::from(residual.is_some());
        }
    }
    assert!(compared > 60, "{compared}");
    let forecasts =
        events.iter().filter(|event| matches!(event, Event::Forecast { steps, .. } if steps.len() == HORIZON));
    assert_eq!(forecasts.count(), 2 * (60 + 1 - PERIOD as usize));
}

#[test]
fn lost_messages_are_a_gap_and_a_board_that_counts_anew_has_started_again() {
    let model = model();
    let mut watch = watch(&model);
    let mut said = board(&model, 60, 0..0);
    said.drain(30..34);
    // A part of a forecast is lost: the rest of it is not taken for another step's.
    said[50].retain(|reply| !matches!(reply, Reply::Forecast(chunk) if chunk.steps_ahead == 1));
    let events = feed(&mut watch, &said);
    assert!(events.contains(&Event::Gap { index: 30, samples: 4 }));
    assert_eq!((watch.health().absent, watch.health().samples), (4, 56));
    let after = rows(&events).into_iter().find(|row| row.index == 34).unwrap().clone();
    assert_eq!(
        after.expected[0].map(|expected| expected.ahead),
        Some(5),
        "the forecast before the gap reaches over it"
    );
    let after = rows(&events).into_iter().find(|row| row.index == 55).unwrap().clone();
    assert_eq!(after.expected[0].map(|expected| expected.ahead), Some(2));

    let events = feed(&mut watch, &board(&model, 3, 0..0));
    assert_eq!(events[0], Event::Restart { index: 0, expected: 60 });
    assert_eq!((watch.health().restarts, watch.rows().len()), (1, 3));
    assert!(watch.rows().iter().all(|row| row.expected == [None, None]));
    let failing = board(&model, 5, 3..9);
    feed(&mut watch, &failing);
    assert_eq!(watch.failing()[&0].run, 2);
    assert!(screen(&watch, 80, 24, time(5)).contains("sensor 0: no answer (2 in a row)"));
}

#[test]
fn a_clock_that_is_not_believed_is_shown_and_counted() {
    let model = model();
    let mut watch = watch(&model);
    feed(&mut watch, &board(&model, 3, 0..0));
    let mut tell = |fault, run| {
        let notice = ClockNotice { index: 2, fault, run, count: 9 };
        watch.take(Reply::Clock(notice), time(2)).unwrap().0
    };
    let told = "went ahead by 3600 s".to_owned();
    let events = tell(Some(ClockFault::Ahead(3_600)), 2);
    assert_eq!(events, [Event::Clock { index: 2, fault: Some(told), run: 2 }]);
    let shown = screen(&watch, 120, 24, time(3));
    assert!(shown.contains("clock: went ahead by 3600 s (2 in a row)") && shown.contains("clock faults 1"), "{shown}");
    assert!(shown.contains("CLOCK at sample 2: went ahead by 3600 s, 2 in a row"), "{shown}");
    let believed = Reply::Clock(ClockNotice { index: 3, fault: None, run: 2, count: 9 });
    assert!(watch.take(believed, time(3)).unwrap().0[0].is_news());
    assert_eq!((watch.health().clock_faults, watch.clock()), (1, None));
    let shown = screen(&watch, 120, 24, time(3));
    assert!(
        !shown.contains("clock: ") && shown.contains("the clock is believed again at sample 3, after 2"),
        "{shown}"
    );
}

#[test]
fn without_a_model_the_board_says_how_to_read_it() {
    let model = model();
    let said = board(&model, 40, 0..0);
    let mut watch = Watch::new(None, false);
    let events = feed(&mut watch, &said);
    let notes = events.iter().filter(|event| matches!(event, Event::Note { note } if note.contains("--model")));
    assert_eq!(notes.count(), 1, "said once");
    assert!(rows(&events).iter().all(|row| row.expected == [None, None]));
    let hello = hello(&model);
    let mut watch = Watch::new(None, false);
    watch.take(Reply::Hello(hello.clone()), time(0)).unwrap();
    let events = feed(&mut watch, &said);
    assert!(rows(&events)[30].expected.iter().all(Option::is_some));
    assert!(screen(&watch, 80, 24, time(39)).contains("channel 0"));
    // Another model's board is not what was asked for.
    let mut other = self::watch(&model);
    let error = other.take(Reply::Hello(Hello { model: 7, ..hello }), time(0)).unwrap_err().to_string();
    assert!(error.contains("the board runs model 00000007"), "{error}");
}

/// A gated board's reports, and its answer to a question.
struct Gated<'m, 'l> {
    logger: Logger<'l, Forecaster<'m>, 1>,
}

impl Gated<'_, '_> {
    fn sample(&mut self) -> Vec<Reply> {
        let mut frames = Frames(Tape::default());
        self.logger.sample(&mut frames);
        messages(&frames.0.0)
    }

    fn answer(&mut self, request: &Request) -> Vec<Reply> {
        let Request::Reports { after } = *request else { panic!("{request:?}") };
        let gate = self.logger.gate().unwrap();
        let reports = after.and_then(|after| gate.after(after)).expect("the board keeps what was lost");
        reports.map(|report| Reply::Gated(flowcast_core::wire::Gated::new(report, 2))).collect()
    }
}

#[test]
fn a_gated_board_is_filled_in_asked_for_what_was_lost_and_recorded_once_that_is_known() {
    let model = model();
    let mut sensor = Waves { sample: 0, silent: 0..0 };
    let mut forecaster = Forecaster::new(&model).unwrap();
    let mut gate = Gate::new([1.5; 8]);
    let sampler = Sampler::new([&mut sensor as &mut dyn Sensor]);
    let plan = Plan { forecast_every: 0, ..Plan::DEFAULT };
    let logger = Logger::new(&mut forecaster, &model, sampler, plan).unwrap().gated(&mut gate);
    let mut board = Gated { logger };
    let mut watch = watch(&model);
    let (mut events, mut reports, mut lost, mut asked) = (Vec::new(), 0, 0, 0);
    for sample in 0..400 {
        for reply in board.sample() {
            if !matches!(reply, Reply::Gated(_)) {
                continue;
            }
            reports += 1;
            if reports % 7 == 3 {
                lost += 1;
                continue;
            }
            let (new, request) = watch.take(reply, time(sample)).unwrap();
            events.extend(new);
            let Some(request) = request else { continue };
            asked += 1;
            for again in board.answer(&request) {
                let (new, _) = watch.take(again, time(sample)).unwrap();
                events.extend(new);
            }
        }
        watch.pass(time(sample) + SignedDuration::from_secs(590));
        // A sample that nobody reported is filled in when its time has passed.
        assert!(sample == 0 || watch.rows().back().unwrap().index + 1 >= sample, "sample {sample}");
    }
    assert!(lost > 5 && asked >= lost, "{lost} lost, {asked} asked");
    let rows = rows(&events);
    let indices: Vec<u32> = rows.iter().map(|row| row.index).collect();
    assert_eq!(indices, (0..indices.len() as u32).collect::<Vec<_>>(), "each once, in order");
    assert!(rows.len() > 350);
    let filled = rows.iter().filter(|row| row.came.is_none()).count();
    assert!(filled > 50 && filled + reports >= rows.len(), "{filled} filled in, {reports} reports");
    // What was filled in is as near as the gate allows.
    for row in &rows {
        let mut truth = [0.0; MAX_QUANTITIES];
        Waves { sample: row.index, silent: 0..0 }.read(&mut truth).unwrap();
        assert!(
            row.values.iter().zip(truth).all(|(value, truth)| (value - truth).abs() <= 1.5),
            "sample {}",
            row.index
        );
    }
    assert!(watch.forecasts().far(0).is_some_and(|fan| fan.steps.len() == HORIZON), "the gateway's own forecast");
}

#[test]
fn whoever_comes_late_to_a_gated_board_leaves_it_alone_unless_told() {
    let model = model();
    let gated = |index, silent| {
        Reply::Gated(flowcast_core::wire::Gated {
            index,
            silent,
            missed: 0,
            follow: 0,
            values: [20.0, 21.0].into_iter().collect(),
        })
    };
    for (anew, expected) in [(false, None), (true, Some(Request::Reports { after: None }))] {
        let mut watch = Watch::new(Some(Model { header: header(&model), bytes: &model }), anew);
        let (events, request) = watch.take(gated(500, Some(3)), time(0)).unwrap();
        assert_eq!(request, expected);
        assert!(matches!(&events[..], [Event::Sample(row), Event::Note { .. }] if row.index == 500));
        // It starts anew: from there on it is filled in.
        let (_, request) = watch.take(gated(501, None), time(1)).unwrap();
        assert_eq!(request, None);
        let (events, _) = watch.take(gated(505, Some(3)), time(5)).unwrap();
        let rows = rows(&events);
        assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [502, 503, 504, 505]);
        assert_eq!(rows.iter().map(|row| row.came.is_some()).collect::<Vec<_>>(), [false, false, false, true]);
        // And when it starts again, from its first sample.
        let (events, _) = watch.take(gated(0, None), time(6)).unwrap();
        assert_eq!(events[0], Event::Restart { index: 0, expected: 506 });
    }
}

/// Frames whose checksum is right and whose sense is not: from another board, or from somebody who wishes ill.
#[test]
fn frames_that_no_board_of_this_model_sends_are_passed_over_and_said_once() {
    let bytes = model();
    let gated = |index, silent, missed, channels: usize| {
        Reply::Gated(wire::Gated {
            index,
            silent,
            missed,
            follow: 0,
            values: [20.0].into_iter().cycle().take(channels).collect(),
        })
    };
    let sampled = |index, channels: usize| {
        Reply::Sampled(Sampled { index, values: [20.0].into_iter().cycle().take(channels).collect() })
    };
    let chunk = |index, channel, steps_ahead| {
        Reply::Forecast(Chunk { index, channel, steps_ahead, values: [20.0; 6].into_iter().collect() })
    };
    let wrong = [
        sampled(3, 0),
        sampled(3, 1),
        sampled(3, 32),
        sampled(u32::MAX, 2),
        gated(3, Some(2), 0, 1),
        gated(u32::MAX, Some(2), 0, 2),
        gated(3, Some(2), 4, 2),
        chunk(3, 2, 1),
        chunk(3, u16::MAX, u16::MAX),
        chunk(u32::MAX, 0, 1),
    ];
    for model in [Some(&bytes), None] {
        let model = model.map(|bytes| Model { header: header(bytes), bytes });
        let mut watch = Watch::new(model, false);
        let at = time(0);
        watch.take(sampled(0, 2), at).unwrap();
        let events: Vec<Event> = wrong.iter().flat_map(|reply| watch.take(reply.clone(), at).unwrap().0).collect();
        assert!(matches!(&events[..], [Event::Note { .. }]), "{events:?}");
        assert_eq!((watch.rows().len(), watch.channels().len()), (1, 2));
        // The last sample that there can be, and whatever is drawn of it.
        watch.take(sampled(u32::MAX - 1, 2), at).unwrap();
        watch.take(chunk(u32::MAX - 1, 0, 1), at).unwrap();
        screen(&watch, 80, 24, at);
    }
    // A gateway fills in what a board may have left out, and no more: after a long time it has nothing to build on.
    for (index, missed) in [(4_000_000_000, 0), (4_000_000_000, 3_999_999_990), (60_000_000, 1)] {
        let mut watch = watch(&bytes);
        watch.take(gated(1, None, 0, 2), time(1)).unwrap();
        watch.take(gated(index, Some(3), missed, 2), time(2)).unwrap();
        assert!(watch.rows().len() < 100_000);
        screen(&watch, 80, 24, time(3));
    }
    // Another board.
    let hello = Hello { channels: 1, ..hello(&bytes) };
    assert!(watch(&bytes).take(Reply::Hello(hello), time(1)).unwrap_err().to_string().contains("1 channel,"));
}
