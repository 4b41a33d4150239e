//! What came of each client.

use super::Failure;
use std::error::Error as StdError;
use std::process::ExitStatus;

/// How one client ended.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It returned a value.
    Returned(T),
    /// It returned an error.
    Failed(Failure),
    /// It panicked, with this message.
    Panicked(String),
    /// A process: its exit status, and what it printed on both streams.
    Exited(ExitStatus, String),
    /// It never ended: what it waited for could not come.
    Stuck,
}

impl<T> Outcome<T> {
    /// Whether it did what it was to do: returned a value, or exited with status 0.
    pub fn is_success(&self) -> bool {
        match self {
            Outcome::Returned(_) => true,
            Outcome::Exited(status, _) => status.success(),
            Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Stuck => false,
        }
    }

    /// The value that it returned.
    pub fn value(&self) -> Option<&T> {
        match self {
            Outcome::Returned(value) => Some(value),
            _ => None,
        }
    }

    /// The SQLSTATE of the server's answer, if an error of sqlx or of this crate lies anywhere in the chain of its error.
    /// Whatever the driver, [`Outcomes::sqlstates`] has what the server said on the wire.
    pub fn sqlstate(&self) -> Option<String> {
        let Outcome::Failed(failure) = self else { return None };
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&**failure);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<crate::Error>() {
                return error.sqlstate();
            }
            if let Some(sqlx::Error::Database(answer)) = error.downcast_ref::<sqlx::Error>() {
                return answer.code().map(|code| code.into_owned());
            }
            cause = error.source();
        }
        None
    }

    /// In one line, without a value.
    pub(super) fn summary(&self) -> String {
        match self {
            Outcome::Returned(_) => "succeeded".into(),
            Outcome::Failed(failure) => match self.sqlstate() {
                Some(code) => format!("failed with SQLSTATE {code}"),
                None => format!("failed: {failure}"),
            },
            Outcome::Panicked(message) => format!("panicked: {message}"),
            Outcome::Exited(status, _) => status.to_string(),
            Outcome::Stuck => "never ended".into(),
        }
    }
}

/// How all clients ended.
#[derive(Debug)]
pub struct Outcomes<T> {
    pub(super) clients: Vec<(String, Outcome<T>)>,
    /// The SQLSTATEs of the errors that the server sent to each.
    pub(super) sqlstates: Vec<Vec<String>>,
}

impl<T> Outcomes<T> {
    /// Each client's name and its outcome, in the order of the clients.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Outcome<T>)> {
        self.clients.iter().map(|(name, outcome)| (name.as_str(), outcome))
    }

    /// What came of the client called `name`.
    pub fn of(&self, name: &str) -> Option<&Outcome<T>> {
        self.iter().find(|(client, _)| *client == name).map(|(_, outcome)| outcome)
    }

    /// The SQLSTATEs of the errors that the server sent to the client called `name`, in order.
    pub fn sqlstates(&self, name: &str) -> &[String] {
        let place = self.clients.iter().position(|(client, _)| client == name);
        place.and_then(|place| self.sqlstates.get(place)).map_or(&[], Vec::as_slice)
    }

    /// How many succeeded.
    pub fn successes(&self) -> usize {
        self.iter().filter(|(_, outcome)| outcome.is_success()).count()
    }

    /// In one line: `a succeeded, b failed with SQLSTATE 40001`.
    pub(super) fn summary(&self) -> String {
        let each: Vec<String> =
            self.iter().map(|(name, outcome)| format!("{name} {}", outcome.summary())).collect();
        each.join(", ")
    }
}
