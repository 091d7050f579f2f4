//! The firmware image for a board and a preset, built from this workspace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use flowcast_core::format::Numeric;
use serde::Deserialize;

use super::machine::Machine;
use crate::setup::{self, Need};

/// Whether this workspace has firmware for a board.
pub fn is_there(board: &str) -> bool {
    let manifest = workspace().join("firmware").join("Cargo.toml");
    let feature = format!("board-{board} =");
    fs::read_to_string(manifest).is_ok_and(|text| text.lines().any(|line| line.starts_with(&feature)))
}

/// What an image is built with beyond its board, preset and form.
#[derive(Clone, Copy, Debug, Default)]
pub struct With<'w> {
    /// Features of the firmware.
    pub features: &'w [&'w str],
    /// Variables that its `build.rs` reads.
    pub variables: &'w [(&'w str, String)],
}

/// Builds a board's firmware for a preset and a form of models, or finds it built, and returns its ELF file.
///
/// # Errors
/// The workspace or the Rust target is not there, or the firmware does not compile.
pub fn build(machine: &Machine, preset: &str, numeric: Numeric) -> Result<PathBuf> {
    build_program(machine, "emulator", preset, numeric, With::default())
}

/// The same of another of the firmware's programs.
///
/// # Errors
/// As [`build`].
pub fn build_program(
    machine: &Machine,
    program: &str,
    preset: &str,
    numeric: Numeric,
    With { features, variables }: With<'_>,
) -> Result<PathBuf> {
    let workspace = workspace();
    if !workspace.join("firmware").join("Cargo.toml").is_file() {
        bail!("no firmware sources in {}; give an image with --firmware", workspace.display());
    }
    setup::ensure(&[Need::Cargo, Need::Target(machine.target)], false)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = if target.is_absolute() { target } else { workspace.join(target) };
    fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
    // All boards and presets of a target are built into one file: whoever builds holds the lock until the image has its own name.
    let lock = target.join("firmware.lock");
    let lock = File::create(&lock).with_context(|| lock.display().to_string())?;
    lock.lock().context("waiting for another build of the firmware")?;

    let output = Command::new(setup::cargo())
        .current_dir(workspace)
        .args(["build", "--package", "flowcast-firmware", "--bin", program, "--target", machine.target])
        .args([
            "--profile",
            "firmware",
            "--no-default-features",
            "--features",
            &format!("board-{},preset-{preset},numeric-{},{}", machine.name, numeric.name(), features.join(",")),
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", &target)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .context("cargo did not start")?;
    if !output.status.success() {
        bail!("the firmware does not build:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let built = executable(&output.stdout).context("cargo built the firmware and did not say where")?;
    let image = built.with_file_name([&[machine.name, program, preset, numeric.name()], features].concat().join("-"));
    let bytes = fs::read(&built).with_context(|| built.display().to_string())?;
    // A board may be running from the file: leave it alone when it is the same.
    if fs::read(&image).ok().as_ref() != Some(&bytes) {
        crate::file::write_atomic(&image, &bytes)?;
    }
    Ok(image)
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The executable among cargo's messages, one JSON object a line.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let lines = messages.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable).next_back()
}
