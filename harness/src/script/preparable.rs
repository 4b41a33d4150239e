//! SQL without its values that can still be prepared.

use super::lexer::{Kind, Lexer};

/// The words that a statement which can be prepared begins with.
const BEGINNINGS: [&str; 7] = ["select", "insert", "update", "delete", "merge", "with", "values"];

/// `sql` without values and comments: strings become parameters behind those that it has, numbers `1`. `None` of a
/// statement that cannot be prepared, or of several.
///
/// It assumes `standard_conforming_strings = on`. Of what a type's name stands before (`interval '1 day'`) the server
/// wants a string, and prepares nothing without.
pub(crate) fn preparable(sql: &str) -> Option<String> {
    let tokens: Vec<_> = Lexer::new(sql).map(|token| (token.kind, &sql[token.start..token.end])).collect();
    let beginning = tokens.iter().find(|(kind, _)| !matches!(kind, Kind::Skipped | Kind::Open))?.1;
    if !BEGINNINGS.iter().any(|word| word.eq_ignore_ascii_case(beginning)) {
        return None;
    }
    let end = tokens.iter().position(|(kind, _)| *kind == Kind::Semicolon).unwrap_or(tokens.len());
    if tokens[end..].iter().any(|(kind, _)| !matches!(kind, Kind::Skipped | Kind::Semicolon)) {
        return None;
    }
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let is_parameter = |at: usize| at > 0 && tokens[at - 1].1 == "$";
    let numbers = (0..end).filter(|at| is_parameter(*at)).filter_map(|at| tokens[at].1.parse::<usize>().ok());
    let mut parameters = numbers.max().unwrap_or(0);
    let mut out = String::with_capacity(sql.len());
    for (at, (kind, text)) in tokens[..end].iter().enumerate() {
        match kind {
            Kind::Skipped => out.push(' '),
            Kind::Quoted if !text.starts_with('"') => {
                parameters += 1;
                out.push_str(&format!("${parameters}"));
            }
            Kind::Other if is_number(text) && !is_parameter(at) => out.push('1'),
            _ => out.push_str(text),
        }
    }
    Some(out.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::as_it_is("select a from t where b = $1", Some("select a from t where b = $1"))]
    #[case::strings(
        "update t set a = 'secret', b = $2 where c = E'x'",
        Some("update t set a = $3, b = $2 where c = $4")
    )]
    #[case::numbers(
        "select * from t where a > -1.5e3 limit 20",
        Some("select * from t where a > -1.1 limit 1")
    )]
    #[case::operators("select a ? 'b' from t", Some("select a ? $1 from t"))]
    #[case::comments("/* who */ select\n  a -- why\nfrom t;", Some("select a from t"))]
    #[case::names("select \"A 1\", b2 from t1", Some("select \"A 1\", b2 from t1"))]
    #[case::union("(select 1) union (select 2)", Some("(select 1) union (select 1)"))]
    #[case::command("begin", None)]
    #[case::several("select 1; delete from t", None)]
    #[case::nothing("", None)]
    fn statements(#[case] sql: &str, #[case] expected: Option<&str>) {
        assert_eq!(preparable(sql).as_deref(), expected);
    }
}
