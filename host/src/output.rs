//! What a command prints: its result on standard output (a text for people, or one JSON object), progress on standard error and only
//! on a terminal.
//!
//! What a user must know to judge a result (a mended clock, readings taken as missing) is a *remark*: a `note: ` line on standard
//! error whether or not that is a terminal, or, with `--json`, an entry of the array `notes` that every result has. A terminal is told
//! at once, a file with the result: a run that fails leaves its one line there.

use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How a command speaks.
#[derive(Debug, Default)]
pub struct Output {
    /// One JSON object on standard output, and nothing else there.
    pub json: bool,
    /// Where the result goes instead of standard output.
    kept: Option<RefCell<Option<Kept>>>,
    /// What was remarked so far.
    remarks: RefCell<Vec<String>>,
}

/// A result as JSON: its own fields, and what was remarked on the way.
#[derive(Serialize)]
struct WithNotes<'a, T> {
    #[serde(flatten)]
    result: &'a T,
    notes: &'a [String],
}

/// A result that was kept instead of printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// For people.
    pub human: String,
    /// For programs.
    pub json: serde_json::Value,
}

impl Output {
    /// Prints text for people, or JSON.
    pub fn new(json: bool) -> Output {
        Output { json, ..Output::default() }
    }

    /// Prints no result but keeps it for [`Output::kept`], so that a command can be a step of another.
    pub fn keeping() -> Output {
        Output { kept: Some(RefCell::default()), ..Output::default() }
    }

    /// Takes the result that was kept.
    pub fn kept(&self) -> Option<Kept> {
        self.kept.as_ref()?.take()
    }

    /// Prints the result, a struct or a map, with the remarks so far; the text is only made when it is wanted.
    ///
    /// # Errors
    /// When standard output cannot be written to. A reader that has gone away (`| head`) is no error.
    pub fn result(&self, human: impl FnOnce() -> String, json: &impl Serialize) -> Result<()> {
        let remarks = self.remarks.borrow();
        let json = WithNotes { result: json, notes: &remarks };
        if let Some(kept) = &self.kept {
            let json = serde_json::to_value(&json).context("the result as JSON")?;
            kept.replace(Some(Kept { human: human(), json }));
            return Ok(());
        }
        if !self.json && !io::stderr().is_terminal() {
            for remark in remarks.iter() {
                let _ = writeln!(io::stderr(), "note: {remark}");
            }
        }
        if self.json { print(&serde_json::to_string(&json).context("the result as JSON")?) } else { print(&human()) }
    }

    /// Prints a part of the result for people as soon as it is there; nothing where the result is JSON or kept.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn say(&self, text: &str) -> Result<()> {
        if self.json || self.kept.is_some() { Ok(()) } else { print(text) }
    }

    /// Prints one of many results as soon as it is there, a line of text or one JSON object; false where nobody reads any more.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn line(&self, human: impl FnOnce() -> String, json: &impl Serialize) -> Result<bool> {
        let line = if self.json { serde_json::to_string(json).context("the result as JSON")? } else { human() };
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.context("standard output").map(|()| true),
        }
    }

    /// One line of news on standard error; silent when that is no terminal.
    pub fn note(&self, line: impl AsRef<str>) {
        if io::stderr().is_terminal() {
            let _ = writeln!(io::stderr(), "{}", line.as_ref());
        }
    }

    /// What a user must know to judge the result: a line `note: …` on standard error, and an entry of the result's `notes`. What was
    /// remarked before is not repeated.
    pub fn remark(&self, line: impl Into<String>) {
        let line = line.into();
        let mut remarks = self.remarks.borrow_mut();
        if remarks.contains(&line) {
            return;
        }
        if io::stderr().is_terminal() {
            let _ = writeln!(io::stderr(), "note: {line}");
        }
        remarks.push(line);
    }

    /// [`Output::remark`] for each line.
    pub fn remarks(&self, lines: impl IntoIterator<Item = String>) {
        lines.into_iter().for_each(|line| self.remark(line));
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

fn print(text: &str) -> Result<()> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_result_has_both_forms_once() {
        let output = Output::keeping();
        output.remark("a gap");
        output.remark("a gap");
        #[derive(Serialize)]
        struct Seven {
            seven: f32,
        }
        output.result(|| "seven".to_owned(), &Seven { seven: 7.5 }).unwrap();
        let json = serde_json::json!({"seven": 7.5, "notes": ["a gap"]});
        assert_eq!(output.kept(), Some(Kept { human: "seven".to_owned(), json }));
        assert_eq!(output.kept(), None);
    }
}
