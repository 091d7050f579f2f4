//! The emulator's own hand: QEMU's monitor (QMP, one JSON object a line), which sets what a sensor measures and presses
//! reset.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take to open its monitor, and to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the monitor.
#[derive(Debug)]
pub struct Monitor {
    line: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the monitor at a socket.
    ///
    /// # Errors
    /// Nobody listens there, or it is no monitor.
    pub fn connect(socket: &Path) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let line = loop {
            match UnixStream::connect(socket) {
                Ok(line) => break line,
                Err(error) if Instant::now() > deadline => return Err(error).context("the emulator has no monitor"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        line.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Self { line: BufReader::new(line) };
        if monitor.receive()?.get("QMP").is_none() {
            bail!("the emulator's monitor does not greet");
        }
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Has QEMU execute a command and returns what it answers.
    ///
    /// # Errors
    /// The command is refused, with QEMU's reason, or the line fails.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.line.get_mut(), "{request}")?;
        loop {
            let mut answer = self.receive()?;
            if let Some(error) = answer.get("error") {
                bail!("the emulator refused {command}: {}", error["desc"].as_str().unwrap_or("it does not say why"));
            }
            // Events come in between.
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Sets what the temperature sensor of this id measures; QEMU rounds it to the sensor's 1/256 °C, towards zero.
    ///
    /// # Errors
    /// There is no such sensor, or it cannot measure that.
    pub fn set_temperature(&mut self, id: &str, milli_celsius: i32) -> Result<()> {
        let path = format!("/machine/peripheral/{id}");
        self.execute("qom-set", json!({ "path": path, "property": "temperature", "value": milli_celsius })).map(drop)
    }

    /// Presses the board's reset button: memory keeps what it holds.
    ///
    /// # Errors
    /// The line's.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Has QEMU follow commands of its monitor for people, one after the other. One that this version does not know does
    /// nothing.
    ///
    /// # Errors
    /// The line's.
    pub fn follow(&mut self, commands: &[&str]) -> Result<()> {
        for command in commands {
            self.execute("human-monitor-command", json!({ "command-line": command }))?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.line.read_line(&mut line).context("the emulator's monitor does not answer")? == 0 {
            bail!("the emulator closed its monitor");
        }
        serde_json::from_str(&line).with_context(|| format!("the emulator's monitor said {line:?}"))
    }
}
