//! Errors that point into a file of SQL.

use super::file::Script;
use super::place::Place;
use crate::error::{Error, ErrorKind};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use std::fmt;

/// What a script or a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To migrate.
    Migration,
    /// To seed.
    Fixture,
}

impl Purpose {
    /// The kind of its errors.
    pub(crate) fn kind(self) -> ErrorKind {
        match self {
            Purpose::Migration => ErrorKind::Migration,
            Purpose::Fixture => ErrorKind::Fixture,
        }
    }

    /// What is attempted: "apply migration".
    pub(crate) fn attempt(self) -> &'static str {
        match self {
            Purpose::Migration => "apply migration",
            Purpose::Fixture => "load fixture",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Migration => "migration",
            Purpose::Fixture => "fixture",
        })
    }
}

/// Says that `script` cannot be run as it is, and where.
pub(crate) fn refused(script: &Script, purpose: Purpose, place: Option<Place>, what: &str) -> Error {
    let excerpt = place.map(|place| format!("\n{}", place.excerpt(Some(&script.path().to_string_lossy()))));
    let message = format!("{purpose} `{}` {what}{}", script.name(), excerpt.unwrap_or_default());
    Error::new(purpose.kind(), message)
}

/// Which text of a file a message brought, and where in the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The byte of the file where the text begins.
    from: usize,
    /// How many characters of ours stand before it.
    behind: usize,
}

impl Sent {
    /// The text from byte `offset` of the file, and nothing before it.
    pub(super) fn part(offset: usize) -> Sent {
        Sent { from: offset, behind: 0 }
    }

    /// The whole file, behind so many characters.
    pub(super) fn behind(characters: usize) -> Sent {
        Sent { from: 0, behind: characters }
    }

    /// The place in the file of the message's character `position`, counted from one, if it is one of the file's.
    fn place(self, script: &Script, position: usize) -> Option<Place> {
        let within = position.checked_sub(self.behind).filter(|within| *within > 0)?;
        Some(Place::of_position(script.text(), self.from, within))
    }
}

/// Says what the server answered to `script`. `sent` is what was sent of it, `statement` the byte of the file where
/// the failing statement begins, as far as it is known.
///
/// The answer's detail is left out: it shows rows.
pub(super) fn failed(
    script: &Script,
    purpose: Purpose,
    error: sqlx::Error,
    sent: Sent,
    statement: Option<usize>,
) -> Error {
    let start = format!("failed to {} `{}`", purpose.attempt(), script.name());
    let answer = match &error {
        sqlx::Error::Database(answer) => answer.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    };
    let Some(answer) = answer else {
        let message = format!("{start}: the connection failed");
        return Error::new(purpose.kind(), message).with_source(error);
    };
    let mut message = format!("{start}: {} (SQLSTATE {})", answer.message(), answer.code());
    let path = script.path().to_string_lossy();
    let place = match answer.position() {
        Some(PgErrorPosition::Original(position)) => sent.place(script, position),
        _ => statement.map(|offset| Place::of_byte(script.text(), offset)),
    };
    if let Some(place) = place {
        message.push('\n');
        message.push_str(&place.excerpt(Some(&path)));
    }
    if let Some(PgErrorPosition::Internal { position, query }) = answer.position() {
        message.push_str("\n  within:\n");
        message.push_str(&Place::of_position(query, 0, position).excerpt(None));
    }
    // Other lines of the context may show rows.
    for line in answer.r#where().unwrap_or_default().lines().filter(|line| line.starts_with("PL/")) {
        message.push_str("\n  in ");
        message.push_str(line);
    }
    let help = advice(answer.code(), answer.message()).or_else(|| answer.hint().map(str::to_owned));
    let failed = Error::new(purpose.kind(), message).with_source(error);
    match help {
        Some(help) => failed.with_help(help),
        None => failed,
    }
}

/// What to do about an answer whose cause the server does not tell, or not in our words.
fn advice(code: &str, message: &str) -> Option<String> {
    if let Some(help) = missing_role(message) {
        return Some(help);
    }
    let help = match code {
        "25001" if message.contains("transaction block") => {
            "put `-- no-transaction` on the file's first line: its statements are then sent one by one"
        }
        "55P04" => {
            "a value that is added to an enum can be used after the commit only: add it in a file of its own"
        }
        "3F000" => "create the schema in an earlier file",
        _ => return None,
    };
    Some(help.to_owned())
}

/// What to do about a role that is not there, if that is what `message` says. The code is no help: a login, a
/// `SET ROLE` and a `GRANT` have one each.
pub(super) fn missing_role(message: &str) -> Option<String> {
    let role = message.strip_prefix("role \"")?.strip_suffix("\" does not exist")?;
    Some(format!(
        "create the role `{role}` first: in a file of SQL that the harness runs as superuser before any migration: \
         `bootstrap: [\"…\"]` of `template!`, or under `[postgres]` of `pgharness.toml`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("42704")]
    #[case("22023")]
    fn a_missing_role_is_for_the_bootstrap(#[case] code: &str) {
        let help = advice(code, "role \"web_app\" does not exist").unwrap();
        assert!(help.starts_with("create the role `web_app` first"), "{help}");
        for part in ["`bootstrap: [\"…\"]` of `template!`", "`[postgres]` of `pgharness.toml`"] {
            assert!(help.contains(part), "{help}");
        }
        assert_eq!(advice(code, "role \"web_app\" is not permitted to log in"), None);
    }
}
