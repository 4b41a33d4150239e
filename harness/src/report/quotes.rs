//! Which lines of a statement begin within quotes, where an indent would change what is quoted.

/// What the text at some point is part of.
enum Within {
    Nothing,
    /// A string or an identifier, up to this character; in an `E'…'` a backslash hides the next one.
    Quote {
        end: char,
        has_escapes: bool,
    },
    /// A dollar-quoted string, up to this tag.
    Dollar(String),
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
}

/// For each line of `sql`, whether it begins within quotes.
pub(super) fn lines_within_quotes(sql: &str) -> Vec<bool> {
    let mut lines = vec![false];
    let mut within = Within::Nothing;
    let mut rest = sql;
    let mut before = '\n';
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        within = match within {
            Within::Nothing => match c {
                '\'' | '"' => Within::Quote { end: c, has_escapes: c == '\'' && matches!(before, 'e' | 'E') },
                '$' if !is_word(before) => match dollar_tag(rest) {
                    Some(tag) => {
                        length = tag.len();
                        Within::Dollar(tag.to_owned())
                    }
                    None => Within::Nothing,
                },
                '-' if rest.starts_with("--") => Within::LineComment,
                '/' if rest.starts_with("/*") => {
                    length = 2;
                    Within::BlockComment(1)
                }
                _ => Within::Nothing,
            },
            Within::Quote { end, .. } if c == end => Within::Nothing,
            Within::Quote { end, has_escapes } => {
                if has_escapes && c == '\\' {
                    length += rest[length..].chars().next().map_or(0, char::len_utf8);
                }
                Within::Quote { end, has_escapes }
            }
            Within::Dollar(tag) if rest.starts_with(&tag) => {
                length = tag.len();
                Within::Nothing
            }
            Within::LineComment if c == '\n' => Within::Nothing,
            Within::BlockComment(depth) if rest.starts_with("/*") => {
                length = 2;
                Within::BlockComment(depth + 1)
            }
            Within::BlockComment(depth) if rest.starts_with("*/") => {
                length = 2;
                if depth == 1 { Within::Nothing } else { Within::BlockComment(depth - 1) }
            }
            same => same,
        };
        let (taken, after) = rest.split_at(length);
        let is_quoted = matches!(within, Within::Quote { .. } | Within::Dollar(_));
        lines.extend(taken.matches('\n').map(|_| is_quoted));
        before = taken.chars().next_back().unwrap_or(before);
        rest = after;
    }
    lines
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The `$tag$` that `text` begins with; `$1` begins none.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = 1 + text[1..].find('$')?;
    let name = &text[1..end];
    let is_tag = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_tag.then(|| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("select 1\nfrom x", &[false, false])]
    #[case::string("select 'a\nb',\n1", &[false, true, false])]
    #[case::closed("select 'it''s'\nfrom x", &[false, false])]
    #[case::doubled("select 'a''\nb'", &[false, true])]
    #[case::identifier("select 1 as \"a'\nb\"\nfrom x", &[false, true, false])]
    #[case::escape("select E'it\\'s\nb'\nfrom x", &[false, true, false])]
    #[case::no_escape("select 'a\\'\nfrom x", &[false, false])]
    #[case::escaped_line_end("select E'a\\\nb'\nfrom x", &[false, true, false])]
    #[case::dollar("do $x$\n'$$\n$x$\n;", &[false, true, true, false])]
    #[case::parameter("select $1\n, $2", &[false, false])]
    #[case::within_a_name("select a$b$\nfrom x", &[false, false])]
    #[case::comment("select 1 -- it's\nfrom x", &[false, false])]
    #[case::block("/* it's /* \" */\n' */ select 'a\nb'", &[false, false, true])]
    fn cases(#[case] sql: &str, #[case] expected: &[bool]) {
        assert_eq!(lines_within_quotes(sql), expected);
    }
}
