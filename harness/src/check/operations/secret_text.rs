//! Passwords in a line of text.

use std::ops::Range;

/// What a file is written in, which decides what a password looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Sql,
    Toml,
}

/// Where in `line` passwords stand, in order.
pub(super) fn passwords(line: &str, language: Language) -> Vec<Range<usize>> {
    let mut found = in_urls(line);
    found.extend(in_connection_strings(line));
    found.extend(quoted(line, language));
    found.retain(|range| !is_placeholder(&line[range.clone()]));
    found.sort_by_key(|range| range.start);
    found.dedup_by(|next, one| next.start < one.end);
    found
}

/// `line` with stars for what stands at `ranges`.
pub(super) fn redacted(line: &str, ranges: &[Range<usize>]) -> String {
    let mut text = String::new();
    let mut done = 0;
    for range in ranges {
        text.push_str(&line[done..range.start]);
        text.push_str("***");
        done = range.end;
    }
    text.push_str(&line[done..]);
    text
}

/// `scheme://user:password@host`.
fn in_urls(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("://") {
        if !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let start = at + "://".len();
        let rest = &line[start..];
        let end = rest.find(|c: char| c.is_whitespace() || "'\"`/?#,;)".contains(c)).unwrap_or(rest.len());
        // A password may itself hold an `@`: the last one ends it.
        let Some(user_end) = rest[..end].rfind('@') else { continue };
        if let Some(colon) = rest[..user_end].find(':') {
            found.push(start + colon + 1..start + user_end);
        }
    }
    found
}

/// `host=db password=secret`, where another keyword shows that it is no comparison in SQL.
fn in_connection_strings(line: &str) -> Vec<Range<usize>> {
    if !["host=", "hostaddr=", "dbname=", "user="].iter().any(|keyword| line.contains(keyword)) {
        return Vec::new();
    }
    let value = |at: usize| {
        let start = at + "password=".len();
        let length = line[start..].find(|c: char| c.is_whitespace() || "'\"&".contains(c));
        start..length.map_or(line.len(), |length| start + length)
    };
    line.match_indices("password=").map(|(at, _)| value(at)).filter(|range| !range.is_empty()).collect()
}

/// `PASSWORD 'secret'` in SQL, `password = "secret"` in TOML.
fn quoted(line: &str, language: Language) -> Vec<Range<usize>> {
    const WORD: &str = "password";
    let lower = line.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, _) in lower.match_indices(WORD) {
        if lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let mut rest = lower[at + WORD.len()..].trim_start();
        if language == Language::Toml {
            let Some(value) = rest.strip_prefix('=') else { continue };
            rest = value.trim_start();
        }
        let quote = match language {
            Language::Sql => {
                rest = rest.strip_prefix('e').unwrap_or(rest);
                rest.strip_prefix('\'').map(|_| '\'')
            }
            Language::Toml => rest.chars().next().filter(|c| matches!(c, '\'' | '"')),
        };
        let Some(quote) = quote else { continue };
        let start = lower.len() - rest.len() + 1;
        if let Some(length) = lower[start..].find(quote) {
            found.push(start..start + length);
        }
    }
    found
}

/// Whether `value` stands for a password that is elsewhere, or from which none can be read.
fn is_placeholder(value: &str) -> bool {
    value.is_empty()
        || value.starts_with(['$', '{', '<', '%', ':'])
        || value.starts_with("env:")
        // A verifier: who reads it cannot log in with it.
        || value.starts_with("SCRAM-SHA-256$")
        || value.chars().all(|c| c == '*' || c == '…' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("create role a password 'p';", "create role a password '***';")]
    #[case("ALTER ROLE a PASSWORD E'p' VALID UNTIL 'x'", "ALTER ROLE a PASSWORD E'***' VALID UNTIL 'x'")]
    #[case("x postgres://u:p@q@h/db y", "x postgres://u:***@h/db y")]
    #[case("connection 'host=h user=u password=p'", "connection 'host=h user=u password=***'")]
    #[case(
        "'postgres:///db?host=h&user=u&password=p&x=1'",
        "'postgres:///db?host=h&user=u&password=***&x=1'"
    )]
    #[case("options (user 'u', password 'p')", "options (user 'u', password '***')")]
    #[case("amqp://u:p@h and redis://:q@h", "amqp://u:***@h and redis://:***@h")]
    fn passwords_are_found(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(redacted(line, &passwords(line, Language::Sql)), expected);
    }

    #[rstest]
    #[case("alter role a password :'p'")]
    #[case("alter role a password null")]
    #[case("create role a password 'SCRAM-SHA-256$4096:x$y:z'")]
    #[case("password text not null default 'x'")]
    #[case("reset_password 'x'")]
    #[case("select * from users where password=$1")]
    #[case("update users set password = 'x'")]
    #[case("postgres://u@h:5432/db")]
    #[case("postgres://u:${P}@h/db")]
    #[case("https://example.com:443/a@b")]
    fn what_is_no_password_is_left(#[case] line: &str) {
        assert!(passwords(line, Language::Sql).is_empty(), "{line}");
    }

    #[rstest]
    #[case("web_app = { password = \"p\" }", "web_app = { password = \"***\" }")]
    #[case("web_app = { password = \"env:P\" }", "web_app = { password = \"env:P\" }")]
    #[case("url = \"postgres://u:p@h\"", "url = \"postgres://u:***@h\"")]
    fn configuration(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(redacted(line, &passwords(line, Language::Toml)), expected);
    }
}
