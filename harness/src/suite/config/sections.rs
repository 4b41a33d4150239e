//! The sections of the file that are not, as they stand, what a check reads.

use super::setting::Setting;
use crate::check::OldRelease;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::path::PathBuf;
use std::time::Duration;

/// How a server comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// From binaries on this machine.
    #[default]
    Embedded,
    /// In a container.
    Container,
    /// Somebody else's, by URL.
    External,
}

/// `[postgres]`: the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Postgres {
    /// How it comes to be; `None`, and so embedded, unless the environment says otherwise.
    pub backend: Option<Backend>,
    /// A major version (`16`) or an exact one (`16.4`); what is found.
    pub version: Option<String>,
    /// Extensions that the harness creates, as superuser.
    pub extensions: Vec<String>,
    /// SQL that creates roles and the like, as superuser, before any migration; `*` in names is expanded.
    pub bootstrap: Vec<PathBuf>,
    /// How many connections it takes; 200.
    #[serde(rename = "max_connections")]
    pub connections_max: u32,
    /// The exact version that runs in production: `16.4`. Nothing is run on it; `operations.server-version` asks which
    /// fixes it lacks.
    pub deployed: Option<String>,
    /// The image of the container backend.
    pub image: Option<String>,
    /// The URL of the external backend.
    pub url: Option<Setting>,
}

impl Default for Postgres {
    fn default() -> Self {
        Postgres {
            backend: None,
            version: None,
            extensions: Vec::new(),
            bootstrap: Vec::new(),
            connections_max: 200,
            deployed: None,
            image: None,
            url: None,
        }
    }
}

/// `[fixtures]`: the seed data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fixtures {
    /// Its files, in order; `*` in names is expanded, in the order of the names.
    pub files: Vec<PathBuf>,
}

/// `[checks]`: which checks run, and what they compare with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// Disciplines that the project chooses.
    pub opt_in: Vec<String>,
    /// The release before this one.
    pub old_release: Option<OldRelease>,
}

/// `[roles]`: a role that a service connects as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleKeys {
    /// Its password.
    pub password: Option<Setting>,
    /// How many connections its pools hold together.
    pub pool_max: Option<u32>,
    /// How long a statement of it may take: `5s`.
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Option<Duration>,
    /// How long it may leave a transaction open and say nothing: `60s`.
    #[serde(deserialize_with = "duration")]
    pub idle_in_transaction_session_timeout: Option<Duration>,
    /// How long it may wait for a lock: `2s`.
    #[serde(deserialize_with = "duration")]
    pub lock_timeout: Option<Duration>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match parse_duration(&text) {
        Some(duration) => Ok(Some(duration)),
        None => Err(D::Error::custom(format!(
            "`{text}` is no duration: write a whole number and `ms`, `s`, `min`, `h` or `d`"
        ))),
    }
}

/// As the server writes time-outs, apart from numbers without a unit, which people misread.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let millis: u64 = match text[digits..].trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("5s", Some(5_000))]
    #[case("250 ms", Some(250))]
    #[case("2min", Some(120_000))]
    #[case("1d", Some(86_400_000))]
    #[case("5", None)]
    #[case("s", None)]
    #[case("-5s", None)]
    #[case("1.5s", None)]
    #[case("5 parsecs", None)]
    #[case("99999999999999999999s", None)]
    #[case("18446744073709551615d", None)]
    fn durations(#[case] text: &str, #[case] millis: Option<u64>) {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis));
    }
}
