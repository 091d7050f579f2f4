//! `flowcast doctor`: what of the things that Flowcast uses this machine has, and the command that gets each one that
//! is missing.

use std::process::Command;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::emulate::machine::{MACHINES, Machine};
use crate::flash::probe::{self, Found};
use crate::hardware::HARDWARE;
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
    purpose: String,
    /// Whether verification and emulation need it.
    required: bool,
    /// Where or which it is.
    found: Option<String>,
    /// The command that gets it.
    fix: Option<String>,
}

/// What verification and the emulated board need, and what for: the boards say for which targets firmware is built.
pub fn required() -> Vec<(Need, String)> {
    let boards: Vec<Machine> = MACHINES.into_iter().chain(HARDWARE.map(|board| board.machine)).collect();
    let mut needs = vec![
        (Need::Cargo, "builds everything".to_owned()),
        (Need::CCompiler, "links programs for this machine".to_owned()),
    ];
    for Machine { target, .. } in &boards {
        let need = Need::Target(target);
        if needs.iter().all(|(known, _)| *known != need) {
            let mut processors: Vec<&str> =
                boards.iter().filter(|board| board.target == *target).map(|board| board.processor).collect();
            processors.sort_unstable();
            processors.dedup();
            needs.push((need, format!("builds firmware for {}", processors.join(", "))));
        }
    }
    needs.push((Need::Qemu, "emulates a board".to_owned()));
    needs
}

/// The same, to be installed.
pub fn needs() -> Vec<Need> {
    required().into_iter().map(|(need, _)| need).collect()
}

const PROBE: &str = "debug probe";
const PROBE_PURPOSE: &str = "writes boards (flowcast flash)";

/// Runs the command.
///
/// # Errors
/// Something required is missing, or could not be installed.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    if args.install {
        setup::ensure(&needs(), true)?;
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
    let needed = required().into_iter().map(|(need, purpose)| (need, purpose, true));
    let mut findings: Vec<_> = needed
        .chain([(Need::DefmtPrint, "prints the firmware's logs".to_owned(), false)])
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

fn optional(name: &str, purpose: &str, found: Option<String>, fix: &str) -> Finding {
    let fix = found.is_none().then(|| fix.to_owned());
    Finding { name: name.to_owned(), purpose: purpose.to_owned(), required: false, found, fix }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_looked_for_once_and_for_every_processor_that_has_it() {
        let mut names: Vec<String> = findings().into_iter().map(|finding| finding.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        let needs = required();
        let of =
            |target| needs.iter().find(|(need, _)| *need == Need::Target(target)).map(|(_, purpose)| purpose.as_str());
        assert_eq!(of("thumbv6m-none-eabi"), Some("builds firmware for Cortex-M0, Cortex-M0+"));
        assert_eq!(of("thumbv7em-none-eabihf"), Some("builds firmware for Cortex-M4F, Cortex-M7"));
        assert_eq!(needs.iter().filter(|(need, _)| matches!(need, Need::Target(_))).count(), 4);
    }
}
