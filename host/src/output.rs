//! What a command prints: its result on standard output (a text for people, or one JSON object), progress on standard error and only
//! on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How a command speaks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    /// One JSON object on standard output, and nothing else there.
    pub json: bool,
}

impl Output {
    /// Prints the result; the text is only made when it is wanted.
    ///
    /// # Errors
    /// When standard output cannot be written to. A reader that has gone away (`| head`) is no error.
    pub fn result(&self, human: impl FnOnce() -> String, json: &impl Serialize) -> Result<()> {
        let mut text = if self.json { serde_json::to_string(json).context("the result as JSON")? } else { human() };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
            _ => Ok(()),
        }
    }

    /// One line of news on standard error; silent when that is no terminal.
    pub fn note(&self, line: impl AsRef<str>) {
        if io::stderr().is_terminal() {
            let _ = writeln!(io::stderr(), "{}", line.as_ref());
        }
    }

    /// A bar on standard error with time left, and a message (such as a loss) at its end; hidden when that is no terminal.
    pub fn progress(&self, length: u64, label: &'static str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(8));
        // `stderr` targets hide themselves where there is no terminal.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} [{bar:32}] {pos}/{len}  {elapsed} (left {eta})  {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label);
        bar
    }
}
