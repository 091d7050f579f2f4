//! `cargo verify`: every check and every test of the repository, each with its time.
//!
//! Goes on after a failure, so that one run says all that is wrong. What the checks lack (the firmware's Rust
//! targets, QEMU) is installed with rustup and the machine's package manager, every command printed first; `--no-install` says
//! what to do by hand instead.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use flowcast_tests::BOARDS;

const PRESETS: [&str; 3] = ["tiny", "small", "base"];
/// Features beside the default ones that an image may be built with.
const SENSORS: [&str; 2] = ["sht4x", "lis2dh12"];

const USAGE: &str = "\
Usage: cargo verify [--no-install]

Runs every check and test: format, clippy, firmware, tests, emulated board, documentation.

  --no-install  do not install what is missing; say what to do by hand
  --help        print this";

/// One thing to check: a program with its arguments, and settings of its environment.
struct Step {
    name: String,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

fn main() -> ExitCode {
    let mut install = true;
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--no-install" => install = false,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("unknown argument {other:?}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let started = Instant::now();
    let mut failed: Vec<String> = Vec::new();
    let steps = steps(install);
    for (number, step) in steps.iter().enumerate() {
        println!("[{}/{}] {}\n    $ cargo {}", number + 1, steps.len(), step.name, step.arguments.join(" "));
        let begun = Instant::now();
        let passed = run(step);
        let seconds = begun.elapsed().as_secs_f64();
        println!("    {} in {seconds:.1} s", if passed { "passed" } else { "FAILED" });
        if !passed {
            failed.push(step.name.clone());
        }
    }
    println!("\nin {:.0} s", started.elapsed().as_secs_f64());
    for name in &failed {
        println!("FAILED: {name}");
    }
    println!("{} passed, {} failed", steps.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn steps(install: bool) -> Vec<Step> {
    let [(first, first_target), others @ ..] = BOARDS;
    let step = |name: &str, arguments: &str| Step {
        name: name.to_owned(),
        arguments: arguments.split(' ').map(str::to_owned).collect(),
        environment: Vec::new(),
    };
    let setup = if install { " --install" } else { "" };
    let mut steps = vec![
        step("set-up: what the checks need is here", &format!("run --quiet --package flowcast -- doctor{setup}")),
        step("format", "fmt --all --check"),
        step(
            "clippy, warnings denied",
            "clippy --workspace --exclude flowcast-firmware --all-targets -- --deny warnings",
        ),
        step(
            "clippy for the firmware's target, warnings denied",
            &format!(
                "clippy --package flowcast-firmware --target {first_target} --profile firmware -- --deny warnings"
            ),
        ),
    ];
    steps.extend(PRESETS.map(|preset| {
        step(
            &format!("firmware, preset {preset}"),
            &format!(
                "build --package flowcast-firmware --target {first_target} --profile firmware \
                 --no-default-features --features board-{first},preset-{preset},numeric-int8"
            ),
        )
    }));
    steps.extend(others.map(|(board, target)| {
        step(
            &format!("clippy for the firmware of {board}, warnings denied"),
            &format!(
                "clippy --package flowcast-firmware --target {target} --profile firmware \
                 --no-default-features --features board-{board},preset-tiny,numeric-int8 -- --deny warnings"
            ),
        )
    }));
    steps.extend(SENSORS.map(|sensor| {
        step(
            &format!("clippy for a station with the sensor {sensor} and a clock, warnings denied"),
            &format!(
                "clippy --package flowcast-firmware --target {first_target} --profile firmware --no-default-features \
                 --features board-nrf52840dk,preset-tiny,numeric-int8,sensor-{sensor},clock-ds3231 -- --deny warnings"
            ),
        )
    }));
    steps.push(step("tests, those in the documentation and the emulated board's too", "test --no-fail-fast"));
    let mut documentation = step("documentation, warnings denied", "doc --no-deps");
    documentation.environment.push(("RUSTDOCFLAGS", "--deny warnings"));
    steps.push(documentation);
    steps
}

/// Runs a step in the workspace, its output shown as it comes.
fn run(step: &Step) -> bool {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.args(&step.arguments).envs(step.environment.iter().copied()).current_dir(workspace).stdin(Stdio::null());
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("    cargo did not start: {error}");
            false
        }
    }
}
