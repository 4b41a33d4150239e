//! The record of a search: where was looked, and why what was found there would not do.

use super::place;
use super::version::Wanted;
use crate::env;
use crate::error::Error;
use std::fmt;
use std::path::Path;

/// What was tried so far.
#[derive(Debug, Default)]
pub(super) struct Search {
    tried: Vec<String>,
}

impl Search {
    /// Notes what came of a place or of a source.
    pub(super) fn note(&mut self, place: impl fmt::Display, outcome: impl fmt::Display) {
        self.tried.push(format!("{place}: {outcome}"));
    }

    /// Notes why the installation at `bin` will not do.
    pub(super) fn skip(&mut self, place: &str, bin: &Path, why: &Error) {
        self.note(place, format_args!("`{}`: {}", bin.display(), one_line(why)));
    }

    /// The notes, a line each.
    #[cfg(feature = "download")]
    pub(super) fn lines(&self) -> &[String] {
        &self.tried
    }

    /// Takes over notes of another search.
    #[cfg(feature = "download")]
    pub(super) fn extend<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        self.tried.extend(lines.into_iter().map(str::to_owned));
    }

    /// The error that names all that was tried, and what would help.
    pub(super) fn failure(&self, wanted: Wanted) -> Error {
        let mut help = match place::install_command(wanted.major()) {
            Some(command) => format!("install it: {command}\n"),
            None => String::new(),
        };
        help.push_str(&format!("or set {} to the directory of an installation", env::INSTALLATION.name));
        if wanted != Wanted::Any {
            help.push_str(&format!("\nor ask for another version with {}", env::VERSION.name));
        }
        Error::environment(format!("found no Postgres {wanted}"))
            .with_source(Error::environment(self.tried.join("\n")))
            .with_help(help)
    }
}

/// An error with its causes in one line.
pub(super) fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
