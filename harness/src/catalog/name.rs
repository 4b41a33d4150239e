//! Names of objects as text: readable where they are plain, quoted where they are not, unique always.

use super::kind::Kind;

/// The name made of `parts`, joined by dots: `identity.tenants.name`. A part that is not a plain lower-case
/// identifier is quoted. Unlike the server's own quoting this does not depend on its list of keywords,
/// which grows from version to version.
pub fn name_of<S: AsRef<str>>(parts: &[S]) -> String {
    join(parts, ".")
}

/// Names in a row, as in the order of columns.
pub(super) fn list_of<S: AsRef<str>>(names: &[S]) -> String {
    join(names, ", ")
}

fn join<S: AsRef<str>>(parts: &[S], between: &str) -> String {
    parts.iter().map(|part| quoted(part.as_ref())).collect::<Vec<_>>().join(between)
}

fn quoted(part: &str) -> String {
    let plain = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { part.to_owned() } else { format!("\"{}\"", part.replace('"', "\"\"")) }
}

/// Splits what [`list_of`] joined; the names stay quoted.
pub(super) fn split_list(list: &str) -> Vec<&str> {
    split_outside_quotes(list, ", ")
}

/// The name without its last part: the table of a column. `None` where there is only one part.
pub(super) fn without_last_part(name: &str) -> Option<&str> {
    let parts = split_outside_quotes(name, ".");
    let last = parts.last().filter(|_| parts.len() > 1)?;
    Some(&name[..name.len() - last.len() - 1])
}

/// Splits at `between` where it stands outside of double quotes; a doubled quote toggles twice.
pub(super) fn split_outside_quotes<'a>(text: &'a str, between: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut is_quoted) = (Vec::new(), 0, false);
    let mut skip_to = 0;
    for (at, c) in text.char_indices() {
        if c == '"' {
            is_quoted = !is_quoted;
        } else if !is_quoted && at >= skip_to && text[at..].starts_with(between) {
            parts.push(&text[start..at]);
            start = at + between.len();
            skip_to = start;
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The schema that an object lies in, as the catalog writes it; that a grant or a default privilege is about. `None`
/// where objects of that kind lie in none.
pub(crate) fn schema_of(kind: Kind, name: &str) -> Option<&str> {
    let first = || split_outside_quotes(name, ".").first().copied();
    match kind {
        Kind::Schema => Some(name),
        Kind::Grant => {
            let (kind, rest) = Kind::split(name)?;
            schema_of(kind, split_outside_quotes(rest, " to ").first()?)
        }
        Kind::DefaultPrivilege => {
            let (_, rest) = name.split_once(" in ")?;
            split_outside_quotes(rest, " on ").first().copied()
        }
        Kind::Setting
        | Kind::Role
        | Kind::Extension
        | Kind::EventTrigger
        | Kind::Cast
        | Kind::Transform
        | Kind::Language
        | Kind::AccessMethod
        | Kind::ForeignDataWrapper
        | Kind::Server
        | Kind::UserMapping
        | Kind::Publication
        | Kind::Subscription
        | Kind::SecurityLabel => None,
        _ => first(),
    }
}

/// A name of one part without its quotes.
pub(crate) fn unquoted(part: &str) -> String {
    let inner = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
    inner.map_or_else(|| part.to_owned(), |inner| inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["identity", "tenants"], "identity.tenants")]
    #[case(&["public", "User"], "public.\"User\"")]
    #[case(&["a.b", "c\"d"], "\"a.b\".\"c\"\"d\"")]
    #[case(&["public", "user"], "public.user")]
    #[case(&["public", ""], "public.\"\"")]
    fn only_what_is_not_plain_is_quoted(#[case] parts: &[&str], #[case] expect: &str) {
        assert_eq!(name_of(parts), expect);
    }

    #[rstest]
    #[case(Kind::Schema, "crm", Some("crm"))]
    #[case(Kind::Column, "\"a.b\".t.c", Some("\"a.b\""))]
    #[case(Kind::Function, "crm.f(other.kind)", Some("crm"))]
    #[case(Kind::Grant, "table crm.people to web_app", Some("crm"))]
    #[case(Kind::Grant, "schema \"a to b\" to web_app", Some("\"a to b\""))]
    #[case(Kind::Grant, "database to web_app", None)]
    #[case(Kind::DefaultPrivilege, "of app in crm on tables to web_app", Some("crm"))]
    #[case(Kind::DefaultPrivilege, "of app on tables to web_app", None)]
    #[case(Kind::Publication, "changes.all", None)]
    fn objects_lie_in_schemas(#[case] kind: Kind, #[case] name: &str, #[case] expect: Option<&str>) {
        assert_eq!(schema_of(kind, name), expect);
    }

    #[test]
    fn a_name_loses_its_quotes() {
        assert_eq!((unquoted("crm"), unquoted("\"a\"\"b\"")), ("crm".into(), "a\"b".into()));
    }

    proptest! {
        #[test]
        fn the_last_part_comes_off_whatever_the_names_are(parts in prop::collection::vec("[a-zé.\", ]{0,6}", 2..5)) {
            let name = name_of(&parts);
            prop_assert_eq!(without_last_part(&name).unwrap(), name_of(&parts[..parts.len() - 1]));
        }

        #[test]
        fn a_list_splits_into_its_names(names in prop::collection::vec("[a-zé.\", ]{0,6}", 1..6)) {
            let list = list_of(&names);
            let expect: Vec<_> = names.iter().map(|name| name_of(&[name])).collect();
            prop_assert_eq!(split_list(&list), expect);
        }
    }
}
