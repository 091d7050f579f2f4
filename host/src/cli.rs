//! The command line: every command is a module with `Args` and `run`, and this file only lists them.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::output::Output;
use crate::{
    ablate, backtest, bench, benchmark, demo, detect, doctor, emulate, export, flash, gate, inspect, key, monitor, nab,
    replay, train,
};

/// Streaming forecasts for microcontrollers: train on a CSV, export, back-test with the device's own code
#[derive(Debug, Parser)]
#[command(name = "flowcast", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Print one JSON object to standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model on measurements
    Train(train::Args),
    /// Write a trained model as the file that boards read
    Export(export::Args),
    /// Show what is in a model file, what it costs to run, and whether a board holds it
    Inspect(inspect::Args),
    /// Back-test a model with the device's own code, against honest baselines
    Backtest(backtest::Args),
    /// Train the same model with other attentions, a GRU or none in the place of Flow-Attention, and compare
    Ablate(ablate::Args),
    /// Train and test on the literature's benchmarks, beside the best published errors
    Benchmark(benchmark::Args),
    /// Stream data through the firmware on an emulated board, and compare its forecasts with this machine's
    Emulate(emulate::Args),
    /// Write a model, and the firmware that runs it, to a board through a debug probe
    Flash(flash::Args),
    /// Watch a board: its samples, what it forecasts and how it does, drawn as they come and recorded
    Monitor(monitor::Args),
    /// Stream data through a board on a line, and compare its forecasts with this machine's
    Replay(replay::Args),
    /// Make the keys that sign models
    Key(key::Args),
    /// Sign a model: the signature goes behind it, into the same file
    Sign(key::SignArgs),
    /// Count what a board's instructions go into: single layers, each part of a sample, a forecast
    Bench(bench::Args),
    /// Stream data through the device's own code and list what came unexpectedly
    Detect(detect::Args),
    /// Replay data through a board that reports only what its gateway would not expect, and say what that saves
    Gate(gate::Args),
    /// Run the Numenta Anomaly Benchmark through the device's own code, by NAB's own scoring rules
    Nab(nab::Args),
    /// Check what this machine has, and how to get what it lacks
    Doctor(doctor::Args),
    /// Train on bundled measurements, back-test with the device's code, stream held-out days through an emulated board
    Demo(demo::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever the command could not do, as one chain of causes.
    pub fn run(&self) -> Result<()> {
        self.run_with(&Output::new(self.json))
    }

    /// Runs the command as a step of another, which takes its result from `output`.
    ///
    /// # Errors
    /// As [`Cli::run`].
    pub fn run_with(&self, output: &Output) -> Result<()> {
        match &self.command {
            Command::Train(args) => train::run(args, output),
            Command::Export(args) => export::run(args, output),
            Command::Inspect(args) => inspect::run(args, output),
            Command::Backtest(args) => backtest::run(args, output),
            Command::Ablate(args) => ablate::run(args, output),
            Command::Benchmark(args) => benchmark::run(args, output),
            Command::Emulate(args) => emulate::run(args, output),
            Command::Flash(args) => flash::run(args, output),
            Command::Monitor(args) => monitor::run(args, output),
            Command::Replay(args) => replay::run(args, output),
            Command::Key(args) => key::run(args, output),
            Command::Sign(args) => key::sign(args, output),
            Command::Bench(args) => bench::run(args, output),
            Command::Detect(args) => detect::run(args, output),
            Command::Gate(args) => gate::run(args, output),
            Command::Nab(args) => nab::run(args, output),
            Command::Doctor(args) => doctor::run(args, output),
            Command::Demo(args) => demo::run(args, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn backtest_reads_files_and_horizons() {
        let cli = Cli::try_parse_from([
            "flowcast",
            "backtest",
            "m.flow",
            "a.csv",
            "b.csv.gz",
            "--horizons",
            "1h,36,1d",
            "--json",
        ])
        .unwrap();
        assert!(cli.json);
        match cli.command {
            Command::Backtest(args) => assert_eq!((args.measurements.data.len(), args.horizons.len()), (2, 3)),
            other => panic!("{other:?}"),
        }
        for wrong in [&["--horizons", "soon"], &["--test-fraction", "1.5"], &["--origins", "0"], &["--origins", "-3"]] {
            let line = ["flowcast", "backtest", "m.flow", "a.csv"].into_iter().chain(wrong.iter().copied());
            assert_eq!(Cli::try_parse_from(line).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn wrong_usage_is_said_in_the_options_own_words() {
        for (line, said) in [
            ("detect m.flow a.csv --limit T>1 --margin NaN", "a number from 0 on"),
            ("detect m.flow a.csv --limit T>1 --margin -1", "a number from 0 on"),
            ("detect m.flow a.csv --threshold -1", "a score from 0.5"),
            ("gate m.flow a.csv --interval -1h", "expected a duration"),
            ("inspect m.flow --board rp2040 --every -1h", "expected a duration"),
            ("backtest m.flow a.csv --origins -3", "`-3`"),
            ("export m.safetensors --out m.flow --quantize int8 --calibrate a.csv --fine-tune 0", "at least 1"),
            ("flash m.flow --board rp2040 --model-only --limit T>1", "cannot be used with"),
            ("flash m.flow --board rp2040 --firmware f.elf --max-error 1", "cannot be used with"),
        ] {
            let error = Cli::try_parse_from(["flowcast"].into_iter().chain(line.split(' '))).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(said), "{line}: {error}");
        }
    }
}
