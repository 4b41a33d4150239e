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
    if let Some(extension) = missing_extension(code, message) {
        return Some(match code {
            "42883" | "42704" => format!(
                "it comes with the extension `{extension}`: `CREATE EXTENSION \"{extension}\"` first, or name it in \
                 `extensions`, which the harness creates: {EXTENSIONS}"
            ),
            "42501" => format!(
                "only a superuser may create the extension `{extension}`: name it in `extensions`, which the harness \
                 creates as superuser: {EXTENSIONS}"
            ),
            _ => format!(
                "the extension `{extension}` is not installed on this server: install its package there, or use \
                 an image or an installation that has it"
            ),
        });
    }
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

/// Where extensions are named.
const EXTENSIONS: &str = "`extensions: [\"…\"]` of `template!`, or under `[postgres]` of `pgharness.toml`";

/// What to do about a role that is not there, if that is what `message` says. The code is no help: a login, a
/// `SET ROLE` and a `GRANT` have one each.
pub(super) fn missing_role(message: &str) -> Option<String> {
    let role = message.strip_prefix("role \"")?.strip_suffix("\" does not exist")?;
    Some(format!(
        "create the role `{role}` first: in a file of SQL that the harness runs as superuser before any migration: \
         `bootstrap: [\"…\"]` of `template!`, or under `[postgres]` of `pgharness.toml`"
    ))
}

/// The extension that `message` complains about, or that is known to bring what it misses.
fn missing_extension(code: &str, message: &str) -> Option<String> {
    let quoted = || message.split('"').nth(1).map(str::to_owned);
    match code {
        "0A000" if message.starts_with("extension \"") && message.ends_with("is not available") => quoted(),
        "58P01" if message.contains(".control\"") => {
            let file = message.split(".control\"").next()?;
            Some(file.rsplit('/').next()?.to_owned())
        }
        "42704" if message.starts_with("required extension \"") => quoted(),
        "42501" if message.starts_with("permission denied to create extension \"") => quoted(),
        "42883" | "42704" => KNOWN
            .iter()
            .find(|(_, names)| {
                // As a whole word: `digest(`, `"citext"`.
                message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| names.contains(&word))
            })
            .map(|(extension, _)| (*extension).to_owned()),
        _ => None,
    }
}

/// Names that projects use most, by the extension that brings them.
const KNOWN: &[(&str, &[&str])] = &[
    ("uuid-ossp", &["uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "uuid_generate_v5"]),
    ("pgcrypto", &["crypt", "gen_salt", "digest", "hmac", "gen_random_bytes", "pgp_sym_encrypt", "armor"]),
    ("citext", &["citext"]),
    ("hstore", &["hstore"]),
    ("ltree", &["ltree", "lquery"]),
    ("pg_trgm", &["gin_trgm_ops", "gist_trgm_ops", "similarity", "word_similarity"]),
    ("unaccent", &["unaccent"]),
    ("vector", &["vector", "halfvec", "vector_l2_ops", "vector_cosine_ops", "vector_ip_ops"]),
    ("postgis", &["geometry", "geography", "st_makepoint", "st_dwithin"]),
    ("intarray", &["gin__int_ops", "gist__int_ops"]),
    ("cube", &["cube"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0A000", "extension \"postgis\" is not available", "postgis")]
    #[case(
        "58P01",
        "could not open extension control file \"/usr/share/x/vector.control\": No such file",
        "vector"
    )]
    #[case("42883", "function uuid_generate_v4() does not exist", "uuid-ossp")]
    #[case("42704", "type \"citext\" does not exist", "citext")]
    #[case("42704", "operator class \"gin_trgm_ops\" does not exist for access method \"gin\"", "pg_trgm")]
    #[case("42704", "required extension \"cube\" is not installed", "cube")]
    #[case("42501", "permission denied to create extension \"file_fdw\"", "file_fdw")]
    fn the_missing_extension_is_named(#[case] code: &str, #[case] message: &str, #[case] extension: &str) {
        assert_eq!(missing_extension(code, message).as_deref(), Some(extension));
        assert!(advice(code, message).unwrap().contains(&format!("`{extension}`")));
    }

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

    #[rstest]
    #[case("42883", "function my_digest_of(text) does not exist")]
    #[case("42704", "role \"vectors\" does not exist")]
    #[case("42601", "syntax error at or near \"citext\"")]
    fn no_extension_is_made_up(#[case] code: &str, #[case] message: &str) {
        assert_eq!(missing_extension(code, message), None);
    }
}
