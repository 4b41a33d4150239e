//! Translates `:name` into `$n`, and leaves alone what only looks like it: casts, slices, quotes, comments.

/// A statement whose parameters have numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) sql: String,
    /// The parameters' names: the first is `$1`.
    pub(super) names: Vec<String>,
}

/// What is wrong, and at which byte of the statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) at: usize,
    pub(super) message: String,
}

/// Numbers the `declared` parameters of `sql` in the order in which they first appear.
///
/// Within brackets, `a[1:n]` is a slice: a colon after an expression is left alone, and so is a name that is
/// not declared. Elsewhere such a name is an error, since it is a typing mistake.
pub(super) fn bind(sql: &str, declared: &[&str]) -> Result<Bound, Trouble> {
    let bytes = sql.as_bytes();
    let mut bound = Bound { sql: String::with_capacity(sql.len()), names: Vec::new() };
    let (mut at, mut copied, mut brackets) = (0, 0, 0usize);
    // The last byte that is neither space nor comment: tells a slice's colon from a parameter's.
    let mut previous = b' ';
    while at < bytes.len() {
        if let Some((end, is_comment)) = opaque(sql, at) {
            if !is_comment {
                previous = b'\'';
            }
            at = end;
            continue;
        }
        let (byte, next) = (bytes[at], bytes.get(at + 1).copied().unwrap_or_default());
        let mut width = 1;
        match byte {
            b'[' => brackets += 1,
            b']' => brackets = brackets.saturating_sub(1),
            b':' if matches!(next, b':' | b'=') => width = 2,
            b':' if starts_name(next) => {
                let name = name_at(sql, at + 1);
                width = 1 + name.len();
                let is_slice = brackets > 0 && ends_expression(previous);
                if !is_slice && declared.contains(&name) {
                    bound.sql.push_str(&sql[copied..at]);
                    bound.sql.push_str(&format!("${}", number(&mut bound.names, name)));
                    copied = at + width;
                } else if brackets == 0 {
                    return Err(unknown(at, name, declared));
                }
            }
            b'$' if next.is_ascii_digit() && !continues_name(byte_before(bytes, at)) => {
                let message = "a parameter has a number: give it a name, such as `:tenant`".to_owned();
                return Err(Trouble { at, message });
            }
            // What follows can only be space and comments.
            b';' if is_blank(sql, at + 1) => break,
            b';' => return Err(Trouble { at, message: "a second statement follows the first".to_owned() }),
            _ => (),
        }
        at += width;
        let last = bytes[at - 1];
        if !last.is_ascii_whitespace() {
            previous = last;
        }
    }
    bound.sql.push_str(sql[copied..at].trim_end());
    Ok(bound)
}

fn byte_before(bytes: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(b' ', |before| bytes[before])
}

fn number(names: &mut Vec<String>, name: &str) -> usize {
    match names.iter().position(|known| known == name) {
        Some(index) => index + 1,
        None => {
            names.push(name.to_owned());
            names.len()
        }
    }
}

fn unknown(at: usize, name: &str, declared: &[&str]) -> Trouble {
    let known = if declared.is_empty() { "there is none".to_owned() } else { declared.join(", ") };
    Trouble { at, message: format!("unknown parameter `:{name}`; declared: {known}") }
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn name_at(sql: &str, start: usize) -> &str {
    let rest = &sql[start..];
    let end =
        rest.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_')).unwrap_or(rest.len());
    &rest[..end]
}

fn ends_expression(byte: u8) -> bool {
    continues_name(byte) || matches!(byte, b']' | b')' | b'\'')
}

/// Whether only space and comments follow.
fn is_blank(sql: &str, mut at: usize) -> bool {
    while at < sql.len() {
        match opaque(sql, at) {
            Some((end, true)) => at = end,
            Some((_, false)) => return false,
            None if sql.as_bytes()[at].is_ascii_whitespace() || sql.as_bytes()[at] == b';' => at += 1,
            None => return false,
        }
    }
    true
}

/// The end of the quoted text or comment that begins at `at`, and whether it is a comment.
fn opaque(sql: &str, at: usize) -> Option<(usize, bool)> {
    if !matches!(sql.as_bytes()[at], b'\'' | b'"' | b'-' | b'/' | b'$') {
        // It may also be the middle of a character, where no slice begins.
        return None;
    }
    let rest = &sql[at..];
    match rest.as_bytes() {
        [b'\'', ..] => Some((at + quoted(rest, b'\'', has_escapes(sql, at)), false)),
        [b'"', ..] => Some((at + quoted(rest, b'"', false), false)),
        [b'-', b'-', ..] => Some((at + rest.find('\n').unwrap_or(rest.len()), true)),
        [b'/', b'*', ..] => Some((at + block_comment(rest), true)),
        [b'$', ..] if !continues_name(byte_before(sql.as_bytes(), at)) => {
            let tag = &rest[..rest[1..].find('$')? + 2];
            let inner = &tag[1..tag.len() - 1];
            if inner.bytes().any(|byte| !continues_name(byte))
                || inner.starts_with(|c: char| c.is_ascii_digit())
            {
                return None;
            }
            let closing = rest[tag.len()..].find(tag);
            Some((at + closing.map_or(rest.len(), |found| tag.len() + found + tag.len()), false))
        }
        _ => None,
    }
}

/// Whether the string at `at` is `E'…'`.
fn has_escapes(sql: &str, at: usize) -> bool {
    let before = &sql.as_bytes()[..at];
    matches!(before, [.., b'e' | b'E'])
        && !before.len().checked_sub(2).is_some_and(|index| continues_name(before[index]))
}

fn quoted(rest: &str, quote: u8, escapes: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Comments nest.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{quote_ident, quote_literal};
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("select :a, :b, :a", "select $1, $2, $1", &["a", "b"])]
    #[case("select :a::uuid", "select $1::uuid", &["a"])]
    #[case("select x::a from t", "select x::a from t", &[])]
    #[case("select v[1:2], v[lo:b], v[:a]", "select v[1:2], v[lo:b], v[$1]", &["a"])]
    #[case("select v[1:n], array[:a, :b]", "select v[1:n], array[$1, $2]", &["a", "b"])]
    #[case("select v[f(1):b]", "select v[f(1):b]", &[])]
    #[case("select f(x := :a)", "select f(x := $1)", &["a"])]
    #[case("select ':a', E'\\':a', \":a\"", "select ':a', E'\\':a', \":a\"", &[])]
    #[case("select 'it''s :a' || :a", "select 'it''s :a' || $1", &["a"])]
    #[case("select name':a' from t where :a", "select name':a' from t where $1", &["a"])]
    #[case("select $$:a$$, $x$ :a $$ :b $x$, :a", "select $$:a$$, $x$ :a $$ :b $x$, $1", &["a"])]
    #[case("select 1 -- :a\n, :a", "select 1 -- :a\n, $1", &["a"])]
    #[case("select /* :a /* :b */ :a */ :b", "select /* :a /* :b */ :a */ $1", &["b"])]
    #[case("select :a; -- the end :b\n", "select $1", &["a"])]
    #[case("select :a ;\n", "select $1", &["a"])]
    #[case("select time '12:30', :a", "select time '12:30', $1", &["a"])]
    fn parameters_are_numbered(#[case] sql: &str, #[case] expected: &str, #[case] names: &[&str]) {
        let bound = bind(sql, &["a", "b"]).unwrap();
        assert_eq!(
            (bound.sql.as_str(), bound.names),
            (expected, names.iter().map(|n| n.to_string()).collect())
        );
    }

    #[rstest]
    #[case("select :c", 7, "unknown parameter `:c`; declared: a, b")]
    #[case("select $1", 7, "a parameter has a number: give it a name, such as `:tenant`")]
    #[case("select 1; select 2", 8, "a second statement follows the first")]
    fn mistakes_are_named(#[case] sql: &str, #[case] at: usize, #[case] message: &str) {
        assert_eq!(bind(sql, &["a", "b"]), Err(Trouble { at, message: message.into() }));
    }

    proptest! {
        #[test]
        fn what_is_quoted_stays(value in "[a-z:$\\\\'\"; \n\u{e9}-]{0,20}") {
            let sql = format!("select {}, :a, {}", quote_literal(&value), quote_ident(&value));
            let bound = bind(&sql, &["a"]).unwrap();
            prop_assert_eq!(bound.sql, sql.replacen(", :a, ", ", $1, ", 1));
        }

        #[test]
        fn no_text_makes_it_panic(sql in "[a-z:$\\\\'\"; \n\u{e9}\\[\\]()/*-]{0,30}") {
            drop(bind(&sql, &["a"]));
        }
    }
}
