//! A schedule as people read it: a column for each client, time going down.

use super::schedule::letter;
use super::trace::{Answer, Event, Trace, What};
use crate::finding::Evidence;
use std::fmt::Write as _;
use std::sync::Arc;

/// The width of the whole, in characters.
const WIDTH: usize = 100;
/// A narrower column cannot be read.
const COLUMN_MIN: usize = 28;

/// The lines that an event gives its client.
fn lines(event: &Event, names: &[String]) -> (Vec<String>, Vec<String>) {
    let statements =
        |asked: &[Arc<str>]| -> Vec<String> { asked.iter().map(|sql| one_line(sql) + ";").collect() };
    match &event.what {
        What::Answered(asked, answer) => (statements(asked), told(answer)),
        What::Waits(asked, whom) => {
            let whom: Vec<&str> = whom.iter().filter_map(|place| Some(names.get(*place)?.as_str())).collect();
            let whom = if whom.is_empty() { "another session".to_owned() } else { whom.join(", ") };
            (statements(asked), vec![format!("waits for {whom}")])
        }
        What::Resumed(answer) => {
            let mut told = told(answer);
            told.insert(0, "goes on".into());
            (Vec::new(), told)
        }
    }
}

/// What the server said, in words; never the values of rows.
fn told(answer: &Answer) -> Vec<String> {
    let mut told = Vec::new();
    if !answer.tags.is_empty() {
        told.push(answer.tags.join(", "));
    }
    told.extend(answer.errors.iter().map(|(code, message)| format!("ERROR {code}: {message}")));
    if answer.is_end {
        told.push("disconnected".into());
    }
    told
}

/// SQL without its line breaks, unless a line break may mean something.
fn one_line(sql: &str) -> String {
    if sql.contains("--") || sql.contains('\'') || sql.contains('$') && sql.contains("$$") {
        return sql.trim().trim_end_matches(';').to_owned();
    }
    sql.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(';').to_owned()
}

/// The transcript: statements in their client's column, ready to be pasted into a psql for each.
pub(super) fn columns(trace: &Trace, names: &[String]) -> String {
    let width = (WIDTH / names.len().max(1)).max(COLUMN_MIN);
    let mut text = String::new();
    let mut header = String::new();
    for (place, name) in names.iter().enumerate() {
        let title = format!("{}: {name}", letter(place));
        let _ = write!(header, "{title:<width$}");
    }
    text.push_str(header.trim_end());
    for event in &trace.events {
        let (statements, told) = lines(event, names);
        let indent = " ".repeat(width * event.client);
        let told = told.iter().map(|line| format!("-- {line}"));
        for line in statements.into_iter().chain(told) {
            for part in wrap(&line, width - 2) {
                text.push('\n');
                text.push_str(indent.as_str());
                text.push_str(&part);
            }
        }
    }
    text
}

/// A line in parts of at most `width` characters, where its words allow.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let lead = if line.starts_with("-- ") { "--   " } else { "  " };
    let mut parts: Vec<String> = Vec::new();
    for line in line.lines() {
        let mut part = String::new();
        for word in line.split(' ') {
            if !part.trim().is_empty() && part.chars().count() + 1 + word.chars().count() > width {
                parts.push(std::mem::take(&mut part));
                part.push_str(lead);
            } else if !part.is_empty() && part != lead {
                part.push(' ');
            }
            part.push_str(word);
        }
        parts.push(part);
    }
    parts
}

/// The transcript as evidence: each step says whose it is.
pub(super) fn evidence(trace: &Trace, names: &[String]) -> Vec<Evidence> {
    trace
        .events
        .iter()
        .map(|event| {
            let (statements, told) = lines(event, names);
            let who = names.get(event.client).map_or("?", String::as_str);
            Evidence::step(format!("{who}: {}", statements.join(" ")), told.join("; "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(client: usize, what: What) -> Event {
        Event { client, session: 0, what }
    }

    fn tag(tag: &str) -> Answer {
        Answer { tags: vec![tag.into()], ..Answer::default() }
    }

    #[test]
    fn each_client_has_a_column() {
        let failed = Answer {
            errors: vec![("40001".into(), "could not serialize access".into())],
            ..Answer::default()
        };
        let trace = Trace {
            events: vec![
                event(0, What::Answered(vec!["begin".into()], tag("BEGIN"))),
                event(1, What::Waits(vec!["update t\n set n = 1".into()], vec![0])),
                event(0, What::Answered(vec!["commit;".into()], tag("COMMIT"))),
                event(1, What::Resumed(failed)),
            ],
        };
        let names = ["one".to_owned(), "two".to_owned()];
        let indent = " ".repeat(50);
        assert_eq!(
            columns(&trace, &names),
            format!(
                "a: one{}b: two\nbegin;\n-- BEGIN\n{indent}update t set n = 1;\n{indent}-- waits for one\ncommit;\n\
                 -- COMMIT\n{indent}-- goes on\n{indent}-- ERROR 40001: could not serialize access",
                " ".repeat(44)
            )
        );
        assert_eq!(evidence(&trace, &names)[1], Evidence::step("two: update t set n = 1;", "waits for one"));
    }

    #[test]
    fn a_long_line_is_wrapped_between_words() {
        assert_eq!(wrap("select one, two, three", 12), ["select one,", "  two, three"]);
        assert_eq!(wrap("-- waits for somebody", 14), ["-- waits for", "--   somebody"]);
    }
}
