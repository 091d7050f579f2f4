//! `flowcast demo`: the whole way from a CSV to an emulated board, on the bundled logger data.
//!
//! Each step is the command line that is printed before it: it is parsed and run as if it had been typed.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use serde::Serialize;

use crate::cli::Cli;
use crate::doctor;
use crate::output::Output;
use crate::setup;

/// The bundled measurements, from the repository's root.
const DATA: &str = "tests/data/mast_10min.csv.gz";
/// Its channels, the battery's voltage among them.
const CHANNELS: &str = "T2m,RH2m,P2m,BattMin";
/// Two weeks and a day of 10-minute samples: the first day warms the model up.
const SAMPLES: &str = "2160";
/// A forecast an hour.
const EVERY: &str = "6";

/// Train on bundled measurements, back-test with the device's code, stream held-out days through an emulated board
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The folder for the model, the report and the picture
    #[arg(long, default_value = "flowcast-demo", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Install nothing; say what is missing and how to get it
    #[arg(long)]
    pub no_install: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    steps: Vec<Step>,
    /// The HTML report.
    report: PathBuf,
    /// The picture.
    figure: PathBuf,
    seconds: f64,
}

/// A command that was run.
#[derive(Debug, Serialize)]
struct Step {
    command: String,
    seconds: f64,
    /// What it prints with `--json`.
    result: serde_json::Value,
}

/// Runs the command.
///
/// # Errors
/// What a step could not do, after the command line that failed.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let start = Instant::now();
    let data = bundled_data()?;
    // Before minutes of training, not after them.
    setup::ensure(&doctor::needs(), !args.no_install)?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let mut steps = Vec::new();
    for words in commands(&data, &args.out) {
        steps.push(run_step(&words, output)?);
    }
    let report = Report {
        steps,
        report: args.out.join("report.html"),
        figure: args.out.join("forecast.svg"),
        seconds: start.elapsed().as_secs_f64(),
    };
    if !output.json && std::io::stdout().is_terminal() {
        show(&report.report);
    }
    let human = || {
        format!(
            "report   {}\npicture  {}\n{:.0} s in all",
            report.report.display(),
            report.figure.display(),
            report.seconds
        )
    };
    output.result(human, &report)
}

/// The steps as command lines.
fn commands(data: &Path, out: &Path) -> Vec<Vec<String>> {
    let file = |name: &str| out.join(name).display().to_string();
    let data = data.display().to_string();
    let (checkpoint, model) = (file("mast.safetensors"), file("mast.flow"));
    let (report, figure) = (file("report.html"), file("forecast.svg"));
    [
        vec![
            "train",
            &data,
            "--target",
            CHANNELS,
            "--horizon",
            "1d",
            "--epochs",
            "8",
            "--seed",
            "1",
            "--out",
            &checkpoint,
        ],
        vec!["export", &checkpoint, "--out", &model],
        vec!["backtest", &model, &data, "--report", &report, "--figure", &figure],
        vec!["emulate", &model, &data, "--machine", "mps2-an386", "--samples", SAMPLES, "--every", EVERY],
    ]
    .into_iter()
    .map(|words| std::iter::once("flowcast").chain(words).map(str::to_owned).collect())
    .collect()
}

fn run_step(words: &[String], output: &Output) -> Result<Step> {
    let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    output.say(&format!("$ {command}"))?;
    if output.json {
        output.note(format!("$ {command}"));
    }
    let start = Instant::now();
    let step = Output::keeping();
    Cli::try_parse_from(words)
        .map_err(|error| anyhow::anyhow!("{}", error.kind()))
        .and_then(|cli| cli.run_with(&step))
        .with_context(|| command.clone())?;
    let seconds = start.elapsed().as_secs_f64();
    let Some(kept) = step.kept() else { bail!("{command}: no result") };
    output.say(&format!("{}\n({seconds:.0} s)\n", kept.human.trim_end()))?;
    Ok(Step { command, seconds, result: kept.json })
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./,=:+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The bundled file, relative to the current folder if it lies below it.
fn bundled_data() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join(DATA);
    let Ok(path) = path.canonicalize() else {
        bail!("{}: not found, expected the repository that this program was built from", path.display());
    };
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    Ok(match here.ok().and_then(|here| path.strip_prefix(here).map(Path::to_owned).ok()) {
        Some(relative) => relative,
        None => path,
    })
}

/// Opens a page where there is a screen; a demo does not fail for the lack of one.
fn show(page: &Path) {
    let screen = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if let Some(opener) = setup::opener().filter(|_| screen) {
        let _ = Command::new(opener).arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_command_line() {
        let lines = commands(Path::new("data.csv"), Path::new("some folder"));
        assert_eq!(lines.len(), 4);
        for words in lines {
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("a/b-c_1.csv"), "a/b-c_1.csv");
        assert_eq!(quoted("some folder"), "'some folder'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_bundled_data_are_there() {
        assert!(bundled_data().unwrap().ends_with(DATA));
    }
}
