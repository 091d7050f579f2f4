//! Ctrl-C, a closed terminal and a polite kill: long work ends where it can leave things whole; a second time, at once.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// As shells count a program that Ctrl-C ended.
const EXIT_CODE: i32 = 130;
/// What a program that is about to end has to say to whoever watches it.
const SOON: &str = "note: ending where nothing is lost, in seconds; a second time ends at once";
/// What a program that ends at once has to say.
const AT_ONCE: &str = "error: interrupted a second time and stopped at once: files stay as they were last written; a training keeps the \
                       checkpoint of its last finished epoch, if there was one";

/// From now on the first such signal is only noted, for long work to see, and the second ends the program.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        // Another handler in this program stays, and ends it as it likes.
        let _ = ctrlc::set_handler(|| {
            let again = REQUESTED.swap(true, Ordering::Relaxed);
            // Below a bar that is being drawn; standard error may be closed.
            let mut stderr = std::io::stderr();
            let watched = stderr.is_terminal();
            if again || watched {
                let _ = writeln!(stderr, "{}{}", if watched { "\n" } else { "" }, if again { AT_ONCE } else { SOON });
            }
            if again {
                std::process::exit(EXIT_CODE);
            }
        });
    });
}

/// Whether the program was asked to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// # Errors
/// The program was asked to end.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}
