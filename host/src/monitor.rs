//! `flowcast monitor`: watches a board over its line and draws what it tells, or prints it where there is no terminal.
//!
//! ```text
//! line → Link → Watch (what is known) → Screen or lines, and a CSV file
//!                 ↓
//!                Ask → Hello, Stats, reports that were lost
//! ```

pub mod ask;
pub mod chart;
pub mod event;
pub mod fan;
pub mod filled;
pub mod record;
pub mod screen;
pub mod watch;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use flowcast_core::format::Header;
use flowcast_core::wire::Reply;
use jiff::{Timestamp, tz::TimeZone};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event as Input, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use serde::Serialize;

use crate::forecaster;
use crate::line::{self, Line, Name};
use crate::link::{Link, LinkError};
use crate::output::Output;
use crate::plural::counted;
use ask::Ask;
use event::Event;
use record::Record;
use screen::Screen;
use watch::{Model, Watch};

/// Watch a board: its samples, what it forecasts and how it does, drawn as they come and recorded
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "In a terminal it draws: q ends, the arrows choose the channel. Where output goes elsewhere it prints a line for \
                        each sample and whatever happens, with --json an object for each event, on a line of its own."
)]
pub struct Args {
    /// Where the board is: a serial port, tcp:HOST:PORT, or a file (- for standard input) of bytes that came over a line
    #[arg(value_name = "LINE")]
    pub line: Name,
    /// The model that the board runs: for names, units and times, and to fill in what a gated board does not send
    #[arg(long, value_name = "MODEL.flow")]
    pub model: Option<PathBuf>,
    /// Add every sample to this CSV file, with what was expected of it
    #[arg(long, value_name = "CSV")]
    pub record: Option<PathBuf>,
    /// The serial port's rate
    #[arg(long, default_value_t = line::BAUD, value_parser = line::baud)]
    pub baud: u32,
    /// Have a gated board start anew where its reports follow others that did not come here; it forgets all that it has learnt
    #[arg(long, requires = "model")]
    pub anew: bool,
}

/// How often the screen is drawn.
const DRAW: Duration = Duration::from_millis(100);
/// How often a line that is gone is tried.
const TRY: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// The line does not open, the board runs another model, or the record cannot be written.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    crate::interrupt::listen();
    let model = args.model.as_ref().map(|path| forecaster::read(path)).transpose()?;
    let model = match (&model, &args.model) {
        (Some(bytes), Some(path)) => {
            Some(Model { header: Header::parse(bytes).with_context(|| path.display().to_string())?, bytes })
        }
        _ => None,
    };
    let mut watch = Watch::new(model, args.anew);
    let mut record = args.record.as_deref().map(Record::open).transpose()?;
    if let Some(record) = record.as_mut().filter(|_| !watch.channels().is_empty()) {
        record.begin(watch.channels())?;
    }
    let ear = Ear::open(&args.line, args.baud)?;
    let drawn = !output.json && io::stdout().is_terminal();
    // It also has a panic give the terminal back first.
    let terminal = drawn.then(ratatui::try_init).transpose().context("the terminal")?;
    let monitor =
        Monitor { watch: &mut watch, record: &mut record, ear, ask: Ask::default(), terminal, channel: 0, drawn: None };
    let ended = monitor.run(output);
    if drawn {
        ratatui::restore();
    }
    ended?;
    if drawn {
        let path = args.record.as_ref().map(|path| format!(", recorded to {}", path.display())).unwrap_or_default();
        let health = watch.health();
        output.say(&format!("{}, {}{path}", counted(health.samples, "sample"), counted(health.alerts, "alert")))?;
    }
    Ok(())
}

/// An event as `--json` prints it.
#[derive(Serialize)]
struct Timed<'e> {
    time: Timestamp,
    #[serde(flatten)]
    event: &'e Event,
}

struct Monitor<'m, 'w> {
    watch: &'w mut Watch<'m>,
    record: &'w mut Option<Record>,
    ear: Ear<'w>,
    ask: Ask,
    terminal: Option<DefaultTerminal>,
    channel: usize,
    drawn: Option<Instant>,
}

impl Monitor<'_, '_> {
    /// Until the user or what was recorded ends it.
    fn run(mut self, output: &Output) -> Result<()> {
        self.ask.heard(Instant::now());
        let mut strange = Strange::default();
        loop {
            let heard = self.ear.hear();
            let understood = matches!(heard, Heard::Reply(_));
            let idle = matches!(heard, Heard::Nothing);
            let ended = matches!(heard, Heard::End);
            if !self.take(heard, output)? {
                return Ok(());
            }
            strange.heard(understood, self.ear.noise());
            if ended && !strange.understood {
                let noise = counted(self.ear.noise(), "run");
                bail!("{}: found nothing that a board says ({noise} of other bytes)", self.ear.name);
            }
            if strange.is_news() && !self.tell(Event::Note { note: STRANGE.to_owned() }, output)? {
                return Ok(());
            }
            if self.ear.answers() {
                self.watch.pass(Timestamp::now());
                if let Some(request) = self.ask.next(Instant::now()) {
                    // Where it does not go out, the line says so when it is read.
                    let _ = self.ear.link.as_mut().map(|link| link.send(&request));
                }
            }
            if crate::interrupt::requested() || ended && self.terminal.is_none() {
                return Ok(());
            }
            if self.terminal.is_some() && (idle || ended || self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW)) {
                self.draw()?;
                if self.keys(if ended { DRAW } else { Duration::ZERO })? {
                    return Ok(());
                }
            }
        }
    }

    /// False where nobody reads what is printed any more.
    fn take(&mut self, heard: Heard, output: &Output) -> Result<bool> {
        let now = Timestamp::now();
        self.watch.noise(self.ear.noise());
        let events = match heard {
            Heard::Nothing | Heard::End => return Ok(true),
            Heard::Reply(reply) => {
                self.ask.see(&reply, Instant::now());
                let speaks = matches!(*reply, Reply::Sampled(_) | Reply::Gated(_) | Reply::Hello(_));
                let (events, request) = self.watch.take(*reply, now)?;
                if let Some(request) = request {
                    self.ask.want(request);
                }
                if events.iter().any(|event| matches!(event, Event::Restart { .. })) {
                    self.ask.anew();
                }
                if speaks {
                    self.ask.heard(Instant::now());
                }
                events
            }
            Heard::Lost(reason) => {
                self.ask.anew();
                vec![self.watch.tell(Event::Lost { reason }, now)]
            }
            Heard::Back => {
                self.ask.heard(Instant::now());
                vec![self.watch.tell(Event::Back, now)]
            }
        };
        self.say(&events, now, output)
    }

    /// Something that no message says; false as [`Monitor::take`].
    fn tell(&mut self, event: Event, output: &Output) -> Result<bool> {
        let now = Timestamp::now();
        let event = self.watch.tell(event, now);
        self.say(&[event], now, output)
    }

    /// Records and prints; false as [`Monitor::take`].
    fn say(&mut self, events: &[Event], now: Timestamp, output: &Output) -> Result<bool> {
        for event in events {
            if let (Event::Sample(row), Some(record)) = (event, self.record.as_mut()) {
                if !record.begun() {
                    record.begin(self.watch.channels())?;
                }
                record.add(row)?;
            }
            // A forecast is many numbers, and the next sample's line has what it said of that.
            let shown = output.json || !matches!(event, Event::Forecast { .. });
            if self.terminal.is_none() && shown {
                let words = || format!("{now:.0} {}", event.words(self.watch.channels()));
                if !output.line(words, &Timed { time: now, event })? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn draw(&mut self) -> Result<()> {
        let Self { watch, ear, terminal: Some(terminal), channel, drawn, .. } = self else { return Ok(()) };
        *drawn = Some(Instant::now());
        let (line, zone, now) = (ear.name.to_string(), TimeZone::system(), Timestamp::now());
        let gone = match (&ear.link, ear.ended) {
            (_, true) => Some("ended"),
            (None, false) => Some("line lost"),
            _ => None,
        };
        let screen = Screen { watch, line: &line, gone, channel: *channel, now, zone: &zone };
        terminal.draw(|frame| frame.render_widget(screen, frame.area())).context("the terminal")?;
        Ok(())
    }

    /// Follows the keyboard; true to end.
    fn keys(&mut self, patience: Duration) -> Result<bool> {
        while poll(patience).context("the keyboard")? {
            let Input::Key(key) = read().context("the keyboard")? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            let channels = self.watch.channels().len().max(1);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(true),
                KeyCode::Right | KeyCode::Down | KeyCode::Tab => self.channel = (self.channel + 1) % channels,
                KeyCode::Left | KeyCode::Up => self.channel = (self.channel + channels - 1) % channels,
                _ => {}
            }
            return Ok(false);
        }
        Ok(false)
    }
}

const STRANGE: &str =
    "bytes come, and for a while none of them was a frame: another --baud, or another program at the line?";
/// How long, and how many runs of bytes that are no frame.
const STRANGE_FOR: Duration = Duration::from_secs(5);
const STRANGE_RUNS: u64 = 8;

/// Whether a line says what nobody understands.
#[derive(Debug, Default)]
struct Strange {
    /// Whether any frame has come.
    understood: bool,
    /// Since when none has, and how much else had come by then.
    since: Option<(Instant, u64)>,
    is_strange: bool,
    said: bool,
}

impl Strange {
    fn heard(&mut self, understood: bool, noise: u64) {
        if understood || self.since.is_none() {
            self.since = Some((Instant::now(), noise));
            self.said &= !understood;
        }
        self.understood |= understood;
        let (since, before) = self.since.unwrap_or((Instant::now(), noise));
        self.is_strange = since.elapsed() >= STRANGE_FOR && noise >= before + STRANGE_RUNS;
    }

    /// Once, until a frame comes.
    fn is_news(&mut self) -> bool {
        let news = self.is_strange && !self.said;
        self.said |= news;
        news
    }
}

/// What came over the line.
#[derive(Debug)]
enum Heard {
    Reply(Box<Reply>),
    Nothing,
    /// The line is gone, and why.
    Lost(String),
    /// It is there again.
    Back,
    /// What was recorded has been read.
    End,
}

/// The line, which may go away and come back.
struct Ear<'n> {
    name: &'n Name,
    baud: u32,
    link: Option<Link<Line>>,
    tried: Instant,
    /// Noise on the lines before.
    noise: u64,
    ended: bool,
}

impl<'n> Ear<'n> {
    fn open(name: &'n Name, baud: u32) -> Result<Self> {
        let link = Some(Link::new(name.open(baud)?, Duration::ZERO));
        Ok(Self { name, baud, link, tried: Instant::now(), noise: 0, ended: false })
    }

    fn answers(&mut self) -> bool {
        self.link.as_mut().is_some_and(|link| link.line().answers())
    }

    fn noise(&self) -> u64 {
        self.noise + self.link.as_ref().map_or(0, Link::noise)
    }

    fn hear(&mut self) -> Heard {
        let Some(link) = &mut self.link else { return self.again() };
        if self.ended {
            std::thread::sleep(line::POLL);
            return Heard::End;
        }
        match link.receive() {
            Ok(reply) => Heard::Reply(Box::new(reply)),
            Err(LinkError::Silent(_)) => Heard::Nothing,
            Err(LinkError::Closed) if !link.line().answers() => {
                self.ended = true;
                Heard::End
            }
            Err(error) => {
                self.noise += link.noise();
                self.link = None;
                self.tried = Instant::now();
                Heard::Lost(error.to_string())
            }
        }
    }

    /// Tries to open it again, now and then.
    fn again(&mut self) -> Heard {
        if self.tried.elapsed() < TRY {
            std::thread::sleep(line::POLL);
            return Heard::Nothing;
        }
        self.tried = Instant::now();
        match self.name.open(self.baud) {
            Ok(line) => {
                self.link = Some(Link::new(line, Duration::ZERO));
                Heard::Back
            }
            Err(_) => Heard::Nothing,
        }
    }
}
