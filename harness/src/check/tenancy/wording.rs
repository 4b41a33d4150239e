//! How leaks are told, and what closes them.

use super::probe::Counts;
use super::setting::Setting;
use super::tables::Relation;

/// A number of rows, as people write it.
pub(super) fn rows(count: i64) -> String {
    if count == 1 { "1 row".into() } else { format!("{count} rows") }
}

/// What a session saw that should have seen its own rows only.
pub(super) fn sight(counts: &Counts, others: i64) -> String {
    format!("{} visible, {others} of them of other tenants", rows(counts.visible))
}

/// What to do about rows of nobody that every tenant sees.
pub(super) fn shared_rows(relation: &Relation) -> String {
    format!(
        "rows without a tenant are everybody's: if that is meant, allow it; or make {} not null",
        relation.column
    )
}

/// How to close a relation that shows too much.
pub(super) fn remedy(relation: &Relation, setting: &Setting) -> String {
    let name = relation.name.sql();
    let column = &relation.column;
    match relation.kind {
        "view" => format!(
            "`alter view {name} set (security_invoker = true)`: it then shows what its reader may see"
        ),
        "materialized view" | "foreign table" => {
            format!(
                "no policy can bind a {}: revoke the privilege, and grant a view with a condition",
                relation.kind
            )
        }
        kind if !relation.is_enabled => {
            let direct = if kind == "partition" || !relation.ancestors.is_empty() {
                ": the policy of its parent does not bind who reads it directly; or revoke the privilege"
            } else {
                ", with a policy that compares the tenant with the setting"
            };
            format!("`alter table {name} enable row level security`{direct}")
        }
        _ => format!(
            "let every policy demand `{column} = {}`, cast to the column's type: permissive policies widen one another",
            setting.expression()
        ),
    }
}
