//! Passwords that no log and no report ever shows.

use std::fmt;

/// A password. `Debug` and `Display` show stars.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Secret(password.into())
    }

    /// The password itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `url` with its password, if any, replaced by stars.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    // A password may itself hold an `@`: the last one ends it.
    let Some(at) = rest[..authority_end].rfind('@') else { return redact_query(url) };
    match rest[..at].split_once(':') {
        Some((user, _)) => redact_query(&format!("{scheme}://{user}:***{}", &rest[at..])),
        None => redact_query(url),
    }
}

/// libpq also takes the password as a parameter of the query.
fn redact_query(url: &str) -> String {
    let Some(start) = url.find("password=").filter(|at| matches!(url.as_bytes()[at - 1], b'?' | b'&')) else {
        return url.to_owned();
    };
    let value = start + "password=".len();
    let end = url[value..].find('&').map_or(url.len(), |length| value + length);
    format!("{}***{}", &url[..value], &url[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres://u:p@h/db", "postgres://u:***@h/db")]
    #[case("postgres://u:p@ss@h:5432/db?x=1", "postgres://u:***@h:5432/db?x=1")]
    #[case("postgres://u@h/db", "postgres://u@h/db")]
    #[case("postgres:///db?host=/tmp&password=p&user=u", "postgres:///db?host=/tmp&password=***&user=u")]
    #[case("not a url", "not a url")]
    fn passwords_are_hidden(#[case] url: &str, #[case] shown: &str) {
        assert_eq!(redact_url(url), shown);
    }

    #[test]
    fn a_secret_prints_stars() {
        assert_eq!(format!("{0} {0:?}", Secret::new("hunter2")), "*** ***");
    }
}
