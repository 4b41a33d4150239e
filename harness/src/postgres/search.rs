//! The record of a search: where was looked, and why what was found there would not do.

use super::extension::{Site, remedies, the_extensions};
use super::version::{NEWEST_FETCHED, Wanted};
use super::{Request, place};
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
    /// Notes what came of a place or of a source; once, where it is looked into again.
    pub(super) fn note(&mut self, place: impl fmt::Display, outcome: impl fmt::Display) {
        let line = format!("{place}: {outcome}");
        if !self.tried.contains(&line) {
            self.tried.push(line);
        }
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
    pub(super) fn failure(&self, wanted: Wanted, request: &Request) -> Error {
        let tried = Error::environment(self.tried.join("\n"));
        let other_version = format!("or ask for another version with {}", env::VERSION.name);
        let extensions: Vec<&str> = request.extensions().iter().map(String::as_str).collect();
        let (what, mut help) = if extensions.is_empty() {
            let install =
                place::install_command(wanted.major()).map(|command| format!("install it: {command}\n"));
            let named = format!("or set {} to the directory of an installation", env::INSTALLATION.name);
            (String::new(), install.unwrap_or_default() + &named)
        } else {
            let is_one_server = "one server must have all of them: parts of two builds do not go together\n";
            let split = extensions.len() > 1 && request.sources_with(request.extensions()).is_empty();
            let major =
                wanted.major().or_else(|| place::newest_major(request.places())).unwrap_or(NEWEST_FETCHED);
            let help = remedies(&extensions, major, Site::Here);
            (
                format!(" with {}", the_extensions(&extensions)),
                if split { is_one_server.to_owned() + &help } else { help },
            )
        };
        if wanted != Wanted::Any {
            help.push('\n');
            help.push_str(&other_version);
        }
        Error::environment(format!("found no Postgres {wanted}{what}")).with_source(tried).with_help(help)
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
