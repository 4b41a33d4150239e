//! Names of the catalog as SQL.

use pgharness::catalog::Kind;
use pgharness::ident::quote_ident;

/// A name of the catalog with every part quoted, so that keywords among them do no harm; the arguments of a function
/// stay as they are.
pub(super) fn sql(name: &str) -> String {
    let (name, arguments) = name.find('(').map_or((name, ""), |at| name.split_at(at));
    let quoted = |part: &str| if part.starts_with('"') { part.to_owned() } else { quote_ident(part) };
    parts(name).into_iter().map(quoted).collect::<Vec<_>>().join(".") + arguments
}

/// The object that a part belongs to, and the part's own name.
pub(super) fn parent(name: &str) -> (&str, &str) {
    let own = parts(name).pop().unwrap_or(name);
    (name.strip_suffix(own).and_then(|rest| rest.strip_suffix('.')).unwrap_or_default(), own)
}

/// A name without its quotes.
pub(super) fn plain(part: &str) -> String {
    match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => part.to_owned(),
    }
}

/// What a grant is on, and to whom: `table crm.people to web_app`.
pub(super) fn grant(name: &str) -> Option<(Kind, &str, &str)> {
    let kinds = Kind::ALL.iter().filter_map(|kind| {
        let rest = name.strip_prefix(kind.name())?.strip_prefix(' ')?;
        Some((*kind, rest))
    });
    let (kind, rest) = kinds.max_by_key(|(kind, _)| kind.name().len())?;
    let (object, grantee) = rest.rsplit_once(" to ")?;
    Some((kind, object, grantee))
}

/// Whether `privilege` is among those of a grant.
pub(super) fn is_given(privileges: &str, privilege: &str) -> bool {
    privileges.starts_with("ALL") || privileges.split(", ").any(|given| given == privilege)
}

/// A role as GRANT has it.
pub(super) fn grantee(name: &str) -> String {
    if name == "public" { "public".into() } else { quote_ident(&plain(name)) }
}

/// The parts of a name, as it writes them.
fn parts(name: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (at, c) in name.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => {
                parts.push(&name[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&name[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_sql() {
        assert_eq!(sql("crm.people.order"), "\"crm\".\"people\".\"order\"");
        assert_eq!(sql("crm.\"A.b\""), "\"crm\".\"A.b\"");
        assert_eq!(sql("crm.f(integer, \"X\".y)"), "\"crm\".\"f\"(integer, \"X\".y)");
        assert_eq!(parent("crm.people.\"A.b\""), ("crm.people", "\"A.b\""));
        assert_eq!(grant("materialized view a.b to \"X\""), Some((Kind::MaterializedView, "a.b", "\"X\"")));
        assert_eq!(grantee("\"X y\""), "\"X y\"");
    }
}
