//! `flowcast bench`: what a board's instructions go into. Single layers, each part of an `observe`, a whole forecast.
//!
//! The firmware's program `bench` runs them and says where each begins ([`follow`]); QEMU logs every instruction that it
//! executes, and [`cycles`] says what a processor would take for it where ARM's manuals tell.

pub mod cycles;
pub mod follow;
pub mod model;
pub mod thumb;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::{PRESETS, Preset};
use flowcast_core::wire::Reply;
use serde::Serialize;

use crate::emulate::image::{self, With};
use crate::emulate::machine::{Board, MACHINES, Machine};
use crate::forecaster;
use crate::inspect::cost::Cost;
use crate::output::Output;
use crate::setup::{self, Need};
use cycles::{Core, Cycles};
use follow::{Count, Follower, Program};

/// How long the program may take, warm-up and all.
const PATIENCE: Duration = Duration::from_secs(600);

/// Count what a board's instructions go into: single layers, each part of a sample, a forecast
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The board, which is emulated
    #[arg(long, value_name = "NAME", value_parser = Machine::named)]
    pub board: Machine,
    /// Count this model, as `flowcast export` wrote it [default: one with random weights]
    #[arg(long, value_name = "MODEL.flow", conflicts_with_all = ["preset", "numeric", "seed"])]
    pub model: Option<PathBuf>,
    /// Sizes of the model with random weights [default: small, or the largest that the board has room for]
    #[arg(long, value_parser = PRESETS.map(|preset| preset.name))]
    pub preset: Option<String>,
    /// Form of its weights
    #[arg(long, default_value = "int8", value_parser = ["int8", "f32"])]
    pub numeric: String,
    /// Seed of its weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Let the board adapt its forecasts, as `train --adapt on` does
    #[arg(long, conflicts_with = "model")]
    pub adapted: bool,
    /// Leave the DSP extension's instructions out
    #[arg(long)]
    pub portable: bool,
    /// Run a Cortex-M0's program on the Cortex-M3's board, mps2-an385: the same instructions, and room for every preset
    #[arg(long)]
    pub cortex_m0: bool,
}

impl Args {
    /// What is emulated.
    fn machine(&self) -> Result<Machine> {
        let m0 = MACHINES.into_iter().find(|machine| machine.processor == "Cortex-M0");
        match (self.cortex_m0, m0) {
            (true, Some(m0)) => {
                let (found, expected) = (self.board.processor, "Cortex-M3");
                ensure!(found == expected, "--cortex-m0: {} has a {found}, expected a {expected}", self.board.name);
                Ok(Machine { processor: m0.processor, target: m0.target, ..self.board })
            }
            _ => Ok(self.board),
        }
    }
}

/// What `--json` prints. Cycles are by processor, in the order of `cores`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The board.
    pub board: &'static str,
    /// What QEMU emulates.
    pub processor: &'static str,
    /// Which kernels eight-bit weights run through: `dsp`, `thumb` or `portable`.
    pub kernel: &'static str,
    /// The model's backbone, ...
    pub preset: &'static str,
    /// ... form of weights, and ...
    pub numeric: &'static str,
    /// ... CRC-32.
    pub model: String,
    /// Processors whose cycles are estimated; none where there is no table.
    pub cores: Vec<&'static str>,
    /// Dense layers of the model's form, from a vector of its numbers to another.
    pub kernels: Vec<Kernel>,
    /// One sample.
    pub observe: Work,
    /// The same by part; the last one is what the parts leave.
    pub parts: Vec<Part>,
    /// Every step of every channel.
    pub forecast: Work,
}

/// A dense layer.
#[derive(Clone, Debug, Serialize)]
pub struct Kernel {
    /// Inputs and outputs.
    pub shape: [u64; 2],
    /// Form of the weights: `int8` or `f32`.
    pub weights: String,
    /// All of it, what it adapts too.
    pub instructions: u64,
    /// The same for each multiply-accumulate.
    pub instructions_per_mac: f64,
    /// Estimated.
    pub cycles: Vec<Cycles>,
}

/// Something the forecaster does.
#[derive(Clone, Debug, Serialize)]
pub struct Work {
    /// Counted.
    pub instructions: u64,
    /// As `flowcast inspect` counts them.
    pub macs: usize,
    /// Estimated.
    pub cycles: Vec<Cycles>,
}

/// A part of an `observe`.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// As core names it; `rest` is what is no part's. It may be below 0: the parts are counted in a program of their own, for
    /// the compiler leaves each part's work between its marks.
    pub name: String,
    /// Counted.
    pub instructions: i64,
    /// Estimated; none of the rest.
    pub cycles: Vec<Cycles>,
}

/// Runs the command.
///
/// # Errors
/// A missing tool (with the command that gets it), a model that the board does not run, a board that stops.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    setup::ensure(&[Need::Qemu], false)?;
    let report = bench(args, output)?;
    output.result(|| report.text(), &report)
}

/// Builds the program, runs it, and counts.
///
/// # Errors
/// As [`run`].
pub fn bench(args: &Args, output: &Output) -> Result<Report> {
    let machine = &args.machine()?;
    let (model, what) = match &args.model {
        Some(path) => (forecaster::read(path)?, path.display().to_string()),
        None => {
            let preset = preset(args)?;
            let numeric = if args.numeric == "f32" { Numeric::F32 } else { Numeric::I8 };
            (
                model::random(machine, &preset, numeric, args.adapted, args.seed)?,
                format!("a model of preset {}", preset.name),
            )
        }
    };
    let header = Header::parse(&model).with_context(|| what.clone())?;
    let preset = forecaster::preset(&header).with_context(|| what.clone())?;
    let refused = machine.refuses(&header, &preset);
    if !refused.is_empty() {
        bail!("{} does not run {what}: {}", machine.name, refused.join("; "));
    }
    output.note(format!("building the program for {}, preset {}", machine.name, preset.name));
    let features: &[&str] = if args.portable { &["portable-kernels"] } else { &[] };
    let program =
        image::build_program(machine, "bench", preset.name, header.numeric, With { features, ..With::default() })?;

    let cores = Core::of(machine.processor);
    let read = Program::read(&program)?;
    let kernel = read.kernel;
    let (counted, counts) = mpsc::channel();
    // The follower comes back when QEMU's log has ended.
    let mut follower = Counting { follower: Some(Follower::new(read, cores)), counted };
    let watch = move |line: &[u8]| follower.follower.as_mut().is_some_and(|follower| follower.line(line));
    let (mut board, mut monitor) = Board::watch(machine, &program, &model, io::sink(), watch)?;
    match board.link().receive() {
        Ok(Reply::Reset) => {}
        Ok(other) => bail!("the program said {other:?}, expected that it is ready"),
        Err(error) => return Err(board.explain(error)),
    }
    // One instruction a block, each block logged; before version 8.1 the first command, from then on the second.
    monitor.follow(&["stop", "singlestep on", "one-insn-per-tb on", "log exec,nochain", "cont"])?;
    board.link().send_bytes(&[1])?;
    board.finish(PATIENCE)?;
    let counts = counts.recv().map_err(|_| anyhow!("QEMU's log was not read to its end"))?.finish()?;
    Report::new(machine, kernel, cores, (&header, &preset), &counts)
}

/// Hands the follower back when whoever shows it lines is done.
struct Counting {
    follower: Option<Follower>,
    counted: mpsc::Sender<Follower>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.take() {
            let _ = self.counted.send(follower);
        }
    }
}

fn preset(args: &Args) -> Result<Preset> {
    let presets = args.board.presets;
    let default = presets.iter().find(|name| **name == "small").or(presets.last()).copied().unwrap_or_default();
    let name = args.preset.as_deref().unwrap_or(default);
    Preset::named(name).with_context(|| format!("no preset {name:?}"))
}

impl Report {
    fn new(
        machine: &Machine,
        kernel: &'static str,
        cores: &[Core],
        (header, preset): (&Header, &Preset),
        counts: &[(String, Count)],
    ) -> Result<Self> {
        let named = |wanted: &str| {
            let found = counts.iter().find(|(name, count)| name == wanted && count.runs > 0);
            found.map(|(_, count)| count).with_context(|| format!("the program ran no {wanted:?}"))
        };
        let cost = Cost::of(header);
        let (whole, marked, forecast) = (named("observe")?, named("parts")?, named("forecast")?);
        let observe = Work::of(whole, whole.runs, cost.macs_per_observe);
        let mut parts: Vec<Part> = counts
            .iter()
            .filter_map(|(name, count)| Some((name.strip_prefix("part ")?, count)))
            .filter(|(_, count)| count.instructions > 0)
            .map(|(name, count)| Part {
                name: name.to_owned(),
                instructions: each(count.instructions, marked.runs) as i64,
                cycles: cycles_each(count, marked.runs),
            })
            .collect();
        let counted: i64 = parts.iter().map(|part| part.instructions).sum();
        let rest = observe.instructions as i64 - counted;
        parts.push(Part { name: "rest".to_owned(), instructions: rest, cycles: vec![] });
        let mut kernels = Vec::new();
        for (name, count) in counts {
            let Some(["layer", weights, inputs, outputs]) = name.split(' ').collect::<Vec<_>>().first_chunk().copied()
            else {
                continue;
            };
            let shape: [u64; 2] = [inputs.parse()?, outputs.parse()?];
            let instructions = each(count.instructions, count.runs);
            kernels.push(Kernel {
                shape,
                weights: weights.to_owned(),
                instructions,
                instructions_per_mac: instructions as f64 / (shape[0] * shape[1]) as f64,
                cycles: cycles_each(count, count.runs),
            });
        }
        kernels.sort_by(|a, b| (&b.weights, a.shape).cmp(&(&a.weights, b.shape)));
        Ok(Self {
            board: machine.name,
            processor: machine.processor,
            kernel,
            preset: preset.name,
            numeric: header.numeric.name(),
            model: format!("{:08x}", header.identity),
            cores: cores.iter().map(|core| core.name()).collect(),
            kernels,
            observe,
            parts,
            // One run a channel.
            forecast: Work::of(forecast, 1, cost.macs_per_forecast),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} {}, emulated: instructions as QEMU counts them, which are no cycles\n",
            self.board, self.processor
        );
        let _ = match self.cores[..] {
            [] => writeln!(text, "cycles: none, there is no table for this processor"),
            _ => writeln!(
                text,
                "cycles: estimated by ARM's tables, memory without wait states, at least and at most: {}",
                self.cores.join(", ")
            ),
        };
        let _ = writeln!(text, "\n{:32}{:>13} {:>10}{}", "layer", "instructions", "for a MAC", heads(&self.cores));
        for Kernel { shape: [inputs, outputs], weights, instructions, instructions_per_mac, cycles } in &self.kernels {
            let kernel = if weights == "int8" { format!(", {} kernel", self.kernel) } else { String::new() };
            let name = format!("{inputs} to {outputs}, {weights}{kernel}");
            let _ = writeln!(text, "{name:32}{instructions:>13} {instructions_per_mac:>10.2}{}", shown(cycles));
        }
        let Self { preset, numeric, model, .. } = self;
        let _ = writeln!(
            text,
            "\n{:32}{:>13} {:>10}{}",
            format!("model {model}, {preset}, {numeric}"),
            "instructions",
            "MACs",
            heads(&self.cores)
        );
        let mut work = |name: &str, Work { instructions, macs, cycles }: &Work| {
            let _ = writeln!(text, "{name:32}{instructions:>13} {macs:>10}{}", shown(cycles));
        };
        work("forecast, all steps", &self.forecast);
        work("observe", &self.observe);
        for Part { name, instructions, cycles } in &self.parts {
            let _ = writeln!(text, "  {:30}{instructions:>13} {:>10}{}", words(name), "", shown(cycles));
        }
        text
    }
}

impl Work {
    fn of(count: &Count, runs: u64, macs: usize) -> Self {
        Self { instructions: each(count.instructions, runs), macs, cycles: cycles_each(count, runs) }
    }
}

/// The mean, rounded.
const fn each(total: u64, runs: u64) -> u64 {
    (total + runs / 2) / runs
}

fn cycles_each(count: &Count, runs: u64) -> Vec<Cycles> {
    count.cycles.iter().map(|Cycles { low, high }| Cycles { low: each(*low, runs), high: each(*high, runs) }).collect()
}

fn heads(cores: &[&str]) -> String {
    cores.iter().fold(String::new(), |text, core| text + &format!("  {:>17}", format!("{core} cycles")))
}

fn shown(cycles: &[Cycles]) -> String {
    cycles.iter().fold(String::new(), |text, Cycles { low, high }| {
        let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
        text + &format!("  {range:>17}")
    })
}

/// A part's name as people write it: `FeedForward` is `feed forward`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
