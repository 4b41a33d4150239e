//! Evidence as a block that can be pasted into psql as it stands.

use super::quotes::lines_within_quotes;
use crate::finding::Evidence;
use crate::ident::quote_ident;

/// A line of a transcript.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) is_comment: bool,
}

/// The lines of `evidence`: statements end with a semicolon, what came of them is a comment, and the role is
/// set where it changes and reset in the end. What no role ran is a comment too: psql could not run it.
///
/// Lines are indented, apart from those that begin within quotes, which indenting would change.
pub(super) fn lines(evidence: &[Evidence]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut current: Option<&str> = None;
    for step in evidence {
        if let Some(role) = step.role.as_deref() {
            if current != Some(role) {
                lines.push(statement(&format!("SET ROLE {};", quote_ident(role))));
                current = Some(role);
            }
            statements(&step.sql, &mut lines);
            comments("", &step.result, &mut lines);
        } else {
            comments("", &step.sql, &mut lines);
            comments("  ", &step.result, &mut lines);
        }
    }
    if current.is_some() {
        lines.push(statement("RESET ROLE;"));
    }
    lines
}

fn statements(sql: &str, lines: &mut Vec<Line>) {
    let sql = sql.trim();
    for (text, is_quoted) in sql.split('\n').zip(lines_within_quotes(sql)) {
        let text = text.trim_end_matches('\r');
        if is_quoted {
            lines.push(Line { text: text.to_owned(), is_comment: false });
        } else {
            lines.push(statement(text));
        }
    }
    // A command of psql's own ends with its line.
    if sql.ends_with(';') || sql.starts_with('\\') {
        return;
    }
    match lines.last_mut() {
        // Behind a comment it would be part of it.
        Some(last) if last.text.contains("--") => lines.push(statement(";")),
        Some(last) => last.text.push(';'),
        None => {}
    }
}

/// psql also ends a comment at a carriage return.
fn comments(indent: &str, text: &str, lines: &mut Vec<Line>) {
    for line in text.trim().split(['\n', '\r']).filter(|line| !line.is_empty()) {
        lines.push(Line { text: format!("    -- {indent}{line}"), is_comment: true });
    }
}

fn statement(text: &str) -> Line {
    Line { text: if text.is_empty() { String::new() } else { format!("    {text}") }, is_comment: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn step(role: &str, sql: &str, result: &str) -> Evidence {
        Evidence::as_role(role, sql, result)
    }

    #[rstest]
    #[case::the_role_is_set_where_it_changes(
        &[step("a", "select 1", "1"), step("a", "select 2;", "2"), step("B", "select 3", "")],
        "SET ROLE \"a\";\nselect 1;\n-- 1\nselect 2;\n-- 2\nSET ROLE \"B\";\nselect 3;\nRESET ROLE;"
    )]
    #[case::what_no_role_ran_is_a_comment(
        &[Evidence::step("alembic upgrade head", "exit code 1\nno such table")],
        "-- alembic upgrade head\n--   exit code 1\n--   no such table"
    )]
    #[case::nothing_escapes_a_comment(&[step("a", "select 1", "one\r\ntwo\rdrop table x")],
        "SET ROLE \"a\";\nselect 1;\n-- one\n-- two\n-- drop table x\nRESET ROLE;")]
    #[case::a_semicolon_is_not_lost_in_a_comment(&[step("a", "select 1 -- one", "")],
        "SET ROLE \"a\";\nselect 1 -- one\n;\nRESET ROLE;")]
    #[case::commands_of_psql_end_with_their_line(&[step("a", "\\d x", "")],
        "SET ROLE \"a\";\n\\d x\nRESET ROLE;")]
    fn transcripts(#[case] evidence: &[Evidence], #[case] expected: &str) {
        let seen: Vec<String> =
            lines(evidence).into_iter().map(|line| line.text.trim_start().to_owned()).collect();
        assert_eq!(seen.join("\n"), expected);
    }

    #[test]
    fn a_string_of_several_lines_is_not_changed_by_indenting() {
        let text = |sql: &str| -> String {
            let lines = lines(&[step("a", sql, "")]);
            lines[1..lines.len() - 1].iter().map(|line| line.text.clone() + "\n").collect()
        };
        assert_eq!(text("select 'a\nb'"), "    select 'a\nb';\n");
        assert_eq!(text("select ''\nfrom x"), "    select ''\n    from x;\n");
    }
}
