//! What this machine lacks, and how to get it: through rustup and the machine's own package manager, nothing else.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The emulator of boards.
pub const QEMU: &str = "qemu-system-arm";

/// Something that a part of Flowcast needs beside its own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Builds the firmware.
    Cargo,
    /// Rust's core library for a target.
    Target(&'static str),
    /// Emulates boards.
    Qemu,
    /// Links, and builds the decompressor for `.xz`.
    CCompiler,
    /// Prints the firmware's logs (`flowcast emulate --log`).
    DefmtPrint,
}

impl Need {
    /// Its name, as a user knows it.
    pub fn name(self) -> String {
        match self {
            Self::Cargo => "cargo".into(),
            Self::Target(target) => format!("Rust target {target}"),
            Self::Qemu => QEMU.into(),
            Self::CCompiler => "C compiler".into(),
            Self::DefmtPrint => "defmt-print".into(),
        }
    }

    /// Where it is or which it is; `None` where it is missing.
    pub fn found(self) -> Option<String> {
        match self {
            Self::Cargo => first_line(Command::new(cargo()).arg("--version")),
            Self::Target(target) => {
                let libraries =
                    first_line(Command::new(rustc()).args(["--print", "target-libdir", "--target", target]))?;
                Path::new(&libraries).is_dir().then_some(libraries)
            }
            Self::Qemu => first_line(Command::new(QEMU).arg("--version")),
            Self::CCompiler => first_line(Command::new(env::var_os("CC").unwrap_or("cc".into())).arg("--version")),
            Self::DefmtPrint => first_line(Command::new("defmt-print").arg("--version")),
        }
    }

    /// The commands that get it on this machine, in order; none where no known package manager is.
    pub fn fix(self) -> Vec<Vec<String>> {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            // A script from the web is nothing to run unasked.
            Self::Cargo => vec![],
            Self::Target(target) => vec![words(&format!("rustup target add {target}"))],
            Self::DefmtPrint => vec![words("cargo install defmt-print --locked")],
            Self::Qemu => packages([QEMU, "qemu", QEMU, QEMU]),
            Self::CCompiler => packages(["gcc libc6-dev", "gcc", "gcc", "gcc"]),
        }
    }

    /// What to do by hand, in one line.
    pub fn by_hand(self) -> String {
        match (self, self.fix()) {
            (Self::Cargo, _) => "install Rust as https://rustup.rs says".into(),
            (_, commands) if commands.is_empty() => {
                format!("install {} (no apt-get, brew, dnf or pacman was found)", self.name())
            }
            (_, commands) => commands.iter().map(|command| command.join(" ")).collect::<Vec<_>>().join(" && "),
        }
    }
}

/// Makes sure that everything in `needs` is there. With `install`, prints and runs the commands that get what is
/// missing.
///
/// # Errors
/// Without `install`, what is missing and what to do by hand; with it, the command that failed.
pub fn ensure(needs: &[Need], install: bool) -> Result<()> {
    for need in needs.iter().filter(|need| need.found().is_none()) {
        let commands = need.fix();
        if !install || commands.is_empty() {
            bail!("{} is missing; get it with: {}", need.name(), need.by_hand());
        }
        for command in &commands {
            eprintln!("$ {}", command.join(" "));
            let status = Command::new(&command[0])
                .args(&command[1..])
                // No question may wait for an answer that never comes.
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::inherit())
                // Standard output belongs to the command's own result.
                .stdout(std::io::stderr())
                .status()
                .with_context(|| format!("{} did not start", command[0]))?;
            if !status.success() {
                bail!("{} is missing, and {:?} failed ({status})", need.name(), command.join(" "));
            }
        }
        if need.found().is_none() {
            bail!("{} is still missing after: {}", need.name(), need.by_hand());
        }
    }
    Ok(())
}

/// The cargo that runs this program, or the one in the path.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from)
}

/// The first line that a program prints when all is well.
pub fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// Whether a program of that name is in the path.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Commands that install packages, named as in apt, brew, dnf and pacman, with the one of them that is here.
fn packages([apt, brew, dnf, pacman]: [&str; 4]) -> Vec<Vec<String>> {
    let (manager, update, install, names): (_, Option<&[&str]>, &[&str], _) = if in_path("apt-get").is_some() {
        ("apt-get", Some(&["update"]), &["install", "--yes", "--no-install-recommends"], apt)
    } else if in_path("brew").is_some() {
        ("brew", None, &["install"], brew)
    } else if in_path("dnf").is_some() {
        ("dnf", None, &["install", "--assumeyes"], dnf)
    } else if in_path("pacman").is_some() {
        ("pacman", None, &["-S", "--noconfirm"], pacman)
    } else {
        return vec![];
    };
    let root = manager == "brew" || first_line(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    let start = if root { vec![manager] } else { vec!["sudo", manager] };
    let command = |words: &[&str]| start.iter().chain(words).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let installing: Vec<&str> = install.iter().copied().chain(names.split(' ')).collect();
    update.map(command).into_iter().chain([command(&installing)]).collect()
}

/// Whether the environment says that a graphical session can open a page, and with which program.
pub fn opener() -> Option<PathBuf> {
    let program: &OsStr = OsStr::new(if cfg!(target_os = "macos") { "open" } else { "xdg-open" });
    in_path(&program.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_cure() {
        let error = ensure(&[Need::Target("no-such-target")], false).unwrap_err().to_string();
        assert_eq!(error, "Rust target no-such-target is missing; get it with: rustup target add no-such-target");
    }

    #[test]
    fn what_is_there_needs_nothing() {
        ensure(&[Need::Cargo, Need::CCompiler], false).unwrap();
    }
}
