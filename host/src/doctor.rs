//! `flowcast doctor`: what of the things that Flowcast uses this machine has, and the command that gets each one that
//! is missing.

use std::process::Command;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::flash::probe::{self, Found};
use crate::line;
use crate::output::Output;
use crate::setup::{self, Need};

/// Check what this machine has, and how to get what it lacks
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Get what is missing with rustup and the machine's package manager; every command is printed before it runs
    #[arg(long, conflicts_with = "no_install")]
    pub install: bool,
    /// Only say what is missing (the default)
    #[arg(long)]
    pub no_install: bool,
}

/// One thing that was looked for.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    name: String,
    /// What it is for.
    purpose: &'static str,
    /// Whether verification and emulation need it.
    required: bool,
    /// Where or which it is.
    found: Option<String>,
    /// The command that gets it.
    fix: Option<String>,
}

/// What verification and the emulated board need.
pub const REQUIRED: [(Need, &str); 7] = [
    (Need::Cargo, "builds everything"),
    (Need::CCompiler, "links programs for this machine"),
    (Need::Target("thumbv7em-none-eabihf"), "builds firmware for Cortex-M4F and M7"),
    (Need::Target("thumbv6m-none-eabi"), "builds firmware for Cortex-M0"),
    (Need::Target("thumbv7m-none-eabi"), "builds firmware for Cortex-M3"),
    (Need::Target("thumbv8m.main-none-eabihf"), "builds firmware for Cortex-M33"),
    (Need::Qemu, "emulates a board"),
];

const PROBE: &str = "debug probe";
const PROBE_PURPOSE: &str = "writes boards (flowcast flash)";

/// Runs the command.
///
/// # Errors
/// Something required is missing, or could not be installed.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    if args.install {
        setup::ensure(&REQUIRED.map(|(need, _)| need), true)?;
    }
    let findings = findings();
    let missing: Vec<_> = findings
        .iter()
        .filter(|finding| finding.required && finding.found.is_none())
        .map(|f| f.name.as_str())
        .collect();
    #[derive(Serialize)]
    struct Report<'r> {
        complete: bool,
        findings: &'r [Finding],
    }
    output.result(|| table(&findings), &Report { complete: missing.is_empty(), findings: &findings })?;
    if !missing.is_empty() {
        bail!("missing: {} (`flowcast doctor --install` gets them)", missing.join(", "));
    }
    Ok(())
}

fn findings() -> Vec<Finding> {
    let needed = REQUIRED.into_iter().map(|(need, purpose)| (need, purpose, true));
    let useful = [
        (Need::Target("thumbv6m-none-eabi"), "checks that the core builds for Cortex-M0+", false),
        (Need::Target("thumbv8m.main-none-eabihf"), "checks that the core builds for Cortex-M33", false),
        (Need::DefmtPrint, "prints the firmware's logs", false),
    ];
    let mut findings: Vec<_> = needed
        .chain(useful)
        .map(|(need, purpose, required)| {
            let found = need.found();
            let fix = found.is_none().then(|| need.by_hand());
            Finding { name: need.name(), purpose, required, found, fix }
        })
        .collect();
    findings.push(optional(
        "page opener",
        "shows reports",
        setup::opener().map(|path| path.display().to_string()),
        "open the report's file in a browser by hand",
    ));
    findings.push(optional(
        "NVIDIA driver",
        "trains on a GPU",
        setup::first_line(Command::new("nvidia-smi").arg("-L")),
        "install NVIDIA's driver; without it training runs on the CPU",
    ));
    findings.push(match probe::look() {
        Found::Probes(names) => optional(PROBE, PROBE_PURPOSE, Some(names.join("; ")), ""),
        Found::Nothing => optional(PROBE, PROBE_PURPOSE, None, probe::NONE),
        Found::Forbidden(names, rule) => {
            optional(&format!("{PROBE} ({})", names.join("; ")), "may not be used by you", None, &rule)
        }
    });
    let ports = line::ports();
    findings.push(optional(
        "serial port",
        "listens to boards (flowcast monitor)",
        (!ports.is_empty()).then(|| ports.join("; ")),
        "connect a board or a serial adapter by USB",
    ));
    findings.push(optional(
        "cuda feature",
        "trains on a GPU",
        cfg!(feature = "cuda").then(|| "in this build".to_owned()),
        "cargo build --release -p flowcast --features cuda",
    ));
    findings
}

fn optional(name: &str, purpose: &'static str, found: Option<String>, fix: &str) -> Finding {
    let fix = found.is_none().then(|| fix.to_owned());
    Finding { name: name.to_owned(), purpose, required: false, found, fix }
}

fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    findings
        .iter()
        .map(|Finding { name, purpose, required, found, fix }| match (found, fix) {
            (Some(found), _) => format!("found    {name:width$}  {found}\n"),
            (None, fix) => {
                let state = if *required { "MISSING " } else { "missing " };
                format!("{state} {name:width$}  {purpose}; get it with: {}\n", fix.as_deref().unwrap_or("-"))
            }
        })
        .collect()
}
