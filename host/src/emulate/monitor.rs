//! QEMU's monitor: commands to the emulator itself, in its own words.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What the monitor says when it waits for a command.
const PROMPT: &[u8] = b"(qemu) ";

/// A line to a running emulator.
#[derive(Debug)]
pub struct Monitor(UnixStream);

impl Monitor {
    /// Over a connected socket; each answer may take `patience`.
    ///
    /// # Errors
    /// The socket's.
    pub fn new(line: UnixStream, patience: Duration) -> Result<Self> {
        line.set_nonblocking(false)?;
        line.set_read_timeout(Some(patience))?;
        Ok(Self(line))
    }

    /// Runs commands one after the other, each when the last is done. One that this version of QEMU does not know does
    /// nothing.
    ///
    /// # Errors
    /// The emulator does not answer.
    pub fn run(&mut self, commands: &[&str]) -> Result<()> {
        self.wait().context("QEMU's monitor")?;
        for command in commands {
            writeln!(self.0, "{command}")?;
            self.wait().with_context(|| format!("QEMU's monitor at {command:?}"))?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(PROMPT) {
            if self.0.read(&mut byte)? == 0 {
                bail!("closed after {:?}", String::from_utf8_lossy(&said));
            }
            said.extend(byte);
        }
        Ok(())
    }
}
