//! Writing to the terminal.

use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::report::Colour;
use anstyle::{AnsiColor, Style};
use std::io::{self, ErrorKind as Io, IsTerminal, Write};

/// Whether standard output is to be coloured.
pub(super) fn colour() -> Colour {
    of(io::stdout().is_terminal())
}

/// Writes `text` to standard output. A reader who has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != Io::BrokenPipe => {
            Err(error).attempt(ErrorKind::Environment, || "failed to write to standard output".into())
        }
        _ => Ok(()),
    }
}

/// Writes `error`, its causes and its advice to standard error.
pub(super) fn error(error: &Error) {
    const RED: Style = AnsiColor::Red.on_default().bold();
    let title = of(io::stderr().is_terminal()).paint(RED, "error:");
    // Nobody is left to be told when that fails.
    let _ = writeln!(io::stderr(), "{title} {}", error.report());
}

/// Some CI systems lend their jobs a terminal; what they keep is a log.
fn of(is_terminal: bool) -> Colour {
    if is_terminal && env::NO_COLOR.os().is_none() && !env::CI.is_on() { Colour::On } else { Colour::Off }
}

/// How far a run is, on a terminal; nothing elsewhere.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress { is_shown: io::stderr().is_terminal() && !env::CI.is_on() }
    }

    /// Shows it in place of what was shown before.
    pub(super) fn show(&self, done: usize, total: usize, name: &str) {
        if self.is_shown {
            let mut out = io::stderr().lock();
            // The line is only there for people who look.
            let _ = write!(out, "\r\x1b[K{done}/{total} {name}").and_then(|()| out.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
