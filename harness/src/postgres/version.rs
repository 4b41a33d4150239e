//! Versions of Postgres: what an installation is, and what was asked for.

use crate::error::{Error, Result};
use std::fmt;

/// The oldest major version that the harness works with: 14 is out of support.
pub const OLDEST_SUPPORTED: u32 = 15;

/// The newest major version that the harness fetches by itself; a newer one that is installed is used.
pub const NEWEST_FETCHED: u32 = 18;

/// The version of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The major version, such as 16.
    pub major: u32,
    /// The minor version, such as 4; 0 for a development version.
    pub minor: u32,
    /// As the server writes it: `16.4`, `18beta1`, `19devel`.
    pub text: String,
}

impl Version {
    /// Reads what `postgres --version` and its siblings print: `postgres (PostgreSQL) 16.4 (Debian …)`.
    /// `None`: that is something else.
    pub(super) fn printed(line: &str) -> Option<Version> {
        let text = line.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
        Version::read(text)
    }

    /// Reads a bare version: `16.4`, `18beta1`.
    pub(super) fn read(text: &str) -> Option<Version> {
        let (major, rest) = leading_number(text)?;
        let minor = match rest.strip_prefix('.') {
            Some(rest) => leading_number(rest)?.0,
            None => 0,
        };
        Some(Version { major, minor, text: text.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number that `text` starts with, and what follows it.
fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Which version was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any supported one.
    Any,
    /// Any minor version of a major one.
    Major(u32),
    /// One exact version.
    Exact(u32, u32),
}

impl Wanted {
    /// Reads `16` or `16.4`; `None` is any.
    pub(super) fn read(text: Option<&str>) -> Result<Wanted> {
        let Some(text) = text else { return Ok(Wanted::Any) };
        let wanted = match text.split_once('.') {
            None => number(text).map(Wanted::Major),
            Some((major, minor)) => {
                number(major).and_then(|major| Some(Wanted::Exact(major, number(minor)?)))
            }
        };
        match wanted {
            Some(Wanted::Major(major) | Wanted::Exact(major, _)) if major < OLDEST_SUPPORTED => {
                Err(Error::usage(format!("Postgres `{text}` is not supported"))
                    .with_help(format!("the oldest supported version is {OLDEST_SUPPORTED}")))
            }
            Some(wanted) => Ok(wanted),
            None => Err(Error::usage(format!("`{text}` is not a Postgres version"))
                .with_help("give a major version such as `16`, or an exact one such as `16.4`")),
        }
    }

    /// Why `version` will not do, if it will not.
    pub(super) fn objection(self, version: &Version) -> Option<String> {
        if version.major < OLDEST_SUPPORTED {
            return Some(format!("is {version}, and the oldest supported version is {OLDEST_SUPPORTED}"));
        }
        let fits = match self {
            Wanted::Any => true,
            Wanted::Major(major) => version.major == major,
            Wanted::Exact(major, minor) => (version.major, version.minor) == (major, minor),
        };
        (!fits).then(|| format!("is {version}, not {self}"))
    }

    /// The same wish as far as the major version goes.
    pub(super) fn major_only(self) -> Wanted {
        self.major().map_or(Wanted::Any, Wanted::Major)
    }

    /// The major version, unless any will do.
    pub(super) fn major(self) -> Option<u32> {
        match self {
            Wanted::Any => None,
            Wanted::Major(major) | Wanted::Exact(major, _) => Some(major),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Any => write!(f, "{OLDEST_SUPPORTED} or newer"),
            Wanted::Major(major) => write!(f, "{major}"),
            Wanted::Exact(major, minor) => write!(f, "{major}.{minor}"),
        }
    }
}

/// A number in plain digits: `parse` alone would take `+16`.
fn number(text: &str) -> Option<u32> {
    leading_number(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15, 18, "15.18")]
    #[case("postgres (PostgreSQL) 16.4", 16, 4, "16.4")]
    #[case("postgres (PostgreSQL) 18beta1", 18, 0, "18beta1")]
    #[case("pg_dump (PostgreSQL) 19devel", 19, 0, "19devel")]
    fn printed_versions_are_read(
        #[case] line: &str,
        #[case] major: u32,
        #[case] minor: u32,
        #[case] text: &str,
    ) {
        assert_eq!(Version::printed(line), Some(Version { major, minor, text: text.into() }));
    }

    #[rstest]
    #[case("")]
    #[case("command not found")]
    #[case("postgres (PostgreSQL)")]
    #[case("postgres (PostgreSQL) devel")]
    fn what_is_no_version_is_not_taken_for_one(#[case] line: &str) {
        assert_eq!(Version::printed(line), None);
    }

    #[rstest]
    #[case(None, Wanted::Any)]
    #[case(Some("16"), Wanted::Major(16))]
    #[case(Some("16.4"), Wanted::Exact(16, 4))]
    fn wishes_are_read(#[case] text: Option<&str>, #[case] expect: Wanted) {
        assert_eq!(Wanted::read(text).unwrap(), expect);
    }

    #[rstest]
    #[case("sixteen", "`sixteen` is not a Postgres version")]
    #[case("+16", "`+16` is not a Postgres version")]
    #[case("16.", "`16.` is not a Postgres version")]
    #[case("16.4.0", "`16.4.0` is not a Postgres version")]
    #[case("99999999999", "`99999999999` is not a Postgres version")]
    #[case("14", "Postgres `14` is not supported")]
    #[case("9.6", "Postgres `9.6` is not supported")]
    fn wrong_wishes_are_refused(#[case] text: &str, #[case] expect: &str) {
        assert_eq!(Wanted::read(Some(text)).unwrap_err().to_string(), expect);
    }

    #[rstest]
    #[case(Wanted::Any, "15.0", None)]
    #[case(Wanted::Any, "14.9", Some("is 14.9, and the oldest supported version is 15"))]
    #[case(Wanted::Major(16), "16.4", None)]
    #[case(Wanted::Major(16), "17.1", Some("is 17.1, not 16"))]
    #[case(Wanted::Exact(16, 4), "16.4", None)]
    #[case(Wanted::Exact(16, 4), "16.5", Some("is 16.5, not 16.4"))]
    fn objections_say_why(#[case] wanted: Wanted, #[case] version: &str, #[case] expect: Option<&str>) {
        assert_eq!(wanted.objection(&Version::read(version).unwrap()).as_deref(), expect);
    }
}
