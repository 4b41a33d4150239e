//! The error type: what was attempted, on what, and what to try.

use std::error::Error as StdError;
use std::fmt;

/// What stands before each line of a program's output in a message.
pub(crate) const OUTPUT: &str = "  | ";

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of trouble an [`Error`] is; it decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for something that cannot be: an unknown name, a broken configuration file.
    Usage,
    /// The machine lacks something: no Postgres, no container engine, no room on the disk.
    Environment,
    /// A server could not be started, reached or kept.
    Server,
    /// A migration could not be read or applied.
    Migration,
    /// A fixture could not be read or loaded.
    Fixture,
    /// A statement or a connection failed.
    Database,
}

/// An error that says what was attempted, on what, and what to try; the cause lives in
/// [`source`](StdError::source).
///
/// `Display` gives the one line of this error. `Debug` gives the whole chain and the advice, since that
/// is what the test runner prints for a test that returns `Err`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with `message`, a lower-case fragment.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), help: None, source: None }))
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, message)
    }

    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Environment, message)
    }

    pub(crate) fn server(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Server, message)
    }

    /// Adds what to try; may have several lines.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind of trouble.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to try, of this error or else of the nearest cause that has some.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref().or_else(|| self.0.source.as_deref()?.downcast_ref::<Error>()?.help())
    }

    /// A copy for somebody else who needs the same: the causes are text from then on.
    #[must_use]
    pub(crate) fn copy(&self) -> Error {
        let copy = Error::new(self.kind(), self.report_without_help());
        match self.help() {
            Some(help) => copy.with_help(help),
            None => copy,
        }
    }

    /// The SQLSTATE of the server's answer, if one lies anywhere in the chain.
    pub fn sqlstate(&self) -> Option<String> {
        self.server_answer()?.code().map(|code| code.into_owned())
    }

    /// The server's answer, if one lies anywhere in the chain.
    pub(crate) fn server_answer(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(answer) = answer(error) {
                return Some(answer);
            }
            cause = error.source();
        }
        None
    }

    /// This error, its causes and its advice, a line each: for the edge, where it is printed once.
    pub fn report(&self) -> String {
        let mut text = self.report_without_help();
        if let Some(help) = self.help() {
            text.push_str("\n  help: ");
            text.push_str(&help.replace('\n', "\n        "));
        }
        text
    }

    /// This error and its causes, a line each.
    pub(crate) fn report_without_help(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            let line = cause_line(error);
            // Some libraries repeat their cause's text in their own, and some of our errors quote the server.
            if !text.contains(&line) {
                text.push_str("\n  caused by: ");
                text.push_str(&line.replace('\n', "\n    "));
            }
            // Below a server's answer sqlx has the same answer again.
            cause = answer(error).map_or_else(|| error.source(), |_| None);
        }
        text
    }
}

/// The server's answer, if that is what an error is.
fn answer<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a dyn sqlx::error::DatabaseError> {
    match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(answer)) => Some(&**answer),
        _ => None,
    }
}

/// A cause's line. Of a server's answer sqlx 0.9 shows the line of the server's own source file, which reads like
/// a line of the statement: it is left out, and the SQLSTATE given.
fn cause_line(cause: &(dyn StdError + 'static)) -> String {
    match answer(cause).map(|answer| (answer.message(), answer.code())) {
        Some((message, Some(code))) => format!("{message} (SQLSTATE {code})"),
        Some((message, None)) => message.to_owned(),
        None => cause.to_string(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let message = match &error {
            sqlx::Error::Database(_) => "the server refused a statement",
            sqlx::Error::PoolTimedOut => "no connection of the pool became free in time",
            _ => "a statement or a connection failed",
        };
        Error::new(ErrorKind::Database, message).with_source(error)
    }
}

/// Says what was attempted when something fails.
pub(crate) trait Attempt<T> {
    /// Wraps the error: `what` is a lower-case fragment such as "failed to read `pgharness.toml`".
    fn attempt(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Attempt<T> for Result<T, E> {
    fn attempt(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::new(kind, what()).with_source(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_each_cause_once_and_the_nearest_advice() {
        let io = std::io::Error::other("no space left on device");
        let inner = Error::environment("failed to write `a`").with_source(io).with_help("free some room");
        let outer = Error::server("failed to start `postgres` 16.4").with_source(inner);
        assert_eq!(
            format!("{outer:?}"),
            "failed to start `postgres` 16.4\n  caused by: failed to write `a`\n  \
             caused by: no space left on device\n  help: free some room"
        );
        assert_eq!(outer.to_string(), "failed to start `postgres` 16.4");
    }
}
