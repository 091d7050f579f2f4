//! The `flowcast` command: exit code 0 for success, 1 for a failed run with one line on standard error, 2 for wrong usage.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use flowcast::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What the parser alone could not see.
            if let Some(usage) = error.downcast_ref::<clap::Error>() {
                usage.exit();
            }
            // The chain of causes on one line; standard error may be closed.
            let line = format!("error: {error:#}").replace('\n', " ");
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}
