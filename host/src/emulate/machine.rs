//! An emulated board: a QEMU process with the firmware and the model in its memory, its UART on a socket of ours.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use flowcast_core::format::{Header, Numeric};
use flowcast_core::presets::Preset;

use super::monitor::Monitor;
use crate::link::{Link, LinkError};
use crate::setup::{Need, QEMU};

/// A board as its firmware sees it: one that QEMU emulates, or real ([`crate::hardware`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The firmware's feature `board-…`; of an emulated one, as QEMU names it.
    pub name: &'static str,
    /// What it is.
    pub processor: &'static str,
    /// Rust's target.
    pub target: &'static str,
    /// Where the model's region starts; `firmware/memory/*.x` says the same.
    pub model_address: u32,
    /// Bytes of that region.
    pub model_bytes: usize,
    /// Bytes of RAM for the firmware.
    pub ram_bytes: usize,
    /// What the firmware holds memory for (`firmware/src/board/*.rs` say the same): channels of a model, ...
    pub channels: usize,
    /// ... slots of its seasonal memory, and ...
    pub slots: usize,
    /// ... presets, by name.
    pub presets: &'static [&'static str],
    /// Whether the processor has floating point; without, a board runs models in integers only.
    pub floating_point: bool,
}

/// An MPS2 board; the processor is the FPGA image's.
const MPS2: Machine = Machine {
    name: "mps2-an386",
    processor: "Cortex-M4F",
    target: "thumbv7em-none-eabihf",
    model_address: 0x0020_0000,
    model_bytes: 2 << 20,
    ram_bytes: 256 << 10,
    channels: 8,
    slots: 704,
    presets: &["tiny", "small", "base"],
    floating_point: true,
};

/// All that QEMU emulates; the first is the default.
pub const MACHINES: [Machine; 5] = [
    MPS2,
    Machine { name: "mps2-an385", processor: "Cortex-M3", target: "thumbv7m-none-eabi", floating_point: false, ..MPS2 },
    Machine { name: "mps2-an500", processor: "Cortex-M7", ..MPS2 },
    Machine {
        name: "mps2-an505",
        processor: "Cortex-M33",
        target: "thumbv8m.main-none-eabihf",
        model_address: 0x1020_0000,
        ..MPS2
    },
    Machine {
        name: "microbit",
        processor: "Cortex-M0",
        target: "thumbv6m-none-eabi",
        model_address: 0x0003_0000,
        model_bytes: 64 << 10,
        ram_bytes: 16 << 10,
        channels: 1,
        slots: 96,
        presets: &["tiny"],
        floating_point: false,
    },
];

impl Machine {
    /// The machine of that name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn named(name: &str) -> Result<Machine, String> {
        MACHINES.into_iter().find(|machine| machine.name == name).ok_or_else(|| {
            format!("no such machine, expected one of: {}", MACHINES.map(|machine| machine.name).join(", "))
        })
    }

    /// Why its firmware cannot run a model, one sentence each; empty where it can.
    pub fn refuses(&self, header: &Header, preset: &Preset) -> Vec<String> {
        let wrong = (!self.presets.contains(&preset.name))
            .then(|| format!("found preset {}, expected {}", preset.name, self.presets.join(" or ")));
        let slow = (header.numeric == Numeric::F32 && !self.floating_point).then(|| {
            format!(
                "found a model that computes in f32, expected int8: a {} has no floating point (`flowcast export \
                 --quantize int8`)",
                self.processor
            )
        });
        let large = [
            (header.length(), self.model_bytes, "bytes of model"),
            (header.channels.into(), self.channels, "channels"),
            (header.seasons.capacity(), self.slots, "slots of the seasonal memory"),
        ]
        .into_iter()
        .filter(|(found, most, _)| found > most)
        .map(|(found, most, what)| format!("found {found} {what}, expected at most {most}"));
        wrong.into_iter().chain(slow).chain(large).collect()
    }
}

/// How long a board may take to start and to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the line is looked at while it is silent.
const POLL: Duration = Duration::from_millis(100);

/// A running board. It stops when this is dropped.
#[derive(Debug)]
pub struct Board {
    qemu: Child,
    link: Link<UnixStream>,
    errors: Option<JoinHandle<String>>,
    log: Option<JoinHandle<io::Result<()>>>,
    /// The socket and the model, for as long as QEMU needs them.
    _folder: tempfile::TempDir,
}

impl Board {
    /// Starts `firmware` with the bytes of `model` in its region, whatever they are. The firmware's log goes to `log`,
    /// undecoded.
    ///
    /// # Errors
    /// QEMU is missing (with the command that gets it) or does not start (with what it says).
    pub fn start(machine: &Machine, firmware: &Path, model: &[u8], log: impl Write + Send + 'static) -> Result<Board> {
        Self::launch(machine, firmware, model, log, |_| false, &[]).map(|(board, _)| board)
    }

    /// The same with devices beside the board, as QEMU's `-device` takes them, and a monitor that reaches them.
    ///
    /// # Errors
    /// As [`Board::start`].
    pub fn start_with(
        machine: &Machine,
        firmware: &Path,
        model: &[u8],
        log: impl Write + Send + 'static,
        devices: &[&str],
    ) -> Result<(Board, Monitor)> {
        let (board, socket) = Self::launch(machine, firmware, model, log, |_| false, devices)?;
        Ok((board, Monitor::connect(&socket)?))
    }

    /// The same with a monitor alone. `watch` is shown every line that QEMU logs, and takes it by returning true; what it
    /// leaves are errors.
    ///
    /// # Errors
    /// As [`Board::start`].
    pub fn watch(
        machine: &Machine,
        firmware: &Path,
        model: &[u8],
        log: impl Write + Send + 'static,
        watch: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<(Board, Monitor)> {
        let (board, socket) = Self::launch(machine, firmware, model, log, watch, &[])?;
        Ok((board, Monitor::connect(&socket)?))
    }

    /// A board and the path of its monitor's socket.
    fn launch(
        machine: &Machine,
        firmware: &Path,
        model: &[u8],
        mut log: impl Write + Send + 'static,
        mut watch: impl FnMut(&[u8]) -> bool + Send + 'static,
        devices: &[&str],
    ) -> Result<(Board, PathBuf)> {
        if model.len() > machine.model_bytes {
            let (found, expected) = (model.len(), machine.model_bytes);
            bail!("model of {found} bytes does not fit into the {expected} that {} has for it", machine.name);
        }
        let folder =
            tempfile::Builder::new().prefix("flowcast-").tempdir().context("a folder for the board's socket")?;
        let model_path = folder.path().join("model");
        std::fs::write(&model_path, model).with_context(|| model_path.display().to_string())?;
        let socket = folder.path().join("uart");
        let monitor = folder.path().join("monitor");
        let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
        listener.set_nonblocking(true)?;

        let spawned = Command::new(QEMU)
            .args(["-machine", machine.name, "-display", "none", "-monitor", "none", "-nodefaults"])
            // Time by instructions, 2^7 ns each: what the firmware's counter counts on.
            .args(["-icount", "shift=7"])
            .arg("-kernel")
            .arg(firmware)
            .arg("-device")
            .arg(format!("loader,file={},addr={},force-raw=on", option(&model_path)?, machine.model_address))
            .arg("-chardev")
            .arg(format!("socket,id=uart,path={}", option(&socket)?))
            .args(["-serial", "chardev:uart"])
            .args(devices.iter().flat_map(|device| ["-device", device]))
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", option(&monitor)?))
            // The firmware's log comes out of QEMU's standard output.
            .args(["-semihosting-config", "enable=on,target=native"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut qemu = match spawned {
            Ok(qemu) => qemu,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("{QEMU} is missing; get it with: {}", Need::Qemu.by_hand())
            }
            Err(error) => return Err(error).context(format!("{QEMU} did not start")),
        };
        let errors = qemu.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                let (mut stderr, mut line, mut said) = (BufReader::new(stderr), Vec::new(), Vec::new());
                while stderr.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    if !watch(&line) {
                        said.extend_from_slice(&line);
                    }
                    line.clear();
                }
                String::from_utf8_lossy(&said).trim().to_owned()
            })
        });
        // Always read to the end: a full pipe would stop the board.
        let log = qemu.stdout.take().map(|mut stdout| {
            std::thread::spawn(move || {
                let copied = io::copy(&mut stdout, &mut log);
                io::copy(&mut stdout, &mut io::sink())?;
                copied.map(|_| ())
            })
        });
        match accept(&listener, &mut qemu) {
            Ok(line) => {
                line.set_nonblocking(false)?;
                line.set_read_timeout(Some(POLL))?;
                line.set_write_timeout(Some(PATIENCE))?;
                Ok((Board { qemu, link: Link::new(line, PATIENCE), errors, log, _folder: folder }, monitor))
            }
            Err(reason) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                let said = errors.and_then(|errors| errors.join().ok()).unwrap_or_default();
                Err(anyhow!("{QEMU} did not start {}: {reason}: {said}", firmware.display()))
            }
        }
    }

    /// The line to the board.
    pub fn link(&mut self) -> &mut Link<UnixStream> {
        &mut self.link
    }

    /// Says why the line failed, where the emulator knows more than the line does.
    pub fn explain(&mut self, error: LinkError) -> anyhow::Error {
        if !matches!(error, LinkError::Closed | LinkError::Silent(_) | LinkError::Line(_)) {
            return error.into();
        }
        // A line that closed closes because the process ends; give it the moment it takes.
        let deadline = Instant::now() + Duration::from_secs(1);
        let status = loop {
            match self.qemu.try_wait() {
                Ok(None) if matches!(error, LinkError::Closed) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                status => break status.ok().flatten(),
            }
        };
        let Some(status) = status else { return error.into() };
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        anyhow!("the emulated board stopped: {}{}{said}", ending(status), if said.is_empty() { "" } else { ": " })
    }

    /// Waits until the firmware ends by itself, and all that it made QEMU log was watched.
    ///
    /// # Errors
    /// It ended with a failure, or has not ended within `patience`.
    pub fn finish(mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.qemu.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    bail!("the firmware has not ended within {} s", patience.as_secs())
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        if !status.success() {
            bail!("the emulated board stopped: {}: {said}", ending(status));
        }
        self.stop()
    }

    /// Stops the board and waits until its log is written.
    ///
    /// # Errors
    /// The log could not be written.
    pub fn stop(mut self) -> Result<()> {
        self.end();
        match self.log.take().map(JoinHandle::join) {
            Some(Ok(written)) => written.context("the board's log"),
            _ => Ok(()),
        }
    }

    fn end(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept(listener: &UnixListener, qemu: &mut Child) -> Result<UnixStream, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((line, _)) => return Ok(line),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        if let Ok(Some(status)) = qemu.try_wait() {
            return Err(ending(status));
        }
        if Instant::now() > deadline {
            return Err(format!("no connection within {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        // See firmware/src/board/fault.rs.
        Some(101) => "the firmware panicked".into(),
        Some(102) => "the firmware ran into a hard fault".into(),
        Some(103) => "the firmware's stack overflowed".into(),
        _ => status.to_string(),
    }
}

/// A path within a QEMU option, where a comma is written twice.
fn option(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}

/// Where the firmware's log goes when somebody reads it: `defmt-print`, which decodes it to standard error.
///
/// # Errors
/// `defmt-print` is missing (with the command that gets it).
pub fn printer(firmware: &Path) -> Result<(impl Write + Send + 'static, Child)> {
    let mut command = Command::new("defmt-print");
    command.arg("-e").arg(firmware).stdin(Stdio::piped()).stdout(io::stderr());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("defmt-print is missing; get it with: {}", Need::DefmtPrint.by_hand())
        }
        Err(error) => return Err(error).context("defmt-print did not start"),
    };
    let input = child.stdin.take().context("defmt-print takes no input")?;
    Ok((input, child))
}
