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
